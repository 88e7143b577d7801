//! Ingresses that are ours: those of one class stand behind one address, one with Tencent's annotation or with addresses that
//! it names behind its own.
//!
//! An [`Entrance`] is what a Gateway is elsewhere: whoever shares an address, with the frontends that are asked for there.
//! Whose an Ingress is stands in `classes`, what its rules mean in `paths`, and TLS in `secrets`.

mod classes;
mod paths;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};

use gateway_common::{Address, FrontendKey, Port, Protocol};
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, IngressClass, IngressRule, IngressTLS};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use self::classes::{Belonging, Classes};
pub(super) use self::paths::HostRoute;
use self::paths::Layout;
pub(super) use self::secrets::TlsHost;
use super::endpoints::Family;
use super::pools::{Assignments, Need, Wish, sharing_key};
use super::{Behind, Claim, Field, Options, Report, SiteRef, by_age};
use crate::model::http::Hostname;
use crate::source::validate::{ADDRESSES_ANNOTATION, parse_vip};
use crate::source::{Kind, Name, ObjectId, Objects, Origin, Sourced};

/// The controller that an `IngressClass` names to be ours.
pub const INGRESS_CONTROLLER: &str = "beeline.dev/ingress";
/// The class that is ours even if no `IngressClass` object says so.
pub const INGRESS_CLASS: &str = "beeline";

/// Where Ingresses are served in the clear, and within TLS.
pub(super) const HTTP_PORT: Port = Port::new(80);
const HTTPS_PORT: Port = Port::new(443);

const ADDRESSES_FIELD: &str = "metadata.annotations[beeline.dev/addresses]";

/// Ingresses that share an address.
pub(super) struct Entrance<'a> {
    /// Whose the address is: the class, or the only Ingress.
    pub id: ObjectId,
    /// The older first; never empty.
    pub ingresses: Vec<OurIngress<'a>>,
    /// What they ask for, in the order in which it counts.
    pub routes: Vec<HostRoute>,
    /// The hosts that are served within TLS.
    pub tls: Vec<TlsHost>,
    class: Option<&'a Sourced<IngressClass>>,
    /// The addresses that their statuses say, each with the field.
    current: Vec<(Address, String)>,
    flaws: Vec<Flaw>,
}

/// An Ingress that is ours.
pub(super) struct OurIngress<'a> {
    pub id: ObjectId,
    pub found: &'a Sourced<Ingress>,
}

/// Something of an Ingress that is not served as it asks.
struct Flaw {
    /// The place of the Ingress.
    ingress: usize,
    field: String,
    message: String,
}

/// All Ingresses that are ours, by address.
pub(super) fn ours<'a>(objects: &'a Objects, options: &Options) -> Vec<Entrance<'a>> {
    let classes = Classes::new(objects, options.adopt_tencent_annotations);
    let mut sharing: BTreeMap<ObjectId, Vec<OurIngress<'a>>> = BTreeMap::new();
    for (name, found) in &objects.ingresses {
        let ingress = OurIngress { id: ObjectId { kind: Kind::Ingress, name: name.clone() }, found };
        let owner = match classes.belonging(&found.object) {
            None => continue,
            Some(Belonging::Itself) => ingress.id.clone(),
            Some(Belonging::Class(class)) => ObjectId { kind: Kind::IngressClass, name: Name::new("", class) },
        };
        sharing.entry(owner).or_default().push(ingress);
    }
    let mut entrances: Vec<_> =
        sharing.into_iter().map(|(id, ingresses)| Entrance::new(objects, id, ingresses, options)).collect();
    settle_current(&mut entrances);
    entrances
}

/// The Secrets that TLS of Ingresses of ours is made of.
pub(super) fn secrets(objects: &Objects, adopts_tencent: bool) -> impl Iterator<Item = Name> {
    let classes = Classes::new(objects, adopts_tencent);
    let ours = objects.ingresses.iter().filter(move |(_, found)| classes.belonging(&found.object).is_some());
    ours.flat_map(|(name, found)| {
        let tls = found.object.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
        tls.filter_map(secrets::secret_name).map(|secret| Name::new(&*name.namespace, secret))
    })
}

