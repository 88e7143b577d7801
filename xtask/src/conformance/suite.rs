//! Runs the suite's program and follows what it says: each test's outcome as it comes, and what the failed ones told.
//!
//! Everything it writes is kept in a file. What it finds by profile stands in its report, which is read elsewhere.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::Stdio,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::ground::Addresses;
use crate::cluster::{Interrupt, Temporary};

/// The profiles of Gateway API that are about Gateways.
pub const PROFILES: [&str; 5] = ["GATEWAY-HTTP", "GATEWAY-GRPC", "GATEWAY-TLS", "GATEWAY-TCP", "GATEWAY-UDP"];

/// The suite's report, within the run's folder.
pub const REPORT: &str = "report.yaml";

/// All that the suite wrote, within the run's folder.
pub const LOG: &str = "suite.log";

/// The test that holds all others.
const ROOT: &str = "TestConformance";

/// How the suite is to run.
pub struct Suite<'a> {
    pub program: PathBuf,
    pub profiles: &'a [String],
    /// Only the tests with such names.
    pub run: Option<&'a str>,
    /// Whether what it made stays.
    pub keep: bool,
}

impl Suite<'_> {
    /// Runs it from the host outside of the cluster.
    pub fn run(
        &self,
        cluster: &Temporary,
        addresses: &Addresses,
        folder: &Path,
        interrupt: &Interrupt,
    ) -> Result<Outcome> {
        let report = folder.join(REPORT);
        if report.exists() {
            fs::remove_file(&report).with_context(|| format!("cannot remove {}", report.display()))?;
        }
        let path = folder.join(LOG);
        let mut log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = cluster.outside(&self.program);
        command.current_dir(folder).args(self.arguments(addresses, &report)).stdin(Stdio::null());
        command.env("KUBECONFIG", cluster.plan().kubeconfig());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;

        let mut outcome = Outcome::default();
        if let Some(output) = child.stdout.take() {
            let lines = read_apart(output);
            if !outcome.follow(&lines, &mut log, interrupt)? {
                child.kill().context("cannot end the suite")?;
            }
        }
        outcome.passed = child.wait()?.success();
        interrupt.check()?;
        Ok(outcome)
    }

    fn arguments(&self, addresses: &Addresses, report: &Path) -> Vec<String> {
        let tests = self.run.map_or(format!("^{ROOT}$"), |regex| format!("^{ROOT}$/{regex}"));
        let mut arguments = vec![
            "-test.v".to_owned(),
            format!("-test.run={tests}"),
            "--gateway-class=beeline".to_owned(),
            format!("--conformance-profiles={}", self.profiles.join(",")),
            format!("--usable-address={}", addresses.usable),
            format!("--unusable-address={}", addresses.unusable),
            format!("--report-output={}", report.display()),
            "--organization=beeline".to_owned(),
            "--project=beeline".to_owned(),
            "--url=https://beeline.dev".to_owned(),
            "--contact=https://beeline.dev".to_owned(),
            format!("--version={}", env!("CARGO_PKG_VERSION")),
        ];
        if self.keep {
            arguments
                .extend(["--cleanup-base-resources=false".to_owned(), "--cleanup-test-resources=false".to_owned()]);
        }
        arguments
    }
}

