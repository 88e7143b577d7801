//! TLS with clients: which certificate is shown, and what is asked of theirs.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

use super::{TlsError, pem, provider};
use crate::model::http::{ClientValidation, Hostname, Termination};

/// Sessions of TLS 1.2 that are kept for clients that know no tickets.
const SESSIONS: usize = 4096;

/// How TLS ends at one listener.
#[derive(Debug)]
pub struct ServerTls {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    validation: Option<ClientValidation>,
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<ServerSessionMemoryCache>,
}

impl ServerTls {
    /// A listener's TLS. What `previous`, the same listener's, knows of sessions stays if it asks the same of clients.
    /// Certificates that cannot be used are left out and told, unless none is left.
    pub fn new(
        listener: &str,
        termination: &Termination,
        alpn: &[&[u8]],
        previous: Option<&Self>,
    ) -> Result<(Self, Vec<TlsError>), TlsError> {
        let mut problems = Vec::new();
        let certificates: Vec<Named> = (termination.certificates.iter())
            .filter_map(|certificate| match pem::certified_key(certificate) {
                Ok(key) => Some(Named::new(key)),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            })
            .collect();
        if certificates.is_empty() {
            return Err(problems.pop().unwrap_or_else(|| TlsError::NoCertificate { origin: listener.to_string() }));
        }
        let refused = |source| TlsError::Rustls { origin: listener.to_string(), source };
        let validation = termination.client_validation.clone();
        let (tickets, sessions) = match previous.filter(|previous| previous.validation == validation) {
            Some(previous) => (Arc::clone(&previous.tickets), Arc::clone(&previous.sessions)),
            None => (Ticketer::new().map_err(refused)?, ServerSessionMemoryCache::new(SESSIONS)),
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(refused)?;
        let builder = match &validation {
            None => builder.with_no_client_auth(),
            Some(validation) => builder.with_client_cert_verifier(verifier(listener, validation)?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Resolver(certificates)));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.ticketer = Arc::clone(&tickets);
        config.session_storage = Arc::clone(&sessions) as _;
        Ok((Self { config: Arc::new(config), validation, tickets, sessions }, problems))
    }
}

/// A certificate with the names in it.
#[derive(Debug)]
struct Named {
    names: Vec<Hostname>,
    key: Arc<CertifiedKey>,
}

impl Named {
    fn new(key: Arc<CertifiedKey>) -> Self {
        let certificate = key.cert.first().and_then(|leaf| webpki::EndEntityCert::try_from(leaf).ok());
        let names = certificate
            .iter()
            .flat_map(|certificate| certificate.valid_dns_names())
            .map(Hostname::parse_narrow)
            .collect();
        Self { names, key }
    }

    /// Whether it is for a name. A wildcard in a certificate stands for one label (RFC 9525, 6.3).
    fn fits(&self, server_name: &str) -> bool {
        self.names.iter().any(|name| name.covers(server_name))
    }
}

/// Chooses the certificate: one for the name that the client can verify, else the first that it can verify.
#[derive(Debug)]
struct Resolver(Vec<Named>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let verifiable =
            || self.0.iter().filter(|named| named.key.key.choose_scheme(hello.signature_schemes()).is_some());
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let named = name.and_then(|name| verifiable().find(|named| named.fits(&name)));
        named.or_else(|| verifiable().next()).map(|named| Arc::clone(&named.key))
    }
}

fn verifier(listener: &str, validation: &ClientValidation) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if validation.is_optional {
        return Ok(Arc::new(Lenient));
    }
    let roots = pem::authorities(&validation.authorities_pem, listener)?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|_| TlsError::Authorities { origin: listener.to_string() })
}

/// Asks for a certificate and takes any, or none (GEP-91, `AllowInsecureFallback`). That the client has the key of what it
/// shows is checked all the same.
#[derive(Debug)]
struct Lenient;

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
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
