//! `cargo xtask bench`: what the datapath costs, packet by packet and as a path.
//!
//! Both measure the release build, and neither judges: no test asserts a time.

mod net;
mod packet;

use anyhow::Result;
use clap::Subcommand;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The way through a VIP against plain routing and kube-proxy's nftables form
    Net(net::Args),
    /// A packet through the real programs, net of a program that does nothing
    Packet(packet::Args),
}

pub fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Net(args) => net::run(args),
        What::Packet(args) => packet::run(args),
    }
}
