//! What the status of Services, Gateways, classes and routes should say, from the decisions that were made about them.
//!
//! Nothing is decided here: each condition puts a decision into the words of Gateway API. All of it is the same on every
//! node. Where that API's own texts differ: listeners that cannot be told apart are `Conflicted` and not accepted (the
//! API's specification and its newest conformance tests; GEP-2644 has them accepted).

use std::collections::BTreeMap;
use std::net::IpAddr;

use gateway_common::{Address, FrontendKey, Port, Protocol};

use super::attachments::{Attachments, ListenerIndex, Parent};
use super::gateways::{self, OurGateway};
use super::listeners::Listener;
use super::ownership::Ownership;
use super::pools::Assignments;
use super::references::{self, Broken};
use super::services::{NOT_BALANCED, OurService};
use super::statuses::{
    Condition, GatewayStatus, ListenerStatus, ObjectStatus, ParentStatus, RouteStatus, ServiceStatus, Statuses, Truth,
};
use super::{Report, RouteRef};
use crate::source::{Name, ObjectId, Objects, Sourced};

/// The condition of a Service of ours. It bears our domain because others write to the same list.
const SERVICE_PROGRAMMED: &str = "beeline.dev/Programmed";

/// Everything that was decided.
pub(super) struct Facts<'a> {
    pub objects: &'a Objects,
    pub services: &'a [OurService<'a>],
    pub gateways: &'a [OurGateway<'a>],
    pub attachments: &'a Attachments<'a>,
    pub assignments: &'a Assignments,
    pub ownership: &'a Ownership<'a>,
}

