//! Reads certificates, keys and authorities out of PEM.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{TlsError, provider};
use crate::model::http::Certificate;

/// A certificate with its key, ready to sign.
pub fn certified_key(certificate: &Certificate) -> Result<Arc<CertifiedKey>, TlsError> {
    let origin = || certificate.origin.clone();
    let chain = chain(&certificate.chain_pem).ok_or_else(|| TlsError::Chain { origin: origin() })?;
    let key = PrivateKeyDer::from_pem_slice(&certificate.key_pem).map_err(|_| TlsError::Key { origin: origin() })?;
    let key = provider().key_provider.load_private_key(key).map_err(|_| TlsError::Key { origin: origin() })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
        Err(_) => Err(TlsError::Mismatch { origin: origin() }),
    }
}

/// Certificates, at least one.
fn chain(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!chain.is_empty()).then_some(chain)
}

/// Authorities, at least one.
pub fn authorities(pem: &[u8], origin: &str) -> Result<RootCertStore, TlsError> {
    let failed = || TlsError::Authorities { origin: origin.to_string() };
    let mut store = RootCertStore::empty();
    for certificate in chain(pem).ok_or_else(failed)? {
        store.add(certificate).map_err(|_| failed())?;
    }
    Ok(store)
}
