//! Who tells clients where a VIP is, and by which nodes they may come.

use super::*;
use crate::model::Announce;

fn pool(name: &str, addresses: &str, more: &str) -> String {
    format!(
        "apiVersion: beeline.dev/v1alpha1\nkind: AddressPool\nmetadata: {{name: {name}}}\nspec:\n  addresses: \
         [{addresses}]\n{more}---\n"
    )
}

/// A Service whose clients shall come by nodes that have Pods of it.
fn local(manifest: &str) -> String {
    manifest.replacen("type: LoadBalancer\n", "type: LoadBalancer\n  externalTrafficPolicy: Local\n", 1)
}

fn endpoint(ip: &str, node: &str, conditions: &str) -> String {
    format!("{{addresses: [{ip}], nodeName: {node}, conditions: {{{conditions}}}}}")
}

fn local_nodes(manifests: &str) -> Option<Vec<String>> {
    let translation = translated(manifests);
    let service = translation.model.services.values().next().expect("there is a frontend");
    service.local_nodes.as_ref().map(|nodes| nodes.iter().map(ToString::to_string).collect())
}

#[test]
fn a_pool_says_who_announces_its_addresses_and_an_address_of_no_pool_is_announced() {
    let manifests = pool("far", "192.0.2.0/25", "  announce: None\n")
        + &pool("near", "192.0.2.128/25", "  announce: Neighbor\n")
        + &service("web", "192.0.2.1,192.0.2.129");

    let announcements = translated(&manifests).model.announcements;
    let without_pools = translated(&service("web", "192.0.2.1")).model.announcements;

    let network = Announce::Network { pool: "far".to_owned() };
    let expected = [([192, 0, 2, 1], network), ([192, 0, 2, 129], Announce::Neighbor)];
    let expected = expected.map(|(vip, announce)| (Address::from_v4(vip), announce));
    assert_eq!(announcements, BTreeMap::from(expected));
    assert_eq!(without_pools, BTreeMap::from([(Address::from_v4([192, 0, 2, 1]), Announce::Neighbor)]));
}

#[test]
fn what_nobody_serves_nobody_announces() {
    let manifests = gateway("web", "192.0.2.1", &["{name: a, port: 80, protocol: TCP}"]);

    assert!(translated(&manifests).model.announcements.is_empty());
}

#[test]
fn a_service_that_keeps_to_local_pods_names_the_nodes_that_have_one() {
    let endpoints = [
        endpoint("10.1.1.1", "n1", "ready: true"),
        endpoint("10.1.2.1", "n2", "ready: false"),
        endpoint("10.1.3.1", "n3", "ready: true"),
        endpoint("10.1.3.2", "n3", "ready: true"),
        endpoint("10.1.4.1", "n4", "ready: false, serving: true, terminating: true"),
    ];
    let web = service("web", "192.0.2.1") + &slice("web", &endpoints.each_ref().map(String::as_str));
    let only_ending = local(&service("web", "192.0.2.1")) + &slice("web", &[&endpoints[1], &endpoints[4]]);

    assert_eq!(local_nodes(&web), None);
    assert_eq!(local_nodes(&local(&web)), Some(vec!["n1".to_owned(), "n3".to_owned()]));
    assert_eq!(local_nodes(&only_ending), Some(vec!["n4".to_owned()]));
    assert_eq!(local_nodes(&local(&service("web", "192.0.2.1"))), Some(Vec::new()));
}
