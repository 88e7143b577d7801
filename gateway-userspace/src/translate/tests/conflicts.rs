//! Two objects that ask for one frontend.

use super::*;

fn owner(translation: &Translation) -> &str {
    &translation.model.services.values().next().unwrap().owner
}

#[test]
fn the_first_by_name_keeps_a_frontend_and_the_other_is_told_once_for_both_families() {
    let vips = "10.96.0.1,fd00:96::1";
    let translation = translated(&(service("zebra", vips) + &service("ant", vips) + &service("bee", "10.96.0.2")));

    let owners: Vec<&str> = translation.model.services.values().map(|service| &*service.owner).collect();
    assert_eq!(owners, ["Service shop/ant", "Service shop/bee", "Service shop/ant"]);
    assert_eq!(
        problems(&translation),
        ["document 1: Service shop/zebra: spec.ports[0].port: \
          Service shop/ant already has TCP 10.96.0.1:80 and TCP [fd00:96::1]:80 (spec.ports[0].port) \
          and is older or first by name: use another address or port"]
    );
}

#[test]
fn the_older_object_keeps_a_frontend_whatever_its_name() {
    let young = created(&service("ant", "10.96.0.1"), "2026-02-01T00:00:00Z");
    let old = created(&service("zebra", "10.96.0.1"), "2026-01-01T00:00:00Z");
    let ageless = service("aardvark", "10.96.0.1");

    let translation = translated(&(young + &old + &ageless));

    assert_eq!(owner(&translation), "Service shop/zebra");
    assert_eq!(translation.problems.len(), 2);
}

#[test]
fn a_service_and_a_gateway_may_share_a_vip_but_not_a_port() {
    let gateway =
        gateway("edge", "10.96.0.1", &["{name: a, port: 80, protocol: TCP}", "{name: b, port: 81, protocol: TCP}"]);
    let route = route("TCPRoute", "shop", "web", "{name: edge}", &["{name: web, port: 80}"]);
    let older = created(&service("web", "10.96.0.1"), "2026-01-01T00:00:00Z");

    let translation = translated(&(gateway + &route + &older));

    let owners: Vec<String> =
        translation.model.services.iter().map(|(key, service)| format!("{key} {}", service.owner)).collect();
    assert_eq!(owners, ["TCP 10.96.0.1:80 Service shop/web", "TCP 10.96.0.1:81 TCPRoute shop/web"]);
    assert_eq!(translation.problems.len(), 1);
    assert!(problems(&translation)[0].starts_with("document 1: Gateway shop/edge: spec.listeners[0].port: Service "));
}

#[test]
fn listeners_of_one_gateway_that_share_a_port_cannot_be_told_apart_and_none_is_served() {
    let cases = [
        ("{name: a, port: 80, protocol: TCP}", "{name: b, port: 80, protocol: TCP}", 0),
        ("{name: a, port: 80, protocol: TCP}", "{name: b, port: 80, protocol: HTTP}", 0),
        ("{name: a, port: 80, protocol: TCP}", "{name: b, port: 80, protocol: UDP}", 1),
        ("{name: a, port: 80, protocol: TCP}", "{name: b, port: 81, protocol: TCP}", 2),
    ];
    for (one, other, served) in cases {
        let route = route("TCPRoute", "shop", "web", "{name: edge}", &["{name: web, port: 80}"]);
        let manifests = gateway("edge", "10.96.0.1", &[one, other]) + &route + &plain_service("shop", "web", 80);

        let translation = translated(&manifests);

        assert_eq!(translation.model.services.len(), served, "{other}");
    }
}

#[test]
fn the_order_of_documents_changes_nothing() {
    let documents = [
        service("ant", "10.96.0.1"),
        service("bee", "10.96.0.1"),
        slice("ant", &["{addresses: [10.1.0.1]}", "{addresses: [10.1.0.2]}"]),
        pod("shop", "p", "bee", "10.1.0.3", "", ""),
    ];
    let forward = translated(&documents.concat());
    let backward = translated(&documents.iter().rev().cloned().collect::<String>());

    assert_eq!(forward.model, backward.model);
}

#[test]
fn a_vip_that_is_a_pods_address_is_refused_and_the_rest_is_served() {
    let manifests =
        [service("thief", "10.0.0.1"), service("web", "192.0.2.1"), pod("shop", "a", "web", "10.0.0.1", "", "")];

    let translation = translated(&manifests.concat());

    assert_eq!(translation.model.services.len(), 1);
    assert_eq!(
        problems(&translation),
        [
            "document 1: Service shop/thief: metadata.annotations[beeline.dev/addresses]: 10.0.0.1 is the address of Pod \
             shop/a: the VIP is not served: choose an address that nobody has"
        ]
    );
}
