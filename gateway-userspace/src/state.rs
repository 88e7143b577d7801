//! What the agent last did, in a runtime directory, so that `status` and `dump` can name what maps only number.
//!
//! The maps remain the truth: everything here is for people, survives the agent, and may be missing. Files are
//! replaced whole, so a reader never meets half of one. The directory belongs to one bpffs directory, so several
//! agents of one machine do not meet.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

use crate::host::ChangedSysctl;
use crate::model::{Backend, Group, Model, fingerprint};

/// Overrides where runtime directories lie.
pub const RUN_DIR_VARIABLE: &str = "BEELINE_RUN_DIR";

const DEFAULT_RUN_DIR: &str = "/run/beeline";

/// The agent and its last reconcile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// The agent's version.
    pub version: String,
    /// The agent's process.
    pub pid: u32,
    /// When it started: milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Where its objects come from: the folder's path, or the cluster and the node.
    pub objects: String,
    /// The uplinks it is attached to.
    pub uplinks: Vec<String>,
    /// Whose sockets are given backends before there is a packet.
    pub sockets: String,
    /// The VIPs it has put on the host.
    pub vips: Vec<String>,
    /// Who answers for each VIP on its segment, or who routes it.
    pub announcements: BTreeMap<String, String>,
    /// Memory of all maps, in bytes.
    pub map_memory_bytes: u64,
    /// What is wrong, one line each.
    pub problems: Vec<String>,
    /// What is not exactly as the objects ask, one line each.
    pub notes: Vec<String>,
    /// Why nothing was reconciled since the last reconcile; it is tried again and again.
    pub failure: Option<String>,
    /// What of the objects is not known or not followed, and why: what the readiness probe says of it.
    pub unsynced: Option<String>,
    /// The last reconcile.
    pub last_reconcile: Option<LastReconcile>,
    /// Map writes since the agent started.
    pub writes_since_start: u64,
    /// Settings that were changed on the host.
    pub sysctls: Vec<ChangedSysctl>,
    /// The ports that were reserved with the kernel, but for those that others had reserved before.
    pub reserved_ports: String,
}

/// The last reconcile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastReconcile {
    /// When: milliseconds since 1970.
    pub unix_ms: u64,
    /// Map writes it took.
    pub writes: u64,
    /// From the change to the maps, in milliseconds.
    pub took_ms: u64,
    /// Frontends that were wanted.
    pub frontends: usize,
    /// Backends that were wanted.
    pub backends: usize,
}

/// Names for what lies in the maps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Names {
    /// `TCP 10.96.0.1:80` → the object that asked for the frontend.
    pub frontends: BTreeMap<String, String>,
    /// A reference's fingerprint → the reference.
    pub references: BTreeMap<String, String>,
    /// `TCP 10.0.0.1:8080` and the Pod's fingerprint → the Pod.
    pub backends: BTreeMap<String, String>,
}

impl Names {
    /// The name of a backend.
    pub fn backend(&self, protocol: &str, socket: SocketAddr, pod: &str) -> Option<String> {
        self.backends.get(&backend_key(protocol, socket, pod)).cloned()
    }
}

/// The names of all that a model asks for, as [`Names`] are written: one after the other, since a large cluster has too
/// many to hold all of them as text beside the model. What several services have in common is named once for each.
#[derive(Serialize)]
struct NamesOf<'a> {
    #[serde(serialize_with = "frontends")]
    frontends: &'a Model,
    #[serde(serialize_with = "references")]
    references: &'a Model,
    #[serde(serialize_with = "backends")]
    backends: &'a Model,
}

impl<'a> NamesOf<'a> {
    fn new(model: &'a Model) -> Self {
        Self { frontends: model, references: model, backends: model }
    }
}

fn frontends<S: Serializer>(model: &Model, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(model.frontends().map(|(key, behind)| (key.to_string(), behind.owner())))
}

fn references<S: Serializer>(model: &Model, serializer: S) -> Result<S::Ok, S::Error> {
    let named = groups(model).map(|group| (fingerprint_text(fingerprint(&group.reference)), &group.reference));
    serializer.collect_map(named)
}

fn backends<S: Serializer>(model: &Model, serializer: S) -> Result<S::Ok, S::Error> {
    let key = |backend: &Backend| {
        let socket = SocketAddr::new(backend.address.to_ip(), backend.port.get());
        backend_key(&backend.protocol.to_string(), socket, &fingerprint_text(backend.pod.raw()))
    };
    let members = groups(model).flat_map(|group| &group.members);
    serializer.collect_map(members.map(|(backend, member)| (key(backend), &member.name)))
}

fn groups(model: &Model) -> impl Iterator<Item = &Group> {
    model.services.values().flat_map(|service| &service.groups)
}

