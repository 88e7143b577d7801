//! Answers reconcile's question how packets get to a Pod elsewhere with what the host's routes say.

use std::io;

use gateway_common::Address;

use crate::host::Host;
use crate::reconcile::{Unreachable, Way, Ways};
use crate::source::Problem;

/// The host's ways. After a plan [`HostWays::finish`] says whether the kernel could be asked at all.
pub struct HostWays<'a> {
    host: &'a mut Host,
    failure: Option<io::Error>,
}

impl<'a> HostWays<'a> {
    pub const fn new(host: &'a mut Host) -> Self {
        Self { host, failure: None }
    }

    /// An error, if there was one: the plan is then made of guesses.
    pub fn finish(self) -> io::Result<()> {
        self.failure.map_or(Ok(()), Err)
    }

    fn or_fail<T>(&mut self, answer: io::Result<T>, otherwise: T) -> T {
        answer.unwrap_or_else(|error| {
            self.failure.get_or_insert(error);
            otherwise
        })
    }
}

impl Ways for HostWays<'_> {
    fn version(&mut self) -> u64 {
        let answer = self.host.routes_version();
        self.or_fail(answer, 0)
    }

    fn way(&mut self, to: &Address) -> Way {
        let answer = self.host.route(*to);
        self.or_fail(answer, Way::None)
    }
}

/// What is wrong, and what to do.
pub fn problem(unreachable: &Unreachable) -> Problem {
    let Unreachable { backends, example, lacks_source } = unreachable;
    let others =
        if *backends > 1 { format!(" and {} more backends of other nodes", backends - 1) } else { String::new() };
    let message = if *lacks_source {
        format!(
            "no address of this node can be the source of packets to {example}{others}: connections there are dropped: \
             give an address to the device that leads there"
        )
    } else {
        format!(
            "no route to {example}{others}: connections there are dropped: let the node route to all Pods (its own addresses are none)"
        )
    };
    Problem::of_file("", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_cannot_be_reached_is_one_line() {
        let line = |backends, lacks_source| {
            problem(&Unreachable { backends, example: Address::from_v4([10, 0, 0, 1]), lacks_source }).to_string()
        };

        assert!(line(1, false).starts_with("no route to 10.0.0.1: connections"));
        assert!(line(3, false).starts_with("no route to 10.0.0.1 and 2 more backends of other nodes: "));
        assert!(line(1, true).starts_with("no address of this node can be the source of packets to 10.0.0.1: "));
    }
}
