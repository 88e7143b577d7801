//! Who else is there: the agents whose Leases are renewed, and what each says of its node.
//!
//! Every agent follows the Leases of all, if there are VIPs to share. Clocks of other machines do not matter: what counts
//! is when a renewal was seen here. While nothing at all is heard from the API server, nobody dies by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use ipnet::IpNet;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use super::node_lease::{NODE_LABEL, node_of};

/// The annotation of a node's Lease that says its addresses on the segments that clients come by.
const ADDRESSES_ANNOTATION: &str = "beeline.dev/node-addresses";
/// The annotation that says whether others shall answer for VIPs in its place.
const LEAVING_ANNOTATION: &str = "beeline.dev/leaving";

/// Our own Lease is renewed every 10 s, and we see that, too: after a longer silence we were blind, and nobody else dead.
const SILENCE: Duration = Duration::from_secs(20);

/// When others take the VIPs of a node whose agent does not renew its Lease, though the node may live: until then its datapath
/// goes on without the agent. A node that is dead itself is noticed on the segment, within seconds.
pub const GONE_AFTER: Duration = Duration::from_secs(330);

/// What an agent says of its node to the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its addresses on the segments that clients come by, each with its subnet.
    pub addresses: Vec<IpNet>,
    /// Others shall answer for VIPs, if there are any: it is about to stop, is not ready or is excluded.
    pub leaving: bool,
}

/// The agents that live, by node.
pub type Peers = BTreeMap<String, Peer>;

/// What is known of the agents.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Those that live.
    pub peers: Arc<Peers>,
    /// When the API server last had anything to tell of them.
    pub at: Instant,
}

impl Heard {
    /// Whether what is known is as of now.
    pub fn is_fresh(&self) -> bool {
        self.at.elapsed() <= SILENCE
    }
}

/// What the agent wants the others to know, and to know of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stance {
    /// See [`Peer::addresses`].
    pub addresses: Vec<IpNet>,
    /// It is about to stop.
    pub leaving: bool,
    /// There are VIPs to share with the others.
    pub shares: bool,
    /// Another agent of this node goes on in its place.
    pub succeeded: bool,
}