/// Whether any Ingress names one of these Services.
pub(super) fn lead_to(objects: &Objects, services: &BTreeSet<Name>) -> bool {
    objects.ingresses.iter().any(|(name, found)| {
        let spec = found.object.spec.as_ref();
        let rules = spec.iter().flat_map(|spec| spec.rules.iter().flatten());
        let paths = rules.flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths)).map(|path| &path.backend);
        let mut backends = paths.chain(spec.and_then(|spec| spec.default_backend.as_ref()));
        backends.any(|backend| {
            let service = backend.service.as_ref();
            service.is_some_and(|service| services.contains(&Name::new(&*name.namespace, &*service.name)))
        })
    })
}

/// An Ingress that left its class, or came back to it, still has the other's address in its status. What several say is the
/// class's; what a class has is nobody else's.
fn settle_current(entrances: &mut [Entrance<'_>]) {
    let mut of_classes = BTreeSet::new();
    for entrance in entrances.iter_mut().filter(|entrance| entrance.id.kind == Kind::IngressClass) {
        let mut count: BTreeMap<Address, usize> = BTreeMap::new();
        for (address, _) in &entrance.current {
            *count.entry(*address).or_default() += 1;
        }
        entrance.current.sort_by_key(|(address, _)| std::cmp::Reverse(count[address]));
        let mut seen = BTreeSet::new();
        entrance.current.retain(|(address, _)| seen.insert(*address));
        for family in [Family::V4, Family::V6] {
            of_classes.extend(entrance.current.iter().map(|(ip, _)| *ip).find(|ip| Family::of(*ip) == family));
        }
    }
    for entrance in entrances.iter_mut().filter(|entrance| entrance.id.kind == Kind::Ingress) {
        entrance.current.retain(|(address, _)| !of_classes.contains(address));
    }
}

impl<'a> Entrance<'a> {
    fn new(objects: &'a Objects, id: ObjectId, mut ingresses: Vec<OurIngress<'a>>, options: &Options) -> Self {
        ingresses.sort_by(|one, other| by_age(one.created(), &one.id, other.created(), &other.id));
        let Layout { routes, mut flaws, .. } = Layout::of(objects, &ingresses);
        let tls = secrets::tls_hosts(objects, &ingresses, &mut flaws);
        let class = (id.kind == Kind::IngressClass).then(|| objects.ingress_classes.get(&id.name)).flatten();
        let trusted = ingresses.iter().filter(|ingress| options.trusts_status_of(ingress.metadata()));
        let current = trusted.flat_map(OurIngress::current).collect();
        Self { id, ingresses, routes, tls, class, current, flaws }
    }

    /// The ports that it asks for.
    pub fn ports(&self) -> impl Iterator<Item = Port> {
        [HTTP_PORT].into_iter().chain((!self.tls.is_empty()).then_some(HTTPS_PORT))
    }

    /// The oldest, which speaks for all.
    fn oldest(&self) -> &OurIngress<'a> {
        &self.ingresses[0]
    }

    /// The metadata of whoever has the address, if there is such an object.
    fn metadata(&self) -> Option<&'a ObjectMeta> {
        match self.id.kind {
            Kind::Ingress => Some(self.oldest().metadata()),
            _ => self.class.map(|found| &found.object.metadata),
        }
    }

    /// Where the owner of the address stands; for a class without an object, the oldest Ingress.
    fn origin(&self) -> &'a Origin {
        self.class.map_or(&self.oldest().found.origin, |found| &found.origin)
    }

    /// The addresses that it would like to have.
    pub fn wish(&self) -> Wish<'a> {
        let list = self.metadata().and_then(|metadata| annotation(metadata, ADDRESSES_ANNOTATION));
        let asked = list.into_iter().flat_map(|list| list.split(',')).filter_map(|text| parse_vip(text.trim()).ok());
        let asked: BTreeSet<Address> = asked.collect();
        Wish {
            id: self.id.clone(),
            created: self.oldest().created(),
            families: if asked.is_empty() { vec![Family::V4, Family::V6] } else { Vec::new() },
            asked: asked.into_iter().map(|address| (address, ADDRESSES_FIELD.to_string())).collect(),
            need: Need::Each,
            ports: self.ports().map(|port| (Protocol::TCP, port)).collect(),
            sharing_key: self.metadata().and_then(sharing_key),
            current: self.current.clone(),
            field: ADDRESSES_FIELD,
        }
    }

    /// The frontends that it asks for.
    pub fn claims<'b>(&'b self, assignments: &'b Assignments, claims: &mut Vec<Claim<'b>>) {
        let oldest = self.oldest();
        for port in self.ports() {
            let field = if port == HTTP_PORT {
                Field { list: "spec.rules", index: 0, name: "http" }
            } else {
                Field { list: "spec.tls", index: 0, name: "hosts" }
            };
            claims.extend(assignments.addresses(&self.id).iter().map(|(address, vip_field)| Claim {
                key: FrontendKey::new(*address, port, Protocol::TCP),
                created: oldest.created(),
                object: &self.id,
                origin: self.origin(),
                teller: (&oldest.id, &oldest.found.origin),
                field,
                vip_field,
                behind: Behind::Site(SiteRef::Ingresses(self)),
            }));
        }
    }

    /// Names what is not served as asked for.
    pub fn report(&self, assignments: &Assignments, report: &mut Report) {
        assignments.report(&self.id, self.origin(), report);
        let has_parameters = |class: &IngressClass| class.spec.as_ref().is_some_and(|spec| spec.parameters.is_some());
        if let Some(class) = self.class.filter(|class| has_parameters(&class.object)) {
            let message = "no parameters are known here, and the class is served without: remove them";
            report.add(class.origin.warning(&self.id, "spec.parameters", message));
        }
        let is_of_class = self.id.kind == Kind::IngressClass;
        if let Some(refusal) = assignments.refusal(&self.id).filter(|_| is_of_class) {
            for ingress in &self.ingresses {
                let message = format!("{} has no address: {}", self.id, refusal.message);
                report.add(ingress.found.origin.error(&ingress.id, "spec.ingressClassName", message));
            }
        }
        for Flaw { ingress, field, message } in &self.flaws {
            let OurIngress { id, found } = &self.ingresses[*ingress];
            report.add(found.origin.error(id, &**field, &**message));
        }
    }
}

