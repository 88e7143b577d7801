//! Check-and-delete of one idle flow. The agent finds candidates by scanning; this decides, inside the kernel
//! and at the last moment, so that a flow which was refreshed meanwhile survives.

use gateway_common::{Direction, Event, Flow, FlowState, Settings};

use crate::conntrack::{forget, twin};
use crate::tables::Tables;

/// Deletes both entries of a candidate's flow if the flow is idle. Says whether it was.
#[inline(always)]
pub fn collect<T: Tables>(candidate: &Flow, settings: &Settings, tables: &T) -> bool {
    let Some(entry) = tables.conntrack(candidate) else { return false };
    let mut last_seen_ns = entry.last_seen_ns;
    let mut state = entry.state;
    let twin = twin(entry, candidate.protocol, tables).filter(|twin| twin.is_twin_of(candidate));
    if let Some(twin) = &twin {
        last_seen_ns = last_seen_ns.max(twin.last_seen_ns);
    }
    if entry.direction == Direction::Reverse as u8 {
        // The forward entry's state decides. A reverse entry left alone is of no use to anybody.
        state = twin.map_or(FlowState::Syn as u8, |forward| forward.state);
    }
    if tables.now_ns().saturating_sub(last_seen_ns) < settings.timeout_ns(state) {
        return false;
    }
    forget(candidate, entry, tables);
    tables.count_event(Event::Collected);
    true
}
