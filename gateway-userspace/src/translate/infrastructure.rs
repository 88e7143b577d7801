//! The Service that stands for a Gateway among the objects of its namespace: what it is called and what it bears.
//!
//! Names and labels are those of Gateway API (GEP-1762). No traffic goes through it; it gives what a Gateway's
//! `spec.infrastructure` asks for a place where others find it.

use std::collections::BTreeMap;

use gateway_api::apis::experimental::gateways::Gateway;

use super::statuses::StandIn;
use crate::model::fingerprint;

/// The label by which objects that were made for a Gateway are found.
pub const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

const MANAGED_BY_LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "beeline");

/// How long the name of a Service and the value of a label may be.
const LONGEST: usize = 63;

/// The Service that stands for a Gateway.
pub(super) fn stand_in(name: &str, gateway: &Gateway) -> StandIn {
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let asked = |map: Option<&BTreeMap<String, String>>| map.cloned().unwrap_or_default();
    let mut labels = asked(infrastructure.and_then(|infrastructure| infrastructure.labels.as_ref()));
    labels.insert(GATEWAY_NAME_LABEL.to_string(), label_value(name));
    labels.insert(MANAGED_BY_LABEL.0.to_string(), MANAGED_BY_LABEL.1.to_string());
    StandIn {
        name: service_name(name, &gateway.spec.gateway_class_name),
        labels,
        annotations: asked(infrastructure.and_then(|infrastructure| infrastructure.annotations.as_ref())),
    }
}

/// `GATEWAY-CLASS`, unless that cannot name a Service: names of Gateways may begin with a digit, have dots and be long.
fn service_name(gateway: &str, class: &str) -> String {
    let full = format!("{gateway}-{class}");
    let is_fit = full.starts_with(|first: char| first.is_ascii_lowercase()) && !full.contains('.');
    if is_fit && full.len() <= LONGEST {
        return full;
    }
    shortened(&format!("gateway-{}", full.replace('.', "-")), &full)
}

fn label_value(gateway: &str) -> String {
    if gateway.len() <= LONGEST { gateway.to_string() } else { shortened(gateway, gateway) }
}

/// The beginning of a text, and what tells it from others that begin alike.
fn shortened(text: &str, whole: &str) -> String {
    let end = format!("-{:016x}", fingerprint(whole));
    let begin = &text[..text.floor_char_boundary(LONGEST - end.len())];
    format!("{}{end}", begin.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_bears_what_the_gateway_asks_for_and_whose_it_is() {
        let gateway = serde_json::json!({
            "metadata": { "name": "edge" },
            "spec": {
                "gatewayClassName": "beeline",
                "infrastructure": {
                    "labels": { "team": "web", GATEWAY_NAME_LABEL: "another" },
                    "annotations": { "note": "a" },
                },
                "listeners": [],
            },
        });

        let service = stand_in("edge", &serde_json::from_value(gateway).unwrap());

        let text =
            |map: BTreeMap<String, String>| map.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let (labels, annotations): (Vec<String>, Vec<String>) = (text(service.labels), text(service.annotations));
        let ours = ["app.kubernetes.io/managed-by=beeline", "gateway.networking.k8s.io/gateway-name=edge", "team=web"];
        assert_eq!((labels, annotations), (ours.map(String::from).into(), vec!["note=a".to_string()]));
        assert_eq!(service.name, "edge-beeline");
    }

    #[test]
    fn the_service_is_named_for_gateway_and_class() {
        assert_eq!(service_name("edge", "beeline"), "edge-beeline");
    }

    #[test]
    fn a_gateway_whose_name_no_service_may_have_gets_one_that_is_its_own() {
        let long = "a".repeat(200);
        let names = ["edge.example", "edge-example.", "1edge", &long, &format!("{long}b")];

        let services: Vec<String> = names.iter().map(|name| service_name(name, "beeline")).collect();

        for service in &services {
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(service.starts_with("gateway-") && service.chars().all(is_plain), "{service}");
            assert!(service.len() <= LONGEST, "{service}");
        }
        assert_eq!(services.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn the_label_has_the_whole_name_where_it_fits() {
        assert_eq!(label_value("edge.example"), "edge.example");
        assert_eq!(label_value(&"a".repeat(200)).len(), LONGEST);
    }
}
