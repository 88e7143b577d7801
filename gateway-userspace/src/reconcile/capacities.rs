//! How much the maps have room for. Three numbers are chosen by people; the sizes of all maps follow from them.

use gateway_common::{Backend, ConntrackEntry, Flow, Frontend, FrontendKey, Group, Slot, Traffic, maps};

/// What the maps have room for. Fixed when the maps are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    /// Flows that can be tracked at once.
    pub flows: u32,
    /// Frontends that can be programmed; also the number of VIPs.
    pub frontends: u32,
    /// Backends that can be programmed.
    pub backends: u32,
}

impl Default for Capacities {
    fn default() -> Self {
        Self {
            flows: maps::DEFAULT_MAX_FLOWS,
            frontends: maps::DEFAULT_MAX_FRONTENDS,
            backends: maps::DEFAULT_MAX_BACKENDS,
        }
    }
}

impl Capacities {
    /// Entries of `CONNTRACK`: two for each flow.
    pub const fn conntrack_entries(&self) -> u32 {
        self.flows.saturating_mul(2)
    }

    /// Entries of `GROUPS`.
    pub const fn groups(&self) -> u32 {
        self.frontends.saturating_mul(maps::GROUPS_PER_FRONTEND)
    }

    /// Entries of `SLOTS`.
    pub const fn slots(&self) -> u32 {
        self.backends.saturating_mul(maps::SLOTS_PER_BACKEND)
    }

    /// About how much memory of the kernel the maps take, with this number of CPUs.
    pub const fn memory_bytes(&self, cpus: u32) -> u64 {
        // A preallocated hash element carries the kernel's header and its share of the buckets beside key and value.
        const HASH_OVERHEAD: u64 = 64;
        const fn size<T>() -> u64 {
            size_of::<T>() as u64
        }
        let flows = self.conntrack_entries() as u64 * (size::<Flow>() + size::<ConntrackEntry>() + HASH_OVERHEAD);
        let frontends = self.frontends as u64
            * (size::<FrontendKey>() + size::<Frontend>() + HASH_OVERHEAD // FRONTENDS
                + 24 + HASH_OVERHEAD // VIPS
                + 16 + 8 + 16 // SERVICES, SERVICE_CURSORS, FRONTEND_CONNS
                + size::<Traffic>() * cpus as u64);
        let groups = self.groups() as u64 * (size::<Group>() + 8);
        let slots = self.slots() as u64 * size::<Slot>();
        let backends = self.backends as u64 * (size::<Backend>() + 16 + size::<Traffic>() * cpus as u64);
        flows + frontends + groups + slots + backends
    }
}
