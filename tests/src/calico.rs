//! A node whose Pods hang on it as Calico has them, and whose routes are chosen by rules: by mark, by source, by destination.
//!
//! The node has no address on a Pod's veth. Pods send everything to 169.254.1.1, for which the node answers by proxy ARP, and
//! to a link-local address in IPv6. No table but one of its own knows where Pods are.

use std::fmt::Write;

use anyhow::Result;

use crate::netns::Namespace;
use crate::process::run;
use crate::second_host::{HOST_ON_FABRIC, Network};
use crate::topology::{CLIENT, POD_GATEWAY, Topology, pod_addresses};

/// What Pods send everything to.
const GATEWAY: &str = "169.254.1.1";
const GATEWAY_V6: &str = "fe80::ecee:eeff:feee:eeee";
/// The table that knows the Pods.
const TABLE: &str = "100";
/// The mark of packets that come by the uplink.
const MARK: &str = "0x10000/0x10000";
/// The Pods of this node, and where replies go.
const PODS: [(&str, &str); 2] = [("-4", "10.1.0.0/16"), ("-6", "fd00:10:1::/48")];

/// Rewires the node and its Pods. The Pods behind the route, if there is a second host, are found by rules, too.
pub fn rewire(network: &Topology, second_host: bool) -> Result<()> {
    let Topology { node, pods, .. } = network;
    let mut table = format!(
        "route add default via {} dev eth0 table {TABLE}\nroute add default via {} dev eth0 table {TABLE}\n\
         route add default via {0} dev eth0\nroute add default via {1} dev eth0\n",
        CLIENT.v4, CLIENT.v6
    );
    for (index, pod) in pods.iter().enumerate() {
        let (device, address) = (format!("pod{}", index + 1), pod_addresses(u8::try_from(index + 1)?));
        rewire_pod(node, pod, &device)?;
        writeln!(table, "route add {}/32 dev {device} scope link table {TABLE}", address.v4)?;
        writeln!(table, "route add {}/128 dev {device} table {TABLE}", address.v6)?;
        // That of IPv4 went with the device's last address.
        writeln!(table, "route del {}/128 dev {device}", address.v6)?;
    }
    if second_host {
        for (prefix, by) in Network::Routed.prefixes().iter().zip(HOST_ON_FABRIC.both()) {
            writeln!(table, "route add {prefix} via {by} table {TABLE}\nroute del {prefix}")?;
        }
    }
    node.ip(&table)?;
    rules(node, second_host)?;
    mark(node)
}

/// Sends what this node's Pods send elsewhere, by a rule that comes before all others.
pub fn lead_astray(node: &Namespace, device: &str) -> Result<()> {
    for (family, pods) in PODS {
        ip(node, &[family, "route", "add", "default", "dev", device, "table", "200"])?;
        ip(node, &[family, "rule", "add", "from", pods, "lookup", "200", "pref", "50"])?;
    }
    Ok(())
}

fn rewire_pod(node: &Namespace, pod: &Namespace, device: &str) -> Result<()> {
    node.ip(&format!(
        "addr del {}/32 dev {device}\naddr del {}/128 dev {device}\naddr add {GATEWAY_V6}/64 dev {device} nodad\n",
        POD_GATEWAY.v4, POD_GATEWAY.v6
    ))?;
    for (setting, value) in [
        (format!("net/ipv4/conf/{device}/proxy_arp"), "1"),
        (format!("net/ipv4/neigh/{device}/proxy_delay"), "0"),
        (format!("net/ipv4/conf/{device}/rp_filter"), "1"),
    ] {
        node.sysctl(&setting, value)?;
    }
    pod.ip(&format!(
        "route flush dev eth0 scope global\nroute del {}/32 dev eth0\n\
         route add {GATEWAY}/32 dev eth0 scope link\nroute add default via {GATEWAY} dev eth0\n\
         route replace default via {GATEWAY_V6} dev eth0\nroute del {}/128 dev eth0\n",
        POD_GATEWAY.v4, POD_GATEWAY.v6
    ))
}

fn rules(node: &Namespace, second_host: bool) -> Result<()> {
    let others = Network::Routed.prefixes();
    for ((family, pods), others) in PODS.into_iter().zip(&others) {
        let rule = |words: &[&str]| ip(node, &[&[family, "rule", "add"], words, &["lookup", TABLE]].concat());
        rule(&["fwmark", MARK, "pref", "100"])?;
        rule(&["from", pods, "pref", "110"])?;
        rule(&["to", pods, "pref", "120"])?;
        if second_host {
            rule(&["to", others, "pref", "130"])?;
        }
    }
    Ok(())
}

/// Marks what comes by the uplink, as a CNI does that has decided about it.
fn mark(node: &Namespace) -> Result<()> {
    let value = MARK.split('/').next().unwrap_or(MARK);
    nft(
        node,
        &format!(
            "table inet marks {{\n  chain marks {{\n    type filter hook prerouting priority mangle;\n    \
             iifname \"eth0\" meta mark set meta mark or {value}\n  }}\n}}"
        ),
    )
}

/// Adds rules of nftables to a namespace.
pub fn nft(node: &Namespace, rules: &str) -> Result<()> {
    run(node.command("nft")?.arg(rules)).map(drop)
}

fn ip(node: &Namespace, words: &[&str]) -> Result<()> {
    run(node.command("ip")?.args(words)).map(drop)
}
