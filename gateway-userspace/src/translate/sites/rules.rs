//! The rules of routes in the model's words: matches, time-outs, retries, sessions, and where requests go.

use std::sync::Arc;
use std::time::Duration;

use super::filters::filters;
use crate::model::fingerprint;
use crate::model::http::path;
use crate::model::http::{
    BackendRef, BackendTls, Certificate, Match, NamedMatch, PathMatch, Picker, Retry, Rule, Session, TextMatch,
    Timeouts,
};
use crate::source::route::{
    self, BackendRef as WrittenRef, GrpcMethodMatch, MethodMatch, RouteMatch, RouteRule, SessionPersistence, ValueMatch,
};
use crate::source::validate::parse_duration;
use crate::source::{Kind, Name};
use crate::translate::RouteRef;
use crate::translate::backend_tls::Policies;
use crate::translate::endpoints::Family;
use crate::translate::expressions::bad_expression;
use crate::translate::references::{At, Broken, Groups, Resolved, served_references};
use crate::translate::tongue::Tongue;
use crate::translate::upstreams::{Clusters, health_check};

/// What backends of routes are made of, as one frontend sees them.
#[derive(Clone, Copy)]
pub(super) struct Backends<'a> {
    pub clusters: Clusters<'a>,
    pub policies: &'a Policies<'a>,
    /// The family of the VIP, which comes first.
    pub family: Family,
    /// What the Gateway shows backends.
    pub client_certificate: Option<&'a Certificate>,
}

impl<'a> Backends<'a> {
    /// The rules of an `HTTPRoute` or a `GRPCRoute`.
    pub fn rules(&self, route: RouteRef<'a>) -> Vec<Rule> {
        let rules = &route.found.object.spec.rules;
        if rules.is_empty() && route.id.kind == Kind::HttpRoute {
            // The API server fills this in.
            return vec![Rule { matches: vec![Match::default()], ..Rule::default() }];
        }
        rules.iter().enumerate().map(|(index, rule)| self.rule(route, index, rule)).collect()
    }

    fn rule(&self, route: RouteRef<'a>, index: usize, rule: &'a RouteRule) -> Rule {
        if bad_expression(index, rule).is_some() {
            // It meets nothing, and keeps its place, by which the others are called.
            return Rule { name: rule.name.clone(), ..Rule::default() };
        }
        let is_grpc = route.id.kind == Kind::GrpcRoute;
        let mut groups = Groups::of_site(self.clusters, route, self.family);
        let backends = rule.backend_refs.iter().map(|reference| self.backend(route, &mut groups, reference)).collect();
        let mut matches: Vec<Match> = rule.matches.iter().map(|matched| self::matched(matched, is_grpc)).collect();
        if matches.is_empty() {
            matches.push(self::matched(&RouteMatch::default(), is_grpc));
        }
        Rule {
            name: rule.name.clone(),
            matches,
            filters: filters(self, route, &rule.filters),
            backends,
            timeouts: timeouts(rule.timeouts.as_ref()),
            retry: rule.retry.as_ref().map(retry),
            session: rule.session_persistence.as_ref().map(|session| self::session(route, index, session)),
            is_grpc,
        }
    }

    /// Where connections of a `TLSRoute` or a `TCPRoute` go. If TLS ends here, it begins anew where a policy says so.
    pub fn of_connections(&self, route: RouteRef<'a>, is_terminated: bool) -> Vec<BackendRef> {
        let mut groups = Groups::of_site(self.clusters, route, self.family);
        let backend = |reference| {
            let (mut backend, resolved) = self.plain_backend(route, &mut groups, reference);
            if let Some(Resolved { name, at }) = resolved.filter(|_| is_terminated) {
                let (kind, port) = match at {
                    At::Service(_, port) => (Kind::Service, port.name.as_deref()),
                    At::Upstream(_) => (Kind::Upstream, None),
                };
                backend.tls = self.policies.tls(kind, &name, port).cloned().map(|tls| self.showing_certificate(tls));
            }
            backend
        };
        served_references(route).iter().map(backend).collect()
    }

