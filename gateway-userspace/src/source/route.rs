//! The routes of Gateway API as kinds of our own: `HTTPRoute`, `GRPCRoute`, `TLSRoute`, `TCPRoute` and `UDPRoute`.
//!
//! What they have in common is the same field for field, so one type stands for all of them, and whoever reads it knows the
//! kind from the object's identity. (The gateway-api crate has four copies of each filter, and `TCPRoute` under versions
//! that today's definitions do not serve.) Numbers are wide and choices are text here, so that a value out of range
//! becomes an error that names the field (`validate`). What no kind has is refused there, too.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use super::route_filter::{
    Cors, Filter, Header, HeaderModifier, PathModifier, Redirect, RequestMirror, UrlRewrite,
};

/// A route of any kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Name, namespace, age.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Parents and rules.
    #[serde(default)]
    pub spec: RouteSpec,
    /// Its status as it was read, which whoever writes statuses compares with; dropped when the object is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

/// What a route asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteSpec {
    /// The Gateways and `ListenerSet`s that shall serve it.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentRef>,
    /// The hosts that it is for; not of a `TCPRoute` or `UDPRoute`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// Its rules.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RouteRule>,
}

/// Who shall serve a route, as the route names it; also in statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// The API group; Gateway API's if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind; `Gateway` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The name.
    pub name: String,
    /// The namespace; the route's if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The port of the listeners that are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i64>,
    /// The name of the listener that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteRule {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Any of these is enough; without any, everything matches.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<RouteMatch>,
    /// What happens to its requests.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// Where they go.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<BackendRef>,
    /// Until when an answer must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// What is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How a client stays with its backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<Box<SessionPersistence>>,
}

/// What a request must be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteMatch {
    /// The path; of an `HTTPRoute`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// Headers.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ValueMatch>,
    /// Query parameters; of an `HTTPRoute`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<ValueMatch>,
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<MethodMatch>,
}

/// What a path must be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PathMatch {
    /// `Exact`, `PathPrefix` or `RegularExpression`; `PathPrefix` if left out.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The path; `/` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What a header or query parameter must be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValueMatch {
    /// `Exact` or `RegularExpression`; `Exact` if left out.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What a method must be, in the form of either kind of route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "not a method: an HTTPRoute takes text, a GRPCRoute service and method")]
pub enum MethodMatch {
    /// Of an `HTTPRoute`: `GET`.
    Http(String),
    /// Of a `GRPCRoute`.
    Grpc(GrpcMethodMatch),
}

/// What a gRPC method must be; what is left out may be anything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GrpcMethodMatch {
    /// `Exact` or `RegularExpression`; `Exact` if left out.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The full name of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The method's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// Where requests, connections or copies of them go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendRef {
    /// The API group; the core if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind; `Service` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The name.
    pub name: String,
    /// The namespace; the route's if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The Service's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i64>,
    /// Its share among the references of its rule; 1 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    /// What happens only to requests that go there.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
}

/// Until when an answer must be there: durations of Gateway API (GEP-2257); zero means for ever.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// From the request to the end of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Of one attempt at a backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<String>,
}

/// What is tried again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// The codes of answers.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<i64>,
    /// How often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,
    /// The least pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<String>,
}

/// How a client stays with its backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionPersistence {
    /// The name of the cookie or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
    /// `Cookie` or `Header`; `Cookie` if left out.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// When it ends in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute_timeout: Option<String>,
    /// When it ends if it is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<String>,
    /// Of a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie_config: Option<CookieConfig>,
}

/// How a cookie lives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CookieConfig {
    /// `Session` or `Permanent`; `Session` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_type: Option<String>,
}

