//! A look into the kernel: the first entries of `bpftool map dump` for some of the pinned maps.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Serialize;

/// The maps to show.
const SHOWN: [&str; 3] = ["FRONTENDS", "BACKENDS", "CONNTRACK"];
/// How `bpftool` ends an entry that another one follows.
const ENTRY_END: &str = "    },{";

/// The beginning of a map's dump.
#[derive(Serialize)]
pub struct Excerpt {
    /// What was run.
    pub command: String,
    /// The lines of its first entry.
    pub lines: Vec<String>,
}

/// The beginnings of the dumps of some maps that are pinned in a directory.
pub fn excerpts(maps: &Path) -> Result<Vec<Excerpt>> {
    SHOWN.iter().map(|map| excerpt(&maps.join(map))).collect()
}

fn excerpt(map: &Path) -> Result<Excerpt> {
    let mut bpftool = Command::new("bpftool")
        .args(["map", "dump", "pinned"])
        .arg(map)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run `bpftool`: run `cargo xtask setup`")?;
    let output = bpftool.stdout.take().context("`bpftool` has no standard output")?;
    let lines = BufReader::new(output).lines();
    let entry = lines.take_while(|line| !line.as_ref().is_ok_and(|line| line == ENTRY_END));
    let lines = entry.collect::<Result<_, _>>()?;
    // A large array is not read to its end; whether it was at its end already does not matter.
    let _ended = bpftool.kill();
    bpftool.wait()?;
    Ok(Excerpt { command: format!("bpftool map dump pinned {}", map.display()), lines })
}
