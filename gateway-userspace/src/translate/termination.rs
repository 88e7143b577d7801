//! The TLS that ends at a listener: its certificates, and what is asked of clients' own.

use std::sync::Arc;

use gateway_api::apis::experimental::gateways::{
    Gateway, GatewayTlsFrontendDefaultValidation as DefaultValidation,
    GatewayTlsFrontendDefaultValidationMode as DefaultMode, GatewayTlsFrontendPerPortTlsValidation as PortValidation,
    GatewayTlsFrontendPerPortTlsValidationMode as PortMode,
};

use super::certificates::{Reference, Unresolved, authorities, certificate, joined};
use super::listeners::{GATEWAY_GROUP, Listener, Speech};
use super::references::Party;
use crate::model::http::{Certificate, ClientValidation, Termination};
use crate::source::{Kind, Name, Objects};

/// The TLS that a listener ends, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct ListenerTls {
    /// The certificates that can be used.
    pub certificates: Vec<Certificate>,
    /// What is asked of clients, if anything.
    pub validation: Option<ClientValidation>,
    /// References that lead nowhere.
    pub flaws: Vec<Flaw>,
    /// Why no client can be trusted, though clients have to prove who they are: then nobody is let in.
    pub distrusts_all: Option<String>,
}

/// A reference that leads nowhere.
#[derive(Clone, Debug)]
pub(super) struct Flaw {
    /// The field, of the listener's owner or of the Gateway.
    pub field: String,
    /// Whether that is a field of the Gateway, whoever has the listener.
    pub is_of_gateway: bool,
    /// The reason of Gateway API.
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl ListenerTls {
    /// How the HTTP layer is to end it.
    pub fn termination(&self) -> Arc<Termination> {
        Arc::new(Termination { certificates: self.certificates.clone(), client_validation: self.validation.clone() })
    }

    /// Of a listener of a Gateway.
    pub fn of(objects: &Objects, gateway: &Gateway, name: &Name, listener: &Listener<'_>) -> Self {
        let mut tls = Self::default();
        let Some(speech) = listener.speech.filter(|speech| speech.ends_tls()) else { return tls };
        tls.take_certificates(objects, listener);
        if speech == Speech::Https
            && let Some((field, wanted)) = client_validation(gateway, listener)
        {
            tls.take_authorities(objects, name, &field, &wanted);
        }
        tls
    }

    fn take_certificates(&mut self, objects: &Objects, listener: &Listener<'_>) {
        let owner = &listener.owner;
        let from = Party { group: GATEWAY_GROUP, kind: owner.kind, namespace: &owner.name.namespace };
        let references = listener.spec.tls.as_ref().and_then(|tls| tls.certificate_refs.as_deref()).unwrap_or_default();
        let list = format!("spec.listeners[{}].tls.certificateRefs", listener.index);
        let flaw = |field, reason, message| Flaw { field, is_of_gateway: false, reason, message };
        if references.is_empty() {
            let message = "missing: name a Secret with the listener's certificate".to_string();
            self.flaws.push(flaw(list.clone(), "InvalidCertificateRef", message));
        }
        for (index, reference) in references.iter().enumerate() {
            let reference = Reference {
                group: reference.group.as_deref().unwrap_or(""),
                kind: reference.kind.as_deref().unwrap_or("Secret"),
                namespace: reference.namespace.as_deref(),
                name: &reference.name,
            };
            match certificate(objects, from, reference) {
                Ok(certificate) => self.certificates.push(certificate),
                Err(unresolved) => {
                    let reason = match unresolved {
                        Unresolved::Forbidden(_) => "RefNotPermitted",
                        Unresolved::Kind(_) | Unresolved::Unusable(_) => "InvalidCertificateRef",
                    };
                    self.flaws.push(flaw(format!("{list}[{index}]"), reason, unresolved.message().to_string()));
                }
            }
        }
    }

    /// Clients are asked for certificates as soon as the Gateway says so, whether its references are good or not.
    fn take_authorities(&mut self, objects: &Objects, gateway: &Name, field: &str, wanted: &Wanted<'_>) {
        let from = Party { group: GATEWAY_GROUP, kind: Kind::Gateway, namespace: &gateway.namespace };
        let mut found = Vec::new();
        for (index, reference) in wanted.references.iter().enumerate() {
            match authorities(objects, from, *reference) {
                Ok(authority) => found.push(authority),
                Err(unresolved) => {
                    let reason = match unresolved {
                        Unresolved::Kind(_) => "InvalidCACertificateKind",
                        Unresolved::Forbidden(_) => "RefNotPermitted",
                        Unresolved::Unusable(_) => "InvalidCACertificateRef",
                    };
                    let field = format!("{field}.caCertificateRefs[{index}]");
                    let message = unresolved.message().to_string();
                    self.flaws.push(Flaw { field, is_of_gateway: true, reason, message });
                }
            }
        }
        if found.is_empty() {
            self.distrusts_all = Some(format!("{field}: none of the caCertificateRefs leads to authorities"));
        }
        self.validation = Some(ClientValidation { authorities_pem: joined(&found), is_optional: wanted.is_optional });
    }
}

/// What a Gateway asks of clients.
struct Wanted<'a> {
    references: Vec<Reference<'a>>,
    is_optional: bool,
}

/// What a Gateway asks of a listener's clients, and in which field: that of its port, else that of all ports.
fn client_validation<'a>(gateway: &'a Gateway, listener: &Listener<'_>) -> Option<(String, Wanted<'a>)> {
    let frontend = gateway.spec.tls.as_ref()?.frontend.as_ref()?;
    let mut ports = frontend.per_port.iter().flatten().enumerate();
    if let Some((index, entry)) = ports.find(|(_, entry)| entry.port == listener.spec.port) {
        let wanted = of_port(entry.tls.validation.as_ref()?);
        return Some((format!("spec.tls.frontend.perPort[{index}].tls.validation"), wanted));
    }
    let wanted = of_all_ports(frontend.default.validation.as_ref()?);
    Some(("spec.tls.frontend.default.validation".to_string(), wanted))
}

fn of_port(validation: &PortValidation) -> Wanted<'_> {
    let references = validation.ca_certificate_refs.iter().map(|reference| Reference {
        group: &reference.group,
        kind: &reference.kind,
        namespace: reference.namespace.as_deref(),
        name: &reference.name,
    });
    let is_optional = validation.mode == Some(PortMode::AllowInsecureFallback);
    Wanted { references: references.collect(), is_optional }
}

fn of_all_ports(validation: &DefaultValidation) -> Wanted<'_> {
    let references = validation.ca_certificate_refs.iter().map(|reference| Reference {
        group: &reference.group,
        kind: &reference.kind,
        namespace: reference.namespace.as_deref(),
        name: &reference.name,
    });
    let is_optional = validation.mode == Some(DefaultMode::AllowInsecureFallback);
    Wanted { references: references.collect(), is_optional }
}
