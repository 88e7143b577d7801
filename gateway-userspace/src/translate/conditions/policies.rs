//! What the status of `BackendTLSPolicy` objects should say: to each Gateway over which their backends are reached.

use std::collections::{BTreeMap, BTreeSet};

use super::{Facts, condition, generation};
use crate::source::{Kind, Name};
use crate::translate::attachments::ListenerIndex;
use crate::translate::backend_tls::{Policy, Target, conflicted};
use crate::translate::listeners::{GATEWAY_GROUP, Speech};
use crate::translate::references;
use crate::translate::statuses::{Condition, ParentRef, ParentStatus, RouteStatus};

/// How many Gateways a status may name (Gateway API, `PolicyStatus.ancestors`).
const MAX_ANCESTORS: usize = 16;

impl Facts<'_> {
    /// One that no Gateway of ours comes to is mentioned with none.
    pub(super) fn backend_tls_policies(&self) -> BTreeMap<Name, RouteStatus> {
        if self.policies.all.is_empty() {
            return BTreeMap::new();
        }
        let reached = self.reached();
        let status = |policy: &Policy<'_>| {
            let conditions = self.conditions_of_policy(policy);
            let is_for = |targets: &BTreeSet<Target>| targets.iter().any(|target| policy.is_for(target));
            let ancestors = reached.iter().filter(|(_, targets)| is_for(targets)).take(MAX_ANCESTORS);
            let parents = ancestors
                .map(|(gateway, _)| ParentStatus { parent: ancestor(gateway), conditions: conditions.clone() });
            let generation = generation(policy.found.object.metadata.generation);
            (policy.id.name.clone(), RouteStatus { generation, parents: parents.collect() })
        };
        self.policies.all.iter().map(status).collect()
    }

    /// What the routes that each Gateway has lead to, where connections to backends are ours.
    fn reached(&self) -> BTreeMap<&Name, BTreeSet<Target>> {
        let mut reached: BTreeMap<&Name, BTreeSet<Target>> = BTreeMap::new();
        for (route, parents) in &self.attachments.parents {
            let ends_tls = |&(gateway, listener): &ListenerIndex| {
                self.gateways[gateway].listeners[listener].speech == Some(Speech::TlsTerminate)
            };
            let attached = parents.iter().filter_map(|parent| {
                let listeners = parent.listeners.as_ref().ok()?;
                let connects = route.id.kind.is_of_requests() || listeners.iter().any(ends_tls);
                connects.then_some(parent.gateway)
            });
            let gateways: BTreeSet<usize> = attached.collect();
            if gateways.is_empty() {
                continue;
            }
            let targets = references::targets(self.objects, *route);
            for gateway in gateways {
                reached.entry(self.gateways[gateway].name).or_default().extend(targets.iter().cloned());
            }
        }
        reached
    }

    fn conditions_of_policy(&self, policy: &Policy<'_>) -> Vec<Condition> {
        let conflict = self.policies.winner(policy).map(|winner| ("Conflicted", conflicted(winner)));
        let accepted = conflict.or_else(|| policy.distrusts_all.clone());
        let flaw = policy.flaws.first();
        let resolved = flaw.map(|(field, reason, message)| (*reason, format!("{field}: {message}")));
        vec![
            condition("Accepted", ("Accepted", "the policy holds for its backends".to_string()), accepted),
            condition("ResolvedRefs", ("ResolvedRefs", "all references lead somewhere".to_string()), resolved),
        ]
    }
}

fn ancestor(gateway: &Name) -> ParentRef {
    ParentRef {
        group: Some(GATEWAY_GROUP.to_string()),
        kind: Some(Kind::Gateway.name().to_string()),
        namespace: Some(gateway.namespace.clone()),
        name: gateway.name.clone(),
        ..ParentRef::default()
    }
}
