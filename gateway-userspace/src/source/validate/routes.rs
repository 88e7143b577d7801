//! Is a route good by itself? What the definitions of Gateway API refuse is refused here, too: what a kind does not have,
//! values out of range, filters that exclude each other.

use std::time::Duration;

use super::super::Kind;
use super::super::route::{
    BackendRef, MethodMatch, PathMatch, Route, RouteMatch, RouteRule, SessionPersistence, ValueMatch,
};
use super::gateways::parse_hostname;
use super::{Findings, MAX_REFERENCE_WEIGHT, parse_port};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

impl Findings<'_> {
    pub(super) fn route(&mut self, route: &Route) {
        let spec = &route.spec;
        for (index, parent) in spec.parent_refs.iter().enumerate() {
            if let Some(port) = parent.port {
                self.check(format!("spec.parentRefs[{index}].port"), parse_port(port));
            }
        }
        let kind = self.id.kind;
        let is_of_requests = kind.is_of_requests();
        if !is_of_requests && kind != Kind::TlsRoute && !spec.hostnames.is_empty() {
            self.error("spec.hostnames", format!("a {kind} has no hostnames: remove them or use a TLSRoute"));
        }
        if kind == Kind::TlsRoute && spec.hostnames.is_empty() {
            self.error("spec.hostnames", "a TLSRoute needs a hostname: say which names it is for");
        }
        for (index, hostname) in spec.hostnames.iter().enumerate() {
            self.check(format!("spec.hostnames[{index}]"), parse_hostname(hostname));
        }
        if !is_of_requests && spec.rules.is_empty() {
            self.error("spec.rules", "a route needs a rule with backendRefs");
        }
        for (index, rule) in spec.rules.iter().enumerate() {
            let field = format!("spec.rules[{index}]");
            if is_of_requests {
                self.rule_of_requests(&field, rule);
            } else {
                self.rule_of_connections(&field, rule);
            }
            for (index, reference) in rule.backend_refs.iter().enumerate() {
                self.backend_ref(&format!("{field}.backendRefs[{index}]"), reference);
            }
        }
    }

    fn rule_of_connections(&mut self, field: &str, rule: &RouteRule) {
        let kind = self.id.kind;
        let strange = [
            ("matches", !rule.matches.is_empty()),
            ("filters", !rule.filters.is_empty()),
            ("timeouts", rule.timeouts.is_some()),
            ("retry", rule.retry.is_some()),
            ("sessionPersistence", rule.session_persistence.is_some()),
        ];
        for (name, _) in strange.into_iter().filter(|(_, is_there)| *is_there) {
            self.error(format!("{field}.{name}"), format!("a {kind} has none: remove it or use an HTTPRoute"));
        }
    }

    fn rule_of_requests(&mut self, field: &str, rule: &RouteRule) {
        for (index, matched) in rule.matches.iter().enumerate() {
            self.matched(&format!("{field}.matches[{index}]"), matched);
        }
        self.filters(field, rule, &rule.filters, "");
        for (index, reference) in rule.backend_refs.iter().enumerate() {
            self.filters(field, rule, &reference.filters, &format!("backendRefs[{index}]."));
        }
        if let Some(timeouts) = &rule.timeouts {
            let whole = self.duration(&format!("{field}.timeouts.request"), timeouts.request.as_ref());
            let one = self.duration(&format!("{field}.timeouts.backendRequest"), timeouts.backend_request.as_ref());
            if let (Some(whole), Some(one)) = (whole, one)
                && !whole.is_zero()
                && one > whole
            {
                let message = "it is longer than request: an attempt cannot take longer than all of them";
                self.error(format!("{field}.timeouts.backendRequest"), message);
            }
        }
        if let Some(retry) = &rule.retry {
            for (index, code) in retry.codes.iter().enumerate().filter(|(_, code)| !(400..=599).contains(*code)) {
                self.error(format!("{field}.retry.codes[{index}]"), format!("{code} is no error: use 400 to 599"));
            }
            if let Some(attempts) = retry.attempts.filter(|attempts| u32::try_from(*attempts).is_err()) {
                self.error(format!("{field}.retry.attempts"), format!("{attempts} is not a count: use 0 or more"));
            }
            self.duration(&format!("{field}.retry.backoff"), retry.backoff.as_ref());
        }
        if let Some(session) = &rule.session_persistence {
            self.session(&format!("{field}.sessionPersistence"), session);
        }
    }

    fn session(&mut self, field: &str, session: &SessionPersistence) {
        self.choose(format!("{field}.type"), session.kind.as_ref(), "a type of session", &["Cookie", "Header"]);
        let absolute = self.duration(&format!("{field}.absoluteTimeout"), session.absolute_timeout.as_ref());
        self.duration(&format!("{field}.idleTimeout"), session.idle_timeout.as_ref());
        let lifetime = session.cookie_config.as_ref().and_then(|config| config.lifetime_type.as_ref());
        let lifetimes = ["Permanent", "Session"];
        self.choose(format!("{field}.cookieConfig.lifetimeType"), lifetime, "a lifetime", &lifetimes);
        if lifetime.is_some_and(|lifetime| lifetime == "Permanent") && absolute.is_none() {
            self.error(format!("{field}.absoluteTimeout"), "missing: a permanent cookie needs it");
        }
    }

    fn matched(&mut self, field: &str, matched: &RouteMatch) {
        let is_grpc = self.id.kind == Kind::GrpcRoute;
        if let Some(path) = &matched.path {
            if is_grpc {
                self.error(format!("{field}.path"), "a GRPCRoute has none: match a method");
            } else {
                self.path(&format!("{field}.path"), path);
            }
        }
        if is_grpc && !matched.query_params.is_empty() {
            self.error(format!("{field}.queryParams"), "a GRPCRoute has none: match headers");
        }
        for (list, values) in [("headers", &matched.headers), ("queryParams", &matched.query_params)] {
            for (index, value) in values.iter().enumerate() {
                self.value(&format!("{field}.{list}[{index}]"), value);
            }
        }
        match &matched.method {
            Some(MethodMatch::Http(method)) if !is_grpc => {
                self.choose(format!("{field}.method"), Some(method), "a method", &METHODS);
            }
            Some(MethodMatch::Grpc(method)) if is_grpc => {
                let types = ["Exact", "RegularExpression"];
                self.choose(format!("{field}.method.type"), method.kind.as_ref(), "a type of match", &types);
                if method.service.is_none() && method.method.is_none() {
                    self.error(format!("{field}.method"), "empty: name a service, a method or both");
                }
            }
            Some(_) if is_grpc => self.error(format!("{field}.method"), "not a gRPC method: name service and method"),
            Some(_) => self.error(format!("{field}.method"), "not a method: use something like GET"),
            None => {}
        }
    }

    fn value(&mut self, field: &str, value: &ValueMatch) {
        let types = ["Exact", "RegularExpression"];
        self.choose(format!("{field}.type"), value.kind.as_ref(), "a type of match", &types);
        self.check(format!("{field}.name"), parse_token(&value.name));
    }

    fn path(&mut self, field: &str, path: &PathMatch) {
        let types = ["Exact", "PathPrefix", "RegularExpression"];
        self.choose(format!("{field}.type"), path.kind.as_ref(), "a type of match", &types);
        let value = path.value.as_deref().unwrap_or("/");
        if path.kind.as_deref() == Some("RegularExpression") {
            return;
        }
        self.check(format!("{field}.value"), parse_path(value));
    }

    /// A reference without its filters.
    pub(super) fn backend_ref(&mut self, field: &str, reference: &BackendRef) {
        if let Some(port) = reference.port {
            self.check(format!("{field}.port"), parse_port(port));
        }
        if let Some(weight) = reference.weight
            && !(0..=MAX_REFERENCE_WEIGHT).contains(&weight)
        {
            let message = format!("{weight} is not a weight: use 0 to {MAX_REFERENCE_WEIGHT}");
            self.error(format!("{field}.weight"), message);
        }
        if !reference.filters.is_empty() && !self.id.kind.is_of_requests() {
            self.error(format!("{field}.filters"), format!("a {} has none: remove them", self.id.kind));
        }
    }

    fn duration(&mut self, field: &str, text: Option<&String>) -> Option<Duration> {
        match parse_duration(text?) {
            Ok(duration) => Some(duration),
            Err(message) => {
                self.error(field, message);
                None
            }
        }
    }
}

