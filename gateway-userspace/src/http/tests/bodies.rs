//! Bodies and trailers pass as they come, and break off as they break off.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};

use super::sites::{clear, rule, to_pod};
use super::support::{AnyBody, Gateway, Pod, PodSpeech, get, read, say, text};
use crate::http::Options;
use crate::model::http::{BackendRef, Speech};

fn frames(frames: Vec<Frame<Bytes>>) -> AnyBody {
    BodyExt::boxed(StreamBody::new(futures::stream::iter(frames).map(Ok)))
}

fn trailers(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("x-sum".parse().unwrap(), value.parse().unwrap())])
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let pod = Pod::of(PodSpeech::Http1, |request| async move {
        let request = request.into_body().collect().await.unwrap();
        let sum = request.trailers().unwrap()["x-sum"].to_str().unwrap().to_string();
        let end = HeaderMap::from_iter([("x-sum".parse().unwrap(), format!("{sum}+").parse().unwrap())]);
        let mut response = Response::new(frames(vec![Frame::data(request.to_bytes()), Frame::trailers(end)]));
        response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
        response
    })
    .await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut client = gateway.http1().await;
    let body = frames(vec![Frame::data("abc".into()), Frame::trailers(trailers("7"))]);
    let request = Request::post("/").header("host", "a").header("te", "trailers").header("trailer", "x-sum");

    let response = client.send_request(request.body(body).unwrap()).await.unwrap();

    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "7+");
    assert_eq!(body.to_bytes(), "abc");
}

#[tokio::test]
async fn trailers_cannot_say_what_a_head_must() {
    let pod = Pod::of(PodSpeech::Http2, |request| async move {
        let request = request.into_body().collect().await.unwrap();
        let names: Vec<_> = request.trailers().unwrap().keys().map(ToString::to_string).collect();
        let end = [("content-length", "9"), ("grpc-status", "0"), ("date", "now")];
        let end = end.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Response::new(frames(vec![Frame::data(names.join(" ").into()), Frame::trailers(HeaderMap::from_iter(end))]))
    })
    .await;
    let backend = BackendRef { speech: Speech::Http2, ..to_pod(pod.address) };
    let gateway = Gateway::new(clear(rule([backend])));
    let mut end = trailers("7");
    for name in ["x-forwarded-for", "authorization", "host"] {
        end.insert(name, "b".parse().unwrap());
    }
    let request = Request::post("http://a/").body(frames(vec![Frame::data("abc".into()), Frame::trailers(end)]));

    let response = gateway.http2().await.send_request(request.unwrap()).await.unwrap();

    let body = response.into_body().collect().await.unwrap();
    let mut names: Vec<_> = body.trailers().unwrap().keys().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(names, ["date", "grpc-status"]);
    assert_eq!(body.to_bytes(), "x-sum");
}

#[tokio::test]
async fn a_get_keeps_a_body_of_unknown_length() {
    let pod = Pod::of(PodSpeech::Http1, |request| async move {
        let method = request.method().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(text(format!("{method} with {}", body.escape_ascii())))
    })
    .await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut stream = gateway.connect().await;
    let chunked = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";

    for turn in 0..2 {
        let answer = say(&mut stream, chunked, "GET with").await;
        assert!(answer.ends_with("GET with body"), "turn {turn}: {answer}");
    }

    let request = Request::get("http://a/").body(frames(vec![Frame::data("body".into())])).unwrap();
    let response = gateway.http2().await.send_request(request).await.unwrap();
    assert_eq!(read(response).await, (200, "GET with body".to_string()));
}

#[tokio::test]
async fn what_came_with_the_head_goes_out_with_the_head() {
    let pod = Pod::named("a small answer").await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut stream = gateway.connect().await;

    for turn in 0..200 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await.unwrap();
        assert!(piece[..length].ends_with(b"\r\n\r\na small answer"), "turn {turn}: a write of its own for the head");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_word_gets_it_from_the_pod() {
    let read = Arc::new(Notify::new());
    let may_read = Arc::clone(&read);
    let pod = Pod::of(PodSpeech::Http1, move |request| {
        let may_read = Arc::clone(&may_read);
        async move {
            may_read.notified().await;
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(text(body))
        }
    })
    .await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut stream = gateway.connect().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = [0; 64];
    let early = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut buffer)).await;
    assert!(early.is_err(), "nobody reads the body yet");

    read.notify_one();

    assert_eq!(say(&mut stream, "", "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    let answer = say(&mut stream, "body", "body").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_pod_that_does_not_want_a_body_says_so_before_it_is_sent() {
    let pod = Pod::of(PodSpeech::Http1, |_| async {
        let mut response = Response::new(text("no"));
        *response.status_mut() = hyper::StatusCode::EXPECTATION_FAILED;
        response
    })
    .await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut stream = gateway.connect().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";

    let answer = say(&mut stream, head, "no such text").await;

    assert!(answer.starts_with("HTTP/1.1 417 Expectation Failed\r\n"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_ended_as_if_complete() {
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let pod = Pod::raw(move |mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            let part = if head.starts_with('C') { "part" } else { "4\r\npart\r\n" };
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{part}").as_bytes()).await.unwrap();
        })
        .await;
        let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
        let mut client = gateway.http1().await;

        let response = client.send_request(get("/")).await.unwrap();

        assert!(response.into_body().collect().await.is_err(), "{head}");
        assert_eq!(gateway.server.counts().rejected["backend_body"], 1);
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_breaks_off_at_the_pod() {
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    let pod = Pod::of(PodSpeech::Http1, move |request| {
        let sender = sender.clone();
        async move {
            sender.send(request.into_body().collect().await.is_err()).unwrap();
            Response::new(text(""))
        }
    })
    .await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));

    let mut stream = gateway.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(stream);
    assert!(outcomes.recv().await.unwrap());

    let mut stream = gateway.connect().await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\nZZ\r\n";
    let answer = say(&mut stream, request, "no such text").await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(outcomes.recv().await.unwrap());
}

#[tokio::test]
async fn a_client_that_does_not_go_on_with_a_body_is_given_up() {
    let pod = Pod::of(PodSpeech::Http1, |request| async move {
        let _ = request.into_body().collect().await;
        Response::new(text(""))
    })
    .await;
    let options = Options { body_timeout: Duration::from_millis(100), ..Options::default() };
    let gateway = Gateway::with(clear(rule([to_pod(pod.address)])), options, None);
    let mut stream = gateway.connect().await;

    let answer = say(&mut stream, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\npart", "no such text").await;

    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
}

#[tokio::test]
async fn a_pod_that_does_not_read_stops_the_client() {
    let pod = Pod::silent().await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut stream = gateway.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n").await.unwrap();

    let piece = vec![0; 1 << 20];
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), stream.write(&piece)).await {
        sent += written.unwrap();
        assert!(sent < 200 << 20, "somebody gathers the body");
    }
}
