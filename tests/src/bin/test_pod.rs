//! Plays Pods on this network namespace's addresses: HTTP, TCP echo and UDP echo that say who answers.

use anyhow::{Context, Result};
use beeline_tests::{load, pod};
use clap::Parser;

/// Plays one Pod or several until SIGTERM.
#[derive(Parser)]
#[command(name = "beeline-test-pod")]
struct Arguments {
    /// A Pod to play; may be given several times
    #[arg(long = "pod", value_name = "NAME=ADDRESS[,ADDRESS]", required = true)]
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
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(port) = arguments.load_port {
        load::server::start(port)?;
    }
    let ports = pod::Ports { http: arguments.http_port, udp: arguments.udp_port, echo: arguments.echo_port };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(pod::serve(&arguments.pods, ports))
}
