//! The `AddressPool` resource: addresses that Gateways and Services get when they ask for none.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A pool of addresses, cluster-scoped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AddressPool {
    /// Name, age.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What it holds and for whom.
    pub spec: AddressPoolSpec,
    /// Its status as it was read, which whoever writes statuses compares with; dropped when the object is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

/// What a pool holds and for whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressPoolSpec {
    /// CIDRs (`192.0.2.0/24`, `2001:db8::/120`) and ranges (`192.0.2.10-192.0.2.20`) of both families.
    #[schemars(length(min = 1, max = 64))]
    pub addresses: Vec<String>,
    /// The namespaces whose objects may use the pool; all if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = super::upstream::check_selector)]
    pub namespace_selector: Option<LabelSelector>,
    /// Pools of higher priority are used first; 0 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 0))]
    pub priority: Option<i32>,
}
