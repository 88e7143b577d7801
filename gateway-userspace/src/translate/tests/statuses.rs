//! What the status of objects says, as text: one line for each object and listener and parent, `+` for what holds and `-`
//! for what does not.

use super::*;
use crate::source::Definitions;
use crate::translate::statuses::{Condition, Truth};

const TCP: &str = "{name: tcp, port: 80, protocol: TCP}";

fn conditions(conditions: &[Condition]) -> String {
    let text = |condition: &Condition| {
        let sign = if condition.truth == Truth::True { '+' } else { '-' };
        format!(" {sign}{}/{}", condition.kind, condition.reason)
    };
    conditions.iter().map(text).collect()
}

fn listed(addresses: &[std::net::IpAddr]) -> String {
    addresses.iter().flat_map(|address| [" ".to_string(), address.to_string()]).collect()
}

fn statuses(manifests: &str) -> String {
    let statuses = translated(manifests).statuses;
    let mut out = String::new();
    for (name, class) in &statuses.gateway_classes {
        writeln!(out, "GatewayClass {name}{}", conditions(&class.status.conditions)).unwrap();
    }
    for (name, gateway) in &statuses.gateways {
        let addresses = listed(&gateway.addresses);
        writeln!(out, "Gateway {name}{addresses}{}", conditions(&gateway.status.conditions)).unwrap();
        for listener in &gateway.listeners {
            let kinds = listener.supported_kinds.join(",");
            let (name, count) = (&listener.name, listener.attached_routes);
            writeln!(out, "  {name} [{kinds}] {count}{}", conditions(&listener.conditions)).unwrap();
        }
    }
    for (id, route) in &statuses.routes {
        for parent in &route.parents {
            let section = parent.parent.section_name.as_deref().unwrap_or("*");
            let conditions = conditions(&parent.conditions);
            writeln!(out, "{id} of {} {section}{conditions}", parent.parent.name).unwrap();
        }
    }
    for (name, service) in &statuses.services {
        let addresses = listed(&service.addresses);
        let event = service.event.as_ref().map_or("", |(reason, _)| reason);
        writeln!(out, "Service {name}{addresses}{} {event}", conditions(&service.status.conditions)).unwrap();
    }
    out
}

fn web() -> String {
    plain_service("shop", "web", 80)
}

fn tcp_route(name: &str, parent: &str, reference: &str) -> String {
    route("TCPRoute", "shop", name, parent, &[reference])
}

const TO_WEB: &str = "{name: web, port: 80}";

#[test]
fn what_is_served_is_accepted_and_programmed() {
    let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: beeline}\nspec: \
                 {controllerName: beeline.dev/gateway}\n---\n";
    let manifests = gateway("edge", "10.96.0.2", &[TCP]) + class + &tcp_route("web", "{name: edge}", TO_WEB) + &web();

    assert_eq!(
        statuses(&manifests),
        "GatewayClass beeline +Accepted/Accepted\n\
         Gateway shop/edge 10.96.0.2 +Accepted/Accepted +Programmed/Programmed\n  \
           tcp [TCPRoute] 1 +Accepted/Accepted -Conflicted/NoConflicts +Programmed/Programmed +ResolvedRefs/ResolvedRefs\n\
         TCPRoute shop/web of edge * +Accepted/Accepted +ResolvedRefs/ResolvedRefs\n"
    );
}

#[test]
fn a_class_claims_what_the_channel_of_the_definitions_carries_and_says_whether_it_knows_their_version() {
    let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: beeline}\nspec: \
                 {controllerName: beeline.dev/gateway}\n";
    let status = |version: &str, experimental| {
        let mut objects = objects(class);
        objects.definitions = Some(Definitions { version: version.into(), experimental });
        let class = translate(&objects, &Options::default()).statuses.gateway_classes.into_values().next().unwrap();
        (class.features.contains(&"HTTPRouteRetry"), conditions(&class.status.conditions), class.features)
    };

    let (standard, experimental) = (status("v1.6.3", false), status("v1.7.0", true));

    assert!(!standard.0 && experimental.0);
    assert!(experimental.2.is_sorted(), "{:?}", experimental.2);
    assert_eq!(standard.1, " +Accepted/Accepted +SupportedVersion/SupportedVersion");
    assert_eq!(experimental.1, " +Accepted/Accepted -SupportedVersion/UnsupportedVersion");
}

#[test]
fn a_gateway_with_one_good_listener_is_accepted_and_says_that_not_all_are() {
    let listeners = [TCP, "{name: odd, port: 8080, protocol: SCTP}"];

    assert_eq!(
        statuses(&gateway("edge", "10.96.0.2", &listeners)),
        "Gateway shop/edge 10.96.0.2 +Accepted/ListenersNotValid +Programmed/Programmed\n  \
           tcp [TCPRoute] 0 +Accepted/Accepted -Conflicted/NoConflicts +Programmed/Programmed +ResolvedRefs/ResolvedRefs\n  \
           odd [] 0 -Accepted/UnsupportedProtocol -Conflicted/NoConflicts -Programmed/Invalid +ResolvedRefs/ResolvedRefs\n"
    );
    assert_eq!(
        statuses(&gateway("edge", "10.96.0.2", &listeners[1..])).lines().next().unwrap(),
        "Gateway shop/edge -Accepted/ListenersNotValid -Programmed/Invalid"
    );
}

