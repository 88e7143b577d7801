//! A gateway between clients and servers that others wrote: nginx, Go's `net/http` and gRPC, tonic.
//!
//! All servers run in one Pod. Each has a host of its own at the gateway, in the clear at port 80 and within TLS at port 443;
//! at ports 8080 and 8443 any host is served by the test Pod itself.

mod nginx;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agent::Agent;
use crate::binaries;
use crate::certificate::Certificate;
use crate::lab::Lab;
use crate::manifests::NAMESPACE;
use crate::pod::READY;
use crate::process::{Background, Log};
use crate::topology::{Plan, VIP, pod_addresses};
use crate::wait;

/// Go's HTTP server, and its WebSocket under another type of backend.
pub const GO: &str = "go.example";
/// Go's server with what it has for WebSocket.
pub const SOCKET: &str = "socket.example";
/// nginx.
pub const NGINX: &str = "nginx.example";
/// Go's gRPC server, by a `GRPCRoute`.
pub const CALLS: &str = "calls.example";
/// tonic's server, by an `HTTPRoute` to a port that speaks h2c.
pub const TONIC: &str = "tonic.example";
/// All of them.
pub const HOSTS: [&str; 5] = [GO, SOCKET, NGINX, CALLS, TONIC];

/// Where any host is served, in the clear and within TLS.
pub const ANY_HOST: [u16; 2] = [8080, 8443];

const GO_PORT: u16 = 8080;
const CALLS_PORT: u16 = 8081;
const NGINX_PORT: u16 = 8082;
const TONIC_PORT: u16 = 8083;

/// How long a server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The servers, and the network that they are in.
pub struct Peers {
    // Dropped in this order: servers, then their namespaces.
    _servers: Vec<Background>,
    /// The network, with a folder of manifests.
    pub lab: Lab,
}

impl Peers {
    /// Builds the network and starts all servers; they listen when it returns.
    pub fn build() -> Result<Self> {
        let lab = Lab::build(&Plan::pods(&["peer"]))?;
        let certificate = Certificate::of(&HOSTS)?;
        certificate.write(&certificate_file(&lab))?;
        lab.folder.write("gateway.yaml", &gateway())?;
        lab.folder.write("secret.yaml", &certificate.secret(NAMESPACE, "hosts"))?;
        lab.folder.write("routes.yaml", &routes())?;
        lab.folder.write("servers.yaml", &servers())?;
        let servers = vec![start_go(&lab)?, nginx::start(&lab, NGINX_PORT)?, start_tonic(&lab)?];
        Ok(Self { _servers: servers, lab })
    }

    /// An agent that serves the folder; it runs already, and has nothing to complain of.
    pub fn start(&self) -> Result<Agent<'_>> {
        let agent = self.lab.start()?;
        ensure!(agent.problems()?.is_empty(), "{:?}", agent.problems()?);
        Ok(agent)
    }

    /// A program where clients are.
    pub fn client(&self, program: impl AsRef<Path>) -> Result<Command> {
        self.lab.network.client.command(program)
    }

    /// The file with the certificate to trust.
    pub fn certificate(&self) -> PathBuf {
        certificate_file(&self.lab)
    }

    /// A folder for files of this name.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.lab.network.group.folder().join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// Where nginx keeps the files that it serves.
    pub fn nginx_root(&self) -> PathBuf {
        nginx::root(&self.lab)
    }
}

fn certificate_file(lab: &Lab) -> PathBuf {
    lab.network.group.folder().join("certificate.pem")
}

fn start_go(lab: &Lab) -> Result<Background> {
    let mut command = lab.network.pods[0].command(binaries::peer("peer")?)?;
    command.args(["serve", "--http", &GO_PORT.to_string(), "--grpc", &CALLS_PORT.to_string()]);
    start_and_wait(lab, "Go's servers", "go", command)
}

fn start_tonic(lab: &Lab) -> Result<Background> {
    let mut command = lab.network.pods[0].command(binaries::test_grpc()?)?;
    command.args(["serve", "--port", &TONIC_PORT.to_string()]);
    let server = start_and_wait(lab, "tonic's server", "tonic", command)?;
    // It says so before it listens.
    let address = SocketAddr::new(pod_addresses(1).v4.into(), TONIC_PORT);
    wait_until_listening(lab, address)?;
    Ok(server)
}

fn start_and_wait(lab: &Lab, name: &str, log: &str, command: Command) -> Result<Background> {
    let group = &lab.network.group;
    let log = Log::at(group.folder().join(log).with_extension("log"));
    let mut server = Background::start(name, command, log, group.lifetime())?;
    let is_ready = |lines: &[String]| lines.iter().any(|line| line == READY).then_some(());
    server.wait_for_log(&format!("{name} listen"), START_LIMIT, is_ready)?;
    Ok(server)
}

