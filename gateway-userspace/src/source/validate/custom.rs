//! Is an object of a kind of our own good by itself? The definitions in `deploy/crds` refuse the same, as far as a schema
//! and CEL can say it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::super::address_pool::{ANNOUNCE, AddressRange, MAX_POOL_ENTRIES};
use super::super::cluster_link::{ALL_NAMESPACES, MAX_ALLOWED_NAMESPACES, MAX_REMOTE_NAMESPACES};
use super::super::upstream::{ALGORITHMS, MAX_UPSTREAM_SERVICES, PROXY_VERSIONS, UpstreamHealthCheck, UpstreamSpec};
use super::super::{AddressPool, ClusterLink, Upstream};
use super::{Findings, parse_duration, parse_port};

/// The longest name of a namespace or a Service (RFC 1123).
const MAX_LABEL_LENGTH: usize = 63;
/// The longest name of any other object.
const MAX_NAME_LENGTH: usize = 253;

impl Findings<'_> {
    pub(super) fn upstream(&mut self, upstream: &Upstream) {
        let spec = &upstream.spec;
        self.choose("spec.type", spec.type_.as_ref(), "a type of Upstream", &["Kubernetes"]);
        self.choose("spec.algorithm", spec.algorithm.as_ref(), "an algorithm", &ALGORITHMS);
        self.hash(spec);
        self.health_check(spec);
        let version = spec.proxy_protocol.as_ref();
        self.choose("spec.proxyProtocol", version, "a version of the PROXY protocol", &PROXY_VERSIONS);
        let types = ["HTTP", "HTTPS", "H2C", "GRPC", "TCP", "UDP"];
        self.choose("spec.backendType", spec.backend_type.as_ref(), "a backend type", &types);
        self.host_header(spec);
        match spec.services.len() {
            0 => self.error("spec.services", "an Upstream needs at least one service: use 1 to 20"),
            1..=MAX_UPSTREAM_SERVICES => {}
            // One error is clearer than one more for each of the services.
            count => return self.error("spec.services", format!("{count} services are too many: use 1 to 20")),
        }
        for (index, service) in spec.services.iter().enumerate() {
            let field = |name: &str| format!("spec.services[{index}].{name}");
            if service.name.is_empty() {
                self.error(field("name"), "empty: name a Service");
            } else {
                self.check(field("name"), parse_label(&service.name));
            }
            if let Some(namespace) = &service.namespace {
                self.check(field("namespace"), parse_label(namespace));
            }
            if let Some(cluster) = &service.cluster_ref {
                self.check(field("clusterRef.name"), parse_object_name(&cluster.name));
            }
            self.check(field("port"), parse_port(service.port));
            if let Some(weight) = service.weight
                && u16::try_from(weight).is_err()
            {
                self.error(field("weight"), format!("{weight} is not a weight: use 0 to 65535"));
            }
            if let Some(selector) = &service.pod_selector {
                self.selector(&field("podSelector"), selector);
            }
        }
    }

    fn selector(&mut self, field: &str, selector: &LabelSelector) {
        for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
            let field = |name: &str| format!("{field}.matchExpressions[{index}].{name}");
            let operators = ["DoesNotExist", "Exists", "In", "NotIn"];
            self.choose(field("operator"), Some(&expression.operator), "an operator", &operators);
            let has_values = expression.values.as_ref().is_some_and(|values| !values.is_empty());
            match expression.operator.as_str() {
                "In" | "NotIn" if !has_values => self.error(field("values"), "missing: In and NotIn need values"),
                "Exists" | "DoesNotExist" if has_values => {
                    self.error(field("values"), "Exists and DoesNotExist take no values: remove them");
                }
                _ => {}
            }
        }
    }

    fn host_header(&mut self, spec: &UpstreamSpec) {
        let Some(host) = &spec.host_header else { return };
        let field = "spec.hostHeader";
        if let Some(kind @ ("TCP" | "UDP")) = spec.backend_type.as_deref() {
            return self.error(field, format!("{kind} has no Host header: leave it out or change backendType"));
        }
        self.check(field, parse_host(host));
    }

    fn hash(&mut self, spec: &UpstreamSpec) {
        let Some(hash) = &spec.hash else { return };
        let algorithm = spec.algorithm.as_deref().unwrap_or("WeightedRoundRobin");
        if algorithm != "Maglev" {
            let message = format!("{algorithm} looks at no hash: leave it out or use algorithm Maglev");
            return self.error("spec.hash", message);
        }
        match (&hash.header, &hash.cookie) {
            (Some(header), None) => self.check("spec.hash.header", parse_token(header)),
            (None, Some(cookie)) => self.check("spec.hash.cookie.name", parse_token(&cookie.name)),
            _ => self.error("spec.hash", "name either a header or a cookie"),
        }
    }

    fn health_check(&mut self, spec: &UpstreamSpec) {
        let Some(check) = &spec.health_check else { return };
        let field = |name: &str| format!("spec.healthCheck.{name}");
        if let Some(kind @ ("TCP" | "UDP")) = spec.backend_type.as_deref() {
            let message = format!("{kind} has no requests to check by: leave it out or change backendType");
            return self.error("spec.healthCheck", message);
        }
        if !check.path.starts_with('/') || !check.path.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.error(field("path"), format!("`{}` is not a path: use something like /healthz", check.path));
        }
        if let Some(host) = &check.host {
            self.check(field("host"), parse_host(host));
        }
        let (interval, timeout) = (interval(check), timeout(check));
        if let (Ok(interval), Ok(timeout)) = (&interval, &timeout)
            && timeout > interval
        {
            let message = format!("{timeout:?} is longer than the interval, {interval:?}: use no more than that");
            self.error(field("timeout"), message);
        }
        self.check(field("interval"), interval);
        self.check(field("timeout"), timeout);
        let thresholds =
            [("healthyThreshold", check.healthy_threshold), ("unhealthyThreshold", check.unhealthy_threshold)];
        for (name, threshold) in thresholds {
            if let Some(threshold) = threshold.filter(|threshold| !(1..=100).contains(threshold)) {
                self.error(field(name), format!("{threshold} is no number of checks: use 1 to 100"));
            }
        }
        let statuses = check.expected_statuses.as_deref();
        if statuses.is_some_and(|statuses| !(1..=16).contains(&statuses.len())) {
            self.error(field("expectedStatuses"), "name 1 to 16 statuses or ranges of them, or leave it out");
        }
        for (index, text) in statuses.into_iter().flatten().enumerate() {
            self.check(format!("{}[{index}]", field("expectedStatuses")), parse_statuses(text));
        }
    }

    pub(super) fn address_pool(&mut self, pool: &AddressPool) {
        let spec = &pool.spec;
        match spec.addresses.len() {
            0 => self.error("spec.addresses", "a pool needs addresses: use CIDRs or ranges"),
            1..=MAX_POOL_ENTRIES => {}
            count => {
                let message = format!("{count} entries are too many: use at most {MAX_POOL_ENTRIES}, or several pools");
                return self.error("spec.addresses", message);
            }
        }
        for (index, text) in spec.addresses.iter().enumerate() {
            self.check(format!("spec.addresses[{index}]"), AddressRange::parse(text));
        }
        if let Some(selector) = &spec.namespace_selector {
            self.selector("spec.namespaceSelector", selector);
        }
        self.choose("spec.announce", spec.announce.as_ref(), "a way to announce addresses", &ANNOUNCE);
    }

    pub(super) fn cluster_link(&mut self, link: &ClusterLink) {
        let spec = &link.spec;
        let secret = &spec.kubeconfig_secret_ref;
        self.check("spec.kubeconfigSecretRef.name", parse_object_name(&secret.name));
        if let Some(key) = &secret.key {
            self.check("spec.kubeconfigSecretRef.key", parse_secret_key(key));
        }
        let allowed = spec.allowed_namespaces.iter().filter(|name| *name != ALL_NAMESPACES);
        self.namespaces("allowedNamespaces", &spec.allowed_namespaces, allowed, MAX_ALLOWED_NAMESPACES);
        let remote = &spec.remote_namespaces;
        self.namespaces("remoteNamespaces", remote, remote.iter(), MAX_REMOTE_NAMESPACES);
    }

    /// A list of namespaces, and those of it that must be names.
    fn namespaces<'n>(&mut self, field: &str, all: &[String], names: impl Iterator<Item = &'n String>, most: usize) {
        let field = format!("spec.{field}");
        if all.is_empty() || all.len() > most {
            self.error(&field, format!("{} namespaces: name 1 to {most}", all.len()));
        }
        for name in names {
            let index = all.iter().position(|known| known == name).unwrap_or(0);
            self.check(format!("{field}[{index}]"), parse_label(name));
        }
        let mut seen = BTreeSet::new();
        for (index, name) in all.iter().enumerate() {
            if !seen.insert(name) {
                self.error(format!("{field}[{index}]"), format!("`{name}` is there already: remove it"));
            }
        }
    }
}

