//! Plays Pods: HTTP, TCP echo and UDP echo that say who answers. Told no Pod, it is the one it runs in. In a Pod it is
//! also the client that others run beside it.

use std::time::Duration;

use anyhow::{Context, Result};
use beeline_test_pod::attempts::Attempts;
use beeline_test_pod::{load, pod};
use clap::{Parser, Subcommand};

/// Plays one Pod or several until SIGTERM.
#[derive(Parser)]
#[command(name = "beeline-test-pod", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    client: Option<Client>,
    /// A Pod to play; may be given several times [default: this host's name, on all its addresses]
    #[arg(long = "pod", value_name = "NAME=ADDRESS[,ADDRESS]")]
    pods: Vec<pod::Pod>,
    /// Where to speak HTTP
    #[arg(long, default_value_t = pod::HTTP_PORT)]
    http_port: u16,
    /// Where to echo datagrams
    #[arg(long, default_value_t = pod::UDP_PORT)]
    udp_port: u16,
    /// Where to echo TCP streams
    #[arg(long, default_value_t = pod::ECHO_PORT)]
    echo_port: u16,
    /// Where to serve the benchmark's load, TCP and UDP
    #[arg(long)]
    load_port: Option<u16>,
    /// For how long `GET /ready` says no at first
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    ready_after: u64,
    /// How long to go on after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    drain: u64,
}

/// What it does instead of playing a Pod.
#[derive(Subcommand)]
enum Client {
    /// Reach for a frontend, and report in JSON who answered
    Attempt(Attempts),
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if let Some(Client::Attempt(attempts)) = arguments.client {
        return attempts.run();
    }
    if arguments.pods.is_empty() {
        arguments.pods.push(pod::Pod::own()?);
    }
    if let Some(port) = arguments.load_port {
        load::server::start(port)?;
    }
    let ports = pod::Ports { http: arguments.http_port, udp: arguments.udp_port, echo: arguments.echo_port };
    let life = pod::Life {
        ready_after: Duration::from_secs(arguments.ready_after),
        drain: Duration::from_secs(arguments.drain),
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(pod::serve(&arguments.pods, ports, life))
}
