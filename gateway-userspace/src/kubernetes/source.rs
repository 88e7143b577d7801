//! The Kubernetes API as a source: what `FolderSource` is for a folder.
//!
//! The watching happens on a thread of its own with a runtime of its own; here its news are taken in, when the owner asks
//! for them. What they add up to is `known`'s business. Dropping the source ends the thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::Context;
use kube::Client;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::backoff::Pace;
use super::change::{Change, Scope};
use super::connect::{self, Settings};
use super::definitions::{Told, follow_definitions};
use super::known::{self, Known, News};
use super::links::{self, Links, Wanted};
use super::referred::Referred;
use super::resource::Resource;
use super::seen::Seen;
use super::status::{self, Status};
use super::watch::Watch;
use crate::source::remote::LinkHealth;
use crate::source::{Kind, ObjectId, Objects, Problem};
use crate::translate::referred;

/// What is watched, Services and what stands behind them first.
const SCOPES: [Scope; 21] = [
    Scope::All(Kind::Service),
    Scope::All(Kind::EndpointSlice),
    Scope::LocalPods,
    Scope::All(Kind::Pod),
    Scope::All(Kind::Namespace),
    Scope::All(Kind::Node),
    Scope::All(Kind::GatewayClass),
    Scope::All(Kind::Gateway),
    Scope::All(Kind::TcpRoute),
    Scope::All(Kind::UdpRoute),
    Scope::All(Kind::HttpRoute),
    Scope::All(Kind::GrpcRoute),
    Scope::All(Kind::TlsRoute),
    Scope::All(Kind::ListenerSet),
    Scope::All(Kind::BackendTlsPolicy),
    Scope::All(Kind::ReferenceGrant),
    Scope::All(Kind::IngressClass),
    Scope::All(Kind::Ingress),
    Scope::All(Kind::Upstream),
    Scope::All(Kind::ClusterLink),
    Scope::All(Kind::AddressPool),
];

/// Objects from the Kubernetes API.
pub struct KubernetesSource {
    news: mpsc::UnboundedReceiver<Change>,
    known: Known,
    adopts_tencent: bool,
    worker: Worker,
}

impl KubernetesSource {
    /// Begins to watch. An API server that cannot be reached is no error: it is waited for.
    pub fn start(settings: &Settings) -> anyhow::Result<Self> {
        let (sender, news) = mpsc::unbounded_channel();
        let worker = Worker::start(settings, sender)?;
        let adopts_tencent = settings.adopt_tencent_annotations;
        Ok(Self { news, known: Known::awaiting(SCOPES), adopts_tencent, worker })
    }

    /// Takes in what has arrived. Says whether anything but Pods' versions is different from before.
    pub fn drain(&mut self) -> bool {
        let mut differs = false;
        while let Ok(change) = self.news.try_recv() {
            differs |= self.take(change);
        }
        differs
    }

    /// Waits for news and takes in all that have arrived. Says whether anything but Pods' versions is different from before.
    ///
    /// Cancel-safe: news that were not waited for to the end are taken in next time.
    pub async fn next(&mut self) -> bool {
        match self.news.recv().await {
            Some(change) => self.take(change) | self.drain(),
            // The thread ends only with the source.
            None => std::future::pending().await,
        }
    }

    /// What is different since this was last asked; at first, everything.
    pub fn take_news(&mut self) -> News {
        self.known.take_news()
    }

    /// What is there, as far as it is known.
    pub const fn objects(&self) -> &Objects {
        self.known.objects()
    }

    /// What is wrong with objects.
    pub fn problems(&self) -> Vec<Problem> {
        self.known.problems()
    }

    /// Whether everything was received and news keep coming, or what is amiss.
    pub fn synced(&self) -> Result<(), String> {
        let mut amiss = String::new();
        // Who refers to a single object that cannot be read is told so; nothing else depends on it.
        for (scope, failure) in self.known.failures().iter().filter(|(scope, _)| !scope.is_one()) {
            // Writing to a text cannot fail.
            let _ = write!(amiss, "{}{scope}: {failure}", if amiss.is_empty() { "" } else { "; " });
        }
        let failures = self.known.failures();
        let waits = self.known.missing().iter().filter(|scope| !failures.contains_key(scope)).map(ToString::to_string);
        let waits = waits.collect::<Vec<_>>().join(", ");
        if !waits.is_empty() {
            let _ = write!(amiss, "{}not received yet: {waits}", if amiss.is_empty() { "" } else { "; " });
        }
        if amiss.is_empty() { Ok(()) } else { Err(amiss) }
    }

    /// The version of Pods up to which every change is known, and of Pods of this node whole.
    ///
    /// It rises without [`next`](Self::next) saying that anything differs.
    pub fn pod_revision(&self) -> u64 {
        self.known.pod_revision()
    }

    /// Whether every kind of this cluster was received at least once.
    pub fn is_received(&self) -> bool {
        self.known.missing().is_empty()
    }

    /// Begins to write to the API server: status, Leases, readiness gates, events.
    pub fn write_status(&self, settings: status::Settings) -> Status {
        let Worker { client, runtime, seen, .. } = &self.worker;
        status::start(client, runtime, settings, seen.clone())
    }

