//! `BackendTLSPolicy`: that the backends of a Service speak TLS, and whom they have to prove to be.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::route::or_default;

/// How TLS is made to the backends of Services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackendTlsPolicy {
    /// Name, namespace, age.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// The Services and the TLS.
    pub spec: BackendTlsPolicySpec,
    /// Its status as it was read, which whoever writes statuses compares with; dropped when the object is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

/// What a policy asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicySpec {
    /// The Services of the policy's namespace, or single ports of them.
    pub target_refs: Vec<TargetRef>,
    /// Whom backends have to prove to be.
    pub validation: Validation,
}

/// A Service or one port of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// The API group; empty for a Service.
    pub group: String,
    /// `Service`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The name of one of its ports; all of them if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// Whom backends have to prove to be, and to whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// `ConfigMap`s with authorities, of the policy's namespace.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub ca_certificate_refs: Vec<TargetRef>,
    /// `System`: the authorities that the host trusts.
    #[serde(rename = "wellKnownCACertificates", skip_serializing_if = "Option::is_none")]
    pub well_known_ca_certificates: Option<String>,
    /// The name in SNI, which the certificate must have unless others are named.
    pub hostname: String,
    /// The names of which the certificate must have one.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<SubjectAltName>,
}

/// A name in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubjectAltName {
    /// `Hostname` or `URI`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// A URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_says_again_what_was_read() {
        let spec = serde_json::json!({
            "targetRefs": [{"group": "", "kind": "Service", "name": "n", "sectionName": "s"}],
            "validation": {
                "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "n"}], "hostname": "h",
                "wellKnownCACertificates": "System",
                "subjectAltNames": [{"type": "Hostname", "hostname": "h"}, {"type": "URI", "uri": "spiffe://x"}],
            },
        });

        let ours: BackendTlsPolicySpec = serde_json::from_value(spec.clone()).unwrap();

        assert_eq!(serde_json::to_value(&ours).unwrap(), spec);
    }
}
