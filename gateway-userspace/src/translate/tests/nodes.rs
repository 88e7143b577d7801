//! What one node of several serves, and what it counts of the others.

use super::*;
use crate::model::HealthCheck;

fn on_node(node: &str, manifests: &str) -> Translation {
    translate(&objects(manifests), &Options { node: Some(node.into()), ..Options::default() })
}

fn endpoint(ip: &str, node: &str, more: &str) -> String {
    format!("{{addresses: [{ip}], nodeName: {node}{more}}}")
}

fn spread() -> String {
    let endpoints = [
        endpoint("10.1.1.1", "n1", ""),
        endpoint("10.1.1.2", "n1", ", conditions: {ready: false}"),
        endpoint("10.1.2.1", "n2", ""),
        endpoint("10.1.2.2", "n2", ", conditions: {ready: false}"),
        "{addresses: [10.1.9.9]}".to_string(),
    ];
    service("web", "10.96.0.1") + &slice("web", &endpoints.each_ref().map(String::as_str))
}

fn remote(translation: &Translation) -> u32 {
    translation.model.services.values().next().unwrap().remote
}

#[test]
fn a_node_serves_its_own_endpoints_and_counts_the_ready_ones_elsewhere() {
    let first = on_node("n1", &spread());
    let second = on_node("n2", &spread());
    let third = on_node("n3", &spread());

    assert_eq!(weights(&first), BTreeMap::from([("10.1.1.1", 10), ("10.1.1.2", 0)]));
    assert_eq!(weights(&second), BTreeMap::from([("10.1.2.1", 10), ("10.1.2.2", 0)]));
    assert_eq!(weights(&third), BTreeMap::new());
    assert_eq!([&first, &second, &third].map(remote), [2, 2, 3]);
    assert_eq!(weights(&translated(&spread())).len(), 5, "one machine alone has all of them");
}

#[test]
fn every_node_says_the_same_in_the_status() {
    assert_eq!(on_node("n1", &spread()).statuses, on_node("n3", &spread()).statuses);
}

#[test]
fn the_pod_says_its_node_if_the_slice_does_not() {
    let to_pod = "{addresses: [10.1.0.1], targetRef: {kind: Pod, name: a}}";
    let pod = pod("shop", "a", "web", "10.1.0.1", "spec: {nodeName: n1, containers: []}\n", "");
    let with_slice = service("web", "10.96.0.1") + &slice("web", &[to_pod]) + &pod;
    let without = service("web", "10.96.0.1") + &pod;

    for manifests in [with_slice, without] {
        assert_eq!(weights(&on_node("n1", &manifests)).len(), 1);
        assert_eq!(weights(&on_node("n2", &manifests)).len(), 0);
    }
}

#[test]
fn the_last_resort_is_the_nodes_own() {
    let endpoints = [
        endpoint("10.1.1.1", "n1", ", conditions: {ready: false, serving: true, terminating: true}"),
        endpoint("10.1.2.1", "n2", ""),
    ];
    let manifests = service("web", "10.96.0.1") + &slice("web", &endpoints.each_ref().map(String::as_str));

    assert_eq!(weights(&on_node("n1", &manifests)), BTreeMap::from([("10.1.1.1", 10)]));
}

#[test]
fn a_service_whose_nodes_serve_their_own_by_wish_counts_nobody_elsewhere_and_has_a_health_check() {
    let local = "spec:\n  externalTrafficPolicy: Local\n  healthCheckNodePort: 31000\n";
    let manifests = spread().replacen("spec:\n", local, 1);

    for (node, local_endpoints) in [("n1", 1), ("n2", 1), ("n3", 0)] {
        let translation = on_node(node, &manifests);
        let expected = HealthCheck { service: "shop/web".to_string(), local_endpoints };
        assert_eq!(remote(&translation), 0);
        assert_eq!(translation.model.health_checks, BTreeMap::from([(31_000, expected)]));
    }
    assert!(on_node("n1", &spread()).model.health_checks.is_empty());
}

#[test]
fn endpoints_that_are_meant_for_others_are_not_counted() {
    let zone = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.kubernetes.io/zone: a}}\n---\n";
    let hinted =
        |ip: &str, node: &str, zone: &str| endpoint(ip, node, &format!(", hints: {{forZones: [{{name: {zone}}}]}}"));
    let endpoints = [hinted("10.1.1.1", "n1", "b"), hinted("10.1.2.1", "n2", "a"), hinted("10.1.3.1", "n3", "b")];
    let manifests = service("web", "10.96.0.1") + &slice("web", &endpoints.each_ref().map(String::as_str)) + zone;

    let translation = on_node("n1", &manifests);

    assert_eq!(weights(&translation), BTreeMap::from([("10.1.1.1", 10)]), "what is here gets traffic all the same");
    assert_eq!(remote(&translation), 1);
}
