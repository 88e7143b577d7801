//! What is measured on: an API server full of Services, and an agent that serves it.
//!
//! Every Service has a VIP of its own and one `EndpointSlice`; all endpoints are on the agent's node. Pods, if there are
//! any, are bound to a node that does not exist, so that nobody runs or deletes them.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use beeline_tests::agent::Agent;
use beeline_tests::api_server::ApiServer;
use beeline_tests::interrupt::Interrupt;
use beeline_tests::netns::Lifetime;
use beeline_tests::topology::{Plan, Topology};
use futures::{StreamExt, TryStreamExt, stream};
use gateway_common::{FrontendKey, Port, Protocol};
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::PostParams;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The Kubernetes namespace of everything here.
const NAMESPACE: &str = "bench";
/// The agent's node.
const NODE: &str = "bench-node1";
/// The node that Pods are bound to.
const NOWHERE: &str = "bench-nowhere";
/// Requests that are under way at once while objects are made.
const CREATORS: usize = 16;
/// VIPs begin here: addresses that are set aside for benchmarks (RFC 2544).
const FIRST_VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Addresses of backends begin here; nobody answers at them, and nobody asks.
const FIRST_BACKEND: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
/// The frontends' port, and that of the backends.
const PORT: u16 = 80;
const TARGET_PORT: u16 = 8080;

/// How much each Service has.
#[derive(Clone, Copy)]
pub struct Size {
    /// Endpoints of each Service.
    pub backends: u32,
    /// Whether each endpoint has a Pod.
    pub pods: bool,
}

/// The network: a node and a client that has nothing to do.
pub fn network() -> Result<Topology> {
    Topology::build(&Plan::pods(&[]), Lifetime::Process)
}

/// The API server and what it holds.
pub struct Bed<'a> {
    network: &'a Topology,
    size: Size,
    /// The API server.
    pub api: ApiServer<'a>,
    /// To be looked at between steps.
    pub interrupt: &'a Interrupt,
}

impl<'a> Bed<'a> {
    /// Starts an API server without Services.
    pub fn new(network: &'a Topology, size: Size, interrupt: &'a Interrupt) -> Result<Self> {
        let api = ApiServer::start(&network.group, &network.node, network.node_address.v4.into())?;
        api.perform(async |client| {
            create::<Namespace>(&Api::all(client.clone()), json!({ "metadata": { "name": NAMESPACE } })).await?;
            create::<Node>(&Api::all(client), json!({ "metadata": { "name": NODE } })).await.map(drop)
        })?;
        Ok(Self { network, size, api, interrupt })
    }

    /// An agent for the cluster; it does not run yet.
    pub fn agent(&self) -> Result<Agent<'a>> {
        let Topology { group, node, .. } = self.network;
        let agent = Agent::of_cluster(group, node, &self.api.agent_kubeconfig(None)?, NODE)?;
        Ok(agent.with_arguments(&["--log-format", "json"]))
    }

    /// How many addresses the node's loopback has of those that are VIPs here.
    pub fn host_addresses(&self) -> Result<usize> {
        let mut command = self.network.node.command("ip")?;
        let listed = command.args(["-o", "-4", "addr", "show", "dev", "lo"]).output().context("cannot run `ip`")?;
        let text = String::from_utf8_lossy(&listed.stdout);
        Ok(text.lines().filter(|line| line.contains(" 198.18.") || line.contains(" 198.19.")).count())
    }

    /// Makes Services and all that belongs to them.
    pub fn create(&self, services: Range<u32>) -> Result<()> {
        let (first, total) = (services.start, services.len());
        let done = AtomicUsize::new(0);
        self.api.perform(async |client| {
            let one = |service: u32| {
                let (client, done) = (client.clone(), &done);
                async move {
                    self.interrupt.check()?;
                    create_service(client, service, self.size).await?;
                    let made = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if made.is_multiple_of(1000) && made < total {
                        eprintln!("          {made} of {total} Services from number {first} on");
                    }
                    anyhow::Ok(())
                }
            };
            stream::iter(services).map(one).buffer_unordered(CREATORS).try_collect::<Vec<()>>().await.map(drop)
        })
    }

    /// How many endpoints each Service has.
    pub fn backends(&self) -> u32 {
        self.size.backends
    }
}

