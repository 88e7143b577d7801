//! What a status should say, as the object has it.
//!
//! A condition keeps the time at which it last changed as long as it is as true as before.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as KubernetesCondition, Time};
use serde::Serialize;
use serde_json::{Value, json};

use crate::kubernetes::Facts;
use crate::source::reported::{self, BackendStatus};
use crate::source::{Kind, ObjectId};
use crate::translate::statuses::{
    ClassStatus, Condition, GatewayStatus, IngressStatus, LinkStatus, ListenerSetStatus, ListenerStatus, ObjectStatus,
    PoolStatus, ServiceStatus, UpstreamStatus,
};

/// How long a condition's message may be.
const MESSAGE_LIMIT: usize = 32_768;

/// The status of an object that is neither route nor policy; none if it is not ours to write. `seen` is what it says now.
pub(super) fn status(facts: &Facts, id: &ObjectId, seen: &Value, now: &Time) -> Option<Value> {
    let ObjectId { kind, name } = id;
    let statuses = &facts.statuses;
    let past = Past { seen, now };
    match kind {
        Kind::Service => statuses.services.get(name).map(|status| past.service(status)),
        Kind::Gateway => statuses.gateways.get(name).map(|status| past.gateway(status)),
        Kind::GatewayClass => statuses.gateway_classes.get(name).map(|class| past.class(class)),
        Kind::ListenerSet => statuses.listener_sets.get(name).map(|status| past.listener_set(status)),
        Kind::Ingress => statuses.ingresses.get(name).map(ingress),
        Kind::Upstream => statuses.upstreams.get(name).map(|status| value(&past.upstream(status))),
        Kind::AddressPool => statuses.address_pools.get(name).map(|status| value(&past.pool(status))),
        Kind::ClusterLink => statuses.cluster_links.get(name).map(|status| value(&past.link(status))),
        Kind::EndpointSlice
        | Kind::Pod
        | Kind::ReferenceGrant
        | Kind::TcpRoute
        | Kind::UdpRoute
        | Kind::HttpRoute
        | Kind::GrpcRoute
        | Kind::TlsRoute
        | Kind::BackendTlsPolicy
        | Kind::Secret
        | Kind::ConfigMap
        | Kind::IngressClass
        | Kind::Namespace
        | Kind::Node => None,
    }
}

/// Conditions with their times. `seen` are those that are there now.
pub(super) fn conditions(wanted: &[Condition], generation: i64, seen: &Value, now: &Time) -> Vec<KubernetesCondition> {
    let time = |condition: &Condition| {
        let seen = seen.as_array()?.iter().find(|seen| seen["type"] == condition.kind)?;
        let same = seen["status"] == condition.truth.name();
        if same { serde_json::from_value(seen["lastTransitionTime"].clone()).ok() } else { None }
    };
    let condition = |condition: &Condition| KubernetesCondition {
        last_transition_time: time(condition).unwrap_or_else(|| now.clone()),
        message: condition.message[..condition.message.floor_char_boundary(MESSAGE_LIMIT)].to_string(),
        // Services have no generation.
        observed_generation: (generation > 0).then_some(generation),
        reason: condition.reason.to_string(),
        status: condition.truth.name().to_string(),
        type_: condition.kind.to_string(),
    };
    wanted.iter().map(condition).collect()
}

/// What a status said before.
#[derive(Clone, Copy)]
struct Past<'a> {
    seen: &'a Value,
    now: &'a Time,
}

