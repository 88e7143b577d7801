//! A Service's port by its number, wherever the Service lives, or what is wrong with the number.

use std::collections::BTreeMap;

use gateway_common::Protocol;
use k8s_openapi::api::core::v1::{Service, ServicePort};

use super::endpoints::protocol_of;
use crate::source::{Name, Sourced};

/// Why there is no such port.
pub(super) enum NoPort {
    /// There is no such Service.
    NoService,
    /// The Service has no port of the number: what to do.
    NoNumber(String),
    /// Its port of the number is of another protocol: what to do.
    OtherProtocol(String),
}

/// The port of a Service that has a number and a protocol; without one wanted, TCP comes before UDP.
pub(super) fn service_port<'a>(
    services: &'a BTreeMap<Name, Sourced<Service>>,
    name: &Name,
    number: i64,
    protocol: Option<Protocol>,
) -> Result<(&'a Service, &'a ServicePort), NoPort> {
    let Some(Sourced { object: service, .. }) = services.get(name) else {
        return Err(NoPort::NoService);
    };
    let ports = || service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let of_number = || ports().filter(|port| i64::from(port.port) == number);
    if of_number().next().is_none() {
        let known: Vec<String> = ports().map(|port| port.port.to_string()).collect();
        return Err(NoPort::NoNumber(format!("Service {name} has no port {number}: use one of {}", known.join(", "))));
    }
    let of = |wanted: Protocol| of_number().find(|port| protocol_of(port) == Some(wanted));
    let found = protocol.map_or_else(|| of(Protocol::TCP).or_else(|| of(Protocol::UDP)), of);
    found.map(|port| (&**service, port)).ok_or_else(|| {
        let wanted = protocol.map_or_else(|| "TCP or UDP".to_string(), |protocol| protocol.to_string());
        NoPort::OtherProtocol(format!("port {number} of Service {name} is not a {wanted} port: use another"))
    })
}
