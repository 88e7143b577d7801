//! What the status of the objects should say, as far as the objects together decide it.
//!
//! Plain data: who writes it back, and when, is not known here. The reasons are those of Gateway API where it defines
//! some. Facts are of the whole cluster, not of one node, so every agent comes to the same.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

pub use crate::source::reported::MAX_STATUS_BACKENDS;
pub use crate::source::route::ParentRef;
use crate::source::{Name, ObjectId};

/// What the status of each object should say. An object that is not mentioned is not ours to write to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statuses {
    /// Services of ours.
    pub services: BTreeMap<Name, ServiceStatus>,
    /// Gateways of ours.
    pub gateways: BTreeMap<Name, GatewayStatus>,
    /// `GatewayClass`es of ours.
    pub gateway_classes: BTreeMap<Name, ClassStatus>,
    /// `ListenerSet`s that name a Gateway of ours.
    pub listener_sets: BTreeMap<Name, ListenerSetStatus>,
    /// `BackendTLSPolicy` objects, with each Gateway of ours that comes to what they are for.
    pub backend_tls_policies: BTreeMap<Name, RouteStatus>,
    /// Routes with a parent of ours; a route that lost its last one is mentioned with none.
    pub routes: BTreeMap<ObjectId, RouteStatus>,
    /// Ingresses of ours.
    pub ingresses: BTreeMap<Name, IngressStatus>,
    /// All Upstreams.
    pub upstreams: BTreeMap<Name, UpstreamStatus>,
    /// All `AddressPool`s.
    pub address_pools: BTreeMap<Name, PoolStatus>,
    /// All `ClusterLink`s.
    pub cluster_links: BTreeMap<Name, LinkStatus>,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody can say.
    Unknown,
}

impl Truth {
    /// The word in the object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition without its times, which only whoever writes it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `Accepted`, `Programmed`, `ResolvedRefs`…
    pub kind: &'static str,
    /// Whether it holds.
    pub truth: Truth,
    /// One word why, in `CamelCase`.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// Conditions alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectStatus {
    /// The object's generation that they speak of.
    pub generation: i64,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// A Service of type `LoadBalancer`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceStatus {
    /// The addresses it has, for `status.loadBalancer.ingress`, each with `ipMode: Proxy`.
    pub addresses: Vec<IpAddr>,
    /// What a user must fix, as an event says it: a reason and a message.
    pub event: Option<(&'static str, String)>,
    /// Its conditions.
    pub status: ObjectStatus,
}

/// An Ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressStatus {
    /// The addresses it has, for `status.loadBalancer.ingress`.
    pub addresses: Vec<IpAddr>,
}

/// A Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayStatus {
    /// The addresses it has, each of type `IPAddress`.
    pub addresses: Vec<IpAddr>,
    /// Its conditions.
    pub status: ObjectStatus,
    /// Its own listeners, in the order of the spec.
    pub listeners: Vec<ListenerStatus>,
    /// How many `ListenerSet`s add listeners to it.
    pub attached_listener_sets: i32,
    /// The Service that stands for it in its namespace.
    pub stand_in: StandIn,
}

/// A `GatewayClass`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassStatus {
    /// Its conditions.
    pub status: ObjectStatus,
    /// The features of Gateway API that its Gateways have, in order.
    pub features: Vec<&'static str>,
}

/// A `ListenerSet`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerSetStatus {
    /// Its conditions.
    pub status: ObjectStatus,
    /// Its listeners, in the order of the spec; none if it may not add any.
    pub listeners: Vec<ListenerStatus>,
}

/// The Service that stands for a Gateway: it bears what the Gateway's `spec.infrastructure` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandIn {
    /// Its name, in the Gateway's namespace.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A listener of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// The kinds of route it serves.
    pub supported_kinds: Vec<&'static str>,
    /// How many routes are attached.
    pub attached_routes: i32,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// A route, as its parents of ours see it; or a policy, as Gateways of ours do that it works for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteStatus {
    /// The route's generation.
    pub generation: i64,
    /// Each parent of ours, in the order of the spec.
    pub parents: Vec<ParentStatus>,
}

/// A route, as one parent sees it; or a policy, as one Gateway does.
#[derive(Clone, Debug, PartialEq)]
pub struct ParentStatus {
    /// The reference, as the route has it; of a policy the Gateway.
    pub parent: ParentRef,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// An Upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Its conditions.
    pub status: ObjectStatus,
    /// Its backends, by cluster and name; at most [`MAX_STATUS_BACKENDS`].
    pub backends: Vec<UpstreamBackend>,
    /// How many backends there are.
    pub total: usize,
    /// How many of them get new connections.
    pub ready: usize,
}

/// One backend of an Upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamBackend {
    /// The `ClusterLink`; none for this cluster.
    pub cluster: Option<Arc<str>>,
    /// The Pod's namespace and name, or the address where no Pod is known.
    pub name: String,
    /// Its address and port.
    pub address: String,
    /// Its share of new connections within the Upstream.
    pub weight: u16,
    /// Whether it may get new connections.
    pub ready: bool,
}

/// An `AddressPool`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Its conditions.
    pub status: ObjectStatus,
    /// How many addresses it holds; `u64::MAX` stands for more than can be counted.
    pub total: u64,
    /// How many of them are assigned.
    pub assigned: u64,
}

/// A `ClusterLink`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// Its conditions: `Authorized`, `Connected`.
    pub status: ObjectStatus,
    /// How many Services are known over there.
    pub services: usize,
}
