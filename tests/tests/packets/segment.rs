//! Who asks the segment for a VIP: the question passes, so that the host answers, or it ends by name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use beeline_tests::packets::{DROP, Outcome, PASS, Packet, Program};
use gateway_common::{DropReason, Protocol};

use crate::place::Place;

fn arp_request(target: Ipv4Addr, vlan: bool) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 0xbb]);
    if vlan {
        frame.extend([0x81, 0, 0, 42]);
    }
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xbb, 192, 0, 2, 10, 0, 0, 0, 0, 0, 0]);
    frame.extend(target.octets());
    frame
}

#[test]
fn an_arp_request_for_a_vip_passes_only_where_this_node_answers() -> Result<()> {
    let place = Place::V4;
    let mut datapath = place.with_one_pod(Protocol::TCP)?;
    let IpAddr::V4(vip) = place.vip() else { panic!("an IPv4 address") };
    let requests = [arp_request(vip, false), arp_request(vip, true)];

    for request in &requests {
        assert_eq!(datapath.run(Program::Ingress, request)?.verdict, PASS);
    }
    datapath.leave_to_others(place.vip())?;

    for request in &requests {
        assert_eq!(datapath.run(Program::Ingress, request)?.verdict, DROP);
        assert_eq!(datapath.run(Program::Egress, request)?.verdict, PASS);
    }
    let other = arp_request(Ipv4Addr::new(192, 0, 2, 11), false);
    assert_eq!(datapath.run(Program::Ingress, &other)?.verdict, PASS);
    assert_eq!(datapath.drops(DropReason::NotAnnounced)?, 2);
    Ok(())
}

#[test]
fn a_node_whose_agent_is_dead_for_long_answers_no_more() -> Result<()> {
    let place = Place::V4;
    let mut datapath = place.with_one_pod(Protocol::TCP)?;
    let IpAddr::V4(vip) = place.vip() else { panic!("an IPv4 address") };
    let request = arp_request(vip, false);
    assert_eq!(datapath.run(Program::Ingress, &request)?.verdict, PASS);

    datapath.lapse()?;

    assert_eq!(datapath.run(Program::Ingress, &request)?.verdict, DROP);
    assert_eq!(datapath.drops(DropReason::NotAnnounced)?, 1);
    Ok(())
}

#[test]
fn a_neighbour_solicitation_for_a_vip_passes_only_where_this_node_answers() -> Result<()> {
    let place = Place::V6;
    let mut datapath = place.with_one_pod(Protocol::TCP)?;
    let IpAddr::V6(vip) = place.vip() else { panic!("an IPv6 address") };
    let client = place.client(0).ip();
    let group: IpAddr = "ff02::1:ff78:1".parse()?;
    let ask = |to: IpAddr, target: Ipv6Addr| Packet::neighbour_solicitation(client, to, target).hops(255);

    for to in [group, place.vip()] {
        assert_eq!(datapath.ingress(&ask(to, vip))?, Outcome::pass(&ask(to, vip)));
    }
    datapath.leave_to_others(place.vip())?;

    for to in [group, place.vip(), place.node()] {
        assert_eq!(datapath.ingress(&ask(to, vip))?, Outcome::drop(&ask(to, vip)));
    }
    let other = ask(group, "2001:db8::77".parse()?);
    assert_eq!(datapath.ingress(&other)?, Outcome::pass(&other));
    assert_eq!(datapath.drops(DropReason::NotAnnounced)?, 3);
    Ok(())
}
