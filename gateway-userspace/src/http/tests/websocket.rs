//! WebSocket, by `Upgrade` and by extended CONNECT.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use hyper::ext::Protocol;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::sites::{clear, rule, to, to_pod};
use super::support::{AnyBody, Gateway, Pod, PodSpeech, read, until};
use crate::http::Options;
use crate::model::http::{BackendRef, Rule, Speech, Timeouts};

/// A Pod that sends every message back.
async fn echoing() -> Pod {
    Pod::raw(|stream| async move {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                break;
            }
        }
    })
    .await
}

fn websocket(pod: &Pod) -> BackendRef {
    BackendRef { speech: Speech::WebSocket, ..to_pod(pod.address) }
}

#[tokio::test]
async fn messages_pass_both_ways_and_outlive_changes_of_the_route() {
    let pod = echoing().await;
    let gateway = Gateway::new(clear(rule([websocket(&pod)])));
    let address = format!("ws://{}/chat", gateway.address);
    let (mut socket, response) = tokio_tungstenite::connect_async(address).await.unwrap();
    assert_eq!(response.status(), 101);

    for turn in 0..5 {
        socket.send(Message::text(format!("message {turn}"))).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(format!("message {turn}")));
        let mut backend = websocket(&pod);
        backend.host_header = Some(format!("turn{turn}.example"));
        gateway.serve(clear(rule([backend])));
    }

    socket.close(None).await.unwrap();
    until("the Pod's side ends, too", || pod.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_client_of_http2_reaches_a_pod_of_http1() {
    let pod = echoing().await;
    let gateway = Gateway::new(clear(rule([websocket(&pod)])));
    let stream = TokioIo::new(gateway.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake::<_, _, AnyBody>(hyper_util::rt::TokioExecutor::new(), stream)
            .await
            .unwrap();
    tokio::spawn(connection);
    // The server's settings say that it knows extended CONNECT; a first answer proves that they are there.
    let plain = Request::get("http://a/").body(super::support::nothing()).unwrap();
    let _ = read(client.send_request(plain).await.unwrap()).await;
    let mut request = Request::new(super::support::nothing());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = "http://shop.example/chat".parse().unwrap();
    request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    request.extensions_mut().insert(Protocol::from_static("websocket"));

    let response = client.send_request(request).await.unwrap();

    assert_eq!(response.status(), 200);
    let stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    socket.send(Message::binary(Bytes::from(vec![7; 100_000]))).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().len(), 100_000);
}

#[tokio::test]
async fn a_pod_that_declines_is_heard_and_the_connection_goes_on() {
    let pod = Pod::named("no socket here").await;
    let gateway = Gateway::new(clear(rule([websocket(&pod)])));
    let mut stream = gateway.connect().await;
    let ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
               Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    let answer = super::support::say(&mut stream, ask, "no socket here").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");

    let next = super::support::say(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "no socket here").await;
    assert!(next.starts_with("HTTP/1.1 200 OK\r\n"), "{next}");
}

#[tokio::test]
async fn http_1_0_is_served_as_if_it_had_not_asked() {
    let pod = Pod::echo(PodSpeech::Http1).await;
    let gateway = Gateway::new(clear(rule([websocket(&pod)])));
    let ask = "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
               Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    let answer = super::support::say(&mut gateway.connect().await, ask, "no such text").await;

    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(!answer.contains("\nupgrade: "), "{answer}");
}

#[tokio::test]
async fn a_pod_that_cannot_be_reached_is_passed_over_for_another() {
    let pod = echoing().await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let backend = BackendRef { speech: Speech::WebSocket, ..to(&[(dead, 9), (pod.address, 1)]) };
    let gateway = Gateway::new(clear(rule([backend])));

    for _ in 0..10 {
        let address = format!("ws://{}/chat", gateway.address);
        let (mut socket, _) = tokio_tungstenite::connect_async(address).await.unwrap();
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    }
}

#[tokio::test]
async fn a_pod_that_does_not_go_over_in_time_is_given_up() {
    let pod = Pod::silent().await;
    let timeouts = Timeouts { request: Some(Duration::from_millis(100)), ..Timeouts::default() };
    let gateway = Gateway::new(clear(Rule { timeouts, ..rule([websocket(&pod)]) }));

    let refused = tokio_tungstenite::connect_async(format!("ws://{}/chat", gateway.address)).await;

    let tokio_tungstenite::tungstenite::Error::Http(response) = refused.unwrap_err() else { panic!("no answer") };
    assert_eq!(response.status(), 504);
}

#[tokio::test]
async fn a_socket_outlives_the_limits_of_its_rule() {
    let pod = echoing().await;
    let limit = Some(Duration::from_secs(1));
    let timeouts = Timeouts { request: limit, backend_request: limit };
    let gateway = Gateway::new(clear(Rule { timeouts, ..rule([websocket(&pod)]) }));
    let address = format!("ws://{}/chat", gateway.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(address).await.unwrap();

    tokio::time::sleep(Duration::from_millis(1500)).await;
    socket.send(Message::text("still here")).await.unwrap();

    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still here"));
}

#[tokio::test]
async fn a_socket_ends_some_time_after_its_listener() {
    let pod = echoing().await;
    let options = Options { drain_timeout: Duration::from_millis(300), ..Options::default() };
    let gateway = Gateway::with(clear(rule([websocket(&pod)])), options, None);
    let address = format!("ws://{}/chat", gateway.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(address).await.unwrap();

    gateway.live.install(&BTreeMap::new());
    socket.send(Message::text("still here")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still here"));

    assert!(socket.next().await.is_none_or(|message| message.is_err()), "its end");
    until("the Pod's side ends, too", || pod.open.load(Ordering::SeqCst) == 0).await;
}
