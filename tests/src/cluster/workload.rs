//! A Deployment whose Pods tell who answers, spread evenly over the nodes, and a Service of both families that leads to it.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Cluster, Pod, Sandbox};
use crate::pod::{ECHO_PORT, HTTP_PORT, UDP_PORT};

/// The Pods' image.
const IMAGE: &str = "localhost/beeline/httpbin:0.1.0";

/// What it is and how its Pods behave.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The name of the Deployment and the Service, and the Pods' label `app`.
    pub name: &'static str,
    /// How many Pods.
    pub replicas: u32,
    /// How long a Pod serves on when it ends, in seconds.
    pub drain: u32,
    /// The readiness gates of its Pods.
    pub gates: Vec<&'static str>,
    /// Whether a node gives connections to its own Pods only.
    pub is_local: bool,
    /// What its Service says that its HTTP port speaks, if anything.
    pub speaks: Option<&'static str>,
}

impl Workload {
    /// Pods without readiness gates, which every node gives connections to.
    pub fn new(name: &'static str, replicas: u32, drain: u32) -> Self {
        Self { name, replicas, drain, gates: Vec::new(), is_local: false, speaks: None }
    }

    /// The same with a readiness gate.
    pub fn gated_by(mut self, gate: &'static str) -> Self {
        self.gates.push(gate);
        self
    }

    /// The same for connections that come by a Pod's own node.
    pub fn local(mut self) -> Self {
        self.is_local = true;
        self
    }

    /// The same with an `appProtocol` at its HTTP port.
    pub fn speaking(mut self, protocol: &'static str) -> Self {
        self.speaks = Some(protocol);
        self
    }

    /// Applies it, waits until its Pods are ready, and gives the Service's addresses as HTTP frontends.
    pub fn start(&self, sandbox: &Sandbox) -> Result<Vec<SocketAddr>> {
        sandbox.apply(
            &json!({ "apiVersion": "v1", "kind": "List", "items": [self.deployment(), self.service()] }).to_string(),
        )?;
        sandbox.wait_for_deployments()?;
        let addresses = sandbox.service_addresses(self.name)?;
        ensure!(addresses.len() == 2, "Service {} has {addresses:?}, not an address of each family", self.name);
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, HTTP_PORT)).collect())
    }

    /// The same, and waits until every node has programmed it.
    pub fn serve(&self, cluster: &Cluster, sandbox: &Sandbox) -> Result<Vec<SocketAddr>> {
        let frontends = self.start(sandbox)?;
        self.wait_until_programmed(cluster, sandbox, &frontends)?;
        Ok(frontends)
    }

    /// The Pods that are not ending.
    pub fn pods(&self, sandbox: &Sandbox) -> Result<Vec<Pod>> {
        sandbox.pods(&format!("app={}", self.name))
    }

    /// Changes how many Pods there are.
    pub fn scale(&self, sandbox: &Sandbox, replicas: u32) -> Result<()> {
        let (deployment, replicas) = (format!("deployment/{}", self.name), format!("--replicas={replicas}"));
        sandbox.kubectl(&["scale", &deployment, &replicas]).map(drop)
    }

    /// Replaces every Pod, waits until the new ones are ready, then until the old ones are gone.
    pub fn replace_pods(&self, sandbox: &Sandbox) -> Result<()> {
        let before = self.pods(sandbox)?;
        sandbox.kubectl(&["rollout", "restart", &format!("deployment/{}", self.name)])?;
        sandbox.wait_for_deployments()?;
        before.iter().try_for_each(|pod| sandbox.wait(&format!("pod/{}", pod.name), "delete"))
    }

    /// Waits until every node has exactly these Pods in its maps.
    pub fn wait_until_programmed(&self, cluster: &Cluster, sandbox: &Sandbox, frontends: &[SocketAddr]) -> Result<()> {
        let pods = self.pods(sandbox)?;
        for node in cluster.nodes() {
            for frontend in frontends {
                let backends = Pod::backends(&pods, frontend.ip(), HTTP_PORT);
                cluster.wait_until_programmed(node, *frontend, &backends)?;
            }
        }
        Ok(())
    }

    /// A node always has a Pod that is ready: of the first three new ones each node gets one, and what ends before
    /// these are ready is not all that a node has.
    fn deployment(&self) -> Value {
        let labels = json!({ "app": self.name });
        let gates: Vec<_> = self.gates.iter().map(|gate| json!({ "conditionType": gate })).collect();
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": self.name },
            "spec": {
                "replicas": self.replicas,
                "selector": { "matchLabels": labels },
                "strategy": { "rollingUpdate": { "maxSurge": "50%", "maxUnavailable": 0 } },
                "template": {
                    "metadata": { "labels": labels, "annotations": { "beeline.dev/weight": "1" } },
                    "spec": {
                        "topologySpreadConstraints": [{
                            "topologyKey": "kubernetes.io/hostname",
                            "maxSkew": 1,
                            "whenUnsatisfiable": "DoNotSchedule",
                            // A node that is drained gets none, and the others get more than their share.
                            "nodeTaintsPolicy": "Honor",
                            "labelSelector": { "matchLabels": labels },
                            "matchLabelKeys": ["pod-template-hash"],
                        }],
                        "readinessGates": gates,
                        "terminationGracePeriodSeconds": self.drain + 10,
                        "containers": [{
                            "name": "httpbin",
                            "image": IMAGE,
                            "args": [format!("--drain={}", self.drain)],
                            "readinessProbe": {
                                "httpGet": { "path": "/ready", "port": HTTP_PORT },
                                "periodSeconds": 1,
                                // A machine that stands still for a moment makes no Pod unready.
                                "timeoutSeconds": 5,
                                "failureThreshold": 2,
                            },
                        }],
                    },
                },
            },
        })
    }

    fn service(&self) -> Value {
        let ports = [("http", HTTP_PORT, "TCP"), ("echo", ECHO_PORT, "TCP"), ("who", UDP_PORT, "UDP")]
            .map(|(name, port, protocol)| json!({ "name": name, "port": port, "protocol": protocol }));
        let ports = ports.map(|mut port| {
            if port["name"] == "http" {
                port["appProtocol"] = json!(self.speaks);
            }
            port
        });
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": self.name },
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": "beeline.dev/direct",
                "allocateLoadBalancerNodePorts": false,
                "externalTrafficPolicy": if self.is_local { "Local" } else { "Cluster" },
                "ipFamilyPolicy": "RequireDualStack",
                "selector": { "app": self.name },
                "ports": ports,
            },
        })
    }
}
