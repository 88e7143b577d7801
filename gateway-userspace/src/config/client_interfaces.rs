//! Which devices clients inside are behind that no cgroup has: virtual machines, Pods of runtimes with kernels of their own.
//!
//! Such devices come and go with their clients, so they are named by patterns, and one that is not there is no mistake.

use std::fmt;
use std::str::FromStr;

/// What stands for no device at all.
const NONE: &str = "none";
/// The kernel's names are no longer (`IFNAMSIZ`, which counts a zero at the end).
const LONGEST: usize = 15;

/// A device's name, the beginning of several, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DevicePattern {
    /// No device.
    None,
    /// The device of this name.
    Name(String),
    /// All devices whose names begin so.
    Prefix(String),
}

impl DevicePattern {
    /// Whether a device is meant.
    pub fn matches(&self, device: &str) -> bool {
        match self {
            Self::None => false,
            Self::Name(name) => name == device,
            Self::Prefix(prefix) => device.starts_with(&**prefix),
        }
    }
}

impl FromStr for DevicePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if name.is_empty() {
            return Err(format!("`{text}` names no device: write a name, its beginning as in tap*, or {NONE}"));
        }
        if name.len() > LONGEST || name.contains(|c: char| c.is_whitespace() || "/*:".contains(c)) {
            return Err(format!(
                "`{text}` can be no device's name: write one of at most {LONGEST} octets, or its beginning as in tap*"
            ));
        }
        if text == "lo" {
            return Err("clients are not behind lo: processes of the node are met by their sockets".to_owned());
        }
        Ok(match text {
            NONE => Self::None,
            _ if name == text => Self::Name(name.to_owned()),
            _ => Self::Prefix(name.to_owned()),
        })
    }
}

impl fmt::Display for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str(NONE),
            Self::Name(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_a_name_or_all_that_begin_like_it() {
        let matches = |pattern: &str| {
            let pattern: DevicePattern = pattern.parse().expect("a pattern");
            ["tap0", "tap10", "mytap0", "none"].map(|device| pattern.matches(device))
        };

        assert_eq!(matches("tap*"), [true, true, false, false]);
        assert_eq!(matches("tap0"), [true, false, false, false]);
        assert_eq!(matches("none"), [false; 4]);
        assert_eq!("veth*".parse::<DevicePattern>().expect("a pattern").to_string(), "veth*");
    }

    #[test]
    fn what_can_be_no_device_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("", "`` names no device: write a name, its beginning as in tap*, or none"),
            ("*", "`*` names no device"),
            ("t*p0", "`t*p0` can be no device's name"),
            ("a b", "`a b` can be no device's name"),
            ("sixteen-octets-x", "`sixteen-octets-x` can be no device's name"),
            ("lo", "clients are not behind lo"),
        ] {
            let message = text.parse::<DevicePattern>().expect_err(text);
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
