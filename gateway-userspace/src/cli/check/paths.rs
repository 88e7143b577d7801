//! The ways that clients' packets take through this host to the Pods of this node, and back: found with the kernel's own
//! routes and rules, for the backends that are served here.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use gateway_common::{Address, Protocol};
use ipnet::IpNet;

use super::Finding;
use super::network::effective;
use crate::dataplane::{Dump, PlaceDump, hooks};
use crate::host::Host;
use crate::host::forwarding::Forwarded;
use crate::host::netfilter::Link;
use crate::host::uplinks::Device;
use crate::reconcile::Way;

/// How many backends are looked at: those of a node are alike.
const MOST_BACKENDS: usize = 256;
/// How many complaints are shown.
const MOST_SHOWN: usize = 3;
/// Addresses that no host has, for clients behind a router.
const FAR: [&str; 2] = ["198.51.100.1", "2001:db8::1"];

/// A way to a Pod and back that works, as far as routes decide.
pub struct Path {
    /// The Pod.
    pub pod: IpAddr,
    /// Where it listens.
    pub port: u16,
    /// By which protocol.
    pub protocol: Protocol,
    /// The device that the client comes by.
    pub uplink: Link,
    /// The device that the Pod is behind.
    pub device: Link,
}

/// What was found on the way.
#[derive(Default)]
pub struct Paths {
    /// The ways.
    pub all: Vec<Path>,
    complaints: BTreeSet<String>,
    pods: BTreeSet<IpAddr>,
}

impl Paths {
    /// Asks the kernel for the way to each Pod of this node by each uplink, and back.
    pub fn find(host: &mut Host, dump: &Dump, uplinks: &[Device]) -> io::Result<Self> {
        let mut paths = Self::default();
        let backends = local_backends(dump);
        paths.pods = backends.iter().map(|(pod, ..)| *pod).collect();
        for uplink in uplinks {
            let input = Link { name: uplink.name.clone(), index: uplink.index };
            for pod in paths.pods.clone() {
                let mut device = None;
                for client in clients(host, uplink, pod.is_ipv4())? {
                    device = paths.follow(host, client, pod, &input)?.or(device);
                }
                let Some(device) = device else { continue };
                for &(_, port, protocol) in backends.iter().filter(|(address, ..)| *address == pod) {
                    paths.all.push(Path { pod, port, protocol, uplink: input.clone(), device: device.clone() });
                }
            }
        }
        Ok(paths)
    }

    /// What the ways come to.
    pub fn finding(&self) -> Finding {
        let subject = "ways to Pods";
        let count = self.pods.len();
        if count == 0 {
            return Finding::ok(subject, "no Pod of this node is served yet: nothing to look at");
        }
        if self.complaints.is_empty() {
            let pods = if count == 1 { "the Pod".to_owned() } else { format!("{count} addresses of Pods") };
            return Finding::ok(subject, format!("the host's routes and rules lead to {pods} of this node and back"));
        }
        let shown: Vec<_> = self.complaints.iter().take(MOST_SHOWN).map(String::as_str).collect();
        let more = self.complaints.len() - shown.len();
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        Finding::fail(subject, shown.join("; ") + &more)
    }

    /// The device to which the way leads, if it comes back by one with our programs.
    fn follow(&mut self, host: &mut Host, client: IpAddr, pod: IpAddr, uplink: &Link) -> io::Result<Option<Link>> {
        let name = &uplink.name;
        let index = match host.forwarded(client, pod, uplink.index)? {
            Forwarded::By(index) => index,
            Forwarded::Refused if is_filtered(host, client, uplink)? => {
                self.complain(format!(
                    "packets of {client} by {name} are dropped by its rp_filter, since the way back leads elsewhere: \
                     run `sysctl -w net/ipv4/conf/{name}/rp_filter=2`"
                ));
                return Ok(None);
            }
            Forwarded::Nowhere | Forwarded::Refused => {
                self.complain(format!(
                    "no route by which packets from {name} get to Pod {pod}: look at `ip route get {pod} from {client} \
                     iif {name}`, `ip rule` and forwarding"
                ));
                return Ok(None);
            }
        };
        let device = name_of(host, index)?;
        self.follow_back(host, client, pod, &device)?;
        Ok(Some(device))
    }

