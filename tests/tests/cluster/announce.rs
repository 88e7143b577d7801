//! Addresses that are found: on the segment of client and nodes each VIP is at exactly one node, and moves when that node
//! is cut off, or leaves.
//!
//! The client's routes to these VIPs lead to the segment itself while a test runs, so that it must ask who has them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use beeline_tests::cluster::{AgentPod, Cluster, Sandbox, Workload};
use beeline_tests::netns::Namespace;
use beeline_tests::pod::HTTP_PORT;
use beeline_tests::segment::{self, Claim, Watch};
use beeline_tests::steady::Steady;
use beeline_tests::traffic::LONGEST_LIFE;
use beeline_tests::wait;
use serde_json::{Value, json};

use crate::ground_alone;
use crate::lifecycle::{finish, traffic};

/// How many Services there are beside the workload's own, each with an address of each family.
const SERVICES: usize = 6;
/// How often each VIP is asked for.
const QUESTIONS: usize = 3;
/// How long the agents may take to settle what has changed.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);
/// How long a new connection may be in vain after a link was cut; the aim is 3 s.
const CUT_LIMIT: Duration = Duration::from_secs(5);
/// How long one attempt may take meanwhile.
const ATTEMPT: Duration = Duration::from_millis(100);
/// How long a Pod serves on when it ends, in seconds.
const DRAIN: u32 = LONGEST_LIFE.as_secs() as u32 + 4;
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// VIPs that the client finds by asking its segment, until this is dropped.
struct OnSegment<'a> {
    cluster: &'a Cluster,
    vips: Vec<IpAddr>,
}

impl<'a> OnSegment<'a> {
    fn new(cluster: &'a Cluster, vips: impl IntoIterator<Item = IpAddr>) -> Result<Self> {
        let on_segment = Self { cluster, vips: vips.into_iter().collect() };
        for vip in &on_segment.vips {
            let length = if vip.is_ipv4() { 32 } else { 128 };
            cluster.client().ip(&format!("route replace {vip}/{length} dev eth0\n"))?;
        }
        Ok(on_segment)
    }
}

impl Drop for OnSegment<'_> {
    fn drop(&mut self) {
        for vip in &self.vips {
            // One that was not set is none that could be left behind.
            let _unrouted = self.cluster.unroute(*vip);
            let _forgotten = segment::forget(self.cluster.client(), *vip);
        }
    }
}

/// The nodes' names by the address of their link, as `ip` writes it.
fn nodes_by_hardware(cluster: &Cluster) -> Result<BTreeMap<String, String>> {
    let pair =
        |node: &beeline_tests::cluster::Node| Ok((segment::hardware(&cluster.host(&node.name)?)?, node.name.clone()));
    cluster.nodes().iter().map(pair).collect()
}

/// Who answers for each VIP, as the agent of each node says it.
fn said(cluster: &Cluster, vip: IpAddr) -> Result<BTreeMap<String, String>> {
    let of_node = |node: &beeline_tests::cluster::Node| {
        let status: Value = serde_json::from_str(&cluster.beeline(node, &["status", "--output", "json"])?)?;
        let text = status["agent"]["announcements"][vip.to_string()].as_str().unwrap_or("nobody").to_owned();
        Ok((node.name.clone(), text))
    };
    cluster.nodes().iter().map(of_node).collect()
}

/// The node that answers for a VIP, as soon as all agents say the same; `fits` says which will do.
fn owner(cluster: &Cluster, vip: IpAddr, fits: impl Fn(&str) -> bool) -> Result<String> {
    let mut last = BTreeMap::new();
    let agreed = || {
        last = said(cluster, vip).ok()?;
        let (own, others): (Vec<_>, Vec<_>) = last.iter().partition(|(_, text)| *text == "this node");
        let [(owner, _)] = own.as_slice() else { return None };
        let agree = others.iter().all(|(_, text)| **text == format!("node {owner}"));
        (agree && fits(owner)).then(|| (*owner).clone())
    };
    wait::until(&format!("all agents agree who answers for {vip}"), SETTLE_LIMIT, agreed)
        .with_context(|| format!("the last they said: {last:?}"))
}

