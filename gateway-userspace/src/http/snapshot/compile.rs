//! Makes a site of the model ready for requests, with all that an earlier version of it can hand on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use gateway_common::FrontendKey;
use tokio_util::sync::CancellationToken;

use super::{LiveFilters, LiveListener, LiveMirror, LiveRule, LiveSite, Problem, Registry, is_same_kind, is_tls};
use crate::http::counters::Apart;
use crate::http::endpoint::{Endpoint, EndpointKey};
use crate::http::filters::Filters;
use crate::http::options::Options;
use crate::http::pick::{Reference, References, Wheel};
use crate::http::reject::Reason;
use crate::http::router::Router;
use crate::http::session::backend_token;
use crate::http::tls::{ClientTls, ServerTls, TlsError};
use crate::model::http::{BackendRef, BackendTls, Filter, Handling, Listener, Rule, Session, Site, Termination};
use crate::model::{Backend, fingerprint};

/// What is offered to clients of HTTPS.
const HTTPS_ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A site that demands the PROXY protocol of everybody, where nobody is believed.
#[derive(Debug, thiserror::Error)]
#[error(
    "{owner} wants connections to begin with the PROXY protocol, but no proxy is trusted, so that all are refused: name the \
     proxies with `--trusted-proxies`"
)]
struct NobodyTrusted<'a> {
    owner: &'a str,
}

/// A site that is being made ready.
pub struct Compiler<'a> {
    frontend: FrontendKey,
    previous: Option<&'a LiveSite>,
    registry: &'a mut Registry,
    options: &'a Options,
    problems: Vec<Problem>,
    cursors: HashMap<String, Arc<AtomicU64>>,
    endpoints: HashMap<EndpointKey, Arc<Endpoint>>,
    /// The listener that is at work, for problems.
    listener: String,
}

impl<'a> Compiler<'a> {
    /// For a frontend, after an earlier version if there is one.
    pub fn new(
        frontend: FrontendKey,
        previous: Option<&'a LiveSite>,
        registry: &'a mut Registry,
        options: &'a Options,
    ) -> Self {
        Self {
            frontend,
            previous,
            registry,
            options,
            problems: Vec::new(),
            cursors: HashMap::new(),
            endpoints: HashMap::new(),
            listener: String::new(),
        }
    }

    /// The site, ready. Its endpoints are counted in the registry.
    pub fn compile(mut self, site: &Arc<Site>) -> LiveSite {
        let alike = self.previous.filter(|previous| previous.is_tls() == is_tls(site));
        let gone = alike.map_or_else(CancellationToken::new, |previous| previous.gone.clone());
        let (router, bad_expressions) = Router::new(Arc::clone(site));
        for bad in &bad_expressions {
            self.complain(bad);
        }
        if site.needs_proxy_header && self.options.trusted_proxies.is_empty() {
            self.complain(&NobodyTrusted { owner: &site.owner });
        }
        let listeners = site.listeners.iter().map(|listener| self.listener(listener, &gone)).collect();
        let connections = self.previous.map(|previous| previous.connections.clone());
        let connections = connections.unwrap_or_else(|| Apart::new(self.options.workers));
        for (key, endpoint) in &self.endpoints {
            self.registry.endpoints.entry(*key).or_insert_with(|| (Arc::clone(endpoint), 0)).1 += 1;
        }
        LiveSite {
            site: Arc::clone(site),
            router,
            listeners,
            gone,
            connections,
            problems: self.problems,
            cursors: self.cursors,
            endpoints: self.endpoints,
        }
    }

    fn listener(&mut self, listener: &Listener, site_gone: &CancellationToken) -> LiveListener {
        self.listener.clone_from(&listener.name);
        let previous = self.previous.and_then(|previous| {
            let index = previous.listener_named(&listener.name)?;
            let is_same = is_same_kind(&previous.site.listeners[index].handling, &listener.handling);
            is_same.then(|| &previous.listeners[index])
        });
        let gone = previous.map_or_else(|| site_gone.child_token(), |previous| previous.gone.clone());
        let tls = match &listener.handling {
            Handling::Https(termination, _) => self.termination(termination, &HTTPS_ALPN, previous),
            Handling::TlsTerminate(termination, _) => self.termination(termination, &[], previous),
            Handling::Http(_) | Handling::TlsPassthrough(_) => None,
        };
        let routes = match &listener.handling {
            Handling::Http(routes) | Handling::Https(_, routes) => (routes.iter())
                .map(|route| {
                    let rules = route.rules.iter().enumerate();
                    rules.map(|(index, rule)| self.rule(&format!("{} {index}", route.owner), rule)).collect()
                })
                .collect(),
            Handling::TlsPassthrough(routes) | Handling::TlsTerminate(_, routes) => {
                routes.iter().map(|route| vec![self.backends(&route.owner, &route.backends, &[], None)]).collect()
            }
        };
        let requests = previous.map_or_else(|| Apart::new(self.options.workers), |previous| previous.requests.clone());
        LiveListener { tls, routes, gone, requests }
    }

