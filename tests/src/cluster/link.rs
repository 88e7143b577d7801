//! A `ClusterLink`, made by the very commands that `beeline link-role` prints, and nothing else.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::agent::SYSTEM;
use super::{Cluster, Kubectl};
use crate::binaries;
use crate::netns::{Group, Lifetime};
use crate::process::run;

/// What the printed commands stand behind, as comments.
const COMMAND: &str = "#      ";
/// The Secrets of the namespace that the agents live in.
const SECRETS: [&str; 3] = ["--namespace", SYSTEM, "secret"];

/// The link, by its name. Dropping it removes it and its Secret; what it was given over there stays.
pub struct Link<'a> {
    here: &'a Kubectl,
    name: String,
}

impl<'a> Link<'a> {
    /// Links a namespace of another cluster, for the Upstreams of the namespace that is called the same here.
    pub fn make(here: &'a Cluster, there: &Cluster, name: &str, namespace: &str) -> Result<Self> {
        let link = Self { here: here.kubectl(), name: name.to_owned() };
        let folder = Group::create(Lifetime::Process)?;
        let contexts = folder.folder().join("contexts");
        fs::write(&contexts, contexts_of(here, there, name)?.to_string()).context("cannot write a kubeconfig")?;
        let beeline = binaries::beeline()?;
        let arguments = ["link-role", "--remote-namespace", namespace, "--link", name];
        let printed = run(Command::new(&beeline).args(arguments))?;
        let commands: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix(COMMAND)).collect();
        ensure!(!commands.is_empty(), "`beeline link-role` prints no commands:\n{printed}");
        let usual = env::var("PATH").context("PATH is not set")?;
        let path = format!("{}:{}:{usual}", parent(&beeline)?, parent(here.kubectl().program())?);
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &commands.join("\n")]);
        run(shell.current_dir(folder.folder()).env("KUBECONFIG", &contexts).env("PATH", path))?;
        let left: Vec<_> = fs::read_dir(folder.folder())?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        ensure!(left == ["contexts"], "the commands leave files behind, maybe with a token: {left:?}");
        Ok(link)
    }

    /// A link whose kubeconfig is this text.
    pub fn with_kubeconfig(here: &'a Cluster, name: &str, namespace: &str, kubeconfig: &Value) -> Result<Self> {
        let link = Self { here: here.kubectl(), name: name.to_owned() };
        link.apply(&json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": SYSTEM },
            "stringData": { "kubeconfig": kubeconfig.to_string() },
        }))?;
        link.apply(&json!({
            "apiVersion": "beeline.dev/v1alpha1",
            "kind": "ClusterLink",
            "metadata": { "name": name },
            "spec": {
                "kubeconfigSecretRef": { "name": name },
                "allowedNamespaces": [namespace],
                "remoteNamespaces": [namespace],
            },
        }))?;
        Ok(link)
    }

    /// Deletes the Secret; what it held is for [`Link::give_back`].
    pub fn take_secret(&self) -> Result<Value> {
        let [option, namespace, secret] = SECRETS;
        let taken = self.here.json(&[option, namespace, "get", secret, &self.name])?;
        self.here.ask(&[option, namespace, "delete", secret, &self.name])?;
        Ok(taken["data"].clone())
    }

    /// Makes the Secret anew.
    pub fn give_back(&self, data: &Value) -> Result<()> {
        self.apply(&json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": self.name, "namespace": SYSTEM },
            "data": data,
        }))
    }

    /// Waits until a condition is of this status and reason; gives its message.
    pub fn wait_for(&self, condition: &str, status: &str, reason: &str) -> Result<String> {
        let path = |field: &str| format!("jsonpath={{.status.conditions[?(@.type=='{condition}')].{field}}}");
        self.here.wait(SYSTEM, &self.object(), &format!("{}={reason}", path("reason")), super::sandbox::LIMIT)?;
        let field = |field: &str| self.here.ask(&["get", &self.object(), "--output", &path(field)]);
        let found = field("status")?;
        ensure!(found == status, "{condition} of {} is {found} for {reason}, not {status}", self.object());
        field("message")
    }

    /// Changes what the link says.
    pub fn patch(&self, patch: &Value) -> Result<()> {
        self.here.ask(&["patch", &self.object(), "--type=merge", "--patch", &patch.to_string()]).map(drop)
    }

    fn apply(&self, object: &Value) -> Result<()> {
        self.here.apply(&["--filename", "-"], &object.to_string())
    }

    fn object(&self) -> String {
        format!("clusterlink/{}", self.name)
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        let [option, namespace, secret] = SECRETS;
        // The clusters end soon after; until then what stays does no harm.
        let _link = self.here.ask(&["delete", &self.object(), "--ignore-not-found"]);
        let _secret = self.here.ask(&[option, namespace, "delete", secret, &self.name, "--ignore-not-found"]);
    }
}

/// A kubeconfig of whoever administers both clusters: this one is at hand, the other is a context of the link's name.
fn contexts_of(here: &Cluster, there: &Cluster, name: &str) -> Result<Value> {
    let view = ["config", "view", "--raw", "--flatten", "--minify"];
    let [ours, theirs] = [here.kubectl().json(&view)?, there.kubectl().json(&view)?];
    let entry =
        |config: &Value, list: &str, field: &str, name: &str| json!({ "name": name, field: config[list][0][field] });
    let both = |list: &str, field: &str| json!([entry(&ours, list, field, "here"), entry(&theirs, list, field, name)]);
    let context = |name: &str| json!({ "name": name, "context": { "cluster": name, "user": name } });
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": both("clusters", "cluster"),
        "users": both("users", "user"),
        "contexts": [context("here"), context(name)],
        "current-context": "here",
    }))
}

fn parent(program: &Path) -> Result<String> {
    let folder = program.parent().with_context(|| format!("{} is in no folder", program.display()))?;
    Ok(folder.display().to_string())
}
