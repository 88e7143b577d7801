//! `beeline dump`: what the maps contain, as readable text or JSON.

use std::path::Path;

use super::{Outcome, Output, names, print, print_json};
use crate::dataplane::View;
use crate::state::RunDirectory;

const EXAMPLES: &str = "\
Examples:
  beeline dump
  beeline dump --counters
  beeline dump --output json | jq '.frontends[].groups[].backends[] | {name, weight}'

Reads the pinned maps; it works whether the agent runs or not.";

/// Print what the maps contain
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Form of the result; JSON always has the counters
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,

    /// Connections, packets, bytes, drops and events too
    #[arg(long)]
    counters: bool,
}

pub fn execute(arguments: &Arguments, bpffs: &Path) -> anyhow::Result<Outcome> {
    let mut dump = View::open(bpffs)?.dump()?;
    if let Ok(directory) = RunDirectory::of(bpffs) {
        names::fill(&mut dump, &directory.names());
    }
    match arguments.output {
        Output::Json => print_json(&dump)?,
        Output::Text if arguments.counters => print(&dump.with_counters().to_string())?,
        Output::Text => print(&dump.to_string())?,
    }
    Ok(Outcome::Fine)
}
