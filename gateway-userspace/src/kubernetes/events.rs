//! Events for what a user must fix, at the object that he must fix it in.
//!
//! The leader writes them. Each is written once while it lasts, whatever happens meanwhile: `ledger` keeps the account.
//! Objects without a namespace have their events in `default`, as the API server wants it.

mod ledger;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use self::ledger::{Ledger, Subject, Texts};
use super::duty::Duty;
use super::requests::{FIELD_MANAGER, Failure, api, request, resource};
use super::{Facts, Seen};
use crate::source::{Kind, Name, ObjectId, Problem};
use crate::translate::statuses::{Condition, Truth};

/// Who reports, as `kubectl describe` shows it.
const REPORTER: &str = "beeline.dev/gateway";
/// How many events are written a second at most.
const EVENTS_A_SECOND: usize = 10;
/// How many bytes a note may have.
const NOTE_LIMIT: usize = 1024;

/// One event to be written at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) id: ObjectId,
    pub(super) uid: Option<String>,
    pub(super) reason: &'static str,
    pub(super) note: String,
}

impl Notice {
    fn subject(&self) -> Subject {
        Subject { id: self.id.clone(), reason: self.reason }
    }
}

/// Writes events while this agent leads.
pub(super) struct Reporter {
    pub(super) client: Client,
    /// The node and the instance of this agent.
    pub(super) instance: String,
    pub(super) seen: Arc<Seen>,
    pub(super) facts: watch::Receiver<Arc<Facts>>,
    pub(super) leading: watch::Receiver<bool>,
    pub(super) notices: mpsc::Receiver<Notice>,
}

impl Duty for Reporter {
    fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    async fn term(&mut self) {
        let mut ledger = Ledger::default();
        let mut forbidden = false;
        let mut next = Instant::now();
        self.facts.mark_changed();
        loop {
            tokio::select! {
                Some(notice) = self.notices.recv() => ledger.add(notice),
                Ok(()) = self.facts.changed() => {
                    let facts = self.facts.borrow_and_update().clone();
                    if facts.complete {
                        ledger.set(texts(&facts), Instant::now());
                    }
                }
                () = sleep_until(next), if ledger.has_more() => {}
                else => return,
            }
            if Instant::now() < next {
                continue;
            }
            next = Instant::now() + Duration::from_secs(1);
            for notice in ledger.due(Instant::now(), EVENTS_A_SECOND) {
                match self.write(&notice).await {
                    Ok(()) => forbidden = false,
                    // The namespace or the object is gone: so is the problem.
                    Err(Failure::Gone | Failure::Conflict) => {}
                    Err(failure) => {
                        if matches!(failure, Failure::Forbidden(_)) && !std::mem::replace(&mut forbidden, true) {
                            warn!(%failure, "events cannot be written");
                        }
                        debug!(object = %notice.id, %failure, "an event was not written: trying again later");
                        ledger.failed(&notice, Instant::now());
                        continue;
                    }
                }
                ledger.said(&notice, Instant::now());
            }
        }
    }
}

impl Reporter {
    async fn write(&self, notice: &Notice) -> Result<(), Failure> {
        let resource = resource(notice.id.kind, self.seen.served(notice.id.kind).as_deref());
        let uid = match notice.uid.clone().or_else(|| Some(self.seen.get(&notice.id)?.uid.clone())) {
            Some(uid) => Some(uid),
            None => {
                request(api(&self.client, &notice.id, &resource).get_metadata(&notice.id.name.name)).await?.metadata.uid
            }
        };
        let Name { namespace, name } = &notice.id.name;
        let namespace = Some(namespace.clone()).filter(|namespace| !namespace.is_empty());
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace.as_deref().unwrap_or("default"));
        let now = Timestamp::now();
        let event = Event {
            metadata: ObjectMeta { name: Some(format!("{name}.{:x}", now.as_nanosecond())), ..ObjectMeta::default() },
            event_time: Some(MicroTime(now)),
            type_: Some("Warning".to_string()),
            reason: Some(notice.reason.to_string()),
            action: Some("Reconcile".to_string()),
            note: Some(shorten(&notice.note, NOTE_LIMIT).to_string()),
            reporting_controller: Some(REPORTER.to_string()),
            reporting_instance: Some(shorten(&self.instance, 128).to_string()),
            regarding: Some(ObjectReference {
                api_version: Some(resource.api_version),
                kind: Some(resource.kind),
                name: Some(name.clone()),
                namespace,
                uid,
                ..ObjectReference::default()
            }),
            ..Event::default()
        };
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_string()), ..PostParams::default() };
        request(events.create(&parameters, &event)).await.map(drop)
    }
}

/// The beginning of a text, of at most so many bytes.
fn shorten(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// What is to be said at present.
fn texts(facts: &Facts) -> Texts {
    let mut texts = Texts::new();
    for problem in facts.problems.iter().filter(|problem| problem.is_error()) {
        if let Some(id) = object_of(problem) {
            let dot = if problem.field.is_empty() { "" } else { ": " };
            add(&mut texts, id, "NotServed", format!("{}{dot}{}", problem.field, problem.message));
        }
    }
    let statuses = &facts.statuses;
    for (name, service) in &statuses.services {
        if let Some((reason, message)) = &service.event {
            add(&mut texts, ObjectId { kind: Kind::Service, name: name.clone() }, reason, message.clone());
        }
    }
    let gateways = statuses.gateways.iter().map(|(name, gateway)| (Kind::Gateway, name, &gateway.status));
    let links = statuses.cluster_links.iter().map(|(name, link)| (Kind::ClusterLink, name, &link.status));
    let pools = statuses.address_pools.iter().map(|(name, pool)| (Kind::AddressPool, name, &pool.status));
    for (kind, name, status) in gateways.chain(links).chain(pools) {
        for condition in status.conditions.iter().filter(|condition| is_for_the_user(kind, condition)) {
            add(&mut texts, ObjectId { kind, name: name.clone() }, condition.reason, condition.message.clone());
        }
    }
    texts
}

/// What an error among the problems does not say already: which address an object did not get, which link may not be used.
fn is_for_the_user(kind: Kind, condition: &Condition) -> bool {
    match kind {
        Kind::Gateway => condition.truth == Truth::False && condition.reason.contains("Address"),
        Kind::ClusterLink | Kind::AddressPool => condition.truth == Truth::False,
        _ => false,
    }
}

/// Several texts of one object under one reason are one event.
fn add(texts: &mut Texts, id: ObjectId, reason: &'static str, note: String) {
    let known = texts.entry(Subject { id, reason }).or_default();
    if known.is_empty() {
        *known = note;
    } else if !known.contains(&note) {
        known.push_str("; ");
        known.push_str(&note);
    }
}

fn object_of(problem: &Problem) -> Option<ObjectId> {
    let (kind, name) = problem.object.split_once(' ')?;
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
    let name = match name.split_once('/') {
        Some((namespace, name)) => Name::new(namespace, name),
        None => Name::new("", name),
    };
    (kind.is_namespaced() != name.namespace.is_empty()).then_some(ObjectId { kind, name })
}

#[cfg(test)]
mod tests;
