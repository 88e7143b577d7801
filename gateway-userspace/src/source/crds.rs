//! The definitions of our own kinds for an API server: made from the Rust types, committed under `deploy/crds`.
//!
//! The test fails if a committed file is not what the types give; `BLESS=1 cargo test -p gateway-userspace crds` writes it
//! anew. What `validate` refuses by a field's own value the API server refuses too; what takes more than one object to see
//! is left to `translate`.

use std::{env, fs, path::Path};

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::{reported::UpstreamStatus, upstream::UpstreamSpec, validate};

/// The columns that `kubectl get upstreams` shows after the name.
fn upstream_columns() -> Value {
    json!([
        { "name": "Type", "type": "string", "jsonPath": ".spec.type" },
        { "name": "Algorithm", "type": "string", "jsonPath": ".spec.algorithm" },
        { "name": "First Service", "type": "string", "jsonPath": ".spec.services[0].name" },
        { "name": "Backends", "type": "string", "jsonPath": ".status.summary" },
        { "name": "Resolved", "type": "string", "jsonPath": ".status.conditions[?(@.type=='ResolvedRefs')].status" },
        { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
    ])
}

fn upstream() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "upstreams.beeline.dev" },
        "spec": {
            "group": "beeline.dev",
            "names": {
                "categories": ["beeline"],
                "kind": "Upstream",
                "listKind": "UpstreamList",
                "plural": "upstreams",
                "shortNames": ["ups"],
                "singular": "upstream",
            },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1alpha1",
                "served": true,
                "storage": true,
                "additionalPrinterColumns": upstream_columns(),
                "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": {
                    "description": "A named list of weighted services.",
                    "type": "object",
                    "required": ["spec"],
                    "properties": { "spec": schema::<UpstreamSpec>(), "status": schema::<UpstreamStatus>() },
                }},
            }],
        },
    })
}

/// A type's schema as API servers take it: no references, no title.
fn schema<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::openapi3();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema.to_value()
}

#[test]
fn the_committed_definition_of_upstreams_is_the_one_of_the_type() {
    let definition = upstream();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds/beeline.dev_upstreams.yaml");
    if env::var_os("BLESS").is_some() {
        let text = serde_saphyr::to_string(&definition).unwrap();
        fs::write(&file, format!("# Made from the type `Upstream`: see gateway-userspace/src/source/crds.rs.\n{text}"))
            .unwrap();
    }

    let committed: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();

    assert_eq!(committed, definition, "run `BLESS=1 cargo test -p gateway-userspace crds`");
}

#[test]
fn every_algorithm_of_the_definition_is_one_that_is_served() {
    let spec = schema::<UpstreamSpec>();
    let names = spec["properties"]["algorithm"]["enum"].as_array().unwrap();

    for name in names {
        assert!(validate::parse_algorithm(name.as_str().unwrap()).is_ok(), "{name}");
    }
}
