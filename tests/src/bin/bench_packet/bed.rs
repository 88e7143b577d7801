//! Tables in which every run of a program over one and the same packet is a full one.
//!
//! *Known flows* form a ring: the entry of each gives its packets the tuple of the next, so the packet that a run has
//! rewritten belongs to the next flow of the ring, and each run looks up, counts and rewrites addresses and ports. *New
//! flows* form a chain: see `chain`. Where Pods are elsewhere each run takes a hop off the packet, so a measurement is made
//! of many short stretches, each of which goes on in the ring or the chain where the one before ended.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use beeline_tests::packets::{Datapath, Floor, Packet, Program};
use gateway_common::maps::{self, Capacities};
use gateway_common::{Address, ConntrackEntry, Direction, DropReason, FilterWord, Flow, FlowPath, FlowState, Protocol};
use serde::Serialize;

use crate::case::{Case, Pods};
use crate::chain::Chain;
use crate::full;

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

impl Family {
    /// The `number`th address of a range.
    pub fn address(self, range: u32, number: u32) -> IpAddr {
        let v4 = Ipv4Addr::from_bits(range + number);
        match self {
            Self::IPv4 => v4.into(),
            Self::IPv6 => Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(v4.to_bits())).into(),
        }
    }

    pub fn vip(self, number: u32) -> IpAddr {
        self.address(0x0a60_0000, number)
    }

    pub fn pod(self, number: u32) -> IpAddr {
        self.address(0x0a80_0000, number)
    }

    /// This node, as Pods elsewhere know it.
    pub fn node(self, number: u32) -> IpAddr {
        self.address(0xc000_0200, number)
    }

    /// A client that has no flow yet.
    pub fn newcomer(self) -> IpAddr {
        self.address(0xac10_0000, 1)
    }
}

/// Programmed tables.
pub struct Bed {
    config: Config,
    family: Family,
    pods: Pods,
    datapath: Datapath,
    chain: Chain,
}

/// A number with no factor in common with any number of flows: entries lie in memory in another order than the ring's.
const STRIDE: u64 = 61_837;
/// Flows that one client, or one address of this node, has at most.
const PORTS: u32 = 50_000;
/// A packet that loses a hop at each run has enough of them for so many.
const SHORT_STRETCH: u32 = 250;
/// With so many hops a packet begins.
const HOPS: u8 = 255;

impl Bed {
    /// Builds one, with maps of the size they have by default.
    pub fn build(config: Config, family: Family, pods: Pods) -> Result<Self> {
        let mut datapath = Datapath::with_capacities(Capacities::DEFAULT)?;
        let chain = Chain::build(&mut datapath, config, family, pods)?;
        if pods == Pods::Elsewhere {
            full::add(&mut datapath, family)?;
        }
        let mut bed = Self { config, family, pods, datapath, chain };
        bed.add_flows()?;
        Ok(bed)
    }

