//! The flags of `beeline run`, validated into one [`Config`]: after this no other part reads a flag.

mod client_interfaces;
mod source_ports;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgAction;
use gateway_common::{Mode, Settings, maps};
use ipnet::IpNet;

use crate::dataplane::Capacities;
use crate::http::{self, LogTarget};
use crate::source::validate::{parse_cidr, parse_mode};
use crate::translate::Options;

pub use client_interfaces::DevicePattern;
pub use source_ports::SourcePorts;

/// Map sizes beyond this are a slip of the finger: the kernel would be asked for tens of gigabytes.
const MOST_FLOWS: i64 = 64 * 1024 * 1024;
const MOST_FRONTENDS: i64 = 1024 * 1024;
const MOST_BACKENDS: i64 = 1024 * 1024;

/// The flags as they are given.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Folder of manifests to serve, watched, sub-folders included [default: serve the Kubernetes cluster]
    #[arg(long, value_name = "DIR", env = "BEELINE_MANIFESTS")]
    pub manifests: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "the text of a flattened field would stand in the help")]
    pub cluster: ClusterFlags,

    #[command(flatten)]
    #[expect(missing_docs, reason = "the text of a flattened field would stand in the help")]
    pub instance: InstanceFlag,

    /// Device that clients come by; repeatable [default: the devices of the default routes]
    #[arg(long = "interface", value_name = "NAME")]
    pub interfaces: Vec<String>,

    /// Device that clients inside are behind which no cgroup has, such as virtual machines; repeatable, a trailing * stands
    /// for any ending, none for no device. A bridge's port brings its bridge along
    #[arg(long = "client-interface", value_name = "NAME", env = "BEELINE_CLIENT_INTERFACES", value_delimiter = ',',
        default_values = ["tap*", "vnet*"])]
    pub client_interfaces: Vec<DevicePattern>,

    /// Cgroup whose processes reach VIPs by socket, below the root of the unified hierarchy [default: all of the node's:
    /// those where the kubelet of this Pod keeps its Pods, mostly the root, and those of the node's network namespace]
    #[arg(long, value_name = "PATH", env = "BEELINE_CGROUP")]
    pub cgroup: Option<PathBuf>,

    /// Give no backends to sockets: processes of this node then reach no VIP, and Pods only from --client-interface
    #[arg(long, env = "BEELINE_NO_SOCKET_SELECTION", conflicts_with = "cgroup")]
    pub no_socket_selection: bool,

    /// Serve Services without a class that have the annotation service.cloud.tencent.com/direct-access: "true", and Ingresses
    /// of class qcloud with ingress.cloud.tencent.com/direct-access: "true"
    /// [default: true for a folder, false for a cluster]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        action = ArgAction::Set, env = "BEELINE_ADOPT_TENCENT_ANNOTATIONS")]
    pub adopt_tencent_annotations: Option<bool>,

    /// Serve every load balancer Service that has no class
    #[arg(long, env = "BEELINE_DEFAULT_LOAD_BALANCER")]
    pub default_load_balancer: bool,

    /// How Pods of other nodes are reached, unless the annotation beeline.dev/mode of a Service or Gateway says otherwise
    #[arg(long, value_name = "MODE", env = "BEELINE_MODE", default_value = Mode::SourceNat.name(), value_parser = parse_mode)]
    pub mode: Mode,

    /// Ports of this node that connections to Pods of other nodes come from; they are reserved with the kernel
    #[arg(long, value_name = "FIRST-LAST", env = "BEELINE_SOURCE_PORTS", default_value_t)]
    pub source_ports: SourcePorts,

    /// Proxies in front of this node, which say whom they speak for: X-Forwarded-* and Forwarded of their requests are kept and
    /// added to, and the client is taken from there; those of all others are replaced. Repeatable
    #[arg(long, value_name = "CIDR", env = "BEELINE_TRUSTED_PROXIES", value_delimiter = ',', value_parser = parse_cidr)]
    pub trusted_proxies: Vec<IpNet>,

    /// Most connections of clients that the HTTP layer has open at a time; further ones are ended at once
    #[arg(long, value_name = "N", env = "BEELINE_MAX_CONNECTIONS", default_value = "100000")]
    pub max_connections: NonZeroUsize,

    /// Most of them from one client's address, which trusted proxies may exceed [default: no limit of its own]
    #[arg(long, value_name = "N", env = "BEELINE_MAX_CONNECTIONS_PER_CLIENT")]
    pub max_connections_per_client: Option<NonZeroUsize>,

    /// File that gets a line of JSON for each request, - for standard output; opened anew when it was rotated
    /// [default: requests are not logged]
    #[arg(long, value_name = "FILE", env = "BEELINE_ACCESS_LOG", value_parser = LogTarget::parse)]
    pub access_log: Option<LogTarget>,

    /// Flows that can be tracked at once
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = maps::DEFAULT_MAX_FLOWS,
        value_parser = clap::value_parser!(u32).range(1..=MOST_FLOWS))]
    pub max_flows: u32,

    /// Frontends that can be programmed
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = maps::DEFAULT_MAX_FRONTENDS,
        value_parser = clap::value_parser!(u32).range(1..=MOST_FRONTENDS))]
    pub max_frontends: u32,

    /// Backends that can be programmed
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = maps::DEFAULT_MAX_BACKENDS,
        value_parser = clap::value_parser!(u32).range(1..=MOST_BACKENDS))]
    pub max_backends: u32,

    /// Idle time after which a flow is forgotten that never got beyond its SYN
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub syn_timeout: Duration,

    /// Idle time after which an established TCP flow is forgotten
    #[arg(long, value_name = "TIME", default_value = "8000s", value_parser = duration)]
    pub established_timeout: Duration,

    /// Idle time after which a TCP flow is forgotten that was closed or reset
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub closing_timeout: Duration,

    /// Idle time after which a UDP flow is forgotten
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub udp_timeout: Duration,
}

