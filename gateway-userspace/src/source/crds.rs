//! The definitions of our own kinds for an API server: made from the Rust types, committed under `deploy/crds`.
//!
//! The test fails if a committed file is not what the types give; `BLESS=1 cargo test -p gateway-userspace crds` writes it
//! anew. What `validate` refuses by a field's own value the API server refuses too; what takes more than one object to see
//! is left to `translate`.

use std::{env, fs, path::Path};

use serde_json::{Value, json};

use super::address_pool::AddressPoolSpec;
use super::cluster_link::ClusterLinkSpec;
use super::reported::{AddressPoolStatus, ClusterLinkStatus, UpstreamStatus};
use super::upstream::UpstreamSpec;
use super::{Kind, schema};

/// What differs from kind to kind.
struct Definition {
    kind: Kind,
    plural: &'static str,
    short_name: &'static str,
    description: &'static str,
    /// The columns that `kubectl get` shows between the name and the age: title, type, path.
    columns: &'static [(&'static str, &'static str, &'static str)],
    spec: Value,
    status: Value,
}

fn definitions() -> [Definition; 3] {
    [
        Definition {
            kind: Kind::Upstream,
            plural: "upstreams",
            short_name: "ups",
            description: "A named list of weighted services.",
            columns: &[
                ("Type", "string", ".spec.type"),
                ("Algorithm", "string", ".spec.algorithm"),
                ("First Service", "string", ".spec.services[0].name"),
                ("Backends", "string", ".status.summary"),
                ("Resolved", "string", ".status.conditions[?(@.type=='ResolvedRefs')].reason"),
            ],
            spec: schema::of::<UpstreamSpec>(),
            status: schema::of::<UpstreamStatus>(),
        },
        Definition {
            kind: Kind::AddressPool,
            plural: "addresspools",
            short_name: "apool",
            description: "Addresses that Gateways and Services get when they ask for none.",
            columns: &[
                ("Addresses", "string", ".spec.addresses"),
                ("Priority", "integer", ".spec.priority"),
                ("Announce", "string", ".spec.announce"),
                ("Assigned", "integer", ".status.assigned"),
                ("Total", "integer", ".status.total"),
                ("Accepted", "string", ".status.conditions[?(@.type=='Accepted')].reason"),
            ],
            spec: schema::of::<AddressPoolSpec>(),
            status: schema::of::<AddressPoolStatus>(),
        },
        Definition {
            kind: Kind::ClusterLink,
            plural: "clusterlinks",
            short_name: "clink",
            description: "Another cluster, whose Services an Upstream may name.",
            columns: &[
                ("Secret", "string", ".spec.kubeconfigSecretRef.name"),
                ("Namespaces", "string", ".spec.remoteNamespaces"),
                ("Services", "integer", ".status.services"),
                ("Authorized", "string", ".status.conditions[?(@.type=='Authorized')].reason"),
                ("Connected", "string", ".status.conditions[?(@.type=='Connected')].reason"),
            ],
            spec: schema::of::<ClusterLinkSpec>(),
            status: schema::of::<ClusterLinkStatus>(),
        },
    ]
}

impl Definition {
    fn to_value(&self) -> Value {
        let kind = self.kind.name();
        let scope = if self.kind.is_namespaced() { "Namespaced" } else { "Cluster" };
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{}.beeline.dev", self.plural) },
            "spec": {
                "group": "beeline.dev",
                "names": {
                    "categories": ["beeline"],
                    "kind": kind,
                    "listKind": format!("{kind}List"),
                    "plural": self.plural,
                    "shortNames": [self.short_name],
                    "singular": kind.to_lowercase(),
                },
                "scope": scope,
                "versions": [{
                    "name": "v1alpha1",
                    "served": true,
                    "storage": true,
                    "additionalPrinterColumns": self.columns(),
                    "subresources": { "status": {} },
                    "schema": { "openAPIV3Schema": {
                        "description": self.description,
                        "type": "object",
                        "required": ["spec"],
                        "properties": { "spec": self.spec, "status": self.status },
                    }},
                }],
            },
        })
    }

    fn columns(&self) -> Vec<Value> {
        let age = ("Age", "date", ".metadata.creationTimestamp");
        let column = |(name, of, path): &(&str, &str, &str)| json!({ "name": name, "type": of, "jsonPath": path });
        self.columns.iter().chain([&age]).map(column).collect()
    }
}

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    for definition in definitions() {
        let value = definition.to_value();
        let name = format!("../deploy/crds/beeline.dev_{}.yaml", definition.plural);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        if env::var_os("BLESS").is_some() {
            let head =
                format!("# Made from the type `{}`: see gateway-userspace/src/source/crds.rs.\n", definition.kind);
            fs::write(&file, head + &serde_saphyr::to_string(&value).unwrap()).unwrap();
        }

        let committed: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();

        assert_eq!(committed, value, "run `BLESS=1 cargo test -p gateway-userspace crds`");
    }
}
