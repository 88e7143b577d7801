//! What the status of Gateways, their listeners and `ListenerSet`s should say.

use std::collections::BTreeMap;

use super::{Facts, Flaw, condition, generation, listed};
use crate::source::Name;
use crate::translate::attachments::ListenerIndex;
use crate::translate::certificates::Unresolved;
use crate::translate::gateways::{self, OurGateway};
use crate::translate::infrastructure;
use crate::translate::listener_sets::OurSet;
use crate::translate::listeners::Listener;
use crate::translate::statuses::{Condition, GatewayStatus, ListenerSetStatus, ListenerStatus, ObjectStatus, Truth};

impl<'a> Facts<'a> {
    pub(super) fn gateway(&self, at: usize, gateway: &'a OurGateway<'a>) -> GatewayStatus {
        let own = gateway.listeners.iter().take_while(|listener| listener.set.is_none());
        let listeners: Vec<ListenerStatus> =
            (0..own.count()).map(|index| self.listener((at, index), gateway)).collect();
        let ports: Vec<_> =
            gateway.listeners.iter().filter_map(|known| Some((known.port?, known.transport()?))).collect();
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
        let mut conditions = vec![accepted, condition("Programmed", served, programmed)];
        conditions.extend(gateway.client_certificate.as_ref().map(|found| shown(found.as_ref().err())));
        conditions.extend(insecure(gateway));
        let generation = generation(gateway.found.object.metadata.generation);
        let status = ObjectStatus { generation, conditions };
        let is_attached = |set: &usize| self.set_flaw(at, gateway, *set).is_none();
        let attached = (0..gateway.sets.len()).filter(is_attached).count();
        let attached_listener_sets = i32::try_from(attached).unwrap_or(i32::MAX);
        let stand_in = infrastructure::stand_in(&gateway.name.name, &gateway.found.object);
        GatewayStatus { addresses, status, listeners, attached_listener_sets, stand_in }
    }

    pub(super) fn listener_sets(&self) -> BTreeMap<Name, ListenerSetStatus> {
        let of_gateway = |(at, gateway): (usize, &'a OurGateway<'a>)| {
            let sets = gateway.sets.iter().enumerate();
            sets.map(move |(number, set)| (set.name.clone(), self.listener_set(at, gateway, number, set)))
        };
        self.gateways.iter().enumerate().flat_map(of_gateway).collect()
    }

    fn listener_set(
        &self,
        at: usize,
        gateway: &'a OurGateway<'a>,
        number: usize,
        set: &'a OurSet<'a>,
    ) -> ListenerSetStatus {
        let listeners = self.listeners_of_set(at, gateway, number);
        let bad: Vec<&str> =
            listeners.iter().filter(|listener| !is_accepted(listener)).map(|listener| &*listener.name).collect();
        let flaw = self.set_flaw(at, gateway, number);
        let holds = if bad.is_empty() {
            ("Accepted", "the listeners are added to those of the Gateway".to_string())
        } else {
            ("ListenersNotValid", format!("these listeners are not accepted: {}", bad.join(", ")))
        };
        let served = ("Programmed", "the listeners take connections".to_string());
        let unaddressed = || {
            let refusal = self.assignments.refusal(&gateway.id)?;
            Some(("ParentNotProgrammed", refusal.message.clone()))
        };
        let conditions = vec![
            condition("Accepted", holds, flaw.clone()),
            condition("Programmed", served, flaw.or_else(unaddressed)),
        ];
        let generation = generation(set.found.object.metadata.generation);
        ListenerSetStatus { status: ObjectStatus { generation, conditions }, listeners }
    }

    fn listeners_of_set(&self, at: usize, gateway: &'a OurGateway<'a>, number: usize) -> Vec<ListenerStatus> {
        let of_set = gateway.listeners.iter().enumerate().filter(|(_, listener)| listener.set == Some(number));
        of_set.map(|(index, _)| self.listener((at, index), gateway)).collect()
    }

    /// Why a set adds no listener at all.
    fn set_flaw(&self, at: usize, gateway: &'a OurGateway<'a>, number: usize) -> Option<Flaw> {
        if !gateway.sets[number].is_allowed {
            return Some(("NotAllowed", gateways::not_allowed(gateway.name)));
        }
        if !gateway.is_accepted() {
            return Some(("ParentNotAccepted", format!("{} is not accepted", gateway.id)));
        }
        let listeners = self.listeners_of_set(at, gateway, number);
        let of_set = gateway.listeners.iter().filter(|listener| listener.set == Some(number));
        let has_good = of_set.zip(&listeners).any(|(listener, status)| listener.is_usable() && is_accepted(status));
        (!has_good).then(|| ("ListenersNotValid", "none of its listeners can be served".to_string()))
    }

