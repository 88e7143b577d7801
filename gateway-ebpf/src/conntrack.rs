//! Remembers which backend a flow was given, so that a connection keeps it for life.
//!
//! The forward entry is the flow's: its state and its FINs decide how long both entries are kept. The reverse
//! entry knows only whether a reply was ever seen. What closes or opens a connection costs one look-up of the
//! twin; every other packet touches its own entry alone.

use gateway_common::{ConntrackEntry, Direction, Event, Flow, FlowState, Protocol};

use crate::headers::TcpFlags;
use crate::tables::Tables;

/// What an entry says about a packet that has met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The flow lives.
    Alive,
    /// The flow is over, or lost its backend and may have another: forget it and begin anew.
    Renew(Event),
    /// The backend is gone and the flow cannot move.
    Gone,
}

/// Judges the entry that a packet has met.
#[inline(always)]
pub fn standing<T: Tables>(entry: &ConntrackEntry, flags: Option<TcpFlags>, tables: &T) -> Standing {
    let alive = tables.generation(entry.backend) == Some(entry.generation);
    let opens = flags.is_some_and(TcpFlags::opens);
    let forward = entry.direction == Direction::Forward as u8;
    if alive && !(opens && forward && entry.state == FlowState::Closing as u8) {
        return Standing::Alive;
    }
    match flags {
        _ if !forward => Standing::Gone,
        None => Standing::Renew(Event::Reselected),
        Some(_) if opens => Standing::Renew(Event::FlowReplaced),
        Some(_) => Standing::Gone,
    }
}

/// Notes that a packet of a living flow was seen.
#[inline(always)]
pub fn advance<T: Tables>(entry: &mut ConntrackEntry, flags: Option<TcpFlags>, protocol: Protocol, tables: &T) {
    let now_ns = tables.now_ns();
    if entry.last_seen_ns != now_ns {
        entry.last_seen_ns = now_ns;
    }
    let Some(flags) = flags else { return };
    if flags.carries_on() && entry.state != FlowState::Syn as u8 {
        return;
    }
    if entry.direction == Direction::Forward as u8 {
        advance_forward(entry, flags, protocol, tables);
    } else {
        advance_reverse(entry, flags, protocol, tables);
    }
}

#[inline(always)]
fn advance_forward<T: Tables>(entry: &mut ConntrackEntry, flags: TcpFlags, protocol: Protocol, tables: &T) {
    if entry.state == FlowState::Syn as u8 && !flags.opens() && was_answered(entry, protocol, tables) {
        entry.state = FlowState::Established as u8;
    }
    if flags.rst() {
        entry.state = FlowState::Closing as u8;
    } else if flags.fin() {
        close_half(entry, ConntrackEntry::FIN_SENT);
    }
}

#[inline(always)]
fn advance_reverse<T: Tables>(entry: &mut ConntrackEntry, flags: TcpFlags, protocol: Protocol, tables: &T) {
    entry.state = FlowState::Established as u8;
    if flags.carries_on() {
        return;
    }
    let Some(forward) = tables.conntrack(&entry.twin(protocol)) else { return };
    if flags.rst() {
        forward.state = FlowState::Closing as u8;
    } else {
        close_half(forward, ConntrackEntry::FIN_RECEIVED);
    }
}

#[inline(always)]
const fn close_half(forward: &mut ConntrackEntry, fin: u8) {
    forward.fins |= fin;
    if forward.fins == ConntrackEntry::FIN_SENT | ConntrackEntry::FIN_RECEIVED {
        forward.state = FlowState::Closing as u8;
    }
}

#[inline(always)]
fn was_answered<T: Tables>(forward: &ConntrackEntry, protocol: Protocol, tables: &T) -> bool {
    tables.conntrack(&forward.twin(protocol)).is_some_and(|reverse| reverse.state != FlowState::Syn as u8)
}

/// Removes both entries of a flow, of which `entry` is the one with the key `flow`. The one who removes the forward
/// entry counts the flow's end.
#[inline(always)]
pub fn forget<T: Tables>(flow: &Flow, entry: &ConntrackEntry, tables: &T) {
    let ConntrackEntry { frontend, backend, direction, .. } = *entry;
    let twin = entry.twin(flow.protocol);
    let removed = tables.untrack(flow);
    let removed_twin = tables.untrack(&twin);
    if if direction == Direction::Forward as u8 { removed } else { removed_twin } {
        tables.count_end(frontend, backend);
    }
}
