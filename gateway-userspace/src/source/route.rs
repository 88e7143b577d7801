//! `TCPRoute` and `UDPRoute` as kinds of our own.
//!
//! The gateway-api crate has them under v1alpha2 only, which today's CRDs no longer serve. The two specs are equal
//! field for field, so one type stands for both, and whoever reads it knows the protocol from the kind.

use gateway_api::apis::experimental::tcproutes::TcpRouteSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A `TCPRoute` or a `UDPRoute`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Name, namespace, age.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Parents and rules.
    pub spec: TcpRouteSpec,
    /// Its status as it was read, which whoever writes statuses compares with; dropped when the object is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

#[cfg(test)]
mod tests {
    use gateway_api::apis::experimental::udproutes::UdpRouteSpec;

    use super::*;

    #[test]
    fn a_udp_route_says_the_same_in_the_same_fields() {
        let text = r#"{
            "parentRefs": [{"group": "g", "kind": "k", "name": "n", "namespace": "ns", "port": 1, "sectionName": "s"}],
            "rules": [{"name": "r", "backendRefs": [
                {"group": "g", "kind": "k", "name": "n", "namespace": "ns", "port": 1, "weight": 2}]}],
            "useDefaultGateways": "All"
        }"#;

        let tcp: TcpRouteSpec = serde_json::from_str(text).unwrap();
        let udp: UdpRouteSpec = serde_json::from_str(text).unwrap();

        assert_eq!(serde_json::to_value(tcp).unwrap(), serde_json::to_value(udp).unwrap());
    }
}
