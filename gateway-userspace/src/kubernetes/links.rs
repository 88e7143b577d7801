//! The clusters that `ClusterLink`s lead to: what is watched there, and with which credentials.
//!
//! One task for each link, which ends with it. A link whose credentials are refused or gone watches nothing any more, but
//! what is known of its cluster stays: only deleting the link makes it unknown. One cluster never holds up another.

mod link;
mod secret;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

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

/// What was received at least once over a link. It outlives the link's task, as what is known of the cluster does.
type Received = Arc<Mutex<BTreeSet<Scope>>>;

/// A link's task.
struct Running {
    wanted: Wanted,
    task: AbortHandle,
    received: Received,
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
        let mut running: BTreeMap<String, Running> = BTreeMap::new();
        loop {
            let wanted = wishes.borrow_and_update().clone();
            running.retain(|name, link| wanted.contains_key(name) || self.unlink(name, link));
            for (name, wish) in wanted {
                let received = match running.remove(&name) {
                    Some(link) if link.wanted == wish => {
                        running.insert(name, link);
                        continue;
                    }
                    Some(link) => self.end(&name, link, &wish),
                    None => Received::default(),
                };
                let link = Link::new(&self, name.clone(), wish.clone(), Arc::clone(&received));
                let task = tokio::spawn(link.follow()).abort_handle();
                running.insert(name, Running { wanted: wish, task, received });
            }
            if wishes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends a link that nobody wants any more, so that nothing of its cluster is known; it need not be kept.
    fn unlink(&self, name: &str, link: &Running) -> bool {
        link.task.abort();
        self.tell(Change::Unlink(name.to_string()));
        false
    }

    /// Ends a link that is wanted otherwise; gives what was received and stays known.
    fn end(&self, name: &str, link: Running, wish: &Wanted) -> Received {
        link.task.abort();
        let mut received = link.received.lock().unwrap_or_else(PoisonError::into_inner);
        for namespace in link.wanted.namespaces.difference(&wish.namespaces) {
            for kind in KINDS {
                let scope = Scope::Within(kind, namespace.clone());
                received.remove(&scope);
                self.tell(Change::Remote(name.to_string(), Box::new(Change::Replace(scope, Vec::new()))));
            }
        }
        drop(received);
        link.received
    }

    fn tell(&self, change: Change) {
        // If nobody listens any more, all of this is about to end.
        let _ = self.news.send(change);
    }
}

#[cfg(test)]
mod tests;
