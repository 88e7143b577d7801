//! Carries one request to a backend and its answer back.
//!
//! The story of a request: is it well formed, where does it belong, who serves it, what is it told, and what comes back.
//! `attempts` sends it. Whatever goes wrong is a [`Reason`], which `reject` alone makes an answer.

mod attempts;
mod outgoing;

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};

pub use self::attempts::{Answer, attempts, cause};
pub use self::outgoing::Outgoing;
use super::body::{ClientBody, Gate, Limit, RequestBody, ResponseBody};
use super::connection::{Connection, Exchange};
use super::filters::{Changes, Outcome, Scene};
use super::framing::{self, cookies, hop_by_hop, hop_by_hop::Hops};
use super::mirror;
use super::pick::{Asker, Choice, Reference};
use super::reject::{self, Reason};
use super::router::{self, Found};
use super::session;
use super::snapshot::{LiveFilters, LiveMirror, LiveRule, LiveSite};
use super::tap::{self, Verdict};
use super::upgrade;
use crate::model::http::{BackendRef, Rule, path};

/// Fields that a request may get more than it came with: `Host`, `Forwarded`, and those of `X-Forwarded-`.
const TOLD_FIELDS: usize = 6;

/// Serves a request. Never fails: what goes wrong is an answer.
pub async fn handle(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let mut exchange = Exchange::begin(connection, &request);
    let asks_to_switch = tap::asks_to_switch(request.method(), request.headers());
    let asks_for_bare_head = request.method() == Method::HEAD && request.version() >= Version::HTTP_2;
    let served = serve(&mut exchange, request).await;
    let mut response = served.unwrap_or_else(|reason| {
        exchange.fail(reason);
        reject::response(reason, exchange.is_grpc)
    });
    if let Some(tap) = &exchange.connection.tap {
        let has_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if asks_to_switch {
            tap.decide(if has_switched { Verdict::Upgraded } else { Verdict::Refused });
        }
        if exchange.connection.is_ending() && !has_switched {
            // hyper says so itself once it knows; the client shall not find out by an end in the face of its next request.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    if asks_for_bare_head && let Some(length) = response.body_mut().omit_text() {
        // hyper leaves out what HEAD does not want in HTTP/1.1 alone.
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    exchange.note_response(response.status().as_u16());
    response.body_mut().attach(exchange);
    Ok(response)
}

async fn serve(exchange: &mut Exchange, request: Request<Incoming>) -> Result<Response<ResponseBody>, Reason> {
    let (mut parts, body) = request.into_parts();
    let authority = framing::check(&parts, framing::Rules::default()).map_err(|refusal| refused(exchange, refusal))?;
    let host = authority.as_ref().map_or("", |authority| authority.host.as_str());
    exchange.note_host(host);
    normalize(&mut parts)?;
    if parts.version >= Version::HTTP_2 {
        cookies::join(&mut parts.headers);
    }

    let site = exchange.connection.site().ok_or(Reason::NoSite)?;
    let listener = listener(exchange, &site, host)?;
    exchange.note_listener(&site.listeners[listener]);
    let found = find(&site, listener, host, &parts).ok_or(Reason::NoRoute)?;
    let (route, rule, live) = site.rule(listener, found).ok_or(Reason::NoRoute)?;
    exchange.is_grpc |= rule.is_grpc;
    exchange.note_place(&site.site.listeners[listener].name, &route.owner, || {
        rule.name.clone().unwrap_or_else(|| found.rule.to_string())
    });

    let asked = upgrade::wanted(&parts);
    let shown = rule.session.as_ref().and_then(|session| session::shown(session, &parts.headers));
    let hops = hop_by_hop::strip(&mut parts.headers);
    tell(exchange, &mut parts);
    let scene = Scene {
        scheme: exchange.connection.forwarded.scheme(),
        host,
        port: exchange.connection.local.port(),
        matched_prefix: site.router.matched_prefix(listener, found),
    };
    let changes = match apply(&live.filters, &mut parts, &scene)? {
        Applied::Changed(changes) => changes,
        Applied::Answer(answer) => return Ok(answer.map(|()| ResponseBody::empty())),
    };
    let matched = rule.matches.get(found.matched);
    let cookie = session::Scope::new(matched, exchange.connection.listener.is_some());
    let asker = Asker { client: exchange.client, headers: Some(&parts.headers) };
    let served = match choose(rule, live, (shown, cookie), &asker, &changes) {
        Ok(target) => carry(exchange, parts, body, &hops, target, &scene, asked).await,
        Err(reason) => Err(reason),
    };
    // What is answered in the backend's place is changed as its own answer would be: a script of another origin shall see it.
    Ok(served.unwrap_or_else(|reason| {
        exchange.fail(reason);
        let mut response = reject::response(reason, exchange.is_grpc);
        live.filters.filters.on_response(response.headers_mut(), &changes);
        response
    }))
}

/// Carries a request to where it goes.
async fn carry(
    exchange: &mut Exchange,
    mut parts: Parts,
    body: Incoming,
    hops: &Hops,
    mut target: Target<'_>,
    scene: &Scene<'_>,
    asked: Option<upgrade::Asked>,
) -> Result<Response<ResponseBody>, Reason> {
    let live = target.live;
    let filters = &live.reference_filters[target.index];
    match apply(filters, &mut parts, scene)? {
        Applied::Changed(changes) => target.own_changes = changes,
        Applied::Answer(answer) => return Ok(answer.map(|()| ResponseBody::empty())),
    }
    if let Some(asked) = asked {
        return Box::pin(upgrade::serve(exchange, parts, body, hops, &target, asked)).await;
    }
    let outgoing = prepare(exchange, parts, body, hops, &target);
    let answer = attempts(exchange, outgoing, &target).await?;
    let mut response = target.answer(answer);
    response.body_mut().look_ahead().await;
    Ok(response)
}

fn refused(exchange: &mut Exchange, refusal: framing::Refusal) -> Reason {
    exchange.note_detail(refusal.name());
    match refusal {
        framing::Refusal::ConnectNotAllowed => Reason::ConnectRefused,
        _ => Reason::BadRequest,
    }
}

/// Brings the path into the form that is matched and sent on. That of `OPTIONS *` stays.
pub fn normalize(parts: &mut Parts) -> Result<(), Reason> {
    if parts.uri.path() == "*" {
        return Ok(());
    }
    let Cow::Owned(path) = path::normalize(parts.uri.path()).map_err(|_| Reason::BadRequest)? else { return Ok(()) };
    let target = match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(target.parse().map_err(|_| Reason::BadRequest)?);
    parts.uri = Uri::from_parts(uri).map_err(|_| Reason::BadRequest)?;
    Ok(())
}

/// The listener for a request. Within TLS it must be that of the connection: a client that found two hosts in one
/// certificate is told to open another connection (RFC 9110, 15.5.20).
fn listener(exchange: &Exchange, site: &LiveSite, host: &str) -> Result<usize, Reason> {
    let Some(name) = &exchange.connection.listener else {
        return site.router.plain_listener(host).ok_or(Reason::NoRoute);
    };
    let own = site.listener_named(name).ok_or(Reason::Misdirected)?;
    match site.router.secure_listener(host) {
        Some(listener) if listener == own => Ok(listener),
        Some(_) => Err(Reason::Misdirected),
        None => Err(Reason::NoRoute),
    }
}

fn find(site: &LiveSite, listener: usize, host: &str, parts: &Parts) -> Option<Found> {
    let path = if parts.uri.path() == "*" { "/" } else { parts.uri.path() };
    let (query, method, headers) = (parts.uri.query(), &parts.method, &parts.headers);
    site.router.find(listener, &router::Request { host, path, query, method, headers })
}

/// Tells the backend who asks. HTTP/2 says in the target what HTTP/1.1 says in `Host`; behind here that is always there.
fn tell(exchange: &Exchange, parts: &mut Parts) {
    parts.headers.reserve(TOLD_FIELDS);
    if let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, host);
    }
    if parts.version >= Version::HTTP_2 {
        // Nobody waits for "100 Continue" there, and hyper would not send it.
        parts.headers.remove(EXPECT);
    }
    exchange.connection.forwarded.tell(&mut parts.headers);
    if !parts.headers.contains_key(HOST) {
        // HTTP/1.0 may leave it out, and nobody else.
        let authority = reached(exchange.connection.local, exchange.connection.forwarded.scheme());
        if let Ok(host) = HeaderValue::try_from(authority) {
            parts.headers.insert(HOST, host);
        }
    }
}

