//! What clusters share on this machine: who holds which index, and settings of the kernel that kubelets change.
//!
//! A kubelet sets a few kernel settings for the whole machine. The first cluster notes what they were, every later one
//! copies that note, and the last one to go sets them back.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};

use super::plan::{self, Channel, Cluster, MAX_CLUSTERS, STATE};

/// Kernel settings that a kubelet changes.
const SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// What a cluster's state folder says of it.
#[derive(Serialize, Deserialize)]
pub struct Record {
    pub cluster: Cluster,
    /// Kernel settings before the first cluster.
    settings: BTreeMap<String, String>,
}

/// Keeps other commands from adding and removing clusters while what it returns is open.
pub fn lock() -> Result<File> {
    loop {
        fs::create_dir_all(STATE).with_context(|| format!("cannot make {STATE}"))?;
        let folder = File::open(STATE)?;
        folder.lock().with_context(|| format!("cannot lock {STATE}"))?;
        // The last cluster's end may have removed the folder while we waited.
        let locked = folder.metadata()?.ino();
        if fs::metadata(STATE).is_ok_and(|present| present.ino() == locked) {
            return Ok(folder);
        }
    }
}

/// All clusters of this machine, by name.
pub fn clusters() -> Vec<Cluster> {
    records().into_iter().map(|record| record.cluster).collect()
}

fn records() -> Vec<Record> {
    let entries = fs::read_dir(STATE).into_iter().flatten().flatten();
    let mut records: Vec<Record> = entries.filter_map(|entry| read(&entry.path())).collect();
    records.sort_by(|a, b| a.cluster.name.cmp(&b.cluster.name));
    records
}

fn read(state: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(record_path(state)).ok()?).ok()
}

fn record_path(state: &Path) -> PathBuf {
    state.join("cluster.json")
}

/// A cluster's record, if it has one.
pub fn find(name: &str) -> Option<Record> {
    read(&plan::state(name))
}

/// Takes a free index for a new cluster, makes its state folder and writes its record.
pub fn claim(name: &str, nodes: u8, kube_proxy: bool, gateway_channel: Channel) -> Result<Cluster> {
    let others = records();
    let state = plan::state(name);
    if state.exists() {
        bail!("cluster `{name}` is there already: `cargo xtask cluster status`, or `down --name {name}` to remove it");
    }
    let taken: Vec<u8> = others.iter().map(|record| record.cluster.index).collect();
    let free = (0..MAX_CLUSTERS).find(|index| !taken.contains(index));
    let index = free.with_context(|| format!("{MAX_CLUSTERS} clusters are up: take one down"))?;
    let cluster = Cluster { name: name.to_owned(), index, nodes, kube_proxy, gateway_channel };

    fs::create_dir(&state).with_context(|| format!("cannot make {}", state.display()))?;
    // A file system in memory: fast for etcd, and gone as a whole.
    mount(Some("beeline-cluster"), &state, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .with_context(|| format!("cannot mount a tmpfs on {}", state.display()))?;
    for folder in ["log", "pids", "pki"] {
        fs::create_dir(state.join(folder))?;
    }
    let settings = others.into_iter().next().map_or_else(settings, |record| record.settings);
    let record = Record { cluster: cluster.clone(), settings };
    fs::write(record_path(&state), serde_json::to_vec_pretty(&record)?)?;
    Ok(cluster)
}

/// Sets the kernel's settings back, unless another cluster is still up.
pub fn restore(record: &Record) -> Result<()> {
    if clusters().iter().any(|other| other.name != record.cluster.name) {
        return Ok(());
    }
    for (name, value) in &record.settings {
        let path = Path::new("/proc/sys").join(name);
        let now = fs::read_to_string(&path).unwrap_or_default();
        if now.trim() != value {
            fs::write(&path, value).with_context(|| format!("cannot set {} back to {value}", path.display()))?;
        }
    }
    Ok(())
}

fn settings() -> BTreeMap<String, String> {
    let read = |name: &str| Some((name.to_owned(), fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?));
    SETTINGS.into_iter().filter_map(read).map(|(name, value)| (name, value.trim().to_owned())).collect()
}
