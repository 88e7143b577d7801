//! The rounds in which every load meets every proxy.

use std::time::Instant;

use anyhow::{Context, Result};
use beeline_tests::agent::Agent;
use beeline_tests::interrupt::Interrupt;

use crate::beds::Bed;
use crate::cpu::{Cores, time_of};
use crate::load::{Load, Outcome};
use crate::proxies::Proxy;

/// Time for connections to be made and caches to be warm, before anything counts.
const WARM_UP_SECONDS: u64 = 1;

/// One load at one proxy in one round.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// What the client says.
    pub outcome: Outcome,
    /// The part of its core's time that the proxy used.
    pub busy: f64,
}

/// Samples by load, proxy and round.
pub type Samples = Vec<Vec<Vec<Sample>>>;

/// Builds everything and measures.
pub fn all(interrupt: &Interrupt, loads: &[Load], rounds: u32, seconds: u64) -> Result<Samples> {
    let cores = Cores::find()?;
    let beds = Proxy::ALL.into_iter().map(|proxy| Bed::build(proxy, &cores)).collect::<Result<Vec<_>>>()?;
    let agents = beds.iter().map(|bed| bed.start_agent(&cores)).collect::<Result<Vec<_>>>()?;

    let mut samples = vec![vec![Vec::new(); beds.len()]; loads.len()];
    for round in 0..rounds as usize {
        eprintln!("round {} of {rounds}", round + 1);
        for (load, samples) in loads.iter().zip(&mut samples) {
            for turn in 0..beds.len() {
                interrupt.check()?;
                // Each proxy goes first in its turn.
                let index = (turn + round) % beds.len();
                let sample = sample(load, &beds[index], agents[index].as_ref(), seconds);
                samples[index].push(sample.with_context(|| Proxy::ALL[index].name())?);
            }
        }
    }
    Ok(samples)
}

fn sample(load: &Load, bed: &Bed, agent: Option<&Agent<'_>>, seconds: u64) -> Result<Sample> {
    load.run(bed, WARM_UP_SECONDS)?;
    let process = bed.process(agent)?;
    let (start, before) = (Instant::now(), time_of(process)?);
    let outcome = load.run(bed, seconds)?;
    let worked = time_of(process)?.saturating_sub(before);
    Ok(Sample { outcome, busy: worked.as_secs_f64() / start.elapsed().as_secs_f64() })
}
