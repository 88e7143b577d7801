//! Forwarding: the exact bytes there and back, whatever the headers look like.

use anyhow::Result;
use beeline_tests::packets::{Extension, Outcome, Packet, flags};
use gateway_common::Protocol;

use crate::place::Place;

#[test]
fn a_flow_goes_to_the_backend_and_its_replies_come_from_the_vip() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let (client, frontend, pod) = (place.client(40_000), place.frontend(), place.pod(1));
        let mut datapath = place.with_one_pod(protocol)?;
        let first = Packet::first(protocol, client, frontend);
        let later = Packet::later(protocol, client, frontend).payload(b"a request");
        let reply = Packet::later(protocol, pod, client).payload(b"an answer of odd length");

        assert_eq!(datapath.ingress(&first)?, Outcome::pass(&first.clone().between(client, pod)));
        assert_eq!(datapath.ingress(&later)?, Outcome::pass(&later.clone().between(client, pod)));
        assert_eq!(datapath.egress(&reply)?, Outcome::pass(&reply.clone().between(frontend, client)));
    }
    Ok(())
}

#[test]
fn every_shape_of_packet_is_rewritten_there_and_back() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let (client, frontend, pod) = (place.client(40_000), place.frontend(), place.pod(1));
        let mut datapath = place.with_one_pod(protocol)?;
        place.open(&mut datapath, protocol, 40_000)?;

        for shape in shapes(place) {
            let there = shape(Packet::later(protocol, client, frontend).payload(b"hello"));
            let back = shape(Packet::later(protocol, pod, client).payload(b"hello back"));
            assert_eq!(datapath.ingress(&there)?, Outcome::pass(&there.clone().between(client, pod)), "{there:?}");
            assert_eq!(datapath.egress(&back)?, Outcome::pass(&back.clone().between(frontend, client)), "{back:?}");
        }
    }
    Ok(())
}

type Shape = Box<dyn Fn(Packet) -> Packet>;

/// Ways to wrap the same content.
fn shapes(place: Place) -> Vec<Shape> {
    let mut shapes: Vec<Shape> = vec![Box::new(|packet| packet.vlan(42)), Box::new(Packet::bare)];
    match place {
        Place::V4 => {
            for words in [1, 3, 10] {
                shapes.push(Box::new(move |packet| packet.options(words)));
            }
            shapes.push(Box::new(|packet| packet.options(10).vlan(42)));
            shapes.push(Box::new(|packet| packet.options(2).bare()));
        }
        Place::V6 => {
            use Extension::{Authentication, DestinationOptions, HopByHop, Routing};
            let atomic = Extension::Fragment { offset: 0, more: false };
            let chains: [&'static [Extension]; 5] = [
                &[HopByHop],
                &[Routing],
                &[DestinationOptions],
                &[Authentication],
                &[HopByHop, Routing, Authentication, DestinationOptions],
            ];
            for chain in chains {
                shapes.push(Box::new(move |packet| packet.extensions(chain)));
            }
            shapes.push(Box::new(move |packet| packet.extensions(&[atomic])));
            shapes.push(Box::new(move |packet| packet.extensions(&[HopByHop, atomic, DestinationOptions])));
            shapes.push(Box::new(|packet| packet.extensions(&[HopByHop, Routing]).vlan(42)));
            shapes.push(Box::new(|packet| packet.extensions(&[HopByHop, Routing]).bare()));
        }
    }
    shapes
}

#[test]
fn a_udp_checksum_of_zero_stays_zero() -> Result<()> {
    let place = Place::V4;
    let (client, frontend, pod) = (place.client(40_000), place.frontend(), place.pod(1));
    let mut datapath = place.with_one_pod(Protocol::UDP)?;
    let there = Packet::udp(client, frontend).payload(b"query").without_checksum();
    let back = Packet::udp(pod, client).payload(b"answer").without_checksum();

    assert_eq!(datapath.ingress(&there)?, Outcome::pass(&there.clone().between(client, pod)));
    assert_eq!(datapath.egress(&back)?, Outcome::pass(&back.clone().between(frontend, client)));
    Ok(())
}

#[test]
fn a_udp_checksum_that_becomes_zero_is_written_as_its_other_form() -> Result<()> {
    for place in Place::ALL {
        let (client, frontend, pod) = (place.client(40_000), place.frontend(), place.pod(1));
        let mut datapath = place.with_one_pod(Protocol::UDP)?;
        let datagram = |payload: [u8; 2]| Packet::udp(client, frontend).payload(&payload);
        let rewritten = |payload| Outcome::pass(&datagram(payload).between(client, pod));

        // What the checksum is with zeros for a payload, put in place of them, makes the sum 0xffff and it zero.
        let bytes = rewritten([0, 0]).bytes;
        let payload = [bytes[bytes.len() - 4], bytes[bytes.len() - 3]];
        let outcome = datapath.ingress(&datagram(payload))?;

        assert_eq!(outcome, rewritten(payload));
        assert_eq!(outcome.bytes[bytes.len() - 4..], [0xff, 0xff, payload[0], payload[1]]);
    }
    Ok(())
}

#[test]
fn a_backend_that_listens_on_the_frontends_own_port_gets_it_unchanged() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let client = place.client(40_000);
        let mut pod = place.pod(1);
        pod.set_port(place.frontend().port());
        let mut datapath = place.datapath(protocol, &[(1, pod)])?;
        let first = Packet::first(protocol, client, place.frontend());

        assert_eq!(datapath.ingress(&first)?, Outcome::pass(&first.clone().between(client, pod)));
    }
    Ok(())
}

#[test]
fn what_a_program_forwards_keeps_flags_and_everything_behind_the_ports() -> Result<()> {
    let place = Place::V4;
    let (client, frontend, pod) = (place.client(40_000), place.frontend(), place.pod(1));
    let mut datapath = place.with_one_pod(Protocol::TCP)?;
    place.open(&mut datapath, Protocol::TCP, 40_000)?;
    let answer = Packet::tcp(pod, client).flags(flags::SYN | flags::ACK);
    let urgent = Packet::tcp(client, frontend).flags(flags::ACK | 0x28).payload(&[0xff; 1400]);

    assert_eq!(datapath.egress(&answer)?, Outcome::pass(&answer.clone().between(frontend, client)));
    assert_eq!(datapath.ingress(&urgent)?, Outcome::pass(&urgent.clone().between(client, pod)));
    Ok(())
}
