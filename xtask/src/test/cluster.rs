//! The tests on a real Kubernetes: a cluster for them alone, and both images on its nodes.

use std::path::Path;

use anyhow::Result;

use super::kernel_tests;
use crate::{
    check,
    cluster::{self, Interrupt, Lifetime, Temporary},
    setup,
};

/// Runs the tests in a cluster that is gone afterwards; where there can be none, says why.
pub fn run(arguments: &[String]) -> Result<String> {
    if let Some(reason) = setup::no_cluster() {
        return Ok(format!("skipped: {reason}"));
    }
    let interrupt = Interrupt::catch()?;
    let cluster = check::step("cluster", || Temporary::up("test", false, Lifetime::Value, &interrupt))?;
    let passed = check::step("images", || cluster.load()).and_then(|()| {
        interrupt.check()?;
        let mut environment = cluster.environment()?;
        environment.extend(cluster::api_environment(&interrupt)?);
        let environment: Vec<(&str, &Path)> =
            environment.iter().map(|(name, value)| (*name, value.as_path())).collect();
        check::step("tests", || kernel_tests("cluster", arguments, &environment))
    });
    check::step("taking the cluster down", || cluster.down())?;
    Ok(format!("{} passed", passed?))
}
