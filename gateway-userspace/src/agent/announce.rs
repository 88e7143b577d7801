//! Addresses that are found: for each VIP exactly one node of the segment answers ARP and NDP, and this is where agents
//! settle which.
//!
//! Every agent works out the same order of nodes (`order`) from who lives: by the Leases, and by what it hears on the wire
//! of those whose place it would take (`probing`). What follows for this node's VIPs is kept in a book. An agent that
//! serves a folder is alone and answers for all.

mod book;
mod order;
mod probing;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_common::{Address, Vip};
use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use self::book::{Answerer, Book, Moment};
use self::order::{Neighbourhood, Owner};
use self::probing::Probing;
use crate::host::segment::{Claim, Link, Segments};
use crate::kubernetes::{GONE_AFTER, Heard, Peer, Peers, Stance};
use crate::model::{Announce, Model};
use crate::reconcile::Duty;

/// How often the datapath is told that this agent lives.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the datapath answers without being told so: long enough for a dead agent to be mended, and less than other
/// agents take to give its node up.
const ANSWER_TIME: Duration = GONE_AFTER.saturating_sub(Duration::from_secs(30));

/// An uplink as announcements need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Where frames go.
    pub link: Link,
    /// Whether it can carry any now.
    pub running: bool,
    /// How often it came up.
    pub ups: u32,
    /// The node's addresses on it, each with its subnet.
    pub addresses: Vec<IpNet>,
}

/// How long the datapath shall answer without another word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerTime {
    /// For ever: there is nobody else who could.
    Always,
    /// For so long.
    For(Duration),
}

/// Settles with the other agents who answers for which VIP.
pub struct Announcer {
    /// This node's name; none if it is alone.
    node: Option<String>,
    /// None if they cannot be opened.
    segments: Option<Segments>,
    uplinks: Vec<Uplink>,
    others: Option<watch::Receiver<Option<Heard>>>,
    /// The agents that lived when it was settled last who answers.
    peers: Option<Arc<Peers>>,
    wishes: Wishes,
    /// This agent is about to stop.
    leaving: bool,
    neighbourhood: Option<Neighbourhood>,
    probing: Probing,
    book: Book,
    /// Who answers was settled with the others at least once.
    is_settled: bool,
    was_alone: bool,
    heartbeat: Option<Instant>,
}

/// What the model asks for.
#[derive(Default, PartialEq)]
struct Wishes {
    announcements: BTreeMap<Address, Announce>,
    /// The nodes at which VIPs shall be found that keep to nodes with Pods.
    local: BTreeMap<Address, BTreeSet<Arc<str>>>,
}

impl Announcer {
    /// An announcer that takes over from an earlier agent, whose maps hold these VIPs.
    pub fn new(node: Option<String>, vips: &BTreeMap<Address, Vip>, now: Instant) -> Self {
        let segments = Segments::open()
            .inspect_err(|error| warn!(%error, "VIPs cannot be announced to neighbours: give the agent CAP_NET_RAW"))
            .ok();
        Self {
            node,
            segments,
            uplinks: Vec::new(),
            others: None,
            peers: None,
            wishes: Wishes::default(),
            leaving: false,
            neighbourhood: None,
            probing: Probing::default(),
            book: Book::adopt(vips, now),
            is_settled: false,
            was_alone: false,
            heartbeat: None,
        }
    }

    /// From now on the other agents are heard of.
    pub fn listen_to(&mut self, others: watch::Receiver<Option<Heard>>) {
        self.others = Some(others);
    }

    /// Takes note of what shall be announced and by which devices.
    pub fn look(&mut self, model: &Model, uplinks: Vec<Uplink>, now: Instant) {
        let was_up = |uplink: &Uplink| {
            let is_same = |known: &Uplink| (known.link, known.running, known.ups) == (uplink.link, true, uplink.ups);
            self.uplinks.iter().any(is_same)
        };
        let came_up = !self.uplinks.is_empty() && uplinks.iter().any(|uplink| uplink.running && !was_up(uplink));
        let wishes = Wishes::of(model);
        if self.uplinks != uplinks || self.wishes != wishes {
            (self.uplinks, self.wishes) = (uplinks, wishes);
            self.settle(now);
        }
        if came_up {
            self.book.announce_again(now);
        }
    }

    /// This node is about to stop: others shall take its VIPs over. Says whether there are any to wait for.
    pub fn leave(&mut self, now: Instant) -> bool {
        // Nobody would hear of it.
        if !self.is_informed() {
            return false;
        }
        self.leaving = true;
        self.settle(now);
        self.book.is_yielding()
    }

