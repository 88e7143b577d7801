//! Who is let in and who is remembered: checked after every write of every plan, and what reconcile promises of both.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use gateway_common::{Frontend, FrontendKey};
use ipnet::IpNet;

use super::maps::Maps;
use super::{CAPACITIES, SECOND, World, group, key, model};
use crate::model::{Model, Service};
use crate::reconcile::{Matter, Write};

/// One client of each range of [`nets`] that is in none of the smaller ones.
const CLIENTS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(10, 1, 0, 1),
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv4Addr::new(198, 51, 100, 1),
];

/// Ranges, some within others.
pub fn nets() -> [IpNet; 4] {
    ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "0.0.0.0/0"].map(|net| net.parse().expect("a range"))
}

/// Does the writes and checks after each that nobody is let in, or kept out, whom neither the state before nor the one
/// after would treat so. Then checks that nobody is remembered whom no schedule would choose, and has clients connect.
pub fn apply(maps: &mut Maps, writes: &[Write]) {
    let before = admitted(maps);
    let mut meanwhile = Vec::new();
    for write in writes {
        maps.apply(write);
        meanwhile.push(admitted(maps));
    }
    let after = admitted(maps);
    let has_room = maps.capacities.sources == CAPACITIES.sources;
    for (write, now) in writes.iter().zip(meanwhile) {
        for (key, clients) in &now {
            let old = before.get(key).cloned().unwrap_or_default();
            let new = after.get(key).cloned().unwrap_or_default();
            assert!(clients.is_subset(&(&old | &new)), "{key} lets a wrong client in after {write:?}");
            let right = &old & &new;
            assert!(!has_room || right.is_subset(clients), "{key} keeps a right client out after {write:?}");
        }
    }
    let chosen = chosen(maps);
    assert!(maps.affinities.is_subset(&chosen), "{:?} are remembered, {chosen:?} chosen", maps.affinities);
    maps.affinities = chosen;
}

fn admitted(maps: &Maps) -> BTreeMap<FrontendKey, BTreeSet<Ipv4Addr>> {
    let of = |(&key, &Frontend { id, .. }): (&FrontendKey, &Frontend)| {
        let ranges = maps.sources.iter().filter(|range| range.first.frontend == id);
        let nets: Vec<IpNet> = ranges.map(|range| range.to_string().parse().expect("a range")).collect();
        let is_open = !maps.services[id as usize].is_restricted();
        let is_in = |client: &Ipv4Addr| is_open || nets.iter().any(|net| net.contains(&std::net::IpAddr::V4(*client)));
        (key, CLIENTS.into_iter().filter(is_in).collect())
    };
    maps.frontends.iter().map(of).collect()
}

/// The backends that clients may be given, where they are remembered.
fn chosen(maps: &Maps) -> BTreeSet<(u32, u32)> {
    let ids = maps.frontends.values().map(|frontend| frontend.id);
    let sticky = ids.filter(|&id| maps.services[id as usize].has_affinity());
    let backends = |id: u32| {
        let groups = maps.members(maps.services[id as usize].groups).iter();
        groups.flat_map(|&group| maps.members(maps.groups[group as usize].backends)).map(move |&backend| (id, backend))
    };
    sticky.flat_map(backends).collect()
}

fn with(model: Model, change: impl Fn(&FrontendKey, &mut Service)) -> Model {
    let services = model.services.into_iter().map(|(key, mut service)| {
        change(&key, Arc::make_mut(&mut service));
        (key, service)
    });
    Model { services: services.collect(), ..model }
}

fn sticky(members: &[(u8, u16)]) -> Model {
    let model = model(vec![(key(1, 80), vec![group("a", 1, members)])], &[1, 2, 3]);
    with(model, |_, service| service.affinity = Some(Duration::from_hours(3)))
}

fn forgotten(writes: &[Write]) -> Option<usize> {
    writes.iter().position(|write| matches!(write, Write::ForgetAffinity { .. }))
}

