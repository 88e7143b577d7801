//! The maps as an operator meets them: readable by field, bounded, and emptied of what is idle.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use beeline_tests::agent::Agent;
use beeline_tests::client;
use beeline_tests::lab::Lab;
use beeline_tests::long_lived::LongLived;
use beeline_tests::process::run;
use beeline_tests::topology::VIP;
use beeline_tests::wait;
use serde_json::Value;

#[test]
fn bpftool_names_every_map_and_every_field() -> Result<()> {
    let lab = Lab::weighted(&[5, 3, 1])?;
    let agent = lab.start()?;
    client::connections(&lab.network.client, VIP.sockets(8000)[0], 9)?;

    let mut names = Vec::new();
    for map in fs::read_dir(agent.maps())? {
        let path = map?.path();
        // It holds sockets, which the kernel shows to nobody.
        if path.ends_with("LISTENERS") {
            continue;
        }
        let shown = run(Command::new("bpftool").args(["-j", "map", "show", "pinned"]).arg(&path))?;
        let shown: Value = serde_json::from_str(&shown)?;
        let dump = run(Command::new("bpftool").args(["map", "dump", "pinned"]).arg(&path))?;

        let name = shown["name"].as_str().unwrap_or_default().to_owned();
        assert!((1..=15).contains(&name.len()), "{shown}");
        assert_eq!(path.file_name().map(|file| file.to_string_lossy().into_owned()), Some(name.clone()));
        // Without types `bpftool` prints bytes: `key: 00 00 00 00  value: ...`.
        assert!(dump.starts_with('[') && (dump.contains("\"key\": ") || dump.trim() == "[]"), "{name}: {dump:.300}");
        names.push(name);
    }

    assert!(names.contains(&"FRONTENDS".to_owned()) && names.len() > 10, "{names:?}");
    Ok(())
}

/// An agent with room for few flows and little patience.
fn agent<'a>(lab: &'a Lab, arguments: &[&str]) -> Result<Agent<'a>> {
    let agent = Agent::new(&lab.network.group, &lab.network.node, lab.folder.path())?;
    let mut agent =
        agent.with_arguments(&["--max-frontends", "256", "--max-backends", "1024"]).with_arguments(arguments);
    agent.start()?;
    Ok(agent)
}

#[test]
fn a_full_table_refuses_new_connections_and_keeps_the_others() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = agent(&lab, &["--max-flows", "64"])?;
    let from = &lab.network.client;
    let connections = LongLived::open(from, VIP.sockets(9000)[0], 40)?;

    let distribution = client::connections(from, VIP.sockets(8000)[0], 60)?;

    assert!(distribution.answered() <= 24 && distribution.answered() + distribution.refused == 60, "{distribution:?}");
    assert!(agent.drops("conntrack_full")? >= 36);
    connections.wait_for_progress()?;
    assert!(connections.finish()?.broken.is_empty());
    Ok(())
}

#[test]
fn flows_that_are_idle_are_forgotten_and_those_that_are_not_stay() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = agent(&lab, &["--max-flows", "4096", "--udp-timeout", "1s", "--closing-timeout", "1s"])?;
    let from = &lab.network.client;
    let connections = LongLived::open(from, VIP.sockets(9000)[0], 5)?;

    client::flows(from, VIP.sockets(8001)[0], 100)?;
    client::connections(from, VIP.sockets(8000)[1], 100)?;
    let active = || agent.status().ok()?["flows"]["active"].as_u64();
    wait::until("idle flows are forgotten", Duration::from_secs(30), || (active() == Some(5)).then_some(()))?;

    assert_eq!(agent.events("collected")?, 200);
    connections.wait_for_progress()?;
    assert!(connections.finish()?.broken.is_empty());
    Ok(())
}
