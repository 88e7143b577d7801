//! `cargo xtask build-ebpf`: compiles the datapath for the kernel.
//!
//! It leaves `target/ebpf/datapath.o`, the object that the agent embeds, and `target/ebpf/floor.o`, an empty program that
//! the benchmarks subtract. Both are replaced only when their content changed, so nothing is rebuilt for nothing. The
//! code is the same with and without `--release`: the profile `bpf` always optimises, since the verifier judges what runs.
//! The paths of this machine are not in it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    process, remap,
    setup::{bpf_linker, compiler::Compiler},
    workspace,
};

/// The programs' target: BPF, little endian.
const TARGET: &str = "bpfel-unknown-none";
const BINARIES: [&str; 2] = ["datapath", "floor"];

#[derive(clap::Args, Default)]
pub struct Args {
    /// Strip DWARF (BTF, which the kernel needs, stays) where llvm-strip is installed; the code is the same
    #[arg(long)]
    pub release: bool,
}

pub fn run(args: &Args) -> Result<()> {
    process::run(&mut cargo("build", &[])?)?;
    for binary in BINARIES {
        let built = workspace::ebpf().join(TARGET).join("bpf").join(binary);
        publish(&built, &workspace::ebpf().join(format!("{binary}.o")), args.release)?;
    }
    Ok(())
}

/// Lints the kernel's code with the flags it is built with; any warning is an error. Debian's compiler has no clippy of
/// its own version beside it: there the compiler's own lints must do.
pub fn lint() -> Result<()> {
    let compiler = Compiler::find().context(NO_COMPILER)?;
    if compiler.has_clippy() {
        process::run(cargo("clippy", &[])?.args(["--", "-Dwarnings"]))
    } else {
        process::run(&mut cargo("check", &["-Dwarnings"])?)
    }
}

const NO_COMPILER: &str = "no Rust compiler with its library's source was found: run `cargo xtask setup`";

/// A cargo command over the kernel's code. Its flags are given as `CARGO_ENCODED_RUSTFLAGS`, which wins over whatever the
/// environment or a configuration file says.
fn cargo(subcommand: &str, extra_flags: &[&str]) -> Result<Command> {
    let compiler = Compiler::find().context(NO_COMPILER)?;
    let Some(linker) = bpf_linker::find() else {
        bail!("bpf-linker {} was not found: run `cargo xtask setup`", bpf_linker::VERSION);
    };
    // The processor version is given here and not to the linker, which refuses it given twice. Version 3 has 32-bit
    // instructions and atomics; BTF is made from the debug information.
    let linker = format!("-Clinker={}", linker.display());
    let mut flags = vec!["-Cdebuginfo=2", "-Ctarget-cpu=v3", "-Clink-arg=--btf", linker.as_str()];
    let remapped = remap::rustc_flags(compiler.rustc())?;
    flags.extend(remapped.iter().map(String::as_str));
    flags.extend(extra_flags);

    let mut command = process::cargo();
    compiler.apply(&mut command);
    command
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", workspace::ebpf())
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("CARGO_BUILD_TARGET")
        .args([subcommand, "--package", "gateway-ebpf", "--target", TARGET, "-Zbuild-std=core", "--profile", "bpf"]);
    for binary in BINARIES {
        command.args(["--bin", binary]);
    }
    Ok(command)
}

/// Puts an object where others look for it, if it differs from what lies there.
fn publish(built: &Path, object: &Path, strip: bool) -> Result<()> {
    let new = if strip { stripped(built)? } else { read(built)? };
    let changed = fs::read(object).map_or(true, |old| old != new);
    if changed {
        // Renamed into place: whoever reads meanwhile sees the old object or the new one, never half of it.
        let temporary = object.with_extension("o.new");
        fs::write(&temporary, &new).with_context(|| format!("cannot write {}", workspace::shown(&temporary)))?;
        fs::rename(&temporary, object).with_context(|| format!("cannot write {}", workspace::shown(object)))?;
    }
    let state = if changed { "new" } else { "unchanged" };
    eprintln!("{}: {} bytes, {state}", workspace::shown(object), new.len());
    Ok(())
}

/// The object without DWARF, or as it is where the tool is missing.
fn stripped(built: &Path) -> Result<Vec<u8>> {
    let Some(strip) = process::find("llvm-strip") else {
        eprintln!("llvm-strip is not installed: {} keeps its DWARF", workspace::shown(built));
        return read(built);
    };
    let output = built.with_extension("stripped");
    process::run(Command::new(strip).arg("--strip-debug").arg("-o").arg(&output).arg(built))?;
    read(&output)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", workspace::shown(path)))
}