/// What keeps something from being so: one word and a sentence.
type Flaw = (&'static str, String);

/// A condition that holds unless something is wrong.
fn condition(kind: &'static str, holds: Flaw, flaw: Option<Flaw>) -> Condition {
    let truth = if flaw.is_some() { Truth::False } else { Truth::True };
    let (reason, message) = flaw.unwrap_or(holds);
    Condition { kind, truth, reason, message }
}

fn generation(stated: Option<i64>) -> i64 {
    stated.unwrap_or_default()
}

impl<'a> Facts<'a> {
    /// The statuses, and what only they look at closely enough to find.
    pub fn statuses(&self, report: &mut Report) -> Statuses {
        Statuses {
            services: self.services.iter().map(|service| (service.name.clone(), self.service(service))).collect(),
            gateways: self
                .gateways
                .iter()
                .enumerate()
                .map(|(at, ours)| (ours.name.clone(), self.gateway(at, ours)))
                .collect(),
            gateway_classes: self.classes(),
            routes: self
                .attachments
                .parents
                .iter()
                .map(|(route, parents)| self.route(*route, parents, report))
                .collect(),
            ..Statuses::default()
        }
    }

    fn service(&self, service: &'a OurService<'a>) -> ServiceStatus {
        let ports: Vec<_> = service.ports().map(|(_, _, port)| port).collect();
        let addresses = self.addresses(&service.id, &ports);
        let flaw = self.service_flaw(service);
        let served = || ("Programmed", format!("served at {}", listed(&addresses)));
        let condition = condition(SERVICE_PROGRAMMED, served(), flaw.clone());
        let generation = generation(service.found.object.metadata.generation);
        ServiceStatus { addresses, event: flaw, status: ObjectStatus { generation, conditions: vec![condition] } }
    }

    /// The addresses that an object has a port of.
    fn addresses(&self, id: &ObjectId, ports: &[(Port, Protocol)]) -> Vec<IpAddr> {
        let assigned = self.assignments.addresses(id).iter().map(|(address, _)| *address);
        let has_one = |address: &Address| {
            ports.iter().any(|(port, protocol)| self.ownership.has(id, FrontendKey::new(*address, *port, *protocol)))
        };
        assigned.filter(has_one).map(|address| address.to_ip()).collect()
    }

    fn service_flaw(&self, service: &'a OurService<'a>) -> Option<Flaw> {
        if let Some(refusal) = self.assignments.refusal(&service.id) {
            return Some((refusal.reason, format!("{}: {}", refusal.field, refusal.message)));
        }
        if let Some((field, message)) = service.unusable.first() {
            return Some(("AddressNotUsable", format!("{field}: {message}")));
        }
        let lost = service.ports().find_map(|(field, ..)| Some((field, self.ownership.loss(&service.id, field)?)));
        if let Some((field, loss)) = lost {
            return Some(("PortUnavailable", format!("{field}: {}", loss.message())));
        }
        let unbalanced = service.unbalanced_ports().next();
        unbalanced.map(|field| ("UnsupportedProtocol", format!("{field}: {NOT_BALANCED}")))
    }

    fn classes(&self) -> BTreeMap<Name, ObjectStatus> {
        let ours = self.objects.gateway_classes.iter().filter(|(_, found)| gateways::is_our_class(&found.object));
        let status = |(name, found): (&Name, &Sourced<_>)| {
            let flaw = gateways::class_parameters(&found.object).map(|text| ("InvalidParameters", text.to_string()));
            let accepted = condition("Accepted", ("Accepted", "Gateways of this class are served".to_string()), flaw);
            let generation = generation(found.object.metadata.generation);
            (name.clone(), ObjectStatus { generation, conditions: vec![accepted] })
        };
        ours.map(status).collect()
    }

    fn gateway(&self, at: usize, gateway: &'a OurGateway<'a>) -> GatewayStatus {
        let listeners: Vec<ListenerStatus> =
            (0..gateway.listeners.len()).map(|index| self.listener((at, index), gateway)).collect();
        let ports: Vec<_> = gateway.listeners.iter().filter_map(|known| Some((known.port?, known.protocol?))).collect();
        let addresses = self.addresses(&gateway.id, &ports);
        let accepted = accepted(gateway, &listeners);
        let programmed = if accepted.truth == Truth::False {
            Some(("Invalid", "the Gateway is not accepted".to_string()))
        } else if let Some(refusal) = self.assignments.refusal(&gateway.id) {
            Some((refusal.reason, format!("{}: {}", refusal.field, refusal.message)))
        } else {
            let unusable = gateway.unusable.first();
            unusable.map(|(field, message)| ("AddressNotUsable", format!("{field}: {message}")))
        };
        let served = ("Programmed", format!("served at {}", listed(&addresses)));
        let conditions = vec![accepted, condition("Programmed", served, programmed)];
        let generation = generation(gateway.found.object.metadata.generation);
        GatewayStatus { addresses, status: ObjectStatus { generation, conditions }, listeners }
    }

    fn listener(&self, at: ListenerIndex, gateway: &'a OurGateway<'a>) -> ListenerStatus {
        let assigned = self.assignments.addresses(&gateway.id).len();
        let listener = &gateway.listeners[at.1];
        let loss = self.ownership.loss(&gateway.id, gateways::port_field(at.1));
        let is_lost = loss.is_some_and(|loss| loss.keys.len() == assigned);
        let invalid = gateways::unsupported_protocol(listener).map(|message| ("UnsupportedProtocol", message));
        let indistinct = gateways::indistinct(listener);
        let invalid = invalid.or_else(|| indistinct.clone().map(|message| ("Invalid", message)));
        let unavailable = loss.filter(|_| is_lost).map(|loss| ("PortUnavailable", loss.message()));
        let flaw = invalid.or(unavailable);

        let programmed = if flaw.is_some() {
            Some(("Invalid", "the listener is not accepted".to_string()))
        } else if gateway.refused.is_some() || assigned == 0 {
            Some(("Pending", "the Gateway has no address to be served at".to_string()))
        } else if listener.kinds.is_empty() {
            Some(("Invalid", "no kind of route that is allowed can attach".to_string()))
        } else {
            loss.map(|loss| ("PortUnavailable", loss.message()))
        };
        let resolved = gateways::strange_kinds(listener).map(|message| ("InvalidRouteKinds", message));
        let message = |text: &str| text.to_string();
        let distinct = ("NoConflicts", message("no other listener has the port"));
        let conflicted = match indistinct {
            Some(text) => {
                Condition { kind: "Conflicted", truth: Truth::True, reason: "ProtocolConflict", message: text }
            }
            None => Condition { truth: Truth::False, ..condition("Conflicted", distinct, None) },
        };
        ListenerStatus {
            name: listener.spec.name.clone(),
            supported_kinds: listener.kinds.iter().map(|kind| kind.name()).collect(),
            attached_routes: i32::try_from(self.attachments.count(at)).unwrap_or(i32::MAX),
            conditions: vec![
                condition("Accepted", ("Accepted", message("the listener is valid")), flaw),
                conflicted,
                condition("Programmed", ("Programmed", message("the listener takes connections")), programmed),
                condition("ResolvedRefs", ("ResolvedRefs", message("all kinds of route are known")), resolved),
            ],
        }
    }

    fn route(&self, route: RouteRef<'a>, parents: &[Parent<'a>], report: &mut Report) -> (ObjectId, RouteStatus) {
        let generation = generation(route.found.object.metadata.generation);
        let mut status = RouteStatus { generation, parents: Vec::new() };
        if !parents.is_empty() {
            let broken = references::broken_references(self.objects, route);
            references::report(route, &broken, report);
            let resolved = resolved(&broken);
            status.parents.extend(parents.iter().map(|parent| ParentStatus {
                parent: parent.reference.clone(),
                conditions: vec![self.attached(route, parent), resolved.clone()],
            }));
        }
        (route.id.clone(), status)
    }

    /// Whether a parent takes a route; a route that no listener serves is told so in the message.
    fn attached(&self, route: RouteRef<'_>, parent: &Parent<'_>) -> Condition {
        let listeners = match &parent.listeners {
            Ok(listeners) => listeners,
            Err(refusal) => {
                return condition("Accepted", ("", String::new()), Some((refusal.reason, refusal.message.clone())));
            }
        };
        let superseded = listeners.iter().filter_map(|at| self.attachments.superseded(*at, route.id, self.gateways));
        let not_served =
            listeners.iter().filter_map(|at| not_served(&self.gateways[at.0], &self.gateways[at.0].listeners[at.1]));
        let restrictions: Vec<String> = superseded.chain(not_served).collect();
        let message = if restrictions.is_empty() {
            "the route is attached".to_string()
        } else {
            format!("the route is attached, but {}", restrictions.join("; "))
        };
        condition("Accepted", ("Accepted", message), None)
    }
}

