//! Desired state: what the objects ask the datapath to do, without a trace of Kubernetes, the kernel or async.
//!
//! A [`Model`] is whole: reconcile compares it with what the maps contain, so it never matters which event led
//! to it. It is ordered throughout, so equal objects give equal models, whatever order they were read in.

pub mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gateway_common::{Address, Algorithm, FrontendKey, Mode, Place, Port, Protocol};
use ipnet::IpNet;

/// Everything that shall be programmed on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// What stands behind each frontend. Shared, so that what did not change is known by its place in memory.
    pub services: BTreeMap<FrontendKey, Arc<Service>>,
    /// What the HTTP layer does with the frontends that it takes: TCP, and none that `services` has.
    pub sites: BTreeMap<FrontendKey, Arc<http::Site>>,
    /// Every Pod that exists and has not ended, ready or not, in a slice or not. A backend whose Pod is in here
    /// is never gone, whatever happens to slices and weights; see [`PodId`].
    pub living_pods: BTreeSet<PodId>,
    /// Some objects could not be read and no earlier version of them is known, as after a restart over a broken
    /// manifest. What an earlier agent programmed and this model does not mention is then kept.
    pub incomplete: bool,
    /// What load balancers in front of the cluster are told about this node, by the port they ask on.
    pub health_checks: BTreeMap<u16, HealthCheck>,
    /// Who tells clients of each VIP where it is.
    pub announcements: BTreeMap<Address, Announce>,
}

/// What stands behind a frontend.
#[derive(Clone, Copy, Debug)]
pub enum Behind<'m> {
    /// Backends, which the datapath chooses from.
    Service(&'m Arc<Service>),
    /// The HTTP layer.
    Site(&'m Arc<http::Site>),
}

impl<'m> Behind<'m> {
    /// The object that asked for the frontend, for people.
    pub fn owner(&self) -> &'m str {
        match self {
            Self::Service(service) => &service.owner,
            Self::Site(site) => &site.owner,
        }
    }
}

impl Model {
    /// All frontends in the order of their keys, each once.
    pub fn frontends(&self) -> impl Iterator<Item = (FrontendKey, Behind<'_>)> {
        let (mut services, mut sites) = (self.services.iter().peekable(), self.sites.iter().peekable());
        std::iter::from_fn(move || {
            if let Some((service, _)) = services.peek() {
                // Nobody has both; if somebody had, one of them would count.
                sites.next_if(|(site, _)| site == service);
            }
            let is_site = match (services.peek(), sites.peek()) {
                (Some((service, _)), Some((site, _))) => site < service,
                (None, Some(_)) => true,
                (_, None) => false,
            };
            if is_site {
                sites.next().map(|(key, site)| (*key, Behind::Site(site)))
            } else {
                services.next().map(|(key, service)| (*key, Behind::Service(service)))
            }
        })
    }

    /// Takes every frontend at an address out.
    pub fn remove_frontends_at(&mut self, address: Address) {
        self.services.retain(|key, _| key.address != address);
        self.sites.retain(|key, _| key.address != address);
    }
}

/// Who tells clients where a VIP is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announce {
    /// One node of the segment answers its neighbours (ARP, NDP): which one is for the agents to settle.
    Neighbor,
    /// The network routes it; nothing of ours answers on a segment.
    Network {
        /// The pool that says so.
        pool: String,
    },
}

/// How one Service with `externalTrafficPolicy: Local` is on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// The Service: `shop/httpbin`.
    pub service: String,
    /// How many of its endpoints are ready on this node; with none, no traffic shall come here.
    pub local_endpoints: usize,
}

/// What joins a frontend to its backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The object that asked for the frontend, for people: `Service shop/httpbin`, `TCPRoute shop/web`.
    pub owner: String,
    /// How a backend is selected for a new connection.
    pub algorithm: Algorithm,
    /// The groups that share the frontend's connections by weight, in the order of the object.
    pub groups: Vec<Group>,
    /// A client's new connections go where its last one went, if that is not longer ago than this: whole seconds.
    pub affinity: Option<Duration>,
    /// The clients that may begin a connection; without it everybody. A range of the other family than the VIP's lets
    /// nobody in.
    pub sources: Option<BTreeSet<IpNet>>,
    /// How Pods of other nodes and clusters are reached.
    pub mode: Mode,
    /// The nodes that have ready backends, if clients shall come by no others (`externalTrafficPolicy: Local`).
    pub local_nodes: Option<BTreeSet<Arc<str>>>,
}

/// The backends behind one reference of a route, or behind a Service that is its own frontend.
///
/// A group with weight but without a member that has weight keeps its share and refuses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What the reference says, unique within its service: `Service shop/httpbin:8000`.
    pub reference: String,
    /// The group's share: 0 to 1,000,000 (Gateway API, `BackendRef.weight`).
    pub weight: u32,
    /// The backends, ordered by identity, each at most once.
    pub members: BTreeMap<Backend, Member>,
}

/// What a group knows of one of its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The Pod's namespace and name, or the address where no Pod is known. For people.
    pub name: String,
    /// The share within the group: 0 to 65535; 0 gets no new connection and keeps those it has.
    pub weight: u16,
    /// Whether the Pod is on this node.
    pub place: Place,
}

/// A backend's identity. Another Pod that inherits the address is another backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// The Pod's address.
    pub address: Address,
    /// The Pod's port.
    pub port: Port,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The Pod; [`PodId::NONE`] if the endpoint names none.
    pub pod: PodId,
}

/// A Pod's UID, reduced to the 64 bits that fit into the map. Stable across restarts and versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId(u64);

impl PodId {
    /// An endpoint without a Pod.
    pub const NONE: Self = Self(0);

    /// The fingerprint of a UID; never that of [`PodId::NONE`].
    pub fn from_uid(uid: &str) -> Self {
        Self(fingerprint(uid))
    }

    /// From the number in a map.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The number in a map.
    pub const fn raw(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PodId({:016x})", self.0)
    }
}

/// 64 bits that stand for a text in a map, never 0: FNV-1a (draft-eastlake-fnv section 2), chosen because it is
/// the same in every build, which the standard library's hashers do not promise.
pub fn fingerprint(text: &str) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    text.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_sites_are_frontends_in_the_order_of_their_keys() {
        let key = |port| FrontendKey::new(Address::from_v4([203, 0, 113, 1]), Port::new(port), Protocol::TCP);
        let service = |owner: &str| Arc::new(Service { owner: owner.to_owned(), ..Service::default() });
        let site = |owner: &str| Arc::new(http::Site { owner: owner.to_owned(), ..http::Site::default() });
        let mut model = Model {
            services: BTreeMap::from([(key(1), service("a")), (key(5), service("d"))]),
            sites: BTreeMap::from([(key(2), site("b")), (key(3), site("c")), (key(7), site("e"))]),
            ..Model::default()
        };
        let owners = |model: &Model| model.frontends().map(|(_, behind)| behind.owner().to_owned()).collect::<String>();

        assert_eq!(owners(&model), "abcde");
        assert!(model.frontends().map(|(key, _)| key).is_sorted());
        model.remove_frontends_at(key(1).address);
        assert_eq!(owners(&model), "");
    }

    #[test]
    fn a_fingerprint_is_the_same_in_every_build() {
        assert_eq!(fingerprint(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint("a"), 0xaf63_dc4c_8601_ec8c);
    }
}
