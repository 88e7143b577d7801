//! One Lease and one who wants to hold it, by the rules of client-go: whoever renews it keeps it, and it is free when
//! its holder has let go or has not been seen to renew it for its duration.
//!
//! Clocks of other machines do not matter: what counts is when this process saw the record change. Two who write at
//! once are told apart by the resource version. When to try is the caller's business.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use super::requests::{FIELD_MANAGER, Failure, request, version_number};

/// A Lease and one who wants to hold it.
#[derive(Debug)]
pub(super) struct Claim {
    api: Api<Lease>,
    name: String,
    identity: String,
    labels: BTreeMap<String, String>,
    duration: Duration,
    observed: Option<Observed>,
}

/// The record, and when it was seen to be so.
#[derive(Debug)]
struct Observed {
    lease: Lease,
    at: Instant,
}

/// Who has a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody.
    Free,
    /// We.
    Ours,
    /// Somebody else, until then if he does not renew it.
    Others(Instant),
}

/// The pause after somebody else has written at the same time.
pub(super) const CONFLICT_PAUSE: Duration = Duration::from_millis(100);

impl Claim {
    pub(super) fn new(client: &Client, namespace: &str, name: &str, identity: &str, duration: Duration) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            name: name.to_string(),
            identity: identity.to_string(),
            labels: BTreeMap::from([("app.kubernetes.io/part-of".to_string(), "beeline".to_string())]),
            duration,
            observed: None,
        }
    }

    /// Puts a label on it.
    pub(super) fn labelled(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_string(), value.to_string());
        self
    }

    /// Takes note of the record as somebody has seen it just now.
    pub(super) fn observe(&mut self, lease: Option<Lease>) {
        let Some(lease) = lease else {
            self.observed = None;
            return;
        };
        let known = self.observed.as_ref().map(|observed| &observed.lease.metadata);
        let same =
            known.is_some_and(|known| known.uid == lease.metadata.uid && number(known) >= number(&lease.metadata));
        if !same {
            self.observed = Some(Observed { lease, at: Instant::now() });
        }
    }

    /// Reads the record. What the server answers counts even if its version is lower, as after a restore from a backup.
    pub(super) async fn read(&mut self) -> Result<(), Failure> {
        let lease = request(self.api.get_opt(&self.name)).await?;
        let version = |lease: &Lease| (lease.metadata.uid.clone(), lease.metadata.resource_version.clone());
        let known = self.observed.as_ref().map(|observed| version(&observed.lease));
        if lease.as_ref().map(version) != known {
            self.observed = None;
            self.observe(lease);
        }
        Ok(())
    }

    /// Who has it, as far as is known.
    pub(super) fn standing(&self) -> Standing {
        let Some(Observed { lease, at }) = &self.observed else { return Standing::Free };
        let spec = lease.spec.as_ref();
        match spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default() {
            "" => Standing::Free,
            holder if holder == self.identity => Standing::Ours,
            _ => {
                let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
                let until = *at + Duration::from_secs(seconds.max(1).unsigned_abs().into());
                if until <= Instant::now() { Standing::Free } else { Standing::Others(until) }
            }
        }
    }

    /// Takes or renews it, with these annotations beside those that it has. A [`Failure::Conflict`] means that it must be
    /// read again first.
    pub(super) async fn write(&mut self, annotations: &[(&str, String)]) -> Result<(), Failure> {
        let spec = self.spec(Some(self.identity.clone()), self.duration);
        let written = match &self.observed {
            None => {
                let lease = self.lease(ObjectMeta::default(), spec, annotations);
                request(self.api.create(&parameters(), &lease)).await
            }
            Some(observed) => {
                let lease = self.lease(observed.lease.metadata.clone(), spec, annotations);
                request(self.api.replace(&self.name, &parameters(), &lease)).await
            }
        };
        match written {
            Ok(lease) => self.observed = Some(Observed { lease, at: Instant::now() }),
            Err(Failure::Gone) => self.observed = None,
            Err(failure) => return Err(failure),
        }
        if self.observed.is_some() { Ok(()) } else { Err(Failure::Conflict) }
    }

    /// Lets go of it, so that another may take it at once.
    pub(super) async fn release(&mut self) -> Result<(), Failure> {
        let (Standing::Ours, Some(observed)) = (self.standing(), &self.observed) else { return Ok(()) };
        let spec = self.spec(None, Duration::from_secs(1));
        let lease = self.lease(observed.lease.metadata.clone(), spec, &[]);
        request(self.api.replace(&self.name, &parameters(), &lease)).await.map(drop)
    }

    /// Takes it off the cluster, if it is still as we left it.
    pub(super) async fn delete(&mut self) -> Result<(), Failure> {
        let (Standing::Ours, Some(observed)) = (self.standing(), &self.observed) else { return Ok(()) };
        delete(&self.api, &observed.lease).await
    }

    fn lease(&self, mut metadata: ObjectMeta, spec: LeaseSpec, annotations: &[(&str, String)]) -> Lease {
        metadata.name = Some(self.name.clone());
        metadata.managed_fields = None;
        metadata.labels.get_or_insert_default().extend(self.labels.clone());
        let known = metadata.annotations.get_or_insert_default();
        known.extend(annotations.iter().map(|(key, value)| ((*key).to_string(), value.clone())));
        Lease { metadata, spec: Some(spec) }
    }

    fn spec(&self, holder: Option<String>, duration: Duration) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let before = self.observed.as_ref().and_then(|observed| observed.lease.spec.clone()).unwrap_or_default();
        let kept = before.holder_identity == holder;
        let taken = holder.is_some() && !kept && self.observed.is_some();
        LeaseSpec {
            acquire_time: if kept { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
            lease_transitions: Some(before.lease_transitions.unwrap_or(0).saturating_add(taken.into())),
            holder_identity: Some(holder.unwrap_or_default()),
            ..LeaseSpec::default()
        }
    }
}

/// Takes a Lease off the cluster, if it is still as it was seen.
pub(super) async fn delete(api: &Api<Lease>, lease: &Lease) -> Result<(), Failure> {
    let ObjectMeta { name, uid, resource_version, .. } = lease.metadata.clone();
    let preconditions = Some(Preconditions { uid, resource_version });
    let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
    request(api.delete(&name.unwrap_or_default(), &parameters)).await.map(drop)
}

fn number(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().map_or(0, version_number)
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_string()), ..PostParams::default() }
}

/// Follows one object for as long as somebody listens; what cannot be watched at present stays as it was.
pub(super) async fn follow<K>(api: Api<K>, name: &str, object: watch::Sender<Option<K>>)
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watcher(api, config).default_backoff();
    pin_mut!(events);
    let mut listed = None;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = object.closed() => return,
        };
        match event {
            Some(Ok(watcher::Event::Apply(seen))) => drop(object.send_replace(Some(seen))),
            Some(Ok(watcher::Event::Delete(_))) => drop(object.send_replace(None)),
            Some(Ok(watcher::Event::Init)) => listed = None,
            Some(Ok(watcher::Event::InitApply(seen))) => listed = Some(seen),
            Some(Ok(watcher::Event::InitDone)) => drop(object.send_replace(listed.take())),
            Some(Err(error)) => debug!(object = name, %error, "it cannot be watched at present"),
            None => return,
        }
    }
}
