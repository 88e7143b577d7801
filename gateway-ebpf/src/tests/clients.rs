//! Clients that stay with their backend, and clients that are not let in.

use gateway_common::{DropReason, Event};

use super::lab::{self, Lab, Packet, Seen, address, client, vip};
use crate::parse::Family;

const VIP_PORT: u16 = 8000;

fn sticky(family: Family, weights: &[u32]) -> Lab {
    let lab = Lab::with_backends(family, weights);
    lab.tables.stick_for_seconds(100);
    lab
}

fn open(lab: &Lab, family: Family, port: u16) -> usize {
    lab.receive(&Packet::tcp(client(family), port, vip(family), VIP_PORT, "S")).backend(family)
}

#[test]
fn with_affinity_a_client_keeps_its_backend_and_another_gets_the_next() {
    for family in lab::FAMILIES {
        let lab = sticky(family, &[1, 1]);
        let other = |port| Packet::tcp(lab::router(family), port, vip(family), VIP_PORT, "S");

        assert_eq!([1, 2, 3].map(|port| open(&lab, family, port)), [0; 3]);
        assert_eq!([1, 2, 3].map(|port| lab.receive(&other(port)).backend(family)), [1; 3]);
    }
}

#[test]
fn a_client_is_forgotten_when_its_last_new_connection_is_too_long_ago() {
    let family = Family::V6;
    let lab = sticky(family, &[1, 1]);
    let mut given = vec![open(&lab, family, 1)];

    for (port, seconds) in [(2, 99), (3, 99), (4, 100), (5, 99)] {
        lab.tables.advance_seconds(seconds);
        given.push(open(&lab, family, port));
    }

    assert_eq!(given, [0, 0, 0, 1, 1]);
}

#[test]
fn a_client_moves_when_its_backend_is_gone_or_the_agent_made_it_forget() {
    let family = Family::V4;
    let lab = sticky(family, &[1, 1, 1]);
    assert_eq!(open(&lab, family, 1), 0);

    lab.tables.retire(0);
    assert_eq!(open(&lab, family, 2), 1);
    lab.tables.schedule_only(2);
    assert_eq!(open(&lab, family, 3), 1, "nobody has said so yet");
    lab.tables.forget_clients_of(1);

    assert_eq!(open(&lab, family, 4), 2);
}

#[test]
fn with_affinity_a_port_in_use_is_translated_at_the_same_backend() {
    let family = Family::V4;
    let lab = sticky(family, &[1, 1]);
    let other_vip = address("203.0.113.2");
    lab.tables.another_vip(other_vip, VIP_PORT);

    let first = open(&lab, family, 4000);
    let second = lab.receive(&Packet::tcp(client(family), 4000, other_vip, VIP_PORT, "S"));

    assert_eq!((first, second.backend(family)), (0, 0));
    assert_eq!(lab.tables.event(Event::PortTranslated), 1);
}

#[test]
fn a_client_of_no_range_is_dropped_and_an_established_flow_of_one_lives_on() {
    for family in lab::FAMILIES {
        let lab = Lab::with_backends(family, &[1]);
        lab.connect(family, 40_000);
        let syn = Packet::tcp(client(family), 40_001, vip(family), VIP_PORT, "S");
        let data = Packet::tcp(client(family), 40_000, vip(family), VIP_PORT, "A");

        lab.tables.restrict_to(&[(address("192.0.2.0"), 24), (address("2001:db8:99::"), 48)]);

        assert_eq!(lab.receive(&syn), Seen::Dropped(DropReason::SourceDenied));
        assert_eq!(lab.receive(&data).backend(family), 0);
        lab.tables.restrict_to(&[(address("198.51.100.0"), 24), (address("2001:db8:c::"), 48)]);
        assert_eq!(lab.receive(&syn).backend(family), 0);
    }
}
