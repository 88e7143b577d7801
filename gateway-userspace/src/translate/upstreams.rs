//! What an Upstream means: each of its entries leads to a Service of this cluster or of a linked one.
//!
//! Traffic goes to the Pods of all of them by their weights. A Service of another namespace needs a `ReferenceGrant` there;
//! one of another cluster needs its link's word (`links`). An entry that leads nowhere is named and left out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use gateway_common::{Port, Protocol};
use k8s_openapi::api::core::v1::{Service, ServicePort};

use super::Report;
use super::endpoints::{Candidate, Cluster, DEFAULT_WEIGHT, Family};
use super::links::Links;
use super::pool::{Pool, Share, serving};
use super::ports::{NoPort, service_port};
use super::references::{Broken, Party, UPSTREAM_GROUP, broken, is_granted, missing_grant};
use super::statuses::{Condition, MAX_STATUS_BACKENDS, ObjectStatus, Truth, UpstreamBackend, UpstreamStatus};
use crate::model::http::{HashOf, HealthCheck, Picker, ProxyVersion};
use crate::model::{Backend, Member};
use crate::source::upstream::{UpstreamService, UpstreamSpec};
use crate::source::validate::{interval, parse_statuses, timeout};
use crate::source::{Kind, Name, ObjectId, Objects, Sourced, Upstream};

/// This cluster and those that are linked.
#[derive(Clone, Copy)]
pub(super) struct Clusters<'a> {
    pub here: &'a Cluster<'a>,
    pub links: &'a Links<'a>,
}

/// What an entry leads to.
struct Found<'a> {
    cluster: &'a Cluster<'a>,
    name: Name,
    service: &'a Service,
    port: &'a ServicePort,
}

/// The endpoints that an Upstream leads to, of one family and protocol, in all clusters.
pub(super) fn members(
    clusters: Clusters<'_>,
    name: &Name,
    upstream: &Upstream,
    family: Family,
    protocol: Protocol,
) -> BTreeMap<Backend, Member> {
    let mut pool = Pool::default();
    for entry in &upstream.spec.services {
        let Ok(found) = find(clusters, name, entry, Some(protocol)) else { continue };
        for candidate in found.selected(entry, family).0 {
            pool.add(candidate, weight(entry));
        }
    }
    pool.into_members()
}

/// How the HTTP layer selects one of an Upstream's backends.
pub(super) fn picker(upstream: &Upstream) -> Picker {
    match upstream.spec.algorithm.as_deref() {
        Some("Random") => Picker::TwoChoices,
        Some("LeastConnections") => Picker::LeastRequests,
        Some("Maglev") => {
            let hash = upstream.spec.hash.as_ref();
            let header = hash.and_then(|hash| hash.header.as_deref());
            let cookie = hash.and_then(|hash| hash.cookie.as_ref());
            Picker::Maglev(match (header, cookie) {
                (Some(header), _) => HashOf::Header(header.to_ascii_lowercase()),
                (None, Some(cookie)) => HashOf::Cookie(cookie.name.clone()),
                (None, None) => HashOf::Client,
            })
        }
        _ => Picker::WeightedRoundRobin,
    }
}

/// The PROXY protocol that an Upstream's backends want.
pub(super) fn proxy(upstream: &Upstream) -> Option<ProxyVersion> {
    match upstream.spec.proxy_protocol.as_deref() {
        Some("V1") => Some(ProxyVersion::V1),
        Some("V2") => Some(ProxyVersion::V2),
        _ => None,
    }
}

/// How requests' backends of an Upstream are asked whether they can serve. What is wrong with that was refused before.
pub(super) fn health_check(spec: &UpstreamSpec) -> Option<Arc<HealthCheck>> {
    let check = spec.health_check.as_ref()?;
    let threshold = |stated: Option<i64>, usual| stated.and_then(|stated| u32::try_from(stated).ok()).unwrap_or(usual);
    let expected = check.expected_statuses.iter().flatten().filter_map(|text| parse_statuses(text).ok()).collect();
    Some(Arc::new(HealthCheck {
        path: check.path.clone(),
        host: check.host.clone().or_else(|| spec.host_header.clone()),
        interval: interval(check).ok()?,
        timeout: timeout(check).ok()?,
        healthy_threshold: threshold(check.healthy_threshold, 2),
        unhealthy_threshold: threshold(check.unhealthy_threshold, 3),
        expected: if check.expected_statuses.is_none() { vec![200..=399] } else { expected },
    }))
}

