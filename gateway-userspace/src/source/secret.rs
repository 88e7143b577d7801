//! Secrets and `ConfigMap`s, as far as TLS is made of them: a certificate with its key, and authorities that are trusted.
//!
//! What else they hold is dropped as it is read. One that holds no good certificate is known all the same, with what is
//! wrong with it, so that whoever refers to it can be told. Keys are never printed.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::Deserialize;

/// The key of a `ConfigMap` that holds authorities (Gateway API, `caCertificateRefs`).
pub const AUTHORITIES_KEY: &str = "ca.crt";

/// A Secret with a certificate, or why it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret(pub Result<KeyPair, String>);

/// A certificate and its key, both in PEM; they belong together.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The chain, leaf first.
    pub chain_pem: Arc<[u8]>,
    /// The private key.
    pub key_pem: Arc<[u8]>,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").finish_non_exhaustive()
    }
}

/// A `ConfigMap` with authorities in PEM, or why it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMap(pub Result<Arc<[u8]>, String>);

/// A Secret as somebody wrote it, without what is none of our business.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WrittenSecret {
    /// Name, namespace.
    pub metadata: ObjectMeta,
    data: Option<SecretData<ByteString>>,
    string_data: Option<SecretData<String>>,
}

#[derive(Clone, PartialEq, Deserialize)]
struct SecretData<T> {
    #[serde(rename = "tls.crt")]
    certificate: Option<T>,
    #[serde(rename = "tls.key")]
    key: Option<T>,
}

impl fmt::Debug for WrittenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrittenSecret").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

/// A `ConfigMap` as somebody wrote it, without what is none of our business.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct WrittenConfigMap {
    /// Name, namespace.
    pub metadata: ObjectMeta,
    data: Option<ConfigMapData>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct ConfigMapData {
    #[serde(rename = "ca.crt")]
    authorities: Option<String>,
}

impl From<&WrittenSecret> for Secret {
    fn from(written: &WrittenSecret) -> Self {
        let text = |field: fn(&SecretData<String>) -> Option<&String>| {
            written.string_data.as_ref().and_then(field).map(|text| Arc::from(text.as_bytes()))
        };
        let bytes = |field: fn(&SecretData<ByteString>) -> Option<&ByteString>| {
            written.data.as_ref().and_then(field).map(|bytes| Arc::from(&*bytes.0))
        };
        // As the API server does it, text comes before bytes.
        let chain = text(|data| data.certificate.as_ref()).or_else(|| bytes(|data| data.certificate.as_ref()));
        let key = text(|data| data.key.as_ref()).or_else(|| bytes(|data| data.key.as_ref()));
        Self(match (chain, key) {
            (Some(chain_pem), Some(key_pem)) => KeyPair { chain_pem, key_pem }.checked(),
            (None, _) => Err("it has no tls.crt: use a Secret of type kubernetes.io/tls".to_string()),
            (_, None) => Err("it has no tls.key: use a Secret of type kubernetes.io/tls".to_string()),
        })
    }
}

impl KeyPair {
    fn checked(self) -> Result<Self, String> {
        let chain = certificates(&self.chain_pem).map_err(|what| format!("its tls.crt is {what}"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key_pem)
            .map_err(|_| "its tls.key is no private key in PEM: put the certificate's key there".to_string())?;
        match CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()) {
            Ok(_) => Ok(self),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err("its tls.key is not the key of its tls.crt: put the two together that belong together".to_string())
            }
            Err(error) => Err(format!("its certificate and key cannot be used: {error}")),
        }
    }
}

impl From<&WrittenConfigMap> for ConfigMap {
    fn from(written: &WrittenConfigMap) -> Self {
        let text = written.data.as_ref().and_then(|data| data.authorities.as_ref());
        let Some(text) = text else {
            return Self(Err(format!("it has no {AUTHORITIES_KEY}: put the authorities' certificates there")));
        };
        Self(checked_authorities(text.as_bytes()).map_err(|what| format!("its {AUTHORITIES_KEY} is {what}")))
    }
}

/// Authorities that can be trusted; all of them must be good, so that none is missing unnoticed.
fn checked_authorities(pem: &[u8]) -> Result<Arc<[u8]>, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate).map_err(|error| format!("no authority's certificate: {error}"))?;
    }
    Ok(pem.into())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.unwrap_or_default();
    if certificates.is_empty() {
        return Err("no certificate in PEM: put one there".to_string());
    }
    Ok(certificates)
}

/// A certificate for tests, of shop.example and *.shop.example, and its key: nobody else uses them.
#[cfg(test)]
pub(crate) mod testing {
    pub const CERTIFICATE: &str = include_str!("secret/web.crt");
    pub const KEY: &str = include_str!("secret/web.key");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::testing::{CERTIFICATE, KEY};
    use super::*;

    const OTHER_KEY: &str = include_str!("secret/other.key");

    fn secret(certificate: &str, key: &str) -> Result<KeyPair, String> {
        let value =
            json!({"metadata": {"name": "a"}, "stringData": {"tls.crt": certificate, "tls.key": key, "x": "y"}});
        let written: WrittenSecret = serde_json::from_value(value).unwrap();
        Secret::from(&written).0
    }

    #[test]
    fn a_certificate_and_its_key_are_taken_together() {
        let pair = secret(CERTIFICATE, KEY).unwrap();

        assert_eq!((&*pair.chain_pem, &*pair.key_pem), (CERTIFICATE.as_bytes(), KEY.as_bytes()));
        assert_eq!(format!("{pair:?}"), "KeyPair { .. }");
    }

    #[test]
    fn what_is_no_certificate_with_its_key_is_named() {
        assert!(secret("Hello world", KEY).unwrap_err().starts_with("its tls.crt is no certificate in PEM"));
        assert!(secret(CERTIFICATE, "Hello world").unwrap_err().starts_with("its tls.key is no private key in PEM"));
        assert!(secret(CERTIFICATE, OTHER_KEY).unwrap_err().starts_with("its tls.key is not the key of its tls.crt"));
        assert!(Secret::from(&WrittenSecret::default()).0.unwrap_err().starts_with("it has no tls.crt"));
    }

    #[test]
    fn a_config_map_has_authorities_or_says_why_not() {
        let of = |data: serde_json::Value| {
            let written: WrittenConfigMap = serde_json::from_value(json!({"data": data})).unwrap();
            ConfigMap::from(&written).0
        };

        assert_eq!(of(json!({"ca.crt": CERTIFICATE, "x": "y"})), Ok(CERTIFICATE.as_bytes().into()));
        assert!(of(json!({"ca.crt": "Hello world"})).unwrap_err().starts_with("its ca.crt is no certificate in PEM"));
        assert!(of(json!({})).unwrap_err().starts_with("it has no ca.crt"));
    }
}
