//! Gateways that are ours: the addresses they want, and the frontends that their listeners and those of their
//! `ListenerSet`s ask for.

use gateway_api::apis::experimental::gatewayclasses::GatewayClass;
use gateway_api::apis::experimental::gateways::Gateway;
use gateway_common::{Address, FrontendKey, Port};

use super::attachments::Attachments;
use super::certificates::{Reference, Unresolved, certificate};
use super::endpoints::Family;
use super::listener_sets::{self, OurSet};
use super::listeners::{GATEWAY_GROUP, Listener};
use super::pools::{Assignments, Need, Wish, sharing_key};
use super::references::Party;
use super::rivals;
use super::termination::ListenerTls;
use super::{Behind, Claim, Field, Options, Report, SiteRef};
use crate::model::http::Certificate;
use crate::source::validate::parse_vip;
use crate::source::{Kind, Name, ObjectId, Objects, Origin, Sourced};

/// The controller that a `GatewayClass` names to be ours.
pub const CONTROLLER_NAME: &str = "beeline.dev/gateway";
/// The class that is ours even if no `GatewayClass` object says so.
pub const GATEWAY_CLASS: &str = "beeline";

/// A Gateway that is ours.
pub(super) struct OurGateway<'a> {
    pub id: ObjectId,
    pub name: &'a Name,
    pub found: &'a Sourced<Gateway>,
    /// Its own listeners, then those of its sets, in the order in which they come before each other.
    pub listeners: Vec<Listener<'a>>,
    /// The `ListenerSet`s that name it, the older first.
    pub sets: Vec<OurSet<'a>>,
    /// What its backends are shown, if it says so.
    pub client_certificate: Option<Result<Certificate, Unresolved>>,
    /// Why nothing of it is served, whatever its listeners are.
    pub refused: Option<Refused>,
    /// The addresses that it names, each with the field that does.
    asked: Vec<(Address, String)>,
    /// The fields that name what cannot be its address, and why.
    pub unusable: Vec<(String, String)>,
}

/// Why a Gateway as a whole is not accepted.
pub(super) struct Refused {
    /// The reason of Gateway API.
    pub reason: &'static str,
    /// The field that is to change.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// All Gateways that are ours.
pub(super) fn ours(objects: &Objects) -> Vec<OurGateway<'_>> {
    let ours = objects.gateways.iter().filter(|(_, gateway)| is_ours(objects, &gateway.object));
    let mut sets = listener_sets::by_gateway(objects);
    ours.map(|(name, found)| {
        let sets = sets.remove(name).unwrap_or_default();
        let sets = sets.into_iter().map(|set| OurSet::new(objects, &found.object, name, set)).collect();
        OurGateway::new(objects, name, found, sets)
    })
    .collect()
}

/// A class without an object, as in a folder, is ours by its name.
pub(super) fn is_ours(objects: &Objects, gateway: &Gateway) -> bool {
    let class = &gateway.spec.gateway_class_name;
    match objects.gateway_classes.get(&Name::new("", class)) {
        Some(found) => is_our_class(&found.object),
        None => class == GATEWAY_CLASS,
    }
}

/// Whether a class names us as its controller.
pub(super) fn is_our_class(class: &GatewayClass) -> bool {
    class.spec.controller_name == CONTROLLER_NAME
}

impl<'a> OurGateway<'a> {
    fn new(objects: &Objects, name: &'a Name, found: &'a Sourced<Gateway>, sets: Vec<OurSet<'a>>) -> Self {
        let gateway = &found.object;
        let (mut asked, mut unusable) = (Vec::new(), Vec::new());
        for (index, address) in gateway.spec.addresses.iter().flatten().enumerate() {
            let field = format!("spec.addresses[{index}].value");
            let text = address.value.as_deref().filter(|text| !text.is_empty());
            match text.map(parse_vip) {
                None => {}
                Some(Ok(address)) if asked.iter().any(|(known, _)| *known == address) => {}
                Some(Ok(address)) => asked.push((address, field)),
                Some(Err(message)) => unusable.push((field, message)),
            }
        }
        let refused = refused(objects, gateway);
        if refused.as_ref().is_some_and(|refused| refused.reason == UNSUPPORTED_ADDRESS) {
            unusable.clear();
        }
        let id = ObjectId { kind: Kind::Gateway, name: name.clone() };
        let listeners = listeners(objects, &id, &found.object, &sets);
        let client_certificate = client_certificate(objects, name, gateway);
        Self { id, name, found, listeners, sets, client_certificate, refused, asked, unusable }
    }

