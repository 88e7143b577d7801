//! Whether the API server serves a kind, and in which version.
//!
//! Asked only after a 404, which by itself proves nothing: a proxy in front of the API server gives one, too. Objects are
//! taken for gone only if the server itself lists what it serves, and the kind is not among it. Linked clusters are never
//! asked: what is watched there every cluster has.

use std::time::Duration;

use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::allowance::Allowance;
use super::exchange::{Trouble, ask, whole};
use super::resource::Resource;

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct Collections {
    resources: Vec<Collection>,
}

#[derive(Deserialize)]
struct Collection {
    name: String,
    #[serde(default)]
    verbs: Vec<String>,
}

/// The best version of a collection that the server serves; nothing if it serves none that we understand.
pub(super) async fn served_version(
    client: &Client,
    resource: &Resource,
    patience: Duration,
) -> Result<Option<&'static str>, Trouble> {
    let Groups { groups } = document(client, "/apis", patience).await?;
    let Some(group) = groups.into_iter().find(|group| group.name == resource.group) else {
        return Ok(None);
    };
    for version in resource.versions {
        if !group.versions.iter().any(|served| served.version == *version) {
            continue;
        }
        let url = format!("/apis/{}/{version}", resource.group);
        let resources = match document::<Collections>(client, &url, patience).await {
            Ok(collections) => collections.resources,
            Err(Trouble::Missing) => continue,
            Err(trouble) => return Err(trouble),
        };
        let collection = resources.iter().find(|collection| collection.name == resource.plural);
        if collection.is_some_and(|collection| collection.verbs.iter().any(|verb| verb == "watch")) {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

async fn document<T: DeserializeOwned>(client: &Client, url: &str, patience: Duration) -> Result<T, Trouble> {
    let answer = ask(client, url, "application/json", patience).await?;
    let bytes = whole(answer, patience, &Allowance::own()).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Trouble::failed(format!("the API server does not say what it serves at `{url}`: {error}")))
}
