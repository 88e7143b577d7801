//! What one node of several serves: its own Pods and those of the others.

use gateway_common::Place;

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

/// The names of the members of the first frontend's first group that are on this node.
fn here(translation: &Translation) -> Vec<&str> {
    let service = translation.model.services.values().next().expect("there is a frontend");
    let members = service.groups[0].members.values();
    members.filter(|member| member.place == Place::Here).map(|member| &*member.name).collect()
}

#[test]
fn every_node_has_all_endpoints_by_weight_and_knows_its_own() {
    let expected = [("10.1.1.1", 10), ("10.1.1.2", 0), ("10.1.2.1", 10), ("10.1.2.2", 0), ("10.1.9.9", 10)];
    for (node, own) in [("n1", &["10.1.1.1", "10.1.1.2"][..]), ("n2", &["10.1.2.1", "10.1.2.2"]), ("n3", &[])] {
        let translation = on_node(node, &spread());

        assert_eq!(weights(&translation), BTreeMap::from(expected), "{node}");
        assert_eq!(here(&translation), own, "{node}");
    }
    assert_eq!(here(&translated(&spread())).len(), 5, "one machine alone has all of them");
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
        assert_eq!(here(&on_node("n1", &manifests)), ["shop/a"]);
        assert_eq!(here(&on_node("n2", &manifests)).len(), 0);
    }
}

#[test]
fn an_endpoint_of_which_nobody_says_the_node_is_here_if_a_pod_of_this_node_has_its_address() {
    let manifests = service("web", "10.96.0.1")
        + &slice("web", &["{addresses: [10.1.0.1]}", "{addresses: [10.1.0.2]}"])
        + &pod("shop", "a", "other", "10.1.0.1", "spec: {nodeName: n1, containers: []}\n", "")
        + &pod("shop", "b", "other", "10.1.0.2", "spec: {nodeName: n2, containers: []}\n", "");

    assert_eq!(here(&on_node("n1", &manifests)), ["10.1.0.1"]);
    assert_eq!(here(&on_node("n2", &manifests)), ["10.1.0.2"]);
}

const ENDS: &str = ", conditions: {ready: false, serving: true, terminating: true}";

#[test]
fn the_last_resort_is_that_of_all_nodes_together() {
    let manifests = |second: &str| {
        let endpoints = [endpoint("10.1.1.1", "n1", ENDS), endpoint("10.1.2.1", "n2", second)];
        service("web", "10.96.0.1") + &slice("web", &endpoints.each_ref().map(String::as_str))
    };

    let ready = BTreeMap::from([("10.1.1.1", 0), ("10.1.2.1", 10)]);
    assert_eq!(weights(&on_node("n1", &manifests(""))), ready);
    let both = BTreeMap::from([("10.1.1.1", 10), ("10.1.2.1", 10)]);
    assert_eq!(weights(&on_node("n1", &manifests(ENDS))), both);
}

const LOCAL: &str = "spec:\n  externalTrafficPolicy: Local\n  healthCheckNodePort: 31000\n";

#[test]
fn a_service_whose_nodes_serve_their_own_by_wish_has_no_others_and_a_health_check() {
    let manifests = spread().replacen("spec:\n", LOCAL, 1);

    let own = |node| {
        weights(&on_node(node, &manifests))
            .into_iter()
            .map(|(name, weight)| format!("{name} {weight}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(own("n1"), ["10.1.1.1 10", "10.1.1.2 0"]);
    assert_eq!(own("n3"), [""; 0]);
    for (node, local_endpoints) in [("n1", 1), ("n2", 1), ("n3", 0)] {
        let expected = HealthCheck { service: "shop/web".to_string(), local_endpoints };
        assert_eq!(on_node(node, &manifests).model.health_checks, BTreeMap::from([(31_000, expected)]));
    }
    assert!(on_node("n1", &spread()).model.health_checks.is_empty());
}

#[test]
fn a_nodes_own_last_resort_counts_where_each_serves_its_own() {
    let endpoints = [endpoint("10.1.1.1", "n1", ENDS), endpoint("10.1.2.1", "n2", "")];
    let manifests = service("web", "10.96.0.1") + &slice("web", &endpoints.each_ref().map(String::as_str));

    let translation = on_node("n1", &manifests.replacen("spec:\n", LOCAL, 1));

    assert_eq!(weights(&translation), BTreeMap::from([("10.1.1.1", 10)]));
}

#[test]
fn endpoints_that_are_meant_for_others_get_nothing_unless_nobody_else_can() {
    let zone = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.kubernetes.io/zone: a}}\n---\n";
    let hinted =
        |ip: &str, node: &str, zone: &str| endpoint(ip, node, &format!(", hints: {{forZones: [{{name: {zone}}}]}}"));
    let endpoints = [hinted("10.1.1.1", "n1", "b"), hinted("10.1.2.1", "n2", "a"), hinted("10.1.3.1", "n3", "b")];
    let with = |endpoints: &[String]| {
        let endpoints: Vec<_> = endpoints.iter().map(String::as_str).collect();
        service("web", "10.96.0.1") + &slice("web", &endpoints) + zone
    };

    let all = BTreeMap::from([("10.1.1.1", 10), ("10.1.2.1", 10), ("10.1.3.1", 0)]);
    assert_eq!(weights(&on_node("n1", &with(&endpoints))), all, "what is here gets traffic all the same");
    let alone = BTreeMap::from([("10.1.3.1", 10)]);
    assert_eq!(weights(&on_node("n1", &with(&endpoints[2..]))), alone);
}
