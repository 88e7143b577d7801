//! A certificate of its own making, as a server's Secret and as a client's file of what to trust.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A certificate with its key, both PEM.
pub struct Certificate {
    chain: String,
    key: String,
}

impl Certificate {
    /// For these hosts.
    pub fn of(hosts: &[&str]) -> Result<Self> {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(hosts).context("cannot make a certificate")?;
        Ok(Self { chain: made.cert.pem(), key: made.signing_key.serialize_pem() })
    }

    /// The Secret that listeners refer to.
    pub fn secret(&self, namespace: &str, name: &str) -> String {
        let indent = |pem: &str| pem.lines().map(|line| ["    ", line, "\n"].concat()).collect::<String>();
        let (chain, key) = (indent(&self.chain), indent(&self.key));
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             type: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{chain}  tls.key: |\n{key}"
        )
    }

    /// Writes the certificate without its key.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, &self.chain).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes the certificate and the key behind it, as `HAProxy` reads them and nginx does, too.
    pub fn write_with_key(&self, path: &Path) -> Result<()> {
        let both = [self.chain.as_str(), &self.key].concat();
        fs::write(path, both).with_context(|| format!("cannot write {}", path.display()))
    }
}
