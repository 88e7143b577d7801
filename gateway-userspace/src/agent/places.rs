//! Where the programs sit: on the uplinks, where replies of Pods elsewhere come in, and where clients inside are whom no
//! cgroup has. The host says which of these devices there are; the dataplane attaches.

use std::collections::BTreeSet;

use anyhow::Context;
use tracing::info;

use crate::config::DevicePattern;
use crate::dataplane::{Dataplane, Role, Uplink};
use crate::host::Host;
use crate::host::uplinks::Device;
use crate::reconcile::Plan;
use crate::source::Problem;

/// The devices that a plan wants the programs to be on.
pub fn wanted(
    host: &mut Host,
    uplinks: &[Device],
    plan: &Plan,
    clients: &[DevicePattern],
) -> anyhow::Result<BTreeSet<Uplink>> {
    // Replies come in by the devices that lead to Pods elsewhere, or at those that have the address they are sent to.
    let inward = host.devices_of(&plan.devices, &plan.sources).context("devices cannot be listed")?;
    let is_client = |name: &str| clients.iter().any(|pattern| pattern.matches(name));
    let clients = host.client_devices(is_client).context("devices cannot be listed")?;
    let groups = [
        (Role::Uplink, uplinks),
        (Role::Uplink, inward.as_slice()),
        (Role::Client, clients.near.as_slice()),
        (Role::Port, clients.ports.as_slice()),
    ];
    Ok(groups.into_iter().flat_map(|(role, devices)| devices.iter().map(move |device| place(device, role))).collect())
}

/// The devices from which an earlier agent has packets met.
pub fn of_earlier_agent(host: &mut Host, dataplane: &Dataplane) -> anyhow::Result<Vec<Uplink>> {
    let linked = host.devices_named(&dataplane.linked()?).context("devices cannot be listed")?;
    // One that cannot be kept is no reason to serve nobody.
    Ok(linked.iter().map(|device| place(device, Role::Client)).collect())
}

/// Those of the devices that exist.
pub fn still_there(host: &mut Host, devices: &BTreeSet<Uplink>) -> anyhow::Result<BTreeSet<Uplink>> {
    let indexes = devices.iter().map(|device| device.index).collect();
    let found = host.devices_of(&indexes, &BTreeSet::new()).context("devices cannot be listed")?;
    let roles = |index: u32| devices.iter().filter(move |known| known.index == index).map(|known| known.role);
    Ok(found.iter().flat_map(|device| roles(device.index).map(|role| place(device, role))).collect())
}

/// Makes the programs sit at these devices and no others. What is wrong with devices of clients inside is a problem of
/// theirs alone.
pub fn attach(dataplane: &mut Dataplane, devices: &BTreeSet<Uplink>) -> anyhow::Result<Vec<Problem>> {
    let changes = dataplane.attach(devices)?;
    for link in changes.attached {
        info!(link, "attached");
    }
    for link in changes.detached {
        info!(link, "detached");
    }
    let failed = changes.failed.into_iter().map(|error| {
        let error = anyhow::Error::from(error);
        Problem::of_file("", format!("clients of --client-interface are not served at one device: {error:#}"))
    });
    Ok(failed.collect())
}

fn place(device: &Device, role: Role) -> Uplink {
    Uplink { name: device.name.clone(), index: device.index, ethernet: device.ethernet, role }
}
