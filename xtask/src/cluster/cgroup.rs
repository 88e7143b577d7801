//! The cgroup of a cluster: how its processes are found and ended together.
//!
//! The cluster mounts the unified hierarchy for itself, so this works alike on machines with either version of cgroups.
//! The daemons live in a leaf of it, the Pods of each node in a group beside that leaf. On version 1 the Pods' limits
//! live in the old hierarchies under the same names, and only empty folders are left there in the end.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};

use super::plan::{self, Node};

/// Mounts the hierarchy within the state folder and makes the cluster's groups; does nothing if that was done.
pub fn prepare(name: &str) -> Result<()> {
    let hierarchy = hierarchy(name);
    if !hierarchy.join("cgroup.procs").exists() {
        fs::create_dir_all(&hierarchy).with_context(|| format!("cannot make {}", hierarchy.display()))?;
        mount(Some("cgroup2"), &hierarchy, Some("cgroup2"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount cgroup2 on {}", hierarchy.display()))?;
    }
    let leaf = group(name).join("daemons");
    fs::create_dir_all(&leaf).with_context(|| format!("cannot make the cgroup {}", leaf.display()))
}

/// Makes the group of a node's Pods in every hierarchy; a kubelet does not start without.
pub fn prepare_pods(node: Node<'_>) -> Result<()> {
    let name = &node.cluster.name;
    let old = old_hierarchies();
    if old.is_empty() {
        pass_controllers_on(&hierarchy(name))?;
        pass_controllers_on(&group(name))?;
    }
    let old = old.into_iter().map(|hierarchy| hierarchy.join(plan::cgroup(name)));
    for group in old.chain([group(name)]) {
        let own = group.join(node.name());
        fs::create_dir_all(&own).with_context(|| format!("cannot make the cgroup {}", own.display()))?;
    }
    Ok(())
}

/// The file that takes a process into the cluster.
pub fn members(name: &str) -> Result<File> {
    let path = group(name).join("daemons/cgroup.procs");
    OpenOptions::new().write(true).open(&path).with_context(|| format!("cannot open {}", path.display()))
}

/// All processes of the cluster, Pods included: process id and name of the program.
pub fn processes(name: &str) -> BTreeMap<String, String> {
    let mut processes = BTreeMap::new();
    let mut folders = vec![group(name)];
    while let Some(folder) = folders.pop() {
        let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        let program = |process: &str| {
            let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
            Some((process.to_owned(), name.trim().to_owned()))
        };
        processes.extend(members.lines().filter_map(program));
        folders.extend(subfolders(&folder));
    }
    processes
}

/// Ends every process of the cluster and removes its groups from all hierarchies.
pub fn end(name: &str) -> Result<()> {
    let group = group(name);
    fs::write(group.join("cgroup.kill"), "1")
        .with_context(|| format!("cannot end the processes in {}", group.display()))?;
    let start = Instant::now();
    let populated = || fs::read_to_string(group.join("cgroup.events")).is_ok_and(|text| text.contains("populated 1"));
    while populated() {
        ensure!(
            start.elapsed() < Duration::from_secs(20),
            "processes of cluster `{name}` do not end: look into {}",
            group.display()
        );
        thread::sleep(Duration::from_millis(20));
    }
    remove(&group)?;
    for hierarchy in old_hierarchies() {
        remove(&hierarchy.join(plan::cgroup(name)))?;
    }
    Ok(())
}

/// The hierarchies of version 1; there are none where version 2 is alone.
fn old_hierarchies() -> Vec<PathBuf> {
    let mut folders = subfolders(Path::new("/sys/fs/cgroup"));
    folders.retain(|folder| folder.join("release_agent").exists());
    folders
}

/// Lets the groups of version 2 in a folder have limits.
fn pass_controllers_on(folder: &Path) -> Result<()> {
    let controllers = fs::read_to_string(folder.join("cgroup.controllers"))?;
    let wanted: Vec<String> = controllers.split_whitespace().map(|name| format!("+{name}")).collect();
    fs::write(folder.join("cgroup.subtree_control"), wanted.join(" "))
        .with_context(|| format!("cannot pass controllers on in {}", folder.display()))
}

fn hierarchy(name: &str) -> PathBuf {
    plan::state(name).join("cgroup")
}

fn group(name: &str) -> PathBuf {
    hierarchy(name).join(plan::cgroup(name))
}

/// Removes a group and all below it. The kernel lets go of an ended process's group a moment after the process.
fn remove(group: &Path) -> Result<()> {
    for below in subfolders(group) {
        remove(&below)?;
    }
    let start = Instant::now();
    while let Err(error) = fs::remove_dir(group) {
        if error.kind() == std::io::ErrorKind::NotFound {
            break;
        }
        if start.elapsed() > Duration::from_secs(5) {
            return Err(error).with_context(|| format!("cannot remove the cgroup {}", group.display()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}
