//! What stands behind a route: each `backendRef` becomes a group.
//!
//! A reference that leads nowhere keeps its share and refuses it, as Gateway API wants it; inside an Upstream the
//! services that are left take over.

use std::collections::{BTreeMap, BTreeSet};

use gateway_api::apis::experimental::tcproutes::TcpRouteRulesBackendRefs;
use gateway_common::{Algorithm, FrontendKey, Mode, Protocol};
use k8s_openapi::api::core::v1::{Service as KubernetesService, ServicePort};

use super::endpoints::{Cluster, DEFAULT_WEIGHT, Family};
use super::listeners::GATEWAY_GROUP;
use super::pool::Pool;
use super::ports::{NoPort, service_port};
use super::upstreams::{self, Clusters};
use super::{Report, RouteRef};
use crate::model::{Group, Service};
use crate::source::validate::parse_algorithm;
use crate::source::{Kind, Name, Objects, Sourced, Upstream};

pub(super) const UPSTREAM_GROUP: &str = "beeline.dev";

/// Why a reference leads nowhere.
#[derive(Debug)]
pub(super) struct Broken {
    /// The field of the reference that is to change.
    pub field: &'static str,
    /// The reason of Gateway API.
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether the target has an error of its own that says so.
    pub is_told: bool,
}

impl Broken {
    /// Says that something else says so already, if it does.
    pub fn told_if(self, is_told: bool) -> Self {
        Self { is_told, ..self }
    }
}

/// Why references of a route lead nowhere, each with its field. Those are the same on every node and for every frontend.
pub(super) fn broken_references(objects: &Objects, route: RouteRef<'_>) -> Vec<(String, Broken)> {
    let resolver = Resolver { objects, route };
    let references = references(route).filter_map(|(field, reference)| {
        let target = Target::of(reference, &route.id.name.namespace);
        Some((field, resolver.resolve(reference, target.as_ref()).err()?))
    });
    references.collect()
}

/// Whether any route names one of these Services.
pub(super) fn lead_to(objects: &Objects, services: &BTreeSet<Name>) -> bool {
    objects.routes.iter().any(|(id, found)| {
        let references = found.object.spec.rules.iter().flat_map(|rule| &rule.backend_refs);
        references.filter_map(|reference| Target::of(reference, &id.name.namespace)).any(|target| match target {
            Target::Service(name) => services.contains(&name),
            Target::Upstream(_) => false,
        })
    })
}

/// Names every reference of a route that leads nowhere.
pub(super) fn report(route: RouteRef<'_>, broken: &[(String, Broken)], report: &mut Report) {
    let origin = &route.found.origin;
    if route.found.object.spec.rules.len() > 1 {
        let message = "only the first rule is served: put all backendRefs into it, since rules have no conditions here";
        report.add(origin.warning(route.id, "spec.rules[1]", message));
    }
    for (field, broken) in broken.iter().filter(|(_, broken)| !broken.is_told) {
        report.add(origin.error(route.id, format!("{field}.{}", broken.field), &*broken.message));
    }
}

/// The groups of a route, seen from one frontend.
pub(super) fn service(clusters: Clusters<'_>, key: FrontendKey, route: RouteRef<'_>, mode: Mode) -> Service {
    let cluster = clusters.here;
    let resolver = Resolver { objects: cluster.objects, route };
    let view = View { cluster, family: Family::of(key.address) };
    let mut taken = BTreeSet::new();
    let mut service = Service { owner: route.id.to_string(), mode, ..Service::default() };
    let mut algorithm = None;
    for (_, reference) in references(route) {
        let target = Target::of(reference, &route.id.name.namespace);
        let members = match resolver.resolve(reference, target.as_ref()) {
            Ok(Resolved::Service(name, port)) => view.service_pool(name, port).into_members(),
            Ok(Resolved::Upstream(name, upstream)) => {
                upstreams::members(clusters, name, &upstream.object, view.family, key.protocol)
            }
            Err(_) => BTreeMap::new(),
        };
        if let Some(Target::Upstream(name)) = &target {
            algorithm = algorithm.or_else(|| upstream_algorithm(cluster.objects, name));
        }
        service.groups.push(Group {
            reference: unique(&mut taken, label(reference, target.as_ref())),
            weight: u32::try_from(reference.weight.unwrap_or(1)).unwrap_or(0),
            members,
        });
    }
    service.algorithm = algorithm.unwrap_or(Algorithm::WeightedRoundRobin);
    service
}

/// The references that are served, each with its field.
fn references(route: RouteRef<'_>) -> impl Iterator<Item = (String, &TcpRouteRulesBackendRefs)> {
    let references = route.found.object.spec.rules.first().into_iter().flat_map(|rule| &rule.backend_refs).enumerate();
    references.map(|(index, reference)| (format!("spec.rules[0].backendRefs[{index}]"), reference))
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

/// What a reference does mean.
enum Resolved<'a> {
    Service(&'a Name, ServiceAt<'a>),
    Upstream(&'a Name, &'a Sourced<Upstream>),
}