/// What the Upstreams' status should say; names the entries that lead nowhere.
pub(super) fn statuses(clusters: Clusters<'_>, report: &mut Report) -> BTreeMap<Name, UpstreamStatus> {
    let upstreams = clusters.here.objects.upstreams.iter();
    upstreams.map(|(name, found)| (name.clone(), status(clusters, name, found, report))).collect()
}

/// Whether any Upstream names one of these Services of this cluster.
pub(super) fn lead_to(objects: &Objects, services: &BTreeSet<Name>) -> bool {
    objects.upstreams.iter().any(|(upstream, found)| {
        let of_here = found.object.spec.services.iter().filter(|entry| entry.cluster_ref.is_none());
        of_here.into_iter().any(|entry| {
            let namespace = entry.namespace.as_deref().unwrap_or(&upstream.namespace);
            services.iter().any(|name| name.name == entry.name && name.namespace == namespace)
        })
    })
}

fn status(clusters: Clusters<'_>, name: &Name, upstream: &Sourced<Upstream>, report: &mut Report) -> UpstreamStatus {
    let spec = &upstream.object.spec;
    let protocol = spec.backend_type.as_ref().map(|kind| if kind == "UDP" { Protocol::UDP } else { Protocol::TCP });
    let mut backends = Backends::default();
    let mut refusals = Vec::new();
    for (index, entry) in spec.services.iter().enumerate() {
        let found = match find(clusters, name, entry, protocol) {
            Ok(found) => found,
            Err(refused) => {
                tell(name, upstream, index, &refused, report);
                refusals.push((index, refused));
                continue;
            }
        };
        let cluster = entry.cluster_ref.as_ref().map(|cluster| Arc::from(&*cluster.name));
        let (mut count, mut selected) = (0, 0);
        for family in [Family::V4, Family::V6] {
            let (candidates, all) = found.selected(entry, family);
            count += all;
            selected += candidates.len();
            for candidate in &candidates {
                backends.add(cluster.as_ref(), candidate, weight(entry));
            }
        }
        if selected == 0 && count > 0 {
            let message = format!("selects none of the Service's {count} endpoints: check the Pods' labels");
            let field = format!("spec.services[{index}].podSelector");
            report.add(upstream.origin.warning(id(name), field, message));
        }
    }
    let conditions = vec![accepted(), resolved(&refusals)];
    let generation = upstream.object.metadata.generation.unwrap_or(0);
    backends.into_status(ObjectStatus { generation, conditions })
}

fn find<'a>(
    clusters: Clusters<'a>,
    upstream: &Name,
    entry: &UpstreamService,
    protocol: Option<Protocol>,
) -> Result<Found<'a>, Broken> {
    let name = Name::new(entry.namespace.as_deref().unwrap_or(&upstream.namespace), &*entry.name);
    let cluster = match &entry.cluster_ref {
        Some(link) => clusters.links.cluster(&link.name, &upstream.namespace, &name.namespace)?,
        None => clusters.here,
    };
    let objects = cluster.objects;
    let from = Party { group: UPSTREAM_GROUP, kind: Kind::Upstream, namespace: &upstream.namespace };
    if entry.cluster_ref.is_none() && !is_granted(objects, from, "", Kind::Service, &name) {
        let message = missing_grant(Kind::Upstream, &upstream.namespace, Kind::Service, &name);
        return Err(broken("namespace", "RefNotPermitted", message));
    }
    match service_port(&objects.services, &name, entry.port, protocol) {
        Ok((service, port)) => Ok(Found { cluster, name, service, port }),
        Err(NoPort::NoService) => {
            let place = entry.cluster_ref.as_ref().map(|link| format!(" in cluster {}", link.name)).unwrap_or_default();
            let message = format!("Service {name} does not exist{place}: create it or correct the name");
            let is_rejected = objects.is_rejected(Kind::Service, &name);
            Err(broken("name", "ServiceNotFound", message).told_if(is_rejected))
        }
        Err(NoPort::NoNumber(message)) => Err(broken("port", "PortNotFound", message)),
        Err(NoPort::OtherProtocol(message)) => Err(broken("port", "UnsupportedProtocol", message)),
    }
}

