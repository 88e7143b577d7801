//! The datapath's object in this process, with maps that belong to it alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use aya::programs::TcAttachType;
use aya::{Ebpf, EbpfLoader, Pod};
use gateway_common::maps::{self, Capacities};
use gateway_common::{
    Address, Admitted, Affinity, Backend, Client, Connections, ConntrackEntry, Counter, Cursor, DropReason, Event,
    FilterWord, Flow, Frontend, FrontendKey, Place, Port, Protocol, Settings, Slot, SlotRange, SourceRange, Traffic,
    Vip,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::checksum;
use super::packet::Packet;
use super::program::{self, Outcome, Program};
use super::service::{Group, Service, schedule};
use crate::binaries;

/// Enough for a test.
pub const SMALL: Capacities = Capacities { flows: 2048, frontends: 64, backends: 256, sources: 64 };

/// The programs and their maps.
pub struct Datapath {
    ebpf: Ebpf,
    /// Ids by address and protocol.
    backends: BTreeMap<(SocketAddr, u8), u32>,
    frontends: u32,
    groups: u32,
    slots: u32,
}

/// What the packets of a device begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// The IP header.
    Bare,
}

/// A map's key or value on its way to the kernel.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain<T>(T);

// SAFETY: `IntoBytes` says that the value has no padding, `FromBytes` that any bytes are a valid one, and both together
// that it is plain data; the wrapper is transparent.
unsafe impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> Pod for Plain<T> {}

/// What lies in maps.
pub trait Layout: FromBytes + IntoBytes + Immutable + Copy + 'static {}
impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> Layout for T {}

impl Datapath {
    /// Loads the object with small maps. Programs are loaded when they are first run.
    pub fn load() -> Result<Self> {
        Self::with_capacities(SMALL)
    }

    /// Loads the object.
    pub fn with_capacities(capacities: Capacities) -> Result<Self> {
        let path = binaries::datapath_object()?;
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let types = program::kernel_types();
        let mut loader = EbpfLoader::new();
        loader.btf(types.as_ref());
        for &name in maps::ALL {
            if let Some(entries) = capacities.max_entries(name) {
                loader.map_max_entries(name, entries);
            }
        }
        let ebpf = loader.load(&bytes).with_context(|| format!("cannot load {}: run as root", path.display()))?;
        let mut datapath = Self { ebpf, backends: BTreeMap::new(), frontends: 0, groups: 0, slots: 0 };
        datapath.set(maps::SETTINGS, [(0, Settings::default())])?;
        Ok(datapath)
    }

    /// Runs a received packet.
    pub fn ingress(&mut self, packet: &Packet) -> Result<Outcome> {
        self.run_checked(Program::Ingress, packet)
    }

    /// Runs a packet that is about to be sent.
    pub fn egress(&mut self, packet: &Packet) -> Result<Outcome> {
        self.run_checked(Program::Egress, packet)
    }

    /// Runs bytes that need not be a packet. They begin with an Ethernet header.
    pub fn run(&mut self, program: Program, bytes: &[u8]) -> Result<Outcome> {
        program::run_once(program::load(&mut self.ebpf, program.name(false))?, bytes)
    }

    /// Runs a received packet without a link-layer header, which may have one afterwards.
    pub fn ingress_bare(&mut self, packet: &Packet) -> Result<Outcome> {
        program::run_once(program::load(&mut self.ebpf, Program::Ingress.name(true))?, &packet.bytes())
    }

    /// Hangs the programs on a device of the network namespace that this thread is in, for as long as this value lives.
    pub fn attach(&mut self, device: &str, link: Link) -> Result<()> {
        for (program, hook) in [(Program::Ingress, TcAttachType::Ingress), (Program::Egress, TcAttachType::Egress)] {
            let program = program::load(&mut self.ebpf, program.name(link == Link::Bare))?;
            program.attach(device, hook).with_context(|| format!("cannot attach to `{device}`"))?;
        }
        Ok(())
    }

    /// Runs a program many times over one packet, which each run finds as the one before left it; gives the mean.
    pub fn time(&mut self, program: Program, packet: &Packet, repeat: u32) -> Result<Duration> {
        let program = program::load(&mut self.ebpf, program.name(packet.is_bare()))?;
        program::run_repeatedly(program, &packet.bytes(), repeat)
    }

    /// Runs a packet and checks every checksum of what comes out.
    fn run_checked(&mut self, program: Program, packet: &Packet) -> Result<Outcome> {
        let loaded = program::load(&mut self.ebpf, program.name(packet.is_bare()))?;
        let outcome = program::run_once(loaded, &packet.bytes())?;
        let verified =
            if packet.is_bare() { checksum::verify_ip(&outcome.bytes) } else { checksum::verify(&outcome.bytes) };
        verified.with_context(|| format!("after {program:?}: {outcome:?}"))?;
        Ok(outcome)
    }

