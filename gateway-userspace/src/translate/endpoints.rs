//! The endpoints of a Service's port, in the whole cluster: how they become members of a group is the pool's business.
//!
//! Endpoints come from `EndpointSlice`s. A Service with a selector of which no slice exists at all takes them from
//! the Pods in the source, so that a folder for one machine needs no slices. Readiness, termination and weights of Pods
//! are decided here and nowhere else.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use gateway_common::{Address, Port, Protocol};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Report;
use super::pods::PodsByLabel;
use super::selector::matches;
use super::topology::{Reach, Viewpoint};
use crate::model::{Backend, PodId};
use crate::source::endpoint_slice::{Endpoint, EndpointSlice, Hints};
use crate::source::pod::Readiness;
use crate::source::validate::parse_port;
use crate::source::{Kind, Name, ObjectId, Objects, Pod, Sourced};

/// A Pod's weight if neither the Pod nor its Upstream says one.
pub const DEFAULT_WEIGHT: u16 = 10;

/// IPv4 or IPv6: a VIP of layer 4 reaches backends of its own family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(address: Address) -> Self {
        if address.to_ip().is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The one that it is not.
    pub const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// As `ipFamilies` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn is_of(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// The objects, with the look-ups that endpoints need.
pub(super) struct Cluster<'a> {
    pub objects: &'a Objects,
    from: Viewpoint<'a>,
    /// The addresses of the Pods that say they run on this node: of use only to endpoints that name none.
    local_addresses: OnceCell<HashSet<Address>>,
    /// Slices by the namespace and the name of the Service they belong to.
    slices: HashMap<&'a str, HashMap<&'a str, Vec<SliceOf<'a>>>>,
    /// Of use only to Services without slices: empty if there are none.
    pods: PodsByLabel<'a>,
}

/// A slice and its namespace.
type SliceOf<'a> = (&'a str, &'a EndpointSlice);

/// A backend that an endpoint stands for.
pub(super) struct Candidate<'a> {
    pub backend: Backend,
    pub fitness: Fitness,
    pub reach: Reach,
    /// The node that it is on, if that is known.
    pub node: Option<&'a str>,
    /// The Pod's namespace and name.
    name: Option<(&'a str, &'a str)>,
    pod: Option<&'a Pod>,
    hints: Option<&'a Hints>,
}

