//! The listeners of a Gateway: which of them can be served, and which routes they let in.
//!
//! Listeners of one Gateway that share a port of one transport cannot be told apart, and then none of them is served
//! (Gateway API, "Handling indistinct Listeners"). HTTP, HTTPS and TLS count as TCP there, though nobody serves them yet.

use std::sync::Arc;

use gateway_api::apis::experimental::gateways::{
    Gateway, GatewayListeners, GatewayListenersAllowedRoutesNamespaces as AllowedNamespaces,
    GatewayListenersAllowedRoutesNamespacesFrom as From,
};
use gateway_common::{Port, Protocol};

use super::selector::{Requirement, Wanted, meets};
use crate::source::validate::parse_port;
use crate::source::{Kind, Labels, Name, ObjectId, Objects};

/// The group of Gateways and routes.
pub(super) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// The label that every Namespace has by itself, and the only one known without its object.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A listener, judged by itself and beside the others of its Gateway.
#[derive(Debug)]
pub(super) struct Listener<'a> {
    pub spec: &'a GatewayListeners,
    /// What it speaks; nothing if that is not served.
    pub protocol: Option<Protocol>,
    /// Its port, if it is one.
    pub port: Option<Port>,
    /// The kinds of route that it takes.
    pub kinds: Vec<Kind>,
    /// The kinds it allows that it could never take.
    pub strange_kinds: Vec<String>,
    /// The names of the others that it cannot be told from.
    pub rivals: Vec<&'a str>,
}

impl Listener<'_> {
    /// Whether it can be served, as far as its Gateway is concerned.
    pub fn is_valid(&self) -> bool {
        self.protocol.is_some() && self.port.is_some() && self.rivals.is_empty()
    }

    /// Whether routes of that namespace may attach.
    pub fn lets_in(&self, objects: &Objects, gateway: &Name, route: &ObjectId) -> bool {
        let allowed = self.spec.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
        is_namespace_allowed(objects, allowed, &gateway.namespace, &route.name.namespace)
    }
}

/// The listeners of a Gateway, in the order of its spec.
pub(super) fn judge(gateway: &Gateway) -> Vec<Listener<'_>> {
    gateway.spec.listeners.iter().map(|spec| listener(gateway, spec)).collect()
}

fn listener<'a>(gateway: &'a Gateway, spec: &'a GatewayListeners) -> Listener<'a> {
    let (protocol, own_kinds) = match spec.protocol.as_str() {
        "TCP" => (Some(Protocol::TCP), vec![Kind::TcpRoute]),
        "UDP" => (Some(Protocol::UDP), vec![Kind::UdpRoute]),
        _ => (None, Vec::new()),
    };
    let allowed = spec.allowed_routes.as_ref().and_then(|allowed| allowed.kinds.as_deref()).unwrap_or_default();
    let is_own = |group: Option<&str>, name: &str| {
        group.unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP && own_kinds.iter().any(|kind| kind.name() == name)
    };
    let strange = allowed.iter().filter(|allowed| !is_own(allowed.group.as_deref(), &allowed.kind));
    let strange_kinds: Vec<String> = strange.map(|strange| strange.kind.clone()).collect();
    let takes_none = !allowed.is_empty() && strange_kinds.len() == allowed.len();
    Listener {
        spec,
        protocol,
        port: parse_port(spec.port.into()).ok(),
        kinds: if takes_none { Vec::new() } else { own_kinds },
        strange_kinds,
        rivals: rivals(gateway, spec),
    }
}

/// The other listeners of the same port and transport, unless hostnames can tell them apart.
fn rivals<'a>(gateway: &'a Gateway, spec: &GatewayListeners) -> Vec<&'a str> {
    let of_same_port = gateway.spec.listeners.iter().filter(|other| {
        other.name != spec.name
            && other.port == spec.port
            && transport(&other.protocol).is_some()
            && transport(&other.protocol) == transport(&spec.protocol)
            && (is_plain(&other.protocol) || is_plain(&spec.protocol))
    });
    of_same_port.map(|other| other.name.as_str()).collect()
}

/// What carries a protocol that Gateway API knows.
fn transport(protocol: &str) -> Option<Protocol> {
    match protocol {
        "TCP" | "TLS" | "HTTP" | "HTTPS" => Some(Protocol::TCP),
        "UDP" => Some(Protocol::UDP),
        _ => None,
    }
}

/// Whether nothing but the port tells one listener of the protocol from another.
fn is_plain(protocol: &str) -> bool {
    matches!(protocol, "TCP" | "UDP")
}

fn is_namespace_allowed(objects: &Objects, allowed: Option<&AllowedNamespaces>, gateway: &str, route: &str) -> bool {
    let Some(allowed) = allowed else { return gateway == route };
    match allowed.from.as_ref().unwrap_or(&From::Same) {
        From::All => true,
        From::Same => gateway == route,
        From::Selector => allowed.selector.as_ref().is_some_and(|selector| {
            let requirements = selector.match_expressions.iter().flatten().map(|expression| {
                let values = expression.values.as_deref().unwrap_or_default();
                Requirement { key: &expression.key, operator: &expression.operator, values }
            });
            meets(selector.match_labels.as_ref(), requirements, &namespace_labels(objects, route))
        }),
    }
}

/// The labels of a Namespace. Without its object, as in a folder, the one that every Namespace has by itself is known.
pub(super) fn namespace_labels(objects: &Objects, namespace: &str) -> Arc<Labels> {
    match objects.namespaces.get(&Name::new("", namespace)) {
        Some(found) => found.object.clone(),
        None => Arc::new(Labels::from(&Wanted::from([(NAMESPACE_NAME_LABEL.to_string(), namespace.to_string())]))),
    }
}
