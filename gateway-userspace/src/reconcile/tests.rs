//! Reconcile against maps of a `Vec` and a `BTreeMap`: whatever models follow each other, and wherever the agent dies.

mod clients;
mod maps;
mod places;
mod sites;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use gateway_common::{Address, FrontendKey, Place, Port, Protocol, Service as GatewayService, SlotRange};
use proptest::prelude::*;

use self::maps::Maps;
use super::{Capacities, Duty, Matter, Plan, Reconciler, Way, Ways, Write};
use crate::model::{Backend, Group, Member, Model, PodId, Service, fingerprint};

const CAPACITIES: Capacities = Capacities { flows: 100, frontends: 16, backends: 64, sources: 64 };
const START: Duration = Duration::from_secs(1000);
const SECOND: Duration = Duration::from_secs(1);

fn key(vip: u8, port: u16) -> FrontendKey {
    FrontendKey::new(Ipv4Addr::new(203, 0, 113, vip).into(), Port::new(port), Protocol::TCP)
}

fn backend(pod: u8) -> Backend {
    Backend {
        address: Ipv4Addr::new(10, 0, 0, pod).into(),
        port: Port::new(80),
        protocol: Protocol::TCP,
        // Every fifth endpoint names no Pod.
        pod: if pod.is_multiple_of(5) { PodId::NONE } else { PodId::from_uid(&format!("pod-{pod}")) },
    }
}

fn group(reference: &str, weight: u32, members: &[(u8, u16)]) -> Group {
    let member = |&(pod, weight): &(u8, u16)| {
        // Every third Pod is on another node.
        let place = if pod.is_multiple_of(3) { Place::Elsewhere } else { Place::Here };
        (backend(pod), Member { name: format!("shop/pod-{pod}"), weight, place })
    };
    Group { reference: reference.to_owned(), weight, members: members.iter().map(member).collect() }
}

fn model(services: Vec<(FrontendKey, Vec<Group>)>, living: &[u8]) -> Model {
    let service = |groups| Service { owner: "Service shop/web".to_owned(), groups, ..Service::default() };
    Model {
        services: services.into_iter().map(|(key, groups)| (key, Arc::new(service(groups)))).collect(),
        living_pods: living.iter().map(|&pod| backend(pod).pod).collect(),
        ..Model::default()
    }
}

/// A reconciler and the maps it writes, with every write checked.
struct World {
    maps: Maps,
    reconciler: Reconciler,
    routes: Routes,
    now: Duration,
}

/// The ways as a table: everything leads by one source and device, but for what is said otherwise.
#[derive(Default)]
struct Routes {
    version: u64,
    others: BTreeMap<Address, Way>,
}

const SOURCE: Address = Address::from_v4([192, 0, 2, 1]);

fn by(source: Address, device: u32) -> Way {
    Way::By { source, devices: Arc::from([device]) }
}

impl Ways for Routes {
    fn version(&mut self) -> u64 {
        self.version
    }

    fn way(&mut self, to: &Address) -> Way {
        self.others.get(to).cloned().unwrap_or_else(|| by(SOURCE, 2))
    }
}

impl World {
    fn new(capacities: Capacities) -> Self {
        let maps = Maps::new(capacities);
        let reconciler = Reconciler::adopt(&maps.actual(), capacities, START);
        Self { maps, reconciler, routes: Routes::default(), now: START }
    }

    fn plan(&mut self, model: &Model) -> Plan {
        let plan = self.reconciler.plan(model, &mut self.routes, self.now);
        clients::apply(&mut self.maps, &plan.writes);
        plan
    }

    fn restart(&mut self) {
        self.reconciler = Reconciler::adopt(&self.maps.actual(), self.maps.capacities, self.now);
    }
}

/// What the maps mean, without ids: whether it is the HTTP layer's, what the service says, the groups' references and the members of each in order, and
/// the ranges of clients.
type Meaning =
    BTreeMap<FrontendKey, (bool, GatewayService, Vec<u64>, BTreeMap<u64, Vec<(Address, u64)>>, BTreeSet<String>)>;

