//! `h2spec`, which tries what RFC 9113 and RFC 7541 forbid, at the gateway.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use beeline_tests::binaries;
use beeline_tests::peers::{ANY_HOST, Peers};
use beeline_tests::topology::VIP;

/// What the connection preface must be if a server knows that HTTP/2 will come. Where HTTP/1.1 may come as well, anything
/// else is a request of HTTP/1.1, and gets its 400.
const PREFACE: &str = "http2/3.5/2";

/// Runs all cases at a port: how many there were, and which failed, by section and number.
fn failures(peers: &Peers, port: u16, is_tls: bool) -> Result<(usize, BTreeSet<String>)> {
    let report = peers.folder("h2spec")?.join(format!("{port}.xml"));
    let mut command = peers.client(binaries::peer("h2spec")?)?;
    command.args(["--host", &VIP.v4.to_string(), "--port", &port.to_string(), "--timeout", "5"]);
    command.arg("--junit-report").arg(&report);
    if is_tls {
        command.args(["--tls", "--insecure"]);
    }
    // It fails if a case does; the report says which.
    let output = command.output().context("cannot run h2spec")?;
    let text = fs::read_to_string(&report).with_context(|| {
        format!(
            "h2spec wrote no report: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    Ok(read(&text))
}

/// Reads a report of `JUnit`'s form.
fn read(report: &str) -> (usize, BTreeSet<String>) {
    let mut number = (String::new(), 0);
    let (mut count, mut failed) = (0, BTreeSet::new());
    for case in report.split("<testcase").skip(1) {
        let package = attribute(case, "package");
        number = if number.0 == package { (package, number.1 + 1) } else { (package, 1) };
        count += 1;
        let body = case.split("</testcase>").next().unwrap_or_default();
        if body.contains("<failure") || body.contains("<error") {
            failed.insert(format!("{}/{}", number.0, number.1));
        }
    }
    (count, failed)
}

fn attribute(element: &str, name: &str) -> String {
    let value = element.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
    value.unwrap_or_default().to_owned()
}

#[test]
fn nothing_of_h2spec_fails_within_tls_and_only_the_preface_where_http1_is_spoken_too() -> Result<()> {
    let peers = Peers::build()?;
    let _agent = peers.start()?;

    for (port, is_tls) in ANY_HOST.into_iter().zip([false, true]) {
        let (count, mut failed) = failures(&peers, port, is_tls)?;
        ensure!(count >= 145, "h2spec ran only {count} cases at port {port}");
        if !is_tls {
            failed.remove(PREFACE);
        }
        ensure!(failed.is_empty(), "of {count} cases at port {port} these fail: {failed:?}");
    }
    Ok(())
}
