//! Somebody asks the segment for an address: which one? ARP and neighbour solicitations.
//!
//! The host answers for every VIP it has. Where another node is to answer, or nobody, the question ends here. Only the
//! target counts, whomever the question is sent to: a solicited-node multicast address, everybody or this node alone.

use gateway_common::{Address, DropReason};

use crate::headers::{ArpPacket, NeighbourSolicitation};
use crate::packet::Packet;
use crate::parse::{Family, Headers};
use crate::tables::Tables;
use crate::verdict::Verdict;

/// Ends a question for a VIP that this node does not answer for.
#[inline(always)]
pub fn judge<'a, T: Tables>(target: &Address, tables: &T) -> Verdict<'a> {
    if tables.may_be_vip(target) && tables.is_unanswered(target) {
        Verdict::Drop(DropReason::NotAnnounced)
    } else {
        Verdict::Pass
    }
}

/// The address that an ARP packet asks for.
#[inline(always)]
pub fn arp_target(packet: &Packet, headers: &Headers) -> Option<Address> {
    let arp = packet.read::<ArpPacket>(headers.network_offset())?;
    arp.is_request().then_some(Address::from_v4(arp.target))
}

/// The address that an IPv6 packet asks for. Only a message right behind the IPv6 header is one; the host ignores others.
#[inline(always)]
pub fn ndp_target(packet: &Packet, headers: &Headers) -> Option<Address> {
    if headers.family != Family::V6 || !headers.may_be_icmp() {
        return None;
    }
    let message = packet.read::<NeighbourSolicitation>(headers.transport_offset())?;
    let target = Address::from_v6(message.target);
    (message.icmp.is_neighbour_solicitation() && !target.is_v4_mapped()).then_some(target)
}