impl Peer {
    /// As annotations of a Lease.
    pub(super) fn annotations(&self) -> [(&'static str, String); 2] {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        [(ADDRESSES_ANNOTATION, addresses.join(",")), (LEAVING_ANNOTATION, self.leaving.to_string())]
    }

    /// From the annotations of a Lease. What cannot be read was written by a version that knows better.
    fn of(lease: &Lease) -> Self {
        let annotation = |key| lease.metadata.annotations.as_ref()?.get(key).map(String::as_str);
        let addresses = annotation(ADDRESSES_ANNOTATION).unwrap_or_default();
        Self {
            addresses: addresses.split(',').filter_map(|text| text.parse().ok()).collect(),
            leaving: annotation(LEAVING_ANNOTATION) == Some("true"),
        }
    }
}

/// Follows the Leases, from the moment that there are VIPs to share until told to stop.
pub(super) async fn follow_peers(
    leases: Api<Lease>,
    mut stance: watch::Receiver<Stance>,
    mut stop: watch::Receiver<bool>,
    heard: watch::Sender<Option<Heard>>,
) {
    let follow = async {
        if stance.wait_for(|stance| stance.shares).await.is_err() {
            return;
        }
        let events = watcher(leases, watcher::Config::default().labels(NODE_LABEL)).default_backoff();
        pin_mut!(events);
        let mut roll = Roll::default();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let now = Instant::now();
                    roll.note(event, now);
                    if let Some(peers) = roll.living(now) {
                        heard.send_replace(Some(Heard { peers: Arc::new(peers), at: now }));
                    }
                }
                Err(error) => debug!(%error, "the Leases of other agents cannot be watched at present"),
            }
        }
    };
    tokio::select! {
        () = follow => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// The Leases as they were seen.
#[derive(Debug, Default)]
struct Roll {
    agents: BTreeMap<String, Agent>,
    /// The nodes of a list that is being received.
    listed: BTreeSet<String>,
    /// All Leases were seen.
    is_whole: bool,
    /// When anything was last seen.
    last: Option<Instant>,
}

#[derive(Debug)]
struct Agent {
    version: Option<String>,
    peer: Peer,
    renewed: Instant,
}

impl Roll {
    fn note(&mut self, event: watcher::Event<Lease>, now: Instant) {
        let was_blind = self.last.replace(now).is_none_or(|last| last + SILENCE < now);
        if was_blind {
            self.agents.values_mut().for_each(|agent| agent.renewed = now);
        }
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::Apply(lease) => self.see(&lease, now),
            watcher::Event::InitApply(lease) => {
                self.listed.extend(node_of(&lease).map(str::to_string));
                self.see(&lease, now);
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.agents.retain(|node, _| listed.contains(node));
                self.is_whole = true;
            }
            watcher::Event::Delete(lease) => {
                node_of(&lease).and_then(|node| self.agents.remove(node));
            }
        }
    }

    /// Only a change of a Lease is a sign of life: a list shows all of them again.
    fn see(&mut self, lease: &Lease, now: Instant) {
        let Some(node) = node_of(lease) else { return };
        let version = lease.metadata.resource_version.clone();
        if self.agents.get(node).is_none_or(|known| known.version != version) {
            self.agents.insert(node.to_string(), Agent { version, peer: Peer::of(lease), renewed: now });
        }
    }

    /// Those that live; nothing while not all are known.
    fn living(&self, now: Instant) -> Option<Peers> {
        let living = self.agents.iter().filter(|(_, agent)| now < agent.renewed + GONE_AFTER);
        self.is_whole.then(|| living.map(|(node, agent)| (node.clone(), agent.peer.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::api::ObjectMeta;
    use kube::runtime::watcher::Event;

    fn lease(node: &str, version: u64, peer: &Peer) -> Lease {
        let annotations = peer.annotations().map(|(key, value)| (key.to_string(), value));
        let metadata = ObjectMeta {
            name: Some(format!("beeline-node-{node}")),
            resource_version: Some(version.to_string()),
            annotations: Some(annotations.into()),
            ..ObjectMeta::default()
        };
        Lease { metadata, spec: None }
    }

    /// A roll of these nodes, all of which were seen at the beginning.
    fn roll(nodes: &[&str], now: Instant) -> Roll {
        let mut roll = Roll::default();
        roll.note(Event::Init, now);
        for node in nodes {
            assert_eq!(roll.living(now), None);
            roll.note(Event::InitApply(lease(node, 1, &Peer::default())), now);
        }
        roll.note(Event::InitDone, now);
        roll
    }

    fn living(roll: &Roll, now: Instant) -> Vec<String> {
        roll.living(now).unwrap().into_keys().collect()
    }

    #[test]
    fn what_an_agent_says_of_its_node_is_read_by_the_others() {
        let addresses = vec!["192.0.2.7/24".parse().unwrap(), "2001:db8::7/64".parse().unwrap()];
        for peer in [Peer { addresses, leaving: true }, Peer::default()] {
            assert_eq!(Peer::of(&lease("n1", 1, &peer)), peer);
        }
        assert_eq!(Peer::of(&Lease::default()), Peer::default());
    }

    #[test]
    fn an_agent_that_does_not_renew_its_lease_is_dead_and_one_whose_lease_is_gone_has_left() {
        let start = Instant::now();
        let mut roll = roll(&["n1", "n2", "n3"], start);
        let mut now = start;
        for version in 2..38 {
            now += Duration::from_secs(9);
            roll.note(Event::Apply(lease("n1", version, &Peer::default())), now);
        }
        assert_eq!(living(&roll, now), ["n1", "n2", "n3"]);

        roll.note(Event::Delete(lease("n3", 2, &Peer::default())), now);
        assert_eq!(living(&roll, now), ["n1", "n2"]);
        now += Duration::from_secs(9);
        roll.note(Event::Apply(lease("n1", 38, &Peer::default())), now);
        assert_eq!(living(&roll, now), ["n1"]);
    }

    #[test]
    fn nobody_dies_because_the_api_server_was_silent() {
        let start = Instant::now();
        let mut roll = roll(&["n1", "n2"], start);
        let later = start + Duration::from_mins(10);

        roll.note(Event::Init, later);
        roll.note(Event::InitApply(lease("n1", 2, &Peer::default())), later);
        roll.note(Event::InitApply(lease("n2", 1, &Peer::default())), later);
        roll.note(Event::InitDone, later);

        assert_eq!(living(&roll, later), ["n1", "n2"]);
    }

    #[test]
    fn a_list_takes_away_who_is_not_in_it() {
        let now = Instant::now();
        let mut roll = roll(&["n1", "n2"], now);

        roll.note(Event::Init, now);
        roll.note(Event::InitApply(lease("n2", 1, &Peer::default())), now);
        roll.note(Event::InitDone, now);

        assert_eq!(living(&roll, now), ["n2"]);
    }
}
