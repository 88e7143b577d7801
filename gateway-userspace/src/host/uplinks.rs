//! The devices through which clients reach this node: named by the user, else those of the default routes.

use std::collections::BTreeSet;
use std::io;

use netlink_packet_route::link::{InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Netlink;
use super::segment::Hardware;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its index; another one after the device was made anew.
    pub index: u32,
    /// Whether its packets begin with an Ethernet header; those of tun and `WireGuard` begin with the IP header.
    pub ethernet: bool,
    /// Whether it carries packets.
    pub state: LinkState,
    /// How often it came up: a short interruption is seen by nothing else.
    pub carrier_ups: u32,
    /// Its address on an Ethernet segment.
    pub hardware: Option<Hardware>,
    /// Whether another device takes what it receives before the host does.
    pub taker: Taker,
    loopback: bool,
}

#[cfg(test)]
impl Device {
    /// One that carries packets.
    pub(super) fn named(name: &str, index: u32) -> Self {
        Self {
            name: name.to_owned(),
            index,
            ethernet: true,
            state: LinkState::Running,
            carrier_ups: 1,
            hardware: None,
            taker: Taker::Host,
            loopback: name == "lo",
        }
    }
}

/// Who takes what a device receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    /// The host's own stack.
    Host,
    /// The bridge of this index, of which it is a port.
    Bridge(u32),
    /// A bond, a switch that is no bridge, and the like.
    Other,
}

impl Device {
    /// Whether it is `lo`.
    pub const fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl Taker {
    /// The index of the bridge, if it is one.
    pub const fn bridge(self) -> Option<u32> {
        match self {
            Self::Bridge(index) => Some(index),
            Self::Host | Self::Other => None,
        }
    }
}

/// Whether a device carries packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It was not set up.
    Down,
    /// It was set up and is connected to nothing.
    Unconnected,
    /// It does.
    Running,
}

impl LinkState {
    fn of(flags: LinkFlags) -> Self {
        if !flags.contains(LinkFlags::Up) {
            Self::Down
        } else if flags.contains(LinkFlags::Running) {
            Self::Running
        } else {
            Self::Unconnected
        }
    }
}

/// Why no uplink could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The kernel did not say which devices there are.
    #[error("the kernel does not list its devices or routes")]
    Netlink(#[from] io::Error),
    /// Nothing was named and there is no default route.
    #[error("no default route tells which device clients come by: name it with --interface (there are: {0})")]
    NoDefaultRoute(String),
    /// None of those named exists.
    #[error("no device is named {0}: --interface takes one of {1}")]
    NoSuchDevice(String, String),
    /// Packets on `lo` never come from a client.
    #[error("lo is no uplink: --interface takes a device that clients come by (there are: {0})")]
    Loopback(String),
}

/// Every device.
pub fn devices(netlink: &mut Netlink) -> io::Result<Vec<Device>> {
    let answers = netlink.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    Ok(answers.iter().filter_map(read_device).collect())
}

/// The names of the uplinks: those that the user named, or else those of the default routes of both families.
///
/// A device that is named and does not exist is kept as long as another one does: it may appear later.
pub fn choose(netlink: &mut Netlink, named: &[String]) -> Result<Vec<String>, UplinkError> {
    let devices = devices(netlink)?;
    if named.is_empty() {
        let indexes = default_route_devices(netlink)?;
        return detected(&devices, &indexes);
    }
    checked(&devices, named)
}

fn detected(devices: &[Device], indexes: &BTreeSet<u32>) -> Result<Vec<String>, UplinkError> {
    let names: Vec<_> = devices.iter().filter(|d| indexes.contains(&d.index)).map(|d| d.name.clone()).collect();
    if names.is_empty() { Err(UplinkError::NoDefaultRoute(listed(devices))) } else { Ok(names) }
}

fn checked(devices: &[Device], named: &[String]) -> Result<Vec<String>, UplinkError> {
    if devices.iter().any(|device| device.loopback && named.contains(&device.name)) {
        return Err(UplinkError::Loopback(listed(devices)));
    }
    if !devices.iter().any(|device| named.contains(&device.name)) {
        return Err(UplinkError::NoSuchDevice(named.join(" or "), listed(devices)));
    }
    let mut names = named.to_vec();
    names.sort();
    names.dedup();
    Ok(names)
}

