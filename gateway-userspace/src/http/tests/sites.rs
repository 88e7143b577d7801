//! Sites of the model, made by hand.

use std::net::SocketAddr;
use std::sync::Arc;

use gateway_common::{Address, Place, Port, Protocol};

use crate::model::http::{
    BackendRef, Handling, Hostname, Listener, Match, PathMatch, Picker, Route, Rule, Site, Speech, TlsRoute,
};
use crate::model::{Backend, Group, Member, PodId};

/// A site with these listeners.
pub fn site(listeners: impl IntoIterator<Item = Listener>) -> Site {
    Site { owner: "Gateway shop/web".to_string(), listeners: listeners.into_iter().collect(), ..Site::default() }
}

pub fn listener(name: &str, hostname: Option<&str>, handling: Handling) -> Listener {
    Listener { name: name.to_string(), hostname: hostname.map(Hostname::parse), handling }
}

/// A site with one listener in the clear, for every host, with one rule.
pub fn clear(rule: Rule) -> Site {
    site([listener("web/http", None, Handling::Http(vec![route(rule)]))])
}

pub fn route(rule: Rule) -> Arc<Route> {
    Arc::new(Route { owner: "HTTPRoute shop/web".to_string(), hostnames: Vec::new(), rules: vec![rule] })
}

pub fn tls_route(name: &str, backend: BackendRef) -> Arc<TlsRoute> {
    let hostnames = vec![Hostname::parse(name)];
    Arc::new(TlsRoute { owner: format!("TLSRoute shop/{name}"), hostnames, backends: vec![backend] })
}

/// A rule for all paths.
pub fn rule(backends: impl IntoIterator<Item = BackendRef>) -> Rule {
    Rule {
        matches: vec![Match { path: PathMatch::Prefix("/".to_string()), ..Match::default() }],
        backends: backends.into_iter().collect(),
        ..Rule::default()
    }
}

/// A reference to Pods by address and weight.
pub fn to(pods: &[(SocketAddr, u16)]) -> BackendRef {
    BackendRef {
        group: Group {
            reference: "Service shop/web:80".to_string(),
            weight: 1,
            members: pods.iter().map(member).collect(),
        },
        is_broken: false,
        picker: Picker::WeightedRoundRobin,
        filters: Vec::new(),
        speech: Speech::Http,
        tls: None,
        host_header: None,
        proxy: None,
        health_check: None,
    }
}

/// A reference to one Pod.
pub fn to_pod(address: SocketAddr) -> BackendRef {
    to(&[(address, 10)])
}

fn member(&(address, weight): &(SocketAddr, u16)) -> (Backend, Member) {
    let backend = Backend {
        address: Address::from(address.ip()),
        port: Port::new(address.port()),
        protocol: Protocol::TCP,
        pod: PodId::from_uid(&address.to_string()),
    };
    (backend, Member { name: format!("shop/pod-{}", address.port()), weight, place: Place::Here })
}
