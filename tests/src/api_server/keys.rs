//! The keys, certificates and kubeconfigs of an API server.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::ADDRESS;
use crate::binaries;

/// Writes what the API server and its administrator need into a new folder.
pub fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let request = json!({
        "cluster": "test",
        "server": format!("https://{ADDRESS}"),
        "entries": [
            { "file": "apiserver", "commonName": "kube-apiserver", "names": ["kubernetes"], "addresses": [ADDRESS.ip()] },
            { "file": "admin", "commonName": "beeline-admin", "organization": "system:masters" },
        ],
    });
    let mut child = Command::new(binaries::kubernetes("pki")?)
        .arg(folder)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start `pki`")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(request.to_string().as_bytes()).context("cannot ask `pki` for keys")?;
    }
    ensure!(child.wait()?.success(), "`pki` could not write keys into {}", folder.display());
    Ok(())
}

/// The administrator's kubeconfig in a folder of keys.
pub fn admin(folder: &Path) -> PathBuf {
    folder.join("admin.kubeconfig")
}

/// Writes a kubeconfig for a user with a token.
pub fn write_kubeconfig(path: &Path, cluster: &Value, token: &str) -> Result<()> {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "agent" } }],
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": "agent", "user": { "token": token } }],
    });
    fs::write(path, kubeconfig.to_string()).with_context(|| format!("cannot write {}", path.display()))
}
