//! Reads what the datapath counts. Numbers per CPU are summed.

use std::path::Path;

use gateway_common::{Connections, Counter, DropReason, Event, Traffic, maps};

use super::error::Error;
use super::table::Table;

/// All counters.
#[derive(Debug)]
pub(super) struct Counters {
    frontend_connections: Table<u32, Connections>,
    backend_connections: Table<u32, Connections>,
    frontend_traffic: Table<u32, Traffic>,
    backend_traffic: Table<u32, Traffic>,
    drops: Table<u32, Counter>,
    events: Table<u32, Counter>,
}

impl Counters {
    /// Opens the pinned maps.
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        Ok(Self {
            frontend_connections: Table::open(directory, maps::FRONTEND_CONNS)?,
            backend_connections: Table::open(directory, maps::BACKEND_CONNS)?,
            frontend_traffic: Table::open(directory, maps::FRONTEND_BYTES)?,
            backend_traffic: Table::open(directory, maps::BACKEND_BYTES)?,
            drops: Table::open(directory, maps::DROPS)?,
            events: Table::open(directory, maps::EVENTS)?,
        })
    }

    /// What a frontend was counted.
    pub(super) fn frontend(&self, id: u32) -> Result<(Connections, Traffic), Error> {
        read(id, &self.frontend_connections, &self.frontend_traffic)
    }

    /// What a backend was counted.
    pub(super) fn backend(&self, id: u32) -> Result<(Connections, Traffic), Error> {
        read(id, &self.backend_connections, &self.backend_traffic)
    }

    /// How often each reason refused or dropped a packet.
    pub(super) fn drops(&self) -> Result<Vec<(DropReason, u64)>, Error> {
        DropReason::ALL.into_iter().map(|reason| Ok((reason, sum(&self.drops, reason as u32)?))).collect()
    }

    /// How often each event happened.
    pub(super) fn events(&self) -> Result<Vec<(Event, u64)>, Error> {
        Event::ALL.into_iter().map(|event| Ok((event, sum(&self.events, event as u32)?))).collect()
    }

    /// Flows that are tracked now, of all backends, those that are gone included.
    pub(super) fn active_flows(&self) -> Result<u64, Error> {
        let mut total = 0u64;
        self.backend_connections.read_all(|_, values| {
            total = values.iter().fold(total, |total, connections| total.wrapping_add(connections.active));
        })?;
        // The sum is read while flows begin and end, so it can be short of a few.
        Ok(total.cast_signed().max(0).cast_unsigned())
    }
}

fn read(
    id: u32,
    connections: &Table<u32, Connections>,
    traffic: &Table<u32, Traffic>,
) -> Result<(Connections, Traffic), Error> {
    let connections = connections.get(&id)?.unwrap_or_default();
    let traffic = traffic.get_per_cpu(&id)?.into_iter().fold(Traffic::default(), |sum, traffic| Traffic {
        packets: sum.packets.wrapping_add(traffic.packets),
        bytes: sum.bytes.wrapping_add(traffic.bytes),
    });
    Ok((connections, traffic))
}

/// A counter's sum over all CPUs.
pub(super) fn sum(table: &Table<u32, Counter>, index: u32) -> Result<u64, Error> {
    Ok(table.get_per_cpu(&index)?.iter().map(|counter| counter.packets).sum())
}
