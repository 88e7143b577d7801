//! `kubectl`, run to its end, as the administrator of one cluster.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::run;

/// The program, and the kubeconfig that it takes.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// By their paths.
    pub fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, kubeconfig }
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// What it writes.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        run(self.command().args(arguments))
    }

    /// What a command gives that takes `--output json`.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = run(self.command().args(arguments).args(["--output", "json"]))?;
        serde_json::from_str(&text).with_context(|| format!("`kubectl {}` gives no JSON", arguments.join(" ")))
    }

    /// `kubectl apply` with these arguments; `input` is what `--filename -` reads.
    pub fn apply(&self, arguments: &[&str], input: &str) -> Result<()> {
        let mut child = self
            .command()
            .arg("apply")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).context("kubectl does not read its input")?;
        }
        let output = child.wait_with_output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`kubectl apply {}` failed: {}", arguments.join(" "), errors.trim());
        Ok(())
    }

    /// Waits for what `kubectl wait --for` takes; an error shows the object as it is.
    pub fn wait(&self, namespace: &str, object: &str, what: &str, limit: Duration) -> Result<()> {
        let (condition, limit) = (format!("--for={what}"), format!("--timeout={}s", limit.as_secs()));
        self.ask(&["--namespace", namespace, "wait", object, &condition, &limit]).map(drop).map_err(|error| {
            let shown = self.ask(&["--namespace", namespace, "get", object, "--output", "yaml"]);
            error.context(format!("{object} is\n{}", shown.unwrap_or_default()))
        })
    }
}
