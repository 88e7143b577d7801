//! An Upstream whose Pods run in two clusters, and what becomes of it when the way to one of them is lost.
//!
//! Beeline runs in both, so an API server that dies is at once somebody's own and somebody's linked one. The second
//! cluster is one test's at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, ensure};
use beeline_tests::client;
use beeline_tests::cluster::{Cluster, Link, Node, Outage, Pod, Sandbox, Second, Trap};
use beeline_tests::long_lived::LongLived;
use beeline_tests::wait;
use serde_json::{Value, json};

use crate::ground_alone;
use crate::traffic::{LONG_LIVED, Traffic};

/// How long a change may take to arrive: a watch that failed some times waits before it tries again.
const RECOVERY: Duration = Duration::from_secs(30);
/// The weight that an Upstream gives the Pods here, and those over there.
const WEIGHTS: (i64, i64) = (5, 2);
/// The weight of its own that one Pod over there has at first.
const FAR_WEIGHT: i64 = 7;
/// How often each Pod is due its weight when shares are checked.
const ROUNDS: u64 = 10;

/// The second cluster, with an agent that is ready.
fn second() -> Result<MutexGuard<'static, Option<Second>>> {
    static SECOND: Mutex<Option<Second>> = Mutex::new(None);
    let mut second = SECOND.lock().unwrap_or_else(PoisonError::into_inner);
    if second.is_none() {
        let found = Second::from_environment()?;
        found.cluster().install("deploy")?;
        found.cluster().apply_address_pool()?;
        found.cluster().wait_for_agents()?;
        *second = Some(found);
    }
    Ok(second)
}

/// A backend in an Upstream's status: cluster, name, address, weight, and whether it is ready.
type Backend = (Option<String>, String, String, i64, bool);

/// Namespaces that are called alike in both clusters, with the Service `httpbin` in each, the link between them, and an
/// Upstream of both Services here.
struct Ground<'a> {
    // Ended in this order.
    link: Link<'a>,
    here: Sandbox<'a>,
    there: Sandbox<'a>,
    home: &'a Cluster,
    far: &'a Cluster,
    /// Nobody else uses the cluster meanwhile: some of these tests end its API server.
    _alone: crate::Ground,
}

impl<'a> Ground<'a> {
    /// One Pod here; over there one that has a weight of its own, one that has none, and one that never gets ready.
    fn lay(far: &'a Cluster, name: &str) -> Result<Self> {
        let alone = ground_alone()?;
        let home = alone.cluster;
        let (here, there) = (Sandbox::create(home, name)?, Sandbox::create(far, name)?);
        here.apply(&[service(), pod("near", "", 0)].concat())?;
        there.apply(&[service(), pod("far-1", "7", 0), pod("far-2", "", 0), pod("far-3", "", 3600)].concat())?;
        here.wait("pod/near", "condition=Ready")?;
        for pod in ["pod/far-1", "pod/far-2"] {
            there.wait(pod, "condition=Ready")?;
        }
        there.wait("pod/far-3", "jsonpath={.status.podIPs[1].ip}")?;
        let link = Link::make(home, far, name, name)?;
        let (own, linked) = WEIGHTS;
        here.apply(&upstream(
            "httpbin",
            &[
                json!({ "name": "httpbin", "port": 8000, "weight": own }),
                json!({ "name": "httpbin", "port": 8000, "weight": linked, "clusterRef": { "name": name } }),
            ],
        ))?;
        Ok(Self { link, here, there, home, far, _alone: alone })
    }

    /// What stands in the Upstream's status when a Pod over there has this weight.
    fn backends(&self, weight: i64) -> Result<BTreeSet<Backend>> {
        let name = self.here.name();
        // A Pod stands there once, by its first address.
        let backend = |cluster: Option<&str>, pod: &Pod, weight: i64, ready: bool| {
            let address = pod.addresses.first().context("a Pod has no address")?;
            let address = SocketAddr::new(*address, 80).to_string();
            Ok::<Backend, Error>((cluster.map(str::to_owned), format!("{name}/{}", pod.name), address, weight, ready))
        };
        let mut wanted = BTreeSet::new();
        for pod in self.here.pods("app=httpbin")? {
            wanted.insert(backend(None, &pod, WEIGHTS.0, true)?);
        }
        for pod in self.there.pods("app=httpbin")? {
            let (weight, ready) = match &*pod.name {
                "far-1" => (weight, true),
                "far-2" => (WEIGHTS.1, true),
                _ => (0, false),
            };
            wanted.insert(backend(Some(name), &pod, weight, ready)?);
        }
        Ok(wanted)
    }

