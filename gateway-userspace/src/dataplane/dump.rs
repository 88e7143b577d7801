//! What the maps contain, as a document: for JSON, for text, and for the golden tests, which compare the text.
//!
//! The text is sorted and shows no ids, so equal services give equal text whatever their history. Names are not in
//! the maps: whoever knows them fills them in.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use gateway_common::FrontendKey;
use serde::Serialize;

/// What the maps contain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dump {
    /// All frontends, by address, port and protocol.
    pub frontends: Vec<FrontendDump>,
    /// Backends that no schedule names: they keep the flows they have.
    pub idle_backends: Vec<BackendDump>,
    /// All VIPs, those without frontends included.
    pub vips: Vec<VipDump>,
    /// Drops by reason, all reasons.
    pub drops: Vec<CounterDump>,
    /// Events by name, all names.
    pub events: Vec<CounterDump>,
    /// How many flows are tracked.
    pub flows: FlowsDump,
}

/// A frontend and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendDump {
    /// Its identity.
    #[serde(skip)]
    pub key: FrontendKey,
    /// Its index in the maps.
    pub id: u32,
    /// The VIP.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: String,
    /// The object that asked for it, if known.
    pub owner: Option<String>,
    /// Whether the HTTP layer takes its connections: then it has no groups here, and its traffic is not counted.
    pub http: bool,
    /// The algorithm's name.
    pub algorithm: String,
    /// How long a client keeps its backend after its last new connection; nothing: it does not.
    pub affinity_seconds: Option<u32>,
    /// The ranges of clients that it lets in; nothing: everybody.
    pub sources: Option<Vec<String>>,
    /// Slots of the schedule over its groups.
    pub slots: u32,
    /// The schedule: the groups' labels, with repetitions.
    pub schedule: String,
    /// Its connections.
    pub connections: ConnectionsDump,
    /// Its traffic.
    pub traffic: TrafficDump,
    /// Its groups, the largest share first.
    pub groups: Vec<GroupDump>,
}

/// The backends behind one reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupDump {
    /// Its label in the frontend's schedule.
    pub label: String,
    /// Its index in the maps.
    pub id: u32,
    /// The reference's fingerprint, 16 hexadecimal digits.
    pub fingerprint: String,
    /// The reference, if known.
    pub reference: Option<String>,
    /// How many slots of the frontend's schedule it has.
    pub share: u32,
    /// Slots of the schedule over its backends; 0: connections are refused.
    pub slots: u32,
    /// The schedule: the backends' labels, with repetitions.
    pub schedule: String,
    /// Its backends that have weight, by address and port.
    pub backends: Vec<BackendDump>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendDump {
    /// Its label in the group's schedule.
    pub label: String,
    /// Its index in the maps.
    pub id: u32,
    /// The Pod's address.
    pub address: IpAddr,
    /// The Pod's port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: String,
    /// The fingerprint of the Pod's UID, 16 hexadecimal digits; all zeros without Pod.
    pub pod: String,
    /// The Pod's name, if known.
    pub name: Option<String>,
    /// Whether the Pod runs on this node.
    pub place: PlaceDump,
    /// This node's address that a Pod elsewhere sees; nothing while there is no route to it.
    pub source: Option<IpAddr>,
    /// How many backends of this id were gone before.
    pub generation: u32,
    /// How many slots of the group's schedule it has.
    pub weight: u32,
    /// Its connections, of all frontends.
    pub connections: ConnectionsDump,
    /// Its traffic, of all frontends.
    pub traffic: TrafficDump,
}

/// Where a backend's Pod runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PlaceDump {
    /// On this node.
    Here,
    /// On another node or in another cluster.
    Elsewhere,
}

/// A VIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VipDump {
    /// The address.
    pub address: IpAddr,
    /// How many frontends it has; 0: it waits for its flows to end.
    pub frontends: u32,
}

/// Connections of TCP, flows of UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionsDump {
    /// Begun.
    pub new: u64,
    /// Tracked now.
    pub active: u64,
}

/// Traffic in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficDump {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CounterDump {
    /// What is counted: the name in metrics.
    pub name: String,
    /// What it means, for people.
    pub meaning: String,
    /// How often.
    pub packets: u64,
}

/// How full the table of flows is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowsDump {
    /// Flows that are tracked.
    pub active: u64,
    /// Flows that there is room for.
    pub max: u64,
}

impl Dump {
    /// The text with all counters after it.
    pub fn with_counters(&self) -> impl fmt::Display + '_ {
        Counted(self)
    }
}

/// The label of the member at this place: a, b, … z, aa, ab, …
pub(super) fn label(mut place: usize) -> String {
    let mut label = Vec::new();
    loop {
        label.push(b'a' + (place % 26) as u8);
        place /= 26;
        if place == 0 {
            break;
        }
        place -= 1;
    }
    label.iter().rev().map(|&letter| char::from(letter)).collect()
}

