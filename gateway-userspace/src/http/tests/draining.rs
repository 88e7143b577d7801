//! Connections end gently when what they were made for goes, and the log tells of every request.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::sites::{clear, listener, route, rule, site, tls_route, to, to_pod};
use super::support::{Gateway, Pod, PodSpeech, get, get2, read, text, until};
use crate::http::{AccessLog, Options};
use crate::model::http::{Handling, Rule};

/// A Pod that answers as many requests as it is told to.
async fn waiting() -> (Pod, Arc<Semaphore>) {
    let go = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&go);
    let pod = Pod::of(PodSpeech::Http1, move |_| {
        let waits = Arc::clone(&waits);
        async move {
            waits.acquire().await.unwrap().forget();
            Response::new(text("late"))
        }
    })
    .await;
    (pod, go)
}

#[tokio::test]
async fn requests_on_their_way_end_well_when_the_server_stops() {
    let (pod, go) = waiting().await;
    let options = Options { last_call: Duration::from_millis(500), ..Options::default() };
    let gateway = Gateway::with(clear(rule([to_pod(pod.address)])), options, None);
    let (mut old, mut new) = (gateway.http1().await, gateway.http2().await);
    let mut idle = gateway.connect().await;
    let asked = (tokio::spawn(old.send_request(get("/"))), tokio::spawn(new.send_request(get2("a", "/"))));
    until("both are at the Pod", || pod.connections() == 2).await;

    let stopping = tokio::spawn(gateway.server.drain());

    assert_eq!(idle.read(&mut [0; 16]).await.unwrap_or(0), 0, "an idle connection ends soon");
    go.add_permits(2);
    let response = asked.0.await.unwrap().unwrap();
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(read(response).await, (200, "late".to_string()));
    assert_eq!(read(asked.1.await.unwrap().unwrap()).await, (200, "late".to_string()));
    stopping.await.unwrap();
    assert!(tokio::net::TcpStream::connect(gateway.address).await.is_err());
}

#[tokio::test]
async fn a_request_under_way_when_the_server_stops_is_served_on_new_and_on_idle_connections() {
    let pod = Pod::named("a").await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let (mut used, mut new) = (gateway.http1().await, gateway.http1().await);
    assert_eq!(read(used.send_request(get("/")).await.unwrap()).await.0, 200);
    let mut sniffed = gateway.connect().await;

    gateway.server.end_connections();
    let mut late = gateway.http1().await;

    for client in [&mut used, &mut new, &mut late] {
        client.ready().await.unwrap();
        let response = client.send_request(get("/")).await.unwrap();
        assert_eq!(response.headers()["connection"], "close");
        assert_eq!(read(response).await, (200, "a".to_string()));
    }
    sniffed.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    sniffed.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", answer.escape_ascii());
    until("all have ended", || gateway.server.open_connections() == 0).await;
}

#[tokio::test]
async fn what_does_not_end_in_time_is_ended() {
    let (pod, _go) = waiting().await;
    let options = Options { drain_timeout: Duration::from_millis(100), ..Options::default() };
    let gateway = Gateway::with(clear(rule([to_pod(pod.address)])), options, None);
    let mut client = gateway.http1().await;
    let asked = tokio::spawn(client.send_request(get("/")));
    until("it is at the Pod", || pod.connections() == 1).await;

    gateway.server.drain().await;

    assert!(asked.await.unwrap().is_err());
}

#[tokio::test]
async fn the_connections_of_a_frontend_that_goes_end_and_those_of_others_stay() {
    let pod = Pod::named("a").await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut client = gateway.http2().await;
    assert_eq!(read(client.send_request(get2("a", "/")).await.unwrap()).await.0, 200);

    gateway.serve(clear(Rule { name: Some("other".to_string()), ..rule([to_pod(pod.address)]) }));
    assert_eq!(read(client.send_request(get2("a", "/")).await.unwrap()).await.0, 200);
    assert_eq!(gateway.server.open_connections(), 1);

    gateway.live.install(&BTreeMap::new());
    until("GOAWAY ends it", || gateway.server.open_connections() == 0).await;
}

#[tokio::test]
async fn connections_in_the_clear_end_when_their_frontend_goes_over_to_tls() {
    let pod = Pod::named("a").await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut client = gateway.http2().await;
    assert_eq!(read(client.send_request(get2("a", "/")).await.unwrap()).await.0, 200);

    let routes = vec![tls_route("a.example", to_pod(pod.address))];
    gateway.serve(site([listener("web/tls", None, Handling::TlsPassthrough(routes))]));

    until("GOAWAY ends it", || gateway.server.open_connections() == 0).await;
}

#[tokio::test]
async fn a_listener_in_the_clear_may_go_while_others_share_its_connections() {
    let pod = Pod::named("a").await;
    let of =
        |name: &str, host: &str| listener(name, Some(host), Handling::Http(vec![route(rule([to_pod(pod.address)]))]));
    let gateway = Gateway::new(site([of("a", "shop.example"), of("b", "b.example")]));
    let mut client = gateway.http1().await;
    assert_eq!(read(client.send_request(get("/")).await.unwrap()).await.0, 200);

    gateway.serve(site([of("a", "shop.example")]));

    client.ready().await.unwrap();
    assert_eq!(read(client.send_request(get("/")).await.unwrap()).await.0, 200);
}

/// An output that a test can read.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Output {
    fn lines(&self) -> Vec<serde_json::Value> {
        let bytes = self.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn the_log_says_what_became_of_each_request() {
    let pod = Pod::named("a").await;
    let output = Output::default();
    let log = AccessLog::new(output.clone()).unwrap();
    let named = Rule { name: Some("main".to_string()), ..rule([to_pod(pod.address)]) };
    let gateway = Gateway::with(clear(named), Options::default(), Some(&log));
    assert_eq!(gateway.get("/a?b").await.0, 200);
    gateway.serve(clear(rule([to(&[])])));
    assert_eq!(gateway.get("/c").await.0, 503);

    until("two lines", || output.lines().len() == 2).await;

    // Each worker hands its lines over by itself.
    let mut lines = output.lines();
    lines.sort_by_key(|line| line["target"].to_string());
    let texts = ["method", "host", "target", "listener", "route", "rule", "reason", "scheme", "protocol"];
    let said = |line: &serde_json::Value| texts.map(|key| line[key].as_str().unwrap().to_string());
    let expected = ["GET", "shop.example", "/a?b", "web/http", "HTTPRoute shop/web", "main", "", "http", "HTTP/1.1"];
    assert_eq!(said(&lines[0]), expected);
    assert_eq!(said(&lines[1])[6], "none_ready");
    assert_eq!(lines[0]["backend"], format!("shop/pod-{}", pod.address.port()));
    assert_eq!((&lines[0]["status"], &lines[1]["status"]), (&200.into(), &503.into()));
    assert_eq!((&lines[0]["bytes_out"], &lines[0]["attempts"]), (&1.into(), &1.into()));
    let instant = |key: &str| lines[0][key].as_u64().unwrap_or_else(|| panic!("{key}"));
    let instants = [
        "front_request_start_us",
        "front_request_end_us",
        "back_request_start_us",
        "back_response_start_us",
        "front_response_start_us",
        "back_response_end_us",
        "front_response_end_us",
    ];
    assert!(instants.map(instant).is_sorted(), "{}", lines[0]);
}
