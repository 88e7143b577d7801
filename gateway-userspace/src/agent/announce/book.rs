//! What this node does for each VIP of its segments: answers, gives it up, or sends connections on to who answered before.
//!
//! A VIP is taken over at once, and announced three times. It is given up when the successor has announced it, or has had
//! the time to; so it is never without anybody. Time is an argument, and frames are somebody else's business.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use gateway_common::{Address, Vip};

use super::order::{Colleague, Owner};
use crate::reconcile::Duty;

/// How long a successor may take to announce a VIP before it is given up all the same.
const GRACE: Duration = Duration::from_secs(2);
/// How long connections are sent on to who answered before.
const RELAY_TIME: Duration = Duration::from_mins(10);
/// How often a VIP that was taken over is announced, and the time in between: any one may get lost.
const ANNOUNCEMENTS: u32 = 3;
const ANNOUNCE_PERIOD: Duration = Duration::from_millis(500);
/// How many VIPs are announced at once, and the time until the next are.
const AT_ONCE: usize = 256;
const PACE: Duration = Duration::from_millis(10);

/// Who answers for a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// A node of the segment.
    Node(Owner),
    /// Nobody: the network routes it, as this pool says.
    Network(String),
}

/// What is known when something is settled.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The time.
    pub now: Instant,
    /// Nothing was settled before.
    pub is_first: bool,
    /// What is known of the others is as of now.
    pub is_informed: bool,
    /// The nodes that are taken for dead.
    pub dead: &'a BTreeSet<IpAddr>,
}

/// All VIPs.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<Address, Entry>,
    /// The next announcements are not sent before then.
    not_before: Option<Instant>,
    /// Something is different since that was last asked.
    is_changed: bool,
}

#[derive(Debug, Default)]
struct Entry {
    /// Who answers, as was settled last.
    answerer: Option<Answerer>,
    answers: bool,
    /// It is answered until then, for the successor to take over.
    yields: Option<Instant>,
    relay: Option<Relay>,
    /// How many announcements are left to be made, and when the next is due.
    announcements: u32,
    due: Option<Instant>,
    /// Another node has announced it while nobody could say whose it is.
    is_conceded: bool,
    /// Where packets can be sent on to the node that answers if this one does not.
    stand_in: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Relay {
    to: IpAddr,
    until: Instant,
}

impl Book {
    /// Takes over what an earlier agent of this node did.
    pub fn adopt(vips: &BTreeMap<Address, Vip>, now: Instant) -> Self {
        let entry = |vip: &Vip| {
            let Duty { answers, relay } = Duty::of(vip);
            let relay = relay.map(|to| Relay { to: to.to_ip(), until: now + RELAY_TIME });
            Entry { answers, relay, ..Entry::default() }
        };
        let entries = vips.iter().map(|(address, vip)| (*address, entry(vip))).collect();
        Self { entries, not_before: None, is_changed: true }
    }

    /// Whether anything is different since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Has everything told once more.
    pub const fn tell_again(&mut self) {
        self.is_changed = true;
    }

    /// Keeps these VIPs and no others.
    pub fn retain(&mut self, is_wanted: impl Fn(&Address) -> bool) {
        let before = self.entries.len();
        self.entries.retain(|address, _| is_wanted(address));
        self.is_changed |= self.entries.len() != before;
    }

    /// Says who answers for a VIP, and who would if that one did not.
    pub fn settle(&mut self, vip: Address, answerer: Answerer, next: Option<&Colleague>, moment: &Moment<'_>) {
        let entry = self.entries.entry(vip).or_default();
        entry.stand_in = next.and_then(|next| next.relay);
        if entry.is_conceded && !moment.is_informed {
            return;
        }
        let was_conceded = std::mem::take(&mut entry.is_conceded);
        if entry.answerer.as_ref() == Some(&answerer) && !was_conceded {
            return;
        }
        self.is_changed = true;
        match (&answerer, &entry.answerer) {
            (Answerer::Node(Owner::Us), Some(Answerer::Node(Owner::Other(before)))) => {
                entry.take_over(Some(before.clone()).as_ref(), moment);
            }
            // What an earlier agent of this node did, and who answered since, is not known: most likely the next did.
            (Answerer::Node(Owner::Us), _) => entry.take_over(next.filter(|_| moment.is_first || was_conceded), moment),
            (Answerer::Node(Owner::Other(_)), _) => entry.yield_at(moment.now + GRACE),
            (Answerer::Network(_), _) => entry.give_up(),
        }
        entry.answerer = Some(answerer);
    }

    /// Another node has announced a VIP. It is left to that node if it is its due, or if this one is not informed, so that
    /// the other knows better. Says whether that changes anything.
    pub fn announced_by_another(&mut self, vip: Address, is_informed: bool) -> bool {
        let Some(entry) = self.entries.get_mut(&vip).filter(|entry| entry.answers) else { return false };
        let is_due = entry.yields.is_some();
        if is_due || !is_informed {
            entry.give_up();
            entry.is_conceded = !is_due;
            self.is_changed = true;
        }
        is_due || !is_informed
    }

