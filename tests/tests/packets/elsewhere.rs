//! Pods of other nodes: rewritten completely at ingress, in both directions, and sent from there.
//!
//! The programs ask the host's routes, so these tests run in a namespace that forwards and has some.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use beeline_tests::netns::{Group, Lifetime, Namespace};
use beeline_tests::packets::{Datapath, Extension, Outcome, PASS, Packet, REDIRECT, flags};
use gateway_common::{DropReason, Event, Flow, Protocol};

use crate::place::Place;

/// What the way to the second Pod takes.
const SMALL_MTU: u16 = 1400;

/// Runs a test on a node with routes to Pods and clients: the second Pod is behind a small MTU, and to the third there
/// is none.
pub fn on_a_node(test: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    let group = Group::create(Lifetime::Process)?;
    let node = Namespace::create(&group, "node")?;
    for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        node.sysctl(&format!("net/{family}"), "1")?;
    }
    let [pod_v4, pod_v6] = Place::ALL.map(|place| place.pod(2).ip());
    let [hidden_v4, hidden_v6] = Place::ALL.map(|place| place.pod(3).ip());
    node.ip(&format!(
        "link add eth0 type veth peer name wire
        link set wire up
        link set eth0 up
        addr add 172.31.0.1/24 dev eth0
        addr add fd00:31::1/64 dev eth0
        route add 10.1.0.0/24 via 172.31.0.2
        route add 192.0.2.0/24 via 172.31.0.3
        route add {pod_v4} via 172.31.0.2 mtu lock {SMALL_MTU}
        route add blackhole {hidden_v4}
        route add 2001:db8:a::/48 via fd00:31::2
        route add 2001:db8:c0::/48 via fd00:31::3
        route add {pod_v6} via fd00:31::2 mtu lock {SMALL_MTU}
        route add blackhole {hidden_v6}"
    ))?;
    node.enter(test)?
}

/// A datapath with this one Pod, which is elsewhere.
fn with_remote_pod(place: Place, protocol: Protocol, number: u8) -> Result<Datapath> {
    let mut datapath = place.datapath(protocol, &[(1, place.pod(number))])?;
    datapath.move_elsewhere(0, place.node())?;
    Ok(datapath)
}

/// Where a client's flow comes from as its Pod sees it.
fn given(datapath: &Datapath, place: Place, flow: &Flow) -> Result<SocketAddr> {
    let entry = datapath.entry(flow)?.context("the flow is not tracked")?;
    assert!(entry.is_redirected());
    assert_eq!(entry.source.to_ip(), place.node());
    Ok(SocketAddr::new(place.node(), entry.source_port.get()))
}

/// Begins a flow of the client's port 40,000 and says where it comes from as its Pod sees it.
fn open(datapath: &mut Datapath, place: Place, protocol: Protocol) -> Result<SocketAddr> {
    let (client, frontend) = (place.client(40_000), place.frontend());
    assert_eq!(datapath.ingress(&Packet::first(protocol, client, frontend))?.verdict, REDIRECT);
    given(datapath, place, &Packet::flow(protocol, client, frontend))
}

#[test]
fn a_flow_to_a_pod_elsewhere_is_redirected_there_and_back() -> Result<()> {
    on_a_node(|| {
        for (place, protocol) in Place::with_protocols() {
            let (client, frontend, pod) = (place.client(40_000), place.frontend(), place.pod(1));
            let mut datapath = with_remote_pod(place, protocol, 1)?;
            let first = Packet::first(protocol, client, frontend);
            let outcome = datapath.ingress(&first)?;
            let node = given(&datapath, place, &Packet::flow(protocol, client, frontend))?;
            let later = Packet::later(protocol, client, frontend).payload(b"a request");
            let reply = Packet::later(protocol, pod, node).payload(b"an answer of odd length").hops(50);

            assert!((10_000..=29_999).contains(&node.port()), "{node}");
            assert_eq!(outcome, Outcome::redirect(&first.clone().between(node, pod).hops(63)));
            assert_eq!(datapath.ingress(&later)?, Outcome::redirect(&later.clone().between(node, pod).hops(63)));
            assert_eq!(datapath.ingress(&reply)?, Outcome::redirect(&reply.clone().between(frontend, client).hops(49)));
            assert_eq!(datapath.egress(&reply)?, Outcome::pass(&reply));
            assert_eq!(datapath.events(Event::SourceTranslated)?, 1);
        }
        Ok(())
    })
}

