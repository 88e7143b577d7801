//! bpf-linker: turns the compiler's bitcode into one BPF object with BTF.
//!
//! It loads LLVM from the Rust toolchain, so nothing else needs to be installed for it.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::process;

/// The version that the objects are built with, and that later fixes of the same series may replace.
pub const VERSION: &str = "0.10.3";

/// Where a fitting bpf-linker lies.
pub fn find() -> Option<PathBuf> {
    let path = process::find("bpf-linker")?;
    let version = process::output(Command::new(&path).arg("--version")).ok()?;
    fits(version.trim().rsplit(' ').next()?).then_some(path)
}

/// Whether a version is of the series we build with, and no older.
fn fits(version: &str) -> bool {
    match (numbers(version), numbers(VERSION)) {
        (Some(found), Some(wanted)) => found[..2] == wanted[..2] && found[2] >= wanted[2],
        _ => false,
    }
}

fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut parts = version.split('.').map(str::parse);
    let mut next = || parts.next()?.ok();
    Some([next()?, next()?, next()?])
}

pub fn install() -> Result<()> {
    process::run(process::cargo().args(["install", "bpf-linker", "--version", VERSION, "--locked", "--force"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_series_from_our_version_on_fits() {
        let fitting = ["0.10.3", "0.10.4", "0.10.12"];
        let others = ["0.10.2", "0.9.15", "0.11.0", "1.10.3", "0.10", "unknown"];

        assert!(fitting.iter().all(|version| fits(version)));
        assert!(!others.iter().any(|version| fits(version)));
    }
}
