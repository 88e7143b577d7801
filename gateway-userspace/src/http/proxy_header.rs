//! The PROXY protocol, versions 1 and 2 (haproxy, "proxy-protocol.txt"): who speaks, said before everything else.
//!
//! Whoever passes connections on as bytes says by it whom they are from. It is read only from peers that are trusted, and only
//! where a frontend demands it: a connection is never asked whether it has one. It is written to backends that want it.

mod read;
mod write;

use std::net::SocketAddr;

pub use self::read::{Speaker, read};
pub use self::write::header;

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Both ends of the connection that a header is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// What it has connected to.
    pub destination: SocketAddr,
}

#[cfg(test)]
mod tests;