#[test]
fn a_backend_that_loses_its_weight_loses_its_clients_after_the_schedule_changed() {
    let mut world = World::new(CAPACITIES);
    let plan = world.plan(&sticky(&[(1, 1), (2, 1)]));
    assert_eq!(forgotten(&plan.writes), None, "{plan:?}");

    let plan = world.plan(&sticky(&[(1, 0), (2, 1)]));

    let pairs = BTreeSet::from([(0, 0)]);
    assert!(matches!(plan.writes[1], Write::SetGroup { .. }), "{plan:?}");
    assert_eq!(plan.writes[2..], [Write::ForgetAffinity { pairs: pairs.clone() }]);
    assert_eq!(plan.next_deadline, Some(world.now + SECOND), "once more, for flows that just then began");
    world.now += SECOND;
    assert_eq!(world.plan(&sticky(&[(1, 0), (2, 1)])).writes, [Write::ForgetAffinity { pairs }]);
}

#[test]
fn a_frontend_that_goes_or_has_no_affinity_any_more_loses_its_clients() {
    let with_affinity = sticky(&[(1, 1), (2, 1)]);
    let without = with(with_affinity.clone(), |_, service| service.affinity = None);
    for after in [without, Model::default()] {
        let mut world = World::new(CAPACITIES);
        world.plan(&with_affinity);

        let plan = world.plan(&after);

        let pairs = BTreeSet::from([(0, 0), (0, 1)]);
        assert!(plan.writes.contains(&Write::ForgetAffinity { pairs }), "{plan:?}");
    }
}

#[test]
fn where_no_client_is_remembered_nobody_is_looked_for() {
    let members = |members: &[(u8, u16)]| model(vec![(key(1, 80), vec![group("a", 1, members)])], &[1, 2, 3]);
    let mut world = World::new(CAPACITIES);
    world.plan(&members(&[(1, 1), (2, 1)]));

    for after in [members(&[(1, 0), (2, 1)]), members(&[(3, 1)]), Model::default()] {
        let plan = world.plan(&after);
        assert_eq!((forgotten(&plan.writes), plan.writes.is_empty()), (None, false), "{plan:?}");
    }
}

#[test]
fn whoever_is_to_be_forgotten_is_looked_for_once_in_a_pass() {
    let services = |weight| {
        let services = (1..=3).map(|vip| (key(vip, 80), vec![group("a", 1, &[(1, weight), (2, 1)])])).collect();
        with(model(services, &[1, 2]), |_, service| service.affinity = Some(Duration::from_hours(3)))
    };
    let mut world = World::new(CAPACITIES);
    world.plan(&services(1));

    let plan = world.plan(&services(0));

    let looks = plan.writes.iter().filter(|write| matches!(write, Write::ForgetAffinity { .. })).count();
    assert_eq!(looks, 1, "{plan:?}");
}

#[test]
fn an_agent_that_died_before_it_forgot_leaves_that_to_the_next() {
    let mut world = World::new(CAPACITIES);
    world.plan(&sticky(&[(1, 1), (2, 1)]));
    let after = sticky(&[(2, 1)]);
    let plan = world.reconciler.plan(&after, &mut world.routes, world.now);
    let died_at = forgotten(&plan.writes).expect("clients to forget");
    plan.writes[..died_at].iter().for_each(|write| world.maps.apply(write));

    world.restart();

    let pairs = BTreeSet::from([(0, 0)]);
    assert!(world.plan(&after).writes.contains(&Write::ForgetAffinity { pairs }));
}

#[test]
fn a_frontend_without_room_for_its_ranges_lets_nobody_in_and_says_so() {
    let mut world = World::new(super::Capacities { sources: 3, ..CAPACITIES });
    let services = (1..=3).map(|vip| (key(vip, 80), vec![group("a", 1, &[(1, 1)])])).collect();
    let restricted = with(model(services, &[]), |frontend, service| {
        let count = if *frontend == key(2, 80) { 4 } else { 1 };
        service.sources = Some(nets().into_iter().take(count).collect());
    });

    let plan = world.plan(&restricted);

    let matters: Vec<_> = plan.notes.iter().map(|note| (note.frontend, note.matter.clone())).collect();
    assert_eq!(matters, [(key(2, 80), Matter::SourcesFull { ranges: 4 })]);
    let admitted = admitted(&world.maps);
    assert_eq!([1, 2, 3].map(|vip| admitted[&key(vip, 80)].len()), [2, 0, 2]);
    let two = with(restricted, |_, service| service.sources = Some(nets().into_iter().take(1).collect()));
    assert_eq!(world.plan(&two).notes, []);
    assert_eq!(world.maps.sources.len(), 3);
}

