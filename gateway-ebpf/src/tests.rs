//! The story of a packet, told to tables of ordinary memory.

mod clients;
mod elsewhere;
mod lab;
mod memory;
mod relay;
mod sockets;
mod solicitations;
mod steered;

use gateway_common::{DropReason, Event, FlowState};
use proptest::prelude::*;

use self::lab::{Lab, Packet, Seen, client, pod, vip};
use crate::parse::LinkHeader;
use crate::verdict::Shortage;

const VIP_PORT: u16 = 8000;

#[test]
fn a_syn_to_a_frontend_reaches_a_backend_and_its_reply_comes_from_the_vip() {
    for family in lab::FAMILIES {
        let lab = Lab::with_backends(family, &[1]);
        let syn = Packet::tcp(client(family), 40_000, vip(family), VIP_PORT, "S");

        let seen = lab.receive(&syn);
        let reply = lab.send(&Packet::tcp(pod(family, 0), 80, client(family), 40_000, "SA"));

        assert_eq!(seen, Seen::Forwarded(Packet::tcp(client(family), 40_000, pod(family, 0), 80, "S")));
        assert_eq!(reply, Seen::Forwarded(Packet::tcp(vip(family), VIP_PORT, client(family), 40_000, "SA")));
    }
}

#[test]
fn connections_land_in_exact_proportion_to_their_weights() {
    let lab = Lab::with_backends(lab::FAMILIES[0], &[5, 3, 1]);

    let landed = lab.connect_many(0..900);

    assert_eq!(landed, [500, 300, 100]);
}

#[test]
fn udp_flows_land_in_exact_proportion_to_their_weights_and_stay() {
    let family = lab::FAMILIES[1];
    let lab = Lab::with_backends(family, &[5, 3, 1]);
    let datagram = |port| Packet::udp(client(family), port, vip(family), VIP_PORT);

    let first: Vec<_> = (1000..1900).map(|port| lab.receive(&datagram(port)).backend(family)).collect();
    let second: Vec<_> = (1000..1900).map(|port| lab.receive(&datagram(port)).backend(family)).collect();

    assert_eq!(lab::tally(&first), [500, 300, 100]);
    assert_eq!(first, second);
}

#[test]
fn a_share_without_backends_is_refused_and_the_others_do_not_grow() {
    let lab = Lab::with_groups(lab::FAMILIES[0], &[(9, &[1, 1]), (1, &[])]);

    let landed = lab.connect_many(0..100);

    assert_eq!(landed, [45, 45]);
    assert_eq!(lab.refused(DropReason::NoBackend), 10);
}

#[test]
fn what_a_vip_does_not_serve_is_refused_or_dropped_by_name() {
    let family = lab::FAMILIES[0];
    let lab = Lab::with_backends(family, &[1]);
    let (client, vip) = (client(family), vip(family));

    assert_eq!(lab.receive(&Packet::tcp(client, 1, vip, 9, "S")), Seen::Refused(DropReason::NoFrontend));
    assert_eq!(lab.receive(&Packet::udp(client, 1, vip, 9)), Seen::Refused(DropReason::NoFrontend));
    assert_eq!(lab.receive(&Packet::tcp(client, 1, vip, VIP_PORT, "A")), Seen::Refused(DropReason::NoFlow));
    assert_eq!(lab.receive(&Packet::other(client, vip)), Seen::Dropped(DropReason::Protocol));
    assert_eq!(lab.receive(&Packet::fragment(client, vip)), Seen::Dropped(DropReason::Fragment));
}

#[test]
fn what_is_not_ours_passes_even_if_the_filter_says_perhaps() {
    let family = lab::FAMILIES[0];
    let lab = Lab::with_backends(family, &[1]);
    let elsewhere = lab::address("192.0.2.77");
    lab.tables.doubt(elsewhere);

    assert_eq!(lab.receive(&Packet::tcp(client(family), 1, elsewhere, 80, "A")), Seen::Passed);
    assert_eq!(lab.receive(&Packet::other(client(family), elsewhere)), Seen::Passed);
    assert_eq!(lab.receive(&Packet::fragment(client(family), elsewhere)), Seen::Passed);
    assert_eq!(lab.send(&Packet::tcp(elsewhere, 80, client(family), 1, "A")), Seen::Passed);
}

