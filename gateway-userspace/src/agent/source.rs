//! Where the agent's objects come from: a folder or an API server, which look the same from here on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use crate::config::{Cluster, Config, ObjectsFrom};
use crate::kubernetes::{Facts, Heard, KubernetesSource, News, ServiceNews, Settings, Stance, Status, StatusSettings};
use crate::model::Model;
use crate::source::pod::READINESS_GATES;
use crate::source::watch::Changes;
use crate::source::{FolderSource, Problem};
use crate::translate::{Last, Options, Statuses, Translation, are_as_said, refreshed, translate_after};

/// How long the first lists of an API server are waited for. Whatever is missing then comes later.
const FIRST_LISTS: Duration = Duration::from_secs(10);

/// How long letting go of the Leases may take when the agent ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where objects come from.
pub enum Source {
    /// A folder of manifests.
    Folder(FolderSource, Changes),
    /// The API server of a cluster.
    Cluster(Box<ClusterSource>),
}

/// What a look at the objects came to.
pub enum Reading {
    /// What they mean, and what is wrong with them one by one.
    Whole(Box<Translation>, Vec<Problem>),
    /// Nothing but endpoints are different.
    Endpoints(Model),
    /// The same as before: the objects say only what we had them say.
    Same,
}

/// Who goes on when this agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// Another agent of this node, which has taken over.
    OfThisNode,
    /// The agents of other nodes, if there are any.
    Others,
}

/// The API server of a cluster, and what goes back to it.
pub struct ClusterSource {
    objects: KubernetesSource,
    cluster: Cluster,
    instance: String,
    /// What writes to it; nothing before this agent serves.
    status: Option<Status>,
    /// The maps hold all that is known, but for versions.
    is_programmed: bool,
}

