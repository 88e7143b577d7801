//! The listeners of a Gateway, its own and those of its `ListenerSet`s: what each speaks, and which routes it lets in.
//!
//! A listener is judged by itself here; what it is beside the others (`rivals`) and the TLS that it ends (`termination`)
//! have files of their own.

use std::sync::Arc;

use gateway_api::apis::experimental::gateways::{
    GatewayListeners, GatewayListenersAllowedRoutesNamespaces as AllowedNamespaces,
    GatewayListenersAllowedRoutesNamespacesFrom as From, GatewayListenersTlsMode as TlsMode,
};
use gateway_common::{Port, Protocol};

use super::rivals::Rivalry;
use super::selector::{Requirement, Wanted, meets};
use super::termination::ListenerTls;
use crate::model::http::Hostname;
use crate::source::validate::parse_port;
use crate::source::{Kind, Labels, Name, ObjectId, Objects};

/// The group of Gateways and routes.
pub(super) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// The label that every Namespace has by itself, and the only one known without its object.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A listener, judged by itself and beside the others of its Gateway.
#[derive(Debug)]
pub(super) struct Listener<'a> {
    pub spec: &'a GatewayListeners,
    /// The Gateway or `ListenerSet` that it stands in.
    pub owner: ObjectId,
    /// Which of the Gateway's `ListenerSet`s that is, if it is one.
    pub set: Option<usize>,
    /// Its place in the owner's spec.
    pub index: usize,
    /// What it speaks; nothing if that is not served.
    pub speech: Option<Speech>,
    /// Its port, if it is one.
    pub port: Option<Port>,
    /// The host that it is for, if what it speaks has hosts.
    pub hostname: Option<Hostname>,
    /// The kinds of route that it takes.
    pub kinds: Vec<Kind>,
    /// The kinds it allows that it could never take.
    pub strange_kinds: Vec<String>,
    /// The listener that it cannot be told from.
    pub rivalry: Option<Rivalry>,
    /// Whether its host overlaps another's, and TLS tells them apart.
    pub overlaps: Option<String>,
    /// The TLS that it ends.
    pub tls: ListenerTls,
}

/// What a listener speaks with clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Tcp,
    Udp,
    Http,
    Https,
    /// TLS that is passed on.
    TlsPassthrough,
    /// TLS that ends here.
    TlsTerminate,
}

impl Speech {
    fn of(spec: &GatewayListeners) -> Option<Self> {
        let mode = spec.tls.as_ref().and_then(|tls| tls.mode.as_ref());
        match (spec.protocol.as_str(), mode) {
            ("TCP", _) => Some(Self::Tcp),
            ("UDP", _) => Some(Self::Udp),
            ("HTTP", _) => Some(Self::Http),
            ("HTTPS", None | Some(TlsMode::Terminate)) => Some(Self::Https),
            ("TLS", Some(TlsMode::Passthrough)) => Some(Self::TlsPassthrough),
            ("TLS", None | Some(TlsMode::Terminate)) => Some(Self::TlsTerminate),
            _ => None,
        }
    }

    /// What carries it.
    pub const fn transport(self) -> Protocol {
        match self {
            Self::Udp => Protocol::UDP,
            Self::Tcp | Self::Http | Self::Https | Self::TlsPassthrough | Self::TlsTerminate => Protocol::TCP,
        }
    }

    /// Whether the kernel serves it alone: then the port is its own. All else is for the HTTP layer.
    pub const fn is_plain(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp)
    }

    /// Whether TLS ends at the listener.
    pub const fn ends_tls(self) -> bool {
        matches!(self, Self::Https | Self::TlsTerminate)
    }

    /// Whether a connection begins with a `ClientHello`.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::TlsPassthrough | Self::TlsTerminate)
    }

    /// The kinds of route that it may have.
    pub const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Tcp => &[Kind::TcpRoute],
            Self::Udp => &[Kind::UdpRoute],
            Self::Http | Self::Https => &[Kind::HttpRoute, Kind::GrpcRoute],
            Self::TlsPassthrough => &[Kind::TlsRoute],
            Self::TlsTerminate => &[Kind::TlsRoute, Kind::TcpRoute],
        }
    }
}

