//! Which listeners of a Gateway cannot be told apart, and so are not served.
//!
//! Listeners of one port and transport are told apart by their hosts, if what they speak has hosts and begins alike. Those
//! of the Gateway itself that cannot be told apart are all refused (Gateway API, "Handling indistinct Listeners"); one of a
//! `ListenerSet` gives way to all that come before it: the Gateway's own, then those of older sets.

use super::listeners::{Listener, Speech};

/// A listener that is in another's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rivalry {
    /// `HostnameConflict` or `ProtocolConflict`.
    pub reason: &'static str,
    /// The other listeners, for people.
    pub others: Vec<String>,
}

/// Judges all listeners of a Gateway beside each other: its own first, then those of its sets, the older first.
pub(super) fn judge(listeners: &mut [Listener<'_>]) {
    for at in 0..listeners.len() {
        let listener = &listeners[at];
        let others = listeners.iter().enumerate().filter(|(other, rival)| {
            let comes_first = *other < at && (rival.set.is_none() || rival.rivalry.is_none());
            *other != at && (comes_first || listener.set.is_none() && rival.set.is_none())
        });
        let conflicts: Vec<(&'static str, String)> =
            others.filter_map(|(_, rival)| Some((conflict(listener, rival)?, label(listener, rival)))).collect();
        let reason = conflicts.first().map(|(reason, _)| *reason);
        listeners[at].rivalry =
            reason.map(|reason| Rivalry { reason, others: conflicts.into_iter().map(|(_, other)| other).collect() });
    }
    for at in 0..listeners.len() {
        let listener = &listeners[at];
        let mut others = listeners.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other);
        let overlapping = others.find(|other| overlaps(listener, other));
        listeners[at].overlaps = overlapping.map(|other| label(listener, other));
    }
}

/// Why two listeners cannot be told apart; nothing if they can.
fn conflict(one: &Listener<'_>, other: &Listener<'_>) -> Option<&'static str> {
    let (first, second) = (one.speech?, other.speech?);
    if one.port != other.port || first.transport() != second.transport() {
        return None;
    }
    if first.is_plain() || second.is_plain() || first.is_tls() != second.is_tls() {
        return Some("ProtocolConflict");
    }
    (one.hostname == other.hostname).then_some("HostnameConflict")
}

/// Whether a client that was given one listener's certificate may take it for the other's (RFC 9110 section 7.6.2): then
/// the HTTP layer answers 421 where the host is not the connection's.
fn overlaps(one: &Listener<'_>, other: &Listener<'_>) -> bool {
    let is_https = |listener: &Listener<'_>| listener.speech == Some(Speech::Https) && listener.rivalry.is_none();
    if one.port != other.port || !is_https(one) || !is_https(other) {
        return false;
    }
    match (&one.hostname, &other.hostname) {
        (Some(one), Some(other)) => one.intersection(other).is_some(),
        _ => true,
    }
}

/// The other listener, as the owner of the first may know it: of others' sets only that they exist.
fn label(listener: &Listener<'_>, other: &Listener<'_>) -> String {
    let name = &other.spec.name;
    match other.set {
        _ if other.owner == listener.owner => format!("`{name}`"),
        None => format!("`{name}` of {}", other.owner),
        Some(_) => "of another ListenerSet".to_string(),
    }
}
