//! Requests and streams, `WebSocket`s and those of gRPC, go on, whatever happens to Pods, routes, certificates and agents.
//!
//! The load comes from the host outside, over both families, and is spread over all nodes by its routes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use beeline_tests::cluster::{Cluster, SYSTEM, Sandbox, Workload};
use beeline_tests::long_lived::{LongLived, Talk, Tls};
use beeline_tests::pod::HTTP_PORT;
use beeline_tests::requests::{Load, Requests, Speech};
use beeline_tests::wait;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use serde_json::{Value, json};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::ground_alone;

/// How long a Pod serves on when it ends, in seconds.
const DRAIN: u32 = 5;
/// How long a change may take to show in what clients meet.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);

/// A Gateway with a route to a workload, and where it is reached.
struct Shop<'a> {
    cluster: &'a Cluster,
    sandbox: Sandbox<'a>,
    /// An address of each family.
    frontends: Vec<SocketAddr>,
}

impl<'a> Shop<'a> {
    /// The host that leads to a workload.
    fn host(workload: &str) -> String {
        format!("{workload}.shop.example")
    }

    fn open(cluster: &'a Cluster, name: &str, workloads: &[&Workload], secret: &Value) -> Result<Self> {
        let sandbox = Sandbox::create(cluster, name)?;
        let routes = workloads.iter().map(|workload| route(workload.name, "HTTPRoute", 0));
        let items: Vec<Value> = [gateway(), secret.clone()].into_iter().chain(routes).collect();
        sandbox.apply(&list(&items))?;
        for workload in workloads {
            workload.start(&sandbox)?;
        }
        let addresses = sandbox.gateway_addresses("web")?;
        ensure!(addresses.len() == 2, "the Gateway has {addresses:?}, not an address of each family");
        let frontends = addresses.into_iter().map(|address| SocketAddr::new(address, 80)).collect();
        let shop = Self { cluster, sandbox, frontends };
        for workload in workloads {
            shop.wait_until_served(&Self::host(workload.name))?;
        }
        Ok(shop)
    }

    /// Waits until whoever asks for a host gets a good answer, over every node.
    fn wait_until_served(&self, host: &str) -> Result<()> {
        for node in self.cluster.nodes() {
            for frontend in &self.frontends {
                self.cluster.route(frontend.ip(), node)?;
                let is_served = || {
                    let once = Load::new(*frontend, host, Speech::Http1, 20).and_then(|load| {
                        let requests = Requests::start(self.cluster.client(), load)?;
                        requests.wait_for_more(5)?;
                        requests.finish()
                    });
                    once.is_ok_and(|report| report.failures.is_empty()).then_some(())
                };
                let served =
                    wait::until(&format!("{} serves {host} at {frontend}", node.name), CHANGE_LIMIT, is_served);
                self.cluster.unroute(frontend.ip())?;
                served?;
            }
        }
        Ok(())
    }

    /// Requests for a workload's host, half of them over HTTP/1.1 and half over HTTP/2.
    fn requests(&self, workload: &Workload, per_second: u32) -> Result<Vec<Requests>> {
        let each = per_second / 2 / u32::try_from(self.frontends.len())?;
        let start = |(frontend, speech): (&SocketAddr, Speech)| {
            let load = Load::new(*frontend, &Self::host(workload.name), speech, each)?;
            let requests = Requests::start(self.cluster.client(), load)?;
            requests.wait_for_more(u64::from(each))?;
            Ok(requests)
        };
        let both = |frontend| [(frontend, Speech::Http1), (frontend, Speech::Http2)];
        self.frontends.iter().flat_map(both).map(start).collect()
    }
}

/// Every request was answered 2xx, and there were as many as there were to be.
fn finish(requests: Vec<Requests>, per_second: u32) -> Result<()> {
    let mut rate = 0;
    for requests in requests {
        requests.wait_for_more(u64::from(per_second / 4))?;
        let report = requests.finish()?;
        println!("{report:?}");
        assert!(report.failures.is_empty(), "{report:#?}");
        rate += u128::from(report.requests) * 1000 / report.elapsed.as_millis();
    }
    assert!(rate >= u128::from(per_second) * 9 / 10, "there were {rate} requests per second, not {per_second}");
    Ok(())
}

fn list(items: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

fn gateway() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "web" },
        "spec": {
            "gatewayClassName": "beeline",
            "listeners": [
                { "name": "http", "port": 80, "protocol": "HTTP" },
                {
                    "name": "https",
                    "port": 443,
                    "protocol": "HTTPS",
                    "tls": { "certificateRefs": [{ "name": "web" }] },
                },
            ],
        },
    })
}

/// A route for a workload's host. Each edit of it says something else.
fn route(workload: &str, kind: &str, edit: u32) -> Value {
    let mut rule = json!({ "backendRefs": [{ "name": workload, "port": HTTP_PORT }] });
    if edit > 0 {
        let set = json!([{ "name": "x-edit", "value": edit.to_string() }]);
        rule["filters"] = json!([{ "type": "RequestHeaderModifier", "requestHeaderModifier": { "set": set } }]);
    }
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": { "name": workload },
        "spec": { "parentRefs": [{ "name": "web" }], "hostnames": [Shop::host(workload)], "rules": [rule] },
    })
}

