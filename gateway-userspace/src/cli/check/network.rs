//! The devices and settings between clients and Pods.

use anyhow::Context;

use super::Finding;
use crate::host::Host;
use crate::host::sysctl::Sysctl;
use crate::host::uplinks::{Device, LinkState, UplinkError};

/// Of the values of `arp_ignore`, those with which an address of `lo` is answered on another device.
const ARP_ANSWERED: [i64; 2] = [0, 3];

/// Above this part of its room the kernel's own connection tracking is called nearly full.
const NEARLY_FULL_PERCENT: i64 = 80;

/// The uplinks, and what was found about them and the host's network.
pub fn findings(interfaces: &[String]) -> anyhow::Result<(Vec<Device>, Vec<Finding>)> {
    let mut host = Host::open().context("the kernel's routing socket cannot be opened")?;
    let mut findings = Vec::new();
    let uplinks = match host.choose_uplinks(interfaces) {
        Ok(names) => host.devices_named(&names)?,
        Err(UplinkError::Netlink(error)) => return Err(error).context("devices cannot be listed"),
        Err(error) => {
            findings.push(Finding::fail("interfaces", error.to_string()));
            Vec::new()
        }
    };
    findings.extend(uplinks.iter().map(interface));
    findings.extend(loopback(&mut host));
    findings.extend(forwarding(&uplinks));
    for device in &uplinks {
        findings.push(reverse_path_filter(device));
        findings.extend(arp(device));
    }
    findings.push(kernel_conntrack());
    Ok((uplinks, findings))
}

fn interface(device: &Device) -> Finding {
    let subject = format!("interface {}", device.name);
    let kind = if device.ethernet { "Ethernet" } else { "without Ethernet headers" };
    match device.state {
        LinkState::Down => Finding::warn(subject, format!("down: run `ip link set {} up`", device.name)),
        LinkState::Unconnected | LinkState::Running => Finding::ok(subject, format!("up, {kind}")),
    }
}

fn loopback(host: &mut Host) -> Option<Finding> {
    let lo = host.devices_named(&["lo".to_owned()]).ok()?.pop()?;
    (lo.state == LinkState::Down)
        .then(|| Finding::fail("interface lo", "down, so the host does not accept VIPs: run `ip link set lo up`"))
}

fn forwarding(uplinks: &[Device]) -> Vec<Finding> {
    let mut findings = vec![setting_on(
        "IPv4 forwarding",
        &Sysctl::net(["ipv4", "ip_forward"]),
        Finding::fail,
        "packets do not get to Pods",
    )];
    for device in uplinks {
        let sysctl = Sysctl::net(["ipv4", "conf", &device.name, "forwarding"]);
        if sysctl.number() == Some(0) {
            findings.push(setting_on(&device.name, &sysctl, Finding::fail, "its packets do not get to Pods"));
        }
    }
    findings.push(setting_on(
        "IPv6 forwarding",
        &Sysctl::net(["ipv6", "conf", "all", "forwarding"]),
        Finding::warn,
        "IPv6 packets do not get to Pods, and IPv6 VIPs are not answered",
    ));
    findings
}

fn setting_on(subject: &str, sysctl: &Sysctl, bad: fn(String, String) -> Finding, consequence: &str) -> Finding {
    match sysctl.number() {
        Some(0) => bad(subject.to_owned(), format!("off: {consequence}: run `sysctl -w {sysctl}=1`")),
        Some(_) => Finding::ok(subject, "on"),
        None => bad(subject.to_owned(), format!("the kernel does not have {sysctl}: {consequence}")),
    }
}

/// The kernel takes the larger of the device's value and that of `all`.
pub(super) fn effective(name: &str, device: &str) -> i64 {
    let value = |scope: &str| Sysctl::net(["ipv4", "conf", scope, name]).number().unwrap_or(0);
    value("all").max(value(device))
}

fn reverse_path_filter(device: &Device) -> Finding {
    let subject = format!("rp_filter {}", device.name);
    match effective("rp_filter", &device.name) {
        1 => Finding::warn(
            subject,
            format!(
                "strict: clients whose route back leads through another device are dropped: \
                 run `sysctl -w net/ipv4/conf/{}/rp_filter=2` if there are such",
                device.name
            ),
        ),
        2 => Finding::ok(subject, "loose"),
        _ => Finding::ok(subject, "off"),
    }
}

fn arp(device: &Device) -> Option<Finding> {
    let value = effective("arp_ignore", &device.name);
    (device.ethernet && !ARP_ANSWERED.contains(&value)).then(|| {
        Finding::warn(
            format!("arp_ignore {}", device.name),
            format!(
                "{value}: ARP for VIPs is not answered: run `sysctl -w net/ipv4/conf/{}/arp_ignore=0` \
                 (and for `all`), unless a router sends VIPs here by a route",
                device.name
            ),
        )
    })
}

/// Packets on their way to Pods pass netfilter, which may track them too.
fn kernel_conntrack() -> Finding {
    let number = |name: &str| Sysctl::net(["netfilter", name]).number();
    conntrack_room(number("nf_conntrack_count"), number("nf_conntrack_max"))
}

fn conntrack_room(count: Option<i64>, max: Option<i64>) -> Finding {
    let subject = "nf_conntrack";
    let (Some(count), Some(max)) = (count, max) else {
        return Finding::ok(subject, "not loaded: netfilter tracks nothing beside us");
    };
    let message = format!("{count} of {max} entries");
    if max > 0 && count.saturating_mul(100) >= max.saturating_mul(NEARLY_FULL_PERCENT) {
        let advice =
            "nearly full: netfilter will drop new connections: run `sysctl -w net/netfilter/nf_conntrack_max=N`";
        return Finding::warn(subject, format!("{message}, {advice} with a larger N"));
    }
    Finding::ok(subject, message)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_table_of_netfilter_that_is_nearly_full_is_a_warning() {
        assert_eq!(conntrack_room(Some(10), Some(100)).level, Level::Ok);
        assert_eq!(conntrack_room(Some(80), Some(100)).level, Level::Warn);
        assert_eq!(conntrack_room(None, None).level, Level::Ok);
        assert_eq!(conntrack_room(Some(0), Some(0)).level, Level::Ok);
    }

    #[test]
    fn a_setting_that_does_not_exist_is_no_setting_that_is_on() {
        let sysctl = Sysctl::net(["ipv4", "no_such_setting"]);

        assert_eq!(setting_on("x", &sysctl, Finding::warn, "y").level, Level::Warn);
    }
}