#[test]
fn whoever_has_ranges_keeps_them_when_another_asks_for_more_than_there_is_room_for() {
    let mut world = World::new(super::Capacities { sources: 3, ..CAPACITIES });
    let restricted = |vips: &[u8]| {
        let services = vips.iter().map(|&vip| (key(vip, 80), vec![group("a", 1, &[(vip, 1)])])).collect();
        with(model(services, &[]), |_, service| service.sources = Some(nets().into_iter().take(2).collect()))
    };
    world.plan(&restricted(&[2]));
    world.restart();

    let plan = world.plan(&restricted(&[1, 2]));

    assert_eq!(plan.notes.iter().map(|note| note.frontend).collect::<Vec<_>>(), [key(1, 80)]);
    assert_eq!(admitted(&world.maps)[&key(2, 80)].len(), 2);
}

/// A model in which the first frontend has so many groups and lets in so many ranges, or everybody.
fn first_with(groups: u32, ranges: Option<usize>) -> Model {
    let groups = (0..groups).map(|number| group(&number.to_string(), 1, &[(1, 1)])).collect();
    let others = (2..=4).map(|vip| (key(vip, 80), vec![group("a", 1, &[(1, 1)])]));
    let services = std::iter::once((key(1, 80), groups)).chain(others).collect();
    with(model(services, &[1]), |frontend, service| {
        service.sources = match (*frontend == key(1, 80), ranges) {
            (true, Some(count)) => Some(nets().into_iter().take(count).collect()),
            (true, None) => None,
            (false, _) => Some(nets().into_iter().take(1).collect()),
        };
    })
}

#[test]
fn an_open_frontend_that_becomes_restricted_lets_nobody_in_while_there_is_no_room_for_its_ranges() {
    let mut world = World::new(super::Capacities { sources: 4, ..CAPACITIES });
    world.plan(&first_with(1, None));
    assert_eq!(admitted(&world.maps)[&key(1, 80)].len(), CLIENTS.len());

    let plan = world.plan(&first_with(1, Some(2)));

    assert_eq!(plan.notes.iter().map(|note| &note.matter).collect::<Vec<_>>(), [&Matter::SourcesFull { ranges: 2 }]);
    assert_eq!(admitted(&world.maps)[&key(1, 80)].len(), 0);
}

#[test]
fn an_open_frontend_becomes_restricted_also_where_there_is_no_room_for_its_groups() {
    let capacities = super::Capacities { frontends: 4, ..CAPACITIES };
    let mut world = World::new(capacities);
    world.plan(&first_with(1, None));
    let full = capacities.groups();

    let plan = world.plan(&first_with(full, Some(2)));

    assert_eq!(plan.notes.iter().map(|note| &note.matter).collect::<Vec<_>>(), [&Matter::GroupsFull]);
    assert_eq!(admitted(&world.maps)[&key(1, 80)].len(), 2);
    assert_eq!(world.plan(&first_with(full, Some(2))).writes, []);
    world.now += SECOND;
    assert_eq!(world.plan(&first_with(1, Some(2))).notes, []);
}

#[test]
fn an_adopted_frontend_whose_endpoints_cannot_be_read_becomes_restricted_and_keeps_its_backends() {
    let mut world = World::new(CAPACITIES);
    world.plan(&first_with(1, None));
    world.restart();
    let lost = with(first_with(1, Some(2)), |_, service| service.groups[0].members.clear());
    let lost = Model { incomplete: true, ..lost };

    let plan = world.plan(&lost);

    assert!(
        !plan.writes.iter().any(|write| matches!(write, Write::SetGroup { .. } | Write::SetSlots { .. })),
        "{plan:?}"
    );
    assert_eq!(admitted(&world.maps)[&key(1, 80)].len(), 2);
    assert_eq!(world.plan(&lost).writes, []);
    assert_eq!(world.plan(&first_with(1, Some(2))).writes, []);
}
