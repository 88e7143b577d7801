//! Pods and agents come and go under load, and no connection is refused, reset or kept waiting for it.
//!
//! Half of the load is IPv4 and half IPv6; the host outside spreads it over all nodes. A host whose routes change chooses a
//! node anew for connections that are open, so no test may change its routes beside a load.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use beeline_tests::client;
use beeline_tests::cluster::{Cluster, SYSTEM, Sandbox, Workload};
use beeline_tests::pod::{ECHO_PORT, UDP_PORT};
use beeline_tests::traffic::{LONGEST_LIFE, Load, Traffic};
use beeline_tests::wait;

use crate::{ground, ground_alone};

/// New connections per second to each of the two frontends.
const NEW_PER_SECOND: u32 = 100;
/// Long-lived connections to each.
const LONG_LIVED: u32 = 50;
/// How long a Pod serves on when it ends, in seconds: well over the time that a connection lives.
const DRAIN: u32 = LONGEST_LIFE.as_secs() as u32 + 4;
/// How long a change of a Pod may take to show in what clients meet.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);
/// How long what other tests have left may take to end.
const LEFTOVER_LIMIT: Duration = Duration::from_mins(1);
/// No refusal takes as long as a SYN that was lost.
const AT_ONCE: Duration = Duration::from_secs(1);

pub fn traffic(cluster: &Cluster, frontends: &[SocketAddr]) -> Result<Vec<Traffic>> {
    let start = |http: &SocketAddr| {
        let echo = SocketAddr::new(http.ip(), ECHO_PORT);
        let load = Load { http: *http, echo, new_per_second: NEW_PER_SECOND, long_lived: LONG_LIVED };
        let traffic = Traffic::start(cluster.client(), load)?;
        traffic.wait_for_more(u64::from(NEW_PER_SECOND))?;
        Ok(traffic)
    };
    frontends.iter().map(start).collect()
}

/// Nobody was disturbed, and the load was what it was to be.
pub fn finish(traffic: Vec<Traffic>, sandbox: &Sandbox) -> Result<()> {
    let unhealthy = sandbox.kubectl(&["get", "events", "--field-selector=reason=Unhealthy"])?;
    for traffic in traffic {
        traffic.wait_for_more(u64::from(NEW_PER_SECOND))?;
        let report = traffic.finish()?;
        println!("{report:?}");

        assert!(report.failures.is_empty(), "{report:#?}\nPods that were not ready:\n{unhealthy}");
        let due = report.elapsed.as_secs() * u64::from(NEW_PER_SECOND);
        assert!(report.connections >= due * 9 / 10, "not {NEW_PER_SECOND} connections per second: {report:?}");
        assert!(report.long_lived > u64::from(LONG_LIVED), "{report:?}");
    }
    Ok(())
}

/// Waits until the namespaces of other tests are gone, whose last Pods the agents follow.
fn wait_for_leftovers(cluster: &Cluster) -> Result<()> {
    let ending = ["get", "namespaces", "--field-selector=status.phase=Terminating", "--output=name"];
    let gone = || cluster.kubectl().ask(&ending).is_ok_and(|ending| ending.is_empty()).then_some(());
    wait::until("the namespaces of other tests are gone", LEFTOVER_LIMIT, gone)
}

#[test]
fn a_deployment_is_replaced_under_load_and_nobody_notices() -> Result<()> {
    let cluster = ground_alone()?;
    let sandbox = Sandbox::create(&cluster, "replaced")?;
    let workload = Workload::new("web", 10, DRAIN);
    let frontends = workload.serve(&cluster, &sandbox)?;
    let traffic = traffic(&cluster, &frontends)?;

    workload.replace_pods(&sandbox)?;

    workload.wait_until_programmed(&cluster, &sandbox, &frontends)?;
    finish(traffic, &sandbox)
}