/// A duration as Gateway API writes it (GEP-2257), or what is wrong with it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: use something like 10s or 1m30s");
    let mut rest = text;
    let mut sum = Duration::ZERO;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        if !(1..=5).contains(&digits) || parts == 4 {
            return Err(wrong());
        }
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        sum += match &rest[digits..digits + unit] {
            "h" => Duration::from_secs(number * 3600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return Err(wrong()),
        };
        rest = &rest[digits + unit..];
        parts += 1;
    }
    if parts == 0 { Err(wrong()) } else { Ok(sum) }
}

/// A path that a request may have, or what is wrong with it.
pub(super) fn parse_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err(format!("`{text}` is not a path: begin it with /"));
    }
    let odd = ["//", "/./", "/../", "%2f", "%2F", "#"].into_iter().find(|odd| text.contains(odd));
    let odd = odd.or_else(|| ["/..", "/."].into_iter().find(|odd| text.ends_with(odd)));
    match odd {
        Some(odd) => Err(format!("`{text}` has `{odd}` in it, which no request keeps: remove it")),
        None => Ok(()),
    }
}

/// The name of a header or query parameter, or what is wrong with it (RFC 9110 section 5.6.2).
pub(super) fn parse_token(text: &str) -> Result<(), String> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_good) {
        return Ok(());
    }
    Err(format!("`{text}` is not a name: use letters, digits and -"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_gateway_api() {
        assert_eq!(parse_duration("1h1m1s1ms"), Ok(Duration::from_millis(3_661_001)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        for text in ["", "1", "s", "1.5s", "-1s", "1d", "100000s", "1s1s1s1s1s", "1 s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
