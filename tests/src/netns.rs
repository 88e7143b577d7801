//! Network namespaces of our own: made, entered and removed.
//!
//! A name is `bl-<process id>-<number>-<role>`, so what a killed process left can be told from what lives. Only
//! the network is separate; `/sys/fs/bpf` and the file system are the machine's, which `ip netns exec` would hide.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use crate::process::{end_processes, run};

mod sweep;

pub use sweep::{remove_everything, remove_stale};

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";
/// What all our names begin with.
const PREFIX: &str = "bl-";
/// What stands for the process id in the names of namespaces that outlive their process.
const KEPT: &str = "kept";

/// How long what we make shall stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until the value is dropped, or this process is dead.
    Process,
    /// Until [`remove_everything`].
    Kept,
}

/// Things that belong together: the first part of their names, and a folder for their files.
pub struct Group {
    name: String,
    lifetime: Lifetime,
    folder: PathBuf,
}

impl Group {
    /// A name that no other group of this machine bears. The first one also removes what dead processes left.
    pub fn create(lifetime: Lifetime) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            remove_stale();
        }
        let process = std::process::id();
        let name = match lifetime {
            Lifetime::Process => format!("{PREFIX}{process}-{number}"),
            Lifetime::Kept => format!("{PREFIX}{KEPT}-{process}{number}"),
        };
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { name, lifetime, folder })
    }

    /// The name, for files and directories of the group.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long the group's things stay.
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// The folder for the group's files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Process {
            // A folder that cannot be removed now is removed by the next sweep.
            let _removed = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A network namespace. Dropping it ends the processes in it and removes it, unless it is to be kept.
pub struct Namespace {
    name: String,
    lifetime: Lifetime,
    file: File,
}

impl Namespace {
    /// Makes a namespace with the loopback device up and without duplicate address detection, so that every
    /// address works at once.
    pub fn create(group: &Group, role: &str) -> Result<Self> {
        let name = format!("{}-{role}", group.name());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let path = Path::new(NAMES).join(&name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let namespace = Self { name, lifetime: group.lifetime(), file };
        for scope in ["all", "default"] {
            namespace.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
        }
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// A namespace that others made and will remove.
    pub fn existing(name: &str) -> Result<Self> {
        let path = Path::new(NAMES).join(name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { name: name.to_owned(), lifetime: Lifetime::Kept, file })
    }

    /// The name that `ip netns` knows.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file to enter it by: `nsenter --net=PATH`.
    pub fn path(&self) -> PathBuf {
        Path::new(NAMES).join(&self.name)
    }

    /// Runs `action` in the namespace, on a thread of its own. Sockets made there stay in the namespace.
    pub fn enter<T: Send>(&self, action: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                join(&self.file, &self.name)?;
                Ok(action())
            });
            inside.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
        })
    }

    /// Starts `action` in the namespace, on a thread of its own that goes on after this call.
    pub fn spawn<T: Send + 'static>(
        &self,
        action: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let (file, name) = (self.file.try_clone().context("cannot duplicate a file descriptor")?, self.name.clone());
        Ok(thread::spawn(move || {
            join(&file, &name)?;
            action()
        }))
    }

    /// A command that runs in the namespace. The child is killed when the thread that starts it ends, unless
    /// the namespace is to be kept.
    pub fn command(&self, program: impl AsRef<Path>) -> Result<Command> {
        let namespace = self.file.try_clone().context("cannot duplicate a file descriptor")?;
        let dies_with_parent = self.lifetime == Lifetime::Process;
        let mut command = Command::new(program.as_ref());
        let prepare = move || {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
            if dies_with_parent {
                nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec `prepare` makes two system calls and neither allocates nor takes a lock.
        unsafe { command.pre_exec(prepare) };
        Ok(command)
    }

    /// Gives `ip` several commands, one a line, to be done in the namespace.
    pub fn ip(&self, batch: &str) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run `ip`: install iproute2")?;
        let mut input = child.stdin.take().context("`ip` has no standard input")?;
        input.write_all(batch.as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("`ip -n {} -batch` failed: {}\n{batch}", self.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Writes a setting of the namespace: `net/ipv4/ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.enter(|| fs::write(&path, value))?.with_context(|| format!("cannot write {value} to {}", path.display()))
    }
}

/// Moves this thread into a namespace.
fn join(namespace: &File, name: &str) -> Result<()> {
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("cannot enter the network namespace {name}"))
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Process {
            end_processes(&sweep::processes_in(&self.path()));
            sweep::remove(&self.name);
        }
    }
}