#[test]
fn a_tcp_flow_whose_backend_is_gone_is_refused_and_forgotten() {
    let family = lab::FAMILIES[0];
    let lab = Lab::with_backends(family, &[1]);
    lab.connect(family, 40_000);

    lab.tables.retire(0);

    let data = Packet::tcp(client(family), 40_000, vip(family), VIP_PORT, "A");
    assert_eq!(lab.receive(&data), Seen::Refused(DropReason::BackendGone));
    assert_eq!(lab.tables.entries(), 0);
    assert_eq!(lab.tables.active(0), 0);
}

#[test]
fn a_udp_flow_whose_backend_is_gone_moves_at_its_next_packet() {
    let family = lab::FAMILIES[1];
    let lab = Lab::with_backends(family, &[1, 1]);
    let datagram = Packet::udp(client(family), 5000, vip(family), VIP_PORT);
    let first = lab.receive(&datagram).backend(family);

    lab.tables.retire(first as u32);
    lab.tables.schedule_only(1 - first as u32);

    assert_eq!(lab.receive(&datagram).backend(family), 1 - first);
    assert_eq!(lab.tables.event(Event::Reselected), 1);
    assert_eq!(lab.send(&Packet::udp(pod(family, first), 80, client(family), 5000)), Seen::Passed);
}

#[test]
fn a_connection_is_established_by_an_answer_and_closes_with_both_fins_or_a_reset() {
    let family = lab::FAMILIES[0];
    let lab = Lab::with_backends(family, &[1]);
    let from_client = |flags| Packet::tcp(client(family), 40_000, vip(family), VIP_PORT, flags);
    let from_pod = |flags| Packet::tcp(pod(family, 0), 80, client(family), 40_000, flags);
    let state = || lab.tables.state(&from_client("A").flow());

    let _ = lab.receive(&from_client("S"));
    let _ = lab.receive(&from_client("A"));
    assert_eq!(state(), Some(FlowState::Syn), "nobody has answered yet");
    let _ = lab.send(&from_pod("SA"));
    let _ = lab.receive(&from_client("A"));
    assert_eq!(state(), Some(FlowState::Established));
    let _ = lab.receive(&from_client("FA"));
    assert_eq!(state(), Some(FlowState::Established), "half-closed");
    let _ = lab.send(&from_pod("FA"));
    assert_eq!(state(), Some(FlowState::Closing));

    let _ = lab.receive(&from_client("S"));
    assert_eq!(state(), Some(FlowState::Syn), "a new connection by the same tuple");
    assert_eq!(lab.tables.event(Event::FlowReplaced), 1);
    let _ = lab.send(&from_pod("R"));
    assert_eq!(state(), Some(FlowState::Closing));
}

#[test]
fn a_pod_s_answer_to_a_direct_connection_passes_once_the_flow_by_the_same_ports_is_over() {
    let family = lab::FAMILIES[0];
    let lab = Lab::with_backends(family, &[1]);
    let answer = Packet::tcp(pod(family, 0), 80, client(family), 40_000, "SA");
    lab.connect(family, 40_000);
    assert!(matches!(lab.send(&answer), Seen::Forwarded(_)), "sent again while the flow lives");
    let _ = lab.receive(&Packet::tcp(client(family), 40_000, vip(family), VIP_PORT, "R"));

    assert_eq!(lab.send(&answer), Seen::Passed);
    assert_eq!(lab.tables.entries(), 0);
}