    /// Programs a frontend, and gives its id.
    pub fn serve(&mut self, service: &Service) -> Result<u32> {
        let id = self.frontends;
        self.frontends += 1;
        let mut groups = Vec::new();
        for (weight, group) in &service.groups {
            groups.push((*weight, self.add_group(id, service.protocol, group)?));
        }
        let groups = self.write_schedule(&schedule(groups))?;
        self.admit(id, service.sources.iter().flatten().copied())?;
        let written = gateway_common::Service {
            groups,
            affinity_timeout_sec: service.affinity_timeout_sec,
            algorithm: service.algorithm as u8,
            restricted: u8::from(service.sources.is_some()),
            ..gateway_common::Service::EMPTY
        };
        self.set(maps::SERVICES, [(id, written)])?;
        let address = service.frontend.ip().into();
        self.add_vip(service.frontend.ip())?;
        let key = FrontendKey::new(address, Port::new(service.frontend.port()), service.protocol);
        self.insert(maps::FRONTENDS, [(key, Frontend::balanced(id))])?;
        Ok(id)
    }

    /// Lets clients of these ranges in at a frontend that is restricted.
    pub fn admit(&mut self, frontend: u32, ranges: impl IntoIterator<Item = (IpAddr, u8)>) -> Result<()> {
        let found = self.ebpf.map_mut(maps::SOURCES).with_context(|| no_map(maps::SOURCES))?;
        let mut sources: LpmTrie<_, Plain<Client>, Plain<Admitted>> = LpmTrie::try_from(found)?;
        for (first, bits) in ranges {
            let SourceRange { prefix_bits, first } = SourceRange::new(frontend, first.into(), bits);
            sources.insert(&Key::new(prefix_bits, Plain(first)), Plain(Admitted::YES), 0)?;
        }
        Ok(())
    }