/// Whether an endpoint may get new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fitness {
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
    pub fn new(objects: &'a Objects, node: Option<&'a str>) -> Self {
        Self::seen_from(Viewpoint::of(objects, node), objects)
    }

    /// A cluster of which this node is none.
    pub fn linked(objects: &'a Objects) -> Self {
        Self::seen_from(Viewpoint::OUTSIDE, objects)
    }

    fn seen_from(from: Viewpoint<'a>, objects: &'a Objects) -> Self {
        let mut cluster = Self::with_slices(objects, from, |_, _| true);
        let selects = |service: &Service| service.spec.as_ref().is_some_and(|spec| spec.selector.is_some());
        if objects.services.iter().any(|(name, found)| selects(&found.object) && !cluster.has_slices(name)) {
            cluster.pods = PodsByLabel::new(objects);
        }
        cluster
    }

    /// The same with the slices of these Services alone, and without what only Services without slices need.
    pub fn of_services(objects: &'a Objects, node: Option<&'a str>, services: &BTreeSet<Name>) -> Self {
        Self::with_slices(objects, Viewpoint::of(objects, node), |namespace, service| {
            services.iter().any(|name| name.name == service && name.namespace == namespace)
        })
    }

    fn with_slices(objects: &'a Objects, from: Viewpoint<'a>, is_wanted: impl Fn(&str, &str) -> bool) -> Self {
        let mut slices: HashMap<&str, HashMap<&str, Vec<SliceOf<'_>>>> = HashMap::new();
        for (name, found) in &objects.endpoint_slices {
            if let Some(service) = found.object.service.as_deref().filter(|service| is_wanted(&name.namespace, service))
            {
                let of_namespace = slices.entry(&name.namespace).or_default();
                of_namespace.entry(service).or_default().push((&name.namespace, &found.object));
            }
        }
        Self { objects, from, local_addresses: OnceCell::new(), slices, pods: PodsByLabel::default() }
    }

    /// Whether slices speak for a Service.
    pub fn has_slices(&self, service: &Name) -> bool {
        let of_namespace = self.slices.get(&*service.namespace);
        of_namespace.is_some_and(|slices| slices.contains_key(&*service.name))
    }

    /// Every Pod that has not ended.
    pub fn living_pods(&self) -> BTreeSet<PodId> {
        let living = self.objects.pods.iter().filter(|(_, pod)| !pod.object.is_terminal());
        living.map(|(name, pod)| pod_id((&name.namespace, &name.name), pod.object.uid.as_deref())).collect()
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

    /// The endpoints behind a Service's port, of one family, each backend once, wherever in the cluster it is.
    pub fn candidates(&self, name: &Name, service: &Service, port: &ServicePort, family: Family) -> Vec<Candidate<'a>> {
        let slices = self.slices.get(&*name.namespace).and_then(|slices| slices.get(&*name.name));
        let mut found = match slices {
            Some(slices) => {
                let of_family = slices.iter().filter(|(_, slice)| slice.is_ipv4 == Some(family == Family::V4));
                let with_port = of_family.filter_map(|of| Some((of, slice_port(of.1, port)?)));
                let endpoints = with_port.flat_map(|((namespace, slice), target)| {
                    slice.endpoints.iter().map(move |endpoint| (*namespace, endpoint, target))
                });
                endpoints
                    .filter_map(|(namespace, endpoint, target)| {
                        self.endpoint_candidate(namespace, endpoint, target, port)
                    })
                    .collect()
            }
            None => self.pod_candidates(name, service, port, family),
        };
        found.sort_by_key(|candidate| candidate.backend);
        found.dedup_by(|other, kept| {
            // While an endpoint moves from one slice to another it may stand in both: the better word counts.
            let is_same = other.backend == kept.backend;
            if is_same {
                kept.fitness = kept.fitness.max(other.fitness);
            }
            is_same
        });
        self.follow_hints(&mut found);
        found
    }

    /// Marks those elsewhere that are meant for the clients of others.
    fn follow_hints(&self, found: &mut [Candidate<'a>]) {
        let ready = found.iter().filter(|candidate| candidate.fitness == Fitness::Ready);
        let preference = self.from.preference(ready.map(|candidate| candidate.hints));
        for candidate in found {
            if candidate.reach == Reach::Elsewhere && !self.from.is_meant(preference, candidate.hints) {
                candidate.reach = Reach::NotMeantForHere;
            }
        }
    }

    /// Where an endpoint is. If nobody says so, it is here if a Pod of this node has its address.
    fn reach(&self, node: Option<&str>, address: Address) -> Reach {
        let is_here = self.from.is_here(node).unwrap_or_else(|| self.local_addresses().contains(&address));
        if is_here { Reach::Here } else { Reach::Elsewhere }
    }

    fn local_addresses(&self) -> &HashSet<Address> {
        self.local_addresses.get_or_init(|| {
            let pods = self.objects.pods.values().map(|found| &found.object);
            let local = pods.filter(|pod| !pod.is_terminal() && self.from.is_here(node_of(pod)) == Some(true));
            local.flat_map(|pod| pod.addresses().map(Address::from)).collect()
        })
    }

    fn endpoint_candidate(
        &self,
        namespace: &'a str,
        endpoint: &'a Endpoint,
        port: Port,
        service_port: &ServicePort,
    ) -> Option<Candidate<'a>> {
        let address = endpoint.address.filter(is_of_a_pod)?;
        let Endpoint { mut ready, serving, mut terminating, .. } = *endpoint;
        let target = endpoint.pod.as_ref();
        let name = target.map(|target| (target.namespace.as_deref().unwrap_or(namespace), &*target.name));
        let stated = target.and_then(|target| target.uid.as_deref());
        // A Pod of the same name but another UID is not the one that the slice speaks of.
        let pod = name.and_then(|(namespace, name)| self.objects.pods.get(&Name::new(namespace, name)));
        let pod = pod.map(|found| &*found.object);
        let pod = pod.filter(|pod| stated.is_none_or(|uid| pod.uid.as_deref().is_none_or(|own| own == uid)));
        if pod.is_none() && stated.is_some() && self.objects.knows_all_pods {
            return None;
        }
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
        let id = name.map_or(PodId::NONE, |name| pod_id(name, uid));
        let node = endpoint.node.as_deref().or_else(|| pod.and_then(node_of));
        Some(Candidate {
            backend: Backend { address: address.into(), port, protocol: protocol_of(service_port)?, pod: id },
            fitness: Fitness::new(ready, serving, terminating),
            reach: self.reach(node, address.into()),
            node,
            name,
            pod,
            hints: endpoint.hints.as_deref(),
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
        let candidate = |(name, found): (&'a Name, &'a Sourced<Pod>)| {
            let pod = &*found.object;
            let address = pod.addresses().find(|ip| family.is_of(*ip))?;
            let uid = pod.uid.as_deref();
            let port = target_port(port, pod)?;
            let serving =
                publish_not_ready || pod.readiness().is_some_and(|readiness| readiness != Readiness::NotReady);
            let terminating = pod.terminating;
            Some(Candidate {
                backend: Backend {
                    address: address.into(),
                    port,
                    protocol,
                    pod: pod_id((&name.namespace, &name.name), uid),
                },
                fitness: Fitness::new(serving && !terminating, serving, terminating),
                reach: self.reach(node_of(pod), address.into()),
                node: node_of(pod),
                name: Some((&name.namespace, &name.name)),
                pod: Some(pod),
                hints: None,
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

    /// Whether it may get new connections and is on this node.
    pub fn is_ready_here(&self) -> bool {
        self.fitness == Fitness::Ready && self.reach == Reach::Here
    }

    /// What several ports and families of one endpoint have in common: the Pod, else the address.
    pub fn host(&self) -> (PodId, Option<Address>) {
        (self.backend.pod, (self.backend.pod == PodId::NONE).then_some(self.backend.address))
    }

    /// The weight that the endpoint's Pod itself states, which comes before all others.
    pub fn own_weight(&self) -> Option<u16> {
        self.pod?.weight.as_ref()?.1.parse().ok()
    }

    /// The Pod's namespace and name, or the address where no Pod is known.
    pub fn name(&self) -> String {
        match self.name {
            Some((namespace, name)) => format!("{namespace}/{name}"),
            None => self.backend.address.to_string(),
        }
    }
}

/// Whether an address may be a Pod's. An API server lets no other into a slice, but not every API server is to be trusted:
/// a node's loopback services and its cloud's metadata are nobody's backends.
fn is_of_a_pod(address: &IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
    };
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || is_link_local)
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

/// The node that a Pod says it runs on.
fn node_of(pod: &Pod) -> Option<&str> {
    pod.body.as_ref()?.node.as_deref()
}

fn pod_id((namespace, name): (&str, &str), uid: Option<&str>) -> PodId {
    uid.filter(|uid| !uid.is_empty()).map_or_else(|| PodId::from_uid(&format!("{namespace}/{name}")), PodId::from_uid)
}
