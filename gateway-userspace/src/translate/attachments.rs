//! Which routes are attached to which listeners, and which one each listener serves.
//!
//! A listener of HTTP or TLS serves all its routes, the older first. Nothing tells connections to a TCP or UDP listener
//! apart, so it serves one route: the oldest, then the first by name. The others are attached and accepted all the same, as Gateway API wants it (GEP-2644, on several
//! routes of one listener); a problem, and the condition's message, say that they get no traffic.

use std::collections::BTreeMap;

use super::expressions::bad_expressions;
use super::gateways::OurGateway;
use super::listeners::{GATEWAY_GROUP, Listener};
use super::{Report, RouteRef, by_age};
use crate::source::route::ParentRef;
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
    /// The Gateway, or that of the `ListenerSet`.
    pub gateway: usize,
    pub reference: &'a ParentRef,
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
        let known = known_parents(gateways);
        let mut routes: Vec<RouteRef<'a>> = objects.routes.iter().map(|(id, found)| RouteRef { id, found }).collect();
        routes.sort_by(|a, b| {
            let created = |route: &RouteRef<'a>| route.found.object.metadata.creation_timestamp.as_ref();
            by_age(created(a), a.id, created(b), b.id)
        });
        let mut attachments = Self::default();
        for route in routes {
            let mut parents = Vec::new();
            for (index, reference) in route.found.object.spec.parent_refs.iter().enumerate() {
                let Some(wanted) = parent_id(reference, route) else { continue };
                let Some(&(at, set)) = known.get(&wanted) else {
                    report_missing(objects, route, index, &wanted, report);
                    continue;
                };
                let listeners = listeners(objects, &gateways[at], set, route, reference);
                let listeners = listeners.and_then(|found| attachments.free(at, &gateways[at], route, found));
                let listeners: Result<Vec<ListenerIndex>, _> =
                    listeners.map(|found| found.into_iter().map(|listener| (at, listener)).collect());
                for key in listeners.iter().flatten() {
                    attachments.attach(*key, route);
                }
                parents.push(Parent { index, gateway: at, reference, listeners });
            }
            attachments.parents.push((route, parents));
        }
        attachments
    }

    /// Those of the listeners where no older route of the other kind of requests has the same hosts: of an `HTTPRoute` and
    /// a `GRPCRoute` that share one, only the older is served (Gateway API, `GRPCRouteSpec.hostnames`).
    fn free(
        &self,
        at: usize,
        gateway: &OurGateway<'_>,
        route: RouteRef<'_>,
        mut found: Vec<usize>,
    ) -> Result<Vec<usize>, Refusal> {
        let mut rival = None;
        found.retain(|index| {
            let listener = &gateway.listeners[*index];
            let other = self.routes((at, *index)).iter().find(|other| share_hosts(listener, route, **other));
            rival = other.map(|other| other.id).or(rival);
            other.is_none()
        });
        let Some(rival) = rival.filter(|_| found.is_empty()) else { return Ok(found) };
        let message = format!(
            "{rival} has the same hosts there and is older or first by name: use other hostnames, which HTTPRoutes and \
             GRPCRoutes cannot share"
        );
        Err(Refusal { reason: "HostnameConflict", message })
    }

    /// Two references of one route may mean the same listener.
    fn attach(&mut self, key: ListenerIndex, route: RouteRef<'a>) {
        let routes = self.routes.entry(key).or_default();
        if routes.last().is_none_or(|last| last.id != route.id) {
            routes.push(route);
        }
    }

    /// The route that a plain listener serves.
    pub fn served(&self, listener: ListenerIndex) -> Option<RouteRef<'a>> {
        self.routes(listener).first().copied()
    }

    /// The routes of a listener, the older first.
    pub fn routes(&self, listener: ListenerIndex) -> &[RouteRef<'a>] {
        self.routes.get(&listener).map(Vec::as_slice).unwrap_or_default()
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
        let gateway = &gateways[listener.0];
        let Listener { spec, owner, .. } = &gateway.listeners[listener.1];
        let of_its_kind = |other: &&RouteRef<'_>| other.id.kind == route.kind;
        let tells_apart = !matches!(route.kind, Kind::TcpRoute | Kind::UdpRoute);
        let winner =
            self.routes(listener).iter().find(of_its_kind).filter(|first| !tells_apart && first.id != route)?;
        Some(format!(
            "listener `{}` of {owner} already serves {}, which is older or first by name: use another listener",
            spec.name, winner.id
        ))
    }
}

