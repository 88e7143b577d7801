//! Looks at the pinned maps without a lock and without the object: for `status` and `dump`, whether an agent runs or
//! not. It writes nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use gateway_common::{
    Address, Backend, Connections, ConntrackEntry, Flow, Frontend, FrontendKey, Place, Service, SlotRange, SourceRange,
    Traffic, maps,
};
use serde::Serialize;

use super::counters::Counters;
use super::dump::{
    BackendDump, ConnectionsDump, CounterDump, Dump, FlowsDump, FrontendDump, GroupDump, PlaceDump, TrafficDump,
    VipDump, compact, label,
};
use super::error::Error;
use super::maps::Maps;
use super::table::Table;
use super::{bpffs, syscall};
use crate::reconcile::Actual;

/// The pinned maps of a datapath.
#[derive(Debug)]
pub struct View {
    bpffs: PathBuf,
    maps: Maps,
    counters: Counters,
    conntrack: Table<Flow, ConntrackEntry>,
}

/// A pinned link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkView {
    /// The link's name: `eth0-ingress`, `eth0-egress`, `guard`.
    pub name: String,
    /// Whether its device or network namespace is still there.
    pub attached: bool,
    /// The kernel's number for its program.
    pub program: u32,
}

impl View {
    /// Opens what is pinned under the directory.
    pub fn open(bpffs: &Path) -> Result<Self, Error> {
        bpffs::refuse_other_layouts(bpffs)?;
        let directory = bpffs::maps(bpffs);
        if bpffs::entries(&directory)?.is_empty() {
            return Err(Error::NotLoaded(bpffs.to_owned()));
        }
        Ok(Self {
            bpffs: bpffs.to_owned(),
            maps: Maps::open(&directory)?,
            counters: Counters::open(&directory)?,
            conntrack: Table::open(&directory, maps::CONNTRACK)?,
        })
    }

    /// The pinned links, by name. One that cannot be read is left out.
    pub fn links(&self) -> Vec<LinkView> {
        let paths = bpffs::entries(&bpffs::links(&self.bpffs)).unwrap_or_default();
        let view = |path: PathBuf| {
            let info = syscall::link_info(syscall::open_pinned(&path).ok()?.as_fd()).ok()?;
            Some(LinkView { name: bpffs::name(&path), attached: info.target != 0, program: info.program_id })
        };
        paths.into_iter().filter_map(view).collect()
    }

    /// What the maps contain.
    pub fn dump(&self) -> Result<Dump, Error> {
        let actual = self.maps.read()?;
        let mut selected = BTreeSet::new();
        let mut frontends = Vec::with_capacity(actual.frontends.len());
        let mut group_ids: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (&id, group) in actual.groups.iter().filter(|(_, group)| group.reference != 0) {
            group_ids.entry(group.frontend).or_default().push(id);
        }
        let sources = sources(&actual);
        for (&key, &found) in &actual.frontends {
            let id = found.id;
            let group_ids = group_ids.get(&id).map_or(&[][..], Vec::as_slice);
            let mut frontend = self.frontend(&actual, key, found, group_ids, &mut selected)?;
            if actual.services.get(&id).is_some_and(Service::is_restricted) {
                frontend.sources = Some(sources.get(&id).cloned().unwrap_or_default());
            }
            frontends.push(frontend);
        }
        let mut idle_backends = Vec::new();
        for (&id, backend) in &actual.backends {
            if backend.place().is_some() && !selected.contains(&id) {
                idle_backends.push(self.backend(id, backend, String::new(), 0)?);
            }
        }
        idle_backends.sort_by_key(|backend| (backend.address, backend.port, backend.protocol.clone(), backend.id));
        let vips = actual.vips.iter();
        Ok(Dump {
            frontends,
            idle_backends,
            vips: vips.map(|(address, vip)| VipDump { address: address.to_ip(), frontends: vip.frontends }).collect(),
            drops: self.drops()?,
            events: self.events()?,
            flows: FlowsDump {
                active: self.counters.active_flows()?,
                max: u64::from(self.conntrack.max_entries()) / 2,
            },
        })
    }

    fn frontend(
        &self,
        actual: &Actual,
        key: FrontendKey,
        frontend: Frontend,
        group_ids: &[u32],
        selected: &mut BTreeSet<u32>,
    ) -> Result<FrontendDump, Error> {
        let id = frontend.id;
        let service = actual.services.get(&id);
        let range = service.map_or(SlotRange::EMPTY, |service| service.groups);
        let slots = actual.members(range).unwrap_or_default();
        let shares = tally(slots);
        let mut groups = group_ids
            .iter()
            .map(|&group| self.group(actual, group, shares.get(&group).copied().unwrap_or(0), selected))
            .collect::<Result<Vec<_>, _>>()?;
        groups.sort_by(|a, b| (Reverse(a.share), &a.fingerprint).cmp(&(Reverse(b.share), &b.fingerprint)));
        for (place, group) in groups.iter_mut().enumerate() {
            group.label = label(place).to_uppercase();
        }
        let labels: BTreeMap<u32, &str> = groups.iter().map(|group| (group.id, group.label.as_str())).collect();
        let schedule = compact(slots.iter().map(|group| labels.get(group).copied().unwrap_or("?")));
        let (connections, traffic) = self.counters.frontend(id)?;
        Ok(FrontendDump {
            key,
            id,
            address: key.address.to_ip(),
            port: key.port.get(),
            protocol: key.protocol.to_string(),
            owner: None,
            http: frontend.is_steered(),
            algorithm: service
                .map_or(Some(gateway_common::Algorithm::default()), Service::algorithm)
                .map_or("?", |found| found.name())
                .to_owned(),
            affinity_seconds: service.filter(|service| service.has_affinity()).map(|found| found.affinity_timeout_sec),
            sources: None,
            slots: range.length,
            schedule,
            connections: connections.into(),
            traffic: traffic.into(),
            groups,
        })
    }

