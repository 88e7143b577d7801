//! Which routes are attached to which listeners, and which one each listener serves.
//!
//! Nothing tells connections to a TCP or UDP listener apart, so it serves one route: the oldest, then the first by name.
//! The others are attached and accepted all the same, as Gateway API wants it (GEP-2644, on several
//! routes of one listener); a problem, and the condition's message, say that they get no traffic.

use std::collections::BTreeMap;

use gateway_api::apis::experimental::tcproutes::TcpRouteParentRefs;

use super::gateways::OurGateway;
use super::listeners::{GATEWAY_GROUP, Listener};
use super::{Report, RouteRef, by_age};
use crate::source::{Kind, Name, ObjectId, Objects};

/// A Gateway and a listener, both by index.
pub(super) type ListenerIndex = (usize, usize);

/// All routes and their parents.
#[derive(Default)]
pub(super) struct Attachments<'a> {
    /// The routes of each listener; the first is the one that it serves.
    routes: BTreeMap<ListenerIndex, Vec<RouteRef<'a>>>,
    /// Every route, with its parents of ours in the order of its spec.
    pub parents: Vec<(RouteRef<'a>, Vec<Parent<'a>>)>,
}

/// A parent of ours, as a route names it.
pub(super) struct Parent<'a> {
    pub index: usize,
    pub reference: &'a TcpRouteParentRefs,
    /// The listeners that take the route, or why none does.
    pub listeners: Result<Vec<ListenerIndex>, Refusal>,
}

/// Why a parent does not take a route.
pub(super) struct Refusal {
    /// The reason of Gateway API.
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl<'a> Attachments<'a> {
    pub fn new(objects: &'a Objects, gateways: &[OurGateway<'a>], report: &mut Report) -> Self {
        let by_name: BTreeMap<&Name, usize> =
            gateways.iter().enumerate().map(|(index, gateway)| (gateway.name, index)).collect();
        let mut routes: Vec<RouteRef<'a>> = objects.routes.iter().map(|(id, found)| RouteRef { id, found }).collect();
        routes.sort_by(|a, b| {
            let created = |route: &RouteRef<'a>| route.found.object.metadata.creation_timestamp.as_ref();
            by_age(created(a), a.id, created(b), b.id)
        });
        let mut attachments = Self::default();
        for route in routes {
            let mut parents = Vec::new();
            for (index, reference) in route.found.object.spec.parent_refs.iter().flatten().enumerate() {
                let Some(wanted) = gateway_name(reference, route) else { continue };
                let Some(&at) = by_name.get(&wanted) else {
                    report_missing(objects, route, index, &wanted, report);
                    continue;
                };
                let listeners = listeners(objects, &gateways[at], route, reference);
                let listeners: Result<Vec<ListenerIndex>, _> =
                    listeners.map(|found| found.into_iter().map(|listener| (at, listener)).collect());
                for key in listeners.iter().flatten() {
                    attachments.attach(*key, route);
                }
                parents.push(Parent { index, reference, listeners });
            }
            attachments.parents.push((route, parents));
        }
        attachments
    }

    /// Two references of one route may mean the same listener.
    fn attach(&mut self, key: ListenerIndex, route: RouteRef<'a>) {
        let routes = self.routes.entry(key).or_default();
        if routes.last().is_none_or(|last| last.id != route.id) {
            routes.push(route);
        }
    }

