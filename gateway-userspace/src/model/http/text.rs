//! Sites as text for people and for goldens: every listener, route, rule, filter and backend, in the order in which they count.
//!
//! Identities and keys are left out: equal text means that the same is asked for, not that the same Pods answer.

use std::fmt::{self, Display, Write as _};

use gateway_common::FrontendKey;

use super::{
    BackendRef, BackendTls, Filter, Handling, HeaderChanges, HealthCheck, Hostname, Listener, Match, NamedMatch,
    PathChange, PathMatch, Route, Rule, Site, Speech, SubjectName, Termination, TextMatch, TlsRoute,
};

/// One site as text.
pub struct Text<'a>(pub FrontendKey, pub &'a Site);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key, site) = self;
        let header = if site.needs_proxy_header { ", each connection behind a PROXY header" } else { "" };
        writeln!(f, "{key} ({}){header}", site.owner)?;
        site.listeners.iter().try_for_each(|listener| write_listener(f, listener))
    }
}

fn write_listener(f: &mut fmt::Formatter<'_>, listener: &Listener) -> fmt::Result {
    let Listener { name, hostname, handling } = listener;
    let host = hostname.as_ref().map_or_else(|| "*".to_string(), ToString::to_string);
    write!(f, "  listener {name} for {host}: ")?;
    match handling {
        Handling::Http(routes) => {
            writeln!(f, "HTTP")?;
            routes.iter().try_for_each(|route| write_route(f, route))
        }
        Handling::Https(termination, routes) => {
            writeln!(f, "HTTPS{}", tls(termination))?;
            routes.iter().try_for_each(|route| write_route(f, route))
        }
        Handling::TlsPassthrough(routes) => {
            writeln!(f, "TLS passed through")?;
            routes.iter().try_for_each(|route| write_tls_route(f, route))
        }
        Handling::TlsTerminate(termination, routes) => {
            writeln!(f, "TLS{}", tls(termination))?;
            routes.iter().try_for_each(|route| write_tls_route(f, route))
        }
    }
}

fn tls(termination: &Termination) -> String {
    let origins: Vec<&str> = termination.certificates.iter().map(|certificate| &*certificate.origin).collect();
    let clients = match &termination.client_validation {
        None => "",
        Some(validation) if validation.is_optional => ", clients may prove who they are",
        Some(_) => ", clients prove who they are",
    };
    format!(" with {}{clients}", origins.join(", "))
}

fn hosts(hostnames: &[Hostname]) -> String {
    hostnames.iter().flat_map(|hostname| [" ".to_string(), hostname.to_string()]).collect()
}

fn write_route(f: &mut fmt::Formatter<'_>, route: &Route) -> fmt::Result {
    writeln!(f, "    {}{}", route.owner, hosts(&route.hostnames))?;
    route.rules.iter().enumerate().try_for_each(|(index, rule)| write_rule(f, index, rule))
}

fn write_tls_route(f: &mut fmt::Formatter<'_>, route: &TlsRoute) -> fmt::Result {
    writeln!(f, "    {}{}", route.owner, hosts(&route.hostnames))?;
    route.backends.iter().try_for_each(|backend| write_backend(f, backend))
}

fn write_rule(f: &mut fmt::Formatter<'_>, index: usize, rule: &Rule) -> fmt::Result {
    let Rule { name, matches, filters, backends, is_grpc, timeouts: _, retry: _, session: _ } = rule;
    let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    writeln!(f, "      rule {index}{name}{}", if *is_grpc { " (gRPC)" } else { "" })?;
    for matched in matches {
        writeln!(f, "        if {}", condition(matched))?;
    }
    filters.iter().try_for_each(|filter| write_filter(f, "        ", filter))?;
    terms(rule).iter().try_for_each(|term| writeln!(f, "        {term}"))?;
    backends.iter().try_for_each(|backend| write_backend(f, backend))
}

/// Time-outs, retries and sessions of a rule, one line each.
pub fn terms(rule: &Rule) -> Vec<String> {
    let mut terms = Vec::new();
    for (what, limit) in [("request", rule.timeouts.request), ("attempt", rule.timeouts.backend_request)] {
        terms.extend(limit.map(|limit| format!("{what} within {limit:?}")));
    }
    if let Some(retry) = &rule.retry {
        let (attempts, backoff) = (retry.attempts.unwrap_or(1), retry.backoff);
        terms.push(format!("again after {:?}, {attempts} times, pause {backoff:?}", retry.codes));
    }
    if let Some(session) = &rule.session {
        let kind = if session.is_header { "header" } else { "cookie" };
        let (name, absolute, idle) = (&session.name, session.absolute_timeout, session.idle_timeout);
        let lasts = if session.is_permanent { " permanent" } else { "" };
        terms.push(format!("session by{lasts} {kind} {name}, ends {absolute:?}, idle {idle:?}"));
    }
    terms
}

/// What a match asks of a request, as one line.
pub fn condition(matched: &Match) -> String {
    let Match { path, headers, query, method } = matched;
    let mut text = match path {
        PathMatch::Exact(path) => format!("path = {path}"),
        PathMatch::Prefix(path) => format!("path {path}"),
        PathMatch::Regex(path) => format!("path ~ {path}"),
        PathMatch::Grpc { service, method } => {
            let part = |part: &Option<TextMatch>| part.as_ref().map_or_else(|| "any".to_string(), text_match);
            format!("service {}, method {}", part(service), part(method))
        }
    };
    let mut add = |kind: &str, values: &[NamedMatch]| {
        for value in values {
            // Writing to a text cannot fail.
            let _ = write!(text, ", {kind} {} {}", value.name, text_match(&value.value));
        }
    };
    add("header", headers);
    add("query", query);
    if let Some(method) = method {
        let _ = write!(text, ", {method}");
    }
    text
}

