//! All maps: what they are for, how large they are, who writes and who reads them.
//!
//! | name | type | key → value | written by | read by | when full |
//! |---|---|---|---|---|---|
//! | `VIP_FILTER` | array | word → [`FilterWord`](crate::FilterWord) | agent | datapath, first | cannot be |
//! | `BACKEND_FILTER` | array | word → [`FilterWord`](crate::FilterWord) | agent | datapath, first | cannot be |
//! | `VIPS` | hash | [`Address`](crate::Address) → [`Vip`](crate::Vip) | agent | datapath, guard | the frontend is not programmed, its error says so |
//! | `FRONTENDS` | hash | [`FrontendKey`](crate::FrontendKey) → [`Frontend`](crate::Frontend) | agent | datapath, for a new flow; guard | the same |
//! | `LISTENERS` | socket map | [`Listener`] → listening socket of TCP | agent; the kernel takes out one that is closed | guard | cannot be |
//! | `SERVICES` | array | frontend id → [`Service`](crate::Service) | agent | datapath, for a new flow | ids run out: the same |
//! | `GROUPS` | array | group id → [`Group`](crate::Group) | agent | datapath, for a new flow | ids run out: the same |
//! | `SLOTS` | array | slot → [`Slot`](crate::Slot) | agent | datapath, for a new flow | schedules are made coarser, status says so |
//! | `SERVICE_CURSORS` | array | frontend id → [`Cursor`](crate::Cursor) | datapath | datapath | cannot be |
//! | `GROUP_CURSORS` | array | group id → [`Cursor`](crate::Cursor) | datapath | datapath | cannot be |
//! | `BACKENDS` | array | backend id → [`Backend`](crate::Backend) | agent | datapath, every packet (generation) | ids run out: the backend gets no slots, its error says so |
//! | `AFFINITY` | LRU hash | [`Client`](crate::Client) → [`Affinity`](crate::Affinity) | datapath, socket programs; the agent deletes | the same, for a new flow of a service with affinity | the client that was not heard of for longest is forgotten |
//! | `SOURCES` | LPM trie | [`SourceRange`](crate::SourceRange) → [`Admitted`](crate::Admitted) | agent | datapath, for a new flow of a restricted service | the frontend lets nobody in, status says so |
//! | `CONNTRACK` | hash | [`Flow`](crate::Flow) → [`ConntrackEntry`](crate::ConntrackEntry) | datapath | datapath, every packet | new flows are refused as `conntrack_full` |
//! | `SOCKETS` | LRU hash | [`SocketKey`](crate::SocketKey) → [`SocketEntry`](crate::SocketEntry) | socket programs | socket programs | of the socket that was not looked at for longest, the backend's address is seen in place of the VIP |
//! | `FRONTEND_CONNS` | array | frontend id → [`Connections`](crate::Connections) | datapath | agent, CLI | cannot be |
//! | `BACKEND_CONNS` | array | backend id → [`Connections`](crate::Connections) | datapath | agent, CLI | cannot be |
//! | `FRONTEND_BYTES` | per-CPU array | frontend id → [`Traffic`](crate::Traffic) | datapath | agent, CLI | cannot be |
//! | `BACKEND_BYTES` | per-CPU array | backend id → [`Traffic`](crate::Traffic) | datapath | agent, CLI | cannot be |
//! | `DROPS` | per-CPU array | [`DropReason`](crate::DropReason) → [`Counter`](crate::Counter) | datapath | agent, CLI | cannot be |
//! | `EVENTS` | per-CPU array | [`Event`](crate::Event) → [`Counter`](crate::Counter) | datapath | agent, CLI | cannot be |
//! | `SETTINGS` | array | 0 → [`Settings`](crate::Settings) | agent | datapath, for a new flow to a Pod elsewhere and for ARP and NDP; socket programs; collector | cannot be |
//! | `CANDIDATES` | array | index → [`Flow`](crate::Flow) | agent | collector | the next round takes the rest |
//! | `CANDIDATE_NEXT` | array | 0 → [`Cursor`](crate::Cursor) | agent, collector | collector | cannot be |
//!
//! The sizes below are defaults; the agent's flags change those of flows, frontends and backends when the maps
//! are created. Pinned maps keep the size they were created with.

/// The maps lie in `<bpffs>/v<LAYOUT_VERSION>/<NAME>`. It counts up whenever a map's type, key or value changes.
pub const LAYOUT_VERSION: u32 = 4;

/// Flows that can be tracked at once; each takes two entries of `CONNTRACK`, 104 bytes each before the kernel's own.
pub const DEFAULT_MAX_FLOWS: u32 = 262_144;
/// Frontends that can be programmed.
pub const DEFAULT_MAX_FRONTENDS: u32 = 16_384;
/// Backends that can be programmed.
pub const DEFAULT_MAX_BACKENDS: u32 = 65_536;
/// Clients whose backend is remembered.
pub const MAX_AFFINITIES: u32 = 65_536;
/// Peers of sockets that are remembered: one of a connected socket, two of one that sends datagrams to a VIP.
pub const MAX_SOCKETS: u32 = 65_536;
/// Ranges of clients that can be programmed, of all frontends together.
pub const DEFAULT_MAX_SOURCES: u32 = 16_384;
/// Groups for each frontend that there is room for, on average.
pub const GROUPS_PER_FRONTEND: u32 = 2;
/// Slots for each backend that there is room for, on average.
pub const SLOTS_PER_BACKEND: u32 = 16;
/// Slots of one schedule; weights that would need more are quantised to this many.
pub const MAX_SCHEDULE_SLOTS: u32 = 4096;
/// Flows that one run of the collector looks at.
pub const MAX_CANDIDATES: u32 = 1024;