/// What a client has reached that does not say whom it asks: our address, and the port if the scheme does not say it.
fn reached(local: SocketAddr, scheme: &str) -> String {
    let local = SocketAddr::new(local.ip(), local.port());
    match (local, scheme, local.port()) {
        (SocketAddr::V4(local), "http", 80) | (SocketAddr::V4(local), "https", 443) => local.ip().to_string(),
        (SocketAddr::V6(local), "http", 80) | (SocketAddr::V6(local), "https", 443) => format!("[{}]", local.ip()),
        _ => local.to_string(),
    }
}

/// What filters made of a request.
enum Applied {
    Changed(Changes),
    Answer(Response<()>),
}

fn apply(live: &LiveFilters, parts: &mut Parts, scene: &Scene<'_>) -> Result<Applied, Reason> {
    match live.filters.on_request(parts, scene) {
        Outcome::Forward(changes) => Ok(Applied::Changed(changes)),
        Outcome::Answer(answer) => Ok(Applied::Answer(answer)),
        Outcome::Broken => Err(Reason::BrokenFilter),
    }
}

/// Where a request goes, and by which rule.
pub struct Target<'a> {
    rule: &'a Rule,
    live: &'a LiveRule,
    /// The reference, by its place in the rule, in the model, and ready.
    index: usize,
    backend: &'a BackendRef,
    reference: &'a Reference,
    /// The backend that comes first.
    choice: Choice,
    shown: Option<session::Token>,
    cookie: session::Scope<'a>,
    /// What the filters of the rule want beside what they did.
    changes: &'a Changes,
    /// The same of those of the reference.
    own_changes: Changes,
}

