//! What Beeline needs of the host beside the datapath: VIP addresses on `lo`, answers for IPv6 VIPs on the
//! uplinks, the devices and their settings, and the ways by which packets leave.
//!
//! Everything here is level-triggered: it compares what is wanted with what the kernel lists and changes the
//! difference. What was listed is remembered until [`Host::look_again`], since a list of thousands of addresses takes
//! longer than most changes. Whatever does not bear our protocol number is never touched.

pub mod addresses;
pub mod clients;
pub mod forwarding;
pub mod listeners;
pub mod neighbours;
pub mod netfilter;
pub mod netlink;
pub mod open_files;
mod prefixes;
mod reserved_ports;
mod routes;
pub mod segment;
pub mod sysctl;
pub mod uplinks;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use gateway_common::Address;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use self::addresses::HostAddress;
use self::clients::ClientDevices;
use self::neighbours::Proxy;
use self::netlink::Netlink;
use self::routes::Routes;
use self::sysctl::Sysctl;
use self::uplinks::Device;
use crate::reconcile::Way;

/// The host's side of this network namespace.
pub struct Host {
    netlink: Netlink,
    routes: Routes,
    known: Known,
}

/// What the kernel listed last, and what was changed since.
#[derive(Default)]
struct Known {
    devices: Option<Vec<Device>>,
    addresses: Option<Addresses>,
    proxies: Option<BTreeSet<Proxy>>,
    ports_are_reserved: bool,
}

/// The addresses of all devices.
struct Addresses {
    /// The VIPs on `lo`.
    ours: BTreeSet<Address>,
    /// All others, with the index of their device.
    foreign: BTreeMap<Address, u32>,
    /// The same with the length of their prefix, but for those that hold on one link only.
    subnets: Vec<(u32, IpNet)>,
}

/// A setting that Beeline changed, and what it was before, so that `unload` can put it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedSysctl {
    /// The setting.
    pub sysctl: Sysctl,
    /// Its value before.
    pub before: String,
}

/// What publishing VIPs came to.
#[derive(Debug, Default)]
pub struct Published {
    /// Settings that had another value before.
    pub sysctls: Vec<ChangedSysctl>,
    /// What could not be done, one sentence each.
    pub failures: Vec<String>,
}

impl Host {
    /// Opens the host of the current network namespace.
    pub fn open() -> io::Result<Self> {
        Ok(Self { netlink: Netlink::open()?, routes: Routes::open()?, known: Known::default() })
    }

    /// Forgets what was listed: something may have changed.
    pub fn look_again(&mut self) {
        self.known = Known::default();
        self.routes.look_again();
    }

    /// The devices with these names that exist.
    pub fn devices_named(&mut self, names: &[String]) -> io::Result<Vec<Device>> {
        let devices = self.devices()?.iter();
        Ok(devices.filter(|device| names.contains(&device.name)).cloned().collect())
    }

    /// The devices with these indexes, and those that have these addresses, if they exist.
    pub fn devices_of(&mut self, indexes: &BTreeSet<u32>, addresses: &BTreeSet<Address>) -> io::Result<Vec<Device>> {
        let own = &self.addresses()?.foreign;
        let having: BTreeSet<u32> = addresses.iter().filter_map(|address| own.get(address)).copied().collect();
        let is_one = |device: &&Device| indexes.contains(&device.index) || having.contains(&device.index);
        Ok(self.devices()?.iter().filter(|device| !device.is_loopback()).filter(is_one).cloned().collect())
    }

    /// The devices whose names are wanted, as far as the host or one of its bridges takes what they receive; the bridges of
    /// those that are ports come with them.
    pub fn client_devices(&mut self, is_wanted: impl Fn(&str) -> bool) -> io::Result<ClientDevices> {
        Ok(clients::choose(self.devices()?, is_wanted))
    }

    /// Counts up whenever a [`Host::route`] may be another one than before.
    pub fn routes_version(&mut self) -> io::Result<u64> {
        let Self { netlink, routes, known } = self;
        routes.version(known.addresses(netlink)?)
    }

