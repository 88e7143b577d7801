//! The directory in which maps and links outlive the agent: mounting, locking, layout versions, removal.
//!
//! `<bpffs>/v<LAYOUT_VERSION>/<MAP>` and `<bpffs>/links/<link>`. The lock is a `flock` on the directory itself, so it
//! ends with its holder, however that ends.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use gateway_common::maps::LAYOUT_VERSION;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::error::Error;
use super::{namespace, syscall};

/// Where every distribution mounts it.
const USUAL_MOUNT_POINT: &str = "/sys/fs/bpf";

/// Where the links are, below the directory.
const LINKS: &str = "links";

/// Why a directory stays: something else lies there, or it is where the bpffs is mounted.
const KEPT: [io::ErrorKind; 2] = [io::ErrorKind::DirectoryNotEmpty, io::ErrorKind::ResourceBusy];

/// A bpffs directory that nobody else works with, until this is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Directory {
    /// Makes the directory if need be, mounting a bpffs at the usual place, and locks it.
    pub fn create(path: &Path) -> Result<Self, Error> {
        ensure_bpffs(path)?;
        create(path)?;
        let directory = Self::lock(path)?;
        refuse_foreign(path)?;
        create(&maps(path))?;
        create(&links(path))?;
        Ok(directory)
    }

    /// Locks a directory that exists.
    pub(super) fn lock(path: &Path) -> Result<Self, Error> {
        // Whoever only asks whether the lock is taken holds it for a moment, too.
        const ATTEMPTS: u32 = 20;
        for attempt in 1.. {
            match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Self { path: path.to_owned(), _lock: lock }),
                Err((_, Errno::EWOULDBLOCK)) if attempt < ATTEMPTS => thread::sleep(Duration::from_millis(10)),
                Err((_, Errno::EWOULDBLOCK)) => break,
                Err((_, errno)) => return Err(file_error("lock", path, errno.into())),
            }
        }
        Err(Error::Locked { path: path.to_owned() })
    }

    /// Where the maps are.
    pub(super) fn maps(&self) -> PathBuf {
        maps(&self.path)
    }

    /// Where the links are.
    pub(super) fn links(&self) -> PathBuf {
        links(&self.path)
    }
}

/// What [`Unloading::finish`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unloaded {
    /// Links that were detached.
    pub links: usize,
    /// Maps that are gone with all they held.
    pub maps: usize,
}

/// Fails if this build, in this network namespace, cannot work with what lies in the directory. Asked before an agent
/// is made to leave it.
pub fn refuse_foreign(bpffs: &Path) -> Result<(), Error> {
    refuse_other_layouts(bpffs)?;
    namespace::refuse_other(bpffs, &links(bpffs))
}

/// Whether an agent works with the directory.
pub fn is_locked(bpffs: &Path) -> Result<bool, Error> {
    if !bpffs.exists() {
        return Ok(false);
    }
    match Flock::lock(open(bpffs)?, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(false),
        Err((_, Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, errno)) => Err(file_error("lock", bpffs, errno.into())),
    }
}

/// A datapath that is about to go. Nobody else works with its directory meanwhile.
#[derive(Debug)]
pub struct Unloading {
    directory: Directory,
}

impl Unloading {
    /// Locks the directory, if it is one of a datapath and this is the network namespace that the datapath serves.
    pub fn begin(bpffs: &Path) -> Result<Self, Error> {
        if !is_bpffs(bpffs) || !entries(bpffs)?.iter().any(|path| is_part(path)) {
            return Err(Error::NotLoaded(bpffs.to_owned()));
        }
        let directory = Directory::lock(bpffs)?;
        namespace::refuse_other(bpffs, &links(bpffs))?;
        Ok(Self { directory })
    }

    /// Detaches all links, removes all maps, of any layout version, and the directory. What lies there besides is
    /// not ours: it stays, and the directory with it.
    pub fn finish(self) -> Result<Unloaded, Error> {
        let bpffs = &self.directory.path;
        let mut unloaded = Unloaded::default();
        for link in entries(&links(bpffs))? {
            remove_link(&link)?;
            unloaded.links += 1;
        }
        for part in entries(bpffs)?.iter().filter(|path| is_part(path)) {
            if layout_of(part).is_some() {
                for map in entries(part)? {
                    fs::remove_file(&map).map_err(|source| file_error("remove", &map, source))?;
                    unloaded.maps += 1;
                }
            }
            fs::remove_dir(part).map_err(|source| file_error("remove", part, source))?;
        }
        match fs::remove_dir(bpffs) {
            Err(error) if !KEPT.contains(&error.kind()) => Err(file_error("remove", bpffs, error)),
            Ok(()) | Err(_) => Ok(unloaded),
        }
    }
}

