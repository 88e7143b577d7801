//! Readiness, termination, weights and identity.

use gateway_common::{Port, Protocol};

use super::*;
use crate::model::{Backend, PodId};

fn to_pod(name: &str, ip: &str, more: &str) -> String {
    format!("{{addresses: [{ip}], targetRef: {{kind: Pod, namespace: shop, name: {name}, uid: uid-{name}}}{more}}}")
}

#[test]
fn an_endpoint_that_is_not_ready_keeps_its_place_without_weight() {
    let endpoints = [
        "{addresses: [10.1.0.1], conditions: {ready: true}}",
        "{addresses: [10.1.0.2], conditions: {ready: false}}",
        "{addresses: [10.1.0.3], conditions: {ready: false, serving: true, terminating: true}}",
        "{addresses: [10.1.0.4]}",
    ];
    let translation = translated(&(service("web", "10.96.0.1") + &slice("web", &endpoints)));

    let expected = [("10.1.0.1", 10), ("10.1.0.2", 0), ("10.1.0.3", 0), ("10.1.0.4", 10)];
    assert_eq!(weights(&translation), BTreeMap::from(expected));
}

#[test]
fn endpoints_that_end_but_still_serve_stand_in_when_none_is_ready() {
    let endpoints = [
        "{addresses: [10.1.0.2], conditions: {ready: false}}",
        "{addresses: [10.1.0.3], conditions: {ready: false, serving: true, terminating: true}}",
        "{addresses: [10.1.0.4], conditions: {ready: false, serving: false, terminating: true}}",
    ];
    let translation = translated(&(service("web", "10.96.0.1") + &slice("web", &endpoints)));

    assert_eq!(weights(&translation), BTreeMap::from([("10.1.0.2", 0), ("10.1.0.3", 10), ("10.1.0.4", 0)]));
}

#[test]
fn a_pod_that_has_ended_is_no_member_and_not_alive() {
    let manifests = service("web", "10.96.0.1")
        + &slice("web", &[&to_pod("a", "10.1.0.1", ""), &to_pod("b", "10.1.0.2", "")])
        + &pod("shop", "a", "web", "10.1.0.1", "", "  phase: Failed\n")
        + &pod("shop", "b", "web", "10.1.0.2", "", "  phase: Running\n");

    let translation = translated(&manifests);

    assert_eq!(weights(&translation), BTreeMap::from([("shop/b", 10)]));
    assert_eq!(translation.model.living_pods, BTreeSet::from([PodId::from_uid("uid-b")]));
}

#[test]
fn a_pod_that_is_being_deleted_gets_nothing_new_while_another_can() {
    let leaving = "  deletionTimestamp: \"2026-01-01T00:00:00Z\"\n";
    let manifests = service("web", "10.96.0.1")
        + &slice("web", &[&to_pod("a", "10.1.0.1", ""), &to_pod("b", "10.1.0.2", "")])
        + &pod("shop", "a", "web", "10.1.0.1", leaving, "");
    let with_both_leaving = manifests.clone() + &pod("shop", "b", "web", "10.1.0.2", leaving, "");

    assert_eq!(weights(&translated(&manifests)), BTreeMap::from([("shop/a", 0), ("shop/b", 10)]));
    assert_eq!(weights(&translated(&with_both_leaving)), BTreeMap::from([("shop/a", 10), ("shop/b", 10)]));
}

#[test]
fn a_pods_annotation_is_its_weight_and_ours_comes_first() {
    let weight = |annotations: &str| format!("  annotations: {{{annotations}}}\n");
    let endpoints = ["a", "b", "c", "d"].map(|name| to_pod(name, &format!("10.1.0.{}", name.as_bytes()[0]), ""));
    let manifests = service("web", "10.96.0.1")
        + &slice("web", &endpoints.each_ref().map(String::as_str))
        + &pod("shop", "a", "web", "10.1.0.97", &weight("beeline.dev/weight: \"5\""), "")
        + &pod("shop", "b", "web", "10.1.0.98", &weight("service.cloud.tencent.com/custom-weight: \"65535\""), "")
        + &pod(
            "shop",
            "c",
            "web",
            "10.1.0.99",
            &weight("service.cloud.tencent.com/custom-weight: \"7\", beeline.dev/weight: \"0\""),
            "",
        )
        + &pod("shop", "d", "web", "10.1.0.100", &weight("beeline.dev/weight: \"-1\""), "");

    let translation = translated(&manifests);

    assert_eq!(
        weights(&translation),
        BTreeMap::from([("shop/a", 5), ("shop/b", 65_535), ("shop/c", 0), ("shop/d", 10)])
    );
    assert_eq!(
        problems(&translation),
        ["document 6: Pod shop/d: metadata.annotations[beeline.dev/weight]: \
          `-1` is not a weight, the Pod counts as if it had none: use 0 to 65535"]
    );
}

