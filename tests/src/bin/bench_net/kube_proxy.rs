//! kube-proxy's nftables mode for one Service, as kube-proxy 1.36 writes it: a verdict map from the Service's address
//! to a chain, `numgen random` over its endpoints, DNAT, and the filter chains that every new connection passes.
//!
//! The Service's traffic policy is `Local`, so the client's address is kept, as Beeline keeps it.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use beeline_tests::netns::Namespace;

/// Programs a node.
pub fn program(node: &Namespace, frontend: SocketAddr, pods: &[IpAddr]) -> Result<()> {
    let mut child = node
        .command("nft")?
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `nft`: run `cargo xtask setup`")?;
    let mut input = child.stdin.take().context("`nft` has no standard input")?;
    input.write_all(ruleset(frontend, pods).as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("`nft` refuses the rules: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn ruleset(frontend: SocketAddr, pods: &[IpAddr]) -> String {
    let (vip, port) = (frontend.ip(), frontend.port());
    let (family, address, kind) = if vip.is_ipv4() { ("ip", "ip", "ipv4_addr") } else { ("ip6", "ip6", "ipv6_addr") };
    let mut chains = Vec::new();
    for protocol in ["tcp", "udp"] {
        let endpoints: Vec<_> =
            (0..pods.len()).map(|index| format!("{index} : goto endpoint-{protocol}-{index}")).collect();
        chains.push(format!(
            "chain service-{protocol} {{ numgen random mod {} vmap {{ {} }} }}",
            pods.len(),
            endpoints.join(", ")
        ));
        for (index, pod) in pods.iter().enumerate() {
            let backend = SocketAddr::new(*pod, port);
            chains.push(format!(
                "chain endpoint-{protocol}-{index} {{ {address} saddr {pod} jump mark-for-masquerade; \
                 meta l4proto {protocol} dnat to {backend} }}"
            ));
        }
    }
    format!(
        "table {family} kube-proxy {{
           map service-ips {{ type {kind} . inet_proto . inet_service : verdict; elements = {{
             {vip} . tcp . {port} : goto service-tcp, {vip} . udp . {port} : goto service-udp }} }}
           map no-endpoint-services {{ type {kind} . inet_proto . inet_service : verdict; }}
           map firewall-ips {{ type {kind} . inet_proto . inet_service : verdict; }}
           set cluster-ips {{ type {kind}; elements = {{ {vip} }} }}
           chain mark-for-masquerade {{ meta mark set meta mark or 0x4000 }}
           {chains}
           chain services {{ {address} daddr . meta l4proto . th dport vmap @service-ips }}
           chain firewall-check {{ {address} daddr . meta l4proto . th dport vmap @firewall-ips }}
           chain service-endpoints-check {{ {address} daddr . meta l4proto . th dport vmap @no-endpoint-services }}
           chain cluster-ips-check {{ {address} daddr @cluster-ips reject }}
           chain masquerading {{ meta mark & 0x4000 == 0 return; meta mark set meta mark xor 0x4000; masquerade }}
           chain filter-prerouting {{ type filter hook prerouting priority dstnat - 10; ct state new jump firewall-check }}
           chain filter-input {{ type filter hook input priority filter; ct state new jump service-endpoints-check }}
           chain filter-forward {{ type filter hook forward priority filter;
             ct state new jump service-endpoints-check; ct state new jump cluster-ips-check }}
           chain filter-output {{ type filter hook output priority dstnat - 10;
             ct state new jump service-endpoints-check; ct state new jump firewall-check }}
           chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services }}
           chain nat-output {{ type nat hook output priority dstnat; jump services }}
           chain nat-postrouting {{ type nat hook postrouting priority srcnat; jump masquerading }}
         }}",
        chains = chains.join("\n"),
    )
}
