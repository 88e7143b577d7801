//! Tables in which every run of a program over one and the same packet is a full one.
//!
//! *Known flows* form a ring: the entry of each gives its packets the tuple of the next, so the packet that a run has
//! rewritten belongs to the next flow of the ring, and each run looks up, counts and rewrites addresses and ports. *New
//! flows* form a chain: the backend that a frontend's next connection gets is the next frontend, so each run of a SYN
//! meets a frontend that knows nothing of it, selects, and tracks two entries; they are removed after the chain's end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use beeline_tests::packets::{Datapath, Packet, Program, Service};
use gateway_common::maps::{self, Capacities};
use gateway_common::{
    Address, ConntrackEntry, Cursor, Direction, FilterWord, Flow, FlowPath, FlowState, Frontend, FrontendKey, Port,
    Protocol,
};
use serde::Serialize;

/// What a bed holds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Config {
    /// Flows in the table.
    pub flows: u32,
    /// Flows whose packets are measured, in turn; the services of new flows are in turn as well if it is not 1.
    pub busy_flows: u32,
    /// Services in the tables.
    pub services: u32,
}

/// The IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Family {
    /// IPv4
    IPv4,
    /// IPv6
    IPv6,
}

/// Programmed tables.
pub struct Bed {
    config: Config,
    family: Family,
    datapath: Datapath,
    /// Frontends that hand a new flow on to each other; the last is a backend only.
    chain: Vec<SocketAddr>,
}

/// New flows for each measurement with one service: enough to be measured warm, and few enough to fit beside 10,000 services.
const CHAIN: u32 = 6000;
/// A number with no factor in common with any number of flows: entries lie in memory in another order than the ring's.
const STRIDE: u64 = 61_837;

impl Bed {
    /// Builds one, with maps of the size they have by default.
    pub fn build(config: Config, family: Family) -> Result<Self> {
        let datapath = Datapath::with_capacities(Capacities::DEFAULT)?;
        let mut bed = Self { config, family, datapath, chain: Vec::new() };
        bed.add_services()?;
        bed.add_flows()?;
        Ok(bed)
    }

    /// How many flows are in a ring: the shortest is there and back.
    fn ring(&self) -> u32 {
        self.config.busy_flows.max(2)
    }

    /// Services that new flows meet.
    fn busy_services(&self) -> u32 {
        if self.config.busy_flows == 1 { 1 } else { self.config.services }
    }

    fn add_services(&mut self) -> Result<()> {
        let busy = self.busy_services();
        self.chain = if busy == 1 {
            (0..=CHAIN as u16).map(|link| SocketAddr::new(self.vip(0), 10_000 + link)).collect()
        } else {
            (0..=busy).map(|service| SocketAddr::new(self.vip(service), 9000 + (service % 2) as u16)).collect()
        };
        for service in 0..self.config.services {
            let frontend =
                if busy == 1 { SocketAddr::new(self.vip(service), 9000) } else { self.chain[service as usize] };
            let backends = match service {
                0 if busy == 1 => self.chain[1..].iter().map(|&next| (1, next)).collect(),
                _ if busy == 1 => vec![(2, SocketAddr::new(self.pod(service), 80))],
                // Two slots, so that the cursor takes a step as it does for several backends.
                _ => vec![(2, self.chain[service as usize + 1])],
            };
            self.datapath.serve(&Service::new(Protocol::TCP, frontend, &backends))?;
        }
        if busy == 1 {
            let key = |link: &SocketAddr| FrontendKey::new(link.ip().into(), Port::new(link.port()), Protocol::TCP);
            let links = self.chain.iter().take(CHAIN as usize).map(|link| (key(link), Frontend { id: 0 }));
            self.datapath.insert(maps::FRONTENDS, links)?;
        }
        Ok(())
    }

    fn add_flows(&mut self) -> Result<()> {
        let flows = self.config.flows.max(self.ring());
        let mut entries = Vec::new();
        for step in 0..u64::from(flows) {
            let flow = (step * STRIDE % u64::from(flows)) as u32;
            for direction in [Direction::Forward, Direction::Reverse] {
                entries.push((self.flow(flow, direction), self.entry(flow, direction)));
            }
        }
        for flow in 0..flows.min(self.config.services) {
            self.datapath.set_filter(maps::VIP_FILTER, self.vip(flow).into())?;
            self.datapath.set_filter(maps::BACKEND_FILTER, self.pod(flow).into())?;
        }
        self.datapath.insert(maps::CONNTRACK, entries)
    }

    /// The packet that begins a case, and the program that it is for.
    pub fn packet(&self, case: Case) -> Result<(Program, Packet)> {
        Ok(match case {
            Case::Established => {
                let [source, destination] = self.ends(0, Direction::Forward);
                (Program::Ingress, Packet::tcp(source, destination))
            }
            Case::Reply => {
                let [source, destination] = self.ends(0, Direction::Reverse);
                (Program::Egress, Packet::tcp(source, destination))
            }
            Case::New => (Program::Ingress, Packet::syn(self.newcomer(), self.chain[0])),
            Case::NotOursIn => (Program::Ingress, Packet::tcp(self.newcomer(), self.stranger(maps::VIP_FILTER)?)),
            Case::NotOursOut => (Program::Egress, Packet::tcp(self.stranger(maps::BACKEND_FILTER)?, self.newcomer())),
        })
    }

