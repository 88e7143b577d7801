//! Reaches for a frontend from a process of its own and says what its sockets saw.

use anyhow::Result;
use beeline_test_pod::attempts::{self, Attempts};
use clap::Parser;

/// Connects or sends datagrams, and reports in JSON.
#[derive(Parser)]
#[command(name = "beeline-test-client")]
struct Arguments {
    #[command(flatten)]
    attempts: Attempts,
    /// Send on one socket of UDP, a datagram for each line of standard input
    #[arg(long, conflicts_with_all = ["count", "source"])]
    converse: bool,
}

fn main() -> Result<()> {
    let Arguments { attempts, converse } = Arguments::parse();
    if converse { attempts::converse(attempts.way, attempts.target) } else { attempts.run() }
}