/// The flags that concern a cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterFlags {
    /// Kubeconfig of the cluster to serve [default: the cluster this runs in]
    #[arg(long, value_name = "FILE", env = "BEELINE_KUBECONFIG", conflicts_with = "manifests")]
    pub kubeconfig: Option<PathBuf>,

    /// This node's name, which tells its Pods from those of others [default: the host's name in a cluster; in a folder
    /// without it there is one node]
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub node_name: Option<String>,

    /// Namespace of the agents' Leases and of the linked clusters' Secrets
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "beeline-system")]
    pub namespace: String,

    /// Let Services and Gateways of the cluster have any address they ask for, of a pool or not: whoever may create
    /// one can then take any address away from the network
    #[arg(long, env = "BEELINE_UNPOOLED_ADDRESSES")]
    pub unpooled_addresses: bool,

    /// Longest time that a Pod's readiness gate waits for agents that lag behind
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
    pub gate_timeout: Duration,
}

/// The flag by which `beeline probe` finds its agent.
#[derive(Clone, Debug, clap::Args)]
pub struct InstanceFlag {
    /// What this agent is called among those of the same network namespace: its Pod's name
    #[arg(long, value_name = "NAME", env = "BEELINE_INSTANCE", default_value = "", hide_default_value = true)]
    pub instance: String,
}

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectsFrom {
    /// A folder of manifests.
    Folder(Folder),
    /// The API server of a cluster.
    Cluster(Cluster),
}

/// A folder, and this node's place among those that it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its path.
    pub path: PathBuf,
    /// This node's name; without one, there is no other node.
    pub node: Option<String>,
}

/// A cluster, and this node's place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The kubeconfig; without one, the cluster this runs in.
    pub kubeconfig: Option<PathBuf>,
    /// This node's name.
    pub node: String,
    /// The namespace of Leases and Secrets.
    pub namespace: String,
    /// Whether everybody may have any address.
    pub unpooled_addresses: bool,
    /// How long a readiness gate waits at most.
    pub gate_timeout: Duration,
}

/// Whose sockets are given a backend when they reach for a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketsOf {
    /// Nobody's.
    Nobody,
    /// Those of the node's processes and Pods: of every process, unless several nodes share the machine.
    Node,
    /// Those of the processes in this cgroup.
    Cgroup(PathBuf),
}