impl<'a> Listener<'a> {
    /// A listener by itself.
    pub fn new(spec: &'a GatewayListeners, owner: ObjectId, set: Option<usize>, index: usize) -> Self {
        let speech = Speech::of(spec);
        let own_kinds = speech.map(Speech::kinds).unwrap_or_default();
        let allowed = spec.allowed_routes.as_ref().and_then(|allowed| allowed.kinds.as_deref()).unwrap_or_default();
        let names = |kind: Kind, group: Option<&str>, name: &str| {
            group.unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP && kind.name() == name
        };
        let is_own = |group: Option<&str>, name: &str| own_kinds.iter().any(|kind| names(*kind, group, name));
        let is_allowed = |kind: &Kind| {
            allowed.is_empty() || allowed.iter().any(|allowed| names(*kind, allowed.group.as_deref(), &allowed.kind))
        };
        let strange = allowed.iter().filter(|allowed| !is_own(allowed.group.as_deref(), &allowed.kind));
        let has_hosts = speech.is_some_and(|speech| !speech.is_plain());
        let hostname = spec.hostname.as_deref().filter(|hostname| !hostname.is_empty() && has_hosts);
        Self {
            spec,
            owner,
            set,
            index,
            speech,
            port: parse_port(spec.port.into()).ok(),
            hostname: hostname.map(Hostname::parse),
            kinds: own_kinds.iter().copied().filter(is_allowed).collect(),
            strange_kinds: strange.map(|strange| strange.kind.clone()).collect(),
            rivalry: None,
            overlaps: None,
            tls: ListenerTls::default(),
        }
    }

    /// What carries what it speaks.
    pub fn transport(&self) -> Option<Protocol> {
        self.speech.map(Speech::transport)
    }

    /// Whether it is accepted, as far as its Gateway is concerned.
    pub fn is_valid(&self) -> bool {
        self.speech.is_some() && self.port.is_some() && self.rivalry.is_none() && self.tls.distrusts_all.is_none()
    }

    /// Whether it can take connections, as far as its Gateway is concerned.
    pub fn is_usable(&self) -> bool {
        let lacks_certificate = self.speech.is_some_and(Speech::ends_tls) && self.tls.certificates.is_empty();
        self.is_valid() && !lacks_certificate
    }

    /// Whether the HTTP layer serves it.
    pub fn is_of_site(&self) -> bool {
        self.speech.is_some_and(|speech| !speech.is_plain())
    }

    /// Whether routes of that namespace may attach.
    pub fn lets_in(&self, objects: &Objects, route: &ObjectId) -> bool {
        let allowed = self.spec.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
        is_namespace_allowed(objects, allowed, &self.owner.name.namespace, &route.name.namespace)
    }

    /// Those of a route's hostnames that are for hosts of the listener; empty means all that the listener is for, nothing that
    /// none is. They stay as the route has them, since it is by them that the best route for a host is found.
    pub fn hostnames_of(&self, hostnames: &[String]) -> Option<Vec<Hostname>> {
        if hostnames.is_empty() || !self.is_of_site() {
            return Some(Vec::new());
        }
        let parsed = hostnames.iter().map(|hostname| Hostname::parse(hostname));
        let mut shared: Vec<Hostname> = match &self.hostname {
            None => parsed.collect(),
            Some(own) => parsed.filter(|hostname| own.intersection(hostname).is_some()).collect(),
        };
        shared.sort();
        shared.dedup();
        (!shared.is_empty()).then_some(shared)
    }
}

fn is_namespace_allowed(objects: &Objects, allowed: Option<&AllowedNamespaces>, owner: &str, route: &str) -> bool {
    let Some(allowed) = allowed else { return owner == route };
    match allowed.from.as_ref().unwrap_or(&From::Same) {
        From::All => true,
        From::Same => owner == route,
        From::Selector => allowed.selector.as_ref().is_some_and(|selector| {
            let requirements = selector.match_expressions.iter().flatten().map(|expression| {
                let values = expression.values.as_deref().unwrap_or_default();
                Requirement { key: &expression.key, operator: &expression.operator, values }
            });
            meets(selector.match_labels.as_ref(), requirements, &namespace_labels(objects, route))
        }),
    }
}

/// The labels of a Namespace. Without its object, as in a folder, the one that every Namespace has by itself is known.
pub(super) fn namespace_labels(objects: &Objects, namespace: &str) -> Arc<Labels> {
    match objects.namespaces.get(&Name::new("", namespace)) {
        Some(found) => found.object.clone(),
        None => Arc::new(Labels::from(&Wanted::from([(NAMESPACE_NAME_LABEL.to_string(), namespace.to_string())]))),
    }
}
