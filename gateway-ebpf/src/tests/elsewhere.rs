//! Pods of other nodes, and Pods that are their own clients: flows with a source address of this node.

use gateway_common::{DropReason, Event, FlowState};

use super::lab::{FAMILIES, Lab, Packet, Seen, address, client, node, pod, router, vip};
use crate::parse::Family;

const VIP_PORT: u16 = 8000;

/// A service whose one Pod is on another node.
fn remote(family: Family) -> Lab {
    let lab = Lab::with_backends(family, &[1]);
    lab.tables.move_elsewhere(0, node(family));
    lab
}

fn to_vip(family: Family, port: u16, flags: &str) -> Packet {
    Packet::tcp(client(family), port, vip(family), VIP_PORT, flags)
}

fn from_pod(family: Family, port: u16, flags: &str) -> Packet {
    Packet::tcp(pod(family, 0), 80, node(family), port, flags)
}

/// The source port that a flow was given.
fn given(seen: &Seen) -> u16 {
    let Seen::Redirected(packet) = seen else { panic!("not redirected but {seen:?}") };
    packet.flow().source_port.get()
}

#[test]
fn a_flow_to_a_pod_elsewhere_bears_the_node_s_address_and_is_redirected_both_ways() {
    for family in FAMILIES {
        let lab = remote(family);

        let there = lab.receive(&to_vip(family, 40_000, "S"));
        let port = given(&there);
        let back = lab.receive(&from_pod(family, port, "SA"));

        assert_eq!(there, Seen::Redirected(Packet::tcp(node(family), port, pod(family, 0), 80, "S")));
        assert!((10_000..=29_999).contains(&port), "{port} is none of ours");
        assert_eq!(back, Seen::Redirected(Packet::tcp(vip(family), VIP_PORT, client(family), 40_000, "SA")));
        assert_eq!(lab.tables.event(Event::SourceTranslated), 1);
        assert_eq!(lab.tables.event(Event::PortTranslated), 0);
    }
}

#[test]
fn datagrams_to_a_pod_elsewhere_stay_with_their_port() {
    for family in FAMILIES {
        let lab = remote(family);
        let datagram = Packet::udp(client(family), 40_000, vip(family), VIP_PORT).carrying(b"question");

        let first = lab.receive(&datagram);
        let port = given(&first);
        let answer = Packet::udp(pod(family, 0), 80, node(family), port).carrying(b"answer");

        assert_eq!(lab.receive(&datagram), first);
        let expected = Packet::udp(vip(family), VIP_PORT, client(family), 40_000).carrying(b"answer");
        assert_eq!(lab.receive(&answer), Seen::Redirected(expected));
        assert_eq!(lab.tables.event(Event::SourceTranslated), 1);
    }
}

#[test]
fn a_client_s_own_port_is_kept_if_it_is_in_the_range_and_free() {
    let family = Family::V4;
    let lab = remote(family);
    let other = Packet::tcp(router(family), 12_345, vip(family), VIP_PORT, "S");

    assert_eq!(given(&lab.receive(&to_vip(family, 12_345, "S"))), 12_345);
    assert_ne!(given(&lab.receive(&other)), 12_345, "it is taken");
    assert_eq!(given(&lab.receive(&to_vip(family, 10_000, "S"))), 10_000);
    assert_eq!(given(&lab.receive(&to_vip(family, 29_999, "S"))), 29_999);
    assert_ne!(given(&lab.receive(&to_vip(family, 30_000, "S"))), 30_000);
}

#[test]
fn every_port_of_the_range_is_given_out_once_and_then_flows_are_refused() {
    for family in FAMILIES {
        let lab = remote(family);
        lab.tables.limit_source_ports(20_000, 20_009);

        let mut ports: Vec<u16> = (0..10).map(|n| given(&lab.receive(&to_vip(family, 40_000 + n, "S")))).collect();
        let eleventh = lab.receive(&to_vip(family, 40_010, "S"));

        ports.sort_unstable();
        assert_eq!(ports, (20_000..=20_009).collect::<Vec<_>>());
        assert_eq!(eleventh, Seen::Refused(DropReason::NoSourcePort));
        assert_eq!(lab.tables.entries(), 20);
        for port in 40_000..40_010 {
            assert!(matches!(lab.receive(&to_vip(family, port, "A")), Seen::Redirected(_)), "{port} goes on");
        }
    }
}

