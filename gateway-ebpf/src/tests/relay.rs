//! A VIP that has moved here: its new connections are begun here, and those of before go on where they were begun.

use gateway_common::{Address, DropReason, Event};

use super::lab::{FAMILIES, Lab, Packet, Seen, address, client, node, vip};
use crate::parse::Family;

fn to_vip(family: Family, port: u16, flags: &str) -> Packet {
    Packet::tcp(client(family), port, vip(family), 8000, flags)
}

fn moved(family: Family) -> Lab {
    let lab = Lab::with_backends(family, &[1]);
    lab.tables.relay_to(node(family));
    lab
}

#[test]
fn a_segment_of_no_known_flow_goes_on_to_the_node_that_answered_before() {
    for family in FAMILIES {
        let lab = moved(family);

        for flags in ["A", "FA", "R", "SA"] {
            assert_eq!(lab.receive(&to_vip(family, 40_000, flags)), Seen::Relayed(node(family)), "{flags}");
        }

        assert_eq!(lab.tables.event(Event::Relayed), 4);
    }
}

#[test]
fn a_new_connection_is_begun_here_and_stays_here() {
    for family in FAMILIES {
        let lab = moved(family);

        for flags in ["S", "A", "FA"] {
            assert!(matches!(lab.receive(&to_vip(family, 40_000, flags)), Seen::Forwarded(_)), "{flags}");
        }
    }
}

#[test]
fn a_datagram_begins_a_flow_here_whatever_was_before() {
    for family in FAMILIES {
        let lab = moved(family);

        let seen = lab.receive(&Packet::udp(client(family), 40_000, vip(family), 8000));

        assert!(matches!(seen, Seen::Forwarded(_)), "{seen:?}");
    }
}

#[test]
fn a_segment_that_meets_a_flow_of_long_ago_whose_backend_is_gone_is_one_of_no_known_flow() {
    for family in FAMILIES {
        let lab = moved(family);
        lab.connect(family, 40_000);
        lab.tables.retire(0);

        assert_eq!(lab.receive(&to_vip(family, 40_000, "A")), Seen::Relayed(node(family)));
        assert_eq!(lab.receive(&to_vip(family, 40_000, "A")), Seen::Relayed(node(family)));
    }
}

#[test]
fn what_is_for_no_vip_is_not_sent_on_and_without_such_a_node_it_is_refused() {
    let lab = moved(Family::V4);
    let other: Address = address("203.0.113.77");
    lab.tables.doubt(other);
    assert_eq!(lab.receive(&Packet::tcp(client(Family::V4), 1, other, 8000, "A")), Seen::Passed);

    let lab = Lab::with_backends(Family::V4, &[1]);
    assert_eq!(lab.receive(&to_vip(Family::V4, 40_000, "A")), Seen::Refused(DropReason::NoFlow));
}
