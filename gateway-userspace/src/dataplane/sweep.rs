//! Collects idle flows: scans `CONNTRACK` in steps, and has a program in the kernel check and delete what looks idle.
//!
//! A step reads at most 8,192 entries, so it never holds anything up. The check is the program's: a flow that was
//! refreshed since the scan survives. A reverse entry is a candidate only if it is idle and its twin is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use gateway_common::maps::{self, MAX_CANDIDATES};
use gateway_common::{Address, ConntrackEntry, Counter, Cursor, Direction, Event, Flow, Settings};
use nix::time::{ClockId, clock_gettime};

use super::error::Error;
use super::table::Table;
use super::{counters, syscall};

/// Entries that a step reads at most. More than any bucket of the hash holds.
const STEP: u32 = 8192;
/// The program gets a packet that it does not look at: the kernel wants one of at least an Ethernet header.
const PACKET: [u8; 64] = [0; 64];

/// The collector of idle flows. It has descriptors of its own and can go to any thread.
#[derive(Debug)]
pub struct Sweeper {
    conntrack: Table<Flow, ConntrackEntry>,
    candidates: Table<u32, Flow>,
    next: Table<u32, Cursor>,
    events: Table<u32, Counter>,
    program: OwnedFd,
    settings: Settings,
    position: Option<u32>,
    round: Round,
}

/// What one step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Entries of `CONNTRACK` that it looked at.
    pub entries: u32,
    /// Flows that looked idle.
    pub candidates: u32,
    /// Flows that were collected.
    pub collected: u64,
    /// The whole scan, if this was its last step.
    pub round: Option<Round>,
}

/// What a whole scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Flows that were tracked, collected ones included.
    pub flows: u64,
    /// Flows that there is room for.
    pub max_flows: u64,
    /// Flows that were collected.
    pub collected: u64,
    /// Flows of each VIP that were left.
    pub vips: BTreeMap<Address, u64>,
    /// The node's addresses that flows bear as their source towards backends elsewhere.
    pub sources: BTreeSet<Address>,
}

/// Now, on the clock of `last_seen_ns`.
pub fn monotonic_ns() -> u64 {
    let now =
        clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(std::time::Duration::ZERO, std::time::Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

impl Sweeper {
    /// A collector that runs `program` over the pinned maps.
    pub(super) fn open(directory: &Path, program: OwnedFd, settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            conntrack: Table::open(directory, maps::CONNTRACK)?,
            candidates: Table::open(directory, maps::CANDIDATES)?,
            next: Table::open(directory, maps::CANDIDATE_NEXT)?,
            events: Table::open(directory, maps::EVENTS)?,
            program,
            settings,
            position: None,
            round: Round::default(),
        })
    }

    /// Looks at the next entries and collects what is idle among them. `now_ns` is [`monotonic_ns`].
    ///
    /// After an error the scan begins anew.
    pub fn step(&mut self, now_ns: u64) -> Result<SweepReport, Error> {
        let outcome = self.try_step(now_ns);
        if outcome.is_err() {
            self.position = None;
            self.round = Round::default();
        }
        outcome
    }

    fn try_step(&mut self, now_ns: u64) -> Result<SweepReport, Error> {
        let mut report = SweepReport::default();
        let mut idle = Vec::new();
        let mut idle_replies = Vec::new();
        let (settings, round) = (&self.settings, &mut self.round);
        let count = self.conntrack.max_entries().clamp(1, STEP);
        let more = self.conntrack.read_batch(&mut self.position, count, |flow, entries| {
            for entry in entries {
                report.entries += 1;
                let is_idle = is_idle(entry, settings, now_ns);
                match entry.direction() {
                    Some(Direction::Forward) => {
                        round.flows += 1;
                        if is_idle {
                            idle.push(flow);
                        }
                        *round.vips.entry(flow.destination).or_default() += 1;
                        // A hairpin flow bears the VIP.
                        if entry.source != flow.source && entry.source != flow.destination {
                            round.sources.insert(entry.source);
                        }
                    }
                    Some(Direction::Reverse) if is_idle => idle_replies.push((flow, entry.twin(flow.protocol))),
                    Some(Direction::Reverse) => {}
                    None => idle.push(flow),
                }
            }
        })?;
        for (reply, twin) in idle_replies {
            if self.conntrack.get(&twin)?.is_none() {
                idle.push(reply);
            }
        }
        for flows in idle.chunks(MAX_CANDIDATES as usize) {
            report.candidates += flows.len() as u32;
            report.collected += self.collect(flows)?;
        }
        self.settle(&idle)?;
        self.round.collected += report.collected;
        if !more {
            self.position = None;
            let max_flows = u64::from(self.conntrack.max_entries()) / 2;
            report.round = Some(Round { max_flows, ..std::mem::take(&mut self.round) });
        }
        Ok(report)
    }

    /// Runs the program once for each candidate. Returns how many flows it collected.
    fn collect(&self, flows: &[Flow]) -> Result<u64, Error> {
        let collected = || counters::sum(&self.events, Event::Collected as u32);
        let before = collected()?;
        self.candidates.write_run(0, flows)?;
        self.next.set(&0, &Cursor { steps: 0 })?;
        syscall::test_run(self.program.as_fd(), &PACKET, flows.len() as u32)
            .map_err(|source| Error::Collect { source })?;
        Ok(collected()?.wrapping_sub(before))
    }

    /// Takes the collected ones off the VIPs' flows: whoever is still there was not collected.
    fn settle(&mut self, idle: &[Flow]) -> Result<(), Error> {
        for flow in idle {
            if self.conntrack.get(flow)?.is_none()
                && let Some(flows) = self.round.vips.get_mut(&flow.destination)
            {
                *flows = flows.saturating_sub(1);
            }
        }
        Ok(())
    }
}

/// Whether this direction has been silent for longer than its state allows.
const fn is_idle(entry: &ConntrackEntry, settings: &Settings, now_ns: u64) -> bool {
    now_ns.saturating_sub(entry.last_seen_ns) >= settings.timeout_ns(entry.state)
}

#[cfg(test)]
mod tests {
    use gateway_common::{FlowPath, FlowState, Port};

    use super::*;

    fn entry(state: FlowState, last_seen_ns: u64) -> ConntrackEntry {
        ConntrackEntry {
            source: Address::UNSPECIFIED,
            destination: Address::UNSPECIFIED,
            source_port: Port::new(1),
            destination_port: Port::new(2),
            backend: 0,
            last_seen_ns,
            generation: 0,
            frontend: 0,
            state: state as u8,
            direction: Direction::Forward as u8,
            fin_sent: 0,
            fin_received: 0,
            path: FlowPath::Host as u8,
            _reserved: [0; 3],
        }
    }

    #[test]
    fn each_state_has_a_timeout_of_its_own() {
        let settings = Settings::default();
        let now = 10_000_000_000_000;
        let silent = |seconds: u64| now - seconds * 1_000_000_000;

        assert!(is_idle(&entry(FlowState::Syn, silent(20)), &settings, now));
        assert!(!is_idle(&entry(FlowState::Syn, silent(19)), &settings, now));
        assert!(!is_idle(&entry(FlowState::Established, silent(7999)), &settings, now));
        assert!(is_idle(&entry(FlowState::Closing, silent(30)), &settings, now));
        assert!(!is_idle(&entry(FlowState::Datagrams, silent(59)), &settings, now));
    }

    #[test]
    fn a_packet_seen_after_the_clock_was_read_is_not_idle() {
        assert!(!is_idle(&entry(FlowState::Syn, 5), &Settings::default(), 4));
    }
}
