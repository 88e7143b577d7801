//! All maps, typed: does the writes of reconcile, and reads what the maps contain.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gateway_common::maps;
use gateway_common::{
    Address, Admitted, Affinity, Backend, Client, Connections, FilterWord, Frontend, FrontendKey, Group, Service,
    Settings, Slot, SourceRange, Traffic, Vip,
};

use super::error::Error;
use super::table::{Plain, Table};
use crate::reconcile::{Actual, Capacities, Pair, Write};

/// The maps that the agent writes, and the counters, which it sets back when an id is taken again.
#[derive(Debug)]
pub(super) struct Maps {
    vip_filter: Table<u32, FilterWord>,
    backend_filter: Table<u32, FilterWord>,
    vips: Table<Address, Vip>,
    frontends: Table<FrontendKey, Frontend>,
    services: Table<u32, Service>,
    groups: Table<u32, Group>,
    slots: Table<u32, Slot>,
    backends: Table<u32, Backend>,
    affinity: Table<Client, Affinity>,
    sources: Table<SourceRange, Admitted>,
    settings: Table<u32, Settings>,
    frontend_connections: Table<u32, Connections>,
    backend_connections: Table<u32, Connections>,
    frontend_traffic: Table<u32, Traffic>,
    backend_traffic: Table<u32, Traffic>,
}