fn meaning_of(maps: &Maps) -> Meaning {
    let mut meaning = Meaning::new();
    for (&key, frontend) in &maps.frontends {
        let id = frontend.id;
        let service = maps.services[id as usize];
        let references = maps.members(service.groups).iter().map(|&group| maps.groups[group as usize].reference);
        let groups = maps.groups.iter().filter(|group| group.reference != 0 && group.frontend == id);
        let groups = groups.map(|group| {
            let members = maps.members(group.backends).iter().map(|&member| maps.backends[member as usize]);
            (group.reference, members.map(|backend| (backend.address, backend.pod)).collect())
        });
        let ranges = maps.sources.iter().filter(|range| range.first.frontend == id).map(ToString::to_string);
        let service = GatewayService { groups: SlotRange::EMPTY, ..service };
        let steered = frontend.is_steered();
        meaning.insert(key, (steered, service, references.collect(), groups.collect(), ranges.collect()));
    }
    meaning
}

#[test]
fn the_same_model_twice_or_after_a_restart_needs_no_write() {
    let model =
        model(vec![(key(1, 80), vec![group("a", 9, &[(1, 5), (2, 3)]), group("b", 1, &[(3, 1), (4, 0)])])], &[]);
    let mut world = World::new(CAPACITIES);
    assert!(!world.plan(&model).writes.is_empty());

    assert_eq!(world.plan(&model).writes, []);
    world.restart();
    assert_eq!(world.plan(&model).writes, []);
}

#[test]
fn a_vip_is_answered_when_that_is_settled_and_a_restart_leaves_it_so() {
    let model = model(vec![(key(1, 80), vec![group("a", 1, &[(1, 1)])])], &[]);
    let vip = key(1, 80).address;
    let relay = Some(Ipv4Addr::new(192, 0, 2, 7).into());
    let duties = BTreeMap::from([(vip, Duty { answers: true, relay }), (key(9, 80).address, Duty::default())]);
    let mut world = World::new(CAPACITIES);
    world.plan(&model);
    assert_eq!(Duty::of(&world.maps.vips[&vip]), Duty::default());

    let writes = world.reconciler.assign(&duties);
    clients::apply(&mut world.maps, &writes);

    assert_eq!(Duty::of(&world.maps.vips[&vip]), duties[&vip]);
    assert_eq!(world.reconciler.assign(&duties), []);
    world.restart();
    assert_eq!(world.plan(&model).writes, []);
    assert_eq!(world.reconciler.assign(&duties), []);
}

#[test]
fn an_update_writes_what_differs_and_nothing_else() {
    let before = model(
        vec![(key(1, 80), vec![group("a", 1, &[(1, 1), (2, 1)])]), (key(2, 80), vec![group("b", 1, &[(3, 1)])])],
        &[],
    );
    let after = model(
        vec![(key(1, 80), vec![group("a", 1, &[(1, 2), (2, 1)])]), (key(2, 80), vec![group("b", 1, &[(3, 1)])])],
        &[],
    );
    let mut world = World::new(CAPACITIES);
    world.plan(&before);

    let writes = world.plan(&after).writes;

    assert!(matches!(writes[..], [Write::SetSlots { .. }, Write::SetGroup { .. }]), "{writes:?}");
}

#[test]
fn a_backend_stays_while_its_pod_lives_and_its_generation_counts_up_when_it_is_gone() {
    let with = model(vec![(key(1, 80), vec![group("a", 1, &[(1, 1), (2, 1)])])], &[1, 2]);
    let without = |living| model(vec![(key(1, 80), vec![group("a", 1, &[(1, 1)])])], living);
    let mut world = World::new(CAPACITIES);
    world.plan(&with);

    world.plan(&without(&[1, 2]));
    assert_eq!((world.maps.backends[1].place, world.maps.backends[1].generation), (1, 0));

    world.plan(&without(&[1]));
    assert_eq!((world.maps.backends[1].place, world.maps.backends[1].generation), (0, 1));

    world.plan(&with);
    assert_eq!((world.maps.backends[1].place, world.maps.backends[2].place), (0, 1));
}

#[test]
fn a_backend_without_pod_goes_when_nobody_names_it() {
    let mut world = World::new(CAPACITIES);
    world.plan(&model(vec![(key(1, 80), vec![group("a", 1, &[(5, 1), (1, 1)])])], &[1]));

    let plan = world.plan(&model(vec![(key(1, 80), vec![group("a", 1, &[(1, 1)])])], &[1]));

    assert_eq!(plan.backends, 1);
}

