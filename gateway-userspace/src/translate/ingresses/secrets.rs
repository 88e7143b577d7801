//! TLS of Ingresses that share an address: which hosts have a certificate.
//!
//! An entry of `spec.tls` without hosts is for those of its Ingress' rules. A host whose Secret is missing is served in the
//! clear only. Of two Ingresses with a certificate for one host the older's is shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::IngressTLS;

use super::{Flaw, OurIngress, paths};
use crate::model::http::{Certificate, Hostname, Termination};
use crate::source::{Kind, Objects};
use crate::translate::certificates::{Reference, certificate};
use crate::translate::references::Party;

/// The API group of Ingresses.
pub(super) const GROUP: &str = "networking.k8s.io";

/// A host that is served within TLS.
pub(in crate::translate) struct TlsHost {
    /// The host; none is every host.
    pub hostname: Option<Hostname>,
    /// Its certificates.
    pub termination: Arc<Termination>,
}

/// Who shows a host's certificates: the place of the Ingress, and these.
type Holders = BTreeMap<Option<Hostname>, (usize, Vec<Certificate>)>;

/// The hosts that Ingresses, in the order of their age, have certificates for.
pub(super) fn tls_hosts(objects: &Objects, ingresses: &[OurIngress<'_>], flaws: &mut Vec<Flaw>) -> Vec<TlsHost> {
    let mut holders = Holders::new();
    for (at, ingress) in ingresses.iter().enumerate() {
        for (index, entry) in ingress.tls().iter().enumerate() {
            let field = format!("spec.tls[{index}]");
            match read(objects, ingress, entry) {
                Ok(certificate) => {
                    let hosts = hosts(ingress, entry);
                    let lost = hosts.into_iter().filter_map(|host| take(&mut holders, at, host, &certificate));
                    for (host, winner) in lost {
                        let message = format!(
                            "{} has a certificate for {host} already and is older or first by name: clients are shown \
                             that one: name its Secret here too, or use another host",
                            ingresses[winner].id
                        );
                        flaws.push(Flaw { ingress: at, field: format!("{field}.hosts"), message });
                    }
                }
                Err(message) => flaws.push(Flaw { ingress: at, field: format!("{field}.secretName"), message }),
            }
        }
    }
    let host = |(hostname, (_, certificates))| {
        let termination = Arc::new(Termination { certificates, client_validation: None });
        TlsHost { hostname, termination }
    };
    holders.into_iter().map(host).collect()
}

fn read(objects: &Objects, ingress: &OurIngress<'_>, entry: &IngressTLS) -> Result<Certificate, String> {
    let Some(name) = secret_name(entry) else {
        return Err(
            "missing: name a Secret with the certificate of the hosts, which are served in the clear only".into()
        );
    };
    let from = Party { group: GROUP, kind: Kind::Ingress, namespace: &ingress.id.name.namespace };
    let reference = Reference { group: "", kind: "Secret", namespace: None, name };
    certificate(objects, from, reference).map_err(|unresolved| unresolved.message().to_string())
}

/// The Secret that an entry names.
pub(super) fn secret_name(entry: &IngressTLS) -> Option<&str> {
    entry.secret_name.as_deref().filter(|name| !name.is_empty())
}

fn hosts(ingress: &OurIngress<'_>, entry: &IngressTLS) -> Vec<Option<Hostname>> {
    let named: Vec<_> = entry.hosts.iter().flatten().map(|text| paths::host(Some(text))).collect();
    if !named.is_empty() {
        return named;
    }
    let own = ingress.hosts();
    if own.is_empty() { vec![None] } else { own }
}

/// Gives a host a certificate. If another Ingress has given it another one, that stays: the host and that Ingress.
fn take(
    holders: &mut Holders,
    at: usize,
    host: Option<Hostname>,
    certificate: &Certificate,
) -> Option<(String, usize)> {
    let (holder, certificates) = holders.entry(host.clone()).or_insert_with(|| (at, Vec::new()));
    if certificates.contains(certificate) {
        return None;
    }
    if *holder == at {
        certificates.push(certificate.clone());
        return None;
    }
    Some((host.map_or_else(|| "every host".to_string(), |host| host.to_string()), *holder))
}
