//! The compiler for the datapath: one that has its library's source beside it.
//!
//! `core` for BPF is compiled from source, which must be of the very compiler that is used. The active toolchain is taken
//! if it has the source. Otherwise Debian's packages `rustc-web` and `rust-web-src` serve, installed or taken apart in
//! `target/debian-rust` (the datapath alone is built with them; the agent always with the active toolchain).

use std::{
    ffi::OsStr,
    fmt, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::packages;
use crate::{process, workspace};

/// The target of static binaries on a machine like this one.
pub const STATIC_TARGET: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-musl" } else { "x86_64-unknown-linux-musl" };

/// The compiler of Debian's package `rustc-web`, where it is installed.
const DEBIAN: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// Starts the unpacked compiler with its own libraries.
const WRAPPER: &str = r#"#!/bin/sh
here=$(dirname "$0")
for libraries in "$here"/usr/lib/*-linux-gnu; do
    LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
done
export LD_LIBRARY_PATH
exec "$here/usr/bin/rustc" "$@"
"#;

/// A compiler that can build the datapath.
pub enum Compiler {
    /// The toolchain that runs this command.
    Active,
    /// Another one, by path.
    Other(PathBuf),
}

impl Compiler {
    /// The first compiler with source, the active one before all others.
    pub fn find() -> Option<Self> {
        if has_source(OsStr::new("rustc")) {
            return Some(Self::Active);
        }
        [PathBuf::from(DEBIAN), unpacked().join("rustc")]
            .into_iter()
            .find(|rustc| rustc.is_file() && has_source(rustc.as_os_str()))
            .map(Self::Other)
    }

    /// Makes a cargo command use this compiler.
    pub fn apply(&self, command: &mut Command) {
        if let Self::Other(rustc) = self {
            command.env("RUSTC", rustc);
        }
    }

    /// The program.
    pub fn rustc(&self) -> &OsStr {
        match self {
            Self::Active => OsStr::new("rustc"),
            Self::Other(rustc) => rustc.as_os_str(),
        }
    }

    /// Whether clippy of the same version is there.
    pub fn has_clippy(&self) -> bool {
        matches!(self, Self::Active)
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => f.write_str("of the active toolchain"),
            Self::Other(rustc) => write!(f, "of {}", workspace::shown(rustc)),
        }
    }
}

/// Adds a component to the active toolchain.
pub fn add_component(component: &str) -> Result<()> {
    if process::find("rustup").is_none() {
        bail!("rustup was not found: install {component} from where your Rust came from");
    }
    process::run(Command::new("rustup").args(["component", "add", component]))
}

/// Whether the active toolchain can build static binaries.
pub fn has_static_target() -> bool {
    process::output(Command::new("rustc").args(["--print", "target-libdir", "--target", STATIC_TARGET]))
        .is_ok_and(|directory| Path::new(directory.trim()).is_dir())
}

/// Adds what static binaries are linked with to the active toolchain.
pub fn add_static_target() -> Result<()> {
    if process::find("rustup").is_none() {
        bail!("rustup was not found: install Rust's library for {STATIC_TARGET} from where your Rust came from");
    }
    process::run(Command::new("rustup").args(["target", "add", STATIC_TARGET]))
}

/// Gets the source of the active compiler, or else a compiler with source from Debian.
pub fn install() -> Result<()> {
    let Err(error) = add_component("rust-src") else { return Ok(()) };
    eprintln!("rust-src is not to be had ({error:#}): taking Debian's {} instead", DEBIAN_PACKAGES.join(" and "));
    unpack().context("rustup cannot add rust-src, and Debian's compiler cannot be fetched")
}

/// Fetches Debian's compiler into `target/debian-rust`. Installing it would push out other Rust packages.
fn unpack() -> Result<()> {
    let new = unpacked().with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    packages::unpack(&DEBIAN_PACKAGES, &new)?;
    let wrapper = new.join("rustc");
    fs::write(&wrapper, WRAPPER)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;

    if unpacked().exists() {
        fs::remove_dir_all(unpacked())?;
    }
    fs::rename(&new, unpacked()).with_context(|| format!("cannot move {}", new.display()))
}

fn unpacked() -> PathBuf {
    workspace::root().join("target/debian-rust")
}

fn has_source(rustc: &OsStr) -> bool {
    process::output(Command::new(rustc).args(["--print", "sysroot"]))
        .is_ok_and(|sysroot| Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.lock").is_file())
}
