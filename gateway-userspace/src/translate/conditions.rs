//! What the status of Services, Gateways, classes and routes should say, from the decisions that were made about them.
//!
//! Nothing is decided here: each condition puts a decision into the words of Gateway API. All of it is the same on every
//! node. Where that API's own texts differ: listeners that cannot be told apart are `Conflicted` and not accepted (the
//! API's specification and its newest conformance tests; GEP-2644 has them accepted).

mod gateways;
mod policies;

use std::collections::BTreeMap;
use std::net::IpAddr;

use gateway_common::{Address, FrontendKey, Port, Protocol};

use super::attachments::{Attachments, Parent};
use super::backend_tls::Policies;
use super::expressions::{BadExpression, bad_expressions};
use super::features::features;
use super::gateways::{self as ours, OurGateway};
use super::ingresses::Entrance;
use super::listeners::Listener;
use super::ownership::Ownership;
use super::pools::Assignments;
use super::references::{self, Broken};
use super::services::{NOT_BALANCED, OurService};
use super::statuses::{
    ClassStatus, Condition, IngressStatus, ObjectStatus, ParentStatus, RouteStatus, ServiceStatus, Statuses, Truth,
};
use super::{Report, RouteRef};
use crate::source::definitions::NEWEST_MINOR;
use crate::source::{Name, ObjectId, Objects, Sourced};

/// The condition of a Service of ours. It bears our domain because others write to the same list.
const SERVICE_PROGRAMMED: &str = "beeline.dev/Programmed";

/// Everything that was decided.
pub(super) struct Facts<'a> {
    pub objects: &'a Objects,
    pub services: &'a [OurService<'a>],
    pub gateways: &'a [OurGateway<'a>],
    pub entrances: &'a [Entrance<'a>],
    pub attachments: &'a Attachments<'a>,
    pub policies: &'a Policies<'a>,
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
            listener_sets: self.listener_sets(),
            ingresses: self.entrances.iter().flat_map(|entrance| self.ingresses(entrance)).collect(),
            backend_tls_policies: self.backend_tls_policies(),
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

    /// Ingresses that share an address have the same status.
    fn ingresses(&self, entrance: &'a Entrance<'a>) -> Vec<(Name, IngressStatus)> {
        let ports: Vec<_> = entrance.ports().map(|port| (port, Protocol::TCP)).collect();
        let status = IngressStatus { addresses: self.addresses(&entrance.id, &ports) };
        entrance.ingresses.iter().map(|ingress| (ingress.id.name.clone(), status.clone())).collect()
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

    fn classes(&self) -> BTreeMap<Name, ClassStatus> {
        let definitions = self.objects.definitions.as_ref();
        let features = features(definitions.is_some_and(|definitions| definitions.experimental));
        let ours = self.objects.gateway_classes.iter().filter(|(_, found)| ours::is_our_class(&found.object));
        let status = |(name, found): (&Name, &Sourced<_>)| {
            let flaw = ours::class_parameters(&found.object).map(|text| ("InvalidParameters", text.to_string()));
            let accepted = condition("Accepted", ("Accepted", "Gateways of this class are served".to_string()), flaw);
            let generation = generation(found.object.metadata.generation);
            let conditions = std::iter::once(accepted).chain(self.supported_version()).collect();
            (name.clone(), ClassStatus { status: ObjectStatus { generation, conditions }, features: features.clone() })
        };
        ours.map(status).collect()
    }

    /// Whether the cluster's definitions of Gateway API are understood, where they are known.
    fn supported_version(&self) -> Option<Condition> {
        let definitions = self.objects.definitions.as_ref()?;
        let version = if definitions.version.is_empty() { "an unnamed version" } else { &*definitions.version };
        let good = ("SupportedVersion", format!("Gateway API {version} is understood"));
        let text = format!(
            "the definitions are of {version}: install those of Gateway API v1.0 to v1.{NEWEST_MINOR}; all that is understood is served"
        );
        let flaw = (!definitions.is_supported()).then_some(("UnsupportedVersion", text));
        Some(condition("SupportedVersion", good, flaw))
    }

    fn route(&self, route: RouteRef<'a>, parents: &[Parent<'a>], report: &mut Report) -> (ObjectId, RouteStatus) {
        let generation = generation(route.found.object.metadata.generation);
        let mut status = RouteStatus { generation, parents: Vec::new() };
        if !parents.is_empty() {
            let broken = references::broken_references(self.objects, route);
            references::report(route, &broken, report);
            let resolved = resolved(&broken);
            let dropped = dropped(route, report);
            status.parents.extend(parents.iter().map(|parent| {
                let dropped = dropped.clone().filter(|_| parent.listeners.is_ok());
                let conditions = [self.attached(route, parent), resolved.clone()];
                ParentStatus {
                    parent: parent.reference.clone(),
                    conditions: conditions.into_iter().chain(dropped).collect(),
                }
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
    (!is_served).then(|| format!("listener `{}` of {} is not accepted", listener.spec.name, listener.owner))
}

/// Whether some rules of a route are not served while others are (Gateway API, `PartiallyInvalid`).
fn dropped(route: RouteRef<'_>, report: &mut Report) -> Option<Condition> {
    let bad = bad_expressions(route);
    if bad.is_empty() || bad.len() == route.found.object.spec.rules.len() {
        return None;
    }
    for BadExpression { field, message, .. } in &bad {
        report.add(route.found.origin.error(route.id, field.as_str(), message.as_str()));
    }
    let each =
        bad.iter().map(|BadExpression { rule, field, message }| format!("Dropped Rule {rule}: {field}: {message}"));
    let message = each.collect::<Vec<_>>().join("; ");
    Some(Condition { kind: "PartiallyInvalid", truth: Truth::True, reason: "UnsupportedValue", message })
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
