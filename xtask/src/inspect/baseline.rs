//! The committed figures, and what counts as a jump.
//!
//! The verifier's figure is compared only on the kernel it was taken on: another kernel walks other paths.

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Cost, Costs};
use crate::{process, workspace};

/// A figure may grow by this many percent unblessed.
const TOLERANCE_PERCENT: u64 = 10;

#[derive(Default, Serialize, Deserialize)]
pub struct Baseline {
    /// Major and minor version of the kernel whose verifier was asked.
    kernel: String,
    pub programs: Costs,
}

impl Baseline {
    /// Today's figures as a baseline.
    pub fn of(programs: Costs) -> Result<Self> {
        Ok(Self { kernel: kernel()?, programs })
    }

    /// The committed baseline; an empty one if there is none.
    pub fn read() -> Result<Self> {
        let path = path();
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", workspace::shown(&path)))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no baseline", workspace::shown(&path)))
    }

    pub fn write(&self) -> Result<()> {
        let path = path();
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("cannot write {}", workspace::shown(&path)))?;
        eprintln!("{}: written; commit it with the change that explains it", workspace::shown(&path));
        Ok(())
    }

    /// Complaints about these figures.
    pub fn judge(&self, costs: &Costs) -> Result<Vec<String>> {
        let kernel = kernel()?;
        let same_kernel = kernel == self.kernel;
        if !same_kernel && !self.programs.is_empty() {
            eprintln!(
                "the baseline's verifier is that of kernel {}, this is {kernel}: that figure is not compared",
                self.kernel
            );
        }
        Ok(self.compare(costs, same_kernel))
    }

    fn compare(&self, costs: &Costs, same_kernel: bool) -> Vec<String> {
        let gone = self.programs.keys().filter(|name| !costs.contains_key(*name));
        let mut complaints: Vec<_> =
            gone.map(|name| format!("{name}: in the baseline, and no longer in the object")).collect();
        for (name, cost) in costs {
            match self.programs.get(name) {
                None => complaints.push(format!("{name}: not in the baseline")),
                Some(before) => complaints.extend(jumps(name, *before, *cost, same_kernel)),
            }
        }
        complaints
    }
}

/// The figures of one program that grew too much.
fn jumps(name: &str, before: Cost, now: Cost, same_kernel: bool) -> Vec<String> {
    let verified =
        same_kernel.then_some(("verified instructions", before.verified_instructions, now.verified_instructions));
    [
        Some(("instructions", before.instructions, now.instructions)),
        Some(("stack bytes", before.stack_bytes, now.stack_bytes)),
        verified,
    ]
    .into_iter()
    .flatten()
    .filter(|&(_, before, now)| u64::from(now) * 100 > u64::from(before) * (100 + TOLERANCE_PERCENT))
    .map(|(figure, before, now)| {
        format!("{name}: {figure} jumped from {before} to {now}, by more than {TOLERANCE_PERCENT} %")
    })
    .collect()
}

/// Major and minor version of the running kernel.
fn kernel() -> Result<String> {
    let release = process::output(std::process::Command::new("uname").arg("-r"))?;
    Ok(release.trim().split('.').take(2).collect::<Vec<_>>().join("."))
}

fn path() -> std::path::PathBuf {
    workspace::root().join("xtask/inspect-baseline.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(cost: Cost) -> Baseline {
        Baseline { kernel: "6.18".to_owned(), programs: Costs::from([("guard".to_owned(), cost)]) }
    }

    const BEFORE: Cost = Cost { instructions: 100, stack_bytes: 200, verified_instructions: 1000 };

    #[test]
    fn a_tenth_more_is_no_jump_and_anything_above_is() {
        let grown =
            |verified_instructions| Costs::from([("guard".to_owned(), Cost { verified_instructions, ..BEFORE })]);

        assert!(baseline(BEFORE).compare(&grown(1100), true).is_empty());
        assert_eq!(baseline(BEFORE).compare(&grown(1101), true).len(), 1);
    }

    #[test]
    fn the_verifier_of_another_kernel_is_not_compared() {
        let cost = Cost { verified_instructions: 5000, ..BEFORE };
        let grown = Costs::from([("guard".to_owned(), cost)]);

        assert!(baseline(BEFORE).compare(&grown, false).is_empty());
    }

    #[test]
    fn programs_that_come_or_go_need_a_blessing() {
        let others = Costs::from([("collect".to_owned(), BEFORE)]);

        assert_eq!(baseline(BEFORE).compare(&others, true).len(), 2);
    }
}
