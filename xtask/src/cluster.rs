//! `cargo xtask cluster`: a real Kubernetes of several nodes on this machine.
//!
//! Real etcd, API server, controller manager and scheduler, and for each node a real kubelet with containerd and runc in
//! namespaces of its own. Several clusters can run side by side. `down` leaves nothing behind, and so does an `up` that
//! fails or is interrupted. What it is made of stands in docs/cluster.md.

mod cgroup;
mod control;
mod daemon;
mod down;
mod machine;
mod network;
mod node;
mod plan;
mod programs;
mod temporary;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args as ClapArgs, Subcommand};

use crate::{image, process, setup};
use control::Kubectl;
use daemon::Daemons;
use plan::{Cluster, MAX_NODES};
use programs::Programs;

pub use daemon::Interrupt;
pub use plan::Channel;
pub use programs::{are_there as has_programs, network_plugins};
pub use temporary::{Lifetime, Shape, Temporary};

#[derive(ClapArgs)]
#[command(
    after_help = "Examples:\n  cargo xtask cluster up\n  cargo xtask cluster up --name east --nodes 2 --kube-proxy\n  \
                        cargo xtask cluster load\n  cargo xtask cluster status\n  cargo xtask cluster down"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring a cluster up and say how to use it
    Up(Up),
    /// Remove a cluster and everything it made on this machine
    Down(Named),
    /// Show the clusters of this machine, their nodes and processes
    Status,
    /// Build the images of Beeline and of the examples' Pods, or take archives (OCI or Docker), and import them on every node
    Load(Load),
}

#[derive(ClapArgs)]
struct Named {
    /// The cluster's name: lower case letters, digits and dashes
    #[arg(long, default_value = "dev", value_parser = parse_name)]
    name: String,
}

#[derive(ClapArgs)]
struct Up {
    #[command(flatten)]
    named: Named,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
    nodes: u8,
    /// Run kube-proxy (nftables) on every node; without it only the `kubernetes` Service has a working `ClusterIP`
    #[arg(long)]
    kube_proxy: bool,
    /// Which of Gateway API's CRDs to install
    #[arg(long, value_enum, default_value = "standard")]
    gateway_channel: Channel,
    /// Leave a cluster that did not come up as it is, to look around
    #[arg(long)]
    keep: bool,
}

#[derive(ClapArgs)]
struct Load {
    #[command(flatten)]
    named: Named,
    /// Archives to import; the repository's own images, built anew, if none is given
    archives: Vec<PathBuf>,
}

/// What a Kubernetes API without nodes is made of, by the environment variables that tests and benchmarks look at.
pub fn api_environment(interrupt: &Interrupt) -> Result<Vec<(&'static str, PathBuf)>> {
    setup::ensure_for_cluster()?;
    let programs = Programs::ensure(interrupt)?;
    let program = |name: &str| programs.path(name).to_owned();
    Ok(vec![
        ("BEELINE_ETCD", program("etcd")),
        ("BEELINE_KUBE_APISERVER", program("kube-apiserver")),
        ("BEELINE_PKI", program("pki")),
        ("BEELINE_GATEWAY_CRDS", programs.crds(Channel::Experimental)),
    ])
}

fn parse_name(text: &str) -> Result<String, String> {
    if plan::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("use 1 to 20 lower case letters, digits and inner dashes".to_owned())
    }
}

pub fn run(args: &Args) -> Result<()> {
    process::require_root("making namespaces and running containers", "cluster")?;
    match &args.command {
        Command::Up(args) => up(args),
        Command::Down(args) => take_down(&args.name),
        Command::Status => status(),
        Command::Load(args) => load(args),
    }
}

fn up(args: &Up) -> Result<()> {
    let cluster = make(args, &Interrupt::catch()?)?;
    explain(&cluster);
    Ok(())
}

/// Brings a cluster up, or leaves nothing of it.
fn make(args: &Up, interrupt: &Interrupt) -> Result<Cluster> {
    setup::ensure_for_cluster()?;
    let programs = Programs::ensure(interrupt)?;
    let start = Instant::now();
    let lock = machine::lock()?;
    let cluster = machine::claim(&args.named.name, args.nodes, args.kube_proxy, args.gateway_channel)?;
    if let Err(error) = bring_up(&cluster, lock, &programs, interrupt.clone(), start) {
        let name = &cluster.name;
        if args.keep {
            return Err(error.context(format!("left as it is; `cargo xtask cluster down --name {name}` removes it")));
        }
        eprintln!("removing what was made of cluster `{name}`");
        return match down::run(name) {
            Ok(_) => Err(error),
            Err(trouble) => Err(error.context(format!("and it could not all be removed: {trouble:#}"))),
        };
    }
    Ok(cluster)
}