/// Why a listener serves none of its routes.
fn not_served(gateway: &OurGateway<'_>, listener: &Listener<'_>) -> Option<String> {
    let is_served = gateway.refused.is_none() && listener.is_valid();
    (!is_served).then(|| format!("listener `{}` of Gateway {} is not accepted", listener.spec.name, gateway.name))
}

/// A Gateway is accepted if one of its listeners is; the others are named.
fn accepted(gateway: &OurGateway<'_>, listeners: &[ListenerStatus]) -> Condition {
    let is_bad = |listener: &&ListenerStatus| {
        listener.conditions.iter().any(|known| known.kind == "Accepted" && known.truth == Truth::False)
    };
    let bad: Vec<&str> = listeners.iter().filter(is_bad).map(|listener| &*listener.name).collect();
    let invalid = || ("ListenersNotValid", format!("these listeners are not accepted: {}", bad.join(", ")));
    if let Some(refused) = &gateway.refused {
        let message = format!("{}: {}", refused.field, refused.message);
        return condition("Accepted", ("", String::new()), Some((refused.reason, message)));
    }
    let holds = if bad.is_empty() { ("Accepted", "the Gateway is valid".to_string()) } else { invalid() };
    let all_bad = bad.len() == listeners.len();
    condition("Accepted", holds, all_bad.then(invalid))
}

/// Whether all references of a route lead somewhere; the first that does not is named.
fn resolved(broken: &[(String, Broken)]) -> Condition {
    let flaw = broken.first().map(|(field, broken)| (broken.reason, format!("{field}: {}", broken.message)));
    condition("ResolvedRefs", ("ResolvedRefs", "all references lead somewhere".to_string()), flaw)
}

fn listed(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