#[test]
fn listeners_that_cannot_be_told_apart_are_conflicted_and_count_their_routes() {
    let manifests =
        gateway("edge", "10.96.0.2", &["{name: a, port: 80, protocol: TCP}", "{name: b, port: 80, protocol: HTTP}"])
            + &tcp_route("web", "{name: edge}", TO_WEB)
            + &web();

    assert_eq!(
        statuses(&manifests),
        "Gateway shop/edge -Accepted/ListenersNotValid -Programmed/Invalid\n  \
           a [TCPRoute] 1 -Accepted/ProtocolConflict +Conflicted/ProtocolConflict -Programmed/ProtocolConflict \
               +ResolvedRefs/ResolvedRefs\n  \
           b [HTTPRoute,GRPCRoute] 0 -Accepted/ProtocolConflict +Conflicted/ProtocolConflict \
               -Programmed/ProtocolConflict +ResolvedRefs/ResolvedRefs\n\
         TCPRoute shop/web of edge * +Accepted/Accepted +ResolvedRefs/ResolvedRefs\n"
    );
}

#[test]
fn of_two_gateways_at_one_address_and_port_the_older_has_it() {
    let older = created(&gateway("old", "10.96.0.2", &[TCP]), "2026-01-01T00:00:00Z");

    assert_eq!(
        statuses(&(gateway("new", "10.96.0.2", &[TCP]) + &older)),
        "Gateway shop/new -Accepted/ListenersNotValid -Programmed/Invalid\n  \
           tcp [TCPRoute] 0 -Accepted/PortUnavailable -Conflicted/NoConflicts -Programmed/Invalid +ResolvedRefs/ResolvedRefs\n\
         Gateway shop/old 10.96.0.2 +Accepted/Accepted +Programmed/Programmed\n  \
           tcp [TCPRoute] 0 +Accepted/Accepted -Conflicted/NoConflicts +Programmed/Programmed +ResolvedRefs/ResolvedRefs\n"
    );
}

#[test]
fn kinds_of_route_that_cannot_attach_are_not_among_those_that_are_supported() {
    let listener = |kinds: &str| format!("{{name: tcp, port: 80, protocol: TCP, allowedRoutes: {{kinds: [{kinds}]}}}}");
    let of =
        |kinds: &str| statuses(&gateway("edge", "10.96.0.2", &[&listener(kinds)])).lines().nth(1).unwrap().to_string();

    assert_eq!(
        of("{kind: UDPRoute}"),
        "  tcp [] 0 +Accepted/Accepted -Conflicted/NoConflicts -Programmed/Invalid -ResolvedRefs/InvalidRouteKinds"
    );
    assert_eq!(
        of("{kind: UDPRoute}, {kind: TCPRoute}"),
        "  tcp [TCPRoute] 0 +Accepted/Accepted -Conflicted/NoConflicts +Programmed/Programmed -ResolvedRefs/InvalidRouteKinds"
    );
}

#[test]
fn addresses_of_an_unknown_type_or_none_at_all_keep_a_gateway_from_being_served() {
    let edge = gateway("edge", "10.96.0.2", &[TCP]);
    let first = |manifests: &str| statuses(manifests).lines().next().unwrap().to_string();

    assert_eq!(
        first(&edge.replace("- {value", "- {type: Hostname, value")),
        "Gateway shop/edge -Accepted/UnsupportedAddress -Programmed/Invalid"
    );
    assert_eq!(
        first(&edge.replace("  addresses:\n  - {value: \"10.96.0.2\"}\n", "")),
        "Gateway shop/edge +Accepted/Accepted -Programmed/AddressNotAssigned"
    );
    let parameters = "  infrastructure: {parametersRef: {group: example.com, kind: P, name: p}}\n  listeners:";
    assert_eq!(
        first(&edge.replace("  listeners:", parameters)),
        "Gateway shop/edge -Accepted/InvalidParameters -Programmed/Invalid"
    );
}

#[test]
fn a_class_that_wants_parameters_is_not_accepted_nor_are_its_gateways() {
    let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: beeline}\nspec: \
                 {controllerName: beeline.dev/gateway, parametersRef: {group: example.com, kind: P, name: p}}\n---\n";

    let statuses = statuses(&(gateway("edge", "10.96.0.2", &[TCP]) + class));

    assert_eq!(
        statuses.lines().take(2).collect::<Vec<_>>(),
        [
            "GatewayClass beeline -Accepted/InvalidParameters",
            "Gateway shop/edge -Accepted/NotReconciled -Programmed/Invalid"
        ]
    );
}

