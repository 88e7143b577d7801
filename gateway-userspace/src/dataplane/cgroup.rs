//! Whose sockets are given backends: finds the unified hierarchy of cgroups and the node's part of it.
//!
//! Any mount of the hierarchy will do, wherever it is, and of several the one that shows most of it: a container that has
//! a cgroup namespace of its own sees the node's groups only in a mount of the node. Where there is none the hierarchy is
//! mounted for this process alone, at no path.
//!
//! Where an agent runs in a Pod, what its kubelet keeps Pods in is the node's part. That is the root, unless several nodes
//! share a machine.

use std::cmp::Reverse;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};

use super::error::Error;
use super::syscall;

/// Whose sockets are given backends.
#[derive(Debug)]
pub struct Scope {
    /// Those of all processes here.
    pub(super) group: Cgroup,
    /// Those of the node's own network namespace among the processes here, if that is another cgroup.
    pub(super) root: Option<Cgroup>,
}

impl Scope {
    /// The group at this path below the root of the hierarchy, or else this node's part of it. A root that is no more than
    /// the container this process runs in is refused: nobody else's sockets would be seen there.
    pub fn find(named: Option<&Path>) -> Result<Self, Error> {
        let hierarchy = Hierarchy::open().map_err(|source| Error::NoHierarchy { source })?;
        if let Some(named) = named {
            return Ok(Self { group: hierarchy.group(named)?, root: None });
        }
        let mut memberships = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let root = hierarchy.group(Path::new(""))?;
        if memberships.lines().any(|line| line == "0::/") {
            // A cgroup namespace hides where this process is, unless a mount of the node shows it.
            match hierarchy.own_path() {
                Some(own) => memberships = format!("0::/{}", own.display()),
                None if hierarchy.is_part() => return Err(Error::OwnCgroup { path: root.path }),
                None => {}
            }
        }
        match kubelet_root(&memberships).and_then(|of_node| hierarchy.group(&of_node).ok()) {
            Some(group) => Ok(Self { group, root: Some(root) }),
            None => Ok(Self { group: root, root: None }),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of all processes in cgroup {}", self.group.path)?;
        match &self.root {
            Some(root) => write!(f, ", and of the node's network namespace in {}", root.path),
            None => Ok(()),
        }
    }
}

/// A cgroup that is held open.
#[derive(Debug)]
pub(super) struct Cgroup {
    /// Where it is, for people.
    pub(super) path: String,
    /// What programs are attached to.
    pub(super) file: File,
    /// What links call it.
    pub(super) id: u64,
}

/// The root of the unified hierarchy, as far up as this process can see.
struct Hierarchy {
    root: File,
    /// Where it is mounted.
    mounted: Option<Mount>,
    /// Where the root that this process's cgroup namespace knows is mounted.
    own: Option<PathBuf>,
}

/// A mount of the hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    /// How far above the root of this process's cgroup namespace its root is.
    above: usize,
}

impl Hierarchy {
    fn open() -> io::Result<Self> {
        let mounts = fs::read("/proc/thread-self/mountinfo")?;
        let mounts = mounts_of_hierarchy(&mounts);
        let own = mounts.last().filter(|mount| mount.above == 0).map(|mount| mount.point.clone());
        for mount in mounts {
            // Something else may be mounted above it.
            if let Ok(root) = File::open(&mount.point)
                && fstatfs(&root)?.filesystem_type() == CGROUP2_SUPER_MAGIC
            {
                return Ok(Self { root, mounted: Some(mount), own });
            }
        }
        let detached = syscall::mount_detached(c"cgroup2")?;
        let root = openat(&detached, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { root: root.into(), mounted: None, own: None })
    }

    /// A group below the root; the root itself if the path leads nowhere.
    fn group(&self, below: &Path) -> Result<Cgroup, Error> {
        let below = relative(below);
        let inside = if below.as_os_str().is_empty() { Path::new(".") } else { &below };
        let path = match &self.mounted {
            Some(Mount { point, .. }) if inside == Path::new(".") => point.display().to_string(),
            Some(Mount { point, .. }) => point.join(&below).display().to_string(),
            None => format!("/{} of a hierarchy without a mount point", below.display()),
        };
        let open = || -> io::Result<(File, u64)> {
            let file = File::from(openat(&self.root, inside, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?);
            let id = file.metadata()?.ino();
            Ok((file, id))
        };
        match open() {
            Ok((file, id)) => Ok(Cgroup { path, file, id }),
            Err(source) => Err(Error::NoCgroup { path, source }),
        }
    }

    /// Where the root of this process's cgroup namespace is below this one, if it is.
    fn own_path(&self) -> Option<PathBuf> {
        let Mount { point, above } = self.mounted.as_ref().filter(|mount| mount.above > 0)?;
        let own = fs::metadata(self.own.as_ref()?).ok()?.ino();
        let found = below(point, *above, own)?;
        Some(found.strip_prefix(point).ok()?.to_owned())
    }

    /// Whether there is more above this root: only that of the whole machine has no events.
    fn is_part(&self) -> bool {
        openat(&self.root, "cgroup.events", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).is_ok()
    }
}

/// The folder with this inode, so many steps below another.
fn below(folder: &Path, steps: usize, inode: u64) -> Option<PathBuf> {
    let Some(left) = steps.checked_sub(1) else {
        return (fs::metadata(folder).ok()?.ino() == inode).then(|| folder.to_owned());
    };
    let entries = fs::read_dir(folder).ok()?.flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).find_map(|path| below(&path, left, inode))
}

