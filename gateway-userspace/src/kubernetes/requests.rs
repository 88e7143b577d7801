//! Requests that write, or read one object: how it is addressed, how long an answer may take, and what went wrong.
//!
//! What is read in large numbers goes another way: see `exchange`.

use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::{Client, Error};

use super::change::Scope;
use super::resource::Resource;
use crate::source::written::STATUS_MANAGER;
use crate::source::{Kind, ObjectId};

/// The name under which all that Beeline writes is noted in an object.
pub(super) const FIELD_MANAGER: &str = STATUS_MANAGER;

/// How long one request may take. The API server's own limit is a minute; whoever waits so long has lost the lead.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A kind in the version that the server serves, if it is known to be another than the newest.
pub(super) fn resource(kind: Kind, served: Option<&str>) -> ApiResource {
    let Resource { group, versions, plural, .. } = Resource::of(Scope::All(kind), "");
    let version = served.or(versions.first().copied()).unwrap_or("v1");
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind.name()), plural)
}

/// The objects of an object's kind in its namespace.
pub(super) fn api(client: &Client, id: &ObjectId, resource: &ApiResource) -> Api<DynamicObject> {
    if id.kind.is_namespaced() {
        Api::namespaced_with(client.clone(), &id.name.namespace, resource)
    } else {
        Api::all_with(client.clone(), resource)
    }
}

/// Why a request came to nothing, as far as it makes a difference.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There is no such object.
    #[error("there is no such object")]
    Gone,
    /// Somebody was quicker.
    #[error("somebody else wrote it at the same time")]
    Conflict,
    /// The agent may not.
    #[error("forbidden: apply the ClusterRole of this version: {0}")]
    Forbidden(String),
    /// The server does not take what was sent.
    #[error("refused: {0}")]
    Invalid(String),
    /// The server wants to be left alone for some time.
    #[error("the API server is busy")]
    Busy(Duration),
    /// It did not answer, or not with sense.
    #[error("{0}")]
    Unreachable(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let Error::Api(status) = error else { return Self::Unreachable(error.to_string()) };
        match status.code {
            404 => Self::Gone,
            409 => Self::Conflict,
            403 => Self::Forbidden(status.message.clone()),
            400 | 422 => Self::Invalid(status.message.clone()),
            429 => {
                let seconds = status.details.as_ref().map_or(1, |details| details.retry_after_seconds.max(1));
                Self::Busy(Duration::from_secs(seconds.into()))
            }
            code => Self::Unreachable(format!("the API server answered {code}: {}", status.message)),
        }
    }
}

/// Waits for an answer, but not for ever.
pub(super) async fn request<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(REQUEST_TIMEOUT, future).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => Err(Failure::Unreachable(format!("no answer within {REQUEST_TIMEOUT:?}"))),
    }
}

/// A version of an object as a number. The API promises since Kubernetes 1.35 that versions can be compared so; the older
/// servers keep etcd's revisions in the same place, which can be, too.
pub(super) fn version_number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}
