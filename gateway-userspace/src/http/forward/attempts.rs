//! Tries backends until one answers, or nothing is left to try.
//!
//! What may be needed again is kept while it is sent. Whether there is another attempt, and when, says `retry`; whether the
//! request may be sent again at all is decided here.

use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::{Response, StatusCode};

use super::{Outgoing, Target};
use crate::http::body::{BodyError, Fault, Limit};
use crate::http::connection::Exchange;
use crate::http::endpoint::{Endpoint, Failure, Lease};
use crate::http::reject::Reason;
use crate::http::retry::{After, Tries};

/// A backend's answer with the connection that it came on.
pub struct Answer {
    /// Its head, and a body that is still to come.
    pub response: Response<Incoming>,
    /// The connection.
    pub lease: Lease,
    /// The backend, by its place in the reference.
    pub member: usize,
    /// When the body must have ended.
    pub limit: Option<Limit>,
}

/// A request for as long as it may be sent again.
struct Held {
    outgoing: Option<Outgoing>,
    is_idempotent: bool,
    /// Whether the last attempt has sent something of it.
    was_sent: bool,
    /// What became of its body.
    fault: Option<Fault>,
}

impl Held {
    fn new(outgoing: Outgoing) -> Self {
        let (is_idempotent, fault) = (outgoing.method.is_idempotent(), outgoing.body.fault());
        Self { outgoing: Some(outgoing), is_idempotent, was_sent: false, fault }
    }

    /// Lets go what must not be sent again: what a backend may have begun to serve is repeated only if that changes nothing
    /// (RFC 9110, 9.2.2).
    fn settle(&mut self, was_unseen: bool) {
        if self.was_sent && !was_unseen && !self.is_idempotent {
            self.outgoing = None;
        }
    }
}

/// An attempt that came to nothing.
struct Trouble {
    reason: Reason,
    /// Whether only the connection was at fault, which was idle before: its backend has ended it meanwhile.
    was_stale: bool,
    /// Whether the backend has seen nothing of the request.
    was_unseen: bool,
}

impl Trouble {
    fn of(reason: Reason) -> Self {
        Self { reason, was_stale: false, was_unseen: false }
    }

    fn after(&self) -> After {
        // Where TLS fails, it will fail again most often.
        let costs_nothing = self.was_stale || self.was_unseen && self.reason != Reason::BackendTls;
        if costs_nothing { After::Unseen } else { After::Seen }
    }
}

type Outcome = Result<(Response<Incoming>, Lease), Trouble>;

/// Tries backends until one answers, or nothing is left to try.
pub async fn attempts(exchange: &mut Exchange, outgoing: Outgoing, target: &Target<'_>) -> Result<Answer, Reason> {
    let mut tries = Tries::new(target.rule.retry.as_ref());
    let deadline = target.deadline(exchange);
    let mut held = Held::new(outgoing);
    let mut choice = target.choice;
    let mut tried = Vec::new();
    let mut fresh = false;
    loop {
        let (endpoint, name) = &target.reference.members[choice.member];
        exchange.note_attempt(name, endpoint.address);
        let limit = target.limit(deadline);
        let outcome = {
            // It is large, and would be copied into each future that waits for it.
            let attempt = pin!(attempt(exchange, endpoint, &mut held, fresh, &tries));
            limited(attempt, limit).await
        };
        held.settle(outcome.as_ref().is_err_and(|trouble| trouble.was_unseen));
        fresh = outcome.as_ref().is_err_and(|trouble| trouble.was_stale);
        note(exchange, endpoint, &outcome);

        let worker = &exchange.connection.worker;
        let pause = what_follows(&outcome, &held, &tries).and_then(|after| tries.next(after, &worker.budget));
        let Some(pause) = pause else { return finish(exchange, outcome, choice.member, limit) };
        let begin = Instant::now() + pause;
        if let Some(deadline) = deadline.filter(|&deadline| deadline <= begin) {
            // Another attempt would come too late. An answer that is there is better than none.
            if outcome.is_ok() {
                return finish(exchange, outcome, choice.member, limit);
            }
            tokio::time::sleep_until(deadline.into()).await;
            return Err(Reason::RequestTimeout);
        }
        drop(outcome);
        worker.counters.retries.fetch_add(1, Relaxed);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        if !fresh {
            tried.push(choice.member);
            choice = target.reference.choose_other(choice, &tried).unwrap_or(choice);
        }
    }
}

/// What the backend's behaviour says about it.
fn note(exchange: &Exchange, endpoint: &Endpoint, outcome: &Outcome) {
    match outcome {
        Ok(_) => endpoint.note_success(),
        Err(trouble) if !trouble.was_stale && is_the_backends(trouble.reason) => {
            endpoint.note_failure(&exchange.connection.worker.counters);
        }
        Err(_) => {}
    }
}