#[test]
fn nobody_is_refused_before_nine_of_ten_ports_are_taken_whichever_those_are() {
    let family = Family::V4;
    let mut seed = 1_u32;
    let mut any = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) as u16
    };
    for own_ports_in_hundred in [0, 50, 100] {
        let lab = remote(family);
        let mut taken = 0;
        let refused = loop {
            // Each from a client of its own; the port is one of the range or one above it.
            let own =
                if any() % 100 < own_ports_in_hundred { 10_000 + any() % 20_000 } else { 30_000 + any() % 30_000 };
            let from = address(&format!("100.64.{}.{}", taken / 256, taken % 256));
            match lab.receive(&Packet::tcp(from, own, vip(family), VIP_PORT, "S")) {
                Seen::Redirected(_) => taken += 1,
                seen => break seen,
            }
        };

        assert_eq!(refused, Seen::Refused(DropReason::NoSourcePort));
        assert!(
            taken >= 18_000,
            "refused after {taken} of 20,000, {own_ports_in_hundred} in 100 with a port of the range"
        );
    }
}

#[test]
fn an_empty_range_refuses_and_an_unknown_way_drops() {
    let family = Family::V6;
    let lab = remote(family);
    for (first, last) in [(20_000, 19_999), (0, 0)] {
        lab.tables.limit_source_ports(first, last);
        assert_eq!(lab.receive(&to_vip(family, 40_000, "S")), Seen::Refused(DropReason::NoSourcePort));
    }

    lab.tables.move_elsewhere(0, gateway_common::Address::UNSPECIFIED);
    assert_eq!(lab.receive(&to_vip(family, 40_000, "S")), Seen::Dropped(DropReason::NoRoute));
    assert_eq!(lab.tables.entries(), 0);
}

#[test]
fn ports_of_flows_that_are_over_are_taken_only_when_the_free_ones_are_not_found() {
    let family = Family::V4;
    let lab = remote(family);
    lab.tables.limit_source_ports(20_000, 20_001);
    let first = given(&lab.receive(&to_vip(family, 40_000, "S")));
    let _ = lab.receive(&to_vip(family, 40_000, "R"));

    let second = given(&lab.receive(&to_vip(family, 40_001, "S")));
    let third = given(&lab.receive(&to_vip(family, 40_002, "S")));

    assert_ne!(second, first, "a free one is left");
    assert_eq!(third, first);
    assert_eq!(lab.tables.event(Event::FlowReplaced), 1);
    assert_eq!(lab.receive(&to_vip(family, 40_000, "A")), Seen::Refused(DropReason::NoFlow));
}

#[test]
fn two_clients_with_one_port_are_kept_apart() {
    let family = Family::V6;
    let lab = remote(family);
    let other = Packet::tcp(router(family), 40_000, vip(family), VIP_PORT, "S");

    let ports = [to_vip(family, 40_000, "S"), other].map(|syn| given(&lab.receive(&syn)));
    let told = ports.map(|port| lab.receive(&from_pod(family, port, "SA")));

    assert_ne!(ports[0], ports[1]);
    let expected = [client(family), router(family)]
        .map(|to| Seen::Redirected(Packet::tcp(vip(family), VIP_PORT, to, 40_000, "SA")));
    assert_eq!(told, expected);
}

#[test]
fn a_connection_to_a_pod_elsewhere_comes_and_goes_like_any_other() {
    let family = Family::V4;
    let lab = remote(family);
    let state = || lab.tables.state(&to_vip(family, 40_000, "A").flow());
    let port = given(&lab.receive(&to_vip(family, 40_000, "S")));

    let _ = lab.receive(&from_pod(family, port, "SA"));
    let _ = lab.receive(&to_vip(family, 40_000, "A"));
    assert_eq!(state(), Some(FlowState::Established));
    let _ = lab.receive(&to_vip(family, 40_000, "FA"));
    let _ = lab.receive(&from_pod(family, port, "FA"));
    assert_eq!(state(), Some(FlowState::Closing));

    lab.tables.advance_seconds(31);
    assert!(lab.collect(&from_pod(family, port, "A").flow()));
    assert_eq!(lab.tables.entries(), 0);
    assert_eq!(lab.receive(&from_pod(family, port, "A")), Seen::Passed, "the host knows what to do with it");
}

