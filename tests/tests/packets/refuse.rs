//! What is refused passes up unchanged, what is dropped ends here; either is counted by name.

use anyhow::Result;
use beeline_tests::packets::{DROP, Datapath, Extension, Outcome, Packet, Program, Service};
use gateway_common::{DropReason, Protocol};

use crate::place::Place;

/// The packet goes up as it is, and this reason alone is counted, once.
fn assert_refused(datapath: &mut Datapath, packet: &Packet, reason: DropReason) -> Result<()> {
    let before = datapath.drops(reason)?;
    assert_eq!(datapath.ingress(packet)?, Outcome::pass(packet), "{packet:?}");
    assert_eq!(datapath.drops(reason)? - before, 1, "{}: {packet:?}", reason.label());
    Ok(())
}

/// The packet ends, and this reason is counted, once.
fn assert_dropped(datapath: &mut Datapath, packet: &Packet, reason: DropReason) -> Result<()> {
    let before = datapath.drops(reason)?;
    assert_eq!(datapath.ingress(packet)?, Outcome::drop(packet), "{packet:?}");
    assert_eq!(datapath.drops(reason)? - before, 1, "{}: {packet:?}", reason.label());
    Ok(())
}

#[test]
fn a_port_of_a_vip_without_a_frontend_is_refused() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;
        let mut elsewhere = place.frontend();
        elsewhere.set_port(22);

        let packet = Packet::first(protocol, place.client(40_000), elsewhere);
        assert_refused(&mut datapath, &packet, DropReason::NoFrontend)?;
        assert_eq!(datapath.entries()?, []);
    }
    Ok(())
}

#[test]
fn the_other_protocol_on_a_frontends_port_is_refused() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let other = if protocol == Protocol::TCP { Protocol::UDP } else { Protocol::TCP };
        let mut datapath = place.with_one_pod(protocol)?;

        let packet = Packet::first(other, place.client(40_000), place.frontend());
        assert_refused(&mut datapath, &packet, DropReason::NoFrontend)?;
    }
    Ok(())
}

#[test]
fn a_vip_that_has_lost_its_frontends_refuses_still() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = Datapath::load()?;
        datapath.add_vip(place.vip())?;

        let packet = Packet::first(protocol, place.client(40_000), place.frontend());
        assert_refused(&mut datapath, &packet, DropReason::NoFrontend)?;
    }
    Ok(())
}

#[test]
fn a_frontend_without_backends_refuses() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.datapath(protocol, &[])?;
        let packet = Packet::first(protocol, place.client(40_000), place.frontend());
        assert_refused(&mut datapath, &packet, DropReason::NoBackend)?;

        let no_groups = Service { groups: Vec::new(), ..Service::new(protocol, place.other_frontend(), &[]) };
        datapath.serve(&no_groups)?;
        let packet = Packet::first(protocol, place.client(40_000), place.other_frontend());
        assert_refused(&mut datapath, &packet, DropReason::NoBackend)?;
        assert_eq!(datapath.entries()?, []);
    }
    Ok(())
}

#[test]
fn a_segment_without_syn_of_no_known_flow_is_refused() -> Result<()> {
    use beeline_tests::packets::flags::{ACK, FIN, RST, SYN};
    for place in Place::ALL {
        let mut datapath = place.with_one_pod(Protocol::TCP)?;
        for flags in [ACK, ACK | FIN, RST, SYN | ACK, SYN | RST, 0] {
            let packet = Packet::tcp(place.client(40_000), place.frontend()).flags(flags);
            assert_refused(&mut datapath, &packet, DropReason::NoFlow)?;
        }
        assert_eq!(datapath.entries()?, []);
    }
    Ok(())
}

#[test]
fn fragments_to_a_vip_are_dropped_also_those_of_a_tracked_flow() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;
        place.open(&mut datapath, protocol, 40_000)?;
        for port in [40_000, 40_001] {
            let whole = Packet::later(protocol, place.client(port), place.frontend()).payload(&[7; 64]);
            for (offset, more) in [(0, true), (8, true), (8, false)] {
                let fragment = whole.clone().fragment(offset, more);
                assert_dropped(&mut datapath, &fragment, DropReason::Fragment)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_fragmented_reply_of_a_tracked_flow_is_dropped() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;
        place.open(&mut datapath, protocol, 40_000)?;
        let reply = Packet::later(protocol, place.pod(1), place.client(40_000)).payload(&[7; 64]);
        let first = reply.clone().fragment(0, true);
        let of_another_flow = reply.between(place.pod(1), place.client(40_001)).fragment(0, true);

        assert_eq!(datapath.egress(&first)?, Outcome::drop(&first));
        assert_eq!(datapath.egress(&of_another_flow)?, Outcome::pass(&of_another_flow));
        assert_eq!(datapath.drops(DropReason::Fragment)?, 1);
    }
    Ok(())
}

#[test]
fn protocols_that_are_not_balanced_are_dropped_at_a_vip() -> Result<()> {
    for place in Place::ALL {
        let mut datapath = place.with_one_pod(Protocol::TCP)?;
        let foreign_icmp = if place == Place::V4 { 58 } else { 1 };
        for protocol in [4, 47, 50, 132, foreign_icmp] {
            let packet = Packet::other(place.client(0).ip(), place.vip(), protocol);
            assert_dropped(&mut datapath, &packet, DropReason::Protocol)?;
        }
    }
    Ok(())
}

#[test]
fn an_ipv4_header_shorter_than_itself_is_dropped_at_a_vip() -> Result<()> {
    let place = Place::V4;
    let mut datapath = place.with_one_pod(Protocol::TCP)?;
    for words in 0..5 {
        let mut bytes = Packet::syn(place.client(40_000), place.frontend()).bytes();
        bytes[14] = 0x40 | words;

        let expected = Outcome { verdict: DROP, bytes: bytes.clone() };
        assert_eq!(datapath.run(Program::Ingress, &bytes)?, expected);
    }
    assert_eq!(datapath.drops(DropReason::Malformed)?, 5);
    Ok(())
}

#[test]
fn a_packet_to_a_vip_that_ends_within_its_transport_header_is_dropped() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;
        let mut packet = Packet::first(protocol, place.client(40_000), place.frontend());
        if place == Place::V6 {
            packet = packet.extensions(&[Extension::HopByHop, Extension::DestinationOptions]);
        }
        let bytes = packet.bytes();

        for missing in [1, 5, 8] {
            let cut = &bytes[..bytes.len() - missing];
            assert_eq!(datapath.run(Program::Ingress, cut)?, Outcome { verdict: DROP, bytes: cut.to_vec() });
        }
        assert_eq!(datapath.drops(DropReason::Malformed)?, 3);
    }
    Ok(())
}

#[test]
fn a_reply_that_ends_within_its_transport_header_passes() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;
        place.open(&mut datapath, protocol, 40_000)?;
        let bytes = Packet::later(protocol, place.pod(1), place.client(40_000)).bytes();
        let cut = &bytes[..bytes.len() - 4];

        let outcome = datapath.run(Program::Egress, cut)?;

        assert_eq!((outcome.verdict, outcome.bytes.as_slice()), (beeline_tests::packets::PASS, cut));
    }
    Ok(())
}