    /// The route that a listener serves.
    pub fn served(&self, listener: ListenerIndex) -> Option<RouteRef<'a>> {
        self.routes.get(&listener)?.first().copied()
    }

    /// How many routes a listener has.
    pub fn count(&self, listener: ListenerIndex) -> usize {
        self.routes.get(&listener).map_or(0, Vec::len)
    }

    /// Names every route that a parent does not take or does not serve.
    pub fn report(&self, gateways: &[OurGateway<'_>], report: &mut Report) {
        for (route, parents) in &self.parents {
            for parent in parents {
                let field = format!("spec.parentRefs[{}]", parent.index);
                let error = |message: &str| route.found.origin.error(route.id, &*field, message);
                match &parent.listeners {
                    Err(refusal) => report.add(error(&refusal.message)),
                    Ok(listeners) => {
                        for listener in listeners {
                            self.superseded(*listener, route.id, gateways)
                                .iter()
                                .for_each(|text| report.add(error(text)));
                        }
                    }
                }
            }
        }
    }

    /// Why a listener that has a route serves another one.
    pub fn superseded(&self, listener: ListenerIndex, route: &ObjectId, gateways: &[OurGateway<'_>]) -> Option<String> {
        let winner = self.served(listener).filter(|winner| winner.id != route)?;
        let gateway = &gateways[listener.0];
        Some(format!(
            "listener `{}` of Gateway {} already serves {}, which is older or first by name: use another listener",
            gateway.listeners[listener.1].spec.name, gateway.name, winner.id
        ))
    }
}

/// The Gateway that a reference names, if it names one.
fn gateway_name(reference: &TcpRouteParentRefs, route: RouteRef<'_>) -> Option<Name> {
    let group = reference.group.as_deref().unwrap_or(GATEWAY_GROUP);
    let is_gateway = group == GATEWAY_GROUP && reference.kind.as_deref().unwrap_or("Gateway") == "Gateway";
    let namespace = reference.namespace.as_deref().unwrap_or(&route.id.name.namespace);
    is_gateway.then(|| Name::new(namespace, &*reference.name))
}

/// A Gateway that somebody else serves, or that has an error of its own, needs no word here.
fn report_missing(objects: &Objects, route: RouteRef<'_>, index: usize, wanted: &Name, report: &mut Report) {
    if objects.gateways.contains_key(wanted) || objects.is_rejected(Kind::Gateway, wanted) {
        return;
    }
    let message = format!("Gateway {wanted} does not exist: create it or correct the name");
    report.add(route.found.origin.error(route.id, format!("spec.parentRefs[{index}]"), message));
}

/// The listeners of a Gateway that a reference means and that take the route.
fn listeners(
    objects: &Objects,
    gateway: &OurGateway<'_>,
    route: RouteRef<'_>,
    reference: &TcpRouteParentRefs,
) -> Result<Vec<usize>, Refusal> {
    let name = gateway.name;
    let mut candidates: Vec<(usize, &Listener<'_>)> = gateway.listeners.iter().enumerate().collect();
    if let Some(section) = &reference.section_name {
        candidates.retain(|(_, listener)| listener.spec.name == *section);
        if candidates.is_empty() {
            let message = format!("Gateway {name} has no listener `{section}`: correct sectionName");
            return Err(Refusal { reason: "NoMatchingParent", message });
        }
    }
    if let Some(port) = reference.port {
        candidates.retain(|(_, listener)| listener.spec.port == port);
        if candidates.is_empty() {
            let message = format!("no listener of Gateway {name} that is meant has port {port}: correct port");
            return Err(Refusal { reason: "NoMatchingParent", message });
        }
    }
    candidates.retain(|(_, listener)| listener.kinds.contains(&route.id.kind));
    if candidates.is_empty() {
        let kind = route.id.kind;
        let message = format!(
            "no listener of Gateway {name} that is meant takes a {kind}: correct sectionName or port, or the listener's \
             protocol or allowedRoutes"
        );
        return Err(Refusal { reason: "NotAllowedByListeners", message });
    }
    candidates.retain(|(_, listener)| listener.lets_in(objects, name, route.id));
    if candidates.is_empty() {
        let message = format!("Gateway {name} does not let the route in: widen the listener's allowedRoutes");
        return Err(Refusal { reason: "NotAllowedByListeners", message });
    }
    Ok(candidates.into_iter().map(|(index, _)| index).collect())
}
