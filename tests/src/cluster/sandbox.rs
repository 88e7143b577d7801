//! A namespace of a cluster for one test: with the examples or other objects in it, and gone with the value.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Cluster, Kubectl, folder, list};
use crate::netns::Lifetime;

/// How long Pods may take to be ready, and objects to be served.
pub(super) const LIMIT: Duration = Duration::from_mins(1);

/// The annotation that gives a Pod its weight, and the weight of those without.
const WEIGHT: (&str, u64) = ("beeline.dev/weight", 10);

/// A namespace, by the name it has in the cluster.
pub struct Sandbox<'a> {
    kubectl: &'a Kubectl,
    name: String,
    lifetime: Lifetime,
}

/// A Pod, as the API server knows it.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its name, which is also what its server calls itself.
    pub name: String,
    /// The node it runs on.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its weight, by its own annotation.
    pub weight: u64,
}

impl<'a> Sandbox<'a> {
    /// Makes the namespace.
    pub fn create(cluster: &'a Cluster, name: &str) -> Result<Self> {
        cluster.kubectl().ask(&["create", "namespace", name])?;
        Ok(Self { kubectl: cluster.kubectl(), name: name.to_owned(), lifetime: Lifetime::Process })
    }

    /// A namespace that is there and stays.
    pub fn existing(cluster: &'a Cluster, name: &str) -> Self {
        Self { kubectl: cluster.kubectl(), name: name.to_owned(), lifetime: Lifetime::Kept }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `kubectl` in this namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut words = vec!["--namespace", &self.name];
        words.extend(arguments);
        self.kubectl.ask(&words)
    }

    /// Applies files of an example and waits until all Pods of its Deployments are ready.
    pub fn apply_example(&self, example: &str, files: &[&str]) -> Result<()> {
        let example = folder(example)?;
        let paths: Vec<_> = files.iter().map(|file| format!("--filename={example}/{file}")).collect();
        let mut words = vec!["--namespace", &self.name];
        words.extend(paths.iter().map(String::as_str));
        self.kubectl.apply(&words, "")?;
        self.wait_for_deployments()
    }

    /// Applies manifests.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        self.kubectl.apply(&["--namespace", &self.name, "--filename", "-"], manifests)
    }

    /// Waits until every Deployment has all its Pods, ready and of its present form.
    pub fn wait_for_deployments(&self) -> Result<()> {
        let timeout = format!("--timeout={}s", LIMIT.as_secs());
        let deployments = self.kubectl(&["get", "deployments", "--output", "name"])?;
        for deployment in deployments.lines() {
            self.kubectl(&["rollout", "status", deployment, &timeout]).map_err(|error| {
                let pods = self.kubectl(&["get", "pods", "--output", "wide"]).unwrap_or_default();
                error.context(pods)
            })?;
        }
        Ok(())
    }

    /// Gives a Service the family that it does not have. Those of the samples are written for one, as their documents show.
    pub fn make_dual_stack(&self, service: &str) -> Result<()> {
        let patch = r#"{"spec": {"ipFamilyPolicy": "PreferDualStack"}}"#;
        self.kubectl(&["patch", "service", service, "--type=merge", "--patch", patch]).map(drop)
    }

    /// Waits for what `kubectl wait --for` takes.
    pub fn wait(&self, object: &str, what: &str) -> Result<()> {
        self.kubectl.wait(&self.name, object, what, LIMIT)
    }

    /// An object.
    pub fn get(&self, object: &str) -> Result<Value> {
        self.kubectl.json(&["--namespace", &self.name, "get", object])
    }

    /// The addresses that a Gateway has, once it is programmed.
    pub fn gateway_addresses(&self, name: &str) -> Result<Vec<IpAddr>> {
        let gateway = format!("gateway/{name}");
        self.wait(&gateway, "condition=Programmed")?;
        addresses(&self.get(&gateway)?["status"]["addresses"], "value")
    }

    /// The addresses that a Service of type `LoadBalancer` has, once it has any.
    pub fn service_addresses(&self, name: &str) -> Result<Vec<IpAddr>> {
        let service = format!("service/{name}");
        self.wait(&service, "jsonpath={.status.loadBalancer.ingress[0].ip}")?;
        addresses(&self.get(&service)?["status"]["loadBalancer"]["ingress"], "ip")
    }

    /// The addresses that an Ingress has, once it has any.
    pub fn ingress_addresses(&self, name: &str) -> Result<Vec<IpAddr>> {
        let ingress = format!("ingress/{name}");
        self.wait(&ingress, "jsonpath={.status.loadBalancer.ingress[0].ip}")?;
        addresses(&self.get(&ingress)?["status"]["loadBalancer"]["ingress"], "ip")
    }

    /// The Pods that a selector finds, but for those that end.
    pub fn pods(&self, selector: &str) -> Result<Vec<Pod>> {
        let pods = self.kubectl.json(&["--namespace", &self.name, "get", "pods", "--selector", selector])?;
        let staying = list(&pods["items"]).filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        staying.map(Pod::read).collect::<Option<_>>().with_context(|| format!("not every Pod of {selector} runs yet"))
    }
}

impl Drop for Sandbox<'_> {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Process {
            // The cluster ends soon after; until then a namespace that stays does no harm.
            let _removed = self.kubectl.ask(&["delete", "namespace", &self.name, "--wait=false"]);
        }
    }
}

impl Pod {
    fn read(pod: &Value) -> Option<Self> {
        let addresses = list(&pod["status"]["podIPs"]).map(|entry| entry["ip"].as_str()?.parse().ok());
        let weight = pod["metadata"]["annotations"][WEIGHT.0].as_str();
        Some(Self {
            name: pod["metadata"]["name"].as_str()?.to_owned(),
            node: pod["spec"]["nodeName"].as_str()?.to_owned(),
            addresses: addresses.collect::<Option<_>>()?,
            weight: weight.map_or(Some(WEIGHT.1), |weight| weight.parse().ok())?,
        })
    }

    /// What every node's maps should have of these Pods for a frontend of this address's family.
    pub fn backends(pods: &[Self], frontend: IpAddr, port: u16) -> BTreeMap<SocketAddr, u64> {
        let address = |pod: &Self| pod.addresses.iter().find(|found| found.is_ipv4() == frontend.is_ipv4()).copied();
        // Maps hold weights without what they have in common.
        let common = pods.iter().fold(0, |common, pod| greatest_common_divisor(common, pod.weight)).max(1);
        let backend = |pod: &Self| Some((SocketAddr::new(address(pod)?, port), pod.weight / common));
        pods.iter().filter_map(backend).collect()
    }
}

fn greatest_common_divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

fn addresses(entries: &Value, field: &str) -> Result<Vec<IpAddr>> {
    let parse = |entry: &Value| entry[field].as_str()?.parse().ok();
    list(entries).map(parse).collect::<Option<_>>().with_context(|| format!("no addresses: {entries}"))
}
