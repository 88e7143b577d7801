//! What is done for a few Services yields what the whole translation would.

use std::collections::BTreeSet;

use super::*;
use crate::source::Name;

/// What the whole translation and the short way make of the objects after a change of the slices of `web`.
fn both(before: &str, after: &str) -> (Model, Option<Model>) {
    let options = Options { node: Some("n1".into()), ..Options::default() };
    let last = translate(&objects(before), &options);
    let objects = objects(after);
    let changed = BTreeSet::from([Name::new("shop", "web")]);
    (translate(&objects, &options).model, refreshed(&last.model, &objects, &options, &changed))
}

fn endpoint(address: &str, ready: bool, node: &str) -> String {
    format!("{{addresses: [{address}], conditions: {{ready: {ready}}}, nodeName: {node}}}")
}

fn slice_of(service: &str, endpoints: &[String]) -> String {
    slice(service, &endpoints.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn endpoints_that_come_go_and_change_are_what_the_whole_translation_makes_of_them() {
    let services = service("web", "192.0.2.1, 2001:db8::1") + &service("api", "192.0.2.2");
    let others = slice_of("api", &[endpoint("10.0.1.1", true, "n1")]);
    let states = [
        vec![endpoint("10.0.0.1", true, "n1"), endpoint("10.0.0.2", true, "n2")],
        vec![endpoint("10.0.0.1", false, "n1"), endpoint("10.0.0.2", true, "n1")],
        vec![endpoint("10.0.0.3", true, "n1")],
        vec![endpoint("10.0.0.3", false, "n1")],
    ];
    for before in &states {
        for after in &states {
            let manifests = |state: &[String]| format!("{services}{others}{}", slice_of("web", state));

            let (whole, short) = both(&manifests(before), &manifests(after));

            assert_eq!(short, Some(whole));
        }
    }
}

#[test]
fn what_a_route_leads_to_is_left_to_the_whole_translation() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: r, namespace: shop}\nspec: \
                 {rules: [{backendRefs: [{name: web, port: 80}]}]}\n---\n";
    let manifests = service("web", "192.0.2.1") + &slice_of("web", &[endpoint("10.0.0.1", true, "n1")]) + route;

    let (_, short) = both(&manifests, &manifests);

    assert_eq!(short, None);
}

#[test]
fn a_service_that_lost_its_last_slice_is_left_to_the_whole_translation() {
    let service = service("web", "192.0.2.1");
    let before = service.clone() + &slice_of("web", &[endpoint("10.0.0.1", true, "n1")]);

    let (_, short) = both(&before, &service);

    assert_eq!(short, None);
}
