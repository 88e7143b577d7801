//! Objects become the model: which frontends there are, who owns each, and what stands behind it.
//!
//! Pure and deterministic: equal objects give equal models and equal problems. What cannot be served is named in
//! a problem; it never takes anything else with it. Whether a VIP is an address of this very node is not known
//! here: [`VipOrigin`] lets the one who knows name the object and the field.

mod attachments;
mod backend_tls;
mod certificates;
mod conditions;
mod endpoints;
mod expressions;
mod features;
mod gateways;
mod infrastructure;
mod ingresses;
mod links;
mod listener_sets;
mod listeners;
mod ownership;
mod pods;
mod pool;
mod pools;
mod ports;
mod references;
mod referred;
mod refresh;
mod rivals;
mod selector;
mod services;
mod sites;
pub mod statuses;
mod termination;
mod tongue;
mod topology;
mod upstreams;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use gateway_common::{Address, FrontendKey, Mode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::model::{Model, Service};
use crate::source::validate::{MODE_ANNOTATION, parse_mode};
use crate::source::{FolderSource, ObjectId, Objects, Origin, Problem, Route, Sourced};
use attachments::Attachments;
use backend_tls::Policies;
use endpoints::Cluster;
use gateways::OurGateway;
use ingresses::Entrance;
use links::Links;
use ownership::Ownership;
use pools::Assignments;
use services::ServiceFrontend;
use sites::Sites;
use upstreams::Clusters;

pub use endpoints::DEFAULT_WEIGHT;
pub use gateways::{CONTROLLER_NAME, GATEWAY_CLASS};
pub use infrastructure::GATEWAY_NAME_LABEL;
pub use ingresses::{INGRESS_CLASS, INGRESS_CONTROLLER};
pub use pools::{Given, SHARING_ANNOTATION};
pub use referred::referred;
pub use refresh::{Last, are_as_said, refreshed};
pub use services::{DIRECT_ACCESS_ANNOTATION, LOAD_BALANCER_CLASS};
pub use statuses::Statuses;

/// What may be chosen about the translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether a Service without a class but with [`DIRECT_ACCESS_ANNOTATION`] is ours too, and an Ingress of Tencent's class
    /// with the annotation of the same name.
    pub adopt_tencent_annotations: bool,
    /// Whether every Service of type `LoadBalancer` without a class is ours.
    pub default_load_balancer: bool,
    /// This node, whose Pods are reached as they are, unlike those of others; without one, there is no other.
    pub node: Option<Arc<str>>,
    /// How Pods of other nodes are reached, if the object that asks for a frontend does not say.
    pub mode: Mode,
    /// Whether objects are written by many who do not trust each other, as in a cluster: then nobody gets an address that
    /// no pool holds, and addresses in a status are kept only if we gave them.
    pub many_authors: bool,
}

impl Options {
    /// Whether what a status says was given by us, or by one who may.
    fn trusts_status_of(&self, metadata: &ObjectMeta) -> bool {
        !self.many_authors || metadata.managed_fields.as_ref().is_some_and(|managed| !managed.is_empty())
    }
}

impl Default for Options {
    /// What a folder of manifests starts with.
    fn default() -> Self {
        Self {
            adopt_tencent_annotations: true,
            default_load_balancer: false,
            node: None,
            mode: Mode::default(),
            many_authors: false,
        }
    }
}

/// What the objects mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// The desired state.
    pub model: Model,
    /// What is not served as asked for, in the order of files and documents.
    pub problems: Vec<Problem>,
    /// Who asked for each VIP; the oldest, if several did.
    pub vips: BTreeMap<Address, VipOrigin>,
    /// What the objects' status should say.
    pub statuses: Statuses,
    /// The addresses that owners have from pools: what the next translation is to start from.
    pub given: Given,
}

/// The object and the field that ask for a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipOrigin {
    /// Where the object stands.
    pub origin: Origin,
    /// The object.
    pub object: ObjectId,
    /// `spec.addresses[0].value`.
    pub field: String,
}

impl VipOrigin {
    /// An error about the VIP.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        self.origin.error(&self.object, &*self.field, message)
    }
}

/// Translates all objects, as if they were seen for the first time.
pub fn translate(objects: &Objects, options: &Options) -> Translation {
    translate_after(&Given::new(), objects, options)
}

