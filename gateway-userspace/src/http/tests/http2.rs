//! HTTP/2 on both sides: streams, trailers as gRPC has them, and connections that the backend ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Request, Response, StatusCode};
use tokio::net::TcpStream;

use super::sites::{clear, rule, to_pod};
use super::support::{AnyBody, Gateway, Pod, PodSpeech, get, get2, nothing, read, say, text};
use crate::http::Options;
use crate::model::http::{BackendRef, Rule, Speech};

fn over_http2(pod: &Pod) -> BackendRef {
    BackendRef { speech: Speech::Http2, ..to_pod(pod.address) }
}

#[tokio::test]
async fn a_request_of_http2_reaches_a_pod_of_http1() {
    let pod = Pod::echo(PodSpeech::Http1).await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut client = gateway.http2().await;

    let (status, seen) = read(client.send_request(get2("shop.example:8080", "/a?b")).await.unwrap()).await;

    assert_eq!(status, 200);
    assert!(seen.starts_with("GET /a?b\n"), "{seen}");
    assert!(seen.contains("\nhost: shop.example:8080\n"), "{seen}");
    assert!(seen.contains("\nforwarded: for=127.0.0.1;host=\"shop.example:8080\";proto=http\n"), "{seen}");
}

#[tokio::test]
async fn a_request_of_http1_reaches_a_pod_of_http2() {
    let pod = Pod::echo(PodSpeech::Http2).await;
    let mut backend = over_http2(&pod);
    backend.host_header = Some("inner.example".to_string());
    let gateway = Gateway::new(clear(rule([backend])));

    let (status, seen) = gateway.get("/a?b").await;

    assert_eq!(status, 200);
    assert!(seen.starts_with("GET http://inner.example/a?b\n"), "{seen}");
    assert!(seen.contains("\nx-forwarded-host: shop.example\n"), "{seen}");
}

#[tokio::test]
async fn a_request_without_host_reaches_pods_with_the_address_that_it_was_sent_to() {
    for (speech, backend) in [(PodSpeech::Http1, Speech::Http), (PodSpeech::Http2, Speech::Http2)] {
        let pod = Pod::of(speech, |request| async move {
            let host = request.headers().get("host").map(|host| host.to_str().unwrap());
            let host = host.or(request.uri().authority().map(Authority::as_str));
            Response::new(text(format!("host={}, {:?}", host.unwrap(), request.headers().get("x-forwarded-host"))))
        })
        .await;
        let gateway = Gateway::new(clear(rule([BackendRef { speech: backend, ..to_pod(pod.address) }])));

        let answer = say(&mut gateway.connect().await, "GET / HTTP/1.0\r\n\r\n", "no such text").await;

        assert!(answer.ends_with(&format!("host={}, None", gateway.address)), "{answer}");
    }
}