    /// Whether anything of it can be served.
    pub fn is_accepted(&self) -> bool {
        self.refused.is_none() && self.own_listeners().any(Listener::is_valid)
    }

    /// The listeners of its own spec.
    pub fn own_listeners(&self) -> impl Iterator<Item = &Listener<'a>> {
        self.listeners.iter().filter(|listener| listener.set.is_none())
    }

    /// Where the owner of a listener stands.
    pub fn origin_of(&self, listener: &Listener<'_>) -> &'a Origin {
        listener.set.map_or(&self.found.origin, |set| &self.sets[set].found.origin)
    }

    /// The listener that asks for the port of one: its own, or of those that share it the first.
    pub fn asker(&self, listener: &'_ Listener<'a>) -> &Listener<'a> {
        let shares = |other: &&Listener<'_>| other.is_of_site() && other.is_valid() && other.port == listener.port;
        let index = self.listeners.iter().position(|own| std::ptr::eq(own, listener)).unwrap_or_default();
        let first = self.listeners.iter().find(shares).filter(|_| listener.is_of_site() && listener.is_valid());
        first.unwrap_or(&self.listeners[index])
    }

    /// The listeners that the HTTP layer serves at a port, each with its place among all.
    pub fn listeners_of_site(&self, port: Port) -> impl Iterator<Item = (usize, &Listener<'a>)> {
        let is_served =
            move |listener: &Listener<'_>| listener.is_of_site() && listener.is_usable() && listener.port == Some(port);
        self.listeners.iter().enumerate().filter(move |(_, listener)| is_served(listener))
    }

    /// The addresses that it would like to have; nothing if all that it names are unusable. One that is not accepted keeps
    /// what it was given, for the day when it is, and gets nothing new.
    pub fn wish(&self, options: &Options) -> Option<Wish<'a>> {
        if self.asked.is_empty() && !self.unusable.is_empty() {
            return None;
        }
        let gateway = &self.found.object;
        let named = gateway.spec.addresses.as_deref().unwrap_or_default();
        let wants_any =
            named.is_empty() || named.iter().any(|address| address.value.as_deref().unwrap_or("").is_empty());
        let mut families = if wants_any { vec![Family::V4, Family::V6] } else { Vec::new() };
        families.retain(|family| !self.asked.iter().any(|(address, _)| Family::of(*address) == *family));
        let status = gateway.status.as_ref().and_then(|status| status.addresses.as_ref());
        let status = status.filter(|_| options.trusts_status_of(&gateway.metadata));
        let current = status.into_iter().flatten().enumerate().filter_map(|(index, address)| {
            Some((parse_vip(&address.value).ok()?, format!("status.addresses[{index}].value")))
        });
        let current: Vec<_> = current.collect();
        let mut asked = self.asked.clone();
        if !self.is_accepted() {
            let has = |family| current.iter().any(|(address, _)| Family::of(*address) == family);
            families.retain(|family| has(*family));
            asked.retain(|(address, _)| current.iter().any(|(known, _)| known == address));
            if families.is_empty() && asked.is_empty() {
                return None;
            }
        }
        let listeners = self.listeners.iter().filter(|listener| listener.is_valid());
        Some(Wish {
            id: self.id.clone(),
            created: gateway.metadata.creation_timestamp.as_ref(),
            asked,
            families,
            need: Need::Each,
            ports: listeners.filter_map(|listener| Some((listener.transport()?, listener.port?))).collect(),
            sharing_key: sharing_key(&gateway.metadata),
            current,
            field: "spec.addresses",
        })
    }

    /// The frontends that it asks for; `at` is its place among ours.
    pub fn claims<'b>(
        &'b self,
        at: usize,
        attachments: &'b Attachments<'b>,
        assignments: &'b Assignments,
        claims: &mut Vec<Claim<'b>>,
    ) {
        if !self.is_accepted() {
            return;
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            let (true, Some(port), Some(protocol)) = (listener.is_valid(), listener.port, listener.transport()) else {
                continue;
            };
            if !std::ptr::eq(self.asker(listener), listener) {
                continue;
            }
            let behind = if !listener.is_of_site() {
                attachments.served((at, index)).map_or(Behind::Nothing, Behind::Route)
            } else if self.listeners_of_site(port).next().is_some() {
                Behind::Site(SiteRef::Gateway(self, at))
            } else {
                Behind::Nothing
            };
            claims.extend(assignments.addresses(&self.id).iter().map(|(address, vip_field)| Claim {
                key: FrontendKey::new(*address, port, protocol),
                created: self.found.object.metadata.creation_timestamp.as_ref(),
                object: &self.id,
                origin: &self.found.origin,
                teller: (&listener.owner, self.origin_of(listener)),
                field: port_field(listener),
                vip_field,
                behind,
            }));
        }
    }

    /// Names what is wrong with it by itself.
    pub fn report(&self, assignments: &Assignments, report: &mut Report) {
        let origin = &self.found.origin;
        if let Some(refused) = &self.refused {
            report.add(origin.error(&self.id, &*refused.field, &*refused.message));
        }
        for (field, message) in &self.unusable {
            report.add(origin.error(&self.id, &**field, &**message));
        }
        assignments.report(&self.id, origin, report);
        if let Some(Err(unresolved)) = &self.client_certificate {
            report.add(origin.error(&self.id, CLIENT_CERTIFICATE, unresolved.message()));
        }
        for set in self.sets.iter().filter(|set| !set.is_allowed) {
            report.add(set.found.origin.error(&set.id, "spec.parentRef", not_allowed(self.name)));
        }
        for listener in &self.listeners {
            self.report_listener(listener, report);
        }
    }

    fn report_listener(&self, listener: &Listener<'_>, report: &mut Report) {
        let (origin, owner) = (self.origin_of(listener), &listener.owner);
        let field = |name: &str| format!("spec.listeners[{}].{name}", listener.index);
        if let Some(message) = unsupported_protocol(listener) {
            report.add(origin.error(owner, field("protocol"), message));
        }
        if let Some((_, message)) = indistinct(listener) {
            report.add(origin.error(owner, field("port"), message));
        }
        if let Some(message) = strange_kinds(listener) {
            report.add(origin.error(owner, field("allowedRoutes.kinds"), message));
        }
        for flaw in &listener.tls.flaws {
            let (origin, owner) = if flaw.is_of_gateway { (&self.found.origin, &self.id) } else { (origin, owner) };
            report.add(origin.error(owner, &*flaw.field, &*flaw.message));
        }
    }
}

