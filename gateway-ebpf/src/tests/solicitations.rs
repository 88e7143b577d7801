//! Who asks the segment for a VIP: this node answers, or it does not hear the question.

use gateway_common::{Address, DropReason};

use super::lab::{Lab, Packet, Seen, address, client, vip};
use crate::parse::Family;

const REQUEST: u8 = 1;
const REPLY: u8 = 2;

fn arp(operation: u8, target: Address) -> Packet {
    let mut frame = vec![0xff; 6];
    frame.extend([2; 6]);
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend([2; 6]);
    frame.extend(client(Family::V4).v4_octets());
    frame.extend([0; 6]);
    frame.extend(target.v4_octets());
    Packet::raw(frame)
}

/// A neighbour solicitation (135) or advertisement (136) to `destination` about `target`.
fn ndp(kind: u8, destination: Address, target: Address) -> Packet {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    Packet::icmp_v6(client(Family::V6), destination, &message)
}

#[test]
fn an_arp_request_for_a_vip_that_others_answer_for_is_dropped() {
    let lab = Lab::with_backends(Family::V4, &[1]);
    let vip = vip(Family::V4);
    assert_eq!(lab.receive(&arp(REQUEST, vip)), Seen::Passed, "this node answers");

    lab.tables.leave_to_others(vip);

    assert_eq!(lab.receive(&arp(REQUEST, vip)), Seen::Dropped(DropReason::NotAnnounced));
    assert_eq!(lab.receive(&arp(REPLY, vip)), Seen::Passed);
    assert_eq!(lab.receive(&arp(REQUEST, client(Family::V4))), Seen::Passed);
    assert_eq!(lab.send(&arp(REQUEST, vip)), Seen::Passed, "what this node itself asks");
}

#[test]
fn a_neighbour_solicitation_for_a_vip_that_others_answer_for_is_dropped_wherever_it_is_sent() {
    let lab = Lab::with_backends(Family::V6, &[1]);
    let vip = vip(Family::V6);
    let group = address("ff02::1:ff00:1");
    let (node, other) = (address("fe80::1"), address("2001:db8:f::2"));
    for destination in [group, node] {
        assert_eq!(lab.receive(&ndp(135, destination, vip)), Seen::Passed, "this node answers");
    }

    lab.tables.leave_to_others(vip);

    for destination in [group, vip, node] {
        assert_eq!(lab.receive(&ndp(135, destination, vip)), Seen::Dropped(DropReason::NotAnnounced));
        assert_eq!(lab.receive(&ndp(135, destination, other)), Seen::Passed);
    }
    assert_eq!(lab.receive(&ndp(136, group, vip)), Seen::Passed);
    assert_eq!(lab.send(&ndp(135, group, vip)), Seen::Icmp, "what this node itself asks is no error of a flow");
}

#[test]
fn a_question_that_is_cut_off_passes() {
    let lab = Lab::with_backends(Family::V4, &[1]);
    let vip = vip(Family::V4);
    lab.tables.leave_to_others(vip);

    assert_eq!(lab.receive(&arp(REQUEST, vip).truncated(40)), Seen::Passed);
}
