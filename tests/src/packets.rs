//! Packets through the real programs: what goes in is built here, and what comes out is compared with what is built
//! here for the changed tuple.
//!
//! The datapath's object is loaded into this process with maps of its own that nobody else sees; packets are run by
//! `BPF_PROG_TEST_RUN`, so no device is involved. Needs root.

mod checksum;
mod datapath;
mod packet;
mod program;
mod service;

pub use checksum::verify;
pub use datapath::{Datapath, Layout, Link, SMALL};
pub use packet::{Extension, Packet, flags};
pub use program::{DROP, Floor, Outcome, PASS, Program, REDIRECT};
pub use service::{Group, Service};