    /// How often a program is run for one measurement.
    pub fn repeat(&self, case: Case) -> u32 {
        match case {
            Case::New => self.chain.len() as u32 - 1,
            Case::Established | Case::Reply => 200_000.max(self.ring()),
            Case::NotOursIn | Case::NotOursOut => 500_000,
        }
    }

    /// Measures a case once and gives the time of a run. Checks that every run was what it should have been.
    pub fn measure(&mut self, case: Case) -> Result<Duration> {
        let (program, packet) = self.packet(case)?;
        let repeat = self.repeat(case);
        self.datapath.set(maps::GROUP_CURSORS, [(0, Cursor { steps: 0 })])?;
        let before = self.done(case)?;
        let time = self.datapath.time(program, &packet, repeat)?;
        let done = self.done(case)? - before;
        if case == Case::New {
            self.remove_new_flows()?;
        }
        let expected = if case.is_ours() { u64::from(repeat) } else { 0 };
        ensure!(done == expected, "{} of {expected} runs did the whole work of `{}`", done, case.name());
        Ok(time)
    }

    /// What the counters say of the runs so far.
    fn done(&self, case: Case) -> Result<u64> {
        let mut sum = 0;
        for frontend in 0..self.config.services {
            sum += if case == Case::New {
                self.datapath.connections(maps::FRONTEND_CONNS, frontend)?.new
            } else {
                self.datapath.traffic(maps::FRONTEND_BYTES, frontend)?.packets
            };
        }
        Ok(sum)
    }

    fn remove_new_flows(&mut self) -> Result<()> {
        let client = self.newcomer();
        let links = self.chain.len() - 1;
        let forward = self.chain[..links].iter().map(|&link| Packet::flow(Protocol::TCP, client, link));
        let reverse = self.chain[1..].iter().map(|&link| Packet::flow(Protocol::TCP, link, client));
        self.datapath.forget(forward.chain(reverse))
    }

    fn flow(&self, flow: u32, direction: Direction) -> Flow {
        let [source, destination] = self.ends(flow, direction);
        Packet::flow(Protocol::TCP, source, destination)
    }

    fn entry(&self, flow: u32, direction: Direction) -> ConntrackEntry {
        let next = if flow < self.ring() { (flow + 1) % self.ring() } else { flow };
        let to = self.flow(next, direction);
        let service = flow % self.config.services;
        ConntrackEntry {
            source: to.source,
            destination: to.destination,
            source_port: to.source_port,
            destination_port: to.destination_port,
            backend: service,
            last_seen_ns: 0,
            generation: 1,
            frontend: service,
            state: FlowState::Established as u8,
            direction: direction as u8,
            fin_sent: 0,
            fin_received: 0,
            path: FlowPath::Host as u8,
            _reserved: [0; 3],
        }
    }

    /// The ends of a flow's packets. Neighbours in a ring have different ports at the far end, so ports are rewritten.
    fn ends(&self, flow: u32, direction: Direction) -> [SocketAddr; 2] {
        let client = SocketAddr::new(self.address(0xc612_0000, flow), 1024 + (flow % 50_000) as u16);
        let (service, port) = (flow % self.config.services, (flow % 2) as u16);
        match direction {
            Direction::Forward => [client, SocketAddr::new(self.vip(service), 8000 + port)],
            Direction::Reverse => [SocketAddr::new(self.pod(service), 80 + port), client],
        }
    }

    /// A client that has no flow yet.
    fn newcomer(&self) -> SocketAddr {
        SocketAddr::new(self.address(0xac10_0000, 1), 40_000)
    }

    /// An address that a filter tells at once from ours.
    fn stranger(&self, filter: &'static str) -> Result<SocketAddr> {
        let mut number = 1;
        loop {
            let address = self.address(0xc633_6400, number);
            let (index, bit) = FilterWord::position(&Address::from(address));
            let word: FilterWord = self.datapath.element(filter, index)?;
            if word.bits & bit == 0 {
                return Ok(SocketAddr::new(address, 443));
            }
            number += 1;
        }
    }

    fn vip(&self, number: u32) -> IpAddr {
        self.address(0x0a60_0000, number)
    }

    fn pod(&self, number: u32) -> IpAddr {
        self.address(0x0a80_0000, number)
    }

    /// The `number`th address of a range.
    fn address(&self, range: u32, number: u32) -> IpAddr {
        let v4 = Ipv4Addr::from_bits(range + number);
        match self.family {
            Family::IPv4 => v4.into(),
            Family::IPv6 => Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(v4.to_bits())).into(),
        }
    }
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// A segment of a known flow, from the client.
    Established,
    /// A segment of a known flow, from the backend.
    Reply,
    /// The first SYN of a flow: both entries are created.
    New,
    /// Received, and not ours.
    NotOursIn,
    /// Sent, and not ours.
    NotOursOut,
}

impl Case {
    /// All, in the order of the report.
    pub const ALL: [Self; 5] = [Self::Established, Self::Reply, Self::New, Self::NotOursIn, Self::NotOursOut];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Reply => "reply",
            Self::New => "new connection",
            Self::NotOursIn => "not ours, received",
            Self::NotOursOut => "not ours, sent",
        }
    }

    const fn is_ours(self) -> bool {
        matches!(self, Self::Established | Self::Reply | Self::New)
    }
}
