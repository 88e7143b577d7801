//! WebSocket between libraries that others wrote: tungstenite and Go's, by `Upgrade` and by extended CONNECT (RFC 8441).

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use beeline_tests::binaries;
use beeline_tests::peers::{Peers, SOCKET};
use beeline_tests::process::run;
use beeline_tests::topology::VIP;
use futures::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::ext::Protocol;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Long enough for a slow machine, and too short to be missed.
const LIMIT: Duration = Duration::from_mins(1);

/// Messages of many sizes, each of which comes back; then both say goodbye.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) -> Result<()> {
    for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        for message in [Message::text("t".repeat(size)), Message::binary(vec![7; size])] {
            socket.send(message.clone()).await?;
            let back = socket.next().await.context("the other side has gone")??;
            ensure!(back == message, "a message of {size} bytes came back as one of {}", back.len());
        }
    }
    socket.send(Message::Ping(Bytes::from_static(b"there?"))).await?;
    let pong = socket.next().await.context("the other side has gone")??;
    ensure!(pong == Message::Pong(Bytes::from_static(b"there?")), "{pong:?}");
    socket.close(None).await?;
    while let Some(message) = socket.next().await {
        ensure!(message?.is_close(), "there was nothing more to say");
    }
    Ok(())
}

async fn by_upgrade(frontend: SocketAddr) -> Result<()> {
    let stream = TcpStream::connect(frontend).await?;
    let (socket, answer) = tokio_tungstenite::client_async(format!("ws://{SOCKET}/websocket"), stream).await?;
    ensure!(answer.status() == 101, "{answer:?}");
    talk(socket).await
}

/// Several sockets and a plain request share one connection.
async fn by_extended_connect(frontend: SocketAddr) -> Result<()> {
    let stream = TokioIo::new(TcpStream::connect(frontend).await?);
    let handshake = hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), stream);
    let (mut client, connection) = handshake.await?;
    tokio::spawn(connection);
    // An answer proves that the server's settings are there, which allow extended CONNECT.
    let plain = Request::get(format!("http://{SOCKET}/hello")).body(Empty::new())?;
    ensure!(client.send_request(plain).await?.status() == 200, "a plain request is refused");
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = format!("http://{SOCKET}/websocket").parse()?;
        request.headers_mut().insert("sec-websocket-version", "13".parse()?);
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        let answer = client.send_request(request).await?;
        ensure!(answer.status() == 200, "{answer:?}");
        let stream = TokioIo::new(hyper::upgrade::on(answer).await?);
        sockets.push(WebSocketStream::from_raw_socket(stream, Role::Client, None).await);
    }
    futures::future::try_join_all(sockets.into_iter().map(talk)).await.map(drop)
}

#[test]
fn tungstenite_talks_with_gos_library_by_upgrade_and_by_extended_connect() -> Result<()> {
    let peers = Peers::build()?;
    let _agent = peers.start()?;

    for frontend in VIP.sockets(80) {
        peers.lab.network.client.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                tokio::time::timeout(LIMIT, by_upgrade(frontend)).await?.context("by Upgrade")?;
                tokio::time::timeout(LIMIT, by_extended_connect(frontend)).await?.context("by extended CONNECT")
            })
        })??;
    }
    Ok(())
}

#[test]
fn gos_client_talks_with_compression_in_the_clear_and_within_tls() -> Result<()> {
    let peers = Peers::build()?;
    let _agent = peers.start()?;

    for port in [80, 443] {
        for frontend in VIP.sockets(port) {
            let mut command = peers.client(binaries::peer("peer")?)?;
            command.args(["websocket", "-address", &frontend.to_string(), "-authority", SOCKET]);
            if port == 443 {
                command.arg("-ca").arg(peers.certificate());
            }
            assert_eq!(run(&mut command)?.trim(), "14", "messages at {frontend}");
        }
    }
    Ok(())
}
