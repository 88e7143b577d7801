//! What joins a frontend to its backends: the algorithm and two levels of weighted schedules.
//!
//! *frontend → groups* by the weights of a route's `backendRefs`, *group → backends* by the weights of the
//! Pods. Each level is a schedule: a run of [`Slot`]s in one flat array, in which every member stands as
//! often as its weight says, evenly spread. A cursor walks it, one step a connection.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A run of slots in `SLOTS`. Eight bytes, written and read as one, so a schedule is replaced at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct SlotRange {
    /// Index of the first slot.
    pub offset: u32,
    /// Number of slots; 0 means that there is nobody to choose.
    pub length: u32,
}

impl SlotRange {
    /// No slots at all.
    pub const EMPTY: Self = Self { offset: 0, length: 0 };
}

/// What `SERVICES` holds for a frontend id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Service {
    /// The schedule over groups.
    pub groups: SlotRange,
    /// How long a client keeps its backend after its last new connection: see [`Service::has_affinity`].
    pub affinity_timeout_sec: u32,
    /// See [`Service::algorithm`].
    pub algorithm: u8,
    /// See [`Service::is_restricted`].
    pub restricted: u8,
    /// See [`Service::mode`].
    pub mode: u8,
    /// Always zero.
    pub _reserved: u8,
}

impl Service {
    /// What a free id has: nobody to choose.
    pub const EMPTY: Self = Self {
        groups: SlotRange::EMPTY,
        affinity_timeout_sec: 0,
        algorithm: Algorithm::WeightedRoundRobin as u8,
        restricted: 0,
        mode: Mode::SourceNat as u8,
        _reserved: 0,
    };

    /// Whether a client's new connections go where its last one went.
    #[inline(always)]
    pub const fn has_affinity(&self) -> bool {
        self.affinity_timeout_sec != 0
    }

    /// The time that a client without new connections is remembered; 0 without affinity.
    #[inline(always)]
    pub const fn affinity_timeout_ns(&self) -> u64 {
        self.affinity_timeout_sec as u64 * 1_000_000_000
    }

    /// Whether only clients in the frontend's ranges of `SOURCES` may begin a flow.
    #[inline(always)]
    pub const fn is_restricted(&self) -> bool {
        self.restricted != 0
    }

    /// How Pods of other nodes are reached, or nothing if the byte is none that we write.
    #[inline(always)]
    pub const fn mode(&self) -> Option<Mode> {
        match self.mode {
            0 => Some(Mode::SourceNat),
            _ => None,
        }
    }

    /// The algorithm, or nothing if the byte is none that we write.
    pub const fn algorithm(&self) -> Option<Algorithm> {
        match self.algorithm {
            0 => Some(Algorithm::WeightedRoundRobin),
            1 => Some(Algorithm::Random),
            _ => None,
        }
    }
}

/// How Pods of other nodes are reached and how their replies come back. Pods of this node are not asked: they see the
/// client's address in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// They see an address of this node, with a port of the agent's own range, and reply by way of this node.
    #[default]
    SourceNat = 0,
}

impl Mode {
    /// The name manifests and flags use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SourceNat => "SourceNat",
        }
    }
}

/// How a backend is selected for a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// Smooth and exact: a cursor walks the schedules.
    #[default]
    WeightedRoundRobin = 0,
    /// A random slot of each schedule, so each member with the probability of its weight.
    Random = 1,
}

impl Algorithm {
    /// The name manifests use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WeightedRoundRobin => "WeightedRoundRobin",
            Self::Random => "Random",
        }
    }
}

/// What `GROUPS` holds for a group id: the backends behind one `backendRef`.
///
/// An empty group keeps its share of the connections and refuses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Group {
    /// The schedule over backends.
    pub backends: SlotRange,
    /// Fingerprint of the `backendRef` it stands for, by which a restarted agent knows it again; 0 if free.
    pub reference: u64,
    /// Id of the frontend whose service it belongs to.
    pub frontend: u32,
    /// Always zero.
    pub _reserved: u32,
}

/// One step of a schedule, in `SLOTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Slot {
    /// A group id in a service's schedule, a backend id in a group's.
    pub member: u32,
}

/// Where a schedule stands. Only the datapath writes it, so an update of the schedule does not reset it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cursor {
    /// Connections that took a step so far; the slot is this modulo the schedule's length.
    pub steps: u64,
}
