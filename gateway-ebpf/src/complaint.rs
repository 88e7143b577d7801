//! Tells the sender of a packet why it goes no further: ICMP errors (RFC 792, 1191, 4443).
//!
//! They come from the address that the packet was sent to, since that is all its sender knows of the way. Here are their
//! headers; whoever applies them quotes the packet as it came. TCP and UDP alone are answered, never an ICMP message.

use gateway_common::{DropReason, Flow, Protocol};
use zerocopy::IntoBytes;

use crate::checksum::{Difference, sum_words};
use crate::headers::{IcmpHeader, Ipv4Header, Ipv6Header};
use crate::parse::Family;

/// Words of a packet that are quoted at most.
pub const QUOTE_WORDS: usize = 32;
/// Bytes of a packet that are quoted at most: IPv6 with some extensions, a TCP header and its options.
pub const QUOTE_BYTES: usize = QUOTE_WORDS * size_of::<u32>();
/// What stands before the quotation in an error for IPv4.
pub const V4_BYTES: usize = Ipv4Header::LENGTH + IcmpHeader::LENGTH;
/// What stands before the quotation in an error for IPv6.
pub const V6_BYTES: usize = Ipv6Header::LENGTH + IcmpHeader::LENGTH;

/// An error in the making. Kept like [`crate::parse::Headers`] outside the stack.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct IcmpError {
    /// IP and ICMP header, [`V4_BYTES`] or [`V6_BYTES`] of them, as they lie on the wire.
    pub headers: [u32; V6_BYTES / size_of::<u32>()],
    /// The packet's beginning, with zeros behind its end: as many words as are quoted at most, and as many zeros again.
    pub quotation: [u32; 2 * QUOTE_WORDS],
}

/// Why a packet goes no further: a number, because the verifier wants every part of an argument to be defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint(u32);

impl Complaint {
    /// It has crossed as many routers as its sender allows.
    pub const HOP_LIMIT: Self = Self(0);

    /// It is larger than the way on allows: than this many bytes from the IP header on.
    #[inline(always)]
    pub const fn too_big(mtu: u16) -> Self {
        Self(mtu as u32)
    }

    /// What it is counted as.
    #[inline(always)]
    pub const fn reason(self) -> DropReason {
        if self.0 == 0 { DropReason::HopLimit } else { DropReason::TooBig }
    }

    /// ICMP's type and code.
    #[inline(always)]
    const fn kind(self, family: Family) -> [u8; 2] {
        match (family, self.0) {
            (Family::V4, 0) => [11, 0],
            (Family::V4, _) => [3, 4],
            (Family::V6, 0) => [3, 0],
            (Family::V6, _) => [2, 0],
        }
    }
}

/// As a host sends it.
const HOPS: u8 = 64;
/// Internetwork control (RFC 1812 section 4.3.2.5).
const PRECEDENCE: u8 = 0xc0;

impl IcmpError {
    /// Writes the headers of an answer to a packet of `flow`, of which `bytes` bytes are quoted that have the sum `quoted`.
    #[inline(always)]
    pub fn write_headers(&mut self, complaint: Complaint, family: Family, flow: &Flow, bytes: u16, quoted: Difference) {
        match family {
            Family::V4 => self.write_v4(complaint, flow, bytes, quoted),
            Family::V6 => self.write_v6(complaint, flow, bytes, quoted),
        }
    }

    /// Gives the quoted transport header, whose checksum stands at byte `at` of the quotation and which has the sum
    /// `transport`, a checksum that stays as it is when somebody completes it.
    ///
    /// A packet from this machine, or one put together from several, is still to be given its checksum: by the kernel or a
    /// device that sends it. They would do so behind our back, and the error's own checksum would be wrong then. With
    /// `rest` for the sum of the other words they write `!(rest + checksum)`, so that is what the checksum must be already:
    /// `!rest / 2`. In ones' complement, where 2 * 0x8000 is 1, a rotation halves a number.
    #[inline(always)]
    pub fn settle_checksum(&mut self, at: usize, transport: Difference) -> Option<()> {
        let field = self.quotation.as_mut_bytes().get_mut(at..)?.first_chunk_mut::<2>()?;
        // What replacing the present checksum by zero leaves, inverted.
        let doubled = u16::from_ne_bytes(transport.plus(Difference::of_half(*field, [0; 2])).finish());
        *field = doubled.rotate_right(1).to_ne_bytes();
        Some(())
    }

    #[inline(always)]
    fn write_v4(&mut self, complaint: Complaint, flow: &Flow, bytes: u16, quoted: Difference) {
        const DONT_FRAGMENT: u8 = 0x40;
        let [high, low] = (V4_BYTES as u16 + bytes).to_be_bytes();
        let words = &mut self.headers;
        words[0] = u32::from_ne_bytes([0x45, PRECEDENCE, high, low]);
        words[1] = u32::from_ne_bytes([0, 0, DONT_FRAGMENT, 0]);
        words[2] = u32::from_ne_bytes([HOPS, Protocol::ICMP.number(), 0, 0]);
        words[3] = u32::from_ne_bytes(flow.destination.v4_octets());
        words[4] = u32::from_ne_bytes(flow.source.v4_octets());
        words[2] |= lower_half(sum_words(&words[..5], Difference::NONE));
        [words[5], words[6]] = message(complaint, Family::V4, quoted);
    }

