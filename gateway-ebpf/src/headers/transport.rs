//! TCP (RFC 9293 section 3.1) and UDP (RFC 768).
//!
//! ```text
//!  0                               2
//! +-------------------------------+-------------------------------+
//! |          source port          |       destination port        |  both
//! +-------------------------------+-------------------------------+
//! |                        sequence number                        |  TCP; UDP: length, checksum
//! +---------------------------------------------------------------+
//! |                     acknowledgement number                    |
//! +-------+-------+---------------+-------------------------------+
//! |offset |       |     flags     |            window             |
//! +-------+-------+---------------+-------------------------------+
//! |           checksum            |        urgent pointer         |
//! +-------------------------------+-------------------------------+
//! ```

use gateway_common::Protocol;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// What TCP and UDP begin with.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct Ports {
    /// Source port.
    pub source: [u8; 2],
    /// Destination port.
    pub destination: [u8; 2],
}

/// As much of a TCP or UDP header as an ICMP error is sure to quote.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct TransportStart {
    /// Source and destination port.
    pub ports: Ports,
    /// TCP's sequence number; UDP's length and checksum.
    pub rest: [u8; 4],
}

/// A TCP header without its options.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct TcpHeader {
    /// Source and destination port.
    pub ports: Ports,
    /// Sequence number.
    pub sequence: [u8; 4],
    /// Acknowledgement number.
    pub acknowledgement: [u8; 4],
    /// Header length in words in the high four bits.
    pub offset: u8,
    /// See [`TcpFlags`].
    pub flags: u8,
    /// Window.
    pub window: [u8; 2],
    /// Checksum over pseudo-header, header and payload.
    pub checksum: [u8; 2],
    /// Urgent pointer.
    pub urgent: [u8; 2],
}

/// The flags of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(u8);

impl TcpFlags {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;

    /// From the header's byte.
    #[inline(always)]
    pub const fn new(flags: u8) -> Self {
        Self(flags)
    }

    /// A connection's first segment: SYN without ACK or RST.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST) == Self::SYN
    }

    /// The answer to a connection's first segment.
    #[inline(always)]
    pub const fn answers(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST) == Self::SYN | Self::ACK
    }

    /// The sender has no more data.
    #[inline(always)]
    pub const fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// The sender has given the connection up.
    #[inline(always)]
    pub const fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// Neither FIN nor RST.
    #[inline(always)]
    pub const fn carries_on(self) -> bool {
        self.0 & (Self::FIN | Self::RST) == 0
    }
}

/// Where a protocol's checksum stands within its header.
#[inline(always)]
pub const fn checksum_offset(protocol: Protocol) -> usize {
    match protocol {
        Protocol::TCP => 16,
        _ => 6,
    }
}
