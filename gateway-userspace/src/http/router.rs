//! Which listener, route and rule a request meets, by Gateway API's precedence.
//!
//! A [`Router`] is compiled from a site once and asked for every request: the listener by host (or by the name in TLS), in
//! it the routes of the best hostname, in these the best match. Hostnames come first, then exact paths, expressions (the
//! longer ones first; the order is left to us), prefixes (the longer first); then whoever names a method, more headers, more
//! query parameters; then the older route, then the earlier rule.

mod conditions;
mod explain;
mod hosts;
mod table;

use std::sync::Arc;

use http::{HeaderMap, Method};

pub use self::explain::Considered;
use self::hosts::Hosts;
use self::table::Table;
use crate::model::http::{Handling, Hostname, Listener, PathMatch, Route, Site, TlsRoute};

/// What of a request decides where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its host, in lower case and without port.
    pub host: &'a str,
    /// Its path, normalised: see [`crate::model::http::path`].
    pub path: &'a str,
    /// What follows the `?`.
    pub query: Option<&'a str>,
    /// Its method.
    pub method: &'a Method,
    /// Its headers.
    pub headers: &'a HeaderMap,
}

/// What a request has met: indices into the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The route among those of its listener.
    pub route: usize,
    /// The rule in the route.
    pub rule: usize,
    /// The match in the rule.
    pub matched: usize,
}

/// An expression of a route that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{owner}: `{expression}` is not a regular expression: {reason}")]
pub struct BadExpression {
    /// The route.
    pub owner: String,
    /// The expression.
    pub expression: String,
    /// Why not.
    pub reason: String,
}

/// The routes of a site, ready to be asked.
#[derive(Debug)]
pub struct Router {
    site: Arc<Site>,
    /// The listeners in the clear, and those within TLS, by host.
    plain: Hosts<usize>,
    secure: Hosts<usize>,
    /// For each listener of the site: its HTTP routes by host, or its TLS routes.
    tables: Vec<Routes>,
}

#[derive(Debug)]
enum Routes {
    Http(Hosts<Table>),
    Tls(Hosts<usize>),
}

impl Router {
    /// Compiles a site. Matches whose expressions are none match nothing, and are told.
    pub fn new(site: Arc<Site>) -> (Self, Vec<BadExpression>) {
        let (mut plain, mut secure, mut bad) = (Hosts::default(), Hosts::default(), Vec::new());
        let mut tables = Vec::new();
        for (index, listener) in site.listeners.iter().enumerate() {
            let hosts = if matches!(listener.handling, Handling::Http(_)) { &mut plain } else { &mut secure };
            hosts.get_or_insert_with(listener.hostname.as_ref(), || index);
            tables.push(match &listener.handling {
                Handling::Http(routes) | Handling::Https(_, routes) => Routes::Http(http_routes(routes, &mut bad)),
                Handling::TlsPassthrough(routes) | Handling::TlsTerminate(_, routes) => Routes::Tls(tls_routes(routes)),
            });
        }
        plain.settle();
        secure.settle();
        (Self { site, plain, secure, tables }, bad)
    }

    /// The site.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// The listener of a request in the clear, by its host.
    pub fn plain_listener(&self, host: &str) -> Option<usize> {
        self.plain.best(host).copied()
    }

    /// The listener of a connection within TLS, by the name that the client asks for; without one, that of every host. Of a
    /// request within TLS, by its host: if that is another than its connection's, the request is misdirected (421).
    pub fn secure_listener(&self, host: &str) -> Option<usize> {
        self.secure.best(host).copied()
    }

    /// What a request meets at its listener.
    pub fn find(&self, listener: usize, request: &Request<'_>) -> Option<Found> {
        match self.tables.get(listener)? {
            Routes::Http(tables) => tables.all(request.host).find_map(|table| table.find(request)),
            Routes::Tls(_) => None,
        }
    }

    /// The TLS route of a connection at its listener, as an index into that listener's routes.
    pub fn find_tls(&self, listener: usize, name: &str) -> Option<usize> {
        match self.tables.get(listener)? {
            Routes::Tls(routes) => routes.best(name).copied(),
            Routes::Http(_) => None,
        }
    }

    /// The route that was found at a listener.
    pub fn route(&self, listener: usize, found: Found) -> Option<&Arc<Route>> {
        http_routes_of(self.site.listeners.get(listener)?).get(found.route)
    }

    /// The prefix that a match has matched of a path, if it matches a prefix.
    pub fn matched_prefix(&self, listener: usize, found: Found) -> Option<&str> {
        let rule = self.route(listener, found)?.rules.get(found.rule)?;
        match &rule.matches.get(found.matched)?.path {
            PathMatch::Prefix(prefix) => Some(prefix),
            _ => None,
        }
    }
}

/// The HTTP routes of a listener; none if it has other ones.
pub fn http_routes_of(listener: &Listener) -> &[Arc<Route>] {
    match &listener.handling {
        Handling::Http(routes) | Handling::Https(_, routes) => routes,
        Handling::TlsPassthrough(_) | Handling::TlsTerminate(..) => &[],
    }
}

/// The TLS routes of a listener; none if it has other ones.
pub fn tls_routes_of(listener: &Listener) -> &[Arc<TlsRoute>] {
    match &listener.handling {
        Handling::TlsPassthrough(routes) | Handling::TlsTerminate(_, routes) => routes,
        Handling::Http(_) | Handling::Https(..) => &[],
    }
}

fn http_routes(routes: &[Arc<Route>], bad: &mut Vec<BadExpression>) -> Hosts<Table> {
    let mut tables: Hosts<Table> = Hosts::default();
    for (index, route) in routes.iter().enumerate() {
        for hostname in each_hostname(&route.hostnames) {
            tables.get_or_insert_with(hostname, Table::default).add(index, route, bad);
        }
    }
    tables.each(Table::settle);
    tables.settle();
    bad.dedup();
    tables
}

/// Of two routes for one name the first wins.
fn tls_routes(routes: &[Arc<TlsRoute>]) -> Hosts<usize> {
    let mut hosts = Hosts::default();
    for (index, route) in routes.iter().enumerate() {
        for hostname in each_hostname(&route.hostnames) {
            hosts.get_or_insert_with(hostname, || index);
        }
    }
    hosts.settle();
    hosts
}

/// No hostname at all means every host.
fn each_hostname(hostnames: &[Hostname]) -> impl Iterator<Item = Option<&Hostname>> {
    let every = hostnames.is_empty().then_some(None);
    hostnames.iter().map(Some).chain(every)
}

#[cfg(test)]
mod tests;
