//! What Beeline needs of an `EndpointSlice`, in little memory: these are the most numerous objects after Pods.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint as KubernetesEndpoint, EndpointSlice as KubernetesSlice};

use super::labels::shared;

/// The label by which a slice names its Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// A slice of a Service's endpoints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointSlice {
    /// The Service of its namespace that it belongs to.
    pub service: Option<Arc<str>>,
    /// `IPv4` or `IPv6`; nothing for names.
    pub is_ipv4: Option<bool>,
    /// The ports of all its endpoints.
    pub ports: Box<[SlicePort]>,
    /// The endpoints.
    pub endpoints: Box<[Endpoint]>,
}

/// A port of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The Service port's name; empty if it has none.
    pub name: Arc<str>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Arc<str>,
    /// The number, as written; none stands for all.
    pub number: Option<i32>,
}

/// One entry of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The first of its addresses: the others mean the same, and consumers are told to use this one.
    pub address: Option<IpAddr>,
    /// It may get new connections.
    pub ready: bool,
    /// It answers, whether it is about to end or not.
    pub serving: bool,
    /// It is about to end.
    pub terminating: bool,
    /// The Pod behind it.
    pub pod: Option<PodRef>,
    /// The node it is on.
    pub node: Option<Arc<str>>,
    /// The zone it is in.
    pub zone: Option<Arc<str>>,
    /// Who should prefer it.
    pub hints: Option<Box<Hints>>,
}

/// A Pod, as a slice names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// Its namespace, if it is said.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// Its UID, if it is said.
    pub uid: Option<Arc<str>>,
}

/// The clients for whom an endpoint is meant, as the control plane worked out from `trafficDistribution`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Clients of these nodes; empty if nothing is said of nodes.
    pub nodes: Box<[Arc<str>]>,
    /// Clients of these zones; empty if nothing is said of zones.
    pub zones: Box<[Arc<str>]>,
}

impl From<&KubernetesSlice> for EndpointSlice {
    fn from(slice: &KubernetesSlice) -> Self {
        let labels = slice.metadata.labels.as_ref();
        let port = |port: &k8s_openapi::api::discovery::v1::EndpointPort| SlicePort {
            name: shared(port.name.as_deref().unwrap_or_default()),
            protocol: shared(port.protocol.as_deref().unwrap_or("TCP")),
            number: port.port,
        };
        Self {
            service: labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL)).map(|name| shared(name)),
            is_ipv4: match &*slice.address_type {
                "IPv4" => Some(true),
                "IPv6" => Some(false),
                _ => None,
            },
            ports: slice.ports.iter().flatten().map(port).collect(),
            endpoints: slice.endpoints.iter().flatten().map(Endpoint::from).collect(),
        }
    }
}

impl From<&KubernetesEndpoint> for Endpoint {
    fn from(endpoint: &KubernetesEndpoint) -> Self {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true);
        let target = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
        let pod = target.and_then(|target| {
            Some(PodRef {
                namespace: target.namespace.as_deref().map(shared),
                name: target.name.as_deref()?.into(),
                uid: target.uid.as_deref().filter(|uid| !uid.is_empty()).map(Into::into),
            })
        });
        Self {
            address: endpoint.addresses.first().and_then(|text| text.parse().ok()),
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
            pod,
            node: endpoint.node_name.as_deref().map(shared),
            zone: endpoint.zone.as_deref().map(shared),
            hints: hints(endpoint),
        }
    }
}

fn hints(endpoint: &KubernetesEndpoint) -> Option<Box<Hints>> {
    let hints = endpoint.hints.as_ref()?;
    let nodes: Box<[Arc<str>]> = hints.for_nodes.iter().flatten().map(|node| shared(&node.name)).collect();
    let zones: Box<[Arc<str>]> = hints.for_zones.iter().flatten().map(|zone| shared(&zone.name)).collect();
    (!nodes.is_empty() || !zones.is_empty()).then(|| Box::new(Hints { nodes, zones }))
}
