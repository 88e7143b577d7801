//! The `Upstream` resource: a named list of weighted services.
//!
//! Numbers are wide and choices are text here, so that a value out of range becomes an error that names the field
//! and the range (`validate`) and not one about integers. The bounds that stand at the fields are for API servers (`crds`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kinds::closest;

/// How many services an Upstream may name.
pub const MAX_UPSTREAM_SERVICES: usize = 20;

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

/// What an Upstream asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamSpec {
    /// `Kubernetes`, which is also the default.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Kubernetes"], "default" = "Kubernetes"))]
    pub type_: Option<String>,
    /// How a backend is selected; `WeightedRoundRobin` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["WeightedRoundRobin", "Random"], "default" = "WeightedRoundRobin"))]
    pub algorithm: Option<String>,
    /// What the backends speak: `HTTP`, `HTTPS`, `H2C`, `GRPC`, `TCP`, `UDP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["HTTP", "HTTPS", "H2C", "GRPC", "TCP", "UDP"]))]
    pub backend_type: Option<String>,
    /// The `Host` the Pods see; for HTTP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_header: Option<String>,
    /// One to twenty services.
    #[schemars(length(min = 1, max = MAX_UPSTREAM_SERVICES))]
    pub services: Vec<UpstreamService>,
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
    pub namespace: Option<String>,
    /// The Service's name.
    #[schemars(length(min = 1))]
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

const UPSTREAM: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];
const METADATA: &[&str] = &[
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
const SPEC: &[&str] = &["algorithm", "backendType", "hostHeader", "services", "type"];
const SERVICE: &[&str] = &["clusterRef", "name", "namespace", "podSelector", "port", "weight"];
const CLUSTER_REF: &[&str] = &["name"];
const SELECTOR: &[&str] = &["matchExpressions", "matchLabels"];
const EXPRESSION: &[&str] = &["key", "operator", "values"];

/// The fields of an Upstream's document that an Upstream does not have, each with what to do about it.
pub fn unknown_fields(document: &Value) -> Vec<(String, String)> {
    let mut unknown = Vec::new();
    let mut look = |value: &Value, path: &str, known: &[&str]| {
        let Some(map) = value.as_object() else { return };
        for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
            let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            unknown.push((field, advice(name, known)));
        }
    };

    look(document, "", UPSTREAM);
    look(&document["metadata"], "metadata", METADATA);
    look(&document["spec"], "spec", SPEC);
    for (index, service) in document["spec"]["services"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.services[{index}]");
        let selector = &service["podSelector"];
        look(service, &path, SERVICE);
        look(&service["clusterRef"], &format!("{path}.clusterRef"), CLUSTER_REF);
        look(selector, &format!("{path}.podSelector"), SELECTOR);
        for (number, expression) in selector["matchExpressions"].as_array().into_iter().flatten().enumerate() {
            look(expression, &format!("{path}.podSelector.matchExpressions[{number}]"), EXPRESSION);
        }
    }
    unknown
}

fn advice(name: &str, known: &[&str]) -> String {
    match closest(name, known.iter().copied()) {
        Some(meant) => format!("unknown field: did you mean `{meant}`?"),
        None => format!("unknown field: remove it, or use one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_field_is_found_at_any_depth_with_a_suggestion() {
        let document = json!({
            "apiVersion": "beeline.dev/v1alpha1", "kind": "Upstream", "metadata": {"name": "a", "lables": {}},
            "spec": {"algoritm": "Random", "services": [{"name": "a", "port": 1, "wieght": 1}]}
        });

        let unknown = unknown_fields(&document);

        assert_eq!(
            unknown,
            [
                ("metadata.lables".into(), "unknown field: did you mean `labels`?".into()),
                ("spec.algoritm".into(), "unknown field: did you mean `algorithm`?".into()),
                ("spec.services[0].wieght".into(), "unknown field: did you mean `weight`?".to_string()),
            ]
        );
    }

    #[test]
    fn every_field_an_upstream_has_is_known() {
        let service = UpstreamService {
            cluster_ref: Some(ClusterRef { name: "east".into() }),
            namespace: Some("shop".into()),
            name: "httpbin".into(),
            port: 8000,
            weight: Some(5),
            pod_selector: Some(LabelSelector::default()),
        };
        let upstream = Upstream {
            metadata: ObjectMeta::default(),
            spec: UpstreamSpec {
                type_: Some("Kubernetes".into()),
                algorithm: Some("Random".into()),
                backend_type: Some("HTTP".into()),
                host_header: Some("httpbin.internal".into()),
                services: vec![service],
            },
            status: None,
        };

        let document = serde_json::to_value(&upstream).unwrap();

        assert_eq!(unknown_fields(&document), []);
        assert_eq!(document["spec"].as_object().unwrap().len(), SPEC.len());
        assert_eq!(document["spec"]["services"][0].as_object().unwrap().len(), SERVICE.len());
    }
}
