//! TLS that is passed on, or ends here with a stream of bytes within.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::sites::{listener, site, tls_route, to, to_pod};
use super::support::{Gateway, Pod, until};
use super::tls::{Authority, connect};
use crate::http::Options;
use crate::model::http::{Handling, Termination};

/// A Pod that reads to the end of the client's half and then answers with its name and what it read.
async fn after_the_end(name: &'static str) -> Pod {
    Pod::raw(move |mut stream| async move {
        let mut read = String::new();
        if stream.read_to_string(&mut read).await.is_ok() {
            let _ = stream.write_all(format!("{name} {read}").as_bytes()).await;
        }
    })
    .await
}

async fn say_all(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn tls_is_passed_on_by_name_and_each_half_ends_by_itself() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["a.example", "b.example"]);
    let secure = |name: &'static str| {
        let acceptor = TlsAcceptor::from(super::tls::server(&certificate, &[]));
        Pod::raw(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut read = String::new();
                stream.read_to_string(&mut read).await.unwrap();
                stream.write_all(format!("{name} {read}").as_bytes()).await.unwrap();
                let _ = stream.shutdown().await;
            }
        })
    };
    let (a, b) = (secure("a").await, secure("b").await);
    let routes = vec![tls_route("a.example", to_pod(a.address)), tls_route("*.example", to_pod(b.address))];
    let gateway = Gateway::new(site([listener("tls", None, Handling::TlsPassthrough(routes))]));

    for (name, expected) in [("a.example", "a hello"), ("b.example", "b hello")] {
        let mut stream = connect(&authority.client(&[], None), gateway.address, name).await.unwrap();
        assert_eq!(say_all(&mut stream, "hello").await, expected);
    }
}

#[tokio::test]
async fn a_name_without_listener_or_without_route_ends_without_a_word() {
    let pod = Pod::silent().await;
    let routes = vec![tls_route("a.example", to_pod(pod.address))];
    let gateway = Gateway::new(site([listener("tls", Some("*.example"), Handling::TlsPassthrough(routes))]));

    for name in ["b.other", "b.example"] {
        let error = connect(&Authority::new().client(&[], None), gateway.address, name).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{name}: {error}");
    }
    assert_eq!(pod.connections(), 0);
}

#[tokio::test]
async fn tls_ends_here_and_the_rest_goes_on_by_weight() {
    let authority = Authority::new();
    let (a, b) = (after_the_end("a").await, after_the_end("b").await);
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let termination =
        Termination { certificates: vec![authority.certificate(&["a.example"])], client_validation: None };
    let routes = vec![tls_route("a.example", to(&[(a.address, 2), (b.address, 1), (dead, 1)]))];
    let gateway = Gateway::new(site([listener("tls", None, Handling::TlsTerminate(Arc::new(termination), routes))]));
    let mut answers = Vec::new();

    for _ in 0..8 {
        let mut stream = connect(&authority.client(&[], None), gateway.address, "a.example").await.unwrap();
        answers.push(say_all(&mut stream, "hello").await);
    }

    assert!(answers.iter().all(|answer| answer == "a hello" || answer == "b hello"), "{answers:?}");
    assert!(answers.iter().filter(|answer| *answer == "a hello").count() >= 4, "{answers:?}");
}

#[tokio::test]
async fn a_stream_ends_some_time_after_its_listener() {
    let authority = Authority::new();
    let pod = after_the_end("a").await;
    let termination =
        Termination { certificates: vec![authority.certificate(&["a.example"])], client_validation: None };
    let routes = vec![tls_route("a.example", to_pod(pod.address))];
    let own = site([listener("tls", None, Handling::TlsTerminate(Arc::new(termination), routes))]);
    let options = Options { drain_timeout: Duration::from_millis(100), ..Options::default() };
    let gateway = Gateway::with(own, options, None);
    let mut stream = connect(&authority.client(&[], None), gateway.address, "a.example").await.unwrap();
    until("the Pod has it", || pod.connections() == 1).await;

    gateway.live.install(&BTreeMap::new());

    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    until("all have ended", || gateway.server.open_connections() == 0).await;
}