#[test]
fn headers_of_every_shape_are_rewritten_and_vlan_tags_go() -> Result<()> {
    on_a_node(|| {
        for (place, protocol) in Place::with_protocols() {
            let (client, frontend, pod) = (place.client(40_000), place.frontend(), place.pod(1));
            let mut datapath = with_remote_pod(place, protocol, 1)?;
            let node = open(&mut datapath, place, protocol)?;
            let later = Packet::later(protocol, client, frontend).payload(b"hello");
            let shaped = match place {
                Place::V4 => later.options(3),
                Place::V6 => later.extensions(&[Extension::HopByHop, Extension::DestinationOptions]),
            };
            let expected = Outcome::redirect(&shaped.clone().between(node, pod).hops(63));

            assert_eq!(datapath.ingress(&shaped)?, expected);
            assert_eq!(datapath.ingress(&shaped.clone().vlan(42))?, expected);
        }
        Ok(())
    })
}

#[test]
fn a_packet_without_a_link_layer_header_is_given_one() -> Result<()> {
    on_a_node(|| {
        for (place, protocol) in Place::with_protocols() {
            let (client, frontend, pod) = (place.client(40_000), place.frontend(), place.pod(1));
            let mut datapath = with_remote_pod(place, protocol, 1)?;
            let node = open(&mut datapath, place, protocol)?;
            let bare = Packet::later(protocol, client, frontend).payload(b"hello").bare();
            let rewritten = bare.clone().between(node, pod).hops(63).bytes();

            let outcome = datapath.ingress_bare(&bare)?;

            assert_eq!((outcome.verdict, &outcome.bytes[14..]), (REDIRECT, &rewritten[..]));
            assert_eq!(outcome.bytes[..14], [0; 14], "which the kernel fills in");
        }
        Ok(())
    })
}

/// Compares an ICMP error of the datapath with one that is built here, but for what a sender is free to choose.
fn assert_told(outcome: &Outcome, expected: &Packet) {
    let expected = expected.bytes();
    let is_v4 = expected[12..14] == [8, 0];
    let (addresses, content) = if is_v4 { (26..34, 34) } else { (22..54, 54) };
    assert_eq!(outcome.verdict, REDIRECT, "{outcome:?}");
    assert_eq!(outcome.bytes[..6], [2, 0, 0, 0, 0, 0xbb], "back to whom it came from");
    assert_eq!(outcome.bytes[addresses.clone()], expected[addresses], "{outcome:?}");
    assert_eq!(outcome.bytes[content..], expected[content..], "{outcome:?}");
}

#[test]
fn a_packet_that_crossed_too_many_routers_is_told_of() -> Result<()> {
    on_a_node(|| {
        for (place, protocol) in Place::with_protocols() {
            let (client, frontend, pod) = (place.client(40_000), place.frontend(), place.pod(1));
            let mut datapath = with_remote_pod(place, protocol, 1)?;
            let node = open(&mut datapath, place, protocol)?;

            for hops in [0, 1] {
                let request = Packet::later(protocol, client, frontend).payload(b"request").hops(hops);
                let reply = Packet::later(protocol, pod, node).payload(b"reply").hops(hops);
                let told = Packet::hop_limit(place.vip(), client.ip(), &request);
                assert_told(&datapath.ingress(&request)?, &told);
                assert_told(&datapath.ingress(&reply)?, &Packet::hop_limit(place.node(), pod.ip(), &reply));
            }
            assert_eq!((datapath.drops(DropReason::HopLimit)?, datapath.events(Event::IcmpSent)?), (4, 4));
        }
        Ok(())
    })
}

