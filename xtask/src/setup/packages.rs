//! Packages of the system, by apt.
//!
//! With root they are installed; without, the error is the command to run. `unpack` takes packages apart in a folder of
//! ours instead, which needs no root and leaves the system as it is.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::process;

/// Installs packages.
pub fn install(names: &[&str]) -> Result<()> {
    let command = format!("apt-get update && apt-get install -y --no-install-recommends {}", names.join(" "));
    if process::find("apt-get").is_none() {
        bail!("apt-get was not found: install by your system's means what brings {}", names.join(", "));
    }
    ensure!(process::is_root(), "packages need root: run `sudo sh -c '{command}'`");
    update()?;
    process::run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(names))
}

/// Downloads packages with all that they need and the system has not, and takes them apart in `directory`.
pub fn unpack(names: &[&str], directory: &Path) -> Result<()> {
    ensure!(process::find("apt-get").is_some(), "apt-get was not found: this works on Debian only");
    let needed = needed(names)?;
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    process::run(apt_get().args(["-o", "APT::Sandbox::User=root", "download"]).args(&needed).current_dir(directory))?;
    for entry in fs::read_dir(directory)? {
        let package = entry?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            process::run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(directory))?;
            fs::remove_file(&package)?;
        }
    }
    Ok(())
}

/// The packages that apt would install for these; the lists are fetched if apt does not know them.
fn needed(names: &[&str]) -> Result<Vec<String>> {
    let simulate = || process::output(apt_get().args(["install", "--simulate", "--no-install-recommends"]).args(names));
    let plan = match simulate() {
        Ok(plan) => plan,
        Err(error) if !process::is_root() => {
            return Err(error.context("apt does not know the packages: run `sudo apt-get update`"));
        }
        Err(_) => {
            update()?;
            simulate()?
        }
    };
    let packages = plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    Ok(packages.map(str::to_owned).collect())
}

fn update() -> Result<()> {
    process::run(apt_get().args(["update", "-q"]))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
