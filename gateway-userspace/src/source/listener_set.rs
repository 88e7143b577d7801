//! `ListenerSet`: listeners that are added to those of a Gateway, by others than its owner.
//!
//! A listener is the same there as in a Gateway, so the Gateway's type stands for both.

use gateway_api::apis::experimental::gateways::GatewayListeners;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::route::ParentRef;

/// Listeners that are added to those of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListenerSet {
    /// Name, namespace, age.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// The Gateway and the listeners.
    pub spec: ListenerSetSpec,
    /// Its status as it was read, which whoever writes statuses compares with; dropped when the object is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

/// What a `ListenerSet` asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetSpec {
    /// The Gateway.
    pub parent_ref: ParentRef,
    /// The listeners.
    pub listeners: Vec<GatewayListeners>,
}

#[cfg(test)]
mod tests {
    use gateway_api::apis::experimental::listenersets::ListenerSetSpec as Theirs;

    use super::*;

    #[test]
    fn a_listener_set_of_the_crate_is_read_whole() {
        let spec = serde_json::json!({
            "parentRef": {"group": "g", "kind": "k", "name": "n", "namespace": "ns"},
            "listeners": [{
                "name": "l", "port": 443, "protocol": "HTTPS", "hostname": "shop.example",
                "tls": {"mode": "Terminate", "options": {"a": "b"},
                        "certificateRefs": [{"group": "", "kind": "Secret", "name": "n", "namespace": "ns"}]},
                "allowedRoutes": {
                    "kinds": [{"group": "g", "kind": "HTTPRoute"}],
                    "namespaces": {"from": "Selector", "selector": {
                        "matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}},
                },
            }],
        });
        let theirs: Theirs = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(serde_json::to_value(&theirs).unwrap(), spec, "the spec names all fields");

        let ours: ListenerSetSpec = serde_json::from_value(spec.clone()).unwrap();

        assert_eq!(serde_json::to_value(&ours).unwrap(), spec);
    }
}