macro_rules! map_names {
    ($($name:ident)+) => {
        $(
            #[doc = concat!("The name of the map `", stringify!($name), "`.")]
            pub const $name: &str = stringify!($name);
            // The kernel keeps fifteen bytes of a map's name and the loader truncates silently.
            const _: () = assert!($name.len() <= 15);
        )+
        /// The names of all maps.
        pub const ALL: &[&str] = &[$($name),+];
    };
}

map_names! {
    VIP_FILTER BACKEND_FILTER VIPS FRONTENDS LISTENERS SERVICES GROUPS SLOTS SERVICE_CURSORS GROUP_CURSORS BACKENDS
    AFFINITY SOURCES CONNTRACK SOCKETS FRONTEND_CONNS BACKEND_CONNS FRONTEND_BYTES BACKEND_BYTES DROPS EVENTS SETTINGS
    CANDIDATES CANDIDATE_NEXT
}

/// The keys of `LISTENERS`: one socket for each family takes the connections of all steered frontends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Listener {
    /// The socket for IPv4.
    V4 = 0,
    /// The socket for IPv6.
    V6 = 1,
}

impl Listener {
    /// Both, in the order of their keys.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];
}

/// What the maps have room for. Fixed when they are created; the sizes of all maps follow from these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    /// Flows that can be tracked at once.
    pub flows: u32,
    /// Frontends that can be programmed; also the number of VIPs.
    pub frontends: u32,
    /// Backends that can be programmed.
    pub backends: u32,
    /// Ranges of clients that can be programmed, of all frontends together.
    pub sources: u32,
}

impl Default for Capacities {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Capacities {
    /// What the maps have room for unless somebody asks for something else.
    pub const DEFAULT: Self = Self {
        flows: DEFAULT_MAX_FLOWS,
        frontends: DEFAULT_MAX_FRONTENDS,
        backends: DEFAULT_MAX_BACKENDS,
        sources: DEFAULT_MAX_SOURCES,
    };

    /// Entries of `CONNTRACK`: two for each flow.
    pub const fn conntrack_entries(&self) -> u32 {
        self.flows.saturating_mul(2)
    }

    /// Entries of `GROUPS`.
    pub const fn groups(&self) -> u32 {
        self.frontends.saturating_mul(GROUPS_PER_FRONTEND)
    }

    /// Entries of `SLOTS`.
    pub const fn slots(&self) -> u32 {
        self.backends.saturating_mul(SLOTS_PER_BACKEND)
    }

    /// The size of a map where these numbers decide it; the others are as the object says.
    pub fn max_entries(&self, map: &str) -> Option<u32> {
        match map {
            VIPS | FRONTENDS | SERVICES | SERVICE_CURSORS | FRONTEND_CONNS | FRONTEND_BYTES => Some(self.frontends),
            GROUPS | GROUP_CURSORS => Some(self.groups()),
            SLOTS => Some(self.slots()),
            BACKENDS | BACKEND_CONNS | BACKEND_BYTES => Some(self.backends),
            CONNTRACK => Some(self.conntrack_entries()),
            SOURCES => Some(self.sources),
            _ => None,
        }
    }
}

/// The names of all programs in the object, as the agent loads them.
pub mod programs {
    /// TCX ingress of a device with Ethernet headers.
    pub const INGRESS_ETHERNET: &str = "ingress_ether";
    /// TCX egress of a device with Ethernet headers.
    pub const EGRESS_ETHERNET: &str = "egress_ether";
    /// TCX ingress of a device whose packets begin with the IP header (tun, WireGuard).
    pub const INGRESS_IP: &str = "ingress_ip";
    /// TCX egress of a device whose packets begin with the IP header.
    pub const EGRESS_IP: &str = "egress_ip";
    /// `sk_lookup`: the VIP's guard.
    pub const GUARD: &str = "guard";
    /// Check-and-delete of one idle flow a run, started by the agent.
    pub const COLLECT: &str = "collect";
    /// A socket of IPv4 connects.
    pub const CONNECT4: &str = "connect4";
    /// A socket of IPv6 connects, maybe to an IPv4 address in its mapped form.
    pub const CONNECT6: &str = "connect6";
    /// A socket sends a datagram to an IPv4 address that it names.
    pub const SENDMSG4: &str = "sendmsg4";
    /// A socket sends a datagram to an IPv6 address that it names.
    pub const SENDMSG6: &str = "sendmsg6";
    /// As `connect4`, for sockets of the node's own network namespace alone.
    pub const HOST_CONNECT4: &str = "host_connect4";
    /// As `connect6`, for sockets of the node's own network namespace alone.
    pub const HOST_CONNECT6: &str = "host_connect6";
    /// As `sendmsg4`, for sockets of the node's own network namespace alone.
    pub const HOST_SENDMSG4: &str = "host_sendmsg4";
    /// As `sendmsg6`, for sockets of the node's own network namespace alone.
    pub const HOST_SENDMSG6: &str = "host_sendmsg6";
    /// A socket of IPv4 is told who sent a datagram.
    pub const RECVMSG4: &str = "recvmsg4";
    /// A socket of IPv6 is told who sent a datagram.
    pub const RECVMSG6: &str = "recvmsg6";
    /// A socket of IPv4 is told whom it is connected to.
    pub const GETPEERNAME4: &str = "getpeername4";
    /// A socket of IPv6 is told whom it is connected to.
    pub const GETPEERNAME6: &str = "getpeername6";
    /// A socket is about to send a packet: refused if it is a datagram to a backend that is gone.
    pub const STALE_DATAGRAM: &str = "stale_datagram";
}
