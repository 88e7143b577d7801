//! Where objects come from, and what is known of them before they mean anything.
//!
//! A source delivers [`Objects`]: typed, validated one by one, ordered, each with its [`Origin`] so that an error
//! can name the file, the document and the field. What objects mean together is `translate`'s business.

pub mod address_pool;
pub mod backend_tls_policy;
pub mod cluster_link;
#[cfg(test)]
mod crds;
pub mod definitions;
pub mod endpoint_slice;
pub mod folder;
pub mod ingress;
pub mod kinds;
pub mod labels;
pub mod listener_set;
mod listing;
pub mod manifest;
pub mod pod;
pub mod problem;
pub mod remote;
pub mod reported;
pub mod route;
mod route_filter;
mod schema;
pub mod secret;
pub mod upstream;
pub mod validate;
pub mod watch;
pub mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use gateway_api::apis::experimental::gatewayclasses::GatewayClass;
use gateway_api::apis::experimental::gateways::Gateway;
use gateway_api::apis::experimental::referencegrants::ReferenceGrant;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

pub use address_pool::AddressPool;
pub use backend_tls_policy::BackendTlsPolicy;
pub use cluster_link::ClusterLink;
pub use definitions::Definitions;
pub use endpoint_slice::EndpointSlice;
pub use folder::FolderSource;
pub use labels::Labels;
pub use listener_set::ListenerSet;
pub use pod::Pod;
pub use problem::{Problem, Severity};
pub use remote::Remote;
pub use route::Route;
pub use secret::{ConfigMap, Secret};
pub use upstream::Upstream;
pub use written::Written;

/// The kinds of object that Beeline reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1`.
    Service,
    /// `discovery.k8s.io/v1`.
    EndpointSlice,
    /// `v1`.
    Pod,
    /// `beeline.dev/v1alpha1`.
    Upstream,
    /// `gateway.networking.k8s.io/v1`.
    Gateway,
    /// `gateway.networking.k8s.io/v1`, without a namespace.
    GatewayClass,
    /// `gateway.networking.k8s.io/v1`.
    ReferenceGrant,
    /// `gateway.networking.k8s.io/v1`.
    TcpRoute,
    /// `gateway.networking.k8s.io/v1`.
    UdpRoute,
    /// `v1`, without a namespace of its own.
    Namespace,
    /// `v1`, without a namespace.
    Node,
    /// `beeline.dev/v1alpha1`, without a namespace.
    AddressPool,
    /// `beeline.dev/v1alpha1`, without a namespace.
    ClusterLink,
    /// `gateway.networking.k8s.io/v1`.
    HttpRoute,
    /// `gateway.networking.k8s.io/v1`.
    GrpcRoute,
    /// `gateway.networking.k8s.io/v1`.
    TlsRoute,
    /// `gateway.networking.k8s.io/v1`.
    ListenerSet,
    /// `gateway.networking.k8s.io/v1`.
    BackendTlsPolicy,
    /// `v1`: certificates, and nothing else of it.
    Secret,
    /// `v1`: authorities, and nothing else of it.
    ConfigMap,
    /// `networking.k8s.io/v1`.
    Ingress,
    /// `networking.k8s.io/v1`, without a namespace.
    IngressClass,
}

impl Kind {
    /// The name manifests use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::Upstream => "Upstream",
            Self::Gateway => "Gateway",
            Self::GatewayClass => "GatewayClass",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::TcpRoute => "TCPRoute",
            Self::UdpRoute => "UDPRoute",
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::AddressPool => "AddressPool",
            Self::ClusterLink => "ClusterLink",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::TlsRoute => "TLSRoute",
            Self::ListenerSet => "ListenerSet",
            Self::BackendTlsPolicy => "BackendTLSPolicy",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Ingress => "Ingress",
            Self::IngressClass => "IngressClass",
        }
    }

    /// Whether objects of the kind live in a namespace.
    pub const fn is_namespaced(self) -> bool {
        !matches!(
            self,
            Self::GatewayClass
                | Self::IngressClass
                | Self::Namespace
                | Self::Node
                | Self::AddressPool
                | Self::ClusterLink
        )
    }
}

impl Kind {
    /// Whether it is a route of Gateway API.
    pub const fn is_route(self) -> bool {
        matches!(self, Self::TcpRoute | Self::UdpRoute | Self::HttpRoute | Self::GrpcRoute | Self::TlsRoute)
    }

