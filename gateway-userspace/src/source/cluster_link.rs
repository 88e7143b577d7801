//! The `ClusterLink` resource: another cluster, whose Services an Upstream may name.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::{LABEL, rule};

/// What stands among the allowed namespaces for all of them.
pub const ALL_NAMESPACES: &str = "*";
/// How many namespaces here a link may be open to by name.
pub const MAX_ALLOWED_NAMESPACES: usize = 256;
/// How many namespaces over there a link may have: each costs three watches.
pub const MAX_REMOTE_NAMESPACES: usize = 64;
/// The key of the Secret if none is named.
pub const DEFAULT_KUBECONFIG_KEY: &str = "kubeconfig";

/// Another cluster, cluster-scoped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterLink {
    /// Name, age.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// How to reach it, and who may.
    pub spec: ClusterLinkSpec,
    /// Its status as it was read, which whoever writes statuses compares with; dropped when the object is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

/// How to reach another cluster, and who may.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterLinkSpec {
    /// The Secret, in the agent's own namespace, that holds a kubeconfig.
    pub kubeconfig_secret_ref: SecretKeyRef,
    /// The namespaces here whose Upstreams may use the link; `*` stands for all.
    #[schemars(length(min = 1, max = MAX_ALLOWED_NAMESPACES), transform = check_allowed_namespaces)]
    pub allowed_namespaces: Vec<String>,
    /// The namespaces over there whose Services may be named: only these are watched.
    #[schemars(length(min = 1, max = MAX_REMOTE_NAMESPACES), transform = check_remote_namespaces)]
    pub remote_namespaces: Vec<String>,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(transform = super::schema::check_name)]
    pub name: String,
    /// The key; `kubeconfig` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = DEFAULT_KUBECONFIG_KEY), length(max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: Option<String>,
}

/// What an API server checks in the namespaces here.
fn check_allowed_namespaces(schema: &mut Schema) {
    let message = "use the name of a namespace, or * for all";
    check_namespaces(schema, &format!("self == '*' || self.matches('{LABEL}')"), message);
}

/// What an API server checks in the namespaces over there.
fn check_remote_namespaces(schema: &mut Schema) {
    check_namespaces(
        schema,
        &format!("self.matches('{LABEL}')"),
        "use the name of a namespace: there is no * over there",
    );
}

fn check_namespaces(schema: &mut Schema, condition: &str, message: &str) {
    schema.insert("x-kubernetes-list-type".into(), "set".into());
    if let Some(item) = schema.pointer_mut("/items") {
        item["maxLength"] = 63.into();
        item["x-kubernetes-validations"] = rule(condition, message);
    }
}
