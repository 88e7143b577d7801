//! One node: containerd and kubelet, and kube-proxy if asked, in a network and a mount namespace of their own.
//!
//! The mount namespace has its own /run, /var/lib, /var/log and bpffs, so programs keep their usual paths, nothing of a
//! node lands in the machine's folders, and all of it is gone with the node's last process. Of the machine's cgroups a
//! node uses one branch.

use std::{fs, os::unix::fs::DirBuilderExt, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use serde_json::json;

use super::{
    cgroup,
    daemon::{Daemon, Daemons},
    network,
    plan::{Node, STATE},
    programs::Programs,
};
use crate::process;

/// The image that holds a Pod's namespaces.
pub const PAUSE: &str = "localhost/beeline/pause:1";

/// The largest packet on the way to a Pod, in bytes: less than between hosts, as where a CNI puts Pods' packets into a tunnel.
const POD_MTU: u32 = 1400;

/// How long containerd may take to answer.
const LIMIT: Duration = Duration::from_secs(30);

/// A node whose namespaces are made and whose containerd runs.
pub struct Running<'a> {
    node: Node<'a>,
    containerd: u32,
}

/// Makes the node's mount namespace and starts its containerd there.
pub fn start_containerd<'a>(node: Node<'a>, programs: &Programs, daemons: &mut Daemons) -> Result<Running<'a>> {
    write_settings(node, programs)?;
    cgroup::prepare_pods(node)?;
    let name = format!("containerd-{}", node.name());
    // Namespaces belong to a thread, and what a thread starts has them too.
    let start = || {
        enter(node).with_context(|| format!("cannot make the namespaces of {}", node.name()))?;
        let mut command = Command::new("containerd");
        command.arg("--config").arg(node.state().join("containerd.toml"));
        Daemon::start(node.cluster, &name, &mut command)
    };
    let daemon =
        thread::scope(|scope| scope.spawn(start).join()).map_err(|_| anyhow!("{name} could not be started"))??;
    let containerd = daemon.id();
    daemons.add(daemon);
    daemons.until(&format!("starting {name}"), &name, LIMIT, || ctr(node, &["version"]).ok())?;
    Ok(Running { node, containerd })
}

impl Running<'_> {
    /// Starts the kubelet, and kube-proxy if the cluster has it.
    pub fn start_kubelet(&self, programs: &Programs, daemons: &mut Daemons) -> Result<()> {
        let name = self.node.name();
        let address = self.node.address();
        let mut kubelet = self.inside(programs.path("kubelet"));
        kubelet.arg("--config").arg(self.node.state().join("kubelet.json"));
        kubelet.arg("--kubeconfig").arg(self.node.cluster.pki().join(format!("{name}.kubeconfig")));
        kubelet.args(["--hostname-override", &name, "--node-ip", &address.joined()]);
        kubelet.arg(format!("--node-labels=topology.kubernetes.io/zone=zone{}", self.node.number));
        daemons.add(Daemon::start(self.node.cluster, &format!("kubelet-{name}"), &mut kubelet)?);
        if self.node.cluster.kube_proxy {
            let mut proxy = self.inside(programs.path("kube-proxy"));
            proxy.arg("--config").arg(self.node.state().join("kube-proxy.json"));
            daemons.add(Daemon::start(self.node.cluster, &format!("kube-proxy-{name}"), &mut proxy)?);
            Ok(())
        } else {
            network::reach_api_server(self.node)
        }
    }

    /// A program in the node's namespaces.
    fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.containerd.to_string(), "--mount", "--net"]).arg(program);
        command
    }
}

/// Brings an image archive to a node.
pub fn import(node: Node<'_>, archive: &Path) -> Result<()> {
    let archive = archive.to_str().with_context(|| format!("{} is not a plain path", archive.display()))?;
    ctr(node, &["--namespace", "k8s.io", "images", "import", archive])
        .map(drop)
        .with_context(|| format!("cannot import {archive} on {}", node.name()))
}

fn ctr(node: Node<'_>, arguments: &[&str]) -> Result<String> {
    process::output(Command::new("ctr").arg("--address").arg(node.containerd_socket()).args(arguments))
}

