//! Puts the datapath's object where the agent embeds it: `OUT_DIR/datapath.o`.
//!
//! The object comes from `cargo xtask build-ebpf`, as `target/ebpf/datapath.o`, or from the file that
//! `BEELINE_EMBED_DATAPATH` names. Without it an empty file is embedded, so that a plain `cargo build` works; the agent
//! then says how to build it. This script never builds the object itself: that needs another compiler set-up.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

const OVERRIDE: &str = "BEELINE_EMBED_DATAPATH";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OVERRIDE}");

    let object = object_path()?;
    println!("cargo::rerun-if-changed={}", object.display());
    let bytes =
        fs::read(&object).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", object.display())))?;
    fs::write(directory("OUT_DIR")?.join("datapath.o"), bytes)
}

/// The object to embed. Where nothing has been built yet an empty file takes its place: cargo would run this script
/// again at every build if the path did not exist.
fn object_path() -> io::Result<PathBuf> {
    if let Some(path) = env::var_os(OVERRIDE) {
        return Ok(path.into());
    }
    let path = directory("CARGO_MANIFEST_DIR")?.join("../target/ebpf/datapath.o");
    if !path.exists() {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        fs::write(&path, [])?;
    }
    path.canonicalize()
}

fn directory(variable: &str) -> io::Result<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other(format!("cargo did not set {variable}: run this script by `cargo build`")))
}