    fn listener(&self, at: ListenerIndex, gateway: &'a OurGateway<'a>) -> ListenerStatus {
        let listener = &gateway.listeners[at.1];
        let assigned = self.assignments.addresses(&gateway.id).len();
        let asker = gateway.asker(listener);
        let loss = self.ownership.loss(&asker.owner, gateways::port_field(asker));
        let is_lost = loss.is_some_and(|loss| loss.keys.len() == assigned);
        let unavailable = loss.filter(|_| is_lost).map(|loss| ("PortUnavailable", loss.message()));
        let conflict = gateways::indistinct(listener);
        let flaw = invalid(listener).or(unavailable);

        let programmed = if conflict.is_some() {
            conflict.clone()
        } else if flaw.is_some() {
            Some(("Invalid", "the listener is not accepted".to_string()))
        } else if gateway.refused.is_some() || assigned == 0 {
            Some(("Pending", "the Gateway has no address to be served at".to_string()))
        } else if !listener.is_usable() {
            Some(("Invalid", "there is no certificate that can be used".to_string()))
        } else if listener.kinds.is_empty() {
            Some(("Invalid", "no kind of route that is allowed can attach".to_string()))
        } else {
            loss.map(|loss| ("PortUnavailable", loss.message()))
        };
        let message = |text: &str| text.to_string();
        let mut conditions = vec![
            condition("Accepted", ("Accepted", message("the listener is valid")), flaw),
            conflicted(conflict),
            condition("Programmed", ("Programmed", message("the listener takes connections")), programmed),
            condition("ResolvedRefs", ("ResolvedRefs", message("all references lead somewhere")), unresolved(listener)),
        ];
        conditions.extend(listener.overlaps.as_ref().map(|other| overlapping(other)));
        ListenerStatus {
            name: listener.spec.name.clone(),
            supported_kinds: listener.kinds.iter().map(|kind| kind.name()).collect(),
            attached_routes: i32::try_from(self.attachments.count(at)).unwrap_or(i32::MAX),
            conditions,
        }
    }
}

/// Why a listener is not accepted, whoever else asks for its port.
fn invalid(listener: &Listener<'_>) -> Option<Flaw> {
    let unsupported = gateways::unsupported_protocol(listener).map(|message| ("UnsupportedProtocol", message));
    let distrusting = || listener.tls.distrusts_all.clone().map(|message| ("NoValidCACertificate", message));
    unsupported.or_else(|| gateways::indistinct(listener)).or_else(distrusting)
}

/// The first reference of a listener that leads nowhere, be it to a certificate or to a kind of route.
fn unresolved(listener: &Listener<'_>) -> Option<Flaw> {
    let flaw = listener.tls.flaws.first().map(|flaw| (flaw.reason, format!("{}: {}", flaw.field, flaw.message)));
    flaw.or_else(|| gateways::strange_kinds(listener).map(|message| ("InvalidRouteKinds", message)))
}

fn conflicted(conflict: Option<Flaw>) -> Condition {
    let truth = if conflict.is_some() { Truth::True } else { Truth::False };
    let distinct = || ("NoConflicts", "the listener can be told from all others".to_string());
    let (reason, message) = conflict.unwrap_or_else(distinct);
    Condition { kind: "Conflicted", truth, reason, message }
}

fn overlapping(other: &str) -> Condition {
    let message = format!(
        "listener {other} has the port, too, and hosts that overlap: requests over a connection to the other's host are \
         answered 421"
    );
    Condition { kind: "OverlappingTLSConfig", truth: Truth::True, reason: "OverlappingHostnames", message }
}

/// Whether backends can be shown what the Gateway wants to show them.
fn shown(unresolved: Option<&Unresolved>) -> Condition {
    let flaw = unresolved.map(|unresolved| {
        let reason = match unresolved {
            Unresolved::Forbidden(_) => "RefNotPermitted",
            Unresolved::Kind(_) | Unresolved::Unusable(_) => "InvalidClientCertificateRef",
        };
        (reason, format!("{}: {}", gateways::CLIENT_CERTIFICATE, unresolved.message()))
    });
    condition("ResolvedRefs", ("ResolvedRefs", "all references lead somewhere".to_string()), flaw)
}

/// That clients without a valid certificate are let in, if somebody asked for that (GEP-91).
fn insecure(gateway: &OurGateway<'_>) -> Option<Condition> {
    let is_insecure =
        |listener: &&Listener<'_>| listener.tls.validation.as_ref().is_some_and(|validation| validation.is_optional);
    let listeners: Vec<&str> =
        gateway.listeners.iter().filter(is_insecure).map(|listener| &*listener.spec.name).collect();
    let message = format!("these listeners let clients without a valid certificate in: {}", listeners.join(", "));
    let (kind, reason) = ("InsecureFrontendValidationMode", "ConfigurationChanged");
    (!listeners.is_empty()).then_some(Condition { kind, truth: Truth::True, reason, message })
}

/// A Gateway is accepted if one of its listeners is; the others are named.
fn accepted(gateway: &OurGateway<'_>, listeners: &[ListenerStatus]) -> Condition {
    let bad: Vec<&str> =
        listeners.iter().filter(|listener| !is_accepted(listener)).map(|listener| &*listener.name).collect();
    let invalid = || ("ListenersNotValid", format!("these listeners are not accepted: {}", bad.join(", ")));
    if let Some(refused) = &gateway.refused {
        let message = format!("{}: {}", refused.field, refused.message);
        return condition("Accepted", ("", String::new()), Some((refused.reason, message)));
    }
    let holds = if bad.is_empty() { ("Accepted", "the Gateway is valid".to_string()) } else { invalid() };
    let all_bad = bad.len() == listeners.len();
    condition("Accepted", holds, all_bad.then(invalid))
}

fn is_accepted(listener: &ListenerStatus) -> bool {
    !listener.conditions.iter().any(|known| known.kind == "Accepted" && known.truth == Truth::False)
}
