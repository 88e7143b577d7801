//! The clusters that `ClusterLink`s lead to: what is watched there, and with which credentials.
//!
//! One task for each link, which ends with it. A link whose credentials are refused or gone watches nothing any more, but
//! what is known of its cluster stays: only deleting the link makes it unknown. One cluster never holds up another.

mod link;
mod secret;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use self::link::{KINDS, Link};
use super::backoff::Pace;
use super::change::{Change, Scope};
use crate::source::Objects;
use crate::source::cluster_link::{DEFAULT_KUBECONFIG_KEY, SecretKeyRef};

/// What of a link decides what is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The name of the Secret.
    pub secret: String,
    /// The key of the Secret that holds the kubeconfig.
    pub key: String,
    /// The namespaces over there.
    pub namespaces: BTreeSet<Arc<str>>,
}

/// The links that there are, by name.
pub(super) fn wanted(objects: &Objects) -> BTreeMap<String, Wanted> {
    let links = objects.cluster_links.iter().map(|(name, link)| {
        let spec = &link.object.spec;
        let SecretKeyRef { name: secret, key } = spec.kubeconfig_secret_ref.clone();
        let key = key.unwrap_or_else(|| DEFAULT_KUBECONFIG_KEY.to_string());
        let namespaces = spec.remote_namespaces.iter().map(|namespace| namespace.as_str().into()).collect();
        (name.name.clone(), Wanted { secret, key, namespaces })
    });
    links.collect()
}

/// Keeps one task for each link.
pub(super) struct Links {
    /// The API server of this cluster, which has the Secrets.
    pub client: Client,
    /// The agent's own namespace: Secrets of others are none of its business.
    pub namespace: String,
    /// Where everything is told.
    pub news: mpsc::UnboundedSender<Change>,
    /// How fast to try again.
    pub pace: Pace,
}

impl Links {
    /// Follows what is wanted until nobody can want anything any more.
    pub(super) async fn follow(self, mut wishes: watch::Receiver<BTreeMap<String, Wanted>>) {
        let mut running: BTreeMap<String, (Wanted, AbortHandle)> = BTreeMap::new();
        loop {
            let wanted = wishes.borrow_and_update().clone();
            running.retain(|name, (known, task)| self.keep(name, known, task, wanted.get(name)));
            for (name, wish) in wanted {
                running.entry(name.clone()).or_insert_with(|| {
                    let link = Link::new(&self, name, wish.clone());
                    (wish, tokio::spawn(link.follow()).abort_handle())
                });
            }
            if wishes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether a link's task may go on; ends it if not.
    fn keep(&self, name: &str, known: &Wanted, task: &AbortHandle, wish: Option<&Wanted>) -> bool {
        if wish == Some(known) {
            return true;
        }
        task.abort();
        let Some(wish) = wish else {
            self.tell(Change::Unlink(name.to_string()));
            return false;
        };
        for namespace in known.namespaces.difference(&wish.namespaces) {
            for kind in KINDS {
                let nothing = Change::Replace(Scope::Within(kind, namespace.clone()), Vec::new());
                self.tell(Change::Remote(name.to_string(), Box::new(nothing)));
            }
        }
        false
    }

    fn tell(&self, change: Change) {
        // If nobody listens any more, all of this is about to end.
        let _ = self.news.send(change);
    }
}

#[cfg(test)]
mod tests;
