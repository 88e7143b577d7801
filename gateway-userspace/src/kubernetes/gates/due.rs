//! Which Pods' gates are due: those that every living agent has programmed, and those that have waited too long.
//!
//! No request is made here, and time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use crate::kubernetes::node_lease::DEAD_AFTER;
use crate::source::Name;

/// A Pod that waits for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WaitingPod {
    pub(super) uid: String,
    /// The version at which it was seen to wait.
    pub(super) version: u64,
    /// The gates of ours that it has and that are not open.
    pub(super) gates: Vec<&'static str>,
}

/// A Pod whose gates are to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) pod: Name,
    pub(super) uid: String,
    pub(super) gates: Vec<&'static str>,
    pub(super) outcome: Outcome,
}

/// Why gates are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every living agent has programmed the Pod.
    Programmed,
    /// It has waited too long for the agents of these nodes.
    TimedOut { after: Duration, lagging: Vec<String> },
}

/// The Pods that wait and the agents that they wait for.
#[derive(Debug)]
pub(super) struct Gates {
    timeout: Duration,
    waiting: BTreeMap<Name, Waiting>,
    agents: BTreeMap<String, Agent>,
    /// Whether all agents are known.
    agents_listed: bool,
    /// The Pods of a list that is being received.
    listed: BTreeSet<Name>,
}

