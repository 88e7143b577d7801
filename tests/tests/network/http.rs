//! Requests through the HTTP layer: Gateway and `HTTPRoute` in, requests of real clients at Pods out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use beeline_tests::agent::Agent;
use beeline_tests::lab::Lab;
use beeline_tests::manifests::Service;
use beeline_tests::pod::Answer;
use beeline_tests::topology::{CLIENT, Plan, VIP};

const WEIGHTS: [u32; 3] = [5, 3, 1];
const REQUESTS: usize = 90;
const HOST: &str = "shop.example";
const INSIDE: &str = "httpbin.internal";

/// Pods behind a route for one host, in the clear at port 80 and within TLS at port 443.
struct Shop {
    lab: Lab,
}

impl Shop {
    fn build() -> Result<Self> {
        let service = Service { vips: Vec::new(), ..Service::weighted(VIP, &WEIGHTS) };
        let names: Vec<_> = service.pods.iter().map(|pod| pod.name.as_str()).collect();
        let lab = Lab::build(&Plan::pods(&names))?;
        lab.folder.write("pods.yaml", &service.to_yaml())?;
        lab.folder.write("gateway.yaml", &gateway())?;
        lab.folder.write("route.yaml", &route())?;
        lab.folder.write("secret.yaml", &secret()?)?;
        Ok(Self { lab })
    }

    fn start(&self) -> Result<Agent<'_>> {
        let agent = self.lab.start()?;
        ensure!(agent.problems()?.is_empty(), "{:?}", agent.problems()?);
        Ok(agent)
    }

    /// What curl gets from a frontend for a URL of the host: all of them on one connection, if it keeps one.
    fn curl(&self, frontend: SocketAddr, scheme: &str, flags: &[&str], count: usize) -> Result<Vec<Answer>> {
        let port = frontend.port();
        let address = if frontend.is_ipv6() { format!("[{}]", frontend.ip()) } else { frontend.ip().to_string() };
        let connect = format!("{HOST}:{port}:{address}");
        let url = format!("{scheme}://{HOST}:{port}/path?[1-{count}]");
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--insecure", "--max-time", "20", "--resolve", &connect]);
        let output = self.lab.network.client.enter(|| command.args(flags).arg(&url).output())?;
        let output = output.context("cannot run curl: install it")?;
        let (text, error) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
        ensure!(output.status.success(), "curl {flags:?} {url}: {error} {text}");
        text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

fn gateway() -> String {
    let addresses = VIP.both().map(|vip| format!("  - {{type: IPAddress, value: \"{vip}\"}}\n")).concat();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         gatewayClassName: beeline\n  addresses:\n{addresses}  listeners:\n  \
         - {{name: http, port: 80, protocol: HTTP}}\n  \
         - {{name: https, port: 443, protocol: HTTPS, hostname: {HOST}, tls: {{certificateRefs: [{{name: web}}]}}}}\n"
    )
}

fn route() -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         parentRefs: [{{name: web}}]\n  hostnames: [{HOST}]\n  rules:\n  \
         - backendRefs: [{{group: beeline.dev, kind: Upstream, name: httpbin}}]\n\
         ---\napiVersion: beeline.dev/v1alpha1\nkind: Upstream\nmetadata: {{name: httpbin, namespace: shop}}\nspec:\n  \
         backendType: HTTP\n  hostHeader: {INSIDE}\n  services:\n  - {{name: httpbin, port: 8000}}\n"
    )
}

fn secret() -> Result<String> {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    let indent = |pem: &str| pem.lines().map(|line| ["    ", line, "\n"].concat()).collect::<String>();
    let (chain, key) = (indent(&made.cert.pem()), indent(&made.signing_key.serialize_pem()));
    Ok(format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: web, namespace: shop}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{chain}  tls.key: |\n{key}"
    ))
}

/// Every Pod got exactly its share, and saw the rewritten host, the client's address and how it came.
#[track_caller]
fn assert_exact(answers: &[Answer], frontend: SocketAddr, scheme: &str) {
    let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in answers {
        *shares.entry(answer.pod.as_str()).or_default() += 1;
        let header = |name: &str| answer.headers.get(name).map_or("", String::as_str);
        assert_eq!(header("host"), INSIDE, "{answer:?}");
        assert_eq!(header("x-forwarded-for"), CLIENT.like(frontend.ip()).to_string(), "{answer:?}");
        assert_eq!(header("x-forwarded-proto"), scheme, "{answer:?}");
        assert!(header("x-forwarded-host").starts_with(HOST), "{answer:?}");
        assert_eq!(answer.path, "/path");
    }
    assert_eq!(shares, [("v1", 50), ("v2", 30), ("v3", 10)].into(), "{frontend}");
}

#[test]
fn requests_of_one_connection_reach_pods_by_weight_with_the_host_that_the_upstream_asks_for() -> Result<()> {
    let shop = Shop::build()?;
    let _agent = shop.start()?;

    for frontend in VIP.sockets(80) {
        assert_exact(&shop.curl(frontend, "http", &["--http1.1"], REQUESTS)?, frontend, "http");
        // Each on a connection of its own: this way curl 7.88 cannot use one twice.
        let one = |_| shop.curl(frontend, "http", &["--http2-prior-knowledge"], 1);
        let each: Vec<_> = (0..REQUESTS).map(one).collect::<Result<_>>()?;
        assert_exact(&each.concat(), frontend, "http");
    }
    for frontend in VIP.sockets(443) {
        assert_exact(&shop.curl(frontend, "https", &["--http1.1"], REQUESTS)?, frontend, "https");
        assert_exact(&shop.curl(frontend, "https", &["--http2"], REQUESTS)?, frontend, "https");
    }
    Ok(())
}
