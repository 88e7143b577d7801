//! The endpoints of a Service's port, and how they become members of a group.
//!
//! Endpoints come from `EndpointSlice`s. A Service with a selector of which no slice exists at all takes them from
//! the Pods in the source, so that a folder for one machine needs no slices. Readiness, termination and weights
//! are decided here and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use gateway_common::{Address, Port, Protocol};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Report;
use super::pods::PodsByLabel;
use super::selector::matches;
use crate::model::{Backend, Member, PodId};
use crate::source::endpoint_slice::{Endpoint, EndpointSlice};
use crate::source::pod::Readiness;
use crate::source::validate::parse_port;
use crate::source::{Kind, Name, ObjectId, Objects, Pod, Sourced};

/// A Pod's weight if neither the Pod nor its Upstream says one.
pub const DEFAULT_WEIGHT: u16 = 10;

/// IPv4 or IPv6: a VIP reaches backends of its own family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(address: Address) -> Self {
        if address.to_ip().is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn is_of(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// The objects, with the look-ups that endpoints need.
pub(super) struct Cluster<'a> {
    pub objects: &'a Objects,
    /// Slices by the Service they belong to.
    slices: BTreeMap<Name, Vec<&'a EndpointSlice>>,
    /// Of use only to Services without slices: empty if there are none.
    pods: PodsByLabel<'a>,
}

/// A backend that an endpoint stands for.
pub(super) struct Candidate<'a> {
    backend: Backend,
    name: String,
    pod: Option<&'a Pod>,
    fitness: Fitness,
}

/// Whether an endpoint may get new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    /// No, but it keeps those it has.
    NotReady,
    /// Only if nobody else can: it still answers, but is about to end.
    Draining,
    /// Yes.
    Ready,
}

impl Fitness {
    fn new(ready: bool, serving: bool, terminating: bool) -> Self {
        if ready {
            Self::Ready
        } else if serving && terminating {
            Self::Draining
        } else {
            Self::NotReady
        }
    }
}

impl<'a> Cluster<'a> {
    pub fn new(objects: &'a Objects) -> Self {
        let mut slices: BTreeMap<Name, Vec<&EndpointSlice>> = BTreeMap::new();
        for (name, found) in &objects.endpoint_slices {
            if let Some(service) = &found.object.service {
                slices.entry(Name::new(&*name.namespace, &**service)).or_default().push(&found.object);
            }
        }
        let lacks_slices = objects.services.keys().any(|service| !slices.contains_key(service));
        let pods = if lacks_slices { PodsByLabel::new(objects) } else { PodsByLabel::default() };
        Self { objects, slices, pods }
    }

    /// Every Pod that has not ended.
    pub fn living_pods(&self) -> BTreeSet<PodId> {
        let living = self.objects.pods.iter().filter(|(_, pod)| !pod.object.is_terminal());
        living.map(|(name, pod)| pod_id(name, pod.object.uid.as_deref())).collect()
    }

    /// The addresses of every Pod that has not ended.
    pub fn pod_addresses(&self) -> impl Iterator<Item = (Address, &'a Name)> {
        let living = self.objects.pods.iter().filter(|(_, pod)| !pod.object.is_terminal());
        living.flat_map(|(name, pod)| pod.object.addresses().map(move |ip| (ip.into(), name)))
    }

    /// Names every Pod whose weight cannot be understood.
    pub fn report_weights(&self, report: &mut Report) {
        for (name, Sourced { object, origin }) in &self.objects.pods {
            if let Some((annotation, text)) = &object.weight
                && text.parse::<u16>().is_err()
            {
                let id = ObjectId { kind: Kind::Pod, name: name.clone() };
                let message = format!("`{text}` is not a weight, the Pod counts as if it had none: use 0 to 65535");
                report.add(origin.error(id, format!("metadata.annotations[{annotation}]"), message));
            }
        }
    }

