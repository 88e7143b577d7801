//! The rules of Ingresses that share an address, as routes: what is asked for twice goes to the older, and default backends
//! come last.
//!
//! A default backend takes what no rule takes: of its own Ingress' hosts first, then of all hosts, where the oldest one is.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use k8s_openapi::api::networking::v1::{HTTPIngressPath, IngressBackend, IngressServiceBackend};

use super::{Flaw, OurIngress};
use crate::model::http::Hostname;
use crate::source::route::{BackendRef, PathMatch, RouteMatch, RouteRule, RouteSpec};
use crate::source::{Kind, Name, Objects, Route, Sourced};
use crate::translate::references::{Broken, broken, broken_reference, missing};

/// The rules of an Ingress for some hosts.
pub(in crate::translate) struct HostRoute {
    /// The place of the Ingress among those that share the address.
    pub ingress: usize,
    /// The hosts; none means all.
    pub hostnames: Vec<Hostname>,
    /// The rules, as a route has them. It stands where the Ingress stands.
    pub found: Sourced<Route>,
}

/// Which path a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Exact(String),
    Prefix(String),
    /// What no rule takes.
    Rest,
}

impl Way {
    fn of(path: &HTTPIngressPath) -> Self {
        let text = path.path.as_deref().filter(|text| !text.is_empty()).unwrap_or("/");
        if path.path_type == "Exact" {
            return Self::Exact(text.to_string());
        }
        let prefix = text.trim_end_matches('/');
        Self::Prefix(if prefix.is_empty() { "/" } else { prefix }.to_string())
    }

    fn matched(&self) -> RouteMatch {
        let (kind, value) = match self {
            Self::Exact(path) => ("Exact", path.as_str()),
            Self::Prefix(path) => ("PathPrefix", path.as_str()),
            Self::Rest => ("PathPrefix", "/"),
        };
        let path = PathMatch { kind: Some(kind.to_string()), value: Some(value.to_string()) };
        RouteMatch { path: Some(path), ..RouteMatch::default() }
    }

    /// As people would say it of a host.
    fn at(&self, host: Option<&Hostname>) -> String {
        let host = host.map_or_else(|| "every host".to_string(), ToString::to_string);
        match self {
            Self::Exact(path) => format!("{path} of {host} (Exact)"),
            Self::Prefix(path) => format!("{path} of {host} (Prefix)"),
            Self::Rest => format!("what no rule takes of {host}"),
        }
    }
}

/// Who has what of which host: the place of the Ingress, and the field.
type Taken = BTreeMap<(Option<Hostname>, Way), (usize, String)>;

/// The routes of Ingresses in the order of their age.
pub(super) struct Layout<'a> {
    objects: &'a Objects,
    ingresses: &'a [OurIngress<'a>],
    taken: Taken,
    pub routes: Vec<HostRoute>,
    pub flaws: Vec<Flaw>,
}

impl<'a> Layout<'a> {
    pub fn of(objects: &'a Objects, ingresses: &'a [OurIngress<'a>]) -> Self {
        let mut layout = Self { objects, ingresses, taken: Taken::new(), routes: Vec::new(), flaws: Vec::new() };
        for at in 0..ingresses.len() {
            layout.add_rules(at);
        }
        for at in 0..ingresses.len() {
            layout.add_rest_of_own_hosts(at);
        }
        layout.add_rest();
        layout
    }

    fn add_rules(&mut self, at: usize) {
        let mut by_host: Vec<(Option<Hostname>, Vec<RouteRule>)> = Vec::new();
        for (index, rule) in self.ingresses[at].rules().iter().enumerate() {
            let host = host(rule.host.as_deref());
            for (number, path) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
                let field = format!("spec.rules[{index}].http.paths[{number}]");
                let way = Way::of(path);
                if !self.take(at, &field, ".path", host.as_ref(), &way) {
                    continue;
                }
                let rule = self.rule(at, format!("rules[{index}].paths[{number}]"), &way, &field, &path.backend);
                match by_host.iter_mut().find(|(known, _)| *known == host) {
                    Some((_, rules)) => rules.push(rule),
                    None => by_host.push((host.clone(), vec![rule])),
                }
            }
        }
        for (host, rules) in by_host {
            self.add(at, host.into_iter().collect(), rules);
        }
    }

    /// Of hosts that it names, an Ingress' own default backend takes the rest; of all others the oldest one.
    fn add_rest_of_own_hosts(&mut self, at: usize) {
        let Some(backend) = self.ingresses[at].default_backend() else { return };
        let mut hosts: Vec<Hostname> = self.ingresses[at].hosts().into_iter().flatten().collect();
        if hosts.is_empty() {
            self.take(at, DEFAULT, "", None, &Way::Rest);
        } else {
            // Who has hosts of its own has lost nothing if another has all the others.
            self.taken.entry((None, Way::Rest)).or_insert_with(|| (at, DEFAULT.to_string()));
        }
        hosts.retain(|host| self.take(at, DEFAULT, "", Some(host), &Way::Rest));
        let rule = self.rule(at, "defaultBackend".to_string(), &Way::Rest, DEFAULT, backend);
        if !hosts.is_empty() {
            self.add(at, hosts, vec![rule]);
        }
    }