    fn follow_back(&mut self, host: &mut Host, client: IpAddr, pod: IpAddr, device: &Link) -> io::Result<()> {
        let look = format!("look at `ip route get {client} from {pod} iif {}` and `ip rule`", device.name);
        match host.forwarded(pod, client, device.index)? {
            Forwarded::By(index) => {
                let output = name_of(host, index)?;
                if is_without_our_program(&output.name) {
                    self.complain(format!(
                        "replies of Pod {pod} to {client} leave by {}, where they keep the Pod's address: {look}, or \
                         name {0} with --interface, too",
                        output.name
                    ));
                }
            }
            Forwarded::Refused if is_filtered(host, pod, device)? => self.complain(format!(
                "packets of Pod {pod} are dropped by rp_filter of {0}: run `sysctl -w net/ipv4/conf/{0}/rp_filter=2`",
                device.name
            )),
            Forwarded::Nowhere | Forwarded::Refused => {
                self.complain(format!("no route by which replies of Pod {pod} get to {client}: {look}"));
            }
        }
        Ok(())
    }

    fn complain(&mut self, complaint: String) {
        self.complaints.insert(complaint);
    }
}

/// Where Pods of this node are served: address, port, and protocol.
fn local_backends(dump: &Dump) -> BTreeSet<(IpAddr, u16, Protocol)> {
    let backends = dump.frontends.iter().flat_map(|frontend| &frontend.groups).flat_map(|group| &group.backends);
    let here = backends.filter(|backend| backend.place == PlaceDump::Here);
    let all: BTreeSet<_> = here.map(|backend| (backend.address, backend.port, protocol(&backend.protocol))).collect();
    all.into_iter().take(MOST_BACKENDS).collect()
}

/// A protocol by its name in a dump.
pub fn protocol(name: &str) -> Protocol {
    if name == "UDP" { Protocol::UDP } else { Protocol::TCP }
}

/// Whether a device does not believe that an address is behind it, since the way there leads elsewhere.
fn is_filtered(host: &mut Host, source: IpAddr, device: &Link) -> io::Result<bool> {
    const STRICT: i64 = 1;
    const LOOSE: i64 = 2;
    if !source.is_ipv4() {
        return Ok(false);
    }
    let way = host.route(source.into())?;
    Ok(match effective("rp_filter", &device.name) {
        STRICT => !matches!(way, Way::By { devices, .. } if devices.contains(&device.index)),
        LOOSE => way == Way::None,
        _ => false,
    })
}

/// Clients as they may come by a device: a neighbour, and one behind a router if the way to such leads there.
fn clients(host: &mut Host, uplink: &Device, v4: bool) -> io::Result<Vec<IpAddr>> {
    let own = host.foreign_addresses()?;
    let subnets = host.subnets(uplink.index)?;
    let is_free = |ip: &IpAddr| !own.contains_key(&Address::from(*ip));
    // The first address of an IPv6 subnet is all routers'.
    let neighbour =
        |subnet: &IpNet| subnet.hosts().take(own.len() + 2).find(|ip| *ip != subnet.network() && is_free(ip));
    let mut clients: Vec<_> =
        subnets.iter().filter(|subnet| subnet.addr().is_ipv4() == v4).filter_map(neighbour).take(1).collect();
    for far in FAR.iter().filter_map(|text| text.parse::<IpAddr>().ok()).filter(|ip| ip.is_ipv4() == v4) {
        if let Way::By { devices, .. } = host.route(far.into())?
            && devices.contains(&uplink.index)
        {
            clients.push(far);
        }
    }
    Ok(clients)
}

fn name_of(host: &mut Host, index: u32) -> io::Result<Link> {
    let devices = host.devices_of(&BTreeSet::from([index]), &BTreeSet::new())?;
    let name = devices.first().map_or_else(|| format!("device {index}"), |device| device.name.clone());
    Ok(Link { name, index })
}

/// Whether a device surely lacks our program. To see programs takes `CAP_SYS_ADMIN`, which the agent of a cluster has not.
fn is_without_our_program(device: &str) -> bool {
    hooks::programs_on(device).is_ok_and(|programs| !programs.egress.iter().any(hooks::HookProgram::is_ours))
}
