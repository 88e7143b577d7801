//! An object as somebody wrote it, whole: what is checked before it is admitted.
//!
//! Manifests and API servers write the same. After the check most of it is dropped; [`Object`] is what stays.

use gateway_api::apis::experimental::gatewayclasses::GatewayClass;
use gateway_api::apis::experimental::gateways::{Gateway, GatewayStatus};
use gateway_api::apis::experimental::referencegrants::ReferenceGrant;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod as KubernetesPod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice as KubernetesSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};

use super::secret::{WrittenConfigMap, WrittenSecret};
use super::{
    AddressPool, BackendTlsPolicy, ClusterLink, ConfigMap, EndpointSlice, Labels, ListenerSet, Object, Pod, Route,
    Secret, Upstream,
};

/// An object as somebody wrote it.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// A Service.
    Service(Box<Service>),
    /// An `EndpointSlice`.
    EndpointSlice(Box<KubernetesSlice>),
    /// A Pod.
    Pod(Box<KubernetesPod>),
    /// An Upstream.
    Upstream(Box<Upstream>),
    /// A Gateway.
    Gateway(Box<Gateway>),
    /// A `GatewayClass`.
    GatewayClass(Box<GatewayClass>),
    /// A `ReferenceGrant`.
    ReferenceGrant(Box<ReferenceGrant>),
    /// A route of any kind; the identity tells which.
    Route(Box<Route>),
    /// A Namespace.
    Namespace(Box<Namespace>),
    /// A Node.
    Node(Box<Node>),
    /// An `AddressPool`.
    AddressPool(Box<AddressPool>),
    /// A `ClusterLink`.
    ClusterLink(Box<ClusterLink>),
    /// A `ListenerSet`.
    ListenerSet(Box<ListenerSet>),
    /// A `BackendTLSPolicy`.
    BackendTlsPolicy(Box<BackendTlsPolicy>),
    /// A Secret.
    Secret(Box<WrittenSecret>),
    /// A `ConfigMap`.
    ConfigMap(Box<WrittenConfigMap>),
    /// An Ingress, in the words of `v1`.
    Ingress(Box<Ingress>),
    /// An `IngressClass`.
    IngressClass(Box<IngressClass>),
}

/// What `kubectl apply` notes for itself: as long as the object.
const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Written {
    /// What is kept of it.
    pub fn admit(self) -> Object {
        match self {
            Self::Service(mut service) => {
                narrow(&mut service.metadata);
                narrow_service(&mut service);
                Object::Service((*service).into())
            }
            Self::EndpointSlice(slice) => Object::EndpointSlice(EndpointSlice::from(&*slice).into()),
            Self::Pod(pod) => Object::Pod(Pod::from(&*pod).into()),
            Self::Upstream(mut upstream) => {
                narrow(&mut upstream.metadata);
                upstream.status = None;
                Object::Upstream((*upstream).into())
            }
            Self::Gateway(mut gateway) => {
                narrow(&mut gateway.metadata);
                gateway.status = gateway
                    .status
                    .take()
                    .map(|status| GatewayStatus { addresses: status.addresses, ..GatewayStatus::default() });
                Object::Gateway((*gateway).into())
            }
            Self::GatewayClass(mut class) => {
                narrow(&mut class.metadata);
                class.status = None;
                Object::GatewayClass((*class).into())
            }
            Self::ReferenceGrant(mut grant) => {
                narrow(&mut grant.metadata);
                Object::ReferenceGrant((*grant).into())
            }
            Self::Route(mut route) => {
                narrow(&mut route.metadata);
                route.status = None;
                Object::Route((*route).into())
            }
            Self::Namespace(namespace) => Object::Namespace(Labels::from(namespace.metadata.labels.as_ref()).into()),
            Self::Node(node) => Object::Node(Labels::from(node.metadata.labels.as_ref()).into()),
            Self::AddressPool(mut pool) => {
                narrow(&mut pool.metadata);
                pool.status = None;
                Object::AddressPool((*pool).into())
            }
            Self::ClusterLink(mut link) => {
                narrow(&mut link.metadata);
                link.status = None;
                Object::ClusterLink((*link).into())
            }
            Self::ListenerSet(mut set) => {
                narrow(&mut set.metadata);
                set.status = None;
                Object::ListenerSet((*set).into())
            }
            Self::BackendTlsPolicy(mut policy) => {
                narrow(&mut policy.metadata);
                policy.status = None;
                Object::BackendTlsPolicy((*policy).into())
            }
            Self::Secret(secret) => Object::Secret(Secret::from(&*secret).into()),
            Self::ConfigMap(map) => Object::ConfigMap(ConfigMap::from(&*map).into()),
            Self::Ingress(mut ingress) => {
                narrow(&mut ingress.metadata);
                Object::Ingress((*ingress).into())
            }
            Self::IngressClass(mut class) => {
                narrow(&mut class.metadata);
                Object::IngressClass((*class).into())
            }
        }
    }
}

/// The name under which we write statuses.
pub const STATUS_MANAGER: &str = "beeline";

/// Drops what nobody here asks for: an object that changed in nothing else is then the same. Of who set which field stays
/// whether we set the status.
fn narrow(metadata: &mut ObjectMeta) {
    metadata.resource_version = None;
    let managed = metadata.managed_fields.take().into_iter().flatten();
    let is_ours = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(STATUS_MANAGER) && entry.subresource.as_deref() == Some("status")
    };
    let ours = managed
        .filter(is_ours)
        .take(1)
        .map(|entry| ManagedFieldsEntry { manager: entry.manager, ..Default::default() });
    let ours: Box<[ManagedFieldsEntry]> = ours.collect();
    metadata.managed_fields = Some(ours.into_vec()).filter(|ours| !ours.is_empty());
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED_ANNOTATION);
    }
}

/// A list of one entry has room for four as it is read: with many Services that is most of what lists take.
fn narrow_service(service: &mut Service) {
    if let Some(spec) = &mut service.spec {
        spec.cluster_ip = None;
        spec.cluster_ips = None;
        spec.ports.iter_mut().for_each(Vec::shrink_to_fit);
        spec.ip_families.iter_mut().for_each(Vec::shrink_to_fit);
        spec.load_balancer_source_ranges.iter_mut().for_each(Vec::shrink_to_fit);
    }
    if let Some(status) = &mut service.status {
        status.conditions = None;
        let ingress = status.load_balancer.iter_mut().filter_map(|balancer| balancer.ingress.as_mut());
        ingress.for_each(Vec::shrink_to_fit);
    }
}