    #[inline(always)]
    fn write_v6(&mut self, complaint: Complaint, flow: &Flow, bytes: u16, quoted: Difference) {
        let payload = IcmpHeader::LENGTH as u16 + bytes;
        let [high, low] = payload.to_be_bytes();
        let next = Protocol::ICMPV6.number();
        let words = &mut self.headers;
        words[0] = u32::from_ne_bytes([0x60 | PRECEDENCE >> 4, 0, 0, 0]);
        words[1] = u32::from_ne_bytes([high, low, next, HOPS]);
        words[2..6].copy_from_slice(&flow.destination.words());
        words[6..10].copy_from_slice(&flow.source.words());
        // The pseudo-header: addresses, length and next header (RFC 8200 section 8.1).
        let pseudo_header = sum_words(&[u32::from(payload).to_be(), u32::from(next).to_be()], quoted);
        let others = sum_words(&words[2..10], pseudo_header);
        [words[10], words[11]] = message(complaint, Family::V6, others);
    }
}

/// The header of a message of which everything else that its checksum covers has this sum. The MTU stands in its last
/// half, as far as ICMP knows one (RFC 1191 section 4); ICMPv6 has a word for it.
#[inline(always)]
fn message(complaint: Complaint, family: Family, others: Difference) -> [u32; 2] {
    let [kind, code] = complaint.kind(family);
    let start = u32::from_ne_bytes([kind, code, 0, 0]);
    let rest = complaint.0.to_be();
    [start | lower_half(sum_words(&[start, rest], others)), rest]
}

/// A checksum in the last two bytes of a word.
#[inline(always)]
const fn lower_half(sum: Difference) -> u32 {
    let [high, low] = sum.finish();
    u32::from_ne_bytes([0, 0, high, low])
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use gateway_common::Port;
    use proptest::prelude::*;

    use super::*;
    use crate::checksum::full;

    const SENDER: [&str; 2] = ["198.51.100.7", "2001:db8::7"];
    const VIP: [&str; 2] = ["203.0.113.1", "2001:db8:f::1"];

    /// The whole error about a packet of this content.
    fn error(family: Family, complaint: Complaint, quoted: &[u8]) -> Vec<u8> {
        let address = |texts: [&str; 2]| texts[family as usize].parse::<IpAddr>().unwrap().into();
        let flow = Flow {
            source: address(SENDER),
            destination: address(VIP),
            source_port: Port::new(1),
            destination_port: Port::new(2),
            protocol: Protocol::UDP,
            _reserved: [0; 3],
        };
        let mut error = IcmpError { headers: [0; _], quotation: [0; _] };
        error.quotation.as_mut_bytes()[..quoted.len()].copy_from_slice(quoted);
        let sum = sum_words(&error.quotation, Difference::NONE);
        error.write_headers(complaint, family, &flow, quoted.len() as u16, sum);
        let headers = if family == Family::V4 { V4_BYTES } else { V6_BYTES };
        [&error.headers.as_bytes()[..headers], quoted].concat()
    }

    #[test]
    fn every_error_of_ipv4_has_right_lengths_and_checksums() {
        for (complaint, kind, rest) in
            [(Complaint::HOP_LIMIT, [11, 0], [0; 4]), (Complaint::too_big(1400), [3, 4], [0, 0, 5, 0x78])]
        {
            for length in [28, 33, QUOTE_BYTES] {
                let bytes = error(Family::V4, complaint, &vec![0xa5; length]);

                assert_eq!(full(&bytes[..20], 0), [0, 0], "IPv4 header");
                assert_eq!(full(&bytes[20..], 0), [0, 0], "ICMP");
                assert_eq!(usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), bytes.len());
                assert_eq!((&bytes[12..16], &bytes[16..20]), (&[203, 0, 113, 1][..], &[198, 51, 100, 7][..]));
                assert_eq!((&bytes[20..22], &bytes[24..28]), (&kind[..], &rest[..]));
            }
        }
    }

    #[test]
    fn every_error_of_ipv6_has_right_lengths_and_checksums() {
        for (complaint, kind, rest) in
            [(Complaint::HOP_LIMIT, [3, 0], [0; 4]), (Complaint::too_big(1400), [2, 0], [0, 0, 5, 0x78])]
        {
            for length in [48, 61, QUOTE_BYTES] {
                let bytes = error(Family::V6, complaint, &vec![0xa5; length]);

                let payload = bytes.len() - 40;
                let pseudo_header = [&bytes[8..40], &(payload as u32).to_be_bytes(), &[0, 0, 0, 58]].concat();
                let seed = u64::from(!u16::from_ne_bytes(full(&pseudo_header, 0)));
                assert_eq!(full(&bytes[40..], seed), [0, 0], "ICMPv6");
                assert_eq!(usize::from(u16::from_be_bytes([bytes[4], bytes[5]])), payload);
                assert_eq!((bytes[6], bytes[7]), (58, 64));
                assert_eq!((&bytes[40..42], &bytes[44..48]), (&kind[..], &rest[..]));
            }
        }
    }

    proptest! {
        #[test]
        fn a_settled_checksum_stays_when_it_is_completed(bytes in prop::collection::vec(any::<u8>(), 20..QUOTE_BYTES), is_tcp: bool) {
            let at = if is_tcp { 16 } else { 6 };
            let mut error = IcmpError { headers: [0; _], quotation: [0; _] };
            error.quotation.as_mut_bytes()[..bytes.len()].copy_from_slice(&bytes);

            error.settle_checksum(at, sum_words(&error.quotation, Difference::NONE)).unwrap();

            let settled = &error.quotation.as_bytes()[..bytes.len()];
            let completed = full(settled, 0);
            let same = |a: [u8; 2], b: [u8; 2]| a == b || (a == [0, 0] && b == [255, 255]) || (a == [255, 255] && b == [0, 0]);
            prop_assert!(same([settled[at], settled[at + 1]], completed));
        }
    }
}