/// A fingerprint as text, the way dumps show it.
fn fingerprint_text(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

fn backend_key(protocol: &str, socket: SocketAddr, pod: &str) -> String {
    format!("{protocol} {socket} {pod}")
}

/// What tells one bpffs directory from another, however each is called and mounted: `<device>-<inode>`.
pub fn identity(bpffs: &Path) -> io::Result<String> {
    let metadata = fs::metadata(bpffs)?;
    Ok(format!("{}-{}", metadata.dev(), metadata.ino()))
}

/// The directory where one agent's files lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDirectory(PathBuf);

impl RunDirectory {
    /// The runtime directory that belongs to a bpffs directory, which must exist.
    pub fn of(bpffs: &Path) -> io::Result<Self> {
        let base = std::env::var_os(RUN_DIR_VARIABLE).map_or_else(|| PathBuf::from(DEFAULT_RUN_DIR), PathBuf::from);
        Ok(Self(base.join(identity(bpffs)?)))
    }

    /// Writes the state.
    pub fn write_state(&self, state: &State) -> io::Result<()> {
        self.write("state.json", state)
    }

    /// Writes the names of all that a model asks for.
    pub fn write_names(&self, model: &Model) -> io::Result<()> {
        self.write("names.json", &NamesOf::new(model))
    }

    /// The last state that was written, if there is one that this version can read.
    pub fn state(&self) -> Option<State> {
        self.read("state.json")
    }

    /// The last names that were written, or none.
    pub fn names(&self) -> Names {
        self.read("names.json").unwrap_or_default()
    }

    /// Where the agent that serves answers questions.
    pub fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }

    /// Makes the directory, if it is not there.
    pub fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.0)
    }

    /// Removes the directory. That it is gone already is no error.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        self.create()?;
        let unfinished = self.0.join(format!(".{name}.new"));
        let mut file = BufWriter::new(File::create(&unfinished)?);
        serde_json::to_writer(&mut file, value)?;
        file.flush()?;
        fs::rename(unfinished, self.0.join(name))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.0.join(name)).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Member, PodId, Service};
    use gateway_common::{Address, FrontendKey, Place, Port, Protocol};
    use std::collections::BTreeSet;

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = RunDirectory(folder.path().join("1-2"));
        let state = State { pid: 7, problems: vec!["a.yaml: is empty".to_owned()], ..State::default() };

        directory.write_state(&state).expect("written");

        assert_eq!(directory.state(), Some(state));
        assert_eq!(directory.names(), Names::default());
    }

    #[test]
    fn a_state_of_an_older_version_is_read_as_far_as_it_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = RunDirectory(folder.path().to_owned());
        fs::write(folder.path().join("state.json"), r#"{"pid": 9, "gone": true}"#).expect("written");

        assert_eq!(directory.state().map(|state| state.pid), Some(9));
    }

    #[test]
    fn a_backend_is_named_by_its_pod_and_not_by_an_address_it_inherited() {
        let pod = PodId::from_uid("new");
        let backend =
            Backend { address: Address::from_v4([10, 0, 0, 1]), port: Port::new(80), protocol: Protocol::TCP, pod };
        let member = Member { name: "shop/new".to_owned(), weight: 1, place: Place::Here };
        let group = Group {
            reference: "Service shop/web:80".to_owned(),
            weight: 1,
            members: BTreeMap::from([(backend, member)]),
        };
        let key = FrontendKey::new(Address::from_v4([192, 0, 2, 1]), Port::new(80), Protocol::TCP);
        let service = Service { owner: "Service shop/web".to_owned(), groups: vec![group], ..Service::default() };
        let socket = "10.0.0.1:80".parse().expect("a socket");

        let folder = tempfile::tempdir().expect("a folder");
        let directory = RunDirectory(folder.path().join("1-2"));

        let model = Model {
            services: BTreeMap::from([(key, service.into())]),
            living_pods: BTreeSet::from([pod]),
            ..Model::default()
        };
        directory.write_names(&model).expect("written");
        let names = directory.names();

        assert_eq!(names.frontends["TCP 192.0.2.1:80"], "Service shop/web");
        assert_eq!(names.backend("TCP", socket, &fingerprint_text(pod.raw())), Some("shop/new".to_owned()));
        assert_eq!(names.backend("TCP", socket, &fingerprint_text(PodId::from_uid("old").raw())), None);
    }

    #[test]
    fn two_bpffs_directories_have_two_runtime_directories() {
        let one = tempfile::tempdir().expect("a folder");
        let other = tempfile::tempdir().expect("a folder");

        assert_ne!(RunDirectory::of(one.path()).expect("one"), RunDirectory::of(other.path()).expect("other"));
    }

    #[test]
    fn removing_twice_is_no_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = RunDirectory(folder.path().join("3-4"));
        directory.write_names(&Model::default()).expect("written");

        directory.remove().expect("removed");
        directory.remove().expect("removed again");
    }
}