/// What the agent runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory of pinned maps and links.
    pub bpffs: PathBuf,
    /// What this agent is called; empty if it has no name.
    pub instance: String,
    /// Where objects come from.
    pub objects: ObjectsFrom,
    /// The uplinks that were named; none means: find them.
    pub interfaces: Vec<String>,
    /// The devices that clients inside are behind.
    pub client_interfaces: Vec<DevicePattern>,
    /// Whose sockets are given backends.
    pub sockets: SocketsOf,
    /// Whether the seeds' direct-access annotation makes a Service ours.
    pub adopt_tencent_annotations: bool,
    /// Whether every Service of type `LoadBalancer` without a class is ours.
    pub default_load_balancer: bool,
    /// How Pods of other nodes are reached, where no object says.
    pub mode: Mode,
    /// The ports that connections to them come from.
    pub source_ports: SourcePorts,
    /// The proxies whose word about clients counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections that the HTTP layer has open at most.
    pub max_connections: NonZeroUsize,
    /// The same of one client.
    pub max_connections_per_client: Option<NonZeroUsize>,
    /// Where requests are logged, if they are.
    pub access_log: Option<LogTarget>,
    /// The sizes of the maps, if they do not exist yet.
    pub capacities: Capacities,
    /// The timeouts.
    pub timeouts: Timeouts,
}

/// Idle time after which a flow may be collected, by its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, after the first SYN.
    pub syn: Duration,
    /// TCP, established.
    pub established: Duration,
    /// TCP, after FIN from both or RST.
    pub closing: Duration,
    /// UDP.
    pub udp: Duration,
}

/// Why flags are refused that were each well-formed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// There is nothing to read.
    #[error("--manifests {0}: there is no such folder")]
    NoFolder(PathBuf),
    /// There is something else.
    #[error("--manifests {0}: this is no folder; name the folder the file lies in")]
    NotAFolder(PathBuf),
    /// Nobody said which node this is.
    #[error("this node's name is not known: give it with --node-name")]
    NoNodeName,
    /// A state that lasts longer would be forgotten before one that lasts shorter.
    #[error(
        "--syn-timeout {syn:?} is longer than --established-timeout {established:?}: a flow that was never \
             answered must not be kept longer than one that was"
    )]
    TimeoutsReversed {
        /// The SYN timeout.
        syn: Duration,
        /// The established timeout.
        established: Duration,
    },
}

impl Config {
    /// Validates what the flags say together.
    pub fn new(flags: Flags, bpffs: &Path) -> Result<Self, ConfigError> {
        let objects = match flags.manifests {
            Some(folder) => ObjectsFrom::Folder(Folder {
                path: existing(folder)?,
                node: flags.cluster.node_name.filter(|name| !name.is_empty()),
            }),
            None => ObjectsFrom::Cluster(flags.cluster.try_into()?),
        };
        if flags.syn_timeout > flags.established_timeout {
            return Err(ConfigError::TimeoutsReversed {
                syn: flags.syn_timeout,
                established: flags.established_timeout,
            });
        }
        Ok(Self {
            bpffs: bpffs.to_owned(),
            instance: flags.instance.instance,
            adopt_tencent_annotations: flags
                .adopt_tencent_annotations
                .unwrap_or(matches!(objects, ObjectsFrom::Folder(_))),
            default_load_balancer: flags.default_load_balancer,
            mode: flags.mode,
            source_ports: flags.source_ports,
            trusted_proxies: flags.trusted_proxies,
            max_connections: flags.max_connections,
            max_connections_per_client: flags.max_connections_per_client,
            access_log: flags.access_log,
            objects,
            interfaces: flags.interfaces,
            client_interfaces: flags.client_interfaces,
            sockets: match flags.cgroup {
                _ if flags.no_socket_selection => SocketsOf::Nobody,
                Some(path) => SocketsOf::Cgroup(path),
                None => SocketsOf::Node,
            },
            capacities: Capacities {
                flows: flags.max_flows,
                frontends: flags.max_frontends,
                backends: flags.max_backends,
                ..Capacities::DEFAULT
            },
            timeouts: Timeouts {
                syn: flags.syn_timeout,
                established: flags.established_timeout,
                closing: flags.closing_timeout,
                udp: flags.udp_timeout,
            },
        })
    }
}