impl Past<'_> {
    fn of_object(self, status: &ObjectStatus) -> Vec<KubernetesCondition> {
        conditions(&status.conditions, status.generation, &self.seen["conditions"], self.now)
    }

    /// `Proxy` keeps kube-proxy from taking the address over, past our weights.
    fn service(self, ServiceStatus { addresses, event: _, status }: &ServiceStatus) -> Value {
        let ingress: Vec<Value> =
            addresses.iter().map(|address| json!({ "ip": address.to_string(), "ipMode": "Proxy" })).collect();
        json!({ "loadBalancer": { "ingress": ingress }, "conditions": self.of_object(status) })
    }

    fn class(self, ClassStatus { status, features }: &ClassStatus) -> Value {
        let features: Vec<Value> = features.iter().map(|feature| json!({ "name": feature })).collect();
        json!({ "conditions": self.of_object(status), "supportedFeatures": features })
    }

    fn gateway(self, gateway: &GatewayStatus) -> Value {
        let GatewayStatus { addresses, status, listeners, attached_listener_sets, stand_in: _ } = gateway;
        let addresses: Vec<Value> =
            addresses.iter().map(|address| json!({ "type": "IPAddress", "value": address.to_string() })).collect();
        let mut rendered = json!({
            "addresses": addresses,
            "conditions": self.of_object(status),
            "listeners": self.listeners(listeners, status.generation),
        });
        // Definitions before 1.5 do not have the field, and an API server drops it.
        if *attached_listener_sets > 0 {
            rendered["attachedListenerSets"] = json!(attached_listener_sets);
        }
        rendered
    }

    fn listener_set(self, ListenerSetStatus { status, listeners }: &ListenerSetStatus) -> Value {
        json!({ "conditions": self.of_object(status), "listeners": self.listeners(listeners, status.generation) })
    }

    fn listeners(self, listeners: &[ListenerStatus], generation: i64) -> Vec<Value> {
        listeners
            .iter()
            .map(|listener| {
                let before = self.seen["listeners"].as_array();
                let before = before.and_then(|all| all.iter().find(|before| before["name"] == *listener.name));
                let seen = before.map_or(&Value::Null, |before| &before["conditions"]);
                let kind = |kind: &&str| json!({ "group": "gateway.networking.k8s.io", "kind": kind });
                json!({
                    "name": listener.name,
                    "supportedKinds": listener.supported_kinds.iter().map(kind).collect::<Vec<_>>(),
                    "attachedRoutes": listener.attached_routes,
                    "conditions": conditions(&listener.conditions, generation, seen, self.now),
                })
            })
            .collect()
    }

    fn upstream(self, UpstreamStatus { status, backends, total, ready }: &UpstreamStatus) -> reported::UpstreamStatus {
        let backends = backends.iter().map(|backend| BackendStatus {
            cluster: backend.cluster.as_deref().map(str::to_string),
            name: backend.name.clone(),
            address: backend.address.clone(),
            weight: backend.weight.into(),
            ready: backend.ready,
        });
        reported::UpstreamStatus {
            conditions: self.of_object(status),
            backends: backends.collect(),
            total: count(*total as u64),
            ready: count(*ready as u64),
            summary: format!("{ready}/{total}"),
        }
    }

    fn pool(self, PoolStatus { status, total, assigned }: &PoolStatus) -> reported::AddressPoolStatus {
        reported::AddressPoolStatus {
            conditions: self.of_object(status),
            total: count(*total),
            assigned: count(*assigned),
        }
    }

    fn link(self, LinkStatus { status, services }: &LinkStatus) -> reported::ClusterLinkStatus {
        reported::ClusterLinkStatus { conditions: self.of_object(status), services: count(*services as u64) }
    }
}

/// An Ingress has neither conditions nor `ipMode`.
fn ingress(IngressStatus { addresses }: &IngressStatus) -> Value {
    let ingress: Vec<Value> = addresses.iter().map(|address| json!({ "ip": address.to_string() })).collect();
    json!({ "loadBalancer": { "ingress": ingress } })
}

/// As far as 63 bits can count.
fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn value(status: &impl Serialize) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::source::Name;
    use crate::translate::Statuses;

    #[test]
    fn a_class_of_ours_claims_in_its_status_what_is_served() {
        let id = ObjectId { kind: Kind::GatewayClass, name: Name::new("", "beeline") };
        let mut statuses = Statuses::default();
        statuses
            .gateway_classes
            .insert(id.name.clone(), ClassStatus { features: vec!["TCPRoute"], ..ClassStatus::default() });
        let facts = Facts { statuses: statuses.into(), ..Facts::default() };

        let status = status(&facts, &id, &Value::Null, &Time(Timestamp::UNIX_EPOCH)).unwrap();

        assert_eq!(status["supportedFeatures"], json!([{ "name": "TCPRoute" }]));
    }
}
