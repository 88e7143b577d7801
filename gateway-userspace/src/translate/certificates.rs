//! What references to certificates and authorities lead to: Secrets and `ConfigMap`s, of another namespace with its word.

use std::sync::Arc;

use super::references::{Party, is_granted, missing_grant};
use crate::model::http::Certificate;
use crate::source::secret::AUTHORITIES_KEY;
use crate::source::{Kind, Name, Objects};

/// A reference, in whichever of Gateway API's many types it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference<'a> {
    pub group: &'a str,
    pub kind: &'a str,
    pub namespace: Option<&'a str>,
    pub name: &'a str,
}

/// Why a reference leads nowhere. Gateway API has other reasons for the same in each place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unresolved {
    /// It is of a kind that cannot be used.
    Kind(String),
    /// It leads to a namespace that does not allow it.
    Forbidden(String),
    /// There is no such object, or it does not hold what it should.
    Unusable(String),
}

impl Unresolved {
    /// What is wrong and what to do.
    pub fn message(&self) -> &str {
        let (Self::Kind(message) | Self::Forbidden(message) | Self::Unusable(message)) = self;
        message
    }
}

/// The certificate that a reference leads to.
pub(super) fn certificate(
    objects: &Objects,
    from: Party<'_>,
    reference: Reference<'_>,
) -> Result<Certificate, Unresolved> {
    let name = target(objects, from, reference, Kind::Secret)?;
    let Some(found) = objects.secrets.get(&name) else { return Err(missing(Kind::Secret, &name)) };
    match &found.object.0 {
        Ok(pair) => Ok(Certificate {
            origin: format!("Secret {name}"),
            chain_pem: pair.chain_pem.clone(),
            key_pem: pair.key_pem.clone(),
        }),
        Err(flaw) => Err(Unresolved::Unusable(format!("Secret {name} cannot be used: {flaw}"))),
    }
}

/// The authorities that a reference leads to, in PEM.
pub(super) fn authorities(
    objects: &Objects,
    from: Party<'_>,
    reference: Reference<'_>,
) -> Result<Arc<[u8]>, Unresolved> {
    let name = target(objects, from, reference, Kind::ConfigMap)?;
    let Some(found) = objects.config_maps.get(&name) else { return Err(missing(Kind::ConfigMap, &name)) };
    let unusable = |flaw: &String| Unresolved::Unusable(format!("ConfigMap {name} cannot be used: {flaw}"));
    found.object.0.as_ref().map(Arc::clone).map_err(unusable)
}

/// Several authorities as one text; a line's end between them, whether they had one or not.
pub(super) fn joined(authorities: &[Arc<[u8]>]) -> Arc<[u8]> {
    match authorities {
        [only] => only.clone(),
        several => several.join(&b'\n').into(),
    }
}

fn target(objects: &Objects, from: Party<'_>, reference: Reference<'_>, wanted: Kind) -> Result<Name, Unresolved> {
    let Reference { group, kind, namespace, name } = reference;
    if !group.is_empty() || kind != wanted.name() {
        let what = if wanted == Kind::Secret { "a certificate" } else { AUTHORITIES_KEY };
        let message = format!("`{kind}` of group `{group}` cannot hold {what}: use a {wanted} (group \"\")");
        return Err(Unresolved::Kind(message));
    }
    let name = Name::new(namespace.unwrap_or(from.namespace), name);
    if !is_granted(objects, from, "", wanted, &name) {
        return Err(Unresolved::Forbidden(missing_grant(from.kind, from.namespace, wanted, &name)));
    }
    Ok(name)
}

fn missing(kind: Kind, name: &Name) -> Unresolved {
    Unresolved::Unusable(format!("{kind} {name} does not exist: create it or correct the name"))
}
