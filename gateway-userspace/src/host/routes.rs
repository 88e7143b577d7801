//! How packets leave this node for a Pod elsewhere: the source address that the kernel puts on them and the devices they
//! take, as its routes and rules have it. Nothing of this is configured.
//!
//! The kernel is asked once for all addresses that its tables cannot tell apart, and again whenever it is looked at. Routes
//! that come and go make no difference as long as nobody asked about an address behind them, as those of this node's own
//! Pods. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;

use gateway_common::Address;
use ipnet::IpNet;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Addresses;
use super::addresses::LOOPBACK_INDEX;
use super::netlink::Netlink;
use super::prefixes::Prefixes;
use crate::reconcile::Way;

/// The kinds of routes that decide about addresses of others. Those of the host's own addresses, thousands of VIPs among
/// them, need not be listed.
const KINDS: [RouteType; 5] =
    [RouteType::Unicast, RouteType::BlackHole, RouteType::Unreachable, RouteType::Prohibit, RouteType::Throw];

/// The errors by which the kernel says that it has no route, or one that leads nowhere, or nothing of that family at all.
const NOWHERE: [i32; 7] = [
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::EACCES,
    libc::EINVAL,
    libc::EAGAIN,
    libc::EOPNOTSUPP,
    libc::EAFNOSUPPORT,
];

/// The kernel's answers, as long as they hold.
pub struct Routes {
    netlink: Netlink,
    version: u64,
    is_stale: bool,
    prefixes: Prefixes,
    /// The host's addresses at the last look, but for VIPs.
    own: BTreeMap<Address, u32>,
    /// What the kernel said about an address of each prefix.
    answers: HashMap<IpNet, (IpAddr, Way)>,
    /// The addresses that were asked about since answers changed.
    asked: BTreeSet<Address>,
}

