//! What the host's firewall does with packets on their way to Pods of this node and back, and with VIPs.
//!
//! Packets to Pods of other nodes never come to it. Rules are read from the kernel, so no tool need be there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gateway_common::Protocol;

use super::Finding;
use super::paths::{Path, protocol};
use crate::dataplane::Dump;
use crate::host::netfilter::{Fate, Hook, Link, Netfilter, Packet};
use crate::host::uplinks::Device;

const SUBJECT: &str = "firewall";
/// The rules that the documentation shows.
const RULES: &str = "rules for packets that begin by an uplink and are for Pods, and for their replies, are shown in \
                     docs/kubernetes.md, \"A firewall on the node\"";
/// How many frontends are looked for in other's rules.
const MOST_FRONTENDS: usize = 256;
const HOOKS: [Hook; 3] = [Hook::Prerouting, Hook::Forward, Hook::Postrouting];

/// What is in the way of the Pods, by chain.
pub fn findings(paths: &[Path], dump: Option<&Dump>, uplinks: &[Device]) -> Vec<Finding> {
    let netfilter = match Netfilter::read() {
        Ok(netfilter) => netfilter,
        Err(error) => {
            let message = format!("the kernel does not show its rules ({error}): run as root, or with CAP_NET_ADMIN");
            return vec![Finding::warn(SUBJECT, message)];
        }
    };
    let mut findings = if paths.is_empty() { by_policy(&netfilter, uplinks) } else { by_packets(&netfilter, paths) };
    if let Some(dump) = dump {
        findings.push(translated_vips(&netfilter, dump, uplinks));
    }
    findings
}

/// Without a Pod only what drops whatever it is can be told.
fn by_policy(netfilter: &Netfilter, uplinks: &[Device]) -> Vec<Finding> {
    let mut chains = Vec::new();
    for uplink in uplinks {
        let input = Link { name: uplink.name.clone(), index: uplink.index };
        for anybody in ["0.0.0.0", "::"].iter().filter_map(|text| text.parse().ok()) {
            let packet = Packet::to(anybody, 0, Protocol::TCP.number(), input.clone(), None);
            let judged = netfilter.judge(Hook::Forward, &packet.with_unknown_target());
            chains.extend(judged.into_iter().filter(|judged| judged.chain.drops && judged.fate != Fate::Passes));
        }
    }
    let mut names: Vec<_> = chains.into_iter().map(|judged| judged.chain.name).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return vec![Finding::ok(SUBJECT, "no chain drops forwarded packets by its policy")];
    }
    let warn = |name: &String| {
        let message = format!(
            "drops by its policy what is forwarded: without a Pod of this node it cannot be told whether a rule accepts \
             packets to Pods: {RULES}"
        );
        Finding::warn(format!("{SUBJECT}: {name}"), message)
    };
    names.iter().map(warn).collect()
}

/// How bad it is: the worse, the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Harm {
    Hidden,
    Perhaps,
    Dropped,
}

fn by_packets(netfilter: &Netfilter, paths: &[Path]) -> Vec<Finding> {
    let mut worst: BTreeMap<String, (Harm, String)> = BTreeMap::new();
    let mut note = |chain: &str, harm: Harm, what: String| {
        let known = worst.get(chain).is_some_and(|(known, _)| *known >= harm);
        if !known {
            worst.insert(chain.to_owned(), (harm, what));
        }
    };
    for path in paths {
        let Path { pod, port, protocol, uplink, device } = path;
        let there = Packet::to(*pod, *port, protocol.number(), uplink.clone(), Some(device.clone()));
        let back = Packet::reply(*pod, *port, protocol.number(), device.clone(), uplink.clone());
        let to = format!("packets from {} to Pod {pod} ({})", uplink.name, device.name);
        let from = format!("replies of Pod {pod} ({}) by {}", device.name, uplink.name);
        for (packet, what, begins) in [(there, to, true), (back, from, false)] {
            for hook in HOOKS {
                for judged in netfilter.judge(hook, &packet) {
                    if judged.chain.translates && !begins {
                        continue;
                    }
                    if let Some(harm) = harm(hook, judged.fate, judged.chain.drops) {
                        note(&judged.chain.name, harm, what.clone());
                    }
                }
            }
        }
    }
    if worst.is_empty() {
        return vec![Finding::ok(SUBJECT, "packets to Pods of this node and their replies are let through")];
    }
    worst.into_iter().map(|(chain, (harm, what))| told(&chain, harm, &what)).collect()
}

fn harm(hook: Hook, fate: Fate, drops: bool) -> Option<Harm> {
    match fate {
        Fate::Dropped => Some(Harm::Dropped),
        // Rules that drop this and that are somebody's will, as network policies are.
        Fate::Unsure { dropped: true, .. } if drops => Some(Harm::Perhaps),
        Fate::Translated if hook == Hook::Postrouting => Some(Harm::Hidden),
        _ => None,
    }
}

fn told(chain: &str, harm: Harm, what: &str) -> Finding {
    let subject = format!("{SUBJECT}: {chain}");
    match harm {
        Harm::Dropped => Finding::fail(subject, format!("drops {what}: {RULES}")),
        Harm::Perhaps => Finding::warn(
            subject,
            format!("its policy drops, and whether its rules accept {what} cannot be told from them: {RULES}"),
        ),
        Harm::Hidden => Finding::warn(
            subject,
            format!("gives {what} the node's address, so Pods do not see the client's: leave such packets out there"),
        ),
    }
}

/// VIPs for which somebody else has rules, as kube-proxy has for a Service whose status lacks `ipMode: Proxy`.
fn translated_vips(netfilter: &Netfilter, dump: &Dump, uplinks: &[Device]) -> Finding {
    let subject = "rules for VIPs";
    let mut taken = BTreeMap::new();
    for frontend in dump.frontends.iter().take(MOST_FRONTENDS) {
        let protocol = protocol(&frontend.protocol);
        for uplink in uplinks {
            let input = Link { name: uplink.name.clone(), index: uplink.index };
            let packet = Packet::to(frontend.address, frontend.port, protocol.number(), input, None);
            if let Some(chain) = translating(netfilter, &packet, frontend.address) {
                taken.entry(chain).or_insert_with(|| format!("{} {}", frontend.protocol, frontend.key));
            }
        }
    }
    if taken.is_empty() {
        return Finding::ok(subject, "nobody else has any: kube-proxy leaves them alone");
    }
    let list: Vec<_> = taken.iter().map(|(chain, frontend)| format!("{chain} has some for {frontend}")).collect();
    let advice = "clients that do not come by an uplink may get what these say: if they are kube-proxy's, the Service's \
                  status lacks `ipMode: Proxy`: look at who writes status.loadBalancer";
    Finding::warn(subject, format!("{}: {advice}", list.join(", ")))
}

/// The chain that puts another address into a packet to a VIP. What it does to packets to any address does not count.
fn translating(netfilter: &Netfilter, packet: &Packet, vip: IpAddr) -> Option<String> {
    let neighbour = if vip.is_ipv4() { "192.0.2.255" } else { "2001:db8::ffff" }.parse().ok()?;
    let other = packet.with_target(neighbour);
    let fates = |packet: &Packet| netfilter.judge(Hook::Prerouting, packet);
    let is_translated = |fate| matches!(fate, Fate::Translated | Fate::Unsure { translated: true, .. });
    let mut pairs = fates(packet).into_iter().zip(fates(&other));
    let (found, _) = pairs.find(|(ours, others)| is_translated(ours.fate) && !is_translated(others.fate))?;
    Some(found.chain.name)
}