#[test]
fn a_route_is_told_by_each_parent_why_it_is_not_taken() {
    let udp = "{name: udp, port: 53, protocol: UDP}";
    let only_other = "{name: shut, port: 82, protocol: TCP, allowedRoutes: {namespaces: {from: Selector, selector: \
                      {matchLabels: {team: other}}}}}";
    let edge = gateway("edge", "10.96.0.2", &[TCP, udp, only_other]);
    let cases = [
        ("{name: edge, sectionName: tcp}", "+Accepted/Accepted"),
        ("{name: edge, sectionName: gone}", "-Accepted/NoMatchingParent"),
        ("{name: edge, port: 81}", "-Accepted/NoMatchingParent"),
        ("{name: edge, sectionName: tcp, port: 53}", "-Accepted/NoMatchingParent"),
        ("{name: edge, sectionName: udp}", "-Accepted/NotAllowedByListeners"),
        ("{name: edge, port: 53}", "-Accepted/NotAllowedByListeners"),
        ("{name: edge, sectionName: shut}", "-Accepted/NotAllowedByListeners"),
    ];
    for (parent, accepted) in cases {
        let statuses = statuses(&(edge.clone() + &tcp_route("web", parent, TO_WEB) + &web()));
        let line = statuses.lines().find(|line| line.starts_with("TCPRoute")).unwrap();
        assert!(line.ends_with(&format!(" {accepted} +ResolvedRefs/ResolvedRefs")), "{parent}: {line}");
    }
}

#[test]
fn a_route_without_a_parent_of_ours_is_mentioned_with_none() {
    let statuses = translated(&tcp_route("web", "{name: elsewhere}", TO_WEB)).statuses;

    assert!(statuses.routes.values().next().unwrap().parents.is_empty());
}

#[test]
fn references_that_lead_nowhere_have_the_reasons_of_gateway_api() {
    let cases = [
        ("{name: gone, port: 80}", "BackendNotFound"),
        ("{name: web, port: 81}", "BackendNotFound"),
        ("{name: web, namespace: other, port: 80}", "RefNotPermitted"),
        ("{kind: Secret, name: web, port: 80}", "InvalidKind"),
        ("{name: web, port: 53}", "UnsupportedProtocol"),
        ("{group: beeline.dev, kind: Upstream, name: gone}", "BackendNotFound"),
    ];
    let two_ports = "  - {name: http, port: 80}\n  - {name: dns, port: 53, protocol: UDP}\n";
    let web = web().replace("  - {port: 80, targetPort: 8080}\n", two_ports);
    for (reference, reason) in cases {
        let route = tcp_route("web", "{name: edge}", reference);
        let statuses = statuses(&(gateway("edge", "10.96.0.2", &[TCP]) + &route + &web));
        assert!(statuses.contains(&format!("+Accepted/Accepted -ResolvedRefs/{reason}\n")), "{reference}: {statuses}");
    }
}

#[test]
fn of_two_routes_on_a_listener_both_are_accepted_and_the_one_without_traffic_is_told() {
    let manifests = gateway("edge", "10.96.0.2", &[TCP])
        + &tcp_route("ant", "{name: edge}", TO_WEB)
        + &tcp_route("bee", "{name: edge}", TO_WEB)
        + &web();

    let statuses = translated(&manifests).statuses;

    let messages: Vec<&str> = statuses.routes.values().map(|route| &*route.parents[0].conditions[0].message).collect();
    assert_eq!(
        messages,
        [
            "the route is attached",
            "the route is attached, but listener `tcp` of Gateway shop/edge already serves TCPRoute shop/ant, which is \
             older or first by name: use another listener",
        ]
    );
    assert_eq!(statuses.gateways.values().next().unwrap().listeners[0].attached_routes, 2);
}

#[test]
fn a_service_says_what_it_has_and_what_its_owner_must_fix() {
    let sctp = service("sctp", "10.96.0.9").replace("targetPort: 8080}", "targetPort: 8080, protocol: SCTP}");
    let nowhere = service("nowhere", "").replace("    beeline.dev/addresses: \"\"\n", "    other: \"\"\n");
    let mixed = service("mixed", "10.96.0.7,fd00::7").replace("spec:\n", "spec:\n  ipFamilies: [IPv4]\n");
    let manifests = [service("ant", "10.96.0.1,fd00::1"), service("bee", "10.96.0.1"), sctp, nowhere, mixed];

    assert_eq!(
        statuses(&manifests.concat()),
        "Service shop/ant 10.96.0.1 fd00::1 +beeline.dev/Programmed/Programmed \n\
         Service shop/bee -beeline.dev/Programmed/PortUnavailable PortUnavailable\n\
         Service shop/mixed 10.96.0.7 -beeline.dev/Programmed/AddressNotUsable AddressNotUsable\n\
         Service shop/nowhere -beeline.dev/Programmed/AddressNotAssigned AddressNotAssigned\n\
         Service shop/sctp -beeline.dev/Programmed/UnsupportedProtocol UnsupportedProtocol\n"
    );
}
