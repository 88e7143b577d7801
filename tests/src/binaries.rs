//! Where the programs are that tests start: beside the one that runs, or where the environment says.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The agent: `BEELINE_BIN`, else `beeline` beside the running program.
pub fn beeline() -> Result<PathBuf> {
    from_environment("BEELINE_BIN").map_or_else(|| beside("beeline"), Ok)
}

/// The server that plays a Pod.
pub fn test_pod() -> Result<PathBuf> {
    beside("beeline-test-pod")
}

/// The client that tells what its sockets see.
pub fn test_client() -> Result<PathBuf> {
    beside("beeline-test-client")
}

/// The gRPC service by tonic, and its client.
pub fn test_grpc() -> Result<PathBuf> {
    beside("beeline-test-grpc")
}

/// A program of others that tests talk with, built from `tests/peers`: `peer`, `grpcurl` or `h2spec`, in the folder that
/// `BEELINE_PEERS` names.
pub fn peer(program: &str) -> Result<PathBuf> {
    let Some(folder) = from_environment("BEELINE_PEERS") else {
        bail!("BEELINE_PEERS does not say where `{program}` is: run this by `cargo xtask test network`, which does");
    };
    existing(folder.join(program), "cargo xtask test network")
}

/// The datapath: `BEELINE_DATAPATH`, else `target/ebpf/datapath.o` of this workspace.
pub fn datapath_object() -> Result<PathBuf> {
    let path = from_environment("BEELINE_DATAPATH").unwrap_or_else(|| workspace().join("target/ebpf/datapath.o"));
    existing(path, "cargo xtask build-ebpf")
}

/// The empty TC program: `BEELINE_FLOOR`, else `target/ebpf/floor.o` of this workspace.
pub fn floor_object() -> Result<PathBuf> {
    let path = from_environment("BEELINE_FLOOR").unwrap_or_else(|| workspace().join("target/ebpf/floor.o"));
    existing(path, "cargo xtask build-ebpf")
}

/// A program that a Kubernetes API is made of: `etcd` by `BEELINE_ETCD`, `kube-apiserver` by `BEELINE_KUBE_APISERVER`,
/// `pki` by `BEELINE_PKI`.
pub fn kubernetes(program: &str) -> Result<PathBuf> {
    let variable = format!("BEELINE_{}", program.to_uppercase().replace('-', "_"));
    let Some(path) = from_environment(&variable) else {
        bail!("{variable} does not say where `{program}` is: run this by `cargo xtask`, which does");
    };
    existing(path, "cargo xtask cluster up")
}

/// The folder with Gateway API's CRDs: `BEELINE_GATEWAY_CRDS`.
pub fn gateway_crds() -> Result<PathBuf> {
    let Some(path) = from_environment("BEELINE_GATEWAY_CRDS") else {
        bail!("BEELINE_GATEWAY_CRDS does not name the folder with Gateway API's CRDs: run this by `cargo xtask`");
    };
    existing(path, "cargo xtask cluster up")
}

/// The folder that holds this workspace's `Cargo.toml`.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn from_environment(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// `target/debug/NAME` for a program in `target/debug` as for a test in `target/debug/deps`.
fn beside(name: &str) -> Result<PathBuf> {
    let running = env::current_exe().context("cannot find the running program")?;
    let Some(found) = running.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.exists())
    else {
        bail!("there is no `{name}` beside {}: run `cargo xtask build`", running.display());
    };
    Ok(found)
}

fn existing(path: PathBuf, remedy: &str) -> Result<PathBuf> {
    if !path.exists() {
        bail!("there is no {}: run `{remedy}`", path.display());
    }
    Ok(path)
}
