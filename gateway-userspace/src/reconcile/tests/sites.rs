//! Frontends of the HTTP layer: `FRONTENDS` says so, and nothing stands behind them in the maps.

use std::sync::Arc;

use gateway_common::{Frontend, FrontendKey};

use super::{CAPACITIES, SECOND, World, group, key, model};
use crate::model::http::{Handling, Listener, Site};
use crate::model::{Group, Model};
use crate::reconcile::{Matter, Write};

fn site(key: FrontendKey) -> Model {
    Model {
        sites: [(key, Arc::new(Site { owner: "Gateway shop/web".to_owned(), ..Site::default() }))].into(),
        ..model(Vec::new(), &[1])
    }
}

fn balanced(key: FrontendKey) -> Model {
    model(vec![(key, one_pod())], &[1])
}

fn one_pod() -> Vec<Group> {
    vec![group("a", 1, &[(1, 1)])]
}

/// Where a write stands in a plan.
fn position(writes: &[Write], is_it: impl Fn(&Write) -> bool) -> usize {
    writes.iter().position(is_it).unwrap_or_else(|| panic!("not written: {writes:?}"))
}

#[test]
fn a_site_is_a_steered_frontend_of_its_vip_and_a_restart_writes_nothing() {
    let mut world = World::new(CAPACITIES);

    let plan = world.plan(&site(key(1, 80)));

    assert_eq!(world.maps.frontends[&key(1, 80)], Frontend::steered(0));
    assert_eq!((plan.frontends, plan.backends, plan.notes.len()), (1, 0, 0));
    assert_eq!(plan.host_vips, [key(1, 80).address].into());
    let last = plan.writes.last();
    assert!(matches!(last, Some(Write::SetFrontend { .. })), "the VIP is guarded before: {last:?}");
    world.restart();
    assert_eq!(world.plan(&site(key(1, 80))).writes, []);
}

#[test]
fn what_the_http_layer_does_there_is_not_written() {
    let mut world = World::new(CAPACITIES);
    world.plan(&site(key(1, 80)));
    let listener = Listener { name: "web/http".to_owned(), hostname: None, handling: Handling::Http(Vec::new()) };
    let mut changed = site(key(1, 80));
    Arc::make_mut(changed.sites.get_mut(&key(1, 80)).expect("a site")).listeners.push(listener);

    assert_eq!(world.plan(&changed).writes, []);
}

#[test]
fn a_frontend_that_the_http_layer_takes_over_keeps_its_id_and_leads_there_before_its_service_goes() {
    for restarts in [false, true] {
        let mut world = World::new(CAPACITIES);
        world.plan(&model(vec![(key(0, 80), one_pod()), (key(1, 80), one_pod())], &[1]));
        let before = world.maps.frontends[&key(1, 80)];
        if restarts {
            world.restart();
        }

        let writes = world.plan(&Model { services: balanced(key(0, 80)).services, ..site(key(1, 80)) }).writes;

        assert_eq!(world.maps.frontends[&key(1, 80)], Frontend::steered(before.id));
        let leads = position(&writes, |write| matches!(write, Write::SetFrontend { .. }));
        let goes = position(&writes, |write| matches!(write, Write::SetService { .. } | Write::SetGroup { .. }));
        assert!(leads < goes, "{writes:?}");
        assert_eq!(world.maps.backends[0].place, 1, "its flows run on");
    }
}

#[test]
fn a_frontend_that_the_http_layer_gives_up_keeps_its_id_and_leads_to_its_service_when_that_is_there() {
    for restarts in [false, true] {
        let mut world = World::new(CAPACITIES);
        world.plan(&site(key(1, 80)));
        if restarts {
            world.restart();
        }

        let writes = world.plan(&balanced(key(1, 80))).writes;

        assert_eq!(world.maps.frontends[&key(1, 80)], Frontend::balanced(0));
        let comes = position(&writes, |write| matches!(write, Write::SetService { .. }));
        let leads = position(&writes, |write| matches!(write, Write::SetFrontend { .. }));
        assert!(comes < leads, "{writes:?}");
    }
}

#[test]
fn a_site_that_nobody_asks_for_any_more_leaves_nothing_behind() {
    let mut world = World::new(CAPACITIES);
    world.plan(&site(key(1, 80)));

    let plan = world.plan(&Model::default());
    assert_eq!((plan.frontends, world.maps.frontends.len()), (0, 0));
    world.now += 60 * SECOND;
    world.plan(&Model::default());

    assert!(world.maps.is_empty());
}

#[test]
fn after_a_restart_a_site_that_could_not_be_read_is_kept_until_it_can() {
    let mut world = World::new(CAPACITIES);
    world.plan(&site(key(1, 80)));
    world.restart();

    let nothing = Model { incomplete: true, ..Model::default() };

    assert_eq!(world.plan(&nothing).writes, []);
    let plan = world.plan(&Model { incomplete: true, ..site(key(2, 80)) });
    assert_eq!(plan.frontends, 2);
    assert_eq!(world.plan(&site(key(2, 80))).frontends, 1);
}

#[test]
fn a_site_for_which_there_is_no_room_is_said_by_its_owner() {
    let capacities = super::Capacities { frontends: 1, ..CAPACITIES };
    let mut world = World::new(capacities);
    let both = Model { services: balanced(key(1, 80)).services, ..site(key(1, 81)) };

    let notes = world.plan(&both).notes;

    assert_eq!((notes[0].owner.as_str(), &notes[0].matter), ("Gateway shop/web", &Matter::FrontendsFull));
}
