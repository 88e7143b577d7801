//! The network namespace that a datapath belongs to: the one in which its guard sits.
//!
//! Device indexes repeat from namespace to namespace, so whoever worked with the links of another one would take
//! strangers for his own, and would leave VIPs behind there without their guard.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::error::Error;
use super::syscall;

/// The network namespace of the calling thread.
const CURRENT: &str = "/proc/thread-self/ns/net";

/// The name of the guard's link.
pub(super) const GUARD_LINK: &str = "guard";

/// A network namespace that is held open.
#[derive(Debug)]
pub(super) struct Namespace {
    /// What programs are attached to.
    pub(super) file: File,
    /// What links call it.
    pub(super) inode: u32,
}

impl Namespace {
    /// That of the calling thread.
    pub(super) fn current() -> Result<Self, Error> {
        let open = || -> io::Result<Self> {
            let file = File::open(CURRENT)?;
            let inode = file.metadata()?.ino() as u32;
            Ok(Self { file, inode })
        };
        open().map_err(|source| Error::File { action: "open", path: CURRENT.into(), source })
    }
}

/// What programs that look at sockets call the network namespace of the calling thread.
pub(super) fn current_cookie() -> Result<u64, Error> {
    // A socket of any kind belongs to a network namespace.
    let read = || syscall::network_namespace_cookie(UnixDatagram::unbound()?.as_fd());
    read().map_err(|source| Error::File { action: "read the number of", path: CURRENT.into(), source })
}

/// Fails if the datapath that is pinned under `directory`, with these links, belongs to another network namespace that
/// still exists.
pub(super) fn refuse_other(directory: &Path, links: &Path) -> Result<(), Error> {
    let path = links.join(GUARD_LINK);
    if !path.exists() {
        return Ok(());
    }
    let link = syscall::open_pinned(&path).map_err(|source| Error::Pin { path, source })?;
    let info = syscall::link_info(link.as_fd()).map_err(|source| Error::Link {
        action: "read",
        link: GUARD_LINK.to_owned(),
        source,
    })?;
    if info.target == 0 || info.target == Namespace::current()?.inode {
        return Ok(());
    }
    Err(Error::OtherNamespace { path: directory.to_owned() })
}