/// Reads lines in a thread of its own, so that whoever waits for them also notices a signal.
fn read_apart(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Passed,
    Failed,
    Skipped,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// What came of a run.
#[derive(Default)]
pub struct Outcome {
    /// Whether the program says that all is well.
    passed: bool,
    ends: BTreeMap<String, End>,
    /// What tests said was wrong, by the test.
    errors: BTreeMap<String, Vec<String>>,
    /// The test that writes at present.
    current: String,
    /// Whether the lines are those of an error.
    in_error: bool,
    /// What was waited for last.
    awaited: String,
}

impl Outcome {
    /// Follows the output to its end (true) or until a signal comes (false).
    fn follow(&mut self, lines: &Receiver<String>, log: &mut File, interrupt: &Interrupt) -> Result<bool> {
        loop {
            match lines.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => {
                    writeln!(log, "{line}").context("cannot write the suite's log")?;
                    if let Some(news) = self.saw(&line) {
                        println!("{news}");
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(true),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if interrupt.is_set() {
                return Ok(false);
            }
        }
    }

    /// Takes in one line; returns what is to be shown of it.
    fn saw(&mut self, line: &str) -> Option<String> {
        let text = line.trim();
        if let Some((end, test)) = ended(text) {
            self.ends.insert(test.to_owned(), end);
            return Some(format!("{:7}  {test}", end.name()));
        }
        if let Some(rest) = text.strip_prefix("=== ") {
            rest.split_whitespace().nth(1).unwrap_or_default().clone_into(&mut self.current);
            self.in_error = false;
        } else if let Some(error) = text.strip_prefix("Error:") {
            self.in_error = true;
            self.error_says(error);
        } else if let Some(message) = text.strip_prefix("Messages:") {
            self.in_error = true;
            self.error_says(message);
        } else if text.starts_with("Test:") {
            self.in_error = false;
        } else if self.in_error {
            self.error_says(text);
        } else if let Some((_, step)) = text.split_once("Test Setup: ") {
            return Some(format!("setting up: {step}"));
        } else if text.ends_with(" yet") {
            // A file, a line, a time, and then the sentence.
            text.splitn(3, ' ').last().unwrap_or(text).clone_into(&mut self.awaited);
        }
        None
    }

    fn error_says(&mut self, text: &str) {
        let text = text.trim();
        if !text.is_empty() {
            self.errors.entry(self.current.clone()).or_default().push(text.to_owned());
        }
    }

    /// Shows what the failed tests told, each under its name.
    pub fn print_failures(&self) {
        for (test, errors) in &self.errors {
            println!("\n{}", test.strip_prefix(ROOT).unwrap_or(test).trim_start_matches('/'));
            errors.iter().take(12).for_each(|error| println!("    {error}"));
        }
    }

    /// Whether all went well, and what did not.
    pub fn verdict(&self) -> Result<()> {
        let failed: Vec<&str> =
            self.ends.iter().filter(|(_, end)| **end == End::Failed).map(|(test, _)| test.as_str()).collect();
        if !failed.is_empty() {
            bail!("{} of {} tests failed: {}", failed.len(), self.ends.len(), failed.join(", "));
        }
        if !self.passed {
            let awaited = if self.awaited.is_empty() { "nothing" } else { &self.awaited };
            bail!("the suite could not set itself up; it last waited because of: {awaited}");
        }
        if !self.ends.values().any(|end| *end == End::Passed) {
            bail!("no test has run: correct --run");
        }
        Ok(())
    }
}

/// How a test ended and its name, if the line is about that: what `tests/conformance` adds to Go's own lines.
fn ended(line: &str) -> Option<(End, &str)> {
    let (verdict, test) = line.strip_prefix("=== OUTCOME ")?.split_once(' ')?;
    let end = match verdict {
        "PASS" => End::Passed,
        "FAIL" => End::Failed,
        "SKIP" => End::Skipped,
        _ => return None,
    };
    Some((end, test))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
=== RUN   TestConformance
    suite.go:400: 2026-11-21T19:30:00.1Z: Test Setup: Applying base manifests
    helpers.go:279: 2026-11-21T19:30:01.1Z: infra/same-namespace Gateway not Accepted yet
=== RUN   TestConformance/A
=== RUN   TestConformance/B
=== NAME  TestConformance/A/part
    a.go:70:
        \tError Trace:\t/a.go:70
        \tError:      \tReceived unexpected error:
        \t            \tcontext deadline exceeded
        \tTest:       \tTestConformance/A/part
        \tMessages:   \ttimed out
=== OUTCOME FAIL A
=== NAME  TestConformance/B
=== OUTCOME PASS B
=== OUTCOME SKIP C
--- FAIL: TestConformance (30.00s)
    --- FAIL: TestConformance/A (1.00s)
";

    fn outcome(output: &str) -> (Outcome, Vec<String>) {
        let mut outcome = Outcome::default();
        let news = output.lines().filter_map(|line| outcome.saw(line)).collect();
        (outcome, news)
    }

    #[test]
    fn steps_and_outcomes_of_whole_tests_are_shown_as_they_come() {
        let (_, news) = outcome(OUTPUT);

        let expected = ["setting up: Applying base manifests", "FAILED   A", "passed   B", "skipped  C"];
        assert_eq!(news, expected);
    }

    #[test]
    fn what_a_part_of_a_test_says_is_kept_under_its_name() {
        let (outcome, _) = outcome(OUTPUT);

        let expected = ["Received unexpected error:", "context deadline exceeded", "timed out"];
        assert_eq!(outcome.errors["TestConformance/A/part"], expected);
        assert_eq!(outcome.errors.len(), 1);
    }

    #[test]
    fn the_verdict_names_the_failed_or_what_the_set_up_waited_for() {
        let (failed, _) = outcome(OUTPUT);
        let (stuck, _) = outcome(&OUTPUT[..OUTPUT.find("=== RUN   TestConformance/A").unwrap()]);

        assert_eq!(failed.verdict().unwrap_err().to_string(), "1 of 3 tests failed: A");
        let message = stuck.verdict().unwrap_err().to_string();
        assert!(message.ends_with("infra/same-namespace Gateway not Accepted yet"), "{message}");
    }

    #[test]
    fn a_run_of_no_test_is_no_success() {
        let (mut outcome, _) = outcome("=== OUTCOME SKIP C");
        outcome.passed = true;

        assert!(outcome.verdict().is_err());
    }
}