impl fmt::Display for ObjectsFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(Folder { path, node }) => {
                write!(f, "{}", path.canonicalize().unwrap_or_else(|_| path.clone()).display())?;
                node.as_ref().map_or(Ok(()), |node| write!(f, ", as node {node}"))
            }
            Self::Cluster(cluster) => write!(f, "the cluster, as node {}", cluster.node),
        }
    }
}

impl TryFrom<ClusterFlags> for Cluster {
    type Error = ConfigError;

    fn try_from(flags: ClusterFlags) -> Result<Self, ConfigError> {
        let ClusterFlags { kubeconfig, node_name, namespace, unpooled_addresses, gate_timeout } = flags;
        // A kubelet names its node after the host, in lower case.
        let of_host = || {
            let host = nix::sys::utsname::uname().ok()?;
            host.nodename().to_str().map(str::to_lowercase)
        };
        let node = node_name.or_else(of_host).filter(|name| !name.is_empty()).ok_or(ConfigError::NoNodeName)?;
        Ok(Self { kubeconfig, node, namespace, unpooled_addresses, gate_timeout })
    }
}

fn existing(folder: PathBuf) -> Result<PathBuf, ConfigError> {
    match std::fs::metadata(&folder) {
        Err(_) => Err(ConfigError::NoFolder(folder)),
        Ok(metadata) if !metadata.is_dir() => Err(ConfigError::NotAFolder(folder)),
        Ok(_) => Ok(folder),
    }
}

impl Config {
    /// This node's name in its cluster; nothing if it is alone.
    pub fn node(&self) -> Option<&str> {
        match &self.objects {
            ObjectsFrom::Folder(_) => None,
            ObjectsFrom::Cluster(cluster) => Some(&cluster.node),
        }
    }

    /// What of it concerns the meaning of objects.
    pub fn options(&self) -> Options {
        Options {
            adopt_tencent_annotations: self.adopt_tencent_annotations,
            default_load_balancer: self.default_load_balancer,
            node: match &self.objects {
                ObjectsFrom::Folder(folder) => folder.node.as_deref().map(Into::into),
                ObjectsFrom::Cluster(cluster) => Some(cluster.node.as_str().into()),
            },
            mode: self.mode,
            many_authors: match &self.objects {
                ObjectsFrom::Folder(_) => false,
                ObjectsFrom::Cluster(cluster) => !cluster.unpooled_addresses,
            },
        }
    }
}

impl Config {
    /// What of it the HTTP layer is told.
    pub fn http(&self) -> http::Options {
        http::Options {
            trusted_proxies: self.trusted_proxies.clone(),
            max_connections: self.max_connections.get(),
            max_connections_per_client: self.max_connections_per_client.map(NonZeroUsize::get),
            ..http::Options::default()
        }
    }

    /// What of it the datapath is told, in the form of the map.
    pub fn settings(&self) -> Settings {
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let Timeouts { syn, established, closing, udp } = self.timeouts;
        Settings {
            syn_timeout_ns: nanoseconds(syn),
            established_timeout_ns: nanoseconds(established),
            closing_timeout_ns: nanoseconds(closing),
            udp_timeout_ns: nanoseconds(udp),
            first_source_port: self.source_ports.first.into(),
            last_source_port: self.source_ports.last.into(),
            ..Settings::default()
        }
    }
}

impl Timeouts {
    /// The shortest of them: how soon an idle flow may have to be collected.
    pub fn shortest(&self) -> Duration {
        self.syn.min(self.established).min(self.closing).min(self.udp)
    }
}

