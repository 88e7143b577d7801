//! The server that plays a Pod: HTTP/1.1, a TCP echo, a UDP echo; one process can play several Pods, each on
//! addresses of its own.
//!
//! Every answer names the Pod and the client's address as the Pod sees it. It is real but small: no TLS, no limits.

use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};

mod http;

pub use http::Answer;

/// The line on standard error that says that all sockets listen.
pub const READY: &str = "ready";
/// Where the Pods' servers speak HTTP.
pub const HTTP_PORT: u16 = 80;
/// Where they return every datagram, with the Pod and the client named before it.
pub const UDP_PORT: u16 = 7;
/// Where they return every byte of a TCP connection.
pub const ECHO_PORT: u16 = 9000;

/// A Pod to play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name, as answers give it.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl FromStr for Pod {
    type Err = anyhow::Error;

    /// Reads `NAME=ADDRESS[,ADDRESS]`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, addresses) = text.split_once('=').ok_or_else(|| anyhow!("`{text}` is not NAME=ADDRESS,ADDRESS"))?;
        let addresses = addresses
            .split(',')
            .map(|address| address.parse().with_context(|| format!("`{address}` is not an IP address")));
        Ok(Self { name: name.to_owned(), addresses: addresses.collect::<Result<_>>()? })
    }
}

/// The ports to listen on.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// HTTP.
    pub http: u16,
    /// UDP echo.
    pub udp: u16,
    /// TCP echo.
    pub echo: u16,
}

/// Plays the Pods until SIGTERM or SIGINT.
pub async fn serve(pods: &[Pod], ports: Ports) -> Result<()> {
    for pod in pods {
        let name: Arc<str> = pod.name.as_str().into();
        for address in &pod.addresses {
            listen(Arc::clone(&name), *address, ports).await?;
        }
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    eprintln!("{READY}");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn listen(name: Arc<str>, address: IpAddr, ports: Ports) -> Result<()> {
    let bound = |port| format!("cannot listen on {}", SocketAddr::new(address, port));
    let http = TcpListener::bind((address, ports.http)).await.with_context(|| bound(ports.http))?;
    let echo = TcpListener::bind((address, ports.echo)).await.with_context(|| bound(ports.echo))?;
    let datagrams = UdpSocket::bind((address, ports.udp)).await.with_context(|| bound(ports.udp))?;
    tokio::spawn(answer_http(Arc::clone(&name), http));
    tokio::spawn(echo_streams(echo));
    tokio::spawn(echo_datagrams(name, datagrams));
    Ok(())
}

async fn answer_http(name: Arc<str>, listener: TcpListener) {
    loop {
        let Ok((stream, client)) = listener.accept().await else { continue };
        let name = Arc::clone(&name);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| ready(http::answer(&name, client, request)));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away in the middle is no error of ours.
            let _gone = connection.await;
        });
    }
}

async fn echo_streams(listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            // As above: who goes away, goes away.
            let _gone = echo_stream(stream).await;
        });
    }
}

async fn echo_stream(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

async fn echo_datagrams(name: Arc<str>, socket: UdpSocket) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // An ICMP error of an earlier answer shows up here; the next datagram is not affected.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let mut answer = format!("{name} {client} ").into_bytes();
        answer.extend_from_slice(&buffer[..length]);
        let _unreachable = socket.send_to(&answer, client).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_read_from_its_name_and_addresses() {
        let pod: Pod = "v1=10.1.0.11,fd00:10:1::11".parse().unwrap();

        assert_eq!(pod.name, "v1");
        assert_eq!(pod.addresses.len(), 2);
        assert!("v1".parse::<Pod>().is_err());
        assert!("v1=nowhere".parse::<Pod>().is_err());
    }
}
