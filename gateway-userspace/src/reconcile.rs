//! Makes actual equal desired: compares a [`Model`] with what the maps contain and lists the writes, in order.
//!
//! Pure: no kernel, no async, no clock; the ways to Pods elsewhere are asked of whoever wants a plan. It promises that
//! after each single write every frontend leads to slots, groups and backends that exist, or to the HTTP layer; that only
//! what differs is written, so the same model twice, or after a restart, needs no write; and that an id, once given, stays
//! as long as what it stands for.
//!
//! The order: frontends that go, backends that come, services, clients to forget, frontends that come, backends that go.
//! A frontend that the HTTP layer takes over leads there before its service goes; one that it gives up, after its service
//! has come.

mod actual;
mod affinities;
mod backends;
mod filter;
mod ids;
mod memory;
mod note;
mod placed;
mod services;
mod slots;
mod sources;
#[cfg(test)]
mod tests;
mod vips;
mod ways;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway_common::Address;
pub use gateway_common::maps::Capacities;

pub use self::actual::Actual;
pub use self::affinities::Pair;
use self::backends::Backends;
use self::ids::REST;
pub use self::memory::memory_bytes;
pub use self::note::{Matter, Note};
use self::services::Services;
pub use self::vips::Duty;
use self::vips::Vips;
pub use self::ways::{Unreachable, Way, Ways};
pub use self::write::Write;
use crate::model::Model;
pub use crate::schedule::Schedule;

/// What shall be done to make the maps equal a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The writes, in order.
    pub writes: Vec<Write>,
    /// The VIPs that the host must have. Addresses that are not among them leave the host before the writes; those
    /// that are missing come after them. So a VIP on the host is always guarded.
    pub host_vips: BTreeSet<Address>,
    /// The devices that lead to backends elsewhere, by index.
    pub devices: BTreeSet<u32>,
    /// The node's own addresses at which replies from backends elsewhere may come in.
    pub sources: BTreeSet<Address>,
    /// What there is to say of backends elsewhere that cannot be reached.
    pub unreachable: Option<Unreachable>,
    /// What could not be programmed as asked.
    pub notes: Vec<Note>,
    /// When to plan again though nothing changed: something waits for its time.
    pub next_deadline: Option<Duration>,
    /// Frontends that are programmed after the writes.
    pub frontends: usize,
    /// Backends that are programmed after the writes.
    pub backends: usize,
}

/// Remembers what the maps contain, and plans their way to a model.
///
/// Whoever fails to do a plan's writes must read the maps and [`Reconciler::adopt`] again. Times are those of any
/// clock that never goes back, the same one in all calls.
#[derive(Debug)]
pub struct Reconciler {
    services: Services,
    backends: Backends,
    vips: Vips,
    /// Writes that free what belongs to nobody, for the first plan.
    repairs: Vec<Write>,
}

impl Reconciler {
    /// Takes over what the maps contain.
    pub fn adopt(actual: &Actual, capacities: Capacities, now: Duration) -> Self {
        let mut repairs = Vec::new();
        let mut backends = Backends::adopt(&actual.backends, &actual.backend_filter, capacities.backends, now);
        let services = Services::adopt(actual, capacities, &mut backends, &mut repairs);
        let mut vips = Vips::adopt(&actual.vips, &actual.vip_filter, capacities.frontends, now);
        services.addresses().for_each(|address| vips.enter(address));
        backends.sources().for_each(|source| vips.enter_source(source));
        Self { services, backends, vips, repairs }
    }

    /// What to write so that the maps contain this model. The plan counts as done.
    pub fn plan(&mut self, model: &Model, ways: &mut dyn Ways, now: Duration) -> Plan {
        let Self { services, backends, vips, repairs } = self;
        let mut writes = std::mem::take(repairs);
        let mut notes = Vec::new();

        services.retire(model, now, (vips, backends), &mut writes);

        let mut changes = services.admit(model, now, vips, &mut notes, &mut writes);
        services.share_sources(&mut changes);
        for change in &mut changes {
            change.name_backends(backends, now, &mut writes);
        }
        backends.settle(ways, now, vips, &mut writes);

        let changed: Vec<_> = changes.iter().map(services::Change::changed).collect();
        for change in changes {
            services.update(change, now, backends, &mut writes);
        }
        services.forget_clients(now, &mut writes);
        // Whom only those named that named it differently before has moved.
        backends.settle(ways, now, vips, &mut writes);

        vips.raise(&mut writes);
        services.publish(&changed, &mut writes);

        backends.retire(model, now, vips, &mut writes);
        vips.expire(now, &mut writes);

        notes.extend(services.notes().cloned());
        Plan {
            writes,
            host_vips: vips.addresses(),
            devices: backends.devices(),
            sources: vips.sources(),
            unreachable: backends.unreachable(),
            next_deadline: self.next_deadline(&notes, now),
            notes,
            frontends: self.services.len(),
            backends: self.backends.len(),
        }
    }

    /// What to write so that this node does for its VIPs what the agents have settled; those that are not named stay as
    /// they are. It counts as done.
    pub fn assign(&mut self, duties: &BTreeMap<Address, Duty>) -> Vec<Write> {
        let mut writes = Vec::new();
        self.vips.assign(duties, &mut writes);
        writes
    }

    /// Tells of a scan of all flows: the VIPs that have flows, and when it began. A VIP without frontends that had
    /// none need not wait; plan again then.
    pub fn release_idle_vips(&mut self, busy: &BTreeSet<Address>, scan_began: Duration) {
        self.vips.release_idle(busy, scan_began);
    }

    /// Tells of the same scan which of the node's own addresses flows to backends elsewhere bear. One that nothing needs
    /// any more is forgotten with the next plan.
    pub fn release_idle_sources(&mut self, busy: &BTreeSet<Address>, scan_began: Duration) {
        self.vips.release_idle_sources(busy, scan_began);
    }

    fn next_deadline(&self, notes: &[Note], now: Duration) -> Option<Duration> {
        let lacking = notes.iter().any(|note| note.matter.is_shortage());
        let retry = [self.services.next_available(), self.backends.next_available()].into_iter().flatten().min();
        let retry = retry.filter(|_| lacking).map(|at| at.max(now + REST));
        [self.vips.next_deadline(), self.backends.next_deadline(), self.services.next_deadline(), retry]
            .into_iter()
            .flatten()
            .min()
    }
}