fn service(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "beeline.dev/direct",
            "allocateLoadBalancerNodePorts": false,
            "ipFamilyPolicy": "RequireDualStack",
            "selector": { "app": app },
            "ports": [{ "name": "http", "port": HTTP_PORT, "protocol": "TCP" }],
        },
    })
}

fn agent_of(cluster: &Cluster, node: &str) -> Result<AgentPod> {
    let agents = cluster.agents()?;
    agents.into_iter().find(|agent| agent.node == node).with_context(|| format!("no agent on {node}"))
}

fn owners(claims: &[Claim]) -> BTreeSet<String> {
    claims.iter().map(|claim| segment::written(claim.hardware)).collect()
}

/// Connects again and again until it works; says how long that took.
fn until_connected(from: &Namespace, target: SocketAddr) -> Result<Duration> {
    let began = Instant::now();
    let connect = || TcpStream::connect_timeout(&target, ATTEMPT);
    let connected = from
        .enter(|| wait::until(&format!("{target} can be connected to"), SETTLE_LIMIT, || connect().ok().map(drop)))?;
    connected.map(|()| began.elapsed())
}

#[test]
fn each_vip_is_found_at_exactly_one_node_and_they_spread_over_all() -> Result<()> {
    let cluster = ground_alone()?;
    let sandbox = Sandbox::create(&cluster, "found")?;
    let workload = Workload::new("web", 3, DRAIN);
    let frontends = workload.start(&sandbox)?;
    let names: Vec<String> = (0..SERVICES).map(|number| format!("more-{number}")).collect();
    let items: Vec<Value> = names.iter().map(|name| service(name, "web")).collect();
    sandbox.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string())?;
    let mut vips: Vec<IpAddr> = frontends.iter().map(SocketAddr::ip).collect();
    for name in &names {
        vips.extend(sandbox.service_addresses(name)?);
    }
    let nodes = nodes_by_hardware(&cluster)?;
    let _on_segment = OnSegment::new(&cluster, vips.clone())?;
    let watch = Watch::start(cluster.client())?;

    let mut found = BTreeSet::new();
    for vip in vips {
        let owner = owner(&cluster, vip, |_| true)?;
        for number in 0..QUESTIONS {
            let before = watch.claims(vip).len();
            segment::ask(cluster.client(), vip)?;
            watch.wait_for(vip, &format!("question {number} is answered"), |claims| claims.len() > before)?;
        }
        let claimed = owners(&watch.claims(vip));
        ensure!(
            claimed.iter().map(|hardware| nodes.get(hardware)).eq([Some(&owner)]),
            "{vip}: {claimed:?}, not {owner}"
        );
        found.insert(owner);
    }
    ensure!(found.len() > 1, "all VIPs are at {found:?}");
    watch.finish()
}

#[test]
fn a_vip_whose_node_is_cut_off_is_found_at_another_and_returns() -> Result<()> {
    let cluster = ground_alone()?;
    let sandbox = Sandbox::create(&cluster, "cut-off")?;
    let workload = Workload::new("web", 6, DRAIN);
    let frontends = workload.serve(&cluster, &sandbox)?;
    let _on_segment = OnSegment::new(&cluster, frontends.iter().map(SocketAddr::ip))?;
    let router = cluster.host("router")?;

    for frontend in frontends {
        let first = owner(&cluster, frontend.ip(), |_| true)?;
        until_connected(cluster.client(), frontend)?;

        router.ip(&format!("link set {first} nomaster\n"))?;
        let took = until_connected(cluster.client(), frontend);
        router.ip(&format!("link set {first} master nodes\n"))?;

        let took = took?;
        println!("{frontend}: connections to a VIP whose node was cut off succeeded after {took:.1?}");
        ensure!(took < CUT_LIMIT, "{frontend}: it took {took:?}");
        owner(&cluster, frontend.ip(), |owner| owner == first)?;
        segment::ask(cluster.client(), frontend.ip())?;
        until_connected(cluster.client(), frontend)?;
    }
    Ok(())
}

