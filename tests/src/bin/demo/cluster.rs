//! The demo of a cluster: Beeline is installed in it, the example is applied, and a host outside opens connections and sends
//! requests.
//!
//! Whoever starts it has brought the cluster up, with the images on its nodes.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, bail};
use beeline_tests::certificate::Certificate;
use beeline_tests::cluster::{Cluster, Pod, Sandbox, Shares};
use beeline_tests::curl::{Curl, Speech};
use beeline_tests::interrupt::Interrupt;
use gateway_common::Protocol;
use serde::Serialize;

use crate::requests::{Asked, HOST, Requests, Table, Told};

/// The files of the example; the address pool is made with this cluster's addresses.
const EXAMPLE: [&str; 4] = ["service.yaml", "deployments.yaml", "upstream.yaml", "gateway.yaml"];
/// That of the HTTP part.
const WEB_FILE: &str = "web.yaml";
/// Connections through each node: the example's weights, which are 5, 3 and 1 for three Pods each, twenty times.
const CONNECTIONS: u64 = 540;
/// Requests in each way: the same weights as often as makes nine hundred.
const REQUESTS: u64 = 945;
/// Where the example's Pods listen, and its Gateway.
const PORT: u16 = 80;

/// What happened.
#[derive(Serialize)]
pub struct Report {
    /// Each step and the seconds it took.
    steps: Vec<(String, f64)>,
    /// What came of the connections.
    traffic: Vec<Shares>,
    /// What came of the requests.
    requests: Vec<Requests>,
    /// What `beeline explain` says of one of them.
    explained: Told,
    /// What `kubectl` shows in the end.
    objects: String,
}

/// Steps, each told when it is done, with its time.
struct Steps<'a> {
    interrupt: &'a Interrupt,
    done: Vec<(String, f64)>,
}

impl Steps<'_> {
    fn take<T>(&mut self, name: String, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.interrupt.check()?;
        let start = Instant::now();
        let outcome = work()?;
        let seconds = start.elapsed().as_secs_f64();
        eprintln!("== {name}: {seconds:.1} s");
        self.done.push((name, seconds));
        Ok(outcome)
    }
}

/// Installs, applies, measures.
pub fn tell(interrupt: &Interrupt) -> Result<Report> {
    let cluster = Cluster::from_environment()?;
    let mut steps = Steps { interrupt, done: Vec::new() };
    let nodes = cluster.nodes().len();
    steps.take(format!("`kubectl apply -k deploy`, ready on {nodes} nodes"), || {
        cluster.install("deploy")?;
        cluster.wait_for_agents()
    })?;
    let sandbox = Sandbox::existing(&cluster, "default");
    steps.take(
        "`kubectl apply -f examples/httpbin`, its Service of both families, all Pods ready".to_owned(),
        || {
            cluster.apply_address_pool()?;
            sandbox.apply_example("examples/httpbin", &EXAMPLE)?;
            sandbox.make_dual_stack("httpbin")
        },
    )?;
    let addresses = steps.take("the Gateway is programmed".to_owned(), || sandbox.gateway_addresses("httpbin"))?;
    let pods = sandbox.pods("app=httpbin")?;
    let mut traffic = Vec::new();
    for node in cluster.nodes() {
        for address in &addresses {
            let frontend = SocketAddr::new(*address, PORT);
            let name = format!("{CONNECTIONS} connections to {frontend} by {}", node.name);
            let shares = || cluster.shares(node, Protocol::TCP, frontend, &pods, PORT, CONNECTIONS);
            traffic.push(steps.take(name, shares)?);
        }
    }
    for address in &addresses {
        cluster.unroute(*address)?;
    }
    let (requests, explained) = ask_by_http(&cluster, &sandbox, &pods, &mut steps)?;
    let objects = sandbox.kubectl(&["get", "gateways,upstreams,services"])?;
    Ok(Report { steps: steps.done, traffic, requests, explained, objects })
}

