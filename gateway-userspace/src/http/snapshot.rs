//! The model's sites, made ready for requests: endpoints, weighted choices, TLS.
//!
//! A snapshot never changes; [`Live`] replaces it as a whole. What is kept from one to the next, by identity: sites that
//! did not change, endpoints with their connections, cursors, and what lets clients resume TLS sessions. Connections learn
//! by a token that what they were made for is gone.

mod compile;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use gateway_common::FrontendKey;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::compile::Compiler;
use super::counters::{Apart, Connections, Requests};
use super::endpoint::{Endpoint, EndpointKey};
use super::filters::Filters;
use super::options::Options;
use super::pick::{Reference, References};
use super::router::{Found, Router};
use super::tls::{ClientTls, ServerTls};
use crate::model::http::{BackendTls, Handling, Route, Rule, Site};

/// All sites at one time.
#[derive(Debug, Default)]
pub struct Snapshot {
    sites: HashMap<FrontendKey, Arc<LiveSite>>,
}

impl Snapshot {
    /// What stands behind a frontend.
    pub fn site(&self, frontend: &FrontendKey) -> Option<&Arc<LiveSite>> {
        self.sites.get(frontend)
    }

    /// All frontends, in no order.
    pub fn sites(&self) -> impl Iterator<Item = (&FrontendKey, &LiveSite)> + Clone {
        self.sites.iter().map(|(frontend, site)| (frontend, &**site))
    }
}

/// Something of the model that cannot be served as it is; all else is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The frontend.
    pub frontend: FrontendKey,
    /// The listener's name; empty if it is about none in particular.
    pub listener: String,
    /// What is wrong, with the object and what to do.
    pub message: String,
}

/// A site, ready for requests.
#[derive(Debug)]
pub struct LiveSite {
    /// What the model says.
    pub site: Arc<Site>,
    /// Which listener, route and rule a request meets.
    pub router: Router,
    /// For each listener of the model, in its order.
    pub listeners: Vec<LiveListener>,
    /// Cancelled when the frontend is gone.
    pub gone: CancellationToken,
    /// Its clients' connections, counted.
    pub connections: Apart<Connections>,
    problems: Vec<Problem>,
    cursors: HashMap<String, Arc<AtomicU64>>,
    endpoints: HashMap<EndpointKey, Arc<Endpoint>>,
}

/// A listener, ready for requests.
#[derive(Debug)]
pub struct LiveListener {
    /// TLS, if it ends here and has a certificate that can be used.
    pub tls: Option<ServerTls>,
    /// For each route, for each rule. A route of TLS has one.
    pub routes: Vec<Vec<LiveRule>>,
    /// Cancelled when the listener, or the frontend, is gone.
    pub gone: CancellationToken,
    /// Its requests, counted.
    pub requests: Apart<Requests>,
}

/// A rule, ready for requests.
#[derive(Debug)]
pub struct LiveRule {
    /// Where requests go.
    pub references: References,
    /// What happens to all its requests.
    pub filters: LiveFilters,
    /// For each reference, what happens to requests that go there.
    pub reference_filters: Vec<LiveFilters>,
    /// Where clients stay: reference and member by the backend's token.
    pub sessions: HashMap<u64, (usize, usize)>,
}

/// Filters, ready for requests.
#[derive(Debug)]
pub struct LiveFilters {
    /// What they do.
    pub filters: Filters,
    /// For each of their mirrors, where copies go.
    pub mirrors: Vec<LiveMirror>,
}

/// A mirror, ready for requests.
#[derive(Debug)]
pub struct LiveMirror {
    /// Where copies go.
    pub reference: Reference,
    /// How many requests passed here; of so many of them a copy is made.
    pub passed: Arc<AtomicU64>,
}

impl LiveSite {
    /// The rule that was found at a listener, with its route, and what is ready for it.
    pub fn rule(&self, listener: usize, found: Found) -> Option<(&Route, &Rule, &LiveRule)> {
        let route = self.router.route(listener, found)?;
        let live = self.listeners.get(listener)?.routes.get(found.route)?.get(found.rule)?;
        Some((route, route.rules.get(found.rule)?, live))
    }

    /// The place of a listener by its name.
    pub fn listener_named(&self, name: &str) -> Option<usize> {
        self.site.listeners.iter().position(|listener| listener.name == name)
    }

    /// Whether connections begin with TLS.
    pub fn is_tls(&self) -> bool {
        is_tls(&self.site)
    }
}