    /// The endpoints behind a Service's port, of one family, each backend once.
    pub fn candidates(
        &self,
        name: &Name,
        service: &Service,
        port: &ServicePort,
        family: Family,
    ) -> BTreeMap<Backend, Candidate<'a>> {
        let mut found: BTreeMap<Backend, Candidate<'a>> = BTreeMap::new();
        let mut add = |candidate: Candidate<'a>| {
            let fitness = candidate.fitness;
            let known = found.entry(candidate.backend).or_insert(candidate);
            // While an endpoint moves from one slice to another it may stand in both: the better word counts.
            known.fitness = known.fitness.max(fitness);
        };
        match self.slices.get(name) {
            Some(slices) => {
                for slice in slices.iter().filter(|slice| slice.is_ipv4 == Some(family == Family::V4)) {
                    let Some(target) = slice_port(slice, port) else { continue };
                    let endpoints = slice.endpoints.iter();
                    endpoints
                        .filter_map(|endpoint| self.endpoint_candidate(name, endpoint, target, port))
                        .for_each(&mut add);
                }
            }
            None => self.pod_candidates(name, service, port, family).into_iter().for_each(&mut add),
        }
        found
    }

    fn endpoint_candidate(
        &self,
        service: &Name,
        endpoint: &Endpoint,
        port: Port,
        service_port: &ServicePort,
    ) -> Option<Candidate<'a>> {
        let address = endpoint.address?;
        let Endpoint { mut ready, serving, mut terminating, .. } = *endpoint;
        let target = endpoint.pod.as_ref();
        let pod_name =
            target.map(|target| Name::new(target.namespace.as_deref().unwrap_or(&service.namespace), &*target.name));
        let stated = target.and_then(|target| target.uid.as_deref());
        // A Pod of the same name but another UID is not the one that the slice speaks of.
        let pod = pod_name.as_ref().and_then(|name| self.objects.pods.get(name)).map(|found| &*found.object);
        let pod = pod.filter(|pod| stated.is_none_or(|uid| pod.uid.as_deref().is_none_or(|own| own == uid)));
        if let Some(pod) = pod {
            if pod.is_terminal() {
                return None;
            }
            ready |= !terminating && pod.readiness() == Some(Readiness::WaitsForUs);
            if pod.terminating {
                (ready, terminating) = (false, true);
            }
        }
        // The Pod's own word comes first, so that the identity is that of `living_pods`.
        let uid = pod.map_or(stated, |pod| pod.uid.as_deref());
        let id = pod_name.as_ref().map_or(PodId::NONE, |name| pod_id(name, uid));
        Some(Candidate {
            backend: Backend { address: address.into(), port, protocol: protocol_of(service_port)?, pod: id },
            name: pod_name.map_or_else(|| address.to_string(), |name| name.to_string()),
            pod,
            fitness: Fitness::new(ready, serving, terminating),
        })
    }

    /// What the endpoint controller would make of the Pods that a Service selects.
    fn pod_candidates(&self, name: &Name, service: &Service, port: &ServicePort, family: Family) -> Vec<Candidate<'a>> {
        let Some(spec) = &service.spec else { return Vec::new() };
        let Some(selector) = &spec.selector else { return Vec::new() };
        let Some(protocol) = protocol_of(port) else { return Vec::new() };
        let publish_not_ready = spec.publish_not_ready_addresses.unwrap_or(false);

        let selected =
            self.pods.selected(&name.namespace, selector).into_iter().filter(|(_, pod)| !pod.object.is_terminal());
        let candidate = |(name, found): (&Name, &'a Sourced<Pod>)| {
            let pod = &*found.object;
            let address = pod.addresses().find(|ip| family.is_of(*ip))?;
            let uid = pod.uid.as_deref();
            let port = target_port(port, pod)?;
            let serving =
                publish_not_ready || pod.readiness().is_some_and(|readiness| readiness != Readiness::NotReady);
            let terminating = pod.terminating;
            Some(Candidate {
                backend: Backend { address: address.into(), port, protocol, pod: pod_id(name, uid) },
                name: name.to_string(),
                pod: Some(pod),
                fitness: Fitness::new(serving && !terminating, serving, terminating),
            })
        };
        selected.filter_map(candidate).collect()
    }
}

impl Candidate<'_> {
    /// Whether the endpoint's Pod has the labels; without a Pod nobody knows.
    pub fn is_selected(&self, selector: &LabelSelector) -> bool {
        self.pod.is_some_and(|pod| matches(selector, &pod.labels))
    }
}

/// The members of a group while they are gathered from one Service or several.
#[derive(Default)]
pub(super) struct Pool {
    shares: BTreeMap<Backend, Share>,
}

struct Share {
    name: String,
    /// The weight the Pod itself states, which nothing adds to.
    own: Option<u16>,
    /// The weights that entries give it, added up.
    given: u16,
    fitness: Fitness,
}

impl Pool {
    /// Adds a backend with the weight its entry gives it.
    pub fn add(&mut self, candidate: Candidate<'_>, weight: u16) {
        let Candidate { backend, name, pod, fitness } = candidate;
        let own = pod.and_then(|pod| pod.weight.as_ref()).and_then(|(_, text)| text.parse().ok());
        let share = self.shares.entry(backend).or_insert(Share { name, own, given: 0, fitness });
        share.given = share.given.saturating_add(weight);
        share.fitness = share.fitness.max(fitness);
    }

    /// The members: whoever is ready gets its weight; if nobody is, whoever still answers while it ends.
    pub fn into_members(self) -> BTreeMap<Backend, Member> {
        let best = self.shares.values().map(|share| share.fitness).max();
        let serving = best.filter(|best| *best > Fitness::NotReady);
        let member = |share: Share| {
            let weight = if Some(share.fitness) == serving { share.own.unwrap_or(share.given) } else { 0 };
            Member { name: share.name, weight }
        };
        self.shares.into_iter().map(|(backend, share)| (backend, member(share))).collect()
    }
}

/// TCP or UDP, or nothing for a protocol that we do not balance.
pub(super) fn protocol_of(port: &ServicePort) -> Option<Protocol> {
    match port.protocol.as_deref() {
        None | Some("TCP") => Some(Protocol::TCP),
        Some("UDP") => Some(Protocol::UDP),
        Some(_) => None,
    }
}

/// The number that a slice has for a Service's port. A slice without ports stands for "all of them".
fn slice_port(slice: &EndpointSlice, port: &ServicePort) -> Option<Port> {
    let same = slice.ports.iter().find(|candidate| {
        *candidate.name == *port.name.as_deref().unwrap_or_default()
            && *candidate.protocol == *port.protocol.as_deref().unwrap_or("TCP")
    })?;
    let fallback = || match port.target_port {
        Some(IntOrString::Int(number)) => number,
        Some(IntOrString::String(_)) | None => port.port,
    };
    parse_port(same.number.unwrap_or_else(fallback).into()).ok()
}

/// The number of a Service's target port in a Pod.
fn target_port(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let mut ports = pod.body.iter().flat_map(|body| &body.ports);
            ports.find(|port| *port.name == **name && *port.protocol == *protocol)?.number
        }
    };
    parse_port(number.into()).ok()
}

fn pod_id(name: &Name, uid: Option<&str>) -> PodId {
    uid.filter(|uid| !uid.is_empty()).map_or_else(|| PodId::from_uid(&name.to_string()), PodId::from_uid)
}
