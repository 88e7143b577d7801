//! What the pipeline asks of the maps. The kernel shell answers with maps, the tests with ordinary collections.

use gateway_common::{
    Address, Affinity, Backend, Client, ConntrackEntry, DropReason, Event, Flow, Frontend, FrontendKey, Group,
    Protocol, Service, Settings, Slot, SourceRange, Vip,
};

use crate::draft::{Draft, Established};
use crate::establish::Tracked;

/// The tables of the datapath, as one packet sees them.
pub trait Tables {
    /// False: the address is surely neither a VIP nor one of this node that Pods elsewhere answer to. True: ask
    /// [`Tables::is_vip`] before dropping anything.
    fn may_be_vip(&self, address: &Address) -> bool;
    /// False: the address is surely no backend's.
    fn may_be_backend(&self, address: &Address) -> bool;
    /// Whether the address exposes nothing but its frontends.
    fn is_vip(&self, address: &Address) -> bool;
    /// Whether it is a VIP that this node does not answer for when somebody asks the segment.
    fn is_unanswered(&self, address: &Address) -> bool;
    /// What is known of a VIP.
    fn vip(&self, address: &Address) -> Option<Vip>;

    /// The frontend that clients reach by this key.
    fn frontend(&self, key: &FrontendKey) -> Option<Frontend>;
    /// Whether it is a frontend whose connections a listener of this host takes.
    fn is_steered(&self, key: &FrontendKey) -> bool;
    /// The service of a frontend id.
    fn service(&self, frontend: u32) -> Option<Service>;
    /// The group of a group id.
    fn group(&self, group: u32) -> Option<Group>;
    /// A slot of the flat array.
    fn slot(&self, index: u32) -> Option<Slot>;
    /// The backend of a backend id, with its generation as of now.
    fn backend(&self, backend: u32) -> Option<&Backend>;
    /// Whether a backend still has this generation: what every packet of a flow asks.
    fn is_current(&self, backend: u32, generation: u32) -> bool;
    /// Takes one step of a service's schedule and says how many were taken before.
    fn step_service(&self, frontend: u32) -> u64;
    /// Takes one step of a group's schedule and says how many were taken before.
    fn step_group(&self, group: u32) -> u64;
    /// A random number, uniform over all 32 bits.
    fn random(&self) -> u32;
    /// Nanoseconds of the monotonic clock, coarse.
    fn now_ns(&self) -> u64;

    /// Whether the frontend has a range that this client, a range of one, is in.
    fn is_admitted(&self, client: &SourceRange) -> bool;
    /// What is remembered of a client. Other CPUs may write it at the same time; every field is valid on its own.
    #[expect(clippy::mut_from_ref, reason = "the maps are shared memory; a packet changes entries in place")]
    fn affinity(&self, client: &Client) -> Option<&mut Affinity>;
    /// Remembers a client, whatever was remembered of it before.
    fn remember(&self, client: &Client, affinity: &Affinity);

    /// The entry of a flow. Other CPUs may write it at the same time; every field is valid on its own.
    #[expect(clippy::mut_from_ref, reason = "the maps are shared memory; a packet changes entries in place")]
    fn conntrack(&self, flow: &Flow) -> Option<&mut ConntrackEntry>;
    /// A place to draft a new flow in: a kernel program's stack is too short for it.
    #[expect(clippy::mut_from_ref, reason = "the place is this CPU's own while the packet is looked at")]
    fn draft(&self) -> Option<&mut Draft>;
    /// The key of the other direction's entry, in a place that the next such question overwrites.
    fn twin_key(&self, entry: &ConntrackEntry, protocol: Protocol) -> Option<&Flow>;
    /// Adds an entry unless the key has one.
    fn track(&self, flow: &Flow, entry: &ConntrackEntry) -> Result<(), TrackError>;
    /// Removes an entry and says whether there was one.
    fn untrack(&self, flow: &Flow) -> bool;

    /// Calls [`crate::establish::establish`]. This and the next two are asked here so that the kernel shell can make each
    /// a function that the verifier checks once and not for every path that leads to it.
    fn establish(&self, flow: &Flow) -> Result<Established, DropReason>;
    /// Calls [`crate::establish::track_draft`].
    fn track_draft(&self, flow: &Flow) -> Tracked;
    /// Calls [`crate::source_port::find_port`].
    fn find_port(&self, flow: &Flow) -> Tracked;
    /// Whether a socket of this host has the connection that a TCP segment belongs to, be it only half open.
    fn has_socket(&self, flow: &Flow) -> bool;
    /// What the agent's flags say.
    fn settings(&self) -> Option<&Settings>;
    /// How many flows a backend was ever given.
    fn connections_begun(&self, backend: u32) -> u64;

    /// Counts a packet of a tracked flow.
    fn count_packet(&self, frontend: u32, backend: u32);
    /// Counts a flow that begins.
    fn count_begin(&self, frontend: u32, backend: u32);
    /// Counts a connection that begins at a steered frontend; nobody here sees it end.
    fn count_steered(&self, frontend: u32);
    /// Counts a flow that ends.
    fn count_end(&self, frontend: u32, backend: u32);
    /// Counts an event.
    fn count_event(&self, event: Event);
}

/// Why an entry was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackError {
    /// The key has an entry already.
    Exists,
    /// The table is full.
    Full,
}
