//! The control plane: keys, etcd, API server, controller manager and scheduler, and what is asked of them.
//!
//! All of it runs in the router's namespace, so two clusters use the same ports. etcd listens on that namespace's
//! loopback only; everyone else comes to the API server with a certificate of the cluster's own authority.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    daemon::{Daemon, Daemons},
    network,
    plan::{Cluster, Node},
    programs::Programs,
};
use crate::process;

/// How long each part may take to answer. All of it takes seconds on an idle machine.
const LIMIT: Duration = Duration::from_secs(90);

/// Requests to a cluster by `kubectl`, as its admin.
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub fn new(program: &Path, cluster: &Cluster) -> Self {
        Self { program: program.to_owned(), kubeconfig: cluster.kubeconfig() }
    }

    /// What the cluster answers.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        process::output(command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments))
    }
}

/// Writes all keys, certificates and kubeconfigs of a cluster.
pub fn write_keys(cluster: &Cluster, programs: &Programs) -> Result<()> {
    let gateway = cluster.gateway();
    let client =
        |file: &str, user: &str, group: &str| json!({ "file": file, "commonName": user, "organization": group });
    let mut entries = vec![
        json!({
            "file": "apiserver",
            "commonName": "kube-apiserver",
            "names": ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"],
            "addresses": [gateway.v4, gateway.v6, cluster.kubernetes_address(), "127.0.0.1"],
        }),
        client("admin", "beeline-admin", "system:masters"),
        client("apiserver-kubelet", "kube-apiserver-kubelet", "system:masters"),
        client("controller-manager", "system:kube-controller-manager", ""),
        client("scheduler", "system:kube-scheduler", ""),
        client("kube-proxy", "system:kube-proxy", ""),
    ];
    for node in cluster.nodes() {
        let (name, address) = (node.name(), node.address());
        entries.push(client(&name, &format!("system:node:{name}"), "system:nodes"));
        entries.push(json!({
            "file": format!("{name}-serving"),
            "commonName": name,
            "names": [name],
            "addresses": [address.v4, address.v6],
        }));
    }
    let request = json!({ "cluster": cluster.name, "server": cluster.server(), "entries": entries });

    let mut child =
        programs.command("pki").arg(cluster.pki()).stdin(Stdio::piped()).spawn().context("cannot start pki")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(request.to_string().as_bytes()).context("cannot ask pki for keys")?;
    }
    ensure!(child.wait()?.success(), "pki could not write the keys of cluster `{}`", cluster.name);
    Ok(())
}

/// Starts etcd and the API server and waits until it is ready.
pub fn start_api_server(cluster: &Cluster, programs: &Programs, daemons: &mut Daemons) -> Result<()> {
    daemons.add(Daemon::start(cluster, "etcd", &mut etcd(cluster, programs)?)?);
    daemons.add(Daemon::start(cluster, "kube-apiserver", &mut api_server(cluster, programs))?);
    let address: SocketAddr = format!("{}:6443", cluster.gateway().v4).parse()?;
    let accepts = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    daemons.until("the API server's port", "kube-apiserver", LIMIT, accepts)?;
    let kubectl = Kubectl::new(programs.path("kubectl"), cluster);
    daemons.until("the API server", "kube-apiserver", LIMIT, || kubectl.ask(&["get", "--raw", "/readyz"]).ok())?;
    Ok(())
}