/// Moves the calling thread into the node: its network, and mounts that no other process sees.
fn enter(node: Node<'_>) -> Result<()> {
    let network = fs::File::open(Path::new("/run/netns").join(node.namespace()))?;
    setns(network, CloneFlags::CLONE_NEWNET)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;

    let state = node.state();
    forget_other_clusters(node)?;
    // The cluster's own state stays at its path, below the node's own /run.
    let own = state.join("run").join(node.cluster.state().strip_prefix("/run")?);
    fs::create_dir_all(&own)?;
    let bind = |source: &Path, target: &Path, recursive: MsFlags| {
        mount(Some(source), target, none, MsFlags::MS_BIND | recursive, none)
            .with_context(|| format!("cannot mount {} on {}", source.display(), target.display()))
    };
    bind(&node.cluster.state(), &own, MsFlags::MS_REC)?;
    bind(&state.join("lib"), Path::new("/var/lib"), MsFlags::empty())?;
    bind(&state.join("var-log"), Path::new("/var/log"), MsFlags::empty())?;
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none).context("cannot mount a bpffs")?;
    bind(&state.join("run"), Path::new("/run"), MsFlags::MS_REC)?;
    // Volumes may ask for mounts that spread; that is within the node.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none)?;
    Ok(())
}

/// Lets go of all mounts below /run but the cluster's own. A node that held the namespaces and the state of another
/// cluster would keep them alive after that cluster is gone.
fn forget_other_clusters(node: Node<'_>) -> Result<()> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
    let own = node.cluster.state();
    let foreign = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(Path::new)
        .filter(|point| point.starts_with("/run/netns") || (point.starts_with(STATE) && !point.starts_with(&own)));
    for point in foreign.collect::<Vec<_>>().into_iter().rev() {
        umount2(point, MntFlags::MNT_DETACH).with_context(|| format!("cannot let go of {}", point.display()))?;
    }
    Ok(())
}

/// Makes the node's folders and writes all configuration.
fn write_settings(node: Node<'_>, programs: &Programs) -> Result<()> {
    let state = node.state();
    let mut folders = fs::DirBuilder::new();
    folders.recursive(true).mode(0o755);
    for folder in ["run/containerd", "lib/kubelet", "var-log/pods", "cni"] {
        let folder = state.join(folder);
        folders.create(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let write = |name: &str, text: String| {
        let path = state.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("containerd.toml", containerd_settings(node, programs))?;
    write("cni/10-pods.conflist", pod_network(node))?;
    write("kubelet.json", kubelet_settings(node))?;
    write("kube-proxy.json", kube_proxy_settings(node))
}

fn containerd_settings(node: Node<'_>, programs: &Programs) -> String {
    // Processes here may not be allowed to lower their score, and Pods' namespaces are to go with the node.
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
address = "/run/containerd/containerd.sock"

[debug]
level = "warn"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{settings}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#,
        plugins = programs.plugins.display(),
        settings = node.state().join("cni").display(),
    )
}

fn pod_network(node: Node<'_>) -> String {
    let pods = node.pods();
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "mtu": POD_MTU,
            "ipam": {
                "type": "host-local",
                "dataDir": "/var/lib/cni/networks",
                "ranges": [[{ "subnet": pods.v4 }], [{ "subnet": pods.v6 }]],
                "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
            },
        }],
    })
    .to_string()
}

fn kubelet_settings(node: Node<'_>) -> String {
    let pki = node.cluster.pki();
    let serving = |kind: &str| pki.join(format!("{}-serving.{kind}", node.name()));
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": pki.join("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": serving("crt"),
        "tlsPrivateKeyFile": serving("key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "clusterDomain": "cluster.local",
        "clusterDNS": [node.cluster.dns_address()],
        "resolvConf": "",
        "healthzPort": 0,
        // One branch of the machine's cgroups, of either version, with no limits above the Pods'.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": node.pod_cgroup(),
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        // The machine's disk is not the node's: its state is no reason to evict.
        "localStorageCapacityIsolation": false,
        "evictionHard": { "memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%" },
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "5s",
        "serializeImagePulls": false,
    })
    .to_string()
}

fn kube_proxy_settings(node: Node<'_>) -> String {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": { "kubeconfig": node.cluster.pki().join("kube-proxy.kubeconfig") },
        "hostnameOverride": node.name(),
        "mode": "nftables",
        // These limits are the machine's, and a namespace cannot set them.
        "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
    })
    .to_string()
}