/// Translates all objects; what an earlier translation gave out, its owners keep.
pub fn translate_after(given: &Given, objects: &Objects, options: &Options) -> Translation {
    let cluster = Cluster::new(objects, options.node.as_deref());
    let links = Links::new(objects);
    let clusters = Clusters { here: &cluster, links: &links };
    let mut report = Report::default();
    cluster.report_weights(&mut report);

    let services = services::ours(objects, options);
    let gateways = gateways::ours(objects);
    let entrances = ingresses::ours(objects, options);
    let policies = Policies::new(objects);
    policies.report(&mut report);
    let attachments = Attachments::new(objects, &gateways, &mut report);
    let wishes = services.iter().filter_map(|service| service.wish(options));
    let wishes = wishes.chain(gateways.iter().filter_map(|gateway| gateway.wish(options)));
    let wishes: Vec<_> = wishes.chain(entrances.iter().map(Entrance::wish)).collect();
    let assignments = Assignments::of(objects, &wishes, given, options.many_authors);
    attachments.report(&gateways, &mut report);

    let mut claims = Vec::new();
    for service in &services {
        service.report(&assignments, &mut report);
        service.claims(&assignments, &mut claims);
    }
    for (at, gateway) in gateways.iter().enumerate() {
        gateway.report(&assignments, &mut report);
        gateway.claims(at, &attachments, &assignments, &mut claims);
    }
    for entrance in &entrances {
        entrance.report(&assignments, &mut report);
        entrance.claims(&assignments, &mut claims);
    }
    claims.sort_by(Claim::by_age);
    let ownership = Ownership::of(&claims);
    ownership.report(&mut report);

    let mut translation = Translation::default();
    for claim in &claims {
        translation.vips.entry(claim.key.address).or_insert_with(|| claim.vip_origin());
    }
    let sites = Sites { clusters, attachments: &attachments, policies: &policies };
    serve(&mut translation.model, sites, &ownership, options.mode);
    let facts = conditions::Facts {
        objects,
        services: &services,
        gateways: &gateways,
        entrances: &entrances,
        attachments: &attachments,
        policies: &policies,
        assignments: &assignments,
        ownership: &ownership,
    };
    translation.statuses = facts.statuses(&mut report);
    translation.statuses.upstreams = upstreams::statuses(clusters, &mut report);
    translation.statuses.cluster_links = links.statuses();
    translation.statuses.address_pools.clone_from(assignments.pool_statuses());
    translation.given = assignments.given();
    refuse_addresses_of_pods(&cluster, &mut translation, &mut report);
    translation.model.living_pods = cluster.living_pods();
    translation.model.living_pods.extend(links.living_pods());
    translation.model.health_checks = services.iter().filter_map(|service| service.health_check(&cluster)).collect();
    translation.model.incomplete = objects.incomplete;
    // A VIP whose listeners have no route yet exposes nothing, so nobody has to hold it.
    let in_use: BTreeSet<Address> = translation.model.frontends().map(|(key, _)| key.address).collect();
    translation.vips.retain(|address, _| in_use.contains(address));
    translation.model.announcements = pools::announcements(objects, in_use.into_iter());
    translation.problems = report.problems.into_iter().collect();
    translation
}

/// Puts in what stands behind each claim that is fulfilled: a service or a site, and nothing behind a plain listener
/// without a route.
fn serve<'a>(model: &mut Model, sites: Sites<'a>, ownership: &Ownership<'a>, mode: Mode) {
    for claim in ownership.owners() {
        if let Behind::Site(site) = claim.behind {
            model.sites.insert(claim.key, Arc::new(sites.site(claim.key, site)));
        }
        let service = service(sites.clusters, claim, mode);
        model.services.extend(service.map(|service| (claim.key, Arc::new(service))));
    }
}

/// What the kernel serves for a claim that is fulfilled.
fn service(clusters: Clusters<'_>, claim: &Claim<'_>, mode: Mode) -> Option<Service> {
    match claim.behind {
        Behind::Service(frontend) => Some(services::service(clusters.here, claim.key, frontend, mode)),
        Behind::Route(route) => {
            let gateway = clusters.here.objects.gateways.get(&claim.object.name);
            let stated = gateway.and_then(|gateway| stated_mode(&gateway.object.metadata));
            Some(references::service(clusters, claim.key, route, stated.unwrap_or(mode)))
        }
        Behind::Site(_) | Behind::Nothing => None,
    }
}

