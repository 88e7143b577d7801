//! Backends that fail their health check get nothing new, unless all do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::{Request, Response};

use super::sites::{clear, rule, to};
use super::support::{AnyBody, Gateway, Pod, PodSpeech, text, until};
use crate::http::endpoint::Ailment;
use crate::http::health;
use crate::model::http::{BackendRef, HealthCheck, ProxyVersion, Rule, Speech};

/// A Pod that answers with its name, and its check as it is told to.
async fn checked(name: &'static str, speech: PodSpeech) -> (Pod, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&is_well);
    let pod = Pod::of(speech, move |request: Request<hyper::body::Incoming>| {
        let is_check = request.uri().path() == "/healthz";
        let is_right = request.headers().get("host").is_none_or(|host| host == "health.example");
        let is_well = !is_check || state.load(Ordering::SeqCst) && is_right;
        async move {
            let mut response: Response<AnyBody> = Response::new(text(name));
            *response.status_mut() = if is_well { 200 } else { 503 }.try_into().unwrap();
            response
        }
    })
    .await;
    (pod, is_well)
}

fn check() -> Arc<HealthCheck> {
    Arc::new(HealthCheck {
        path: "/healthz".to_string(),
        host: Some("health.example".to_string()),
        interval: Duration::from_millis(50),
        timeout: Duration::from_secs(5),
        healthy_threshold: 2,
        unhealthy_threshold: 2,
        expected: vec![200..=299],
    })
}

fn checking(pods: &[&Pod], speech: Speech) -> Rule {
    let members: Vec<_> = pods.iter().map(|pod| (pod.address, 10)).collect();
    rule([BackendRef { health_check: Some(check()), speech, ..to(&members) }])
}

/// The backends that get nothing new, as long as others can, and why.
fn ailing(gateway: &Gateway) -> Vec<(SocketAddr, Ailment)> {
    let endpoints = gateway.live.endpoints();
    endpoints.iter().filter_map(|endpoint| Some((endpoint.address, endpoint.ailment()?))).collect()
}

async fn answers(gateway: &Gateway) -> Vec<String> {
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(gateway.get("/").await.1);
    }
    answers.sort();
    answers
}

#[tokio::test]
async fn a_backend_that_fails_its_check_is_left_out_until_it_passes_again() {
    for (speech, pods) in [(Speech::Http, PodSpeech::Http1), (Speech::Http2, PodSpeech::Http2)] {
        let ((a, a_is_well), (b, b_is_well)) = (checked("a", pods).await, checked("b", pods).await);
        let gateway = Gateway::new(clear(checking(&[&a, &b], speech)));
        let checks = tokio::spawn(health::run(Arc::clone(&gateway.live)));
        assert_eq!(answers(&gateway).await, ["a", "a", "a", "b", "b", "b"]);

        a_is_well.store(false, Ordering::SeqCst);
        until("a is left out", || ailing(&gateway) == [(a.address, Ailment::FailsCheck)]).await;
        assert_eq!(answers(&gateway).await, ["b"; 6]);

        b_is_well.store(false, Ordering::SeqCst);
        until("b fails too", || ailing(&gateway).len() == 2).await;
        assert_eq!(answers(&gateway).await, ["a", "a", "a", "b", "b", "b"], "all fail, so all are used");

        a_is_well.store(true, Ordering::SeqCst);
        until("a is back", || ailing(&gateway) == [(b.address, Ailment::FailsCheck)]).await;
        assert_eq!(answers(&gateway).await, ["a"; 6]);
        checks.abort();
    }
}

#[tokio::test]
async fn backends_that_come_later_are_asked_and_those_that_went_are_not() {
    let ((a, _), (b, b_is_well)) = (checked("a", PodSpeech::Http1).await, checked("b", PodSpeech::Http1).await);
    let gateway = Gateway::new(clear(checking(&[&a], Speech::Http)));
    let checks = tokio::spawn(health::run(Arc::clone(&gateway.live)));
    until("a is asked", || a.connections() > 0).await;

    b_is_well.store(false, Ordering::SeqCst);
    assert_eq!(gateway.serve(clear(checking(&[&b], Speech::Http))), []);

    until("b fails", || ailing(&gateway) == [(b.address, Ailment::FailsCheck)]).await;
    let before = a.connections();
    let of_b = b.connections();
    until("b is asked again", || b.connections() > of_b + 5).await;
    assert!(a.connections() <= before + 1, "one check may have been under way");
    checks.abort();
}

#[tokio::test]
async fn a_backend_that_wants_the_proxy_protocol_is_told_that_nobody_is_behind_a_check() {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let notes = Arc::clone(&heard);
    let pod = Pod::raw(move |mut stream| {
        let notes = Arc::clone(&notes);
        async move {
            let mut bytes = [0; 15];
            if tokio::io::AsyncReadExt::read_exact(&mut stream, &mut bytes).await.is_ok() {
                notes.lock().unwrap().push(bytes);
            }
        }
    })
    .await;
    let backend = BackendRef { health_check: Some(check()), proxy: Some(ProxyVersion::V1), ..to(&[(pod.address, 10)]) };
    let gateway = Gateway::new(clear(rule([backend])));
    let checks = tokio::spawn(health::run(Arc::clone(&gateway.live)));

    until("it is left out", || ailing(&gateway) == [(pod.address, Ailment::FailsCheck)]).await;

    assert_eq!(&heard.lock().unwrap()[0], b"PROXY UNKNOWN\r\n");
    checks.abort();
}
