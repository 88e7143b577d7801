//! The `ClusterLink` resource: another cluster, whose Services an Upstream may name.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    #[schemars(length(min = 1, max = 256))]
    pub allowed_namespaces: Vec<String>,
    /// The namespaces over there whose Services may be named: only these are watched.
    #[schemars(length(min = 1, max = 64))]
    pub remote_namespaces: Vec<String>,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The key; `kubeconfig` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = DEFAULT_KUBECONFIG_KEY))]
    pub key: Option<String>,
}