fn choose<'a>(
    rule: &'a Rule,
    live: &'a LiveRule,
    (shown, cookie): (Option<session::Token>, session::Scope<'a>),
    asker: &Asker<'_>,
    changes: &'a Changes,
) -> Result<Target<'a>, Reason> {
    let known = shown.and_then(|token| live.sessions.get(&token.backend)).copied();
    // A session holds as long as its Pod can serve, or no other can.
    let stays = known.filter(|&(index, member)| live.references.all[index].may_stay(member));
    let index = stays.map_or_else(|| live.references.choose(), |(index, _)| Ok(index))?;
    let (backend, reference) = (&rule.backends[index], &live.references.all[index]);
    let choice = stays.map_or_else(|| reference.choose(asker), |(_, member)| Ok(reference.stay(member)))?;
    let own_changes = Changes::default();
    Ok(Target { rule, live, index, backend, reference, choice, shown, cookie, changes, own_changes })
}

/// The request as the backend shall see it, whichever member it is.
fn prepare(exchange: &Exchange, parts: Parts, body: Incoming, hops: &Hops, target: &Target<'_>) -> Outgoing {
    let mut client_body = (!body.is_end_stream()).then(|| {
        // A call of gRPC may be silent for as long as it likes; its connection is asked whether it is there. Others would keep
        // as many of a backend's streams as a client can open.
        let may_be_silent = exchange.is_grpc && parts.version >= Version::HTTP_2;
        let pause = (!may_be_silent).then_some(exchange.connection.worker.options.body_timeout);
        Box::new(ClientBody::new(body, pause, exchange.upload()))
    });
    let mut outgoing = target.outgoing(exchange, parts, hops);
    target.mirror(exchange, &outgoing, client_body.as_deref_mut());
    if let Some(mut client_body) = client_body {
        if outgoing.expects_continue() {
            let gate = Gate::default();
            client_body.wait_for(gate.clone());
            outgoing.gate = Some(gate);
        }
        outgoing.body = RequestBody::Client(client_body);
    }
    outgoing
}

