//! Removes namespaces and pinned objects: our own, and those of processes that are dead.
//!
//! Nothing here fails: what is already gone needs no removal.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::Pid;

use super::{KEPT, NAMES, PREFIX};
use crate::cgroup;
use crate::process::end_processes;

/// Where pinned eBPF objects live.
const BPFFS: &str = "/sys/fs/bpf";

/// Removes what processes that are dead left behind.
pub fn remove_stale() {
    remove_named(|name| matches!(owner(name), Some(Owner::Process(id)) if !is_alive(id)));
}

/// Removes everything that bears our names and does not belong to another living process, also what was to be
/// kept. Gives the names.
pub fn remove_everything() -> Vec<String> {
    remove_named(|name| match owner(name) {
        Some(Owner::Process(id)) => !is_alive(id),
        Some(Owner::Nobody) => true,
        None => false,
    })
}

fn remove_named(unwanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut removed = Vec::new();
    for name in names_in(NAMES).into_iter().filter(|name| unwanted(name)) {
        end_processes(&processes_in(&Path::new(NAMES).join(&name)));
        remove(&name);
        removed.push(name);
    }
    for folder in [Path::new(BPFFS), &std::env::temp_dir()] {
        for name in names_in(folder).into_iter().filter(|name| unwanted(name)) {
            let path = folder.join(&name);
            if fs::remove_dir_all(&path).is_ok() {
                removed.push(path.display().to_string());
            }
        }
    }
    if let Some(folder) = cgroup::hierarchy() {
        for name in names_in(&folder).into_iter().filter(|name| unwanted(name)) {
            if cgroup::remove(&folder.join(&name)).is_ok() {
                removed.push(name);
            }
        }
    }
    removed
}

/// Removes a namespace by its name.
pub(super) fn remove(name: &str) {
    let removed = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
    if !removed.is_ok_and(|status| status.success()) && Path::new(NAMES).join(name).exists() {
        eprintln!("the network namespace {name} could not be removed: run `ip netns del {name}`");
    }
}

/// The processes whose network namespace is that of the file.
pub(super) fn processes_in(namespace: &Path) -> Vec<Pid> {
    let Ok(wanted) = fs::metadata(namespace) else { return Vec::new() };
    names_in("/proc")
        .iter()
        .filter_map(|name| name.parse::<i32>().ok())
        .filter(|process| {
            fs::metadata(format!("/proc/{process}/ns/net"))
                .is_ok_and(|own| own.ino() == wanted.ino() && own.dev() == wanted.dev())
        })
        .map(Pid::from_raw)
        .collect()
}

/// Whose a thing with one of our names is.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    Process(u32),
    Nobody,
}

/// Reads the owner out of a name; nothing if the name is none of ours.
fn owner(name: &str) -> Option<Owner> {
    let (owner, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    if owner == KEPT { Some(Owner::Nobody) } else { owner.parse().ok().map(Owner::Process) }
}

fn is_alive(process: u32) -> bool {
    PathBuf::from(format!("/proc/{process}")).exists()
}

fn names_in(folder: impl AsRef<Path>) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whose_it_is() {
        assert_eq!(owner("bl-4711-0-node"), Some(Owner::Process(4711)));
        assert_eq!(owner("bl-kept-47110-node"), Some(Owner::Nobody));
        assert_eq!(owner("bl-office"), None);
        assert_eq!(owner("blue-1-net"), None);
    }
}
