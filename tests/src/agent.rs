//! The agent under test: started, killed and asked like a user does, in a namespace and with directories of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gateway_common::maps::LAYOUT_VERSION;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::Pid;
use serde_json::Value;

use crate::binaries;
use crate::cgroup::Cgroup;
use crate::netns::{Group, Lifetime, Namespace};
use crate::process::{Background, Log};
use crate::wait;

/// Where the kernel's eBPF file system is.
const BPFFS: &str = "/sys/fs/bpf";
/// How long the agent may take to serve its folder.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a change of a manifest may take to be seen.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);

/// An agent in a namespace. Dropping it ends it and unloads its datapath, unless it is to be kept.
pub struct Agent<'a> {
    node: &'a Namespace,
    binary: PathBuf,
    /// The arguments that say where its objects come from.
    objects: Vec<String>,
    bpffs: PathBuf,
    run_directory: PathBuf,
    instance: String,
    log: Log,
    arguments: Vec<String>,
    /// Whose sockets it gives backends.
    sockets: SocketsOf<'a>,
    lifetime: Lifetime,
    process: Option<Background>,
}

/// Whose sockets an agent gives backends.
enum SocketsOf<'a> {
    Nobody,
    /// Those of processes in the cgroup of this name.
    Cgroup(String),
    /// Those of the node, as an agent finds out that runs in this cgroup.
    Node(&'a Cgroup),
}

impl<'a> Agent<'a> {
    /// An agent for a folder of manifests; it is not started yet. Its directories are those of the group.
    pub fn new(group: &Group, node: &'a Namespace, manifests: &Path) -> Result<Self> {
        let objects = vec!["--manifests".to_owned(), manifests.display().to_string()];
        Self::with_objects(group, node, objects)
    }

    /// An agent for a cluster, as one of its nodes; it is not started yet.
    pub fn of_cluster(group: &Group, node: &'a Namespace, kubeconfig: &Path, name: &str) -> Result<Self> {
        let kubeconfig = kubeconfig.display().to_string();
        // There is nobody here whose Services could not be trusted.
        let arguments = ["--kubeconfig", &kubeconfig, "--node-name", name, "--unpooled-addresses"];
        Self::with_objects(group, node, arguments.map(str::to_owned).into())
    }

    fn with_objects(group: &Group, node: &'a Namespace, objects: Vec<String>) -> Result<Self> {
        mount_bpffs()?;
        Ok(Self {
            node,
            binary: binaries::beeline()?,
            objects,
            bpffs: Path::new(BPFFS).join(group.name()),
            run_directory: group.folder().join("run"),
            instance: String::new(),
            log: Log::at(group.folder().join("agent.log")),
            arguments: Vec::new(),
            sockets: SocketsOf::Nobody,
            lifetime: group.lifetime(),
            process: None,
        })
    }

    /// Gives it a name and a log of its own, so that several agents can share a directory.
    #[must_use]
    pub fn named(mut self, instance: &str) -> Self {
        self.log = Log::at(self.log.path().with_file_name(format!("agent-{instance}.log")));
        instance.clone_into(&mut self.instance);
        self
    }

    /// Adds arguments of `beeline run`.
    #[must_use]
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// Gives sockets of processes in this cgroup their backends. Without this or the next no sockets get any: those of the
    /// whole machine would, and with them other tests.
    #[must_use]
    pub fn with_cgroup(mut self, cgroup: &Cgroup) -> Self {
        self.sockets = SocketsOf::Cgroup(cgroup.name().to_owned());
        self
    }

    /// Runs in this cgroup, as a kubelet would have it, and finds out by itself whose sockets are the node's.
    #[must_use]
    pub fn inside(mut self, cgroup: &'a Cgroup) -> Self {
        self.sockets = SocketsOf::Node(cgroup);
        self
    }

    /// Tables that suffice for a test, so that many agents fit on a machine.
    #[must_use]
    pub fn with_small_tables(self) -> Self {
        self.with_arguments(&["--max-flows", "32768", "--max-frontends", "256", "--max-backends", "1024"])
    }

