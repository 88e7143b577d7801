//! What clients are told when something goes wrong, and what is tried before.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::sites::{clear, listener, route, rule, site, to, to_pod};
use super::support::{Gateway, Pod, PodSpeech, get, nothing, read, say, text};
use crate::http::Options;
use crate::model::http::{Cors, Filter, Handling, HeaderChanges, Redirect, Rule, Timeouts};

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_pod_that_refuses_is_passed_over_for_another() {
    let pod = Pod::named("a").await;
    let gateway = Gateway::new(clear(rule([to(&[(nobody(), 1), (pod.address, 1)])])));
    let mut client = gateway.http1().await;

    for _ in 0..20 {
        let request = Request::post("/").header("host", "a").body(text("body")).unwrap();
        assert_eq!(read(client.send_request(request).await.unwrap()).await, (200, "a".to_string()));
        client.ready().await.unwrap();
    }

    let retries = gateway.server.counts().retries;
    assert!((1..=10).contains(&retries), "it is left out after a while: {retries}");
}

#[tokio::test]
async fn if_all_pods_refuse_the_answer_is_502() {
    let gateway = Gateway::new(clear(rule([to_pod(nobody())])));

    let (status, text) = gateway.get("/").await;

    assert_eq!(status, 502);
    assert!(text.starts_with("connect_failed: "), "{text}");
    assert!(gateway.server.counts().rejected["connect_failed"] == 1);
}

#[tokio::test]
async fn an_answer_in_a_backends_place_is_changed_as_its_own_would_be() {
    let set = HeaderChanges { set: vec![("x-site".to_owned(), "shop".to_owned())], ..HeaderChanges::default() };
    let cors = Cors { allow_origins: vec!["https://other.example".to_owned()], ..Cors::default() };
    let redirect =
        Redirect { scheme: None, hostname: Some("b.example".to_owned()), port: None, path: None, status: 302 };
    let filters = vec![Filter::ResponseHeaders(set), Filter::Cors(cors)];
    let nobody = Rule { filters: filters.clone(), ..rule([to(&[])]) };
    let elsewhere = Rule { filters: [filters, vec![Filter::Redirect(redirect)]].concat(), ..rule([]) };

    for (rule, status) in [(nobody, 503), (elsewhere, 302)] {
        let gateway = Gateway::new(clear(rule));
        let mut request = get("/");
        request.headers_mut().insert("origin", "https://other.example".parse().unwrap());
        let response = gateway.http1().await.send_request(request).await.unwrap();

        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["x-site"], "shop");
        assert_eq!(response.headers()["access-control-allow-origin"], "https://other.example");
    }
}

