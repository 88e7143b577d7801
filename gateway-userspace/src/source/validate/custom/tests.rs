//! Manifests in, problems out, for the kinds of our own.

use crate::source::manifest::{Format, parse};

/// What is wrong with an object of a kind with this spec.
fn problems(kind: &str, spec: &str) -> Vec<String> {
    let text = format!("apiVersion: beeline.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n");
    let manifest = parse(&"a.yaml".into(), &text, Format::Yaml);
    assert_eq!(manifest.entries.len() + manifest.rejected.len(), 1, "{text}");
    let line = |field: &str, message: &str| format!("{field}: {message}");
    manifest.problems.iter().map(|problem| line(&problem.field, &problem.message)).collect()
}

fn assert_problems(kind: &str, cases: &[(&str, &[&str])]) {
    for (spec, wanted) in cases {
        assert_eq!(problems(kind, spec), *wanted, "{spec}");
    }
}

#[test]
fn an_address_pool_is_refused_by_the_entry_that_is_wrong() {
    assert_problems(
        "AddressPool",
        &[
            ("{addresses: [192.0.2.0/24, \"2001:db8::/120\", 192.0.2.1-192.0.2.2]}", &[]),
            ("{addresses: []}", &["spec.addresses: a pool needs addresses: use CIDRs or ranges"]),
            (
                "{addresses: [192.0.2.0/24, 192.0.2.9-192.0.2.1]}",
                &["spec.addresses[1]: `192.0.2.9-192.0.2.1` is reversed: write 192.0.2.1-192.0.2.9"],
            ),
            ("{addresses: [192.0.2.0/24], announce: Neighbor}", &[]),
            (
                "{addresses: [192.0.2.0/24], announce: BGP}",
                &["spec.announce: `BGP` is not a way to announce addresses: use one of Neighbor, None"],
            ),
            ("{addresses: [192.0.2.0/24], priorty: 1}", &["spec.priorty: unknown field: did you mean `priority`?"]),
            (
                "{addresses: [192.0.2.0/24], namespaceSelector: {matchExpressions: [{key: a, operator: In}]}}",
                &["spec.namespaceSelector.matchExpressions[0].values: missing: In and NotIn need values"],
            ),
        ],
    );
}

#[test]
fn a_cluster_link_is_refused_by_the_field_that_is_wrong() {
    let name = "is not a name: use 1 to 63 lower-case letters, digits and `-`, with no `-` at the ends";
    let of = |lists: &str| format!("{{kubeconfigSecretRef: {{name: east}}, {lists}}}");
    assert_eq!(problems("ClusterLink", &of("allowedNamespaces: [\"*\"], remoteNamespaces: [shop]")), [""; 0]);
    assert_eq!(
        problems("ClusterLink", &of("allowedNamespaces: [], remoteNamespaces: [shop, \"*\"]")),
        [
            "spec.allowedNamespaces: 0 namespaces: name 1 to 256".to_string(),
            format!("spec.remoteNamespaces[1]: `*` {name}")
        ]
    );
    assert_eq!(
        problems("ClusterLink", &of("allowedNamespaces: [shop, shop], remoteNamespaces: [Shop]")),
        [
            "spec.allowedNamespaces[1]: `shop` is there already: remove it".to_string(),
            format!("spec.remoteNamespaces[0]: `Shop` {name}")
        ]
    );
    assert_eq!(
        problems(
            "ClusterLink",
            "{kubeconfigSecretRef: {name: east, key: a/b}, allowedNamespaces: [a], remoteNamespaces: [b]}"
        ),
        ["spec.kubeconfigSecretRef.key: `a/b` is not a key of a Secret: use letters, digits, `-`, `_` and `.`"]
    );
}

#[test]
fn a_host_header_goes_with_http_alone() {
    let of = |rest: &str| format!("{{{rest}, services: [{{name: web, port: 80}}]}}");
    assert_eq!(problems("Upstream", &of("backendType: GRPC, hostHeader: \"shop.internal:8080\"")), [""; 0]);
    assert_eq!(
        problems("Upstream", &of("backendType: UDP, hostHeader: shop.internal")),
        ["spec.hostHeader: UDP has no Host header: leave it out or change backendType"]
    );
    assert_eq!(
        problems("Upstream", &of("hostHeader: \"shop internal\"")),
        ["spec.hostHeader: `shop internal` is not a host: use something like shop.internal or shop.internal:8080"]
    );
}

