//! What Beeline needs of a Pod: one of a real cluster has several kilobytes, and there are many.
//!
//! Either the whole Pod is known, or its metadata alone, as for Pods of other nodes: then its phase, its addresses and its
//! readiness are unknown here, and its slices speak for it.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod as KubernetesPod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::labels::{Labels, shared};

/// The annotations of a Pod that say its weight; the first that is there counts.
pub const WEIGHT_ANNOTATIONS: [&str; 2] = ["beeline.dev/weight", "service.cloud.tencent.com/custom-weight"];

/// The readiness gates of ours: a Pod that has one becomes Ready only when Beeline has programmed it.
pub const READINESS_GATES: [&str; 2] =
    ["beeline.dev/backend-ready", "cloud.tencent.com/load-balancer-backendgroup-ready"];

/// A Pod, as far as traffic is concerned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Its UID; none for a Pod written by hand.
    pub uid: Option<Arc<str>>,
    /// Its labels.
    pub labels: Labels,
    /// The weight annotation that counts, and what it says.
    pub weight: Option<(&'static str, Arc<str>)>,
    /// It has been told to end.
    pub terminating: bool,
    /// The version of the object, as the API server counts; 0 in a folder.
    pub version: u64,
    /// What only the whole Pod says.
    pub body: Option<Box<PodBody>>,
}

/// What the metadata of a Pod does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodBody {
    /// It has succeeded or failed, and runs no more.
    pub terminal: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The ports its containers name.
    pub ports: Vec<NamedPort>,
    /// The node it runs on.
    pub node: Option<Arc<str>>,
    /// Whether it may get traffic.
    pub readiness: Readiness,
}

/// A port that a container names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    /// The name.
    pub name: Arc<str>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Arc<str>,
    /// The number, as written.
    pub number: i32,
}

/// What a Pod's conditions say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// It is ready, or says nothing of it, as one written by hand.
    #[default]
    Ready,
    /// All its containers are ready, and nothing but gates of ours keeps it from being so.
    WaitsForUs,
    /// It is not.
    NotReady,
}

impl Pod {
    /// A Pod of which nothing but its metadata is known.
    pub fn from_metadata(metadata: &ObjectMeta) -> Self {
        let annotations = metadata.annotations.as_ref();
        let weight = WEIGHT_ANNOTATIONS.into_iter().find_map(|key| Some((key, shared(annotations?.get(key)?.trim()))));
        Self {
            uid: metadata.uid.as_deref().filter(|uid| !uid.is_empty()).map(Into::into),
            labels: Labels::from(metadata.labels.as_ref()),
            weight,
            terminating: metadata.deletion_timestamp.is_some(),
            version: metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0),
            body: None,
        }
    }

    /// Whether it has ended: it will never get traffic again. Unknown counts as no.
    pub fn is_terminal(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.terminal)
    }

    /// Its addresses, as far as they are known.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.body.iter().flat_map(|body| body.addresses.iter().copied())
    }

    /// What its conditions say, if they are known.
    pub fn readiness(&self) -> Option<Readiness> {
        self.body.as_ref().map(|body| body.readiness)
    }
}

impl From<&KubernetesPod> for Pod {
    fn from(pod: &KubernetesPod) -> Self {
        let KubernetesPod { metadata, spec, status } = pod;
        let containers = spec.iter().flat_map(|spec| &spec.containers);
        let ports = containers.flat_map(|container| container.ports.iter().flatten()).filter_map(|port| {
            Some(NamedPort {
                name: shared(port.name.as_deref()?),
                protocol: shared(port.protocol.as_deref().unwrap_or("TCP")),
                number: port.container_port,
            })
        });
        let phase = status.as_ref().and_then(|status| status.phase.as_deref());
        let body = PodBody {
            terminal: matches!(phase, Some("Succeeded" | "Failed")),
            addresses: addresses(status.as_ref()),
            ports: ports.collect(),
            node: spec.as_ref().and_then(|spec| spec.node_name.as_deref()).map(shared),
            readiness: readiness(pod),
        };
        Self { body: Some(Box::new(body)), ..Self::from_metadata(metadata) }
    }
}

fn addresses(status: Option<&PodStatus>) -> Vec<IpAddr> {
    let several = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten().map(|pod_ip| &pod_ip.ip);
    let single = status.and_then(|status| status.pod_ip.as_ref());
    let mut addresses = Vec::new();
    for address in several.chain(single).filter_map(|text| text.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// A Pod waits for us if `ContainersReady` is true and every readiness gate that is not ours is, too. Were its own word
/// taken, the gate would wait for itself.
fn readiness(pod: &KubernetesPod) -> Readiness {
    let status = |name: &str| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        conditions.into_iter().find(|condition| condition.type_ == name).map(|condition| condition.status == "True")
    };
    match status("Ready") {
        None | Some(true) => return Readiness::Ready,
        Some(false) => {}
    }
    let gates =
        pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten()).map(|gate| &*gate.condition_type);
    let (ours, others): (Vec<&str>, Vec<&str>) = gates.partition(|gate| READINESS_GATES.contains(gate));
    let waits = ours.iter().any(|gate| status(gate) != Some(true))
        && status("ContainersReady") == Some(true)
        && others.iter().all(|gate| status(gate) == Some(true));
    if waits { Readiness::WaitsForUs } else { Readiness::NotReady }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodCondition, PodReadinessGate, PodSpec};

    use super::*;

    fn pod(gates: &[&str], conditions: &[(&str, &str)]) -> KubernetesPod {
        let gate = |name: &&str| PodReadinessGate { condition_type: (*name).to_string() };
        let condition = |(name, status): &(&str, &str)| PodCondition {
            type_: (*name).to_string(),
            status: (*status).to_string(),
            ..PodCondition::default()
        };
        KubernetesPod {
            spec: Some(PodSpec { readiness_gates: Some(gates.iter().map(gate).collect()), ..PodSpec::default() }),
            status: Some(PodStatus {
                conditions: Some(conditions.iter().map(condition).collect()),
                ..PodStatus::default()
            }),
            ..KubernetesPod::default()
        }
    }

    #[test]
    fn a_pod_that_only_our_gate_holds_back_waits_for_us() {
        let [ours, tencents] = READINESS_GATES;
        let waiting = [("Ready", "False"), ("ContainersReady", "True")];

        assert_eq!(readiness(&pod(&[ours], &waiting)), Readiness::WaitsForUs);
        assert_eq!(readiness(&pod(&[tencents], &waiting)), Readiness::WaitsForUs);
        assert_eq!(readiness(&pod(&[], &waiting)), Readiness::NotReady);
        assert_eq!(readiness(&pod(&[ours, "example.com/other"], &waiting)), Readiness::NotReady);
        assert_eq!(readiness(&pod(&[ours], &[("Ready", "False"), ("ContainersReady", "False")])), Readiness::NotReady);
        assert_eq!(readiness(&pod(&[ours], &[("Ready", "True")])), Readiness::Ready);
    }

    #[test]
    fn a_pod_that_says_nothing_of_its_readiness_is_ready() {
        assert_eq!(readiness(&pod(&[], &[])), Readiness::Ready);
    }
}