#[test]
fn one_client_port_to_two_vips_that_meet_on_one_backend_keeps_both_flows_apart() {
    let family = lab::FAMILIES[0];
    let lab = Lab::with_backends(family, &[1]);
    let second_vip = lab::address("203.0.113.2");
    lab.tables.another_vip(second_vip, VIP_PORT);
    lab.connect(family, 40_000);

    let seen = lab.receive(&Packet::tcp(client(family), 40_000, second_vip, VIP_PORT, "S"));

    let Seen::Forwarded(packet) = seen else { panic!("{seen:?}") };
    let port = packet.flow().source_port.get();
    assert_ne!(port, 40_000);
    assert_eq!(lab.tables.event(Event::PortTranslated), 1);
    assert_eq!(
        lab.send(&Packet::tcp(pod(family, 0), 80, client(family), port, "SA")),
        Seen::Forwarded(Packet::tcp(second_vip, VIP_PORT, client(family), 40_000, "SA"))
    );
    assert_eq!(
        lab.send(&Packet::tcp(pod(family, 0), 80, client(family), 40_000, "SA")),
        Seen::Forwarded(Packet::tcp(vip(family), VIP_PORT, client(family), 40_000, "SA"))
    );
}

#[test]
fn a_full_table_refuses_new_flows_and_leaves_nothing_half_done() {
    let family = lab::FAMILIES[0];
    let lab = Lab::with_backends(family, &[1]);
    lab.tables.limit_entries(3);
    lab.connect(family, 40_000);

    let seen = lab.receive(&Packet::tcp(client(family), 40_001, vip(family), VIP_PORT, "S"));

    assert_eq!(seen, Seen::Refused(DropReason::ConntrackFull));
    assert_eq!(lab.tables.entries(), 2);
    let data = Packet::tcp(client(family), 40_000, vip(family), VIP_PORT, "A");
    assert_eq!(lab.receive(&data).backend(family), 0);
}

#[test]
fn an_idle_flow_is_collected_and_one_refreshed_by_a_reply_is_not() {
    let family = lab::FAMILIES[0];
    let lab = Lab::with_backends(family, &[1]);
    lab.connect(family, 40_000);
    lab.connect(family, 40_001);
    lab.tables.advance_seconds(7999);
    let _ = lab.send(&Packet::tcp(pod(family, 0), 80, client(family), 40_001, "A"));
    lab.tables.advance_seconds(2);

    let idle = Packet::tcp(client(family), 40_000, vip(family), VIP_PORT, "A").flow();
    let fresh = Packet::tcp(client(family), 40_001, vip(family), VIP_PORT, "A").flow();

    assert!(lab.collect(&idle));
    assert!(!lab.collect(&fresh));
    assert_eq!(lab.tables.entries(), 2);
    assert_eq!(lab.tables.active(0), 1);
}

#[test]
fn a_too_small_path_is_told_to_the_sender_in_the_terms_it_knows() {
    for family in lab::FAMILIES {
        let lab = Lab::with_backends(family, &[1]);
        lab.connect(family, 40_000);
        let (client, vip, pod) = (client(family), vip(family), pod(family, 0));

        // A router towards the client complains about a reply, which it saw coming from the VIP.
        let quoted = Packet::tcp(vip, VIP_PORT, client, 40_000, "A").flow();
        let told = lab.icmp(&Packet::too_big(lab::router(family), vip, &quoted));
        assert_eq!(told, Some((pod, Packet::tcp(pod, 80, client, 40_000, "A").flow())));

        // The node complains about a packet that it was to bring to the Pod.
        let quoted = Packet::tcp(client, 40_000, pod, 80, "A").flow();
        let told = lab.icmp(&Packet::too_big(lab::router(family), client, &quoted));
        assert_eq!(told, Some((client, Packet::tcp(client, 40_000, vip, VIP_PORT, "A").flow())));

        let foreign = Packet::tcp(client, 1, lab::router(family), 2, "A").flow();
        assert_eq!(lab.icmp(&Packet::too_big(lab::router(family), client, &foreign)), None);
    }
}