    /// Whether it tells requests apart, and not connections.
    pub const fn is_of_requests(self) -> bool {
        matches!(self, Self::HttpRoute | Self::GrpcRoute | Self::Ingress)
    }

    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Service,
        Self::EndpointSlice,
        Self::Pod,
        Self::Upstream,
        Self::Gateway,
        Self::GatewayClass,
        Self::ReferenceGrant,
        Self::TcpRoute,
        Self::UdpRoute,
        Self::Namespace,
        Self::Node,
        Self::AddressPool,
        Self::ClusterLink,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::TlsRoute,
        Self::ListenerSet,
        Self::BackendTlsPolicy,
        Self::Secret,
        Self::ConfigMap,
        Self::Ingress,
        Self::IngressClass,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A namespace and a name; the namespace is empty for kinds without one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The namespace.
    pub namespace: String,
    /// The name within the namespace.
    pub name: String,
}

impl Name {
    /// A name from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// What identifies an object: `Service shop/httpbin`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// The kind.
    pub kind: Kind,
    /// The namespace and name.
    pub name: Name,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, as people would type it; empty if the object comes from an API server.
    pub file: Arc<str>,
    /// The document within the file, counted from 1 and without empty ones.
    pub document: u32,
    /// The line of the file on which the document begins.
    pub line: u32,
}

impl Origin {
    /// An error about an object that stands here.
    pub fn error(&self, object: impl fmt::Display, field: impl Into<String>, message: impl Into<String>) -> Problem {
        self.problem(Severity::Error, object, field, message)
    }

    /// A warning about an object that stands here.
    pub fn warning(&self, object: impl fmt::Display, field: impl Into<String>, message: impl Into<String>) -> Problem {
        self.problem(Severity::Warning, object, field, message)
    }

    fn problem(
        &self,
        severity: Severity,
        object: impl fmt::Display,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Problem {
        Problem {
            file: self.file.to_string(),
            document: self.document,
            line: self.line,
            object: object.to_string(),
            field: field.into(),
            severity,
            message: message.into(),
        }
    }
}

/// One object, typed.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A Service.
    Service(Arc<Service>),
    /// An `EndpointSlice`.
    EndpointSlice(Arc<EndpointSlice>),
    /// A Pod.
    Pod(Arc<Pod>),
    /// An Upstream.
    Upstream(Arc<Upstream>),
    /// A Gateway.
    Gateway(Arc<Gateway>),
    /// A `GatewayClass`.
    GatewayClass(Arc<GatewayClass>),
    /// A `ReferenceGrant`.
    ReferenceGrant(Arc<ReferenceGrant>),
    /// A route of any kind; the identity tells which.
    Route(Arc<Route>),
    /// A Namespace: its labels.
    Namespace(Arc<Labels>),
    /// A Node: its labels.
    Node(Arc<Labels>),
    /// An `AddressPool`.
    AddressPool(Arc<AddressPool>),
    /// A `ClusterLink`.
    ClusterLink(Arc<ClusterLink>),
    /// A `ListenerSet`.
    ListenerSet(Arc<ListenerSet>),
    /// A `BackendTLSPolicy`.
    BackendTlsPolicy(Arc<BackendTlsPolicy>),
    /// A Secret.
    Secret(Arc<Secret>),
    /// A `ConfigMap`.
    ConfigMap(Arc<ConfigMap>),
    /// An Ingress.
    Ingress(Arc<Ingress>),
    /// An `IngressClass`.
    IngressClass(Arc<IngressClass>),
}

/// One object with its identity and its origin, as a source reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it is called.
    pub id: ObjectId,
    /// Where it stands.
    pub origin: Origin,
    /// The object.
    pub object: Object,
}

/// An object of a known kind and its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Sourced<T> {
    /// The object.
    pub object: Arc<T>,
    /// Where it stands.
    pub origin: Origin,
}

