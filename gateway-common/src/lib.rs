//! The contract between the agent and the datapath: what lies in the maps, and how it is laid out.
//!
//! A map type is fixed-size, `repr(C)`, free of padding and valid for any bytes; `zerocopy`'s derives
//! hold it to that at compile time. Addresses and ports are in network byte order inside and in host
//! order behind their accessors. Everything else is in the host's byte order.
//!
//! No logic lives here that one side alone needs.

#![no_std]

mod address;
mod backend;
mod client;
mod conntrack;
mod counters;
mod drop_reason;
mod filter;
mod flow;
mod frontend;
pub mod maps;
mod service;
mod settings;
mod socket;

pub use address::{Address, Port, Protocol};
pub use backend::{Backend, Place};
pub use client::{Admitted, Affinity, Client, SourceRange};
pub use conntrack::{ConntrackEntry, Direction, FlowPath, FlowState};
pub use counters::{Connections, Counter, Event, Traffic};
pub use drop_reason::DropReason;
pub use filter::FilterWord;
pub use flow::Flow;
pub use frontend::{Frontend, FrontendKey, Vip};
pub use service::{Algorithm, Cursor, Group, Mode, Service, Slot, SlotRange};
pub use settings::{FIRST_SOURCE_PORT, LAST_SOURCE_PORT, Settings};
pub use socket::{SocketEntry, SocketKey};