/// Detaches a pinned link at once and removes its pin.
pub(super) fn remove_link(path: &Path) -> Result<(), Error> {
    let link = syscall::open_pinned(path).map_err(|source| Error::Pin { path: path.to_owned(), source })?;
    match syscall::detach_link(&link) {
        // Its device is gone, and it was detached then.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
        Err(source) => return Err(Error::Link { action: "detach", link: name(path), source }),
        Ok(()) => {}
    }
    fs::remove_file(path).map_err(|source| file_error("remove", path, source))
}

/// Where the maps of this build's layout are.
pub(super) fn maps(bpffs: &Path) -> PathBuf {
    bpffs.join(format!("v{LAYOUT_VERSION}"))
}

/// Where the links are.
pub(super) fn links(bpffs: &Path) -> PathBuf {
    bpffs.join(LINKS)
}

/// Fails if there are maps that this build does not understand.
pub(super) fn refuse_other_layouts(bpffs: &Path) -> Result<(), Error> {
    for directory in entries(bpffs)? {
        if let Some(version) = layout_of(&directory)
            && version != LAYOUT_VERSION
        {
            return Err(Error::OtherLayout {
                path: bpffs.to_owned(),
                found: format!("v{version}"),
                expected: LAYOUT_VERSION,
            });
        }
    }
    Ok(())
}

/// What is in a directory, sorted; nothing if there is none.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = || -> io::Result<Vec<PathBuf>> { fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect() };
    match read() {
        Ok(mut paths) => {
            paths.sort();
            Ok(paths)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(file_error("list", directory, source)),
    }
}

/// A path's last part, for people.
pub(super) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a path in a bpffs directory is one of those that an agent makes there.
fn is_part(path: &Path) -> bool {
    layout_of(path).is_some() || path.file_name().is_some_and(|name| name == LINKS)
}

fn layout_of(directory: &Path) -> Option<u32> {
    directory.file_name()?.to_str()?.strip_prefix('v')?.parse().ok()
}

fn ensure_bpffs(path: &Path) -> Result<(), Error> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    if is_bpffs(existing) {
        return Ok(());
    }
    let mount_point = Path::new(USUAL_MOUNT_POINT);
    let source = if path.starts_with(mount_point) {
        match mount(Some("bpf"), mount_point, Some("bpf"), MsFlags::empty(), None::<&str>) {
            Ok(()) => return Ok(()),
            Err(errno) => errno.into(),
        }
    } else {
        io::Error::other(format!("only {USUAL_MOUNT_POINT} is mounted by itself"))
    };
    let mount_point = if path.starts_with(mount_point) { mount_point } else { path };
    Err(Error::NotBpffs { path: path.to_owned(), mount_point: mount_point.to_owned(), source })
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

fn create(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| file_error("create", path, source))
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| file_error("open", path, source))
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_v_and_a_number_is_a_layout() {
        assert_eq!(layout_of(Path::new("/sys/fs/bpf/beeline/v12")), Some(12));
        assert_eq!(layout_of(Path::new("/sys/fs/bpf/beeline/vips")), None);
        assert_eq!(layout_of(Path::new("/sys/fs/bpf/beeline/links")), None);
    }

    #[test]
    fn a_locked_directory_is_refused_until_its_holder_is_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        assert!(!is_locked(path).expect("it exists"));

        let holder = Directory::lock(path).expect("nobody has it");
        assert!(is_locked(path).expect("it exists"));
        assert!(matches!(Directory::lock(path), Err(Error::Locked { .. })));

        drop(holder);
        assert!(!is_locked(path).expect("it exists"));
    }

    #[test]
    fn maps_of_another_layout_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("v999")).expect("a directory");

        let error = refuse_other_layouts(directory.path()).expect_err("another layout");

        assert!(error.to_string().contains("v999") && error.to_string().contains("beeline unload"), "{error}");
    }

    #[test]
    fn a_directory_outside_of_a_bpffs_is_never_emptied() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("v1/notes");
        fs::create_dir(directory.path().join("v1")).expect("a directory");
        fs::write(&file, "mine").expect("a file");

        let error = Unloading::begin(directory.path()).expect_err("no bpffs");

        assert!(matches!(error, Error::NotLoaded(_)), "{error}");
        assert!(file.exists());
    }

    #[test]
    fn only_what_an_agent_makes_is_part_of_a_datapath() {
        let parts = ["v1", "links"].map(|name| is_part(&Path::new("/sys/fs/bpf").join(name)));
        let others = ["tc", "cilium", "vips", "linkset"].map(|name| is_part(&Path::new("/sys/fs/bpf").join(name)));

        assert_eq!((parts, others), ([true; 2], [false; 4]));
    }

    #[test]
    fn a_directory_outside_of_a_bpffs_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");

        let error = Directory::create(&directory.path().join("beeline")).expect_err("no bpffs");

        assert!(error.to_string().contains("mount -t bpf"), "{error}");
    }
}