/// The name of a namespace or a Service, or what is wrong with it.
pub fn parse_label(text: &str) -> Result<(), String> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_good = (1..=MAX_LABEL_LENGTH).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_good { Ok(()) } else { Err(bad_name(text, MAX_LABEL_LENGTH)) }
}

/// The name of an object, or what is wrong with it.
fn parse_object_name(text: &str) -> Result<(), String> {
    let is_good = text.len() <= MAX_NAME_LENGTH && text.split('.').all(|label| parse_label(label).is_ok());
    if is_good { Ok(()) } else { Err(bad_name(text, MAX_NAME_LENGTH)) }
}

/// A host with or without a port, or what is wrong with it.
fn parse_host(host: &str) -> Result<(), String> {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_port = port.is_none_or(|port| port.parse::<i64>().is_ok_and(|port| parse_port(port).is_ok()));
    if parse_object_name(name).is_ok() && is_port {
        return Ok(());
    }
    Err(format!("`{host}` is not a host: use something like shop.internal or shop.internal:8080"))
}

/// From one health check to the next, or what is wrong with it.
pub fn interval(check: &UpstreamHealthCheck) -> Result<Duration, String> {
    time(check.interval.as_deref().unwrap_or("10s"))
}

/// How long a health check may take, or what is wrong with it.
pub fn timeout(check: &UpstreamHealthCheck) -> Result<Duration, String> {
    time(check.timeout.as_deref().unwrap_or("2s"))
}

