//! What stands behind a route: each `backendRef` becomes a group.
//!
//! A reference that leads nowhere keeps its share and refuses it, as Gateway API wants it; inside an Upstream the
//! services that are left take over.

use std::collections::{BTreeMap, BTreeSet};

use gateway_common::{Algorithm, FrontendKey, Mode, Protocol};
use k8s_openapi::api::core::v1::{Service as KubernetesService, ServicePort};

use super::endpoints::{Cluster, DEFAULT_WEIGHT, Family};
use super::listeners::GATEWAY_GROUP;
use super::pool::Pool;
use super::ports::{NoPort, service_port};
use super::tongue::Tongue;
use super::upstreams::{self, Clusters};
use super::{Report, RouteRef};
use crate::model::http::{Picker, ProxyVersion};
use crate::model::{Backend, Group, Member, Service};
use crate::source::route::{BackendRef, Filter};
use crate::source::validate::parse_algorithm;
use crate::source::{Kind, Name, ObjectId, Objects, Upstream};

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
    let resolver = Resolver { objects, route: route.id };
    let references = references(route).into_iter();
    let broken = references.filter_map(|(field, reference)| Some((field, resolver.resolve(reference).err()?)));
    broken.chain(unknown_filters(route)).collect()
}

/// Why one reference of a route or an Ingress leads nowhere.
pub(super) fn broken_reference(objects: &Objects, route: &ObjectId, reference: &BackendRef) -> Option<Broken> {
    Resolver { objects, route }.resolve(reference).err()
}

/// Filters of somebody else. None is known here, and none is passed over: their requests fail.
fn unknown_filters(route: RouteRef<'_>) -> Vec<(String, Broken)> {
    let rules = route.found.object.spec.rules.iter().enumerate();
    let lists = rules.flat_map(|(number, rule)| {
        let field = format!("spec.rules[{number}]");
        let of_references = rule.backend_refs.iter().enumerate();
        let of_references = of_references
            .map(|(index, reference)| (format!("{field}.backendRefs[{index}]"), &*reference.filters))
            .collect::<Vec<_>>();
        std::iter::once((field, &*rule.filters)).chain(of_references)
    });
    let unknown = lists.flat_map(|(field, filters)| {
        filters.iter().enumerate().filter_map(move |(index, filter)| {
            let extension = filter.extension_ref.as_ref()?;
            let (kind, group) = (&extension.kind, &extension.group);
            let message = format!("`{kind}` of group `{group}` is no filter that is known here: remove it");
            Some((format!("{field}.filters[{index}]"), broken("extensionRef", "InvalidKind", message)))
        })
    });
    unknown.collect()
}

/// Whether any route names one of these Services; see `ingresses` for those.
pub(super) fn lead_to(objects: &Objects, services: &BTreeSet<Name>) -> bool {
    objects.routes.iter().any(|(id, found)| {
        let references = references(RouteRef { id, found }).into_iter();
        let mut targets = references.filter_map(|(_, reference)| Target::of(reference, &id.name.namespace));
        targets.any(|target| target.kind == Kind::Service && services.contains(&target.name))
    })
}

/// What the references of a route lead to: each a Service or an Upstream, and of a Service the name of the port.
pub(super) fn targets(objects: &Objects, route: RouteRef<'_>) -> BTreeSet<(Kind, Name, Option<String>)> {
    let resolver = Resolver { objects, route: route.id };
    let resolved = references(route).into_iter().filter_map(|(_, reference)| resolver.resolve(reference).ok());
    let target = |resolved: Resolved<'_>| match resolved.at {
        At::Service(_, port) => (Kind::Service, resolved.name, port.name.clone()),
        At::Upstream(_) => (Kind::Upstream, resolved.name, None),
    };
    resolved.map(target).collect()
}

