//! The PROXY protocol: from proxies in front, and to Pods.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::sites::{clear, listener, rule, site, tls_route, to_pod};
use super::support::{Gateway, Pod, PodSpeech, get, read, say, until};
use super::tls::Authority;
use crate::http::Options;
use crate::model::http::{BackendRef, Handling, ProxyVersion, Site};

fn trusting() -> Options {
    Options { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..Options::default() }
}

fn demanding(pod: &Pod) -> Site {
    Site { needs_proxy_header: true, ..clear(rule([to_pod(pod.address)])) }
}

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nConnection: close\r\n\r\n";

/// Sends bytes and reads to the end.
async fn tell(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut stream = gateway.connect().await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    let _ = reading.await.expect("the connection ends");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn the_client_is_whom_the_header_names_and_its_own_word_does_not_count() {
    let pod = Pod::echo(PodSpeech::Http1).await;
    let gateway = Gateway::with(demanding(&pod), trusting(), None);
    let cases: [(&[u8], &str); 6] = [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", "192.0.2.7"),
        (V2, "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", "2001:db8::7"),
        // The proxy's own check, of which it may say what it likes.
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "1.1.1.1, 127.0.0.1"),
        // A client that the proxy cannot name: the proxy is asked for no more than itself.
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0", "127.0.0.1"),
    ];

    for (header, client) in cases {
        let answer = tell(&gateway, &[header, REQUEST].concat()).await;

        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains(&format!("\nx-forwarded-for: {client}\n")), "{answer}");
    }
}

#[tokio::test]
async fn without_a_header_or_from_somebody_else_nothing_is_served() {
    let pod = Pod::named("a").await;
    let gateway = Gateway::with(demanding(&pod), trusting(), None);
    for header in [&b""[..], b"PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"] {
        assert_eq!(tell(&gateway, &[header, REQUEST].concat()).await, "");
    }
    assert_eq!(gateway.server.counts().rejected["proxy_header"], 3);

    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let problems = gateway.serve(demanding(&pod));
    assert!(problems[0].message.contains("no proxy is trusted"), "{problems:?}");
    assert_eq!(tell(&gateway, &[V2, REQUEST].concat()).await, "");
    assert_eq!(gateway.server.counts().rejected["proxy_header"], 1);

    let gateway = Gateway::with(clear(rule([to_pod(pod.address)])), trusting(), None);
    assert!(tell(&gateway, &[V2, REQUEST].concat()).await.starts_with("HTTP/1.1 400 "), "where nobody asked for it");
}

#[tokio::test]
async fn a_header_that_does_not_come_ends_the_connection() {
    let pod = Pod::named("a").await;
    let options = Options { header_timeout: Duration::from_millis(100), ..trusting() };
    let gateway = Gateway::with(demanding(&pod), options, None);

    assert_eq!(tell(&gateway, b"PROXY TCP4 192.0.2.7 ").await, "");
    assert_eq!(gateway.server.counts().rejected["proxy_header"], 1);
}

#[tokio::test]
async fn connections_are_counted_for_the_client_that_is_named() {
    let pod = Pod::named("a").await;
    let options = Options { max_connections_per_client: Some(1), ..trusting() };
    let gateway = Gateway::with(demanding(&pod), options, None);
    let open = async |client: &str| {
        let mut stream = gateway.connect().await;
        let start = format!("PROXY TCP4 {client} 198.51.100.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        // A connection that is refused may be reset, since the request was not read.
        let count = stream.read(&mut answer).await.unwrap_or(0);
        (String::from_utf8_lossy(&answer[..count]).into_owned(), stream)
    };

    let (first, held) = open("192.0.2.7").await;
    let (second, _) = open("192.0.2.7").await;
    let (other, _) = open("192.0.2.8").await;
    assert!(first.starts_with("HTTP/1.1 200 ") && second.is_empty() && other.starts_with("HTTP/1.1 200 "));

    drop(held);
    until("the places are free", || gateway.server.open_connections() == 0).await;
    assert!(open("192.0.2.7").await.0.starts_with("HTTP/1.1 200 "));
}

/// A Pod that answers one request for each connection, and what each began with.
async fn noting() -> (Pod, Arc<Mutex<Vec<String>>>) {
    let begun: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = Arc::clone(&begun);
    let pod = Pod::raw(move |mut stream: TcpStream| {
        let notes = Arc::clone(&notes);
        async move {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                line.push(byte);
            }
            notes.lock().unwrap().push(String::from_utf8(line).unwrap());
            let answer = say(&mut stream, "", "\r\n\r\n").await;
            if answer.starts_with("GET / HTTP/1.1\r\n") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
            let _ = stream.read(&mut [0; 16]).await;
        }
    })
    .await;
    (pod, begun)
}

#[tokio::test]
async fn each_request_tells_its_pod_whom_it_is_from_on_a_connection_of_its_own() {
    let (pod, begun) = noting().await;
    let backend = BackendRef { proxy: Some(ProxyVersion::V1), ..to_pod(pod.address) };
    let gateway = Gateway::with(clear(rule([backend])), trusting(), None);
    let stream = gateway.connect().await;
    let client = stream.local_addr().unwrap();
    let mut sender = super::support::over_http1(stream).await;

    assert_eq!(read(sender.send_request(get("/")).await.unwrap()).await, (200, "ok".to_string()));
    sender.ready().await.unwrap();
    let mut request = get("/");
    request.headers_mut().insert("x-forwarded-for", "2001:db8::7".parse().unwrap());
    assert_eq!(read(sender.send_request(request).await.unwrap()).await.0, 200);

    let port = gateway.address.port();
    let expected = [
        format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {port}\r\n", client.port()),
        format!("PROXY TCP6 2001:db8::7 ::ffff:127.0.0.1 0 {port}\r\n"),
    ];
    assert_eq!(*begun.lock().unwrap(), expected);
    until("no connection is kept", || pod.open.load(std::sync::atomic::Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_stream_that_is_passed_on_begins_with_the_header() {
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let notes = Arc::clone(&heard);
    let pod = Pod::raw(move |mut stream: TcpStream| {
        let notes = Arc::clone(&notes);
        async move {
            let mut bytes = vec![0; 29];
            if stream.read_exact(&mut bytes).await.is_ok() {
                *notes.lock().unwrap() = bytes;
            }
        }
    })
    .await;
    let backend = BackendRef { proxy: Some(ProxyVersion::V2), ..to_pod(pod.address) };
    let handling = Handling::TlsPassthrough(vec![tls_route("a.example", backend)]);
    let passing = Site { needs_proxy_header: true, ..site([listener("web/tls", None, handling)]) };
    let gateway = Gateway::with(passing, trusting(), None);
    let mut stream = gateway.connect().await;
    stream.write_all(V2).await.unwrap();

    let connector = TlsConnector::from(Authority::new().client(&[], None));
    let hello = connector.connect("a.example".try_into().unwrap(), stream).await;

    assert!(hello.is_err(), "the Pod speaks no TLS");
    until("the Pod was told", || !heard.lock().unwrap().is_empty()).await;
    let heard = heard.lock().unwrap();
    assert_eq!(&heard[..20], &V2[..20], "the client that was named to us");
    assert_eq!(heard[28], 22, "and then the ClientHello");
}
