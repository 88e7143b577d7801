//! Which node answers for a VIP: rendezvous hashing over the nodes of the segment.
//!
//! Every agent comes to the same order for each VIP by itself: a node that comes or goes moves no VIPs but its own, and
//! these spread over all others. Who is dead is told by others; no clock, no IO.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use gateway_common::Address;
use ipnet::IpNet;

use crate::kubernetes::{Peer, Peers};
use crate::model::fingerprint;

/// A node of a segment that this one is on, too.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    /// Stands for the name in the hash.
    seed: u64,
    /// Only if nobody else is left.
    is_last_resort: bool,
    addresses: Vec<IpNet>,
    /// Its addresses in subnets that this node is in, too; IPv4 first.
    reached: Vec<IpAddr>,
}

/// The nodes that may answer for VIPs on the segments of this one, itself included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbourhood {
    own: String,
    nodes: BTreeMap<String, Node>,
}

/// How many of those that come after the owner watch each other: more would only make noise on the segment.
const WATCHMEN: usize = 2;

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Colleague {
    /// Its name.
    pub node: String,
    /// Where it is asked whether it lives; nothing if it says no address in a subnet of ours.
    pub probe: Option<IpAddr>,
    /// Where packets to the VIP can be sent on to it: an address of the VIP's family.
    pub relay: Option<IpAddr>,
}

/// Who answers for a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This node.
    Us,
    /// Another.
    Other(Colleague),
}

/// How the nodes stand for a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// Who answers.
    pub owner: Owner,
    /// Who would, if the owner did not.
    pub next: Option<Colleague>,
    /// Whose life matters to this node, if it may soon have to answer: the last one before it that lives, and the dead ones,
    /// which may return.
    pub watched: Vec<IpAddr>,
}

/// The less, the rather a node answers.
type Rank<'a> = (bool, Reverse<u64>, &'a str);

impl Neighbourhood {
    /// The nodes that live and share a segment with this one; nothing if this node is not known to live itself, or has no
    /// address while others have. What its
    /// agent says of it counts before the others know it; that it leaves, its Lease may say for other reasons.
    pub fn of(own: &str, word: &Peer, peers: &Peers) -> Option<Self> {
        peers.get(own)?;
        // A node that lost its addresses for a moment is on no segment: others are not gone for that.
        if word.addresses.is_empty() && peers.values().any(|peer| !peer.addresses.is_empty()) {
            return None;
        }
        let mut nodes = BTreeMap::new();
        for (name, peer) in peers {
            let addresses = if name == own { &word.addresses } else { &peer.addresses };
            let is_last_resort = peer.leaving || name == own && word.leaving;
            let reached = common(addresses, &word.addresses);
            // A node that says nothing of its addresses may be anywhere.
            if name == own || !reached.is_empty() || addresses.is_empty() {
                let (seed, addresses) = (fingerprint(name), addresses.clone());
                nodes.insert(name.clone(), Node { seed, is_last_resort, addresses, reached });
            }
        }
        Some(Self { own: own.to_owned(), nodes })
    }

    /// Whether there is nobody else.
    pub fn is_alone(&self) -> bool {
        self.nodes.len() == 1
    }

    /// How the nodes stand for a VIP. If it shall be found at certain nodes only, then at one of these, if there are any.
    pub fn ranking(
        &self,
        vip: Address,
        local: Option<&BTreeSet<Arc<str>>>,
        dead: &BTreeSet<IpAddr>,
    ) -> Option<Ranking> {
        let ip = vip.to_ip();
        if let Some(name) = self.host_of(ip) {
            // Nobody takes a node's own address away from it.
            return Some(Ranking { owner: self.owner(name, ip), next: None, watched: Vec::new() });
        }
        let is_near = |node: &Node| node.addresses.iter().any(|subnet| subnet.contains(&ip));
        let is_local = |name: &str| local.is_some_and(|local| local.contains(name));
        let any_is_near = self.nodes.values().any(is_near);
        let fits = |node: &Node| !any_is_near || is_near(node);
        let any_is_local = self.nodes.iter().any(|(name, node)| fits(node) && is_local(name));
        let candidates = self.nodes.iter().filter(|(name, node)| fits(node) && (!any_is_local || is_local(name)));

        let number = u128::from_be_bytes(*vip.octets());
        let own = self.nodes.get(&self.own).map(|node| node.rank(number, &self.own));
        let own = own.filter(|_| candidates.clone().any(|(name, _)| *name == self.own));
        let (mut first, mut second, mut before) = (None, None, None);
        let mut watched = Vec::new();
        let mut living_before = 0;
        for (name, node) in candidates {
            let rank = node.rank(number, name);
            let is_dead = *name != self.own && node.probe().is_some_and(|probe| dead.contains(&probe));
            let is_before = own.is_some_and(|own| rank < own);
            if is_dead {
                watched.extend(node.probe().filter(|_| is_before));
                continue;
            }
            living_before += usize::from(is_before);
            if is_before && before.is_none_or(|(nearest, _)| nearest < rank) {
                before = Some((rank, node.probe()));
            }
            if first.is_none_or(|first| rank < first) {
                (second, first) = (first, Some(rank));
            } else if second.is_none_or(|second| rank < second) {
                second = Some(rank);
            }
        }
        watched.extend(before.and_then(|(_, probe)| probe));
        if living_before > WATCHMEN {
            watched.clear();
        }
        let (_, _, name) = first?;
        let next = second.map(|(_, _, name)| self.colleague(name, ip));
        Some(Ranking { owner: self.owner(name, ip), next, watched })
    }

    /// The node that has an address as its own.
    fn host_of(&self, ip: IpAddr) -> Option<&str> {
        let has_it = |node: &Node| node.addresses.iter().any(|subnet| subnet.addr() == ip);
        self.nodes.iter().find(|(_, node)| has_it(node)).map(|(name, _)| name.as_str())
    }

    fn owner(&self, name: &str, vip: IpAddr) -> Owner {
        if name == self.own { Owner::Us } else { Owner::Other(self.colleague(name, vip)) }
    }

    fn colleague(&self, name: &str, vip: IpAddr) -> Colleague {
        let node = self.nodes.get(name);
        let reached = node.map(|node| node.reached.as_slice()).unwrap_or_default();
        let relay = reached.iter().find(|address| address.is_ipv4() == vip.is_ipv4()).copied();
        Colleague { node: name.to_owned(), probe: node.and_then(Node::probe), relay }
    }
}

impl Node {
    fn probe(&self) -> Option<IpAddr> {
        self.reached.first().copied()
    }

    fn rank<'a>(&self, vip: u128, name: &'a str) -> Rank<'a> {
        let (high, low) = ((vip >> 64) as u64, vip as u64);
        (self.is_last_resort, Reverse(mixed(mixed(mixed(high) ^ low) ^ self.seed)), name)
    }
}

/// The addresses of theirs in subnets that we have an address in, IPv4 first.
fn common(theirs: &[IpNet], ours: &[IpNet]) -> Vec<IpAddr> {
    let is_shared = |their: &&IpNet| ours.iter().any(|our| our.trunc() == their.trunc());
    let mut shared: Vec<IpAddr> = theirs.iter().filter(is_shared).map(IpNet::addr).collect();
    shared.sort_by_key(IpAddr::is_ipv6);
    shared
}

/// Every bit of the result depends on every bit of the number (Stafford's mix 13, the finaliser of `SplitMix64`).
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests;
