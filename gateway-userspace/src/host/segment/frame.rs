//! ARP frames (RFC 826, RFC 5227) and neighbour discovery messages (RFC 4861), built and read as bytes.
//!
//! Of what others send only claims are read: gratuitous requests and replies of ARP, and neighbour advertisements.

use std::net::{Ipv4Addr, Ipv6Addr};

use gateway_common::Address;

/// An address on an Ethernet segment.
pub type Hardware = [u8; 6];

/// An address, and where it is said to be.
pub type Claimed = (Address, Option<Hardware>);

/// `ff02::1`: everybody on the segment.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const EVERYBODY: Hardware = [0xff; 6];
const NOBODY: Hardware = [0; 6];

const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
/// Ethernet, IPv4, and how long addresses of each are.
const ARP_KIND: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// The receiver shall believe it rather than what it knew.
const OVERRIDE: u8 = 0x20;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;

/// Octets of an ARP frame with its Ethernet header.
const ARP_FRAME: usize = 42;
/// Octets of a solicitation or an advertisement with one option.
const NDP_MESSAGE: usize = 32;
/// Octets before the options.
const NDP_HEAD: usize = 24;

/// The two forms of an ARP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpForm {
    /// Who has the target? If sender and target are one: it is here.
    Request,
    /// It is here.
    Reply,
}

/// A frame to everybody on the segment.
pub fn arp(form: ArpForm, own: Hardware, sender: Ipv4Addr, target: Ipv4Addr) -> [u8; ARP_FRAME] {
    let (operation, target_hardware) = match form {
        ArpForm::Request => ([0, 1], NOBODY),
        ArpForm::Reply => ([0, 2], own),
    };
    let parts: [&[u8]; 9] = [
        &EVERYBODY,
        &own,
        &ETHERTYPE_ARP,
        &ARP_KIND,
        &operation,
        &own,
        &sender.octets(),
        &target_hardware,
        &target.octets(),
    ];
    joined(&parts)
}

/// What an ARP frame claims.
pub fn claim_of_arp(frame: &[u8]) -> Option<Claimed> {
    let frame: &[u8; ARP_FRAME] = frame.first_chunk()?;
    let [.., ethertype_high, ethertype_low] = *frame.first_chunk::<14>()?;
    let kind: &[u8; 6] = frame[14..].first_chunk()?;
    if [ethertype_high, ethertype_low] != ETHERTYPE_ARP || *kind != ARP_KIND {
        return None;
    }
    let hardware: Hardware = *frame[22..].first_chunk()?;
    let sender: [u8; 4] = *frame[28..].first_chunk()?;
    let target: [u8; 4] = *frame[38..].first_chunk()?;
    let is_claim = match [frame[20], frame[21]] {
        [0, 1] => sender == target,
        [0, 2] => true,
        _ => false,
    };
    (is_claim && sender != [0; 4]).then_some((Address::from_v4(sender), Some(hardware)))
}

/// Where a solicitation for an address goes (RFC 4291 section 2.7.1).
pub const fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    let (high, low) = (0xff00 | a as u16, (b as u16) << 8 | c as u16);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, high, low)
}

/// Who has the target? The kernel adds IP header and checksum.
pub fn solicitation(target: Ipv6Addr, own: Hardware) -> [u8; NDP_MESSAGE] {
    ndp(SOLICITATION, 0, target, SOURCE_LINK_ADDRESS, own)
}

/// The target is here, whatever was known of it.
pub fn advertisement(target: Ipv6Addr, own: Hardware) -> [u8; NDP_MESSAGE] {
    ndp(ADVERTISEMENT, OVERRIDE, target, TARGET_LINK_ADDRESS, own)
}

fn ndp(kind: u8, flags: u8, target: Ipv6Addr, option: u8, own: Hardware) -> [u8; NDP_MESSAGE] {
    // Type, code, checksum, flags, target; an option's length is counted in units of eight octets.
    joined(&[&[kind, 0, 0, 0, flags, 0, 0, 0], &target.octets(), &[option, 1], &own])
}

/// What a neighbour advertisement claims.
pub fn claim_of_advertisement(message: &[u8]) -> Option<Claimed> {
    let head: &[u8; NDP_HEAD] = message.first_chunk()?;
    let target: [u8; 16] = *head.last_chunk()?;
    if head[0] != ADVERTISEMENT || head[1] != 0 || Ipv6Addr::from(target).is_multicast() {
        return None;
    }
    Some((Address::from_v6(target), target_hardware(&message[NDP_HEAD..])))
}

