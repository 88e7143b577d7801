//! One Secret by its name: what its key holds, now and whenever that changes.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use kube::Client;
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};

use crate::kubernetes::allowance::Allowance;
use crate::kubernetes::backoff::{Backoff, Pace};
use crate::kubernetes::exchange::{Lines, Trouble, ask, whole};
use crate::kubernetes::resource::escaped;

const JSON: &str = "application/json";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// What the key holds.
    Kubeconfig(Vec<u8>),
    /// There is no such Secret.
    NoSecret,
    /// The Secret has no such key.
    NoKey,
    /// Nobody knows, because of this.
    Unreadable(String),
}

#[derive(Deserialize)]
struct List {
    metadata: Metadata,
    items: Option<Vec<Secret>>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Secret,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Secret {
    metadata: Metadata,
    data: Option<BTreeMap<String, ByteString>>,
    // Of an event that tells of an error.
    code: u16,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

/// Tells what the key holds, at first and after every change, until nobody listens.
pub(super) async fn follow_secret(
    client: Client,
    namespace: String,
    name: String,
    key: String,
    found: UnboundedSender<Found>,
    pace: Pace,
) {
    let path = format!("/api/v1/namespaces/{}/secrets", escaped(&namespace));
    let url = format!("{path}?fieldSelector=metadata.name%3D{}", escaped(&name));
    let mut follower = Follower { client, url, key, found, pace, last: None };
    let mut backoff = Backoff::new(&pace);
    while !follower.found.is_closed() {
        let (mut read, begun) = (false, Instant::now());
        let outcome = follower.attempt(&mut read).await;
        if read && begun.elapsed() >= pace.settled {
            backoff.reset();
        }
        if let Err(trouble) = outcome
            && !read
        {
            follower.tell(Found::Unreadable(trouble.to_string()));
        }
        sleep(backoff.next()).await;
    }
}

struct Follower {
    client: Client,
    url: String,
    key: String,
    found: UnboundedSender<Found>,
    pace: Pace,
    last: Option<Found>,
}

impl Follower {
    /// Reads the Secret, then watches it until the watch ends.
    async fn attempt(&mut self, read: &mut bool) -> Result<(), Trouble> {
        let own = Allowance::own();
        let answer = ask(&self.client, &self.url, JSON, self.pace.answer).await?;
        let bytes = whole(answer, self.pace.answer, &own).await?;
        let list: List = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
        self.take(list.items.unwrap_or_default().into_iter().next());
        *read = true;
        let version = escaped(&list.metadata.resource_version);
        let url =
            format!("{}&watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion={version}", self.url);
        let mut lines = Lines::of(ask(&self.client, &url, JSON, self.pace.answer).await?, &own);
        while let Some(line) = lines.next(self.pace.quiet).await? {
            let Event { kind, object } = serde_json::from_slice(line).map_err(|_| unreadable())?;
            match &*kind {
                "ADDED" | "MODIFIED" => self.take(Some(object)),
                "DELETED" => self.take(None),
                "ERROR" => return Err(Trouble::of(object.code, &object.message, None)),
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, secret: Option<Secret>) {
        let found = match secret {
            None => Found::NoSecret,
            Some(secret) => match secret.data.unwrap_or_default().remove(&self.key) {
                Some(ByteString(kubeconfig)) => Found::Kubeconfig(kubeconfig),
                None => Found::NoKey,
            },
        };
        self.tell(found);
    }

    fn tell(&mut self, found: Found) {
        if self.last.as_ref() != Some(&found) {
            self.last = Some(found.clone());
            // If nobody listens any more, this is about to end.
            let _ = self.found.send(found);
        }
    }
}

/// What the parser says might quote what is secret.
fn unreadable() -> Trouble {
    Trouble::failed("the API server sent something that is no Secret")
}
