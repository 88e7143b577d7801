//! Clients: a service with affinity keeps each at its Pod, and one with source ranges lets in whom they name.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::packets::{Datapath, Group, Outcome, Packet, Service};
use gateway_common::{DropReason, Event, Protocol, maps};

use crate::place::Place;

const TIMEOUT: Duration = Duration::from_secs(100);
const ALMOST: Duration = Duration::from_secs(99);

/// A frontend whose clients stay with one of two Pods.
fn sticky(place: Place, protocol: Protocol, frontend: SocketAddr) -> Service {
    let pods = [(1, place.pod(1)), (1, place.pod(2))];
    Service { affinity_timeout_sec: TIMEOUT.as_secs() as u32, ..Service::new(protocol, frontend, &pods) }
}

fn with_affinity(place: Place, protocol: Protocol) -> Result<Datapath> {
    let mut datapath = Datapath::load()?;
    datapath.serve(&sticky(place, protocol, place.frontend()))?;
    Ok(datapath)
}

fn open_as(place: Place, datapath: &mut Datapath, protocol: Protocol, client: SocketAddr) -> Result<SocketAddr> {
    Ok(place.backend_of(&datapath.ingress(&Packet::first(protocol, client, place.frontend()))?))
}

#[test]
fn affinity_keeps_a_client_at_its_pod_and_gives_another_client_another() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = with_affinity(place, protocol)?;

        for port in 1..=10 {
            assert_eq!(place.open(&mut datapath, protocol, port)?, place.pod(1));
            assert_eq!(open_as(place, &mut datapath, protocol, place.other_client(port))?, place.pod(2));
        }
    }
    Ok(())
}

#[test]
fn a_client_is_remembered_from_its_last_new_connection_on() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = with_affinity(place, protocol)?;
        let client = place.client(1).ip();
        assert_eq!(place.open(&mut datapath, protocol, 1)?, place.pod(1));

        for port in 2..=4 {
            datapath.age_affinity(0, client, ALMOST)?;
            assert_eq!(place.open(&mut datapath, protocol, port)?, place.pod(1));
        }
        datapath.age_affinity(0, client, TIMEOUT)?;

        assert_eq!(place.open(&mut datapath, protocol, 5)?, place.pod(2));
        assert_eq!(place.open(&mut datapath, protocol, 6)?, place.pod(2));
    }
    Ok(())
}

#[test]
fn packets_of_an_established_flow_do_not_keep_its_client_remembered() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = with_affinity(place, protocol)?;
        place.open(&mut datapath, protocol, 1)?;
        datapath.age_affinity(0, place.client(1).ip(), ALMOST)?;
        let before = datapath.affinity(0, place.client(1).ip())?;

        datapath.ingress(&Packet::later(protocol, place.client(1), place.frontend()))?;

        assert_eq!(datapath.affinity(0, place.client(1).ip())?, before);
    }
    Ok(())
}

#[test]
fn a_client_whose_pod_is_gone_is_given_another_and_stays_there() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = with_affinity(place, protocol)?;
        assert_eq!(place.open(&mut datapath, protocol, 1)?, place.pod(1));

        datapath.remove_backend(0)?;
        datapath.write_group(0, 0, protocol, &Group { backends: vec![(1, place.pod(2)), (1, place.pod(3))] })?;

        let moved = place.open(&mut datapath, protocol, 2)?;
        assert_ne!(moved, place.pod(1));
        for port in 3..=6 {
            assert_eq!(place.open(&mut datapath, protocol, port)?, moved);
        }
    }
    Ok(())
}

#[test]
fn a_forgotten_client_follows_the_new_weights() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = with_affinity(place, protocol)?;
        assert_eq!(place.open(&mut datapath, protocol, 1)?, place.pod(1));

        datapath.write_group(0, 0, protocol, &Group { backends: vec![(0, place.pod(1)), (1, place.pod(2))] })?;
        datapath.forget_client(0, place.client(1).ip())?;

        assert_eq!(place.open(&mut datapath, protocol, 2)?, place.pod(2));
        let later = Packet::later(protocol, place.client(1), place.frontend());
        assert_eq!(datapath.ingress(&later)?, Outcome::pass(&later.clone().between(place.client(1), place.pod(1))));
    }
    Ok(())
}