    /// The oldest default backend takes the rest of all hosts.
    fn add_rest(&mut self) {
        let Some((at, _)) = self.taken.get(&(None, Way::Rest)) else { return };
        let at = *at;
        let Some(backend) = self.ingresses[at].default_backend() else { return };
        let (reference, _) = self.reference(at, backend);
        self.add(at, Vec::new(), vec![rule("defaultBackend".to_string(), &Way::Rest, reference)]);
    }

    /// Whether an Ingress gets what it asks for; if not, it is told.
    fn take(&mut self, at: usize, field: &str, name: &str, host: Option<&Hostname>, way: &Way) -> bool {
        match self.taken.entry((host.cloned(), way.clone())) {
            Entry::Vacant(entry) => {
                entry.insert((at, field.to_string()));
                true
            }
            Entry::Occupied(entry) => {
                let (winner, winners_field) = entry.get();
                let what = way.at(host);
                let message = if *winner == at {
                    format!("{winners_field} has {what} already: remove one of the two")
                } else {
                    let winner = &self.ingresses[*winner].id;
                    format!(
                        "{winner} already has {what} ({winners_field}) and is older or first by name: use another host \
                         or path, or an address of its own"
                    )
                };
                self.flaws.push(Flaw { ingress: at, field: format!("{field}{name}"), message });
                false
            }
        }
    }

    /// A rule; if its backend leads nowhere, that is told.
    fn rule(&mut self, at: usize, name: String, way: &Way, field: &str, backend: &IngressBackend) -> RouteRule {
        let (reference, broken) = self.reference(at, backend);
        if let Some(broken) = broken.filter(|broken| !broken.is_told) {
            let backend_field = if way == &Way::Rest { field.to_string() } else { format!("{field}.backend") };
            let field = format!("{backend_field}.{}", field_of(backend, broken.field));
            self.flaws.push(Flaw { ingress: at, field, message: broken.message });
        }
        rule(name, way, reference)
    }

    /// A backend as routes refer to it, and why that leads nowhere, if it does.
    fn reference(&self, at: usize, backend: &IngressBackend) -> (BackendRef, Option<Broken>) {
        let id = &self.ingresses[at].id;
        if let Some(resource) = &backend.resource {
            let reference = BackendRef {
                group: Some(resource.api_group.clone().unwrap_or_default()),
                kind: Some(resource.kind.clone()),
                name: resource.name.clone(),
                ..BackendRef::default()
            };
            let broken = broken_reference(self.objects, id, &reference);
            return (reference, broken);
        }
        let Some(service) = &backend.service else { return (BackendRef::default(), None) };
        let port = self.port(&id.name.namespace, service);
        let reference =
            BackendRef { name: service.name.clone(), port: port.as_ref().ok().copied(), ..BackendRef::default() };
        let broken = match port {
            Ok(_) => broken_reference(self.objects, id, &reference),
            Err(broken) => Some(broken),
        };
        (reference, broken)
    }

    /// The number of a Service's port that may be called by its name.
    fn port(&self, namespace: &str, service: &IngressServiceBackend) -> Result<i64, Broken> {
        let port = service.port.as_ref();
        let Some(wanted) = port.and_then(|port| port.name.as_deref()).filter(|name| !name.is_empty()) else {
            return Ok(port.and_then(|port| port.number).unwrap_or_default().into());
        };
        let name = Name::new(namespace, &*service.name);
        let Some(found) = self.objects.services.get(&name) else {
            return Err(missing(self.objects, Kind::Service, &name));
        };
        let ports = || found.object.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let named = ports().find(|port| port.name.as_deref() == Some(wanted));
        named.map(|port| port.port.into()).ok_or_else(|| {
            let known: Vec<String> =
                ports().map(|port| port.name.clone().unwrap_or_else(|| port.port.to_string())).collect();
            let message = format!("Service {name} has no port `{wanted}`: use one of {}", known.join(", "));
            broken("port", "BackendNotFound", message)
        })
    }

    fn add(&mut self, ingress: usize, hostnames: Vec<Hostname>, rules: Vec<RouteRule>) {
        let found = self.ingresses[ingress].found;
        let spec = RouteSpec { rules, ..RouteSpec::default() };
        let route = Route { metadata: found.object.metadata.clone(), spec, status: None };
        let found = Sourced { object: route.into(), origin: found.origin.clone() };
        self.routes.push(HostRoute { ingress, hostnames, found });
    }
}

/// The field of a default backend.
const DEFAULT: &str = "spec.defaultBackend";

fn rule(name: String, way: &Way, reference: BackendRef) -> RouteRule {
    RouteRule { name: Some(name), matches: vec![way.matched()], backend_refs: vec![reference], ..RouteRule::default() }
}

/// What an Ingress calls a field of a reference.
fn field_of(backend: &IngressBackend, field: &str) -> String {
    let Some(service) = &backend.service else {
        return format!("resource.{}", if field == "namespace" { "name" } else { field });
    };
    let has_number = service.port.as_ref().is_some_and(|port| port.number.is_some());
    match field {
        "port" if has_number => "service.port.number".to_string(),
        "port" => "service.port.name".to_string(),
        _ => "service.name".to_string(),
    }
}

/// The host of a rule; none means every host.
pub(super) fn host(text: Option<&str>) -> Option<Hostname> {
    text.filter(|text| !text.is_empty()).map(Hostname::parse_narrow)
}
