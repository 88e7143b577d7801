//! What becomes of a request now, and why nothing else: the road of `forward`, on the snapshot that is served, without
//! sending anything.
//!
//! For people. Nothing is counted or remembered by a question, and no cursor takes a step. Answers are bounded, however
//! large the sites are.

mod destination;

use std::net::IpAddr;

use gateway_common::FrontendKey;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, header};
use serde::{Deserialize, Serialize};

pub use self::destination::{Destination, MemberView};
use super::filters::{Changes, Outcome, Scene};
use super::forward;
use super::framing;
use super::reject::Reason;
use super::router::{self, Considered, http_routes_of, tls_routes_of};
use super::snapshot::{LiveSite, Snapshot};
use crate::model::http::{Handling, Hostname, Listener, Route, Rule, text};

/// Frontends of which an answer tells all; of the others it has the number.
const MOST_SITES: usize = 64;

/// Listeners, and matches, of which one frontend's part tells.
const MOST_CONSIDERED: usize = 200;

/// Hosts that an answer names.
const MOST_HOSTS: usize = 1000;

/// A request that somebody asks about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The frontend's address; none: all.
    pub address: Option<IpAddr>,
    /// The frontend's port; none: all.
    pub port: Option<u16>,
    /// Whether the request comes within TLS.
    pub is_secure: bool,
    /// The name in the `ClientHello`; none: the host.
    pub server_name: Option<String>,
    /// The method.
    pub method: String,
    /// What stands in `Host`.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

/// A question that no client could ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuestion {
    /// The method.
    #[error("the method `{0}` is none: write GET, POST or another token")]
    Method(String),
    /// The path.
    #[error("the path `{0}` is none: begin it with `/`, and encode blanks")]
    Path(String),
    /// A header's name.
    #[error("the header name `{0}` is none: write letters, digits and `-`")]
    HeaderName(String),
    /// A header's value.
    #[error("the value of the header `{0}` has characters that no header may have")]
    HeaderValue(String),
    /// The host is a header, too.
    #[error("the header `host` is asked for twice: name it by --host alone")]
    SecondHost,
}

/// What there is to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The frontends that were asked about, those that serve the request first.
    pub frontends: Vec<Explained>,
    /// How many more there are.
    pub more_frontends: usize,
    /// Hosts that these frontends serve.
    pub hosts: Vec<String>,
    /// How many more of these there are.
    pub more_hosts: usize,
}

/// What a request meets at one frontend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// `TCP 192.0.2.1:80`.
    pub frontend: String,
    /// The object that asked for it.
    pub owner: String,
    /// The name of the listener that is met.
    pub listener: Option<String>,
    /// What was met there.
    pub met: Option<Met>,
    /// What becomes of the request.
    pub verdict: Verdict,
    /// All listeners, in their order.
    pub listeners: Vec<Considered>,
    /// The matches, or TLS routes, of the listener that is met, in their order.
    pub routes: Vec<Considered>,
    /// How many more matches there are.
    pub more_routes: usize,
}

/// What becomes of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// `forwarded`, `relayed`, `answered`, or the reason's name.
    pub name: String,
    /// The status that the client gets, where that is settled here.
    pub status: Option<u16>,
    /// In words.
    pub text: String,
}

/// The route and rule that are met.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Met {
    /// The route.
    pub route: String,
    /// The rule's place in it, from 0.
    pub rule: usize,
    /// The rule's name.
    pub rule_name: Option<String>,
    /// The match's place in the rule, from 0.
    #[serde(rename = "match")]
    pub matched: usize,
    /// What the match asks for.
    pub condition: String,
    /// The rule's filters, in order.
    pub filters: Vec<String>,
    /// Its time-outs, retries and sessions.
    pub terms: Vec<String>,
    /// Where requests go, by weight.
    pub destinations: Vec<Destination>,
}

impl Verdict {
    fn of(reason: Reason) -> Self {
        Self::because(reason, reason.sentence())
    }

    /// Not served; without TLS, or without a listener for its name, nobody is there who could answer.
    fn because(reason: Reason, text: &str) -> Self {
        let is_answered = !matches!(reason, Reason::TlsHandshake | Reason::NoListener);
        let status = is_answered.then(|| reason.status().as_u16());
        Self { name: reason.name().to_owned(), status, text: text.to_owned() }
    }

    fn new(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), status: None, text: text.to_owned() }
    }

    /// Whether the request is served, be it here or by a backend.
    pub fn is_served(&self) -> bool {
        matches!(self.name.as_str(), "forwarded" | "relayed" | "answered")
    }
}

impl Question {
    /// Whether anybody could ask that.
    pub fn check(&self) -> Result<(), BadQuestion> {
        self.parts().map(|_| ())
    }

