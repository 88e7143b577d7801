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
    /// See [`Service::algorithm`].
    pub algorithm: u8,
    /// Always zero.
    pub _reserved: [u8; 7],
}

impl Service {
    /// The algorithm, or nothing if the byte is none that we write.
    pub const fn algorithm(&self) -> Option<Algorithm> {
        match self.algorithm {
            0 => Some(Algorithm::WeightedRoundRobin),
            1 => Some(Algorithm::Random),
            _ => None,
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
