//! Tells that kinds were defined, or are no more, so that watches of kinds that were missing look again at once; and which
//! Gateway API the cluster has, by the definition of its central kind, `HTTPRoute`.
//!
//! The first is only a hint: whoever is not allowed to see definitions, or misses one, looks again by itself after a while.

use kube::Client;
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::allowance::Allowance;
use super::backoff::{Backoff, Pace};
use super::change::Change;
use super::decode::{self, HeadMetadata};
use super::exchange::{Lines, Trouble, ask, whole};
use crate::source::Definitions;

const URL: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The definition that tells which Gateway API there is: the one that the channels differ in most.
const TELLING: &str = "httproutes.gateway.networking.k8s.io";

#[derive(Deserialize)]
struct Definition {
    metadata: HeadMetadata,
}

#[derive(Deserialize)]
struct List {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

/// Where it is told.
pub(super) struct Told {
    /// Counts up whenever a definition changes.
    pub changes: watch::Sender<u64>,
    /// Hears which Gateway API there is.
    pub news: UnboundedSender<Change>,
}

/// Follows the definitions until nobody listens any more.
pub(super) async fn follow_definitions(client: Client, told: Told, pace: Pace) {
    let mut backoff = Backoff::new(&pace);
    while !told.changes.is_closed() {
        let (seen, begun) = (*told.changes.borrow(), Instant::now());
        let outcome = told.attempt(&client, &pace).await;
        if let Err(trouble) = &outcome {
            debug!(%trouble, "definitions of kinds are not followed at present");
        }
        if (outcome.is_ok() || *told.changes.borrow() > seen) && begun.elapsed() >= pace.settled {
            backoff.reset();
        }
        sleep(backoff.next()).await;
    }
}

impl Told {
    async fn attempt(&self, client: &Client, pace: &Pace) -> Result<(), Trouble> {
        // What is there already is not asked for, but for one: watches have found that out by themselves.
        let own = Allowance::own();
        let answer = ask(client, &format!("{URL}?limit=1"), LIST, pace.answer).await?;
        let list: List = serde_json::from_slice(&whole(answer, pace.answer, &own).await?)
            .map_err(|error| Trouble::failed(format!("the API server sent something that is no list: {error}")))?;
        // Some may have come between two attempts.
        self.changes.send_modify(|count| *count += 1);
        self.tell(telling(client, pace).await?);
        let version = list.metadata.resource_version;
        let url = format!("{URL}?watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion={version}");
        let mut lines = Lines::of(ask(client, &url, ONE, pace.answer).await?, &own);
        while let Some(line) = lines.next(pace.quiet).await? {
            let head = decode::head(line).map_err(Trouble::failed)?;
            match &*head.kind {
                "ERROR" => return Err(Trouble::of(head.object.code, &head.object.message, None)),
                "BOOKMARK" => continue,
                _ => self.changes.send_modify(|count| *count += 1),
            }
            if head.object.metadata.name == TELLING {
                self.tell((head.kind != "DELETED").then(|| read(head.object.metadata)));
            }
        }
        Ok(())
    }

    fn tell(&self, definitions: Option<Definitions>) {
        // Nobody may be listening any more; then this ends soon.
        let _ = self.news.send(Change::Definitions(definitions));
    }
}

/// The definition as it is now, if there is one.
async fn telling(client: &Client, pace: &Pace) -> Result<Option<Definitions>, Trouble> {
    let answer = match ask(client, &format!("{URL}/{TELLING}"), ONE, pace.answer).await {
        Ok(answer) => whole(answer, pace.answer, &Allowance::own()).await?,
        Err(Trouble::Missing) => return Ok(None),
        Err(trouble) => return Err(trouble),
    };
    let definition: Definition = serde_json::from_slice(&answer)
        .map_err(|error| Trouble::failed(format!("the API server sent something that is no definition: {error}")))?;
    Ok(Some(read(definition.metadata)))
}

fn read(metadata: HeadMetadata) -> Definitions {
    let annotations = metadata.annotations.unwrap_or_default();
    Definitions {
        version: annotations.bundle_version.unwrap_or_default(),
        experimental: annotations.channel.as_deref() == Some("experimental"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::sync::mpsc::unbounded_channel;
    use tokio::time::timeout;

    use super::*;
    use crate::kubernetes::testing::{Answer, Server, Then, line, pace};

    fn definition(name: &str, channel: &str) -> Value {
        let annotations = json!({
            "gateway.networking.k8s.io/bundle-version": "v1.6.3",
            "gateway.networking.k8s.io/channel": channel,
        });
        json!({ "metadata": { "name": name, "resourceVersion": "8", "annotations": annotations } })
    }

    #[tokio::test]
    async fn the_channel_is_told_at_first_and_whenever_the_definition_changes() {
        let server = Server::start(|question, _| match question {
            question if question.contains("watch=true") => Answer::Lines(
                vec![
                    line("MODIFIED", &definition("gateways.gateway.networking.k8s.io", "experimental")),
                    line("MODIFIED", &definition(TELLING, "experimental")),
                    line("DELETED", &definition(TELLING, "experimental")),
                ],
                Then::Wait,
            ),
            question if question.contains(TELLING) => Answer::Json(200, definition(TELLING, "standard")),
            _ => Answer::Json(200, json!({ "metadata": { "resourceVersion": "7" }, "items": [] })),
        })
        .await;
        let (news, mut heard) = unbounded_channel();
        let (changes, _counted) = watch::channel(0);
        let following = tokio::spawn(follow_definitions(server.client(), Told { changes, news }, pace()));

        let known = |experimental| Some(Definitions { version: "v1.6.3".into(), experimental });
        for expected in [known(false), known(true), None] {
            let change = timeout(std::time::Duration::from_secs(10), heard.recv()).await.expect("news");
            assert_eq!(change, Some(Change::Definitions(expected)));
        }
        following.abort();
    }
}
