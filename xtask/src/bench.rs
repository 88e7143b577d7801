//! `cargo xtask bench`: what the datapath costs, packet by packet and as a path, what a request costs, and how soon all
//! follows a cluster.
//!
//! All measure what users run, the datapath and the agent of the image, and none judges: no test asserts a time.

mod churn;
mod http;
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
    /// From a change at the API server to the maps, and a cold start with a large cluster
    Churn(churn::Args),
    /// A request through the HTTP layer on one core, against nginx and haproxy
    Http(http::Args),
    /// The way through a VIP, to Pods here and on another node, against plain routing and kube-proxy's nftables form
    Net(net::Args),
    /// A packet through the real programs, net of a program that does nothing
    Packet(packet::Args),
}

pub fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Churn(args) => churn::run(args),
        What::Http(args) => http::run(args),
        What::Net(args) => net::run(args),
        What::Packet(args) => packet::run(args),
    }
}
