//! The agent's hands in the kernel: loads the datapath, attaches it, does the writes of reconcile, reads, collects.
//!
//! The only place that imports aya, and the only one that writes maps. Maps and links are pinned, so the datapath
//! goes on when the agent ends, and the next agent takes over what it finds. It decides nothing.

mod attach;
mod bpffs;
mod cgroup;
mod counters;
mod dump;
mod error;
pub mod hooks;
mod maps;
mod namespace;
mod object;
mod sockets;
mod sweep;
mod syscall;
mod table;
mod view;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use aya::Ebpf;
pub use gateway_common::Settings;
use gateway_common::maps as names;
pub use gateway_common::maps::Listener;
use gateway_common::{Admitted, Backend, ConntrackEntry, Flow, Frontend, FrontendKey, SourceRange};

pub use self::attach::{Attached, Role, Uplink};
pub use self::bpffs::{Directory, Unloaded, Unloading, is_locked, refuse_foreign};
pub use self::cgroup::Scope;
pub use self::dump::{
    BackendDump, ConnectionsDump, CounterDump, Dump, FlowsDump, FrontendDump, GroupDump, PlaceDump, TrafficDump,
    VipDump,
};
pub use self::error::Error;
use self::maps::Maps;
pub use self::sweep::{Round, SweepReport, Sweeper, monotonic_ns};
use self::table::Table;
pub use self::view::{LinkView, View};
pub use crate::reconcile::Capacities;
use crate::reconcile::{Actual, Write};

/// A loaded datapath. There is one for each bpffs directory.
///
/// Dropping it leaves the datapath running: maps and links stay pinned.
#[derive(Debug)]
pub struct Dataplane {
    ebpf: Ebpf,
    maps: Maps,
    capacities: Capacities,
    settings: Settings,
    warnings: Vec<String>,
    writes: u64,
    /// Held until the end: nobody else works with the directory.
    directory: Directory,
}

impl Dataplane {
    /// Takes over the maps that are pinned in the directory or makes them, and loads the programs.
    pub fn open(directory: Directory, capacities: Capacities, settings: &Settings) -> Result<Self, Error> {
        // Maps that are there keep their sizes, and those that depend on them follow.
        let pinned = pinned_capacities(&directory.maps(), capacities)?;
        let ebpf = object::load(&directory.maps(), pinned)?;
        let maps = Maps::open(&directory.maps())?;
        let conntrack: Table<Flow, ConntrackEntry> = Table::open(&directory.maps(), names::CONNTRACK)?;
        let actual = maps.capacities(conntrack.max_entries());
        // How long this node answers for VIPs is for the agents to settle: until they have, as before.
        let answers_until_ns = maps.settings()?.map_or(0, |before| before.answers_until_ns);
        let settings = Settings { answers_until_ns, namespace: namespace::current_cookie()?, ..*settings };
        let writes = maps.set_settings(&settings)?;
        let warnings = differences(capacities, actual);
        Ok(Self { ebpf, maps, capacities: actual, settings, warnings, writes, directory })
    }

    /// What the maps have room for: what was asked for, or what maps that were there already have.
    pub const fn capacities(&self) -> Capacities {
        self.capacities
    }

    /// What could not be had as asked when the datapath was opened.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Reads what the maps contain.
    pub fn read_actual(&self) -> Result<Actual, Error> {
        Ok(Actual { affinities: self.maps.read_affinities()?, ..self.maps.read()? })
    }

    /// Does the writes, in order. After an error the maps must be read again.
    pub fn apply(&mut self, writes: &[Write]) -> Result<(), Error> {
        for write in writes {
            self.writes += self.maps.apply(write)?;
        }
        Ok(())
    }

    /// Lets this node answer for its VIPs until then, by [`monotonic_ns`]. It counts as no write, since it comes again and
    /// again.
    pub fn answer_until(&mut self, deadline_ns: u64) -> Result<(), Error> {
        let settings = Settings { answers_until_ns: deadline_ns, ..self.settings };
        self.maps.set_settings(&settings)?;
        self.settings = settings;
        Ok(())
    }

    /// Does the writes by which this node takes over or gives up VIPs on its segment; they count as none, since they do not
    /// come from objects.
    pub fn assign(&mut self, writes: &[Write]) -> Result<(), Error> {
        writes.iter().try_for_each(|write| self.maps.apply(write).map(drop))
    }

