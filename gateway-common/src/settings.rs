//! What the agent tells the datapath beside frontends and backends.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::FlowState;

/// Default for [`Settings::first_source_port`]: above the ports of well-known services.
pub const FIRST_SOURCE_PORT: u16 = 10_000;
/// Default for [`Settings::last_source_port`]: below the default range of `NodePorts`.
pub const LAST_SOURCE_PORT: u16 = 29_999;

/// What the agent's flags say to the datapath: the one value of `SETTINGS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settings {
    /// How long an idle flow is kept after the first SYN, in nanoseconds.
    pub syn_timeout_ns: u64,
    /// Established TCP, in nanoseconds.
    pub established_timeout_ns: u64,
    /// After FIN from both or RST, in nanoseconds.
    pub closing_timeout_ns: u64,
    /// UDP, in nanoseconds.
    pub udp_timeout_ns: u64,
    /// Until when this node answers for its VIPs on their segments, in nanoseconds of the coarse monotonic clock. An
    /// agent that shares them with others moves it on while it lives, so that no node answers without one for long.
    pub answers_until_ns: u64,
    /// The first port that connections to Pods elsewhere may bear as their source, in host byte order.
    pub first_source_port: u32,
    /// The last one, in host byte order; not less than the first.
    pub last_source_port: u32,
    /// The kernel's number for the node's network namespace, whose sockets are this node's wherever their processes are.
    pub namespace: u64,
}

impl Settings {
    /// How long an idle entry in this state is kept, in nanoseconds; a byte that we never write has no time left.
    #[inline(always)]
    pub const fn timeout_ns(&self, state: u8) -> u64 {
        match FlowState::from_u8(state) {
            Some(FlowState::Syn) => self.syn_timeout_ns,
            Some(FlowState::Established) => self.established_timeout_ns,
            Some(FlowState::Closing) => self.closing_timeout_ns,
            Some(FlowState::Datagrams) => self.udp_timeout_ns,
            None => 0,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        const SECOND: u64 = 1_000_000_000;
        Self {
            syn_timeout_ns: 20 * SECOND,
            established_timeout_ns: 8000 * SECOND,
            closing_timeout_ns: 30 * SECOND,
            udp_timeout_ns: 60 * SECOND,
            answers_until_ns: u64::MAX,
            first_source_port: u32::from(FIRST_SOURCE_PORT),
            last_source_port: u32::from(LAST_SOURCE_PORT),
            namespace: 0,
        }
    }
}