fn target_hardware(mut options: &[u8]) -> Option<Hardware> {
    loop {
        let [kind, units, ..] = *options else { return None };
        let (option, rest) = options.split_at_checked(usize::from(units) * 8)?;
        if kind == TARGET_LINK_ADDRESS || option.is_empty() {
            return option.get(2..)?.first_chunk().copied();
        }
        options = rest;
    }
}

/// Parts one after the other; together they are as long as the message.
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut message = [0; N];
    let bytes = parts.iter().flat_map(|part| part.iter());
    message.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Hardware = [2, 0, 0, 0, 0, 7];
    const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
    const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12ab, 0x34cd);

    #[test]
    fn a_gratuitous_request_lies_as_rfc_826_draws_it() {
        let frame = arp(ArpForm::Request, OWN, VIP, VIP);

        let expected = [
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 8, 6].as_slice(),
            &[0, 1, 8, 0, 6, 4, 0, 1],
            &[2, 0, 0, 0, 0, 7, 192, 0, 2, 1],
            &[0, 0, 0, 0, 0, 0, 192, 0, 2, 1],
        ];
        assert_eq!(frame.as_slice(), expected.concat());
    }

    #[test]
    fn an_announcement_and_an_answer_claim_an_address_and_a_question_does_not() {
        let claim = Some((Address::from(VIP), Some(OWN)));

        assert_eq!(claim_of_arp(&arp(ArpForm::Request, OWN, VIP, VIP)), claim);
        assert_eq!(claim_of_arp(&arp(ArpForm::Reply, OWN, VIP, NODE)), claim);
        assert_eq!(claim_of_arp(&arp(ArpForm::Request, OWN, NODE, VIP)), None);
        assert_eq!(claim_of_arp(&arp(ArpForm::Reply, OWN, Ipv4Addr::UNSPECIFIED, NODE)), None);
    }

    #[test]
    fn a_padded_frame_is_read_and_a_short_or_foreign_one_is_not() {
        let frame = arp(ArpForm::Reply, OWN, VIP, NODE);
        let mut padded = frame.to_vec();
        padded.resize(60, 0);
        let mut foreign = frame;
        foreign[13] = 0x42;

        assert!(claim_of_arp(&padded).is_some());
        assert_eq!(claim_of_arp(&foreign), None);
        assert!((0..frame.len()).all(|length| claim_of_arp(&frame[..length]).is_none()));
    }

    #[test]
    fn a_solicitation_goes_to_the_group_that_ends_like_its_target() {
        assert_eq!(solicited_node(VIP6).to_string(), "ff02::1:ffab:34cd");
        assert_eq!(solicitation(VIP6, OWN)[24..], [1, 1, 2, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn an_advertisement_overrides_and_claims_its_target() {
        let message = advertisement(VIP6, OWN);

        assert_eq!(message[..8], [136, 0, 0, 0, 0x20, 0, 0, 0]);
        assert_eq!(claim_of_advertisement(&message), Some((VIP6.into(), Some(OWN))));
        assert_eq!(claim_of_advertisement(&message[..24]), Some((VIP6.into(), None)));
        assert_eq!(claim_of_advertisement(&message[..23]), None);
        assert_eq!(claim_of_advertisement(&solicitation(VIP6, OWN)), None);
        assert_eq!(claim_of_advertisement(&advertisement(ALL_NODES, OWN)), None);
    }

    #[test]
    fn options_that_lie_about_their_length_are_not_followed() {
        for options in [&[2, 0, 1, 2, 3, 4, 5, 6][..], &[2, 9, 1, 2, 3, 4, 5, 6], &[14, 1], &[2]] {
            let message = [&advertisement(VIP6, OWN)[..24], options].concat();

            assert_eq!(claim_of_advertisement(&message), Some((VIP6.into(), None)), "{options:?}");
        }
        let after_another =
            [&advertisement(VIP6, OWN)[..24], &[14, 1, 0, 0, 0, 0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 7]].concat();
        assert_eq!(claim_of_advertisement(&after_another), Some((VIP6.into(), Some(OWN))));
    }
}
