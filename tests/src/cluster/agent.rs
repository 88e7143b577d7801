//! Beeline in a cluster: installed as users install it, and asked what it has programmed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use gateway_common::Protocol;
use serde_json::Value;

use super::{Cluster, Node, folder, list};
use crate::wait;

/// The namespace that the agents run in.
pub const SYSTEM: &str = "beeline-system";
/// The user that the agents are to the API server.
pub const AGENT: &str = "system:serviceaccount:beeline-system:beeline-agent";

/// How long the agents may take to come up.
const ROLLOUT_LIMIT: &str = "--timeout=90s";
/// How long a change may take from the API server to a node's maps. It takes milliseconds on an idle machine.
const PROGRAM_LIMIT: Duration = Duration::from_secs(20);

impl Cluster {
    /// Installs Beeline by a folder of `deploy`.
    pub fn install(&self, variant: &str) -> Result<()> {
        self.kubectl().apply(&["--kustomize", &folder(variant)?], "")
    }

    /// Waits until every node's agent is ready.
    pub fn wait_for_agents(&self) -> Result<()> {
        let rollout = ["--namespace", SYSTEM, "rollout", "status", "daemonset/beeline", ROLLOUT_LIMIT];
        self.kubectl().ask(&rollout).map(drop).map_err(|error| {
            let pods = self.kubectl().ask(&["--namespace", SYSTEM, "get", "pods", "--output", "wide"]);
            let logs = ["--namespace", SYSTEM, "logs", "daemonset/beeline", "--tail=20"];
            let logs = self.kubectl().ask(&logs).unwrap_or_default();
            error.context(format!("the agents are not ready:\n{}\n{logs}", pods.unwrap_or_default()))
        })
    }

    /// What a command of Beeline writes in the agent's container of a node.
    pub fn beeline(&self, node: &Node, arguments: &[&str]) -> Result<String> {
        let mut words = vec!["beeline"];
        words.extend(arguments);
        self.in_agent(node, &words)
    }

    /// What a command writes in the agent's container of a node.
    pub fn in_agent(&self, node: &Node, command: &[&str]) -> Result<String> {
        let agent = self.agent(node)?;
        let pod = agent["metadata"]["name"].as_str().context("an agent's Pod has no name")?;
        let mut words = vec!["--namespace", SYSTEM, "exec", pod, "--"];
        words.extend(command);
        self.kubectl().ask(&words)
    }

    /// The agent's Pod of a node; the newest if one takes over from another.
    pub(super) fn agent(&self, node: &Node) -> Result<Value> {
        let on_node = format!("--field-selector=spec.nodeName={},status.phase=Running", node.name);
        let selector = "--selector=app.kubernetes.io/name=beeline";
        let get = ["--namespace", SYSTEM, "get", "pods", &on_node, selector, "--sort-by=.metadata.creationTimestamp"];
        let pods = self.kubectl().json(&get)?;
        list(&pods["items"]).last().cloned().with_context(|| format!("no agent runs on {}", node.name))
    }

    /// How much the agent of a node wrote to the maps when it began. Later it may clear away what its predecessor left to
    /// wait for its time.
    pub fn first_writes(&self, node: &Node) -> Result<u64> {
        let agent = self.agent(node)?;
        let pod = agent["metadata"]["name"].as_str().context("an agent's Pod has no name")?;
        let log = self.kubectl().ask(&["--namespace", SYSTEM, "logs", pod])?;
        let first = log.lines().find(|line| line.contains(" reconciled "));
        let writes = first.and_then(|line| line.split_once(" writes=")?.1.split(' ').next()?.parse().ok());
        writes.with_context(|| format!("the agent of {} does not say what it wrote first: {first:?}", node.name))
    }

    /// Waits until a node's maps have exactly these backends, with their weights, for a TCP frontend.
    pub fn wait_until_programmed(
        &self,
        node: &Node,
        frontend: SocketAddr,
        backends: &BTreeMap<SocketAddr, u64>,
    ) -> Result<()> {
        self.wait_for_backends(node, Protocol::TCP, frontend, backends)
    }

    /// The same for a frontend of either protocol.
    pub fn wait_for_backends(
        &self,
        node: &Node,
        protocol: Protocol,
        frontend: SocketAddr,
        backends: &BTreeMap<SocketAddr, u64>,
    ) -> Result<()> {
        let mut last = None;
        let programmed = || {
            let status = self.beeline(node, &["status", "--output", "json"]);
            last = Some(status.and_then(|text| Ok(programmed(&serde_json::from_str(&text)?, protocol, frontend))));
            last.as_ref()?.as_ref().is_ok_and(|found| found == backends).then_some(())
        };
        let what = format!("{} has {protocol} {frontend} with {backends:?}", node.name);
        wait::until(&what, PROGRAM_LIMIT, programmed).with_context(|| format!("the last it had: {last:?}"))
    }

    /// Waits until a node's HTTP layer sends requests for a host to so many Pods.
    pub fn wait_for_site(&self, node: &Node, frontend: SocketAddr, host: &str, pods: usize) -> Result<()> {
        let (address, port) = (frontend.ip().to_string(), frontend.port().to_string());
        let question = ["explain", "http", "--host", host, "--address", &address, "--port", &port, "--output", "json"];
        let mut last = None;
        let served = || {
            last = Some(self.beeline(node, &question).and_then(|text| Ok(members(&serde_json::from_str(&text)?))));
            last.as_ref()?.as_ref().is_ok_and(|found| *found == pods).then_some(())
        };
        let what = format!("{} serves {host} at {frontend} by {pods} Pods", node.name);
        wait::until(&what, PROGRAM_LIMIT, served).with_context(|| format!("the last it had: {last:?}"))
    }
}

/// To how many Pods a request goes, as `beeline explain` has it.
fn members(answer: &Value) -> usize {
    let destinations = list(&answer["frontends"]).flat_map(|frontend| list(&frontend["met"]["destinations"]));
    destinations.map(|destination| list(&destination["members"]).count()).sum()
}

/// The backends of a frontend and their weights, as `beeline status` has them.
fn programmed(status: &Value, protocol: Protocol, frontend: SocketAddr) -> BTreeMap<SocketAddr, u64> {
    let ours = |found: &&Value| found["protocol"] == protocol.to_string() && socket(found) == Some(frontend);
    let groups = list(&status["frontends"]).filter(ours).flat_map(|found| list(&found["groups"]));
    let backends = groups.flat_map(|group| list(&group["backends"]));
    backends.filter_map(|backend| Some((socket(backend)?, backend["weight"].as_u64()?))).collect()
}

fn socket(value: &Value) -> Option<SocketAddr> {
    let address: IpAddr = value["address"].as_str()?.parse().ok()?;
    Some(SocketAddr::new(address, value["port"].as_u64()?.try_into().ok()?))
}
