//! VIPs as addresses of `lo`, so that the host accepts packets for them and answers ARP.
//!
//! Each bears an address protocol (`IFA_PROTO`) of ours, and only addresses that bear it are ever removed. An
//! address that the host already has is never taken over: whoever made it a VIP would lock himself out.
//! IPv6 VIPs are added without duplicate address detection and as deprecated, so that the node never picks one
//! as the source address of its own connections.

use std::io;
use std::net::IpAddr;

use gateway_common::Address;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Netlink;

/// The address protocol, and the neighbour protocol, of what Beeline adds to the host.
pub const PROTOCOL: u8 = 0xbe;

/// `lo` has this index in every network namespace.
pub const LOOPBACK_INDEX: u32 = 1;

/// An address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The address.
    pub address: Address,
    /// How many of its bits its whole subnet has in common.
    pub prefix_len: u8,
    /// Index of the device that has it.
    pub device: u32,
    /// Whether Beeline added it.
    pub ours: bool,
}

/// Every address of every device.
pub fn list(netlink: &mut Netlink) -> io::Result<Vec<HostAddress>> {
    let answers = netlink.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    Ok(answers.iter().filter_map(read).collect())
}

/// Adds VIPs to `lo`; says of each, in order, how it went. That one is there already is no error.
pub fn add(netlink: &mut Netlink, vips: &[Address]) -> io::Result<Vec<io::Result<()>>> {
    let requests = vips.iter().map(|vip| RouteNetlinkMessage::NewAddress(message(*vip)));
    let outcomes = netlink.change_all(requests, NLM_F_CREATE | NLM_F_EXCL)?;
    Ok(outcomes.into_iter().map(|outcome| unless(libc::EEXIST, outcome)).collect())
}

/// Removes VIPs from `lo`; says of each, in order, how it went. That one is gone already is no error.
pub fn remove(netlink: &mut Netlink, vips: &[Address]) -> io::Result<Vec<io::Result<()>>> {
    let requests = vips.iter().map(|vip| RouteNetlinkMessage::DelAddress(message(*vip)));
    let outcomes = netlink.change_all(requests, 0)?;
    Ok(outcomes.into_iter().map(|outcome| unless(libc::EADDRNOTAVAIL, outcome)).collect())
}

fn unless(harmless: i32, outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(harmless) => Ok(()),
        outcome => outcome,
    }
}

fn read(answer: &RouteNetlinkMessage) -> Option<HostAddress> {
    let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
    let mut address = None;
    let mut ours = false;
    for attribute in &message.attributes {
        match attribute {
            // On point-to-point devices `IFA_ADDRESS` is the peer, and `IFA_LOCAL` is ours.
            AddressAttribute::Local(local) => address = Some(*local),
            AddressAttribute::Address(other) => address = address.or(Some(*other)),
            AddressAttribute::Protocol(protocol) => ours = u8::from(*protocol) == PROTOCOL,
            _ => {}
        }
    }
    let (prefix_len, device) = (message.header.prefix_len, message.header.index);
    Some(HostAddress { address: address?.into(), prefix_len, device, ours })
}

fn message(vip: Address) -> AddressMessage {
    let ip = vip.to_ip();
    let mut message = AddressMessage::default();
    message.header.index = LOOPBACK_INDEX;
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![
        AddressAttribute::Local(ip),
        AddressAttribute::Address(ip),
        AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)),
    ];
    match ip {
        IpAddr::V4(_) => {
            message.header.family = AddressFamily::Inet;
            message.header.prefix_len = 32;
        }
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.header.prefix_len = 128;
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_valid = u32::MAX;
            message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn what_is_added_is_recognised_as_ours() {
        for ip in [IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1))] {
            let answer = RouteNetlinkMessage::NewAddress(message(ip.into()));

            let prefix_len = if ip.is_ipv4() { 32 } else { 128 };
            let expected = HostAddress { address: ip.into(), prefix_len, device: LOOPBACK_INDEX, ours: true };
            assert_eq!(read(&answer), Some(expected));
        }
    }

    #[test]
    fn the_local_side_of_a_point_to_point_address_is_the_hosts() {
        let mut message = AddressMessage::default();
        message.header.index = 7;
        message.attributes = vec![
            AddressAttribute::Address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2))),
            AddressAttribute::Local(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
        ];

        let read = read(&RouteNetlinkMessage::NewAddress(message)).expect("an address");

        assert_eq!(read.address, Ipv4Addr::new(192, 0, 2, 1).into());
        assert!(!read.ours);
    }

    #[test]
    fn the_hosts_loopback_address_is_listed_and_not_ours() {
        let mut netlink = Netlink::open().expect("a routing socket");

        let addresses = list(&mut netlink).expect("a list");

        assert!(addresses.iter().filter(|found| found.address == Ipv4Addr::LOCALHOST.into()).all(|found| !found.ours));
    }
}
