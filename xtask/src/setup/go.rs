//! Go, which builds etcd and Kubernetes for the clusters of development and tests.
//!
//! It is not installed from here: Debian's package is too old to read the modules, and no other source is the system's.

use std::process::Command;

use crate::process;

/// The oldest Go that fetches the one that a module asks for by itself.
const OLDEST: (u32, u32) = (1, 21);

/// Where it is to be had.
pub const ADVICE: &str = "install Go 1.26 from https://go.dev/dl (from 1.21 on it fetches that by itself; Debian's golang-go \
                          is too old), or set KUBEBUILDER_ASSETS to a folder with etcd and Kubernetes";

/// The version that is there, if it is new enough.
pub fn find() -> Option<String> {
    let path = process::find("go")?;
    let says = process::output(Command::new(&path).arg("version").env("GOTOOLCHAIN", "local")).ok()?;
    fits(&says).then(|| format!("{}, {}", path.display(), says.trim()))
}

/// Whether what `go version` says is new enough.
fn fits(says: &str) -> bool {
    let version = says.split(' ').nth(2).and_then(|word| word.strip_prefix("go"));
    let mut numbers = version.unwrap_or_default().split('.').map(|number| {
        let digits = number.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        digits.parse::<u32>().unwrap_or_default()
    });
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) >= OLDEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_that_can_fetch_the_wanted_one_fits() {
        for fitting in ["go version go1.26.3 linux/amd64", "go version go1.21rc2 linux/arm64"] {
            assert!(fits(fitting), "{fitting}");
        }
        for other in ["go version go1.19.8 linux/amd64", "go version devel", ""] {
            assert!(!fits(other), "{other}");
        }
    }
}