/// Requests by each node, and in each way of speaking by the first.
fn ask_by_http(
    cluster: &Cluster,
    sandbox: &Sandbox<'_>,
    pods: &[Pod],
    steps: &mut Steps<'_>,
) -> Result<(Vec<Requests>, Told)> {
    let certificate = Certificate::of(&[HOST])?;
    let addresses =
        steps.take(format!("`kubectl apply -f examples/httpbin/{WEB_FILE}`, the Gateway is programmed"), || {
            sandbox.apply(&certificate.secret(sandbox.name(), "web"))?;
            sandbox.apply_example("examples/httpbin", &[WEB_FILE])?;
            sandbox.gateway_addresses("web")
        })?;
    let authority = std::env::temp_dir().join(format!("beeline-demo-{}.pem", std::process::id()));
    certificate.write(&authority)?;
    let curl = Curl::new(cluster.client(), HOST, &authority);
    let count = pods.len();
    let pods = pods.iter().map(|pod| (pod.name.clone(), pod.weight)).collect();
    let asked = Asked { curl: &curl, pods, count: REQUESTS };
    let mut requests = Vec::new();
    for (index, node) in cluster.nodes().iter().enumerate() {
        for address in &addresses {
            cluster.wait_for_site(node, SocketAddr::new(*address, PORT), HOST, count)?;
            cluster.route(*address, node)?;
            let ways: &[Speech] = if index == 0 { &Speech::ALL } else { &[Speech::Http1] };
            let name = format!("{REQUESTS} requests to {address} by {}, in {} ways", node.name, ways.len());
            requests.extend(steps.take(name, || {
                ways.iter().map(|way| asked.one_way(Some(&node.name), *address, *way)).collect::<Result<Vec<_>>>()
            })?);
        }
    }
    for address in &addresses {
        cluster.unroute(*address)?;
    }
    // Nothing depends on it any more.
    let _removed = fs::remove_file(&authority);
    let explained = match (cluster.nodes().first(), addresses.first()) {
        (Some(node), Some(address)) => Told::explained(*address, |arguments| cluster.beeline(node, arguments))?,
        _ => bail!("the cluster has no nodes, or the Gateway `web` no address"),
    };
    Ok((requests, explained))
}

impl Report {
    /// Whether every Pod got exactly its share of the connections and requests through each node.
    pub fn is_exact(&self) -> bool {
        let connections = !self.traffic.is_empty() && self.traffic.iter().all(Shares::is_exact);
        connections && !self.requests.is_empty() && self.requests.iter().all(Requests::is_exact)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.traffic.iter().flat_map(|shares| &shares.pods).map(|share| share.pod.len()).max();
        let width = width.unwrap_or_default().max("POD".len());
        writeln!(f, "{:<8} {:<28} {:<width$} WEIGHT  EXPECTED  RECEIVED", "NODE", "FRONTEND", "POD")?;
        for shares in &self.traffic {
            let frontend = shares.frontend.to_string();
            for share in &shares.pods {
                let mark = if share.received == share.expected { "" } else { "  <- not its share" };
                let (node, pod) = (&shares.node, &share.pod);
                let (weight, expected, received) = (share.weight, share.expected, share.received);
                writeln!(f, "{node:<8} {frontend:<28} {pod:<width$} {weight:>6}  {expected:>8}  {received:>8}{mark}")?;
            }
            if shares.refused > 0 || !shares.failures.is_empty() {
                let failures: BTreeSet<_> = shares.failures.iter().collect();
                writeln!(f, "{:<8} {frontend}: {} refused, failed: {failures:?}", shares.node, shares.refused)?;
            }
        }
        write!(f, "\n{}\n{}", Table(&self.requests), self.explained)?;
        writeln!(f, "\n$ kubectl get gateways,upstreams,services\n{}", self.objects)?;
        self.steps.iter().try_for_each(|(name, seconds)| writeln!(f, "{seconds:6.1} s  {name}"))
    }
}