impl<'a> Found<'a> {
    /// The endpoints of a family that an entry selects, and how many there are to select from.
    fn selected(&self, entry: &UpstreamService, family: Family) -> (Vec<Candidate<'a>>, usize) {
        let candidates = self.cluster.candidates(&self.name, self.service, self.port, family);
        let count = candidates.len();
        let is_selected = |candidate: &Candidate<'_>| {
            entry.pod_selector.as_ref().is_none_or(|selector| candidate.is_selected(selector))
        };
        (candidates.into_iter().filter(is_selected).collect(), count)
    }
}

/// The weight of each of an entry's Pods that has none of its own.
fn weight(entry: &UpstreamService) -> u16 {
    entry.weight.and_then(|weight| u16::try_from(weight).ok()).unwrap_or(DEFAULT_WEIGHT)
}

fn tell(name: &Name, upstream: &Sourced<Upstream>, index: usize, refused: &Broken, report: &mut Report) {
    if !refused.is_told {
        let field = format!("spec.services[{index}].{}", refused.field);
        report.add(upstream.origin.error(id(name), field, &*refused.message));
    }
}

fn id(name: &Name) -> ObjectId {
    ObjectId { kind: Kind::Upstream, name: name.clone() }
}

fn accepted() -> Condition {
    let message = "the Upstream is used by whoever refers to it".to_string();
    Condition { kind: "Accepted", truth: Truth::True, reason: "Accepted", message }
}

fn resolved(refusals: &[(usize, Broken)]) -> Condition {
    let kind = "ResolvedRefs";
    let Some((_, first)) = refusals.first() else {
        let message = "every entry leads to a Service".to_string();
        return Condition { kind, truth: Truth::True, reason: "ResolvedRefs", message };
    };
    let line =
        |(index, refused): &(usize, Broken)| format!("spec.services[{index}].{}: {}", refused.field, refused.message);
    let message = refusals.iter().map(line).collect::<Vec<_>>().join("; ");
    Condition { kind, truth: Truth::False, reason: first.reason, message }
}

/// The backends of all clusters while they are gathered: both addresses of a Pod with two families are one.
#[derive(Default)]
struct Backends {
    shares: BTreeMap<Place, (SocketAddr, Share)>,
}

/// A backend's cluster, its name there and its port.
type Place = (Option<Arc<str>>, String, Port);

impl Backends {
    fn add(&mut self, cluster: Option<&Arc<str>>, candidate: &Candidate<'_>, weight: u16) {
        let backend = candidate.backend;
        let address = SocketAddr::new(backend.address.to_ip(), backend.port.get());
        let key = (cluster.cloned(), candidate.name(), backend.port);
        let (first, share) = self.shares.entry(key).or_insert_with(|| (address, Share::of(candidate)));
        // The second family of a Pod adds nothing to its weight.
        if *first == address {
            share.give(weight);
        }
        share.see(candidate.fitness);
    }

    /// With the weights that they would have if all clusters were one node.
    fn into_status(self, status: ObjectStatus) -> UpstreamStatus {
        let serving = serving(self.shares.values().map(|(_, share)| share));
        let total = self.shares.len();
        let mut count = 0;
        let mut backends = Vec::new();
        for ((cluster, name, _), (address, share)) in self.shares {
            let weight = share.weight(serving);
            let (weight, ready) = (weight.unwrap_or(0), weight.is_some());
            count += usize::from(weight > 0);
            if backends.len() < MAX_STATUS_BACKENDS {
                backends.push(UpstreamBackend { cluster, name, address: address.to_string(), weight, ready });
            }
        }
        UpstreamStatus { status, backends, total, ready: count }
    }
}
