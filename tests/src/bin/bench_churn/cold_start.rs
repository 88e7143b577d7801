//! An agent that starts with empty maps and a cluster full of Services: when it had what.
//!
//! The agent's log says when it did what; the maps and the node's addresses, which are looked at, say that it is true.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use beeline_tests::agent::Agent;
use beeline_tests::wait;
use jiff::Timestamp;
use nix::unistd::Pid;
use serde::Serialize;
use serde_json::Value;

use crate::bed::Bed;
use crate::maps::Frontends;

/// What the agent logs when it has received every list.
const RECEIVED: &str = "every list is received";
/// What the agent logs when maps and host are as they shall be.
const RECONCILED: &str = "reconciled";
/// How long it may take.
const LIMIT: Duration = Duration::from_mins(3);
/// Services whose frontends are looked for all the time, evenly spread over all.
const PROBES: u32 = 16;

/// Times of a cold start, in seconds since the process was started.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ColdStart {
    /// How many Services there were.
    pub services: u32,
    /// Every list was received.
    pub received: f64,
    /// Every frontend was in the maps.
    pub programmed: f64,
    /// The agent said that maps and host are as they shall be.
    pub reconciled: f64,
    /// The node had every VIP.
    pub addresses: f64,
}

/// Starts an agent whose maps do not exist yet, and waits until it is done.
pub fn measure(bed: &Bed<'_>, agent: &mut Agent<'_>, services: u32) -> Result<(ColdStart, Pid)> {
    // Lines of an earlier start are none of ours.
    let skipped = agent.log().lines().len();
    let started = Timestamp::now();
    agent.launch()?;
    let process = agent.id()?;
    let bpffs = agent.bpffs().to_owned();
    let probes: Vec<u32> = (0..PROBES).map(|number| number * (services - 1) / (PROBES - 1)).collect();
    let found = || {
        let frontends = Frontends::open(&bpffs).ok()?;
        probes.iter().all(|&service| frontends.of_service(service).is_some()).then(Timestamp::now)
    };
    let wait = |what: &str, condition: &mut dyn FnMut() -> Option<Timestamp>| {
        let either = || if bed.interrupt.requested() { Some(Timestamp::now()) } else { condition() };
        let outcome = wait::until(what, LIMIT, either);
        bed.interrupt.check().and(outcome).with_context(|| format!("the agent says: {}", agent.log().tail()))
    };
    let programmed = wait("the frontends are programmed", &mut { found })?;
    let logged = |message: &str, holds: &dyn Fn(&Value) -> bool| {
        let line = || agent.log().lines().iter().skip(skipped).find_map(|line| said(line, message, holds));
        wait(message, &mut { line })
    };
    let reconciled = logged(RECONCILED, &|line| line["frontends"] == services)?;
    let received = logged(RECEIVED, &|_| true)?;
    let complete = || (bed.host_addresses().ok()? == services as usize).then(Timestamp::now);
    let addresses = wait("the node has every VIP", &mut { complete })?;
    let counted = Frontends::open(&bpffs)?.count()?;
    ensure!(counted == services as usize, "the maps have {counted} frontends for {services} Services");

    let after = |then: Timestamp| then.duration_since(started).as_secs_f64();
    let times = ColdStart {
        services,
        received: after(received),
        programmed: after(programmed),
        reconciled: after(reconciled),
        addresses: after(addresses),
    };
    Ok((times, process))
}

/// When a line of the log was written, if it says this.
fn said(line: &str, message: &str, holds: &dyn Fn(&Value) -> bool) -> Option<Timestamp> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_it = line["message"] == message && holds(&line);
    is_it.then(|| line["timestamp"].as_str()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_line_is_that_of_the_log() {
        let line = r#"{"timestamp":"2026-01-02T03:04:05.250Z","level":"INFO","message":"reconciled","frontends":7}"#;

        let time = said(line, "reconciled", &|line| line["frontends"] == 7);

        assert_eq!(time.map(Timestamp::as_millisecond), Some(1_767_323_045_250));
        assert_eq!(said(line, "reconciled", &|line| line["frontends"] == 8), None);
        assert_eq!(said("no JSON", "reconciled", &|_| true), None);
    }
}
