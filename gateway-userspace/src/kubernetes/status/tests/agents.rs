//! Who writes: one of several, and another when he is gone.

use super::*;

#[tokio::test(start_paused = true)]
async fn of_two_agents_one_leads_and_the_other_takes_over_when_it_is_cut_off() {
    let server = server_with_upstream();
    let (a, b) = (Agent::start(&server, "a"), Agent::start(&server, "b"));
    wait_until(&[&a, &b], "one leads", || a.status.is_leader() || b.status.is_leader()).await;
    let (first, second, name) = if a.status.is_leader() { (&a, &b, "a") } else { (&b, &a, "b") };

    let start = tokio::time::Instant::now();
    server.cut(name);
    let mut both = false;
    wait_until(&[&a, &b], "the other leads", || {
        both |= first.status.is_leader() && second.status.is_leader();
        second.status.is_leader()
    })
    .await;

    assert!(!both, "two agents led at once");
    assert!(start.elapsed() < Duration::from_secs(17), "{:?}", start.elapsed());
    let transitions = &server.get(LEADER).unwrap()["spec"]["leaseTransitions"];
    assert_eq!(*transitions, 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_ends_hands_over_at_once_and_takes_its_node_lease_away() {
    let server = server_with_upstream();
    let a = Agent::start(&server, "a");
    let leases = "/apis/coordination.k8s.io/v1/namespaces/beeline-system/leases";
    a.until("a leads", || a.status.is_leader() && server.list(leases).len() == 2).await;
    let b = Agent::start(&server, "b");
    b.until("b lives", || server.list(leases).len() == 3).await;

    let start = tokio::time::Instant::now();
    a.status.shutdown().await;
    b.until("b leads", || b.status.is_leader()).await;

    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(server.get(&format!("{leases}/beeline-node-a")), None);
    assert_ne!(server.get(&format!("{leases}/beeline-node-b")), None);
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_writes_and_a_new_one_writes_nothing_twice() {
    let server = server_with_upstream();
    let (a, b) = (Agent::start(&server, "a"), Agent::start(&server, "b"));
    a.status.publish(facts_of_upstream(3));
    b.status.publish(facts_of_upstream(3));
    wait_until(&[&a, &b], "it is written", || status_of(&server, UPSTREAM)["summary"] == "3/4").await;

    let name = if a.status.is_leader() { "a" } else { "b" };
    server.cut(name);
    let other = if name == "a" { &b } else { &a };
    wait_until(&[&a, &b], "the other leads", || other.status.is_leader()).await;
    other.rest(Duration::from_mins(1)).await;

    assert_eq!(server.writes("upstreams/a/status"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_of_a_node_replaces_the_one_before_which_then_keeps_quiet() {
    let server = FakeServer::default();
    let lease = "/apis/coordination.k8s.io/v1/namespaces/beeline-system/leases/beeline-node-a";
    let holder = || server.get(lease).map(|lease| lease["spec"]["holderIdentity"].clone());
    let old = Agent::start(&server, "a");
    old.until("the old one has it", || holder() == Some(json!("a/pod-1"))).await;

    let settings = Settings {
        namespace: "beeline-system".into(),
        node: "a".into(),
        instance: "pod-2".into(),
        gate_timeout: Duration::from_mins(1),
        gates: &[],
    };
    let new = start(&server.client("new"), &Handle::current(), settings, Arc::default());
    old.until("the new one has it", || holder() == Some(json!("a/pod-2"))).await;
    let mut back = false;
    let end = tokio::time::Instant::now() + Duration::from_mins(2);
    old.until("the time has passed", || {
        back |= holder() != Some(json!("a/pod-2"));
        tokio::time::Instant::now() >= end
    })
    .await;
    old.status.shutdown().await;

    assert!(!back);
    assert_eq!(holder(), Some(json!("a/pod-2")));
    new.shutdown().await;
    assert_eq!(holder(), None);
}

#[tokio::test(start_paused = true)]
async fn a_successor_on_the_same_node_finds_the_lease_where_it_was() {
    let server = FakeServer::default();
    let lease = "/apis/coordination.k8s.io/v1/namespaces/beeline-system/leases/beeline-node-a";
    let a = Agent::start(&server, "a");
    a.until("it lives", || server.get(lease).is_some()).await;

    a.status.hand_over();
    a.status.shutdown().await;

    assert_ne!(server.get(lease), None);
}

#[tokio::test(start_paused = true)]
async fn agents_tell_each_other_where_their_nodes_are_and_whether_they_leave() {
    const NODE: &str = "/api/v1/nodes/a";
    let server = FakeServer::default();
    let node = |labels: Value, ready: &str| json!({ "metadata": { "labels": labels }, "status": { "conditions": [{ "type": "Ready", "status": ready }] } });
    server.put(NODE, node(json!({}), "True"));
    let (a, b) = (Agent::start(&server, "a"), Agent::start(&server, "b"));
    let stance = Stance { addresses: vec!["192.0.2.1/24".parse().unwrap()], ..Stance::default() };
    let heard = b.status.peers();
    let is_leaving = |leaving| {
        let peer = heard.borrow().as_ref().and_then(|heard| heard.peers.get("a").cloned());
        peer == Some(Peer { addresses: stance.addresses.clone(), leaving })
    };

    a.status.stand(stance.clone());
    b.status.stand(Stance { shares: true, ..Stance::default() });
    wait_until(&[&a, &b], "b hears of a", || is_leaving(false)).await;

    let excluded = json!({ "node.kubernetes.io/exclude-from-external-load-balancers": "" });
    for (unfit, fit) in [(node(excluded, "True"), "True"), (node(json!({}), "Unknown"), "True")] {
        server.put(NODE, unfit);
        wait_until(&[&a, &b], "others shall answer", || is_leaving(true)).await;
        server.put(NODE, node(json!({}), fit));
        wait_until(&[&a, &b], "it answers again", || is_leaving(false)).await;
    }
    let start = tokio::time::Instant::now();
    a.status.stand(Stance { leaving: true, ..stance.clone() });
    wait_until(&[&a, &b], "it is about to end", || is_leaving(true)).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn all_of_it_works_over_a_socket() {
    let server = server_with_upstream();
    let client = server.listen().await;
    let a = Agent::with_client(&server, "a", &client);
    a.status.publish(facts_of_upstream(3));

    a.until("it is written", || status_of(&server, UPSTREAM)["summary"] == "3/4").await;
    a.status.shutdown().await;

    assert_eq!(server.get(LEADER).unwrap()["spec"]["holderIdentity"], "");
}