/// The frontend of a Service.
pub fn frontend(service: u32) -> FrontendKey {
    FrontendKey::new(vip(service).into(), Port::new(PORT), Protocol::TCP)
}

/// Makes the first endpoint of a Service ready, or not ready.
pub async fn change(client: &Client, service: u32, ready: bool) -> Result<()> {
    let slice = format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices/{}", name(service));
    let patch = json!([{ "op": "replace", "path": "/endpoints/0/conditions/ready", "value": ready }]);
    let request = Request::patch(&slice)
        .header(CONTENT_TYPE, "application/json-patch+json")
        .body(patch.to_string().into_bytes())
        .context("a change is no request")?;
    let answer = client.request_text(request).await.with_context(|| format!("cannot change {slice}"))?;
    ensure!(!answer.is_empty(), "the API server did not say what became of {slice}");
    Ok(())
}

/// The name of a Service, and of its slice.
fn name(service: u32) -> String {
    format!("service-{service}")
}

fn vip(service: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST_VIP.to_bits() + service)
}

async fn create_service(client: Client, service: u32, size: Size) -> Result<()> {
    let name = name(service);
    let pods = if size.pods { create_pods(&client, service, size).await? } else { Vec::new() };
    let body = json!({
        "metadata": { "name": name, "annotations": { "beeline.dev/addresses": vip(service).to_string() } },
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "beeline.dev/direct",
            "allocateLoadBalancerNodePorts": false,
            "ports": [{ "name": "main", "port": PORT, "targetPort": TARGET_PORT, "protocol": "TCP" }],
        },
    });
    create::<Service>(&Api::namespaced(client.clone(), NAMESPACE), body).await?;
    let slice = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": name } },
        "addressType": "IPv4",
        "ports": [{ "name": "main", "port": TARGET_PORT, "protocol": "TCP" }],
        "endpoints": endpoints(service, size, &pods),
    });
    create::<EndpointSlice>(&Api::namespaced(client, NAMESPACE), slice).await.map(drop)
}

/// Makes the Pods of a Service; gives their UIDs.
async fn create_pods(client: &Client, service: u32, size: Size) -> Result<Vec<String>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let mut uids = Vec::new();
    for number in 0..size.backends {
        let body = json!({
            "metadata": {
                "name": pod_name(service, number),
                "labels": { "app": name(service) },
                "annotations": { "beeline.dev/weight": "1" },
            },
            "spec": { "nodeName": NOWHERE, "containers": [{ "name": "main", "image": "example/server:1" }] },
        });
        uids.push(create(&api, body).await?.metadata.uid.context("a Pod has no UID")?);
    }
    Ok(uids)
}

fn pod_name(service: u32, number: u32) -> String {
    format!("{}-{number}", name(service))
}

/// The endpoints of a Service, all ready.
fn endpoints(service: u32, size: Size, uids: &[String]) -> Vec<Value> {
    let endpoint = |number: u32| {
        let address = Ipv4Addr::from_bits(FIRST_BACKEND.to_bits() + service * size.backends + number);
        let mut endpoint = json!({
            "addresses": [address],
            "conditions": { "ready": true },
            "nodeName": NODE,
        });
        if let Some(uid) = uids.get(number as usize) {
            let name = pod_name(service, number);
            endpoint["targetRef"] = json!({ "kind": "Pod", "namespace": NAMESPACE, "name": name, "uid": uid });
        }
        endpoint
    };
    (0..size.backends).map(endpoint).collect()
}

async fn create<K>(api: &Api<K>, body: Value) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let object: K = serde_json::from_value(body).context("an object of the benchmark is none")?;
    let kind = K::kind(&()).into_owned();
    let made = api.create(&PostParams::default(), &object).await.with_context(|| format!("cannot create a {kind}"))?;
    ensure!(made.meta().uid.is_some(), "the API server gave a {kind} no UID");
    Ok(made)
}