fn time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    let bounds = Duration::from_millis(100)..=Duration::from_hours(1);
    if bounds.contains(&time) { Ok(time) } else { Err(format!("{text} is not between 100ms and 1h: use that")) }
}

/// A status or a range of them, or what is wrong with it.
pub fn parse_statuses(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.parse::<u16>().ok().filter(|status| (100..=599).contains(status) && text.len() == 3);
    let range = status(first).zip(status(last)).filter(|(first, last)| first <= last);
    let (first, last) = range.ok_or_else(|| format!("`{text}` is no status: use something like 200 or 200-399"))?;
    Ok(first..=last)
}

/// The name of a header or a cookie, or what is wrong with it.
fn parse_token(text: &str) -> Result<(), String> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if (1..=256).contains(&text.len()) && text.bytes().all(is_known) {
        return Ok(());
    }
    Err(format!("`{text}` is not the name of a header or cookie: use something like X-User"))
}

fn bad_name(text: &str, most: usize) -> String {
    format!("`{text}` is not a name: use 1 to {most} lower-case letters, digits and `-`, with no `-` at the ends")
}

fn parse_secret_key(text: &str) -> Result<(), String> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=MAX_NAME_LENGTH).contains(&text.len()) && text.bytes().all(is_known) {
        return Ok(());
    }
    Err(format!("`{text}` is not a key of a Secret: use letters, digits, `-`, `_` and `.`"))
}

#[cfg(test)]
mod tests;
