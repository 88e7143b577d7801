//! Keeps the paths of this machine out of what is built, so that the same commit gives the same bytes anywhere.
//!
//! The repository's own files get paths relative to its root: whoever reads a panic or the verifier's log finds them, and
//! so does the linker that puts source lines beside instructions. It covers what rustc writes, not what a C compiler does.

use std::{env, ffi::OsStr, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{process, workspace};

/// Flags for this compiler that replace the folders of the clone, of the build, of cargo and of the compiler itself.
pub fn rustc_flags(rustc: impl AsRef<OsStr>) -> Result<Vec<String>> {
    let sysroot = process::output(Command::new(rustc).args(["--print", "sysroot"]))?;
    // Of several that fit, rustc takes the last: the target folder may lie in the clone.
    let folders = [
        (workspace::root(), "."),
        (workspace::target(), "target"),
        (workspace::ebpf(), "target/ebpf"),
        (cargo_home().context("cargo's folder is not known: set CARGO_HOME")?, "/cargo"),
        (PathBuf::from(sysroot.trim()), "/rust"),
    ];
    Ok(folders.iter().map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display())).collect())
}

fn cargo_home() -> Option<PathBuf> {
    let named = env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}
