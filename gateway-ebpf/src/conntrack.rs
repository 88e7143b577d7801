//! Remembers which backend a flow was given, so that a connection keeps it for life.
//!
//! The forward entry is the flow's: its state and its FINs decide how long both entries are kept. The reverse
//! entry knows only whether a reply was ever seen. What closes or opens a connection costs one look-up of the
//! twin; every other packet touches its own entry alone.

use gateway_common::{ConntrackEntry, Direction, Event, Flow, FlowState, Protocol};

use crate::headers::TcpFlags;
use crate::tables::Tables;

/// What a forward entry says about a packet to a VIP that has met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The flow lives.
    Alive,
    /// The flow is over, or lost its backend and may have another: forget it and begin anew.
    Renew(Event),
    /// The backend is gone and the flow cannot move.
    Gone,
}

/// Judges the entry that a packet to a VIP has met.
#[inline(always)]
pub fn standing<T: Tables>(entry: &ConntrackEntry, flags: Option<TcpFlags>, tables: &T) -> Standing {
    let alive = tables.is_current(entry.backend, entry.generation);
    let opens = flags.is_some_and(TcpFlags::opens);
    match flags {
        _ if alive && !(opens && entry.state == FlowState::Closing as u8) => Standing::Alive,
        None => Standing::Renew(Event::Reselected),
        Some(_) if opens => Standing::Renew(Event::FlowReplaced),
        Some(_) => Standing::Gone,
    }
}

/// What a reverse entry says about a packet from a backend that has met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyStanding {
    /// The flow lives.
    Alive,
    /// The backend is gone.
    Gone,
    /// The packet opens a connection that never came by the VIP, between the same two ports as a flow that is over.
    Foreign,
}

/// Judges the entry that a packet from a backend has met.
#[inline(always)]
pub fn reply_standing<T: Tables>(
    flow: &Flow,
    entry: &ConntrackEntry,
    flags: Option<TcpFlags>,
    tables: &T,
) -> ReplyStanding {
    if flags.is_some_and(TcpFlags::answers) && is_over(entry, flow.protocol, tables) {
        ReplyStanding::Foreign
    } else if tables.is_current(entry.backend, entry.generation) {
        ReplyStanding::Alive
    } else {
        ReplyStanding::Gone
    }
}

#[inline(always)]
fn is_over<T: Tables>(reverse: &ConntrackEntry, protocol: Protocol, tables: &T) -> bool {
    twin(reverse, protocol, tables).is_some_and(|entry| entry.state == FlowState::Closing as u8)
}

/// Notes that a packet to a VIP was seen.
#[inline(always)]
pub fn advance<T: Tables>(entry: &mut ConntrackEntry, flags: Option<TcpFlags>, protocol: Protocol, tables: &T) {
    touch(entry, tables);
    let Some(flags) = flags else { return };
    if entry.state == FlowState::Syn as u8 && !flags.opens() && was_answered(entry, protocol, tables) {
        entry.state = FlowState::Established as u8;
    }
    if flags.fin() {
        entry.fin_sent = 1;
    }
    // Asked at each packet: of two FINs that cross, neither may see the other.
    if flags.rst() || has_both_fins(entry) {
        entry.state = FlowState::Closing as u8;
    }
}

/// Notes that a packet from a backend was seen.
#[inline(always)]
pub fn advance_reply<T: Tables>(entry: &mut ConntrackEntry, flags: Option<TcpFlags>, protocol: Protocol, tables: &T) {
    touch(entry, tables);
    let Some(flags) = flags else { return };
    if entry.state == FlowState::Syn as u8 {
        entry.state = FlowState::Established as u8;
    }
    if flags.carries_on() {
        return;
    }
    let Some(forward) = twin(entry, protocol, tables) else { return };
    if flags.fin() {
        forward.fin_received = 1;
    }
    if flags.rst() || has_both_fins(forward) {
        forward.state = FlowState::Closing as u8;
    }
}

/// Every packet's write: once in a tick of the coarse clock.
#[inline(always)]
fn touch<T: Tables>(entry: &mut ConntrackEntry, tables: &T) {
    let now_ns = tables.now_ns();
    if entry.last_seen_ns != now_ns {
        entry.last_seen_ns = now_ns;
    }
}

#[inline(always)]
const fn has_both_fins(forward: &ConntrackEntry) -> bool {
    forward.fin_sent & forward.fin_received != 0
}

#[inline(always)]
fn was_answered<T: Tables>(forward: &ConntrackEntry, protocol: Protocol, tables: &T) -> bool {
    twin(forward, protocol, tables).is_some_and(|reverse| reverse.state != FlowState::Syn as u8)
}

/// The entry of the other direction.
#[inline(always)]
pub fn twin<'a, T: Tables>(
    entry: &ConntrackEntry,
    protocol: Protocol,
    tables: &'a T,
) -> Option<&'a mut ConntrackEntry> {
    tables.conntrack(tables.twin_key(entry, protocol)?)
}

/// Removes both entries of a flow, of which `entry` is the one with the key `flow`. The one who removes the forward
/// entry counts the flow's end. Another CPU may have removed the flow just now, and `entry` be another flow's already:
/// so the twin goes only if it is this flow's.
#[inline(always)]
pub fn forget<T: Tables>(flow: &Flow, entry: &ConntrackEntry, tables: &T) {
    let ConntrackEntry { frontend, backend, direction, .. } = *entry;
    let Some(twin) = tables.twin_key(entry, flow.protocol) else { return };
    let agreed = tables.conntrack(twin).is_some_and(|other| other.is_twin_of(flow));
    let removed = tables.untrack(flow);
    let removed_twin = agreed && tables.untrack(twin);
    if if direction == Direction::Forward as u8 { removed } else { removed_twin } {
        tables.count_end(frontend, backend);
    }
}