/// The whole way from nothing to nodes that take Pods. `lock` keeps other clusters from coming and going until this one
/// is joined to those that are there.
fn bring_up(cluster: &Cluster, lock: File, programs: &Programs, interrupt: Interrupt, start: Instant) -> Result<()> {
    let say = |what: &str| eprintln!("{:5.1} s  {what}", start.elapsed().as_secs_f64());
    cgroup::prepare(&cluster.name)?;
    control::write_keys(cluster, programs)?;
    let others: Vec<Cluster> = machine::clusters().into_iter().filter(|other| other.name != cluster.name).collect();
    network::make(cluster, &others)?;
    drop(lock);
    say("keys and network are there");

    let mut daemons = Daemons::new(interrupt);
    control::start_api_server(cluster, programs, &mut daemons)?;
    say("the API server is ready");
    control::start_controllers(cluster, programs, &mut daemons)?;
    let pause = write_pause_image(cluster, programs)?;
    for node in cluster.nodes() {
        let running = node::start_containerd(node, programs, &mut daemons)?;
        node::import(node, &pause)?;
        running.start_kubelet(programs, &mut daemons)?;
    }
    say("containerd and kubelet run on every node");

    let kubectl = Kubectl::new(programs.path("kubectl"), cluster);
    let crds = programs.crds(cluster.gateway_channel).display().to_string();
    kubectl.ask(&["apply", "--server-side", "--filename", &crds])?;
    for node in cluster.nodes() {
        control::complete_node(node, &kubectl, &mut daemons)?;
    }
    control::wait_until_ready(cluster, &kubectl, &mut daemons)?;
    say("every node is Ready");
    Ok(())
}

/// Makes the image that holds a Pod's namespaces.
fn write_pause_image(cluster: &Cluster, programs: &Programs) -> Result<PathBuf> {
    let program = programs.path("pause");
    let content = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let target = cluster.state().join("pause.tar");
    let files = &[("pause", content.as_slice(), true)];
    let image = image::archive::Image { name: node::PAUSE, entrypoint: "/pause", labels: &[], created: 0, files };
    image.write(&target)?;
    Ok(target)
}

/// Says how the cluster is used.
fn explain(cluster: &Cluster) {
    let name = &cluster.name;
    println!("cluster `{name}` is up: {} nodes", cluster.nodes);
    println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
    if let (None, Ok(kubectl)) = (process::find("kubectl"), Programs::kubectl()) {
        println!("  alias kubectl={}", kubectl.display());
    }
    println!("  a host outside of it:  nsenter --net=/run/netns/{} COMMAND", cluster.client());
    println!("  VIPs routed to nodes:  {} and {}", cluster.vips().v4, cluster.vips().v6);
    println!("  images:                cargo xtask cluster load --name {name} [ARCHIVE]");
    println!("  logs:                  {}", cluster.state().join("log").display());
    println!("  the end of it:         cargo xtask cluster down --name {name}");
}

fn take_down(name: &str) -> Result<()> {
    let existed = down::run(name)?;
    println!("cluster `{name}` {}", if existed { "is gone" } else { "was not there" });
    Ok(())
}

fn status() -> Result<()> {
    let clusters = machine::clusters();
    if clusters.is_empty() {
        println!("no cluster is up");
    }
    for cluster in &clusters {
        let processes = cgroup::processes(&cluster.name);
        let mut running = BTreeMap::<&str, usize>::new();
        for program in processes.values() {
            *running.entry(program).or_default() += 1;
        }
        let running: Vec<String> = running.iter().map(|(program, count)| format!("{count} {program}")).collect();
        println!("cluster `{}`", cluster.name);
        println!("  KUBECONFIG  {}", cluster.kubeconfig().display());
        println!("  processes   {}", running.join(", "));
        for (name, process) in daemon::started(cluster) {
            if !processes.contains_key(&process) {
                println!("  ended       {name}: see {}", daemon::log(cluster, &name).display());
            }
        }
        let kubectl = Kubectl::new(&Programs::kubectl()?, cluster);
        let nodes = kubectl.ask(&["get", "nodes", "-o", "wide", "--request-timeout=5s"]);
        match nodes {
            Ok(nodes) => nodes.lines().for_each(|line| println!("  {line}")),
            Err(error) => println!("  its API server does not answer: {error:#}"),
        }
    }
    Ok(())
}

fn load(args: &Load) -> Result<()> {
    let name = &args.named.name;
    let Some(record) = machine::find(name) else {
        bail!("there is no cluster `{name}`: run `cargo xtask cluster up --name {name}`");
    };
    if args.archives.is_empty() {
        load_own(&record.cluster)?;
    }
    for archive in &args.archives {
        ensure!(archive.is_file(), "{} is not a file", archive.display());
        import_everywhere(&record.cluster, archive)?;
        println!("{} is on {} nodes", archive.display(), record.cluster.nodes);
    }
    Ok(())
}

/// Builds the images of this repository and brings them to every node.
fn load_own(cluster: &Cluster) -> Result<()> {
    for kind in image::Kind::ALL {
        let archive = kind.archive();
        let written = image::write(kind, &archive)?;
        import_everywhere(cluster, &archive)?;
        eprintln!("{}, {}, is on {} nodes", kind.name(), written.digest, cluster.nodes);
    }
    Ok(())
}

/// Imports an archive on all nodes at once.
fn import_everywhere(cluster: &Cluster, archive: &Path) -> Result<()> {
    thread::scope(|scope| {
        let imports: Vec<_> = cluster.nodes().map(|node| scope.spawn(move || node::import(node, archive))).collect();
        imports.into_iter().try_for_each(|import| import.join().map_err(|_| anyhow!("an import ended early"))?)
    })
}