#[derive(Debug)]
struct Waiting {
    pod: WaitingPod,
    since: Instant,
    /// Not before then, since it has just been tried.
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Agent {
    lease: Lease,
    revision: u64,
    renewed: Instant,
}

impl Agent {
    fn lives(&self, now: Instant) -> bool {
        now < self.renewed + DEAD_AFTER
    }
}

impl Gates {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            waiting: BTreeMap::new(),
            agents: BTreeMap::new(),
            agents_listed: false,
            listed: BTreeSet::new(),
        }
    }

    /// A Pod was seen; what is given is none if it does not wait for us. Whatever changes while it waits, what counts is
    /// the version at which it began to.
    pub(super) fn note_pod(&mut self, name: Name, pod: Option<WaitingPod>, now: Instant) {
        let Some(pod) = pod else { return self.opened(&name) };
        match self.waiting.get_mut(&name) {
            Some(waiting) if waiting.pod.uid == pod.uid => waiting.pod.gates = pod.gates,
            _ => drop(self.waiting.insert(name, Waiting { pod, since: now, not_before: None })),
        }
    }

    /// The same for a Pod of a list: those that are not in it are gone at its end.
    pub(super) fn list_pod(&mut self, name: Name, pod: Option<WaitingPod>, now: Instant) {
        self.listed.insert(name.clone());
        self.note_pod(name, pod, now);
    }

    /// A list begins.
    pub(super) fn begin_pods(&mut self) {
        self.listed.clear();
    }

    /// A list has ended.
    pub(super) fn end_pods(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        self.waiting.retain(|name, _| listed.contains(name));
    }

    /// There is nothing left to do for a Pod.
    pub(super) fn opened(&mut self, pod: &Name) {
        self.waiting.remove(pod);
    }

    /// What is due for a Pod is tried again then.
    pub(super) fn postpone(&mut self, pod: &Name, until: Instant) {
        if let Some(waiting) = self.waiting.get_mut(pod) {
            waiting.not_before = Some(until);
        }
    }

    /// A node's Lease was seen. Only a change of it is a sign of life: a list shows all of them again.
    pub(super) fn note_agent(&mut self, node: String, lease: Lease, revision: u64, now: Instant) {
        let known = self.agents.get(&node);
        if known.is_none_or(|known| known.lease.metadata.resource_version != lease.metadata.resource_version) {
            self.agents.insert(node, Agent { lease, revision, renewed: now });
        }
    }

    /// Every Lease that there is was seen.
    pub(super) fn end_agents(&mut self) {
        self.agents_listed = true;
    }

    /// A node's Lease is gone.
    pub(super) fn forget_agent(&mut self, node: &str) {
        self.agents.remove(node);
    }

    /// The agents of nodes that are gone count no more; dead ones' Leases are handed out to be deleted.
    pub(super) fn take_dead(&mut self, nodes: &BTreeSet<String>, now: Instant) -> Vec<Lease> {
        let gone: Vec<String> = self
            .agents
            .iter()
            .filter(|(node, agent)| !nodes.contains(*node) && !agent.lives(now))
            .map(|(node, _)| node.clone())
            .collect();
        gone.iter().filter_map(|node| self.agents.remove(node)).map(|agent| agent.lease).collect()
    }

    /// The revision that every agent must reach for no Pod to wait; 0 if none does.
    pub(super) fn wanted(&self) -> u64 {
        self.waiting.values().map(|waiting| waiting.pod.version).max().unwrap_or(0)
    }

    /// What to do now. `nodes` are all that exist.
    pub(super) fn due(&self, nodes: &BTreeSet<String>, now: Instant) -> Vec<Due> {
        let living: Vec<(&String, u64)> = self
            .agents
            .iter()
            .filter(|(node, agent)| agent.lives(now) && (nodes.is_empty() || nodes.contains(*node)))
            .map(|(node, agent)| (node, agent.revision))
            .collect();
        let lowest = living.iter().map(|(_, revision)| *revision).min();
        let due = self.waiting.iter().filter(|(_, waiting)| waiting.not_before.is_none_or(|until| until <= now));
        due.filter_map(|(name, Waiting { pod, since, .. })| {
            let outcome = if self.agents_listed && lowest.is_some_and(|lowest| lowest >= pod.version) {
                Outcome::Programmed
            } else if *since + self.timeout <= now {
                let lagging = living.iter().filter(|(_, revision)| *revision < pod.version);
                Outcome::TimedOut { after: self.timeout, lagging: lagging.map(|(node, _)| (*node).clone()).collect() }
            } else {
                return None;
            };
            Some(Due { pod: name.clone(), uid: pod.uid.clone(), gates: pod.gates.clone(), outcome })
        })
        .collect()
    }

    /// When something may be due although nothing has happened: none as long as no Pod waits.
    pub(super) fn next(&self) -> Option<Instant> {
        let timeouts = self.waiting.values().map(|waiting| waiting.not_before.unwrap_or(waiting.since + self.timeout));
        let next = timeouts.min()?;
        let deaths = self.agents.values().map(|agent| agent.renewed + DEAD_AFTER);
        // An agent that has died long ago holds up nobody.
        Some(deaths.filter(|death| *death > Instant::now()).fold(next, Instant::min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);

    fn pod(version: u64) -> WaitingPod {
        WaitingPod { uid: "u".into(), version, gates: vec!["beeline.dev/backend-ready"] }
    }

    fn lease(version: &str) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.resource_version = Some(version.into());
        lease
    }

    fn nodes() -> BTreeSet<String> {
        ["a", "b"].map(String::from).into()
    }

    /// Agent `a` has programmed 10, agent `b` 5, and a Pod waits since version 8.
    fn gates(now: Instant) -> Gates {
        let mut gates = Gates::new(TIMEOUT);
        gates.note_agent("a".into(), lease("1"), 10, now);
        gates.note_agent("b".into(), lease("2"), 5, now);
        gates.end_agents();
        gates.note_pod(Name::new("shop", "x"), Some(pod(8)), now);
        gates
    }

    fn outcomes(gates: &Gates, nodes: &BTreeSet<String>, now: Instant) -> Vec<Outcome> {
        gates.due(nodes, now).into_iter().map(|due| due.outcome).collect()
    }

    #[test]
    fn a_gate_opens_when_the_last_living_agent_has_programmed_the_pod() {
        let now = Instant::now();
        let mut gates = gates(now);

        assert_eq!(outcomes(&gates, &nodes(), now), []);
        assert_eq!(gates.wanted(), 8);

        gates.note_agent("b".into(), lease("3"), 8, now);
        assert_eq!(outcomes(&gates, &nodes(), now), [Outcome::Programmed]);
    }

    #[test]
    fn no_gate_opens_before_all_agents_are_known() {
        let now = Instant::now();
        let mut gates = Gates::new(TIMEOUT);
        gates.note_pod(Name::new("shop", "x"), Some(pod(8)), now);
        gates.note_agent("a".into(), lease("1"), 10, now);
        assert_eq!(outcomes(&gates, &nodes(), now), []);

        gates.end_agents();
        assert_eq!(outcomes(&gates, &nodes(), now), [Outcome::Programmed]);
    }

    #[test]
    fn what_counts_is_the_version_at_which_the_pod_began_to_wait() {
        let now = Instant::now();
        let mut gates = gates(now);

        gates.note_pod(Name::new("shop", "x"), Some(pod(20)), now);

        assert_eq!(gates.wanted(), 8);
    }

    #[test]
    fn the_agent_of_a_dead_node_does_not_count() {
        let now = Instant::now();
        let mut gates = gates(now);
        let later = now + DEAD_AFTER;
        gates.note_agent("a".into(), lease("4"), 10, later);

        assert_eq!(outcomes(&gates, &nodes(), later), [Outcome::Programmed]);
    }

    #[test]
    fn a_list_that_shows_an_old_lease_again_is_no_sign_of_life() {
        let now = Instant::now();
        let mut gates = gates(now);
        let later = now + DEAD_AFTER;
        gates.note_agent("a".into(), lease("4"), 10, later);
        gates.note_agent("b".into(), lease("2"), 5, later);

        assert_eq!(outcomes(&gates, &nodes(), later), [Outcome::Programmed]);
    }

    #[test]
    fn the_agent_of_a_node_that_is_gone_does_not_count_and_its_lease_goes_when_it_is_dead() {
        let now = Instant::now();
        let mut gates = gates(now);
        let one = BTreeSet::from(["a".to_string()]);

        assert_eq!(outcomes(&gates, &one, now), [Outcome::Programmed]);
        assert_eq!(gates.take_dead(&one, now), []);
        assert_eq!(gates.take_dead(&one, now + DEAD_AFTER), [lease("2")]);
        assert_eq!(gates.take_dead(&nodes(), now + DEAD_AFTER), []);
    }

    #[test]
    fn after_the_time_out_the_gate_opens_and_who_lags_is_named() {
        let now = Instant::now();
        let mut gates = gates(now);
        let later = now + TIMEOUT;
        gates.note_agent("b".into(), lease("5"), 7, later);

        let expected = Outcome::TimedOut { after: TIMEOUT, lagging: vec!["b".to_string()] };
        assert_eq!(outcomes(&gates, &nodes(), later), [expected]);
    }

    #[test]
    fn without_any_agent_a_gate_waits_for_its_time_out() {
        let now = Instant::now();
        let mut gates = Gates::new(TIMEOUT);
        gates.note_pod(Name::new("shop", "x"), Some(pod(8)), now);

        assert_eq!(outcomes(&gates, &nodes(), now), []);
        assert_eq!(gates.next(), Some(now + TIMEOUT));
    }

    #[test]
    fn a_pod_that_a_list_no_longer_holds_does_not_wait() {
        let now = Instant::now();
        let mut gates = gates(now);

        gates.begin_pods();
        gates.end_pods();

        assert_eq!(gates.wanted(), 0);
    }

    #[test]
    fn what_failed_is_due_again_later() {
        let now = Instant::now();
        let mut gates = gates(now);
        let later = now + TIMEOUT;
        gates.postpone(&Name::new("shop", "x"), later + Duration::from_secs(1));

        assert_eq!(outcomes(&gates, &nodes(), later), []);
        assert_eq!(outcomes(&gates, &nodes(), later + Duration::from_secs(1)).len(), 1);
    }
}