    /// Gives up what was yielded long enough, and ends what has lasted long enough.
    pub fn pass(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            if entry.yields.is_some_and(|yields| yields <= now) {
                entry.give_up();
                self.is_changed = true;
            }
            self.is_changed |= entry.relay.take_if(|relay| relay.until <= now).is_some();
        }
    }

    /// Nothing is sent on to nodes that are dead.
    pub fn forget_relays(&mut self, dead: &BTreeSet<IpAddr>) {
        for entry in self.entries.values_mut() {
            self.is_changed |= entry.relay.take_if(|relay| dead.contains(&relay.to)).is_some();
        }
    }

    /// Announces all VIPs of this node once more: a link has come up. Whoever stood in meanwhile has connections.
    pub fn announce_again(&mut self, now: Instant) {
        for entry in self.entries.values_mut().filter(|entry| entry.answers && entry.yields.is_none()) {
            if entry.relay.is_none() {
                entry.relay = entry.stand_in.map(|to| Relay { to, until: now + RELAY_TIME });
                self.is_changed |= entry.relay.is_some();
            }
            entry.announce(now);
        }
    }

    /// The VIPs to be announced now.
    pub fn due(&mut self, now: Instant) -> Vec<Address> {
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return Vec::new();
        }
        let is_due = |entry: &Entry| entry.due.is_some_and(|due| due <= now);
        let due = self.entries.iter_mut().filter(|(_, entry)| is_due(entry)).take(AT_ONCE);
        let due: Vec<Address> = due
            .map(|(vip, entry)| {
                entry.announcements = entry.announcements.saturating_sub(1);
                entry.due = (entry.announcements > 0).then_some(now + ANNOUNCE_PERIOD);
                *vip
            })
            .collect();
        self.not_before = (due.len() == AT_ONCE).then_some(now + PACE);
        due
    }

    /// When there is something to do though nothing has happened.
    pub fn next(&self) -> Option<Instant> {
        let announcement = self.entries.values().filter_map(|entry| entry.due).min();
        let announcement = announcement.map(|due| self.not_before.map_or(due, |not_before| due.max(not_before)));
        let ends = self.entries.values().flat_map(|entry| [entry.yields, entry.relay.map(|relay| relay.until)]);
        ends.flatten().chain(announcement).min()
    }

    /// Whether any VIP was left to another node because nobody could say whose it is.
    pub fn has_conceded(&self) -> bool {
        self.entries.values().any(|entry| entry.is_conceded)
    }

    /// Whether any VIP is being given up.
    pub fn is_yielding(&self) -> bool {
        self.entries.values().any(|entry| entry.yields.is_some())
    }

    /// The nodes that connections are sent on to.
    pub fn relays(&self) -> impl Iterator<Item = IpAddr> {
        self.entries.values().filter_map(|entry| entry.relay.map(|relay| relay.to))
    }

    /// What this node does for each VIP.
    pub fn duties(&self) -> BTreeMap<Address, Duty> {
        let duty = |entry: &Entry| Duty { answers: entry.answers, relay: entry.relay.map(|relay| relay.to.into()) };
        self.entries.iter().map(|(vip, entry)| (*vip, duty(entry))).collect()
    }

    /// Who answers for each VIP, for people.
    pub fn answerers(&self) -> BTreeMap<String, String> {
        let text = |entry: &Entry| match entry.answerer.as_ref()? {
            _ if entry.is_conceded => Some("another node, while the API server is silent".to_owned()),
            Answerer::Node(Owner::Us) => Some("this node".to_owned()),
            Answerer::Node(Owner::Other(colleague)) => Some(format!("node {}", colleague.node)),
            Answerer::Network(pool) => Some(format!("the network (pool {pool})")),
        };
        self.entries.iter().filter_map(|(vip, entry)| Some((vip.to_string(), text(entry)?))).collect()
    }
}

impl Entry {
    fn take_over(&mut self, before: Option<&Colleague>, moment: &Moment<'_>) {
        let was_yielding = self.yields.take().is_some();
        if !self.answers {
            let is_dead = |colleague: &Colleague| colleague.probe.is_some_and(|probe| moment.dead.contains(&probe));
            let to = before.filter(|colleague| !is_dead(colleague)).and_then(|colleague| colleague.relay);
            self.relay = to.map(|to| Relay { to, until: moment.now + RELAY_TIME });
        }
        if !self.answers || was_yielding {
            self.announce(moment.now);
        }
        self.answers = true;
    }

    /// Connections of the successor, who may have been the predecessor, are sent on meanwhile. What neither knows goes to
    /// and fro then, and each time it bears one hop less.
    fn yield_at(&mut self, end: Instant) {
        self.yields = self.answers.then(|| self.yields.unwrap_or(end));
        self.stop_announcing();
    }

    fn announce(&mut self, now: Instant) {
        (self.announcements, self.due) = (ANNOUNCEMENTS, Some(now));
    }

    fn stop_announcing(&mut self) {
        (self.announcements, self.due) = (0, None);
    }

    fn give_up(&mut self) {
        (self.answers, self.yields, self.relay) = (false, None, None);
        self.stop_announcing();
    }
}

#[cfg(test)]
mod tests;
