//! What an agent does when its API server is down, slow, forgetful or strict: traffic never notices, the log says what is
//! wrong once, readiness and `status` show it, and what changed meanwhile arrives by itself.
//!
//! Each test has an API server of its own, with somebody in between who makes the fault, and an agent that runs with the
//! rights it is installed with.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::agent::Agent;
use beeline_tests::api_server::ApiServer;
use beeline_tests::faulty_api::{Fault, FaultyApi};
use beeline_tests::long_lived::LongLived;
use beeline_tests::manifests::{NAMESPACE, Port};
use beeline_tests::netns::Lifetime;
use beeline_tests::topology::{Dual, Plan, Topology, VIP, pod_addresses};
use beeline_tests::{binaries, client, wait};
use serde_json::{Value, json};

use crate::traffic::{LONG_LIVED, Traffic};

/// The agent's node, which is also what the slices say.
const NODE: &str = "node1";
/// How long a recovery may take: a watch that failed some times waits before it tries again.
const RECOVERY: Duration = Duration::from_secs(20);
/// How often a fault is met before it ends.
const TIMES: u64 = 4;

/// An address for what is made while something is wrong.
const OTHER_VIP: Dual = Dual {
    v4: std::net::Ipv4Addr::new(10, 96, 100, 9),
    v6: std::net::Ipv6Addr::new(0xfd00, 0x96, 0x100, 0, 0, 0, 0, 9),
};

/// An API server with one Service, whose Pods are on the agent's node, and the agent.
struct Ground<'a> {
    // Ended in this order.
    agent: Agent<'a>,
    between: FaultyApi,
    api: ApiServer<'a>,
    network: &'a Topology,
}

fn network() -> Result<Topology> {
    Topology::build(&Plan::pods(&["v1", "v2"]), Lifetime::Process)
}

