//! A flow's life: it keeps its backend while that exists, closes as TCP closes, and never takes another's place.

use anyhow::{Context, Result};
use beeline_tests::packets::flags::{ACK, FIN, RST, SYN};
use beeline_tests::packets::{Datapath, Outcome, Packet, SMALL, Service};
use gateway_common::maps::Capacities;
use gateway_common::{ConntrackEntry, DropReason, Event, FlowState, Protocol, maps};

use crate::place::Place;

const TCP: Protocol = Protocol::TCP;
const UDP: Protocol = Protocol::UDP;
const PORT: u16 = 40_000;

/// The forward entry of the flow from the client's port to the frontend.
fn forward_entry(place: Place, datapath: &Datapath, protocol: Protocol) -> Result<ConntrackEntry> {
    let flow = Packet::flow(protocol, place.client(PORT), place.frontend());
    datapath.entry(&flow)?.context("the flow has no entry")
}

fn state(place: Place, datapath: &Datapath) -> Result<Option<FlowState>> {
    Ok(forward_entry(place, datapath, TCP)?.state())
}

/// A connection between the client and the first of two Pods, with the handshake done.
fn connected(place: Place) -> Result<Datapath> {
    let mut datapath = place.datapath(TCP, &[(1, place.pod(1)), (1, place.pod(2))])?;
    assert_eq!(place.open(&mut datapath, TCP, PORT)?, place.pod(1));
    from_pod(place, &mut datapath, SYN | ACK)?;
    from_client(place, &mut datapath, ACK)?;
    Ok(datapath)
}

fn from_client(place: Place, datapath: &mut Datapath, flags: u8) -> Result<Outcome> {
    datapath.ingress(&Packet::tcp(place.client(PORT), place.frontend()).flags(flags))
}

fn from_pod(place: Place, datapath: &mut Datapath, flags: u8) -> Result<Outcome> {
    datapath.egress(&Packet::tcp(place.pod(1), place.client(PORT)).flags(flags))
}

#[test]
fn each_flow_has_two_entries_of_which_either_is_the_others_twin() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;
        place.open(&mut datapath, protocol, PORT)?;

        let forward = Packet::flow(protocol, place.client(PORT), place.frontend());
        let reverse = Packet::flow(protocol, place.pod(1), place.client(PORT));
        let entry = |flow| datapath.entry(flow)?.context("the flow has no entry");
        assert_eq!(entry(&forward)?.twin(protocol), reverse);
        assert_eq!(entry(&reverse)?.twin(protocol), forward);
        assert_eq!(datapath.entries()?.len(), 2);
    }
    Ok(())
}

#[test]
fn a_retransmitted_syn_keeps_its_backend() -> Result<()> {
    for place in Place::ALL {
        let mut datapath = place.datapath(TCP, &[(1, place.pod(1)), (1, place.pod(2))])?;

        let backends = [(); 3].map(|()| place.open(&mut datapath, TCP, PORT));

        for backend in backends {
            assert_eq!(backend?, place.pod(1));
        }
        assert_eq!(state(place, &datapath)?, Some(FlowState::Syn));
        assert_eq!(place.open(&mut datapath, TCP, PORT + 1)?, place.pod(2));
    }
    Ok(())
}

#[test]
fn a_connection_is_established_when_both_have_spoken() -> Result<()> {
    for place in Place::ALL {
        let mut datapath = place.with_one_pod(TCP)?;
        place.open(&mut datapath, TCP, PORT)?;
        from_client(place, &mut datapath, ACK)?;
        assert_eq!(state(place, &datapath)?, Some(FlowState::Syn));

        from_pod(place, &mut datapath, SYN | ACK)?;
        from_client(place, &mut datapath, ACK)?;

        assert_eq!(state(place, &datapath)?, Some(FlowState::Established));
    }
    Ok(())
}