#[test]
fn a_backends_identity_is_its_pods_uid_wherever_it_is_stated() {
    let with_uid = to_pod("a", "10.1.0.1", "");
    let without = "{addresses: [10.1.0.1], targetRef: {kind: Pod, name: a}}";
    let no_pod = "{addresses: [10.1.0.1]}";
    let object = pod("shop", "a", "web", "10.1.0.1", "", "");
    let cases = [
        (slice("web", &[&with_uid]), PodId::from_uid("uid-a")),
        (slice("web", &[without]) + &object, PodId::from_uid("uid-a")),
        (slice("web", &[without]), PodId::from_uid("shop/a")),
        (slice("web", &[no_pod]) + &object, PodId::NONE),
    ];

    for (manifests, expected) in cases {
        let translation = translated(&(service("web", "10.96.0.1") + &manifests));
        let groups = &translation.model.services.values().next().unwrap().groups;
        let address = "10.1.0.1".parse::<std::net::IpAddr>().unwrap().into();
        let backend = Backend { address, port: Port::new(8080), protocol: Protocol::TCP, pod: expected };
        assert_eq!(groups[0].members.keys().collect::<Vec<_>>(), [&backend]);
    }
}

#[test]
fn without_any_slice_the_selected_pods_are_the_endpoints() {
    let manifests = service("web", "10.96.0.1")
        + &pod("shop", "a", "web", "10.1.0.1", "", "")
        + &pod("shop", "b", "web", "10.1.0.2", "", "  conditions: [{type: Ready, status: \"False\"}]\n")
        + &pod("shop", "c", "other", "10.1.0.3", "", "")
        + &pod("shop", "d", "web", "fd00::4", "", "")
        + &pod("elsewhere", "e", "web", "10.1.0.5", "", "");

    assert_eq!(weights(&translated(&manifests)), BTreeMap::from([("shop/a", 10), ("shop/b", 0)]));

    let with_slice = manifests + &slice("web", &["{addresses: [10.1.0.9]}"]);
    assert_eq!(weights(&translated(&with_slice)), BTreeMap::from([("10.1.0.9", 10)]));
}

#[test]
fn a_named_target_port_is_looked_up_in_each_pod() {
    let ports =
        |port: u16| format!("  containers:\n  - {{name: web, ports: [{{name: http, containerPort: {port}}}]}}\n");
    let with_port = |name: &str, ip: &str, port: u16| {
        pod("shop", name, "web", ip, "", "").replace("status:\n", &format!("spec:\n{}status:\n", ports(port)))
    };
    let manifests = service("web", "10.96.0.1").replace("targetPort: 8080", "targetPort: http")
        + &with_port("a", "10.1.0.1", 3000)
        + &with_port("b", "10.1.0.2", 4000)
        + &pod("shop", "c", "web", "10.1.0.3", "", "");

    assert_eq!(
        text(&translated(&manifests)),
        "TCP 10.96.0.1:80 Service shop/web WeightedRoundRobin\n  1 Service shop/web:80\n    \
           10 10.1.0.1:3000 shop/a\n    10 10.1.0.2:4000 shop/b\n"
    );
}

#[test]
fn a_slice_port_belongs_to_the_service_port_of_its_name() {
    let manifests = service("web", "10.96.0.1")
        .replace("  - {port: 80, targetPort: 8080}\n", "  - {name: http, port: 80}\n  - {name: admin, port: 81}\n")
        + &slice("web", &["{addresses: [10.1.0.1]}"])
            .replace("- {name: \"\", port: 8080}\n", "- {name: admin, port: 9000}\n- {name: http, port: 8000}\n");

    let backends = text(&translated(&manifests));

    assert!(backends.contains("80 Service shop/web WeightedRoundRobin\n  1 Service shop/web:80\n    10 10.1.0.1:8000"));
    assert!(backends.contains("81 Service shop/web WeightedRoundRobin\n  1 Service shop/web:81\n    10 10.1.0.1:9000"));
}