#[test]
fn a_vip_stays_where_it_is_while_its_agent_is_killed_and_comes_back() -> Result<()> {
    let cluster = ground_alone()?;
    let sandbox = Sandbox::create(&cluster, "killed-owner")?;
    let workload = Workload::new("web", 6, DRAIN);
    let frontends = workload.serve(&cluster, &sandbox)?;
    let _on_segment = OnSegment::new(&cluster, frontends.iter().map(SocketAddr::ip))?;
    let nodes = nodes_by_hardware(&cluster)?;

    for frontend in frontends {
        let first = owner(&cluster, frontend.ip(), |_| true)?;
        let watch = Watch::start(cluster.client())?;
        let steady = Steady::start(cluster.client(), frontend)?;
        steady.wait_for_more(20)?;

        agent_of(&cluster, &first)?.kill(&cluster)?;
        cluster.wait_for_agents()?;
        steady.wait_for_more(100)?;
        owner(&cluster, frontend.ip(), |owner| owner == first)?;

        let report = steady.finish()?;
        println!("{frontend}: {} connections while the agent of {first} was killed: {report:?}", report.connections);
        ensure!(report.failures.is_empty(), "{:#?}", report.failures);
        let claimed = owners(&watch.claims(frontend.ip()));
        ensure!(claimed.iter().all(|hardware| nodes.get(hardware) == Some(&first)), "{claimed:?}, not {first}");
        watch.finish()?;
    }
    Ok(())
}

#[test]
fn a_node_that_is_taken_out_of_service_hands_its_vips_over_and_nobody_notices() -> Result<()> {
    let cluster = ground_alone()?;
    let sandbox = Sandbox::create(&cluster, "handed-over")?;
    let workload = Workload::new("web", 6, DRAIN);
    let frontends = workload.serve(&cluster, &sandbox)?;
    let _on_segment = OnSegment::new(&cluster, frontends.iter().map(SocketAddr::ip))?;
    let traffic = traffic(&cluster, &frontends)?;

    for frontend in frontends {
        let first = owner(&cluster, frontend.ip(), |_| true)?;
        cluster.kubectl().ask(&["label", "node", &first, &format!("{EXCLUDED}=")])?;
        let moved = owner(&cluster, frontend.ip(), |owner| owner != first);
        let more = traffic.iter().try_for_each(|traffic| traffic.wait_for_more(400));
        cluster.kubectl().ask(&["label", "node", &first, &format!("{EXCLUDED}-")])?;
        println!("{frontend}: from {first} to {} and back", moved?);
        more?;
        owner(&cluster, frontend.ip(), |owner| owner == first)?;
    }

    finish(traffic, &sandbox)
}

#[test]
fn an_agent_that_ends_hands_its_vips_over_and_nobody_notices() -> Result<()> {
    let cluster = ground_alone()?;
    let sandbox = Sandbox::create(&cluster, "ended-owner")?;
    let workload = Workload::new("web", 6, DRAIN);
    let frontends = workload.serve(&cluster, &sandbox)?;
    let _on_segment = OnSegment::new(&cluster, frontends.iter().map(SocketAddr::ip))?;
    let traffic = traffic(&cluster, &frontends)?;
    let first = owner(&cluster, frontends[0].ip(), |_| true)?;

    let agent = agent_of(&cluster, &first)?;
    cluster.kubectl().ask(&["--namespace", beeline_tests::cluster::SYSTEM, "delete", "pod", &agent.name])?;
    cluster.wait_for_agents()?;

    for frontend in &frontends {
        owner(&cluster, frontend.ip(), |_| true)?;
    }
    owner(&cluster, frontends[0].ip(), |owner| owner == first)?;
    finish(traffic, &sandbox)
}
