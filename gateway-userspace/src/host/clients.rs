//! The devices through which clients inside reach this node: virtual machines and Pods of runtimes with kernels of their own.

use std::collections::BTreeSet;

use super::uplinks::{Device, Taker};

/// The devices that clients inside are behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientDevices {
    /// Those from which the host takes what they receive: by themselves, or as bridges.
    pub near: Vec<Device>,
    /// Ports of those bridges.
    pub ports: Vec<Device>,
}

/// Those that are wanted by name, as far as the host or a bridge takes what they receive, and the bridges of those that are
/// ports.
pub(super) fn choose(devices: &[Device], is_wanted: impl Fn(&str) -> bool) -> ClientDevices {
    let wanted: Vec<&Device> =
        devices.iter().filter(|device| !device.is_loopback() && is_wanted(&device.name)).collect();
    let bridges: BTreeSet<u32> = wanted.iter().filter_map(|device| device.taker.bridge()).collect();
    let near: BTreeSet<u32> =
        wanted.iter().filter(|device| device.taker == Taker::Host).map(|device| device.index).collect();
    let is_near = |device: &&Device| near.contains(&device.index) || bridges.contains(&device.index);
    ClientDevices {
        near: devices.iter().filter(is_near).cloned().collect(),
        ports: wanted.into_iter().filter(|device| device.taker.bridge().is_some()).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_come_with_their_ports_and_members_of_other_switches_are_left_out() {
        let device = |index, name: &str, taker| {
            let mut device = Device::named(name, index);
            device.taker = taker;
            device
        };
        let devices = [
            Device::named("lo", 1),
            device(2, "eth0", Taker::Host),
            device(3, "br0", Taker::Host),
            device(4, "tap0", Taker::Host),
            device(5, "tap1", Taker::Bridge(3)),
            device(6, "tap2", Taker::Bridge(3)),
            device(7, "tap3", Taker::Other),
            device(8, "veth0", Taker::Bridge(9)),
            device(9, "br1", Taker::Host),
        ];
        let chosen = |prefix: &str| {
            let ClientDevices { near, ports } = choose(&devices, |name| name.starts_with(prefix));
            [near, ports].map(|devices| devices.into_iter().map(|device| device.name).collect::<Vec<_>>().join(" "))
        };

        assert_eq!(chosen("tap"), ["br0 tap0", "tap1 tap2"]);
        assert_eq!(chosen("br"), ["br0 br1", ""]);
        assert_eq!(chosen("l"), ["", ""]);
    }
}