#[test]
fn the_agents_are_replaced_under_load_and_nobody_notices() -> Result<()> {
    let cluster = ground_alone()?;
    wait_for_leftovers(&cluster)?;
    let sandbox = Sandbox::create(&cluster, "agents")?;
    let workload = Workload::new("web", 6, DRAIN);
    let frontends = workload.serve(&cluster, &sandbox)?;
    let old = cluster.agents()?;
    let traffic = traffic(&cluster, &frontends)?;

    cluster.kubectl().ask(&["--namespace", SYSTEM, "rollout", "restart", "daemonset/beeline"])?;
    cluster.wait_for_agents()?;
    let replaced = || {
        let agents = cluster.agents().ok()?;
        (agents.len() == old.len() && agents.iter().all(|agent| !old.contains(agent))).then_some(())
    };
    wait::until("every agent is replaced", CHANGE_LIMIT, replaced)?;

    for node in cluster.nodes() {
        assert_eq!(cluster.first_writes(node)?, 0, "the new agent of {} has written to the maps", node.name);
    }
    workload.scale(&sandbox, 9)?;
    sandbox.wait_for_deployments()?;
    workload.wait_until_programmed(&cluster, &sandbox, &frontends)?;
    finish(traffic, &sandbox)
}

#[test]
fn what_has_no_pods_refuses_at_once_and_serves_again_when_it_has() -> Result<()> {
    const CONNECTIONS: usize = 12;
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "scaled")?;
    let workload = Workload::new("web", 3, DRAIN);
    let frontends = workload.serve(&cluster, &sandbox)?;

    workload.scale(&sandbox, 0)?;

    for http in &frontends {
        let refused = || -> Option<Result<()>> {
            let begin = Instant::now();
            let found = match client::connections(cluster.client(), *http, CONNECTIONS) {
                Ok(found) => found,
                Err(error) => return Some(Err(error)),
            };
            // As long as there are Pods that serve on, they are better than nothing.
            if !found.failures.is_empty() {
                return Some(Err(anyhow!("{http}: {found:?}")));
            }
            (found.refused == CONNECTIONS as u64 && begin.elapsed() < AT_ONCE).then_some(Ok(()))
        };
        wait::until(&format!("{http} refuses at once"), CHANGE_LIMIT, refused)??;
        // A kernel sends only so many "port unreachable" a second (`net.ipv4.icmp_ratelimit`), so some flows hear nothing.
        let flows = client::flows(cluster.client(), SocketAddr::new(http.ip(), UDP_PORT), CONNECTIONS)?;
        assert!(flows.refused > 0 && flows.answered() == 0, "{flows:?}");
    }

    workload.scale(&sandbox, 3)?;
    sandbox.wait_for_deployments()?;
    workload.wait_until_programmed(&cluster, &sandbox, &frontends)?;
    for http in &frontends {
        let found = client::connections(cluster.client(), *http, CONNECTIONS)?;
        assert_eq!(found.answered(), CONNECTIONS as u64, "{found:?}");
    }
    Ok(())
}

#[test]
fn a_udp_flow_moves_to_another_pod_when_its_own_is_gone() -> Result<()> {
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "flows")?;
    let workload = Workload::new("who", 6, 0);
    let frontends = workload.serve(&cluster, &sandbox)?;
    let node = &cluster.nodes()[0];

    for frontend in frontends {
        cluster.route(frontend.ip(), node)?;
        let target = SocketAddr::new(frontend.ip(), UDP_PORT);
        let flow = cluster.client().enter(|| client::flow(target))??;
        let first = client::ask(&flow, "who")?.pod;
        assert_eq!(client::ask(&flow, "still")?.pod, first);

        sandbox.kubectl(&["delete", "pod", &first])?;
        let moved = client::ask(&flow, "and now").context("the flow ends with its Pod")?.pod;

        assert_ne!(moved, first);
        let after = workload.pods(&sandbox)?;
        assert!(after.iter().any(|pod| pod.name == moved), "{moved}: {after:?}");
        cluster.unroute(frontend.ip())?;
        sandbox.wait_for_deployments()?;
        workload.wait_until_programmed(&cluster, &sandbox, &[frontend])?;
    }
    Ok(())
}
