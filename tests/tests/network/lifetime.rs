//! Agents come and go, Pods come and go; connections stay with their Pod while it exists.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::binaries;
use beeline_tests::client::{self, ask};
use beeline_tests::lab::Lab;
use beeline_tests::long_lived::LongLived;
use beeline_tests::manifests::Service;
use beeline_tests::netns::Namespace;
use beeline_tests::topology::{NODE, VIP};
use beeline_tests::wait;

const ECHO: u16 = 9000;

/// Waits until the Pods get exactly these shares of as many connections.
fn wait_for_shares(from: &Namespace, frontend: SocketAddr, shares: &[u64]) -> Result<()> {
    let count = shares.iter().sum::<u64>() as usize;
    wait::until(&format!("the shares are {shares:?}"), Duration::from_secs(5), || {
        let distribution = client::connections(from, frontend, count).ok()?;
        let got = (1..=shares.len()).map(|number| distribution.of(&format!("v{number}")));
        got.eq(shares.iter().copied()).then_some(())
    })
}

#[test]
fn nothing_is_lost_when_the_agent_is_killed_and_a_manifest_changes_meanwhile() -> Result<()> {
    let lab = Lab::weighted(&[5, 3, 1])?;
    let mut agent = lab.start()?;
    let from = &lab.network.client;
    let [v4, v6] = VIP.sockets(ECHO);
    let connections = [LongLived::open(from, v4, 100)?, LongLived::open(from, v6, 100)?];
    let all_go_on = || connections.iter().try_for_each(LongLived::wait_for_progress);
    all_go_on()?;

    agent.kill()?;
    all_go_on()?;
    let while_dead = client::connections(from, VIP.sockets(8000)[0], 90)?;
    lab.folder.write("app.yaml", &Service::weighted(VIP, &[1, 1, 1]).to_yaml())?;
    agent.start()?;
    all_go_on()?;
    wait_for_shares(from, VIP.sockets(8000)[0], &[30, 30, 30])?;
    lab.folder.write("app.yaml", &Service::weighted(VIP, &[0, 0, 1]).to_yaml())?;
    wait_for_shares(from, VIP.sockets(8000)[0], &[0, 0, 30])?;
    all_go_on()?;

    assert_eq!((while_dead.of("v1"), while_dead.of("v2"), while_dead.of("v3")), (50, 30, 10), "{while_dead:?}");
    for connections in connections {
        let report = connections.finish()?;
        assert_eq!((report.connections, report.broken.as_slice()), (100, [].as_slice()));
    }
    Ok(())
}

#[test]
fn a_restart_with_unchanged_manifests_writes_nothing() -> Result<()> {
    let lab = Lab::weighted(&[5, 3, 1])?;
    let mut agent = lab.start()?;
    assert!(agent.writes()? > 0, "the first start writes");
    let before = agent.dump()?;
    let connections = LongLived::open(&lab.network.client, VIP.sockets(ECHO)[0], 50)?;

    for _ in 0..2 {
        agent.kill()?;
        agent.start()?;
        assert_eq!(agent.writes()?, 0, "{}", agent.log().tail());
    }

    connections.wait_for_progress()?;
    assert!(connections.finish()?.broken.is_empty());
    assert_eq!(agent.dump()?, before);
    assert!(agent.log().tail().contains("writes=0"), "{}", agent.log().tail());
    Ok(())
}

#[test]
fn a_restart_over_a_broken_manifest_takes_nothing_away() -> Result<()> {
    let lab = Lab::weighted(&[5, 3, 1])?;
    let mut agent = lab.start()?;
    let (before, good) = (agent.dump()?, fs::read_to_string(lab.folder.path().join("app.yaml"))?);
    let connections = LongLived::open(&lab.network.client, VIP.sockets(ECHO)[0], 50)?;

    agent.kill()?;
    lab.folder.write("app.yaml", "kind: [")?;
    agent.start()?;

    assert_eq!(agent.writes()?, 0, "{}", agent.log().tail());
    assert_eq!(client::connections(&lab.network.client, VIP.sockets(8000)[0], 9)?.of("v1"), 5);
    lab.folder.write("app.yaml", &good)?;
    agent.wait_for_problems("no problem", <[String]>::is_empty)?;
    assert_eq!(agent.dump()?, before);
    connections.wait_for_progress()?;
    assert!(connections.finish()?.broken.is_empty());
    Ok(())
}

#[test]
fn sigterm_leaves_the_datapath_and_unload_takes_everything_away() -> Result<()> {
    let lab = Lab::weighted(&[5, 3, 1])?;
    let mut agent = lab.start()?;
    let (from, node) = (&lab.network.client, &lab.network.node);
    let addresses = || {
        let shown = |mut ip: std::process::Command| ip.args(["-o", "addr", "show", "dev", "lo"]).output();
        let output = node.command("ip").map(shown)??;
        anyhow::Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };

    let status = agent.stop()?;
    assert_eq!((status.code(), status.signal()), (Some(0), None), "{}", agent.log().tail());
    let distribution = client::connections(from, VIP.sockets(8000)[0], 9)?;
    assert_eq!(distribution.of("v1"), 5, "{distribution:?}");
    let with_vips = addresses()?;
    agent.unload()?;

    let without_vips = addresses()?;
    for vip in VIP.both() {
        assert!(with_vips.contains(&vip.to_string()), "{with_vips}");
        assert!(!without_vips.contains(&vip.to_string()), "{without_vips}");
    }
    assert!(!agent.bpffs().exists() || fs::read_dir(agent.bpffs())?.next().is_none(), "pins are left");
    assert_eq!(client::connections(from, VIP.sockets(8000)[0], 1)?.answered(), 0);
    agent.unload().context("unloading twice is no error")?;
    Ok(())
}

