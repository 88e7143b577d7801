//! gRPC between programs that others wrote: tonic, gRPC's own Go implementation and `grpcurl`.

use std::process::Command;

use anyhow::Result;
use beeline_tests::binaries;
use beeline_tests::peers::{CALLS, Peers, TONIC};
use beeline_tests::process::run;
use beeline_tests::topology::VIP;

#[test]
fn a_client_of_tonic_makes_every_kind_of_call_at_a_server_of_tonic() -> Result<()> {
    let peers = Peers::build()?;
    let _agent = peers.start()?;

    for frontend in VIP.sockets(80) {
        let mut command = peers.client(binaries::test_grpc()?)?;
        let passed = run(command.args(["call", "--address", &frontend.to_string(), "--authority", TONIC]))?;
        assert_eq!(passed.lines().count(), 9, "{passed}");
    }
    Ok(())
}

#[test]
fn grpcs_interoperability_tests_pass_in_the_clear_and_within_tls() -> Result<()> {
    let peers = Peers::build()?;
    let _agent = peers.start()?;

    for port in [80, 443] {
        for frontend in VIP.sockets(port) {
            let mut command = peers.client(binaries::peer("peer")?)?;
            command.args(["grpc", "-address", &frontend.to_string(), "-authority", CALLS]);
            if port == 443 {
                command.arg("-ca").arg(peers.certificate());
            }
            let passed = run(&mut command)?;
            assert_eq!(passed.lines().count(), 14, "{frontend}: {passed}");
        }
    }
    Ok(())
}

/// `grpcurl` at a port of the VIP, with further arguments in front of the address.
fn grpcurl(peers: &Peers, port: u16, arguments: &[&str]) -> Result<Command> {
    let mut command = peers.client(binaries::peer("grpcurl")?)?;
    command.args(["-authority", CALLS, "-max-time", "30"]);
    if port == 443 {
        command.arg("-cacert").arg(peers.certificate());
    } else {
        command.arg("-plaintext");
    }
    command.args(arguments).arg(VIP.sockets(port)[0].to_string());
    Ok(command)
}

#[test]
fn grpcurl_lists_calls_streams_and_shows_errors() -> Result<()> {
    const SERVICE: &str = "grpc.testing.TestService";
    let peers = Peers::build()?;
    let _agent = peers.start()?;
    let method = |name: &str| format!("{SERVICE}/{name}");

    for port in [80, 443] {
        let listed = run(grpcurl(&peers, port, &[])?.arg("list"))?;
        assert!(listed.lines().any(|line| line == SERVICE), "{listed}");

        let sized = "{\"response_size\": 100000}";
        let one = run(grpcurl(&peers, port, &["-d", sized])?.arg(method("UnaryCall")))?;
        assert!(one.len() > 130_000, "{} bytes of JSON", one.len());

        let wanted = "{\"response_parameters\": [{\"size\": 10}, {\"size\": 20}, {\"size\": 30}]}";
        let stream = run(grpcurl(&peers, port, &["-d", wanted])?.arg(method("StreamingOutputCall")))?;
        assert_eq!(stream.matches("\"body\"").count(), 3, "{stream}");

        let failing = "{\"response_status\": {\"code\": 9, \"message\": \"told to\"}}";
        let failed = grpcurl(&peers, port, &["-d", failing])?.arg(method("UnaryCall")).output()?;
        let error = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(error.contains("Code: FailedPrecondition") && error.contains("Message: told to"), "{error}");
    }
    Ok(())
}
