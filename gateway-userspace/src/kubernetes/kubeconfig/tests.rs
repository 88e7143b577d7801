//! Kubeconfigs of people who mean no good, and of people who err: each refusal names its field, and nothing runs.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A kubeconfig that is fine.
fn good() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": "east",
        "clusters": [{"name": "east", "cluster": {"server": "https://192.0.2.1:6443"}}],
        "users": [{"name": "beeline", "user": {"token": "abc"}}],
        "contexts": [{"name": "east", "context": {"cluster": "east", "user": "beeline", "namespace": "default"}}],
    })
}

/// What is said of the good one with one value in a place.
fn refusal(pointer: &str, value: Value) -> String {
    let mut config = good();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[field] = value;
    read(config.to_string().as_bytes()).unwrap_err()
}

#[test]
fn a_server_and_a_token_are_taken_and_nothing_else() {
    let config = read(good().to_string().as_bytes()).unwrap();

    assert_eq!(config.cluster_url, "https://192.0.2.1:6443");
    assert!(config.auth_info.token.is_some() && config.auth_info.exec.is_none());
    assert!(!config.accept_invalid_certs && config.proxy_url.is_none() && config.root_cert_file.is_none());
}

#[test]
fn yaml_as_kubectl_writes_it_is_read() {
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters:\n- cluster:\n    server: https://a.example:6443\n  \
                name: c\ncontexts:\n- context:\n    cluster: c\n    user: u\n  name: a\nusers:\n- name: u\n  user:\n    token: t\n";

    assert!(read(text.as_bytes()).is_ok());
}

#[test]
fn everything_that_runs_reads_or_trusts_is_refused_by_its_name() {
    let user = "/users/0/user";
    let cluster = "/clusters/0/cluster";
    for (parent, field, value) in [
        (user, "exec", json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "true"})),
        (user, "auth-provider", json!({"name": "gcp"})),
        (user, "client-certificate", json!("/etc/passwd")),
        (user, "client-key", json!("/etc/passwd")),
        (user, "tokenFile", json!("/var/run/secrets/kubernetes.io/serviceaccount/token")),
        (user, "as", json!("system:admin")),
        (user, "as-uid", json!("1")),
        (user, "as-groups", json!(["system:masters"])),
        (user, "as-user-extra", json!({"a": ["b"]})),
        (user, "username", json!("admin")),
        (user, "password", json!("secret")),
        (user, "something-new", json!(1)),
        (cluster, "certificate-authority", json!("/etc/ssl/ca.pem")),
        (cluster, "proxy-url", json!("http://proxy.example")),
        (cluster, "insecure-skip-tls-verify", json!(true)),
        (cluster, "insecure-skip-tls-verify", json!("false")),
        (cluster, "something-new", json!(1)),
    ] {
        let message = refusal(&format!("{parent}/{field}"), value);
        let place = parent.replace("/0/", "[0].").replace('/', "");
        assert!(message.starts_with(&format!("{place}.{field}: ")), "{message}");
    }
}

#[test]
fn an_entry_that_is_not_in_use_is_no_hiding_place() {
    let mut config = good();
    config["users"].as_array_mut().unwrap().push(json!({"name": "other", "user": {"exec": {"command": "true"}}}));
    let entry = json!({"name": "other", "cluster": {"server": "https://a", "insecure-skip-tls-verify": true}});
    let mut other = good();
    other["clusters"].as_array_mut().unwrap().push(entry);

    assert!(read(config.to_string().as_bytes()).unwrap_err().starts_with("users[1].user.exec: "));
    assert!(
        read(other.to_string().as_bytes()).unwrap_err().starts_with("clusters[1].cluster.insecure-skip-tls-verify: ")
    );
}

#[test]
fn servers_that_are_not_plain_https_are_refused() {
    for server in
        ["http://192.0.2.1", "file:///etc/passwd", "https://user:word@a", "192.0.2.1:6443", "https://a/?x=1", "/"]
    {
        let message = refusal("/clusters/0/cluster/server", json!(server));
        assert!(message.starts_with("clusters[0].cluster.server: "), "{server}: {message}");
    }
}

#[test]
fn one_context_is_current_and_names_what_is_there_once() {
    for (pointer, value, field) in [
        ("/current-context", Value::Null, "current-context: "),
        ("/current-context", json!("west"), "current-context: there is no context `west`"),
        ("/current-context", json!(["east", "west"]), "current-context: is not text"),
        ("/contexts/0/context/cluster", json!("west"), "contexts[0].context.cluster: there is no cluster"),
        ("/contexts/0/context/user", json!("nobody"), "contexts[0].context.user: there is no user"),
        ("/users/0/user/token", Value::Null, "users[0].user: has no credentials"),
        ("/clusters/0/cluster/server", Value::Null, "clusters[0].cluster.server: missing"),
    ] {
        let message = refusal(pointer, value);
        assert!(message.starts_with(field), "{message}");
    }
    let mut twice = good();
    let context = twice["contexts"][0].clone();
    twice["contexts"].as_array_mut().unwrap().push(context);
    assert_eq!(
        read(twice.to_string().as_bytes()).unwrap_err(),
        "current-context: there are several contexts `east`: keep one"
    );
}

#[test]
fn data_that_are_no_certificate_are_refused_without_quoting_them() {
    let field = "certificate-authority-data";
    let pointer = format!("/clusters/0/cluster/{field}");

    assert!(refusal(&pointer, json!("no base 64")).starts_with(&format!("clusters[0].cluster.{field}: is not Base64")));
    assert!(
        refusal(&pointer, json!("aGVsbG8=")).starts_with(&format!("clusters[0].cluster.{field}: holds no certificate"))
    );
    assert!(
        refusal("/users/0/user/client-key-data", json!("aGVsbG8="))
            .starts_with("users[0].user.client-certificate-data: ")
    );
    assert_eq!(read(b"users: [token: s3cr3t").unwrap_err(), "the kubeconfig is not valid YAML");
}

#[test]
fn nothing_runs_and_no_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    let command = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "touch",
        "args": [marker],
        "interactiveMode": "Never",
    });

    let message = refusal("/users/0/user/exec", command);

    assert!(message.starts_with("users[0].user.exec: "), "{message}");
    assert!(!marker.exists());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(text.as_bytes());
        let _ = read(&bytes);
    }

    #[test]
    fn no_unknown_field_gets_through(field in "[a-zA-Z-]{1,20}", value in "[a-z]{0,5}") {
        for (parent, known) in [("/users/0/user", USER.taken), ("/clusters/0/cluster", CLUSTER.taken)] {
            if known.contains(&&*field) {
                continue;
            }
            let message = refusal(&format!("{parent}/{field}"), json!(value));
            prop_assert!(message.contains(&field), "{}", message);
        }
    }
}
