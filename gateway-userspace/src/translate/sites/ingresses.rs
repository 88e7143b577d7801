//! The sites of Ingresses: one listener in the clear for all hosts, and one within TLS for each host that has a certificate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_common::FrontendKey;

use super::Sites;
use super::rules::Backends;
use crate::model::http::{Handling, Hostname, Listener, Route, Site};
use crate::translate::RouteRef;
use crate::translate::endpoints::Family;
use crate::translate::ingresses::{Entrance, HTTP_PORT, HostRoute, TlsHost};

/// What the HTTP layer does with a frontend of Ingresses.
pub(super) fn site<'a>(sites: Sites<'a>, key: FrontendKey, entrance: &'a Entrance<'a>) -> Site {
    let family = Family::of(key.address);
    let backends = Backends { clusters: sites.clusters, policies: sites.policies, family, client_certificate: None };
    let routes: Vec<Arc<Route>> = entrance.routes.iter().map(|route| self::route(&backends, entrance, route)).collect();
    let name = &entrance.id.name;
    let listeners = if key.port == HTTP_PORT {
        vec![Listener { name: format!("{name}/http"), hostname: None, handling: Handling::Http(routes) }]
    } else {
        let by_host = ByHost::new(&routes);
        let listener = |host: &TlsHost| {
            let routes = by_host.of(host.hostname.as_ref());
            Listener {
                name: host
                    .hostname
                    .as_ref()
                    .map_or_else(|| format!("{name}/https"), |host| format!("{name}/https/{host}")),
                hostname: host.hostname.clone(),
                handling: Handling::Https(host.termination.clone(), routes),
            }
        };
        entrance.tls.iter().map(listener).collect()
    };
    Site { owner: entrance.id.to_string(), listeners, needs_proxy_header: false }
}

fn route<'a>(backends: &Backends<'a>, entrance: &'a Entrance<'a>, route: &'a HostRoute) -> Arc<Route> {
    let id = &entrance.ingresses[route.ingress].id;
    let rules = backends.rules(RouteRef { id, found: &route.found });
    Arc::new(Route { owner: id.to_string(), hostnames: route.hostnames.clone(), rules })
}

/// Routes by the hosts that they are for: with many hosts, few of all routes are any listener's.
struct ByHost<'r> {
    routes: &'r [Arc<Route>],
    those_of: BTreeMap<&'r Hostname, Vec<usize>>,
    of_every_host: Vec<usize>,
}

impl<'r> ByHost<'r> {
    fn new(routes: &'r [Arc<Route>]) -> Self {
        let mut those_of: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, route) in routes.iter().enumerate() {
            for host in &route.hostnames {
                those_of.entry(host).or_default().push(index);
            }
        }
        let of_every_host = routes.iter().enumerate().filter(|(_, route)| route.hostnames.is_empty());
        Self { routes, those_of, of_every_host: of_every_host.map(|(index, _)| index).collect() }
    }

    /// The routes that a listener's requests may meet, in their order.
    fn of(&self, hostname: Option<&Hostname>) -> Vec<Arc<Route>> {
        let mut met: BTreeSet<usize> = self.of_every_host.iter().copied().collect();
        match hostname {
            None => return self.routes.to_vec(),
            Some(exact @ Hostname::Exact(name)) => {
                let above = name.split_once('.').map(|(_, rest)| Hostname::OneLabel(format!(".{rest}").into()));
                let hosts = [Some(exact), above.as_ref()];
                met.extend(hosts.into_iter().flatten().filter_map(|host| self.those_of.get(host)).flatten());
            }
            Some(wildcard) => {
                let shared = self.those_of.iter().filter(|(host, _)| wildcard.intersection(host).is_some());
                met.extend(shared.flat_map(|(_, routes)| routes));
            }
        }
        met.into_iter().map(|index| self.routes[index].clone()).collect()
    }
}
