//! What Beeline needs of the host beside the datapath: VIP addresses on `lo`, answers for IPv6 VIPs on the
//! uplinks, the devices and their settings.
//!
//! Everything here is level-triggered: it compares what is wanted with what the kernel lists and changes the
//! difference. Whatever does not bear our protocol number is never touched.

pub mod addresses;
pub mod neighbours;
pub mod netlink;
pub mod sysctl;
pub mod uplinks;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use gateway_common::Address;
use serde::{Deserialize, Serialize};

use self::neighbours::Proxy;
use self::netlink::Netlink;
use self::sysctl::Sysctl;
use self::uplinks::Device;

/// The host's side of this network namespace.
pub struct Host {
    netlink: Netlink,
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
        Ok(Self { netlink: Netlink::open()? })
    }

    /// The devices with these names that exist now.
    pub fn devices_named(&mut self, names: &[String]) -> io::Result<Vec<Device>> {
        let mut devices = uplinks::devices(&mut self.netlink)?;
        devices.retain(|device| names.contains(&device.name));
        Ok(devices)
    }

    /// The uplinks' names: see [`uplinks::choose`].
    pub fn choose_uplinks(&mut self, named: &[String]) -> Result<Vec<String>, uplinks::UplinkError> {
        uplinks::choose(&mut self.netlink, named)
    }

    /// Addresses that somebody else gave the host, with the name of the device that has them. None of them may
    /// be a VIP.
    pub fn foreign_addresses(&mut self) -> io::Result<BTreeMap<Address, String>> {
        let devices = uplinks::devices(&mut self.netlink)?;
        let name = |index| {
            let named = devices.iter().find(|device| device.index == index);
            named.map_or_else(|| format!("device {index}"), |device| device.name.clone())
        };
        let addresses = addresses::list(&mut self.netlink)?;
        Ok(addresses.into_iter().filter(|found| !found.ours).map(|found| (found.address, name(found.device))).collect())
    }

    /// The VIPs that `lo` has now.
    pub fn vips(&mut self) -> io::Result<BTreeSet<Address>> {
        let addresses = addresses::list(&mut self.netlink)?;
        Ok(addresses.into_iter().filter(|found| found.ours).map(|found| found.address).collect())
    }

    /// Takes away the VIPs that are not wanted any more, and their neighbour entries; returns how many went.
    ///
    /// To be called before their guard goes, so that the host never answers for an address without guard.
    pub fn withdraw(&mut self, wanted: &BTreeSet<Address>) -> io::Result<usize> {
        for proxy in neighbours::list(&mut self.netlink)? {
            if !wanted.contains(&proxy.vip.into()) {
                neighbours::remove(&mut self.netlink, proxy)?;
            }
        }
        let unwanted: Vec<_> = self.vips()?.difference(wanted).copied().collect();
        for vip in &unwanted {
            addresses::remove(&mut self.netlink, *vip)?;
        }
        Ok(unwanted.len())
    }

    /// Takes away these VIPs and no others; returns how many were there.
    pub fn remove(&mut self, vips: &BTreeSet<Address>) -> io::Result<usize> {
        let present = self.vips()?;
        let kept: BTreeSet<_> = present.difference(vips).copied().collect();
        self.withdraw(&kept)
    }

    /// Adds the VIPs that are missing, and makes the Ethernet uplinks answer for those of IPv6.
    pub fn publish(&mut self, wanted: &BTreeSet<Address>, uplinks: &[Device]) -> io::Result<Published> {
        let mut published = Published::default();
        let present = self.vips()?;
        for vip in wanted.difference(&present) {
            if let Err(error) = addresses::add(&mut self.netlink, *vip) {
                published.failures.push(format!("VIP {vip} could not be added to lo: {error}"));
            }
        }
        self.answer_neighbours(wanted, uplinks, &mut published)?;
        Ok(published)
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
        for device in ethernet.iter().filter(|_| !wanted.is_empty()) {
            answer_at_once(device, published);
        }
        let present: BTreeSet<Proxy> = neighbours::list(&mut self.netlink)?.into_iter().collect();
        for proxy in present.difference(&wanted) {
            neighbours::remove(&mut self.netlink, *proxy)?;
        }
        for proxy in wanted.difference(&present) {
            if let Err(error) = neighbours::add(&mut self.netlink, *proxy) {
                published.failures.push(format!("VIP {} is not answered on the uplinks: {error}", proxy.vip));
            }
        }
        Ok(())
    }
}

/// Lets a device answer for proxy entries, without the pause that the kernel would make before each answer.
fn answer_at_once(device: &Device, published: &mut Published) {
    let settings = [
        (Sysctl::net(["ipv6", "conf", &device.name, "proxy_ndp"]), "1"),
        (Sysctl::net(["ipv6", "neigh", &device.name, "proxy_delay"]), "0"),
    ];
    for (sysctl, value) in settings {
        match sysctl.set(value) {
            Ok(Some(before)) => published.sysctls.push(ChangedSysctl { sysctl, before }),
            Ok(None) => {}
            Err(error) => published.failures.push(format!("{sysctl} could not be set to {value}: {error}")),
        }
    }
}
