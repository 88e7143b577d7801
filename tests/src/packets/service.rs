//! What a test wants balanced, and how it is written into the maps: by hand, so that the programs are held against the
//! contract of the maps and not against the agent.

use std::net::{IpAddr, SocketAddr};

use gateway_common::{Algorithm, Protocol};

/// A frontend with its groups of backends.
#[derive(Clone, Debug)]
pub struct Service {
    /// VIP and port.
    pub frontend: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How backends are selected.
    pub algorithm: Algorithm,
    /// The first level: groups with their weights.
    pub groups: Vec<(u32, Group)>,
    /// For how many seconds a client keeps its backend; 0: it does not.
    pub affinity_timeout_sec: u32,
    /// The ranges of clients that are let in; nothing: everybody.
    pub sources: Option<Vec<(IpAddr, u8)>>,
}

/// The second level: backends with their weights.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// In the order of the schedule.
    pub backends: Vec<(u32, SocketAddr)>,
}

impl Service {
    /// One group of weighted backends.
    pub fn new(protocol: Protocol, frontend: SocketAddr, backends: &[(u32, SocketAddr)]) -> Self {
        let groups = vec![(1, Group { backends: backends.to_vec() })];
        let algorithm = Algorithm::WeightedRoundRobin;
        Self { frontend, protocol, algorithm, groups, affinity_timeout_sec: 0, sources: None }
    }
}

/// A schedule in which each member stands as often as its weight says, one after the other.
pub(super) fn schedule(members: impl IntoIterator<Item = (u32, u32)>) -> Vec<u32> {
    members.into_iter().flat_map(|(weight, member)| std::iter::repeat_n(member, weight as usize)).collect()
}