#[test]
fn a_packet_that_is_too_large_for_the_way_is_told_of() -> Result<()> {
    on_a_node(|| {
        for (place, protocol) in Place::with_protocols() {
            let client = place.client(40_000);
            let mut datapath = with_remote_pod(place, protocol, 2)?;
            open(&mut datapath, place, protocol)?;
            let network = if place == Place::V4 { 20 } else { 40 };
            let headers = network + if protocol == Protocol::TCP { 20 } else { 8 };
            let request =
                |bytes| Packet::later(protocol, client, place.frontend()).payload(&vec![0x5a; bytes - headers]);

            let outcome = datapath.ingress(&request(usize::from(SMALL_MTU) + 1))?;

            let mut quoted = request(usize::from(SMALL_MTU) + 1);
            let told = Packet::too_big(place.vip(), client.ip(), SMALL_MTU, &quoted, 128);
            assert_told(&outcome, &told);
            quoted = request(usize::from(SMALL_MTU));
            assert_eq!(datapath.ingress(&quoted)?.verdict, REDIRECT);
            assert_eq!((datapath.drops(DropReason::TooBig)?, datapath.events(Event::IcmpSent)?), (1, 1));
        }
        Ok(())
    })
}

#[test]
fn without_a_way_packets_are_dropped_by_name() -> Result<()> {
    on_a_node(|| {
        for (place, protocol) in Place::with_protocols() {
            let mut datapath = with_remote_pod(place, protocol, 3)?;
            let first = Packet::first(protocol, place.client(40_000), place.frontend());
            assert_eq!(datapath.ingress(&first)?, Outcome::drop(&first));

            let other = Packet::first(protocol, place.client(40_001), place.frontend());
            datapath.move_elsewhere(0, Ipv6Addr::UNSPECIFIED.into())?;
            assert_eq!(datapath.ingress(&other)?, Outcome::drop(&other));
            assert_eq!(datapath.drops(DropReason::NoRoute)?, 2);
        }
        Ok(())
    })
}

#[test]
fn a_full_range_of_ports_refuses_by_name_and_no_two_flows_share_one() -> Result<()> {
    on_a_node(|| {
        for (place, protocol) in Place::with_protocols() {
            let mut datapath = with_remote_pod(place, protocol, 1)?;
            datapath.limit_source_ports(20_000, 20_011)?;

            let mut ports = Vec::new();
            for port in 40_000..40_012 {
                let client = place.client(port);
                assert_eq!(datapath.ingress(&Packet::first(protocol, client, place.frontend()))?.verdict, REDIRECT);
                ports.push(given(&datapath, place, &Packet::flow(protocol, client, place.frontend()))?.port());
            }
            let refused = Packet::first(protocol, place.client(40_012), place.frontend());

            assert_eq!(datapath.ingress(&refused)?, Outcome::pass(&refused));
            assert_eq!(datapath.drops(DropReason::NoSourcePort)?, 1);
            ports.sort_unstable();
            assert_eq!(ports, (20_000..20_012).collect::<Vec<u16>>());
            assert_eq!(datapath.entries()?.len(), 24);
        }
        Ok(())
    })
}