/// Everything a source holds, ordered by namespace and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// Services.
    pub services: BTreeMap<Name, Sourced<Service>>,
    /// `EndpointSlice`s.
    pub endpoint_slices: BTreeMap<Name, Sourced<EndpointSlice>>,
    /// Pods.
    pub pods: BTreeMap<Name, Sourced<Pod>>,
    /// Upstreams.
    pub upstreams: BTreeMap<Name, Sourced<Upstream>>,
    /// Gateways.
    pub gateways: BTreeMap<Name, Sourced<Gateway>>,
    /// `GatewayClass`es.
    pub gateway_classes: BTreeMap<Name, Sourced<GatewayClass>>,
    /// `ReferenceGrant`s.
    pub reference_grants: BTreeMap<Name, Sourced<ReferenceGrant>>,
    /// Routes of all kinds; the identity tells which.
    pub routes: BTreeMap<ObjectId, Sourced<Route>>,
    /// The labels of Namespaces.
    pub namespaces: BTreeMap<Name, Sourced<Labels>>,
    /// The labels of Nodes.
    pub nodes: BTreeMap<Name, Sourced<Labels>>,
    /// `AddressPool`s.
    pub address_pools: BTreeMap<Name, Sourced<AddressPool>>,
    /// `ClusterLink`s.
    pub cluster_links: BTreeMap<Name, Sourced<ClusterLink>>,
    /// `ListenerSet`s.
    pub listener_sets: BTreeMap<Name, Sourced<ListenerSet>>,
    /// `BackendTLSPolicy` objects.
    pub backend_tls_policies: BTreeMap<Name, Sourced<BackendTlsPolicy>>,
    /// Secrets; of a cluster those alone that something refers to.
    pub secrets: BTreeMap<Name, Sourced<Secret>>,
    /// `ConfigMap`s; of a cluster those alone that something refers to.
    pub config_maps: BTreeMap<Name, Sourced<ConfigMap>>,
    /// Ingresses.
    pub ingresses: BTreeMap<Name, Sourced<Ingress>>,
    /// `IngressClass`es.
    pub ingress_classes: BTreeMap<Name, Sourced<IngressClass>>,
    /// What is known of each linked cluster, by the name of its `ClusterLink`.
    pub remotes: BTreeMap<String, Remote>,
    /// What the cluster has of Gateway API, where that is known.
    pub definitions: Option<Definitions>,
    /// Objects that exist but are invalid and never were valid. Whoever refers to one needs no error of its own.
    pub rejected: BTreeSet<ObjectId>,
    /// Whether every Pod that runs is in here, so that an endpoint whose Pod is not is over, whatever its slice still says.
    pub knows_all_pods: bool,
    /// Whether objects may be missing that an earlier process knew: what should hold them was never read whole.
    pub incomplete: bool,
}

impl Objects {
    /// Puts an object in, in the place of one of the same kind and name.
    pub fn insert(&mut self, entry: Entry) {
        let Entry { id, origin, object } = entry;
        let name = id.name.clone();
        match object {
            Object::Service(object) => drop(self.services.insert(name, Sourced { object, origin })),
            Object::EndpointSlice(object) => drop(self.endpoint_slices.insert(name, Sourced { object, origin })),
            Object::Pod(object) => drop(self.pods.insert(name, Sourced { object, origin })),
            Object::Upstream(object) => drop(self.upstreams.insert(name, Sourced { object, origin })),
            Object::Gateway(object) => drop(self.gateways.insert(name, Sourced { object, origin })),
            Object::GatewayClass(object) => drop(self.gateway_classes.insert(name, Sourced { object, origin })),
            Object::ReferenceGrant(object) => drop(self.reference_grants.insert(name, Sourced { object, origin })),
            Object::Route(object) => drop(self.routes.insert(id, Sourced { object, origin })),
            Object::Namespace(object) => drop(self.namespaces.insert(name, Sourced { object, origin })),
            Object::Node(object) => drop(self.nodes.insert(name, Sourced { object, origin })),
            Object::AddressPool(object) => drop(self.address_pools.insert(name, Sourced { object, origin })),
            Object::ClusterLink(object) => drop(self.cluster_links.insert(name, Sourced { object, origin })),
            Object::ListenerSet(object) => drop(self.listener_sets.insert(name, Sourced { object, origin })),
            Object::BackendTlsPolicy(object) => {
                drop(self.backend_tls_policies.insert(name, Sourced { object, origin }));
            }
            Object::Secret(object) => drop(self.secrets.insert(name, Sourced { object, origin })),
            Object::ConfigMap(object) => drop(self.config_maps.insert(name, Sourced { object, origin })),
            Object::Ingress(object) => drop(self.ingresses.insert(name, Sourced { object, origin })),
            Object::IngressClass(object) => drop(self.ingress_classes.insert(name, Sourced { object, origin })),
        }
    }

    /// Takes an object out.
    pub fn remove(&mut self, id: &ObjectId) {
        let ObjectId { kind, name } = id;
        match kind {
            Kind::Service => drop(self.services.remove(name)),
            Kind::EndpointSlice => drop(self.endpoint_slices.remove(name)),
            Kind::Pod => drop(self.pods.remove(name)),
            Kind::Upstream => drop(self.upstreams.remove(name)),
            Kind::Gateway => drop(self.gateways.remove(name)),
            Kind::GatewayClass => drop(self.gateway_classes.remove(name)),
            Kind::ReferenceGrant => drop(self.reference_grants.remove(name)),
            Kind::TcpRoute | Kind::UdpRoute | Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute => {
                drop(self.routes.remove(id));
            }
            Kind::Namespace => drop(self.namespaces.remove(name)),
            Kind::Node => drop(self.nodes.remove(name)),
            Kind::AddressPool => drop(self.address_pools.remove(name)),
            Kind::ClusterLink => drop(self.cluster_links.remove(name)),
            Kind::ListenerSet => drop(self.listener_sets.remove(name)),
            Kind::BackendTlsPolicy => drop(self.backend_tls_policies.remove(name)),
            Kind::Secret => drop(self.secrets.remove(name)),
            Kind::ConfigMap => drop(self.config_maps.remove(name)),
            Kind::Ingress => drop(self.ingresses.remove(name)),
            Kind::IngressClass => drop(self.ingress_classes.remove(name)),
        }
    }