impl<'a> Ground<'a> {
    fn start(network: &'a Topology) -> Result<Self> {
        let api = ApiServer::start(&network.group, &network.node, network.node_address.v4.into())?;
        api.apply(&[
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } }),
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE } }),
        ])?;
        api.apply(&service("web", VIP, [true, true]))?;
        let between = FaultyApi::start(&network.node, &api.admin())?;
        let kubeconfig = api.agent_kubeconfig(Some(&FaultyApi::server()))?;
        let mut agent = Agent::of_cluster(&network.group, &network.node, &kubeconfig, NODE)?.with_small_tables();
        agent.start()?;
        let ground = Self { agent, between, api, network };
        ground.wait_for_pods(VIP, &["v1", "v2"])?;
        ground.wait_until_ready()?;
        Ok(ground)
    }

    fn traffic(&self) -> Result<Traffic> {
        let client = &self.network.client;
        let [v4, v6] = [VIP.sockets(Port::HTTP.port)[0], VIP.sockets(Port::ECHO.port)[1]];
        Traffic::start(client, v4, LongLived::open(client, v6, LONG_LIVED)?)
    }

    /// Makes the Pods of the Service ready or not.
    fn set_ready(&self, ready: [bool; 2]) -> Result<()> {
        self.api.apply(&service("web", VIP, ready))
    }

    /// Waits until exactly these Pods answer new connections at an address.
    fn wait_for_pods(&self, vip: Dual, pods: &[&str]) -> Result<()> {
        let wanted: BTreeSet<String> = pods.iter().map(ToString::to_string).collect();
        let mut last = None;
        let answering = || {
            let target = vip.sockets(Port::HTTP.port)[0];
            let found = client::connections(&self.network.client, target, 2 * pods.len()).ok()?;
            let exact = found.refused == 0 && found.failures.is_empty();
            let pods: BTreeSet<String> = found.by_pod.keys().cloned().collect();
            last = Some(found);
            (exact && pods == wanted).then_some(())
        };
        wait::until(&format!("{vip:?} is answered by {pods:?}"), RECOVERY, answering)
            .with_context(|| format!("last: {last:?}\nlog:\n{}", self.agent.log().tail()))
    }

    fn wait_until_ready(&self) -> Result<()> {
        self.wait_for_probe("the agent is ready", |code, _| code == Some(0))
    }

    /// Waits until the agent is not ready for a reason with these words.
    fn wait_until_not_ready(&self, words: &[&str]) -> Result<()> {
        let what = format!("the agent is not ready, with the reason {words:?}");
        self.wait_for_probe(&what, |code, reason| code == Some(1) && words.iter().all(|word| reason.contains(word)))
    }

    fn wait_for_probe(&self, what: &str, holds: impl Fn(Option<i32>, &str) -> bool) -> Result<()> {
        let mut last = String::new();
        let probed = || {
            let (code, reason) = self.agent.probe("ready").ok()?;
            let holds = holds(code, &reason);
            last = reason;
            holds.then_some(())
        };
        wait::until(what, RECOVERY, probed)
            .with_context(|| format!("`beeline probe ready` says: {last}\nlog:\n{}", self.agent.log().tail()))
    }

    /// Waits until `beeline status` has a problem with these words.
    fn wait_for_problem(&self, words: &[&str]) -> Result<()> {
        let has_all = |line: &String| words.iter().all(|word| line.contains(word));
        self.agent.wait_for_problems(&format!("a problem says {words:?}"), |lines| lines.iter().any(has_all)).map(drop)
    }

    /// Waits until `beeline status` has no problems.
    fn wait_for_no_problem(&self) -> Result<()> {
        self.agent.wait_for_problems("no problem is left", <[String]>::is_empty).map(drop)
    }

    /// Waits until `beeline status` says so of what is not received from the API server.
    fn wait_for_unsynced(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<()> {
        let mut last = None;
        let says = || {
            let status = self.agent.status().ok()?;
            let unsynced = last.insert(status["agent"]["unsynced"].clone());
            holds(unsynced).then_some(())
        };
        wait::until(what, RECOVERY, says).with_context(|| format!("last: {last:?}\nlog:\n{}", self.agent.log().tail()))
    }

    /// Warnings and errors since a line of the log, without their times.
    fn complaints(&self, since: usize) -> Vec<String> {
        let level = |line: &String| [" WARN ", " ERROR "].iter().find_map(|level| line.find(level));
        let lines = self.agent.log().lines();
        lines.iter().skip(since).filter_map(|line| Some(line[level(line)?..].to_owned())).collect()
    }

    /// What is wrong is said, and nothing is said twice.
    fn assert_said_once(&self, since: usize, words: &str) {
        let complaints = self.complaints(since);
        let distinct: BTreeSet<_> = complaints.iter().collect();
        assert_eq!(distinct.len(), complaints.len(), "said more than once: {complaints:#?}");
        assert!(complaints.iter().any(|line| line.contains(words)), "`{words}` was not said: {complaints:#?}");
    }

    /// A fault of the whole API: it is noticed, disturbs nobody, and what changed meanwhile arrives when it is over.
    fn withstand(&self, fault: Fault, words: &str) -> Result<()> {
        let traffic = self.traffic()?;
        let since = self.agent.log().lines().len();

        self.between.set(fault);
        self.between.wait_until_met(TIMES)?;
        self.wait_until_not_ready(&[words])?;
        self.set_ready([true, false])?;
        traffic.wait_for_more(20)?;
        self.between.set(Fault::None);

        self.wait_for_pods(VIP, &["v1"])?;
        self.wait_until_ready()?;
        self.wait_for_no_problem()?;
        self.assert_said_once(since, words);
        traffic.finish()
    }

    /// A fault that the agent gets along with: it disturbs nobody, a change arrives, and the agent stays ready.
    fn get_along_with(&self, fault: Fault) -> Result<()> {
        let traffic = self.traffic()?;

        self.between.set(fault);
        self.between.wait_until_met(TIMES)?;
        self.set_ready([true, false])?;
        self.wait_for_pods(VIP, &["v1"])?;
        self.between.set(Fault::None);
        self.set_ready([false, true])?;

        self.wait_for_pods(VIP, &["v2"])?;
        self.wait_until_ready()?;
        self.wait_for_no_problem()?;
        traffic.finish()
    }
}