#[tokio::test]
async fn cookies_that_come_one_by_one_reach_a_pod_as_one_field() {
    for (speech, backend) in [(PodSpeech::Http1, Speech::Http), (PodSpeech::Http2, Speech::Http2)] {
        let pod = Pod::of(speech, |request| async move {
            let cookies: Vec<_> = request.headers().get_all("cookie").iter().collect();
            Response::new(text(format!("{cookies:?}")))
        })
        .await;
        let gateway = Gateway::new(clear(rule([BackendRef { speech: backend, ..to_pod(pod.address) }])));
        let mut request = get2("a", "/");
        for cookie in ["a=1", "b=2; c=3", "d=4"] {
            request.headers_mut().append("cookie", cookie.parse().unwrap());
        }

        let (_, seen) = read(gateway.http2().await.send_request(request).await.unwrap()).await;

        assert_eq!(seen, r#"["a=1; b=2; c=3; d=4"]"#);
    }
}

#[tokio::test]
async fn a_head_alone_is_answered_by_a_head_alone_also_if_no_pod_answers() {
    let gateway = Gateway::new(clear(rule([])));
    let (mut client, connection) = h2::client::handshake(gateway.connect().await).await.unwrap();
    tokio::spawn(connection);
    let mut ask = |method| {
        let request = Request::builder().method(method).uri("http://a/").body(()).unwrap();
        client.send_request(request, true).unwrap().0
    };

    let (mut get, mut head) = (ask("GET").await.unwrap(), ask("HEAD").await.unwrap());

    assert_eq!((get.status(), head.status()), (StatusCode::INTERNAL_SERVER_ERROR, StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(head.headers()["content-length"], get.headers()["content-length"]);
    assert!(get.body_mut().data().await.unwrap().unwrap().starts_with(b"no_backends: "));
    assert!(head.body_mut().data().await.is_none());
}

#[tokio::test]
async fn a_call_streams_both_ways_and_ends_with_trailers() {
    let pod = Pod::of(PodSpeech::Http2, |request| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let end = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        // Each message is answered before the next one is read.
        let messages = request.into_body().into_data_stream().map(|message| Ok(Frame::data(message.unwrap())));
        let body = messages.chain(futures::stream::iter([Ok(Frame::trailers(end))]));
        let body: AnyBody = BodyExt::boxed(StreamBody::new(body));
        Response::new(body)
    })
    .await;
    let gateway = Gateway::new(clear(Rule { is_grpc: true, ..rule([over_http2(&pod)]) }));
    let mut client = gateway.http2().await;
    let (sender, messages) = futures::channel::mpsc::unbounded::<Bytes>();
    let body: AnyBody = BodyExt::boxed(StreamBody::new(messages.map(|message| Ok(Frame::data(message)))));
    let request = Request::post("http://a/service/method").header("te", "trailers").body(body).unwrap();

    let mut answers = client.send_request(request).await.unwrap().into_body();

    for message in ["one", "two", "three"] {
        sender.unbounded_send(Bytes::from(message)).unwrap();
        assert_eq!(answers.frame().await.unwrap().unwrap().into_data().unwrap(), message);
    }
    drop(sender);
    let trailers = answers.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn many_streams_share_one_connection_to_a_pod() {
    let pod = Pod::of(PodSpeech::Http2, |_| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Response::new(text("a"))
    })
    .await;
    let gateway = Gateway::new(clear(rule([over_http2(&pod)])));
    let client = gateway.http2().await;

    let requests = (0..50).map(|_| {
        let mut client = client.clone();
        async move { read(client.send_request(get2("a", "/")).await.unwrap()).await }
    });
    let answers = futures::future::join_all(requests).await;

    assert!(answers.iter().all(|answer| *answer == (200, "a".to_string())));
    assert_eq!(pod.connections(), 1);
}

#[tokio::test]
async fn a_pod_that_says_goaway_costs_no_request() {
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let pod = Pod::raw(move |stream| serve_three(stream, Arc::clone(&counted))).await;
    let gateway = Gateway::new(clear(rule([over_http2(&pod)])));
    let mut client = gateway.http2().await;

    for _ in 0..12 {
        let request = Request::post("http://a/").body(nothing()).unwrap();
        assert_eq!(read(client.send_request(request).await.unwrap()).await, (200, "a".to_string()));
    }

    assert_eq!(served.load(Ordering::SeqCst), 12);
    assert!(pod.connections() >= 4);
}

#[tokio::test]
async fn a_client_that_breaks_off_or_pauses_is_at_fault_and_not_the_pod() {
    let pod = Pod::of(PodSpeech::Http2, |request| async move {
        let _ = request.into_body().collect().await;
        Response::new(text("a"))
    })
    .await;
    let options = Options { body_timeout: Duration::from_millis(300), ..Options::default() };
    let gateway = Gateway::with(clear(rule([over_http2(&pod)])), options, None);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n";

    for _ in 0..3 {
        let answer = say(&mut gateway.connect().await, &format!("{head}ZZ\r\n"), "no such text").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let answer = say(&mut gateway.connect().await, head, "no such text").await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }

    let rejected = gateway.server.counts().rejected;
    assert_eq!((rejected["client_body"], rejected["body_timeout"]), (3, 3), "{rejected:?}");
    assert_eq!(gateway.server.counts().ejections, 0);
}

#[tokio::test]
async fn a_stream_may_be_silent_if_it_is_grpc_and_no_longer_than_a_body_otherwise() {
    let pod = Pod::of(PodSpeech::Http2, |request| async move {
        let _ = request.into_body().collect().await;
        Response::new(text("a"))
    })
    .await;
    let options = Options { body_timeout: Duration::from_millis(300), ..Options::default() };
    let gateway = Gateway::with(clear(rule([over_http2(&pod)])), options, None);
    let mut client = gateway.http2().await;
    let silent = |content_type| {
        let body: AnyBody = BodyExt::boxed(StreamBody::new(futures::stream::pending()));
        Request::post("http://a/").header("content-type", content_type).body(body).unwrap()
    };

    let answer = tokio::time::timeout(Duration::from_secs(20), client.send_request(silent("application/json"))).await;
    assert_eq!(answer.expect("an answer").unwrap().status(), StatusCode::REQUEST_TIMEOUT);

    let call = client.send_request(silent("application/grpc+proto"));
    assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err(), "it waits for the client");
}

/// Serves three requests and says GOAWAY, as servers do that limit a connection's life.
async fn serve_three(stream: TcpStream, served: Arc<AtomicUsize>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut left = 3;
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        body.send_data(Bytes::from("a"), true).unwrap();
        served.fetch_add(1, Ordering::SeqCst);
        left -= 1;
        if left == 0 {
            connection.graceful_shutdown();
        }
    }
}

#[tokio::test]
async fn clients_that_do_not_read_hold_nobody_up_who_shares_a_pods_connection() {
    let pod = Pod::of(PodSpeech::Http2, |request| async move {
        Response::new(text(if request.uri().path() == "/large" { vec![7; 4 << 20] } else { b"small".to_vec() }))
    })
    .await;
    let gateway = Gateway::new(clear(rule([over_http2(&pod)])));
    let mut stuck = Vec::new();
    for _ in 0..40 {
        let mut client = gateway.http1().await;
        let answer = client.send_request(get("/large")).await.unwrap();
        stuck.push((client, answer));
    }

    for _ in 0..10 {
        let answering = tokio::time::timeout(Duration::from_secs(20), gateway.get("/small"));
        assert_eq!(answering.await.expect("there is room for it"), (200, "small".to_string()));
    }
}