impl Routes {
    /// Opens a routing socket in the current network namespace.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            netlink: Netlink::open_strict()?,
            version: 0,
            is_stale: true,
            prefixes: Prefixes::default(),
            own: BTreeMap::new(),
            answers: HashMap::new(),
            asked: BTreeSet::new(),
        })
    }

    /// Something may have changed.
    pub(super) const fn look_again(&mut self) {
        self.is_stale = true;
    }

    /// Counts up whenever an answer may be another one than before.
    pub(super) fn version(&mut self, addresses: &Addresses) -> io::Result<u64> {
        if self.is_stale {
            let prefixes = list(&mut self.netlink)?;
            let concerns = self.concerns(&prefixes, addresses);
            self.prefixes = prefixes;
            self.own.clone_from(&addresses.foreign);
            if self.version == 0 || concerns || !self.still_holds(addresses)? {
                self.answers.clear();
                self.asked.clear();
                self.version += 1;
            }
            self.is_stale = false;
        }
        Ok(self.version)
    }

    /// The way to an address.
    pub(super) fn route(&mut self, to: Address, addresses: &Addresses) -> io::Result<Way> {
        self.asked.insert(to);
        if addresses.foreign.contains_key(&to) {
            return Ok(Way::Local);
        }
        let ip = to.to_ip();
        let prefix = self.prefixes.longest(ip);
        if let Some((_, known)) = self.answers.get(&prefix) {
            return Ok(known.clone());
        }
        let route = ask(&mut self.netlink, &self.prefixes, prefix, ip, addresses)?;
        self.answers.insert(prefix, (ip, route.clone()));
        Ok(route)
    }

    /// Whether a prefix or an address of the host that came or went may matter to an address that was asked about.
    fn concerns(&self, prefixes: &Prefixes, addresses: &Addresses) -> bool {
        let ends = |prefix: &IpNet| Address::from(prefix.network())..=Address::from(prefix.broadcast());
        let mut changed = self.prefixes.differences(prefixes);
        let is_asked = |address: &Address| self.asked.contains(address);
        changed.any(|prefix| self.asked.range(ends(prefix)).next().is_some())
            || self.own.keys().any(|own| !addresses.foreign.contains_key(own) && is_asked(own))
            || addresses.foreign.keys().any(|own| !self.own.contains_key(own) && is_asked(own))
    }

    /// Asks again what was asked before.
    fn still_holds(&mut self, addresses: &Addresses) -> io::Result<bool> {
        for (prefix, (ip, known)) in &self.answers {
            if ask(&mut self.netlink, &self.prefixes, *prefix, *ip, addresses)? != *known {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What the kernel would do with a packet to this address.
fn ask(
    netlink: &mut Netlink,
    prefixes: &Prefixes,
    prefix: IpNet,
    ip: IpAddr,
    addresses: &Addresses,
) -> io::Result<Way> {
    let mut request = RouteMessage::default();
    request.header.address_family = family(ip);
    request.header.destination_prefix_length = if ip.is_ipv4() { 32 } else { 128 };
    request.attributes = vec![RouteAttribute::Destination(ip.into())];
    match netlink.ask(RouteNetlinkMessage::GetRoute(request)) {
        Ok(RouteNetlinkMessage::NewRoute(answer)) => Ok(read(&answer, prefixes.hops(&prefix), addresses)),
        Ok(_) => Err(io::Error::other(format!("the kernel's answer about the route to {ip} is none"))),
        Err(error) if error.raw_os_error().is_some_and(|code| NOWHERE.contains(&code)) => Ok(Way::None),
        Err(error) => Err(error),
    }
}

fn read(answer: &RouteMessage, hops: impl Iterator<Item = u32>, addresses: &Addresses) -> Way {
    match answer.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Way::Local,
        _ => return Way::None,
    }
    let mut devices: BTreeSet<u32> = hops.collect();
    let mut source = None;
    for attribute in &answer.attributes {
        match attribute {
            RouteAttribute::Oif(device) => {
                devices.insert(*device);
            }
            RouteAttribute::PrefSource(address) => source = ip(address),
            _ => {}
        }
    }
    devices.remove(&LOOPBACK_INDEX);
    // A reply to a VIP would go to whichever node answers for it; one to a link-local address would not find back.
    let usable = source.filter(|ip| !is_link_local(*ip)).map(Address::from);
    match usable.filter(|source| !addresses.ours.contains(source)) {
        Some(source) => Way::By { source, devices: devices.into_iter().collect() },
        None => Way::NoSource,
    }
}

const fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Every prefix that a route or a rule speaks of, in whatever table.
fn list(netlink: &mut Netlink) -> io::Result<Prefixes> {
    let mut prefixes = Prefixes::default();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        for kind in KINDS {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            request.header.kind = kind;
            for answer in netlink.dump(&RouteNetlinkMessage::GetRoute(request))? {
                if let RouteNetlinkMessage::NewRoute(route) = answer
                    // A kernel that does not filter lists all kinds each time.
                    && route.header.kind == kind
                {
                    add_route(&mut prefixes, &route);
                }
            }
        }
        let mut request = RuleMessage::default();
        request.header.family = family;
        for answer in netlink.dump(&RouteNetlinkMessage::GetRule(request))? {
            if let RouteNetlinkMessage::NewRule(rule) = answer {
                add_rule(&mut prefixes, &rule);
            }
        }
    }
    Ok(prefixes)
}

fn add_route(prefixes: &mut Prefixes, route: &RouteMessage) {
    let any = match route.header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        _ => IpAddr::from([0_u8; 16]),
    };
    let destination = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    });
    let hops = route.attributes.iter().filter_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops.iter().map(|hop| hop.interface_index)),
        _ => None,
    });
    if let Ok(prefix) = IpNet::new(destination.unwrap_or(any), route.header.destination_prefix_length) {
        prefixes.add(prefix, hops.flatten());
    }
}

