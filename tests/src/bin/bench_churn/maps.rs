//! What the agent has programmed, read from the pinned maps themselves.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap as KernelHashMap, Map, MapData};
use beeline_tests::interrupt::Interrupt;
use beeline_tests::wait;
use gateway_common::maps::{FRONTENDS, GROUPS, LAYOUT_VERSION};
use gateway_common::{Frontend, FrontendKey, Group};
use zerocopy::FromBytes;

use crate::bed;

/// How long the agent may take to program everything.
const LIMIT: Duration = Duration::from_mins(2);

type GroupBytes = [u8; size_of::<Group>()];
type KeyBytes = [u8; size_of::<FrontendKey>()];
type FrontendBytes = [u8; size_of::<Frontend>()];

/// The schedules of groups.
pub struct Groups(Array<MapData, GroupBytes>);

impl Groups {
    fn open(bpffs: &Path) -> Result<Self> {
        Ok(Self(Array::try_from(Map::Array(open(bpffs, GROUPS)?))?))
    }

    fn read(&self, id: u32) -> Result<Group> {
        let bytes = self.0.get(&id, 0).with_context(|| format!("cannot read group {id}"))?;
        Group::read_from_bytes(&bytes).ok().context("a group is no group")
    }

    /// How many slots a group's schedule has. With backends of one weight that is how many of them get connections.
    pub fn backends(&self, id: u32) -> Result<u32> {
        Ok(self.read(id)?.backends.length)
    }

    /// The group of each frontend id.
    fn by_frontend(&self) -> Result<HashMap<u32, u32>> {
        let mut found = HashMap::new();
        for id in 0..self.0.len() {
            let group = self.read(id)?;
            if group.reference != 0 {
                let earlier = found.insert(group.frontend, id);
                ensure!(earlier.is_none(), "frontend {} has several groups", group.frontend);
            }
        }
        Ok(found)
    }
}

/// The frontends.
pub struct Frontends(KernelHashMap<MapData, KeyBytes, FrontendBytes>);

impl Frontends {
    /// Opens the pinned map, once there is one.
    pub fn open(bpffs: &Path) -> Result<Self> {
        Ok(Self(KernelHashMap::try_from(Map::HashMap(open(bpffs, FRONTENDS)?))?))
    }

    /// The id of a Service's frontend, if it is programmed.
    pub fn of_service(&self, service: u32) -> Option<u32> {
        let key = bed::frontend(service);
        let bytes = self.0.get(&zerocopy::transmute!(key), 0).ok()?;
        Some(Frontend::read_from_bytes(&bytes).ok()?.id)
    }

    /// How many there are.
    pub fn count(&self) -> Result<usize> {
        let mut count = 0;
        for key in self.0.keys() {
            key.context("cannot list the frontends")?;
            count += 1;
        }
        Ok(count)
    }
}

/// What is programmed for all Services.
pub struct Programmed {
    /// The groups' map.
    pub bpffs: PathBuf,
    /// The group of each Service.
    pub groups: Vec<u32>,
}

impl Programmed {
    /// The groups' map, opened for one reader.
    pub fn open(&self) -> Result<Groups> {
        Groups::open(&self.bpffs)
    }
}

/// Waits until every Service has its frontend and a group.
pub fn wait_until_programmed(bpffs: &Path, services: u32, interrupt: &Interrupt) -> Result<Programmed> {
    let complete = || {
        let groups = groups_of(bpffs, services).ok();
        (groups.is_some() || interrupt.requested()).then_some(groups)
    };
    let groups = wait::until(&format!("{services} Services are programmed"), LIMIT, complete)?;
    interrupt.check()?;
    Ok(Programmed { bpffs: bpffs.to_owned(), groups: groups.unwrap_or_default() })
}

fn groups_of(bpffs: &Path, services: u32) -> Result<Vec<u32>> {
    let frontends = Frontends::open(bpffs)?;
    let ids: Vec<u32> = (0..services).map_while(|service| frontends.of_service(service)).collect();
    ensure!(ids.len() == services as usize, "not every Service has a frontend");
    let groups = Groups::open(bpffs)?.by_frontend()?;
    ids.iter().map(|id| groups.get(id).copied().with_context(|| format!("frontend {id} has no group"))).collect()
}

fn open(bpffs: &Path, name: &str) -> Result<MapData> {
    let path = bpffs.join(format!("v{LAYOUT_VERSION}")).join(name);
    MapData::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))
}
