//! The requests that write one object's status.
//!
//! Server-side apply where lists are keyed or ours alone: the server then knows what is ours, and takes back by itself what
//! we no longer say. The parents of a route are one list for all: they are written with the version that was read.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::parents::{List, parents};
use crate::kubernetes::requests::{FIELD_MANAGER, Failure, api, request};
use crate::kubernetes::seen::Sight;
use crate::source::ObjectId;
use crate::translate::statuses::RouteStatus;

/// How often a route's parents are read anew because somebody was quicker, before others get their turn.
const ATTEMPTS: usize = 5;

/// One writing.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) id: ObjectId,
    pub(super) resource: ApiResource,
    /// What was seen when it was decided on.
    pub(super) sight: Arc<Sight>,
    pub(super) what: What,
}

/// What is written.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// All that we have to say; what we said before and is not in it goes.
    Apply(Value),
    /// Our entries among a route's parents or a policy's ancestors; none if it has none of ours.
    Parents(List, Option<RouteStatus>),
}

impl Job {
    /// Writes, and tells what the object's status is then.
    pub(super) async fn run(self, client: Client) -> Result<Sight, Failure> {
        let api = api(&client, &self.id, &self.resource);
        match &self.what {
            What::Apply(status) => match self.apply(&api, status).await {
                Err(failure @ (Failure::Invalid(_) | Failure::Unreachable(_))) => match without_claim(status) {
                    Some(status) => self.apply(&api, &status).await,
                    None => Err(failure),
                },
                outcome => outcome,
            },
            What::Parents(list, wanted) => self.write_parents(&api, *list, wanted.as_ref()).await,
        }
    }

    async fn apply(&self, api: &Api<DynamicObject>, status: &Value) -> Result<Sight, Failure> {
        // With the UID, another object of the same name that has come meanwhile is a conflict.
        let mut document = json!({
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": { "name": self.id.name.name, "uid": self.sight.uid },
            "status": status,
        });
        if self.id.kind.is_namespaced() {
            document["metadata"]["namespace"] = json!(self.id.name.namespace);
        }
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&document);
        request(api.patch_subresource("status", &self.id.name.name, &parameters, &patch))
            .await
            .map(|object| sight(&object))
    }

    async fn write_parents(
        &self,
        api: &Api<DynamicObject>,
        list: List,
        wanted: Option<&RouteStatus>,
    ) -> Result<Sight, Failure> {
        let name = &self.id.name.name;
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_string()), ..PatchParams::default() };
        let mut seen = Sight::clone(&self.sight);
        for _ in 0..ATTEMPTS {
            let Some(parents) = parents(list, &seen.status(), wanted, &now()) else { return Ok(seen) };
            let patch = Patch::Merge(json!({
                "metadata": { "uid": seen.uid, "resourceVersion": seen.version },
                "status": { list.name: parents },
            }));
            match request(api.patch_subresource("status", name, &parameters, &patch)).await {
                Ok(object) => return Ok(sight(&object)),
                Err(Failure::Conflict) => seen = sight(&request(api.get(name)).await?),
                Err(failure) => return Err(failure),
            }
            if seen.uid != self.sight.uid {
                return Err(Failure::Gone);
            }
        }
        Err(Failure::Conflict)
    }
}

/// A status without the features that it claims, if it claims any: older definitions of Gateway API do not know that field,
/// and an API server takes nothing of what has a field that it does not know.
fn without_claim(status: &Value) -> Option<Value> {
    let mut status = status.clone();
    status.as_object_mut()?.remove("supportedFeatures")?;
    Some(status)
}

/// The time, in the whole seconds that objects have.
pub(super) fn now() -> Time {
    Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default())
}

fn sight(object: &DynamicObject) -> Sight {
    Sight::of(&object.metadata, object.data.get("status"))
}
