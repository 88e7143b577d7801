//! Plans the header changes of a flow's packet. Hooks apply a plan, each in its own way.

use gateway_common::{Address, ConntrackEntry, Port};

use crate::checksum::Difference;
use crate::parse::{Family, Headers};

/// The changes to a packet: from what its headers say to what its flow's entry says.
#[derive(Clone, Copy, Debug)]
pub struct Rewrite<'a> {
    /// The headers as they are.
    pub headers: &'a Headers,
    /// The tuple to be.
    pub entry: &'a ConntrackEntry,
}

impl Rewrite<'_> {
    /// What the new addresses do to the IPv4 header's checksum and to the transport's pseudo-header.
    #[inline(always)]
    pub const fn addresses(&self) -> Difference {
        let (family, flow) = (self.headers.family, &self.headers.flow);
        address_difference(family, &flow.source, &self.entry.source).plus(address_difference(
            family,
            &flow.destination,
            &self.entry.destination,
        ))
    }

    /// Both ports as one word, as they stand now.
    #[inline(always)]
    pub const fn old_ports(&self) -> u32 {
        ports_word(self.headers.flow.source_port, self.headers.flow.destination_port)
    }

    /// Both ports as one word, as they shall be.
    #[inline(always)]
    pub const fn new_ports(&self) -> u32 {
        ports_word(self.entry.source_port, self.entry.destination_port)
    }
}

/// What replacing an address does to a checksum over it.
#[inline(always)]
pub const fn address_difference(family: Family, old: &Address, new: &Address) -> Difference {
    match family {
        Family::V4 => Difference::of(u32::from_ne_bytes(old.v4_octets()), u32::from_ne_bytes(new.v4_octets())),
        Family::V6 => Difference::of_four(old.words(), new.words()),
    }
}

/// Two ports as the word that they are in a header.
#[inline(always)]
pub const fn ports_word(source: Port, destination: Port) -> u32 {
    let [a, b] = source.network();
    let [c, d] = destination.network();
    u32::from_ne_bytes([a, b, c, d])
}
