//! The numerous kinds as they come over the wire, without the notes of which field others set.
//!
//! These notes (`managedFields`) are often more than half of an object, and the crate's types would build a tree of them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, Namespace, Node, Pod as KubernetesPod, PodCondition, PodIP, PodReadinessGate, PodSpec,
    PodStatus, Service, ServiceSpec, ServiceStatus,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::managed::Ours;
use super::{admit, origin};
use crate::kubernetes::change::Item;
use crate::source::{Entry, Kind, Name, Object, ObjectId, Pod, Written};

/// A kind of the wire.
pub(super) trait Wire: DeserializeOwned {
    /// What stays of an object.
    fn item(self) -> Item;
}

/// Metadata, as far as anybody here asks for it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    finalizers: Option<Vec<String>>,
    managed_fields: Ours,
}

impl Meta {
    fn id(&self, kind: Kind) -> ObjectId {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        ObjectId { kind, name: Name::new(text(&self.namespace), text(&self.name)) }
    }
}

impl From<Meta> for ObjectMeta {
    fn from(meta: Meta) -> Self {
        Self {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            resource_version: meta.resource_version,
            generation: meta.generation,
            creation_timestamp: meta.creation_timestamp,
            deletion_timestamp: meta.deletion_timestamp,
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            managed_fields: Some(meta.managed_fields.0),
            ..Self::default()
        }
    }
}

/// A Service.
#[derive(Deserialize)]
pub(super) struct WireService {
    metadata: Meta,
    spec: Option<ServiceSpec>,
    status: Option<ServiceStatus>,
}

impl Wire for WireService {
    fn item(self) -> Item {
        let Self { metadata, spec, status } = self;
        let id = metadata.id(Kind::Service);
        admit(id, Written::Service(Box::new(Service { metadata: metadata.into(), spec, status })))
    }
}

/// An `EndpointSlice`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireSlice {
    metadata: Meta,
    address_type: String,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<EndpointPort>>,
}

impl Wire for WireSlice {
    fn item(self) -> Item {
        let Self { metadata, address_type, endpoints, ports } = self;
        let id = metadata.id(Kind::EndpointSlice);
        let slice = EndpointSlice { metadata: metadata.into(), address_type, endpoints, ports };
        admit(id, Written::EndpointSlice(Box::new(slice)))
    }
}

/// A Pod with all of it that anybody here asks for: the types of a whole one are the largest that there are.
#[derive(Deserialize)]
pub(super) struct WirePod {
    metadata: Meta,
    spec: Option<WirePodSpec>,
    status: Option<WirePodStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePodSpec {
    node_name: Option<String>,
    readiness_gates: Option<Vec<PodReadinessGate>>,
    #[serde(default)]
    containers: Vec<WireContainer>,
}

#[derive(Deserialize)]
struct WireContainer {
    name: String,
    ports: Option<Vec<ContainerPort>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePodStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIP>>,
    conditions: Option<Vec<PodCondition>>,
}

impl Wire for WirePod {
    fn item(self) -> Item {
        let Self { metadata, spec, status } = self;
        let id = metadata.id(Kind::Pod);
        let pod = KubernetesPod {
            metadata: metadata.into(),
            spec: spec.map(PodSpec::from),
            status: status.map(PodStatus::from),
        };
        admit(id, Written::Pod(Box::new(pod)))
    }
}

impl From<WirePodSpec> for PodSpec {
    fn from(spec: WirePodSpec) -> Self {
        let WirePodSpec { node_name, readiness_gates, containers } = spec;
        let container = |WireContainer { name, ports }| Container { name, ports, ..Container::default() };
        let containers = containers.into_iter().map(container).collect();
        Self { node_name, readiness_gates, containers, ..Self::default() }
    }
}

impl From<WirePodStatus> for PodStatus {
    fn from(status: WirePodStatus) -> Self {
        let WirePodStatus { phase, pod_ip, pod_ips, conditions } = status;
        Self { phase, pod_ip, pod_ips, conditions, ..Self::default() }
    }
}

/// The metadata of a Pod.
#[derive(Deserialize)]
pub(super) struct BarePod {
    metadata: Meta,
}

impl Wire for BarePod {
    fn item(self) -> Item {
        let id = self.metadata.id(Kind::Pod);
        let pod = Pod::from_metadata(&self.metadata.into());
        Item::Good(Entry { id, origin: origin(), object: Object::Pod(pod.into()) }, Vec::new(), None)
    }
}

/// The metadata of a Namespace.
#[derive(Deserialize)]
pub(super) struct BareNamespace {
    metadata: Meta,
}

impl Wire for BareNamespace {
    fn item(self) -> Item {
        let id = self.metadata.id(Kind::Namespace);
        let namespace = Namespace { metadata: self.metadata.into(), ..Namespace::default() };
        admit(id, Written::Namespace(Box::new(namespace)))
    }
}

/// The metadata of a Node.
#[derive(Deserialize)]
pub(super) struct BareNode {
    metadata: Meta,
}

impl Wire for BareNode {
    fn item(self) -> Item {
        let id = self.metadata.id(Kind::Node);
        admit(id, Written::Node(Box::new(Node { metadata: self.metadata.into(), ..Node::default() })))
    }
}
