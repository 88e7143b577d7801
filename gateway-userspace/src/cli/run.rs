//! `beeline run`: the agent, until it is told to stop.

use std::path::Path;

use super::Outcome;
use crate::agent;
use crate::config::{Config, Flags};

const EXAMPLES: &str = "\
Examples:
  beeline run --manifests /etc/beeline
  beeline run --manifests examples/folder --interface eth0 --interface eth1
  beeline run --manifests . --max-flows 1000000 --udp-timeout 2m --log-format json

SIGTERM and SIGINT stop the agent and leave the datapath running: connections, old and new ones, go on.
An agent that starts takes over from the one that runs with the same --bpffs, which from then on stands by.
`beeline unload` removes it. Tracked flows take most of the memory; the log says how much.";

/// Serve a folder of manifests: program the datapath and keep it as the folder says
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

pub fn execute(arguments: Arguments, bpffs: &Path) -> anyhow::Result<Outcome> {
    agent::run(Config::new(arguments.flags, bpffs)?)?;
    Ok(Outcome::Fine)
}
