//! Who runs where, the proxy alone on one core, clients and backends on the others; and how much of it the proxy uses.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// The cores of the measurement.
pub struct Cores {
    proxy: usize,
    others: Vec<usize>,
}

impl Cores {
    /// The last core that this process may use is the proxy's.
    pub fn find() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).context("cannot ask for the cores")?;
        let mut cores: Vec<usize> =
            (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false)).collect();
        let proxy = cores.pop().unwrap_or_default();
        ensure!(!cores.is_empty(), "the proxy needs a core of its own: this machine has only one");
        Ok(Self { proxy, others: cores })
    }

    /// What this thread starts from now on runs on the proxy's core.
    pub fn as_proxy(&self) -> Result<()> {
        pin(&[self.proxy])
    }

    /// What this thread starts from now on runs on the other cores.
    pub fn as_others(&self) -> Result<()> {
        pin(&self.others)
    }
}

/// The processor's time that a process has had so far, in user and kernel mode.
pub fn time_of(process: Pid) -> Result<Duration> {
    let text =
        fs::read_to_string(format!("/proc/{process}/stat")).with_context(|| format!("process {process} is gone"))?;
    // The name may contain anything, and ends with the last parenthesis.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    let per_sec = sysconf(SysconfVar::CLK_TCK).ok().flatten().context("the kernel does not say what a tick is")?;
    Ok(Duration::from_secs(ticks.into()) / u32::try_from(per_sec)?)
}

fn pin(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot stay on a core")
}
