//! Packets through the real programs: packet in, verdict and packet out.
//!
//! Every test loads an object of its own, with maps of its own, so they run side by side.

mod forward;
