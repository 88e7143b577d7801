//! A Kubernetes API without nodes and controllers: the real etcd and API server, in the namespace of a lab's node.
//!
//! Up in about four seconds. Objects are stored and watched as in any cluster, and RBAC decides; nothing else happens to
//! them: no Pod runs, no slice is made. The programs come from `cargo xtask cluster`, which also says where they are.

mod keys;
mod objects;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::runtime::Runtime;

use crate::binaries;
use crate::netns::{Group, Lifetime, Namespace};
use crate::process::{Background, Log};

/// Where it listens, in its namespace.
pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6443);
/// Where `ClusterIP`s come from: enough for any benchmark.
const CLUSTER_IPS: &str = "10.200.0.0/16,fd00:200::/112";
/// How long the API server may take to answer.
const START_LIMIT: Duration = Duration::from_mins(1);

/// A running API. Dropping it ends it.
pub struct ApiServer<'a> {
    namespace: &'a Namespace,
    folder: PathBuf,
    runtime: Runtime,
    client: Client,
    // Ended in this order.
    _server: Background,
    _etcd: Background,
}

impl<'a> ApiServer<'a> {
    /// Starts it in a namespace that has an address of its own besides the loopback's.
    pub fn start(group: &Group, namespace: &'a Namespace, own: IpAddr) -> Result<Self> {
        let folder = group.folder().join("api");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let keys = folder.join("keys");
        keys::write(&keys)?;
        let start = |name: &str, command| {
            Background::start(name, command, Log::at(folder.join(format!("{name}.log"))), Lifetime::Process)
        };
        let etcd = start("etcd", etcd(namespace, &folder)?)?;
        let mut server = start("kube-apiserver", api_server(namespace, &keys, own)?)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = {
            let _inside = runtime.enter();
            Client::try_from(runtime.block_on(config(&keys::admin(&keys)))?)?
        };
        let ready = || {
            let request = hyper::Request::get("/readyz").body(Vec::new()).ok()?;
            let answer = namespace.enter(|| runtime.block_on(client.request_text(request))).ok()?;
            answer.is_ok_and(|text| text == "ok").then_some(())
        };
        server.wait_for_log("the API server is ready", START_LIMIT, |_| ready())?;
        Ok(Self { namespace, folder, runtime, client, _server: server, _etcd: etcd })
    }

    /// Does something with the API as its administrator, to the end.
    pub fn perform<T, F>(&self, action: impl FnOnce(Client) -> F + Send) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>>,
    {
        self.namespace.enter(|| self.runtime.block_on(action(self.client.clone())))?
    }

    /// The kubeconfig of the administrator.
    pub fn admin(&self) -> PathBuf {
        keys::admin(&self.folder.join("keys"))
    }
}

/// What a kubeconfig says.
pub async fn config(kubeconfig: &Path) -> Result<Config> {
    let read = Kubeconfig::read_from(kubeconfig)?;
    Ok(Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?)
}

fn etcd(namespace: &Namespace, folder: &Path) -> Result<Command> {
    let mut command = namespace.command(binaries::kubernetes("etcd")?)?;
    command.arg(format!("--data-dir={}", folder.join("etcd").display()));
    // Nobody will miss the data after a crash.
    command.args(["--unsafe-no-fsync", "--log-level=warn", "--listen-client-urls=http://127.0.0.1:2379"]);
    command.args(["--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380"]);
    Ok(command)
}

fn api_server(namespace: &Namespace, keys: &Path, own: IpAddr) -> Result<Command> {
    let mut command = namespace.command(binaries::kubernetes("kube-apiserver")?)?;
    let file = |option: &str, name: &str| format!("--{option}={}", keys.join(name).display());
    command.args([
        file("client-ca-file", "ca.crt"),
        file("tls-cert-file", "apiserver.crt"),
        file("tls-private-key-file", "apiserver.key"),
        file("service-account-key-file", "service-accounts.pub"),
        file("service-account-signing-key-file", "service-accounts.key"),
        format!("--bind-address={}", ADDRESS.ip()),
        format!("--secure-port={}", ADDRESS.port()),
        format!("--advertise-address={own}"),
        format!("--service-cluster-ip-range={CLUSTER_IPS}"),
    ]);
    command.args([
        "--etcd-servers=http://127.0.0.1:2379",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--authorization-mode=RBAC",
        // Nobody makes the accounts that this would give to Pods.
        "--disable-admission-plugins=ServiceAccount",
    ]);
    Ok(command)
}