/// Names every reference of a route that leads nowhere.
pub(super) fn report(route: RouteRef<'_>, broken: &[(String, Broken)], report: &mut Report) {
    let origin = &route.found.origin;
    if !route.id.kind.is_of_requests() && route.found.object.spec.rules.len() > 1 {
        let message = "only the first rule is served: put all backendRefs into it, since rules have no conditions here";
        report.add(origin.warning(route.id, "spec.rules[1]", message));
    }
    for (field, broken) in broken.iter().filter(|(_, broken)| !broken.is_told) {
        let dot = if broken.field.is_empty() { "" } else { "." };
        report.add(origin.error(route.id, format!("{field}{dot}{}", broken.field), &*broken.message));
    }
}

/// The groups of a route, seen from one frontend.
pub(super) fn service(clusters: Clusters<'_>, key: FrontendKey, route: RouteRef<'_>, mode: Mode) -> Service {
    let mut groups = Groups::new(clusters, route, Family::of(key.address));
    let mut service = Service { owner: route.id.to_string(), mode, ..Service::default() };
    let mut algorithm = None;
    for reference in served_references(route) {
        let (group, resolved) = groups.group(reference);
        algorithm = algorithm.or_else(|| resolved.ok()?.upstream_algorithm());
        service.groups.push(group);
    }
    service.algorithm = algorithm.unwrap_or(Algorithm::WeightedRoundRobin);
    service
}

/// The references of a route of connections that are served.
pub(super) fn served_references(route: RouteRef<'_>) -> &[BackendRef] {
    route.found.object.spec.rules.first().map(|rule| &*rule.backend_refs).unwrap_or_default()
}

/// All references that are served, those of mirrors, too, each with its field.
fn references(route: RouteRef<'_>) -> Vec<(String, &BackendRef)> {
    let mut references = Vec::new();
    let rules = route.found.object.spec.rules.iter().enumerate();
    for (number, rule) in rules.take(if route.id.kind.is_of_requests() { usize::MAX } else { 1 }) {
        let field = format!("spec.rules[{number}]");
        mirrors(&field, &rule.filters, &mut references);
        for (index, reference) in rule.backend_refs.iter().enumerate() {
            let field = format!("{field}.backendRefs[{index}]");
            mirrors(&field, &reference.filters, &mut references);
            references.push((field, reference));
        }
    }
    references
}

fn mirrors<'a>(field: &str, filters: &'a [Filter], references: &mut Vec<(String, &'a BackendRef)>) {
    for (index, filter) in filters.iter().enumerate() {
        if let Some(mirror) = &filter.request_mirror {
            references.push((format!("{field}.filters[{index}].requestMirror.backendRef"), &mirror.backend_ref));
        }
    }
}

/// What a reference may mean: a Service or an Upstream.
#[derive(Debug)]
struct Target {
    kind: Kind,
    name: Name,
}

impl Target {
    fn of(reference: &BackendRef, namespace: &str) -> Option<Self> {
        let name = Name::new(reference.namespace.as_deref().unwrap_or(namespace), &*reference.name);
        match (reference.group.as_deref().unwrap_or(""), reference.kind.as_deref().unwrap_or("Service")) {
            ("", "Service") => Some(Self { kind: Kind::Service, name }),
            (UPSTREAM_GROUP, "Upstream") => Some(Self { kind: Kind::Upstream, name }),
            _ => None,
        }
    }
}

/// What a reference does mean.
pub(super) struct Resolved<'a> {
    pub name: Name,
    pub at: At<'a>,
}

/// A Service at one of its ports, or an Upstream.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    Service(&'a KubernetesService, &'a ServicePort),
    Upstream(&'a Upstream),
}

impl Resolved<'_> {
    /// How an Upstream wants its backends to be selected; nothing of a Service.
    pub fn upstream_algorithm(&self) -> Option<Algorithm> {
        let At::Upstream(upstream) = self.at else { return None };
        let default = Ok(Algorithm::WeightedRoundRobin);
        upstream.spec.algorithm.as_deref().map_or(default, parse_algorithm).ok()
    }

    /// The PROXY protocol that an Upstream's backends want.
    pub fn proxy(&self) -> Option<ProxyVersion> {
        let At::Upstream(upstream) = self.at else { return None };
        upstreams::proxy(upstream)
    }

    /// How the HTTP layer selects a backend.
    pub fn picker(&self) -> Picker {
        match self.at {
            At::Service(..) => Picker::default(),
            At::Upstream(upstream) => upstreams::picker(upstream),
        }
    }
}

