//! Services that are frontends by themselves: type `LoadBalancer`, of our class, direct to the Pods.
//!
//! What the object says of itself is read here: whose it is, the addresses it wants, whom it lets in. Who gets an address
//! or a port that several want is decided in the parent.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway_common::{Address, Algorithm, FrontendKey, Mode};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service as KubernetesService, ServicePort, ServiceSpec};

use super::endpoints::{Candidate, Cluster, DEFAULT_WEIGHT, Family, Fitness, protocol_of};
use super::pool::Pool;
use super::pools::{Assignments, Given, Need, Wish, families, sharing_key};
use super::{Behind, Claim, Field, Options, Report, stated_mode};
use crate::model::{Group, HealthCheck, Service};
use crate::source::labels::shared;
use crate::source::validate::{
    ADDRESSES_ANNOTATION, ALGORITHM_ANNOTATION, parse_algorithm, parse_cidr, parse_port, parse_vip,
};
use crate::source::{Kind, Name, ObjectId, Objects, Sourced};

/// The `loadBalancerClass` that makes a Service ours.
pub const LOAD_BALANCER_CLASS: &str = "beeline.dev/direct";
/// The annotation by which Tencent's TKE asks for the same.
pub const DIRECT_ACCESS_ANNOTATION: &str = "service.cloud.tencent.com/direct-access";

/// The annotation that says whom a Service lets in, if its spec does not.
const SOURCE_RANGES_ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// How long a client stays with its backend if the Service does not say (Kubernetes, `ClientIPConfig`).
const DEFAULT_AFFINITY: Duration = Duration::from_hours(3);

/// A Service that is ours.
pub(super) struct OurService<'a> {
    pub id: ObjectId,
    pub name: &'a Name,
    pub found: &'a Sourced<KubernetesService>,
    pub spec: &'a ServiceSpec,
    /// The addresses that it names, each with the field that does.
    asked: Vec<(Address, String)>,
    /// The fields that name what cannot be its address, and why.
    pub unusable: Vec<(String, String)>,
}

/// One port of a Service that is its own frontend.
#[derive(Clone, Copy)]
pub(super) struct ServiceFrontend<'a> {
    pub owner: &'a OurService<'a>,
    pub port: &'a ServicePort,
}

/// All Services that are ours.
pub(super) fn ours<'a>(objects: &'a Objects, options: &Options) -> Vec<OurService<'a>> {
    objects.services.keys().filter_map(|name| our(objects, name, options)).collect()
}

/// One of them.
pub(super) fn our<'a>(objects: &'a Objects, name: &Name, options: &Options) -> Option<OurService<'a>> {
    let (name, found) = objects.services.get_key_value(name)?;
    let spec = found.object.spec.as_ref().filter(|spec| is_ours(&found.object, spec, options))?;
    Some(OurService::new(name, found, spec))
}

/// What the model calls a Service that is its own frontend.
pub(super) fn owner(name: &Name) -> String {
    format!("Service {name}")
}

fn is_ours(service: &KubernetesService, spec: &ServiceSpec, options: &Options) -> bool {
    if spec.type_.as_deref() != Some("LoadBalancer") {
        return false;
    }
    match spec.load_balancer_class.as_deref() {
        Some(class) => class == LOAD_BALANCER_CLASS,
        None => {
            options.default_load_balancer
                || options.adopt_tencent_annotations && annotation(service, DIRECT_ACCESS_ANNOTATION) == Some("true")
        }
    }
}

impl<'a> OurService<'a> {
    fn new(name: &'a Name, found: &'a Sourced<KubernetesService>, spec: &'a ServiceSpec) -> Self {
        let (mut asked, mut unusable) = (Vec::new(), Vec::new());
        for (text, field) in asked_addresses(&found.object, spec) {
            match parse_vip(text).and_then(|address| of_its_families(spec, address)) {
                Ok(address) if asked.iter().any(|(known, _)| *known == address) => {}
                Ok(address) => asked.push((address, field)),
                Err(message) => unusable.push((field, message)),
            }
        }
        Self { id: ObjectId { kind: Kind::Service, name: name.clone() }, name, found, spec, asked, unusable }
    }