fn text_match(text: &TextMatch) -> String {
    match text {
        TextMatch::Exact(text) => format!("= {text}"),
        TextMatch::Regex(text) => format!("~ {text}"),
    }
}

/// A filter as one line.
pub fn filter(filter: &Filter) -> String {
    struct Line<'a>(&'a Filter);
    impl Display for Line<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_filter(f, "", self.0)
        }
    }
    match filter {
        Filter::Mirror(mirror) => {
            let (numerator, denominator) = mirror.fraction;
            format!("mirror {numerator}/{denominator} to {}", mirror.backend.group.reference)
        }
        other => Line(other).to_string().trim_end().to_owned(),
    }
}

fn write_filter(f: &mut fmt::Formatter<'_>, indent: &str, filter: &Filter) -> fmt::Result {
    write!(f, "{indent}")?;
    match filter {
        Filter::RequestHeaders(changes) => writeln!(f, "request headers:{}", header_changes(changes)),
        Filter::ResponseHeaders(changes) => writeln!(f, "response headers:{}", header_changes(changes)),
        Filter::Redirect(redirect) => {
            let or_same = |part: Option<&String>| part.map_or_else(|| "same".to_string(), Clone::clone);
            let port = redirect.port.map(|port| format!(":{port}")).unwrap_or_default();
            let (scheme, host) = (or_same(redirect.scheme.as_ref()), or_same(redirect.hostname.as_ref()));
            let path = path_change(redirect.path.as_ref());
            writeln!(f, "redirect {} to {scheme}://{host}{port}{path}", redirect.status)
        }
        Filter::Rewrite(rewrite) => {
            let host = rewrite.hostname.as_deref().unwrap_or("same");
            writeln!(f, "rewrite to {host}{}", path_change(rewrite.path.as_ref()))
        }
        Filter::Mirror(mirror) => {
            writeln!(f, "mirror {}/{} to", mirror.fraction.0, mirror.fraction.1)?;
            write_backend(f, &mirror.backend)
        }
        Filter::Cors(cors) => writeln!(f, "{cors:?}"),
        Filter::Broken => writeln!(f, "fails: the filter cannot be served"),
    }
}

fn header_changes(changes: &HeaderChanges) -> String {
    let HeaderChanges { set, add, remove } = changes;
    let set = set.iter().map(|(name, value)| format!(" ={name}: {value}"));
    let add = add.iter().map(|(name, value)| format!(" +{name}: {value}"));
    let all: Vec<String> = set.chain(add).chain(remove.iter().map(|name| format!(" -{name}"))).collect();
    all.concat()
}

fn path_change(change: Option<&PathChange>) -> String {
    match change {
        None => String::new(),
        Some(PathChange::Full(path)) => format!(", path {path}"),
        Some(PathChange::Prefix(path)) => format!(", prefix {path}"),
    }
}

fn write_backend(f: &mut fmt::Formatter<'_>, backend: &BackendRef) -> fmt::Result {
    let BackendRef { group, is_broken, picker, filters, speech, tls, host_header, proxy, health_check } = backend;
    write!(f, "        {} {} {}", group.weight, group.reference, picker)?;
    match speech {
        Speech::Http => {}
        Speech::Http2 => write!(f, " HTTP/2")?,
        Speech::WebSocket => write!(f, " WebSocket")?,
    }
    if let Some(tls) = tls {
        write!(f, " {}", backend_tls(tls))?;
    }
    if let Some(host) = host_header {
        write!(f, " Host {host}")?;
    }
    if let Some(version) = proxy {
        write!(f, " PROXY {version:?}")?;
    }
    if let Some(check) = health_check {
        let HealthCheck { path, host, interval, timeout, healthy_threshold, unhealthy_threshold, expected } = &**check;
        let host = host.as_deref().unwrap_or("its address");
        write!(
            f,
            " asked for {path} of {host} each {interval:?} within {timeout:?}, {unhealthy_threshold} down \
             {healthy_threshold} up, {expected:?}"
        )?;
    }
    writeln!(f, "{}", if *is_broken { ": leads nowhere" } else { "" })?;
    filters.iter().try_for_each(|filter| write_filter(f, "          ", filter))?;
    for (backend, member) in &group.members {
        let socket = std::net::SocketAddr::new(backend.address.to_ip(), backend.port.get());
        writeln!(f, "          {} {socket} {}", member.weight, member.name)?;
    }
    Ok(())
}

fn backend_tls(tls: &BackendTls) -> String {
    let trust = match &tls.authorities_pem {
        None => "the host's authorities",
        Some(pem) if pem.is_empty() => "nobody",
        Some(_) => "its authorities",
    };
    let names = tls.names.iter().map(|name| match name {
        SubjectName::Hostname(name) => format!(" or {name}"),
        SubjectName::Uri(uri) => format!(" or {uri}"),
    });
    let shown = tls.client_certificate.as_ref().map(|shown| format!(", shown {}", shown.origin)).unwrap_or_default();
    format!("TLS by {} to {}{}, trusts {trust}{shown}", tls.origin, tls.hostname, names.collect::<String>())
}
