//! One agent takes over from another that runs; clients, maps and whoever probes see nothing of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use beeline_tests::agent::Agent;
use beeline_tests::client::{self, Distribution};
use beeline_tests::lab::Lab;
use beeline_tests::long_lived::LongLived;
use beeline_tests::manifests::Service;
use beeline_tests::topology::VIP;
use beeline_tests::wait;
use nix::sys::signal::{Signal, kill};

const HTTP: u16 = 8000;
const ECHO: u16 = 9000;

/// An agent that stands by waits some seconds before it serves again.
const RESUME_LIMIT: Duration = Duration::from_secs(20);

fn stands_by(agent: &Agent) -> bool {
    agent.probe("ready").is_ok_and(|(code, line)| code == Some(0) && line.contains("standing by"))
}

fn serves(agent: &Agent) -> bool {
    agent.serves().unwrap_or(false)
}

fn wait_until_served_by(agent: &Agent, what: &str) -> Result<()> {
    wait::until(what, RESUME_LIMIT, || serves(agent).then_some(()))
}

/// Changes the weights and waits until connections follow them: somebody does serve the folder.
fn weights_are_followed(lab: &Lab, weights: &[u32]) -> Result<()> {
    lab.folder.write("app.yaml", &Service::weighted(VIP, weights).to_yaml())?;
    let count = weights.iter().sum::<u32>() as usize;
    wait::until(&format!("the shares are {weights:?}"), Duration::from_secs(10), || {
        let distribution = client::connections(&lab.network.client, VIP.sockets(HTTP)[0], count).ok()?;
        let shares = (1..=weights.len()).map(|number| distribution.of(&format!("v{number}")));
        shares.eq(weights.iter().map(|&weight| u64::from(weight))).then_some(())
    })
}

/// Opens connections one after the other while something is done; gives those of all rounds.
fn connecting_meanwhile(lab: &Lab, action: impl FnOnce() -> Result<()>) -> Result<Vec<Distribution>> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let mut rounds = Vec::new();
            while !done.load(Ordering::Relaxed) {
                for target in VIP.sockets(HTTP) {
                    rounds.push(client::connections(&lab.network.client, target, 9)?);
                }
            }
            anyhow::Ok(rounds)
        });
        let outcome = action();
        done.store(true, Ordering::Relaxed);
        let rounds = connecting.join().map_err(|_| anyhow!("the thread that connects panicked"))??;
        outcome.map(|()| rounds)
    })
}

#[test]
fn an_agent_takes_over_and_no_connection_notices() -> Result<()> {
    let lab = Lab::weighted(&[5, 3, 1])?;
    let (mut old, mut new) = (lab.agent()?.named("old"), lab.agent()?.named("new"));
    old.start()?;
    let before = old.dump()?;
    let connections = VIP.sockets(ECHO).map(|target| LongLived::open(&lab.network.client, target, 50));

    let rounds = connecting_meanwhile(&lab, || new.start())?;

    assert_eq!(new.writes()?, 0, "{}", new.log().tail());
    assert_eq!(new.dump()?, before);
    assert!(rounds.len() > 1, "nothing was connected meanwhile");
    for round in rounds {
        assert_eq!((round.of("v1"), round.of("v2"), round.of("v3")), (5, 3, 1), "{round:?}");
    }
    assert!(stands_by(&old) && !serves(&old), "{}", old.log().tail());
    assert_eq!(new.probe("ready")?, (Some(0), "serving".to_owned()));
    weights_are_followed(&lab, &[1, 1, 2])?;
    for connections in connections {
        let connections = connections?;
        connections.wait_for_progress()?;
        let report = connections.finish()?;
        assert_eq!((report.connections, report.broken.as_slice()), (50, [].as_slice()));
    }
    assert_eq!(old.stop()?.code(), Some(0), "{}", old.log().tail());
    weights_are_followed(&lab, &[2, 1, 1])
}