/// Starts the controller manager and the scheduler.
pub fn start_controllers(cluster: &Cluster, programs: &Programs, daemons: &mut Daemons) -> Result<()> {
    let file = |name: &str| cluster.pki().join(name).display().to_string();
    let mut manager = network::inside(&cluster.router(), programs.path("kube-controller-manager"));
    manager.args([
        format!("--kubeconfig={}", file("controller-manager.kubeconfig")),
        format!("--root-ca-file={}", file("ca.crt")),
        format!("--service-account-private-key-file={}", file("service-accounts.key")),
        format!("--cluster-signing-cert-file={}", file("ca.crt")),
        format!("--cluster-signing-key-file={}", file("ca.key")),
        format!("--service-cluster-ip-range={}", cluster.services().joined()),
    ]);
    manager.args(["--use-service-account-credentials=true", "--allocate-node-cidrs=false", "--leader-elect=false"]);
    manager.arg("--bind-address=127.0.0.1");
    daemons.add(Daemon::start(cluster, "kube-controller-manager", &mut manager)?);

    let mut scheduler = network::inside(&cluster.router(), programs.path("kube-scheduler"));
    scheduler.arg(format!("--kubeconfig={}", file("scheduler.kubeconfig")));
    scheduler.args(["--leader-elect=false", "--bind-address=127.0.0.1"]);
    daemons.add(Daemon::start(cluster, "kube-scheduler", &mut scheduler)?);
    Ok(())
}

/// Tells the cluster what its kubelets do not know of themselves: the node's Pod subnets, and the addresses that
/// Tencent's network interfaces would give it.
pub fn complete_node(node: Node<'_>, kubectl: &Kubectl, daemons: &mut Daemons) -> Result<()> {
    let (name, pods) = (node.name(), node.pods());
    let registered = || kubectl.ask(&["get", "node", &name, "-o", "name"]).ok();
    daemons.until(&format!("registering {name}"), &format!("kubelet-{name}"), LIMIT, registered)?;
    let spec = json!({ "spec": { "podCIDR": pods.v4, "podCIDRs": [pods.v4, pods.v6] } }).to_string();
    kubectl.ask(&["patch", "node", &name, "--type=merge", "-p", &spec])?;
    let addresses = json!({ "tke.cloud.tencent.com/eni-ip": "110" });
    let status = json!({ "status": { "capacity": addresses, "allocatable": addresses } }).to_string();
    kubectl.ask(&["patch", "node", &name, "--subresource=status", "--type=merge", "-p", &status]).map(drop)
}

/// Waits until every node takes Pods and Pods of the default namespace can be made.
pub fn wait_until_ready(cluster: &Cluster, kubectl: &Kubectl, daemons: &mut Daemons) -> Result<()> {
    let expected = usize::from(cluster.nodes);
    let ready = || {
        let nodes: Value = serde_json::from_str(&kubectl.ask(&["get", "nodes", "-o", "json"]).ok()?).ok()?;
        (nodes["items"].as_array()?.iter().filter(|node| is_ready(node)).count() == expected).then_some(())
    };
    daemons.until("the nodes to be Ready", "kubelet-node1", LIMIT, ready)?;
    let account = || kubectl.ask(&["get", "serviceaccount", "default", "-o", "name"]).ok();
    daemons.until("the default service account", "kube-controller-manager", LIMIT, account).map(drop)
}

/// Ready, and nothing keeps Pods away.
fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    ready && node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
}

fn etcd(cluster: &Cluster, programs: &Programs) -> Result<Command> {
    let data = cluster.state().join("etcd");
    fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let mut command = network::inside(&cluster.router(), programs.path("etcd"));
    command.arg(format!("--data-dir={}", data.display()));
    // The folder is gone when the machine stops, so there is nothing to keep it safe for.
    command.args(["--unsafe-no-fsync", "--log-level=warn", "--listen-client-urls=http://127.0.0.1:2379"]);
    command.args(["--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380"]);
    Ok(command)
}

fn api_server(cluster: &Cluster, programs: &Programs) -> Command {
    let file = |name: &str| cluster.pki().join(name).display().to_string();
    let mut command = network::inside(&cluster.router(), programs.path("kube-apiserver"));
    command.args([
        format!("--advertise-address={}", cluster.gateway().v4),
        format!("--service-cluster-ip-range={}", cluster.services().joined()),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--kubelet-certificate-authority={}", file("ca.crt")),
        format!("--kubelet-client-certificate={}", file("apiserver-kubelet.crt")),
        format!("--kubelet-client-key={}", file("apiserver-kubelet.key")),
        format!("--service-account-key-file={}", file("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", file("service-accounts.key")),
    ]);
    command.args([
        "--etcd-servers=http://127.0.0.1:2379",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
    ]);
    command
}