#[test]
fn with_affinity_a_port_in_use_is_translated_rather_than_the_pod_left() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = with_affinity(place, protocol)?;
        datapath.serve(&sticky(place, protocol, place.other_frontend()))?;
        let mut open = |port, frontend| -> Result<SocketAddr> {
            Ok(place.backend_of(&datapath.ingress(&Packet::first(protocol, place.client(port), frontend))?))
        };

        assert_eq!(open(1, place.frontend())?, place.pod(1));
        assert_eq!(open(2, place.other_frontend())?, place.pod(1));
        assert_eq!(open(1, place.other_frontend())?, place.pod(1));

        assert_eq!(datapath.events(Event::PortTranslated)?, 1);
        let flow = Packet::flow(protocol, place.client(1), place.other_frontend());
        assert_ne!(datapath.entry(&flow)?.context("a flow")?.source_port.get(), 1);
    }
    Ok(())
}

#[test]
fn without_affinity_no_client_is_remembered() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;

        place.open(&mut datapath, protocol, 1)?;

        assert_eq!(datapath.affinity(0, place.client(1).ip())?, None);
    }
    Ok(())
}

/// A frontend for clients of these ranges, each a client's socket and a number of bits that are left out at the end.
fn restricted(place: Place, protocol: Protocol, ranges: &[(SocketAddr, u8)]) -> Result<Datapath> {
    let bits = if place == Place::V4 { 32 } else { 128 };
    let sources = Some(ranges.iter().map(|(client, wider)| (client.ip(), bits - wider)).collect());
    let mut datapath = Datapath::load()?;
    datapath.serve(&Service { sources, ..Service::new(protocol, place.frontend(), &[(1, place.pod(1))]) })?;
    Ok(datapath)
}

#[test]
fn a_restricted_frontend_lets_in_the_clients_of_its_ranges_and_drops_the_others_by_name() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = restricted(place, protocol, &[(place.client(1), 0)])?;

        assert_eq!(place.open(&mut datapath, protocol, 1)?, place.pod(1));
        let other = Packet::first(protocol, place.other_client(1), place.frontend());
        assert_eq!(datapath.ingress(&other)?, Outcome::drop(&other));

        assert_eq!(datapath.drops(DropReason::SourceDenied)?, 1);
        assert_eq!(datapath.entries()?.len(), 2, "the flow that was let in");
        assert_eq!(datapath.connections(maps::FRONTEND_CONNS, 0)?.new, 1);
    }
    Ok(())
}

#[test]
fn a_range_holds_every_client_that_begins_with_its_bits() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        for wider in [1, 8, if place == Place::V4 { 32 } else { 128 }] {
            let mut datapath = restricted(place, protocol, &[(place.client(1), wider)])?;

            assert_eq!(place.open(&mut datapath, protocol, 1)?, place.pod(1));
            assert_eq!(open_as(place, &mut datapath, protocol, place.other_client(1))?, place.pod(1));
        }
    }
    Ok(())
}

#[test]
fn a_restricted_frontend_without_ranges_lets_nobody_in() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = restricted(place, protocol, &[])?;

        let first = Packet::first(protocol, place.client(1), place.frontend());

        assert_eq!(datapath.ingress(&first)?, Outcome::drop(&first));
    }
    Ok(())
}

#[test]
fn ranges_of_another_frontend_let_nobody_in_here() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = restricted(place, protocol, &[])?;
        let sources = Some(vec![(place.client(1).ip(), 0)]);
        let pods = [(1, place.pod(2))];
        datapath.serve(&Service { sources, ..Service::new(protocol, place.other_frontend(), &pods) })?;

        let first = Packet::first(protocol, place.client(1), place.frontend());
        assert_eq!(datapath.ingress(&first)?, Outcome::drop(&first));

        let first = Packet::first(protocol, place.client(1), place.other_frontend());
        assert_eq!(place.backend_of(&datapath.ingress(&first)?), place.pod(2));
    }
    Ok(())
}

#[test]
fn an_established_flow_survives_that_its_client_is_not_let_in_any_more() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;
        place.open(&mut datapath, protocol, 1)?;

        datapath.restrict(0)?;

        let later = Packet::later(protocol, place.client(1), place.frontend());
        assert_eq!(datapath.ingress(&later)?, Outcome::pass(&later.clone().between(place.client(1), place.pod(1))));
        let new = Packet::first(protocol, place.client(2), place.frontend());
        assert_eq!(datapath.ingress(&new)?, Outcome::drop(&new));
    }
    Ok(())
}
