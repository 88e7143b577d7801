//! What the HTTP layer does with a frontend: the listeners of a Gateway at one port, with the routes that each has.
//!
//! Listeners and attachments were judged before; here they are put into the model's words. A listener that cannot take
//! connections is left out, so that what it would have taken meets the next best one or nobody.

mod filters;
mod ingresses;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_common::FrontendKey;

use self::rules::Backends;
use super::attachments::Attachments;
use super::backend_tls::Policies;
use super::endpoints::Family;
use super::gateways::OurGateway;
use super::listeners::{Listener, Speech};
use super::upstreams::Clusters;
use super::{RouteRef, SiteRef};
use crate::model::http::{Handling, Hostname, Listener as HttpListener, Route, Site, TlsRoute};
use crate::source::validate::{PROXY_PROTOCOL_ANNOTATION, parse_proxy_ports};
use crate::source::{Kind, ObjectId};

/// Everything that sites are made of.
#[derive(Clone, Copy)]
pub(super) struct Sites<'a> {
    pub clusters: Clusters<'a>,
    pub attachments: &'a Attachments<'a>,
    pub policies: &'a Policies<'a>,
}

/// Routes that were made for one listener of a site serve others with the same hosts, too.
type Made = BTreeMap<(ObjectId, Vec<Hostname>), Arc<Route>>;

impl<'a> Sites<'a> {
    /// What the HTTP layer does with a frontend.
    pub fn site(self, key: FrontendKey, site: SiteRef<'a>) -> Site {
        match site {
            SiteRef::Gateway(gateway, at) => self.of_gateway(key, gateway, at),
            SiteRef::Ingresses(entrance) => ingresses::site(self, key, entrance),
        }
    }

    fn of_gateway(self, key: FrontendKey, gateway: &OurGateway<'a>, at: usize) -> Site {
        let mut made = Made::new();
        let client_certificate = gateway.client_certificate.as_ref().and_then(|found| found.as_ref().ok());
        let backends = Backends {
            clusters: self.clusters,
            policies: self.policies,
            family: Family::of(key.address),
            client_certificate,
        };
        let listeners = gateway.listeners_of_site(key.port).filter_map(|(index, listener)| {
            let routes = self.attachments.routes((at, index));
            let handling = match listener.speech? {
                Speech::Http => Handling::Http(http_routes(&backends, listener, routes, &mut made)),
                Speech::Https => {
                    let routes = http_routes(&backends, listener, routes, &mut made);
                    Handling::Https(listener.tls.termination(), routes)
                }
                Speech::TlsPassthrough => Handling::TlsPassthrough(tls_routes(&backends, listener, routes, false)),
                Speech::TlsTerminate => {
                    Handling::TlsTerminate(listener.tls.termination(), tls_routes(&backends, listener, routes, true))
                }
                Speech::Tcp | Speech::Udp => return None,
            };
            let name = match listener.set {
                None => format!("{}/{}", listener.owner.name.name, listener.spec.name),
                Some(_) => format!("{}/{}", listener.owner, listener.spec.name),
            };
            Some(HttpListener { name, hostname: listener.hostname.clone(), handling })
        });
        let listeners = listeners.collect();
        let proxy_ports = gateway.found.object.metadata.annotations.as_ref().and_then(|annotations| {
            annotations.get(PROXY_PROTOCOL_ANNOTATION).and_then(|text| parse_proxy_ports(text).ok())
        });
        let needs_proxy_header = proxy_ports.is_some_and(|ports| ports.contains(key.port));
        Site { owner: gateway.id.to_string(), listeners, needs_proxy_header }
    }
}

fn http_routes(
    backends: &Backends<'_>,
    listener: &Listener<'_>,
    routes: &[RouteRef<'_>],
    made: &mut Made,
) -> Vec<Arc<Route>> {
    let route = |route: &RouteRef<'_>| {
        let hostnames = listener.hostnames_of(&route.found.object.spec.hostnames)?;
        let key = (route.id.clone(), hostnames.clone());
        let new = || {
            let rules = backends.rules(*route);
            Arc::new(Route { owner: route.id.to_string(), hostnames, rules })
        };
        Some(made.entry(key).or_insert_with(new).clone())
    };
    routes.iter().filter_map(route).collect()
}

/// Nothing but its host tells a connection's route: of those without a host, as `TCPRoute`s are, the first is served.
fn tls_routes(
    backends: &Backends<'_>,
    listener: &Listener<'_>,
    routes: &[RouteRef<'_>],
    is_terminated: bool,
) -> Vec<Arc<TlsRoute>> {
    let first_plain = routes.iter().find(|route| route.id.kind == Kind::TcpRoute).map(|route| route.id);
    let is_served = |route: &&RouteRef<'_>| route.id.kind != Kind::TcpRoute || Some(route.id) == first_plain;
    let route = |route: &RouteRef<'_>| {
        let hostnames = listener.hostnames_of(&route.found.object.spec.hostnames)?;
        let backends = backends.of_connections(*route, is_terminated);
        Some(Arc::new(TlsRoute { owner: route.id.to_string(), hostnames, backends }))
    };
    routes.iter().filter(is_served).filter_map(route).collect()
}
