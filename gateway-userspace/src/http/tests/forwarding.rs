//! Requests go to the Pods that they shall go to, with what they shall say.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::header::{COOKIE, SET_COOKIE};
use hyper::{Request, Response};

use super::sites::{clear, rule, to, to_pod};
use super::support::{Gateway, Pod, PodSpeech, get, nothing, read, say, text, until};
use crate::model::http::{Filter, HeaderChanges, Mirror, PathChange, Retry, Rewrite, Rule, Session};

#[tokio::test(flavor = "multi_thread")]
async fn nine_hundred_requests_are_shared_exactly_in_two_levels() {
    let pods = [Pod::named("a").await, Pod::named("b").await, Pod::named("c").await];
    let mut first = to(&[(pods[0].address, 5), (pods[1].address, 3)]);
    first.group.weight = 2;
    first.group.reference = "Service shop/first:80".to_string();
    let gateway = Gateway::new(clear(rule([first, to_pod(pods[2].address)])));

    let clients = (0..6).map(|_| async {
        let mut client = gateway.http1().await;
        let mut counts = BTreeMap::new();
        for _ in 0..200 {
            let (status, name) = read(client.send_request(get("/")).await.unwrap()).await;
            assert_eq!(status, 200);
            *counts.entry(name).or_insert(0) += 1;
            client.ready().await.unwrap();
        }
        counts
    });
    let mut all = BTreeMap::new();
    for counts in futures::future::join_all(clients).await {
        for (name, count) in counts {
            *all.entry(name).or_insert(0) += count;
        }
    }

    let expected = [("a", 500), ("b", 300), ("c", 400)].map(|(name, count)| (name.to_string(), count));
    assert_eq!(all, BTreeMap::from(expected));
}

#[tokio::test]
async fn a_connection_to_a_pod_is_used_again() {
    let pod = Pod::named("a").await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut client = gateway.http1().await;

    for _ in 0..100 {
        assert_eq!(read(client.send_request(get("/")).await.unwrap()).await.1, "a");
        client.ready().await.unwrap();
    }

    assert_eq!(pod.connections(), 1);
    assert_eq!(gateway.server.counts().requests, 100);
}

