//! Honours a client's stickiness: where its last new connection went, the next one goes.
//!
//! What is remembered counts from the last new connection on, not from the last packet. A backend that gets no new
//! connections any more is not asked for here: the agent deletes what leads to it. One that is gone is known by its
//! generation.

use gateway_common::{Client, Service};

use crate::draft::Draft;
use crate::tables::Tables;

/// The id of no backend.
pub const NOBODY: u32 = u32::MAX;

/// Puts the backend that the draft's client was given last into the draft, unless that was too long ago.
#[inline(always)]
pub fn recall<T: Tables>(draft: &mut Draft, tables: &T) {
    if let Some(backend) = recalled(&draft.client.first, &draft.service, tables) {
        draft.affinity.backend = backend;
    }
}

/// The backend that a client was given last, unless that was too long ago.
#[inline(always)]
pub fn recalled<T: Tables>(client: &Client, service: &Service, tables: &T) -> Option<u32> {
    let known = tables.affinity(client)?;
    let backend = known.backend;
    let now_ns = tables.now_ns();
    // An entry that was written after the clock was read is not old.
    let idle_ns = now_ns.saturating_sub(known.last_seen_ns);
    if idle_ns < service.affinity_timeout_ns() && tables.is_current(backend, known.generation) {
        known.last_seen_ns = now_ns;
        return Some(backend);
    }
    None
}

/// Remembers the backend that the draft's entry leads to, from now on.
#[inline(always)]
pub fn remember<T: Tables>(draft: &mut Draft, tables: &T) {
    draft.affinity.last_seen_ns = draft.entry.last_seen_ns;
    draft.affinity.backend = draft.entry.backend;
    draft.affinity.generation = draft.entry.generation;
    tables.remember(&draft.client.first, &draft.affinity);
}