#[test]
fn three_times_as_many_connections_as_ports_are_refused_by_name_until_ports_are_free_again() -> Result<()> {
    const PORTS: u16 = 1000;
    on_a_node(|| {
        for place in Place::ALL {
            let mut datapath = with_remote_pod(place, Protocol::TCP, 1)?;
            datapath.limit_source_ports(10_000, 10_000 + PORTS - 1)?;
            let syn = |port| Packet::syn(place.client(port), place.frontend());
            let mut outcomes = Vec::new();
            for port in 40_000..40_000 + 3 * PORTS {
                outcomes.push(datapath.ingress(&syn(port))?.verdict);
            }

            let (taken, refused) = outcomes.split_at(PORTS.into());
            assert!(taken.iter().all(|&verdict| verdict == REDIRECT));
            assert!(refused.iter().all(|&verdict| verdict == PASS));
            assert_eq!(datapath.drops(DropReason::NoSourcePort)?, u64::from(2 * PORTS));
            let entries = datapath.entries()?;
            let forward = entries.iter().filter(|(_, entry)| entry.source.to_ip() == place.node());
            let ports: BTreeSet<u16> = forward.map(|(_, entry)| entry.source_port.get()).collect();
            assert_eq!((entries.len(), ports.len()), (2 * usize::from(PORTS), PORTS.into()), "no two share a port");

            for port in 40_000..40_000 + PORTS {
                datapath.ingress(&Packet::tcp(place.client(port), place.frontend()).flags(flags::RST))?;
            }
            for port in 50_000..50_000 + PORTS / 2 {
                assert_eq!(datapath.ingress(&syn(port))?.verdict, REDIRECT, "{port}");
            }
        }
        Ok(())
    })
}

#[test]
fn errors_about_a_small_path_are_redirected_like_the_flow() -> Result<()> {
    on_a_node(|| {
        for (place, protocol) in Place::with_protocols() {
            let (client, frontend, pod) = (place.client(40_000), place.frontend(), place.pod(1));
            let mut datapath = with_remote_pod(place, protocol, 1)?;
            let node = open(&mut datapath, place, protocol)?;
            let packet = |from: SocketAddr, to: SocketAddr| Packet::later(protocol, from, to).payload(&[0x5a; 200]);
            let error = |from: IpAddr, to: IpAddr, quoted: &Packet| Packet::too_big(from, to, 1300, quoted, 548);

            let about_request = error(place.router(), place.node(), &packet(node, pod));
            let told = error(place.vip(), client.ip(), &packet(client, frontend)).hops(63);
            assert_eq!(datapath.ingress(&about_request)?, Outcome::redirect(&told));
            let about_reply = error(place.router(), place.vip(), &packet(frontend, client));
            let told = error(place.node(), pod.ip(), &packet(pod, node)).hops(63);
            assert_eq!(datapath.ingress(&about_reply)?, Outcome::redirect(&told));
            assert_eq!(datapath.events(Event::IcmpTranslated)?, 2);
        }
        Ok(())
    })
}

#[test]
fn a_pod_that_is_its_own_client_is_reached_through_the_vip() -> Result<()> {
    on_a_node(|| {
        for (place, protocol) in Place::with_protocols() {
            let (frontend, pod) = (place.frontend(), place.pod(1));
            let own = SocketAddr::new(pod.ip(), 40_000);
            let mut datapath = place.with_one_pod(protocol)?;
            let first = Packet::first(protocol, own, frontend);

            let outcome = datapath.ingress(&first)?;

            let entry = datapath.entry(&Packet::flow(protocol, own, frontend))?.context("the flow is not tracked")?;
            let vip = SocketAddr::new(place.vip(), entry.source_port.get());
            let reply = Packet::later(protocol, pod, vip);
            assert_eq!(outcome, Outcome::redirect(&first.clone().between(vip, pod).hops(63)));
            assert_eq!(datapath.ingress(&reply)?, Outcome::redirect(&reply.clone().between(frontend, own).hops(63)));
        }
        Ok(())
    })
}

#[test]
fn what_is_addressed_to_the_node_itself_passes() -> Result<()> {
    on_a_node(|| {
        for (place, protocol) in Place::with_protocols() {
            let mut datapath = with_remote_pod(place, protocol, 1)?;
            let ssh = SocketAddr::new(place.node(), 22);

            for packet in [
                Packet::first(protocol, place.client(1), ssh),
                Packet::later(protocol, place.client(1), ssh),
                Packet::later(protocol, place.client(1), ssh).fragment(0, true),
                Packet::echo(place.client(0).ip(), place.node()),
            ] {
                assert_eq!(datapath.ingress(&packet)?, Outcome::pass(&packet));
            }
            assert_eq!(datapath.entries()?, []);
        }
        Ok(())
    })
}
