//! Addresses that are found: an agent that is alone tells the segment where its VIPs are, unless the network routes them.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use beeline_tests::lab::Lab;
use beeline_tests::manifests::Service;
use beeline_tests::segment::{self, Claim, Form, Watch};
use beeline_tests::topology::{NODE, ON_LINK_VIP, Plan};
use beeline_tests::{client, wait};

const POOL: &str = "apiVersion: beeline.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: far}\nspec:\n  addresses: \
                    [172.20.0.64/26, \"fd00:20::/112\"]\n  announce: ";

fn lab() -> Result<Lab> {
    let lab = Lab::build(&Plan::pods(&["v1"]))?;
    lab.folder.write("app.yaml", &Service::weighted(ON_LINK_VIP, &[1]).to_yaml())?;
    Ok(lab)
}

/// The forms in which an address of this family is announced to everybody.
fn forms(vip: IpAddr) -> &'static [Form] {
    if vip.is_ipv4() { &[Form::Gratuitous, Form::Reply] } else { &[Form::Advertisement] }
}

fn announced(claims: &[Claim], form: Form) -> usize {
    claims.iter().filter(|claim| claim.form == form && claim.to_all).count()
}

#[test]
fn a_vip_is_announced_three_times_when_it_comes_in_every_form() -> Result<()> {
    let lab = lab()?;
    let watch = Watch::start(&lab.network.client)?;

    let _agent = lab.start()?;

    let node = segment::hardware(&lab.network.node)?;
    for vip in ON_LINK_VIP.both() {
        let all = |claims: &[Claim]| forms(vip).iter().all(|form| announced(claims, *form) >= 3);
        let claims = watch.wait_for(vip, "it is announced three times", all)?;
        ensure!(claims.iter().all(|claim| segment::written(claim.hardware) == node), "{claims:#?}");
        let first = claims.first().map(|claim| claim.at);
        let last = claims.last().map(|claim| claim.at);
        let took = last.zip(first).map(|(last, first)| last - first).unwrap_or_default();
        ensure!(took < Duration::from_secs(3), "it took {took:?}");
    }
    watch.finish()
}

#[test]
fn a_restart_announces_nothing_and_a_link_that_comes_up_everything() -> Result<()> {
    let lab = lab()?;
    let mut agent = lab.start()?;
    for vip in ON_LINK_VIP.both() {
        segment::ask(&lab.network.client, vip)?;
    }
    let watch = Watch::start(&lab.network.client)?;
    agent.kill()?;
    agent.start()?;
    // What would be announced at a start comes before the answer to a question that is asked later.
    for vip in ON_LINK_VIP.both() {
        segment::ask(&lab.network.client, vip)?;
        let claims = watch.wait_for(vip, "it is answered", |claims| !claims.is_empty())?;
        ensure!(claims.iter().all(|claim| !claim.to_all), "{claims:#?}");
    }

    lab.network.node.ip("link set eth0 down\nlink set eth0 up\n")?;

    for vip in ON_LINK_VIP.both() {
        let any = |claims: &[Claim]| forms(vip).iter().all(|form| announced(claims, *form) > 0);
        watch.wait_for(vip, "it is announced again", any)?;
    }
    watch.finish()
}

#[test]
fn what_the_network_routes_is_not_answered_and_served_all_the_same() -> Result<()> {
    let lab = lab()?;
    lab.folder.write("pool.yaml", &format!("{POOL}None\n"))?;
    let watch = Watch::start(&lab.network.client)?;
    let agent = lab.start()?;

    for vip in ON_LINK_VIP.both() {
        let dropped = agent.drops("not_announced")?;
        segment::ask(&lab.network.client, vip)?;
        wait::until("the question is dropped", Duration::from_secs(10), || {
            agent.drops("not_announced").is_ok_and(|now| now > dropped).then_some(())
        })?;
        ensure!(watch.claims(vip).is_empty(), "{:#?}", watch.claims(vip));
    }
    let length = |vip: IpAddr| if vip.is_ipv4() { 32 } else { 128 };
    for (vip, node) in ON_LINK_VIP.both().into_iter().zip(NODE.both()) {
        lab.network.client.ip(&format!("route add {vip}/{} via {node}\n", length(vip)))?;
    }
    for frontend in ON_LINK_VIP.sockets(8000) {
        assert_eq!(client::connections(&lab.network.client, frontend, 5)?.of("v1"), 5);
    }
    let status = agent.call(&["status"])?;
    ensure!(status.contains("the network (pool far)"), "{status}");
    watch.finish()
}

#[test]
fn a_pool_that_changes_its_mind_is_followed() -> Result<()> {
    let lab = lab()?;
    lab.folder.write("pool.yaml", &format!("{POOL}None\n"))?;
    let watch = Watch::start(&lab.network.client)?;
    let agent = lab.start()?;
    ensure!(agent.call(&["status"])?.contains("the network (pool far)"));

    lab.folder.write("pool.yaml", &format!("{POOL}Neighbor\n"))?;

    for vip in ON_LINK_VIP.both() {
        let any = |claims: &[Claim]| forms(vip).iter().all(|form| announced(claims, *form) > 0);
        watch.wait_for(vip, "it is announced", any)?;
        segment::ask(&lab.network.client, vip)?;
    }
    for frontend in ON_LINK_VIP.sockets(8000) {
        assert_eq!(client::connections(&lab.network.client, frontend, 5)?.of("v1"), 5);
    }
    ensure!(agent.call(&["status"])?.contains("this node"));
    watch.finish()
}

#[test]
fn a_node_asks_for_its_neighbours_in_its_own_name_as_long_as_it_has_vips() -> Result<()> {
    let lab = lab()?;
    let setting = || lab.network.node.enter(|| fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/arp_announce"));
    assert_eq!(setting()??.trim(), "0");

    let agent = lab.start()?;

    assert_eq!(setting()??.trim(), "2");
    drop(agent);
    assert_eq!(setting()??.trim(), "0", "it is put back");
    Ok(())
}
