//! The agents of a cluster as Pods and as processes of this machine, which can be stopped and killed.

use std::fs;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cluster, SYSTEM, list};
use crate::process::end_processes;

/// The Lease of the agent that writes status.
const LEADER_LEASE: &str = "beeline-leader";

/// An agent that is not ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPod {
    /// The Pod's name, which is also the instance that the agent calls itself.
    pub name: String,
    /// Its node.
    pub node: String,
}

/// An agent that stands still until this is dropped.
pub struct Stopped {
    process: Pid,
}

impl Cluster {
    /// The agents.
    pub fn agents(&self) -> Result<Vec<AgentPod>> {
        let get = ["--namespace", SYSTEM, "get", "pods", "--selector=app.kubernetes.io/name=beeline"];
        let pods = self.kubectl().json(&get)?;
        let staying = list(&pods["items"]).filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let read = |pod: &serde_json::Value| {
            let (name, node) = (pod["metadata"]["name"].as_str()?, pod["spec"]["nodeName"].as_str()?);
            Some(AgentPod { name: name.to_owned(), node: node.to_owned() })
        };
        staying.map(read).collect::<Option<_>>().context("not every agent has a node yet")
    }

    /// Who holds the Lease of the agent that writes status: a node and an agent on it.
    pub fn leader(&self) -> Result<String> {
        let lease = self.kubectl().json(&["--namespace", SYSTEM, "get", "lease", LEADER_LEASE])?;
        let holder = lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty());
        holder.map(str::to_owned).with_context(|| format!("nobody holds the Lease {LEADER_LEASE}"))
    }
}

impl AgentPod {
    /// What it writes as the holder of a Lease.
    pub fn identity(&self) -> String {
        format!("{}/{}", self.node, self.name)
    }

    /// Lets its process stand still, as one that hangs.
    pub fn stop(&self) -> Result<Stopped> {
        let process = self.process()?;
        kill(process, Signal::SIGSTOP).with_context(|| format!("cannot stop agent {}", self.name))?;
        Ok(Stopped { process })
    }

    /// Kills it and deletes its Pod, so that it comes back as another; it can say goodbye to nobody.
    pub fn kill(&self, cluster: &Cluster) -> Result<()> {
        let stopped = self.stop()?;
        let delete =
            ["--namespace", SYSTEM, "delete", "pod", &self.name, "--force", "--grace-period=0", "--wait=false"];
        let deleted = cluster.kubectl().ask(&delete);
        end_processes(&[stopped.process]);
        deleted.map(drop)
    }

    /// Its process, which has the Pod's name in its environment; probes are commands of their own.
    fn process(&self) -> Result<Pid> {
        let instance = format!("BEELINE_INSTANCE={}", self.name);
        let is_ours = |process: &str| {
            // Processes that end meanwhile are not it.
            let read = |file| fs::read(format!("/proc/{process}/{file}")).unwrap_or_default();
            let runs = read("cmdline").split(|byte| *byte == 0).nth(1) == Some(b"run");
            runs && read("environ").split(|byte| *byte == 0).any(|variable| variable == instance.as_bytes())
        };
        let names = fs::read_dir("/proc").context("cannot list /proc")?;
        let mut processes = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let found = processes.find(|process| process.parse::<i32>().is_ok() && is_ours(process));
        let process = found.with_context(|| format!("agent {} has no process on this machine", self.name))?;
        Ok(Pid::from_raw(process.parse()?))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        let _gone = kill(self.process, Signal::SIGCONT);
    }
}
