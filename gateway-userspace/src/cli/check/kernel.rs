//! What the kernel and this process must be able to do.

use std::fs;
use std::path::Path;

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::Finding;
use crate::dataplane::{Scope, hooks};

/// TCX, which runs programs of several owners side by side, came with this version.
const OLDEST_KERNEL: (u32, u32) = (6, 6);

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

pub fn findings(bpffs: &Path) -> Vec<Finding> {
    vec![version(), btf(), tcx(), socket_lookup(), sockets(), mounted(bpffs), capabilities()]
}

fn version() -> Finding {
    let subject = "kernel";
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let (major, minor) = OLDEST_KERNEL;
    match parse_version(release) {
        Some(version) if version >= OLDEST_KERNEL => Finding::ok(subject, release),
        Some(_) => Finding::fail(subject, format!("{release} is too old: Beeline needs {major}.{minor} or newer")),
        None => Finding::warn(subject, format!("`{release}` is no version: Beeline needs {major}.{minor} or newer")),
    }
}

fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn btf() -> Finding {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Finding::ok("BTF", "the kernel describes its types")
    } else {
        Finding::fail("BTF", "/sys/kernel/btf/vmlinux is missing: use a kernel built with CONFIG_DEBUG_INFO_BTF=y")
    }
}

fn tcx() -> Finding {
    match hooks::programs_on("lo") {
        Ok(_) => Finding::ok("TCX", "programs can be attached beside those of others"),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            Finding::warn("TCX", "cannot be looked at without CAP_NET_ADMIN: run as root")
        }
        Err(error) => Finding::fail("TCX", format!("the kernel does not have it ({error}): use 6.6 or newer")),
    }
}

fn socket_lookup() -> Finding {
    match hooks::has_socket_lookup() {
        Ok(true) => Finding::ok("sk_lookup", "VIPs can be guarded"),
        Ok(false) => Finding::fail("sk_lookup", "the kernel does not have it: use a kernel with CONFIG_BPF_SYSCALL=y"),
        Err(error) => Finding::warn("sk_lookup", format!("cannot be looked at ({error}): run as root")),
    }
}

/// Only clients inside the node depend on it, so nothing here is a failure.
fn sockets() -> Finding {
    let subject = "sockets";
    match hooks::has_socket_selection() {
        Ok(true) => {}
        Ok(false) => {
            let message = "the kernel gives them no backends: processes and Pods of this node reach no VIP: use one \
                           with CONFIG_CGROUP_BPF=y";
            return Finding::warn(subject, message);
        }
        Err(error) => return Finding::warn(subject, format!("cannot be looked at ({error}): run as root")),
    }
    match Scope::find(None) {
        Ok(scope) => Finding::ok(subject, format!("backends can be given to those {scope}")),
        Err(error) => Finding::warn(subject, format!("{:#}", anyhow::Error::from(error))),
    }
}

/// The directory need not exist yet, so its nearest ancestor that does is looked at.
fn mounted(bpffs: &Path) -> Finding {
    let subject = "bpffs";
    let existing = bpffs.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match statfs(existing) {
        Ok(found) if found.filesystem_type() == BPF_FS_MAGIC => {
            Finding::ok(subject, format!("{} is mounted", existing.display()))
        }
        Ok(_) => Finding::warn(
            subject,
            format!(
                "{} is no bpffs: run `mount -t bpf bpf /sys/fs/bpf` (maps must outlive the agent)",
                bpffs.display()
            ),
        ),
        Err(error) => Finding::fail(subject, format!("{} cannot be looked at: {error}", existing.display())),
    }
}

fn capabilities() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(effective) = effective_capabilities(&status) else {
        return Finding::warn("capabilities", "/proc/self/status does not tell them: run as root");
    };
    let missing = missing_capabilities(effective);
    if missing.is_empty() {
        Finding::ok("capabilities", "BPF, NET_ADMIN, NET_RAW and PERFMON are there")
    } else {
        Finding::fail("capabilities", format!("{} missing: run as root, or grant them", missing.join(" and ")))
    }
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// `CAP_SYS_ADMIN` stands for the two that were split from it.
fn missing_capabilities(effective: u64) -> Vec<&'static str> {
    let has = |capability: u32| effective & (1 << capability) != 0;
    let mut missing = Vec::new();
    for (name, capability) in [("CAP_BPF", CAP_BPF), ("CAP_PERFMON", CAP_PERFMON)] {
        if !has(capability) && !has(CAP_SYS_ADMIN) {
            missing.push(name);
        }
    }
    let others = [("CAP_NET_ADMIN", CAP_NET_ADMIN), ("CAP_NET_RAW", CAP_NET_RAW)];
    missing.extend(others.into_iter().filter(|(_, capability)| !has(*capability)).map(|(name, _)| name));
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_compared_by_its_first_two_numbers() {
        assert_eq!(parse_version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(parse_version("6.6-rc1"), Some((6, 6)));
        assert_eq!(parse_version("unknown"), None);
        assert!(parse_version("6.18") > Some(OLDEST_KERNEL));
        assert!(parse_version("5.15.0") < Some(OLDEST_KERNEL));
    }

    #[test]
    fn missing_capabilities_are_named() {
        let net = 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW;

        assert!(missing_capabilities(1 << CAP_BPF | 1 << CAP_PERFMON | net).is_empty());
        assert!(missing_capabilities(1 << CAP_SYS_ADMIN | net).is_empty());
        assert_eq!(missing_capabilities(0), ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_NET_RAW"]);
    }

    #[test]
    fn the_effective_set_is_read() {
        assert_eq!(effective_capabilities("CapPrm:\t01\nCapEff:\t000001ff\n"), Some(0x1ff));
        assert_eq!(effective_capabilities(""), None);
    }
}