#[test]
fn an_agent_that_stands_by_serves_again_when_the_other_is_killed() -> Result<()> {
    let lab = Lab::weighted(&[5, 3, 1])?;
    let (mut old, mut new) = (lab.agent()?.named("old"), lab.agent()?.named("new"));
    old.start()?;
    new.start()?;
    let connections = LongLived::open(&lab.network.client, VIP.sockets(ECHO)[1], 50)?;

    new.kill()?;
    wait_until_served_by(&old, "the old agent serves again")?;

    assert_eq!(old.writes()?, 0, "{}", old.log().tail());
    assert_eq!(old.probe("ready")?, (Some(0), "serving".to_owned()));
    weights_are_followed(&lab, &[1, 1, 2])?;
    new.start()?;
    assert!(stands_by(&old), "{}", old.log().tail());
    connections.wait_for_progress()?;
    assert!(connections.finish()?.broken.is_empty());
    Ok(())
}

#[test]
fn an_agent_that_does_not_answer_is_named_and_keeps_what_it_has() -> Result<()> {
    let lab = Lab::weighted(&[1, 1])?;
    let old = lab.start()?;
    let id = old.id()?;

    kill(id, Signal::SIGSTOP)?;
    let (second, probe) = (old.second()?, old.probe("live")?);
    kill(id, Signal::SIGCONT)?;

    let errors = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{errors}");
    for part in [&format!("process {id}"), &*old.bpffs().to_string_lossy(), "did not hand over within 10s", "stop it"] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    assert_eq!(probe.0, Some(1), "{}", probe.1);
    weights_are_followed(&lab, &[2, 1])?;
    assert!(serves(&old) && old.probe("live")?.0 == Some(0), "{}", old.log().tail());
    Ok(())
}

#[test]
fn of_agents_that_start_at_once_one_serves_and_the_others_stand_by() -> Result<()> {
    let lab = Lab::weighted(&[1, 1])?;
    let mut agents =
        ["a", "b", "c"].into_iter().map(|name| Ok(lab.agent()?.named(name))).collect::<Result<Vec<_>>>()?;
    let settled = |agents: &[Agent]| {
        let waiting = agents.iter().filter(|agent| stands_by(agent)).count();
        let serving = agents.iter().position(serves)?;
        (waiting == agents.len() - 1).then_some(serving)
    };

    agents.iter_mut().try_for_each(Agent::launch)?;
    let serving = wait::until("one serves and two stand by", RESUME_LIMIT, || settled(&agents))?;
    let mut first = agents.remove(serving);
    first.kill()?;
    wait::until("one serves and one stands by", RESUME_LIMIT, || settled(&agents))?;

    let times = |words: &str| {
        let lines = agents.iter().flat_map(|agent| agent.log().lines());
        lines.filter(|line| line.contains(words)).count()
    };
    assert!(times("handed over") <= 2, "the agents chase each other");
    weights_are_followed(&lab, &[2, 1])
}

#[test]
fn unload_names_an_agent_that_stands_by() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let (mut old, mut new) = (lab.agent()?.named("old"), lab.agent()?.named("new"));
    old.start()?;
    new.start()?;
    let id = old.id()?;

    new.stop()?;
    let refused = old.unload().expect_err("an agent stands by").to_string();
    old.stop()?;
    let unloaded = old.unload()?;

    assert!(refused.contains(&format!("process {id}")) && refused.contains("stop it"), "{refused}");
    assert!(unloaded.contains("unloaded"), "{unloaded}");
    Ok(())
}

#[test]
fn a_probe_without_an_agent_fails_and_says_so() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = lab.start()?;
    let other = lab.agent()?.named("other");

    let (there, not_there) = (agent.probe("ready")?, other.probe("ready")?);

    assert_eq!(there, (Some(0), "serving".to_owned()));
    assert_eq!(not_there.0, Some(1), "{}", not_there.1);
    assert!(not_there.1.contains("no agent of the instance `other`"), "{}", not_there.1);
    Ok(())
}
