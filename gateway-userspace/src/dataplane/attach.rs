//! Puts the programs on their hooks, in links that are pinned and so outlive the agent.
//!
//! A link that is pinned already keeps its place and gets this build's program in one step: no packet meets a gap.
//! Only a link whose device is gone is made anew. First on ingress and last on egress.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, TcAttachType};
use gateway_common::maps::programs;

use super::bpffs::{self, Directory};
use super::error::Error;
use super::namespace::{GUARD_LINK, Namespace};
use super::syscall::LinkInfo;
use super::{object, sockets, syscall};

/// A device by which clients' packets come and go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uplink {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Whether its packets begin with an Ethernet header; otherwise they begin with the IP header.
    pub ethernet: bool,
    /// What is done there.
    pub role: Role,
}

/// What is done with a device's packets. If one device has several roles, the last of them holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A client is behind this port of a bridge: what it sends is met at the bridge, what it is sent here. The bridge alone
    /// knows which frames are for the host.
    Port,
    /// Clients inside are behind it, or behind its ports: packets are met both ways.
    Client,
    /// Clients or Pods of other nodes are behind it: packets are met both ways, and there is no doing without.
    Uplink,
}

/// What [`super::Dataplane::attach`] did: names of links.
#[derive(Debug, Default)]
pub struct Attached {
    /// Links of an earlier agent that got this one's program.
    pub adopted: Vec<String>,
    /// New links.
    pub attached: Vec<String>,
    /// Links that nobody wants any more.
    pub detached: Vec<String>,
    /// Why links of clients inside could not be made: all others are served.
    pub failed: Vec<Error>,
}

/// Where a link sits.
#[derive(Clone, Copy, Debug)]
enum Hook<'a> {
    Ingress(&'a Uplink),
    Egress(&'a Uplink),
    Guard,
}

impl Hook<'_> {
    /// The link's file. bpffs reserves dots, and no device's name has a colon.
    fn link(self) -> String {
        match self {
            Self::Ingress(uplink) => format!("{}-ingress", uplink.name.replace('.', ":")),
            Self::Egress(uplink) => format!("{}-egress", uplink.name.replace('.', ":")),
            Self::Guard => GUARD_LINK.to_owned(),
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Ingress(Uplink { ethernet: true, .. }) => programs::INGRESS_ETHERNET,
            Self::Ingress(_) => programs::INGRESS_IP,
            Self::Egress(Uplink { ethernet: true, .. }) => programs::EGRESS_ETHERNET,
            Self::Egress(_) => programs::EGRESS_IP,
            Self::Guard => programs::GUARD,
        }
    }

    const fn is_essential(self) -> bool {
        match self {
            Self::Ingress(device) | Self::Egress(device) => matches!(device.role, Role::Uplink),
            Self::Guard => true,
        }
    }
}

impl Uplink {
    fn hooks(&self) -> impl Iterator<Item = Hook<'_>> {
        let ingress = (self.role != Role::Port).then_some(Hook::Ingress(self));
        ingress.into_iter().chain([Hook::Egress(self)])
    }
}

/// Makes the pinned links exactly those of these devices, in their order, and the guard.
pub(super) fn attach(ebpf: &mut Ebpf, directory: &Directory, devices: &BTreeSet<Uplink>) -> Result<Attached, Error> {
    // The guard sees the local deliveries of this one.
    let namespace = Namespace::current()?;
    let hooks = devices.iter().flat_map(Uplink::hooks);
    let hooks: BTreeMap<String, Hook> =
        std::iter::once(Hook::Guard).chain(hooks).map(|hook| (hook.link(), hook)).collect();

    let mut attached = Attached::default();
    let mut first_error = None;
    for (link, &hook) in &hooks {
        let outcome = ensure(ebpf, &directory.links().join(link), hook, &namespace, &mut attached);
        match outcome {
            Ok(()) => {}
            Err(error) if hook.is_essential() => drop(first_error.get_or_insert(error)),
            Err(error) => attached.failed.push(error),
        }
    }
    for path in bpffs::entries(&directory.links())? {
        let link = bpffs::name(&path);
        if !hooks.contains_key(&link) && !sockets::owns(&link) {
            bpffs::remove_link(&path)?;
            attached.detached.push(link);
        }
    }
    first_error.map_or(Ok(attached), Err)
}

/// The names of the devices that have links.
pub(super) fn linked(directory: &Directory) -> Result<Vec<String>, Error> {
    let links = bpffs::entries(&directory.links())?;
    let device = |path: &PathBuf| Some(bpffs::name(path).strip_suffix("-ingress")?.replace(':', "."));
    Ok(links.iter().filter_map(device).collect())
}

