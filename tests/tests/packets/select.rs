//! Selection: exact by weight, in two levels, and never thrown back by an update.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Result;
use beeline_tests::packets::{Datapath, Group, Outcome, Packet, Service};
use gateway_common::{Algorithm, DropReason, Protocol};

use crate::place::Place;

/// How many of these new flows each backend is given.
fn shares(
    place: Place,
    datapath: &mut Datapath,
    protocol: Protocol,
    ports: std::ops::Range<u16>,
) -> Result<BTreeMap<SocketAddr, u32>> {
    let mut shares = BTreeMap::new();
    for port in ports {
        *shares.entry(place.open(datapath, protocol, port)?).or_default() += 1;
    }
    Ok(shares)
}

#[test]
fn any_nine_consecutive_flows_fall_as_weights_of_5_3_1_say() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let pods = [(5, place.pod(1)), (3, place.pod(2)), (1, place.pod(3))];
        let mut datapath = place.datapath(protocol, &pods)?;
        let mut given = Vec::new();
        for port in 10_000..10_045 {
            given.push(place.open(&mut datapath, protocol, port)?);
        }

        for run in given.windows(9) {
            let share = |pod| run.iter().filter(|given| **given == pod).count();
            assert_eq!([5, 3, 1], [share(place.pod(1)), share(place.pod(2)), share(place.pod(3))]);
        }
    }
    Ok(())
}

#[test]
fn nine_hundred_flows_fall_500_300_100() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let pods = [(5, place.pod(1)), (3, place.pod(2)), (1, place.pod(3))];
        let mut datapath = place.datapath(protocol, &pods)?;

        let shares = shares(place, &mut datapath, protocol, 10_000..10_900)?;

        assert_eq!(shares, BTreeMap::from([(place.pod(1), 500), (place.pod(2), 300), (place.pod(3), 100)]));
    }
    Ok(())
}

#[test]
fn later_packets_of_a_flow_take_no_step() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.datapath(protocol, &[(1, place.pod(1)), (1, place.pod(2))])?;
        let mut given = Vec::new();
        for port in [1, 2, 3, 4] {
            let backend = place.open(&mut datapath, protocol, port)?;
            let later = Packet::later(protocol, place.client(port), place.frontend());
            for _ in 0..3 {
                let expected = Outcome::pass(&later.clone().between(place.client(port), backend));
                assert_eq!(datapath.ingress(&later)?, expected);
            }
            given.push(backend);
        }

        assert_eq!(given, [place.pod(1), place.pod(2), place.pod(1), place.pod(2)]);
    }
    Ok(())
}

#[test]
fn another_schedule_does_not_throw_the_cursor_back() -> Result<()> {
    let place = Place::V4;
    let weights =
        |weights: [u32; 3]| Group { backends: weights.into_iter().zip([1, 2, 3].map(|n| place.pod(n))).collect() };
    let mut datapath = place.datapath(Protocol::TCP, &weights([1, 1, 1]).backends)?;
    let mut given = Vec::new();

    // One flow, then the same schedule written anew, three times over: a cursor at 0 would give the first Pod always.
    for port in [1, 2, 3] {
        given.push(place.open(&mut datapath, Protocol::TCP, port)?);
        datapath.write_group(0, 0, Protocol::TCP, &weights([1, 1, 1]))?;
    }

    assert_eq!(given, [place.pod(1), place.pod(2), place.pod(3)]);
    datapath.write_group(0, 0, Protocol::TCP, &weights([0, 2, 3]))?;
    let shares = shares(place, &mut datapath, Protocol::TCP, 10..60)?;
    assert_eq!(shares, BTreeMap::from([(place.pod(2), 20), (place.pod(3), 30)]));
    Ok(())
}

#[test]
fn a_weight_of_zero_ends_new_flows_and_no_established_one() -> Result<()> {
    for (place, protocol) in Place::with_protocols() {
        let mut datapath = place.with_one_pod(protocol)?;
        place.open(&mut datapath, protocol, 1)?;
        let drained = Group { backends: vec![(0, place.pod(1)), (1, place.pod(2))] };
        datapath.write_group(0, 0, protocol, &drained)?;
        let later = Packet::later(protocol, place.client(1), place.frontend());

        assert_eq!(datapath.ingress(&later)?, Outcome::pass(&later.clone().between(place.client(1), place.pod(1))));
        assert_eq!(shares(place, &mut datapath, protocol, 10..20)?, BTreeMap::from([(place.pod(2), 10)]));
    }
    Ok(())
}

#[test]
fn two_levels_of_weights_are_both_exact() -> Result<()> {
    for place in Place::ALL {
        let group = |pods: std::ops::RangeInclusive<u8>| Group { backends: pods.map(|n| (1, place.pod(n))).collect() };
        let groups = vec![(9, group(1..=7)), (1, group(8..=12))];
        let mut datapath = Datapath::load()?;
        datapath.serve(&Service { groups, ..Service::new(Protocol::TCP, place.frontend(), &[]) })?;

        let shares = shares(place, &mut datapath, Protocol::TCP, 10_000..10_700)?;

        let expected = (1..=12).map(|n| (place.pod(n), if n <= 7 { 90 } else { 14 }));
        assert_eq!(shares, expected.collect());
    }
    Ok(())
}

#[test]
fn an_empty_group_keeps_its_share_and_refuses_it() -> Result<()> {
    let place = Place::V4;
    let groups = vec![(3, Group { backends: vec![(1, place.pod(1))] }), (1, Group::default())];
    let mut datapath = Datapath::load()?;
    datapath.serve(&Service { groups, ..Service::new(Protocol::TCP, place.frontend(), &[]) })?;

    for port in 10_000..10_400 {
        datapath.ingress(&Packet::syn(place.client(port), place.frontend()))?;
    }

    assert_eq!(datapath.entries()?.len(), 2 * 300);
    assert_eq!(datapath.drops(DropReason::NoBackend)?, 100);
    Ok(())
}

#[test]
fn random_selection_comes_near_the_weights() -> Result<()> {
    const FLOWS: u16 = 2000;
    for (place, protocol) in Place::with_protocols() {
        let backends = [(3, place.pod(1)), (1, place.pod(2))];
        let mut datapath = Datapath::load()?;
        let algorithm = Algorithm::Random;
        datapath.serve(&Service { algorithm, ..Service::new(protocol, place.frontend(), &backends) })?;

        let shares = shares(place, &mut datapath, protocol, 10_000..10_000 + FLOWS)?;

        // A binomial share of 1/4 of 2,000 is 500 with a deviation of 19.4. Ten deviations happen to nobody.
        let second = shares[&place.pod(2)];
        assert!((306..=694).contains(&second), "{second} of {FLOWS} at a weight of one in four");
        assert_eq!(shares.values().sum::<u32>(), u32::from(FLOWS));
    }
    Ok(())
}
