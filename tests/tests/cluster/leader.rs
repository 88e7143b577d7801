//! One agent of several writes status. Another takes over when it dies, nobody writes without a reason, and what other
//! controllers have written stays.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::cluster::Sandbox;
use beeline_tests::wait;
use serde_json::{Value, json};

use crate::{ground, ground_alone};

/// How long nothing happens, for status not to change either.
const REST: Duration = Duration::from_secs(10);
/// How long another agent may take to lead: the time of a Lease, and some.
const TAKEOVER: Duration = Duration::from_mins(1);
/// The example, but for the address pool, which is all tests'.
const HTTPBIN: [&str; 4] = ["service.yaml", "deployments.yaml", "upstream.yaml", "gateway.yaml"];
/// What another controller has to say of the example's route.
const OTHER: &str = "example.com/other";

fn accepted(truth: &str) -> String {
    let ours = "?(@.controllerName=='beeline.dev/gateway')";
    format!("jsonpath={{.status.parents[{ours}].conditions[?(@.type=='Accepted')].status}}={truth}")
}

/// Which objects there are that have a status of ours, and at which version.
fn versions(sandbox: &Sandbox) -> Result<String> {
    let columns = "--output=custom-columns=KIND:.kind,NAME:.metadata.name,VERSION:.metadata.resourceVersion";
    sandbox.kubectl(&["get", "gateways,tcproutes,upstreams,services", columns])
}

fn start_example(sandbox: &Sandbox) -> Result<()> {
    sandbox.apply_example("examples/httpbin", &HTTPBIN)?;
    sandbox.gateway_addresses("httpbin")?;
    sandbox.wait("tcproute/httpbin", &accepted("True"))?;
    sandbox.wait("upstream/httpbin", "condition=ResolvedRefs")
}

#[test]
fn another_agent_writes_status_when_the_one_that_did_is_killed() -> Result<()> {
    let cluster = ground_alone()?;
    let sandbox = Sandbox::create(&cluster, "leaderless")?;
    let leader = cluster.leader()?;
    let agents = cluster.agents()?;
    let agent = agents.iter().find(|agent| agent.identity() == leader).context("the leader is no agent of these")?;

    agent.kill(&cluster)?;
    // Its node may start it once more before it hears that the Pod is gone, and then it leads on for a moment.
    wait::until("another agent leads", TAKEOVER, || cluster.leader().is_ok_and(|now| now != leader).then_some(()))?;
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "late" },
        "spec": { "gatewayClassName": "beeline", "listeners": [{ "name": "web", "port": 80, "protocol": "TCP" }] },
    });
    sandbox.apply(&gateway.to_string())?;

    assert_eq!(sandbox.gateway_addresses("late")?.len(), 2);
    Ok(())
}

#[test]
fn nobody_writes_status_while_nothing_happens() -> Result<()> {
    let cluster = ground_alone()?;
    let sandbox = Sandbox::create(&cluster, "resting")?;
    start_example(&sandbox)?;
    sandbox.wait("upstream/httpbin", "jsonpath={.status.summary}=9/9")?;

    let before = versions(&sandbox)?;
    // That nothing happens can only be seen by waiting.
    thread::sleep(REST);

    assert_eq!(versions(&sandbox)?, before);
    // The head, and five objects: a Service stands for the Gateway.
    assert_eq!(before.lines().count(), 6, "{before}");
    Ok(())
}

#[test]
fn what_another_controller_says_of_a_route_outlives_our_writes() -> Result<()> {
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "shared")?;
    start_example(&sandbox)?;
    let entry = json!({
        "parentRef": { "name": "elsewhere" },
        "controllerName": OTHER,
        "conditions": [{
            "type": "Accepted",
            "status": "Unknown",
            "reason": "Pending",
            "message": "",
            "lastTransitionTime": "2020-01-01T00:00:00Z",
        }],
    });
    let patch = json!([{ "op": "add", "path": "/status/parents/-", "value": entry }]).to_string();
    let status = ["patch", "tcproute", "httpbin", "--subresource=status", "--type=json", "--patch", &patch];
    sandbox.kubectl(&status)?;

    for (section, truth) in [("nowhere", "False"), ("web", "True")] {
        let patch =
            json!([{ "op": "replace", "path": "/spec/parentRefs/0/sectionName", "value": section }]).to_string();
        sandbox.kubectl(&["patch", "tcproute", "httpbin", "--type=json", "--patch", &patch])?;
        sandbox.wait("tcproute/httpbin", &accepted(truth))?;

        let route = sandbox.get("tcproute/httpbin")?;
        let parents = route["status"]["parents"].as_array().context("the route has no parents in its status")?;
        let theirs: Vec<&Value> = parents.iter().filter(|parent| parent["controllerName"] == OTHER).collect();
        let expected =
            json!({ "parentRef": entry["parentRef"], "controllerName": OTHER, "conditions": entry["conditions"] });
        let found = json!({
            "parentRef": { "name": theirs[0]["parentRef"]["name"] },
            "controllerName": theirs[0]["controllerName"],
            "conditions": theirs[0]["conditions"],
        });
        assert_eq!((theirs.len(), found), (1, expected), "{route:#}");
        assert_eq!(parents.len(), 2, "{route:#}");
    }
    Ok(())
}