#[test]
fn the_reply_of_a_pod_elsewhere_that_is_gone_is_dropped_by_name() {
    let family = Family::V6;
    let lab = remote(family);
    let port = given(&lab.receive(&to_vip(family, 40_000, "S")));
    lab.tables.retire(0);

    assert_eq!(lab.receive(&from_pod(family, port, "SA")), Seen::Dropped(DropReason::StaleReply));
    assert_eq!(lab.receive(&to_vip(family, 40_000, "A")), Seen::Refused(DropReason::BackendGone));
    assert_eq!(lab.tables.entries(), 0);
}

#[test]
fn what_is_addressed_to_the_node_itself_passes() {
    for family in FAMILIES {
        let lab = remote(family);
        let _ = lab.receive(&to_vip(family, 40_000, "S"));
        let to_node = |flags| Packet::tcp(client(family), 1, node(family), 22, flags);

        for packet in [
            to_node("S"),
            to_node("A"),
            Packet::udp(client(family), 1, node(family), 53),
            Packet::other(client(family), node(family)),
            Packet::fragment(client(family), node(family)),
        ] {
            assert_eq!(lab.receive(&packet), Seen::Passed);
        }
    }
}

#[test]
fn a_fragment_of_a_redirected_reply_is_dropped_by_name() {
    let family = Family::V4;
    let lab = remote(family);
    lab.tables.limit_source_ports(VIP_PORT, VIP_PORT);
    // The lab's fragments come from port 1, so the Pod has that.
    lab.tables.listen_at(0, 1);
    let _ = lab.receive(&Packet::udp(client(family), 40_000, vip(family), VIP_PORT));

    let fragment = Packet::fragment(pod(family, 0), node(family));

    assert_eq!(lab.receive(&fragment), Seen::Dropped(DropReason::Fragment));
}

#[test]
fn local_and_remote_pods_share_exactly() {
    let family = Family::V4;
    let lab = Lab::with_backends(family, &[2, 1]);
    lab.tables.move_elsewhere(1, node(family));

    let seen: Vec<Seen> = (0..300).map(|n| lab.receive(&to_vip(family, 40_000 + n, "S"))).collect();

    let redirected = seen.iter().filter(|seen| matches!(seen, Seen::Redirected(_))).count();
    let forwarded = seen.iter().filter(|seen| matches!(seen, Seen::Forwarded(_))).count();
    assert_eq!((forwarded, redirected), (200, 100));
}

#[test]
fn a_pod_that_is_its_own_client_gets_its_packets_from_the_vip() {
    for family in FAMILIES {
        let lab = Lab::with_backends(family, &[1]);
        let own = pod(family, 0);

        let there = lab.receive(&Packet::tcp(own, 40_000, vip(family), VIP_PORT, "S"));
        let port = given(&there);
        let back = lab.receive(&Packet::tcp(own, 80, vip(family), port, "SA"));

        assert_eq!(there, Seen::Redirected(Packet::tcp(vip(family), port, own, 80, "S")));
        assert_eq!(back, Seen::Redirected(Packet::tcp(vip(family), VIP_PORT, own, 40_000, "SA")));
    }
}

#[test]
fn a_local_pod_s_reply_is_not_rewritten_before_it_is_sent() {
    let family = Family::V4;
    let lab = Lab::with_backends(family, &[1]);
    lab.connect(family, 40_000);
    lab.tables.doubt(client(family));
    let reply = Packet::tcp(pod(family, 0), 80, client(family), 40_000, "A");

    assert_eq!(lab.receive(&reply), Seen::Passed, "a device of the Pod has received it");
    assert!(matches!(lab.send(&reply), Seen::Forwarded(_)));
}

#[test]
fn a_too_small_path_is_told_by_the_only_address_that_the_sender_knows() {
    for family in FAMILIES {
        let lab = remote(family);
        let port = given(&lab.receive(&to_vip(family, 40_000, "S")));
        let (client, vip, pod, node) = (client(family), vip(family), pod(family, 0), node(family));

        // A router towards the client complains about a reply.
        let quoted = Packet::tcp(vip, VIP_PORT, client, 40_000, "A").flow();
        let told = lab.icmp_from(&Packet::too_big(router(family), vip, &quoted));
        assert_eq!(told, Some((node, pod, Packet::tcp(pod, 80, node, port, "A").flow())));

        // A router towards the Pod complains about a request.
        let quoted = Packet::tcp(node, port, pod, 80, "A").flow();
        let told = lab.icmp_from(&Packet::too_big(router(family), node, &quoted));
        assert_eq!(told, Some((vip, client, Packet::tcp(client, 40_000, vip, VIP_PORT, "A").flow())));
    }
}