/// A Service of both families, and its slices with an endpoint for each Pod of the network.
fn service(name: &str, vip: Dual, ready: [bool; 2]) -> Vec<Value> {
    let ports = [Port::HTTP, Port::UDP, Port::ECHO];
    let spec = ports.clone().map(
        |Port { name, port, target, protocol }| json!({ "name": name, "port": port, "targetPort": target, "protocol": protocol }),
    );
    let addresses = vip.both().map(|address| address.to_string()).join(",");
    let mut objects = vec![json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": NAMESPACE, "annotations": { "beeline.dev/addresses": addresses } },
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "beeline.dev/direct",
            "ipFamilyPolicy": "RequireDualStack",
            "ports": spec,
        },
    })];
    for (index, family) in ["IPv4", "IPv6"].into_iter().enumerate() {
        let endpoint = |(number, ready): (u8, bool)| {
            let address = pod_addresses(number).both()[index];
            json!({ "addresses": [address], "conditions": { "ready": ready }, "nodeName": NODE })
        };
        let ports = ports
            .clone()
            .map(|Port { name, target, protocol, .. }| json!({ "name": name, "port": target, "protocol": protocol }));
        objects.push(json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{name}-{}", family.to_lowercase()),
                "namespace": NAMESPACE,
                "labels": { "kubernetes.io/service-name": name },
            },
            "addressType": family,
            "ports": ports,
            "endpoints": (1..).zip(ready).map(endpoint).collect::<Vec<_>>(),
        }));
    }
    objects
}

#[test]
fn an_api_server_that_is_down_disturbs_nothing() -> Result<()> {
    let network = network()?;
    let ground = Ground::start(&network)?;

    ground.withstand(Fault::Down, "refused")
}

#[test]
fn an_api_server_that_has_too_many_requests_disturbs_nothing() -> Result<()> {
    let network = network()?;
    let ground = Ground::start(&network)?;

    ground.withstand(Fault::TooMany(1), "too many requests")
}

#[test]
fn a_slow_api_server_is_followed_slowly() -> Result<()> {
    let network = network()?;
    let ground = Ground::start(&network)?;

    ground.get_along_with(Fault::Slow(Duration::from_millis(700)))
}

#[test]
fn watches_that_are_cut_again_and_again_lose_no_change() -> Result<()> {
    let network = network()?;
    let ground = Ground::start(&network)?;

    ground.get_along_with(Fault::CutWatches(Duration::from_millis(1300)))
}

#[test]
fn an_api_server_that_has_forgotten_where_a_watch_was_is_listed_anew() -> Result<()> {
    let network = network()?;
    let ground = Ground::start(&network)?;

    ground.get_along_with(Fault::Gone)
}

#[test]
fn a_kind_that_may_not_be_read_keeps_what_was_known_and_the_others_are_followed() -> Result<()> {
    let network = network()?;
    let ground = Ground::start(&network)?;
    let traffic = ground.traffic()?;
    let since = ground.agent.log().lines().len();

    ground.between.set(Fault::Forbidden("services"));
    ground.between.wait_until_met(2)?;
    ground.wait_until_not_ready(&["Service", "forbidden"])?;
    ground.set_ready([true, false])?;
    ground.wait_for_pods(VIP, &["v1"])?;
    ground.api.apply(&service("late", OTHER_VIP, [false, true]))?;
    ground.between.set(Fault::None);

    ground.wait_for_pods(OTHER_VIP, &["v2"])?;
    ground.wait_until_ready()?;
    ground.wait_for_no_problem()?;
    ground.assert_said_once(since, "forbidden");
    traffic.finish()
}

#[test]
fn an_agent_that_begins_with_a_kind_denied_shows_it_in_its_status_for_as_long_as_it_lasts() -> Result<()> {
    let network = network()?;
    let mut ground = Ground::start(&network)?;
    ground.agent.stop()?;
    ground.agent.unload()?;

    ground.between.set(Fault::Forbidden("nodes"));
    ground.agent.launch()?;
    ground.wait_for_unsynced("it says what is denied", |unsynced| {
        unsynced.as_str().is_some_and(|text| text.contains("Node: ") && text.contains("forbidden"))
    })?;
    ground.between.set(Fault::None);

    ground.wait_for_unsynced("it says nothing any more", Value::is_null)?;
    ground.wait_for_pods(VIP, &["v1", "v2"])?;
    ground.wait_until_ready()
}