    /// Whether others still have to take over VIPs of this node.
    pub fn is_yielding(&self) -> bool {
        self.book.is_yielding()
    }

    /// Whether this agent leaves, and nobody is left who could still take a VIP over.
    pub fn has_left(&self) -> bool {
        self.leaving && self.is_informed() && !self.book.is_yielding()
    }

    /// What the other agents must know, and whether this one must know of them.
    pub fn stance(&self) -> Stance {
        let Peer { addresses, leaving } = self.word();
        let shares = self.wishes.announcements.values().any(|announce| *announce == Announce::Neighbor);
        Stance { addresses, leaving, shares, succeeded: false }
    }

    fn word(&self) -> Peer {
        let addresses = self.uplinks.iter().flat_map(|uplink| &uplink.addresses).copied().collect();
        Peer { addresses, leaving: self.leaving }
    }

    /// Waits until something has happened that may change who answers, or until something is due. May be cancelled.
    pub async fn next(&mut self) {
        loop {
            let due = self.next_due(Instant::now());
            tokio::select! {
                biased;
                () = changed(&mut self.others) => {
                    // Most of it is that everybody still lives.
                    let peers = self.heard().map(|heard| heard.peers);
                    if peers != self.peers || self.book.has_conceded() {
                        return self.settle(Instant::now());
                    }
                }
                claim = heard(self.segments.as_ref()), if self.node.is_some() => {
                    if self.note(claim) {
                        return self.settle(Instant::now());
                    }
                }
                () = until(due) => return,
            }
        }
    }

    fn next_due(&self, now: Instant) -> Option<Instant> {
        let probe = if self.can_probe() { self.probing.next(now) } else { None };
        [self.book.next(), probe, self.heartbeat].into_iter().flatten().min()
    }

    /// Takes in what somebody claims; says whether it matters.
    fn note(&mut self, claim: Claim) -> bool {
        let is_ours = |uplink: &Uplink| Some(uplink.link.hardware) == claim.hardware;
        let ip = claim.address.to_ip();
        // Nobody can speak for an address on another segment than its own.
        let is_heard_there = uplinks_of(&self.uplinks, ip).any(|uplink| uplink.link.index == claim.device);
        if !is_heard_there || self.uplinks.iter().any(is_ours) {
            return false;
        }
        let has_returned = self.probing.answered(ip);
        if has_returned {
            info!(node = %claim.address, "a node answers on the segment again");
        }
        self.book.announced_by_another(claim.address, self.is_informed()) || has_returned
    }

    /// Does what is due but for announcements, which come after the maps: see [`Announcer::announce`]. To be asked only when
    /// [`Announcer::next`] has nothing left to hear: what was not heard yet is no silence.
    pub fn turn(&mut self, now: Instant) {
        if self.can_probe() {
            let died = self.probing.judge(now);
            self.ask(now);
            for node in &died {
                warn!(%node, "a node does not answer on the segment: others answer for its VIPs");
            }
            if !died.is_empty() {
                self.settle(now);
            }
        } else {
            self.probing.pause();
        }
        self.book.pass(now);
    }

    /// How long the datapath shall answer, if it is to be told.
    pub fn beat(&mut self, now: Instant) -> Option<AnswerTime> {
        if self.heartbeat.is_some_and(|heartbeat| now < heartbeat) {
            return None;
        }
        self.heartbeat = Some(now + HEARTBEAT);
        Some(if self.is_alone() { AnswerTime::Always } else { AnswerTime::For(ANSWER_TIME) })
    }

