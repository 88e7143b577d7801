//! Global functions: the verifier checks each once, by the type of its argument, and not for every path that leads to it.
//!
//! The kernel knows the type from BTF and allows the pointer to be null. A result is a number, so outcomes are numbered.

use gateway_common::{DropReason, Flow};
use gateway_ebpf::draft::Established;
use gateway_ebpf::establish::{self, Tracked};
use gateway_ebpf::source_port;

use crate::maps::MAPS;

/// What [`establish_flow`] returns beside drop reasons: [`Established::Begun`].
const BEGUN: u32 = u32::MAX;
/// [`Established::Known`].
const KNOWN: u32 = u32::MAX - 1;
/// [`Established::Steered`].
const STEERED: u32 = u32::MAX - 2;

/// Begins a flow.
#[unsafe(no_mangle)]
extern "C" fn establish_flow(flow: *const Flow) -> u32 {
    // SAFETY: the verifier makes sure that the pointer is null or points to a flow.
    let Some(flow) = (unsafe { flow.as_ref() }) else { return DropReason::NoFrontend as u32 };
    match establish::establish(flow, &MAPS) {
        Ok(Established::Begun) => BEGUN,
        Ok(Established::Known) => KNOWN,
        Ok(Established::Steered) => STEERED,
        Err(reason) => reason as u32,
    }
}

/// Tracks the flow in the draft.
#[unsafe(no_mangle)]
extern "C" fn track_draft(flow: *const Flow) -> u32 {
    // SAFETY: the verifier makes sure that the pointer is null or points to a flow.
    let Some(flow) = (unsafe { flow.as_ref() }) else { return Tracked::Full as u32 };
    establish::track_draft(flow, &MAPS) as u32
}

/// Tracks the flow in the draft with a source port of this node.
#[unsafe(no_mangle)]
extern "C" fn find_port(flow: *const Flow) -> u32 {
    // SAFETY: the verifier makes sure that the pointer is null or points to a flow.
    let Some(flow) = (unsafe { flow.as_ref() }) else { return Tracked::Full as u32 };
    source_port::find_port(flow, &MAPS) as u32
}

/// Calls [`establish_flow`].
#[inline(always)]
pub fn establish(flow: &Flow) -> Result<Established, DropReason> {
    match establish_flow(flow) {
        BEGUN => Ok(Established::Begun),
        KNOWN => Ok(Established::Known),
        STEERED => Ok(Established::Steered),
        reason => Err(DropReason::ALL.into_iter().find(|r| *r as u32 == reason).unwrap_or(DropReason::NoFrontend)),
    }
}

/// Calls [`track_draft`].
#[inline(always)]
pub fn track(flow: &Flow) -> Tracked {
    tracked(track_draft(flow))
}

/// Calls [`find_port`].
#[inline(always)]
pub fn track_with_port(flow: &Flow) -> Tracked {
    tracked(find_port(flow))
}

#[inline(always)]
const fn tracked(number: u32) -> Tracked {
    const OUTCOMES: [Tracked; 3] = [Tracked::Begun, Tracked::Known, Tracked::Collision];
    let mut index = 0;
    while index < OUTCOMES.len() {
        if OUTCOMES[index] as u32 == number {
            return OUTCOMES[index];
        }
        index += 1;
    }
    Tracked::Full
}
