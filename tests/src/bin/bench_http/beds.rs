//! The machines: for each proxy a client, a node where the proxy runs, and a Pod with nginx as backend.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use beeline_tests::agent::Agent;
use beeline_tests::certificate::Certificate;
use beeline_tests::lab::Lab;
use beeline_tests::manifests::{NAMESPACE, Pod, Port, Service};
use beeline_tests::netns::Namespace;
use beeline_tests::process::{Background, Log};
use beeline_tests::topology::{NODE, Plan, VIP, pod_addresses};
use beeline_tests::wait;
use nix::unistd::Pid;

use crate::cpu::Cores;
use crate::proxies::{self, Proxy};

/// Whom requests are for.
pub const HOST: &str = "bench.example";
/// Bytes of each answer.
const ANSWER: usize = 1024;
/// Where the backend listens.
const BACKEND_PORT: u16 = 8080;
/// How long a program may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// One proxy's machines.
pub struct Bed {
    // Dropped in this order: programs, then their namespaces.
    programs: Vec<Background>,
    lab: Lab,
    proxy: Proxy,
}

impl Bed {
    /// Builds the machines, and starts the backend and a proxy of others.
    pub fn build(proxy: Proxy, cores: &Cores) -> Result<Self> {
        cores.as_others()?;
        let lab = Lab::build(&Plan::pods(&["backend"]))?;
        let mut bed = Self { programs: Vec::new(), lab, proxy };
        let (pod, backend) = (&bed.lab.network.pods[0], SocketAddr::new(pod_addresses(1).v4.into(), BACKEND_PORT));
        let answer = "x".repeat(ANSWER);
        let server = start(&bed.lab, pod, "nginx", &proxies::nginx_backend(BACKEND_PORT, &answer))?;
        bed.programs.push(server);
        listens(pod, backend)?;
        let certificate = Certificate::of(&[HOST])?;
        cores.as_proxy()?;
        if proxy == Proxy::Beeline {
            bed.write_manifests(&certificate)?;
        } else {
            let folder = place_folder(&bed.lab, &bed.lab.network.node)?;
            certificate.write_with_key(&folder.join("certificate.pem"))?;
            let text = if proxy == Proxy::Nginx { proxies::nginx(backend) } else { proxies::haproxy(backend) };
            let program = start(&bed.lab, &bed.lab.network.node, proxy.program(), &text)?;
            bed.programs.push(program);
            listens(&bed.lab.network.node, bed.address(80))?;
        }
        cores.as_others()?;
        Ok(bed)
    }

    /// Starts Beeline, if it is the proxy.
    pub fn start_agent(&self, cores: &Cores) -> Result<Option<Agent<'_>>> {
        if self.proxy != Proxy::Beeline {
            return Ok(None);
        }
        // The number of its workers is that of the cores it may use.
        cores.as_proxy()?;
        let agent = self.lab.start()?;
        cores.as_others()?;
        ensure!(agent.problems()?.is_empty(), "{:?}", agent.problems()?);
        Ok(Some(agent))
    }

    /// The process that carries the requests.
    pub fn process(&self, agent: Option<&Agent<'_>>) -> Result<Pid> {
        let program = self.programs.last().map(Background::id);
        agent.map_or_else(|| program.context("the proxy does not run"), Agent::id)
    }

    /// The client's machine.
    pub fn client(&self) -> &Namespace {
        &self.lab.network.client
    }

    /// A folder for files.
    pub fn folder(&self) -> PathBuf {
        self.lab.network.group.folder().to_owned()
    }

    /// Where the proxy listens, by the port at the VIP.
    pub fn address(&self, port: u16) -> SocketAddr {
        let ip = if self.proxy == Proxy::Beeline { VIP.v4 } else { NODE.v4 };
        SocketAddr::new(ip.into(), port)
    }

    fn write_manifests(&self, certificate: &Certificate) -> Result<()> {
        let port = Port { name: "http", port: BACKEND_PORT, target: BACKEND_PORT, protocol: "TCP" };
        let pods = vec![Pod::new("backend", 1, 1)];
        let service = Service { name: "bench".to_owned(), vips: Vec::new(), ports: vec![port], algorithm: None, pods };
        let address = VIP.v4;
        let gateway = format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n\
             metadata: {{name: bench, namespace: {NAMESPACE}}}\nspec:\n  gatewayClassName: beeline\n  \
             addresses: [{{type: IPAddress, value: {address}}}]\n  listeners:\n  \
             - {{name: http, port: 80, protocol: HTTP}}\n  \
             - {{name: https, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: bench}}]}}}}\n\
             ---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: {{name: bench, namespace: {NAMESPACE}}}\nspec:\n  parentRefs: [{{name: bench}}]\n  \
             hostnames: [{HOST}]\n  rules: [{{backendRefs: [{{name: bench, port: {BACKEND_PORT}}}]}}]\n"
        );
        self.lab.folder.write("service.yaml", &service.to_yaml())?;
        let secret = certificate.secret(NAMESPACE, "bench");
        self.lab.folder.write("gateway.yaml", &[gateway, secret].join("---\n"))
    }
}

/// The folder of what runs on a machine.
fn place_folder(lab: &Lab, place: &Namespace) -> Result<PathBuf> {
    let folder = lab.network.group.folder().join(place.name());
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Starts a program with this configuration, in the folder of its machine.
fn start(lab: &Lab, place: &Namespace, program: &str, text: &str) -> Result<Background> {
    let folder = place_folder(lab, place)?;
    let configuration = folder.join("configuration");
    fs::write(&configuration, text).with_context(|| format!("cannot write {}", configuration.display()))?;
    let mut command = place.command(program)?;
    command.current_dir(&folder);
    if program == "nginx" {
        command.arg("-p").arg(&folder).args(["-e", "stderr"]);
    }
    command.arg(if program == "nginx" { "-c" } else { "-f" }).arg(&configuration);
    Background::start(program, command, Log::at(folder.join("log")), lab.network.group.lifetime())
}

/// Waits until somebody accepts connections at an address of a machine.
fn listens(place: &Namespace, address: SocketAddr) -> Result<()> {
    let connects = || std::net::TcpStream::connect(address).is_ok().then_some(());
    place.enter(|| wait::until(&format!("a program listens at {address}"), START_LIMIT, connects))?
}
