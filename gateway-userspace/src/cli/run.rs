//! `beeline run`: the agent, until it is told to stop.

use std::path::Path;
use std::thread;

use tracing::warn;

use super::{Outcome, check};
use crate::agent;
use crate::config::{Config, Flags};

const EXAMPLES: &str = "\
Examples:
  beeline run --manifests /etc/beeline
  beeline run --manifests examples/folder --interface eth0 --interface eth1
  beeline run --manifests . --max-flows 1000000 --udp-timeout 2m --log-format json

SIGTERM and SIGINT stop the agent and leave the datapath running: connections to TCP and UDP frontends, old and new
ones, go on. HTTP and TLS frontends need the agent: what is open there has 30 s to end, and what is new is refused.
An agent that starts takes over from the one that runs with the same --bpffs, which from then on stands by.
`beeline unload` removes it. Tracked flows take most of the maps' memory; the log says how much.";

/// Serve a cluster or a folder of manifests: program the datapath, carry HTTP, and follow every change
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

pub fn execute(arguments: Arguments, bpffs: &Path) -> anyhow::Result<Outcome> {
    let config = Config::new(arguments.flags, bpffs)?;
    say_what_is_in_the_way(&config);
    agent::run(config)?;
    Ok(Outcome::Fine)
}

/// Logs once what `beeline check` finds between clients and Pods. It takes a thread of its own, since a firewall may have
/// many rules, and the agent does not wait for it.
fn say_what_is_in_the_way(config: &Config) {
    let (bpffs, interfaces) = (config.bpffs.clone(), config.interfaces.clone());
    let looking = thread::Builder::new().name("check".to_owned()).spawn(move || check::log(&bpffs, &interfaces));
    if let Err(error) = looking {
        warn!(%error, "what is in the way of clients is not looked at: no thread for it");
    }
}