    fn termination(
        &mut self,
        termination: &Termination,
        alpn: &[&[u8]],
        previous: Option<&LiveListener>,
    ) -> Option<ServerTls> {
        let previous = previous.and_then(|previous| previous.tls.as_ref());
        match ServerTls::new(&self.listener, termination, alpn, previous) {
            Ok((tls, problems)) => {
                for problem in &problems {
                    self.complain(problem);
                }
                Some(tls)
            }
            Err(problem) => {
                self.complain(&problem);
                None
            }
        }
    }

    fn complain(&mut self, problem: &dyn std::error::Error) {
        let problem =
            Problem { frontend: self.frontend, listener: self.listener.clone(), message: problem.to_string() };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn rule(&mut self, name: &str, rule: &Rule) -> LiveRule {
        self.backends(name, &rule.backends, &rule.filters, rule.session.as_ref())
    }

    fn backends(
        &mut self,
        name: &str,
        backends: &[BackendRef],
        filters: &[Filter],
        session: Option<&Session>,
    ) -> LiveRule {
        let name = format!("{} {name}", self.listener);
        let all: Vec<Reference> = backends.iter().map(|backend| self.reference(&name, backend)).collect();
        let weights: Vec<u32> = backends.iter().map(|backend| backend.group.weight).collect();
        let reference_filters = (backends.iter())
            .map(|backend| self.filters(&format!("{name} {}", backend.group.reference), &backend.filters))
            .collect();
        let filters = self.filters(&name, filters);
        let wheel = Wheel::new(&weights, self.cursor(name));
        let sessions = if session.is_some() { sessions(&all) } else { HashMap::new() };
        LiveRule { references: References { all, wheel }, filters, reference_filters, sessions }
    }

    fn filters(&mut self, name: &str, filters: &[Filter]) -> LiveFilters {
        let filters = Filters::new(filters);
        let mirrors = (filters.mirrors().iter().enumerate())
            .map(|(index, mirror)| LiveMirror {
                reference: self.reference(&format!("{name} mirror {index}"), &mirror.backend),
                passed: self.cursor(format!("{name} mirror {index} passed")),
            })
            .collect();
        LiveFilters { filters, mirrors }
    }

    fn reference(&mut self, name: &str, backend: &BackendRef) -> Reference {
        let tls = match backend.tls.as_ref().map(|tls| self.client_tls(tls)).transpose() {
            Ok(tls) => tls,
            Err(problem) => {
                self.complain(&problem);
                return Reference::unusable(Reason::BackendTls);
            }
        };
        if backend.is_broken {
            return Reference::unusable(Reason::BrokenReference);
        }
        let members = (backend.group.members.iter())
            .map(|(identity, member)| (self.endpoint(identity, backend, tls.as_ref()), Arc::from(member.name.as_str())))
            .collect();
        let weights: Vec<u32> = backend.group.members.values().map(|member| u32::from(member.weight)).collect();
        let cursor = self.cursor(format!("{name} {}", backend.group.reference));
        Reference::new(members, weights, backend.picker.clone(), cursor)
    }

    /// The cursor of this name: the earlier version's, if it had one.
    fn cursor(&mut self, name: String) -> Arc<AtomicU64> {
        let previous = self.previous.and_then(|previous| previous.cursors.get(&name)).cloned().unwrap_or_default();
        Arc::clone(self.cursors.entry(name).or_insert(previous))
    }

    fn endpoint(&mut self, identity: &Backend, of: &BackendRef, tls: Option<&Arc<ClientTls>>) -> Arc<Endpoint> {
        let tls_id = tls.map_or(0, |tls| tls.id);
        let check = of.health_check.as_ref().map_or(0, |check| fingerprint(&format!("{check:?}")));
        let key = EndpointKey { backend: *identity, speech: of.speech, tls: tls_id, proxy: of.proxy, check };
        let known = self.endpoints.get(&key).or_else(|| self.registry.endpoints.get(&key).map(|(known, _)| known));
        let endpoint = known
            .cloned()
            .unwrap_or_else(|| Arc::new(Endpoint::new(key, tls.cloned(), of.health_check.clone(), self.options)));
        self.endpoints.insert(key, Arc::clone(&endpoint));
        endpoint
    }

    /// The configuration for a policy: one that is in use, if it was made of the same.
    fn client_tls(&mut self, tls: &Arc<BackendTls>) -> Result<Arc<ClientTls>, TlsError> {
        let known = self.registry.tls.iter().find(|(made_of, _)| Arc::ptr_eq(made_of, tls) || made_of == tls);
        if let Some(config) = known.and_then(|(_, config)| config.upgrade()) {
            return Ok(config);
        }
        let config = Arc::new(ClientTls::new(tls)?);
        self.registry.tls.push((Arc::clone(tls), Arc::downgrade(&config)));
        Ok(config)
    }
}

/// Where clients stay, by the backends' tokens.
fn sessions(references: &[Reference]) -> HashMap<u64, (usize, usize)> {
    let mut sessions = HashMap::new();
    for (index, reference) in references.iter().enumerate() {
        for (member, (endpoint, _)) in reference.members.iter().enumerate() {
            sessions.entry(backend_token(&endpoint.key.backend)).or_insert((index, member));
        }
    }
    sessions
}
