//! The schema of a type of ours: what the definitions for an API server are made of, and which fields a manifest may have.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use super::kinds::closest;

/// The names of namespaces and Services, for CEL (RFC 1123).
pub const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// The names of other objects, for CEL.
pub const NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// A type's schema as API servers take it: no references, no title.
pub fn of<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::openapi3();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema.to_value()
}

/// What an API server checks of a value by itself, in CEL.
pub fn rule(condition: &str, message: &str) -> Value {
    json!([{ "rule": condition, "message": message }])
}

/// The name of an object.
pub fn check_name(schema: &mut Schema) {
    schema.insert("maxLength".into(), 253.into());
    schema.insert(
        "x-kubernetes-validations".into(),
        rule(&format!("self.matches('{NAME}')"), "use the name of an object"),
    );
}

/// The name of a namespace or a Service.
pub fn check_label(schema: &mut Schema) {
    schema.insert("maxLength".into(), 63.into());
    let message = "use 1 to 63 lower-case letters, digits and -";
    schema.insert("x-kubernetes-validations".into(), rule(&format!("self.matches('{LABEL}')"), message));
}

const OBJECT: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];
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

/// The fields of a document that its kind does not have, by the schema of its spec, each with what to do about it.
pub fn unknown_fields(document: &Value, spec: &Value) -> Vec<(String, String)> {
    let mut unknown = Vec::new();
    look_at_names(document, "", OBJECT, &mut unknown);
    look_at_names(&document["metadata"], "metadata", METADATA, &mut unknown);
    look(&document["spec"], "spec", spec, &mut unknown);
    unknown
}

/// A value's own fields, then what they hold. Maps of any key have no `properties` and are passed over.
fn look(value: &Value, path: &str, schema: &Value, unknown: &mut Vec<(String, String)>) {
    if let Some(properties) = schema["properties"].as_object() {
        let known: Vec<&str> = properties.keys().map(String::as_str).collect();
        look_at_names(value, path, &known, unknown);
        for (name, property) in properties {
            look(&value[name], &format!("{path}.{name}"), property, unknown);
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        look(item, &format!("{path}[{index}]"), &schema["items"], unknown);
    }
}

fn look_at_names(value: &Value, path: &str, known: &[&str], unknown: &mut Vec<(String, String)>) {
    let Some(map) = value.as_object() else { return };
    for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
        let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        unknown.push((field, advice(name, known)));
    }
}

fn advice(name: &str, known: &[&str]) -> String {
    match closest(name, known.iter().copied()) {
        Some(meant) => format!("unknown field: did you mean `{meant}`?"),
        None => format!("unknown field: remove it, or use one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::address_pool::AddressPoolSpec;
    use super::super::upstream::UpstreamSpec;
    use super::*;

    #[test]
    fn a_misspelt_field_is_found_at_any_depth_with_a_suggestion() {
        let document = json!({
            "apiVersion": "beeline.dev/v1alpha1", "kind": "Upstream", "metadata": {"name": "a", "lables": {}},
            "spec": {"algoritm": "Random", "services": [
                {"name": "a", "port": 1, "wieght": 1, "podSelector": {"matchLabels": {"any": "x"}, "matchLabel": {}}},
            ]}
        });

        let unknown = unknown_fields(&document, &of::<UpstreamSpec>());

        assert_eq!(
            unknown,
            [
                ("metadata.lables", "unknown field: did you mean `labels`?"),
                ("spec.algoritm", "unknown field: did you mean `algorithm`?"),
                ("spec.services[0].wieght", "unknown field: did you mean `weight`?"),
                ("spec.services[0].podSelector.matchLabel", "unknown field: did you mean `matchLabels`?"),
            ]
            .map(|(field, message)| (field.to_string(), message.to_string()))
        );
    }

    #[test]
    fn what_resembles_no_field_is_answered_by_all_of_them() {
        let unknown = unknown_fields(&json!({"spec": {"range": []}}), &of::<AddressPoolSpec>());

        let message = "unknown field: remove it, or use one of addresses, announce, namespaceSelector, priority";
        assert_eq!(unknown, [("spec.range".to_string(), message.to_string())]);
    }
}
