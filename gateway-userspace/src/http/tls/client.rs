//! TLS with backends: whom we trust, which names their certificates must have, and what we show them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::{TlsError, pem, provider};
use crate::model::http::{BackendTls, Hostname, SubjectName};

/// What is offered within the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2 or HTTP/1.1, as the backend likes.
    Any,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Nothing: what goes on is not ours to name.
    None,
}

/// TLS to the backends of one policy.
#[derive(Debug)]
pub struct ClientTls {
    /// A number of its own: connections of another configuration are other connections.
    pub id: u64,
    /// The name in SNI.
    pub server_name: ServerName<'static>,
    any: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    none: Arc<ClientConfig>,
}

impl ClientTls {
    /// The policy, made ready.
    pub fn new(tls: &BackendTls) -> Result<Self, TlsError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let origin = || tls.origin.clone();
        let name = |name: &str| {
            ServerName::try_from(name.to_string())
                .map_err(|_| TlsError::Name { origin: origin(), name: name.to_string() })
        };
        let roots = match tls.authorities_pem.as_deref() {
            None => system_authorities(),
            Some([]) => Arc::new(RootCertStore::empty()),
            Some(pem) => Arc::new(pem::authorities(pem, &tls.origin)?),
        };
        let verifier = Verifier { roots, names: tls.names.clone() };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|source| TlsError::Rustls { origin: origin(), source })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &tls.client_certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let key = pem::certified_key(certificate)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
        };
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            server_name: name(&tls.hostname)?,
            any: offering(&[b"h2", b"http/1.1"]),
            http1: offering(&[b"http/1.1"]),
            http2: offering(&[b"h2"]),
            none: offering(&[]),
        })
    }

    /// The configuration that offers this.
    pub fn config(&self, alpn: Alpn) -> Arc<ClientConfig> {
        Arc::clone(match alpn {
            Alpn::Any => &self.any,
            Alpn::Http1 => &self.http1,
            Alpn::Http2 => &self.http2,
            Alpn::None => &self.none,
        })
    }
}

/// The authorities that the system trusts, read once: those of the files where systems have them, or that `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` name, else Mozilla's, since a container may have none.
fn system_authorities() -> Arc<RootCertStore> {
    static STORE: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(STORE.get_or_init(|| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Arc::new(store)
    }))
}

/// Trusts a certificate that an authority vouches for and that has one of the names: those of the policy if it has any
/// (`subjectAltNames`, which may be URIs), else that of SNI.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    names: BTreeSet<SubjectName>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        if self.names.is_empty() {
            verify_server_name(&certificate, server_name)?;
        } else if !self.names.iter().any(|name| has_name(end_entity, &certificate, name)) {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn has_name(der: &CertificateDer<'_>, parsed: &ParsedCertificate<'_>, name: &SubjectName) -> bool {
    let Ok(certificate) = webpki::EndEntityCert::try_from(der) else { return false };
    match name {
        SubjectName::Hostname(Hostname::Exact(host)) => {
            ServerName::try_from(&**host).is_ok_and(|host| verify_server_name(parsed, &host).is_ok())
        }
        SubjectName::Hostname(wildcard @ (Hostname::Wildcard(_) | Hostname::OneLabel(_))) => {
            certificate.valid_dns_names().any(|host| Hostname::parse(host) == *wildcard)
        }
        SubjectName::Uri(uri) => certificate.valid_uri_names().any(|found| found == uri),
    }
}