/// Where the kubelet that runs this process keeps its Pods, by what `/proc/self/cgroup` says of any hierarchy; nothing if
/// that is the root, or no kubelet runs it.
fn kubelet_root(memberships: &str) -> Option<PathBuf> {
    let of = |line: &str| {
        let path = Path::new(line.splitn(3, ':').nth(2)?);
        let parts: Vec<_> = path.components().collect();
        let is_of_pods = |part: &Component| part.as_os_str().to_string_lossy().contains("kubepods");
        // Of a kubelet within a Pod of another, the inner one; with systemd several parts in a row bear the name.
        let last = parts.iter().rposition(is_of_pods)?;
        let first = parts[..last].iter().rposition(|part| !is_of_pods(part))? + 1;
        let above: PathBuf = parts[..first].iter().collect();
        above.parent().is_some().then_some(above)
    };
    memberships.lines().find_map(of)
}

/// The path without what makes it absolute, so that it leads nowhere but down.
fn relative(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// Where the root of the unified hierarchy is mounted, or what is above the root that this process's cgroup namespace
/// knows; the highest first.
fn mounts_of_hierarchy(mounts: &[u8]) -> Vec<Mount> {
    let mut found = Vec::new();
    for line in mounts.split(|&byte| byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let separator = fields.iter().position(|field| *field == b"-");
        let kind = separator.and_then(|at| fields.get(at + 1));
        let (Some(root), Some(point), Some(b"cgroup2")) = (fields.get(3), fields.get(4), kind.copied()) else {
            continue;
        };
        let root = PathBuf::from(unescaped(root));
        let is_above = root.components().all(|part| matches!(part, Component::RootDir | Component::ParentDir));
        if is_above {
            found.push(Mount { point: unescaped(point).into(), above: root.components().count() - 1 });
        }
    }
    found.sort_by_key(|mount| Reverse(mount.above));
    found
}

/// A path as it is: `mountinfo` writes some bytes as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        rest = if let (b'\\', Some(byte)) = (first, octal) {
            bytes.push(byte);
            &tail[3..]
        } else {
            bytes.push(*first);
            tail
        };
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_mounts_the_one_that_shows_most_comes_first_and_parts_do_not_count() {
        let mounts = b"30 25 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n\
            31 25 0:26 /../../.. /host/sys/fs/cgroup ro shared:1 - cgroup2 cgroup2 rw\n\
            32 25 0:26 /kubepods /parts rw - cgroup2 cgroup2 rw\n\
            33 25 0:27 / /run/with\\040space rw - cgroup2 cgroup2 rw\n\
            34 25 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

        let found = mounts_of_hierarchy(mounts);

        let mount = |point: &str, above| Mount { point: point.into(), above };
        let expected = [mount("/host/sys/fs/cgroup", 3), mount("/sys/fs/cgroup", 0), mount("/run/with space", 0)];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_part_of_a_node_is_what_its_kubelet_keeps_pods_in() {
        let of = |path: &str| kubelet_root(&format!("9:name=systemd:/\n8:pids:{path}\n0::/\n"));

        assert_eq!(of("/kubepods/burstable/pod1/main"), None, "the root");
        assert_eq!(of("/system.slice/beeline.service"), None, "no Pod");
        assert_eq!(of("/beeline-dev/node2/kubepods/pod1/main"), Some("/beeline-dev/node2".into()));
        assert_eq!(
            of("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice/main"),
            Some("/kubelet.slice".into())
        );
        assert_eq!(of("/kubepods/pod1/main/kubelet/kubepods/pod2"), Some("/kubepods/pod1/main/kubelet".into()));
    }

    #[test]
    fn a_path_below_the_root_leads_nowhere_else() {
        assert_eq!(relative(Path::new("/kubelet/../../node1")), PathBuf::from("kubelet/node1"));
        assert_eq!(relative(Path::new("/")), PathBuf::new());
    }
}
