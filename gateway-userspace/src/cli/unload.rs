//! `beeline unload`: takes everything off the host that the agent has put there.
//!
//! VIP addresses go first, so that the host never answers for one without its guard.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, bail};
use gateway_common::Address;
use tracing::warn;

use super::{Outcome, print};
use crate::agent::handover;
use crate::dataplane::{self, Unloading, View};
use crate::host::Host;
use crate::state::RunDirectory;

const EXAMPLES: &str = "\
Example:
  beeline unload

Ends every connection that goes through a VIP. Stop the agents first: while one runs or stands by, unload refuses.
Removes links, maps, VIP addresses, neighbour entries and the agent's state, and puts settings back.";

/// Remove programs, maps and VIP addresses from the host
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {}

pub fn execute(_: &Arguments, bpffs: &Path) -> anyhow::Result<Outcome> {
    let unloading = match Unloading::begin(bpffs) {
        Ok(unloading) => unloading,
        Err(dataplane::Error::NotLoaded(_)) => {
            print(&format!("nothing is loaded at {}\n", bpffs.display()))?;
            return Ok(Outcome::Fine);
        }
        Err(dataplane::Error::Locked { .. }) => {
            bail!("an agent holds {}: stop it before you unload", bpffs.display())
        }
        Err(error) => return Err(error.into()),
    };
    refuse_standby(bpffs)?;
    let directory = RunDirectory::of(bpffs)?;
    let removed = take_from_host(bpffs, &directory)?;
    let unloaded = unloading.finish()?;
    directory.remove().context("the agent's state cannot be removed")?;
    print(&format!(
        "unloaded {}: {} links, {} maps, {removed} VIP addresses\n",
        bpffs.display(),
        unloaded.links,
        unloaded.maps
    ))?;
    Ok(Outcome::Fine)
}

/// An agent that has handed over takes over again when nobody serves, and would bring everything back.
fn refuse_standby(bpffs: &Path) -> anyhow::Result<()> {
    let waiting = handover::waiting(bpffs)?;
    if waiting.is_empty() {
        return Ok(());
    }
    let processes = waiting.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    bail!(
        "an agent stands by for {} and would bring everything back (process {processes}): stop it before you unload",
        bpffs.display()
    )
}

/// Removes the VIPs of this bpffs directory, and only those: another agent's may be on the same host.
fn take_from_host(bpffs: &Path, directory: &RunDirectory) -> anyhow::Result<usize> {
    let state = directory.state().unwrap_or_default();
    let mut vips: BTreeSet<Address> = state.vips.iter().filter_map(|vip| vip.parse().ok()).map(ip_address).collect();
    if let Ok(dump) = View::open(bpffs).and_then(|view| view.dump()) {
        vips.extend(dump.vips.iter().map(|vip| Address::from(vip.address)));
    }
    let mut host = Host::open()?;
    let removed = host.remove(&vips).context("VIP addresses cannot be removed from lo")?;
    if !state.reserved_ports.is_empty()
        && let Err(error) = host.release_ports(&state.reserved_ports)
    {
        warn!(ports = state.reserved_ports, %error, "ports stay reserved in net/ipv4/ip_local_reserved_ports");
    }
    for changed in &state.sysctls {
        if let Err(error) = changed.sysctl.set(&changed.before) {
            warn!(sysctl = %changed.sysctl, value = changed.before, %error, "a setting could not be put back");
        }
    }
    Ok(removed)
}

fn ip_address(ip: std::net::IpAddr) -> Address {
    ip.into()
}