/// Waits until somebody accepts connections in the Pod.
fn wait_until_listening(lab: &Lab, address: SocketAddr) -> Result<()> {
    let connects = || std::net::TcpStream::connect(address).is_ok().then_some(());
    let what = format!("a server listens at {address}");
    lab.network.pods[0].enter(|| wait::until(&what, START_LIMIT, connects))?
}

fn gateway() -> String {
    let addresses = VIP.both().map(|vip| format!("  - {{type: IPAddress, value: \"{vip}\"}}\n")).concat();
    let [clear, secure] = ANY_HOST;
    let tls = "tls: {certificateRefs: [{name: hosts}]}";
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: web, namespace: {NAMESPACE}}}\n\
         spec:\n  gatewayClassName: beeline\n  addresses:\n{addresses}  listeners:\n  \
         - {{name: http, port: 80, protocol: HTTP}}\n  - {{name: https, port: 443, protocol: HTTPS, {tls}}}\n  \
         - {{name: any, port: {clear}, protocol: HTTP}}\n  \
         - {{name: any-secure, port: {secure}, protocol: HTTPS, {tls}}}\n"
    )
}

fn routes() -> String {
    let route = |kind: &str, name: &str, sections: &str, host: &str, port: u16| {
        let parents: Vec<_> = sections.split(' ').map(|name| format!("{{name: web, sectionName: {name}}}")).collect();
        let hosts = if host.is_empty() { String::new() } else { format!("  hostnames: [{host}]\n") };
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
             spec:\n  parentRefs: [{}]\n{hosts}  rules:\n  - backendRefs: [{{name: peers, port: {port}}}]\n",
            parents.join(", ")
        )
    };
    let both = "http https";
    [
        route("HTTPRoute", "go", both, GO, 1),
        route("HTTPRoute", "socket", both, SOCKET, 2),
        route("GRPCRoute", "calls", both, CALLS, 3),
        route("HTTPRoute", "nginx", both, NGINX, 4),
        route("HTTPRoute", "tonic", both, TONIC, 5),
        route("HTTPRoute", "any", "any any-secure", "", 6),
    ]
    .concat()
}

/// One Service with a port for each server, its Pod and its endpoints.
fn servers() -> String {
    let ports = [
        ("go", GO_PORT, "http"),
        ("socket", GO_PORT, "kubernetes.io/ws"),
        ("calls", CALLS_PORT, "kubernetes.io/h2c"),
        ("nginx", NGINX_PORT, "http"),
        ("tonic", TONIC_PORT, "kubernetes.io/h2c"),
        ("pod", crate::pod::HTTP_PORT, "http"),
    ];
    let listed: Vec<_> = (ports.iter().zip(1..))
        .map(|((name, target, protocol), port)| {
            format!("  - {{name: {name}, port: {port}, targetPort: {target}, appProtocol: {protocol}}}\n")
        })
        .collect();
    let endpoints: Vec<_> =
        ports.iter().map(|(name, target, _)| format!("- {{name: {name}, port: {target}}}\n")).collect();
    let pod = pod_addresses(1);
    let slices = [("IPv4", pod.v4.to_string()), ("IPv6", pod.v6.to_string())].map(|(family, address)| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: peers-{}\n  \
             namespace: {NAMESPACE}\n  labels: {{kubernetes.io/service-name: peers}}\naddressType: {family}\nports:\n{}\
             endpoints:\n- addresses: [\"{address}\"]\n  conditions: {{ready: true}}\n  \
             targetRef: {{kind: Pod, name: peer, namespace: {NAMESPACE}, uid: uid-peer}}\n",
            family.to_lowercase(),
            endpoints.concat()
        )
    });
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: peers, namespace: {NAMESPACE}}}\nspec:\n  \
         selector: {{app: peers}}\n  ports:\n{}\
         ---\napiVersion: v1\nkind: Pod\nmetadata: {{name: peer, namespace: {NAMESPACE}, uid: uid-peer, \
         labels: {{app: peers}}}}\nspec: {{containers: [{{name: main}}]}}\nstatus:\n  phase: Running\n  podIP: {}\n  \
         podIPs: [{{ip: {}}}, {{ip: \"{}\"}}]\n  conditions: [{{type: Ready, status: \"True\"}}]\n{}",
        listed.concat(),
        pod.v4,
        pod.v4,
        pod.v6,
        slices.concat()
    )
}
