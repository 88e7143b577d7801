//! The builder against an API server in memory. Time is paused: it passes when everybody waits.

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::kubernetes::duty::serve;
use crate::kubernetes::fake_server::FakeServer;
use crate::kubernetes::seen::Sight;
use crate::translate::statuses::GatewayStatus;

const SERVICE: &str = "/api/v1/namespaces/shop/services/edge-beeline";

struct Bench {
    server: FakeServer,
    facts: watch::Sender<Arc<Facts>>,
    notices: mpsc::Receiver<Notice>,
    _leading: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn id() -> ObjectId {
    ObjectId { kind: Kind::Gateway, name: Name::new("shop", "edge") }
}

/// Facts with a Gateway whose Service bears a label and an annotation.
fn facts(label: &str) -> Facts {
    let mut facts = Facts { complete: true, ..Facts::default() };
    let labels = [(GATEWAY_NAME_LABEL, "edge"), (label, "1")];
    let stand_in = StandIn {
        name: "edge-beeline".into(),
        labels: labels.map(|(key, value)| (key.to_string(), value.to_string())).into(),
        annotations: [("note".to_string(), "a".to_string())].into(),
    };
    let status = GatewayStatus { stand_in, ..GatewayStatus::default() };
    Arc::make_mut(&mut facts.statuses).gateways.insert(id().name, status);
    facts
}

impl Bench {
    /// A leader that has seen the Gateway.
    fn new(server: FakeServer, facts: Facts) -> Self {
        let seen = Arc::<Seen>::default();
        let metadata = ObjectMeta { uid: Some("gateway-1".into()), ..ObjectMeta::default() };
        seen.put(&id(), Sight::of(&metadata, None::<&Value>));
        let (facts, known) = watch::channel(Arc::new(facts));
        let (leading_sender, leading) = watch::channel(true);
        let (notice_sender, notices) = mpsc::channel(8);
        let client = server.client("a");
        let builder = Builder { client, seen, facts: known, leading, notices: notice_sender };
        let task = tokio::spawn(serve(builder));
        Self { server, facts, notices, _leading: leading_sender, task }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&FakeServer) -> bool) {
        for _ in 0..2_000 {
            if is_so(&self.server) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("in vain: {what}");
    }

    fn service(&self) -> Value {
        self.server.get(SERVICE).unwrap()["metadata"].clone()
    }
}

fn there(server: &FakeServer) -> bool {
    server.get(SERVICE).is_some()
}

#[tokio::test(start_paused = true)]
async fn each_gateway_gets_a_service_that_it_owns_and_that_is_written_once() {
    let bench = Bench::new(FakeServer::default(), facts("team"));
    bench.until("it is there", there).await;
    sleep(Duration::from_mins(10)).await;

    let metadata = bench.service();
    assert_eq!(metadata["labels"]["team"], "1");
    assert_eq!(metadata["annotations"]["note"], "a");
    assert_eq!(metadata["ownerReferences"][0]["uid"], "gateway-1");
    assert_eq!(bench.server.get(SERVICE).unwrap()["spec"], json!({ "clusterIP": "None" }));
    assert_eq!(bench.server.writes("services"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_label_that_is_no_longer_asked_for_goes_and_one_of_somebody_else_stays() {
    let bench = Bench::new(FakeServer::default(), facts("team"));
    bench.until("it is there", there).await;
    let mut service = bench.server.get(SERVICE).unwrap();
    service["metadata"]["labels"]["theirs"] = json!("x");
    bench.server.put(SERVICE, service);

    bench.facts.send_replace(Arc::new(facts("crew")));

    bench.until("it is mended", |server| server.get(SERVICE).unwrap()["metadata"]["labels"]["crew"] == "1").await;
    assert_eq!(bench.service()["labels"]["team"], Value::Null);
    assert_eq!(bench.service()["labels"]["theirs"], "x");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_somebody_removes_or_changes_comes_back() {
    let bench = Bench::new(FakeServer::default(), facts("team"));
    bench.until("it is there", there).await;

    bench.server.remove(SERVICE);
    bench.until("it is there again", there).await;
    let mut service = bench.server.get(SERVICE).unwrap();
    service["metadata"]["labels"]["team"] = json!("2");
    bench.server.put(SERVICE, service);

    bench.until("it is mended", |server| server.get(SERVICE).unwrap()["metadata"]["labels"]["team"] == "1").await;
}

#[tokio::test(start_paused = true)]
async fn a_service_of_somebody_else_is_left_alone_and_the_gateway_told() {
    let server = FakeServer::default();
    server.put(SERVICE, json!({ "metadata": { "labels": { "app": "x" } }, "spec": { "selector": { "app": "x" } } }));
    let mut bench = Bench::new(server, facts("team"));

    let notice = bench.notices.recv().await.unwrap();

    assert_eq!((notice.id, notice.reason), (id(), "ServiceNotCreated"));
    assert_eq!(bench.service()["labels"], json!({ "app": "x" }));
    assert_eq!(bench.server.writes("services"), 0);
    bench.server.remove(SERVICE);
    bench.until("the name is free", there).await;
}

#[tokio::test(start_paused = true)]
async fn the_service_of_a_gateway_that_is_none_of_ours_any_more_goes() {
    let bench = Bench::new(FakeServer::default(), facts("team"));
    bench.until("it is there", there).await;
    let theirs = json!({ "metadata": { "labels": { GATEWAY_NAME_LABEL: "other" } }, "spec": {} });
    bench.server.put("/api/v1/namespaces/shop/services/other", theirs);

    bench.facts.send_replace(Arc::new(Facts { complete: true, ..Facts::default() }));

    bench.until("it is gone", |server| !there(server)).await;
    assert!(bench.server.get("/api/v1/namespaces/shop/services/other").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again() {
    let server = FakeServer::default();
    server.fail("PATCH /api/v1/namespaces/shop/services", 500);
    server.fail("PATCH /api/v1/namespaces/shop/services", 403);
    let bench = Bench::new(server, facts("team"));

    bench.until("it is there", there).await;

    assert_eq!(bench.server.writes("services"), 3);
}
