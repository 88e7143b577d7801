//! A firewall on the node that drops what is forwarded: what it stops, what the documented rules let through, and what
//! `beeline check` says before and after, for each tool by which such rules are written.

use std::process::Command;

use anyhow::Result;
use beeline_tests::agent::Agent;
use beeline_tests::calico::nft;
use beeline_tests::client;
use beeline_tests::lab::Lab;
use beeline_tests::netns::Namespace;
use beeline_tests::process::run;
use beeline_tests::topology::VIP;

const HTTP: u16 = 8000;
const UDP: u16 = 8001;

/// Everything works, and the Pod sees the client's own address.
#[track_caller]
fn assert_served(lab: &Lab) {
    let from = &lab.network.client;
    for (tcp, udp) in VIP.sockets(HTTP).into_iter().zip(VIP.sockets(UDP)) {
        for found in [client::connections(from, tcp, 20), client::flows(from, udp, 20)] {
            let found = found.expect("clients");
            assert_eq!(found.of("v1"), 20, "{found:?}");
        }
    }
}

/// Nothing gets through.
#[track_caller]
fn assert_stopped(lab: &Lab) {
    let from = &lab.network.client;
    for (tcp, udp) in VIP.sockets(HTTP).into_iter().zip(VIP.sockets(UDP)) {
        for found in [client::connections(from, tcp, 2), client::flows(from, udp, 2)] {
            let found = found.expect("clients");
            assert_eq!(found.answered(), 0, "{found:?}");
        }
    }
}

/// What `beeline check` says of the firewall.
fn said(agent: &Agent) -> Result<Vec<String>> {
    Ok(agent.check()?.into_iter().filter(|line| line.contains("  firewall")).collect())
}

/// Each family's chain is named as one that drops, with what it drops.
#[track_caller]
fn assert_named(said: &[String], chains: &[&str]) {
    for chain in chains {
        let line = said.iter().find(|line| line.contains(chain));
        let line = line.unwrap_or_else(|| panic!("{chain} is not named: {said:#?}"));
        assert!(line.starts_with("fail") && line.contains("drops packets from eth0 to Pod"), "{said:#?}");
    }
}

#[track_caller]
fn assert_content(said: &[String]) {
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].starts_with("ok") && said[0].contains("let through"), "{said:#?}");
}

#[test]
fn with_nftables_pods_are_cut_off_until_the_documented_rules_are_there() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = lab.start()?;
    let node = &lab.network.node;
    assert_served(&lab);
    assert_content(&said(&agent)?);

    nft(node, "table inet filter { chain forward { type filter hook forward priority 0; policy drop; }; }")?;
    assert_stopped(&lab);
    assert_named(&said(&agent)?, &["nft chain inet filter forward"]);

    // As docs/kubernetes.md has them.
    nft(node, "add rule inet filter forward ct state established,related accept")?;
    nft(node, "add rule inet filter forward iifname \"eth0\" ip daddr 10.1.0.0/16 accept")?;
    assert_named(&said(&agent)?, &["nft chain inet filter forward"]);
    nft(node, "add rule inet filter forward iifname \"eth0\" ip6 daddr fd00:10:1::/48 accept")?;

    assert_served(&lab);
    assert_content(&said(&agent)?);
    Ok(())
}

#[test]
fn chains_sets_and_maps_of_nftables_are_understood() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = lab.start()?;
    let rules = "table inet filter {
        set uplinks { type ifname; elements = { eth0, eth7 }; }
        set pods { type ipv4_addr; flags interval; elements = { 10.1.0.0/16, 192.0.2.0/24 }; }
        chain pods {
            ip daddr @pods tcp dport { 80, 9000 } accept
            ip daddr @pods udp dport 1-1024 accept
            ip6 daddr { fd00:10:1::/48 } meta l4proto { tcp, udp } accept
        }
        chain forward {
            type filter hook forward priority 0; policy drop;
            ct state vmap { established : accept, related : accept, invalid : drop }
            iifname @uplinks goto pods
        }
    }";

    nft(&lab.network.node, rules)?;

    assert_served(&lab);
    assert_content(&said(&agent)?);

    nft(&lab.network.node, "delete element inet filter uplinks { eth0 }")?;
    assert_stopped(&lab);
    assert_named(&said(&agent)?, &["nft chain inet filter forward"]);
    Ok(())
}

