//! What meets the datapath on this host: other programs on its hooks, addresses that are in its way, its room.

use std::path::Path;

use super::Finding;
use crate::dataplane::hooks::{self, HookProgram};
use crate::dataplane::{self, Dump, View};
use crate::host::Host;
use crate::host::uplinks::Device;

/// Above this part of its room the datapath's own table of flows is called nearly full.
const NEARLY_FULL_PERCENT: u64 = 80;

/// The device that kube-proxy gives addresses in its IPVS mode.
const IPVS: &str = "kube-ipvs0";

pub fn findings(bpffs: &Path, uplinks: &[Device]) -> Vec<Finding> {
    let mut findings: Vec<_> = uplinks.iter().map(other_programs).collect();
    match View::open(bpffs).and_then(|view| view.dump()) {
        Ok(dump) => {
            findings.push(agent(bpffs));
            findings.push(conflicts(&dump));
            findings.push(flows(dump.flows.active, dump.flows.max));
        }
        Err(dataplane::Error::NotLoaded { .. }) => {
            findings.push(Finding::ok("datapath", format!("not loaded at {}", bpffs.display())));
        }
        Err(error) => findings.push(Finding::warn("datapath", format!("{:#}", anyhow::Error::from(error)))),
    }
    findings
}

fn other_programs(device: &Device) -> Finding {
    let subject = format!("hooks of {}", device.name);
    let programs = match hooks::programs_on(&device.name) {
        Ok(programs) => programs,
        Err(error) => return Finding::warn(subject, format!("cannot be looked at: {error}")),
    };
    let described: Vec<_> = [("ingress", &programs.ingress), ("egress", &programs.egress)]
        .iter()
        .filter_map(|(hook, programs)| others(hook, programs))
        .collect();
    if described.is_empty() {
        Finding::ok(subject, "no program of others")
    } else {
        Finding::ok(subject, format!("shared with {}: each sees every packet", described.join("; ")))
    }
}

fn others(hook: &str, programs: &[HookProgram]) -> Option<String> {
    let names: Vec<_> = programs
        .iter()
        .filter(|program| !program.is_ours())
        .map(|program| format!("{} (id {})", program.name, program.id))
        .collect();
    (!names.is_empty()).then(|| format!("{} on {hook}", names.join(", ")))
}

fn agent(bpffs: &Path) -> Finding {
    match dataplane::is_locked(bpffs) {
        Ok(true) => Finding::ok("agent", "running"),
        Ok(false) => Finding::warn("agent", "not running: the datapath goes on, and changes are not followed"),
        Err(error) => Finding::warn("agent", format!("{:#}", anyhow::Error::from(error))),
    }
}

fn conflicts(dump: &Dump) -> Finding {
    let subject = "addresses";
    let foreign = match Host::open().and_then(|mut host| host.foreign_addresses()) {
        Ok(foreign) => foreign,
        Err(error) => return Finding::warn(subject, format!("the host's cannot be listed: {error}")),
    };
    let taken: Vec<_> = dump
        .vips
        .iter()
        .filter_map(|vip| foreign.get(&vip.address.into()).map(|device| format!("{} ({device})", vip.address)))
        .collect();
    if taken.is_empty() {
        Finding::ok(subject, "no VIP is an address of the host")
    } else {
        let list = taken.join(", ");
        let advice = if taken.iter().any(|vip| vip.contains(IPVS)) {
            "kube-proxy (IPVS) binds those of a Service whose status lacks `ipMode: Proxy`: look at who writes its \
             status.loadBalancer"
        } else {
            "remove them, or choose other VIPs"
        };
        Finding::fail(subject, format!("the host has VIPs as its own: {list}: {advice}"))
    }
}

fn flows(active: u64, max: u64) -> Finding {
    let message = format!("{active} of {max}");
    if active.saturating_mul(100) >= max.saturating_mul(NEARLY_FULL_PERCENT) {
        return Finding::warn(
            "flows",
            format!(
                "{message}, nearly full: new connections will be refused: `beeline unload`, then a larger --max-flows"
            ),
        );
    }
    Finding::ok("flows", message)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn programs_of_others_are_named_and_ours_are_not() {
        let program = |id, name: &str| HookProgram { id, name: name.to_owned() };

        let described = others("ingress", &[program(1, "ingress_ether"), program(2, "cil_from_netdev")]);

        assert_eq!(described.as_deref(), Some("cil_from_netdev (id 2) on ingress"));
        assert_eq!(others("egress", &[program(1, "egress_ether")]), None);
    }

    #[test]
    fn a_table_of_flows_that_is_nearly_full_is_a_warning() {
        assert_eq!(flows(1, 100).level, Level::Ok);
        assert_eq!(flows(90, 100).level, Level::Warn);
    }
}