    /// Starts it without waiting for anything.
    pub fn launch(&mut self) -> Result<()> {
        self.process = Some(Background::start("the agent", self.run_command()?, self.log.clone(), self.lifetime)?);
        Ok(())
    }

    /// Starts it and waits until it serves its objects.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        let id = u64::try_from(self.id()?.as_raw())?;
        let Some(mut process) = self.process.take() else { bail!("the agent does not run") };
        let is_ready = |_: &[String]| {
            let status = self.status().ok()?;
            let agent = &status["agent"];
            let attached = agent["uplinks"].as_array().is_some_and(|uplinks| !uplinks.is_empty());
            (agent["pid"].as_u64() == Some(id) && agent["lastReconcile"].is_object() && attached).then_some(())
        };
        process.wait_for_log("the agent serves its objects", START_LIMIT, is_ready)?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it, without a chance to do anything.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::SIGKILL).map(|_| ())
    }

    /// Asks it to end; the datapath stays.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.end(Signal::SIGTERM)
    }

    /// Its process.
    pub fn id(&self) -> Result<Pid> {
        self.process.as_ref().map(Background::id).context("the agent does not run")
    }

    /// Whether `beeline status` says that this process is the one that serves.
    pub fn serves(&self) -> Result<bool> {
        let (id, status) = (u64::try_from(self.id()?.as_raw())?, self.status()?);
        let agent = &status["agent"];
        Ok(agent["running"] == true && agent["pid"].as_u64() == Some(id) && agent["lastReconcile"].is_object())
    }

    /// What `beeline probe` says of it, and the exit code.
    pub fn probe(&self, question: &str) -> Result<(Option<i32>, String)> {
        let output = self.output(&["probe", question])?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).trim().to_owned()))
    }

    fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        let Some(mut process) = self.process.take() else { bail!("the agent does not run") };
        process.end(signal)
    }

    /// Takes the datapath off the node, by `beeline unload`.
    pub fn unload(&self) -> Result<String> {
        self.call(&["unload"])
    }

    /// What `beeline status --output json` says.
    pub fn status(&self) -> Result<Value> {
        let text = self.call(&["status", "--output", "json"])?;
        serde_json::from_str(&text).with_context(|| format!("`beeline status` gave no JSON: {text}"))
    }

    /// What `beeline dump` says.
    pub fn dump(&self) -> Result<String> {
        self.call(&["dump"])
    }

    /// How often packets were refused or dropped for a reason.
    pub fn drops(&self, reason: &str) -> Result<u64> {
        self.count("drops", reason)
    }

    /// How often an event happened.
    pub fn events(&self, event: &str) -> Result<u64> {
        self.count("events", event)
    }

    fn count(&self, section: &str, name: &str) -> Result<u64> {
        let status = self.status()?;
        let packets = status[section][name].as_u64();
        packets.with_context(|| format!("`beeline status` counts no `{name}` in `{section}`: {status}"))
    }

    /// Map writes since the agent started.
    pub fn writes(&self) -> Result<u64> {
        let status = self.status()?;
        let writes = status["agent"]["writesSinceStart"].as_u64();
        writes.with_context(|| format!("`beeline status` has no `agent.writesSinceStart`: {status}"))
    }

    /// What `beeline check` says of this host, a line for each thing that it looked at.
    pub fn check(&self) -> Result<Vec<String>> {
        let output = self.output(&["check", "--interface", "eth0"])?;
        let text = String::from_utf8(output.stdout).context("`beeline check` writes no text")?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The problems with the manifests, one line each.
    pub fn problems(&self) -> Result<Vec<String>> {
        self.lines("problems")
    }

    /// What is not exactly as the manifests ask, one line each.
    pub fn notes(&self) -> Result<Vec<String>> {
        self.lines("notes")
    }

    fn lines(&self, field: &str) -> Result<Vec<String>> {
        let status = self.status()?;
        let lines = status["agent"][field].as_array();
        let lines = lines.with_context(|| format!("`beeline status` has no `agent.{field}`: {status}"))?;
        Ok(lines.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect())
    }

    /// Waits until `beeline dump` satisfies a condition.
    pub fn wait_for_dump(&self, what: &str, condition: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let satisfied = || {
            last = self.dump().unwrap_or_else(|error| format!("{error:#}"));
            condition(&last).then(|| last.clone())
        };
        wait::until(what, CHANGE_LIMIT, satisfied).with_context(|| format!("dump:\n{last}\nlog:\n{}", self.log.tail()))
    }

    /// Waits until the problems satisfy a condition, and gives them.
    pub fn wait_for_problems(&self, what: &str, condition: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
        let mut last = Vec::new();
        let satisfied = || {
            last = self.problems().unwrap_or_else(|error| vec![format!("{error:#}")]);
            condition(&last).then(|| last.clone())
        };
        wait::until(what, CHANGE_LIMIT, satisfied).with_context(|| format!("problems: {last:#?}"))
    }

    /// Waits until a frontend is programmed.
    pub fn wait_for_frontend(&self, protocol: &str, frontend: SocketAddr) -> Result<String> {
        let wanted = format!("{protocol} {frontend}");
        self.wait_for_dump(&format!("{wanted} is programmed"), |dump| dump.contains(&wanted))
    }

    /// Runs a command of `beeline` in the namespace and gives its standard output.
    pub fn call(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        if !output.status.success() {
            bail!(
                "`beeline {}` ended with {}: {}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a command of `beeline` in the namespace to its end, whatever that is.
    pub fn output(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command()?;
        command.args(arguments).output().context("cannot run `beeline`")
    }

    /// Runs a second agent on the same directory to its end.
    pub fn second(&self) -> Result<Output> {
        self.run_command()?.output().context("cannot run a second agent")
    }

    /// Where the maps and links are pinned.
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// Where the maps are pinned.
    pub fn maps(&self) -> PathBuf {
        self.bpffs.join(format!("v{LAYOUT_VERSION}"))
    }

    /// Where it leaves its state: the value of `BEELINE_RUN_DIR`.
    pub fn run_directory(&self) -> &Path {
        &self.run_directory
    }

    /// What it has logged, over all its starts.
    pub fn log(&self) -> &Log {
        &self.log
    }

    fn run_command(&self) -> Result<Command> {
        let mut command = self.command()?;
        command.args(["run", "--interface", "eth0"]).args(&self.objects).args(&self.arguments);
        match &self.sockets {
            SocketsOf::Nobody => {
                command.arg("--no-socket-selection");
            }
            SocketsOf::Cgroup(cgroup) => {
                command.args(["--cgroup", cgroup]);
            }
            SocketsOf::Node(cgroup) => cgroup.take_in(&mut command)?,
        }
        Ok(command)
    }

    fn command(&self) -> Result<Command> {
        let mut command = self.node.command(&self.binary)?;
        command.env("BEELINE_RUN_DIR", &self.run_directory).env("BEELINE_INSTANCE", &self.instance);
        command.arg("--bpffs").arg(&self.bpffs);
        Ok(command)
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Kept {
            return;
        }
        drop(self.process.take());
        // Whatever `unload` leaves goes with the directory: pins hold maps and links, and nothing else does.
        let _unloaded = self.unload();
        let _removed = fs::remove_dir_all(&self.bpffs);
    }
}

/// Mounts the eBPF file system if nobody has yet.
pub fn mount_bpffs() -> Result<()> {
    let is_mounted = || statfs(BPFFS).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    if is_mounted() {
        return Ok(());
    }
    let mounted = mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>);
    if mounted.is_err() && !is_mounted() {
        mounted.context("cannot mount the eBPF file system on /sys/fs/bpf: run as root")?;
    }
    Ok(())
}
