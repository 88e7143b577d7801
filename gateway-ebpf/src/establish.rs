//! Begins a flow: frontend, backend, two entries, or the reason why not.
//!
//! The reverse entry is inserted first, because it decides uniqueness: one client port towards two VIPs that
//! meet on one backend would give two flows the same replies. Such a flow selects again, then has its source
//! port translated; an entry is never overwritten.

use gateway_common::{
    Address, ConntrackEntry, Direction, DropReason, Event, Flow, FlowState, FrontendKey, Port, Protocol,
};

use crate::conntrack;
use crate::select::select;
use crate::tables::{Draft, Tables, TrackError};

/// Selections before a flow is refused for want of a free source port.
const ATTEMPTS: u32 = 5;
/// From this attempt on the source port is translated.
const TRANSLATE_FROM: u32 = 2;

/// Finds a frontend and a backend for a new flow and tracks it. Afterwards the flow has an entry.
#[inline(always)]
pub fn establish<T: Tables>(flow: &Flow, tables: &T) -> Result<(), DropReason> {
    let key = FrontendKey::new(flow.destination, flow.destination_port, flow.protocol);
    let frontend = tables.frontend(&key).ok_or(DropReason::NoFrontend)?.id;
    let service = tables.service(frontend).ok_or(DropReason::NoFrontend)?;
    for attempt in 0..ATTEMPTS {
        let backend_id = select(frontend, &service, tables).ok_or(DropReason::NoBackend)?;
        let backend = tables.backend(backend_id).ok_or(DropReason::NoBackend)?;
        let Draft { reply, entry } = tables.draft().ok_or(DropReason::ConntrackFull)?;
        *reply = flow.reversed();
        reply.source = backend.address;
        reply.source_port = backend.port;
        if attempt >= TRANSLATE_FROM {
            reply.destination_port = another_port(flow.source_port, attempt);
        }
        *entry = new_entry(flow.protocol, frontend, backend_id, backend.generation, tables.now_ns());
        match track(flow, reply, entry, tables) {
            Tracked::Begun => {
                if attempt >= TRANSLATE_FROM {
                    tables.count_event(Event::PortTranslated);
                }
                tables.count_begin(frontend, backend_id);
                return Ok(());
            }
            Tracked::Known => {
                tables.count_event(Event::LostStep);
                return Ok(());
            }
            Tracked::Collision => {}
            Tracked::Full => return Err(DropReason::ConntrackFull),
        }
    }
    Err(DropReason::NoSourcePort)
}

/// What both entries of a flow have in common.
#[inline(always)]
const fn new_entry(protocol: Protocol, frontend: u32, backend: u32, generation: u32, now_ns: u64) -> ConntrackEntry {
    let state = match protocol {
        Protocol::TCP => FlowState::Syn,
        _ => FlowState::Datagrams,
    };
    ConntrackEntry {
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        source_port: Port::new(0),
        destination_port: Port::new(0),
        backend,
        last_seen_ns: now_ns,
        generation,
        frontend,
        state: state as u8,
        direction: 0,
        fins: 0,
        _reserved: [0; 5],
    }
}

/// Makes it the entry of the direction whose packets are rewritten to the opposite of `twin`: the twin's key.
#[inline(always)]
const fn direct(entry: &mut ConntrackEntry, twin: &Flow, direction: Direction) {
    entry.source = twin.destination;
    entry.destination = twin.source;
    entry.source_port = twin.destination_port;
    entry.destination_port = twin.source_port;
    entry.direction = direction as u8;
}

/// Another port of the upper half, away from those that mean something, for each attempt.
#[inline(always)]
const fn another_port(port: Port, attempt: u32) -> Port {
    const STRIDE: u16 = 7919;
    Port::new(port.get().wrapping_add(STRIDE.wrapping_mul(attempt as u16)) | 0x8000)
}

/// What became of an attempt to track a flow.
enum Tracked {
    /// Both entries are ours.
    Begun,
    /// Another CPU tracked the flow first; its choice stands.
    Known,
    /// Another flow has the replies that this one would get.
    Collision,
    /// The table has no room.
    Full,
}

/// Inserts the entry of the replies, then the flow's own; on failure the first is removed.
#[inline(always)]
fn track<T: Tables>(flow: &Flow, reply: &Flow, entry: &mut ConntrackEntry, tables: &T) -> Tracked {
    direct(entry, flow, Direction::Reverse);
    let mut inserted = tables.track(reply, entry);
    if inserted == Err(TrackError::Exists) {
        match occupant(flow, reply, tables) {
            Occupant::SameFlow => {}
            Occupant::Other => return Tracked::Collision,
            Occupant::Left => inserted = tables.track(reply, entry),
        }
    }
    if inserted == Err(TrackError::Full) {
        return Tracked::Full;
    }
    direct(entry, reply, Direction::Forward);
    if tables.track(flow, entry).is_ok() {
        return Tracked::Begun;
    }
    let known = tables.conntrack(flow);
    let agreed = known.as_ref().is_some_and(|known| known.is_twin_of(reply));
    if inserted.is_ok() && !agreed {
        tables.untrack(reply);
    }
    if known.is_some() { Tracked::Known } else { Tracked::Full }
}

/// Who holds the key of the replies that a new flow needs.
enum Occupant {
    /// This very flow: another CPU is creating it, or its forward entry was lost.
    SameFlow,
    /// A flow that lives.
    Other,
    /// A flow that was closing or stale; it has been removed.
    Left,
}

#[inline(always)]
fn occupant<T: Tables>(flow: &Flow, reply: &Flow, tables: &T) -> Occupant {
    let Some(found) = tables.conntrack(reply) else { return Occupant::Left };
    let stale = !tables.is_current(found.backend, found.generation);
    if !stale && found.is_twin_of(flow) {
        return Occupant::SameFlow;
    }
    let other = tables.conntrack(&found.twin(reply.protocol));
    let over = other.is_none_or(|forward| forward.state == FlowState::Closing as u8);
    if !stale && !over {
        return Occupant::Other;
    }
    tables.count_event(Event::FlowReplaced);
    conntrack::forget(reply, found, tables);
    Occupant::Left
}
