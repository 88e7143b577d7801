//! kube-proxy's nftables mode for one Service, as kube-proxy 1.36 writes it: a verdict map from the Service's address
//! to a chain, `numgen random` over its endpoints, DNAT, and the filter chains that every new connection passes.
//!
//! For Pods of the node the Service's traffic policy is `Local`, so the client's address is kept, as Beeline keeps it. For
//! Pods of other nodes it is `Cluster`: the node's address takes the client's place, again as with Beeline.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use beeline_tests::netns::Namespace;

/// The Service's external traffic policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Pods see the client.
    Local,
    /// Pods see the node.
    Cluster,
}

/// Programs a node.
pub fn program(node: &Namespace, frontend: SocketAddr, pods: &[IpAddr], policy: Policy) -> Result<()> {
    let mut child = node
        .command("nft")?
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `nft`: run `cargo xtask setup`")?;
    let mut input = child.stdin.take().context("`nft` has no standard input")?;
    input.write_all(ruleset(frontend, pods, policy).as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("`nft` refuses the rules: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn ruleset(frontend: SocketAddr, pods: &[IpAddr], policy: Policy) -> String {
    let (vip, port) = (frontend.ip(), frontend.port());
    let family = if vip.is_ipv4() { "ip" } else { "ip6" };
    let kind = format!("type {}_addr", if vip.is_ipv4() { "ipv4" } else { "ipv6" });
    let verdicts = format!("{kind} . inet_proto . inet_service : verdict");
    let tuple = format!("{family} daddr . meta l4proto . th dport");
    let services = format!("{vip} . tcp . {port} : goto service-tcp, {vip} . udp . {port} : goto service-udp");
    let check = |map: &str| format!("{tuple} vmap @{map}");
    let new = |target: &str| format!("ct state new jump {target}");
    let hook = |kind: &str, name: &str, priority: &str| format!("type {kind} hook {name} priority {priority};");
    let mut blocks = vec![
        block("map no-endpoint-services", &[&verdicts]),
        block("map firewall-ips", &[&verdicts]),
        block("set cluster-ips", &[&kind, &format!("elements = {{ {vip} }}")]),
        block("chain mark-for-masquerade", &["meta mark set meta mark or 0x4000"]),
    ];
    for protocol in ["tcp", "udp"] {
        blocks.extend(service(family, protocol, port, pods, policy));
    }
    blocks.extend([
        block("map service-ips", &[&verdicts, &format!("elements = {{ {services} }}")]),
        block("chain services", &[&check("service-ips")]),
        block("chain firewall-check", &[&check("firewall-ips")]),
        block("chain service-endpoints-check", &[&check("no-endpoint-services")]),
        block("chain cluster-ips-check", &[&format!("{family} daddr @cluster-ips reject")]),
        block(
            "chain masquerading",
            &["meta mark & 0x4000 == 0 return", "meta mark set meta mark xor 0x4000", "masquerade"],
        ),
        block("chain filter-prerouting", &[&hook("filter", "prerouting", "dstnat - 10"), &new("firewall-check")]),
        block("chain filter-input", &[&hook("filter", "input", "filter"), &new("service-endpoints-check")]),
        block(
            "chain filter-forward",
            &[&hook("filter", "forward", "filter"), &new("service-endpoints-check"), &new("cluster-ips-check")],
        ),
        block(
            "chain filter-output",
            &[&hook("filter", "output", "-110"), &new("service-endpoints-check"), &new("firewall-check")],
        ),
        block("chain nat-prerouting", &[&hook("nat", "prerouting", "dstnat"), "jump services"]),
        block("chain nat-output", &[&hook("nat", "output", "-100"), "jump services"]),
        block("chain nat-postrouting", &[&hook("nat", "postrouting", "srcnat"), "jump masquerading"]),
    ]);
    block(&format!("table {family} kube-proxy"), &blocks.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The chain that chooses an endpoint, and a chain for each of them, which come first.
fn service(family: &str, protocol: &str, port: u16, pods: &[IpAddr], policy: Policy) -> Vec<String> {
    let name = |index: usize| format!("endpoint-{protocol}-{index}");
    let endpoint = |(index, pod): (usize, &IpAddr)| {
        let mark = format!("{family} saddr {pod} jump mark-for-masquerade");
        let translate = format!("meta l4proto {protocol} dnat to {}", SocketAddr::new(*pod, port));
        block(&format!("chain {}", name(index)), &[&mark, &translate])
    };
    let mut blocks: Vec<_> = pods.iter().enumerate().map(endpoint).collect();
    let choices: Vec<_> = (0..pods.len()).map(|index| format!("{index} : goto {}", name(index))).collect();
    let choose = format!("numgen random mod {} vmap {{ {} }}", pods.len(), choices.join(", "));
    let lines = match policy {
        Policy::Local => vec![choose.as_str()],
        Policy::Cluster => vec!["jump mark-for-masquerade", &choose],
    };
    blocks.push(block(&format!("chain service-{protocol}"), &lines));
    blocks
}

fn block(head: &str, lines: &[&str]) -> String {
    format!("{head} {{\n{}\n}}", lines.join("\n"))
}