/// A schedule in few letters: a label for each slot, repetitions counted.
pub(super) fn compact<'l>(labels: impl Iterator<Item = &'l str>) -> String {
    let mut runs: Vec<(&str, u32)> = Vec::new();
    for label in labels {
        match runs.last_mut() {
            Some((last, count)) if *last == label => *count += 1,
            Some(_) | None => runs.push((label, 1)),
        }
    }
    let words =
        runs.into_iter().map(|(label, count)| if count == 1 { label.to_owned() } else { format!("{label}×{count}") });
    words.collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for frontend in &self.frontends {
            frontend.fmt(f)?;
        }
        for backend in &self.idle_backends {
            writeln!(f, "no new connections: {} {backend}", backend.protocol)?;
        }
        for vip in self.vips.iter().filter(|vip| vip.frontends == 0) {
            writeln!(f, "no frontends: {}", vip.address)?;
        }
        Ok(())
    }
}

impl fmt::Display for FrontendDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, if self.http { "http" } else { &self.algorithm })?;
        if let Some(owner) = &self.owner {
            write!(f, " ({owner})")?;
        }
        writeln!(f)?;
        if let Some(affinity) = self.affinity() {
            writeln!(f, "  affinity {affinity}")?;
        }
        if let Some(sources) = &self.sources {
            let listed = if sources.is_empty() { "none: nobody is let in".to_owned() } else { sources.join(" ") };
            writeln!(f, "  sources {listed}")?;
        }
        if !self.http {
            writeln!(f, "  {} slots: {}", self.slots, self.schedule)?;
        }
        for group in &self.groups {
            writeln!(f, "  {} {}/{} {}", group.label, group.share, self.slots, group.title())?;
            if group.slots == 0 {
                writeln!(f, "    no backends: refused")?;
                continue;
            }
            writeln!(f, "    {} slots: {}", group.slots, group.schedule)?;
            for backend in &group.backends {
                writeln!(f, "    {} {}/{} {backend}", backend.label, backend.weight, group.slots)?;
            }
        }
        Ok(())
    }
}

impl FrontendDump {
    /// How long a client keeps its backend, as people write it: `3h`, `1h30m`.
    pub fn affinity(&self) -> Option<String> {
        let seconds = self.affinity_seconds?;
        let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        Some(parts.map(|(count, unit)| format!("{count}{unit}")).collect::<Vec<_>>().concat())
    }
}

impl GroupDump {
    fn title(&self) -> &str {
        self.reference.as_ref().unwrap_or(&self.fingerprint)
    }
}

impl BackendDump {
    /// Where the Pod runs and what it sees of this node, in words.
    pub fn place_text(&self) -> String {
        match (self.place, self.source) {
            (PlaceDump::Here, _) => "here".to_owned(),
            (PlaceDump::Elsewhere, Some(source)) => format!("elsewhere via {source}"),
            (PlaceDump::Elsewhere, None) => "elsewhere, no route".to_owned(),
        }
    }
}

impl fmt::Display for BackendDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", SocketAddr::new(self.address, self.port))?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        if self.place == PlaceDump::Elsewhere {
            write!(f, " {}", self.place_text())?;
        }
        if self.generation != 0 {
            write!(f, " (generation {})", self.generation)?;
        }
        Ok(())
    }
}

/// A dump whose text has the counters, too.
struct Counted<'a>(&'a Dump);

impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(dump) = self;
        dump.fmt(f)?;
        writeln!(f, "\nflows: {} of {}", dump.flows.active, dump.flows.max)?;
        for frontend in &dump.frontends {
            counts(f, &frontend.key.to_string(), frontend.connections, frontend.traffic)?;
        }
        let served = dump.frontends.iter().flat_map(|frontend| &frontend.groups).flat_map(|group| &group.backends);
        let mut backends: Vec<_> = served.chain(&dump.idle_backends).collect();
        backends.sort_by_key(|backend| (backend.address, backend.port, &backend.protocol, backend.id));
        backends.dedup_by_key(|backend| backend.id);
        for backend in backends {
            counts(f, &format!("{} backend {backend}", backend.protocol), backend.connections, backend.traffic)?;
        }
        for (kind, counters) in [("drop", &dump.drops), ("event", &dump.events)] {
            for counter in counters {
                writeln!(f, "{kind} {}: {}", counter.name, counter.packets)?;
            }
        }
        Ok(())
    }
}

