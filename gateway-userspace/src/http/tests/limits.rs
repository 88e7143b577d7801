//! What a client may not cost: heads, waiting, streams and resets. Each limit has a reason that is counted.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::sites::{clear, rule, site, to_pod};
use super::support::{Gateway, Pod, get2, read, say, until};
use crate::http::Options;

async fn gateway(options: Options) -> (Gateway, Pod) {
    let pod = Pod::named("a").await;
    (Gateway::with(clear(rule([to_pod(pod.address)])), options, None), pod)
}

fn count(gateway: &Gateway, reason: &str) -> u64 {
    gateway.server.counts().rejected.get(reason).copied().unwrap_or(0)
}

#[test]
fn limits_are_what_the_documents_say() {
    let options = Options::default();

    assert_eq!((options.max_headers, options.max_header_bytes), (100, 64 << 10));
    assert_eq!((options.header_timeout, options.body_timeout), (Duration::from_mins(1), Duration::from_mins(1)));
    assert_eq!((options.max_streams, options.max_pending_resets, options.max_error_resets), (200, 20, 1024));
    assert_eq!((options.max_connections, options.max_connections_per_client), (100_000, None));
}

#[tokio::test]
async fn heads_that_are_too_large_are_answered_431_and_counted_so() {
    let (gateway, _pod) = gateway(Options::default()).await;
    let fields = (0..100).map(|index| format!("x-{index}: 1\r\n")).collect::<Vec<_>>().concat();
    let long = format!("x: {}\r\n", "y".repeat(70_000));

    for (fields, expected) in [(fields, 1), (long, 2)] {
        let mut stream = gateway.connect().await;
        let mut answer = Vec::new();
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).await.unwrap();
        let _ = stream.read_to_end(&mut answer).await;

        assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", answer.escape_ascii());
        until("it is counted", || count(&gateway, "head_too_large") == expected).await;
    }

    let mut client = gateway.http2().await;
    let mut request = get2("a", "/");
    request.headers_mut().insert("x", "y".repeat(70_000).parse().unwrap());
    let answer = client.send_request(request).await;
    assert!(answer.is_err() || answer.unwrap().status() == 431);
}

#[tokio::test]
async fn a_head_that_drips_is_ended_in_time_however_it_drips() {
    let (gateway, _pod) = gateway(Options { header_timeout: Duration::from_millis(300), ..Options::default() }).await;
    let mut stream = gateway.connect().await;
    let (mut reader, mut writer) = stream.split();

    let dripping = async {
        writer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await.unwrap();
        while writer.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = async {
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408 "), "{}", answer.escape_ascii());
    };
    let both = async {
        tokio::select! {
            () = dripping => {}
            () = ended => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("it is ended");
    until("it is counted", || count(&gateway, "head_timeout") == 1).await;
}

#[tokio::test]
async fn a_connection_that_is_merely_idle_ends_without_a_reason() {
    let (header_timeout, idle_timeout) = (Duration::from_millis(20), Duration::from_millis(400));
    let (gateway, _pod) = gateway(Options { header_timeout, idle_timeout, ..Options::default() }).await;
    let mut stream = gateway.connect().await;
    let first = say(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n").await;
    assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
    let mut answer = Vec::new();

    // Longer than a head may take.
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let reading = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    reading.await.expect("it ends").unwrap();

    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("HTTP/1.1 200 "), "{answer}");
    until("it has ended", || gateway.server.open_connections() == 0).await;
    assert!(gateway.server.counts().rejected.is_empty());
}

#[tokio::test]
async fn a_connection_of_http2_that_does_not_begin_ends() {
    let [idle_timeout, ping_timeout] = [Duration::from_millis(100); 2];
    let (gateway, _pod) = gateway(Options { ping_timeout, idle_timeout, ..Options::default() }).await;
    let mut stream = gateway.connect().await;

    // The preface, and nothing after it.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();

    let mut settings = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut settings));
    let _ = reading.await.expect("it ends");
    until("it has ended", || gateway.server.open_connections() == 0).await;
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_read_is_not_lost() {
    let gateway = Gateway::new(site([]));
    for _ in 0..20 {
        let mut stream = gateway.connect().await;
        let (mut reader, mut writer) = stream.split();
        let sending = async {
            writer.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n").await.unwrap();
            for _ in 0..400 {
                if writer.write_all(&[7; 10_000]).await.is_err() {
                    break;
                }
            }
        };
        // As many clients do, this one listens when it has sent.
        tokio::time::timeout(Duration::from_secs(20), sending).await.expect("it is read, or refused");
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).await.expect("no reset");

        assert!(answer.starts_with(b"HTTP/1.1 404 "), "{}", answer.escape_ascii());
    }
}

/// A frame (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A GET for the root of `a` in HPACK: three entries of the static table, and a literal.
const GET: &[u8] = b"\x82\x86\x84\x41\x01a";

/// A connection on which the preface was sent.
async fn begun(gateway: &Gateway) -> TcpStream {
    let mut stream = gateway.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
    stream
}

/// The next frame of a kind: its payload.
async fn next(stream: &mut TcpStream, kind: u8) -> Vec<u8> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == kind {
            return payload;
        }
    }
}

