//! The ports that connections to Pods of other nodes bear as their source: a range of this node's own.
//!
//! What is refused here would starve connections or take ports of well-known services; what is only unwise is a warning.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use gateway_common::{FIRST_SOURCE_PORT, LAST_SOURCE_PORT};

/// Ports below this belong to well-known services.
const LOWEST: u16 = 1024;
/// With fewer ports a single busy backend runs out of them.
const FEWEST: u32 = 1024;
/// Where Kubernetes gives out node ports unless it is told otherwise.
const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePorts {
    /// The first.
    pub first: u16,
    /// The last; never less than the first.
    pub last: u16,
}

impl Default for SourcePorts {
    fn default() -> Self {
        Self { first: FIRST_SOURCE_PORT, last: LAST_SOURCE_PORT }
    }
}

impl SourcePorts {
    /// What is unwise about the range, if anything.
    pub fn warning(self) -> Option<String> {
        let overlaps = self.first <= *NODE_PORTS.end() && self.last >= *NODE_PORTS.start();
        overlaps.then(|| {
            format!(
                "--source-ports {self} overlaps the usual node ports {}-{}: unless the cluster's node ports lie \
                 elsewhere, replies may meet kube-proxy's rules; use another range",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            )
        })
    }
}

impl FromStr for SourcePorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        let Some((first, last)) = ends else {
            return Err(format!("`{text}` is no range of ports: write FIRST-LAST, as in 10000-29999"));
        };
        if first > last {
            return Err(format!("{text} ends before it begins: write {last}-{first}"));
        }
        if first < LOWEST {
            return Err(format!("{text} has ports of well-known services: begin at {LOWEST} or above"));
        }
        let count = u32::from(last - first) + 1;
        if count < FEWEST {
            return Err(format!("{text} has only {count} ports: give at least {FEWEST}"));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for SourcePorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_it_is_written() {
        let ports = SourcePorts { first: 20_000, last: 29_999 };

        assert_eq!("20000-29999".parse(), Ok(ports));
        assert_eq!(ports.to_string(), "20000-29999");
        assert_eq!(SourcePorts::default().to_string().parse(), Ok(SourcePorts::default()));
    }

    #[test]
    fn a_range_that_cannot_serve_is_refused_with_the_reason() {
        let cases = [
            ("20000", "`20000` is no range"),
            ("20000-70000", "`20000-70000` is no range"),
            ("29999-20000", "29999-20000 ends before it begins: write 20000-29999"),
            ("1000-9000", "1000-9000 has ports of well-known services"),
            ("20000-21022", "20000-21022 has only 1023 ports"),
        ];
        for (text, expected) in cases {
            let message = text.parse::<SourcePorts>().expect_err(text);
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn an_overlap_with_node_ports_is_a_warning() {
        let warns = |text: &str| text.parse::<SourcePorts>().expect("a range").warning().is_some();

        assert!(warns("20000-30000") && warns("32767-40000") && warns("20000-60000"));
        assert!(!warns("10000-29999") && !warns("32768-40000"));
    }
}
