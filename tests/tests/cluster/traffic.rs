//! Traffic that somebody would complain about: clients that connect again and again, and connections that stay.
//!
//! What a test does to agents and API servers meanwhile must not show in it. How many clients bear a change of Pods is
//! measured by `beeline_tests::traffic`.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use beeline_tests::long_lived::LongLived;
use beeline_tests::netns::Namespace;
use beeline_tests::steady::Steady;

/// How many connections stay open.
pub const LONG_LIVED: usize = 4;

/// Traffic while something is done that it must not notice.
pub struct Traffic {
    steady: Steady,
    long_lived: LongLived,
}

impl Traffic {
    /// Begins with new connections to an address, beside those that stay.
    pub fn start(from: &Namespace, target: SocketAddr, long_lived: LongLived) -> Result<Self> {
        let traffic = Self { steady: Steady::start(from, target)?, long_lived };
        traffic.wait_for_more(3)?;
        Ok(traffic)
    }

    /// Waits until there have been some more connections.
    pub fn wait_for_more(&self, connections: u64) -> Result<()> {
        self.steady.wait_for_more(connections)
    }

    /// Nobody was refused, reset or kept waiting.
    pub fn finish(self) -> Result<()> {
        self.long_lived.wait_for_progress()?;
        let long_lived = self.long_lived.finish()?;
        let steady = self.steady.finish()?;
        assert!(long_lived.broken.is_empty(), "{long_lived:?}");
        assert!(steady.failures.is_empty(), "{steady:#?}");
        ensure!(steady.connections > 0, "there was no traffic");
        Ok(())
    }
}