/// A time as people write it: `20s`, `1h30m`, `500ms`. A number alone is refused: its unit would be a guess.
fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is no time: write 500ms, 20s, 5m or 1h30m");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let number: u32 = number.parse().map_err(|_| refused())?;
        let unit = match unit {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            _ => return Err(refused()),
        };
        total = total.checked_add(unit.checked_mul(number).ok_or_else(refused)?).ok_or_else(refused)?;
        rest = tail;
    }
    if total.is_zero() { Err(format!("`{text}` is no time to wait: give at least 1ms")) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    fn flags(arguments: &[&str]) -> Result<Flags, clap::Error> {
        let command = Flags::augment_args(clap::Command::new("run").no_binary_name(true));
        Flags::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn a_time_without_unit_or_without_length_is_refused() {
        for text in ["20", "s", "-1s", "0s", "", "20 s", "1d", "99999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("a path");

        let config = Config::new(flags(&["--manifests", path]).expect("flags"), Path::new("/b")).expect("a config");

        assert_eq!(config.settings(), Settings::default());
        assert_eq!(config.capacities.flows, maps::DEFAULT_MAX_FLOWS);
        assert!(config.adopt_tencent_annotations);
        assert_eq!(config.client_interfaces.iter().map(ToString::to_string).collect::<Vec<_>>(), ["tap*", "vnet*"]);
    }

    #[test]
    fn devices_of_clients_that_are_named_take_the_place_of_the_usual_ones() {
        let flags = flags(&["--manifests", "/", "--client-interface", "veth*,eth7", "--client-interface=none"]);

        let named = flags.expect("flags").client_interfaces.iter().map(ToString::to_string).collect::<Vec<_>>();

        assert_eq!(named, ["veth*", "eth7", "none"]);
    }

    #[test]
    fn the_annotation_can_be_left_alone() {
        let flags = flags(&["--manifests", "/", "--adopt-tencent-annotations=false"]).expect("flags");

        assert_eq!(flags.adopt_tencent_annotations, Some(false));
    }

    #[test]
    fn without_a_folder_the_cluster_is_served_and_annotations_are_left_alone() {
        let flags = flags(&["--node-name", "n1"]).expect("flags");

        let config = Config::new(flags, Path::new("/b")).expect("a config");

        let ObjectsFrom::Cluster(cluster) = config.objects else { panic!("a cluster: {:?}", config.objects) };
        assert_eq!((&*cluster.node, &*cluster.namespace), ("n1", "beeline-system"));
        assert!(!config.adopt_tencent_annotations);
    }

    #[test]
    fn a_folder_knows_other_nodes_only_if_this_one_has_a_name() {
        let node = |arguments: &[&str]| {
            let flags = flags(&[&["--manifests", "/"], arguments].concat()).expect("flags");
            Config::new(flags, Path::new("/b")).expect("a config").options().node
        };

        assert_eq!(node(&["--node-name", "n1"]).as_deref(), Some("n1"));
        assert_eq!(node(&["--node-name", ""]), None);
    }

    #[test]
    fn an_unknown_mode_is_refused_by_name() {
        let error = flags(&["--manifests", "/", "--mode", "SourceNAT"]).expect_err("refused").to_string();

        assert!(error.contains("`SourceNAT` is not a mode: did you mean `SourceNat`?"), "{error}");
    }

    #[test]
    fn trusted_proxies_are_ranges_of_both_families() {
        let flags = |list: &str| flags(&["--manifests", "/", "--trusted-proxies", list]);

        let trusted =
            Config::new(flags("10.0.0.0/8,fd00::/8").expect("flags"), Path::new("/b")).expect("a config").http();

        assert_eq!(
            trusted.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.0/8", "fd00::/8"]
        );
        let error = flags("10.0.0.1").expect_err("no range").to_string();
        assert!(error.contains("`10.0.0.1` is not a CIDR: use something like 192.0.2.0/24"), "{error}");
    }

    #[test]
    fn a_folder_and_a_kubeconfig_exclude_each_other() {
        assert!(flags(&["--manifests", "/", "--kubeconfig", "/k"]).is_err());
    }

    #[test]
    fn a_table_without_room_is_refused() {
        assert!(flags(&["--manifests", "/", "--max-flows", "0"]).is_err());
    }

    #[test]
    fn a_missing_folder_and_a_file_are_refused_by_name() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_str().expect("a path");
        let missing = Config::new(flags(&["--manifests", "/no/such"]).expect("flags"), Path::new("/b"));
        let not_a_folder = Config::new(flags(&["--manifests", path]).expect("flags"), Path::new("/b"));

        assert_eq!(missing.expect_err("missing"), ConfigError::NoFolder("/no/such".into()));
        assert_eq!(not_a_folder.expect_err("a file"), ConfigError::NotAFolder(file.path().to_owned()));
    }
}