/// A certificate for all hosts here that signs itself.
fn certificate() -> Result<CertifiedKey<KeyPair>> {
    Ok(generate_simple_self_signed(["*.shop.example".to_owned()])?)
}

fn secret(certificate: &CertifiedKey<KeyPair>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "web" },
        "type": "kubernetes.io/tls",
        "stringData": { "tls.crt": certificate.cert.pem(), "tls.key": certificate.signing_key.serialize_pem() },
    })
}

/// What a client needs that trusts this certificate alone.
fn trusting(certificate: &CertifiedKey<KeyPair>) -> Result<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.cert.der().clone())?;
    Ok(Tls(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())))
}

#[test]
fn a_deployment_behind_a_route_is_replaced_under_500_requests_a_second_and_none_fails() -> Result<()> {
    const PER_SECOND: u32 = 500;
    let cluster = ground_alone()?;
    let workload = Workload::new("web", 10, DRAIN);
    let shop = Shop::open(&cluster, "requests", &[&workload], &secret(&certificate()?))?;
    let requests = shop.requests(&workload, PER_SECOND)?;

    workload.replace_pods(&shop.sandbox)?;

    finish(requests, PER_SECOND)
}

#[test]
fn the_agents_are_replaced_under_300_requests_a_second_and_none_fails() -> Result<()> {
    const PER_SECOND: u32 = 300;
    let cluster = ground_alone()?;
    let workload = Workload::new("web", 6, DRAIN);
    let shop = Shop::open(&cluster, "restarted", &[&workload], &secret(&certificate()?))?;
    let old = cluster.agents()?;
    let requests = shop.requests(&workload, PER_SECOND)?;

    cluster.kubectl().ask(&["--namespace", SYSTEM, "rollout", "restart", "daemonset/beeline"])?;
    cluster.wait_for_agents()?;
    let replaced = || {
        let agents = cluster.agents().ok()?;
        (agents.len() == old.len() && agents.iter().all(|agent| !old.contains(agent))).then_some(())
    };
    // The old ones let their connections end first.
    wait::until("every agent is replaced", CHANGE_LIMIT * 3, replaced)?;

    finish(requests, PER_SECOND)
}

#[test]
fn a_thousand_websockets_and_a_hundred_grpc_streams_outlast_edits_rotations_and_replacements() -> Result<()> {
    const EDITS: u32 = 200;
    const ROTATIONS: u32 = 50;
    /// Ten Pods each.
    const ROLLOUTS: [u32; 2] = [EDITS / 4, EDITS * 3 / 4];
    let cluster = ground_alone()?;
    let first = certificate()?;
    let (stable, calls) =
        (Workload::new("stable", 4, DRAIN), Workload::new("calls", 4, DRAIN).speaking("kubernetes.io/h2c"));
    let other = Workload::new("other", 10, 0);
    let shop = Shop::open(&cluster, "lasting", &[&stable, &calls, &other], &secret(&first))?;
    let [v4, v6] = shop.frontends[..] else { unreachable!("there are two") };
    let client = cluster.client();
    let secure = |frontend: SocketAddr| SocketAddr::new(frontend.ip(), 443);
    let socket = |tls| Talk::WebSocket(Shop::host("stable"), tls);
    let grpc = || Talk::Grpc(Shop::host("calls"));
    let lasting = [
        LongLived::start(client, v4, 300, socket(None))?,
        LongLived::start(client, v6, 300, socket(None))?,
        LongLived::start(client, secure(v4), 200, socket(Some(trusting(&first)?)))?,
        LongLived::start(client, secure(v6), 200, socket(Some(trusting(&first)?)))?,
        LongLived::start(client, v4, 50, grpc())?,
        LongLived::start(client, v6, 50, grpc())?,
    ];
    lasting.iter().try_for_each(LongLived::wait_for_progress)?;

    let begin = Instant::now();
    let mut last = first;
    for edit in 1..=EDITS {
        let edited = ["stable", "calls", "other"].map(|workload| route(workload, "HTTPRoute", edit));
        shop.sandbox.apply(&list(&edited[edit as usize % 3..][..1]))?;
        if edit % (EDITS / ROTATIONS) == 0 {
            last = certificate()?;
            shop.sandbox.apply(&list(&[secret(&last)]))?;
        }
        if ROLLOUTS.contains(&edit) {
            other.replace_pods(&shop.sandbox)?;
        }
    }
    println!("the edits, rotations and replacements took {:?}", begin.elapsed());

    lasting.iter().try_for_each(LongLived::wait_for_progress)?;
    // Whoever connects now meets the last certificate.
    let new = LongLived::start(client, secure(v4), 1, socket(Some(trusting(&last)?)))?;
    new.wait_for_progress().context("the last certificate is not served")?;
    assert_eq!(new.finish()?.broken, Vec::<String>::new());
    let reports = lasting.into_iter().map(LongLived::finish).collect::<Result<Vec<_>>>()?;
    let broken: Vec<_> = reports.iter().flat_map(|report| &report.broken).collect();
    assert!(broken.is_empty(), "{} of 1,100 were dropped: {broken:#?}", broken.len());
    Ok(())
}