impl<'a> OurIngress<'a> {
    fn metadata(&self) -> &'a ObjectMeta {
        &self.found.object.metadata
    }

    fn created(&self) -> Option<&'a Time> {
        self.metadata().creation_timestamp.as_ref()
    }

    fn rules(&self) -> &'a [IngressRule] {
        self.found.object.spec.as_ref().and_then(|spec| spec.rules.as_deref()).unwrap_or_default()
    }

    fn tls(&self) -> &'a [IngressTLS] {
        self.found.object.spec.as_ref().and_then(|spec| spec.tls.as_deref()).unwrap_or_default()
    }

    fn default_backend(&self) -> Option<&'a IngressBackend> {
        self.found.object.spec.as_ref()?.default_backend.as_ref()
    }

    /// The hosts of its rules, each once; one that is none is every host.
    fn hosts(&self) -> Vec<Option<Hostname>> {
        let hosts: BTreeSet<_> = self.rules().iter().map(|rule| paths::host(rule.host.as_deref())).collect();
        hosts.into_iter().collect()
    }

    /// The addresses that its status says it has.
    fn current(&self) -> Vec<(Address, String)> {
        let status = self.found.object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten().enumerate();
        let address = ingress.filter_map(|(index, ingress)| {
            let address = parse_vip(ingress.ip.as_deref()?).ok()?;
            Some((address, format!("status.loadBalancer.ingress[{index}].ip")))
        });
        address.collect()
    }
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}
