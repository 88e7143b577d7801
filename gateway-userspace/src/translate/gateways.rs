//! Gateways: their listeners are frontends, and each listener serves the one route that may and was first.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_api::apis::experimental::gateways::{
    Gateway, GatewayListeners, GatewayListenersAllowedRoutesNamespaces as AllowedNamespaces,
    GatewayListenersAllowedRoutesNamespacesFrom as From,
};
use gateway_api::apis::experimental::tcproutes::TcpRouteParentRefs;
use gateway_common::{Address, FrontendKey, Protocol};

use super::selector::{Requirement, Wanted, has_all};
use super::{Behind, Claim, Report, RouteRef, by_age};
use crate::source::validate::{parse_port, parse_vip};
use crate::source::{Kind, Labels, Name, ObjectId, Objects, Sourced};

/// The controller that a `GatewayClass` names to be ours.
pub const CONTROLLER_NAME: &str = "beeline.dev/gateway";
/// The class that is ours even if no `GatewayClass` object says so.
pub const GATEWAY_CLASS: &str = "beeline";

/// The group of Gateways and routes.
pub(super) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// The label that every Namespace has by itself, and the only one known without its object.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A listener of a Gateway of ours, by its index.
type ListenerKey<'a> = (&'a Name, usize);

/// A listener's route, with the field of the route that asks for it.
type Attached<'a> = BTreeMap<ListenerKey<'a>, RouteRef<'a>>;

/// What the Gateways ask for.
pub(super) fn claims<'a>(objects: &'a Objects, report: &mut Report) -> Vec<Claim<'a>> {
    let ours: BTreeMap<&Name, &Sourced<Gateway>> =
        objects.gateways.iter().filter(|(_, gateway)| is_ours(objects, &gateway.object)).collect();
    let attached = attach(objects, &ours, report);
    ours.iter().flat_map(|(name, gateway)| claims_of(name, gateway, &attached, report)).collect()
}

fn is_ours(objects: &Objects, gateway: &Gateway) -> bool {
    let class = &gateway.spec.gateway_class_name;
    match objects.gateway_classes.get(&Name::new("", class)) {
        Some(found) => found.object.spec.controller_name == CONTROLLER_NAME,
        None => class == GATEWAY_CLASS,
    }
}

fn claims_of<'a>(
    name: &'a Name,
    found: &'a Sourced<Gateway>,
    attached: &Attached<'a>,
    report: &mut Report,
) -> Vec<Claim<'a>> {
    let Sourced { object: gateway, origin } = found;
    let id = ObjectId { kind: Kind::Gateway, name: name.clone() };
    let vips = vips(&id, found, report);
    let mut claims = Vec::new();
    for (index, listener) in gateway.spec.listeners.iter().enumerate() {
        let Some(protocol) = protocol_of(listener) else {
            let message = format!("`{}` is not supported yet: use TCP or UDP", listener.protocol);
            report.add(origin.error(&id, format!("spec.listeners[{index}].protocol"), message));
            continue;
        };
        let Ok(port) = parse_port(listener.port.into()) else { continue };
        let behind = attached.get(&(name, index)).map_or(Behind::Nothing, |route| Behind::Route(*route));
        claims.extend(vips.iter().map(|(address, vip_field)| Claim {
            key: FrontendKey::new(*address, port, protocol),
            created: gateway.metadata.creation_timestamp.as_ref(),
            object: id.clone(),
            origin,
            field: format!("spec.listeners[{index}].port"),
            vip_field: vip_field.clone(),
            behind,
        }));
    }
    claims
}

fn vips(id: &ObjectId, found: &Sourced<Gateway>, report: &mut Report) -> Vec<(Address, String)> {
    let mut vips: Vec<(Address, String)> = Vec::new();
    let addresses = found.object.spec.addresses.as_deref().unwrap_or_default();
    for (index, address) in addresses.iter().enumerate() {
        let field = format!("spec.addresses[{index}]");
        let kind = address.r#type.as_deref().unwrap_or("IPAddress");
        let vip = match address.value.as_deref() {
            _ if kind != "IPAddress" => Err(("type", format!("`{kind}` is not supported: use IPAddress"))),
            None | Some("") => Err(("value", "no address is given out yet: name one".to_string())),
            Some(value) => parse_vip(value).map_err(|message| ("value", message)),
        };
        match vip {
            Ok(vip) if vips.iter().any(|(known, _)| *known == vip) => {}
            Ok(vip) => vips.push((vip, format!("{field}.value"))),
            Err((name, message)) => report.add(found.origin.error(id, format!("{field}.{name}"), message)),
        }
    }
    if addresses.is_empty() {
        let message = "the Gateway asks for no address: name its VIPs, each of type IPAddress";
        report.add(found.origin.error(id, "spec.addresses", message));
    }
    vips
}

fn protocol_of(listener: &GatewayListeners) -> Option<Protocol> {
    match listener.protocol.as_str() {
        "TCP" => Some(Protocol::TCP),
        "UDP" => Some(Protocol::UDP),
        _ => None,
    }
}

