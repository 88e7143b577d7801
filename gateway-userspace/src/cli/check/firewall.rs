//! A firewall that drops what is forwarded drops the packets to Pods: what `nft` and `iptables` tell of it.
//!
//! Only policies are read. Whether a rule accepts the packets before the policy meets them is not decided here,
//! so a policy that drops is a warning.

use std::io;
use std::process::Command;

use serde_json::Value;

use super::Finding;

const ADVICE: &str = "packets to Pods are dropped unless a rule accepts them: add one for the Pods' addresses";

pub fn findings() -> Vec<Finding> {
    let mut findings = vec![finding("nft", &["-j", "list", "ruleset"], nft_chains)];
    for (tool, family) in [("iptables", "IPv4"), ("ip6tables", "IPv6")] {
        findings.push(finding(tool, &["-S", "FORWARD"], |text| iptables_chains(text, family)));
    }
    findings
}

/// Runs a tool that lists rules and reads which of its chains drop what no rule of theirs accepts.
fn finding(tool: &str, arguments: &[&str], dropping: impl Fn(&str) -> Vec<String>) -> Finding {
    let subject = format!("firewall ({tool})");
    let output = match Command::new(tool).args(arguments).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::ok(subject, format!("not looked at: {tool} is not installed"));
        }
        Err(error) => return Finding::warn(subject, format!("not looked at: {tool} cannot be run: {error}")),
        Ok(output) => output,
    };
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Finding::warn(subject, format!("not looked at: {}", error.lines().next().unwrap_or("no answer")));
    }
    let chains = dropping(&String::from_utf8_lossy(&output.stdout));
    if chains.is_empty() {
        Finding::ok(subject, "no chain drops forwarded packets by its policy")
    } else {
        Finding::warn(subject, format!("{} drops by its policy: {ADVICE}", chains.join(" and ")))
    }
}

/// The base chains on the forward hook whose policy is to drop, from `nft -j list ruleset`.
fn nft_chains(text: &str) -> Vec<String> {
    let ruleset: Value = serde_json::from_str(text).unwrap_or_default();
    let items = ruleset["nftables"].as_array().cloned().unwrap_or_default();
    let chains = items.iter().map(|item| &item["chain"]);
    chains
        .filter(|chain| chain["hook"] == "forward" && chain["policy"] == "drop")
        .map(|chain| {
            let part = |name: &str| chain[name].as_str().unwrap_or("?").to_owned();
            format!("chain {} {} {}", part("family"), part("table"), part("name"))
        })
        .collect()
}

/// The FORWARD chain, if `iptables -S FORWARD` says that its policy is to drop.
fn iptables_chains(text: &str, family: &str) -> Vec<String> {
    let drops = text.lines().any(|line| line.trim() == "-P FORWARD DROP");
    if drops { vec![format!("chain FORWARD ({family})")] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::Level;

    #[test]
    fn a_forward_chain_that_drops_is_found_by_table_and_name() {
        let ruleset = r#"{"nftables": [
            {"metainfo": {"version": "1.1.3"}},
            {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "hook": "input", "policy": "drop"}},
            {"chain": {"family": "inet", "table": "fw", "name": "fwd", "hook": "forward", "policy": "drop"}},
            {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "accept"}}]}"#;

        assert_eq!(nft_chains(ruleset), ["chain inet fw fwd"]);
        assert!(nft_chains("").is_empty());
    }

    #[test]
    fn the_policy_of_iptables_is_read() {
        assert_eq!(iptables_chains("-P FORWARD DROP\n-A FORWARD -j X\n", "IPv4"), ["chain FORWARD (IPv4)"]);
        assert!(iptables_chains("-P FORWARD ACCEPT\n", "IPv4").is_empty());
    }

    #[test]
    fn a_tool_that_is_not_installed_is_said_to_be_so() {
        let finding = finding("no-such-firewall-tool", &[], |_| Vec::new());

        assert_eq!(finding.level, Level::Ok);
        assert!(finding.message.contains("not installed"));
    }
}
