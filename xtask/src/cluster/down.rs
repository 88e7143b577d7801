//! Takes a cluster away: processes, cgroups, namespaces, links, mounts, files, and kernel settings that it changed.
//!
//! It goes by the cluster's name and by what it finds, so it also removes what a crash left half made, and does nothing
//! where nothing is.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};

use super::{
    cgroup, machine, network,
    plan::{self, STATE},
};

/// Removes everything of a cluster; returns whether there was anything.
pub fn run(name: &str) -> Result<bool> {
    let lock = machine::lock()?;
    let state = plan::state(name);
    let existed = state.exists();
    if existed {
        cgroup::prepare(name)?;
        cgroup::end(name)?;
    }
    let record = machine::find(name);
    if let Some(record) = &record {
        network::leave(&record.cluster)?;
    }
    let namespaces: Vec<String> =
        network::namespaces().into_iter().filter(|namespace| plan::owns_namespace(name, namespace)).collect();
    for namespace in &namespaces {
        network::remove(namespace)?;
    }
    if let Some(record) = &record {
        machine::restore(record)?;
    }
    for point in mounts_below(&state)? {
        umount2(point.as_str(), MntFlags::MNT_DETACH).with_context(|| format!("cannot unmount {point}"))?;
    }
    remove_folder(&state)?;
    // With other clusters up, the folder of all stays.
    if let Err(error) = fs::remove_dir(STATE)
        && error.kind() != ErrorKind::DirectoryNotEmpty
    {
        return Err(error).with_context(|| format!("cannot remove {STATE}"));
    }
    drop(lock);
    Ok(existed || !namespaces.is_empty())
}

/// Mount points at and below a folder, the innermost first.
fn mounts_below(folder: &Path) -> Result<Vec<String>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts of this process")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<String> =
        points.filter(|point| Path::new(point).starts_with(folder)).map(str::to_owned).collect();
    points.reverse();
    Ok(points)
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
