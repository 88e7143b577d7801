//! Upstreams: a named list of weighted services.

use super::*;

fn fronted(upstreams: &str, reference: &str) -> String {
    gateway("edge", "10.96.0.2", &["{name: tcp, port: 80, protocol: TCP}"])
        + &route("TCPRoute", "shop", "web", "{name: edge}", &[reference])
        + upstreams
}

const REFERENCE: &str = "{group: beeline.dev, kind: Upstream, name: all}";

fn pods() -> String {
    plain_service("shop", "web", 8000)
        + &pod("shop", "v1", "web", "10.1.0.1", "", "")
        + &pod("shop", "v2", "web", "10.1.0.2", "", "")
        + &pod("shop", "v3", "web", "10.1.0.3", "  annotations: {beeline.dev/weight: \"1\"}\n", "")
}

#[test]
fn all_services_are_one_group_and_a_pods_own_weight_comes_first() {
    let all = upstream(
        "all",
        "  algorithm: Random\n",
        &[
            "{name: web, port: 8000, weight: 5, podSelector: {matchLabels: {version: v1}}}",
            "{name: web, port: 8000, podSelector: {matchExpressions: [{key: version, operator: NotIn, values: [v1]}]}}",
        ],
    );

    let translation = translated(&(fronted(&all, REFERENCE) + &pods()));

    assert_eq!(
        text(&translation),
        "TCP 10.96.0.2:80 TCPRoute shop/web Random\n  1 Upstream shop/all\n    \
           5 10.1.0.1:8080 shop/v1\n    10 10.1.0.2:8080 shop/v2\n    1 10.1.0.3:8080 shop/v3\n"
    );
    assert_eq!(problems(&translation), [""; 0]);
}

#[test]
fn weights_of_a_pod_in_two_entries_add_up_to_the_greatest_weight() {
    let entries = [
        "{name: web, port: 8000, weight: 65530}",
        "{name: web, port: 8000, weight: 10, podSelector: {matchLabels: {version: v1}}}",
        "{name: web, port: 8000, weight: 3, podSelector: {matchLabels: {version: v2}}}",
    ];

    let translation = translated(&(fronted(&upstream("all", "", &entries), REFERENCE) + &pods()));

    assert_eq!(weights(&translation), BTreeMap::from([("shop/v1", 65_535), ("shop/v2", 65_533), ("shop/v3", 1)]));
}

#[test]
fn services_that_lead_nowhere_are_named_and_the_others_take_over() {
    let entries = [
        "{name: web, port: 8000, weight: 5}",
        "{name: gone, port: 8000}",
        "{name: web, port: 8001}",
        "{name: web, namespace: other, port: 8000}",
        "{name: web, port: 8000, clusterRef: {name: east}}",
        "{name: web, port: 8000, podSelector: {matchLabels: {version: v9}}}",
    ];

    let translation = translated(&(fronted(&upstream("all", "", &entries), REFERENCE) + &pods()));

    assert_eq!(weights(&translation), BTreeMap::from([("shop/v1", 5), ("shop/v2", 5), ("shop/v3", 1)]));
    assert_eq!(
        problems(&translation),
        [
            "spec.services[1].name: Service shop/gone does not exist: create it or correct the name",
            "spec.services[2].port: Service shop/web has no port 8001: use one of 8000",
            "spec.services[3].namespace: Service other/web is in another namespace: create a ReferenceGrant in \
             `other` from Upstreams of `shop` to Services",
            "spec.services[4].clusterRef.name: ClusterLink east does not exist: create it, or leave clusterRef out for this \
             cluster",
            "spec.services[5].podSelector: selects none of the Service's 3 endpoints: check the Pods' labels",
        ]
        .map(|problem| format!("document 3: Upstream shop/all: {problem}"))
    );
}

#[test]
fn a_pod_that_ends_stands_in_only_if_no_service_has_a_ready_one() {
    let leaving = "  deletionTimestamp: \"2026-01-01T00:00:00Z\"\n";
    let old = plain_service("shop", "old", 8000) + &pod("shop", "o1", "old", "10.1.1.1", leaving, "");
    let new = |metadata: &str| plain_service("shop", "new", 8000) + &pod("shop", "n1", "new", "10.1.2.1", metadata, "");
    let all = fronted(&upstream("all", "", &["{name: old, port: 8000}", "{name: new, port: 8000}"]), REFERENCE);

    let translation = translated(&(all.clone() + &old + &new("")));
    assert_eq!(weights(&translation), BTreeMap::from([("shop/o1", 0), ("shop/n1", 10)]));

    let translation = translated(&(all + &old + &new(leaving)));
    assert_eq!(weights(&translation), BTreeMap::from([("shop/o1", 10), ("shop/n1", 10)]));
}

#[test]
fn a_grant_opens_another_namespace_for_upstreams() {
    let all = upstream("all", "", &["{name: web, namespace: other, port: 8000}"]);
    let grant = grant("other", "{group: beeline.dev, kind: Upstream, namespace: shop}", "{group: \"\", kind: Service}");

    let translation = translated(&(fronted(&all, REFERENCE) + &plain_service("other", "web", 8000) + &grant));

    assert_eq!(problems(&translation), [""; 0]);
}

#[test]
fn an_algorithm_for_requests_is_refused_where_the_datapath_selects() {
    let all = upstream("all", "  algorithm: Maglev\n", &["{name: web, port: 8000}"]);

    let translation = translated(&(fronted(&all, REFERENCE) + &pods()));

    assert_eq!(
        problems(&translation),
        [
            "document 2: TCPRoute shop/web: spec.rules[0].backendRefs[0].name: Upstream shop/all has algorithm Maglev, which is \
          not for a TCPRoute: use WeightedRoundRobin or Random, or another Upstream"
        ]
    );
    assert_eq!(weights(&translation), BTreeMap::new());
}

#[test]
fn an_upstream_of_the_other_protocol_is_refused() {
    let all = upstream("all", "  backendType: UDP\n", &["{name: web, port: 8000}"]);

    let translation = translated(&(fronted(&all, REFERENCE) + &pods()));

    assert_eq!(
        problems(&translation),
        [
            "document 2: TCPRoute shop/web: spec.rules[0].backendRefs[0].name: Upstream shop/all has backendType UDP, which \
             TCP does not carry",
            "document 3: Upstream shop/all: spec.services[0].port: port 8000 of Service shop/web is not a UDP port: use another",
        ]
    );
}
