//! Rollouts whose Pods wait for Beeline complete: when every agent has programmed them, and also when an agent hangs.

use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::cluster::{Cluster, Sandbox, Workload};
use beeline_tests::wait;
use serde_json::Value;

use crate::{ground, ground_alone};

/// Beeline's own gate, and Tencent's.
const GATES: [&str; 2] = ["beeline.dev/backend-ready", "cloud.tencent.com/load-balancer-backendgroup-ready"];

/// How long an event may take to be written.
const EVENT_LIMIT: Duration = Duration::from_secs(30);

/// Why a gate of a workload's Pods is open, one entry a Pod.
fn reasons(cluster: &Cluster, sandbox: &Sandbox, workload: &Workload, gate: &str) -> Result<Vec<(String, String)>> {
    let selector = format!("app={}", workload.name);
    let pods = cluster.kubectl().json(&["--namespace", sandbox.name(), "get", "pods", "--selector", &selector])?;
    let pods = pods["items"].as_array().context("no list of Pods")?;
    let staying = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let reason = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array()?;
        let open = conditions.iter().find(|condition| condition["type"] == gate && condition["status"] == "True")?;
        Some((pod["metadata"]["name"].as_str()?.to_owned(), open["reason"].as_str()?.to_owned()))
    };
    staying.map(reason).collect::<Option<_>>().with_context(|| format!("{gate} is not open on every Pod: {pods:?}"))
}

#[test]
fn a_gated_rollout_completes_when_every_agent_has_programmed_its_pods() -> Result<()> {
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "gated")?;
    for (name, gate) in ["own", "tencent"].into_iter().zip(GATES) {
        let workload = Workload::new(name, 3, 2).gated_by(gate);
        let frontends = workload.start(&sandbox)?;

        workload.replace_pods(&sandbox)?;

        let reasons = reasons(&cluster, &sandbox, &workload, gate)?;
        assert_eq!(reasons.len(), 3, "{reasons:?}");
        assert!(reasons.iter().all(|(_, reason)| reason == "Programmed"), "{gate}: {reasons:?}");
        workload.wait_until_programmed(&cluster, &sandbox, &frontends)?;
    }
    Ok(())
}

#[test]
fn a_gated_rollout_completes_with_an_event_although_an_agent_hangs() -> Result<()> {
    let cluster = ground_alone()?;
    let sandbox = Sandbox::create(&cluster, "hanging")?;
    let workload = GATES.into_iter().fold(Workload::new("web", 2, 2), Workload::gated_by);
    let leader = cluster.leader()?;
    let agents = cluster.agents()?;
    let other = agents.iter().find(|agent| agent.identity() != leader).context("there is only one agent")?;

    let stopped = other.stop()?;
    workload.start(&sandbox)?;

    for gate in GATES {
        let reasons = reasons(&cluster, &sandbox, &workload, gate)?;
        assert!(reasons.iter().all(|(_, reason)| reason == "TimedOut"), "{gate}: {reasons:?}");
        for (pod, _) in reasons {
            let of_pod = format!("--field-selector=reason=TimedOut,involvedObject.name={pod}");
            // Events are written one after the other, and after the gates.
            let told = || {
                let event =
                    sandbox.kubectl(&["get", "events", &of_pod, "--output=jsonpath={.items[*].message}"]).ok()?;
                event.contains(&other.node).then_some(())
            };
            wait::until(&format!("an event on {pod} names {}", other.node), EVENT_LIMIT, told)?;
        }
    }
    drop(stopped);
    workload.replace_pods(&sandbox)?;
    let reasons = reasons(&cluster, &sandbox, &workload, GATES[0])?;
    assert!(reasons.iter().all(|(_, reason)| reason == "Programmed"), "{reasons:?}");
    Ok(())
}
