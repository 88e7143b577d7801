//! `BackendTLSPolicy`: which of them holds for a Service or one of its ports, and how TLS is made there.
//!
//! Of several for the same port the older holds, then the first by name (GEP-713); one for a single port comes before one
//! for all ports. One whose authorities cannot be read still holds: its backends are then trusted by nobody, rather than
//! spoken to in the clear.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::certificates::{Reference, Unresolved, authorities, joined};
use super::listeners::GATEWAY_GROUP;
use super::references::{Party, UPSTREAM_GROUP};
use super::{Report, by_age};
use crate::model::http::{BackendTls, Hostname, SubjectName};
use crate::source::backend_tls_policy::{TargetRef, Validation};
use crate::source::{BackendTlsPolicy, Kind, Name, ObjectId, Objects, Sourced};

/// A Service or an Upstream, and of a Service perhaps one port by its name.
pub(super) type Target = (Kind, Name, Option<String>);

/// All policies.
pub(super) struct Policies<'a> {
    /// The older first.
    pub all: Vec<Policy<'a>>,
    /// Which of them holds, by target.
    holders: BTreeMap<Target, usize>,
}

/// A policy, judged by itself.
pub(super) struct Policy<'a> {
    pub id: ObjectId,
    pub found: &'a Sourced<BackendTlsPolicy>,
    /// What it is for.
    pub targets: Vec<Target>,
    /// How TLS is made, but for what a Gateway shows the backends.
    pub tls: Arc<BackendTls>,
    /// References that lead nowhere: field, reason and message.
    pub flaws: Vec<(String, &'static str, String)>,
    /// Why it trusts nobody: reason and message.
    pub distrusts_all: Option<(&'static str, String)>,
}

impl<'a> Policies<'a> {
    pub fn new(objects: &'a Objects) -> Self {
        let mut all: Vec<Policy<'a>> =
            objects.backend_tls_policies.iter().map(|(name, found)| Policy::new(objects, name, found)).collect();
        all.sort_by(|a, b| {
            let created = |policy: &Policy<'a>| policy.found.object.metadata.creation_timestamp.clone();
            by_age(created(a).as_ref(), &a.id, created(b).as_ref(), &b.id)
        });
        let mut holders = BTreeMap::new();
        for (index, policy) in all.iter().enumerate() {
            for target in &policy.targets {
                holders.entry(target.clone()).or_insert(index);
            }
        }
        Self { all, holders }
    }

    /// How TLS is made to a target, if a policy holds for it.
    pub fn tls(&self, kind: Kind, name: &Name, port: Option<&str>) -> Option<&Arc<BackendTls>> {
        let of_port = port.and_then(|port| self.holders.get(&(kind, name.clone(), Some(port.to_string()))));
        let holder = of_port.or_else(|| self.holders.get(&(kind, name.clone(), None)))?;
        Some(&self.all[*holder].tls)
    }

    /// The policy that holds in the place of one, if that holds for none of its targets.
    pub fn winner(&self, policy: &Policy<'_>) -> Option<&ObjectId> {
        let holders: Vec<&Policy<'_>> = policy
            .targets
            .iter()
            .filter_map(|target| self.holders.get(target))
            .map(|index| &self.all[*index])
            .collect();
        if holders.iter().any(|holder| holder.id == policy.id) {
            return None;
        }
        holders.first().map(|holder| &holder.id)
    }

    /// Names what is wrong with each by itself and beside others.
    pub fn report(&self, report: &mut Report) {
        for policy in &self.all {
            let origin = &policy.found.origin;
            for (field, _, message) in &policy.flaws {
                report.add(origin.error(&policy.id, &**field, &**message));
            }
            if let Some(winner) = self.winner(policy) {
                report.add(origin.error(&policy.id, "spec.targetRefs", conflicted(winner)));
            }
        }
    }
}

/// What is wrong with a policy in whose place another holds.
pub(super) fn conflicted(winner: &ObjectId) -> String {
    format!("{winner} holds for the same, which is older or first by name: remove one of the two")
}

impl<'a> Policy<'a> {
    fn new(objects: &Objects, name: &Name, found: &'a Sourced<BackendTlsPolicy>) -> Self {
        let id = ObjectId { kind: Kind::BackendTlsPolicy, name: name.clone() };
        let spec = &found.object.spec;
        let targets = spec.target_refs.iter().filter_map(|target| self::target(name, target)).collect();
        let mut flaws = Vec::new();
        let (authorities_pem, distrusts_all) = trusted(objects, name, &spec.validation, &mut flaws);
        let names = spec.validation.subject_alt_names.iter().filter_map(|name| {
            let host = name.hostname.as_deref().map(|host| SubjectName::Hostname(Hostname::parse(host)));
            host.or_else(|| name.uri.clone().map(SubjectName::Uri))
        });
        let tls = BackendTls {
            origin: id.to_string(),
            hostname: spec.validation.hostname.clone(),
            authorities_pem,
            names: names.collect::<BTreeSet<_>>(),
            client_certificate: None,
        };
        Self { id, found, targets, tls: Arc::new(tls), flaws, distrusts_all }
    }

    /// Whether it is for something that a reference leads to.
    pub fn is_for(&self, (kind, name, port): &Target) -> bool {
        let fits =
            |target: &Target| (target.0, &target.1) == (*kind, name) && (target.2.is_none() || target.2 == *port);
        self.targets.iter().any(fits)
    }
}

fn target(policy: &Name, target: &TargetRef) -> Option<Target> {
    let kind = match (&*target.group, &*target.kind) {
        ("", "Service") => Kind::Service,
        (UPSTREAM_GROUP, "Upstream") => Kind::Upstream,
        _ => return None,
    };
    Some((kind, Name::new(&*policy.namespace, &*target.name), target.section_name.clone()))
}

/// The authorities that a policy trusts (those of the host if it names none), and why it trusts nobody, if it does.
type Trust = (Option<Arc<[u8]>>, Option<(&'static str, String)>);

/// What a policy trusts.
fn trusted(
    objects: &Objects,
    policy: &Name,
    validation: &Validation,
    flaws: &mut Vec<(String, &'static str, String)>,
) -> Trust {
    if let Some(set) = &validation.well_known_ca_certificates {
        if set == "System" {
            return (None, None);
        }
        let message = format!("`{set}` is no set of authorities that is known here: use System");
        flaws.push(("spec.validation.wellKnownCACertificates".to_string(), "Invalid", message.clone()));
        return (Some(Arc::new([])), Some(("Invalid", message)));
    }
    let from = Party { group: GATEWAY_GROUP, kind: Kind::BackendTlsPolicy, namespace: &policy.namespace };
    let mut found = Vec::new();
    for (index, reference) in validation.ca_certificate_refs.iter().enumerate() {
        let reference =
            Reference { group: &reference.group, kind: &reference.kind, namespace: None, name: &reference.name };
        match authorities(objects, from, reference) {
            Ok(authority) => found.push(authority),
            Err(unresolved) => {
                let reason = match unresolved {
                    Unresolved::Kind(_) => "InvalidKind",
                    Unresolved::Forbidden(_) | Unresolved::Unusable(_) => "InvalidCACertificateRef",
                };
                let field = format!("spec.validation.caCertificateRefs[{index}]");
                flaws.push((field, reason, unresolved.message().to_string()));
            }
        }
    }
    let none = || ("NoValidCACertificate", "none of the caCertificateRefs leads to authorities".to_string());
    let distrusts_all = found.is_empty().then(none);
    (Some(joined(&found)), distrusts_all)
}
