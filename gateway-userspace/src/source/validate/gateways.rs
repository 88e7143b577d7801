//! Is a Gateway, a `ListenerSet` or a `BackendTLSPolicy` good by itself? The definitions of Gateway API refuse the same.

use std::collections::BTreeSet;

use gateway_api::apis::experimental::gateways::{Gateway, GatewayListeners};

use super::super::{BackendTlsPolicy, ListenerSet};
use super::{Findings, PROXY_PROTOCOL_ANNOTATION, parse_port, parse_proxy_ports, parse_vip};

/// The longest name of a host (RFC 1035).
const MAX_HOSTNAME_LENGTH: usize = 253;

impl Findings<'_> {
    pub(super) fn gateway(&mut self, gateway: &Gateway) {
        self.mode(&gateway.metadata);
        let annotations = gateway.metadata.annotations.as_ref();
        if let Some(text) = annotations.and_then(|annotations| annotations.get(PROXY_PROTOCOL_ANNOTATION)) {
            self.check(format!("metadata.annotations[{PROXY_PROTOCOL_ANNOTATION}]"), parse_proxy_ports(text));
        }
        self.listeners(&gateway.spec.listeners, "a Gateway");
        for (index, address) in gateway.spec.addresses.iter().flatten().enumerate() {
            if let (None | Some("IPAddress"), Some(value)) = (address.r#type.as_deref(), address.value.as_deref()) {
                self.check(format!("spec.addresses[{index}].value"), parse_vip(value));
            }
        }
        let frontend = gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
        for (index, entry) in frontend.and_then(|frontend| frontend.per_port.as_ref()).into_iter().flatten().enumerate()
        {
            self.check(format!("spec.tls.frontend.perPort[{index}].port"), parse_port(entry.port.into()));
        }
    }

    pub(super) fn listener_set(&mut self, set: &ListenerSet) {
        if set.spec.parent_ref.name.is_empty() {
            self.error("spec.parentRef.name", "empty: name a Gateway");
        }
        self.listeners(&set.spec.listeners, "a ListenerSet");
    }

    fn listeners(&mut self, listeners: &[GatewayListeners], owner: &str) {
        if listeners.is_empty() {
            self.error("spec.listeners", format!("{owner} needs at least one listener"));
        }
        let mut names = BTreeSet::new();
        for (index, listener) in listeners.iter().enumerate() {
            let field = |name: &str| format!("spec.listeners[{index}].{name}");
            self.check(field("port"), parse_port(listener.port.into()));
            if !names.insert(&listener.name) {
                let message = format!("`{}` is the name of an earlier listener too: use another", listener.name);
                self.error(field("name"), message);
            }
            if let Some(hostname) = listener.hostname.as_deref().filter(|hostname| !hostname.is_empty()) {
                self.check(field("hostname"), parse_hostname(hostname));
            }
            let protocol = listener.protocol.as_str();
            match (&listener.tls, protocol) {
                (Some(_), "HTTP" | "TCP" | "UDP") => {
                    self.error(
                        field("tls"),
                        format!("a {protocol} listener has no TLS: remove it or use HTTPS or TLS"),
                    );
                }
                (None, "TLS") => self.error(field("tls"), "missing: say its mode, Terminate or Passthrough"),
                _ => {}
            }
        }
    }

    pub(super) fn backend_tls_policy(&mut self, policy: &BackendTlsPolicy) {
        let spec = &policy.spec;
        if spec.target_refs.is_empty() {
            self.error("spec.targetRefs", "a BackendTLSPolicy needs a Service: name one");
        }
        let validation = &spec.validation;
        self.check("spec.validation.hostname", parse_precise_hostname(&validation.hostname));
        let field = "spec.validation.caCertificateRefs";
        match (validation.ca_certificate_refs.is_empty(), &validation.well_known_ca_certificates) {
            (true, None) => self.error(field, "missing: name ConfigMaps, or use wellKnownCACertificates: System"),
            (false, Some(_)) => self.error(field, "it excludes wellKnownCACertificates: remove one of the two"),
            _ => {}
        }
        for (index, name) in validation.subject_alt_names.iter().enumerate() {
            let field = |name: &str| format!("spec.validation.subjectAltNames[{index}].{name}");
            match (name.kind.as_str(), &name.hostname, &name.uri) {
                ("Hostname", Some(hostname), None) => self.check(field("hostname"), parse_hostname(hostname)),
                ("URI", None, Some(_)) => {}
                ("Hostname", ..) => self.error(field("hostname"), "type Hostname needs hostname, and no uri"),
                ("URI", ..) => self.error(field("uri"), "type URI needs uri, and no hostname"),
                (other, ..) => self.error(field("type"), format!("`{other}` is not a type: use Hostname or URI")),
            }
        }
    }
}

/// A hostname or a wildcard, or what is wrong with it (Gateway API, `Hostname`).
pub(super) fn parse_hostname(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(inner)
    };
    let is_address = rest.parse::<std::net::IpAddr>().is_ok();
    if text.len() <= MAX_HOSTNAME_LENGTH && rest.split('.').all(is_label) && !is_address {
        return Ok(());
    }
    Err(format!("`{text}` is not a hostname: use something like shop.example or *.shop.example"))
}

/// The same without wildcards.
pub(super) fn parse_precise_hostname(text: &str) -> Result<(), String> {
    if text.starts_with('*') {
        return Err(format!("`{text}` is a wildcard: name one host"));
    }
    parse_hostname(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_are_those_of_gateway_api() {
        for text in ["shop.example", "*.shop.example", "a", "a-1.b2", "*.a"] {
            assert!(parse_hostname(text).is_ok(), "{text}");
        }
        for text in ["", "*", "Shop.example", "a..b", "-a", "a-", "*.*.a", "a.*", "192.0.2.1", "a_b", "shop.example."] {
            assert!(parse_hostname(text).is_err(), "{text}");
        }
        assert!(parse_precise_hostname("*.a").is_err());
    }
}
