//! ICMP errors about a tracked flow: the receiver sees its own packet quoted, and all checksums are right.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use beeline_tests::packets::{Outcome, Packet};
use gateway_common::{Event, Protocol};

use crate::place::Place;

/// How much is quoted: everything, and the IP header with eight bytes, which is the least.
fn quotes(place: Place) -> [usize; 2] {
    let header = if place == Place::V4 { 20 } else { 40 };
    [usize::MAX, header + 8]
}

/// What the client has sent and the Pod has received, and what the Pod has sent and the client has received.
struct Views {
    sent_by_client: Packet,
    seen_by_pod: Packet,
    sent_by_pod: Packet,
    seen_by_client: Packet,
}

fn views(place: Place, protocol: Protocol) -> Views {
    let (client, frontend, pod) = (place.client(40_000), place.frontend(), place.pod(1));
    let packet = |from: SocketAddr, to: SocketAddr| Packet::later(protocol, from, to).payload(&[0x5a; 200]);
    Views {
        sent_by_client: packet(client, frontend),
        seen_by_pod: packet(client, pod),
        sent_by_pod: packet(pod, client),
        seen_by_client: packet(frontend, client),
    }
}

#[test]
fn a_pod_learns_of_a_small_path_to_the_client() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let views = views(place, protocol);
        let mut datapath = place.with_one_pod(protocol)?;
        place.open(&mut datapath, protocol, 40_000)?;

        for quote in quotes(place) {
            let error = |to: IpAddr, quoted| Packet::too_big(place.router(), to, 1300, quoted, quote);
            let received = error(place.vip(), &views.seen_by_client);
            let delivered = error(place.pod(1).ip(), &views.sent_by_pod);
            assert_eq!(datapath.ingress(&received)?, Outcome::pass(&delivered), "{quote} bytes quoted");
        }
        assert_eq!(datapath.events(Event::IcmpTranslated)?, 2);
    }
    Ok(())
}

#[test]
fn a_client_learns_of_a_small_path_to_the_pod() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let views = views(place, protocol);
        let mut datapath = place.with_one_pod(protocol)?;
        place.open(&mut datapath, protocol, 40_000)?;

        for quote in quotes(place) {
            // From a router behind the node or the node itself, which stays itself; and from the Pod, which is the VIP.
            for (from, seen_from) in [(place.router(), place.router()), (place.pod(1).ip(), place.vip())] {
                let client = place.client(0).ip();
                let sent = Packet::too_big(from, client, 1300, &views.seen_by_pod, quote);
                let received = Packet::too_big(seen_from, client, 1300, &views.sent_by_client, quote);
                assert_eq!(datapath.egress(&sent)?, Outcome::pass(&received), "{quote} bytes quoted, from {from}");
            }
        }
    }
    Ok(())
}

#[test]
fn an_error_is_translated_behind_a_vlan_tag_and_without_a_link_layer_header() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let views = views(place, protocol);
        let mut datapath = place.with_one_pod(protocol)?;
        place.open(&mut datapath, protocol, 40_000)?;
        let received = Packet::too_big(place.router(), place.vip(), 1300, &views.seen_by_client, 548);
        let delivered = Packet::too_big(place.router(), place.pod(1).ip(), 1300, &views.sent_by_pod, 548);

        let (tagged, expected) = (received.clone().vlan(42), delivered.clone().vlan(42));
        assert_eq!(datapath.ingress(&tagged)?, Outcome::pass(&expected));
        assert_eq!(datapath.ingress(&received.bare())?, Outcome::pass(&delivered.bare()));
    }
    Ok(())
}

#[test]
fn a_quoted_udp_checksum_of_zero_stays_zero() -> Result<()> {
    let place = Place::V4;
    let views = views(place, Protocol::UDP);
    let mut datapath = place.with_one_pod(Protocol::UDP)?;
    place.open(&mut datapath, Protocol::UDP, 40_000)?;
    let (quoted, expected) = (views.seen_by_client.without_checksum(), views.sent_by_pod.without_checksum());
    let received = Packet::too_big(place.router(), place.vip(), 1300, &quoted, 548);
    let delivered = Packet::too_big(place.router(), place.pod(1).ip(), 1300, &expected, 548);

    assert_eq!(datapath.ingress(&received)?, Outcome::pass(&delivered));
    Ok(())
}

#[test]
fn errors_about_flows_that_are_not_tracked_pass() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let views = views(place, protocol);
        let mut datapath = place.with_one_pod(protocol)?;
        let received = Packet::too_big(place.router(), place.vip(), 1300, &views.seen_by_client, 548);
        let sent = Packet::too_big(place.router(), place.client(0).ip(), 1300, &views.seen_by_pod, 548);

        assert_eq!(datapath.ingress(&received)?, Outcome::pass(&received));
        assert_eq!(datapath.egress(&sent)?, Outcome::pass(&sent));
        assert_eq!(datapath.events(Event::IcmpTranslated)?, 0);
    }
    Ok(())
}

#[test]
fn errors_about_a_flow_whose_backend_is_gone_pass() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let views = views(place, protocol);
        let mut datapath = place.with_one_pod(protocol)?;
        place.open(&mut datapath, protocol, 40_000)?;
        datapath.remove_backend(0)?;
        let received = Packet::too_big(place.router(), place.vip(), 1300, &views.seen_by_client, 548);

        assert_eq!(datapath.ingress(&received)?, Outcome::pass(&received));
    }
    Ok(())
}

#[test]
fn other_errors_and_broken_quotes_pass() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let views = views(place, protocol);
        let mut datapath = place.with_one_pod(protocol)?;
        place.open(&mut datapath, protocol, 40_000)?;
        let unreachable = Packet::unreachable(place.router(), place.vip(), &views.seen_by_client);
        assert_eq!(datapath.ingress(&unreachable)?, Outcome::pass(&unreachable));

        let least = quotes(place)[1];
        for quote in [0, 1, 19, least - 1] {
            let bytes = Packet::too_big(place.router(), place.vip(), 1300, &views.seen_by_client, quote).bytes();
            let outcome = datapath.run(beeline_tests::packets::Program::Ingress, &bytes)?;
            assert_eq!((outcome.verdict, outcome.bytes), (beeline_tests::packets::PASS, bytes), "{quote} bytes quoted");
        }
        assert_eq!(datapath.events(Event::IcmpTranslated)?, 0);
    }
    Ok(())
}