/// Follows references, as far as every node and frontend must come to the same.
struct Resolver<'a> {
    objects: &'a Objects,
    /// The route, or the Ingress.
    route: &'a ObjectId,
}

impl<'a> Resolver<'a> {
    fn resolve(&self, reference: &BackendRef) -> Result<Resolved<'a>, Broken> {
        let kind = self.route.kind;
        match Target::of(reference, &self.route.name.namespace) {
            Some(Target { kind: Kind::Upstream, name }) => {
                self.may_reach(UPSTREAM_GROUP, Kind::Upstream, &name)?;
                let found = self.objects.upstreams.get(&name);
                let found = found.ok_or_else(|| missing(self.objects, Kind::Upstream, &name))?;
                Tongue::of_upstream(kind, &name, &found.object)?;
                served_by_datapath(kind, &name, &found.object)?;
                Ok(Resolved { name, at: At::Upstream(&found.object) })
            }
            Some(Target { name, .. }) => {
                let Some(port) = reference.port else {
                    return Err(broken("port", "BackendNotFound", "missing: name the Service's port".to_string()));
                };
                self.may_reach("", Kind::Service, &name)?;
                let (service, port) = self.service_port(&name, port)?;
                Tongue::of_service(kind, &name, service, port)?;
                Ok(Resolved { name, at: At::Service(service, port) })
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
        transport(self.route.kind)
    }

    /// Another namespace's target needs a grant over there.
    fn may_reach(&self, group: &str, kind: Kind, name: &Name) -> Result<(), Broken> {
        let id = self.route;
        let from = Party { group: GATEWAY_GROUP, kind: id.kind, namespace: &id.name.namespace };
        if is_granted(self.objects, from, group, kind, name) {
            return Ok(());
        }
        Err(broken("namespace", "RefNotPermitted", missing_grant(id.kind, &id.name.namespace, kind, name)))
    }

    fn service_port(&self, name: &Name, number: i64) -> Result<(&'a KubernetesService, &'a ServicePort), Broken> {
        let is_external = |service: &KubernetesService| {
            service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName"))
        };
        if self.objects.services.get(name).is_some_and(|found| is_external(&found.object)) {
            let message =
                format!("Service {name} is of type ExternalName, which could lead anywhere: use another type");
            return Err(broken("name", "UnsupportedValue", message));
        }
        service_port(&self.objects.services, name, number, Some(self.protocol())).map_err(|missing| match missing {
            NoPort::NoService => self::missing(self.objects, Kind::Service, name),
            NoPort::NoNumber(message) => broken("port", "BackendNotFound", message),
            NoPort::OtherProtocol(message) => broken("port", "UnsupportedProtocol", message),
        })
    }
}

/// The datapath, where connections of these routes are shared, does not know every way to select a backend, and says nothing
/// on their behalf.
fn served_by_datapath(route: Kind, name: &Name, upstream: &Upstream) -> Result<(), Broken> {
    if !matches!(route, Kind::TcpRoute | Kind::UdpRoute) {
        return Ok(());
    }
    if upstream.spec.proxy_protocol.is_some() {
        let message = format!(
            "Upstream {name} has a proxyProtocol, which a {route} does not write, since Pods see the client's address: leave \
             it out, or use another Upstream"
        );
        return Err(broken("name", "UnsupportedValue", message));
    }
    let Some(algorithm) = upstream.spec.algorithm.as_deref() else { return Ok(()) };
    if parse_algorithm(algorithm).is_ok() {
        return Ok(());
    }
    let message = format!(
        "Upstream {name} has algorithm {algorithm}, which is not for a {route}: use WeightedRoundRobin or Random, or \
         another Upstream"
    );
    Err(broken("name", "UnsupportedValue", message))
}

/// What carries that which routes of a kind tell apart.
pub(super) fn transport(kind: Kind) -> Protocol {
    if kind == Kind::UdpRoute { Protocol::UDP } else { Protocol::TCP }
}

/// The groups behind the references of one route, or of one of its rules, as one frontend sees them.
pub(super) struct Groups<'a> {
    clusters: Clusters<'a>,
    resolver: Resolver<'a>,
    view: View<'a>,
    /// The family of those who serve where nobody of the first does.
    spare: Option<Family>,
    /// The labels that were given out already.
    taken: BTreeSet<String>,
}