#[tokio::test]
async fn pods_see_who_asked_and_the_host_that_they_want() {
    let pod = Pod::echo(PodSpeech::Http1).await;
    let mut backend = to_pod(pod.address);
    backend.host_header = Some("httpbin.internal".to_string());
    let gateway = Gateway::new(clear(rule([backend])));
    let mut client = gateway.http1().await;
    let mut request = get("/a?b=c");
    request.headers_mut().insert("x-forwarded-for", "1.1.1.1".parse().unwrap());
    request.headers_mut().insert("connection", "close, x-hop".parse().unwrap());
    request.headers_mut().insert("x-hop", "1".parse().unwrap());

    let (_, seen) = read(client.send_request(request).await.unwrap()).await;

    let port = gateway.address.port();
    let expected = format!(
        "GET /a?b=c\nforwarded: for=127.0.0.1;host=shop.example;proto=http\nhost: httpbin.internal\n\
         x-forwarded-for: 127.0.0.1\nx-forwarded-host: shop.example\nx-forwarded-port: {port}\nx-forwarded-proto: http"
    );
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn filters_change_request_and_answer() {
    let pod = Pod::echo(PodSpeech::Http1).await;
    let rewrite =
        Rewrite { hostname: Some("inner.example".to_string()), path: Some(PathChange::Full("/other".to_string())) };
    let set = |name: &str| HeaderChanges { set: vec![(name.to_string(), "1".to_string())], ..HeaderChanges::default() };
    let mut backend = to_pod(pod.address);
    backend.filters = vec![Filter::RequestHeaders(set("x-of-reference"))];
    let filters = vec![Filter::Rewrite(rewrite), Filter::ResponseHeaders(set("x-answered"))];
    let gateway = Gateway::new(clear(Rule { filters, ..rule([backend]) }));
    let mut client = gateway.http1().await;

    let response = client.send_request(get("/path?q=1")).await.unwrap();

    assert_eq!(response.headers()["x-answered"], "1");
    let (_, seen) = read(response).await;
    assert!(seen.starts_with("GET /other?q=1\n"), "{seen}");
    assert!(seen.contains("\nhost: inner.example\n"), "{seen}");
    assert!(seen.contains("\nx-of-reference: 1"), "{seen}");
    assert!(seen.contains("\nx-forwarded-host: shop.example\n"), "{seen}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let pod = Pod::echo(PodSpeech::Http1).await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut stream = gateway.connect().await;

    let requests = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answers = say(&mut stream, requests, "no such text").await;

    let places: Vec<_> = ["GET /1", "GET /2", "GET /3"].iter().map(|path| answers.find(path).unwrap()).collect();
    assert!(places.is_sorted(), "{answers}");
}

#[tokio::test]
async fn a_bad_request_in_a_pipeline_ends_it() {
    let pod = Pod::named("a").await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut stream = gateway.connect().await;

    let requests = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
    let answers = say(&mut stream, requests, "bad_request").await;
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
    assert!(answers.contains("HTTP/1.1 400 Bad Request\r\n"), "{answers}");

    let mut stream = gateway.connect().await;
    let call = "POST /1 HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n";
    let answers = say(&mut stream, &format!("{call}GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"), "no such text").await;
    assert!(answers.contains("\r\nconnection: close\r\n"), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");

    let mut stream = gateway.connect().await;
    let smuggled = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answers = say(&mut stream, smuggled, "no such text").await;
    assert!(answers.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answers}");
    assert_eq!(pod.connections(), 1);
}

#[tokio::test]
async fn the_connections_of_a_pod_that_is_gone_end_at_once() {
    let (old, new) = (Pod::named("old").await, Pod::named("new").await);
    let gateway = Gateway::new(clear(rule([to_pod(old.address)])));
    assert_eq!(gateway.get("/").await.1, "old");
    until("pooled", || gateway.live.endpoints().iter().map(|endpoint| endpoint.pooled()).sum::<usize>() == 1).await;

    gateway.serve(clear(rule([to_pod(new.address)])));

    until("the old Pod's connection ends", || old.open.load(Ordering::SeqCst) == 0).await;
    assert_eq!(gateway.get("/").await.1, "new");
}

#[tokio::test]
async fn a_change_of_the_model_keeps_connections_to_pods_and_cursors() {
    let pods = [Pod::named("a").await, Pod::named("b").await];
    let backends = [(pods[0].address, 1), (pods[1].address, 1)];
    let gateway = Gateway::new(clear(rule([to(&backends)])));
    let mut client = gateway.http1().await;
    let mut names = Vec::new();

    for turn in 0..8 {
        let change = HeaderChanges { remove: vec![format!("x-{turn}")], ..HeaderChanges::default() };
        let filters = vec![Filter::ResponseHeaders(change)];
        gateway.serve(clear(Rule { filters, ..rule([to(&backends)]) }));
        names.push(read(client.send_request(get("/")).await.unwrap()).await.1);
        client.ready().await.unwrap();
    }

    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "they take turns: {names:?}");
    assert_eq!((pods[0].connections(), pods[1].connections()), (1, 1));
}

#[tokio::test]
async fn a_client_stays_with_its_pod() {
    let pods = [Pod::named("a").await, Pod::named("b").await];
    let session = Session {
        name: "stay".to_string(),
        is_header: false,
        is_permanent: false,
        absolute_timeout: None,
        idle_timeout: None,
    };
    let rule = Rule { session: Some(session), ..rule([to(&[(pods[0].address, 1), (pods[1].address, 1)])]) };
    let gateway = Gateway::new(clear(rule));
    let mut client = gateway.http1().await;
    let response = client.send_request(get("/")).await.unwrap();
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_string();
    let (_, first) = read(response).await;

    for _ in 0..5 {
        client.ready().await.unwrap();
        let mut request = get("/");
        request.headers_mut().insert(COOKIE, format!("a=b; {cookie}").parse().unwrap());
        let response = client.send_request(request).await.unwrap();

        assert!(!response.headers().contains_key(SET_COOKIE));
        assert_eq!(read(response).await.1, first);
    }
}

#[tokio::test]
async fn copies_go_to_a_mirror_with_their_bodies() {
    let (sender, mut copies) = tokio::sync::mpsc::unbounded_channel();
    let mirror = Pod::of(PodSpeech::Http1, move |request| {
        let sender = sender.clone();
        async move {
            let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
            sender.send(body).unwrap();
            Response::new(nothing())
        }
    })
    .await;
    let pod = Pod::named("a").await;
    let backend = to_pod(mirror.address);
    let filters = vec![Filter::Mirror(Box::new(Mirror { backend, fraction: (1, 2) }))];
    let gateway = Gateway::new(clear(Rule { filters, ..rule([to_pod(pod.address)]) }));
    let mut client = gateway.http1().await;

    for turn in 0..4 {
        let request = Request::post("/").header("host", "a").body(text(format!("body {turn}"))).unwrap();
        assert_eq!(read(client.send_request(request).await.unwrap()).await, (200, "a".to_string()));
        client.ready().await.unwrap();
    }

    let mut seen = [copies.recv().await.unwrap(), copies.recv().await.unwrap()];
    seen.sort();
    assert_eq!(seen, ["body 1", "body 3"]);
}

#[tokio::test]
async fn a_rule_says_after_which_answers_another_attempt_is_made() {
    let turns = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&turns);
    let pod = Pod::of(PodSpeech::Http1, move |_| {
        let turn = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut response = Response::new(text(turn.to_string()));
            *response.status_mut() =
                if turn < 2 { hyper::StatusCode::SERVICE_UNAVAILABLE } else { hyper::StatusCode::OK };
            response
        }
    })
    .await;
    let retry = |attempts| Retry { codes: [503].into(), attempts, backoff: Some(Duration::from_millis(1)) };
    let gateway = Gateway::new(clear(Rule { retry: Some(retry(Some(2))), ..rule([to_pod(pod.address)]) }));

    assert_eq!(gateway.get("/").await, (200, "2".to_string()));

    turns.store(0, Ordering::SeqCst);
    gateway.serve(clear(Rule { retry: Some(retry(None)), ..rule([to_pod(pod.address)]) }));
    assert_eq!(gateway.get("/").await, (503, "1".to_string()));
}