/// How an object wants Pods of other nodes to be reached, if it says so.
fn stated_mode(metadata: &ObjectMeta) -> Option<Mode> {
    metadata.annotations.as_ref()?.get(MODE_ANNOTATION).and_then(|name| parse_mode(name).ok())
}

/// A VIP that is a Pod's own address would take the Pod off the network.
fn refuse_addresses_of_pods(cluster: &Cluster<'_>, translation: &mut Translation, report: &mut Report) {
    for (address, pod) in cluster.pod_addresses() {
        let Some(vip) = translation.vips.remove(&address) else { continue };
        let message =
            format!("{address} is the address of Pod {pod}: the VIP is not served: choose an address that nobody has");
        report.add(vip.problem(message));
        translation.model.remove_frontends_at(address);
    }
}

/// Everything that is wrong with a folder of manifests, for people who want to know before they serve it.
pub fn check_folder(folder: &Path, options: &Options) -> Vec<Problem> {
    let mut source = match FolderSource::open(folder) {
        Ok(source) => source,
        Err(error) => return vec![Problem::of_file("", error.to_string())],
    };
    let snapshot = source.read();
    let mut problems = snapshot.problems;
    problems.extend(translate(&snapshot.objects, options).problems);
    problems.sort();
    problems
}

/// Problems, each once, however often it is met.
#[derive(Debug, Default)]
struct Report {
    problems: BTreeSet<Problem>,
}

impl Report {
    fn add(&mut self, problem: Problem) {
        self.problems.insert(problem);
    }
}

/// A field of an entry of a list: `spec.ports[0].port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Field {
    list: &'static str,
    index: usize,
    name: &'static str,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}].{}", self.list, self.index, self.name)
    }
}

/// One object's wish to have one frontend.
struct Claim<'a> {
    key: FrontendKey,
    created: Option<&'a Time>,
    object: &'a ObjectId,
    origin: &'a Origin,
    /// Who has the field that asks for the port: the object itself, or one that adds to it.
    teller: (&'a ObjectId, &'a Origin),
    /// The field that asks for the port.
    field: Field,
    /// The field that asks for the address.
    vip_field: &'a str,
    behind: Behind<'a>,
}

#[derive(Clone, Copy)]
enum Behind<'a> {
    /// A Service that is its own frontend.
    Service(ServiceFrontend<'a>),
    /// The route that a listener serves.
    Route(RouteRef<'a>),
    /// Listeners that the HTTP layer serves.
    Site(SiteRef<'a>),
    /// A listener without a route: it holds its place and serves nothing.
    Nothing,
}

/// Whose listeners the HTTP layer serves at a port.
#[derive(Clone, Copy)]
enum SiteRef<'a> {
    /// A Gateway's, which is the one with this place among ours.
    Gateway(&'a OurGateway<'a>, usize),
    /// Those of Ingresses.
    Ingresses(&'a Entrance<'a>),
}

/// A route with its identity.
#[derive(Clone, Copy, Debug)]
struct RouteRef<'a> {
    id: &'a ObjectId,
    found: &'a Sourced<Route>,
}

impl Claim<'_> {
    /// Oldest first; then by name, as Gateway API settles conflicts. No age at all counts as youngest.
    fn by_age(&self, other: &Self) -> Ordering {
        by_age(self.created, self.object, other.created, other.object)
    }

    fn vip_origin(&self) -> VipOrigin {
        VipOrigin { origin: self.origin.clone(), object: self.object.clone(), field: self.vip_field.to_string() }
    }
}

fn by_age(created: Option<&Time>, object: &ObjectId, other_created: Option<&Time>, other: &ObjectId) -> Ordering {
    let key = |created: Option<&Time>| (created.is_none(), created.cloned());
    key(created)
        .cmp(&key(other_created))
        .then_with(|| object.name.cmp(&other.name))
        .then_with(|| object.kind.cmp(&other.kind))
}

#[cfg(test)]
mod tests;
