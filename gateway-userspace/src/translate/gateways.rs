//! Gateways that are ours: the addresses they want, and the frontends that their listeners ask for.

use gateway_api::apis::experimental::gatewayclasses::GatewayClass;
use gateway_api::apis::experimental::gateways::Gateway;
use gateway_common::{Address, FrontendKey};

use super::attachments::Attachments;
use super::endpoints::Family;
use super::listeners::{Listener, judge};
use super::pools::{Assignments, Need, Wish, sharing_key};
use super::{Behind, Claim, Field, Options, Report};
use crate::source::validate::parse_vip;
use crate::source::{Kind, Name, ObjectId, Objects, Sourced};

/// The controller that a `GatewayClass` names to be ours.
pub const CONTROLLER_NAME: &str = "beeline.dev/gateway";
/// The class that is ours even if no `GatewayClass` object says so.
pub const GATEWAY_CLASS: &str = "beeline";

/// A Gateway that is ours.
pub(super) struct OurGateway<'a> {
    pub id: ObjectId,
    pub name: &'a Name,
    pub found: &'a Sourced<Gateway>,
    pub listeners: Vec<Listener<'a>>,
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
    ours.map(|(name, found)| OurGateway::new(objects, name, found)).collect()
}

/// A class without an object, as in a folder, is ours by its name.
fn is_ours(objects: &Objects, gateway: &Gateway) -> bool {
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
    fn new(objects: &Objects, name: &'a Name, found: &'a Sourced<Gateway>) -> Self {
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
        Self { id, name, found, listeners: judge(gateway), refused, asked, unusable }
    }

    /// Whether anything of it can be served.
    pub fn is_accepted(&self) -> bool {
        self.refused.is_none() && self.listeners.iter().any(Listener::is_valid)
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
            ports: listeners.filter_map(|listener| Some((listener.protocol?, listener.port?))).collect(),
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
            let (true, Some(port), Some(protocol)) = (listener.is_valid(), listener.port, listener.protocol) else {
                continue;
            };
            let behind = attachments.served((at, index)).map_or(Behind::Nothing, Behind::Route);
            claims.extend(assignments.addresses(&self.id).iter().map(|(address, vip_field)| Claim {
                key: FrontendKey::new(*address, port, protocol),
                created: self.found.object.metadata.creation_timestamp.as_ref(),
                object: &self.id,
                origin: &self.found.origin,
                field: port_field(index),
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
        for (index, listener) in self.listeners.iter().enumerate() {
            let field = |name: &str| format!("spec.listeners[{index}].{name}");
            if let Some(message) = unsupported_protocol(listener) {
                report.add(origin.error(&self.id, field("protocol"), message));
            }
            if let Some(message) = indistinct(listener) {
                report.add(origin.error(&self.id, field("port"), message));
            }
            if let Some(message) = strange_kinds(listener) {
                report.add(origin.error(&self.id, field("allowedRoutes.kinds"), message));
            }
        }
    }
}

/// The reason of a Gateway with an address of a type that nobody here knows.
const UNSUPPORTED_ADDRESS: &str = "UnsupportedAddress";

/// The field by which a listener asks for its port.
pub(super) fn port_field(index: usize) -> Field {
    Field { list: "spec.listeners", index, name: "port" }
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
    let is_unsupported = listener.protocol.is_none();
    is_unsupported.then(|| format!("`{}` is not supported yet: use TCP or UDP", listener.spec.protocol))
}

/// What is wrong with a listener that cannot be told from others.
pub(super) fn indistinct(listener: &Listener<'_>) -> Option<String> {
    let rivals: Vec<String> = listener.rivals.iter().map(|name| format!("`{name}`")).collect();
    (!rivals.is_empty()).then(|| {
        let (rivals, port) = (rivals.join(" and "), listener.spec.port);
        format!("listener {rivals} has port {port} too, so none of them is served: use another port")
    })
}

/// What is wrong with the kinds of route that a listener allows.
pub(super) fn strange_kinds(listener: &Listener<'_>) -> Option<String> {
    let strange = &listener.strange_kinds;
    (!strange.is_empty() && listener.protocol.is_some()).then(|| {
        let (strange, protocol) = (strange.join(", "), &listener.spec.protocol);
        format!("{strange} cannot attach to a {protocol} listener: use {protocol}Route or remove the kind")
    })
}
