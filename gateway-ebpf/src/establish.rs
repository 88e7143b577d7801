//! Begins a flow: frontend, backend, two entries, or the reason why not.
//!
//! The reverse entry is inserted first, because it decides uniqueness: one client port towards two VIPs that
//! meet on one backend would give two flows the same replies. Such a flow selects again, then has its source
//! port translated; an entry is never overwritten. With affinity it does not select again, since the client is to stay
//! with its backend. A backend elsewhere sees a port of this node: of these there is a range to try.

use gateway_common::{ConntrackEntry, DropReason, Event, Flow, FlowState, FrontendKey};

use crate::affinity::{self, NOBODY};
use crate::conntrack;
use crate::draft::{Draft, Established};
use crate::select::select;
use crate::tables::{Tables, TrackError};

/// Selections before a flow is refused for want of a free source port.
const ATTEMPTS: u32 = 5;
/// From this attempt on the source port is translated.
const TRANSLATE_FROM: u32 = 2;

/// Finds a frontend and a backend for a new flow and tracks it.
#[inline(always)]
pub fn establish<T: Tables>(flow: &Flow, tables: &T) -> Result<Established, DropReason> {
    let found = tables.frontend(&FrontendKey::of(flow)).ok_or(DropReason::NoFrontend)?;
    let frontend = found.id;
    if found.is_steered() {
        tables.count_steered(frontend);
        return Ok(Established::Steered);
    }
    let draft = tables.draft().ok_or(DropReason::ConntrackFull)?;
    draft.service = tables.service(frontend).ok_or(DropReason::NoFrontend)?;
    draft.name_client(flow, frontend);
    let service = &draft.service;
    if service.is_restricted() && !tables.is_admitted(&draft.client) {
        return Err(DropReason::SourceDenied);
    }
    draft.affinity.backend = NOBODY;
    if service.has_affinity() {
        affinity::recall(draft, tables);
    }
    for attempt in 0..ATTEMPTS {
        let backend_id = match draft.affinity.backend {
            NOBODY => select(frontend, &draft.service, tables).ok_or(DropReason::NoBackend)?,
            remembered => remembered,
        };
        let backend = tables.backend(backend_id).ok_or(DropReason::NoBackend)?;
        let is_translated = attempt >= TRANSLATE_FROM || (attempt > 0 && draft.service.has_affinity());
        draft.expect_reply(flow, backend, if is_translated { attempt } else { 0 });
        draft.begin_entry(flow.protocol, tables.now_ns());
        draft.entry.frontend = frontend;
        draft.entry.backend = backend_id;
        draft.entry.generation = backend.generation;
        if draft.service.has_affinity() && draft.affinity.backend == NOBODY {
            affinity::remember(draft, tables);
        }
        let is_hidden = draft.hide_client(flow, backend);
        if is_hidden && !draft.is_answerable() {
            return Err(DropReason::NoRoute);
        }
        let tracked = if is_hidden { tables.find_port(flow) } else { tables.track_draft(flow) };
        match tracked {
            Tracked::Begun => {
                if is_hidden {
                    tables.count_event(Event::SourceTranslated);
                } else if is_translated {
                    tables.count_event(Event::PortTranslated);
                }
                tables.count_begin(frontend, backend_id);
                return Ok(Established::Begun);
            }
            Tracked::Known => {
                tables.count_event(Event::LostStep);
                return Ok(Established::Known);
            }
            // All ports were tried, and another backend is not to bear what this one cannot.
            Tracked::Collision if is_hidden => return Err(DropReason::NoSourcePort),
            Tracked::Collision => tables.count_event(Event::LostStep),
            Tracked::Full => return Err(DropReason::ConntrackFull),
        }
    }
    Err(DropReason::NoSourcePort)
}

/// What became of an attempt to track a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Tracked {
    /// Both entries are ours.
    Begun,
    /// Another CPU tracked the flow first; its choice stands.
    Known,
    /// Another flow has the replies that this one would get.
    Collision,
    /// The table has no room.
    Full,
}

/// Inserts the entry of the replies that the draft expects, then the flow's own; on failure the first is removed.
#[inline(always)]
pub fn track_draft<T: Tables>(flow: &Flow, tables: &T) -> Tracked {
    let Some(draft) = tables.draft() else { return Tracked::Full };
    if draft.look_first != 0 && is_taken(draft, tables) {
        return Tracked::Collision;
    }
    draft.turn_to_reply(flow);
    let mut inserted = tables.track(&draft.reply, &draft.entry);
    if inserted == Err(TrackError::Exists) {
        match occupant(flow, draft, tables) {
            Occupant::SameFlow => {}
            Occupant::Other => return Tracked::Collision,
            Occupant::Left => {
                inserted = tables.track(&draft.reply, &draft.entry);
                if inserted == Err(TrackError::Exists) {
                    return Tracked::Collision;
                }
            }
        }
    }
    if inserted == Err(TrackError::Full) {
        return Tracked::Full;
    }
    draft.turn_to_flow();
    if tables.track(flow, &draft.entry).is_ok() {
        return Tracked::Begun;
    }
    let known = tables.conntrack(flow);
    let agreed = known.as_ref().is_some_and(|known| known.is_twin_of(&draft.reply));
    if inserted.is_ok() && !agreed {
        tables.untrack(&draft.reply);
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
fn occupant<T: Tables>(flow: &Flow, draft: &Draft, tables: &T) -> Occupant {
    let reply = &draft.reply;
    let Some(found) = tables.conntrack(reply) else { return Occupant::Left };
    let stale = !tables.is_current(found.backend, found.generation);
    if !stale && found.is_twin_of(flow) {
        return Occupant::SameFlow;
    }
    if draft.may_replace == 0 {
        return Occupant::Other;
    }
    if !stale && !is_over(reply, found, tables) {
        return Occupant::Other;
    }
    tables.count_event(Event::FlowReplaced);
    conntrack::forget(reply, found, tables);
    Occupant::Left
}

/// Whether somebody holds the key of the draft's replies and is to keep it.
#[inline(always)]
fn is_taken<T: Tables>(draft: &Draft, tables: &T) -> bool {
    let Some(found) = tables.conntrack(&draft.reply) else { return false };
    if draft.may_replace == 0 {
        return true;
    }
    tables.is_current(found.backend, found.generation) && !is_over(&draft.reply, found, tables)
}

/// Whether the flow is over of which `found` is the entry of the replies, with the key `reply`.
#[inline(always)]
fn is_over<T: Tables>(reply: &Flow, found: &ConntrackEntry, tables: &T) -> bool {
    let other = conntrack::twin(found, reply.protocol, tables).filter(|forward| forward.is_twin_of(reply));
    // Without its forward entry it is over, unless another CPU is about to add that.
    other.map_or(found.last_seen_ns != tables.now_ns(), |forward| forward.state == FlowState::Closing as u8)
}
