//! Writes the manifests of a test: Services with Pods, Gateways with routes. Plain text, as a user would write it.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::topology::{Dual, pod_addresses};

/// The namespace of every object here.
pub const NAMESPACE: &str = "shop";

/// A Pod of a Service.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its name, unique in the test.
    pub name: String,
    /// Its addresses.
    pub addresses: Dual,
    /// Its weight annotation, if it has one.
    pub weight: Option<u32>,
    /// Whether its endpoints are ready.
    pub ready: bool,
    /// The node that it runs on, if it says so.
    pub node: Option<&'static str>,
}

impl Pod {
    /// A ready Pod with the addresses that the topology gives the `number`th one.
    pub fn new(name: &str, number: u8, weight: u32) -> Self {
        Self { name: name.to_owned(), addresses: pod_addresses(number), weight: Some(weight), ready: true, node: None }
    }

    /// A ready Pod with these addresses, on a node.
    pub fn on(node: &'static str, name: &str, addresses: Dual, weight: u32) -> Self {
        Self { name: name.to_owned(), addresses, weight: Some(weight), ready: true, node: Some(node) }
    }
}

/// A port of a Service.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its name.
    pub name: &'static str,
    /// Where clients reach it.
    pub port: u16,
    /// Where the Pods listen.
    pub target: u16,
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
}

impl Port {
    /// The HTTP server of the Pods, at port 8000.
    pub const HTTP: Self = Self { name: "http", port: 8000, target: crate::pod::HTTP_PORT, protocol: "TCP" };
    /// The UDP echo of the Pods, at port 8001.
    pub const UDP: Self = Self { name: "udp", port: 8001, target: crate::pod::UDP_PORT, protocol: "UDP" };
    /// The TCP echo of the Pods, at port 9000.
    pub const ECHO: Self = Self { name: "echo", port: 9000, target: crate::pod::ECHO_PORT, protocol: "TCP" };
}

/// A Service and all that belongs to it.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its VIPs; none makes it a plain Service for routes to refer to.
    pub vips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// How Pods are selected, if it says so.
    pub algorithm: Option<&'static str>,
    /// Its Pods.
    pub pods: Vec<Pod>,
}

impl Service {
    /// A Service at both addresses of a VIP with all ports of the Pods, which are `v1`, `v2` and so on by weight.
    pub fn weighted(vip: Dual, weights: &[u32]) -> Self {
        let pods = weights.iter().zip(1_u8..);
        Self {
            name: "httpbin".to_owned(),
            vips: vip.both().to_vec(),
            ports: vec![Port::HTTP, Port::UDP, Port::ECHO],
            algorithm: None,
            pods: pods.map(|(weight, number)| Pod::new(&format!("v{number}"), number, *weight)).collect(),
        }
    }

    /// The Service, its Pods and its `EndpointSlices`, one document each.
    pub fn to_yaml(&self) -> String {
        let mut documents = vec![self.service()];
        documents.extend(self.pods.iter().map(|pod| self.pod(pod)));
        documents.extend([("IPv4", "v4"), ("IPv6", "v6")].map(|(family, suffix)| self.slice(family, suffix)));
        documents.concat()
    }

