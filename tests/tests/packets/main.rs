//! Packets through the real programs: packet in, verdict and packet out, by `BPF_PROG_TEST_RUN`.
//!
//! Every test loads the object anew, with maps of its own, so they run side by side. What comes out is compared byte by
//! byte with a packet that is built for the changed tuple, and every checksum is checked. Most tests run for both IP
//! versions and both protocols.

mod clients;
mod collect;
mod count;
mod elsewhere;
mod flows;
mod forward;
mod icmp;
mod pass;
mod place;
mod refuse;
mod relay;
mod segment;
mod select;
mod steered;
