//! The tap over a connection in memory: what is held, what is refused, and who waits for whom.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;

const MAX_HEAD: usize = 1024;
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n";
const PLAIN: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A client's end, and a tap on the other.
fn tapped() -> (DuplexStream, Tap<DuplexStream>) {
    let (client, server) = duplex(64 * 1024);
    (client, Tap::new(server, MAX_HEAD))
}

/// What a read gives, or none if there is nothing to read now.
async fn read(tap: &mut Tap<DuplexStream>) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    // With paused time it ends as soon as nothing else can happen.
    let length = timeout(Duration::from_secs(1), tap.read(&mut bytes)).await.ok()?.unwrap();
    bytes.truncate(length);
    Some(bytes)
}

#[tokio::test(start_paused = true)]
async fn a_head_is_held_until_it_is_complete() {
    let (mut client, mut tap) = tapped();

    client.write_all(b"GET / HTTP/1.1\r\nHost").await.unwrap();
    assert_eq!(read(&mut tap).await, None);

    client.write_all(b": a\r\n\r\nGET").await.unwrap();
    assert_eq!(read(&mut tap).await.unwrap(), PLAIN);
    assert_eq!(read(&mut tap).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_small_buffer_gets_everything_in_order() {
    let (mut client, mut tap) = tapped();
    let sent = [PLAIN, b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", PLAIN].concat();

    client.write_all(&sent).await.unwrap();
    let mut received = Vec::new();
    while received.len() < sent.len() {
        let mut byte = [0; 5];
        let length = tap.read(&mut byte).await.unwrap();
        received.extend_from_slice(&byte[..length]);
    }

    assert_eq!(received, sent);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_refused_head_passes_and_the_stream_ends() {
    let (mut client, mut tap) = tapped();
    let handle = tap.handle();

    client.write_all(&[PLAIN, b"GET /in HTTP/1.1\r\nHost: a\n\r\n", PLAIN].concat()).await.unwrap();

    assert_eq!(read(&mut tap).await.unwrap(), PLAIN);
    assert_eq!(read(&mut tap).await.unwrap(), REFUSED_LINE);
    assert_eq!(read(&mut tap).await.unwrap(), b"");
    assert_eq!(handle.violation(), Some(Violation::BareLf));
}

#[tokio::test(start_paused = true)]
async fn a_refused_body_is_an_error_that_says_why() {
    let (mut client, mut tap) = tapped();
    let sound = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc";

    client.write_all(&[&sound[..], b"\n0\r\n\r\n"].concat()).await.unwrap();

    assert_eq!(read(&mut tap).await.unwrap(), sound);
    let error = tap.read(&mut [0; 16]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&Violation::ChunkEnd));
    assert_eq!(read(&mut tap).await.unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_head_is_shown_when_the_stream_ends() {
    let (mut client, mut tap) = tapped();

    client.write_all(b"GET / HT").await.unwrap();
    client.shutdown().await.unwrap();

    assert_eq!(read(&mut tap).await.unwrap(), b"GET / HT");
    assert_eq!(read(&mut tap).await.unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn behind_the_http2_preface_all_bytes_pass() {
    let (mut client, mut tap) = tapped();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    client.write_all(&preface[..20]).await.unwrap();
    assert_eq!(read(&mut tap).await, None);
    client.write_all(&[&preface[20..], b"\0\0\n"].concat()).await.unwrap();
    assert_eq!(read(&mut tap).await.unwrap(), [preface, &b"\0\0\n"[..]].concat());
    client.write_all(b"\n\0").await.unwrap();

    assert_eq!(read(&mut tap).await.unwrap(), b"\n\0");
}

#[tokio::test(start_paused = true)]
async fn what_follows_an_upgrade_waits_for_the_verdict_and_passes_as_it_is() {
    let (mut client, mut tap) = tapped();
    let handle = tap.handle();

    client.write_all(&[UPGRADE, b"\x81\n"].concat()).await.unwrap();
    assert_eq!(read(&mut tap).await.unwrap(), UPGRADE);
    assert_eq!(read(&mut tap).await, None);
    handle.decide(Verdict::Upgraded);

    assert_eq!(read(&mut tap).await.unwrap(), b"\x81\n");
    client.write_all(b"\n\0").await.unwrap();
    assert_eq!(read(&mut tap).await.unwrap(), b"\n\0");
    assert_eq!(handle.violation(), None);
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_refused_upgrade_is_judged_as_the_next_request() {
    for (next, given) in [(PLAIN, PLAIN), (b"\n", REFUSED_LINE)] {
        let (mut client, mut tap) = tapped();
        let handle = tap.handle();

        client.write_all(UPGRADE).await.unwrap();
        assert_eq!(read(&mut tap).await.unwrap(), UPGRADE);
        client.write_all(next).await.unwrap();
        assert_eq!(read(&mut tap).await, None);
        handle.decide(Verdict::Refused);

        assert_eq!(read(&mut tap).await.unwrap(), given);
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_wakes_the_reader() {
    let (mut client, mut tap) = tapped();
    let handle = tap.handle();
    client.write_all(&[UPGRADE, PLAIN].concat()).await.unwrap();
    assert_eq!(read(&mut tap).await.unwrap(), UPGRADE);

    let reader = tokio::spawn(async move { read(&mut tap).await });
    tokio::task::yield_now().await;
    handle.decide(Verdict::Refused);

    assert_eq!(reader.await.unwrap().unwrap(), PLAIN);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_nobody_asked_for_is_forgotten() {
    let (mut client, mut tap) = tapped();
    let handle = tap.handle();
    handle.decide(Verdict::Upgraded);

    client.write_all(&[UPGRADE, b"\n"].concat()).await.unwrap();
    assert_eq!(read(&mut tap).await.unwrap(), UPGRADE);

    assert_eq!(read(&mut tap).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_while_an_upgrade_is_decided_is_noticed() {
    let (mut client, mut tap) = tapped();

    client.write_all(UPGRADE).await.unwrap();
    assert_eq!(read(&mut tap).await.unwrap(), UPGRADE);
    assert_eq!(read(&mut tap).await, None);
    drop(client);

    assert_eq!(read(&mut tap).await.unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn what_a_refused_client_has_sent_is_read_before_the_end() {
    let (mut client, mut tap) = tapped();

    client.write_all(b"\n").await.unwrap();
    assert_eq!(read(&mut tap).await.unwrap(), REFUSED_LINE);
    client.write_all(&[b'x'; 10_000]).await.unwrap();
    tap.shutdown().await.unwrap();

    let left = timeout(Duration::from_secs(1), tap.inner.read(&mut [0; 16])).await;
    assert!(left.is_err(), "nothing is left to read");
}

/// Echoes what comes over an upgraded connection.
fn echo(request: Request<Incoming>, handle: &Handle) -> Response<Empty<&'static [u8]>> {
    tokio::spawn(async move {
        let mut stream = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
        let mut bytes = [0; 16];
        let length = stream.read(&mut bytes).await.unwrap();
        stream.write_all(&bytes[..length]).await.unwrap();
    });
    handle.decide(Verdict::Upgraded);
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS).header("connection", "upgrade");
    response.header("upgrade", "x").body(Empty::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_of_hyper_gets_what_came_with_the_request() {
    let (mut client, tap) = tapped();
    let handle = tap.handle();
    let service =
        hyper::service::service_fn(move |request| std::future::ready(Ok::<_, Infallible>(echo(request, &handle))));
    let server = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tap), service);
    let server = tokio::spawn(server.with_upgrades());

    client.write_all(&[UPGRADE, b"\n\0ping"].concat()).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();

    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", answer.escape_ascii());
    assert!(answer.ends_with(b"\r\n\r\n\n\0ping"), "{}", answer.escape_ascii());
    server.await.unwrap().unwrap();
}