    fn service(&self) -> String {
        let name = &self.name;
        let vips: Vec<_> = self.vips.iter().map(ToString::to_string).collect();
        let (annotations, kind) = if vips.is_empty() {
            (String::new(), "type: ClusterIP")
        } else {
            let algorithm = self.algorithm.map(|name| format!(", beeline.dev/algorithm: {name}")).unwrap_or_default();
            let addresses = format!("beeline.dev/addresses: \"{}\"", vips.join(","));
            let annotations = format!("  annotations: {{{addresses}{algorithm}}}\n");
            (annotations, "type: LoadBalancer\n  loadBalancerClass: beeline.dev/direct")
        };
        let port = |Port { name, port, target, protocol }: &Port| {
            format!("  - {{name: {name}, port: {port}, targetPort: {target}, protocol: {protocol}}}\n")
        };
        let ports: Vec<_> = self.ports.iter().map(port).collect();
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: {NAMESPACE}\n{annotations}\
             spec:\n  {kind}\n  selector: {{app: {name}}}\n  ports:\n{}",
            ports.concat()
        )
    }

    fn pod(&self, Pod { name, addresses: Dual { v4, v6 }, weight, ready, node }: &Pod) -> String {
        let app = &self.name;
        let weight = weight.map(|weight| format!("  annotations: {{beeline.dev/weight: \"{weight}\"}}\n"));
        let ready = if *ready { "True" } else { "False" };
        let node = node.map(|node| format!("nodeName: {node}, ")).unwrap_or_default();
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {NAMESPACE}\n  uid: uid-{name}\n  \
             labels: {{app: {app}}}\n{}spec: {{{node}containers: [{{name: main}}]}}\nstatus:\n  phase: Running\n  \
             podIP: {v4}\n  podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]\n  \
             conditions: [{{type: Ready, status: \"{ready}\"}}]\n",
            weight.unwrap_or_default()
        )
    }

    fn slice(&self, family: &str, suffix: &str) -> String {
        let name = &self.name;
        let port = |Port { name, target, protocol, .. }: &Port| {
            format!("- {{name: {name}, port: {target}, protocol: {protocol}}}\n")
        };
        let endpoint = |Pod { name, addresses: Dual { v4, v6 }, ready, node, .. }: &Pod| {
            let node = node.map(|node| format!("  nodeName: {node}\n")).unwrap_or_default();
            let address = if family == "IPv4" { v4.to_string() } else { v6.to_string() };
            format!(
                "\n- addresses: [\"{address}\"]\n  conditions: {{ready: {ready}}}\n{node}  \
                 targetRef: {{kind: Pod, name: {name}, namespace: {NAMESPACE}, uid: uid-{name}}}"
            )
        };
        let ports: Vec<_> = self.ports.iter().map(port).collect();
        let endpoints: Vec<_> = self.pods.iter().map(endpoint).collect();
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-{suffix}\n  \
             namespace: {NAMESPACE}\n  labels: {{kubernetes.io/service-name: {name}}}\naddressType: {family}\nports:\n{}\
             endpoints: {}\n",
            ports.concat(),
            if endpoints.is_empty() { "[]".to_owned() } else { endpoints.concat() }
        )
    }
}

/// A Gateway with a TCP listener on each address of a VIP and a route to weighted references, each written as the
/// fields of a `backendRef`: `name: blue, port: 8000, weight: 90`.
pub fn tcp_route(vip: Dual, port: u16, references: &[&str]) -> String {
    let references: Vec<_> = references.iter().map(|reference| format!("    - {{{reference}}}\n")).collect();
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: {NAMESPACE}}}\n\
         spec:\n  gatewayClassName: beeline\n  addresses:\n  - {{type: IPAddress, value: \"{}\"}}\n  \
         - {{type: IPAddress, value: \"{}\"}}\n  listeners:\n  - {{name: tcp, port: {port}, protocol: TCP}}\n\
         ---\napiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {{name: split, namespace: {NAMESPACE}}}\n\
         spec:\n  parentRefs: [{{name: edge}}]\n  rules:\n  - backendRefs:\n{}",
        vip.v4,
        vip.v6,
        references.concat()
    )
}

/// An Upstream of Services of this namespace, all at one port.
pub fn upstream(name: &str, services: &[&str], port: u16) -> String {
    let service = |service: &&str| format!("  - {{namespace: {NAMESPACE}, name: {service}, port: {port}}}\n");
    let services: Vec<_> = services.iter().map(service).collect();
    format!(
        "---\napiVersion: beeline.dev/v1alpha1\nkind: Upstream\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         spec:\n  type: Kubernetes\n  backendType: TCP\n  services:\n{}",
        services.concat()
    )
}

/// A folder of manifests; files are replaced whole, as a careful user does.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A new folder.
    pub fn create(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    /// A new folder with the files of another.
    pub fn copy(from: &Path, to: PathBuf) -> Result<Self> {
        let folder = Self::create(to)?;
        for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), folder.path.join(entry.file_name()))?;
            }
        }
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, whole at once.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let unfinished = self.path.join(format!(".{file}.new"));
        let path = self.path.join(file);
        fs::write(&unfinished, text)
            .and_then(|()| fs::rename(&unfinished, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes a file in place, as it stands, finished or not.
    pub fn write_in_place(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes a file.
    pub fn remove(&self, file: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }
}
