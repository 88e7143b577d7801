//! Counters: connections begun and tracked, packets and bytes of both directions, for frontend and backend.

use anyhow::Result;
use beeline_tests::packets::Packet;
use gateway_common::{Traffic, maps};

use crate::place::Place;

#[test]
fn connections_are_counted_for_frontend_and_backend() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.datapath(protocol, &[(2, place.pod(1)), (1, place.pod(2))])?;

        for port in 1..=6 {
            place.open(&mut datapath, protocol, port)?;
        }

        let counted = |map, id| datapath.connections(map, id).map(|found| (found.new, found.active));
        assert_eq!(counted(maps::FRONTEND_CONNS, 0)?, (6, 6));
        assert_eq!(counted(maps::BACKEND_CONNS, 0)?, (4, 4));
        assert_eq!(counted(maps::BACKEND_CONNS, 1)?, (2, 2));
    }
    Ok(())
}

#[test]
fn packets_and_bytes_of_both_directions_are_counted_from_the_link_layer_header_on() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;
        let client = place.client(40_000);
        let there = [
            Packet::first(protocol, client, place.frontend()),
            Packet::later(protocol, client, place.frontend()).payload(&[1; 1000]),
        ];
        let back = Packet::later(protocol, place.pod(1), client).payload(&[2; 333]).vlan(42);

        for packet in &there {
            datapath.ingress(packet)?;
        }
        datapath.egress(&back)?;

        let bytes = there.iter().chain([&back]).map(|packet| packet.bytes().len() as u64).sum();
        assert_eq!(datapath.traffic(maps::FRONTEND_BYTES, 0)?, Traffic { packets: 3, bytes });
        assert_eq!(datapath.traffic(maps::BACKEND_BYTES, 0)?, Traffic { packets: 3, bytes });
    }
    Ok(())
}

#[test]
fn what_is_refused_or_not_ours_is_counted_for_nobody() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.datapath(protocol, &[])?;
        let client = place.client(40_000);

        datapath.ingress(&Packet::first(protocol, client, place.frontend()))?;
        datapath.ingress(&Packet::first(protocol, client, place.stranger()))?;

        assert_eq!(datapath.traffic(maps::FRONTEND_BYTES, 0)?, Traffic::default());
        assert_eq!(datapath.connections(maps::FRONTEND_CONNS, 0)?.new, 0);
    }
    Ok(())
}