    /// The way by which packets get to an address.
    pub fn route(&mut self, to: Address) -> io::Result<Way> {
        let Self { netlink, routes, known } = self;
        routes.route(to, known.addresses(netlink)?)
    }

    /// Keeps a range of ports from being given to connections of the host's own, in place of those that are ours so far.
    /// Says which are ours now, as text: those of the range that nobody else had reserved; nothing if they are the same.
    pub fn reserve_ports(&mut self, range: RangeInclusive<u16>, ours: &str) -> io::Result<Option<String>> {
        if self.known.ports_are_reserved {
            return Ok(None);
        }
        let reserved = reserved_ports::reserve(range, ours)?;
        self.known.ports_are_reserved = true;
        Ok(Some(reserved).filter(|reserved| reserved != ours))
    }

    /// Gives the ports back that are ours, as [`Host::reserve_ports`] said.
    pub fn release_ports(&mut self, ours: &str) -> io::Result<()> {
        self.known.ports_are_reserved = false;
        reserved_ports::release(ours)
    }

    /// The uplinks' names: see [`uplinks::choose`].
    pub fn choose_uplinks(&mut self, named: &[String]) -> Result<Vec<String>, uplinks::UplinkError> {
        uplinks::choose(&mut self.netlink, named)
    }

    /// Addresses that somebody else gave the host, with the name of the device that has them. None of them may
    /// be a VIP.
    pub fn foreign_addresses(&mut self) -> io::Result<BTreeMap<Address, String>> {
        let foreign = self.addresses()?.foreign.clone();
        let devices = self.devices()?;
        let name = |index| {
            let named = devices.iter().find(|device| device.index == index);
            named.map_or_else(|| format!("device {index}"), |device| device.name.clone())
        };
        Ok(foreign.into_iter().map(|(address, device)| (address, name(device))).collect())
    }

    /// The node's own addresses on a device, each with its subnet.
    pub fn subnets(&mut self, device: u32) -> io::Result<Vec<IpNet>> {
        let subnets = self.addresses()?.subnets.iter();
        Ok(subnets.filter(|(index, _)| *index == device).map(|(_, subnet)| *subnet).collect())
    }

    /// Takes away the VIPs that are not wanted any more, and their neighbour entries; returns how many went.
    ///
    /// To be called before their guard goes, so that the host never answers for an address without guard.
    pub fn withdraw(&mut self, wanted: &BTreeSet<Address>) -> io::Result<usize> {
        let proxies: Vec<Proxy> = self.proxies()?.iter().filter(|p| !wanted.contains(&p.vip.into())).copied().collect();
        for proxy in proxies {
            neighbours::remove(&mut self.netlink, proxy)?;
            if let Some(known) = &mut self.known.proxies {
                known.remove(&proxy);
            }
        }
        let unwanted: Vec<_> = self.addresses()?.ours.difference(wanted).copied().collect();
        let outcomes = addresses::remove(&mut self.netlink, &unwanted)?;
        for (vip, outcome) in unwanted.iter().zip(outcomes) {
            outcome?;
            if let Some(known) = &mut self.known.addresses {
                known.ours.remove(vip);
            }
        }
        Ok(unwanted.len())
    }

    /// Takes away these VIPs and no others; returns how many were there.
    pub fn remove(&mut self, vips: &BTreeSet<Address>) -> io::Result<usize> {
        let kept: BTreeSet<_> = self.addresses()?.ours.difference(vips).copied().collect();
        self.withdraw(&kept)
    }

    /// Adds the VIPs that are missing, and makes the Ethernet uplinks answer for those of IPv6.
    pub fn publish(&mut self, wanted: &BTreeSet<Address>, uplinks: &[Device]) -> io::Result<Published> {
        let mut published = Published::default();
        let missing: Vec<_> = wanted.difference(&self.addresses()?.ours).copied().collect();
        let outcomes = addresses::add(&mut self.netlink, &missing)?;
        for (vip, outcome) in missing.iter().zip(outcomes) {
            if let Err(error) = outcome {
                published.failures.push(format!("VIP {vip} could not be added to lo: {error}"));
            } else if let Some(known) = &mut self.known.addresses {
                known.ours.insert(*vip);
            }
        }
        self.answer_neighbours(wanted, uplinks, &mut published)?;
        Ok(published)
    }

