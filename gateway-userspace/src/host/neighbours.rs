//! Answers to neighbour solicitations for IPv6 VIPs: the kernel answers ARP for an address of `lo`, but NDP only
//! for addresses of the device that is asked, unless there is a proxy entry.
//!
//! Each entry bears our protocol, and only entries that bear it are ever removed.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use gateway_common::Address;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::addresses::PROTOCOL;
use super::netlink::Netlink;

/// A VIP that is answered for on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proxy {
    /// Index of the device.
    pub device: u32,
    /// The VIP.
    pub vip: Ipv6Addr,
}

impl Proxy {
    /// The entry a VIP needs on a device; an IPv4 VIP needs none.
    pub fn of(vip: Address, device: u32) -> Option<Self> {
        match vip.to_ip() {
            IpAddr::V4(_) => None,
            IpAddr::V6(vip) => Some(Self { device, vip }),
        }
    }
}

/// The entries that Beeline added.
pub fn list(netlink: &mut Netlink) -> io::Result<Vec<Proxy>> {
    let mut request = NeighbourMessage::default();
    request.header.family = AddressFamily::Inet6;
    request.header.flags = NeighbourFlags::Proxy;
    let answers = netlink.dump(&RouteNetlinkMessage::GetNeighbour(request))?;
    Ok(answers.iter().filter_map(read).collect())
}

/// Adds entries; says of each, in order, how it went. That one is there already is no error.
pub fn add(netlink: &mut Netlink, proxies: &[Proxy]) -> io::Result<Vec<io::Result<()>>> {
    let requests = proxies.iter().map(|proxy| RouteNetlinkMessage::NewNeighbour(message(*proxy)));
    netlink.change_all(requests, NLM_F_CREATE | NLM_F_REPLACE)
}

/// Removes an entry. That it, or its device, is gone already is no error.
pub fn remove(netlink: &mut Netlink, proxy: Proxy) -> io::Result<()> {
    match netlink.change(RouteNetlinkMessage::DelNeighbour(message(proxy)), 0) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(()),
        outcome => outcome,
    }
}

fn read(answer: &RouteNetlinkMessage) -> Option<Proxy> {
    let RouteNetlinkMessage::NewNeighbour(message) = answer else { return None };
    let ours = NeighbourAttribute::Protocol(RouteProtocol::from(PROTOCOL));
    if !message.header.flags.contains(NeighbourFlags::Proxy) || !message.attributes.contains(&ours) {
        return None;
    }
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(vip)) => {
            Some(Proxy { device: message.header.ifindex, vip: *vip })
        }
        _ => None,
    })
}

fn message(proxy: Proxy) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.ifindex = proxy.device;
    message.header.flags = NeighbourFlags::Proxy;
    message.attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(proxy.vip)),
        NeighbourAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
    ];
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 1);

    #[test]
    fn an_entry_is_recognised_by_its_protocol() {
        let proxy = Proxy { device: 3, vip: VIP };
        let mut foreign = message(proxy);
        foreign.attributes.truncate(1);

        assert_eq!(read(&RouteNetlinkMessage::NewNeighbour(message(proxy))), Some(proxy));
        assert_eq!(read(&RouteNetlinkMessage::NewNeighbour(foreign)), None);
    }

    #[test]
    fn an_ipv4_vip_needs_no_entry() {
        assert_eq!(Proxy::of(Address::from_v4([10, 96, 0, 1]), 3), None);
    }
}
