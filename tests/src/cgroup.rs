//! Cgroups of our own, so that an agent meets the sockets of a test and no others.
//!
//! They lie below the root of the unified hierarchy and bear the names of their groups, as namespaces do.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::Group;
use crate::wait;

/// How long the kernel may take to let go of ended processes.
const LIMIT: Duration = Duration::from_secs(5);

/// A cgroup. Dropping it removes it, once its processes have ended.
pub struct Cgroup {
    name: String,
    path: PathBuf,
}

impl Cgroup {
    /// Makes the cgroup of a group.
    pub fn create(group: &Group) -> Result<Self> {
        let root = hierarchy().context("no cgroup2 is mounted: run `mount -t cgroup2 none /sys/fs/cgroup/unified`")?;
        let path = root.join(group.name());
        fs::create_dir(&path).with_context(|| format!("cannot make the cgroup {}", path.display()))?;
        Ok(Self { name: group.name().to_owned(), path })
    }

    /// Makes a cgroup below this one, which must be dropped first.
    pub fn below(&self, name: &str) -> Result<Self> {
        let path = self.path.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make the cgroup {}", path.display()))?;
        Ok(Self { name: format!("{}/{name}", self.name), path })
    }

    /// Its name below the root.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes a command run in this cgroup.
    pub fn take_in(&self, command: &mut Command) -> Result<()> {
        let members = self.path.join("cgroup.procs");
        let members = OpenOptions::new()
            .write(true)
            .open(&members)
            .with_context(|| format!("cannot open {}", members.display()))?;
        let join = move || {
            // Zero is whoever writes it.
            nix::unistd::write(&members, b"0").map(drop).map_err(io::Error::from)
        };
        // SAFETY: between fork and exec `join` makes one system call and neither allocates nor takes a lock.
        unsafe { command.pre_exec(join) };
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next sweep.
        let _removed = wait::until("the cgroup is empty", LIMIT, || remove(&self.path).ok());
    }
}

/// Removes a cgroup and those below it. It has no files that could be removed, and goes only when its last process has.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// Where the unified hierarchy is mounted.
pub fn hierarchy() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        (place.next() == Some("/") && kind.starts_with("cgroup2 ")).then(|| place.next().map(PathBuf::from))?
    };
    mounts.lines().find_map(mount)
}