fn counts(f: &mut fmt::Formatter<'_>, who: &str, connections: ConnectionsDump, traffic: TrafficDump) -> fmt::Result {
    let ConnectionsDump { new, active } = connections;
    let TrafficDump { packets, bytes } = traffic;
    writeln!(f, "{who}: {new} new, {active} active, {packets} packets, {bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(label: &str, last: u8, weight: u32) -> BackendDump {
        BackendDump {
            label: label.to_owned(),
            id: u32::from(last),
            address: IpAddr::from([10, 0, 0, last]),
            port: 80,
            protocol: "TCP".to_owned(),
            pod: String::new(),
            name: Some(format!("shop/v{last}")),
            place: PlaceDump::Here,
            source: None,
            generation: 0,
            weight,
            connections: ConnectionsDump { new: 3, active: 1 },
            traffic: TrafficDump { packets: 30, bytes: 3000 },
        }
    }

    fn remote(backend: BackendDump) -> BackendDump {
        BackendDump { place: PlaceDump::Elsewhere, source: Some(IpAddr::from([192, 0, 2, 1])), ..backend }
    }

    fn dump() -> Dump {
        let vip = IpAddr::from([203, 0, 113, 10]);
        let group = GroupDump {
            label: "A".to_owned(),
            id: 7,
            fingerprint: "00000000000000aa".to_owned(),
            reference: Some("Service shop/web:80".to_owned()),
            share: 1,
            slots: 3,
            schedule: "a×2 b".to_owned(),
            backends: vec![backend("a", 1, 2), BackendDump { generation: 4, ..remote(backend("b", 2, 1)) }],
        };
        let empty = GroupDump {
            label: "B".to_owned(),
            reference: None,
            slots: 0,
            schedule: String::new(),
            backends: Vec::new(),
            ..group.clone()
        };
        let frontend = FrontendDump {
            key: FrontendKey::new(vip.into(), gateway_common::Port::new(80), gateway_common::Protocol::TCP),
            id: 0,
            address: vip,
            port: 80,
            protocol: "TCP".to_owned(),
            owner: Some("TCPRoute shop/web".to_owned()),
            http: false,
            algorithm: "WeightedRoundRobin".to_owned(),
            affinity_seconds: Some(5400),
            sources: Some(vec!["10.0.0.0/8".to_owned(), "192.0.2.1/32".to_owned()]),
            slots: 2,
            schedule: "A B".to_owned(),
            connections: ConnectionsDump { new: 6, active: 2 },
            traffic: TrafficDump { packets: 60, bytes: 6000 },
            groups: vec![group, empty],
        };
        Dump {
            frontends: vec![frontend],
            idle_backends: vec![backend("", 9, 0)],
            vips: vec![VipDump { address: IpAddr::from([203, 0, 113, 99]), frontends: 0 }],
            drops: vec![CounterDump { name: "no_flow".to_owned(), meaning: String::new(), packets: 5 }],
            events: Vec::new(),
            flows: FlowsDump { active: 2, max: 10 },
        }
    }

    #[test]
    fn the_text_shows_schedules_and_no_counters() {
        let expected = "\
TCP 203.0.113.10:80 WeightedRoundRobin (TCPRoute shop/web)
  affinity 1h30m
  sources 10.0.0.0/8 192.0.2.1/32
  2 slots: A B
  A 1/2 Service shop/web:80
    3 slots: a×2 b
    a 2/3 10.0.0.1:80 shop/v1
    b 1/3 10.0.0.2:80 shop/v2 elsewhere via 192.0.2.1 (generation 4)
  B 1/2 00000000000000aa
    no backends: refused
no new connections: TCP 10.0.0.9:80 shop/v9
no frontends: 203.0.113.99
";
        assert_eq!(dump().to_string(), expected);
    }

    #[test]
    fn a_frontend_of_the_http_layer_is_said_to_be_one() {
        let [frontend] = &dump().frontends[..] else { panic!("one frontend") };
        let site = FrontendDump {
            owner: Some("Gateway shop/web".to_owned()),
            http: true,
            affinity_seconds: None,
            sources: None,
            slots: 0,
            schedule: String::new(),
            groups: Vec::new(),
            ..frontend.clone()
        };

        assert_eq!(site.to_string(), "TCP 203.0.113.10:80 http (Gateway shop/web)\n");
    }

    #[test]
    fn counters_follow_the_text() {
        let text = dump().with_counters().to_string();

        let counters = text.strip_prefix(&dump().to_string()).expect("the text comes first");
        assert_eq!(
            counters,
            "
flows: 2 of 10
TCP 203.0.113.10:80: 6 new, 2 active, 60 packets, 6000 bytes
TCP backend 10.0.0.1:80 shop/v1: 3 new, 1 active, 30 packets, 3000 bytes
TCP backend 10.0.0.2:80 shop/v2 elsewhere via 192.0.2.1 (generation 4): 3 new, 1 active, 30 packets, 3000 bytes
TCP backend 10.0.0.9:80 shop/v9: 3 new, 1 active, 30 packets, 3000 bytes
drop no_flow: 5
"
        );
    }

    #[test]
    fn labels_go_on_after_z() {
        assert_eq!(
            [0, 1, 25, 26, 27, 51, 52, 701, 702].map(label),
            ["a", "b", "z", "aa", "ab", "az", "ba", "zz", "aaa"]
        );
    }

    #[test]
    fn repetitions_of_a_schedule_are_counted() {
        assert_eq!(compact(["a", "b", "a", "a", "a"].into_iter()), "a b a×3");
        assert_eq!(compact(std::iter::empty()), "");
    }
}