    /// An object, if it is there.
    pub fn get(&self, id: &ObjectId) -> Option<Object> {
        let ObjectId { kind, name } = id;
        match kind {
            Kind::Service => self.services.get(name).map(|found| Object::Service(found.object.clone())),
            Kind::EndpointSlice => {
                self.endpoint_slices.get(name).map(|found| Object::EndpointSlice(found.object.clone()))
            }
            Kind::Pod => self.pods.get(name).map(|found| Object::Pod(found.object.clone())),
            Kind::Upstream => self.upstreams.get(name).map(|found| Object::Upstream(found.object.clone())),
            Kind::Gateway => self.gateways.get(name).map(|found| Object::Gateway(found.object.clone())),
            Kind::GatewayClass => {
                self.gateway_classes.get(name).map(|found| Object::GatewayClass(found.object.clone()))
            }
            Kind::ReferenceGrant => {
                self.reference_grants.get(name).map(|found| Object::ReferenceGrant(found.object.clone()))
            }
            Kind::TcpRoute | Kind::UdpRoute | Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute => {
                self.routes.get(id).map(|found| Object::Route(found.object.clone()))
            }
            Kind::Namespace => self.namespaces.get(name).map(|found| Object::Namespace(found.object.clone())),
            Kind::Node => self.nodes.get(name).map(|found| Object::Node(found.object.clone())),
            Kind::AddressPool => self.address_pools.get(name).map(|found| Object::AddressPool(found.object.clone())),
            Kind::ClusterLink => self.cluster_links.get(name).map(|found| Object::ClusterLink(found.object.clone())),
            Kind::ListenerSet => self.listener_sets.get(name).map(|found| Object::ListenerSet(found.object.clone())),
            Kind::BackendTlsPolicy => {
                self.backend_tls_policies.get(name).map(|found| Object::BackendTlsPolicy(found.object.clone()))
            }
            Kind::Secret => self.secrets.get(name).map(|found| Object::Secret(found.object.clone())),
            Kind::ConfigMap => self.config_maps.get(name).map(|found| Object::ConfigMap(found.object.clone())),
            Kind::Ingress => self.ingresses.get(name).map(|found| Object::Ingress(found.object.clone())),
            Kind::IngressClass => {
                self.ingress_classes.get(name).map(|found| Object::IngressClass(found.object.clone()))
            }
        }
    }

    /// The names of all objects of a kind, in order.
    pub fn names(&self, kind: Kind) -> Vec<Name> {
        match kind {
            Kind::Service => self.services.keys().cloned().collect(),
            Kind::EndpointSlice => self.endpoint_slices.keys().cloned().collect(),
            Kind::Pod => self.pods.keys().cloned().collect(),
            Kind::Upstream => self.upstreams.keys().cloned().collect(),
            Kind::Gateway => self.gateways.keys().cloned().collect(),
            Kind::GatewayClass => self.gateway_classes.keys().cloned().collect(),
            Kind::ReferenceGrant => self.reference_grants.keys().cloned().collect(),
            Kind::TcpRoute | Kind::UdpRoute | Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute => {
                self.routes.keys().filter(|id| id.kind == kind).map(|id| id.name.clone()).collect()
            }
            Kind::Namespace => self.namespaces.keys().cloned().collect(),
            Kind::Node => self.nodes.keys().cloned().collect(),
            Kind::AddressPool => self.address_pools.keys().cloned().collect(),
            Kind::ClusterLink => self.cluster_links.keys().cloned().collect(),
            Kind::ListenerSet => self.listener_sets.keys().cloned().collect(),
            Kind::BackendTlsPolicy => self.backend_tls_policies.keys().cloned().collect(),
            Kind::Secret => self.secrets.keys().cloned().collect(),
            Kind::ConfigMap => self.config_maps.keys().cloned().collect(),
            Kind::Ingress => self.ingresses.keys().cloned().collect(),
            Kind::IngressClass => self.ingress_classes.keys().cloned().collect(),
        }
    }

    /// Whether an object is there but was never valid.
    pub fn is_rejected(&self, kind: Kind, name: &Name) -> bool {
        self.rejected.contains(&ObjectId { kind, name: name.clone() })
    }
}

/// What a source holds at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The objects that are good, or were good when last seen so.
    pub objects: Objects,
    /// What is wrong with the rest, in the order of files and documents.
    pub problems: Vec<Problem>,
}
