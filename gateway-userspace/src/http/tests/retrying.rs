//! What is tried again, when, and what the client gets if that comes to nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Request, Response, StatusCode};
use tokio::io::AsyncReadExt;

use super::sites::{clear, rule, to, to_pod};
use super::support::{AnyBody, Gateway, Pod, PodSpeech, get, nothing, read, text};
use crate::model::http::{BackendRef, Retry, Rule, Speech, Timeouts};

const LONG: Duration = Duration::from_secs(10);

fn with_retry(attempts: u32, backoff: Duration, rule: Rule) -> Rule {
    let retry = Retry { codes: [503].into(), attempts: Some(attempts), backoff: Some(backoff) };
    Rule { retry: Some(retry), ..rule }
}

fn unavailable() -> Response<AnyBody> {
    let mut response = Response::new(text("busy"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

fn post(path: &str) -> Request<AnyBody> {
    Request::post(path).header("host", "a").body(nothing()).unwrap()
}

/// A Pod that has no time for a POST, with the number of those that it saw.
async fn busy_with_posts() -> (Pod, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let pod = Pod::of(PodSpeech::Http2, move |request| {
        if request.method() == "POST" {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        async move {
            match request.uri().path() {
                "/busy" => unavailable(),
                "/slow" => futures::future::pending().await,
                _ => Response::new(text("a")),
            }
        }
    })
    .await;
    (pod, seen)
}

#[tokio::test]
async fn an_answer_that_nobody_may_try_again_goes_to_the_client_as_it_is() {
    let pod = Pod::of(PodSpeech::Http1, |_| async { unavailable() }).await;
    let gateway = Gateway::new(clear(with_retry(1000, Duration::ZERO, rule([to_pod(pod.address)]))));

    assert_eq!(gateway.get("/").await, (503, "busy".to_string()));
    assert!(gateway.server.counts().retries >= 100, "the budget ends the attempts, not the rule");
}

#[tokio::test]
async fn a_pause_before_another_attempt_ends_with_the_requests_time() {
    let ending = Pod::raw(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    let busy = Pod::of(PodSpeech::Http1, |_| async { unavailable() }).await;
    let timeouts = Timeouts { request: Some(Duration::from_millis(500)), backend_request: None };

    for (pod, status, start_of_text) in [(&ending, 504, "request_timeout: "), (&busy, 503, "busy")] {
        let rule = Rule { timeouts, ..rule([to_pod(pod.address)]) };
        let gateway = Gateway::new(clear(with_retry(5, LONG, rule)));
        let start = Instant::now();
        let (answered, text) = gateway.get("/").await;

        assert_eq!(answered, status);
        assert!(text.starts_with(start_of_text), "{text}");
        assert!(start.elapsed() < LONG / 2);
    }
}

#[tokio::test]
async fn what_a_pod_may_have_begun_is_not_sent_again_whatever_the_rule_says() {
    let (pod, seen) = busy_with_posts().await;
    let timeouts = Timeouts { request: None, backend_request: Some(Duration::from_millis(300)) };
    let backend = BackendRef { speech: Speech::Http2, ..to_pod(pod.address) };
    let gateway = Gateway::new(clear(with_retry(3, Duration::ZERO, Rule { timeouts, ..rule([backend]) })));

    for (path, status) in [("/", 200), ("/busy", 503), ("/slow", 504)] {
        seen.store(0, Ordering::SeqCst);
        let mut client = gateway.http1().await;
        assert_eq!(client.send_request(post(path)).await.unwrap().status(), status, "{path}");
        assert_eq!(seen.load(Ordering::SeqCst), 1, "{path}");
    }

    assert_eq!(gateway.get("/busy").await.0, 503);
    assert_eq!(gateway.server.counts().retries, 3, "a GET is sent again");
}

#[tokio::test]
async fn what_a_pod_has_refused_unseen_is_sent_again_whatever_it_is() {
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refused);
    let pod = Pod::raw(move |stream| {
        let counted = Arc::clone(&counted);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                if counted.fetch_add(1, Ordering::SeqCst) < 2 {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                    continue;
                }
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data(Bytes::from("a"), true).unwrap();
            }
        }
    })
    .await;
    let backend = BackendRef { speech: Speech::Http2, ..to_pod(pod.address) };
    let gateway = Gateway::new(clear(with_retry(0, LONG, rule([backend]))));

    let answer = gateway.http1().await.send_request(post("/")).await.unwrap();

    assert_eq!(read(answer).await, (200, "a".to_string()));
}

#[tokio::test]
async fn a_pod_that_cannot_be_reached_costs_none_of_the_rules_attempts_and_no_pause() {
    let pod = Pod::named("a").await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::new(clear(with_retry(1, LONG, rule([to(&[(nobody, 1), (pod.address, 1)])]))));
    let start = Instant::now();

    for _ in 0..4 {
        let mut client = gateway.http1().await;
        assert_eq!(read(client.send_request(get("/")).await.unwrap()).await, (200, "a".to_string()));
    }

    assert!(gateway.server.counts().retries >= 1);
    assert!(start.elapsed() < LONG / 2);
}
