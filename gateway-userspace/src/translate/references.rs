//! What stands behind a route: each `backendRef` becomes a group.
//!
//! A reference that leads nowhere keeps its share and refuses it, as Gateway API wants it; inside an Upstream the
//! services that are left take over.

use std::collections::BTreeSet;

use gateway_api::apis::experimental::tcproutes::TcpRouteRulesBackendRefs;
use gateway_common::{Algorithm, FrontendKey, Protocol};
use k8s_openapi::api::core::v1::{Service as KubernetesService, ServicePort};

use super::endpoints::{Cluster, DEFAULT_WEIGHT, Family, Pool, protocol_of};
use super::gateways::GATEWAY_GROUP;
use super::{Report, RouteRef};
use crate::model::{Group, Service};
use crate::source::upstream::UpstreamService;
use crate::source::validate::parse_algorithm;
use crate::source::{Kind, Name, ObjectId, Objects, Sourced, Upstream};

const UPSTREAM_GROUP: &str = "beeline.dev";

/// Why a reference leads nowhere: the field and what to do; nothing if its target has an error of its own.
type Broken = Option<(String, String)>;

/// The groups of a route, seen from one frontend.
pub(super) fn service(cluster: &Cluster<'_>, key: FrontendKey, route: RouteRef<'_>, report: &mut Report) -> Service {
    let resolver = Resolver { cluster, route, family: Family::of(key.address), protocol: key.protocol };
    let mut taken = BTreeSet::new();
    let mut groups = Vec::new();
    let mut algorithm = None;
    let rules = &route.found.object.spec.rules;
    if rules.len() > 1 {
        let message = "only the first rule is served: put all backendRefs into it, since rules have no conditions here";
        report.add(route.found.origin.warning(route.id, "spec.rules[1]", message));
    }
    for (index, reference) in rules.first().into_iter().flat_map(|rule| &rule.backend_refs).enumerate() {
        let field = format!("spec.rules[0].backendRefs[{index}]");
        let target = Target::of(reference, &route.id.name.namespace);
        let pool = match resolver.pool(reference, target.as_ref(), report) {
            Ok(pool) => pool,
            Err(broken) => {
                if let Some((name, message)) = broken {
                    report.add(route.found.origin.error(route.id, format!("{field}.{name}"), message));
                }
                Pool::default()
            }
        };
        if let Some(Target::Upstream(name)) = &target {
            algorithm = algorithm.or_else(|| upstream_algorithm(cluster.objects, name));
        }
        groups.push(Group {
            reference: unique(&mut taken, label(reference, target.as_ref())),
            weight: u32::try_from(reference.weight.unwrap_or(1)).unwrap_or(0),
            members: pool.into_members(),
        });
    }
    Service {
        owner: route.id.to_string(),
        algorithm: algorithm.unwrap_or(Algorithm::WeightedRoundRobin),
        groups,
        ..Service::default()
    }
}

/// What a reference may mean.
#[derive(Debug)]
enum Target {
    Service(Name),
    Upstream(Name),
}

impl Target {
    fn of(reference: &TcpRouteRulesBackendRefs, namespace: &str) -> Option<Self> {
        let name = Name::new(reference.namespace.as_deref().unwrap_or(namespace), &*reference.name);
        match (reference.group.as_deref().unwrap_or(""), reference.kind.as_deref().unwrap_or("Service")) {
            ("", "Service") => Some(Self::Service(name)),
            (UPSTREAM_GROUP, "Upstream") => Some(Self::Upstream(name)),
            _ => None,
        }
    }
}

struct Resolver<'a> {
    cluster: &'a Cluster<'a>,
    route: RouteRef<'a>,
    family: Family,
    protocol: Protocol,
}