#[tokio::test]
async fn clients_are_told_how_many_streams_and_how_large_heads_may_be() {
    let (gateway, _pod) = gateway(Options::default()).await;

    let settings = next(&mut begun(&gateway).await, SETTINGS).await;

    let settings: Vec<(u16, u32)> = (settings.chunks_exact(6))
        .map(|entry| {
            (u16::from_be_bytes([entry[0], entry[1]]), u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]))
        })
        .collect();
    assert!(settings.contains(&(3, 200)), "streams: {settings:?}");
    assert!(settings.contains(&(6, 64 << 10)), "bytes of heads: {settings:?}");
}

/// What ends a connection: the code of GOAWAY.
async fn goaway(mut stream: TcpStream) -> u32 {
    let payload = tokio::time::timeout(Duration::from_secs(20), next(&mut stream, GOAWAY)).await.expect("GOAWAY");
    u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]])
}

#[tokio::test]
async fn a_client_that_resets_all_it_asks_is_ended() {
    let (gateway, _pod) = gateway(Options::default()).await;
    let mut stream = begun(&gateway).await;
    let flood: Vec<u8> = (0..500_u32)
        .flat_map(|index| {
            let id = 2 * index + 1;
            let asked = frame(HEADERS, END_STREAM | END_HEADERS, id, GET);
            [asked, frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())].concat()
        })
        .collect();

    stream.write_all(&flood).await.unwrap();

    assert_eq!(goaway(stream).await, ENHANCE_YOUR_CALM);
    until("it is counted", || count(&gateway, "http2_flood") == 1).await;
}

#[tokio::test]
async fn a_head_without_end_is_ended() {
    let (gateway, _pod) = gateway(Options::default()).await;
    let mut stream = begun(&gateway).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, GET)).await.unwrap();
    let (mut reader, mut writer) = stream.split();

    // Without END_HEADERS the head goes on; each piece is one field of 16 KiB that would never be looked at.
    let piece = frame(CONTINUATION, 0, 1, &[&b"\x00\x01x\x7f\x81\x7e"[..], &[b'y'; 16_256]].concat());
    let flooding = async {
        for _ in 0..1000 {
            if writer.write_all(&piece).await.is_err() {
                return;
            }
        }
        panic!("16 MiB of a head are taken");
    };
    let draining = async {
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer).await;
    };
    let both = async {
        tokio::select! {
            () = flooding => {}
            () = draining => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("it is ended");
    until("it is counted", || count(&gateway, "http2_flood") == 1).await;
}

#[tokio::test]
async fn others_are_served_beside_a_flood() {
    let (gateway, _pod) = gateway(Options::default()).await;
    let mut stream = begun(&gateway).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, GET)).await.unwrap();

    let mut client = gateway.http2().await;

    assert_eq!(read(client.send_request(get2("a", "/")).await.unwrap()).await, (200, "a".to_string()));
}
