//! The way to the API server: where it is, who we are, and how long an answer may take.
//!
//! Either a kubeconfig of the administrator's or the service account of the Pod. Kubeconfigs of others, as a
//! `ClusterLink` names them, are read by `kubeconfig` instead, which trusts nothing in them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use hyper::header::{HeaderValue, USER_AGENT};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// A server that is there accepts a connection in this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The server sends a bookmark about once a minute, up to 75 seconds apart: a watch that says nothing for longer is dead.
pub(super) const QUIET: Duration = Duration::from_secs(100);
/// Requests are small.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the source needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The kubeconfig to use; none stands for the service account of the Pod.
    pub kubeconfig: Option<PathBuf>,
    /// The name of the Node that the agent runs on.
    pub node: String,
    /// The namespace that the agent runs in; it holds the Secrets of `ClusterLink`s.
    pub namespace: String,
    /// Whether Tencent's annotations make an Ingress ours, whose Secrets are then read.
    pub adopt_tencent_annotations: bool,
}

/// Where the API server is and who we are. Asks nobody yet.
pub(super) async fn config(kubeconfig: Option<&Path>) -> anyhow::Result<Config> {
    match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path)
                .with_context(|| format!("cannot read kubeconfig `{}`: name one that exists", path.display()))?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("cannot use kubeconfig `{}`: correct its current context", path.display()))
        }
        None => Config::incluster_env().context(
            "no way to the Kubernetes API: name a kubeconfig, or run in a Pod with a service account and \
             KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT set",
        ),
    }
}

/// A client that tells who it is and does not wait for ever. Must be called on the runtime that it shall use.
pub(super) fn client(mut config: Config) -> Result<Client, kube::Error> {
    install_provider();
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(QUIET);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // Who asks decides whether and when to ask again, and heeds what the server says of it.
    config.default_retry = false;
    let agent = HeaderValue::from_static(concat!("beeline/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, agent));
    Client::try_from(config)
}

/// rustls wants one provider of cryptography for the process; the first one stays.
fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // It fails only if somebody else was faster, with the same one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}
