//! Two servers on the loopback: this cluster, which has the Secret, and the linked one.
//!
//! Kubeconfigs demand TLS, which the loopback server does not speak; so what is shown here of the linked cluster is that a
//! connection is tried, and what is said of it.

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::kubernetes::testing::{Answer, Server, Then, line, pace};
use crate::source::Kind;
use crate::source::remote::LinkHealth;

fn secret(kubeconfig: &str) -> serde_json::Value {
    let data = json!({"kubeconfig": k8s_openapi::ByteString(kubeconfig.as_bytes().to_vec())});
    json!({"metadata": {"name": "east", "resourceVersion": "1"}, "data": data})
}

fn kubeconfig(server: &str) -> String {
    json!({
        "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": server}}],
        "users": [{"name": "a", "user": {"token": "t"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    })
    .to_string()
}

fn wish(namespaces: &[&str]) -> BTreeMap<String, Wanted> {
    let namespaces = namespaces.iter().map(|namespace| (*namespace).into()).collect();
    BTreeMap::from([("east".into(), Wanted { secret: "east".into(), key: "kubeconfig".into(), namespaces })])
}

struct Bench {
    _server: Server,
    wishes: watch::Sender<BTreeMap<String, Wanted>>,
    news: UnboundedReceiver<Change>,
    task: JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bench {
    /// Links one cluster, with these Secrets at first and these events later.
    async fn start(secrets: Vec<serde_json::Value>, events: Vec<serde_json::Value>) -> Self {
        let server = Server::start(move |question, _| {
            assert!(question.starts_with("/api/v1/namespaces/beeline/secrets?fieldSelector=metadata.name%3Deast"));
            if question.contains("watch=true") {
                Answer::Lines(events.clone(), Then::Wait)
            } else {
                Answer::Json(200, json!({"metadata": {"resourceVersion": "1"}, "items": secrets}))
            }
        })
        .await;
        let (sender, news) = unbounded_channel();
        let (wishes, wished) = watch::channel(wish(&["shop"]));
        let slow = Pace { quiet: Duration::from_secs(10), ..pace() };
        let links = Links { client: server.client(), namespace: "beeline".into(), news: sender, pace: slow };
        Self { _server: server, wishes, news, task: tokio::spawn(links.follow(wished)) }
    }

    async fn next(&mut self) -> Change {
        timeout(Duration::from_secs(10), self.news.recv()).await.expect("news").expect("links")
    }

    async fn health(&mut self) -> LinkHealth {
        match self.next().await {
            Change::Link(link, health) if link == "east" => health,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_link_without_its_secret_says_so() {
    let mut bench = Bench::start(vec![], vec![]).await;

    let (reason, message) = bench.health().await.unauthorized.unwrap();
    assert_eq!(reason, "SecretNotFound");
    assert_eq!(message, "Secret beeline/east does not exist: make it, with the key kubeconfig");
}

#[tokio::test]
async fn a_secret_without_the_key_is_as_good_as_none() {
    let mut bench = Bench::start(vec![json!({"metadata": {}, "data": {"other": ""}})], vec![]).await;

    let (reason, message) = bench.health().await.unauthorized.unwrap();
    assert_eq!((reason, &*message), ("SecretNotFound", "Secret beeline/east has no key kubeconfig: add it"));
}

#[tokio::test]
async fn an_unsafe_kubeconfig_is_refused_and_the_field_is_named() {
    let unsafe_text = kubeconfig("https://127.0.0.1:1").replace(r#""token":"t""#, r#""exec":{"command":"touch"}"#);
    let mut bench = Bench::start(vec![secret(&unsafe_text)], vec![]).await;

    let (reason, message) = bench.health().await.unauthorized.unwrap();
    assert_eq!(reason, "UnsafeKubeconfig");
    assert!(message.starts_with("Secret beeline/east, key kubeconfig: users[0].user.exec: "), "{message}");
}

#[tokio::test]
async fn a_cluster_that_cannot_be_reached_is_a_failure_until_the_secret_is_deleted() {
    let text = secret(&kubeconfig("https://127.0.0.1:1"));
    let mut bench = Bench::start(vec![text.clone()], vec![]).await;

    let health = bench.health().await;
    assert_eq!(health.unauthorized, None);
    assert!(health.failure.unwrap().starts_with("Service in shop: the API server cannot be reached"));

    let mut bench = Bench::start(vec![text.clone()], vec![line("DELETED", &text)]).await;
    let health = loop {
        let health = bench.health().await;
        if health.unauthorized.is_some() {
            break health;
        }
    };
    assert_eq!((health.unauthorized.unwrap().0, health.failure), ("SecretNotFound", None));
}

#[tokio::test]
async fn a_link_that_is_deleted_is_unlinked_and_namespaces_that_it_drops_become_empty() {
    let mut bench = Bench::start(vec![], vec![]).await;
    bench.health().await;

    bench.wishes.send(wish(&["market"])).unwrap();
    let mut emptied = Vec::new();
    while emptied.len() < 3 {
        match bench.next().await {
            Change::Remote(_, change) => emptied.push(*change),
            other => panic!("{other:?}"),
        }
    }
    let nothing = |kind| Change::Replace(Scope::Within(kind, "shop".into()), vec![]);
    assert_eq!(emptied, [nothing(Kind::Service), nothing(Kind::EndpointSlice), nothing(Kind::Pod)]);

    bench.health().await;
    bench.wishes.send(BTreeMap::new()).unwrap();
    assert_eq!(bench.next().await, Change::Unlink("east".into()));
}