    /// Where copies go: a single reference that has neither weight nor filters.
    pub fn of_mirror(&self, route: RouteRef<'a>, reference: &WrittenRef) -> BackendRef {
        self.backend(route, &mut Groups::of_site(self.clusters, route, self.family), reference)
    }

    fn backend(&self, route: RouteRef<'a>, groups: &mut Groups<'a>, reference: &WrittenRef) -> BackendRef {
        let (mut backend, resolved) = self.plain_backend(route, groups, reference);
        if let Some(resolved) = resolved {
            self.equip(route.id.kind, &resolved, &mut backend);
        }
        backend
    }

    /// A backend as the group says it, of which nobody has asked what it speaks.
    fn plain_backend(
        &self,
        route: RouteRef<'a>,
        groups: &mut Groups<'a>,
        reference: &WrittenRef,
    ) -> (BackendRef, Option<Resolved<'a>>) {
        let (group, resolved) = groups.group(reference);
        let mut backend = BackendRef {
            group,
            is_broken: resolved.as_ref().is_err_and(|broken| !is_only_missing(route.id.kind, broken)),
            picker: Picker::default(),
            filters: filters(self, route, &reference.filters),
            speech: crate::model::http::Speech::default(),
            tls: None,
            host_header: None,
            proxy: None,
            health_check: None,
        };
        let resolved = resolved.ok();
        if let Some(resolved) = &resolved {
            backend.picker = resolved.picker();
            backend.proxy = resolved.proxy();
        }
        (backend, resolved)
    }

    /// Says what is spoken with the backends of requests, and whether within TLS.
    fn equip(&self, route: Kind, Resolved { name, at }: &Resolved<'_>, backend: &mut BackendRef) {
        let (tongue, kind, port) = match at {
            At::Service(service, port) => {
                (Tongue::of_service(route, name, service, port), Kind::Service, port.name.as_deref())
            }
            At::Upstream(upstream) => {
                backend.host_header.clone_from(&upstream.spec.host_header);
                backend.health_check = health_check(&upstream.spec);
                (Tongue::of_upstream(route, name, upstream), Kind::Upstream, None)
            }
        };
        // A tongue that the route cannot speak has made the reference one that leads nowhere.
        let Ok(tongue) = tongue else { return };
        backend.speech = tongue.speech;
        let by_policy = self.policies.tls(kind, name, port).cloned();
        let tls = by_policy.or_else(|| tongue.secured.map(|host| by_its_word(kind, name, host)));
        backend.tls = tls.map(|tls| self.showing_certificate(tls));
    }

    /// The same TLS, in which backends are shown what the Gateway shows them.
    fn showing_certificate(&self, tls: Arc<BackendTls>) -> Arc<BackendTls> {
        match self.client_certificate {
            Some(shown) => Arc::new(BackendTls { client_certificate: Some(shown.clone()), ..(*tls).clone() }),
            None => tls,
        }
    }
}

/// Whether a backend is no more than not there, at present. Gateway API wants a 500 for that, too; of an Ingress such a
/// backend is one that nobody is ready behind.
fn is_only_missing(route: Kind, broken: &Broken) -> bool {
    route == Kind::Ingress && broken.reason == "BackendNotFound"
}

/// TLS to a backend of which only itself says that it speaks it: the host's authorities have to know it.
fn by_its_word(kind: Kind, name: &Name, hostname: String) -> Arc<BackendTls> {
    Arc::new(BackendTls {
        origin: format!("{kind} {name}"),
        hostname,
        authorities_pem: None,
        names: std::collections::BTreeSet::new(),
        client_certificate: None,
    })
}

