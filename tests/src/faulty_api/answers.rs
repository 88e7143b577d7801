//! Which requests a fault concerns, and what it answers in the API server's place.

use std::time::Duration;

use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{Response, StatusCode, Uri};
use serde_json::{Value, json};

use super::Fault;
use super::bodies::{self, Answer};

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Talk {
    /// The plural of the kind.
    pub resource: String,
    /// Whether it asks for one object by its name.
    pub named: bool,
    /// Whether it asks for changes.
    pub watch: bool,
    /// Whether it asks for what came after a version.
    pub goes_on: bool,
}

impl Talk {
    pub fn new(uri: &Uri) -> Self {
        let mut path = uri.path().split('/').filter(|part| !part.is_empty());
        // `/api/VERSION/...` or `/apis/GROUP/VERSION/...`, then `namespaces/NAME/` if that is not what is asked for.
        let skipped = if path.next() == Some("api") { 1 } else { 2 };
        let rest: Vec<&str> = path.skip(skipped).collect();
        let rest = if rest.len() > 2 && rest[0] == "namespaces" { &rest[2..] } else { &rest[..] };
        let query = uri.query().unwrap_or_default();
        let value = |key: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key).map(|(_, v)| v)
        };
        let is_true = |key| matches!(value(key), Some("true" | "1"));
        let version = value("resourceVersion").is_some_and(|version| !version.is_empty() && version != "0");
        Self {
            resource: rest.first().copied().unwrap_or_default().to_owned(),
            named: rest.len() > 1,
            watch: is_true("watch"),
            goes_on: version && !is_true("sendInitialEvents"),
        }
    }

    /// Whether it reads all objects of a resource, now or from now on.
    fn reads_all(&self, resource: &str) -> bool {
        self.resource == resource && !self.named
    }
}

/// Whether the fault is done to this talk.
pub fn concerns(fault: &Fault, talk: &Talk) -> bool {
    match fault {
        Fault::None | Fault::Down => false,
        Fault::Slow(time) => *time > Duration::ZERO,
        Fault::TooMany(_) => true,
        Fault::CutWatches(_) => talk.watch,
        Fault::Gone => talk.watch && talk.goes_on,
        Fault::Forbidden(resource) | Fault::Intruder(resource, _) => talk.reads_all(resource),
    }
}

/// The answer in the API server's place, of a fault that concerns the talk.
pub fn instead(fault: &Fault, talk: &Talk) -> Option<Response<Answer>> {
    match fault {
        Fault::None | Fault::Down | Fault::Slow(_) | Fault::CutWatches(_) | Fault::Intruder(..) => None,
        Fault::TooMany(seconds) => {
            let text = "the server has received too many requests and has asked us to try again later";
            let mut answer = status(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", text);
            answer.headers_mut().insert(RETRY_AFTER, (*seconds).into());
            Some(answer)
        }
        Fault::Forbidden(resource) => {
            let verb = if talk.watch { "watch" } else { "list" };
            let text = format!(
                "{resource} is forbidden: User \"system:serviceaccount:beeline-system:beeline-agent\" cannot {verb} \
                 resource \"{resource}\" at the cluster scope"
            );
            Some(status(StatusCode::FORBIDDEN, "Forbidden", &text))
        }
        Fault::Gone => {
            // The API server opens such a watch and says it there.
            let object = object(StatusCode::GONE, "Expired", "too old resource version: 1 (2)");
            let event = json!({ "type": "ERROR", "object": object });
            Some(json_answer(StatusCode::OK, &format!("{event}\n")))
        }
    }
}

/// An answer that is a `Status`.
pub fn status(code: StatusCode, reason: &str, message: &str) -> Response<Answer> {
    json_answer(code, &object(code, reason, message).to_string())
}

fn object(code: StatusCode, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code.as_u16(),
    })
}

fn json_answer(code: StatusCode, text: &str) -> Response<Answer> {
    let mut answer = Response::new(bodies::text(text));
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(uri: &str) -> Talk {
        Talk::new(&uri.parse().unwrap())
    }

    #[test]
    fn a_request_is_about_the_resource_at_the_end_of_its_path() {
        assert_eq!(talk("/api/v1/services").resource, "services");
        assert_eq!(talk("/api/v1/namespaces").resource, "namespaces");
        assert!(talk("/api/v1/namespaces/shop").named);
        assert_eq!(talk("/api/v1/namespaces/shop/pods").resource, "pods");
        assert_eq!(talk("/apis/discovery.k8s.io/v1/endpointslices?limit=500").resource, "endpointslices");
        let lease = talk("/apis/coordination.k8s.io/v1/namespaces/beeline-system/leases/beeline-leader");
        assert_eq!((lease.resource.as_str(), lease.named), ("leases", true));
    }

    #[test]
    fn only_a_watch_from_a_version_on_can_be_too_late() {
        let late = |uri: &str| concerns(&Fault::Gone, &talk(uri));

        assert!(late("/api/v1/pods?watch=true&resourceVersion=77"));
        assert!(!late("/api/v1/pods?watch=true&resourceVersion=0"));
        assert!(!late("/api/v1/pods?watch=true&sendInitialEvents=true&resourceVersion=77"));
        assert!(!late("/api/v1/pods?resourceVersion=77"));
    }

    #[test]
    fn what_is_forbidden_is_one_resource() {
        let fault = Fault::Forbidden("services");

        assert!(concerns(&fault, &talk("/api/v1/services?limit=500")));
        assert!(!concerns(&fault, &talk("/api/v1/pods?limit=500")));
        assert_eq!(instead(&fault, &talk("/api/v1/services")).unwrap().status(), StatusCode::FORBIDDEN);
    }
}