/// The current snapshot, and what is needed to make the next one.
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<Snapshot>,
    options: Arc<Options>,
    registry: Mutex<Registry>,
    changes: Notify,
}

/// What the sites share.
#[derive(Debug, Default)]
struct Registry {
    /// Every endpoint that a site names, and how many do.
    endpoints: HashMap<EndpointKey, (Arc<Endpoint>, usize)>,
    /// Configurations of TLS that are in use, by what they were made of.
    tls: Vec<(Arc<BackendTls>, Weak<ClientTls>)>,
}

impl Live {
    /// Nothing is served yet.
    pub fn new(options: Options) -> Arc<Self> {
        let options = Arc::new(Options { workers: options.workers.max(1), ..options });
        Arc::new(Self { current: ArcSwap::default(), options, registry: Mutex::default(), changes: Notify::new() })
    }

    /// The settings that everything here follows.
    pub fn options(&self) -> &Arc<Options> {
        &self.options
    }

    /// The current snapshot, for a moment.
    pub fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// What stands behind a frontend now.
    pub fn site(&self, frontend: &FrontendKey) -> Option<Arc<LiveSite>> {
        self.load().site(frontend).cloned()
    }

    /// Serves these sites from now on, and no others. Returns what of them cannot be served, of all sites in order.
    pub fn install(&self, sites: &BTreeMap<FrontendKey, Arc<Site>>) -> Vec<Problem> {
        let mut registry = self.registry();
        let previous = self.current.load_full();
        let mut next = Snapshot { sites: HashMap::with_capacity(sites.len()) };
        let mut retired: Vec<(FrontendKey, Arc<LiveSite>)> = Vec::new();
        for (&frontend, site) in sites {
            let old = previous.site(&frontend);
            let live = match old {
                Some(old) if Arc::ptr_eq(&old.site, site) || old.site == *site => Arc::clone(old),
                old => {
                    let compiler = Compiler::new(frontend, old.map(|old| &**old), &mut registry, &self.options);
                    retired.extend(old.map(|old| (frontend, Arc::clone(old))));
                    Arc::new(compiler.compile(site))
                }
            };
            next.sites.insert(frontend, live);
        }
        let gone = previous.sites.iter().filter(|(frontend, _)| !sites.contains_key(frontend));
        retired.extend(gone.map(|(&frontend, site)| (frontend, Arc::clone(site))));
        let next = Arc::new(next);
        self.current.store(Arc::clone(&next));

        // Only now does nobody new come to what is gone.
        for (frontend, site) in &retired {
            registry.release(site);
            site.retire(next.site(frontend).map(|site| &**site));
        }
        registry.tls.retain(|(_, config)| config.strong_count() > 0);
        self.changes.notify_one();
        sites.keys().filter_map(|frontend| next.site(frontend)).flat_map(|site| site.problems.clone()).collect()
    }

    /// Every endpoint that a site names now. Those who serve ask this, so it waits for nobody who installs sites.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        let snapshot = self.load();
        let all = snapshot.sites.values().flat_map(|site| &site.endpoints);
        let each: HashMap<&EndpointKey, &Arc<Endpoint>> = all.collect();
        each.into_values().cloned().collect()
    }

    /// Waits until other sites were installed, if that was not told already.
    pub(super) async fn changed(&self) {
        self.changes.notified().await;
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// A site is no longer current: what only it named is closed.
    fn release(&mut self, site: &LiveSite) {
        for key in site.endpoints.keys() {
            let Some((endpoint, uses)) = self.endpoints.get_mut(key) else { continue };
            *uses -= 1;
            if *uses == 0 {
                endpoint.close();
                self.endpoints.remove(key);
            }
        }
    }
}

impl LiveSite {
    /// Another version of it is current, or none: tells connections whose listener, or all of it, is gone.
    fn retire(&self, current: Option<&Self>) {
        let Some(current) = current.filter(|current| current.is_tls() == self.is_tls()) else {
            return self.gone.cancel();
        };
        for (listener, live) in self.site.listeners.iter().zip(&self.listeners) {
            let successor = current.listener_named(&listener.name).map(|index| &current.site.listeners[index]);
            if successor.is_none_or(|successor| !is_same_kind(&successor.handling, &listener.handling)) {
                live.gone.cancel();
            }
        }
    }
}

/// Whether a site's connections begin with TLS.
fn is_tls(site: &Site) -> bool {
    site.listeners.iter().any(|listener| !matches!(listener.handling, Handling::Http(_)))
}

/// Whether connections of one handling are right for the other.
fn is_same_kind(one: &Handling, other: &Handling) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}