impl<'a> Groups<'a> {
    pub fn new(clusters: Clusters<'a>, route: RouteRef<'a>, family: Family) -> Self {
        let resolver = Resolver { objects: clusters.here.objects, route: route.id };
        Self { clusters, resolver, view: View { cluster: clusters.here, family }, spare: None, taken: BTreeSet::new() }
    }

    /// The same for a site, whose backends may be of the other family, since connections to them are the HTTP layer's own.
    pub fn of_site(clusters: Clusters<'a>, route: RouteRef<'a>, family: Family) -> Self {
        Self { spare: Some(family.other()), ..Self::new(clusters, route, family) }
    }

    /// The group behind a reference, and what that is. One that leads nowhere has no members, and keeps its share.
    pub fn group(&mut self, reference: &BackendRef) -> (Group, Result<Resolved<'a>, Broken>) {
        let resolved = self.resolver.resolve(reference);
        let members = resolved.as_ref().map(|resolved| self.members(resolved)).unwrap_or_default();
        let target = Target::of(reference, &self.resolver.route.name.namespace);
        let group = Group {
            reference: unique(&mut self.taken, label(reference, target.as_ref())),
            weight: u32::try_from(reference.weight.unwrap_or(1)).unwrap_or(0),
            members,
        };
        (group, resolved)
    }

    /// Whoever is behind something: those of the first family, or else of the spare one.
    fn members(&self, resolved: &Resolved<'a>) -> BTreeMap<Backend, Member> {
        let of_family = |family| match resolved {
            Resolved { name, at: At::Service(service, port) } => {
                View { family, ..self.view }.service_pool(name, (service, port)).into_members()
            }
            Resolved { name, at: At::Upstream(upstream) } => {
                upstreams::members(self.clusters, name, upstream, family, self.resolver.protocol())
            }
        };
        let members = of_family(self.view.family);
        match self.spare {
            Some(spare) if members.is_empty() => of_family(spare),
            _ => members,
        }
    }
}

/// The endpoints that references lead to, as one frontend sees them.
#[derive(Clone, Copy)]
struct View<'a> {
    cluster: &'a Cluster<'a>,
    family: Family,
}

impl<'a> View<'a> {
    fn service_pool(&self, name: &Name, (service, port): (&KubernetesService, &ServicePort)) -> Pool<'a> {
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

/// What is wrong with a reference to something that is not there.
pub(super) fn missing(objects: &Objects, kind: Kind, name: &Name) -> Broken {
    if objects.is_rejected(kind, name) {
        let broken = broken("name", "BackendNotFound", format!("{kind} {name} has an error of its own: correct it"));
        return broken.told_if(true);
    }
    broken("name", "BackendNotFound", format!("{kind} {name} does not exist: create it or correct the name"))
}

pub(super) fn broken(field: &'static str, reason: &'static str, message: String) -> Broken {
    Broken { field, reason, message, is_told: false }
}

fn label(reference: &BackendRef, target: Option<&Target>) -> String {
    match target {
        Some(Target { kind: Kind::Upstream, name }) => format!("Upstream {name}"),
        Some(Target { kind, name }) => match reference.port {
            Some(port) => format!("{kind} {name}:{port}"),
            None => format!("{kind} {name}"),
        },
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
