//! Backends elsewhere: the source that their packets bear, the devices that lead there, and ways that change.

use super::*;

fn one(pod: u8) -> Model {
    model(vec![(key(1, 80), vec![group("a", 1, &[(pod, 1)])])], &[pod])
}

/// The same with the Pod at another place.
fn moved(pod: u8, place: Place) -> Model {
    let mut group = group("a", 1, &[(pod, 1)]);
    group.members.values_mut().for_each(|member| member.place = place);
    model(vec![(key(1, 80), vec![group])], &[pod])
}

fn other() -> Address {
    Ipv4Addr::new(192, 0, 2, 99).into()
}

fn is_awaited(world: &World, source: Address) -> bool {
    maps::is_set(&world.maps.vip_filter, &source)
}

#[test]
fn a_backend_elsewhere_bears_the_source_of_its_way_and_replies_to_it_are_looked_for() {
    let mut world = World::new(CAPACITIES);

    let plan = world.plan(&one(3));

    let backend = world.maps.backends[0];
    assert_eq!((backend.place(), backend.source), (Some(Place::Elsewhere), SOURCE));
    assert!(is_awaited(&world, SOURCE));
    assert_eq!(plan.devices, BTreeSet::from([2]));
    assert_eq!(plan.sources, BTreeSet::from([SOURCE]));
    assert_eq!(plan.unreachable, None);
}

#[test]
fn a_backend_here_has_no_source_and_no_device_is_for_it() {
    let mut world = World::new(CAPACITIES);

    let plan = world.plan(&one(1));

    assert_eq!(
        (world.maps.backends[0].place(), world.maps.backends[0].source),
        (Some(Place::Here), Address::UNSPECIFIED)
    );
    assert_eq!((plan.devices.len(), plan.sources.len()), (0, 0));
}

#[test]
fn a_way_that_changes_is_followed_without_a_new_generation_and_the_old_source_stays_while_flows_have_it() {
    let mut world = World::new(CAPACITIES);
    world.plan(&one(3));
    world.now += SECOND;
    world.routes.others.insert(backend(3).address, by(other(), 7));
    assert_eq!(world.plan(&one(3)).writes, [], "nobody has said that ways changed");

    world.routes.version += 1;
    let plan = world.plan(&one(3));

    let entry = world.maps.backends[0];
    assert_eq!((entry.source, entry.generation), (other(), 0));
    assert_eq!(plan.devices, BTreeSet::from([7]));
    assert_eq!(plan.sources, BTreeSet::from([SOURCE, other()]));
    assert!(is_awaited(&world, SOURCE) && is_awaited(&world, other()));

    world.reconciler.release_idle_sources(&BTreeSet::new(), START + SECOND / 2);
    world.plan(&one(3));
    assert!(is_awaited(&world, SOURCE), "a scan that began before says nothing");

    world.now += SECOND;
    world.reconciler.release_idle_sources(&BTreeSet::from([SOURCE]), world.now);
    world.plan(&one(3));
    assert!(is_awaited(&world, SOURCE), "a flow has it");

    world.reconciler.release_idle_sources(&BTreeSet::new(), world.now);
    let plan = world.plan(&one(3));
    assert!(!is_awaited(&world, SOURCE) && is_awaited(&world, other()));
    assert_eq!(plan.sources, BTreeSet::from([other()]));
}

#[test]
fn a_source_that_only_flows_still_have_is_known_again_after_a_restart() {
    let mut world = World::new(CAPACITIES);
    world.plan(&one(3));
    world.routes.others.insert(backend(3).address, by(other(), 7));
    world.routes.version += 1;
    world.plan(&one(3));
    world.restart();
    assert_eq!(world.plan(&one(3)).writes, []);

    world.reconciler.release_idle_sources(&BTreeSet::from([SOURCE]), world.now);
    world.now += 61 * SECOND;
    world.plan(&one(3));

    assert!(is_awaited(&world, SOURCE) && is_awaited(&world, other()));
}

#[test]
fn a_backend_without_a_way_is_programmed_without_source_and_named() {
    let mut world = World::new(CAPACITIES);
    world.routes.others.insert(backend(3).address, Way::None);
    world.routes.others.insert(backend(6).address, Way::NoSource);
    let both = model(vec![(key(1, 80), vec![group("a", 1, &[(3, 1), (6, 1)])])], &[3, 6]);

    let plan = world.plan(&both);

    assert!(world.maps.backends[..2].iter().all(|entry| entry.source == Address::UNSPECIFIED && entry.place == 2));
    let unreachable = plan.unreachable.expect("two are unreachable");
    assert_eq!((unreachable.backends, unreachable.example, unreachable.lacks_source), (2, backend(3).address, false));
    assert_eq!(plan.devices.len(), 0);

    world.routes.others.clear();
    world.routes.version += 1;
    assert_eq!(world.plan(&both).unreachable, None);
    assert!(world.maps.backends[..2].iter().all(|entry| entry.source == SOURCE));
}

#[test]
fn nobody_elsewhere_has_an_address_of_this_very_node() {
    let mut world = World::new(CAPACITIES);
    world.routes.others.insert(backend(3).address, Way::Local);

    let plan = world.plan(&one(3));

    assert_eq!(plan.unreachable.map(|unreachable| unreachable.backends), Some(1));
    assert_eq!(world.maps.backends[0].source, Address::UNSPECIFIED);
    assert_eq!(world.maps.backends[0].place(), Some(Place::Elsewhere));
    world.restart();
    assert_eq!(world.plan(&one(3)).writes, []);
}

#[test]
fn a_backend_that_turns_out_to_be_elsewhere_or_here_is_written_anew() {
    let mut world = World::new(CAPACITIES);
    world.plan(&moved(1, Place::Here));

    for place in [Place::Elsewhere, Place::Here, Place::Elsewhere] {
        let plan = world.plan(&moved(1, place));

        assert_eq!(world.maps.backends[0].place(), Some(place));
        assert_eq!(plan.devices.len(), usize::from(place == Place::Elsewhere));
        assert_eq!(world.maps.backends[0].generation, 0);
    }
}

#[test]
fn who_knows_a_pod_of_this_node_knows_better_than_who_sees_it_from_afar() {
    let there = &moved(1, Place::Elsewhere).services[&key(1, 80)];
    let here = &moved(1, Place::Here).services[&key(1, 80)];
    let with = |services: &[(u8, &Arc<Service>)]| Model {
        services: services.iter().map(|(vip, service)| (key(*vip, 80), Arc::clone(service))).collect(),
        ..moved(1, Place::Here)
    };
    let mut world = World::new(CAPACITIES);

    world.plan(&with(&[(1, here), (2, there)]));
    assert_eq!(world.maps.backends[0].place(), Some(Place::Here));

    world.plan(&with(&[(2, there)]));
    assert_eq!(world.maps.backends[0].place(), Some(Place::Elsewhere));
}