/// Finds each listener's route. Of several the oldest wins, then the first by name; the others are told.
fn attach<'a>(
    objects: &'a Objects,
    ours: &BTreeMap<&'a Name, &'a Sourced<Gateway>>,
    report: &mut Report,
) -> Attached<'a> {
    let mut routes: Vec<RouteRef<'a>> = objects.routes.iter().map(|(id, found)| RouteRef { id, found }).collect();
    routes.sort_by(|a, b| {
        let created = |route: &RouteRef<'a>| route.found.object.metadata.creation_timestamp.as_ref();
        by_age(created(a), a.id, created(b), b.id)
    });
    let mut attached = Attached::new();
    for route in routes {
        for (index, parent) in route.found.object.spec.parent_refs.iter().flatten().enumerate() {
            let field = format!("spec.parentRefs[{index}]");
            match listeners(objects, ours, route, parent) {
                Ok(listeners) => {
                    for key in listeners {
                        let winner = attached.entry(key).or_insert(route);
                        if winner.id != route.id {
                            let listener = &ours[key.0].object.spec.listeners[key.1].name;
                            let message = format!(
                                "listener `{listener}` of Gateway {} already serves {}, which is older or first by \
                                 name: use another listener",
                                key.0, winner.id
                            );
                            report.add(route.found.origin.error(route.id, field.clone(), message));
                        }
                    }
                }
                Err(Refusal::NotOurs) => {}
                Err(Refusal::Because(message)) => report.add(route.found.origin.error(route.id, field, message)),
            }
        }
    }
    attached
}

enum Refusal {
    /// Somebody else serves the parent, or its own error says why it is not there.
    NotOurs,
    Because(String),
}

/// The listeners that a parent reference means and that let the route in.
fn listeners<'a>(
    objects: &Objects,
    ours: &BTreeMap<&'a Name, &'a Sourced<Gateway>>,
    route: RouteRef<'_>,
    parent: &TcpRouteParentRefs,
) -> Result<Vec<ListenerKey<'a>>, Refusal> {
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    if group != GATEWAY_GROUP || parent.kind.as_deref().unwrap_or("Gateway") != "Gateway" {
        return Err(Refusal::NotOurs);
    }
    let namespace = parent.namespace.as_deref().unwrap_or(&route.id.name.namespace);
    let wanted = Name::new(namespace, &*parent.name);
    let Some((name, gateway)) = ours.get_key_value(&wanted) else {
        if objects.gateways.contains_key(&wanted) || objects.is_rejected(Kind::Gateway, &wanted) {
            return Err(Refusal::NotOurs);
        }
        return Err(Refusal::Because(format!("Gateway {wanted} does not exist: create it or correct the name")));
    };

    let mut candidates: Vec<(usize, &GatewayListeners)> = gateway.object.spec.listeners.iter().enumerate().collect();
    if let Some(section) = &parent.section_name {
        candidates.retain(|(_, listener)| listener.name == *section);
        if candidates.is_empty() {
            let message = format!("Gateway {wanted} has no listener `{section}`: correct sectionName");
            return Err(Refusal::Because(message));
        }
    }
    if let Some(port) = parent.port {
        candidates.retain(|(_, listener)| listener.port == port);
    }
    let protocol = if route.id.kind == Kind::UdpRoute { Protocol::UDP } else { Protocol::TCP };
    candidates.retain(|(_, listener)| protocol_of(listener) == Some(protocol));
    if candidates.is_empty() {
        let message = format!("no {protocol} listener of Gateway {wanted} is meant: correct sectionName or port");
        return Err(Refusal::Because(message));
    }
    candidates.retain(|(_, listener)| lets_in(objects, listener, name, route.id));
    if candidates.is_empty() {
        let message = format!("Gateway {wanted} does not let the route in: widen the listener's allowedRoutes");
        return Err(Refusal::Because(message));
    }
    Ok(candidates.into_iter().map(|(index, _)| (*name, index)).collect())
}

fn lets_in(objects: &Objects, listener: &GatewayListeners, gateway: &Name, route: &ObjectId) -> bool {
    let Some(allowed) = &listener.allowed_routes else { return route.name.namespace == gateway.namespace };
    let kinds = allowed.kinds.as_deref().unwrap_or_default();
    let is_kind_allowed = kinds.is_empty()
        || kinds.iter().any(|allowed| {
            allowed.group.as_deref().unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP && allowed.kind == route.kind.name()
        });
    is_kind_allowed
        && is_namespace_allowed(objects, allowed.namespaces.as_ref(), &gateway.namespace, &route.name.namespace)
}

fn is_namespace_allowed(objects: &Objects, allowed: Option<&AllowedNamespaces>, gateway: &str, route: &str) -> bool {
    let Some(allowed) = allowed else { return gateway == route };
    match allowed.from.as_ref().unwrap_or(&From::Same) {
        From::All => true,
        From::Same => gateway == route,
        From::Selector => allowed.selector.as_ref().is_some_and(|selector| {
            let labels = namespace_labels(objects, route);
            selector.match_labels.as_ref().is_none_or(|wanted| has_all(wanted, &labels))
                && selector.match_expressions.iter().flatten().all(|expression| {
                    let values = expression.values.as_deref().unwrap_or_default();
                    Requirement { key: &expression.key, operator: &expression.operator, values }.is_met(&labels)
                })
        }),
    }
}

/// The labels of a Namespace. Without its object, as in a folder, the one that every Namespace has by itself is known.
fn namespace_labels(objects: &Objects, namespace: &str) -> Arc<Labels> {
    match objects.namespaces.get(&Name::new("", namespace)) {
        Some(found) => found.object.clone(),
        None => Arc::new(Labels::from(&Wanted::from([(NAMESPACE_NAME_LABEL.to_string(), namespace.to_string())]))),
    }
}