impl Resolver<'_> {
    fn pool(
        &self,
        reference: &TcpRouteRulesBackendRefs,
        target: Option<&Target>,
        report: &mut Report,
    ) -> Result<Pool, Broken> {
        match target {
            Some(Target::Service(name)) => {
                let Some(port) = reference.port else {
                    return Err(broken("port", "missing: name the Service's port".to_string()));
                };
                self.may_reach("", Kind::Service, name)?;
                let (service, port) = self.service_port(name, port.into())?;
                let mut pool = Pool::default();
                for candidate in self.cluster.candidates(name, service, port, self.family).into_values() {
                    pool.add(candidate, DEFAULT_WEIGHT);
                }
                Ok(pool)
            }
            Some(Target::Upstream(name)) => {
                self.may_reach(UPSTREAM_GROUP, Kind::Upstream, name)?;
                self.upstream_pool(name, report)
            }
            None => {
                let kind = reference.kind.as_deref().unwrap_or("Service");
                let group = reference.group.as_deref().unwrap_or("");
                let message = format!(
                    "`{kind}` of group `{group}` cannot be a backend: use a Service (group \"\") or an Upstream (group \
                     beeline.dev)"
                );
                Err(broken("kind", message))
            }
        }
    }

    /// Another namespace's target needs a grant over there.
    fn may_reach(&self, group: &str, kind: Kind, name: &Name) -> Result<(), Broken> {
        let id = self.route.id;
        let from = Party { group: GATEWAY_GROUP, kind: id.kind, namespace: &id.name.namespace };
        if is_granted(self.cluster.objects, from, group, kind, name) {
            return Ok(());
        }
        Err(broken("namespace", missing_grant(id.kind, &id.name.namespace, kind, name)))
    }

    fn service_port(&self, name: &Name, number: i64) -> Result<(&KubernetesService, &ServicePort), Broken> {
        let objects = self.cluster.objects;
        let Some(Sourced { object: service, .. }) = objects.services.get(name) else {
            return Err(missing(objects, Kind::Service, name));
        };
        let ports = || service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let mut same_number = ports().filter(|port| i64::from(port.port) == number).peekable();
        if same_number.peek().is_none() {
            let known: Vec<String> = ports().map(|port| port.port.to_string()).collect();
            let message = format!("Service {name} has no port {number}: use one of {}", known.join(", "));
            return Err(broken("port", message));
        }
        same_number.find(|port| protocol_of(port) == Some(self.protocol)).map(|port| (&**service, port)).ok_or_else(
            || {
                let message = format!("port {number} of Service {name} is not a {} port: use another", self.protocol);
                broken("port", message)
            },
        )
    }

    /// All services of an Upstream, as one pool. One that leads nowhere is named and left out.
    fn upstream_pool(&self, name: &Name, report: &mut Report) -> Result<Pool, Broken> {
        let objects = self.cluster.objects;
        let Some(Sourced { object: upstream, origin }) = objects.upstreams.get(name) else {
            return Err(missing(objects, Kind::Upstream, name));
        };
        self.speaks(name, upstream)?;
        let id = ObjectId { kind: Kind::Upstream, name: name.clone() };
        let mut pool = Pool::default();
        for (index, entry) in upstream.spec.services.iter().enumerate() {
            let field = format!("spec.services[{index}]");
            match self.add_entry(name, entry, &mut pool) {
                Ok(Selected::Some) | Err(None) => {}
                Ok(Selected::NoneOf(count)) => {
                    let message = format!("selects none of the Service's {count} endpoints: check the Pods' labels");
                    report.add(origin.warning(&id, format!("{field}.podSelector"), message));
                }
                Err(Some((name, message))) => report.add(origin.error(&id, format!("{field}.{name}"), message)),
            }
        }
        Ok(pool)
    }

    fn speaks(&self, name: &Name, upstream: &Upstream) -> Result<(), Broken> {
        let Some(kind) = &upstream.spec.backend_type else { return Ok(()) };
        if (kind == "UDP") == (self.protocol == Protocol::UDP) {
            return Ok(());
        }
        let message = format!("Upstream {name} has backendType {kind}, which {} does not carry", self.protocol);
        Err(broken("name", message))
    }

    fn add_entry(&self, upstream: &Name, entry: &UpstreamService, pool: &mut Pool) -> Result<Selected, Broken> {
        if let Some(cluster) = &entry.cluster_ref {
            let message =
                format!("cluster `{}` is not known here: leave clusterRef out for this cluster", cluster.name);
            return Err(broken("clusterRef", message));
        }
        let name = Name::new(entry.namespace.as_deref().unwrap_or(&upstream.namespace), &*entry.name);
        let from = Party { group: UPSTREAM_GROUP, kind: Kind::Upstream, namespace: &upstream.namespace };
        if !is_granted(self.cluster.objects, from, "", Kind::Service, &name) {
            let message = missing_grant(Kind::Upstream, &upstream.namespace, Kind::Service, &name);
            return Err(broken("namespace", message));
        }
        let (service, port) = self.service_port(&name, entry.port)?;
        let weight = entry.weight.and_then(|weight| u16::try_from(weight).ok()).unwrap_or(DEFAULT_WEIGHT);
        let candidates = self.cluster.candidates(&name, service, port, self.family);
        let count = candidates.len();
        let mut selected = 0;
        for candidate in candidates.into_values() {
            if entry.pod_selector.as_ref().is_none_or(|selector| candidate.is_selected(selector)) {
                selected += 1;
                pool.add(candidate, weight);
            }
        }
        Ok(if selected == 0 && count > 0 { Selected::NoneOf(count) } else { Selected::Some })
    }
}