#[test]
fn an_agent_starts_again_after_unload() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let mut agent = lab.start()?;
    agent.stop()?;
    agent.unload()?;

    agent.start()?;

    assert_eq!(client::connections(&lab.network.client, VIP.sockets(8000)[0], 5)?.of("v1"), 5);
    Ok(())
}

#[test]
fn unload_is_refused_while_the_agent_runs() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = lab.start()?;

    assert!(agent.unload().is_err());

    assert_eq!(client::connections(&lab.network.client, VIP.sockets(8000)[0], 5)?.of("v1"), 5);
    Ok(())
}

#[test]
fn a_datapath_is_only_worked_with_in_its_own_namespace() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let mut agent = lab.start()?;
    agent.stop()?;
    let folder = lab.folder.path().to_string_lossy();

    for arguments in [&["unload"][..], &["run", "--interface", "eth0", "--manifests", &*folder]] {
        let mut command = lab.network.client.command(binaries::beeline()?)?;
        command.env("BEELINE_RUN_DIR", agent.run_directory()).arg("--bpffs").arg(agent.bpffs());
        let output = command.args(arguments).output()?;

        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.contains("another network namespace"), "{arguments:?}: {errors}");
    }
    assert_eq!(client::connections(&lab.network.client, VIP.sockets(8000)[0], 5)?.of("v1"), 5);
    Ok(())
}

#[test]
fn agents_in_namespaces_of_their_own_do_not_meet() -> Result<()> {
    let (one, other) = (Lab::weighted(&[2, 1])?, Lab::weighted(&[1, 2])?);
    let (mut agent, _other_agent) = (one.start()?, other.start()?);
    let shares = |lab: &Lab| {
        let distribution = client::connections(&lab.network.client, VIP.sockets(8000)[0], 30)?;
        anyhow::Ok((distribution.of("v1"), distribution.of("v2")))
    };

    assert_eq!((shares(&one)?, shares(&other)?), ((20, 10), (10, 20)));
    agent.stop()?;
    agent.unload()?;

    assert_eq!(shares(&other)?, (10, 20));
    Ok(())
}

#[test]
fn a_pod_that_is_not_ready_keeps_its_connections_and_one_that_is_gone_resets_them() -> Result<()> {
    let lab = Lab::weighted(&[1, 1])?;
    let _agent = lab.start()?;
    let from = &lab.network.client;
    let connections = LongLived::open(from, VIP.sockets(ECHO)[0], 10)?;
    let mut service = Service::weighted(VIP, &[1, 1]);

    service.pods[0].ready = false;
    lab.folder.write("app.yaml", &service.to_yaml())?;
    wait_for_shares(from, VIP.sockets(8000)[0], &[0, 10])?;
    connections.wait_for_progress()?;

    service.pods.remove(0);
    lab.folder.write("app.yaml", &service.to_yaml())?;
    wait::until("connections end", Duration::from_secs(5), || connections.wait_for_progress().err())?;

    let report = connections.finish()?;
    assert_eq!(report.broken.len(), 5, "{report:?}");
    assert!(report.broken.iter().all(|broken| broken.contains("reset")), "{report:?}");
    Ok(())
}

#[test]
fn a_flow_whose_pod_is_gone_moves_to_another() -> Result<()> {
    let lab = Lab::weighted(&[1, 1])?;
    let agent = lab.start()?;
    let open = || [(); 4].map(|()| client::flow(VIP.sockets(8001)[1]).expect("a flow"));
    let flows = lab.network.client.enter(open)?;
    let pods = || flows.iter().map(|flow| Ok(ask(flow, "who")?.pod)).collect::<Result<Vec<_>>>();
    let before = pods()?;

    let mut service = Service::weighted(VIP, &[1, 1]);
    service.pods.remove(0);
    lab.folder.write("app.yaml", &service.to_yaml())?;
    let moved = || pods().ok()?.iter().all(|pod| pod == "v2").then_some(());
    wait::until("every flow has moved", Duration::from_secs(5), moved)?;

    assert_eq!(before.iter().filter(|pod| *pod == "v1").count(), 2, "{before:?}");
    assert_eq!(agent.events("reselected")?, 2);
    Ok(())
}

#[test]
fn a_removed_frontend_refuses_new_connections_and_keeps_those_it_has() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let _agent = lab.start()?;
    let from = &lab.network.client;
    let connections = LongLived::open(from, VIP.sockets(ECHO)[0], 10)?;
    let mut service = Service::weighted(VIP, &[1]);

    service.ports.retain(|port| port.port != ECHO);
    lab.folder.write("app.yaml", &service.to_yaml())?;
    let refused = || from.enter(|| client::connect(VIP.sockets(ECHO)[0]).is_err()).ok()?.then_some(());
    wait::until("the frontend is gone", Duration::from_secs(5), refused)?;

    connections.wait_for_progress()?;
    assert!(connections.finish()?.broken.is_empty());
    Ok(())
}

#[test]
fn an_uplink_that_comes_back_is_attached_again() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let _agent = lab.start()?;
    let (from, node) = (&lab.network.client, &lab.network.node);

    node.ip("link del eth0")?;
    lab.network.connect_again()?;

    let served = || {
        let distribution = client::connections(from, VIP.sockets(8000)[0], 1).ok()?;
        (distribution.of("v1") == 1).then_some(())
    };
    wait::until("the VIP is served again", Duration::from_secs(10), served)?;
    assert!(client::connections(from, NODE.sockets(1)[0], 1)?.refused == 1, "the node itself answers");
    Ok(())
}