#[test]
fn an_object_that_makes_no_sense_is_named_and_the_others_are_followed() -> Result<()> {
    let network = network()?;
    let ground = Ground::start(&network)?;
    let traffic = ground.traffic()?;
    let since = ground.agent.log().lines().len();
    let odd = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "odd",
            "namespace": NAMESPACE,
            "uid": "0dd",
            "resourceVersion": "1",
            "labels": { "kubernetes.io/service-name": "web" },
        },
        "addressType": "IPv4",
        "ports": [],
        "endpoints": "none",
    });

    ground.between.set(Fault::Intruder("endpointslices", odd));
    ground.between.wait_until_met(1)?;
    ground.wait_for_problem(&["EndpointSlice shop/odd", "endpoints"])?;
    ground.set_ready([true, false])?;
    ground.wait_for_pods(VIP, &["v1"])?;
    ground.wait_until_ready()?;
    ground.assert_said_once(since, "shop/odd");
    // Listed anew, it is not there any more. Each kind is in its own time.
    ground.between.set(Fault::Gone);
    ground.wait_for_no_problem()?;
    ground.between.set(Fault::None);

    ground.wait_until_ready()?;
    traffic.finish()
}

#[test]
fn kinds_that_are_defined_later_are_followed_from_then_on() -> Result<()> {
    let network = network()?;
    let ground = Ground::start(&network)?;
    let traffic = ground.traffic()?;
    let route = json!({ "group": "beeline.dev", "kind": "Upstream", "name": "web" });
    let object = |version: &str, kind: &str, name: &str, spec: Value| json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec });
    let addresses = OTHER_VIP.both().map(|address| json!({ "type": "IPAddress", "value": address }));
    let port = Port::HTTP.port;
    let services = json!([{ "namespace": NAMESPACE, "name": "web", "port": port }]);
    let gateway = "gateway.networking.k8s.io/v1";
    let objects = [
        json!({
            "apiVersion": gateway,
            "kind": "GatewayClass",
            "metadata": { "name": "beeline" },
            "spec": { "controllerName": "beeline.dev/gateway" },
        }),
        object(
            gateway,
            "Gateway",
            "edge",
            json!({
                "gatewayClassName": "beeline",
                "addresses": addresses,
                "listeners": [{ "name": "tcp", "port": port, "protocol": "TCP" }],
            }),
        ),
        object(
            "gateway.networking.k8s.io/v1alpha2",
            "TCPRoute",
            "web",
            json!({ "parentRefs": [{ "name": "edge" }], "rules": [{ "backendRefs": [route] }] }),
        ),
        object(
            "beeline.dev/v1alpha1",
            "Upstream",
            "web",
            json!({ "type": "Kubernetes", "backendType": "TCP", "services": services }),
        ),
    ];

    ground.api.apply_files(&binaries::gateway_crds()?)?;
    ground.api.apply_files(&binaries::workspace().join("deploy/crds/beeline.dev_upstreams.yaml"))?;
    for object in objects {
        // A kind is served some moments after it was defined.
        let applied = || ground.api.apply(std::slice::from_ref(&object)).ok();
        wait::until(&format!("{} is served", object["kind"]), RECOVERY, applied)?;
    }

    ground.wait_for_pods(OTHER_VIP, &["v1", "v2"])?;
    ground.wait_until_ready()?;
    traffic.finish()
}

#[test]
fn an_agent_that_starts_without_its_api_server_keeps_what_is_served() -> Result<()> {
    let network = network()?;
    let mut ground = Ground::start(&network)?;
    let traffic = ground.traffic()?;

    ground.agent.stop()?;
    ground.between.set(Fault::Down);
    ground.agent.launch()?;
    ground.wait_until_not_ready(&["refused"])?;
    ground.set_ready([true, false])?;
    traffic.wait_for_more(20)?;
    ground.between.set(Fault::None);

    ground.wait_for_pods(VIP, &["v1"])?;
    ground.wait_until_ready()?;
    traffic.finish()
}
