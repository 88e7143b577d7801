//! The source as its owner sees it, with its own thread, against a server on the loopback.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::ByteString;
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::kubernetes::testing::{Answer, Server, Then, end_of_beginning, line, refusal, service};
use crate::source::Name;
use crate::source::secret::testing::{CERTIFICATE, KEY};

/// A source of what a server says, by way of a kubeconfig.
fn source(server: &Server) -> KubernetesSource {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    let config = json!({
        "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": server.address()}}],
        "users": [{"name": "a", "user": {"token": "t"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    });
    fs::write(&path, config.to_string()).unwrap();
    let settings = Settings {
        kubeconfig: Some(path),
        node: "n1".into(),
        namespace: "beeline".into(),
        adopt_tencent_annotations: false,
    };
    KubernetesSource::start(&settings).unwrap()
}

/// Takes news in until something holds.
async fn until(source: &mut KubernetesSource, holds: impl Fn(&KubernetesSource) -> bool) {
    while !holds(source) {
        timeout(Duration::from_secs(10), source.next()).await.expect("news");
    }
}

#[tokio::test]
async fn a_kind_that_is_denied_is_the_only_one_that_suffers() {
    let denied = Arc::new(AtomicBool::new(true));
    let denies = denied.clone();
    let server = Server::start(move |question, _| {
        if question.contains("/nodes?") && denies.load(Ordering::Relaxed) {
            return refusal(403, "nodes is forbidden");
        }
        let services = question.starts_with("/api/v1/services?").then(|| line("ADDED", &service("a", "1")));
        Answer::Lines(services.into_iter().chain([end_of_beginning("2")]).collect(), Then::Wait)
    })
    .await;
    let mut source = source(&server);
    assert!(source.objects().incomplete && source.synced().unwrap_err().starts_with("not received yet: "));

    let refused = "Node: the API server refuses: nodes is forbidden: grant it to the agent's role";
    until(&mut source, |source| source.synced() == Err(refused.to_string())).await;
    assert_eq!((source.objects().services.len(), source.objects().incomplete), (1, true));

    denied.store(false, Ordering::Relaxed);
    until(&mut source, |source| source.synced() == Ok(())).await;
    assert!(!source.objects().incomplete);
}

#[tokio::test]
async fn dropping_the_source_ends_its_thread() {
    let server = Server::start(|_, _| Answer::Silence).await;
    let source = source(&server);
    let runtime = source.worker.runtime.clone();

    drop(source);

    assert!(runtime.spawn(async {}).await.is_err());
}

#[test]
fn without_a_way_to_the_server_it_says_what_to_do() {
    let settings = Settings {
        kubeconfig: Some("/nowhere".into()),
        node: "n1".into(),
        namespace: "beeline".into(),
        adopt_tencent_annotations: false,
    };

    let error = KubernetesSource::start(&settings).err().unwrap();

    assert_eq!(error.to_string(), "cannot read kubeconfig `/nowhere`: name one that exists");
}

#[tokio::test]
async fn a_secret_is_asked_for_by_its_name_and_only_if_a_gateway_refers_to_it() {
    let text = |text: &str| ByteString(text.as_bytes().to_vec());
    let secret = json!({
        "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "1"},
        "data": {"tls.crt": text(CERTIFICATE), "tls.key": text(KEY), "other": text("x")},
    });
    let gateway = json!({
        "metadata": {"name": "edge", "namespace": "shop", "resourceVersion": "1"},
        "spec": {"gatewayClassName": "beeline", "listeners": [{
            "name": "https", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "web"}]},
        }]},
    });
    let server = Server::start(move |question, _| {
        let object = if question.contains("/secrets?") {
            Some(&secret)
        } else {
            question.starts_with("/apis/gateway.networking.k8s.io/v1/gateways?").then_some(&gateway)
        };
        let object = object.map(|object| line("ADDED", object));
        Answer::Lines(object.into_iter().chain([end_of_beginning("2")]).collect(), Then::Wait)
    })
    .await;
    let mut source = source(&server);

    until(&mut source, |source| source.synced() == Ok(())).await;

    assert!(source.objects().secrets[&Name::new("shop", "web")].object.0.is_ok());
    let asked: Vec<String> = server.asked().into_iter().filter(|asked| asked.contains("/secrets")).collect();
    assert!(!asked.is_empty());
    for asked in asked {
        assert!(asked.contains("/api/v1/namespaces/shop/secrets?"), "{asked}");
        assert!(asked.contains("fieldSelector=metadata.name%3Dweb"), "{asked}");
    }
}
