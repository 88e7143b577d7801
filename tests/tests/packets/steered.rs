//! Frontends whose connections a listener of the host takes: their segments go up to the host as they are.

use std::net::{IpAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use beeline_tests::packets::{Datapath, Outcome, Packet};
use gateway_common::{DropReason, Event, Protocol, maps};

use crate::elsewhere::on_a_node;
use crate::place::Place;

fn steered(place: Place) -> Result<Datapath> {
    let mut datapath = place.with_one_pod(Protocol::TCP)?;
    datapath.steer(place.frontend(), 0)?;
    Ok(datapath)
}

#[test]
fn segments_pass_unchanged_and_each_syn_is_counted_as_a_connection() -> Result<()> {
    for place in Place::ALL {
        let mut datapath = steered(place)?;
        let (client, frontend) = (place.client(40_000), place.frontend());

        for packet in [
            Packet::syn(client, frontend),
            Packet::tcp(client, frontend).payload(b"GET /"),
            Packet::syn(client, frontend).vlan(42),
        ] {
            assert_eq!(datapath.ingress(&packet)?, Outcome::pass(&packet));
        }

        assert_eq!(datapath.entries()?, []);
        let counted = datapath.connections(maps::FRONTEND_CONNS, 0)?;
        assert_eq!((counted.new, counted.active), (2, 0));
        assert_eq!((datapath.drops(DropReason::NoFlow)?, datapath.drops(DropReason::NoBackend)?), (0, 0));
    }
    Ok(())
}

#[test]
fn a_flow_of_before_keeps_its_backend() -> Result<()> {
    for place in Place::ALL {
        let mut datapath = place.with_one_pod(Protocol::TCP)?;
        place.open(&mut datapath, Protocol::TCP, 40_000)?;
        datapath.steer(place.frontend(), 0)?;

        let old = Packet::tcp(place.client(40_000), place.frontend());
        let new = Packet::syn(place.client(40_001), place.frontend());

        assert_eq!(place.backend_of(&datapath.ingress(&old)?), place.pod(1));
        assert_eq!(datapath.ingress(&new)?, Outcome::pass(&new));
    }
    Ok(())
}

/// A connection of this host with itself at the VIP, and the packet that its client would send.
fn connection_at_the_vip(place: Place) -> Result<(TcpStream, TcpStream, Packet)> {
    let listener = TcpListener::bind(place.frontend())?;
    let client = TcpStream::connect(place.frontend())?;
    let packet = Packet::tcp(client.local_addr()?, place.frontend());
    Ok((listener.accept()?.0, client, packet))
}

#[test]
fn at_a_vip_that_moved_here_a_segment_passes_if_the_host_has_its_connection_and_else_is_sent_on() -> Result<()> {
    on_a_node(|| {
        for place in Place::ALL {
            let mut datapath = steered(place)?;
            let before: IpAddr = if place == Place::V4 { "172.31.0.9".parse()? } else { "fd00:31::9".parse()? };
            datapath.relay_to(place.vip(), before)?;
            let bits = if place == Place::V4 { 32 } else { 128 };
            let added = std::process::Command::new("ip")
                .args(["addr", "add", &format!("{}/{bits}", place.vip()), "dev", "lo"])
                .status()
                .context("cannot run `ip`")?;
            assert!(added.success());
            let (_served, client, known) = connection_at_the_vip(place)?;
            let unknown = Packet::tcp(place.client(40_000), place.frontend());

            assert_eq!(datapath.ingress(&known)?, Outcome::pass(&known));
            assert_eq!(datapath.ingress(&unknown)?, Outcome::redirect(&unknown.clone().hops(63)));
            let first = Packet::syn(place.client(40_000), place.frontend());
            assert_eq!(datapath.ingress(&first)?, Outcome::pass(&first));

            assert_eq!(datapath.events(Event::Relayed)?, 1);
            drop(client);
        }
        Ok(())
    })
}
