//! What can go wrong between the agent and the kernel, each with what to do about it.

use std::io;
use std::path::PathBuf;

/// An error of the dataplane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The binary has no datapath inside.
    #[error("this binary was built without its datapath: run `cargo xtask build`")]
    NoObject,
    /// The directory is not on a bpffs and none could be mounted.
    #[error("`{}` is not on a bpffs and none could be mounted: run `mount -t bpf bpf {}`", path.display(), mount_point.display())]
    NotBpffs {
        /// The directory asked for.
        path: PathBuf,
        /// Where a bpffs was tried.
        mount_point: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another agent has the directory.
    #[error("another agent runs with `{}`: stop it, or give this one a directory of its own with --bpffs", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The pinned datapath serves somewhere else.
    #[error(
        "the datapath at `{}` serves another network namespace: work with it there, or name another directory with --bpffs", path.display()
    )]
    OtherNamespace {
        /// The directory.
        path: PathBuf,
    },
    /// The pinned maps are of another version.
    #[error("`{}` holds maps of layout {found}, this build needs v{expected}: run `beeline unload` first", path.display())]
    OtherLayout {
        /// The directory.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What this build writes.
        expected: u32,
    },
    /// A pinned map does not fit this build.
    #[error(
        "map `{map}` has keys and values of {found:?} bytes but layout v{version} has {expected:?}: run `beeline unload` first"
    )]
    Layout {
        /// The map.
        map: &'static str,
        /// The layout's version.
        version: u32,
        /// Bytes of its keys and values.
        found: (u32, u32),
        /// Bytes that were expected.
        expected: (u32, u32),
    },
    /// Nothing is loaded.
    #[error("no datapath is loaded at `{}`: start `beeline run`, or name its directory with --bpffs", .0.display())]
    NotLoaded(PathBuf),
    /// A directory or file could not be used.
    #[error("could not {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A pinned object could not be opened.
    #[error("could not open the pinned object `{}`", path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A map could not be read.
    #[error("could not read map `{map}`")]
    Read {
        /// The map.
        map: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A map could not be written.
    #[error("could not write map `{map}`")]
    Write {
        /// The map.
        map: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The number of CPUs could not be read.
    #[error("could not read the number of CPUs")]
    Cpus {
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the object.
    #[error(
        "could not load the datapath: the kernel must be 6.6 or newer and this process needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    Load {
        /// Why not.
        #[source]
        source: Box<aya::EbpfError>,
    },
    /// The kernel refused a program.
    #[error("could not load program `{program}`")]
    Program {
        /// The program.
        program: &'static str,
        /// Why not.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// The object lacks a program of that name and kind.
    #[error("the datapath has no program `{program}` of the expected kind: run `cargo xtask build`")]
    NoProgram {
        /// The program.
        program: &'static str,
    },
    /// A program could not be attached.
    #[error("could not attach `{link}`: TCX needs kernel 6.6 or newer, and the device must exist")]
    Attach {
        /// The link's name.
        link: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A link could not be read, changed or detached.
    #[error("could not {action} link `{link}`")]
    Link {
        /// What was tried.
        action: &'static str,
        /// The link's name.
        link: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no unified hierarchy of cgroups.
    #[error(
        "no cgroup2 is mounted and none could be: run `mount -t cgroup2 none /sys/fs/cgroup/unified`, or let the container see the host's /sys/fs/cgroup"
    )]
    NoHierarchy {
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The only cgroup to be seen is that of this container.
    #[error(
        "`{path}` is this container's own cgroup, not the node's: mount the host's /sys/fs/cgroup into the container"
    )]
    OwnCgroup {
        /// Where.
        path: String,
    },
    /// The cgroup that was named cannot be opened.
    #[error("could not open the cgroup `{path}`: name one that exists with --cgroup")]
    NoCgroup {
        /// Where.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program for sockets could not be attached.
    #[error("could not attach to the cgroup `{cgroup}`: the kernel needs CONFIG_CGROUP_BPF=y")]
    SocketSelection {
        /// Where.
        cgroup: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The collector could not be run.
    #[error("could not run the collector")]
    Collect {
        /// Why not.
        #[source]
        source: io::Error,
    },
}