    /// The request, as hyper would hand it over.
    fn parts(&self) -> Result<Parts, BadQuestion> {
        let method =
            Method::from_bytes(self.method.as_bytes()).map_err(|_| BadQuestion::Method(self.method.clone()))?;
        let bad_path = || BadQuestion::Path(self.path.clone());
        if !self.path.starts_with('/') && self.path != "*" {
            return Err(bad_path());
        }
        let request = Request::builder().method(method).uri(self.path.as_str()).body(()).map_err(|_| bad_path())?;
        let (mut parts, ()) = request.into_parts();
        let host = HeaderValue::from_str(&self.host).map_err(|_| BadQuestion::HeaderValue("host".to_owned()))?;
        parts.headers.insert(header::HOST, host);
        for (name, value) in &self.headers {
            let bad_value = |_| BadQuestion::HeaderValue(name.clone());
            let value = HeaderValue::from_str(value).map_err(bad_value)?;
            let name = HeaderName::try_from(name).map_err(|_| BadQuestion::HeaderName(name.clone()))?;
            if name == header::HOST {
                return Err(BadQuestion::SecondHost);
            }
            parts.headers.append(name, value);
        }
        Ok(parts)
    }

    fn is_about(&self, frontend: &FrontendKey) -> bool {
        self.address.is_none_or(|address| address.to_canonical() == frontend.address.to_ip())
            && self.port.is_none_or(|port| port == frontend.port.get())
    }
}

/// Answers a question.
pub fn explain(snapshot: &Snapshot, question: &Question) -> Result<Answer, BadQuestion> {
    let parts = question.parts()?;
    let asked = snapshot.sites().filter(|(frontend, _)| question.is_about(frontend));
    let mut frontends: Vec<(FrontendKey, Explained)> = asked
        .clone()
        .map(|(&frontend, site)| (frontend, Inquiry { question, frontend, site }.answer(&parts)))
        .collect();
    frontends.sort_by_key(|(key, explained)| {
        (!explained.verdict.is_served(), explained.met.is_none(), explained.listener.is_none(), *key)
    });
    let more_frontends = frontends.len().saturating_sub(MOST_SITES);
    frontends.truncate(MOST_SITES);
    let mut hosts: Vec<String> = asked.flat_map(|(_, site)| hosts(site)).collect();
    hosts.sort();
    hosts.dedup();
    let more_hosts = hosts.len().saturating_sub(MOST_HOSTS);
    hosts.truncate(MOST_HOSTS);
    let frontends = frontends.into_iter().map(|(_, explained)| explained).collect();
    Ok(Answer { frontends, more_frontends, hosts, more_hosts })
}

/// The hosts that a site serves: those of the routes, or else of the listener.
fn hosts(site: &LiveSite) -> Vec<String> {
    let of_listener = |listener: &Listener| -> Vec<String> {
        let own = || listener.hostname.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
        let at_listener = |name: &Hostname| match &listener.hostname {
            Some(own) => own.intersection(name),
            None => Some(name.clone()),
        };
        let http = http_routes_of(listener).iter().map(|route| &route.hostnames);
        let tls = tls_routes_of(listener).iter().map(|route| &route.hostnames);
        let names = |hostnames: &Vec<Hostname>| -> Vec<String> {
            if hostnames.is_empty() {
                return vec![own()];
            }
            hostnames.iter().filter_map(at_listener).map(|name| name.to_string()).collect()
        };
        http.chain(tls).flat_map(names).collect()
    };
    site.site.listeners.iter().flat_map(of_listener).collect()
}

/// A question at one frontend.
struct Inquiry<'a> {
    question: &'a Question,
    frontend: FrontendKey,
    site: &'a LiveSite,
}