    fn devices(&mut self) -> io::Result<&[Device]> {
        let Self { netlink, known, .. } = self;
        match &mut known.devices {
            Some(devices) => Ok(devices),
            unknown => Ok(unknown.insert(uplinks::devices(netlink)?)),
        }
    }

    fn addresses(&mut self) -> io::Result<&Addresses> {
        self.known.addresses(&mut self.netlink)
    }

    fn proxies(&mut self) -> io::Result<&BTreeSet<Proxy>> {
        let Self { netlink, known, .. } = self;
        match &mut known.proxies {
            Some(proxies) => Ok(proxies),
            unknown => Ok(unknown.insert(neighbours::list(netlink)?.into_iter().collect())),
        }
    }

    fn answer_neighbours(
        &mut self,
        vips: &BTreeSet<Address>,
        uplinks: &[Device],
        published: &mut Published,
    ) -> io::Result<()> {
        let ethernet: Vec<_> = uplinks.iter().filter(|device| device.ethernet).collect();
        let wanted: BTreeSet<Proxy> =
            ethernet.iter().flat_map(|device| vips.iter().filter_map(|vip| Proxy::of(*vip, device.index))).collect();
        for device in &ethernet {
            if vips.iter().any(Address::is_v4_mapped) {
                ask_as_node(device, published);
            }
            if !wanted.is_empty() {
                answer_at_once(device, published);
            }
        }
        let present = self.proxies()?.clone();
        for proxy in present.difference(&wanted) {
            neighbours::remove(&mut self.netlink, *proxy)?;
        }
        let missing: Vec<_> = wanted.difference(&present).copied().collect();
        let outcomes = neighbours::add(&mut self.netlink, &missing)?;
        let mut answered = wanted;
        for (proxy, outcome) in missing.iter().zip(outcomes) {
            if let Err(error) = outcome {
                published.failures.push(format!("VIP {} is not answered on the uplinks: {error}", proxy.vip));
                answered.remove(proxy);
            }
        }
        self.known.proxies = Some(answered);
        Ok(())
    }
}

impl Known {
    fn addresses(&mut self, netlink: &mut Netlink) -> io::Result<&Addresses> {
        match &mut self.addresses {
            Some(addresses) => Ok(addresses),
            unknown => {
                let (ours, foreign): (Vec<_>, Vec<_>) =
                    addresses::list(netlink)?.into_iter().partition(|found| found.ours);
                Ok(unknown.insert(Addresses {
                    ours: ours.into_iter().map(|found| found.address).collect(),
                    foreign: foreign.iter().map(|found| (found.address, found.device)).collect(),
                    subnets: foreign.iter().filter_map(subnet).collect(),
                }))
            }
        }
    }
}

/// Lets a device answer for proxy entries, without the pause that the kernel would make before each answer.
fn answer_at_once(device: &Device, published: &mut Published) {
    set(Sysctl::net(["ipv6", "conf", &device.name, "proxy_ndp"]), "1", published);
    set(Sysctl::net(["ipv6", "neigh", &device.name, "proxy_delay"]), "0", published);
}

/// Lets the node ask for its neighbours in its own name and never in a VIP's, which would tell them that the VIP is here.
/// (NDP does so by itself.)
fn ask_as_node(device: &Device, published: &mut Published) {
    set(Sysctl::net(["ipv4", "conf", &device.name, "arp_announce"]), "2", published);
}

fn set(sysctl: Sysctl, value: &str, published: &mut Published) {
    match sysctl.set(value) {
        Ok(Some(before)) => published.sysctls.push(ChangedSysctl { sysctl, before }),
        Ok(None) => {}
        Err(error) => published.failures.push(format!("{sysctl} could not be set to {value}: {error}")),
    }
}

/// An address with its subnet, unless it means something else on each link.
fn subnet(found: &HostAddress) -> Option<(u32, IpNet)> {
    let ip = found.address.to_ip();
    let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let subnet = IpNet::new(ip, found.prefix_len).ok().filter(|_| !is_link_local)?;
    Some((found.device, subnet))
}