    /// What is remembered of a frontend's client.
    pub fn affinity(&self, frontend: u32, client: IpAddr) -> Result<Option<Affinity>> {
        let found = self.ebpf.map(maps::AFFINITY).with_context(|| no_map(maps::AFFINITY))?;
        let affinity: HashMap<&MapData, Plain<Client>, Plain<Affinity>> = HashMap::try_from(found)?;
        match affinity.get(&Plain(Client { frontend, address: client.into() }), 0) {
            Ok(entry) => Ok(Some(entry.0)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes what is remembered of a frontend's client older by this long.
    pub fn age_affinity(&mut self, frontend: u32, client: IpAddr, by: Duration) -> Result<()> {
        let mut affinity = self.affinity(frontend, client)?.context("nothing is remembered of the client")?;
        affinity.last_seen_ns = affinity.last_seen_ns.saturating_sub(by.as_nanos().try_into()?);
        self.insert(maps::AFFINITY, [(Client { frontend, address: client.into() }, affinity)])
    }

    /// Forgets a frontend's client, as the agent does when its backend gets no new connections any more.
    pub fn forget_client(&mut self, frontend: u32, client: IpAddr) -> Result<()> {
        let found = self.ebpf.map_mut(maps::AFFINITY).with_context(|| no_map(maps::AFFINITY))?;
        let mut affinity: HashMap<_, Plain<Client>, Plain<Affinity>> = HashMap::try_from(found)?;
        Ok(affinity.remove(&Plain(Client { frontend, address: client.into() }))?)
    }

    /// Restricts a frontend to the ranges it has.
    pub fn restrict(&mut self, frontend: u32) -> Result<()> {
        let service: gateway_common::Service = self.element(maps::SERVICES, frontend)?;
        self.set(maps::SERVICES, [(frontend, gateway_common::Service { restricted: 1, ..service })])
    }

    /// Makes an address a VIP, whether or not it has frontends.
    pub fn add_vip(&mut self, vip: IpAddr) -> Result<()> {
        let address = vip.into();
        self.set_filter(maps::VIP_FILTER, address)?;
        self.insert(maps::VIPS, [(address, Vip { frontends: 1, answers: 1, relay: Address::UNSPECIFIED })])
    }

    /// Sets the bit of an address in a filter, which makes it perhaps ours and nothing more.
    pub fn set_filter(&mut self, filter: &'static str, address: Address) -> Result<()> {
        let (index, bit) = FilterWord::position(&address);
        let word: FilterWord = self.element(filter, index)?;
        self.set(filter, [(index, FilterWord { bits: word.bits | bit })])
    }

    fn add_group(&mut self, frontend: u32, protocol: Protocol, group: &Group) -> Result<u32> {
        let id = self.groups;
        self.groups += 1;
        self.write_group(id, frontend, protocol, group)?;
        Ok(id)
    }

    /// Gives a group another schedule as the agent does: the new slots first, then the range in one write.
    pub fn write_group(&mut self, id: u32, frontend: u32, protocol: Protocol, group: &Group) -> Result<()> {
        let mut members = Vec::new();
        for (weight, backend) in &group.backends {
            members.push((*weight, self.add_backend(protocol, *backend)?));
        }
        let backends = self.write_schedule(&schedule(members))?;
        let reference = u64::from(id) + 1;
        self.set(maps::GROUPS, [(id, gateway_common::Group { backends, reference, frontend, _reserved: 0 })])
    }

    /// The id of a backend, which is programmed if it is new.
    pub fn add_backend(&mut self, protocol: Protocol, backend: SocketAddr) -> Result<u32> {
        let next = self.backends.len() as u32;
        let id = *self.backends.entry((backend, protocol.number())).or_insert(next);
        if id == next {
            let (address, port) = (backend.ip().into(), Port::new(backend.port()));
            self.set_filter(maps::BACKEND_FILTER, address)?;
            self.set(
                maps::BACKENDS,
                [(
                    id,
                    Backend {
                        address,
                        source: Address::UNSPECIFIED,
                        pod: 1,
                        generation: 1,
                        port,
                        protocol,
                        place: Place::Here as u8,
                    },
                )],
            )?;
        }
        Ok(id)
    }

    /// The backend is on another node, which sees this one at `source`.
    pub fn move_elsewhere(&mut self, id: u32, source: IpAddr) -> Result<()> {
        let backend: Backend = self.element(maps::BACKENDS, id)?;
        self.set_filter(maps::VIP_FILTER, source.into())?;
        self.set(maps::BACKENDS, [(id, Backend { source: source.into(), place: Place::Elsewhere as u8, ..backend })])
    }

    /// Another node answers for the VIP, or nobody.
    pub fn leave_to_others(&mut self, vip: IpAddr) -> Result<()> {
        self.insert(maps::VIPS, [(Address::from(vip), Vip { frontends: 1, answers: 0, relay: Address::UNSPECIFIED })])
    }

    /// A listener of the host takes the connections to a frontend from now on.
    pub fn steer(&mut self, frontend: SocketAddr, id: u32) -> Result<()> {
        let key = FrontendKey::new(frontend.ip().into(), Port::new(frontend.port()), Protocol::TCP);
        self.insert(maps::FRONTENDS, [(key, Frontend::steered(id))])
    }

    /// Another node answered for the VIP before this one does.
    pub fn relay_to(&mut self, vip: IpAddr, node: IpAddr) -> Result<()> {
        self.insert(maps::VIPS, [(Address::from(vip), Vip { frontends: 1, answers: 1, relay: node.into() })])
    }

    /// The agent is dead for so long that the node answers for no VIP any more.
    pub fn lapse(&mut self) -> Result<()> {
        self.set(maps::SETTINGS, [(0, Settings { answers_until_ns: 1, ..Settings::default() })])
    }

    /// The ports that flows to Pods elsewhere may bear.
    pub fn limit_source_ports(&mut self, first: u16, last: u16) -> Result<()> {
        let (first_source_port, last_source_port) = (first.into(), last.into());
        self.set(maps::SETTINGS, [(0, Settings { first_source_port, last_source_port, ..Settings::default() })])
    }

    /// The backend is gone: its generation changes.
    pub fn remove_backend(&mut self, id: u32) -> Result<()> {
        let mut backend: Backend = self.element(maps::BACKENDS, id)?;
        backend.generation += 1;
        self.set(maps::BACKENDS, [(id, backend)])
    }

    fn write_schedule(&mut self, members: &[u32]) -> Result<SlotRange> {
        let range = SlotRange { offset: self.slots, length: members.len() as u32 };
        self.slots += range.length;
        self.set(maps::SLOTS, (range.offset..).zip(members.iter().map(|&member| Slot { member })))?;
        Ok(range)
    }

    /// How often packets were refused or dropped for a reason.
    pub fn drops(&self, reason: DropReason) -> Result<u64> {
        self.counts(maps::DROPS, reason as u32, |counter: &Counter| counter.packets)
    }

    /// How often an event happened.
    pub fn events(&self, event: Event) -> Result<u64> {
        self.counts(maps::EVENTS, event as u32, |counter: &Counter| counter.packets)
    }

    /// Packets and bytes of an id, of `FRONTEND_BYTES` or `BACKEND_BYTES`.
    pub fn traffic(&self, map: &'static str, id: u32) -> Result<Traffic> {
        let packets = self.counts(map, id, |traffic: &Traffic| traffic.packets)?;
        let bytes = self.counts(map, id, |traffic: &Traffic| traffic.bytes)?;
        Ok(Traffic { packets, bytes })
    }

    /// Connections of an id, of `FRONTEND_CONNS` or `BACKEND_CONNS`.
    pub fn connections(&self, map: &'static str, id: u32) -> Result<Connections> {
        self.element(map, id)
    }

    fn counts<T: Layout>(&self, map: &'static str, index: u32, count: impl Fn(&T) -> u64) -> Result<u64> {
        let found = self.ebpf.map(map).with_context(|| no_map(map))?;
        let array: PerCpuArray<&MapData, Plain<T>> = PerCpuArray::try_from(found)?;
        let values = array.get(&index, 0).with_context(|| format!("map `{map}`, index {index}"))?;
        Ok(values.iter().map(|value| count(&value.0)).sum())
    }

    /// The entry of a flow.
    pub fn entry(&self, flow: &Flow) -> Result<Option<ConntrackEntry>> {
        match self.conntrack()?.get(&Plain(*flow), 0) {
            Ok(entry) => Ok(Some(entry.0)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All entries of `CONNTRACK`.
    pub fn entries(&self) -> Result<Vec<(Flow, ConntrackEntry)>> {
        let conntrack = self.conntrack()?;
        conntrack.iter().map(|pair| Ok(pair.map(|(flow, entry)| (flow.0, entry.0))?)).collect()
    }

    fn conntrack(&self) -> Result<HashMap<&MapData, Plain<Flow>, Plain<ConntrackEntry>>> {
        Ok(HashMap::try_from(self.ebpf.map(maps::CONNTRACK).with_context(|| no_map(maps::CONNTRACK))?)?)
    }

    /// Removes entries of `CONNTRACK`.
    pub fn forget(&mut self, flows: impl IntoIterator<Item = Flow>) -> Result<()> {
        let found = self.ebpf.map_mut(maps::CONNTRACK).with_context(|| no_map(maps::CONNTRACK))?;
        let mut conntrack: HashMap<_, Plain<Flow>, Plain<ConntrackEntry>> = HashMap::try_from(found)?;
        for flow in flows {
            conntrack.remove(&Plain(flow)).with_context(|| format!("no entry for {flow}"))?;
        }
        Ok(())
    }

    /// Sets entries of a hash.
    pub fn insert<K: Layout, V: Layout>(
        &mut self,
        map: &'static str,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<()> {
        let found = self.ebpf.map_mut(map).with_context(|| no_map(map))?;
        let mut hash: HashMap<_, Plain<K>, Plain<V>> = HashMap::try_from(found)?;
        for (key, value) in entries {
            hash.insert(Plain(key), Plain(value), 0).with_context(|| format!("map `{map}`"))?;
        }
        Ok(())
    }

    /// Sets elements of an array.
    pub fn set<V: Layout>(&mut self, map: &'static str, elements: impl IntoIterator<Item = (u32, V)>) -> Result<()> {
        let found = self.ebpf.map_mut(map).with_context(|| no_map(map))?;
        let mut array: Array<_, Plain<V>> = Array::try_from(found)?;
        for (index, value) in elements {
            array.set(index, Plain(value), 0).with_context(|| format!("map `{map}`, index {index}"))?;
        }
        Ok(())
    }

    /// An element of an array.
    pub fn element<V: Layout>(&self, map: &'static str, index: u32) -> Result<V> {
        let found = self.ebpf.map(map).with_context(|| no_map(map))?;
        let array: Array<&MapData, Plain<V>> = Array::try_from(found)?;
        Ok(array.get(&index, 0).with_context(|| format!("map `{map}`, index {index}"))?.0)
    }

    /// Has the collector look at these flows, as the agent does, and says how many it collected.
    pub fn collect(&mut self, candidates: &[Flow]) -> Result<u64> {
        ensure!(candidates.len() <= maps::MAX_CANDIDATES as usize, "too many candidates for one run");
        let before = self.events(Event::Collected)?;
        self.set(maps::CANDIDATES, (0..).zip(candidates.iter().copied()))?;
        self.set(maps::CANDIDATE_NEXT, [(0, Cursor { steps: 0 })])?;
        for _ in candidates {
            self.run(Program::Collect, &[0; 64])?;
        }
        Ok(self.events(Event::Collected)? - before)
    }
}

fn no_map(name: &str) -> String {
    format!("the object has no map `{name}`: run `cargo xtask build-ebpf`")
}