/// Lists may be written as null.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(input: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use gateway_api::apis::experimental::grpcroutes::GrpcRouteSpec;
    use gateway_api::apis::experimental::httproutes::HttpRouteSpec;
    use gateway_api::apis::experimental::tcproutes::TcpRouteSpec;
    use gateway_api::apis::experimental::tlsroutes::TlsRouteSpec;
    use gateway_api::apis::experimental::udproutes::UdpRouteSpec;
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    const REFERENCE: &str = r#"{"group": "g", "kind": "k", "name": "n", "namespace": "ns", "port": 1, "weight": 2}"#;
    const PARENTS: &str =
        r#"[{"group": "g", "kind": "k", "name": "n", "namespace": "ns", "port": 1, "sectionName": "s"}]"#;

    /// What the crate's type makes of a spec, ours makes of it, too.
    fn reads_like<T: Serialize + DeserializeOwned>(spec: &Value) {
        let theirs: T = serde_json::from_value(spec.clone()).unwrap();
        let theirs = serde_json::to_value(&theirs).unwrap();
        assert_eq!(&theirs, spec, "the spec names all fields");

        let ours: RouteSpec = serde_json::from_value(theirs).unwrap();

        assert_eq!(&serde_json::to_value(&ours).unwrap(), spec);
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn filters() -> Value {
        let headers =
            json!({"set": [{"name": "a", "value": "b"}], "add": [{"name": "c", "value": "d"}], "remove": ["e"]});
        let path = json!({"type": "ReplaceFullPath", "replaceFullPath": "/x"});
        let mut target = value(REFERENCE);
        target.as_object_mut().unwrap().remove("weight");
        json!([
            {"type": "RequestHeaderModifier", "requestHeaderModifier": headers},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": headers},
            {"type": "RequestMirror",
             "requestMirror": {"backendRef": target, "percent": 5, "fraction": {"numerator": 1, "denominator": 3}}},
            {"type": "RequestRedirect", "requestRedirect":
             {"scheme": "https", "hostname": "h", "port": 8443, "statusCode": 308, "path": path}},
            {"type": "URLRewrite", "urlRewrite":
             {"hostname": "h", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/y"}}},
            {"type": "CORS", "cors": {"allowOrigins": ["o"], "allowMethods": ["GET"], "allowHeaders": ["h"],
             "exposeHeaders": ["e"], "allowCredentials": true, "maxAge": 5}},
            {"type": "ExtensionRef", "extensionRef": {"group": "g", "kind": "k", "name": "n"}},
        ])
    }

    #[test]
    fn an_http_route_of_the_crate_is_read_whole() {
        let mut reference = value(REFERENCE);
        reference["filters"] = filters();
        let matched = json!({
            "path": {"type": "PathPrefix", "value": "/v1"}, "method": "GET",
            "headers": [{"type": "Exact", "name": "a", "value": "b"}],
            "queryParams": [{"type": "RegularExpression", "name": "a", "value": "b"}],
        });
        reads_like::<HttpRouteSpec>(&json!({
            "parentRefs": value(PARENTS), "hostnames": ["shop.example"],
            "rules": [{
                "name": "r", "matches": [matched], "filters": filters(), "backendRefs": [reference],
                "timeouts": {"request": "1s", "backendRequest": "500ms"},
                "retry": {"codes": [500], "attempts": 2, "backoff": "10ms"},
                "sessionPersistence": {"sessionName": "s", "type": "Cookie", "absoluteTimeout": "1h", "idleTimeout": "1m",
                                       "cookieConfig": {"lifetimeType": "Permanent"}},
            }],
        }));
    }

    #[test]
    fn a_grpc_route_of_the_crate_is_read_whole() {
        let filters: Vec<Value> = filters()
            .as_array()
            .unwrap()
            .iter()
            .filter(|filter| !["CORS", "RequestRedirect", "URLRewrite"].contains(&filter["type"].as_str().unwrap()))
            .cloned()
            .collect();
        let mut reference = value(REFERENCE);
        reference["filters"] = filters.clone().into();
        reads_like::<GrpcRouteSpec>(&json!({
            "parentRefs": value(PARENTS), "hostnames": ["shop.example"],
            "rules": [{
                "name": "r", "filters": filters, "backendRefs": [reference],
                "matches": [{"method": {"type": "Exact", "service": "s", "method": "m"},
                             "headers": [{"type": "Exact", "name": "a", "value": "b"}]}],
                "sessionPersistence": {"sessionName": "s", "type": "Header"},
            }],
        }));
    }

    #[test]
    fn routes_of_connections_of_the_crate_are_read_whole() {
        let mut spec =
            json!({"parentRefs": value(PARENTS), "rules": [{"name": "r", "backendRefs": [value(REFERENCE)]}]});
        reads_like::<TcpRouteSpec>(&spec);
        reads_like::<UdpRouteSpec>(&spec);
        spec["hostnames"] = json!(["shop.example"]);
        reads_like::<TlsRouteSpec>(&spec);
    }

    #[test]
    fn a_list_may_be_null() {
        let spec: RouteSpec =
            serde_json::from_value(json!({"parentRefs": null, "rules": [{"matches": null}]})).unwrap();

        assert!(spec.parent_refs.is_empty() && spec.rules[0].matches.is_empty());
    }
}
