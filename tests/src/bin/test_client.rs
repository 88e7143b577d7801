//! Reaches for a frontend from a process of its own and says what its sockets saw.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use beeline_tests::socket_client::{self, Way};
use clap::Parser;

/// Connects or sends datagrams, and reports in JSON.
#[derive(Parser)]
#[command(name = "beeline-test-client")]
struct Arguments {
    /// How to reach the target
    way: Way,
    /// Where to; an IPv4 address in its v4-mapped form is reached by a socket of IPv6
    target: SocketAddr,
    /// Sockets to try, one after the other
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// The address to bind a socket of UDP to
    #[arg(long)]
    source: Option<IpAddr>,
    /// Send on one socket of UDP, a datagram for each line of standard input
    #[arg(long, conflicts_with_all = ["count", "source"])]
    converse: bool,
}

fn main() -> Result<()> {
    let Arguments { way, target, count, source, converse } = Arguments::parse();
    if converse {
        return socket_client::converse(way, target);
    }
    println!("{}", serde_json::to_string(&socket_client::attempt(way, target, source, count))?);
    Ok(())
}
