//! What memory a process takes, as the kernel counts it.

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::Pid;
use serde::Serialize;

/// Memory of a process, in kibibytes.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "a number without its unit would be a guess")]
pub struct Memory {
    /// Resident now.
    pub resident_kib: u64,
    /// The most that was ever resident.
    pub peak_kib: u64,
    /// Resident now, pages that are shared with others in parts.
    pub proportional_kib: u64,
}

/// The memory of a process.
pub fn of(process: Pid) -> Result<Memory> {
    let status = format!("/proc/{process}/status");
    Ok(Memory {
        resident_kib: field(&status, "VmRSS:")?,
        peak_kib: field(&status, "VmHWM:")?,
        proportional_kib: field(&format!("/proc/{process}/smaps_rollup"), "Pss:")?,
    })
}

fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}: the agent has ended"))?;
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{path} has no {name}"))?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{path}: {name} is no number"))
}
