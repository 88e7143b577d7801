//! A VIP that moved here from another node of the segment: segments of connections that were begun there go on there.

use std::net::IpAddr;

use anyhow::Result;
use beeline_tests::packets::{Datapath, Outcome, PASS, Packet};
use gateway_common::{DropReason, Event, Protocol};

use crate::elsewhere::on_a_node;
use crate::place::Place;

/// A node that the routes of [`on_a_node`] lead to without a hop.
fn before(place: Place) -> IpAddr {
    match place {
        Place::V4 => [172, 31, 0, 9].into(),
        Place::V6 => [0xfd00, 0x31, 0, 0, 0, 0, 0, 9].into(),
    }
}

fn moved_here(place: Place, protocol: Protocol) -> Result<Datapath> {
    let mut datapath = place.with_one_pod(protocol)?;
    datapath.relay_to(place.vip(), before(place))?;
    Ok(datapath)
}

#[test]
fn a_segment_of_no_known_flow_is_sent_on_as_it_is_with_one_hop_less() -> Result<()> {
    on_a_node(|| {
        for place in Place::ALL {
            let mut datapath = moved_here(place, Protocol::TCP)?;
            let segment = Packet::tcp(place.client(40_000), place.frontend()).payload(b"of odd length");

            for packet in [segment.clone(), segment.clone().vlan(42)] {
                assert_eq!(datapath.ingress(&packet)?, Outcome::redirect(&segment.clone().hops(63)));
            }

            assert_eq!(datapath.egress(&segment)?, Outcome::pass(&segment));
            assert_eq!((datapath.events(Event::Relayed)?, datapath.drops(DropReason::NoFlow)?), (2, 0));
        }
        Ok(())
    })
}

#[test]
fn a_segment_that_went_to_and_fro_comes_to_an_end() -> Result<()> {
    on_a_node(|| {
        for place in Place::ALL {
            let mut datapath = moved_here(place, Protocol::TCP)?;
            let last = Packet::tcp(place.client(40_000), place.frontend()).hops(1);

            assert_eq!(datapath.ingress(&last)?, Outcome::drop(&last));

            assert_eq!(datapath.drops(DropReason::HopLimit)?, 1);
        }
        Ok(())
    })
}

#[test]
fn what_begins_here_stays_here() -> Result<()> {
    on_a_node(|| {
        for (place, protocol) in Place::with_protocols() {
            let (client, frontend) = (place.client(40_000), place.frontend());
            let mut datapath = moved_here(place, protocol)?;

            for packet in [Packet::first(protocol, client, frontend), Packet::later(protocol, client, frontend)] {
                let outcome = datapath.ingress(&packet)?;
                assert_eq!((outcome.verdict, place.backend_of(&outcome)), (PASS, place.pod(1)));
            }

            assert_eq!(datapath.events(Event::Relayed)?, 0);
        }
        Ok(())
    })
}
