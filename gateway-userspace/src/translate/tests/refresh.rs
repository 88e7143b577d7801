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

/// A Service of ours whose status says these addresses.
fn with_status(service: &str, addresses: &[&str]) -> String {
    let ingress: Vec<String> = addresses.iter().map(|ip| format!("{{ip: \"{ip}\"}}")).collect();
    service.replace("---\n", &format!("status: {{loadBalancer: {{ingress: [{}]}}}}\n---\n", ingress.join(", ")))
}

/// A Service of ours that asks for no address, and a pool that has some.
fn pooled() -> (String, String) {
    let service = service("web", "").replace("  annotations:\n    beeline.dev/addresses: \"\"\n", "");
    let pool = "apiVersion: beeline.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: p}\nspec: {addresses: \
                [192.0.2.0/24]}\n---\n";
    (service, pool.to_string())
}

/// Whether nothing need be translated after the status of `web` has changed; where that is so, that it is so.
fn is_as_said(before: &str, after: &str) -> bool {
    let options = Options::default();
    let last = translate(&objects(before), &options);
    let objects = objects(after);
    let Translation { model, given, statuses, .. } = &last;
    let changed = BTreeSet::from([Name::new("shop", "web")]);
    let is_as_said = are_as_said(Last { model, given, statuses }, &objects, &options, &changed);
    if is_as_said {
        let whole = translate_after(given, &objects, &options);
        assert_eq!((&whole.model, &whole.given, &whole.statuses), (model, given, statuses));
    }
    is_as_said
}

#[test]
fn a_status_that_says_the_addresses_that_were_asked_for_changes_nothing() {
    let service = service("web", "192.0.2.1, 2001:db8::1");

    assert!(is_as_said(&service, &with_status(&service, &["192.0.2.1", "2001:db8::1"])));
    assert!(!is_as_said(&service, &with_status(&service, &["192.0.2.1"])));
    assert!(!is_as_said(&service, &with_status(&service, &["2001:db8::1", "192.0.2.1"])));
}

#[test]
fn a_status_that_says_the_address_that_a_pool_gave_changes_nothing() {
    let (service, pool) = pooled();
    let after = |address| with_status(&service, &[address]) + &pool;

    assert!(is_as_said(&(service.clone() + &pool), &after("192.0.2.0")));
    assert!(!is_as_said(&(service.clone() + &pool), &after("192.0.2.7")));
}

#[test]
fn a_status_that_names_what_was_refused_is_left_to_the_whole_translation() {
    let pool = pooled().1;
    let service = service("web", "198.51.100.1");

    let after = with_status(&service, &["198.51.100.1"]) + &pool;

    assert!(!is_as_said(&(service + &pool), &after));
}
