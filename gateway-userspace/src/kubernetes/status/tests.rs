//! Agents against an API server in memory. Time is paused: it passes when everybody waits.

mod agents;
mod gates;
mod objects;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{Settings, Status, start};
use crate::kubernetes::fake_server::FakeServer;
use crate::kubernetes::{Facts, Peer, Seen, Stance};
use crate::source::pod::READINESS_GATES;
use crate::source::{Kind, Name, ObjectId, Origin, manifest};
use crate::translate::statuses::{Condition, ObjectStatus, Truth, UpstreamStatus};

const LEADER: &str = "/apis/coordination.k8s.io/v1/namespaces/beeline-system/leases/beeline-leader";
const UPSTREAM: &str = "/apis/beeline.dev/v1alpha1/namespaces/shop/upstreams/a";
const SERVICE: &str = "/api/v1/namespaces/shop/services/a";

/// An agent, with the watches of its source.
struct Agent {
    status: Status,
    seen: Arc<Seen>,
    server: FakeServer,
}

impl Agent {
    /// An agent on a node, whose client says the node's name.
    fn start(server: &FakeServer, node: &str) -> Self {
        Self::with_client(server, node, &server.client(node))
    }

    fn with_client(server: &FakeServer, node: &str, client: &kube::Client) -> Self {
        let settings = Settings {
            namespace: "beeline-system".into(),
            node: node.into(),
            instance: "pod-1".into(),
            gate_timeout: Duration::from_mins(1),
            gates: &READINESS_GATES,
        };
        let seen = Arc::<Seen>::default();
        let status = start(client, &Handle::current(), settings, seen.clone());
        Self { status, seen, server: server.clone() }
    }

    /// What a watch would have told by now.
    fn look(&self) {
        let collections = [
            (Kind::Service, "/api/v1/services"),
            (Kind::Upstream, "/apis/beeline.dev/v1alpha1/upstreams"),
            (Kind::TcpRoute, "/apis/gateway.networking.k8s.io/v1/tcproutes"),
            (Kind::Ingress, "/apis/networking.k8s.io/v1/ingresses"),
            (Kind::GatewayClass, "/apis/gateway.networking.k8s.io/v1/gatewayclasses"),
        ];
        let origin = Origin { file: "".into(), document: 0, line: 0 };
        for (kind, path) in collections {
            for object in self.server.list(path) {
                let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_string();
                let id = ObjectId { kind, name: Name::new(text("namespace"), text("name")) };
                let known = self.seen.get(&id).is_some_and(|known| known.version == text("resourceVersion"));
                if !known {
                    self.seen.note(&id, &manifest::typed(&id, &object, &origin).unwrap());
                }
            }
        }
    }

    /// Waits until something is so, looking at the objects meanwhile.
    async fn until(&self, what: &str, is_so: impl FnMut() -> bool) {
        wait_until(&[self], what, is_so).await;
    }

    /// Lets some time pass.
    async fn rest(&self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        self.until("the time has passed", || tokio::time::Instant::now() >= end).await;
    }
}

/// Ten minutes of paused time are enough for everything.
async fn wait_until(agents: &[&Agent], what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..12_000 {
        for agent in agents {
            agent.look();
        }
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("in vain: {what}");
}

fn condition(kind: &'static str, truth: Truth) -> Condition {
    Condition { kind, truth, reason: "BecauseItIs", message: "it is so".into() }
}

fn object_status() -> ObjectStatus {
    ObjectStatus { generation: 1, conditions: vec![condition("Accepted", Truth::True)] }
}

fn facts() -> Facts {
    Facts { complete: true, nodes: ["a", "b"].map(String::from).into(), ..Facts::default() }
}

/// An Upstream with so many backends that are ready.
fn facts_of_upstream(ready: usize) -> Facts {
    let mut facts = facts();
    let status = UpstreamStatus { status: object_status(), backends: Vec::new(), total: 4, ready };
    Arc::make_mut(&mut facts.statuses).upstreams.insert(Name::new("shop", "a"), status);
    facts
}

fn server_with_upstream() -> FakeServer {
    let server = FakeServer::default();
    server.put(UPSTREAM, json!({ "metadata": {}, "spec": { "services": [] } }));
    server
}

fn status_of(server: &FakeServer, path: &str) -> Value {
    server.get(path).unwrap()["status"].clone()
}
