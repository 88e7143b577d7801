//! A look into the kernel: the first lines of `bpftool map dump` for some of the pinned maps.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Serialize;

/// The maps to show, each with the number of lines that make a readable piece.
const SHOWN: [(&str, usize); 3] = [("FRONTENDS", 13), ("BACKENDS", 20), ("CONNTRACK", 40)];

/// The beginning of a map's dump.
#[derive(Serialize)]
pub struct Excerpt {
    /// What was run.
    pub command: String,
    /// Its first lines.
    pub lines: Vec<String>,
}

/// The beginnings of the dumps of some maps that are pinned below a directory.
pub fn excerpts(bpffs: &Path) -> Result<Vec<Excerpt>> {
    SHOWN.iter().map(|(map, lines)| excerpt(&bpffs.join("v1").join(map), *lines)).collect()
}

fn excerpt(map: &Path, count: usize) -> Result<Excerpt> {
    let mut bpftool = Command::new("bpftool")
        .args(["map", "dump", "pinned"])
        .arg(map)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run `bpftool`: run `cargo xtask setup`")?;
    let output = bpftool.stdout.take().context("`bpftool` has no standard output")?;
    let lines = BufReader::new(output).lines().take(count).collect::<Result<_, _>>()?;
    // A large array is not read to its end; whether it was at its end already does not matter.
    let _ended = bpftool.kill();
    bpftool.wait()?;
    Ok(Excerpt { command: format!("bpftool map dump pinned {}", map.display()), lines })
}
