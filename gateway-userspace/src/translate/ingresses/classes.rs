//! Whose an Ingress is: ours by its class, by the older annotation, by the default, or by Tencent's annotation.

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use super::{INGRESS_CLASS, INGRESS_CONTROLLER, annotation};
use crate::source::ingress::{CLASS_ANNOTATION, DEFAULT_CLASS_ANNOTATION, DIRECT_ACCESS_ANNOTATION};
use crate::source::validate::ADDRESSES_ANNOTATION;
use crate::source::{Name, Objects, Sourced};

/// The class of Ingresses that Tencent's TKE serves.
const TENCENT_CLASS: &str = "qcloud";

/// Whose address an Ingress has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Belonging {
    /// That of its class.
    Class(String),
    /// Its own.
    Itself,
}

/// The classes there are.
pub(super) struct Classes<'a> {
    objects: &'a Objects,
    /// Whether Tencent's annotation is ours to follow.
    adopts_tencent: bool,
    default: Option<&'a Name>,
}

impl<'a> Classes<'a> {
    pub fn new(objects: &'a Objects, adopts_tencent: bool) -> Self {
        Self { objects, adopts_tencent, default: default_class(objects) }
    }

    /// Whose address an Ingress has; nobody's, if it is none of ours.
    pub fn belonging(&self, ingress: &Ingress) -> Option<Belonging> {
        let in_spec = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
        let named = annotation(&ingress.metadata, CLASS_ANNOTATION).or(in_spec).filter(|class| !class.is_empty());
        let class = named.or_else(|| self.default.map(|name| &*name.name))?;
        let is_direct = annotation(&ingress.metadata, DIRECT_ACCESS_ANNOTATION) == Some("true");
        if self.adopts_tencent && is_direct && named == Some(TENCENT_CLASS) {
            return Some(Belonging::Itself);
        }
        if !self.is_ours(class) {
            return None;
        }
        if is_direct || annotation(&ingress.metadata, ADDRESSES_ANNOTATION).is_some() {
            return Some(Belonging::Itself);
        }
        Some(Belonging::Class(class.to_string()))
    }

    /// A class without an object, as in a folder, is ours by its name.
    fn is_ours(&self, class: &str) -> bool {
        match self.objects.ingress_classes.get(&Name::new("", class)) {
            Some(found) => {
                found.object.spec.as_ref().and_then(|spec| spec.controller.as_deref()) == Some(INGRESS_CONTROLLER)
            }
            None => class == INGRESS_CLASS,
        }
    }
}

/// Of several default classes the newest, then the first by name: what the API server puts into new Ingresses.
fn default_class(objects: &Objects) -> Option<&Name> {
    let is_default =
        |found: &Sourced<IngressClass>| annotation(&found.object.metadata, DEFAULT_CLASS_ANNOTATION) == Some("true");
    let defaults = objects.ingress_classes.iter().filter(|(_, found)| is_default(found));
    let newest = defaults.max_by(|(name, one), (other_name, other)| {
        let created = |found: &Sourced<IngressClass>| found.object.metadata.creation_timestamp.clone();
        created(one).cmp(&created(other)).then_with(|| other_name.cmp(name))
    });
    newest.map(|(name, _)| name)
}
