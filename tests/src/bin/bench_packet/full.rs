//! A Pod elsewhere towards which every port of the range is taken, by flows that live.

use std::net::SocketAddr;

use anyhow::Result;
use beeline_tests::packets::{Datapath, Packet, Service};
use gateway_common::{Direction, FIRST_SOURCE_PORT, LAST_SOURCE_PORT, Protocol, maps};

use crate::bed::{Family, tracked};
use crate::case::Pods;

const PORT: u16 = 9999;

/// Where its service is reached.
pub fn frontend(family: Family) -> SocketAddr {
    SocketAddr::new(family.vip(0), PORT)
}

/// Programs it.
pub fn add(datapath: &mut Datapath, family: Family) -> Result<()> {
    let (frontend, pod) = (frontend(family), SocketAddr::new(family.pod(0), PORT));
    let service = datapath.serve(&Service::new(Protocol::TCP, frontend, &[(1, pod)]))?;
    let backend = datapath.add_backend(Protocol::TCP, pod)?;
    datapath.move_elsewhere(backend, family.node(0))?;
    let flows = (FIRST_SOURCE_PORT..=LAST_SOURCE_PORT).flat_map(|port| {
        let client = SocketAddr::new(family.newcomer(), port);
        let forward = Packet::flow(Protocol::TCP, client, frontend);
        let reverse = Packet::flow(Protocol::TCP, pod, SocketAddr::new(family.node(0), port));
        let entry = |to, direction| tracked(to, (backend, service), direction, Pods::Elsewhere);
        [
            (forward, entry(&reverse.reversed(), Direction::Forward)),
            (reverse, entry(&forward.reversed(), Direction::Reverse)),
        ]
    });
    datapath.insert(maps::CONNTRACK, flows)
}
