//! Secrets and `ConfigMap`s one by one: each that something refers to has a watch of its own, and no other is ever read.
//!
//! So the agent holds nothing of foreign Secrets in memory, and a role may name the very objects that it may read: for a
//! watch of one name, `resourceNames` are enough.

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::backoff::Pace;
use super::change::{Change, Scope};
use super::resource::Resource;
use super::watch::Watch;

/// Keeps one watch for each object that is wanted.
pub(super) struct Referred {
    pub client: Client,
    /// Where everything is told.
    pub news: mpsc::UnboundedSender<Change>,
    /// How fast to try again.
    pub pace: Pace,
}

impl Referred {
    /// Follows what is wanted until nobody can want anything any more.
    pub(super) async fn follow(self, mut wishes: watch::Receiver<BTreeSet<Scope>>) {
        let mut running: BTreeMap<Scope, AbortHandle> = BTreeMap::new();
        loop {
            let wanted = wishes.borrow_and_update().clone();
            running.retain(|scope, task| {
                let stays = wanted.contains(scope);
                if !stays {
                    task.abort();
                }
                stays
            });
            for scope in wanted {
                running.entry(scope.clone()).or_insert_with(|| {
                    let resource = Resource::of(scope, "");
                    let watch = Watch::new(self.client.clone(), resource, self.news.clone(), self.pace);
                    tokio::spawn(watch.follow()).abort_handle()
                });
            }
            if wishes.changed().await.is_err() {
                return;
            }
        }
    }
}