#[test]
fn fins_of_both_sides_close_a_connection_and_that_of_one_does_not() -> Result<()> {
    for place in Place::ALL {
        for client_first in [true, false] {
            let mut datapath = connected(place)?;
            let (first, second): (Side, Side) =
                if client_first { (from_client, from_pod) } else { (from_pod, from_client) };

            first(place, &mut datapath, FIN | ACK)?;
            first(place, &mut datapath, FIN | ACK)?;
            assert_eq!(state(place, &datapath)?, Some(FlowState::Established));

            second(place, &mut datapath, FIN | ACK)?;
            assert_eq!(state(place, &datapath)?, Some(FlowState::Closing));
            first(place, &mut datapath, ACK)?;
            assert_eq!(state(place, &datapath)?, Some(FlowState::Closing));
        }
    }
    Ok(())
}

type Side = fn(Place, &mut Datapath, u8) -> Result<Outcome>;

#[test]
fn a_reset_of_either_side_closes_a_connection() -> Result<()> {
    for place in Place::ALL {
        for side in [from_client as Side, from_pod] {
            let mut datapath = connected(place)?;
            side(place, &mut datapath, RST)?;
            assert_eq!(state(place, &datapath)?, Some(FlowState::Closing));
        }
    }
    Ok(())
}

#[test]
fn a_syn_on_a_closing_connection_begins_another() -> Result<()> {
    for place in Place::ALL {
        let mut datapath = connected(place)?;
        from_client(place, &mut datapath, RST)?;

        // The first connection took the first step of the schedule, this one takes the second.
        assert_eq!(place.open(&mut datapath, TCP, PORT)?, place.pod(2));

        assert_eq!(state(place, &datapath)?, Some(FlowState::Syn));
        assert_eq!(datapath.entries()?.len(), 2);
        assert_eq!(datapath.events(Event::FlowReplaced)?, 1);
        let connections = datapath.connections(maps::FRONTEND_CONNS, 0)?;
        assert_eq!((connections.new, connections.active), (2, 1));
    }
    Ok(())
}

#[test]
fn a_connection_whose_backend_is_gone_is_refused_and_forgotten() -> Result<()> {
    for place in Place::ALL {
        let mut datapath = connected(place)?;
        datapath.remove_backend(0)?;
        let segment = Packet::tcp(place.client(PORT), place.frontend());

        assert_eq!(datapath.ingress(&segment)?, Outcome::pass(&segment));

        assert_eq!(datapath.drops(DropReason::BackendGone)?, 1);
        assert_eq!(datapath.entries()?, []);
        assert_eq!(datapath.connections(maps::FRONTEND_CONNS, 0)?.active, 0);
    }
    Ok(())
}

#[test]
fn a_datagram_whose_backend_is_gone_goes_to_another() -> Result<()> {
    for place in Place::ALL {
        let mut datapath = place.datapath(UDP, &[(1, place.pod(1)), (1, place.pod(2))])?;
        assert_eq!(place.open(&mut datapath, UDP, PORT)?, place.pod(1));
        datapath.remove_backend(0)?;

        assert_eq!(place.open(&mut datapath, UDP, PORT)?, place.pod(2));

        assert_eq!(datapath.events(Event::Reselected)?, 1);
        assert_eq!(datapath.entries()?.len(), 2);
        assert_eq!(datapath.connections(maps::FRONTEND_CONNS, 0)?.active, 1);
        assert_eq!(datapath.connections(maps::BACKEND_CONNS, 0)?.active, 0);
    }
    Ok(())
}

#[test]
fn a_reply_of_a_backend_that_is_gone_is_dropped() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;
        place.open(&mut datapath, protocol, PORT)?;
        datapath.remove_backend(0)?;
        let reply = Packet::later(protocol, place.pod(1), place.client(PORT));

        assert_eq!(datapath.egress(&reply)?, Outcome::drop(&reply));
        assert_eq!(datapath.drops(DropReason::StaleReply)?, 1);
    }
    Ok(())
}

/// A datapath with two VIPs over the same Pods.
fn two_vips(place: Place, protocol: Protocol, pods: &[(u32, std::net::SocketAddr)]) -> Result<Datapath> {
    let mut datapath = place.datapath(protocol, pods)?;
    datapath.serve(&Service::new(protocol, place.other_frontend(), pods))?;
    Ok(datapath)
}

