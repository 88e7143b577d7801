//! One link: its Secret, its watches, and how it does.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::secret::{Found, follow_secret};
use super::{Links, Received, Wanted};
use crate::kubernetes::allowance::Allowance;
use crate::kubernetes::backoff::Pace;
use crate::kubernetes::change::{Change, Scope};
use crate::kubernetes::resource::Resource;
use crate::kubernetes::watch::Watch;
use crate::kubernetes::{connect, kubeconfig};
use crate::source::Kind;
use crate::source::remote::LinkHealth;

/// What is watched over there.
pub(super) const KINDS: [Kind; 3] = [Kind::Service, Kind::EndpointSlice, Kind::Pod];

/// What is watched with one set of credentials. It has a channel of its own, so that nothing of an earlier cluster comes late.
struct Connection {
    /// They end when this is dropped.
    _watches: JoinSet<()>,
    news: mpsc::UnboundedReceiver<Change>,
}

/// One link.
pub(super) struct Link {
    name: String,
    wanted: Wanted,
    client: kube::Client,
    namespace: String,
    news: mpsc::UnboundedSender<Change>,
    pace: Pace,
    /// The kubeconfig that is in use, to know a new one.
    kubeconfig: Option<Vec<u8>>,
    received: Received,
    failures: BTreeMap<Scope, String>,
    health: LinkHealth,
    said: Option<LinkHealth>,
}

impl Link {
    pub(super) fn new(links: &Links, name: String, wanted: Wanted, received: Received) -> Self {
        let mut link = Self {
            name,
            wanted,
            client: links.client.clone(),
            namespace: links.namespace.clone(),
            news: links.news.clone(),
            pace: links.pace,
            kubeconfig: None,
            received,
            failures: BTreeMap::new(),
            health: LinkHealth::default(),
            said: None,
        };
        link.review(None);
        link
    }

    /// Follows the Secret and, with what it holds, the cluster.
    pub(super) async fn follow(mut self) {
        let (sender, mut secrets) = mpsc::unbounded_channel();
        // The tasks of this link end with it.
        let mut secret = JoinSet::new();
        let Wanted { secret: name, key, .. } = self.wanted.clone();
        secret.spawn(follow_secret(self.client.clone(), self.namespace.clone(), name, key, sender, self.pace));
        let mut connection: Option<Connection> = None;
        loop {
            let news = async {
                match &mut connection {
                    Some(connection) => connection.news.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(found) = secrets.recv() => {
                    if let Some(config) = self.judge(found) {
                        connection = self.connect(config);
                    } else if self.kubeconfig.is_none() {
                        connection = None;
                    }
                }
                Some(change) = news => self.pass_on(change),
                // Neither happens: the Secret is followed as long as this is, and watches do not end by themselves.
                else => return,
            }
            self.say();
        }
    }

    /// What to connect with, if the Secret says something new that is harmless.
    fn judge(&mut self, found: Found) -> Option<kube::Config> {
        let place = format!("Secret {}/{}", self.namespace, self.wanted.secret);
        let refusal = match found {
            Found::Unreadable(text) => {
                if self.kubeconfig.is_none() {
                    self.health.failure = Some(format!("{place} cannot be read: {text}"));
                }
                return None;
            }
            Found::Kubeconfig(text) if self.kubeconfig.as_ref() == Some(&text) => return None,
            Found::Kubeconfig(text) => match kubeconfig::read(&text) {
                Ok(config) => {
                    self.kubeconfig = Some(text);
                    self.health.unauthorized = None;
                    return Some(config);
                }
                Err(refused) => ("UnsafeKubeconfig", format!("{place}, key {}: {refused}", self.wanted.key)),
            },
            Found::NoSecret => {
                ("SecretNotFound", format!("{place} does not exist: make it, with the key {}", self.wanted.key))
            }
            Found::NoKey => ("SecretNotFound", format!("{place} has no key {}: add it", self.wanted.key)),
        };
        self.kubeconfig = None;
        self.failures.clear();
        self.health.failure = None;
        self.health.unauthorized = Some(refusal);
        None
    }

    /// Watches the cluster with new credentials. What watched before ends when its connection is dropped.
    fn connect(&mut self, config: kube::Config) -> Option<Connection> {
        self.failures.clear();
        self.health.failure = None;
        let client = match connect::client(config) {
            Ok(client) => client,
            Err(error) => {
                self.health.failure = Some(format!("the kubeconfig cannot be used: {error}"));
                return None;
            }
        };
        let (sender, news) = mpsc::unbounded_channel();
        let mut watches = JoinSet::new();
        let allowance = Allowance::linked();
        for scope in scopes(&self.wanted) {
            let resource = Resource::of(scope, "");
            let watch = Watch::new(client.clone(), resource, sender.clone(), self.pace);
            watches.spawn(watch.within(allowance.clone()).follow());
        }
        Some(Connection { _watches: watches, news })
    }

    /// Passes on what a watch says, and notes how it does.
    fn pass_on(&mut self, change: Change) {
        match change {
            Change::Health(scope, health) => {
                match health {
                    Ok(()) => self.failures.remove(&scope),
                    Err(text) => self.failures.insert(scope, text),
                };
                self.health.failure = self.failures.iter().next().map(|(scope, text)| format!("{scope}: {text}"));
            }
            change => {
                if let Change::Replace(scope, _) = &change {
                    self.review(Some(scope));
                }
                self.tell(Change::Remote(self.name.clone(), Box::new(change)));
            }
        }
    }

    /// Notes what was received now, if anything, and what that makes of all.
    fn review(&mut self, scope: Option<&Scope>) {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.extend(scope.cloned());
        let is_whole = |namespace: &&Arc<str>| {
            KINDS.iter().all(|&kind| received.contains(&Scope::Within(kind, (*namespace).clone())))
        };
        self.health.received = self.wanted.namespaces.iter().filter(is_whole).cloned().collect();
        self.health.synced = self.health.received == self.wanted.namespaces;
    }

    /// Says how the link does, if that is news.
    fn say(&mut self) {
        let first = self.said.is_none() && self.health == LinkHealth::default();
        if !first && self.said.as_ref() != Some(&self.health) {
            self.said = Some(self.health.clone());
            self.tell(Change::Link(self.name.clone(), self.health.clone()));
        }
    }

    fn tell(&self, change: Change) {
        // If nobody listens any more, all of this is about to end.
        let _ = self.news.send(change);
    }
}

/// Everything that is watched for a link.
fn scopes(wanted: &Wanted) -> impl Iterator<Item = Scope> {
    wanted.namespaces.iter().flat_map(|namespace| KINDS.map(|kind| Scope::Within(kind, namespace.clone())))
}