#[test]
fn after_a_restart_what_could_not_be_read_is_kept_until_it_can() {
    let mut world = World::new(CAPACITIES);
    let both = [(key(1, 80), vec![group("a", 1, &[(1, 1)])]), (key(2, 80), vec![group("a", 1, &[(2, 1)])])];
    let whole = model(both.to_vec(), &[1, 2]);
    world.plan(&whole);
    world.restart();

    let first_alone = model(vec![both[0].clone()], &[1]);
    let plan = world.plan(&Model { incomplete: true, ..first_alone.clone() });
    assert_eq!(plan.writes, [], "the second frontend and its backend stay");
    let without_endpoints = model(vec![(key(1, 80), vec![group("a", 1, &[])])], &[]);
    world.restart();
    let plan = world.plan(&Model { incomplete: true, ..without_endpoints });
    assert_eq!(plan.writes, [], "a service whose endpoints could not be read stays as it was");

    let plan = world.plan(&first_alone);
    assert!(plan.writes.contains(&Write::RemoveFrontend { key: key(2, 80) }));
    assert_eq!(plan.frontends, 1);
}

#[test]
fn a_backend_of_weight_zero_is_programmed_and_never_chosen() {
    let mut world = World::new(CAPACITIES);

    world.plan(&model(vec![(key(1, 80), vec![group("a", 1, &[(1, 0), (2, 3)])])], &[]));

    assert_eq!(world.maps.backends.iter().filter(|backend| backend.place == 1).count(), 2);
    assert_eq!(world.maps.members(world.maps.groups[0].backends), [1]);
}

#[test]
fn a_group_without_backends_keeps_its_share() {
    let mut world = World::new(CAPACITIES);

    world.plan(&model(vec![(key(1, 80), vec![group("a", 9, &[(1, 1)]), group("b", 1, &[])])], &[]));

    let meaning = meaning_of(&world.maps);
    let (_, _, references, groups, _) = &meaning[&key(1, 80)];
    assert_eq!(references.iter().filter(|&&reference| reference == fingerprint("b")).count(), 1);
    assert_eq!((references.len(), groups[&fingerprint("b")].len()), (10, 0));
}

#[test]
fn a_vip_without_frontends_is_answered_for_a_minute() {
    let mut world = World::new(CAPACITIES);
    world.plan(&model(vec![(key(1, 80), vec![])], &[]));

    let plan = world.plan(&Model::default());
    assert_eq!(plan.host_vips, BTreeSet::from([key(1, 80).address]));
    assert_eq!(plan.next_deadline, Some(START + 60 * SECOND));
    assert_eq!(world.maps.vips[&key(1, 80).address].frontends, 0);

    world.now += 60 * SECOND;
    let plan = world.plan(&Model::default());
    assert_eq!((plan.host_vips.len(), plan.next_deadline), (0, None));
    assert_eq!((world.maps.vips.len(), world.maps.vip_filter.iter().sum::<u64>()), (0, 0));
}

#[test]
fn a_vip_without_frontends_goes_early_if_it_has_no_flows() {
    let mut world = World::new(CAPACITIES);
    world.plan(&model(vec![(key(1, 80), vec![]), (key(2, 80), vec![])], &[]));
    world.plan(&Model::default());
    world.now += 5 * SECOND;

    world.reconciler.release_idle_vips(&BTreeSet::from([key(2, 80).address]), START + SECOND);

    assert_eq!(world.plan(&Model::default()).host_vips, BTreeSet::from([key(2, 80).address]));
}

#[test]
fn a_full_table_is_said_and_the_rest_is_served() {
    let capacities = Capacities { flows: 10, frontends: 2, backends: 2, ..CAPACITIES };
    let mut world = World::new(capacities);
    let group = |pod| vec![group("a", 1, &[(pod, 1)])];
    let all = model(vec![(key(1, 1), group(1)), (key(1, 2), group(2)), (key(1, 3), group(3))], &[]);

    let plan = world.plan(&all);
    assert_eq!((plan.frontends, plan.notes.len()), (2, 1));
    assert_eq!(plan.notes[0].matter, Matter::FrontendsFull);

    let other = model(vec![(key(1, 2), group(2)), (key(1, 3), group(3))], &[]);
    let plan = world.plan(&other);
    assert_eq!(plan.notes[0].matter, Matter::FrontendsFull, "the freed id has not rested");
    assert_eq!(plan.next_deadline, Some(world.now + SECOND));

    world.now += SECOND;
    let plan = world.plan(&other);
    assert_eq!((plan.frontends, plan.notes.len()), (2, 0));
}

