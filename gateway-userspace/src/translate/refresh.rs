//! The commonest changes by far, done without looking at everything: endpoints of some Services came, went or changed, or
//! their statuses say what we had them say.
//!
//! It yields what the whole translation would; where it cannot be sure of that, it says so and leaves it to that.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::endpoints::{Cluster, protocol_of};
use super::services::{self, ServiceFrontend};
use super::{Given, Options, Statuses, ingresses, references, upstreams};
use crate::model::Model;
use crate::source::validate::parse_port;
use crate::source::{Name, Objects};

/// Beyond this, everything is as quick.
const MOST_SERVICES: usize = 64;

/// What the last translation came to.
#[derive(Clone, Copy, Debug)]
pub struct Last<'a> {
    /// The desired state.
    pub model: &'a Model,
    /// The addresses that owners had from pools.
    pub given: &'a Given,
    /// What the status of the objects should say.
    pub statuses: &'a Statuses,
}

/// Whether a translation after nothing but the status of these Services changed would come to the same: each has the
/// addresses that its status says, and no other. (It might name another field in a problem of such an address.)
pub fn are_as_said(last: Last<'_>, objects: &Objects, options: &Options, changed: &BTreeSet<Name>) -> bool {
    changed.iter().all(|name| match services::our(objects, name, options) {
        Some(ours) => {
            let said = last.statuses.services.get(name).map(|status| &*status.addresses);
            ours.says_what_it_has(options, last.given, said.unwrap_or_default())
        }
        // Of others only the spec matters.
        None => true,
    })
}

/// The model after nothing but the slices of these Services changed; nothing if all must be translated anew, because
/// somebody else than these Services themselves leads to their endpoints.
pub fn refreshed(model: &Model, objects: &Objects, options: &Options, changed: &BTreeSet<Name>) -> Option<Model> {
    if changed.len() > MOST_SERVICES || references::lead_to(objects, changed) {
        return None;
    }
    if upstreams::lead_to(objects, changed) || ingresses::lead_to(objects, changed) {
        return None;
    }
    let cluster = Cluster::of_services(objects, options.node.as_deref(), changed);
    if !changed.iter().all(|name| cluster.has_slices(name)) {
        return None;
    }
    let mut model = model.clone();
    for name in changed {
        let Some(ours) = services::our(objects, name, options) else { continue };
        let owner = services::owner(name);
        let frontends = model.services.iter_mut().filter(|(_, service)| service.owner == owner);
        for (key, service) in frontends {
            let is_of_port = |port: &&k8s_openapi::api::core::v1::ServicePort| {
                parse_port(port.port.into()) == Ok(key.port) && protocol_of(port) == Some(key.protocol)
            };
            let port = ours.spec.ports.iter().flatten().find(is_of_port)?;
            *service =
                Arc::new(services::service(&cluster, *key, ServiceFrontend { owner: &ours, port }, options.mode));
        }
        if let Some((port, check)) = ours.health_check(&cluster) {
            model.health_checks.insert(port, check);
        }
    }
    Some(model)
}