/// All that may be a parent: our Gateways and the `ListenerSet`s that name them, each with the Gateway's place.
fn known_parents(gateways: &[OurGateway<'_>]) -> BTreeMap<ObjectId, (usize, Option<usize>)> {
    let mut known = BTreeMap::new();
    for (at, gateway) in gateways.iter().enumerate() {
        known.insert(gateway.id.clone(), (at, None));
        known.extend(gateway.sets.iter().enumerate().map(|(set, found)| (found.id.clone(), (at, Some(set)))));
    }
    known
}

/// The Gateway or `ListenerSet` that a reference names, if it names one.
fn parent_id(reference: &ParentRef, route: RouteRef<'_>) -> Option<ObjectId> {
    if reference.group.as_deref().unwrap_or(GATEWAY_GROUP) != GATEWAY_GROUP {
        return None;
    }
    let kind = match reference.kind.as_deref().unwrap_or("Gateway") {
        "Gateway" => Kind::Gateway,
        "ListenerSet" => Kind::ListenerSet,
        _ => return None,
    };
    let namespace = reference.namespace.as_deref().unwrap_or(&route.id.name.namespace);
    Some(ObjectId { kind, name: Name::new(namespace, &*reference.name) })
}

/// A parent that somebody else serves, or that has an error of its own, needs no word here.
fn report_missing(objects: &Objects, route: RouteRef<'_>, index: usize, wanted: &ObjectId, report: &mut Report) {
    if objects.get(wanted).is_some() || objects.is_rejected(wanted.kind, &wanted.name) {
        return;
    }
    let message = format!("{wanted} does not exist: create it or correct the name");
    report.add(route.found.origin.error(route.id, format!("spec.parentRefs[{index}]"), message));
}

/// The listeners of a parent that a reference means and that take the route.
fn listeners(
    objects: &Objects,
    gateway: &OurGateway<'_>,
    set: Option<usize>,
    route: RouteRef<'_>,
    reference: &ParentRef,
) -> Result<Vec<usize>, Refusal> {
    let name = set.map_or(&gateway.id, |set| &gateway.sets[set].id);
    if let Some(message) = unsupported(route) {
        return Err(Refusal { reason: "UnsupportedValue", message });
    }
    if set.is_some_and(|set| !gateway.sets[set].is_allowed) {
        let message = format!("{name} may not add listeners to Gateway {}: widen its allowedListeners", gateway.name);
        return Err(Refusal { reason: "NoMatchingParent", message });
    }
    let of_parent = gateway.listeners.iter().enumerate().filter(|(_, listener)| listener.set == set);
    let mut candidates: Vec<(usize, &Listener<'_>)> = of_parent.collect();
    let mut narrow = |keeps: &dyn Fn(&Listener<'_>) -> bool, reason, message: &dyn Fn() -> String| {
        candidates.retain(|(_, listener)| keeps(listener));
        if candidates.is_empty() { Err(Refusal { reason, message: message() }) } else { Ok(()) }
    };
    if let Some(section) = &reference.section_name {
        narrow(&|listener| listener.spec.name == *section, "NoMatchingParent", &|| {
            format!("{name} has no listener `{section}`: correct sectionName")
        })?;
    }
    if let Some(port) = reference.port {
        narrow(&|listener| i64::from(listener.spec.port) == port, "NoMatchingParent", &|| {
            format!("no listener of {name} that is meant has port {port}: correct port")
        })?;
    }
    narrow(&|listener| listener.kinds.contains(&route.id.kind), "NotAllowedByListeners", &|| {
        let kind = route.id.kind;
        format!(
            "no listener of {name} that is meant takes a {kind}: correct sectionName or port, or the listener's \
             protocol or allowedRoutes"
        )
    })?;
    narrow(&|listener| listener.lets_in(objects, route.id), "NotAllowedByListeners", &|| {
        format!("{name} does not let the route in: widen the listener's allowedRoutes")
    })?;
    let hostnames = &route.found.object.spec.hostnames;
    narrow(&|listener| listener.hostnames_of(hostnames).is_some(), "NoMatchingListenerHostname", &|| {
        format!("no listener of {name} that is meant is for any of the route's hostnames: correct spec.hostnames")
    })?;
    Ok(candidates.into_iter().map(|(index, _)| index).collect())
}

/// Whether an `HTTPRoute` and a `GRPCRoute` are for one host at a listener.
fn share_hosts(listener: &Listener<'_>, one: RouteRef<'_>, other: RouteRef<'_>) -> bool {
    let is_of_requests = [one, other].into_iter().all(|route| route.id.kind.is_of_requests());
    if one.id.kind == other.id.kind || !is_of_requests {
        return false;
    }
    let hosts = |route: RouteRef<'_>| listener.hostnames_of(&route.found.object.spec.hostnames).unwrap_or_default();
    let (ones, others) = (hosts(one), hosts(other));
    let meet = ones.iter().any(|one| others.iter().any(|other| one.intersection(other).is_some()));
    ones.is_empty() || others.is_empty() || meet
}

/// A value that the definitions allow and nobody here serves, for which no rule of the route is served: a filter, which requests
/// are not to pass by, or an expression that is none in each rule.
fn unsupported(route: RouteRef<'_>) -> Option<String> {
    let all_bad = || {
        let bad = bad_expressions(route);
        let first = bad.first().filter(|_| bad.len() == route.found.object.spec.rules.len())?;
        Some(format!("{}: {}", first.field, first.message))
    };
    unsupported_filter(route).or_else(all_bad)
}

fn unsupported_filter(route: RouteRef<'_>) -> Option<String> {
    let rules = route.found.object.spec.rules.iter().enumerate();
    let of_rule = rules.flat_map(|(rule, written)| {
        let own = written.filters.iter().enumerate();
        let own = own.map(move |(index, filter)| (format!("spec.rules[{rule}].filters[{index}]"), filter));
        let references = written.backend_refs.iter().enumerate();
        own.chain(references.flat_map(move |(reference, written)| {
            let filters = written.filters.iter().enumerate();
            filters.map(move |(index, filter)| {
                (format!("spec.rules[{rule}].backendRefs[{reference}].filters[{index}]"), filter)
            })
        }))
    });
    let mut external = of_rule.filter(|(_, filter)| filter.kind == "ExternalAuth");
    external.next().map(|(field, _)| format!("{field}.type: ExternalAuth is not supported: remove the filter"))
}
