//! A second cluster beside the first, whose API server may be killed: whoever has it, has it alone.
//!
//! The API server comes back as it was: with the same command line, in the same namespace and cgroup, so that whoever takes
//! the cluster down finds it. What happens on a node meanwhile is asked of its containerd.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;

use super::{Cluster, Node, variable};
use crate::netns::{Lifetime, Namespace};
use crate::process::{Background, Log, end_processes, run};
use crate::wait;

/// The process that is killed.
const API_SERVER: &str = "kube-apiserver";
/// How long it may take to answer again.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A folder of a node that the agent's container has at the same place.
pub(super) const SHARED: &str = "/run/beeline";

/// The cluster.
pub struct Second {
    cluster: Cluster,
    state: PathBuf,
}

/// The time in which it has no API server. Dropping it starts the API server again.
pub struct Outage<'a> {
    second: &'a Second,
    /// The program and its arguments; none once it runs again.
    command: Vec<OsString>,
    containers: Vec<(String, String)>,
}

impl Second {
    /// The second cluster that the environment names.
    pub fn from_environment() -> Result<Self> {
        let cluster = Cluster::named_by("BEELINE_SECOND_KUBECONFIG", "BEELINE_SECOND_CLIENT", "BEELINE_SECOND_VIPS")?;
        Ok(Self { cluster, state: variable("BEELINE_SECOND_STATE")?.into() })
    }

    /// As any cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Where a path of a node below `/run` lies on this machine.
    pub fn on_machine(&self, node: &Node, path: &str) -> PathBuf {
        self.state.join(&node.name).join(path.trim_start_matches('/'))
    }

    /// Kills the API server.
    pub fn kill_api_server(&self) -> Result<Outage<'_>> {
        let nodes = self.cluster.nodes().iter();
        let containers = nodes.map(|node| Ok((node.name.clone(), self.agent_container(node)?)));
        let containers = containers.collect::<Result<_>>()?;
        let process = self.process(API_SERVER)?;
        let line = format!("/proc/{process}/cmdline");
        let line = fs::read(&line).with_context(|| format!("cannot read {line}"))?;
        let line = line.strip_suffix(&[0]).unwrap_or(&line);
        let command = line.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
        let outage = Outage { second: self, command, containers };
        end_processes(&[process]);
        Ok(outage)
    }

    /// A daemon of the cluster.
    fn process(&self, name: &str) -> Result<Pid> {
        let note = self.state.join("pids").join(name);
        let text = fs::read_to_string(&note).with_context(|| format!("cannot read {}", note.display()))?;
        let number = text.trim().parse().with_context(|| format!("{} holds no process id: {text}", note.display()))?;
        Ok(Pid::from_raw(number))
    }

    /// The container that a node's agent runs in, as containerd calls it.
    fn agent_container(&self, node: &Node) -> Result<String> {
        let pod = self.cluster.agent(node)?;
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str();
        let id = id.and_then(|id| id.strip_prefix("containerd://"));
        Ok(id.with_context(|| format!("the agent of {} has no container", node.name))?.to_owned())
    }

    /// Starts the API server where the last one was.
    fn start_api_server(&self, words: &[OsString]) -> Result<()> {
        let name = self.state.file_name().context("the cluster's state has no name")?.to_string_lossy();
        let router = Namespace::existing(&format!("beeline-{name}-router"))?;
        let members = self.state.join(format!("cgroup/beeline-{name}/daemons/cgroup.procs"));
        let mut command = router.command("sh")?;
        command.args(["-c", r#"echo $$ >"$0" && exec "$@""#]).arg(members).args(words);
        let log = Log::at(self.state.join("log").join(format!("{API_SERVER}.log")));
        let server = Background::start(API_SERVER, command, log, Lifetime::Kept)?;
        let note = self.state.join("pids").join(API_SERVER);
        fs::write(&note, server.id().to_string()).with_context(|| format!("cannot write {}", note.display()))?;
        let answers = || self.cluster.kubectl().ask(&["get", "--raw", "/readyz"]).ok();
        wait::until("the API server answers again", START_LIMIT, answers).map(drop)
    }
}

impl Outage<'_> {
    /// What a command of Beeline writes in the agent's container of a node, whether it succeeds or not: nobody but the node
    /// can be asked now.
    pub fn beeline(&self, node: &Node, arguments: &[&str]) -> Result<String> {
        let container = self.containers.iter().find(|(name, _)| *name == node.name);
        let (_, container) = container.with_context(|| format!("{} has no agent", node.name))?;
        let containerd = self.second.process(&format!("containerd-{}", node.name))?.to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &containerd, "--mount", "--net", "ctr", "--namespace", "k8s.io"]);
        command.args(["tasks", "exec", "--exec-id", "asked-by-a-test", container, "beeline"]).args(arguments);
        Ok(run(&mut command).unwrap_or_else(|error| format!("{error:#}")))
    }

    /// Starts the API server again and waits until it answers.
    pub fn end(mut self) -> Result<()> {
        let command = std::mem::take(&mut self.command);
        ensure!(!command.is_empty(), "the API server's command line was empty");
        self.second.start_api_server(&command)
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        if !self.command.is_empty()
            && let Err(error) = self.second.start_api_server(&self.command)
        {
            eprintln!("the second cluster has no API server any more: {error:#}");
        }
    }
}
