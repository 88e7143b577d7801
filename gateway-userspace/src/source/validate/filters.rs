//! Are the filters of a rule good by themselves, and beside each other?

use std::collections::BTreeSet;

use super::super::Kind;
use super::super::route::{Cors, Filter, HeaderModifier, PathModifier, Redirect, RequestMirror, RouteRule};
use super::gateways::parse_precise_hostname;
use super::routes::parse_token;
use super::{Findings, parse_port};

/// The types that each kind of route may have.
const OF_HTTP: [&str; 8] = [
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestMirror",
    "RequestRedirect",
    "URLRewrite",
    "CORS",
    "ExtensionRef",
    "ExternalAuth",
];
const OF_GRPC: [&str; 4] = ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"];

impl Findings<'_> {
    /// The filters of a rule, or of one of its references, which `within` then names.
    pub(super) fn filters(&mut self, field: &str, rule: &RouteRule, filters: &[Filter], within: &str) {
        let types: &[&str] = if self.id.kind == Kind::GrpcRoute { &OF_GRPC } else { &OF_HTTP };
        let mut seen = BTreeSet::new();
        for (index, filter) in filters.iter().enumerate() {
            let field = format!("{field}.{within}filters[{index}]");
            self.choose(format!("{field}.type"), Some(&filter.kind), "a filter", types);
            let may_repeat = matches!(filter.kind.as_str(), "RequestMirror" | "ExtensionRef");
            if !seen.insert(&*filter.kind) && !may_repeat {
                self.error(format!("{field}.type"), format!("there is a {} already: make one of both", filter.kind));
            }
            self.filter(&field, filter, rule);
        }
        let redirect = filters.iter().position(|filter| filter.kind == "RequestRedirect");
        if let Some(index) = redirect {
            let field = format!("{field}.{within}filters[{index}]");
            if seen.contains("URLRewrite") {
                self.error(format!("{field}.type"), "a redirect excludes URLRewrite: remove one of the two");
            }
            if within.is_empty() && !rule.backend_refs.is_empty() {
                self.error(format!("{field}.type"), "a redirect never reaches backendRefs: remove one of the two");
            }
        }
    }

    fn filter(&mut self, field: &str, filter: &Filter, rule: &RouteRule) {
        let missing =
            |name: &str| (format!("{field}.{name}"), format!("missing: {} says here what to do", filter.kind));
        let absent = match filter.kind.as_str() {
            "RequestHeaderModifier" => {
                self.headers(field, "requestHeaderModifier", filter.request_header_modifier.as_deref())
            }
            "ResponseHeaderModifier" => {
                self.headers(field, "responseHeaderModifier", filter.response_header_modifier.as_deref())
            }
            "RequestMirror" => match &filter.request_mirror {
                Some(mirror) => {
                    self.mirror(&format!("{field}.requestMirror"), mirror);
                    None
                }
                None => Some("requestMirror"),
            },
            "RequestRedirect" => match &filter.request_redirect {
                Some(redirect) => {
                    self.redirect(&format!("{field}.requestRedirect"), redirect, rule);
                    None
                }
                None => Some("requestRedirect"),
            },
            "URLRewrite" => match &filter.url_rewrite {
                Some(rewrite) => {
                    let field = format!("{field}.urlRewrite");
                    self.host(&field, rewrite.hostname.as_ref());
                    self.path_modifier(&field, rewrite.path.as_ref(), rule);
                    None
                }
                None => Some("urlRewrite"),
            },
            "CORS" => match &filter.cors {
                Some(cors) => {
                    self.cors(&format!("{field}.cors"), cors);
                    None
                }
                None => Some("cors"),
            },
            "ExtensionRef" if filter.extension_ref.is_none() => Some("extensionRef"),
            _ => None,
        };
        if let Some((field, message)) = absent.map(missing) {
            self.error(field, message);
        }
    }

    /// Gives the name of the field if it is missing.
    fn headers(&mut self, field: &str, name: &'static str, changes: Option<&HeaderModifier>) -> Option<&'static str> {
        let Some(changes) = changes else { return Some(name) };
        for (list, headers) in [("set", &changes.set), ("add", &changes.add)] {
            for (index, header) in headers.iter().enumerate() {
                let field = format!("{field}.{name}.{list}[{index}]");
                self.check(format!("{field}.name"), parse_token(&header.name));
                if header.value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                    self.error(format!("{field}.value"), "it has control characters in it: remove them");
                }
            }
        }
        for (index, header) in changes.remove.iter().enumerate() {
            self.check(format!("{field}.{name}.remove[{index}]"), parse_token(header));
        }
        None
    }

    fn mirror(&mut self, field: &str, mirror: &RequestMirror) {
        self.backend_ref(&format!("{field}.backendRef"), &mirror.backend_ref);
        if mirror.percent.is_some() && mirror.fraction.is_some() {
            self.error(format!("{field}.percent"), "it excludes fraction: remove one of the two");
        }
        if let Some(percent) = mirror.percent.filter(|percent| !(0..=100).contains(percent)) {
            self.error(format!("{field}.percent"), format!("{percent} is not a percentage: use 0 to 100"));
        }
        if let Some(fraction) = &mirror.fraction {
            let denominator = fraction.denominator.unwrap_or(100);
            let is_good = |number: i64| i32::try_from(number).is_ok();
            if denominator < 1 || !is_good(denominator) {
                self.error(format!("{field}.fraction.denominator"), "it must be 1 or more");
            } else if !(0..=denominator).contains(&fraction.numerator) {
                self.error(
                    format!("{field}.fraction.numerator"),
                    "it must be 0 or more, and not above the denominator",
                );
            }
        }
    }

    fn redirect(&mut self, field: &str, redirect: &Redirect, rule: &RouteRule) {
        self.choose(format!("{field}.scheme"), redirect.scheme.as_ref(), "a scheme", &["http", "https"]);
        self.host(field, redirect.hostname.as_ref());
        self.path_modifier(field, redirect.path.as_ref(), rule);
        if let Some(port) = redirect.port {
            self.check(format!("{field}.port"), parse_port(port));
        }
        if let Some(code) = redirect.status_code.filter(|code| ![301, 302, 303, 307, 308].contains(code)) {
            let message = format!("{code} is not a redirect: use 301, 302, 303, 307 or 308");
            self.error(format!("{field}.statusCode"), message);
        }
    }

    fn host(&mut self, field: &str, hostname: Option<&String>) {
        if let Some(hostname) = hostname {
            self.check(format!("{field}.hostname"), parse_precise_hostname(hostname));
        }
    }

    fn path_modifier(&mut self, field: &str, path: Option<&PathModifier>, rule: &RouteRule) {
        let Some(path) = path else { return };
        let field = format!("{field}.path");
        match (path.kind.as_str(), &path.replace_full_path, &path.replace_prefix_match) {
            ("ReplaceFullPath", Some(_), None) => {}
            ("ReplacePrefixMatch", None, Some(_)) => {
                let is_prefix = |kind: Option<&str>| matches!(kind, None | Some("PathPrefix"));
                let matches_prefix = match &*rule.matches {
                    [] => true,
                    [only] => only.path.as_ref().is_none_or(|path| is_prefix(path.kind.as_deref())),
                    _ => false,
                };
                if !matches_prefix {
                    let message = "it needs exactly one match, of a PathPrefix: make a rule of its own for each prefix";
                    self.error(format!("{field}.replacePrefixMatch"), message);
                }
            }
            ("ReplaceFullPath", ..) => {
                self.error(format!("{field}.replaceFullPath"), "type ReplaceFullPath needs this field and no other");
            }
            ("ReplacePrefixMatch", ..) => {
                self.error(
                    format!("{field}.replacePrefixMatch"),
                    "type ReplacePrefixMatch needs this field and no other",
                );
            }
            (other, ..) => {
                let message = format!("`{other}` is not a type: use ReplaceFullPath or ReplacePrefixMatch");
                self.error(format!("{field}.type"), message);
            }
        }
    }

    fn cors(&mut self, field: &str, cors: &Cors) {
        for (name, list) in [
            ("allowOrigins", &cors.allow_origins),
            ("allowMethods", &cors.allow_methods),
            ("allowHeaders", &cors.allow_headers),
        ] {
            if list.len() > 1 && list.iter().any(|entry| entry == "*") {
                self.error(format!("{field}.{name}"), "`*` stands for all: remove the others, or it");
            }
        }
        if let Some(age) = cors.max_age.filter(|age| u32::try_from(*age).is_err()) {
            self.error(format!("{field}.maxAge"), format!("{age} is not a number of seconds: use 1 or more"));
        }
    }
}