    fn group(&self, actual: &Actual, id: u32, share: u32, selected: &mut BTreeSet<u32>) -> Result<GroupDump, Error> {
        let group = actual.groups.get(&id);
        let range = group.map_or(SlotRange::EMPTY, |group| group.backends);
        let slots = actual.members(range).unwrap_or_default();
        let weights = tally(slots);
        selected.extend(weights.keys());
        let mut backends = Vec::with_capacity(weights.len());
        for (&member, &weight) in &weights {
            if let Some(backend) = actual.backends.get(&member) {
                backends.push(self.backend(member, backend, String::new(), weight)?);
            }
        }
        backends.sort_by_key(|backend| (backend.address, backend.port, backend.id));
        for (place, backend) in backends.iter_mut().enumerate() {
            backend.label = label(place);
        }
        let labels: BTreeMap<u32, &str> = backends.iter().map(|backend| (backend.id, backend.label.as_str())).collect();
        let schedule = compact(slots.iter().map(|member| labels.get(member).copied().unwrap_or("?")));
        Ok(GroupDump {
            label: String::new(),
            id,
            fingerprint: hex(group.map_or(0, |group| group.reference)),
            reference: None,
            share,
            slots: range.length,
            schedule,
            backends,
        })
    }

    fn backend(&self, id: u32, backend: &Backend, label: String, weight: u32) -> Result<BackendDump, Error> {
        let (connections, traffic) = self.counters.backend(id)?;
        Ok(BackendDump {
            label,
            id,
            address: backend.address.to_ip(),
            port: backend.port.get(),
            protocol: backend.protocol.to_string(),
            pod: hex(backend.pod),
            name: None,
            place: if backend.place() == Some(Place::Elsewhere) { PlaceDump::Elsewhere } else { PlaceDump::Here },
            source: (backend.source != Address::UNSPECIFIED).then(|| backend.source.to_ip()),
            generation: backend.generation,
            weight,
            connections: connections.into(),
            traffic: traffic.into(),
        })
    }

    fn drops(&self) -> Result<Vec<CounterDump>, Error> {
        let dump = |(reason, packets): (gateway_common::DropReason, u64)| CounterDump {
            name: reason.label().to_owned(),
            meaning: reason.sentence().to_owned(),
            packets,
        };
        Ok(self.counters.drops()?.into_iter().map(dump).collect())
    }

    fn events(&self) -> Result<Vec<CounterDump>, Error> {
        let dump = |(event, packets): (gateway_common::Event, u64)| CounterDump {
            name: event.label().to_owned(),
            meaning: counted(event).to_owned(),
            packets,
        };
        Ok(self.counters.events()?.into_iter().map(dump).collect())
    }
}

/// What an event means, for people.
const fn counted(event: gateway_common::Event) -> &'static str {
    use gateway_common::Event;
    match event {
        Event::LostStep => "two CPUs created one flow at once: a step of the schedule went to nobody",
        Event::FlowReplaced => "a new connection took the place of a closing or stale one",
        Event::Reselected => "a UDP flow lost its backend and was given another",
        Event::PortTranslated => "a client's port was in use towards the backend and was translated",
        Event::Collected => "an idle flow was collected",
        Event::IcmpTranslated => "an ICMP error about a tracked flow was translated",
        Event::SourceTranslated => "a new flow to a backend elsewhere was given a source address and port of this node",
        Event::IcmpSent => "a sender was told by ICMP that its packet was too large or crossed too many routers",
        Event::SocketSelected => "a socket of this node was given a backend: its packets are not rewritten",
        Event::SocketMoved => "a socket's datagrams lost their backend and were given another",
        Event::Relayed => "a TCP segment of no known flow was sent on to the node that answered for its VIP before",
    }
}

/// The ranges of clients of each frontend, by address.
fn sources(actual: &Actual) -> BTreeMap<u32, Vec<String>> {
    let mut ranges: Vec<&SourceRange> = actual.sources.iter().collect();
    ranges.sort_by_key(|range| (range.first, range.prefix_bits));
    let mut sources: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for range in ranges {
        sources.entry(range.first.frontend).or_default().push(range.to_string());
    }
    sources
}

/// How often each member stands in a schedule.
fn tally(slots: &[u32]) -> BTreeMap<u32, u32> {
    let mut tally = BTreeMap::new();
    for &member in slots {
        *tally.entry(member).or_default() += 1;
    }
    tally
}

fn hex(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

impl From<Connections> for ConnectionsDump {
    fn from(Connections { new, active }: Connections) -> Self {
        // A flow that ended while its beginning was not yet counted may leave a moment below zero.
        Self { new, active: active.cast_signed().max(0).cast_unsigned() }
    }
}

impl From<Traffic> for TrafficDump {
    fn from(Traffic { packets, bytes }: Traffic) -> Self {
        Self { packets, bytes }
    }
}