    /// How many flows are in a ring: the shortest is there and back.
    fn ring(&self) -> u32 {
        self.config.busy_flows.max(2)
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
            self.datapath.set_filter(maps::VIP_FILTER, self.family.vip(flow).into())?;
            self.datapath.set_filter(maps::BACKEND_FILTER, self.family.pod(flow).into())?;
        }
        for number in 0..=flows / PORTS {
            if self.pods == Pods::Elsewhere {
                self.datapath.set_filter(maps::VIP_FILTER, self.family.node(number).into())?;
            }
        }
        self.datapath.insert(maps::CONNTRACK, entries)
    }

    /// The packet that the `step`th run of a case finds, and the program that it is for.
    fn packet(&self, case: Case, step: u32) -> Result<(Program, Packet)> {
        let flow = step % self.ring();
        let replies_at = if self.pods == Pods::Here { Program::Egress } else { Program::Ingress };
        let newcomer = SocketAddr::new(self.family.newcomer(), 40_000);
        let (program, packet) = match case {
            Case::Established => {
                let [source, destination] = self.ends(flow, Direction::Forward);
                (Program::Ingress, Packet::tcp(source, destination))
            }
            Case::Reply => {
                let [source, destination] = self.ends(flow, Direction::Reverse);
                (replies_at, Packet::tcp(source, destination))
            }
            Case::New | Case::NewPortTaken => {
                let [source, destination] = self.chain.ends(case, step);
                (Program::Ingress, Packet::syn(source, destination))
            }
            Case::NoPort => (Program::Ingress, Packet::syn(newcomer, full::frontend(self.family))),
            Case::ToNode => (Program::Ingress, Packet::tcp(newcomer, SocketAddr::new(self.family.node(0), 443))),
            Case::NotOursIn => (Program::Ingress, Packet::tcp(newcomer, self.stranger(maps::VIP_FILTER)?)),
            Case::NotOursOut => (Program::Egress, Packet::tcp(self.stranger(maps::BACKEND_FILTER)?, newcomer)),
        };
        Ok((program, packet.hops(HOPS)))
    }

    /// How often a program is run for one measurement.
    fn runs(&self, case: Case) -> u32 {
        match case {
            Case::New | Case::NewPortTaken => self.chain.links(),
            Case::Established | Case::Reply => 200_000.max(self.ring()),
            Case::NoPort => 5000,
            Case::ToNode | Case::NotOursIn | Case::NotOursOut => 500_000,
        }
    }

    /// The parts of one measurement: where each begins, and how many runs it has.
    fn stretches(&self, case: Case) -> impl Iterator<Item = (u32, u32)> + use<> {
        let runs = self.runs(case);
        let longest = if self.pods == Pods::Elsewhere && case.is_ours() { SHORT_STRETCH } else { runs };
        (0..runs).step_by(longest as usize).map(move |begin| (begin, longest.min(runs - begin)))
    }

    /// Measures a case once and gives the time of a run. Checks that every run was what it should have been.
    pub fn measure(&mut self, case: Case) -> Result<Duration> {
        self.chain.begin(&mut self.datapath, case)?;
        let (before, lost) = (self.done(case)?, self.lost()?);
        let mut time = Duration::ZERO;
        for (begin, repeat) in self.stretches(case) {
            let (program, packet) = self.packet(case, begin)?;
            time += self.datapath.time(program, &packet, repeat)? * repeat;
        }
        let (done, lost) = (self.done(case)? - before, self.lost()? - lost);
        self.chain.end(&mut self.datapath, case)?;
        let runs = u64::from(self.runs(case));
        let expected = if case == Case::NoPort { (0, runs) } else { (if case.is_ours() { runs } else { 0 }, 0) };
        ensure!((done, lost) == expected, "of {runs} runs {done} went on and {lost} did not: not `{}`", case.name());
        Ok(time / self.runs(case))
    }

    /// Measures the empty program over the same packets, in the same stretches.
    pub fn measure_floor(&self, floor: &mut Floor, case: Case) -> Result<Duration> {
        let mut time = Duration::ZERO;
        for (begin, repeat) in self.stretches(case) {
            let (_, packet) = self.packet(case, begin)?;
            time += floor.time(&packet, repeat)? * repeat;
        }
        Ok(time / self.runs(case))
    }

    /// What the counters say of the runs so far.
    fn done(&self, case: Case) -> Result<u64> {
        let mut sum = 0;
        for frontend in 0..self.config.services {
            sum += if case.is_new() {
                self.datapath.connections(maps::FRONTEND_CONNS, frontend)?.new
            } else {
                self.datapath.traffic(maps::FRONTEND_BYTES, frontend)?.packets
            };
        }
        Ok(sum)
    }

    /// Packets that were refused or dropped so far.
    fn lost(&self) -> Result<u64> {
        DropReason::ALL.into_iter().map(|reason| self.datapath.drops(reason)).sum()
    }

    fn flow(&self, flow: u32, direction: Direction) -> Flow {
        let [source, destination] = self.ends(flow, direction);
        Packet::flow(Protocol::TCP, source, destination)
    }

    fn entry(&self, flow: u32, direction: Direction) -> ConntrackEntry {
        let next = if flow < self.ring() { (flow + 1) % self.ring() } else { flow };
        let to = self.flow(next, direction);
        let service = flow % self.config.services;
        tracked(&to, (service, service), direction, self.pods)
    }

    /// The ends of a flow's packets. Neighbours in a ring have different ports at the far end, so ports are rewritten.
    fn ends(&self, flow: u32, direction: Direction) -> [SocketAddr; 2] {
        let client = SocketAddr::new(self.family.address(0xc612_0000, flow), 1024 + (flow % PORTS) as u16);
        let (service, port) = (flow % self.config.services, (flow % 2) as u16);
        match direction {
            Direction::Forward => [client, SocketAddr::new(self.family.vip(service), 8000 + port)],
            Direction::Reverse => {
                let seen = if self.pods == Pods::Here { client.ip() } else { self.family.node(flow / PORTS) };
                [SocketAddr::new(self.family.pod(service), 80 + port), SocketAddr::new(seen, client.port())]
            }
        }
    }

    /// An address that a filter tells at once from ours.
    fn stranger(&self, filter: &'static str) -> Result<SocketAddr> {
        let mut number = 1;
        loop {
            let address = self.family.address(0xc633_6400, number);
            let (index, bit) = FilterWord::position(&Address::from(address));
            let word: FilterWord = self.datapath.element(filter, index)?;
            if word.bits & bit == 0 {
                return Ok(SocketAddr::new(address, 443));
            }
            number += 1;
        }
    }
}

/// An entry of an established flow of this backend and frontend: its packets are rewritten to a tuple.
pub fn tracked(to: &Flow, (backend, frontend): (u32, u32), direction: Direction, pods: Pods) -> ConntrackEntry {
    let path = if pods == Pods::Here { FlowPath::Host } else { FlowPath::Redirect };
    ConntrackEntry {
        source: to.source,
        destination: to.destination,
        source_port: to.source_port,
        destination_port: to.destination_port,
        backend,
        last_seen_ns: 0,
        generation: 1,
        frontend,
        state: FlowState::Established as u8,
        direction: direction as u8,
        fin_sent: 0,
        fin_received: 0,
        path: path as u8,
        _reserved: [0; 3],
    }
}