    /// Waits until exactly these backends stand in the Upstream's status; gives the status.
    fn wait_for_backends(&self, wanted: &BTreeSet<Backend>) -> Result<Value> {
        let mut last = None;
        let stands = || {
            let status = self.status().ok()?;
            let backends = status["backends"].as_array().into_iter().flatten().map(backend).collect::<Option<_>>();
            last = Some(status.clone());
            (backends.as_ref() == Some(wanted)).then_some(status)
        };
        wait::until(&format!("the Upstream has {wanted:#?}"), RECOVERY, stands).with_context(|| format!("{last:#?}"))
    }

    fn status(&self) -> Result<Value> {
        Ok(self.here.get("upstream/httpbin")?["status"].clone())
    }

    /// Waits until an Upstream's references are not resolved for this reason; gives the message.
    fn wait_for_refusal(upstream: &Sandbox<'_>, name: &str, reason: &str) -> Result<String> {
        let object = format!("upstream/{name}");
        let path = "{.status.conditions[?(@.type=='ResolvedRefs')]";
        upstream.wait(&object, &format!("jsonpath={path}.reason}}={reason}"))?;
        upstream.kubectl(&["get", &object, "--output", &format!("jsonpath={path}.status}} {path}.message}}")])
    }

    /// Gives the Pod over there that has a weight of its own another one.
    fn change_weight(&self, weight: i64) -> Result<()> {
        let annotation = format!("beeline.dev/weight={weight}");
        self.there.kubectl(&["annotate", "--overwrite", "pod", "far-1", &annotation]).map(drop)
    }

    /// Traffic through a Gateway of the home cluster to the Upstream, which the ready Pods of both clusters share.
    fn traffic_here(&self) -> Result<Traffic> {
        self.here.apply_example("examples/httpbin", &["gateway.yaml"])?;
        let mut pods = vec![(self.here.pods("app=httpbin")?.pop().context("there is no Pod here")?, WEIGHTS.0)];
        for pod in self.there.pods("app=httpbin")? {
            match &*pod.name {
                "far-1" => pods.push((pod, FAR_WEIGHT)),
                "far-2" => pods.push((pod, WEIGHTS.1)),
                _ => {}
            }
        }
        traffic(self.home, &self.here, &pods)
    }

    /// Each Pod of both clusters gets exactly its share of new connections to the Gateway here.
    fn check_shares(&self) -> Result<()> {
        let addresses = self.here.gateway_addresses("httpbin")?;
        let quiet = addresses.last().context("the Gateway has no address")?;
        let total = u64::try_from(WEIGHTS.0 + FAR_WEIGHT + WEIGHTS.1)?;
        let count = usize::try_from(total * ROUNDS)?;
        let found = client::connections(self.home.client(), SocketAddr::new(*quiet, 80), count)?;
        let shares = ["near", "far-1", "far-2"].map(|pod| found.of(pod));
        let due = [WEIGHTS.0, FAR_WEIGHT, WEIGHTS.1].map(|weight| weight.unsigned_abs() * ROUNDS);
        ensure!(shares == due, "{due:?} are due: {found:?}");
        Ok(())
    }

    /// Traffic through a Gateway of the second cluster to its own Pods.
    fn traffic_there(&self) -> Result<(Traffic, SocketAddr)> {
        self.there.apply_example("examples/httpbin", &["upstream.yaml", "gateway.yaml"])?;
        let pods = self.there.pods("app=httpbin")?.into_iter().filter(|pod| pod.name != "far-3");
        let pods: Vec<_> = pods.map(|pod| (pod.clone(), i64::try_from(pod.weight).unwrap_or_default())).collect();
        let vip = self.there.gateway_addresses("httpbin")?;
        let vip = vip.iter().find(|address| address.is_ipv4()).context("no IPv4 address")?;
        Ok((traffic(self.far, &self.there, &pods)?, SocketAddr::new(*vip, 80)))
    }
}

/// Traffic to both addresses of the Gateway `httpbin`, by the node of the first Pod, once that has all of them.
fn traffic(cluster: &Cluster, sandbox: &Sandbox<'_>, pods: &[(Pod, i64)]) -> Result<Traffic> {
    let addresses = sandbox.gateway_addresses("httpbin")?;
    let node = pods.first().and_then(|(pod, _)| cluster.nodes().iter().find(|node| node.name == pod.node));
    let node = node.context("no node has the Pods")?;
    for vip in &addresses {
        let address = |pod: &Pod| pod.addresses.iter().find(|found| found.is_ipv4() == vip.is_ipv4()).copied();
        let backend = |(pod, weight): &(Pod, i64)| Some((SocketAddr::new(address(pod)?, 80), weight.cast_unsigned()));
        let backends: BTreeMap<_, _> = pods.iter().filter_map(backend).collect();
        cluster.wait_until_programmed(node, SocketAddr::new(*vip, 80), &backends)?;
        cluster.route(*vip, node)?;
    }
    let [first, second] = addresses[..] else { return Err(anyhow!("not two addresses: {addresses:?}")) };
    let long_lived = LongLived::open_http(cluster.client(), SocketAddr::new(second, 80), LONG_LIVED)?;
    Traffic::start(cluster.client(), SocketAddr::new(first, 80), long_lived)
}

