//! A gRPC service by tonic, or its client.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use beeline_tests::grpc;
use clap::{Parser, Subcommand};

/// Serves gRPC until it is killed, or calls the service.
#[derive(Parser)]
#[command(name = "beeline-test-grpc")]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Serve in the clear, on all addresses
    Serve {
        /// Where
        #[arg(long)]
        port: u16,
    },
    /// Make every kind of call, and name each that went well
    Call {
        /// Where the service is
        #[arg(long)]
        address: SocketAddr,
        /// The host that is asked for
        #[arg(long)]
        authority: String,
    },
}

fn main() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        match Arguments::parse().part {
            Part::Serve { port } => grpc::serve((Ipv6Addr::UNSPECIFIED, port).into()).await,
            Part::Call { address, authority } => grpc::calls::all(address, &authority, |name| println!("{name}")).await,
        }
    })
}