    fn take(&mut self, change: Change) -> bool {
        self.log(&change);
        let awaited = !self.known.missing().is_empty();
        let differs = self.known.apply(change);
        if differs {
            want(&self.worker.links, links::wanted(self.known.objects()));
            let referred = referred(self.known.objects(), self.adopts_tencent).into_iter();
            let referred: BTreeSet<Scope> =
                referred.map(|ObjectId { kind, name }| Scope::Named(kind, name.into())).collect();
            let wishes = self.known.refer(&referred).clone();
            want(&self.worker.referred, wishes);
        }
        if awaited && self.known.missing().is_empty() {
            info!("every list is received");
        }
        differs
    }

    /// Says once what is wrong: one API server that is down is one line, not one for each kind.
    fn log(&self, change: &Change) {
        let failures = self.known.failures();
        match change {
            Change::Health(scope, Err(text)) if !failures.values().any(|known| known == text) => {
                warn!(kind = %scope, "{text}; what is known keeps serving");
            }
            Change::Health(scope, Ok(())) if failures.len() == 1 && failures.contains_key(scope) => {
                info!("all kinds are received from the API server again");
            }
            Change::Link(link, health) => self.log_link(link, health),
            _ => {}
        }
    }

    fn log_link(&self, link: &str, health: &LinkHealth) {
        let known = self.known.objects().remotes.get(link).map(|remote| &remote.health);
        let unauthorized = known.and_then(|known| known.unauthorized.as_ref());
        let failure = known.and_then(|known| known.failure.as_ref());
        match (&health.unauthorized, &health.failure) {
            (Some((reason, text)), _) if unauthorized != health.unauthorized.as_ref() => {
                warn!(link, reason, "{text}; what is known of the cluster keeps serving");
            }
            (None, Some(text)) if failure.is_none() => {
                warn!(link, "{text}; what is known of the cluster keeps serving");
            }
            (None, None) if unauthorized.is_some() => info!(link, "the credentials of the linked cluster are in use"),
            (None, None) if failure.is_some() => info!(link, "the linked cluster is back"),
            _ => {}
        }
    }
}

/// Says what is wanted, if that is something else than before.
fn want<T: PartialEq>(wishes: &watch::Sender<T>, wanted: T) {
    wishes.send_if_modified(|known| {
        let differs = *known != wanted;
        *known = wanted;
        differs
    });
}

/// The thread that talks to the API server. Dropping it ends the thread.
struct Worker {
    runtime: Handle,
    client: Client,
    seen: Arc<Seen>,
    /// The clusters to be linked with.
    links: watch::Sender<BTreeMap<String, Wanted>>,
    /// The single objects to be followed.
    referred: watch::Sender<known::Wishes>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(settings: &Settings, news: mpsc::UnboundedSender<Change>) -> anyhow::Result<Self> {
        let (end, ended) = oneshot::channel::<()>();
        let (started, start) = std::sync::mpsc::channel();
        let (links, wanted_links) = watch::channel(BTreeMap::new());
        let (referred, wanted_objects) = watch::channel(known::Wishes::new());
        let wishes = Wishes { links: wanted_links, referred: wanted_objects };
        let settings = settings.clone();
        let seen = Arc::<Seen>::default();
        let noted = seen.clone();
        let thread = thread::Builder::new()
            .name("kubernetes".into())
            .spawn(move || match prepare(&settings, &news, wishes, &noted) {
                Ok((runtime, client)) => {
                    // If nobody waits for it, the other end of `ended` is gone, too.
                    let _ = started.send(Ok((runtime.handle().clone(), client)));
                    // An error says that the other end was dropped, which is how it is told to end.
                    let _ = runtime.block_on(ended);
                }
                Err(error) => drop(started.send(Err(error))),
            })
            .context("cannot start a thread for the Kubernetes API")?;
        let (runtime, client) = start.recv().context("the thread for the Kubernetes API has ended early")??;
        Ok(Self { runtime, client, seen, links, referred, end: Some(end), thread: Some(thread) })
    }
}

/// What is to be followed beside all objects of the kinds of old.
struct Wishes {
    links: watch::Receiver<BTreeMap<String, Wanted>>,
    referred: watch::Receiver<known::Wishes>,
}

/// Finds the way to the API server and sets everything up that is watched.
fn prepare(
    settings: &Settings,
    news: &mpsc::UnboundedSender<Change>,
    wishes: Wishes,
    seen: &Arc<Seen>,
) -> anyhow::Result<(Runtime, Client)> {
    let runtime =
        Builder::new_current_thread().enable_all().build().context("cannot start a runtime for the Kubernetes API")?;
    let client = runtime.block_on(async {
        let config = connect::config(settings.kubeconfig.as_deref()).await?;
        connect::client(config).context("cannot use what leads to the API server: check its certificates")
    })?;
    let (changes, defined) = watch::channel(0);
    for scope in SCOPES {
        let resource = Resource::of(scope, &settings.node);
        let watch = Watch::new(client.clone(), resource, news.clone(), Pace::default());
        runtime.spawn(watch.noting(seen.clone()).looking_at(defined.clone()).follow());
    }
    runtime.spawn(follow_definitions(client.clone(), Told { changes, news: news.clone() }, Pace::default()));
    let namespace = settings.namespace.clone();
    let links = Links { client: client.clone(), namespace, news: news.clone(), pace: Pace::default() };
    runtime.spawn(links.follow(wishes.links));
    let referred = Referred { client: client.clone(), news: news.clone(), pace: Pace::default() };
    runtime.spawn(referred.follow(wishes.referred));
    Ok((runtime, client))
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
