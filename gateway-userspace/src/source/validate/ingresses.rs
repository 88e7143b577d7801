//! Is an Ingress good by itself? What the API server refuses, and nothing else: many Ingresses are somebody else's.

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};

use super::gateways::parse_hostname;
use super::routes::parse_path;
use super::{Findings, parse_port};

const PATH_TYPES: [&str; 3] = ["Exact", "Prefix", "ImplementationSpecific"];

impl Findings<'_> {
    pub(super) fn ingress(&mut self, ingress: &Ingress) {
        self.addresses(&ingress.metadata);
        let empty = "empty: an Ingress needs rules or a defaultBackend";
        let Some(spec) = &ingress.spec else { return self.error("spec", empty) };
        let rules = spec.rules.as_deref().unwrap_or_default();
        match &spec.default_backend {
            Some(backend) => self.ingress_backend("spec.defaultBackend", backend),
            None if rules.is_empty() => self.error("spec", empty),
            None => {}
        }
        for (index, rule) in rules.iter().enumerate() {
            let field = format!("spec.rules[{index}]");
            if let Some(host) = rule.host.as_deref().filter(|host| !host.is_empty()) {
                self.check(format!("{field}.host"), parse_hostname(host));
            }
            let Some(http) = &rule.http else { continue };
            if http.paths.is_empty() {
                self.error(format!("{field}.http.paths"), "empty: name a path, or remove http");
            }
            for (index, path) in http.paths.iter().enumerate() {
                self.ingress_path(&format!("{field}.http.paths[{index}]"), path);
            }
        }
        for (index, tls) in spec.tls.iter().flatten().enumerate() {
            for (number, host) in tls.hosts.iter().flatten().enumerate() {
                self.check(format!("spec.tls[{index}].hosts[{number}]"), parse_hostname(host));
            }
        }
    }

    fn ingress_path(&mut self, field: &str, path: &HTTPIngressPath) {
        let text = path.path.as_deref().unwrap_or_default();
        match path.path_type.as_str() {
            "" => self.error(format!("{field}.pathType"), "missing: use Exact, Prefix or ImplementationSpecific"),
            "ImplementationSpecific" if text.is_empty() || text.starts_with('/') => {}
            "Exact" | "Prefix" | "ImplementationSpecific" => self.check(format!("{field}.path"), parse_path(text)),
            _ => self.choose(format!("{field}.pathType"), Some(&path.path_type), "a type of path", &PATH_TYPES),
        }
        self.ingress_backend(&format!("{field}.backend"), &path.backend);
    }

    fn ingress_backend(&mut self, field: &str, backend: &IngressBackend) {
        let service = match (&backend.service, &backend.resource) {
            (Some(service), None) => service,
            (None, Some(_)) => return,
            (None, None) => return self.error(field, "missing: name a service or a resource"),
            (Some(_), Some(_)) => return self.error(field, "it has a service and a resource: remove one of the two"),
        };
        if service.name.is_empty() {
            self.error(format!("{field}.service.name"), "missing: name a Service");
        }
        let port =
            service.port.as_ref().map(|port| (port.number, port.name.as_deref().filter(|name| !name.is_empty())));
        match port {
            Some((Some(number), None)) => {
                self.check(format!("{field}.service.port.number"), parse_port(number.into()));
            }
            Some((None, Some(_))) => {}
            Some((Some(_), Some(_))) => {
                self.error(format!("{field}.service.port"), "it has a number and a name: remove one of the two");
            }
            None | Some((None, None)) => {
                let message = "missing: name the Service's port by number or by name";
                self.error(format!("{field}.service.port"), message);
            }
        }
    }
}