/// Whether an entry's selector found what it looks for.
enum Selected {
    Some,
    /// There are endpoints, but it wants none of them.
    NoneOf(usize),
}

/// Who refers to something.
#[derive(Clone, Copy)]
struct Party<'a> {
    group: &'a str,
    kind: Kind,
    namespace: &'a str,
}

/// Whether a reference stays in its namespace or a `ReferenceGrant` over there allows it.
fn is_granted(objects: &Objects, from: Party<'_>, group: &str, kind: Kind, name: &Name) -> bool {
    if from.namespace == name.namespace {
        return true;
    }
    let grants = objects.reference_grants.iter().filter(|(grant, _)| grant.namespace == name.namespace);
    grants.map(|(_, found)| &found.object.spec).any(|grant| {
        let lets_in = grant.from.iter().any(|allowed| {
            allowed.group == from.group && allowed.kind == from.kind.name() && allowed.namespace == from.namespace
        });
        let gives = grant.to.iter().any(|given| {
            let is_named = given.name.as_deref().is_none_or(|given| given.is_empty() || given == name.name);
            given.group == group && given.kind == kind.name() && is_named
        });
        lets_in && gives
    })
}

fn missing_grant(from: Kind, from_namespace: &str, kind: Kind, name: &Name) -> String {
    format!(
        "{kind} {name} is in another namespace: create a ReferenceGrant in `{}` from {from}s of `{from_namespace}` to \
         {kind}s",
        name.namespace
    )
}

fn missing(objects: &Objects, kind: Kind, name: &Name) -> Broken {
    if objects.is_rejected(kind, name) {
        return None;
    }
    broken("name", format!("{kind} {name} does not exist: create it or correct the name"))
}

#[allow(clippy::unnecessary_wraps, reason = "it is one of the two values of a Broken")]
fn broken(field: &str, message: String) -> Broken {
    Some((field.to_string(), message))
}

fn upstream_algorithm(objects: &Objects, name: &Name) -> Option<Algorithm> {
    let spec = &objects.upstreams.get(name)?.object.spec;
    let default = Ok(Algorithm::WeightedRoundRobin);
    spec.algorithm.as_deref().map_or(default, parse_algorithm).ok()
}

fn label(reference: &TcpRouteRulesBackendRefs, target: Option<&Target>) -> String {
    match target {
        Some(Target::Service(name)) => match reference.port {
            Some(port) => format!("Service {name}:{port}"),
            None => format!("Service {name}"),
        },
        Some(Target::Upstream(name)) => format!("Upstream {name}"),
        None => format!("{} {}", reference.kind.as_deref().unwrap_or("Service"), reference.name),
    }
}

/// The label, with a number if an earlier reference says the same.
fn unique(taken: &mut BTreeSet<String>, label: String) -> String {
    let numbered = (2..).map(|number| format!("{label}#{number}"));
    let free = std::iter::once(label.clone()).chain(numbered).find(|candidate| !taken.contains(candidate));
    let free = free.unwrap_or(label);
    taken.insert(free.clone());
    free
}
