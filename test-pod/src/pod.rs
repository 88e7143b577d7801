//! The server that plays a Pod: HTTP/1.1 and HTTP/2 in the clear, a TCP echo, a UDP echo; one process can play several Pods, each on
//! addresses of its own, or be the one Pod that it runs in.
//!
//! Every answer names the Pod and the client's address as the Pod sees it. It is real but small: no TLS, no limits.

use std::fs;
use std::future::ready;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

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

impl Pod {
    /// The Pod that this process runs in: a container's host name is its Pod's name.
    pub fn own() -> Result<Self> {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").context("cannot read the host's name")?;
        Ok(Self { name: name.trim().to_owned(), addresses: vec![Ipv6Addr::UNSPECIFIED.into()] })
    }
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

/// How the Pods begin and end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Life {
    /// For how long `GET /ready` says no at first. All else is served from the beginning.
    pub ready_after: Duration,
    /// How long to go on after the signal to end; meanwhile `GET /ready` says no.
    pub drain: Duration,
}

/// What the servers of a Pod share.
struct Shared {
    name: String,
    ready: Arc<AtomicBool>,
}

/// Plays the Pods until SIGTERM or SIGINT.
pub async fn serve(pods: &[Pod], ports: Ports, life: Life) -> Result<()> {
    let is_ready = Arc::new(AtomicBool::new(life.ready_after.is_zero()));
    for pod in pods {
        let shared = Arc::new(Shared { name: pod.name.clone(), ready: Arc::clone(&is_ready) });
        for address in &pod.addresses {
            listen(&shared, *address, ports).await?;
        }
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    eprintln!("{READY}");
    let live = async {
        sleep(life.ready_after).await;
        is_ready.store(true, Ordering::Relaxed);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = live => {}
    }
    is_ready.store(false, Ordering::Relaxed);
    sleep(life.drain).await;
    Ok(())
}

async fn listen(shared: &Arc<Shared>, address: IpAddr, ports: Ports) -> Result<()> {
    let bound = |port| format!("cannot listen on {}", SocketAddr::new(address, port));
    let http = TcpListener::bind((address, ports.http)).await.with_context(|| bound(ports.http))?;
    let echo = TcpListener::bind((address, ports.echo)).await.with_context(|| bound(ports.echo))?;
    let datagrams = UdpSocket::bind((address, ports.udp)).await.with_context(|| bound(ports.udp))?;
    tokio::spawn(answer_http(Arc::clone(shared), http));
    tokio::spawn(echo_streams(echo));
    tokio::spawn(echo_datagrams(Arc::clone(shared), datagrams));
    Ok(())
}

/// A client's address as its family writes it, also where one socket serves both.
fn plain(client: SocketAddr) -> SocketAddr {
    SocketAddr::new(client.ip().to_canonical(), client.port())
}

async fn answer_http(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let Ok((stream, client)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let answer = |request| {
                let is_ready = shared.ready.load(Ordering::Relaxed);
                ready(http::answer(&shared.name, is_ready, plain(client), request))
            };
            let service = hyper::service::service_fn(answer);
            let server = auto::Builder::new(TokioExecutor::new());
            // A client that goes away in the middle is no error of ours.
            let _gone = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
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
    // Small enough for tens of thousands of connections.
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

async fn echo_datagrams(shared: Arc<Shared>, socket: UdpSocket) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // An ICMP error of an earlier answer shows up here; the next datagram is not affected.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let mut answer = format!("{} {} ", shared.name, plain(client)).into_bytes();
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

    #[test]
    fn a_client_of_ipv4_is_named_as_such_by_a_socket_of_both_families() {
        assert_eq!(plain("[::ffff:192.0.2.1]:80".parse().unwrap()).to_string(), "192.0.2.1:80");
        assert_eq!(plain("[2001:db8::1]:80".parse().unwrap()).to_string(), "[2001:db8::1]:80");
    }
}
