//! Where a request goes: the references of a rule with the Pods behind each, what each gets, and what it would see.

use std::net::SocketAddr;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};

use super::settled;
use crate::http::filters::{Changes, Scene};
use crate::http::pick::Reference;
use crate::http::snapshot::LiveRule;
use crate::model::http::{BackendRef, ProxyVersion, Rule, Speech, text};

/// Pods of which one reference's part tells.
const MOST_MEMBERS: usize = 200;

/// One reference of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// The reference.
    pub reference: String,
    /// Its weight among the rule's references.
    pub weight: u32,
    /// Its part of the requests, in percent.
    pub share_percent: f64,
    /// How one of its Pods is picked.
    pub picks: String,
    /// What is spoken there.
    pub speaks: String,
    /// Why its requests fail, if they do.
    pub failure: Option<String>,
    /// The filters of requests that go here alone.
    pub filters: Vec<String>,
    /// The path and query that its backends see.
    pub path: Option<String>,
    /// The Host that they see.
    pub host: Option<String>,
    /// What filters changed of the other headers: `name: value`, or `-name`.
    pub headers: Vec<String>,
    /// Its Pods.
    pub members: Vec<MemberView>,
    /// How many more there are.
    pub more_members: usize,
}

/// A Pod behind a reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// Its address.
    pub address: SocketAddr,
    /// What people call it.
    pub name: String,
    /// Its weight within the reference.
    pub weight: u16,
    /// Its part of the rule's requests, in percent: both levels.
    pub share_percent: f64,
    /// Why it is passed over for now, unless all are: `fails_check`, or `ejected` because requests failed of late.
    pub passed_over: Option<String>,
}

/// What a rule's filters have left of a request: its headers before, all of it now, and what is to happen beside that.
type Left<'a> = (&'a HeaderMap, &'a Parts, &'a Changes);

/// The references of a rule, for a request that its filters let through.
pub fn of_request(rule: &Rule, live: &LiveRule, left: Left<'_>, scene: &Scene<'_>) -> Vec<Destination> {
    let mut destinations = of_connection(&rule.backends, live);
    for ((destination, backend), filters) in destinations.iter_mut().zip(&rule.backends).zip(&live.reference_filters) {
        let (before, after, changes) = left;
        let mut parts = after.clone();
        destination.filters = backend.filters.iter().map(text::filter).collect();
        let own = match settled(filters.filters.on_request(&mut parts, scene)) {
            Ok(changes) => changes,
            Err(Ok(verdict)) => {
                destination.failure = Some(verdict.text);
                continue;
            }
            Err(Err(reason)) => {
                destination.failure = Some(reason.sentence().to_owned());
                continue;
            }
        };
        let written = || backend.host_header.as_ref().and_then(|host| HeaderValue::from_str(host).ok());
        let host = own.host.or_else(|| changes.host.clone()).or_else(written);
        let host = host.or_else(|| parts.headers.get(header::HOST).cloned());
        destination.host = host.map(|host| text_of(&host));
        destination.path = parts.uri.path_and_query().map(ToString::to_string);
        destination.headers = changed(before, &parts.headers);
    }
    destinations
}

/// The same for a connection that is relayed.
pub fn of_connection(backends: &[BackendRef], live: &LiveRule) -> Vec<Destination> {
    let all: f64 = backends.iter().map(|backend| f64::from(backend.group.weight)).sum();
    let part = |backend: &BackendRef| percent(f64::from(backend.group.weight), all);
    let pairs = backends.iter().zip(&live.references.all);
    pairs.map(|(backend, reference)| destination(backend, reference, part(backend))).collect()
}

fn destination(backend: &BackendRef, reference: &Reference, share_percent: f64) -> Destination {
    let all: f64 = backend.group.members.values().map(|member| f64::from(member.weight)).sum();
    let pairs = backend.group.members.values().zip(&reference.members);
    let members = pairs.map(|(member, (endpoint, name))| MemberView {
        address: endpoint.address,
        name: name.to_string(),
        weight: member.weight,
        share_percent: share_percent * percent(f64::from(member.weight), all) / 100.0,
        passed_over: endpoint.ailment().map(|ailment| ailment.name().to_owned()),
    });
    let mut members: Vec<MemberView> = members.collect();
    let more_members = members.len().saturating_sub(MOST_MEMBERS);
    members.truncate(MOST_MEMBERS);
    let failure = reference.failure.or_else(|| (all == 0.0).then_some(crate::http::Reason::NoneReady));
    Destination {
        reference: backend.group.reference.clone(),
        weight: backend.group.weight,
        share_percent,
        picks: backend.picker.to_string(),
        speaks: speaks(backend),
        failure: failure.map(|reason| format!("{} {}", reason.status().as_u16(), reason.sentence())),
        members,
        more_members,
        ..Destination::default()
    }
}

fn percent(part: f64, all: f64) -> f64 {
    if all == 0.0 { 0.0 } else { part / all * 100.0 }
}

fn speaks(backend: &BackendRef) -> String {
    let speech = match backend.speech {
        Speech::Http => "HTTP",
        Speech::Http2 => "HTTP/2",
        Speech::WebSocket => "WebSocket",
    };
    let within = backend.tls.as_ref().map(|tls| format!(" within TLS to {}", tls.hostname)).unwrap_or_default();
    let after = match backend.proxy {
        Some(ProxyVersion::V1) => " after PROXY v1",
        Some(ProxyVersion::V2) => " after PROXY v2",
        None => "",
    };
    format!("{speech}{within}{after}")
}

/// What differs between two sets of headers but for `Host`, which is told apart.
fn changed(before: &HeaderMap, after: &HeaderMap) -> Vec<String> {
    let is_same = |name| before.get_all(name).iter().eq(after.get_all(name).iter());
    let told = after.keys().filter(|name| **name != header::HOST && !is_same(*name));
    let set = told.flat_map(|name| after.get_all(name).iter().map(move |value| format!("{name}: {}", text_of(value))));
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("-{name}"));
    set.chain(gone).collect()
}

fn text_of(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