#[tokio::test]
async fn a_pod_that_ends_idle_connections_costs_no_request() {
    let pod = Pod::raw(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        // The next request is read, and the connection ends in its face.
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut client = gateway.http1().await;

    for _ in 0..10 {
        assert_eq!(read(client.send_request(get("/")).await.unwrap()).await, (200, "ok".to_string()));
        client.ready().await.unwrap();
    }
}

#[tokio::test]
async fn what_may_have_been_served_is_not_sent_again() {
    let pod = Pod::raw(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut client = gateway.http1().await;
    assert_eq!(read(client.send_request(get("/")).await.unwrap()).await.0, 200);
    client.ready().await.unwrap();

    let request = Request::post("/").header("host", "a").body(nothing()).unwrap();
    let (status, text) = read(client.send_request(request).await.unwrap()).await;

    assert_eq!(status, 502);
    assert!(text.starts_with("backend_closed: "), "{text}");
    assert_eq!(pod.connections(), 1);
}

#[tokio::test]
async fn an_answer_that_is_not_there_in_time_is_504() {
    let pod = Pod::silent().await;
    let limit = Some(Duration::from_millis(50));
    let cases = [
        (Timeouts { request: limit, backend_request: None }, "request_timeout: "),
        (Timeouts { request: None, backend_request: limit }, "backend_timeout: "),
    ];

    for (timeouts, reason) in cases {
        let gateway = Gateway::new(clear(Rule { timeouts, ..rule([to_pod(pod.address)]) }));
        let (status, text) = gateway.get("/").await;
        assert_eq!(status, 504);
        assert!(text.starts_with(reason), "{text}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_end_in_time_breaks_off() {
    let pod = Pod::raw(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart").await.unwrap();
        futures::future::pending::<()>().await;
    })
    .await;
    let limit = Some(Duration::from_secs(2));
    let cases = [
        (Timeouts { request: limit, backend_request: None }, "request_timeout"),
        (Timeouts { request: None, backend_request: limit }, "backend_timeout"),
        (Timeouts { request: Some(Duration::from_mins(1)), backend_request: limit }, "backend_timeout"),
    ];

    for (timeouts, reason) in cases {
        let gateway = Gateway::new(clear(Rule { timeouts, ..rule([to_pod(pod.address)]) }));
        let response = gateway.http1().await.send_request(get("/")).await.unwrap();

        assert_eq!(response.status(), 200);
        assert!(http_body_util::BodyExt::collect(response.into_body()).await.is_err());
        assert_eq!(gateway.server.counts().rejected[reason], 1);
    }
}

#[tokio::test]
async fn references_without_a_backend_are_told_apart() {
    let mut broken = to(&[]);
    broken.is_broken = true;
    let mut none_has_weight = to_pod(nobody());
    none_has_weight.group.weight = 0;
    let not_served = Rule { filters: vec![Filter::Broken], ..rule([to_pod(nobody())]) };
    let cases = [
        (rule([broken]), 500, "broken_reference"),
        (rule([to(&[])]), 503, "none_ready"),
        (rule([to(&[(nobody(), 0)])]), 503, "none_ready"),
        (rule([none_has_weight]), 500, "no_backends"),
        (rule([]), 500, "no_backends"),
        (not_served, 500, "broken_filter"),
    ];

    for (rule, status, reason) in cases {
        let gateway = Gateway::new(clear(rule));
        let (answered, text) = gateway.get("/").await;
        assert_eq!(answered, status, "{reason}");
        assert!(text.starts_with(reason), "{text}");
    }
}

#[tokio::test]
async fn a_host_of_no_listener_is_404_and_a_frontend_without_site_answers_nothing() {
    let pod = Pod::named("a").await;
    let handling = Handling::Http(vec![route(rule([to_pod(pod.address)]))]);
    let gateway = Gateway::new(site([listener("web/http", Some("*.other.example"), handling)]));
    let (status, text) = gateway.get("/").await;
    assert_eq!((status, text.split(':').next()), (404, Some("no_route")));

    gateway.live.install(&std::collections::BTreeMap::new());
    let mut stream = gateway.connect().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}

#[tokio::test]
async fn grpc_is_told_in_its_own_words() {
    let gateway = Gateway::new(clear(rule([to(&[])])));
    let mut client = gateway.http2().await;
    let request = Request::post("http://a/service/method").header("content-type", "application/grpc");

    let response = client.send_request(request.body(nothing()).unwrap()).await.unwrap();

    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!(response.headers()["content-type"], "application/grpc");
}

#[tokio::test]
async fn a_client_has_no_more_connections_than_it_may() {
    let pod = Pod::named("a").await;
    let options = Options { max_connections_per_client: Some(2), ..Options::default() };
    let gateway = Gateway::with(clear(rule([to_pod(pod.address)])), options, None);
    let (mut first, mut second) = (gateway.http1().await, gateway.http1().await);
    assert_eq!(read(first.send_request(get("/")).await.unwrap()).await.0, 200);
    assert_eq!(read(second.send_request(get("/")).await.unwrap()).await.0, 200);

    let mut third = gateway.connect().await;
    assert_eq!(third.read(&mut [0; 16]).await.unwrap_or(0), 0);

    drop(first);
    super::support::until("a place is free", || gateway.server.open_connections() < 2).await;
    assert_eq!(gateway.get("/").await.0, 200);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_given_up() {
    let options = Options { header_timeout: Duration::from_millis(100), ..Options::default() };
    let pod = Pod::named("a").await;
    let gateway = Gateway::with(clear(rule([to_pod(pod.address)])), options, None);

    for bytes in ["", "GET / HTTP/1.1\r\nHost:"] {
        let mut stream = gateway.connect().await;
        let answer = say(&mut stream, bytes, "no such text").await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let pod = Pod::of(PodSpeech::Http1, |_| async { Response::new(text("a")) }).await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let many = (0..150).map(|index| format!("x-{index}: 1\r\n")).collect::<Vec<_>>().concat();
    let mut stream = gateway.connect().await;

    let answer = say(&mut stream, &format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), "no such text").await;

    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}
