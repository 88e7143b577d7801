//! TLS on both sides: with clients, by a listener's certificates, and with backends, by a policy.
//!
//! rustls on aws-lc-rs, TLS 1.2 and 1.3. A configuration is made when the model changes and never while a connection
//! waits. What lets a client resume a session outlives the change of a certificate, but not that of what is asked of the
//! client: a session must not outlive the check that it passed.

mod client;
mod pem;
mod server;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

pub use self::client::{Alpn, ClientTls};
pub use self::server::ServerTls;

/// What is wrong with certificates, keys or authorities.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate in it, or a broken one.
    #[error("{origin}: the certificate chain cannot be read: give it as PEM, leaf first")]
    Chain {
        /// Where it comes from.
        origin: String,
    },
    /// There is no key in it, or a broken one, or one of a kind that we do not know.
    #[error("{origin}: the private key cannot be used: give a PKCS #8, PKCS #1 or SEC 1 key as PEM, RSA or ECDSA")]
    Key {
        /// Where it comes from.
        origin: String,
    },
    /// Key and certificate are not of one pair.
    #[error("{origin}: the private key is not that of the certificate")]
    Mismatch {
        /// Where it comes from.
        origin: String,
    },
    /// There is no certificate at all.
    #[error("{origin}: no certificate can be used")]
    NoCertificate {
        /// The listener.
        origin: String,
    },
    /// There is no authority in it, or a broken one.
    #[error("{origin}: the authorities cannot be read: give certificates as PEM")]
    Authorities {
        /// Where they come from.
        origin: String,
    },
    /// A name that no server can have.
    #[error("{origin}: `{name}` is no host name")]
    Name {
        /// Where it comes from.
        origin: String,
        /// The name.
        name: String,
    },
    /// rustls refuses the configuration.
    #[error("{origin}: {source}")]
    Rustls {
        /// Where it comes from.
        origin: String,
        /// Why.
        source: rustls::Error,
    },
}

/// The cryptography that everything here uses.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}
