//! Secrets and `ConfigMap`s one by one: each that something refers to has a watch of its own, and no other is ever read.
//!
//! So the agent holds nothing of foreign Secrets in memory, and a role may name the very objects that it may read: for a
//! watch of one name, `resourceNames` are enough.

use std::collections::BTreeMap;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::backoff::Pace;
use super::change::{Change, Scope};
use super::known::Wishes;
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
    /// Follows what is wanted until nobody can want anything any more. A wish with another number than before is another one,
    /// though nobody may have looked here while there was none.
    pub(super) async fn follow(self, mut wishes: watch::Receiver<Wishes>) {
        let mut running: BTreeMap<Scope, (u64, AbortHandle)> = BTreeMap::new();
        loop {
            let wanted = wishes.borrow_and_update().clone();
            running.retain(|scope, (number, task)| {
                let stays = wanted.get(scope) == Some(number);
                if !stays {
                    task.abort();
                }
                stays
            });
            for (scope, number) in wanted {
                running.entry(scope.clone()).or_insert_with(|| {
                    let resource = Resource::of(scope, "");
                    let watch = Watch::new(self.client.clone(), resource, self.news.clone(), self.pace);
                    (number, tokio::spawn(watch.follow()).abort_handle())
                });
            }
            if wishes.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc::unbounded_channel;
    use tokio::time::timeout;

    use super::*;
    use crate::kubernetes::testing::{Answer, Server, Then, end_of_beginning, pace};
    use crate::source::{Kind, Name};

    #[tokio::test]
    async fn what_was_not_wanted_for_a_moment_is_told_anew_though_nobody_looked_meanwhile() {
        let server = Server::start(|_, _| Answer::Lines(vec![end_of_beginning("1")], Then::Wait)).await;
        let (news, mut heard) = unbounded_channel();
        let scope = Scope::Named(Kind::Secret, Name::new("shop", "web").into());
        let (wish, wishes) = watch::channel(Wishes::from([(scope.clone(), 1)]));
        let referred = Referred { client: server.client(), news, pace: pace() };
        let following = tokio::spawn(referred.follow(wishes));
        let mut told = async || loop {
            let change = timeout(Duration::from_secs(10), heard.recv()).await.expect("news").unwrap();
            if let Change::Replace(scope, _) = change {
                return scope;
            }
        };
        assert_eq!(told().await, scope);

        wish.send_replace(Wishes::new());
        wish.send_replace(Wishes::from([(scope.clone(), 2)]));

        assert_eq!(told().await, scope);
        following.abort();
    }
}
