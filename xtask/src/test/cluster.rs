//! The tests on a real Kubernetes: a cluster for them alone, a small one beside it, and both images on all nodes.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::kernel_tests;
use crate::{
    check,
    cluster::{self, Interrupt, Lifetime, Shape, Temporary},
    setup,
};

/// Runs the tests in clusters that are gone afterwards; where there can be none, says why.
pub fn run(arguments: &[String]) -> Result<String> {
    if let Some(reason) = setup::no_cluster() {
        return Ok(format!("skipped: {reason}"));
    }
    let interrupt = Interrupt::catch()?;
    let up = |prefix, nodes| Temporary::up(prefix, Shape::of(nodes), Lifetime::Value, &interrupt);
    let cluster = check::step("cluster", || up("test", 3))?;
    let second = check::step("second cluster", || up("second", 1))?;
    let passed = check::step("images", || cluster.load().and_then(|()| second.load())).and_then(|()| {
        interrupt.check()?;
        let mut environment = cluster.environment()?;
        environment.extend(second.second_environment());
        environment.extend(cluster::api_environment(&interrupt)?);
        check::step("tests", || kernel_tests("cluster", arguments, &borrowed(&environment)))
    });
    check::step("taking the clusters down", || second.down().and(cluster.down()))?;
    Ok(format!("{} passed", passed?))
}

/// Runs the tests beside kube-proxy in a cluster that is gone afterwards; where there can be none, says why.
pub fn run_beside_kube_proxy(arguments: &[String]) -> Result<String> {
    if let Some(reason) = setup::no_cluster() {
        return Ok(format!("skipped: {reason}"));
    }
    let interrupt = Interrupt::catch()?;
    let shape = Shape { kube_proxy: true, ..Shape::of(3) };
    let cluster = check::step("cluster", || Temporary::up("proxied", shape, Lifetime::Value, &interrupt))?;
    let passed = check::step("images", || cluster.load()).and_then(|()| {
        interrupt.check()?;
        let environment = cluster.environment()?;
        check::step("tests", || kernel_tests("kube-proxy", arguments, &borrowed(&environment)))
    });
    check::step("taking the cluster down", || cluster.down())?;
    Ok(format!("{} passed", passed?))
}

fn borrowed<'a>(environment: &'a [(&'static str, PathBuf)]) -> Vec<(&'static str, &'a Path)> {
    environment.iter().map(|(name, value)| (*name, value.as_path())).collect()
}
