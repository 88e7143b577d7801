//! Ethernet II and one IEEE 802.1Q tag.
//!
//! ```text
//!  0                   6                   12          14
//! +-------------------+-------------------+-----------+
//! |    destination    |      source       | EtherType |
//! +-------------------+-------------------+-----------+
//! ```

use zerocopy::{FromBytes, Immutable, KnownLayout};

/// An Ethernet header.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct EthernetHeader {
    /// Destination and source MAC addresses.
    pub macs: [u8; 12],
    /// What follows.
    pub ether_type: [u8; 2],
}

/// The four bytes that an 802.1Q tag puts before the EtherType of the payload, without its own EtherType.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct VlanTag {
    /// Priority, drop eligibility and VLAN id.
    pub control: [u8; 2],
    /// What follows the tag.
    pub ether_type: [u8; 2],
}

/// An EtherType (IEEE 802 numbers).
pub struct EtherType;

impl EtherType {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// An 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// An 802.1ad service tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}