impl Target<'_> {
    fn deadline(&self, exchange: &Exchange) -> Option<Instant> {
        self.rule.timeouts.request.map(|limit| exchange.start + limit)
    }

    /// The end of an attempt that begins now, or of the request if that comes first.
    fn limit(&self, deadline: Option<Instant>) -> Option<Limit> {
        let of_attempt = self.rule.timeouts.backend_request.map(|limit| Instant::now() + limit);
        let of_attempt = of_attempt.map(|at| Limit { at, reason: Reason::BackendTimeout });
        let of_request = deadline.map(|at| Limit { at, reason: Reason::RequestTimeout });
        of_request.into_iter().chain(of_attempt).min_by_key(|limit| limit.at)
    }

    /// A request's head as the backend shall see it: the nearest filter says the host, else the reference, else the client.
    pub fn outgoing(&self, exchange: &Exchange, parts: Parts, hops: &Hops) -> Outgoing {
        let mut outgoing = Outgoing::new(parts, hops, exchange.connection.forwarded.scheme());
        match self.own_changes.host.as_ref().or(self.changes.host.as_ref()) {
            Some(host) => outgoing.set_host(host.clone()),
            None => outgoing.set_host_header(self.backend),
        }
        outgoing
    }

    /// An answer's head as the client shall see it.
    pub fn finish(&self, member: usize, headers: &mut HeaderMap) {
        if let Some(session) = &self.rule.session {
            let token = session::backend_token(&self.reference.members[member].0.key.backend);
            session::tell(session, self.shown, token, self.cookie, headers);
        }
        self.live.reference_filters[self.index].filters.on_response(headers, &self.own_changes);
        self.live.filters.filters.on_response(headers, self.changes);
    }

    /// An answer as the client shall get it.
    pub fn answer(&self, answer: Answer) -> Response<ResponseBody> {
        let Answer { response, lease, member, limit } = answer;
        let (mut parts, body) = response.into_parts();
        parts.version = Version::HTTP_11;
        hop_by_hop::strip(&mut parts.headers);
        self.finish(member, &mut parts.headers);
        Response::from_parts(parts, ResponseBody::backend(body, lease, limit))
    }

    /// Sends the copies that the rule and the reference want.
    fn mirror(&self, exchange: &Exchange, outgoing: &Outgoing, mut body: Option<&mut ClientBody>) {
        for live in [&self.live.filters, &self.live.reference_filters[self.index]] {
            for (wanted, live) in live.filters.mirrors().iter().zip(&live.mirrors) {
                if !live.is_due(wanted.fraction) {
                    continue;
                }
                let mut copy = outgoing.head();
                if let Some(body) = &mut body {
                    let (tap, copied) = mirror::pair();
                    body.copy_to(tap);
                    copy.body = RequestBody::Mirror(copied);
                }
                copy.set_host_header(&wanted.backend);
                let asker = Asker { client: exchange.client, headers: Some(&outgoing.headers) };
                if let Ok(choice) = live.reference.choose(&asker) {
                    let endpoint = Arc::clone(&live.reference.members[choice.member].0);
                    mirror::send(Arc::clone(&exchange.connection.worker), endpoint, exchange.ends(), copy);
                }
            }
        }
    }
}

impl LiveMirror {
    /// Whether this request is one of those that are copied: exactly so many of so many.
    fn is_due(&self, (numerator, denominator): (u32, u32)) -> bool {
        let (numerator, denominator) = (u64::from(numerator), u64::from(denominator.max(1)));
        let before = self.passed.fetch_add(1, Relaxed) % denominator;
        (before + 1) * numerator / denominator > before * numerator / denominator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_a_host_with_the_port_that_the_scheme_does_not_say() {
        let cases = [
            ("192.0.2.1:80", "http", "192.0.2.1"),
            ("192.0.2.1:80", "https", "192.0.2.1:80"),
            ("192.0.2.1:8080", "http", "192.0.2.1:8080"),
            ("[2001:db8::1]:443", "https", "[2001:db8::1]"),
            ("[2001:db8::1]:80", "https", "[2001:db8::1]:80"),
        ];

        for (local, scheme, host) in cases {
            assert_eq!(reached(local.parse().unwrap(), scheme), host);
        }
    }
}