impl Maps {
    /// Opens the pinned maps.
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        Ok(Self {
            vip_filter: Table::open(directory, maps::VIP_FILTER)?,
            backend_filter: Table::open(directory, maps::BACKEND_FILTER)?,
            vips: Table::open(directory, maps::VIPS)?,
            frontends: Table::open(directory, maps::FRONTENDS)?,
            services: Table::open(directory, maps::SERVICES)?,
            groups: Table::open(directory, maps::GROUPS)?,
            slots: Table::open(directory, maps::SLOTS)?,
            backends: Table::open(directory, maps::BACKENDS)?,
            affinity: Table::open(directory, maps::AFFINITY)?,
            sources: Table::open(directory, maps::SOURCES)?,
            settings: Table::open(directory, maps::SETTINGS)?,
            frontend_connections: Table::open(directory, maps::FRONTEND_CONNS)?,
            backend_connections: Table::open(directory, maps::BACKEND_CONNS)?,
            frontend_traffic: Table::open(directory, maps::FRONTEND_BYTES)?,
            backend_traffic: Table::open(directory, maps::BACKEND_BYTES)?,
        })
    }

    /// Does a write. Returns the number of entries that were set or deleted.
    pub(super) fn apply(&self, write: &Write) -> Result<u64, Error> {
        match write {
            Write::RemoveFrontend { key } => self.frontends.remove(key)?,
            Write::SetFrontend { key, frontend } => self.frontends.set(key, frontend)?,
            Write::SetVip { address, vip } => self.vips.set(address, vip)?,
            Write::RemoveVip { address } => self.vips.remove(address)?,
            Write::SetVipFilter { index, word } => self.vip_filter.set(index, word)?,
            Write::SetBackendFilter { index, word } => self.backend_filter.set(index, word)?,
            Write::ClearFrontendCounters { id } => {
                return clear(*id, &self.frontend_connections, &self.frontend_traffic);
            }
            Write::ClearBackendCounters { id } => return clear(*id, &self.backend_connections, &self.backend_traffic),
            Write::SetBackend { id, backend } => self.backends.set(id, backend)?,
            Write::SetSlots { offset, members } => {
                let slots: Vec<Slot> = members.iter().map(|&member| Slot { member }).collect();
                self.slots.write_run(*offset, &slots)?;
                return Ok(slots.len() as u64);
            }
            Write::SetGroup { id, group } => self.groups.set(id, group)?,
            Write::SetService { id, service } => self.services.set(id, service)?,
            Write::SetSource { range } => self.sources.set(range, &Admitted::YES)?,
            Write::RemoveSource { range } => self.sources.remove(range)?,
            Write::ForgetAffinity { pairs } => return self.forget_clients(pairs),
        }
        Ok(1)
    }

    /// Deletes what leads clients of a frontend to a backend, for each pair of these. Returns how many clients it was.
    ///
    /// It reads the whole map, whose size is fixed. A plan has this write once at most, and only if a backend left a
    /// frontend with affinity.
    fn forget_clients(&self, pairs: &BTreeSet<Pair>) -> Result<u64, Error> {
        let mut clients = Vec::new();
        self.affinity.read_all(|client, values| {
            if values.iter().any(|affinity| pairs.contains(&(client.frontend, affinity.backend))) {
                clients.push(client);
            }
        })?;
        for client in &clients {
            self.affinity.remove(client)?;
        }
        Ok(clients.len() as u64)
    }

    /// Which backends `AFFINITY` remembers for each frontend.
    pub(super) fn read_affinities(&self) -> Result<BTreeSet<Pair>, Error> {
        let mut pairs = BTreeSet::new();
        self.affinity.read_all(|client, values| {
            pairs.extend(values.iter().map(|affinity| (client.frontend, affinity.backend)));
        })?;
        Ok(pairs)
    }

    /// What the datapath was last told; an array's entry that nobody wrote is all zeros.
    pub(super) fn settings(&self) -> Result<Option<Settings>, Error> {
        self.settings.get(&0)
    }

    /// Tells the datapath how long idle flows are kept. Returns the number of entries that had to be set.
    pub(super) fn set_settings(&self, settings: &Settings) -> Result<u64, Error> {
        if self.settings.get(&0)?.as_ref() == Some(settings) {
            return Ok(0);
        }
        self.settings.set(&0, settings)?;
        Ok(1)
    }

    /// What the maps contain, but for what the datapath remembers of clients.
    pub(super) fn read(&self) -> Result<Actual, Error> {
        let mut actual = Actual {
            services: used(&self.services)?,
            groups: used(&self.groups)?,
            backends: used(&self.backends)?,
            vip_filter: words(&self.vip_filter)?,
            backend_filter: words(&self.backend_filter)?,
            sources: self.sources.keys()?.into_iter().collect(),
            ..Actual::default()
        };
        self.frontends.read_all(|key, values| {
            actual.frontends.extend(values.iter().map(|&frontend| (key, frontend)));
        })?;
        self.vips.read_all(|address, values| actual.vips.extend(values.iter().map(|&vip| (address, vip))))?;
        self.read_slots(&mut actual)?;
        Ok(actual)
    }

    /// Reads the slots up to the last that anybody names, at once: they lie close together.
    fn read_slots(&self, actual: &mut Actual) -> Result<(), Error> {
        let end = |range: &gateway_common::SlotRange| range.offset.checked_add(range.length);
        let exists = |range: &gateway_common::SlotRange| end(range).is_some_and(|end| end <= self.slots.max_entries());
        let ranges: Vec<_> = actual.ranges().filter(exists).collect();
        let slots = self.slots.read_run(0, ranges.iter().filter_map(end).max().unwrap_or(0))?;
        for range in ranges {
            let members = slots[range.offset as usize..][..range.length as usize].iter().map(|slot| slot.member);
            actual.slots.insert((range.offset, range.length), members.collect());
        }
        Ok(())
    }

    /// What the maps have room for.
    pub(super) const fn capacities(&self, conntrack_entries: u32) -> Capacities {
        Capacities {
            flows: conntrack_entries / 2,
            frontends: self.frontends.max_entries(),
            backends: self.backends.max_entries(),
            sources: self.sources.max_entries(),
        }
    }
}

/// The entries of an array that are not all zeros.
fn used<V: Plain>(table: &Table<u32, V>) -> Result<BTreeMap<u32, V>, Error> {
    let mut found = BTreeMap::new();
    table.read_all(|id, values| {
        found.extend(
            values.iter().filter(|value| value.as_bytes().iter().any(|&byte| byte != 0)).map(|&value| (id, value)),
        );
    })?;
    Ok(found)
}

fn words(table: &Table<u32, FilterWord>) -> Result<Vec<u64>, Error> {
    Ok(table.read_run(0, table.max_entries())?.into_iter().map(|word| word.bits).collect())
}

/// Sets counters back, as far as they are not zero. Connections that are still active will be counted out, so they
/// stay.
fn clear(id: u32, connections: &Table<u32, Connections>, traffic: &Table<u32, Traffic>) -> Result<u64, Error> {
    let mut writes = 0;
    if let Some(Connections { new: 1.., active }) = connections.get(&id)? {
        connections.set(&id, &Connections { new: 0, active })?;
        writes += 1;
    }
    if traffic.get_per_cpu(&id)?.iter().any(|traffic| *traffic != Traffic::default()) {
        traffic.set_per_cpu(&id, Traffic::default())?;
        writes += 1;
    }
    Ok(writes)
}
