//! What the API server calls the things that are watched: paths, versions, selectors.

use std::fmt::Write as _;

use super::change::Scope;
use crate::source::Kind;

/// How many objects of a list come in one answer; of a linked cluster's, which may be only so long.
const PAGE: usize = 500;
const LINKED_PAGE: usize = 100;

const GATEWAY: &str = "gateway.networking.k8s.io";
const BEELINE: &str = "beeline.dev";

/// A collection of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    /// What its objects are to us.
    pub scope: Scope,
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The versions that we understand, the best one first.
    pub versions: &'static [&'static str],
    /// The name in paths.
    pub plural: &'static str,
    /// Only labels, annotations and the like are asked for.
    pub metadata_only: bool,
    /// The selectors, ready for a query.
    selectors: String,
}

impl Resource {
    /// The collection behind a scope; the node is the one whose Pods are local.
    pub(super) fn of(scope: Scope, node: &str) -> Self {
        let (group, versions, plural): (_, &[&str], _) = match scope.kind() {
            Kind::Service => ("", &["v1"], "services"),
            Kind::Pod => ("", &["v1"], "pods"),
            Kind::Namespace => ("", &["v1"], "namespaces"),
            Kind::Node => ("", &["v1"], "nodes"),
            Kind::EndpointSlice => ("discovery.k8s.io", &["v1"], "endpointslices"),
            Kind::Upstream => (BEELINE, &["v1alpha1"], "upstreams"),
            Kind::AddressPool => (BEELINE, &["v1alpha1"], "addresspools"),
            Kind::ClusterLink => (BEELINE, &["v1alpha1"], "clusterlinks"),
            Kind::Gateway => (GATEWAY, &["v1", "v1beta1"], "gateways"),
            Kind::GatewayClass => (GATEWAY, &["v1", "v1beta1"], "gatewayclasses"),
            Kind::ReferenceGrant => (GATEWAY, &["v1", "v1beta1", "v1alpha2"], "referencegrants"),
            Kind::TcpRoute => (GATEWAY, &["v1", "v1alpha2"], "tcproutes"),
            Kind::UdpRoute => (GATEWAY, &["v1", "v1alpha2"], "udproutes"),
            Kind::HttpRoute => (GATEWAY, &["v1", "v1beta1"], "httproutes"),
            Kind::GrpcRoute => (GATEWAY, &["v1", "v1alpha2"], "grpcroutes"),
            Kind::TlsRoute => (GATEWAY, &["v1", "v1alpha3", "v1alpha2"], "tlsroutes"),
            Kind::ListenerSet => (GATEWAY, &["v1"], "listenersets"),
            Kind::BackendTlsPolicy => (GATEWAY, &["v1", "v1alpha3"], "backendtlspolicies"),
            Kind::Secret => ("", &["v1"], "secrets"),
            Kind::ConfigMap => ("", &["v1"], "configmaps"),
            Kind::Ingress => ("networking.k8s.io", &["v1"], "ingresses"),
            Kind::IngressClass => ("networking.k8s.io", &["v1"], "ingressclasses"),
        };
        let metadata_only =
            matches!(scope.kind(), Kind::Pod | Kind::Namespace | Kind::Node) && scope != Scope::LocalPods;
        let selectors = match (&scope, scope.kind()) {
            (Scope::LocalPods, _) => format!("&fieldSelector=spec.nodeName%3D{}", escaped(node)),
            // Pods that have ended get no traffic, and Jobs leave many behind.
            (_, Kind::Pod) => "&fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed".to_string(),
            (Scope::Named(_, name), _) => format!("&fieldSelector=metadata.name%3D{}", escaped(&name.name)),
            (_, Kind::EndpointSlice) => "&labelSelector=kubernetes.io%2Fservice-name".to_string(),
            _ => String::new(),
        };
        Self { scope, group, versions, plural, metadata_only, selectors }
    }

    /// Whether a cluster may lack the kind.
    pub(super) fn is_optional(&self) -> bool {
        self.group == GATEWAY || self.group == BEELINE
    }

    /// The path and query of one page of the list.
    pub(super) fn list(&self, version: &str, page_after: Option<&str>) -> String {
        let page = if matches!(self.scope, Scope::Within(..)) { LINKED_PAGE } else { PAGE };
        let mut url = format!("{}?limit={page}{}", self.path(version), self.selectors);
        if let Some(token) = page_after {
            // Writing to a text cannot fail.
            let _ = write!(url, "&continue={}", escaped(token));
        }
        url
    }

    /// The path and query of a watch from a version on; without one, of a watch that begins with all there is.
    pub(super) fn watch(&self, version: &str, since: Option<&str>, seconds: u64) -> String {
        let path = self.path(version);
        let start = match since {
            Some(since) => format!("&resourceVersion={}", escaped(since)),
            None => "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_string(),
        };
        format!("{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}{start}{}", self.selectors)
    }

    fn path(&self, version: &str) -> String {
        let root = if self.group.is_empty() { "/api".to_string() } else { format!("/apis/{}", self.group) };
        match &self.scope {
            Scope::Within(_, namespace) => {
                format!("{root}/{version}/namespaces/{}/{}", escaped(namespace), self.plural)
            }
            Scope::Named(_, name) => {
                format!("{root}/{version}/namespaces/{}/{}", escaped(&name.namespace), self.plural)
            }
            Scope::All(_) | Scope::LocalPods => format!("{root}/{version}/{}", self.plural),
        }
    }

    /// The form of the answer to ask for.
    pub(super) fn accept(&self, list: bool) -> &'static str {
        match (self.metadata_only, list) {
            (false, _) => "application/json",
            (true, true) => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            (true, false) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        }
    }
}

/// A text as a part of a path or query.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Name;

    #[test]
    fn pods_of_other_nodes_are_asked_for_by_their_metadata_and_only_while_they_run() {
        let pods = Resource::of(Scope::All(Kind::Pod), "n1");

        assert!(pods.accept(true).contains("PartialObjectMetadataList"));
        assert_eq!(
            pods.list("v1", Some("a=")),
            "/api/v1/pods?limit=500&fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed&continue=a%3D"
        );
    }

    #[test]
    fn pods_of_this_node_are_asked_for_whole() {
        let pods = Resource::of(Scope::LocalPods, "n1");

        assert_eq!(pods.accept(true), "application/json");
        assert_eq!(
            pods.watch("v1", Some("7"), 290),
            "/api/v1/pods?watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion=7\
             &fieldSelector=spec.nodeName%3Dn1"
        );
    }

    #[test]
    fn one_object_is_asked_for_by_its_name_alone() {
        let secret = Resource::of(Scope::Named(Kind::Secret, Name::new("shop", "web").into()), "");

        assert_eq!(
            secret.list("v1", None),
            "/api/v1/namespaces/shop/secrets?limit=500&fieldSelector=metadata.name%3Dweb"
        );
    }

    #[test]
    fn a_scope_within_a_namespace_asks_for_nothing_else() {
        let slices = Resource::of(Scope::Within(Kind::EndpointSlice, "shop".into()), "");

        let path = slices.list("v1", None);
        assert!(path.starts_with("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?"), "{path}");
    }
}
