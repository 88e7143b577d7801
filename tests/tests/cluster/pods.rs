//! The examples' Pods begin and end as their flags say, without Beeline.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use beeline_tests::client;
use beeline_tests::cluster::Sandbox;

use crate::installed;

/// How long the Pod takes to be ready, in seconds.
const READY_AFTER: u64 = 3;
/// How long it serves on when it ends: long enough for the kubelet to see that it is no longer ready.
const DRAIN: u64 = 6;

fn pod() -> String {
    format!(
        r"
apiVersion: v1
kind: Pod
metadata: {{name: slow, labels: {{app: slow}}}}
spec:
  containers:
  - name: httpbin
    image: localhost/beeline/httpbin:0.1.0
    args: [--ready-after={READY_AFTER}, --drain={DRAIN}]
    readinessProbe: {{httpGet: {{path: /ready, port: 80}}, periodSeconds: 1, failureThreshold: 1}}
"
    )
}

#[test]
fn a_pod_is_ready_when_its_time_has_come_and_serves_on_when_it_ends() -> Result<()> {
    let cluster = installed()?;
    let sandbox = Sandbox::create(cluster, "slow")?;
    sandbox.apply(&pod())?;
    sandbox.wait("pod/slow", "jsonpath={.status.podIPs[1].ip}")?;
    let begin = Instant::now();
    let pods = sandbox.pods("app=slow")?;
    let server = SocketAddr::new(*pods[0].addresses.first().context("the Pod has no address")?, 80);
    let ask = || cluster.client().enter(|| client::request(server, "/"));

    sandbox.wait("pod/slow", "condition=Ready")?;
    // Some of its time may have passed before it had an address to be asked by.
    assert!(begin.elapsed() > Duration::from_secs(READY_AFTER - 2), "{:?}", begin.elapsed());
    assert_eq!(ask()??.pod, "slow");

    sandbox.kubectl(&["delete", "pod", "slow", "--wait=false"])?;
    sandbox.wait("pod/slow", "condition=Ready=False")?;
    assert_eq!(ask()??.pod, "slow");
    sandbox.wait("pod/slow", "delete")?;
    assert!(ask()?.is_err());
    Ok(())
}
