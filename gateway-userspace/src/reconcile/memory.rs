//! How much memory the maps take: `gateway_common::maps` says how large they are.

use gateway_common::maps::{Capacities, MAX_AFFINITIES, MAX_SOCKETS};
use gateway_common::{
    Address, Admitted, Affinity, Backend, Client, ConntrackEntry, Flow, Frontend, FrontendKey, Group, Slot,
    SocketEntry, SocketKey, SourceRange, Traffic, Vip,
};

/// About how much memory of the kernel the maps take, with this number of CPUs.
pub const fn memory_bytes(capacities: &Capacities, cpus: u32) -> u64 {
    // A preallocated hash element carries the kernel's header and its share of the buckets beside key and value.
    const HASH_OVERHEAD: u64 = 64;
    const fn size<T>() -> u64 {
        size_of::<T>() as u64
    }
    let flows = capacities.conntrack_entries() as u64 * (size::<Flow>() + size::<ConntrackEntry>() + HASH_OVERHEAD);
    let frontends = capacities.frontends as u64
        * (size::<FrontendKey>() + size::<Frontend>() + HASH_OVERHEAD // FRONTENDS
            + size::<Address>() + size::<Vip>() + HASH_OVERHEAD // VIPS
            + 16 + 8 + 16 // SERVICES, SERVICE_CURSORS, FRONTEND_CONNS
            + size::<Traffic>() * cpus as u64);
    let groups = capacities.groups() as u64 * (size::<Group>() + 8);
    let slots = capacities.slots() as u64 * size::<Slot>();
    let backends = capacities.backends as u64 * (size::<Backend>() + 16 + size::<Traffic>() * cpus as u64);
    let clients = MAX_AFFINITIES as u64 * (size::<Client>() + size::<Affinity>() + HASH_OVERHEAD)
        + capacities.sources as u64 * (size::<SourceRange>() + size::<Admitted>() + HASH_OVERHEAD);
    let sockets = MAX_SOCKETS as u64 * (size::<SocketKey>() + size::<SocketEntry>() + HASH_OVERHEAD);
    flows + frontends + groups + slots + backends + clients + sockets
}