/// The reason of a Gateway with an address of a type that nobody here knows.
const UNSUPPORTED_ADDRESS: &str = "UnsupportedAddress";

/// The field by which a listener asks for its port.
pub(super) fn port_field(listener: &Listener<'_>) -> Field {
    Field { list: "spec.listeners", index: listener.index, name: "port" }
}

/// The field by which a Gateway says what its backends are shown.
pub(super) const CLIENT_CERTIFICATE: &str = "spec.tls.backend.clientCertificateRef";

/// All listeners that a Gateway has, judged.
fn listeners<'a>(objects: &Objects, id: &ObjectId, gateway: &'a Gateway, sets: &[OurSet<'a>]) -> Vec<Listener<'a>> {
    let own = gateway.spec.listeners.iter().enumerate();
    let mut listeners: Vec<Listener<'a>> =
        own.map(|(index, spec)| Listener::new(spec, id.clone(), None, index)).collect();
    for (number, set) in sets.iter().enumerate() {
        let added = set.listeners().iter().enumerate();
        listeners.extend(added.map(|(index, spec)| Listener::new(spec, set.id.clone(), Some(number), index)));
    }
    rivals::judge(&mut listeners);
    for listener in &mut listeners {
        listener.tls = ListenerTls::of(objects, gateway, &id.name, listener);
    }
    listeners
}

fn client_certificate(objects: &Objects, name: &Name, gateway: &Gateway) -> Option<Result<Certificate, Unresolved>> {
    let reference = gateway.spec.tls.as_ref()?.backend.as_ref()?.client_certificate_ref.as_ref()?;
    let from = Party { group: GATEWAY_GROUP, kind: Kind::Gateway, namespace: &name.namespace };
    let reference = Reference {
        group: reference.group.as_deref().unwrap_or(""),
        kind: reference.kind.as_deref().unwrap_or("Secret"),
        namespace: reference.namespace.as_deref(),
        name: &reference.name,
    };
    Some(certificate(objects, from, reference))
}

/// What is wrong with a `ListenerSet` that the Gateway does not let in.
pub(super) fn not_allowed(gateway: &Name) -> String {
    format!("Gateway {gateway} does not let the set add listeners: widen its spec.allowedListeners")
}

fn refused(objects: &Objects, gateway: &Gateway) -> Option<Refused> {
    let class = &gateway.spec.gateway_class_name;
    let class = objects.gateway_classes.get(&Name::new("", class));
    if let Some(message) = class.and_then(|class| class_parameters(&class.object)) {
        let message = format!("the GatewayClass is not accepted: {message}");
        return Some(Refused { reason: "NotReconciled", field: "spec.gatewayClassName".to_string(), message });
    }
    let infrastructure = gateway.spec.infrastructure.as_ref();
    if infrastructure.is_some_and(|infrastructure| infrastructure.parameters_ref.is_some()) {
        let field = "spec.infrastructure.parametersRef".to_string();
        let message = "no parameters are known here: remove the reference".to_string();
        return Some(Refused { reason: "InvalidParameters", field, message });
    }
    let kinds = gateway.spec.addresses.iter().flatten().map(|address| address.r#type.as_deref().unwrap_or("IPAddress"));
    let (index, kind) = kinds.enumerate().find(|(_, kind)| *kind != "IPAddress")?;
    let field = format!("spec.addresses[{index}].type");
    Some(Refused { reason: UNSUPPORTED_ADDRESS, field, message: format!("`{kind}` is not supported: use IPAddress") })
}

/// What is wrong with a class that wants parameters.
pub(super) fn class_parameters(class: &GatewayClass) -> Option<&'static str> {
    class.spec.parameters_ref.as_ref().map(|_| "no parameters are known here: remove spec.parametersRef")
}

/// What is wrong with a listener's protocol.
pub(super) fn unsupported_protocol(listener: &Listener<'_>) -> Option<String> {
    let is_unsupported = listener.speech.is_none();
    is_unsupported.then(|| match listener.spec.protocol.as_str() {
        "HTTPS" => "HTTPS cannot be passed through: use mode Terminate, or protocol TLS".to_string(),
        other => format!("`{other}` is not supported: use HTTP, HTTPS, TLS, TCP or UDP"),
    })
}

/// What is wrong with a listener that cannot be told from others: the reason of Gateway API, and a sentence.
pub(super) fn indistinct(listener: &Listener<'_>) -> Option<(&'static str, String)> {
    let rivalry = listener.rivalry.as_ref()?;
    let (others, port) = (rivalry.others.join(" and "), listener.spec.port);
    let mend = if rivalry.reason == "HostnameConflict" { "use another port or hostname" } else { "use another port" };
    let same = match (rivalry.reason, &listener.hostname) {
        ("HostnameConflict", Some(hostname)) => format!("port {port} and hostname {hostname}"),
        ("HostnameConflict", None) => format!("port {port} and no hostname"),
        _ => format!("port {port}"),
    };
    let outcome = if listener.set.is_some() { "comes first" } else { "none of them is served" };
    let joint = if listener.set.is_some() { "and" } else { "so" };
    Some((rivalry.reason, format!("listener {others} has {same} too, {joint} {outcome}: {mend}")))
}

/// What is wrong with the kinds of route that a listener allows.
pub(super) fn strange_kinds(listener: &Listener<'_>) -> Option<String> {
    let strange = &listener.strange_kinds;
    let speech = listener.speech.filter(|_| !strange.is_empty())?;
    let (strange, protocol) = (strange.join(", "), &listener.spec.protocol);
    let own: Vec<&str> = speech.kinds().iter().map(|kind| kind.name()).collect();
    Some(format!("{strange} cannot attach to a {protocol} listener: use {} or remove the kind", own.join(" or ")))
}
