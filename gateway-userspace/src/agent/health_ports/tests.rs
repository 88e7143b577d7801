//! Real sockets on loopback: what a load balancer sees.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Instant;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);
const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

fn check(endpoints: usize) -> HealthCheck {
    HealthCheck { service: "shop/web".to_owned(), local_endpoints: endpoints }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a socket").local_addr().expect("an address").port()
}

fn ports() -> HealthPorts {
    HealthPorts::retrying_after(Duration::from_millis(20)).expect("a thread")
}

fn ask(address: IpAddr, port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&(address, port).into(), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET /any HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.to_lowercase())
}

fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "waited in vain");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_node_with_endpoints_is_healthy_and_one_without_is_not() {
    let (ports, port) = (ports(), free_port());

    for address in LOOPBACKS {
        ports.serve(&BTreeMap::from([(port, check(2))]));
        until(|| ask(address, port).is_ok());
        let healthy = ask(address, port).expect("an answer");
        ports.serve(&BTreeMap::from([(port, check(0))]));
        let unhealthy = ask(address, port).expect("an answer");

        assert!(healthy.starts_with("http/1.1 200 ok"), "{healthy}");
        assert!(healthy.contains("x-load-balancing-endpoint-weight: 2"), "{healthy}");
        assert!(healthy.contains("content-type: application/json"), "{healthy}");
        let body = r#"{"service":{"namespace":"shop","name":"web"},"localendpoints":2,"serviceproxyhealthy":true}"#;
        assert!(healthy.ends_with(body), "{healthy}");
        assert!(unhealthy.starts_with("http/1.1 503"), "{unhealthy}");
        assert!(unhealthy.contains("x-load-balancing-endpoint-weight: 0"), "{unhealthy}");
    }
}

#[test]
fn ports_come_and_go_without_touching_others() {
    let (ports, stays, goes) = (ports(), free_port(), free_port());
    ports.serve(&BTreeMap::from([(stays, check(1)), (goes, check(1))]));
    until(|| [stays, goes].iter().all(|port| ask(LOOPBACKS[0], *port).is_ok()));
    let mut open = TcpStream::connect((LOOPBACKS[0], stays)).expect("it listens");
    open.set_read_timeout(Some(LIMIT)).expect("a limit");

    ports.serve(&BTreeMap::from([(stays, check(1))]));
    until(|| ask(LOOPBACKS[0], goes).is_err());
    open.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("still open");
    let mut answer = String::new();
    open.read_to_string(&mut answer).expect("an answer");
    ports.serve(&BTreeMap::from([(stays, check(1)), (goes, check(1))]));

    assert!(answer.contains("200 OK"), "{answer}");
    until(|| ask(LOOPBACKS[0], goes).is_ok());
}

#[test]
fn a_slow_client_holds_nobody_up() {
    let (ports, port) = (ports(), free_port());
    ports.serve(&BTreeMap::from([(port, check(1))]));
    until(|| ask(LOOPBACKS[0], port).is_ok());

    let slow: Vec<_> = (0..20).map(|_| TcpStream::connect((LOOPBACKS[0], port)).expect("it listens")).collect();

    assert!(ask(LOOPBACKS[0], port).is_ok());
    drop(slow);
}

#[test]
fn a_port_of_another_process_is_said_and_taken_once_it_is_free() {
    let ports = ports();
    let other = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    let port = other.local_addr().expect("an address").port();

    ports.serve(&BTreeMap::from([(port, check(1))]));
    until(|| !ports.problems().is_empty());
    let problems = ports.problems();
    drop(other);

    let [problem] = problems.as_slice() else { panic!("one problem: {problems:?}") };
    let line = problem.to_string();
    let start = format!("Service shop/web: spec.healthCheckNodePort: 0.0.0.0:{port}: another process listens there");
    assert!(line.starts_with(&start), "{line}");
    until(|| ports.problems().is_empty() && ask(LOOPBACKS[0], port).is_ok());
}

#[test]
fn dropping_the_ports_closes_them_before_it_returns() {
    let (ports, port) = (ports(), free_port());
    ports.serve(&BTreeMap::from([(port, check(1))]));
    until(|| ask(LOOPBACKS[0], port).is_ok());

    drop(ports);

    assert!(ask(LOOPBACKS[0], port).is_err());
}