/// A Service and one of its ports.
type ServiceAt<'a> = (&'a KubernetesService, &'a ServicePort);

/// Follows references, as far as every node and frontend must come to the same.
struct Resolver<'a> {
    objects: &'a Objects,
    route: RouteRef<'a>,
}

impl<'a> Resolver<'a> {
    fn resolve<'b>(
        &self,
        reference: &TcpRouteRulesBackendRefs,
        target: Option<&'b Target>,
    ) -> Result<Resolved<'b>, Broken>
    where
        'a: 'b,
    {
        match target {
            Some(Target::Service(name)) => {
                let Some(port) = reference.port else {
                    return Err(broken("port", "BackendNotFound", "missing: name the Service's port".to_string()));
                };
                self.may_reach("", Kind::Service, name)?;
                Ok(Resolved::Service(name, self.service_port(name, port.into())?))
            }
            Some(Target::Upstream(name)) => {
                self.may_reach(UPSTREAM_GROUP, Kind::Upstream, name)?;
                let upstreams = &self.objects.upstreams;
                let found = upstreams.get(name).ok_or_else(|| missing(self.objects, Kind::Upstream, name))?;
                self.speaks(name, &found.object)?;
                Ok(Resolved::Upstream(name, found))
            }
            None => {
                let kind = reference.kind.as_deref().unwrap_or("Service");
                let group = reference.group.as_deref().unwrap_or("");
                let message = format!(
                    "`{kind}` of group `{group}` cannot be a backend: use a Service (group \"\") or an Upstream (group \
                     beeline.dev)"
                );
                Err(broken("kind", "InvalidKind", message))
            }
        }
    }

    fn protocol(&self) -> Protocol {
        if self.route.id.kind == Kind::UdpRoute { Protocol::UDP } else { Protocol::TCP }
    }

    /// Another namespace's target needs a grant over there.
    fn may_reach(&self, group: &str, kind: Kind, name: &Name) -> Result<(), Broken> {
        let id = self.route.id;
        let from = Party { group: GATEWAY_GROUP, kind: id.kind, namespace: &id.name.namespace };
        if is_granted(self.objects, from, group, kind, name) {
            return Ok(());
        }
        Err(broken("namespace", "RefNotPermitted", missing_grant(id.kind, &id.name.namespace, kind, name)))
    }

    fn service_port(&self, name: &Name, number: i64) -> Result<ServiceAt<'a>, Broken> {
        service_port(&self.objects.services, name, number, Some(self.protocol())).map_err(|missing| match missing {
            NoPort::NoService => self::missing(self.objects, Kind::Service, name),
            NoPort::NoNumber(message) => broken("port", "BackendNotFound", message),
            NoPort::OtherProtocol(message) => broken("port", "UnsupportedProtocol", message),
        })
    }

    fn speaks(&self, name: &Name, upstream: &Upstream) -> Result<(), Broken> {
        let Some(kind) = &upstream.spec.backend_type else { return Ok(()) };
        if (kind == "UDP") == (self.protocol() == Protocol::UDP) {
            return Ok(());
        }
        let message = format!("Upstream {name} has backendType {kind}, which {} does not carry", self.protocol());
        Err(broken("name", "UnsupportedProtocol", message))
    }
}

/// The endpoints that references lead to, as one frontend sees them.
struct View<'a> {
    cluster: &'a Cluster<'a>,
    family: Family,
}

impl<'a> View<'a> {
    fn service_pool(&self, name: &Name, (service, port): ServiceAt<'_>) -> Pool<'a> {
        let mut pool = Pool::default();
        for candidate in self.cluster.candidates(name, service, port, self.family) {
            pool.add(candidate, DEFAULT_WEIGHT);
        }
        pool
    }
}

/// Who refers to something.
#[derive(Clone, Copy)]
pub(super) struct Party<'a> {
    pub group: &'a str,
    pub kind: Kind,
    pub namespace: &'a str,
}

/// Whether a reference stays in its namespace or a `ReferenceGrant` over there allows it.
pub(super) fn is_granted(objects: &Objects, from: Party<'_>, group: &str, kind: Kind, name: &Name) -> bool {
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

pub(super) fn missing_grant(from: Kind, from_namespace: &str, kind: Kind, name: &Name) -> String {
    format!(
        "{kind} {name} is in another namespace: create a ReferenceGrant in `{}` from {from}s of `{from_namespace}` to \
         {kind}s",
        name.namespace
    )
}

fn missing(objects: &Objects, kind: Kind, name: &Name) -> Broken {
    if objects.is_rejected(kind, name) {
        let broken = broken("name", "BackendNotFound", format!("{kind} {name} has an error of its own: correct it"));
        return broken.told_if(true);
    }
    broken("name", "BackendNotFound", format!("{kind} {name} does not exist: create it or correct the name"))
}

pub(super) fn broken(field: &'static str, reason: &'static str, message: String) -> Broken {
    Broken { field, reason, message, is_told: false }
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