fn backend(value: &Value) -> Option<Backend> {
    let text = |field: &str| value[field].as_str().map(str::to_owned);
    let (weight, ready) = (value["weight"].as_i64()?, value["ready"].as_bool()?);
    Some((text("cluster"), text("name")?, text("address")?, weight, ready))
}

fn service() -> String {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "httpbin" },
        "spec": {
            "ipFamilyPolicy": "RequireDualStack",
            "selector": { "app": "httpbin" },
            "ports": [{ "name": "http", "port": 8000, "targetPort": 80 }],
        },
    });
    format!("{service}\n---\n")
}

/// A Pod of the Service, with a weight of its own or none, that is ready after some seconds.
fn pod(name: &str, weight: &str, ready_after: u64) -> String {
    let weight = (!weight.is_empty()).then_some(weight);
    let annotations: BTreeMap<_, _> = weight.map(|weight| ("beeline.dev/weight", weight)).into_iter().collect();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "httpbin" }, "annotations": annotations },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "httpbin",
                "image": "localhost/beeline/httpbin:0.1.0",
                "args": [format!("--ready-after={ready_after}")],
                "readinessProbe": { "httpGet": { "path": "/ready", "port": 80 }, "periodSeconds": 1 },
            }],
        },
    });
    format!("{pod}\n---\n")
}

fn upstream(name: &str, services: &[Value]) -> String {
    json!({
        "apiVersion": "beeline.dev/v1alpha1",
        "kind": "Upstream",
        "metadata": { "name": name },
        "spec": { "backendType": "HTTP", "services": services },
    })
    .to_string()
}

/// Waits until the agent of a node says by its probe, asked like this, what it should.
fn wait_for_probe(what: &str, words: &[&str], ask: impl Fn() -> Result<String>) -> Result<()> {
    let mut last = String::new();
    let says = || {
        last = ask().unwrap_or_else(|error| format!("{error:#}"));
        words.iter().all(|word| last.contains(word)).then_some(())
    };
    wait::until(what, RECOVERY, says).with_context(|| format!("`beeline probe ready` says: {last}"))
}

#[test]
fn an_upstream_has_the_pods_of_two_clusters_and_keeps_them_when_the_secret_goes() -> Result<()> {
    let second = second()?;
    let second = second.as_ref().context("there is no second cluster")?;
    let ground = Ground::lay(second.cluster(), "linked")?;
    ground.link.wait_for("Authorized", "True", "Authorized")?;
    ground.link.wait_for("Connected", "True", "Connected")?;
    let known = ground.backends(7)?;
    let status = ground.wait_for_backends(&known)?;
    assert_eq!((&status["total"], &status["ready"]), (&json!(4), &json!(3)), "{status}");
    assert!(ground.here.kubectl(&["get", "upstreams"])?.contains("3/4"));
    let traffic = ground.traffic_here()?;
    ground.check_shares()?;

    let secret = ground.link.take_secret()?;
    let message = ground.link.wait_for("Authorized", "False", "SecretNotFound")?;
    ground.link.wait_for("Connected", "False", "Unauthorized")?;
    assert!(message.contains("Secret beeline-system/linked does not exist"), "{message}");
    ground.change_weight(9)?;
    traffic.wait_for_more(100)?;
    assert_eq!(ground.status()?, status, "what was known is kept, and nothing new comes");
    ground.check_shares()?;

    ground.link.give_back(&secret)?;
    ground.link.wait_for("Authorized", "True", "Authorized")?;
    ground.wait_for_backends(&ground.backends(9)?)?;
    ground.link.wait_for("Connected", "True", "Connected")?;
    traffic.finish()
}