/// After what another attempt would follow, if it may.
fn what_follows(outcome: &Outcome, held: &Held, tries: &Tries<'_>) -> Option<After> {
    held.outgoing.as_ref()?;
    match outcome {
        Ok((response, _)) => tries.is_wanted_after(response.status()).then_some(After::Seen),
        Err(trouble) if trouble.reason == Reason::RequestTimeout => None,
        Err(trouble) => Some(trouble.after()),
    }
}

/// What the last attempt came to is what all came to.
fn finish(exchange: &mut Exchange, outcome: Outcome, member: usize, limit: Option<Limit>) -> Result<Answer, Reason> {
    let (response, lease) = outcome.map_err(|trouble| trouble.reason)?;
    exchange.note_backend_head();
    Ok(Answer { response, lease, member, limit })
}

/// Whether a backend that fails so is better left out for a while, if it goes on.
fn is_the_backends(reason: Reason) -> bool {
    use Reason::{BackendClosed, BackendTls, ConnectFailed, ConnectTimeout};
    matches!(reason, BackendClosed | BackendTls | ConnectFailed | ConnectTimeout)
}

/// One attempt, until its answer's head is there, within its limit.
async fn limited(attempt: Pin<&mut impl Future<Output = Outcome>>, limit: Option<Limit>) -> Outcome {
    let Some(Limit { at, reason }) = limit else { return attempt.await };
    tokio::time::timeout_at(at.into(), attempt).await.unwrap_or_else(|_| Err(Trouble::of(reason)))
}

/// Sends a request to a backend. What is left in `held` afterwards may be sent again, once it is settled.
async fn attempt(
    exchange: &Exchange,
    endpoint: &Arc<Endpoint>,
    held: &mut Held,
    fresh: bool,
    tries: &Tries<'_>,
) -> Outcome {
    held.was_sent = false;
    let worker = &exchange.connection.worker;
    let asks_to_switch = held.outgoing.as_ref().is_some_and(Outgoing::asks_to_switch);
    let leased = if asks_to_switch {
        // Few ask for that, and all would have room for it.
        Box::pin(endpoint.lease_for_upgrade(worker, exchange.ends())).await
    } else {
        endpoint.lease(worker, exchange.ends(), fresh).await
    };
    let mut lease = leased.map_err(|failure| failed(endpoint, &failure))?;
    let Some(outgoing) = held.outgoing.take() else { return Err(Trouble::of(Reason::BackendClosed)) };
    // A connection that was there may have been ended by the backend while the request was on its way. HTTP/2 says whether
    // the request was seen, so that any may be repeated that was not.
    if lease.is_http2() || held.is_idempotent && (lease.is_reused || tries.wants_copy()) {
        held.outgoing = outgoing.copy();
    }
    held.was_sent = true;
    let mut error = match lease.send(outgoing.into_request(lease.is_http2())).await {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS && !asks_to_switch => {
            return Err(Trouble::of(Reason::BackendProtocol));
        }
        Ok(response) => return Ok((response, lease)),
        Err(error) => error,
    };
    let was_stale = lease.is_reused;
    drop(lease);
    if let Some(request) = error.take_message() {
        held.outgoing = Some(Outgoing::from_request(request));
        return Err(Trouble { reason: Reason::BackendClosed, was_stale, was_unseen: true });
    }
    let error = error.into_error();
    tracing::debug!(address = %endpoint.address, error = %chain(&error), "a backend did not answer");
    let reason = held.fault.as_ref().and_then(Fault::reason).unwrap_or_else(|| why(&error));
    if reason != Reason::BackendClosed {
        held.outgoing = None;
    }
    Err(Trouble { reason, was_stale, was_unseen: was_not_seen(&error) })
}

fn failed(endpoint: &Endpoint, failure: &Failure) -> Trouble {
    tracing::debug!(address = %endpoint.address, error = %chain(failure), "no connection to a backend");
    let reason = match failure {
        Failure::Connect(_) | Failure::Http2(_) => Reason::ConnectFailed,
        Failure::Timeout => Reason::ConnectTimeout,
        Failure::Tls(_) => Reason::BackendTls,
    };
    Trouble { reason, was_stale: false, was_unseen: true }
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The first cause of this kind.
pub fn cause<E: Error + 'static>(error: &hyper::Error) -> Option<&E> {
    std::iter::successors(error.source(), |&cause| cause.source()).find_map(|cause| cause.downcast_ref())
}

/// Why there was no answer.
fn why(error: &hyper::Error) -> Reason {
    match cause::<BodyError>(error) {
        Some(body) => body.reason(),
        None if error.is_parse() => Reason::BackendProtocol,
        None => Reason::BackendClosed,
    }
}

/// Whether a backend of HTTP/2 says that it has not seen the request (RFC 9113, 8.7).
fn was_not_seen(error: &hyper::Error) -> bool {
    cause::<h2::Error>(error).is_some_and(|error| {
        let is_end = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        error.is_remote() && (is_end || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}
