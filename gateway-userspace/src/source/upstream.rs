//! The `Upstream` resource: a named list of weighted services.
//!
//! Numbers are wide and choices are text here, so that a value out of range becomes an error that names the field
//! and the range (`validate`) and not one about integers. The bounds that stand at the fields are for API servers (`crds`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How many services an Upstream may name.
pub const MAX_UPSTREAM_SERVICES: usize = 20;

/// How a backend is selected.
pub const ALGORITHMS: [&str; 4] = ["WeightedRoundRobin", "Random", "LeastConnections", "Maglev"];

/// Versions of the PROXY protocol.
pub const PROXY_VERSIONS: [&str; 2] = ["V1", "V2"];

/// A named list of weighted services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// Name, namespace, labels.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is asked for.
    pub spec: UpstreamSpec,
    /// Its status as it was read, which whoever writes statuses compares with; dropped when the object is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

/// A host with or without a port.
const HOST: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*(:[1-9][0-9]{0,4})?$";

/// The name of a header or a cookie (RFC 9110, 5.6.2).
const TOKEN: &str = "^[-!#$%&'*+.^_`|~0-9A-Za-z]+$";

/// A duration as Gateway API has it (GEP-2257).
const DURATION: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// A status or a range of them.
const STATUSES: &str = "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$";

/// What an Upstream asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.hostHeader) || !has(self.backendType) || !(self.backendType in ['TCP', 'UDP'])",
    "message": "TCP and UDP have no Host header: leave hostHeader out or change backendType",
}, {
    "rule": "!has(self.hash) || (has(self.algorithm) && self.algorithm == 'Maglev')",
    "message": "hash is for Maglev alone: leave it out or change algorithm",
}, {
    "rule": "!has(self.healthCheck) || !has(self.backendType) || !(self.backendType in ['TCP', 'UDP'])",
    "message": "TCP and UDP have no requests to check by: leave healthCheck out or change backendType",
}]))]
pub struct UpstreamSpec {
    /// `Kubernetes`, which is also the default.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Kubernetes"], "default" = "Kubernetes"))]
    pub type_: Option<String>,
    /// How a backend is selected; `WeightedRoundRobin` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ALGORITHMS, "default" = "WeightedRoundRobin"))]
    pub algorithm: Option<String>,
    /// What stays with its backend by `Maglev`; the client's address if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<UpstreamHash>,
    /// What the backends speak: `HTTP`, `HTTPS`, `H2C`, `GRPC`, `TCP`, `UDP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["HTTP", "HTTPS", "H2C", "GRPC", "TCP", "UDP"]))]
    pub backend_type: Option<String>,
    /// The `Host` the Pods see; for HTTP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 259), regex(pattern = HOST))]
    pub host_header: Option<String>,
    /// The PROXY protocol that each connection to a Pod begins with: `V1` or `V2`; for HTTP and TLS listeners.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = PROXY_VERSIONS))]
    pub proxy_protocol: Option<String>,
    /// How Pods are asked whether they can serve requests, beside their own probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<UpstreamHealthCheck>,
    /// One to twenty services.
    #[schemars(length(min = 1, max = MAX_UPSTREAM_SERVICES))]
    pub services: Vec<UpstreamService>,
}

/// A header or a cookie; where a request has none, its client's address is taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct UpstreamHash {
    /// The header's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = TOKEN))]
    pub header: Option<String>,
    /// The cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<HashCookie>,
}

/// A cookie.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HashCookie {
    /// Its name.
    #[schemars(length(max = 256), regex(pattern = TOKEN))]
    pub name: String,
}

/// A request that each Pod has to answer as expected, again and again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamHealthCheck {
    /// What is asked for, by GET: `/healthz`.
    #[schemars(length(max = 1024), regex(pattern = "^/[!-~]*$"))]
    pub path: String,
    /// The `Host` that the Pods see; hostHeader, or the Pod's address, if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 259), regex(pattern = HOST))]
    pub host: Option<String>,
    /// From one check to the next: 10s if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DURATION))]
    pub interval: Option<String>,
    /// How long an answer may take, no longer than the interval: 2s if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DURATION))]
    pub timeout: Option<String>,
    /// Checks in a row that must pass until a Pod that failed gets requests again: 2 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub healthy_threshold: Option<i64>,
    /// Checks in a row that must fail until a Pod gets none, unless all fail: 3 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy_threshold: Option<i64>,
    /// The statuses that pass, each a number or a range: `200-399` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(regex(pattern = STATUSES)))]
    pub expected_statuses: Option<Vec<String>>,
}

/// One service of an Upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamService {
    /// The cluster it lives in; this one if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterRef>,
    /// The Service's namespace; the Upstream's if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = super::schema::check_label)]
    pub namespace: Option<String>,
    /// The Service's name.
    #[schemars(transform = super::schema::check_label)]
    pub name: String,
    /// The Service's port.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i64,
    /// The weight of each of its Pods that has none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65_535))]
    pub weight: Option<i64>,
    /// Narrows the Service's Pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = check_selector)]
    pub pod_selector: Option<LabelSelector>,
}

/// Another cluster, by the name of its `ClusterLink`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterRef {
    /// The `ClusterLink`'s name.
    #[schemars(transform = super::schema::check_name)]
    pub name: String,
}

/// What an API server checks in a selector, beyond what Kubernetes' own schema says. A rule in CEL would need a bound on
/// the number of expressions.
pub(super) fn check_selector(schema: &mut Schema) {
    if let Some(expression) = schema.pointer_mut("/properties/matchExpressions/items") {
        expression["oneOf"] = json!([
            {
                "properties": { "operator": { "enum": ["In", "NotIn"] }, "values": { "minItems": 1 } },
                "required": ["values"],
            },
            { "properties": { "operator": { "enum": ["Exists", "DoesNotExist"] }, "values": { "maxItems": 0 } } },
        ]);
    }
}