#[test]
fn a_link_is_used_by_whom_it_allows_for_what_it_links_with_the_rights_it_was_given() -> Result<()> {
    let second = second()?;
    let second = second.as_ref().context("there is no second cluster")?;
    let ground = Ground::lay(second.cluster(), "allowed")?;
    ground.wait_for_backends(&ground.backends(7)?)?;
    let other = Sandbox::create(ground.home, "not-allowed")?;
    let service = |namespace: &str| json!({ "name": "httpbin", "namespace": namespace, "port": 8000, "clusterRef": { "name": "allowed" } });

    other.apply(&upstream("httpbin", &[service("allowed")]))?;
    ground.here.apply(&upstream("elsewhere", &[service("default")]))?;

    let message = Ground::wait_for_refusal(&other, "httpbin", "ClusterNotAllowed")?;
    assert!(message.starts_with("False ") && message.contains("allowedNamespaces"), "{message}");
    let message = Ground::wait_for_refusal(&ground.here, "elsewhere", "NamespaceNotLinked")?;
    assert!(message.starts_with("False ") && message.contains("remoteNamespaces"), "{message}");
    // Whoever may use the link may not read more over there than whoever administers that cluster allows.
    ground.link.patch(&json!({ "spec": { "remoteNamespaces": ["allowed", "default"] } }))?;
    let message = ground.link.wait_for("Connected", "False", "Unreachable")?;
    assert!(message.contains("forbidden") && message.contains("default"), "{message}");
    ground.change_weight(9)?;
    ground.wait_for_backends(&ground.backends(9)?)?;
    Ok(())
}

#[test]
fn an_api_server_that_dies_disturbs_neither_its_own_cluster_nor_those_that_link_it() -> Result<()> {
    let second = second()?;
    let second = second.as_ref().context("there is no second cluster")?;
    let ground = Ground::lay(second.cluster(), "outage")?;
    let known = ground.backends(7)?;
    ground.wait_for_backends(&known)?;
    ground.link.wait_for("Connected", "True", "Connected")?;
    let traffic_here = ground.traffic_here()?;
    let (traffic_there, vip) = ground.traffic_there()?;
    let status = ground.status()?;
    let node: &Node = ground.far.nodes().first().context("the second cluster has no node")?;

    let outage: Outage<'_> = second.kill_api_server()?;
    let message = ground.link.wait_for("Connected", "False", "Unreachable")?;
    assert!(message.contains("refused") && message.contains("the last known backends are kept"), "{message}");
    ground.link.wait_for("Authorized", "True", "Authorized")?;
    wait_for_probe("the agent is not ready", &["refused"], || outage.beeline(node, &["probe", "ready"]))?;
    traffic_there.wait_for_more(100)?;
    assert_eq!(ground.status()?, status, "what was known is kept");
    ground.check_shares()?;
    wait_for_probe("an agent whose own API server lives is ready", &["serving"], || {
        ground.home.beeline(&ground.home.nodes()[0], &["probe", "ready"])
    })?;

    outage.end()?;
    ground.change_weight(9)?;
    ground.wait_for_backends(&ground.backends(9)?)?;
    ground.link.wait_for("Connected", "True", "Connected")?;
    wait_for_probe("the agent is ready again", &["serving"], || ground.far.beeline(node, &["probe", "ready"]))?;
    let pods = ground.there.pods("app=httpbin")?.into_iter().filter(|pod| pod.name != "far-3");
    let backends = Pod::backends(&pods.collect::<Vec<_>>(), vip.ip(), 80);
    ground.far.wait_until_programmed(node, vip, &backends)?;
    traffic_there.finish()?;
    traffic_here.finish()
}

#[test]
fn a_kubeconfig_that_would_run_a_command_is_refused_and_nothing_runs() -> Result<()> {
    let second = second()?;
    let second = second.as_ref().context("there is no second cluster")?;
    let cluster = second.cluster();
    let node = cluster.nodes().first().context("the second cluster has no node")?;
    let trap = Trap::set(second, node)?;
    let [command, arguments @ ..] = trap.command("by-the-agent");
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": command,
        "args": arguments,
        "interactiveMode": "Never",
    });
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "east", "cluster": { "server": "https://192.0.2.1:6443" } }],
        "users": [{ "name": "east", "user": { "exec": exec } }],
        "contexts": [{ "name": "east", "context": { "cluster": "east", "user": "east" } }],
        "current-context": "east",
    });

    let link = Link::with_kubeconfig(cluster, "trap", "default", &kubeconfig)?;
    let message = link.wait_for("Authorized", "False", "UnsafeKubeconfig")?;
    assert!(message.contains("exec") && message.contains("would run a command"), "{message}");
    link.wait_for("Connected", "False", "Unauthorized")?;

    // The same command leaves its mark when somebody does run it there.
    let by_hand = trap.command("by-hand");
    cluster.in_agent(node, &by_hand.each_ref().map(String::as_str))?;
    assert!(trap.has("by-hand"), "the trap does not work");
    assert!(!trap.has("by-the-agent"), "an agent ran what a kubeconfig names");
    Ok(())
}