impl Inquiry<'_> {
    fn answer(&self, parts: &Parts) -> Explained {
        let mut explained = Explained {
            frontend: self.frontend.to_string(),
            owner: self.site.site.owner.clone(),
            ..Explained::default()
        };
        explained.verdict = match framing::check(parts, framing::Rules::default()) {
            Err(refusal) => Verdict::because(Reason::BadRequest, &refusal.to_string()),
            Ok(authority) => {
                let host = authority.map_or_else(String::new, |authority| authority.host);
                self.serve(&mut explained, &host, parts.clone())
            }
        };
        explained.listeners.truncate(MOST_CONSIDERED);
        explained.more_routes = explained.routes.len().saturating_sub(MOST_CONSIDERED);
        // What is met is told even if it comes late.
        if let Some(met) = explained.routes.iter().position(|route| route.why_not.is_none())
            && met >= MOST_CONSIDERED
        {
            explained.routes.swap(met, MOST_CONSIDERED - 1);
        }
        explained.routes.truncate(MOST_CONSIDERED);
        explained
    }

    fn serve(&self, explained: &mut Explained, host: &str, parts: Parts) -> Verdict {
        let Self { question, site, .. } = self;
        let server_name = question.server_name.as_ref().map(|name| name.to_ascii_lowercase());
        let name = server_name.as_deref().filter(|_| question.is_secure).unwrap_or(host);
        explained.listeners = site.router.consider_listeners(question.is_secure, name);
        match (question.is_secure, site.is_tls()) {
            (true, false) => Verdict::because(Reason::BadRequest, "this frontend is not for TLS"),
            (false, true) => Verdict::because(Reason::TlsHandshake, "this frontend is for TLS alone"),
            _ => self.meet(explained, host, name, parts).unwrap_or_else(Verdict::of),
        }
    }

    /// Which listener is met, and what there.
    fn meet(&self, explained: &mut Explained, host: &str, name: &str, mut parts: Parts) -> Result<Verdict, Reason> {
        let Self { question, site, .. } = self;
        forward::normalize(&mut parts)?;
        let listener = if question.is_secure {
            site.router.secure_listener(name).ok_or(Reason::NoListener)?
        } else {
            site.router.plain_listener(host).ok_or(Reason::NoRoute)?
        };
        let chosen = &site.site.listeners[listener];
        explained.listener = Some(chosen.name.clone());
        match &chosen.handling {
            Handling::TlsPassthrough(_) | Handling::TlsTerminate(..) => self.relay(explained, listener, name),
            Handling::Https(..) if site.router.secure_listener(host) != Some(listener) => {
                Err(site.router.secure_listener(host).map_or(Reason::NoRoute, |_| Reason::Misdirected))
            }
            Handling::Http(_) | Handling::Https(..) => self.forward(explained, listener, host, parts),
        }
    }

    fn relay(&self, explained: &mut Explained, listener: usize, name: &str) -> Result<Verdict, Reason> {
        let Self { site, .. } = self;
        explained.routes = site.router.consider_tls_routes(listener, name);
        let index = site.router.find_tls(listener, name).ok_or(Reason::NoRoute)?;
        let route = &tls_routes_of(&site.site.listeners[listener])[index];
        let live = &site.listeners[listener].routes[index][0];
        let destinations = destination::of_connection(&route.backends, live);
        explained.met = Some(Met { route: route.owner.clone(), destinations, ..Met::default() });
        live.references.is_weighted().then_some(()).ok_or(Reason::NoBackends)?;
        Ok(Verdict::new("relayed", "the connection is relayed to a backend by weight"))
    }

    fn forward(
        &self,
        explained: &mut Explained,
        listener: usize,
        host: &str,
        mut parts: Parts,
    ) -> Result<Verdict, Reason> {
        let Self { question, frontend, site } = self;
        let path = if parts.uri.path() == "*" { "/" } else { parts.uri.path() };
        let (query, method, headers) = (parts.uri.query(), &parts.method, &parts.headers);
        let request = router::Request { host, path, query, method, headers };
        explained.routes = site.router.consider_matches(listener, &request);
        let found = site.router.find(listener, &request).ok_or(Reason::NoRoute)?;
        let (route, rule, live) = site.rule(listener, found).ok_or(Reason::NoRoute)?;
        let mut met = Met::new(route, rule, found);
        let scene = Scene {
            scheme: if question.is_secure { "https" } else { "http" },
            host,
            port: frontend.port.get(),
            matched_prefix: site.router.matched_prefix(listener, found),
        };
        let before = parts.headers.clone();
        let outcome = live.filters.filters.on_request(&mut parts, &scene);
        let changes = match settled(outcome) {
            Ok(changes) => changes,
            Err(settled) => {
                explained.met = Some(met);
                return settled;
            }
        };
        met.destinations = destination::of_request(rule, live, (&before, &parts, &changes), &scene);
        explained.met = Some(met);
        live.references.is_weighted().then_some(()).ok_or(Reason::NoBackends)?;
        Ok(Verdict::new("forwarded", "the request goes to a backend by weight"))
    }
}

/// Whether filters let a request go on; if not, what they make of it.
fn settled(outcome: Outcome) -> Result<Changes, Result<Verdict, Reason>> {
    let answer = match outcome {
        Outcome::Forward(changes) => return Ok(changes),
        Outcome::Broken => return Err(Err(Reason::BrokenFilter)),
        Outcome::Answer(answer) => answer,
    };
    let location = answer.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
    let text = match location {
        Some(location) => format!("a filter answers: {} to {location}", answer.status()),
        None => format!("a filter answers: {}", answer.status()),
    };
    Err(Ok(Verdict { name: "answered".to_owned(), status: Some(answer.status().as_u16()), text }))
}

impl Met {
    fn new(route: &Route, rule: &Rule, found: router::Found) -> Self {
        Self {
            route: route.owner.clone(),
            rule: found.rule,
            rule_name: rule.name.clone(),
            matched: found.matched,
            condition: rule.matches.get(found.matched).map(text::condition).unwrap_or_default(),
            filters: rule.filters.iter().map(text::filter).collect(),
            terms: text::terms(rule),
            destinations: Vec::new(),
        }
    }
}