#[test]
fn rounded_weights_are_said() {
    let mut world = World::new(CAPACITIES);
    let world_model = model(vec![(key(1, 80), vec![group("a", 1, &[(1, 1), (2, 65535)])])], &[]);

    let notes = world.plan(&world_model).notes;

    assert!(matches!(notes[0].matter, Matter::Coarse { .. }), "1024 slots are less than 4096: {notes:?}");
    assert_eq!(world.plan(&world_model).notes, notes);
}

prop_compose! {
    fn groups()(
        groups in prop::collection::btree_map(0u8..4, (0u32..4, prop::collection::btree_map(0u8..12, 0u16..5, 0..5)), 0..4)
    ) -> Vec<Group> {
        groups.into_iter().map(|(reference, (weight, members))| {
            let members: Vec<(u8, u16)> = members.into_iter().collect();
            group(&format!("Service shop/{reference}:80"), weight, &members)
        }).collect()
    }
}

fn ranges() -> impl Strategy<Value = Option<BTreeSet<ipnet::IpNet>>> {
    prop::option::of(prop::sample::subsequence(clients::nets().to_vec(), 0..4).prop_map(BTreeSet::from_iter))
}

prop_compose! {
    fn models()(
        services in prop::collection::btree_map((0u8..3, 0u16..3), (groups(), 0u64..3, ranges()), 0..5),
        sites in prop::collection::btree_set((0u8..3, 0u16..3), 0..3),
        living in prop::collection::vec(0u8..12, 0..12),
    ) -> Model {
        let mut model = model(Vec::new(), &living);
        for ((vip, port), (groups, seconds, sources)) in services {
            let affinity = (seconds > 0).then(|| Duration::from_secs(seconds));
            let service = Service { groups, affinity, sources, ..Service::default() };
            model.services.insert(key(vip, port), Arc::new(service));
        }
        for (vip, port) in sites {
            model.services.remove(&key(vip, port));
            model.sites.insert(key(vip, port), Arc::default());
        }
        model
    }
}

/// What happens: a model, how much time passes before it, how many of the Pods elsewhere are reached in another way from
/// then on, and where the agent dies in its writes, if it does.
type Step = (Model, u64, usize, Option<prop::sample::Index>);

fn histories() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        (models(), 0u64..90, 0usize..4, prop::option::weighted(0.3, any::<prop::sample::Index>())),
        1..12,
    )
}

fn check_history(history: Vec<Step>, capacities: Capacities) -> Option<World> {
    let mut world = World::new(capacities);
    let mut last = None;
    for (model, seconds, changed_ways, death) in history {
        world.now += SECOND * seconds as u32;
        let ways = [Way::None, by(Address::from_v4([192, 0, 2, 99]), 7), Way::Local];
        let others = [3, 6, 9].map(|pod| backend(pod).address).into_iter().zip(ways).take(changed_ways).collect();
        world.routes = Routes { version: world.routes.version + 1, others };
        if let Some(death) = death {
            let plan = world.reconciler.plan(&model, &mut world.routes, world.now);
            for write in &plan.writes[..death.index(plan.writes.len() + 1)] {
                world.maps.apply(write);
            }
            world.restart();
        }
        let plan = world.plan(&model);
        assert_eq!(world.plan(&model).writes, [], "the same model again");
        last = Some((model, plan));
    }
    let (model, plan) = last?;
    if plan.notes.is_empty() {
        let mut fresh = World::new(capacities);
        fresh.plan(&model);
        assert_eq!(meaning_of(&world.maps), meaning_of(&fresh.maps));
    }
    Some(world)
}

proptest! {
    #[test]
    fn no_write_of_any_history_leaves_a_frontend_dangling(history in histories()) {
        check_history(history, CAPACITIES);
    }

    #[test]
    fn not_even_where_the_tables_are_too_small(history in histories()) {
        check_history(history, Capacities { flows: 1, frontends: 3, backends: 5, sources: 3 });
    }

    #[test]
    fn in_time_everything_that_is_not_asked_for_is_gone(history in histories()) {
        if let Some(mut world) = check_history(history, CAPACITIES) {
            world.plan(&Model::default());
            world.now += 60 * SECOND;
            world.reconciler.release_idle_sources(&BTreeSet::new(), world.now);
            let plan = world.plan(&Model::default());

            prop_assert_eq!(plan.next_deadline, None);
            prop_assert!(world.maps.is_empty());
        }
    }
}