fn add_rule(prefixes: &mut Prefixes, rule: &RuleMessage) {
    let destination = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Destination(ip) => Some(*ip),
        _ => None,
    });
    if let Some(Ok(prefix)) = destination.map(|ip| IpNet::new(ip, rule.header.dst_len)) {
        prefixes.add(prefix, []);
    }
}

pub(super) const fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

const fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Address = Address::from_v4([192, 0, 2, 1]);

    fn answer(kind: RouteType, source: Address) -> RouteMessage {
        let mut answer = RouteMessage::default();
        answer.header.kind = kind;
        answer.attributes = vec![RouteAttribute::Oif(7), RouteAttribute::PrefSource(source.to_ip().into())];
        answer
    }

    fn addresses(vips: &[Address]) -> Addresses {
        Addresses { ours: vips.iter().copied().collect(), foreign: BTreeMap::new(), subnets: Vec::new() }
    }

    fn read(answer: &RouteMessage, vips: &[Address]) -> Way {
        super::read(answer, [].into_iter(), &addresses(vips))
    }

    #[test]
    fn a_route_says_the_source_and_the_device_and_those_of_other_hops() {
        let answer = answer(RouteType::Unicast, SOURCE);

        let by = |devices: &[u32]| Way::By { source: SOURCE, devices: devices.into() };
        assert_eq!(read(&answer, &[]), by(&[7]));
        assert_eq!(super::read(&answer, [9, 7, 3].into_iter(), &addresses(&[])), by(&[3, 7, 9]));
    }

    #[test]
    fn an_address_that_replies_could_not_come_to_is_no_source() {
        let link_local = Address::from("fe80::1".parse::<IpAddr>().expect("an address"));
        let mut without = answer(RouteType::Unicast, SOURCE);
        without.attributes.pop();

        assert_eq!(read(&answer(RouteType::Unicast, SOURCE), &[SOURCE]), Way::NoSource, "a VIP");
        assert_eq!(read(&answer(RouteType::Unicast, link_local), &[]), Way::NoSource);
        assert_eq!(read(&without, &[]), Way::NoSource);
    }

    #[test]
    fn the_hosts_own_address_and_broadcasts_are_no_way_out() {
        assert_eq!(read(&answer(RouteType::Local, SOURCE), &[]), Way::Local);
        assert_eq!(read(&answer(RouteType::Broadcast, SOURCE), &[]), Way::None);
    }

    #[test]
    fn only_what_lies_around_an_address_that_was_asked_about_concerns_anybody() {
        let mut routes = Routes::open().expect("a routing socket");
        routes.asked.insert(Address::from_v4([10, 2, 0, 7]));
        let concerns = |prefix: &str, own: &[Address]| {
            let mut prefixes = Prefixes::default();
            prefixes.add(prefix.parse().expect("a prefix"), []);
            let foreign = own.iter().map(|address| (*address, 2)).collect();
            routes.concerns(&prefixes, &Addresses { ours: BTreeSet::new(), foreign, subnets: Vec::new() })
        };

        assert!(!concerns("10.1.0.11/32", &[SOURCE]), "a Pod of this node");
        assert!(concerns("10.2.0.0/24", &[]));
        assert!(concerns("0.0.0.0/0", &[]));
        assert!(concerns("10.1.0.11/32", &[Address::from_v4([10, 2, 0, 7])]));
    }

    #[test]
    fn the_kernel_answers_for_the_loopback_address_and_the_answer_is_kept() {
        let mut routes = Routes::open().expect("a routing socket");
        let addresses = addresses(&[]);
        let version = routes.version(&addresses).expect("a list");
        let loopback = Address::from_v4([127, 0, 0, 9]);

        let route = routes.route(loopback, &addresses).expect("an answer");

        assert!(matches!(route, Way::Local | Way::None), "{route:?}");
        routes.look_again();
        assert_eq!(routes.version(&addresses).expect("a list"), version);
    }
}
