//! What the spec and the annotations of an owner say about the addresses it wants from a pool.

use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::endpoints::Family;
use super::{Need, SHARING_ANNOTATION};

/// The families that a Service wants. An API server always fills in `ipFamilies`; without it either one will do.
pub fn families(spec: &ServiceSpec) -> (Vec<Family>, Need) {
    let named: Vec<Family> = spec
        .ip_families
        .iter()
        .flatten()
        .filter_map(|name| [Family::V4, Family::V6].into_iter().find(|family| family.name() == name))
        .collect();
    let policy = spec.ip_family_policy.as_deref().unwrap_or("SingleStack");
    let need = match policy {
        "RequireDualStack" => Need::All,
        "PreferDualStack" => Need::Each,
        _ => Need::First,
    };
    let is_enough = !named.is_empty() && (policy == "SingleStack" || named.len() == 2);
    (if is_enough { named } else { both(&named) }, need)
}

/// Both families, those that were named first.
fn both(named: &[Family]) -> Vec<Family> {
    let others = [Family::V4, Family::V6].into_iter().filter(|family| !named.contains(family));
    named.iter().copied().chain(others).collect()
}

/// What owners have in common that share an address.
pub fn sharing_key(metadata: &ObjectMeta) -> Option<&str> {
    let key = metadata.annotations.as_ref()?.get(SHARING_ANNOTATION)?;
    Some(key.trim()).filter(|key| !key.is_empty())
}