fn listed(devices: &[Device]) -> String {
    let names: Vec<_> = devices.iter().filter(|d| !d.loopback).map(|d| d.name.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn default_route_devices(netlink: &mut Netlink) -> io::Result<BTreeSet<u32>> {
    let mut indexes = BTreeSet::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        request.header.table = RouteHeader::RT_TABLE_MAIN;
        let answers = netlink.dump(&RouteNetlinkMessage::GetRoute(request))?;
        indexes.extend(answers.iter().flat_map(default_route_outputs));
    }
    Ok(indexes)
}

/// The devices a route leads to, if it is a unicast default route of the main table.
fn default_route_outputs(answer: &RouteNetlinkMessage) -> Vec<u32> {
    let RouteNetlinkMessage::NewRoute(route) = answer else { return Vec::new() };
    let header = &route.header;
    if header.destination_prefix_length != 0
        || header.table != RouteHeader::RT_TABLE_MAIN
        || header.kind != RouteType::Unicast
    {
        return Vec::new();
    }
    let mut outputs = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => outputs.push(*index),
            RouteAttribute::MultiPath(hops) => outputs.extend(hops.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    outputs
}

fn read_device(answer: &RouteNetlinkMessage) -> Option<Device> {
    let RouteNetlinkMessage::NewLink(link) = answer else { return None };
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let hardware = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(octets) => Hardware::try_from(octets.as_slice()).ok(),
        _ => None,
    });
    let carrier_ups = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::CarrierUpCount(count) => Some(*count),
        _ => None,
    });
    Some(Device {
        name,
        index: link.header.index,
        ethernet: link.header.link_layer_type == LinkLayerType::Ether,
        state: LinkState::of(link.header.flags),
        carrier_ups: carrier_ups.unwrap_or(0),
        hardware,
        taker: taker(link),
        loopback: link.header.flags.contains(LinkFlags::Loopback),
    })
}

fn taker(link: &LinkMessage) -> Taker {
    let master = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) if *index != 0 => Some(*index),
        _ => None,
    });
    let infos = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    let kind = infos.flatten().find_map(|info| match info {
        LinkInfo::PortKind(kind) => Some(kind),
        _ => None,
    });
    match (master, kind) {
        // A VRF only says which routes count.
        (None, _) | (Some(_), Some(InfoPortKind::Vrf)) => Taker::Host,
        (Some(bridge), Some(InfoPortKind::Bridge)) => Taker::Bridge(bridge),
        (Some(_), _) => Taker::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Vec<Device> {
        vec![Device::named("lo", 1), Device::named("eth0", 2), Device::named("eth1", 3)]
    }

    #[test]
    fn the_devices_of_default_routes_are_uplinks() {
        let names = detected(&host(), &BTreeSet::from([3])).expect("an uplink");

        assert_eq!(names, ["eth1"]);
    }

    #[test]
    fn without_a_default_route_the_error_lists_the_devices() {
        let error = detected(&host(), &BTreeSet::new()).expect_err("no uplink");

        assert!(error.to_string().contains("--interface (there are: eth0, eth1)"), "{error}");
    }

    #[test]
    fn a_named_device_that_does_not_exist_is_an_error_unless_another_one_does() {
        let error = checked(&host(), &["eth7".to_owned()]).expect_err("no uplink");
        let names = checked(&host(), &["eth7".to_owned(), "eth0".to_owned()]).expect("uplinks");

        assert_eq!(error.to_string(), "no device is named eth7: --interface takes one of eth0, eth1");
        assert_eq!(names, ["eth0", "eth7"]);
    }

    #[test]
    fn loopback_is_refused_as_uplink() {
        assert!(matches!(checked(&host(), &["lo".to_owned()]), Err(UplinkError::Loopback(_))));
    }

    #[test]
    fn a_port_is_known_with_its_bridge_and_a_member_of_a_vrf_is_the_hosts() {
        let taker_of = |kind: Option<InfoPortKind>, master: Option<u32>| {
            let infos = kind.map(LinkInfo::PortKind).into_iter().collect();
            let mut link = LinkMessage::default();
            link.attributes = vec![LinkAttribute::LinkInfo(infos)];
            link.attributes.extend(master.map(LinkAttribute::Controller));
            taker(&link)
        };

        assert_eq!(taker_of(None, None), Taker::Host);
        assert_eq!(taker_of(Some(InfoPortKind::Bridge), Some(7)), Taker::Bridge(7));
        assert_eq!(taker_of(Some(InfoPortKind::Vrf), Some(7)), Taker::Host);
        assert_eq!(taker_of(Some(InfoPortKind::Bond), Some(7)), Taker::Other);
    }

    #[test]
    fn a_route_to_one_host_is_no_default_route() {
        let mut route = RouteMessage::default();
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.header.kind = RouteType::Unicast;
        route.attributes = vec![RouteAttribute::Oif(2)];
        let default = RouteNetlinkMessage::NewRoute(route.clone());
        route.header.destination_prefix_length = 32;

        assert_eq!(default_route_outputs(&default), [2]);
        assert!(default_route_outputs(&RouteNetlinkMessage::NewRoute(route)).is_empty());
    }
}
