//! What is remembered of a flow, so that a connection keeps its backend for life.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, Flow, Port, Protocol};

/// One direction of a tracked flow: the value of `CONNTRACK`.
///
/// A flow has two entries of this one type. Each holds the complete tuple that a packet of its key bears
/// after rewriting; that tuple, reversed, is the key of the other entry (its *twin*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConntrackEntry {
    /// Source address after rewriting.
    pub source: Address,
    /// Destination address after rewriting.
    pub destination: Address,
    /// Source port after rewriting.
    pub source_port: Port,
    /// Destination port after rewriting.
    pub destination_port: Port,
    /// Id of the backend the flow belongs to: its index in `BACKENDS`.
    pub backend: u32,
    /// When a packet of this direction was last seen: nanoseconds of the monotonic clock, coarse.
    pub last_seen_ns: u64,
    /// The backend's generation when the flow began; another one there now means the backend is gone.
    pub generation: u32,
    /// Id of the frontend the flow came in by, for the counters.
    pub frontend: u32,
    /// See [`ConntrackEntry::state`].
    pub state: u8,
    /// See [`ConntrackEntry::direction`].
    pub direction: u8,
    /// 1 once a FIN was seen in this entry's direction. A byte for each FIN, since each is written by another CPU.
    pub fin_sent: u8,
    /// 1 once a FIN was seen in the twin's direction.
    pub fin_received: u8,
    /// See [`ConntrackEntry::is_redirected`].
    pub path: u8,
    /// Always zero.
    pub _reserved: [u8; 3],
}

impl ConntrackEntry {
    /// The key of the other direction's entry.
    #[inline(always)]
    pub const fn twin(&self, protocol: Protocol) -> Flow {
        Flow {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol,
            _reserved: [0; 3],
        }
    }

    /// Whether `flow`, of the same protocol, is the key of the other direction's entry.
    #[inline(always)]
    pub fn is_twin_of(&self, flow: &Flow) -> bool {
        // One sum of differences: a branch for each word would multiply the paths that the verifier walks.
        self.source.difference(&flow.destination)
            | self.destination.difference(&flow.source)
            | u32::from(self.source_port.get() ^ flow.destination_port.get())
            | u32::from(self.destination_port.get() ^ flow.source_port.get())
            == 0
    }

    /// The flow's state, or nothing if the byte is none that we write.
    pub const fn state(&self) -> Option<FlowState> {
        FlowState::from_u8(self.state)
    }

    /// The entry's direction, or nothing if the byte is none that we write.
    pub const fn direction(&self) -> Option<Direction> {
        match self.direction {
            1 => Some(Direction::Forward),
            2 => Some(Direction::Reverse),
            _ => None,
        }
    }

    /// Whether the datapath sends the flow's packets on by itself, in both directions.
    #[inline(always)]
    pub const fn is_redirected(&self) -> bool {
        self.path == FlowPath::Redirect as u8
    }
}

/// How far a flow has come; it decides how long an idle entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowState {
    /// TCP: only the client's SYN was seen.
    Syn = 1,
    /// TCP: the peers talk to each other.
    Established = 2,
    /// TCP: both have said FIN, or one has said RST.
    Closing = 3,
    /// UDP.
    Datagrams = 4,
}

impl FlowState {
    /// From the byte in the map.
    pub const fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Syn),
            2 => Some(Self::Established),
            3 => Some(Self::Closing),
            4 => Some(Self::Datagrams),
            _ => None,
        }
    }
}

/// Which way an entry's packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// From the client to the VIP.
    Forward = 1,
    /// From the backend to the client.
    Reverse = 2,
}

/// Who takes a flow's packets on, once they are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowPath {
    /// The host routes them: flows to Pods of this node.
    Host = 0,
    /// The datapath sends them from where they came in, both directions: flows that bear a source address of this node,
    /// of which the host's netfilter would see half.
    Redirect = 1,
}
