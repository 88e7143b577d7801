//! Gateways, listeners, routes and their references.

use super::*;

const TCP: &str = "{name: tcp, port: 80, protocol: TCP}";

fn edge(listeners: &[&str]) -> String {
    gateway("edge", "10.96.0.2", listeners)
}

fn tcp_route(name: &str, references: &[&str]) -> String {
    route("TCPRoute", "shop", name, "{name: edge}", references)
}

fn web(count: u8) -> String {
    let endpoints: Vec<String> = (1..=count).map(|host| format!("{{addresses: [10.1.0.{host}]}}")).collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    plain_service("shop", "web", 80) + &slice("web", &endpoints)
}

#[test]
fn each_reference_of_a_route_is_a_group_with_its_weight() {
    let route = tcp_route(
        "web",
        &["{name: web, port: 80, weight: 90}", "{name: canary, port: 80, weight: 10}", "{name: web, port: 80}"],
    );
    let translation = translated(&(edge(&[TCP]) + &route + &web(1) + &plain_service("shop", "canary", 80)));

    assert_eq!(
        text(&translation),
        "TCP 10.96.0.2:80 TCPRoute shop/web WeightedRoundRobin\n  \
           90 Service shop/web:80\n    10 10.1.0.1:8080 10.1.0.1\n  \
           10 Service shop/canary:80\n  \
           1 Service shop/web:80#2\n    10 10.1.0.1:8080 10.1.0.1\n"
    );
    assert_eq!(problems(&translation), [""; 0]);
}

#[test]
fn a_reference_that_leads_nowhere_keeps_its_share_and_is_named() {
    let cases = [
        ("{name: gone, port: 80}", "name: Service shop/gone does not exist: create it or correct the name"),
        ("{name: web, port: 81}", "port: Service shop/web has no port 81: use one of 80"),
        ("{name: web}", "port: missing: name the Service's port"),
        (
            "{group: beeline.dev, kind: Upstream, name: gone}",
            "name: Upstream shop/gone does not exist: create it or correct the name",
        ),
        (
            "{kind: Secret, name: web, port: 80}",
            "kind: `Secret` of group `` cannot be a backend: use a Service (group \"\") or an Upstream (group beeline.dev)",
        ),
        (
            "{name: web, namespace: other, port: 80}",
            "namespace: Service other/web is in another namespace: create a ReferenceGrant in `other` \
             from TCPRoutes of `shop` to Services",
        ),
    ];
    for (reference, expected) in cases {
        let route = tcp_route("web", &["{name: web, port: 80}", reference]);

        let translation = translated(&(edge(&[TCP]) + &route + &web(1)));

        let service = translation.model.services.values().next().unwrap();
        assert_eq!(service.groups[0].members.len(), 1, "{reference}");
        assert_eq!(service.groups[1].weight, 1, "{reference}");
        assert!(service.groups[1].members.is_empty(), "{reference}");
        let expected = format!("document 2: TCPRoute shop/web: spec.rules[0].backendRefs[1].{expected}");
        assert_eq!(problems(&translation), [expected]);
    }
}

#[test]
fn a_reference_to_an_object_with_an_error_of_its_own_is_not_named_again() {
    let mut objects = objects(&(edge(&[TCP]) + &tcp_route("web", &["{name: bad, port: 80}"])));
    objects
        .rejected
        .insert(ObjectId { kind: crate::source::Kind::Service, name: crate::source::Name::new("shop", "bad") });

    let translation = translate(&objects, &Options::default());

    assert_eq!(translation.problems, []);
    assert_eq!(translation.model.services.len(), 1);
}

#[test]
fn a_grant_opens_another_namespace_for_just_what_it_names() {
    let from = "{group: gateway.networking.k8s.io, kind: TCPRoute, namespace: shop}";
    let route = tcp_route("web", &["{name: web, namespace: other, port: 80}"]);
    let base = edge(&[TCP]) + &route + &plain_service("other", "web", 80);
    let cases = [
        (grant("other", from, "{group: \"\", kind: Service}"), true),
        (grant("other", from, "{group: \"\", kind: Service, name: web}"), true),
        (grant("other", from, "{group: \"\", kind: Service, name: db}"), false),
        (grant("shop", from, "{group: \"\", kind: Service}"), false),
        (grant("other", &from.replace("TCPRoute", "UDPRoute"), "{group: \"\", kind: Service}"), false),
    ];

    for (grant, is_open) in cases {
        assert_eq!(translated(&(base.clone() + &grant)).problems.is_empty(), is_open, "{grant}");
    }
}

#[test]
fn a_udp_route_takes_udp_listeners_and_udp_ports() {
    let udp = "{name: udp, port: 53, protocol: UDP}";
    let dns = plain_service("shop", "dns", 53).replace("port: 53,", "port: 53, protocol: UDP,");
    let good = route("UDPRoute", "shop", "dns", "{name: edge}", &["{name: dns, port: 53}"]);
    let translation = translated(&(edge(&[TCP, udp]) + &good + &dns));

    assert_eq!(text(&translation), "UDP 10.96.0.2:53 UDPRoute shop/dns WeightedRoundRobin\n  1 Service shop/dns:53\n");

    let wrong = tcp_route("dns", &["{name: dns, port: 53}"]);
    assert_eq!(
        problems(&translated(&(edge(&[TCP, udp]) + &wrong + &dns))),
        ["document 2: TCPRoute shop/dns: spec.rules[0].backendRefs[0].port: \
          port 53 of Service shop/dns is not a TCP port: use another"]
    );
}

