//! Requests go where the picker of their Upstream wants them, over real connections.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use tokio::sync::Semaphore;

use super::sites::{clear, rule, to};
use super::support::{Gateway, Pod, PodSpeech, get, read, text, until};
use crate::http::Options;
use crate::model::http::{BackendRef, HashOf, Picker};

fn by(picker: Picker, pods: &[&Pod]) -> BackendRef {
    let members: Vec<_> = pods.iter().map(|pod| (pod.address, 10)).collect();
    BackendRef { picker, ..to(&members) }
}

/// A Pod that answers when it is let.
async fn waiting(name: &'static str) -> (Pod, Arc<Semaphore>) {
    let let_go = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&let_go);
    let pod = Pod::of(PodSpeech::Http1, move |_| {
        let permits = Arc::clone(&permits);
        async move {
            permits.acquire().await.unwrap().forget();
            Response::new(text(name))
        }
    })
    .await;
    (pod, let_go)
}

#[tokio::test]
async fn a_pod_with_open_requests_gets_no_more_than_its_share_of_them() {
    let ((slow, let_go), fast) = (waiting("slow").await, Pod::named("fast").await);
    let gateway = Gateway::new(clear(rule([by(Picker::LeastRequests, &[&slow, &fast])])));
    let mut held = None;
    while slow.connections() == 0 {
        let mut client = gateway.http1().await;
        let asked = tokio::spawn(async move { read(client.send_request(get("/")).await.unwrap()).await.1 });
        until("it is answered or waits", || asked.is_finished() || slow.connections() == 1).await;
        held = Some(asked);
    }

    for _ in 0..50 {
        assert_eq!(gateway.get("/").await.1, "fast");
    }

    let_go.add_permits(10);
    assert_eq!(held.unwrap().await.unwrap(), "slow");
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        seen.insert(gateway.get("/").await.1);
    }
    assert_eq!(seen.len(), 2, "what has ended counts no more: {seen:?}");
}

#[tokio::test]
async fn a_user_stays_with_a_pod_from_whichever_connection() {
    let pods = [Pod::named("a").await, Pod::named("b").await, Pod::named("c").await];
    let picker = Picker::Maglev(HashOf::Header("x-user".to_string()));
    let gateway = Gateway::new(clear(rule([by(picker, &pods.each_ref())])));
    let mut of_users = Vec::new();

    for user in 0..40 {
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let mut request = get("/");
            request.headers_mut().insert("x-user", user.to_string().parse().unwrap());
            seen.insert(read(gateway.http1().await.send_request(request).await.unwrap()).await.1);
        }
        assert_eq!(seen.len(), 1, "user {user}: {seen:?}");
        of_users.extend(seen);
    }

    for name in ["a", "b", "c"] {
        assert!(of_users.iter().any(|seen| seen == name), "{name} has users: {of_users:?}");
    }
}

#[tokio::test]
async fn a_client_that_a_trusted_proxy_names_stays_with_a_pod() {
    let pods = [Pod::named("a").await, Pod::named("b").await, Pod::named("c").await];
    let site = || clear(rule([by(Picker::Maglev(HashOf::Client), &pods.each_ref())]));
    let trusting = Options { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..Options::default() };

    for (options, expected) in [(trusting, 3), (Options::default(), 1)] {
        let gateway = Gateway::with(site(), options, None);
        let mut seen = BTreeSet::new();
        for client in 0..40 {
            let mut request = get("/");
            request.headers_mut().insert("x-forwarded-for", format!("192.0.2.{client}").parse().unwrap());
            seen.insert(read(gateway.http1().await.send_request(request).await.unwrap()).await.1);
        }
        assert_eq!(seen.len(), expected, "{seen:?}");
        tokio::time::timeout(Duration::from_secs(20), gateway.server.drain()).await.unwrap();
    }
}