#[test]
fn what_cannot_be_told_from_rules_is_a_warning() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = lab.start()?;
    let rules = "table inet filter { chain forward { type filter hook forward priority 0; policy drop;
        meta mark 7 accept; ct state established accept; }; }";

    nft(&lab.network.node, rules)?;

    let said = said(&agent)?;
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].starts_with("warn") && said[0].contains("cannot be told"), "{said:#?}");
    Ok(())
}

#[test]
fn whoever_hides_the_clients_from_pods_is_named() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = lab.start()?;
    let rules =
        "table inet nat { chain out { type nat hook postrouting priority srcnat; oifname != \"lo\" masquerade; }; }";

    nft(&lab.network.node, rules)?;

    let said = said(&agent)?;
    assert!(said[0].starts_with("warn") && said[0].contains("nft chain inet nat out"), "{said:#?}");
    assert!(said[0].contains("do not see the client's"), "{said:#?}");
    Ok(())
}

/// `iptables` and `ip6tables` of one form, in a namespace.
fn iptables(node: &Namespace, form: &str, rule: &[&str], v4_only: &[&str], v6_only: &[&str]) -> Result<()> {
    for (tool, only) in [("iptables", v4_only), ("ip6tables", v6_only)] {
        let mut command: Command = node.command(format!("{tool}-{form}"))?;
        run(command.args(rule).args(only))?;
    }
    Ok(())
}

/// The same story with either form of `iptables`.
fn story_of_iptables(form: &str, chains: &[&str]) -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = lab.start()?;
    let node = &lab.network.node;

    iptables(node, form, &["-N", "BETWEEN"], &[], &[])?;
    iptables(node, form, &["-A", "FORWARD", "-m", "comment", "--comment", "all", "-j", "BETWEEN"], &[], &[])?;
    iptables(node, form, &["-P", "FORWARD", "DROP"], &[], &[])?;
    assert_stopped(&lab);
    assert_named(&said(&agent)?, chains);

    // As docs/kubernetes.md has them.
    let (v4, v6) = (["-d", "10.1.0.0/16"], ["-d", "fd00:10:1::/48"]);
    iptables(node, form, &["-A", "BETWEEN", "-i", "eth0", "-j", "ACCEPT"], &v4, &v6)?;
    let replies = ["-I", "FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"];
    iptables(node, form, &replies, &[], &[])?;

    assert_served(&lab);
    assert_content(&said(&agent)?);

    let not_these = ["-I", "BETWEEN", "-p", "tcp", "--dport", "80:90", "!", "-i", "eth7", "-j", "REJECT"];
    iptables(node, form, &not_these, &[], &[])?;
    let said = said(&agent)?;
    assert!(said.iter().all(|line| line.starts_with("fail")), "{said:#?}");
    Ok(())
}

#[test]
fn with_iptables_over_nftables_pods_are_cut_off_until_the_documented_rules_are_there() -> Result<()> {
    story_of_iptables("nft", &["nft chain ip filter FORWARD", "nft chain ip6 filter FORWARD"])
}

#[test]
fn with_older_iptables_pods_are_cut_off_until_the_documented_rules_are_there() -> Result<()> {
    story_of_iptables(
        "legacy",
        &["iptables-legacy chain FORWARD of filter", "ip6tables-legacy chain FORWARD of filter"],
    )
}

#[test]
fn rules_of_others_for_a_vip_are_named_and_those_for_other_addresses_are_not() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = lab.start()?;
    // As kube-proxy writes them.
    let rules = |address: &str| {
        format!(
            "table ip kube-proxy {{
                chain external {{ meta l4proto tcp dnat to 10.1.0.99:80; }}
                map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict;
                    elements = {{ {address} . tcp . {HTTP} : goto external }}; }}
                chain services {{ ip daddr . meta l4proto . th dport vmap @service-ips; }}
                chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
            }}"
        )
    };
    let vips = |agent: &Agent| -> Result<String> {
        let checked = agent.check()?;
        Ok(checked.into_iter().find(|line| line.contains("rules for VIPs")).unwrap_or_default())
    };

    nft(&lab.network.node, &rules("10.96.0.7"))?;
    let said = vips(&agent)?;
    assert!(said.starts_with("ok"), "{said}");

    nft(&lab.network.node, &rules(&VIP.v4.to_string()))?;
    let said = vips(&agent)?;
    assert!(said.starts_with("warn") && said.contains("nft chain ip kube-proxy nat-prerouting"), "{said}");
    assert!(said.contains(&format!("TCP {}:{HTTP}", VIP.v4)) && said.contains("ipMode: Proxy"), "{said}");
    Ok(())
}
