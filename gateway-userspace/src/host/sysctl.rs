//! Network settings of the kernel, as files under `/proc/sys/net` of the current network namespace.
//!
//! Containers see a `/proc/sys` that is read-only; `BEELINE_PROC_SYS` names where it lies besides.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// More octets than nearly all settings have.
const USUAL: usize = 4096;
/// More than any has: a list of every other port.
const LONGEST: usize = 256 * 1024;
/// What does not fit is left out by whole entries, which are no longer than this.
const MARGIN: usize = 16;

/// A setting, by the names between the slashes: device names may hold dots, so dots are no separators.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sysctl(PathBuf);

impl Sysctl {
    /// A setting below `net`: `["ipv4", "ip_forward"]`.
    pub fn net<const N: usize>(names: [&str; N]) -> Self {
        Self(Path::new("net").join(names.iter().collect::<PathBuf>()))
    }

    /// What it is set to.
    pub fn get(&self) -> io::Result<String> {
        let mut text = self.read(USUAL)?;
        if text.len() + MARGIN > USUAL {
            text = self.read(LONGEST)?;
        }
        Ok(text.trim().to_owned())
    }

    /// What it is set to, as a number; nothing if the kernel does not have it.
    pub fn number(&self) -> Option<i64> {
        self.get().ok()?.parse().ok()
    }

    /// Sets it, and returns what it was if that was something else.
    pub fn set(&self, value: &str) -> io::Result<Option<String>> {
        let before = self.get()?;
        if before == value {
            return Ok(None);
        }
        // An empty value needs a line to be written at all.
        std::fs::write(self.file(), format!("{value}\n"))?;
        Ok(Some(before))
    }

    /// Reads at once: of a long list of ports the kernel gives no second piece.
    fn read(&self, most: usize) -> io::Result<String> {
        let mut text = vec![0; most];
        let length = File::open(self.file())?.read(&mut text)?;
        text.truncate(length);
        String::from_utf8(text).map_err(io::Error::other)
    }

    fn file(&self) -> PathBuf {
        let root = env::var_os("BEELINE_PROC_SYS").filter(|root| !root.is_empty());
        root.map_or_else(|| PathBuf::from("/proc/sys"), PathBuf::from).join(&self.0)
    }
}

impl std::fmt::Display for Sysctl {
    /// As `sysctl` takes it: with slashes, which it reads as well as dots.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_with_a_dot_in_its_name_stays_one_name() {
        let sysctl = Sysctl::net(["ipv4", "conf", "eth0.100", "rp_filter"]);

        assert_eq!(sysctl.to_string(), "net/ipv4/conf/eth0.100/rp_filter");
    }

    #[test]
    fn forwarding_is_a_number() {
        assert!(Sysctl::net(["ipv4", "ip_forward"]).number().is_some());
        assert_eq!(Sysctl::net(["ipv4", "no_such_setting"]).number(), None);
    }
}
