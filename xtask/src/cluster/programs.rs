//! Where the cluster's programs come from.
//!
//! etcd and Kubernetes are taken from `KUBEBUILDER_ASSETS`, from an earlier build, or from the search path if they are
//! of the pinned version; what is left is built once from the Go modules that `tests/cluster/go.mod` pins. Builds and
//! Gateway API's CRDs are kept in the user's cache folder, by the hash of what they were built from. containerd, runc and
//! the CNI plug-ins come from the distribution and are only looked for.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{daemon::Interrupt, plan::Channel};
use crate::{go_module::GoModule, process};

/// A program and the Go package it is built from. Those with a path of this repository are never looked for elsewhere.
const PROGRAMS: [(&str, &str); 9] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    ("pause", "./pause"),
    ("pki", "./pki"),
];

/// Which versions they have.
const MODULE: GoModule = GoModule { name: "cluster", sources: &["go.mod", "go.sum", "pause/main.go", "pki/main.go"] };

/// Where distributions put CNI plug-ins.
const PLUGIN_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// Every program of a cluster, found.
pub struct Programs {
    found: BTreeMap<&'static str, PathBuf>,
    /// The folder with `ptp`, `host-local` and `loopback`.
    pub plugins: PathBuf,
    cache: PathBuf,
}

impl Programs {
    /// Finds everything and builds what is missing, with its progress on the terminal.
    pub fn ensure(interrupt: &Interrupt) -> Result<Self> {
        let plugins = network_plugins().context("the CNI plug-ins are missing: run `cargo xtask setup`")?;
        let cache = cache()?;
        let _lock = MODULE.lock(interrupt)?;

        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        for (name, package) in PROGRAMS {
            match find(name, package, &cache)? {
                Some(path) => drop(found.insert(name, path)),
                None => missing.push((name, package)),
            }
        }
        if !missing.is_empty() {
            build(&missing, interrupt)?;
            found.extend(missing.iter().map(|&(name, _)| (name, cache.join(name))));
        }
        if !cache.join("crds").exists() {
            fetch_crds(&cache)?;
        }
        Ok(Self { found, plugins, cache })
    }

    /// Finds kubectl without building it; for commands on a cluster that is already up.
    pub fn kubectl() -> Result<PathBuf> {
        let kubectl = PROGRAMS.iter().find(|(name, _)| *name == "kubectl");
        let found = kubectl.map(|(name, package)| find(name, package, &cache()?)).transpose()?.flatten();
        found.context("kubectl is not built: run `cargo xtask cluster up`")
    }

    /// A program by its name.
    pub fn command(&self, name: &str) -> Command {
        Command::new(self.path(name))
    }

    pub fn path<'a>(&'a self, name: &'a str) -> &'a Path {
        self.found.get(name).map_or(Path::new(name), PathBuf::as_path)
    }

    /// The folder with Gateway API's CRDs.
    pub fn crds(&self, channel: Channel) -> PathBuf {
        self.cache.join("crds").join(channel.name())
    }
}

/// The folder with the CNI plug-ins of the distribution.
pub fn network_plugins() -> Option<PathBuf> {
    let complete = |folder: &PathBuf| ["ptp", "host-local", "loopback"].iter().all(|name| folder.join(name).exists());
    PLUGIN_FOLDERS.into_iter().map(PathBuf::from).find(complete)
}

/// Whether nothing must be built for a cluster.
pub fn are_there() -> bool {
    let Ok(cache) = cache() else { return false };
    let is_there = |name, package| find(name, package, &cache).is_ok_and(|found| found.is_some());
    cache.join("crds").exists() && PROGRAMS.iter().all(|&(name, package)| is_there(name, package))
}

/// Where builds from the present sources are kept.
fn cache() -> Result<PathBuf> {
    MODULE.cache()
}

fn find(name: &str, package: &str, cache: &Path) -> Result<Option<PathBuf>> {
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(|folder| Path::new(&folder).join(name));
    let ours = package.starts_with("./");
    if let Some(path) = assets.filter(|path| !ours && path.is_file())
        && is_pinned(name, &path)?
    {
        return Ok(Some(path));
    }
    let built = cache.join(name);
    if built.is_file() {
        return Ok(Some(built));
    }
    match process::find(name) {
        Some(path) if !ours && is_pinned(name, &path)? => Ok(Some(path)),
        _ => Ok(None),
    }
}

/// Whether a program is of the minor version that is pinned; parts of other versions need not fit together.
fn is_pinned(name: &str, path: &Path) -> Result<bool> {
    let module = if name == "etcd" { "go.etcd.io/etcd/server/v3" } else { "k8s.io/kubernetes" };
    let version = MODULE.pinned(module)?;
    let minor = version.rsplit_once('.').map_or(version.as_str(), |(minor, _)| minor);
    let mut command = Command::new(path);
    match name {
        "kubectl" => command.args(["version", "--client"]),
        _ => command.arg("--version"),
    };
    let says = process::output(&mut command).unwrap_or_default();
    Ok(says.contains(&format!("v{minor}.")) || says.contains(&format!(": {minor}.")))
}

/// Builds programs into the cache. Kubernetes learns its version by the linker.
fn build(missing: &[(&str, &str)], interrupt: &Interrupt) -> Result<()> {
    let version = MODULE.pinned("k8s.io/kubernetes")?;
    let minor = version.split('.').nth(1).unwrap_or_default();
    let set = |name: &str, value: &str| format!("-X k8s.io/component-base/version.{name}={value}");
    let flags =
        ["-s -w".to_owned(), set("gitVersion", &format!("v{version}")), set("gitMajor", "1"), set("gitMinor", minor)];
    MODULE.build(missing, &flags.join(" "), interrupt)
}

/// Copies Gateway API's CRDs out of its Go module.
fn fetch_crds(cache: &Path) -> Result<()> {
    let module = "sigs.k8s.io/gateway-api";
    let answer = process::output(MODULE.go()?.args(["mod", "download", "-json", module]))?;
    let answer: serde_json::Value = serde_json::from_str(&answer).context("cannot read what go says")?;
    let folder = answer["Dir"].as_str().with_context(|| format!("go does not say where {module} lies"))?;
    let partial = cache.join("crds.partial");
    for channel in [Channel::Standard, Channel::Experimental] {
        let target = partial.join(channel.name());
        fs::create_dir_all(&target)?;
        let source = Path::new(folder).join("config/crd").join(channel.name());
        for entry in fs::read_dir(&source).with_context(|| format!("cannot read {}", source.display()))? {
            let entry = entry?;
            // The module's files are read-only; what is written here is not.
            if entry.file_name() != "kustomization.yaml" {
                fs::write(target.join(entry.file_name()), fs::read(entry.path())?)?;
            }
        }
    }
    fs::rename(&partial, cache.join("crds")).context("cannot keep the CRDs of Gateway API")
}