/// Makes sure that a link exists, sits where it shall, and runs this agent's program.
fn ensure(
    ebpf: &mut Ebpf,
    path: &Path,
    hook: Hook<'_>,
    namespace: &Namespace,
    attached: &mut Attached,
) -> Result<(), Error> {
    let target = match hook {
        Hook::Ingress(uplink) | Hook::Egress(uplink) => uplink.index,
        Hook::Guard => namespace.inode,
    };
    let program = match hook {
        Hook::Ingress(_) | Hook::Egress(_) => object::classifier(ebpf, hook.program())?.fd(),
        Hook::Guard => object::guard(ebpf)?.fd(),
    };
    let program =
        program.map_err(|source| Error::Program { program: hook.program(), source: Box::new(source) })?.as_fd();
    if adopt(path, &hook.link(), |info| info.target == target, program, attached)? {
        return Ok(());
    }
    let link = create(ebpf, hook, namespace)?;
    link.pin(path).map_err(|source| Error::Attach { link: hook.link(), source: source.into() })?;
    attached.attached.push(hook.link());
    Ok(())
}

/// Gives a link that is pinned already this agent's program, if it sits where it shall; if not, removes it. Says whether
/// there is such a link now.
pub(super) fn adopt(
    path: &Path,
    name: &str,
    sits_right: impl Fn(&LinkInfo) -> bool,
    program: BorrowedFd<'_>,
    attached: &mut Attached,
) -> Result<bool, Error> {
    if !path.exists() {
        return Ok(false);
    }
    let link = syscall::open_pinned(path).map_err(|source| Error::Pin { path: path.to_owned(), source })?;
    let failed = |action| move |source| Error::Link { action, link: name.to_owned(), source };
    let info = syscall::link_info(link.as_fd()).map_err(failed("read"))?;
    if !sits_right(&info) {
        bpffs::remove_link(path)?;
        return Ok(false);
    }
    if syscall::program_id(program).map_err(failed("read the program of"))? != info.program_id {
        syscall::update_link(link.as_fd(), program).map_err(failed("replace the program of"))?;
        attached.adopted.push(name.to_owned());
    }
    Ok(true)
}

fn create(ebpf: &mut Ebpf, hook: Hook<'_>, namespace: &Namespace) -> Result<FdLink, Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Attach { link: hook.link(), source };
    let (uplink, direction, order) = match hook {
        Hook::Guard => {
            let program = object::guard(ebpf)?;
            let id = program.attach(&namespace.file).map_err(|error| failed(error.into()))?;
            return Ok(program.take_link(id).map_err(|error| failed(error.into()))?.into());
        }
        Hook::Ingress(uplink) => (uplink, TcAttachType::Ingress, LinkOrder::first()),
        Hook::Egress(uplink) => (uplink, TcAttachType::Egress, LinkOrder::last()),
    };
    let program = object::classifier(ebpf, hook.program())?;
    let options = TcAttachOptions::TcxOrder(order);
    let id = program.attach_with_options(&uplink.name, direction, options).map_err(|error| failed(error.into()))?;
    let link = program.take_link(id).map_err(|error| failed(error.into()))?;
    link.try_into().map_err(|error: LinkError| failed(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_name_has_no_dot() {
        let uplink = Uplink { name: "eth0.100".to_owned(), index: 7, ethernet: true, role: Role::Uplink };

        assert_eq!(Hook::Ingress(&uplink).link(), "eth0:100-ingress");
    }

    #[test]
    fn a_device_without_ethernet_headers_gets_programs_of_its_own() {
        let tunnel = Uplink { name: "tun0".to_owned(), index: 7, ethernet: false, role: Role::Uplink };

        assert_eq!(Hook::Ingress(&tunnel).program(), programs::INGRESS_IP);
        assert_eq!(Hook::Egress(&tunnel).program(), programs::EGRESS_IP);
    }

    #[test]
    fn of_a_port_only_what_it_sends_is_met_unless_it_is_an_uplink_too() {
        let port = |role| Uplink { name: "vnet0".to_owned(), index: 7, ethernet: true, role };
        let links = |roles: &[Role]| {
            let devices: BTreeSet<Uplink> = roles.iter().copied().map(port).collect();
            let hooks: BTreeMap<String, Hook> =
                devices.iter().flat_map(Uplink::hooks).map(|hook| (hook.link(), hook)).collect();
            hooks.into_iter().map(|(link, hook)| (link, hook.is_essential())).collect::<Vec<_>>()
        };
        let both =
            |is_essential| vec![("vnet0-egress".to_owned(), is_essential), ("vnet0-ingress".to_owned(), is_essential)];

        assert_eq!(links(&[Role::Port]), [("vnet0-egress".to_owned(), false)]);
        assert_eq!(links(&[Role::Client, Role::Port]), both(false));
        assert_eq!(links(&[Role::Port, Role::Uplink]), both(true));
    }
}
