//! The headers that are read and written, as they lie on the wire.
//!
//! Fields are byte arrays in network order where no accessor says otherwise. The alignment of a header is that
//! of its protocol, so that addresses are moved in words.

mod ethernet;
mod icmp;
mod ipv4;
mod ipv6;
mod neighbour;
mod transport;

pub use ethernet::{EtherType, EthernetHeader, VlanTag};
pub use icmp::IcmpHeader;
pub use ipv4::Ipv4Header;
pub use ipv6::{FragmentHeader, Ipv6Extension, Ipv6Header};
pub use neighbour::{ArpPacket, NeighbourSolicitation};
pub use transport::{Ports, TcpFlags, TcpHeader, TransportStart, checksum_offset};