    /// Map entries that were set or deleted since the datapath was opened.
    pub const fn writes(&self) -> u64 {
        self.writes
    }

    /// Attaches the programs to these devices and the guard to the calling thread's network namespace, and detaches
    /// them from all other devices. What is as it shall be stays untouched: call it again whenever devices change.
    ///
    /// All devices are tried; the first error at an uplink is returned.
    pub fn attach(&mut self, devices: &BTreeSet<Uplink>) -> Result<Attached, Error> {
        attach::attach(&mut self.ebpf, &self.directory, devices)
    }

    /// The names of the devices that have links now, an earlier agent's included.
    pub fn linked(&self) -> Result<Vec<String>, Error> {
        attach::linked(&self.directory)
    }

    /// Gives sockets of this scope their backends before there is a packet; without one, no sockets.
    pub fn select_sockets(&mut self, scope: Option<&Scope>) -> Result<Attached, Error> {
        sockets::select(&mut self.ebpf, &self.directory, scope)
    }

    /// Has this socket take the connections of its family to all steered frontends; without one, nobody takes them and they
    /// are refused. It must listen; of several that share a port (`SO_REUSEPORT`) one stands for all. It ends with its last
    /// descriptor, since the map holds none, and connections that it took are not touched when another takes its place.
    pub fn steer(&self, listener: Listener, socket: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let listeners: Table<u32, u32> = Table::open(&self.directory.maps(), names::LISTENERS)?;
        let key = listener as u32;
        let result = match socket {
            Some(socket) => listeners.set(&key, &socket.as_raw_fd().cast_unsigned()),
            None => listeners.remove(&key),
        };
        match result {
            // So the kernel says that there was none.
            Err(Error::Write { source, .. }) if socket.is_none() && source.raw_os_error() == Some(libc::EINVAL) => {
                Ok(())
            }
            result => result,
        }
    }

    /// The collector of idle flows, for a thread of its own.
    pub fn sweeper(&self) -> Result<Sweeper, Error> {
        let program = object::collector(&self.ebpf)?.as_fd().try_clone_to_owned();
        let program = program.map_err(|source| Error::Collect { source })?;
        Sweeper::open(&self.directory.maps(), program, self.settings)
    }
}

/// The capacities of the maps that are pinned; of the others, those asked for.
fn pinned_capacities(directory: &Path, asked: Capacities) -> Result<Capacities, Error> {
    let is_pinned = |name: &str| directory.join(name).exists();
    let mut capacities = asked;
    if is_pinned(names::CONNTRACK) {
        capacities.flows = Table::<Flow, ConntrackEntry>::open(directory, names::CONNTRACK)?.max_entries() / 2;
    }
    if is_pinned(names::FRONTENDS) {
        capacities.frontends = Table::<FrontendKey, Frontend>::open(directory, names::FRONTENDS)?.max_entries();
    }
    if is_pinned(names::BACKENDS) {
        capacities.backends = Table::<u32, Backend>::open(directory, names::BACKENDS)?.max_entries();
    }
    if is_pinned(names::SOURCES) {
        capacities.sources = Table::<SourceRange, Admitted>::open(directory, names::SOURCES)?.max_entries();
    }
    Ok(capacities)
}

fn differences(asked: Capacities, actual: Capacities) -> Vec<String> {
    let pairs = [
        ("flows", asked.flows, actual.flows),
        ("frontends", asked.frontends, actual.frontends),
        ("backends", asked.backends, actual.backends),
        ("source ranges", asked.sources, actual.sources),
    ];
    let differs = pairs.into_iter().filter(|(_, asked, actual)| asked != actual);
    differs
        .map(|(what, asked, actual)| {
            format!(
                "the pinned maps have room for {actual} {what}, not {asked}: `beeline unload` makes way for new ones"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_maps_of_another_size_are_said() {
        let actual = Capacities { flows: 10, ..Capacities::default() };

        let warnings = differences(Capacities::default(), actual);

        assert_eq!(
            warnings,
            ["the pinned maps have room for 10 flows, not 262144: `beeline unload` makes way for new ones"]
        );
    }
}