    /// The addresses that it would like to have; nothing if all that it names are unusable.
    pub fn wish(&self, options: &Options) -> Option<Wish<'a>> {
        if self.asked.is_empty() && !self.unusable.is_empty() {
            return None;
        }
        let is_trusted = options.trusts_status_of(&self.found.object.metadata);
        let current = current_addresses(&self.found.object).filter(|_| is_trusted);
        let current = current.filter(|(address, _)| of_its_families(self.spec, *address).is_ok()).collect();
        let (families, need) = if self.asked.is_empty() { families(self.spec) } else { (Vec::new(), Need::First) };
        Some(Wish {
            id: self.id.clone(),
            created: self.found.object.metadata.creation_timestamp.as_ref(),
            asked: self.asked.clone(),
            families,
            need,
            ports: self.ports().map(|(_, _, (port, protocol))| (protocol, port)).collect(),
            sharing_key: sharing_key(&self.found.object.metadata),
            current,
            field: "metadata.annotations[beeline.dev/addresses]",
        })
    }

    /// Whether its status says the addresses that it has, in their order. `given` are those that came from pools, `said`
    /// those that its status should say.
    pub fn says_what_it_has(&self, options: &Options, given: &Given, said: &[IpAddr]) -> bool {
        let Some(wish) = self.wish(options) else { return true };
        let current = wish.current.iter().map(|(address, _)| *address);
        if wish.asked.is_empty() {
            return given.get(&self.id).into_iter().flatten().copied().eq(current);
        }
        let asked = wish.asked.iter().map(|(address, _)| *address);
        asked.clone().eq(current) && asked.map(|address| address.to_ip()).eq(said.iter().copied())
    }

    /// Its ports that can be balanced, each with its place in the spec.
    pub fn ports(&self) -> impl Iterator<Item = (Field, &'a ServicePort, FrontendPort)> {
        self.spec.ports.iter().flatten().enumerate().filter_map(|(index, port)| {
            let number = parse_port(port.port.into()).ok()?;
            Some((Field { list: "spec.ports", index, name: "port" }, port, (number, protocol_of(port)?)))
        })
    }

    /// The frontends that it asks for.
    pub fn claims<'b>(&'b self, assignments: &'b Assignments, claims: &mut Vec<Claim<'b>>) {
        for (field, port, (number, protocol)) in self.ports() {
            claims.extend(assignments.addresses(&self.id).iter().map(|(address, vip_field)| Claim {
                key: FrontendKey::new(*address, number, protocol),
                created: self.found.object.metadata.creation_timestamp.as_ref(),
                object: &self.id,
                origin: &self.found.origin,
                teller: (&self.id, &self.found.origin),
                field,
                vip_field,
                behind: Behind::Service(ServiceFrontend { owner: self, port }),
            }));
        }
    }

    /// Names what is wrong with it by itself.
    pub fn report(&self, assignments: &Assignments, report: &mut Report) {
        let origin = &self.found.origin;
        for (field, message) in &self.unusable {
            report.add(origin.error(&self.id, &**field, &**message));
        }
        assignments.report(&self.id, origin, report);
        for field in self.unbalanced_ports() {
            report.add(origin.error(&self.id, field.to_string(), NOT_BALANCED));
        }
        for (field, text) in source_ranges(&self.found.object, self.spec).into_iter().flatten() {
            if let Err(message) = parse_range(text) {
                report.add(origin.error(&self.id, field, message));
            }
        }
    }

    /// The fields of ports whose protocol nobody balances.
    pub fn unbalanced_ports(&self) -> impl Iterator<Item = Field> {
        let ports = self.spec.ports.iter().flatten().enumerate();
        ports.filter(|(_, port)| protocol_of(port).is_none()).map(|(index, _)| Field {
            list: "spec.ports",
            index,
            name: "protocol",
        })
    }

    /// What load balancers in front of the cluster are told of it, and the port they ask on.
    pub fn health_check(&self, cluster: &Cluster<'_>) -> Option<(u16, HealthCheck)> {
        if !self.is_local() {
            return None;
        }
        let port = u16::try_from(self.spec.health_check_node_port?).ok().filter(|port| *port > 0)?;
        let mut ready = BTreeSet::new();
        for (_, service_port, _) in self.ports() {
            for family in [Family::V4, Family::V6] {
                let candidates = cluster.candidates(self.name, &self.found.object, service_port, family);
                ready.extend(candidates.iter().filter(|candidate| candidate.is_ready_here()).map(Candidate::host));
            }
        }
        Some((port, HealthCheck { service: self.name.to_string(), local_endpoints: ready.len() }))
    }

    /// Whether each node serves its own Pods only, by wish.
    fn is_local(&self) -> bool {
        self.spec.external_traffic_policy.as_deref() == Some("Local")
    }
}

/// A port and its protocol, as the datapath has them.
type FrontendPort = (gateway_common::Port, gateway_common::Protocol);

/// What is wrong with a port of another protocol.
pub(super) const NOT_BALANCED: &str = "only TCP and UDP are balanced: remove the port or change its protocol";

