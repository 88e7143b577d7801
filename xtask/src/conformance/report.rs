//! The suite's report, as a table.
//!
//! Only what the table shows is read; the file itself is what Gateway API collects.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;

/// A report of one run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    #[serde(default)]
    profiles: Vec<Profile>,
}

/// What it says of one profile.
#[derive(Debug, Deserialize)]
struct Profile {
    name: String,
    core: Level,
    extended: Option<Level>,
}

/// What it says of a level of support.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Level {
    result: String,
    statistics: Statistics,
    #[serde(default)]
    failed_tests: Vec<String>,
    #[serde(default)]
    unsupported_features: Vec<String>,
}

/// How many tests ended how.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statistics {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Report {
    /// Reads the report that the suite wrote.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("the suite left no report at {}: it ended before its time", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a report", file.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(serde_saphyr::from_str(text)?)
    }

    /// Whether every profile is there with nothing failed and nothing skipped.
    pub fn is_success(&self) -> bool {
        let levels = self.profiles.iter().flat_map(Profile::levels);
        !self.profiles.is_empty() && levels.map(|(_, level)| level).all(|level| level.result == "success")
    }

    /// Shows it.
    pub fn print(&self) {
        println!("\n{:14} {:9} {:8} {:>7} {:>7} {:>8}", "profile", "support", "result", "passed", "failed", "skipped");
        self.lines().iter().for_each(|line| println!("{line}"));
        if self.profiles.is_empty() {
            println!("no test has run");
        }
        println!();
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for profile in &self.profiles {
            for (support, Level { result, statistics, failed_tests, unsupported_features }) in profile.levels() {
                let Statistics { passed, failed, skipped } = statistics;
                lines.push(format!("{:14} {support:9} {result:8} {passed:>7} {failed:>7} {skipped:>8}", profile.name));
                let lists = [("failed", failed_tests), ("not claimed", unsupported_features)];
                let named = lists.into_iter().filter(|(_, names)| !names.is_empty());
                lines.extend(named.map(|(what, names)| format!("    {what}: {}", names.join(", "))));
            }
        }
        lines
    }
}

impl Profile {
    fn levels(&self) -> impl Iterator<Item = (&'static str, &Level)> {
        std::iter::once(("core", &self.core)).chain(self.extended.iter().map(|level| ("extended", level)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: ConformanceReport
profiles:
- name: GATEWAY-TCP
  core:
    result: success
    statistics: {Failed: 0, Passed: 18, Skipped: 0}
  extended:
    result: failure
    statistics: {Failed: 1, Passed: 2, Skipped: 0}
    failedTests: [GatewayStaticAddresses]
    supportedFeatures: [GatewayStaticAddresses]
    unsupportedFeatures: [ListenerSet]
  summary: Core tests succeeded. Extended tests failed with 1 test failures.
";

    #[test]
    fn each_level_of_each_profile_is_a_line_and_names_what_is_missing() {
        let report = Report::parse(REPORT).unwrap();

        let expected = [
            "GATEWAY-TCP    core      success       18       0        0",
            "GATEWAY-TCP    extended  failure        2       1        0",
            "    failed: GatewayStaticAddresses",
            "    not claimed: ListenerSet",
        ];
        assert_eq!(report.lines(), expected);
        assert!(!report.is_success());
    }

    #[test]
    fn a_report_without_a_profile_is_no_success() {
        let report = Report::parse("kind: ConformanceReport\nprofiles: []\n").unwrap();

        assert!(!report.is_success());
    }
}
