//! Asks the verifier: loads the object and reads how many instructions it walked for each program.
//!
//! bpftool loads it into a bpffs that only one thread of ours sees; with the thread the bpffs and the programs go, so
//! nothing stays behind, whatever happens. The verifier's log is not asked for: it is hundreds of megabytes and takes
//! minutes. The kernel keeps the one figure with the program and shows it in `/proc`.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{process, workspace};

const BPFFS: &str = "/sys/fs/bpf";
/// The lines of bpftool's complaint that are shown; the last ones matter.
const TAIL: usize = 30;
/// Characters of a line that are shown; the verifier writes all it knows of every register into one.
const TAIL_WIDTH: usize = 160;

/// The instructions that the verifier walked for each program of an object, over all paths.
pub fn verified_instructions(object: &Path) -> Result<BTreeMap<String, u32>> {
    thread::scope(|scope| {
        let loading = scope.spawn(|| {
            enter_private_bpffs().with_context(|| format!("cannot mount a private bpffs at {BPFFS}"))?;
            load(object)
        });
        loading.join().map_err(|_| anyhow!("the thread that loads the object panicked"))?
    })
}

/// Gives this thread, and what it starts, a mount namespace with an empty bpffs.
fn enter_private_bpffs() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>)?;
    Ok(())
}

fn load(object: &Path) -> Result<BTreeMap<String, u32>> {
    let bpftool = process::find("bpftool").context("bpftool was not found: run `cargo xtask setup`")?;
    let pins = Path::new(BPFFS).join("inspect");
    let loading = Command::new(bpftool)
        .args(["prog", "loadall"])
        .args([object, &pins])
        .stdin(Stdio::null())
        .output()
        .context("cannot start `bpftool`")?;
    if !loading.status.success() {
        let complaint = tail(&String::from_utf8_lossy(&loading.stderr));
        bail!("the kernel did not take {}:\n{complaint}", workspace::shown(object));
    }
    let mut verified = BTreeMap::new();
    for entry in fs::read_dir(&pins)? {
        let pin = entry?.path();
        let name = pin.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let count = read_count(&pin).with_context(|| format!("cannot read the verifier's count of `{name}`"))?;
        verified.insert(name, count);
    }
    Ok(verified)
}

/// The figure as the kernel shows it of an open program.
fn read_count(pin: &Path) -> Result<u32> {
    let program = open_pinned(pin)?;
    let information = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd()))?;
    let line = information.lines().find_map(|line| line.strip_prefix("verified_insns:"));
    Ok(line.context("the kernel shows none: it needs to be 5.16 or newer")?.trim().parse()?)
}

/// The part of the kernel's `union bpf_attr` that `BPF_OBJ_GET` reads.
#[repr(C)]
struct ObjectGet {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// Opens what is pinned at a path of bpffs.
fn open_pinned(path: &Path) -> Result<File> {
    const BPF_OBJ_GET: libc::c_int = 7;
    let path = CString::new(path.as_os_str().as_bytes())?;
    let request = ObjectGet { path: path.as_ptr() as u64, descriptor: 0, flags: 0 };

    // SAFETY: the kernel reads `size_of::<ObjectGet>()` bytes of `request` and a string at its `path`, which ends in a
    // zero byte; both outlive the call, and the kernel writes to neither.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const request, size_of::<ObjectGet>()) };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the call succeeded, so its result is a new descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(result as libc::c_int) })
}

/// The last lines of a text, none of them long.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL)..];
    last.iter().map(|line| line.chars().take(TAIL_WIDTH).collect()).collect::<Vec<String>>().join("\n")
}