#[test]
fn an_ipv6_packet_that_claims_ipv4_addresses_meets_no_ipv4_flow() {
    let lab = Lab::with_backends(lab::FAMILIES[0], &[1]);
    let reset = Packet::tcp(client(lab::FAMILIES[0]), 40_000, vip(lab::FAMILIES[0]), VIP_PORT, "R");
    lab.connect(lab::FAMILIES[0], 40_000);

    let seen = lab.receive(&reset.in_ipv6());

    assert_eq!(seen, Seen::Passed);
    assert_eq!(lab.tables.state(&reset.flow()), Some(FlowState::Established));
}

#[test]
fn a_transport_header_beyond_all_reach_is_not_looked_for_elsewhere() {
    let family = lab::FAMILIES[1];
    let lab = Lab::with_backends(family, &[1]);
    let syn = Packet::tcp(client(family), 40_000, vip(family), VIP_PORT, "S");

    let seen = lab.receive(&syn.behind_extensions(4, 255));

    assert_eq!(seen, Seen::Truncated(Shortage::Ours));
}

#[test]
fn a_packet_that_ends_before_its_headers_do_asks_for_more() {
    let family = lab::FAMILIES[0];
    let lab = Lab::with_backends(family, &[1]);
    let syn = Packet::tcp(client(family), 1, vip(family), VIP_PORT, "S");

    assert_eq!(lab.receive(&syn.truncated(20)), Seen::Truncated(Shortage::Unknown));
    assert_eq!(lab.receive(&syn.truncated(40)), Seen::Truncated(Shortage::Ours));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_datapath_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), ethernet: bool) {
        let lab = Lab::with_backends(lab::FAMILIES[0], &[1]);
        let link = if ethernet { LinkHeader::Ethernet } else { LinkHeader::None };
        lab.look_at(&bytes, link);
    }

    #[test]
    fn no_bytes_behind_a_vip_s_address_make_the_datapath_panic(tail in prop::collection::vec(any::<u8>(), 0..120), at in 14usize..54) {
        for family in lab::FAMILIES {
            let lab = Lab::with_backends(family, &[1]);
            let mut bytes = Packet::tcp(client(family), 1, vip(family), VIP_PORT, "S").bytes().to_vec();
            bytes.truncate(at);
            bytes.extend(&tail);
            lab.look_at(&bytes, LinkHeader::Ethernet);
        }
    }

    #[test]
    fn translation_and_its_reverse_restore_the_packet(port in 1u16.., payload in prop::collection::vec(any::<u8>(), 0..64), udp: bool) {
        for family in lab::FAMILIES {
            let lab = Lab::with_backends(family, &[1]);
            let make = |a, ap, b, bp, flags| {
                let packet = if udp { Packet::udp(a, ap, b, bp) } else { Packet::tcp(a, ap, b, bp, flags) };
                packet.carrying(&payload)
            };
            let there = lab.receive(&make(client(family), port, vip(family), VIP_PORT, "S"));
            let Seen::Forwarded(there) = there else { panic!("{there:?}") };
            prop_assert!(there.checksums_are_valid());

            let back = lab.send(&there.answer());
            let Seen::Forwarded(back) = back else { panic!("{back:?}") };

            prop_assert!(back.checksums_are_valid());
            prop_assert_eq!(back.answer(), make(client(family), port, vip(family), VIP_PORT, "S"));
        }
    }

    #[test]
    fn an_established_flow_never_moves_whatever_is_updated_meanwhile(steps in prop::collection::vec((0u8..4, 0u16..6, 0u32..4), 1..120)) {
        let family = lab::FAMILIES[0];
        let lab = Lab::with_backends(family, &[1, 1, 1, 1]);
        let mut homes = std::collections::BTreeMap::new();
        for (what, port, backend) in steps {
            match what {
                0 => lab.tables.schedule_only(backend),
                1 => lab.tables.schedule_weights(&[backend, 1, 2, 3 - backend.min(3)]),
                _ => {
                    let opens = !homes.contains_key(&port);
                    let packet = Packet::tcp(client(family), port, vip(family), VIP_PORT, if opens { "S" } else { "A" });
                    let seen = lab.receive(&packet).backend(family);
                    prop_assert_eq!(*homes.entry(port).or_insert(seen), seen);
                }
            }
        }
    }
}
