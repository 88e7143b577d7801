//! Objects at the API server: applied and deleted as a user does it, and the account that the agent runs with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{ADDRESS, ApiServer, keys};
use crate::binaries;

/// Where the agents' account lives, and their Leases.
const AGENT_NAMESPACE: &str = "beeline-system";
/// The agents' account.
const AGENT_ACCOUNT: &str = "beeline-agent";
/// What says what the account may do.
const ACCESS: [&str; 2] = ["deploy/base/namespace.yaml", "deploy/base/access.yaml"];

impl ApiServer<'_> {
    /// Makes objects, or makes them as they are given.
    pub fn apply(&self, objects: &[Value]) -> Result<()> {
        self.perform(async |client| {
            for object in objects {
                let (api, name) = address(&client, object).await?;
                let parameters = PatchParams::apply("test").force();
                api.patch(&name, &parameters, &Patch::Apply(object))
                    .await
                    .with_context(|| format!("cannot apply {} {name}", object["kind"]))?;
            }
            Ok(())
        })
    }

    /// Deletes an object.
    pub fn delete(&self, object: &Value) -> Result<()> {
        self.perform(async |client| {
            let (api, name) = address(&client, object).await?;
            api.delete(&name, &DeleteParams::default())
                .await
                .with_context(|| format!("cannot delete {} {name}", object["kind"]))?;
            Ok(())
        })
    }

    /// Applies every document of the files of a folder, or of a file.
    pub fn apply_files(&self, path: &Path) -> Result<()> {
        let mut files = vec![path.to_owned()];
        if path.is_dir() {
            let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
            files = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
            files.sort();
        }
        for file in files {
            self.apply(&documents(&file)?)?;
        }
        Ok(())
    }

    /// Gives the agent the account and the rights that it is installed with, and writes its kubeconfig. `server` is where
    /// it finds the API: the real one, or somebody who stands in between without TLS.
    pub fn agent_kubeconfig(&self, server: Option<&str>) -> Result<PathBuf> {
        for file in ACCESS {
            self.apply_files(&binaries::workspace().join(file))?;
        }
        let token = self.perform(async |client| {
            let accounts: Api<ServiceAccount> = Api::namespaced(client, AGENT_NAMESPACE);
            let request = TokenRequest { spec: Some(TokenRequestSpec::default()), ..TokenRequest::default() };
            let answer = accounts.create_token_request(AGENT_ACCOUNT, &PostParams::default(), &request).await?;
            answer.status.and_then(|status| status.token).context("the API server gave no token")
        })?;
        let cluster = match server {
            Some(server) => json!({ "server": server }),
            None => json!({
                "server": format!("https://{ADDRESS}"),
                "certificate-authority": self.folder.join("keys/ca.crt"),
            }),
        };
        let path = self.folder.join("agent.kubeconfig");
        keys::write_kubeconfig(&path, &cluster, &token)?;
        Ok(path)
    }
}

/// Where an object lives, as its kind is served.
async fn address(client: &Client, object: &Value) -> Result<(Api<DynamicObject>, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind, name) = (text(&object["apiVersion"]), text(&object["kind"]), text(&object["metadata"]["name"]));
    let (group, version) = version.rsplit_once('/').unwrap_or(("", &version));
    let (resource, _) = kube::discovery::pinned_kind(client, &GroupVersionKind::gvk(group, version, &kind))
        .await
        .with_context(|| format!("the API server does not serve {kind}"))?;
    let api = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    Ok((api, name))
}

/// The documents of a YAML file.
fn documents(file: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| format!("{} is no YAML", file.display()))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}
