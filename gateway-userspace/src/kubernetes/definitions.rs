//! Tells that kinds were defined, or are no more, so that watches of kinds that were missing look again at once.
//!
//! Only a hint: whoever is not allowed to see definitions, or misses one, looks again by itself after a while.

use kube::Client;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::allowance::Allowance;
use super::backoff::{Backoff, Pace};
use super::decode;
use super::exchange::{Lines, Trouble, ask, whole};

const URL: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

#[derive(Deserialize)]
struct List {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

/// Counts up whenever a definition changes, until nobody listens any more.
pub(super) async fn follow_definitions(client: Client, changes: watch::Sender<u64>, pace: Pace) {
    let mut backoff = Backoff::new(&pace);
    while !changes.is_closed() {
        let (seen, begun) = (*changes.borrow(), Instant::now());
        let outcome = attempt(&client, &changes, &pace).await;
        if let Err(trouble) = &outcome {
            debug!(%trouble, "definitions of kinds are not followed at present");
        }
        if (outcome.is_ok() || *changes.borrow() > seen) && begun.elapsed() >= pace.settled {
            backoff.reset();
        }
        sleep(backoff.next()).await;
    }
}

async fn attempt(client: &Client, changes: &watch::Sender<u64>, pace: &Pace) -> Result<(), Trouble> {
    // What is there already is not asked for: watches have found that out by themselves.
    let own = Allowance::own();
    let answer = ask(client, &format!("{URL}?limit=1"), LIST, pace.answer).await?;
    let list: List = serde_json::from_slice(&whole(answer, pace.answer, &own).await?)
        .map_err(|error| Trouble::failed(format!("the API server sent something that is no list: {error}")))?;
    // Some may have come between two attempts.
    changes.send_modify(|count| *count += 1);
    let version = list.metadata.resource_version;
    let url = format!("{URL}?watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion={version}");
    let mut lines = Lines::of(ask(client, &url, ONE, pace.answer).await?, &own);
    while let Some(line) = lines.next(pace.quiet).await? {
        let head = decode::head(line).map_err(Trouble::failed)?;
        match &*head.kind {
            "ERROR" => return Err(Trouble::of(head.object.code, &head.object.message, None)),
            "BOOKMARK" => {}
            _ => changes.send_modify(|count| *count += 1),
        }
    }
    Ok(())
}
