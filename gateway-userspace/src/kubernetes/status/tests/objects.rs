//! What is written, and what is left alone.

use super::*;
use crate::source::Problem;
use crate::translate::statuses::{ClassStatus, IngressStatus, ParentRef, ParentStatus, RouteStatus, ServiceStatus};

const ROUTE: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/tcproutes/a";

/// The Nodes, and one more: facts that differ in nothing that is written.
fn nodes_with(name: &str) -> BTreeSet<String> {
    ["a", "b", name].map(String::from).into()
}

#[tokio::test(start_paused = true)]
async fn what_does_not_change_is_not_written_again() {
    let server = server_with_upstream();
    let a = Agent::start(&server, "a");
    a.status.publish(facts_of_upstream(3));
    a.until("it is written", || status_of(&server, UPSTREAM)["summary"] == "3/4").await;
    let version = server.get(UPSTREAM).unwrap()["metadata"]["resourceVersion"].clone();

    a.status.publish(Facts { nodes: nodes_with("c"), ..facts_of_upstream(3) });
    a.rest(Duration::from_mins(1)).await;

    assert_eq!(server.get(UPSTREAM).unwrap()["metadata"]["resourceVersion"], version);
    assert_eq!(server.writes("upstreams/a/status"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_condition_keeps_its_time_while_it_is_as_true_as_before() {
    let server = server_with_upstream();
    let before = json!({ "type": "Accepted", "status": "True", "reason": "x", "message": "",
        "lastTransitionTime": "2020-01-01T00:00:00Z" });
    server.put(UPSTREAM, json!({ "metadata": {}, "spec": { "services": [] }, "status": { "conditions": [before] } }));
    let a = Agent::start(&server, "a");
    a.status.publish(facts_of_upstream(3));
    a.until("it is written", || status_of(&server, UPSTREAM)["summary"] == "3/4").await;

    let condition = status_of(&server, UPSTREAM)["conditions"][0].clone();
    assert_eq!((&condition["reason"], &condition["observedGeneration"]), (&json!("BecauseItIs"), &json!(1)));
    assert_eq!(condition["lastTransitionTime"], "2020-01-01T00:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_everything_is_known() {
    let server = server_with_upstream();
    let a = Agent::start(&server, "a");
    a.status.publish(Facts { complete: false, ..facts_of_upstream(3) });
    a.until("a leads", || a.status.is_leader()).await;

    a.rest(Duration::from_mins(1)).await;

    assert_eq!(server.writes("upstreams/a/status"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_no_longer_ours_loses_what_we_wrote_and_nothing_else() {
    let server = FakeServer::default();
    let theirs = json!({ "type": "Theirs", "status": "True", "reason": "x", "message": "",
        "lastTransitionTime": "2020-01-01T00:00:00Z" });
    server.put(
        SERVICE,
        json!({ "metadata": {}, "spec": { "type": "LoadBalancer" }, "status": { "conditions": [theirs] } }),
    );
    let a = Agent::start(&server, "a");
    let mut ours = facts();
    let status = ServiceStatus { addresses: vec!["192.0.2.1".parse().unwrap()], event: None, status: object_status() };
    Arc::make_mut(&mut ours.statuses).services.insert(Name::new("shop", "a"), status);
    a.status.publish(ours);
    a.until("it is written", || status_of(&server, SERVICE)["conditions"].as_array().unwrap().len() == 2).await;
    let ingress = status_of(&server, SERVICE)["loadBalancer"]["ingress"].clone();
    assert_eq!(ingress, json!([{ "ip": "192.0.2.1", "ipMode": "Proxy" }]));

    // Its type has changed, which makes it none of ours.
    let mut object = server.get(SERVICE).unwrap();
    object["spec"]["type"] = json!("ClusterIP");
    server.put(SERVICE, object);
    a.status.publish(facts());
    a.until("it is taken back", || status_of(&server, SERVICE)["loadBalancer"].is_null()).await;
    a.rest(Duration::from_mins(1)).await;

    assert_eq!(status_of(&server, SERVICE)["conditions"], json!([theirs]));
    assert_eq!(server.writes("services/a/status"), 2);
}

#[tokio::test(start_paused = true)]
async fn an_ingress_has_its_addresses_for_as_long_as_it_is_ours() {
    const INGRESS: &str = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses/a";
    let server = FakeServer::default();
    server.put(INGRESS, json!({ "metadata": {}, "spec": { "rules": [{ "host": "shop.example" }] } }));
    let a = Agent::start(&server, "a");
    let mut ours = facts();
    let status = IngressStatus { addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()] };
    Arc::make_mut(&mut ours.statuses).ingresses.insert(Name::new("shop", "a"), status);

    a.status.publish(ours);
    a.until("it is written", || !status_of(&server, INGRESS)["loadBalancer"].is_null()).await;
    let ingress = status_of(&server, INGRESS)["loadBalancer"]["ingress"].clone();
    assert_eq!(ingress, json!([{ "ip": "192.0.2.1" }, { "ip": "2001:db8::1" }]));

    a.status.publish(facts());
    a.until("it is taken back", || status_of(&server, INGRESS)["loadBalancer"].is_null()).await;
    a.rest(Duration::from_mins(1)).await;
    assert_eq!(server.writes("ingresses/a/status"), 2);
}

#[tokio::test(start_paused = true)]
async fn an_entry_of_another_controller_survives_a_conflict_and_a_farewell() {
    let server = FakeServer::default();
    let theirs = json!({ "parentRef": {"name": "x"}, "controllerName": "example.com/other", "conditions": [] });
    let late = json!({ "parentRef": {"name": "y"}, "controllerName": "example.com/late", "conditions": [] });
    let route = |parents: Value| json!({ "metadata": {}, "spec": { "rules": [] }, "status": { "parents": parents } });
    server.put(ROUTE, route(json!([theirs])));
    let a = Agent::start(&server, "a");
    a.until("a leads", || a.status.is_leader()).await;

    // The other writes behind our back: what was seen is out of date when it is written.
    server.put(ROUTE, route(json!([theirs, late])));
    let mut ours = facts();
    let parent = ParentRef { name: "gateway".into(), ..ParentRef::default() };
    let parents = vec![ParentStatus { parent, conditions: vec![condition("Accepted", Truth::True)] }];
    let id = ObjectId { kind: Kind::TcpRoute, name: Name::new("shop", "a") };
    Arc::make_mut(&mut ours.statuses).routes.insert(id, RouteStatus { generation: 2, parents });
    a.status.publish(ours);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let parents = status_of(&server, ROUTE)["parents"].as_array().unwrap().clone();
    assert_eq!(parents[..2], [theirs.clone(), late.clone()]);
    assert_eq!(parents[2]["controllerName"], "beeline.dev/gateway");
    assert_eq!(server.writes("tcproutes/a/status"), 2, "the first was refused");

    a.status.publish(facts());
    a.until("ours is gone", || status_of(&server, ROUTE)["parents"] == json!([theirs, late])).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_and_an_object_that_is_gone_is_not() {
    let server = server_with_upstream();
    let a = Agent::start(&server, "a");
    server.fail("upstreams/a/status", 500);
    server.fail("upstreams/a/status", 409);
    a.status.publish(facts_of_upstream(3));
    a.until("it is written", || status_of(&server, UPSTREAM)["summary"] == "3/4").await;
    assert_eq!(server.writes("upstreams/a/status"), 3);

    server.fail("upstreams/a/status", 404);
    a.status.publish(facts_of_upstream(2));
    a.rest(Duration::from_mins(1)).await;
    assert_eq!(server.writes("upstreams/a/status"), 4);
}

#[tokio::test(start_paused = true)]
async fn with_somebody_who_writes_against_us_there_is_no_fight() {
    let server = server_with_upstream();
    let a = Agent::start(&server, "a");
    a.status.publish(facts_of_upstream(3));

    let end = tokio::time::Instant::now() + Duration::from_secs(500);
    a.until("the time has passed", || {
        let mut object = server.get(UPSTREAM).unwrap();
        if object["status"]["summary"] == "3/4" {
            object["status"]["summary"] = json!("theirs");
            server.put(UPSTREAM, object);
        }
        tokio::time::Instant::now() >= end
    })
    .await;

    let writes = server.writes("upstreams/a/status");
    assert!((2..=12).contains(&writes), "{writes} writes");
}

#[tokio::test(start_paused = true)]
async fn a_problem_becomes_one_event_at_its_object() {
    let server = server_with_upstream();
    let a = Agent::start(&server, "a");
    let problem =
        Problem { object: "Upstream shop/a".into(), field: "spec.x".into(), ..Problem::of_file("", "is bad") };
    for node in ["c", "d", "e", "f", "g"] {
        let (problems, nodes) = (vec![problem.clone()].into(), nodes_with(node));
        a.status.publish(Facts { problems, nodes, ..facts_of_upstream(3) });
        a.rest(Duration::from_secs(30)).await;
    }

    let events = server.list("/apis/events.k8s.io/v1/namespaces/shop/events");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["note"], "spec.x: is bad");
    assert_eq!(events[0]["regarding"]["uid"], server.get(UPSTREAM).unwrap()["metadata"]["uid"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_could_not_be_written_is_written_later() {
    const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
    let server = server_with_upstream();
    server.fail("shop/events", 500);
    server.fail("shop/events", 403);
    let a = Agent::start(&server, "a");
    let problem = Problem { object: "Upstream shop/a".into(), ..Problem::of_file("", "is bad") };
    a.status.publish(Facts { problems: vec![problem].into(), ..facts_of_upstream(3) });

    a.until("it is written", || !server.list(EVENTS).is_empty()).await;
    a.rest(Duration::from_mins(5)).await;

    assert_eq!((server.list(EVENTS).len(), server.writes("shop/events")), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_class_gets_its_conditions_also_where_the_server_does_not_know_what_it_claims() {
    const CLASS: &str = "/apis/gateway.networking.k8s.io/v1/gatewayclasses/beeline";
    let server = FakeServer::default();
    server.put(CLASS, json!({ "metadata": {}, "spec": { "controllerName": "beeline.dev/gateway" } }));
    server.fail("gatewayclasses/beeline/status", 500);
    let a = Agent::start(&server, "a");
    let class = ClassStatus { status: object_status(), features: vec!["TCPRoute"] };
    let mut ours = facts();
    Arc::make_mut(&mut ours.statuses).gateway_classes.insert(Name::new("", "beeline"), class);
    a.status.publish(ours);

    a.until("it is written", || status_of(&server, CLASS)["conditions"][0]["type"] == "Accepted").await;

    assert_eq!(server.writes("gatewayclasses/beeline/status"), 2);
    assert_eq!(status_of(&server, CLASS)["supportedFeatures"], Value::Null);
}
