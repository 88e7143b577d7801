//! `kubectl`, run to its end. It takes the cluster from `KUBECONFIG`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::run;

/// The program.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
}

impl Kubectl {
    /// By its path.
    pub fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// What it writes.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new(&self.program).args(arguments))
    }

    /// What a command gives that takes `--output json`.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = run(Command::new(&self.program).args(arguments).args(["--output", "json"]))?;
        serde_json::from_str(&text).with_context(|| format!("`kubectl {}` gives no JSON", arguments.join(" ")))
    }

    /// `kubectl apply` with these arguments; `input` is what `--filename -` reads.
    pub fn apply(&self, arguments: &[&str], input: &str) -> Result<()> {
        let mut child = Command::new(&self.program)
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