/// What stands behind one frontend.
pub(super) fn service(cluster: &Cluster<'_>, key: FrontendKey, frontend: ServiceFrontend<'_>, mode: Mode) -> Service {
    let ServiceFrontend { owner: ours, port } = frontend;
    let OurService { name, spec, found, .. } = ours;
    let candidates = cluster.candidates(name, &found.object, port, Family::of(key.address));
    let local_nodes = ours.is_local().then(|| nodes_of(&candidates));
    let mut pool = Pool::default();
    for candidate in candidates {
        pool.add(candidate, DEFAULT_WEIGHT);
    }
    let members = if ours.is_local() { pool.into_local_members() } else { pool.into_members() };
    let algorithm = annotation(&found.object, ALGORITHM_ANNOTATION).and_then(|name| parse_algorithm(name).ok());
    let sources = source_ranges(&found.object, spec);
    Service {
        owner: owner(name),
        algorithm: algorithm.unwrap_or(Algorithm::WeightedRoundRobin),
        groups: vec![Group { reference: format!("Service {name}:{}", port.port), weight: 1, members }],
        affinity: affinity(spec),
        // A range that cannot be read lets nobody in, rather than everybody.
        sources: sources.map(|ranges| ranges.iter().filter_map(|(_, text)| parse_range(text).ok()).collect()),
        mode: stated_mode(&found.object.metadata).unwrap_or(mode),
        local_nodes,
    }
}

/// The nodes of the endpoints that get new connections.
fn nodes_of(candidates: &[Candidate<'_>]) -> BTreeSet<Arc<str>> {
    let best = candidates.iter().map(|candidate| candidate.fitness).max().filter(|best| *best > Fitness::NotReady);
    let serving = candidates.iter().filter(|candidate| Some(candidate.fitness) == best);
    serving.filter_map(|candidate| candidate.node.map(shared)).collect()
}

fn annotation<'a>(service: &'a KubernetesService, key: &str) -> Option<&'a str> {
    service.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// An address of a family that the Service does not have would have no endpoints.
fn of_its_families(spec: &ServiceSpec, address: Address) -> Result<Address, String> {
    let families = spec.ip_families.as_deref().unwrap_or_default();
    let family = Family::of(address).name();
    if families.is_empty() || families.iter().any(|own| own == family) {
        return Ok(address);
    }
    Err(format!("{address} is not of the Service's families: add {family} to spec.ipFamilies or remove the address"))
}

/// How long a client stays with its backend.
fn affinity(spec: &ServiceSpec) -> Option<Duration> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let client_ip = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = client_ip.and_then(|client_ip| client_ip.timeout_seconds);
    let stated =
        seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| (1..=86_400).contains(seconds));
    Some(stated.map_or(DEFAULT_AFFINITY, Duration::from_secs))
}

/// The ranges of clients that a Service lets in, each with its field; none if it lets in everybody.
fn source_ranges<'a>(service: &'a KubernetesService, spec: &'a ServiceSpec) -> Option<Vec<(String, &'a str)>> {
    if let Some(ranges) = spec.load_balancer_source_ranges.as_ref().filter(|ranges| !ranges.is_empty()) {
        let ranges = ranges.iter().enumerate();
        return Some(ranges.map(|(at, text)| (format!("spec.loadBalancerSourceRanges[{at}]"), text.trim())).collect());
    }
    let list = annotation(service, SOURCE_RANGES_ANNOTATION)?.trim();
    let field = format!("metadata.annotations[{SOURCE_RANGES_ANNOTATION}]");
    (!list.is_empty()).then(|| list.split(',').map(|text| (field.clone(), text.trim())).collect())
}

fn parse_range(text: &str) -> Result<IpNet, String> {
    parse_cidr(text).map_err(|_| format!("`{text}` is not a range and lets nobody in: use something like 192.0.2.0/24"))
}

/// The VIPs that a Service names and where: our annotation, else its spec.
fn asked_addresses<'a>(service: &'a KubernetesService, spec: &'a ServiceSpec) -> Vec<(&'a str, String)> {
    if let Some(list) = annotation(service, ADDRESSES_ANNOTATION) {
        let field = format!("metadata.annotations[{ADDRESSES_ANNOTATION}]");
        return list.split(',').map(|text| (text.trim(), field.clone())).collect();
    }
    let asked = spec.load_balancer_ip.as_deref().filter(|address| !address.is_empty());
    asked.into_iter().map(|address| (address, "spec.loadBalancerIP".to_string())).collect()
}

/// The addresses that a Service's status says it has.
fn current_addresses(service: &KubernetesService) -> impl Iterator<Item = (Address, String)> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten().enumerate();
    ingress.filter_map(|(index, ingress)| {
        let address = parse_vip(ingress.ip.as_deref()?).ok()?;
        Some((address, format!("status.loadBalancer.ingress[{index}].ip")))
    })
}
