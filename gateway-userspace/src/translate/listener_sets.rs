//! Which `ListenerSet`s add their listeners to which Gateway: those that name it, if it lets them.

use std::collections::BTreeMap;

use gateway_api::apis::experimental::gateways::{
    Gateway, GatewayAllowedListenersNamespacesFrom as From, GatewayListeners,
};

use super::by_age;
use super::listeners::{GATEWAY_GROUP, namespace_labels};
use super::selector::{Requirement, meets};
use crate::source::{Kind, ListenerSet, Name, ObjectId, Objects, Sourced};

/// A `ListenerSet` that names a Gateway of ours.
pub(super) struct OurSet<'a> {
    pub id: ObjectId,
    pub name: &'a Name,
    pub found: &'a Sourced<ListenerSet>,
    /// Whether the Gateway lets it add listeners.
    pub is_allowed: bool,
}

/// All sets by the Gateway that they name, the older first.
pub(super) fn by_gateway(objects: &Objects) -> BTreeMap<Name, Vec<(&Name, &Sourced<ListenerSet>)>> {
    let mut sets: BTreeMap<Name, Vec<(&Name, &Sourced<ListenerSet>)>> = BTreeMap::new();
    for (name, found) in &objects.listener_sets {
        let parent = &found.object.spec.parent_ref;
        let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
        if group == GATEWAY_GROUP && parent.kind.as_deref().unwrap_or("Gateway") == "Gateway" {
            let namespace = parent.namespace.as_deref().unwrap_or(&name.namespace);
            sets.entry(Name::new(namespace, &*parent.name)).or_default().push((name, found));
        }
    }
    for sets in sets.values_mut() {
        let created = |set: &(&Name, &Sourced<ListenerSet>)| set.1.object.metadata.creation_timestamp.clone();
        sets.sort_by(|a, b| by_age(created(a).as_ref(), &id(a.0), created(b).as_ref(), &id(b.0)));
    }
    sets
}

impl<'a> OurSet<'a> {
    /// A set that names a Gateway.
    pub fn new(
        objects: &Objects,
        gateway: &Gateway,
        parent: &Name,
        (name, found): (&'a Name, &'a Sourced<ListenerSet>),
    ) -> Self {
        let is_allowed = is_namespace_allowed(objects, gateway, &parent.namespace, &name.namespace);
        Self { id: id(name), name, found, is_allowed }
    }

    /// Its listeners; none if it may not add any.
    pub fn listeners(&self) -> &'a [GatewayListeners] {
        if self.is_allowed { &self.found.object.spec.listeners } else { &[] }
    }
}

fn id(name: &Name) -> ObjectId {
    ObjectId { kind: Kind::ListenerSet, name: name.clone() }
}

/// A Gateway that does not speak of it lets nobody add listeners.
fn is_namespace_allowed(objects: &Objects, gateway: &Gateway, parent: &str, set: &str) -> bool {
    let allowed = gateway.spec.allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    let Some(allowed) = allowed else { return false };
    match allowed.from.as_ref().unwrap_or(&From::None) {
        From::All => true,
        From::None => false,
        From::Same => parent == set,
        From::Selector => allowed.selector.as_ref().is_some_and(|selector| {
            let requirements = selector.match_expressions.iter().flatten().map(|expression| {
                let values = expression.values.as_deref().unwrap_or_default();
                Requirement { key: &expression.key, operator: &expression.operator, values }
            });
            meets(selector.match_labels.as_ref(), requirements, &namespace_labels(objects, set))
        }),
    }
}
