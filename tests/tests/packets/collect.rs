//! Collection: an idle flow loses both entries, a flow that was refreshed meanwhile survives.

use anyhow::{Context, Result};
use beeline_tests::packets::{Datapath, Packet};
use gateway_common::{Flow, FlowState, Protocol, Settings, maps};

use crate::place::Place;

const PORT: u16 = 40_000;

/// Makes both entries of a flow look as if nobody had sent a packet since the machine began.
fn age(datapath: &mut Datapath) -> Result<()> {
    let aged: Vec<_> = datapath
        .entries()?
        .into_iter()
        .map(|(flow, mut entry)| {
            entry.last_seen_ns = 0;
            (flow, entry)
        })
        .collect();
    datapath.insert(maps::CONNTRACK, aged)
}

/// Time-outs that any machine has been up for longer than, except the one for this state, which none has.
fn patient_with(state: Option<FlowState>) -> Settings {
    let timeout = |of| if state == Some(of) { u64::MAX } else { 1 };
    Settings {
        syn_timeout_ns: timeout(FlowState::Syn),
        established_timeout_ns: timeout(FlowState::Established),
        closing_timeout_ns: timeout(FlowState::Closing),
        udp_timeout_ns: timeout(FlowState::Datagrams),
        ..Settings::default()
    }
}

/// A datapath with one flow that has gone idle, the keys of its two entries, and the state it is in.
fn idle(place: Place, protocol: Protocol) -> Result<(Datapath, [Flow; 2], FlowState)> {
    let mut datapath = place.with_one_pod(protocol)?;
    place.open(&mut datapath, protocol, PORT)?;
    age(&mut datapath)?;
    let forward = Packet::flow(protocol, place.client(PORT), place.frontend());
    let reverse = Packet::flow(protocol, place.pod(1), place.client(PORT));
    let entry = datapath.entry(&forward)?.context("the flow has no entry")?;
    Ok((datapath, [forward, reverse], entry.state().context("the entry has no state")?))
}

#[test]
fn an_idle_flow_is_collected_by_either_of_its_entries() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        for index in [0, 1] {
            let (mut datapath, flows, _) = idle(place, protocol)?;
            datapath.set(maps::SETTINGS, [(0, patient_with(None))])?;

            assert_eq!(datapath.collect(&[flows[index]])?, 1);

            assert_eq!(datapath.entries()?, []);
            for map in [maps::FRONTEND_CONNS, maps::BACKEND_CONNS] {
                let connections = datapath.connections(map, 0)?;
                assert_eq!((connections.new, connections.active), (1, 0));
            }
        }
    }
    Ok(())
}

#[test]
fn a_flow_that_either_side_has_refreshed_meanwhile_survives() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        for by_client in [true, false] {
            let (mut datapath, flows, _) = idle(place, protocol)?;
            if by_client {
                datapath.ingress(&Packet::first(protocol, place.client(PORT), place.frontend()))?;
            } else {
                datapath.egress(&Packet::later(protocol, place.pod(1), place.client(PORT)))?;
            }

            assert_eq!(datapath.collect(&flows)?, 0);
            assert_eq!(datapath.entries()?.len(), 2);
        }
    }
    Ok(())
}

#[test]
fn each_state_has_its_own_time() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let (mut datapath, flows, state) = idle(place, protocol)?;
        datapath.set(maps::SETTINGS, [(0, patient_with(Some(state)))])?;

        assert_eq!(datapath.collect(&flows)?, 0, "{state:?}");

        datapath.set(maps::SETTINGS, [(0, patient_with(None))])?;
        assert_eq!(datapath.collect(&flows)?, 1, "{state:?}");
    }
    Ok(())
}

#[test]
fn candidates_that_are_gone_already_count_for_nothing() -> Result<()> {
    let (mut datapath, [forward, reverse], _) = idle(Place::V4, Protocol::UDP)?;
    datapath.set(maps::SETTINGS, [(0, patient_with(None))])?;
    let nobody = Packet::flow(Protocol::UDP, Place::V4.client(1), Place::V4.frontend());

    assert_eq!(datapath.collect(&[nobody, forward, reverse, forward])?, 1);
    assert_eq!(datapath.connections(maps::FRONTEND_CONNS, 0)?.active, 0);
    Ok(())
}

#[test]
fn a_collected_flow_can_begin_anew() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let (mut datapath, flows, _) = idle(place, protocol)?;
        datapath.set(maps::SETTINGS, [(0, patient_with(None))])?;
        datapath.collect(&flows)?;

        assert_eq!(place.open(&mut datapath, protocol, PORT)?, place.pod(1));
        assert_eq!(datapath.entries()?.len(), 2);
    }
    Ok(())
}