    /// Whether what this node does for VIPs, or who answers for them, may be different since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        self.book.take_changed()
    }

    /// Whoever was told does not know it any more, or was not there yet.
    pub const fn tell_again(&mut self) {
        self.book.tell_again();
    }

    /// What this node does for each VIP now.
    pub fn duties(&self) -> BTreeMap<Address, Duty> {
        self.book.duties()
    }

    /// Who answers for each VIP, for people.
    pub fn answerers(&self) -> BTreeMap<String, String> {
        self.book.answerers()
    }

    /// Announces what is due, now that the datapath answers for it.
    pub fn announce(&mut self, now: Instant) {
        let Some(segments) = &self.segments else { return };
        for vip in self.book.due(now) {
            for uplink in uplinks_of(&self.uplinks, vip.to_ip()) {
                if let Err(error) = segments.announce(uplink.link, vip) {
                    debug!(%vip, device = uplink.link.index, %error, "not announced");
                }
            }
        }
    }

    fn can_probe(&self) -> bool {
        self.segments.is_some() && self.uplinks.iter().any(|uplink| uplink.running)
    }

    fn ask(&mut self, now: Instant) {
        let Some(segments) = &self.segments else { return };
        for target in self.probing.due(now) {
            if uplinks_of(&self.uplinks, target).next().is_none() {
                self.probing.not_asked(target);
            }
            for uplink in uplinks_of(&self.uplinks, target) {
                let own = uplink.addresses.iter().find(|subnet| subnet.contains(&target));
                let own = match own.map(IpNet::addr) {
                    Some(IpAddr::V4(own)) => own,
                    Some(IpAddr::V6(_)) | None => Ipv4Addr::UNSPECIFIED,
                };
                if let Err(error) = segments.ask(uplink.link, own, target) {
                    debug!(%target, device = uplink.link.index, %error, "not asked");
                }
            }
        }
    }

    /// Works out anew who answers for each VIP.
    fn settle(&mut self, now: Instant) {
        self.peers = self.heard().map(|heard| heard.peers);
        self.neighbourhood = match (&self.node, &self.peers) {
            (Some(node), Some(peers)) => Neighbourhood::of(node, &self.word(), peers),
            _ => None,
        };
        let is_informed = self.is_informed();
        let dead = self.probing.dead();
        let moment = Moment { now, is_first: !self.is_settled, is_informed, dead: &dead };
        let mut watched: BTreeSet<IpAddr> = BTreeSet::new();
        let Self { book, wishes, neighbourhood, .. } = self;
        book.retain(|vip| wishes.announcements.contains_key(vip));
        for (vip, announce) in &wishes.announcements {
            let ranking = neighbourhood.as_ref().and_then(|nodes| nodes.ranking(*vip, wishes.local.get(vip), &dead));
            match (announce, ranking) {
                (Announce::Network { pool }, _) => book.settle(*vip, Answerer::Network(pool.clone()), None, &moment),
                (Announce::Neighbor, Some(ranking)) => {
                    watched.extend(ranking.watched);
                    book.settle(*vip, Answerer::Node(ranking.owner), ranking.next.as_ref(), &moment);
                }
                (Announce::Neighbor, None) if self.node.is_none() => {
                    book.settle(*vip, Answerer::Node(Owner::Us), None, &moment);
                }
                // Until the others are known, everything stays as an earlier agent left it.
                (Announce::Neighbor, None) => {}
            }
        }
        book.forget_relays(&dead);
        watched.extend(book.relays());
        self.is_settled |= self.neighbourhood.is_some();
        self.probing.watch(&watched);
        if self.is_alone() != self.was_alone {
            self.was_alone = self.is_alone();
            self.heartbeat = None;
        }
    }

    fn heard(&self) -> Option<Heard> {
        self.others.as_ref()?.borrow().clone()
    }

    /// Whether what is known of the others is as of now.
    fn is_informed(&self) -> bool {
        self.node.is_none() || self.neighbourhood.is_some() && self.heard().is_some_and(|heard| heard.is_fresh())
    }

    /// Whether no other node could answer for VIPs on the segments of this one.
    fn is_alone(&self) -> bool {
        self.node.is_none() || self.neighbourhood.as_ref().is_some_and(Neighbourhood::is_alone)
    }
}

impl Wishes {
    fn of(model: &Model) -> Self {
        let mut local: BTreeMap<Address, BTreeSet<Arc<str>>> = BTreeMap::new();
        for (key, service) in &model.services {
            let Some(nodes) = &service.local_nodes else { continue };
            let known = local.entry(key.address).or_insert_with(|| nodes.clone());
            // Several Services at one VIP: where all of them have Pods, else where any has.
            let all: BTreeSet<_> = known.intersection(nodes).cloned().collect();
            if all.is_empty() { known.extend(nodes.iter().cloned()) } else { *known = all }
        }
        Self { announcements: model.announcements.clone(), local }
    }
}

/// The uplinks to the segment of an address; if it is on none of them, all.
fn uplinks_of(uplinks: &[Uplink], address: IpAddr) -> impl Iterator<Item = &Uplink> {
    let is_near = move |uplink: &&Uplink| uplink.addresses.iter().any(|subnet| subnet.contains(&address));
    let any_is_near = uplinks.iter().any(|uplink| is_near(&uplink));
    uplinks.iter().filter(move |uplink| uplink.running && (!any_is_near || is_near(uplink)))
}

/// Waits until something new is known of the others.
async fn changed(others: &mut Option<watch::Receiver<Option<Heard>>>) {
    if let Some(receiver) = others
        && receiver.changed().await.is_ok()
    {
        return;
    }
    // Nothing comes any more.
    pending::<()>().await;
}

async fn heard(segments: Option<&Segments>) -> Claim {
    match segments {
        Some(segments) => segments.heard().await,
        None => pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => pending().await,
    }
}