fn matched(matched: &RouteMatch, is_grpc: bool) -> Match {
    let mut method = None;
    let mut path =
        if is_grpc { PathMatch::Grpc { service: None, method: None } } else { path_match(matched.path.as_ref()) };
    match &matched.method {
        Some(MethodMatch::Http(name)) => method = Some(name.clone()),
        Some(MethodMatch::Grpc(GrpcMethodMatch { kind, service, method })) => {
            let text = |text: &String| text_match(kind.as_deref(), text);
            path = PathMatch::Grpc { service: service.as_ref().map(text), method: method.as_ref().map(text) };
        }
        None => {}
    }
    Match {
        path,
        headers: named(&matched.headers, str::to_ascii_lowercase),
        query: named(&matched.query_params, str::to_string),
        method,
    }
}

fn path_match(path: Option<&route::PathMatch>) -> PathMatch {
    let Some(route::PathMatch { kind, value }) = path else { return PathMatch::default() };
    let value = value.clone().unwrap_or_else(|| "/".to_string());
    match kind.as_deref() {
        Some("Exact") => PathMatch::Exact(path::written(&value)),
        Some("RegularExpression") => PathMatch::Regex(value),
        _ => {
            let value = path::written(&value);
            let trimmed = value.trim_end_matches('/');
            PathMatch::Prefix(if trimmed.is_empty() { "/".to_string() } else { trimmed.to_string() })
        }
    }
}

/// Of several for one name the first counts (Gateway API, `HTTPHeaderMatch.name`).
fn named(values: &[ValueMatch], name: impl Fn(&str) -> String) -> Vec<NamedMatch> {
    let mut matches: Vec<NamedMatch> = Vec::new();
    for value in values {
        let name = name(&value.name);
        if !matches.iter().any(|known| known.name == name) {
            matches.push(NamedMatch { name, value: text_match(value.kind.as_deref(), &value.value) });
        }
    }
    matches
}

fn text_match(kind: Option<&str>, text: &str) -> TextMatch {
    match kind {
        Some("RegularExpression") => TextMatch::Regex(text.to_string()),
        _ => TextMatch::Exact(text.to_string()),
    }
}

fn timeouts(written: Option<&route::Timeouts>) -> Timeouts {
    let of = |field: fn(&route::Timeouts) -> Option<&String>| written.and_then(field).and_then(|text| limit(text));
    Timeouts {
        request: of(|timeouts| timeouts.request.as_ref()),
        backend_request: of(|timeouts| timeouts.backend_request.as_ref()),
    }
}

/// A time-out of nothing is none (Gateway API, `HTTPRouteTimeouts`).
fn limit(text: &str) -> Option<Duration> {
    parse_duration(text).ok().filter(|limit| !limit.is_zero())
}

fn retry(written: &route::Retry) -> Retry {
    Retry {
        codes: written.codes.iter().filter_map(|code| u16::try_from(*code).ok()).collect(),
        attempts: written.attempts.and_then(|attempts| u32::try_from(attempts).ok()),
        backoff: written.backoff.as_deref().and_then(|text| parse_duration(text).ok()),
    }
}

fn session(route: RouteRef<'_>, rule: usize, written: &SessionPersistence) -> Session {
    let is_header = written.kind.as_deref() == Some("Header");
    // Rules must not share a name by accident: a client would lose one Pod for the sake of another.
    let own_name = || format!("beeline-{:016x}", fingerprint(&format!("{} {rule}", route.id)));
    let name = written.session_name.clone().filter(|name| !name.is_empty()).unwrap_or_else(own_name);
    let lifetime = written.cookie_config.as_ref().and_then(|config| config.lifetime_type.as_deref());
    let of = |text: Option<&String>| text.and_then(|text| limit(text));
    Session {
        name: if is_header { name.to_ascii_lowercase() } else { name },
        is_header,
        is_permanent: lifetime == Some("Permanent"),
        absolute_timeout: of(written.absolute_timeout.as_ref()),
        idle_timeout: of(written.idle_timeout.as_ref()),
    }
}