#[test]
fn one_client_port_to_two_vips_gets_another_backend_if_there_is_one() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let client = place.client(PORT);
        let mut datapath = two_vips(place, protocol, &[(1, place.pod(1)), (1, place.pod(2))])?;
        place.open(&mut datapath, protocol, PORT)?;
        let first = Packet::first(protocol, client, place.other_frontend());

        // The first Pod is next in turn for this VIP too, but there the replies of the other flow come from.
        assert_eq!(datapath.ingress(&first)?, Outcome::pass(&first.clone().between(client, place.pod(2))));

        for (pod, frontend) in [(place.pod(1), place.frontend()), (place.pod(2), place.other_frontend())] {
            let reply = Packet::later(protocol, pod, client).payload(b"reply");
            assert_eq!(datapath.egress(&reply)?, Outcome::pass(&reply.clone().between(frontend, client)));
        }
        assert_eq!(datapath.events(Event::PortTranslated)?, 0);
    }
    Ok(())
}

#[test]
fn one_client_port_to_two_vips_of_one_backend_has_its_port_translated() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let (client, pod) = (place.client(PORT), place.pod(1));
        let mut datapath = two_vips(place, protocol, &[(1, pod)])?;
        place.open(&mut datapath, protocol, PORT)?;
        let first = Packet::first(protocol, client, place.other_frontend()).payload(b"second");

        let outcome = datapath.ingress(&first)?;

        let flow = Packet::flow(protocol, client, place.other_frontend());
        let entry = datapath.entry(&flow)?.context("the second flow has no entry")?;
        let translated = place.client(entry.source_port.get());
        assert_ne!(translated, client);
        assert_eq!(outcome, Outcome::pass(&first.clone().between(translated, pod)));
        assert_eq!(datapath.events(Event::PortTranslated)?, 1);
        for (to, frontend) in [(client, place.frontend()), (translated, place.other_frontend())] {
            let reply = Packet::later(protocol, pod, to).payload(b"reply");
            assert_eq!(datapath.egress(&reply)?, Outcome::pass(&reply.clone().between(frontend, client)));
        }
    }
    Ok(())
}

#[test]
fn a_flow_that_has_closed_gives_its_replies_key_to_another() -> Result<()> {
    for place in Place::ALL {
        let (client, pod) = (place.client(PORT), place.pod(1));
        let mut datapath = two_vips(place, TCP, &[(1, pod)])?;
        place.open(&mut datapath, TCP, PORT)?;
        from_client(place, &mut datapath, RST)?;
        let syn = Packet::syn(client, place.other_frontend());

        assert_eq!(datapath.ingress(&syn)?, Outcome::pass(&syn.clone().between(client, pod)));

        assert_eq!(datapath.entries()?.len(), 2);
        let reply = Packet::tcp(pod, client).flags(SYN | ACK);
        assert_eq!(datapath.egress(&reply)?, Outcome::pass(&reply.clone().between(place.other_frontend(), client)));
    }
    Ok(())
}

#[test]
fn a_full_table_refuses_new_flows_by_name_and_carries_on_with_the_others() -> Result<()> {
    const ENTRIES: u32 = 64;
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = Datapath::with_capacities(Capacities { flows: ENTRIES / 2, ..SMALL })?;
        datapath.serve(&Service::new(protocol, place.frontend(), &[(1, place.pod(1))]))?;
        let mut refused = 0;
        for port in 1..=100 {
            let first = Packet::first(protocol, place.client(port), place.frontend());
            let outcome = datapath.ingress(&first)?;
            if outcome == Outcome::pass(&first) {
                refused += 1;
            } else {
                assert_eq!(outcome, Outcome::pass(&first.between(place.client(port), place.pod(1))));
            }
        }

        assert_eq!(refused, 100 - u64::from(ENTRIES) / 2);
        assert_eq!(datapath.drops(DropReason::ConntrackFull)?, refused);
        assert_eq!(datapath.entries()?.len(), ENTRIES as usize, "no entry is left without its twin");
        let later = Packet::later(protocol, place.client(1), place.frontend());
        assert_eq!(datapath.ingress(&later)?, Outcome::pass(&later.clone().between(place.client(1), place.pod(1))));
        let reply = Packet::later(protocol, place.pod(1), place.client(1));
        assert_eq!(datapath.egress(&reply)?, Outcome::pass(&reply.clone().between(place.frontend(), place.client(1))));
    }
    Ok(())
}