impl Source {
    /// Opens what the flags name. Changes are told from now on.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        match &config.objects {
            ObjectsFrom::Folder(folder) => {
                let source = FolderSource::open(&folder.path)?;
                let changes = source.watch();
                Ok(Self::Folder(source, changes))
            }
            ObjectsFrom::Cluster(cluster) => {
                let Cluster { kubeconfig, node, namespace, .. } = cluster.clone();
                let adopt_tencent_annotations = config.adopt_tencent_annotations;
                let settings = Settings { kubeconfig, node, namespace, adopt_tencent_annotations };
                let objects = KubernetesSource::start(&settings)?;
                let (cluster, instance) = (cluster.clone(), config.instance.clone());
                Ok(Self::Cluster(Box::new(ClusterSource {
                    objects,
                    cluster,
                    instance,
                    status: None,
                    is_programmed: false,
                })))
            }
        }
    }

    /// Waits until there is something to begin with. While another agent serves, which knows everything, that is
    /// everything; else an API server that is not there is not waited for to the end: what an earlier agent programmed is
    /// then kept.
    pub async fn settled(&mut self, is_served: impl Fn() -> bool) {
        let Self::Cluster(source) = self else { return };
        let mut said = false;
        loop {
            let receive = async {
                while !source.objects.is_received() {
                    source.objects.next().await;
                }
            };
            if timeout(FIRST_LISTS, receive).await.is_ok() {
                return;
            }
            let amiss = source.objects.synced().err().unwrap_or_default();
            if !is_served() {
                warn!("not everything was received from the API server, beginning with what was: {amiss}");
                return;
            }
            if !std::mem::replace(&mut said, true) {
                warn!("not everything was received from the API server, another agent goes on meanwhile: {amiss}");
            }
        }
    }

    /// Begins to write to the API server: from now on this agent speaks for its node.
    pub fn speak(&mut self, adopts_tencent: bool) {
        if let Self::Cluster(source) = self {
            source.status = Some(source.objects.write_status(StatusSettings {
                namespace: source.cluster.namespace.clone(),
                node: source.cluster.node.clone(),
                instance: source.instance.clone(),
                gate_timeout: source.cluster.gate_timeout,
                // Tencent's gate belongs to Tencent's controller, unless its annotations are adopted.
                gates: if adopts_tencent { &READINESS_GATES } else { &READINESS_GATES[..1] },
            }));
        }
    }

    /// Stops to write to the API server, so that another agent can at once: one of this node, or the others.
    pub async fn fall_silent(&mut self, successor: Successor) {
        if let Self::Cluster(source) = self
            && let Some(status) = source.status.take()
        {
            if successor == Successor::OfThisNode {
                status.hand_over();
            }
            if timeout(FAREWELL, status.shutdown()).await.is_err() {
                warn!("the API server did not answer: the Leases of this agent run out by themselves");
            }
        }
    }

    /// Says to the other agents what they must know of this node.
    pub fn stand(&self, stance: Stance) {
        if let Self::Cluster(source) = self
            && let Some(status) = &source.status
        {
            status.stand(stance);
        }
    }

    /// What is known of the other agents.
    pub fn others(&self) -> Option<watch::Receiver<Option<Heard>>> {
        match self {
            Self::Folder(..) => None,
            Self::Cluster(source) => Some(source.status.as_ref()?.peers()),
        }
    }

    /// Waits until the objects may have changed; returns when that was noticed. May be cancelled.
    pub async fn changed(&mut self) -> Instant {
        match self {
            Self::Folder(_, changes) => changes.next().await.seen,
            Self::Cluster(source) => loop {
                if source.objects.next().await {
                    return Instant::now();
                }
                // Only the versions of Pods have risen: what is programmed holds for them, too.
                source.tell_revision();
            },
        }
    }

    /// What the objects ask for, and what is wrong with them one by one.
    pub fn read(&mut self, last: Last<'_>, options: &Options) -> Reading {
        match self {
            Self::Folder(folder, _) => {
                let snapshot = folder.read();
                Reading::Whole(Box::new(translate_after(last.given, &snapshot.objects, options)), snapshot.problems)
            }
            Self::Cluster(source) => {
                source.objects.drain();
                let news = source.objects.take_news();
                let objects = source.objects.objects();
                if let News::Services(ServiceNews { slices, statuses }) = news
                    && are_as_said(last, objects, options, &statuses)
                {
                    if slices.is_empty() {
                        return Reading::Same;
                    }
                    if let Some(model) = refreshed(last.model, objects, options, &slices) {
                        source.is_programmed = false;
                        return Reading::Endpoints(model);
                    }
                }
                source.is_programmed = false;
                let translation = translate_after(last.given, objects, options);
                Reading::Whole(Box::new(translation), source.objects.problems())
            }
        }
    }

    /// Whether all objects are known and followed, and if not, why.
    pub fn synced(&self) -> Result<(), String> {
        match self {
            Self::Folder(..) => Ok(()),
            Self::Cluster(source) => source.objects.synced(),
        }
    }

    /// Tells the API server what has been programmed.
    pub fn tell(&mut self, statuses: &Arc<Statuses>, problems: Vec<Problem>) {
        if let Self::Cluster(source) = self {
            source.tell(statuses, problems);
        }
    }
}

impl ClusterSource {
    fn tell(&mut self, statuses: &Arc<Statuses>, problems: Vec<Problem>) {
        self.is_programmed = true;
        let Some(status) = &self.status else { return };
        let objects = self.objects.objects();
        status.publish(Facts {
            statuses: statuses.clone(),
            problems: problems.into(),
            rejected: objects.rejected.clone(),
            nodes: objects.nodes.keys().map(|node| node.name.clone()).collect(),
            complete: self.objects.is_received(),
        });
        status.programmed(self.objects.pod_revision());
    }

    fn tell_revision(&self) {
        if let Some(status) = self.status.as_ref().filter(|_| self.is_programmed) {
            status.programmed(self.objects.pod_revision());
        }
    }
}
