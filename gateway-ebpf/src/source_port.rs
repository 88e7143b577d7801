//! Finds the port of this node that a flow to a Pod elsewhere bears as its source.
//!
//! The client's own port, if it lies in the range that is ours; then the ports behind the last ones given out towards
//! this backend, so that a port rests as long as can be; then random ones, of which the first may also be taken from flows
//! that are over. What decides is each time whether the key of the replies is free. Bounded, so a full range costs little.

use gateway_common::{Flow, Port, Settings};

use crate::establish::Tracked;
use crate::tables::Tables;

/// Ports that are tried for a flow: so many that nobody is refused before nine of ten ports are taken, whoever took which
/// (of `n` random ones all are taken with a probability of `taken.powi(n)`), and so few that refusing costs little.
const PROBES: u32 = 96;
/// From this one on they are random.
const RANDOM_FROM: u32 = 16;
/// Up to this one random ones may be taken from flows that are over, which costs more to find out than that one is free.
const REPLACE_BELOW: u32 = 32;
/// The first are likely to be free. From this one on a port is looked at before it is tried, since a look is cheaper.
const LOOK_FROM: u32 = 2;

/// Tracks the flow in the draft with the first port that nobody else has towards its backend.
#[inline(always)]
pub fn find_port<T: Tables>(flow: &Flow, tables: &T) -> Tracked {
    let (Some(draft), Some(settings)) = (tables.draft(), tables.settings()) else { return Tracked::Collision };
    let begun = tables.connections_begun(draft.entry.backend) as u32;
    for probe in 0..PROBES {
        let port = match probe {
            0 if is_ours(settings, flow.source_port) => Some(flow.source_port),
            0..RANDOM_FROM => nth_port(settings, begun.wrapping_add(probe)),
            _ => nth_port(settings, tables.random()),
        };
        let Some(port) = port else { return Tracked::Collision };
        draft.reply.destination_port = port;
        draft.may_replace = u8::from((RANDOM_FROM..REPLACE_BELOW).contains(&probe));
        draft.look_first = u8::from(probe >= LOOK_FROM);
        match tables.track_draft(flow) {
            Tracked::Collision => {}
            outcome => return outcome,
        }
    }
    Tracked::Collision
}

#[inline(always)]
const fn is_ours(settings: &Settings, port: Port) -> bool {
    let port = port.get() as u32;
    settings.first_source_port <= port && port <= settings.last_source_port
}

/// The `number`th port of the range, counted round and round; none if the range is empty or was never written.
#[inline(always)]
fn nth_port(settings: &Settings, number: u32) -> Option<Port> {
    let Settings { first_source_port: first, last_source_port: last, .. } = *settings;
    if first == 0 {
        return None;
    }
    let count = last.wrapping_sub(first).wrapping_add(1);
    Some(Port::new(first.wrapping_add(number.checked_rem(count)?) as u16))
}
