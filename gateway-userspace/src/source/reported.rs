//! What the status of our own kinds looks like: the schema of the definitions, and what the elected agent writes.
//!
//! What it says is decided in `translate`; nothing of it is ever read back as an input here.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How many backends an Upstream's status lists by name: objects must stay small.
pub const MAX_STATUS_BACKENDS: usize = 256;

/// The status of an `Upstream`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamStatus {
    /// Whether it is accepted, and whether all that it names was found.
    #[serde(default)]
    #[schemars(transform = keyed_by_type)]
    pub conditions: Vec<Condition>,
    /// Its backends, by cluster and name; the first 256 if there are more.
    #[serde(default)]
    #[schemars(length(max = MAX_STATUS_BACKENDS))]
    pub backends: Vec<BackendStatus>,
    /// How many backends there are.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub total: i64,
    /// How many of them get new connections.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ready: i64,
    /// Both as a text: `3/4`.
    #[serde(default)]
    pub summary: String,
}

/// One backend of an `Upstream`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// The `ClusterLink`; left out for this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The Pod's namespace and name, or the address where no Pod is known.
    pub name: String,
    /// Its address and port.
    pub address: String,
    /// Its share of new connections within the Upstream.
    #[schemars(range(min = 0, max = 65_535))]
    pub weight: i64,
    /// Whether it may get new connections.
    pub ready: bool,
}

/// The status of an `AddressPool`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressPoolStatus {
    /// Whether it is used, or stands in conflict with an older pool.
    #[serde(default)]
    #[schemars(transform = keyed_by_type)]
    pub conditions: Vec<Condition>,
    /// How many addresses it holds, as far as 63 bits can count.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub total: i64,
    /// How many of them are assigned.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub assigned: i64,
}

/// The status of a `ClusterLink`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterLinkStatus {
    /// Whether its credentials are used, and whether news come.
    #[serde(default)]
    #[schemars(transform = keyed_by_type)]
    pub conditions: Vec<Condition>,
    /// How many Services are known over there.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub services: i64,
}

/// Entries belong to whoever writes their type, so that several may write to one list.
fn keyed_by_type(schema: &mut Schema) {
    schema.insert("x-kubernetes-list-type".into(), Value::from("map"));
    schema.insert("x-kubernetes-list-map-keys".into(), json!(["type"]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_keyed_by_type() {
        let schema = schemars::schema_for!(AddressPoolStatus).to_value();

        let conditions = &schema["properties"]["conditions"];

        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
        assert_eq!(conditions["type"], "array");
    }
}