#[test]
fn section_name_and_port_choose_the_listener() {
    let listeners = ["{name: a, port: 80, protocol: TCP}", "{name: b, port: 81, protocol: TCP}"];
    let frontends = |parent: &str| {
        let route = route("TCPRoute", "shop", "web", parent, &["{name: web, port: 80}"]);
        let translation = translated(&(edge(&listeners) + &route + &web(0).replace("endpoints:\n", "endpoints: []\n")));
        let ports: Vec<u16> = translation.model.services.keys().map(|key| key.port.get()).collect();
        (ports, problems(&translation).len())
    };

    assert_eq!(frontends("{name: edge}"), (vec![80, 81], 0));
    assert_eq!(frontends("{name: edge, sectionName: b}"), (vec![81], 0));
    assert_eq!(frontends("{name: edge, port: 80}"), (vec![80], 0));
    assert_eq!(frontends("{name: edge, sectionName: c}"), (vec![], 1));
    assert_eq!(frontends("{name: edge, sectionName: a, port: 81}"), (vec![], 1));
    assert_eq!(frontends("{name: nowhere}"), (vec![], 1));
    assert_eq!(frontends("{name: web, kind: Service, group: \"\"}"), (vec![], 0));
}

#[test]
fn a_listener_decides_who_may_attach() {
    let listener = |allowed: &str| format!("{{name: tcp, port: 80, protocol: TCP, allowedRoutes: {allowed}}}");
    let named = "{from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: other}}}";
    let cases = [
        ("{}".to_string(), "shop", true),
        ("{}".to_string(), "other", false),
        ("{namespaces: {from: Same}}".to_string(), "other", false),
        ("{namespaces: {from: All}}".to_string(), "other", true),
        (format!("{{namespaces: {named}}}"), "other", true),
        (format!("{{namespaces: {named}}}"), "shop", false),
        ("{kinds: [{kind: UDPRoute}]}".to_string(), "shop", false),
        ("{kinds: [{kind: TCPRoute}]}".to_string(), "shop", true),
    ];

    for (allowed, namespace, is_attached) in cases {
        let parent = "{name: edge, namespace: shop}";
        let route = route("TCPRoute", namespace, "web", parent, &["{name: web, port: 80}"]);
        let gateway = edge(&[&listener(&allowed)]);

        let translation = translated(&(gateway + &route + &plain_service(namespace, "web", 80)));

        let of_the_route = problems(&translation).iter().filter(|problem| problem.contains("TCPRoute")).count();
        assert_eq!(translation.model.services.len(), usize::from(is_attached), "{allowed} {namespace}");
        assert_eq!(of_the_route > 0, !is_attached, "{allowed} {namespace}");
    }
}

#[test]
fn of_several_routes_on_a_listener_the_oldest_is_served_and_the_others_are_told() {
    let young = tcp_route("ant", &["{name: web, port: 80}"]);
    let old = created(&tcp_route("zebra", &["{name: web, port: 80}"]), "2026-01-01T00:00:00Z");

    let translation = translated(&(edge(&[TCP]) + &young + &old + &web(1)));

    assert_eq!(translation.model.services.values().next().unwrap().owner, "TCPRoute shop/zebra");
    assert_eq!(
        problems(&translation),
        ["document 2: TCPRoute shop/ant: spec.parentRefs[0]: listener `tcp` of Gateway shop/edge already serves \
          TCPRoute shop/zebra, which is older or first by name: use another listener"]
    );
}

#[test]
fn a_gateway_is_ours_by_its_class() {
    let class = |controller: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: edge-class}}\n\
             spec: {{controllerName: {controller}}}\n---\n"
        )
    };
    let route = tcp_route("web", &["{name: web, port: 80}"]);
    let frontends = |class_name: &str, class: &str| {
        let gateway = edge(&[TCP]).replace("gatewayClassName: beeline", &format!("gatewayClassName: {class_name}"));
        translated(&(gateway + &route + &web(1) + class)).model.services.len()
    };

    assert_eq!(frontends("beeline", ""), 1);
    assert_eq!(frontends("edge-class", ""), 0);
    assert_eq!(frontends("edge-class", &class("beeline.dev/gateway")), 1);
    assert_eq!(frontends("edge-class", &class("other.example/gateway")), 0);
}

#[test]
fn listeners_that_we_cannot_serve_and_gateways_without_address_are_named() {
    let odd = "{name: odd, port: 8080, protocol: SCTP}";
    let without = edge(&[TCP, odd]).replace("  addresses:\n  - {value: \"10.96.0.2\"}\n", "");

    assert_eq!(
        problems(&translated(&without)),
        [
            "document 1: Gateway shop/edge: spec.addresses: \
             the Gateway asks for no address and there is no AddressPool: name its VIPs, or create a pool",
            "document 1: Gateway shop/edge: spec.listeners[1].protocol: `SCTP` is not supported: use HTTP, HTTPS, TLS, TCP or \
             UDP",
        ]
    );
}

#[test]
fn a_listener_without_a_route_exposes_nothing() {
    let translation = translated(&edge(&[TCP]));

    assert!(translation.model.services.is_empty());
    assert!(translation.vips.is_empty());
    assert_eq!(translation.problems, []);
}