#[test]
fn a_hash_goes_with_maglev_alone_and_names_one_thing() {
    let of = |rest: &str| problems("Upstream", &format!("{{{rest}, services: [{{name: web, port: 80}}]}}"));
    assert_eq!(of("algorithm: Maglev"), [""; 0]);
    assert_eq!(of("algorithm: Maglev, hash: {header: X-User}"), [""; 0]);
    assert_eq!(of("algorithm: Maglev, hash: {cookie: {name: sid}}"), [""; 0]);
    for both in ["{}", "{header: X-User, cookie: {name: sid}}"] {
        assert_eq!(of(&format!("algorithm: Maglev, hash: {both}")), ["spec.hash: name either a header or a cookie"]);
    }
    assert_eq!(
        of("algorithm: Random, hash: {header: X-User}"),
        ["spec.hash: Random looks at no hash: leave it out or use algorithm Maglev"]
    );
    assert_eq!(
        of("algorithm: Maglev, hash: {cookie: {name: \"s id\"}}"),
        ["spec.hash.cookie.name: `s id` is not the name of a header or cookie: use something like X-User"]
    );
    assert_eq!(
        of("algorithm: LeastConnection"),
        ["spec.algorithm: `LeastConnection` is not an algorithm: did you mean `LeastConnections`?"]
    );
}

#[test]
fn a_health_check_is_refused_by_the_field_that_is_wrong() {
    let of =
        |check: &str| problems("Upstream", &format!("{{healthCheck: {check}, services: [{{name: web, port: 80}}]}}"));
    assert_eq!(of("{path: /}"), [""; 0]);
    assert_eq!(
        of(
            "{path: \"/a?b=c\", host: a.b:80, interval: 5s, timeout: 5s, healthyThreshold: 1, unhealthyThreshold: 100, \
            expectedStatuses: [\"200\", 300-399]}"
        ),
        [""; 0]
    );
    assert_eq!(
        of("{path: health, host: a b, interval: 1s, healthyThreshold: 0, expectedStatuses: [\"99\", 300-200, ok]}"),
        [
            "spec.healthCheck.path: `health` is not a path: use something like /healthz",
            "spec.healthCheck.host: `a b` is not a host: use something like shop.internal or shop.internal:8080",
            "spec.healthCheck.timeout: 2s is longer than the interval, 1s: use no more than that",
            "spec.healthCheck.healthyThreshold: 0 is no number of checks: use 1 to 100",
            "spec.healthCheck.expectedStatuses[0]: `99` is no status: use something like 200 or 200-399",
            "spec.healthCheck.expectedStatuses[1]: `300-200` is no status: use something like 200 or 200-399",
            "spec.healthCheck.expectedStatuses[2]: `ok` is no status: use something like 200 or 200-399",
        ]
    );
    assert_eq!(
        of("{path: /, interval: 2h, timeout: \"5\"}"),
        [
            "spec.healthCheck.interval: 2h is not between 100ms and 1h: use that",
            "spec.healthCheck.timeout: `5` is not a duration: use something like 10s or 1m30s",
        ]
    );
    assert_eq!(
        problems("Upstream", "{backendType: TCP, healthCheck: {path: /}, services: [{name: web, port: 80}]}"),
        ["spec.healthCheck: TCP has no requests to check by: leave it out or change backendType"]
    );
    assert_eq!(
        problems("Upstream", "{proxyProtocol: 'on', services: [{name: web, port: 80}]}"),
        ["spec.proxyProtocol: `on` is not a version of the PROXY protocol: use one of V1, V2"]
    );
}

#[test]
fn names_in_an_upstream_are_names() {
    let name = |most: u8| {
        format!("is not a name: use 1 to {most} lower-case letters, digits and `-`, with no `-` at the ends")
    };
    assert_eq!(
        problems("Upstream", "{services: [{name: Web, port: 80, namespace: a.b, clusterRef: {name: \"-\"}}]}"),
        [
            format!("spec.services[0].name: `Web` {}", name(63)),
            format!("spec.services[0].namespace: `a.b` {}", name(63)),
            format!("spec.services[0].clusterRef.name: `-` {}", name(253)),
        ]
    );
}
