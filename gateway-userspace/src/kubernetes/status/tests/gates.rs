//! When a Pod's readiness gate opens.

use super::*;

const POD: &str = "/api/v1/namespaces/shop/pods/a";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/beeline-system/leases";
const GATE: &str = "beeline.dev/backend-ready";

/// A Pod that waits for us; its version.
fn put_pod(server: &FakeServer) -> u64 {
    server.put(
        POD,
        json!({
            "metadata": {},
            "spec": { "containers": [], "readinessGates": [{ "conditionType": GATE }] },
            "status": { "conditions": [
                { "type": "ContainersReady", "status": "True" },
                { "type": "Ready", "status": "False" },
            ] },
        }),
    );
    server.get(POD).unwrap()["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn gate(server: &FakeServer) -> Option<Value> {
    let conditions = status_of(server, POD)["conditions"].as_array().unwrap().clone();
    conditions.into_iter().find(|condition| condition["type"] == GATE)
}

/// Two agents that live, each with its Lease, one of them elected.
async fn two_agents(server: &FakeServer) -> [Agent; 2] {
    let agents = ["a", "b"].map(|node| Agent::start(server, node));
    for agent in &agents {
        agent.status.publish(facts());
        agent.status.programmed(1);
    }
    let [a, b] = &agents;
    let live = || server.list(LEASES).len() == 3 && a.status.is_leader() | b.status.is_leader();
    wait_until(&[a, b], "both live", live).await;
    agents
}

#[tokio::test(start_paused = true)]
async fn a_gate_opens_at_once_when_the_last_agent_has_programmed_the_pod() {
    let server = FakeServer::default();
    let [a, b] = two_agents(&server).await;
    let both = [&a, &b];
    let version = put_pod(&server);
    a.status.programmed(version);
    a.rest(Duration::from_secs(5)).await;
    assert_eq!(gate(&server), None, "one of them has not programmed it");

    let start = tokio::time::Instant::now();
    b.status.programmed(version);
    wait_until(&both, "it is open", || gate(&server).is_some()).await;

    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let gate = gate(&server).unwrap();
    assert_eq!((&gate["status"], &gate["reason"]), (&json!("True"), &json!("Programmed")));
    assert_eq!(server.writes("pods/a/status"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_agent_holds_up_nobody() {
    let server = FakeServer::default();
    let [a, b] = two_agents(&server).await;
    let (living, dead) = if a.status.is_leader() { (&a, "b") } else { (&b, "a") };

    let start = tokio::time::Instant::now();
    server.cut(dead);
    let version = put_pod(&server);
    living.status.programmed(version);
    wait_until(&[&a, &b], "it is open", || gate(&server).is_some()).await;

    assert_eq!(gate(&server).unwrap()["reason"], "Programmed");
    assert!(start.elapsed() <= Duration::from_secs(41), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn after_the_time_out_a_gate_opens_and_an_event_names_who_lags() {
    let server = FakeServer::default();
    let [a, b] = two_agents(&server).await;
    let both = [&a, &b];

    let version = put_pod(&server);
    a.status.programmed(version);
    wait_until(&both, "it is open", || gate(&server).is_some()).await;
    a.rest(Duration::from_secs(5)).await;

    assert_eq!(gate(&server).unwrap()["reason"], "TimedOut");
    let events = server.list("/apis/events.k8s.io/v1/namespaces/shop/events");
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0]["note"].as_str().unwrap().contains("have not programmed the Pod: b:"), "{}", events[0]["note"]);
    assert_eq!(events[0]["regarding"]["uid"], server.get(POD).unwrap()["metadata"]["uid"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_programmed_is_no_news_for_those_who_write_status() {
    let server = FakeServer::default();
    let a = Agent::start(&server, "a");
    a.status.publish(facts());
    let (mut facts, mut revision) = (a.status.facts.subscribe(), a.status.revision.subscribe());
    facts.mark_unchanged();
    revision.mark_unchanged();

    a.status.programmed(7);
    assert_eq!((facts.has_changed().unwrap(), revision.has_changed().unwrap()), (false, true));

    revision.mark_unchanged();
    a.status.programmed(7);
    assert!(!revision.has_changed().unwrap());
}
