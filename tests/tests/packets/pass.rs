//! What is not ours passes untouched, byte by byte.

use anyhow::Result;
use beeline_tests::packets::{Datapath, Outcome, PASS, Packet, Program};
use gateway_common::{DropReason, Protocol, maps};

use crate::place::Place;

/// Nothing was refused, dropped or tracked.
fn assert_untouched(datapath: &Datapath) -> Result<()> {
    for reason in DropReason::ALL {
        assert_eq!(datapath.drops(reason)?, 0, "{}", reason.label());
    }
    assert_eq!(datapath.entries()?, []);
    Ok(())
}

#[test]
fn traffic_between_strangers_passes_both_hooks() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;
        let packet = Packet::first(protocol, place.client(40_000), place.stranger()).payload(b"not for us");
        let forms = [
            packet.clone(),
            packet.clone().vlan(42),
            packet.clone().bare(),
            packet.clone().fragment(0, true),
            packet.fragment(185, false),
            Packet::echo(place.client(0).ip(), place.stranger().ip()),
            Packet::other(place.client(0).ip(), place.stranger().ip(), 132),
        ];

        for form in forms {
            assert_eq!(datapath.ingress(&form)?, Outcome::pass(&form), "{form:?}");
            assert_eq!(datapath.egress(&form)?, Outcome::pass(&form), "{form:?}");
        }
        assert_untouched(&datapath)?;
    }
    Ok(())
}

#[test]
fn arp_and_unknown_ether_types_pass() -> Result<()> {
    let mut datapath = Place::V4.with_one_pod(Protocol::TCP)?;
    let mut frame = vec![0xff; 12];
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([0xab; 20]);

    for ether_type in [[0x08, 0x06], [0x88, 0xcc], [0x88, 0x47]] {
        frame[12..14].copy_from_slice(&ether_type);
        for program in [Program::Ingress, Program::Egress] {
            let expected = Outcome { verdict: PASS, bytes: frame.clone() };
            assert_eq!(datapath.run(program, &frame)?, expected);
        }
    }
    assert_untouched(&datapath)
}

#[test]
fn a_frame_that_ends_within_its_headers_passes() -> Result<()> {
    for place in Place::ALL {
        let mut datapath = place.with_one_pod(Protocol::TCP)?;
        let bytes = Packet::syn(place.client(40_000), place.frontend()).vlan(42).bytes();
        let ip_header_ends = bytes.len() - 20;

        for length in [16, 18, 19, 30, ip_header_ends - 1] {
            let expected = Outcome { verdict: PASS, bytes: bytes[..length].to_vec() };
            assert_eq!(datapath.run(Program::Ingress, &bytes[..length])?, expected, "{length} bytes");
            assert_eq!(datapath.run(Program::Egress, &bytes[..length])?, expected, "{length} bytes");
        }
        assert_untouched(&datapath)?;
    }
    Ok(())
}

#[test]
fn an_address_that_a_filter_takes_for_ours_passes_all_the_same() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;
        datapath.set_filter(maps::VIP_FILTER, place.stranger().ip().into())?;
        datapath.set_filter(maps::BACKEND_FILTER, place.stranger().ip().into())?;
        let to_it = Packet::later(protocol, place.client(40_000), place.stranger());
        let from_it = Packet::later(protocol, place.stranger(), place.client(40_000));
        let other = Packet::other(place.client(0).ip(), place.stranger().ip(), 47);

        for packet in [to_it.clone(), to_it.fragment(9, true), other] {
            assert_eq!(datapath.ingress(&packet)?, Outcome::pass(&packet), "{packet:?}");
        }
        for packet in [from_it.clone(), from_it.fragment(0, true)] {
            assert_eq!(datapath.egress(&packet)?, Outcome::pass(&packet), "{packet:?}");
        }
        assert_untouched(&datapath)?;
    }
    Ok(())
}

#[test]
fn a_backends_own_traffic_passes() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;
        let connects_out = Packet::first(protocol, place.pod(1), place.stranger());
        let is_answered = Packet::later(protocol, place.stranger(), place.pod(1));
        let is_reached_directly = Packet::first(protocol, place.client(40_000), place.pod(1));

        assert_eq!(datapath.egress(&connects_out)?, Outcome::pass(&connects_out));
        assert_eq!(datapath.ingress(&is_answered)?, Outcome::pass(&is_answered));
        assert_eq!(datapath.ingress(&is_reached_directly)?, Outcome::pass(&is_reached_directly));
        assert_untouched(&datapath)?;
    }
    Ok(())
}

#[test]
fn an_echo_request_to_a_vip_passes() -> Result<()> {
    for place in Place::ALL {
        let mut datapath = place.with_one_pod(Protocol::TCP)?;
        let echo = Packet::echo(place.client(0).ip(), place.vip());

        assert_eq!(datapath.ingress(&echo)?, Outcome::pass(&echo));
        assert_untouched(&datapath)?;
    }
    Ok(())
}
