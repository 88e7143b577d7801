//! Requests through the HTTP layer: Gateway and `HTTPRoute` in, requests of real clients at Pods out.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use beeline_tests::agent::Agent;
use beeline_tests::certificate::Certificate;
use beeline_tests::curl::{Curl, Speech};
use beeline_tests::lab::Lab;
use beeline_tests::manifests::Service;
use beeline_tests::pod::Answer;
use beeline_tests::topology::{CLIENT, Plan, VIP};
use beeline_tests::wait;
use serde_json::Value;

const WEIGHTS: [u32; 3] = [5, 3, 1];
const REQUESTS: usize = 90;
const HOST: &str = "shop.example";
const INSIDE: &str = "httpbin.internal";
/// How long a line of the log may take to the file.
const LIMIT: Duration = Duration::from_secs(5);

/// Pods behind a route for one host, in the clear at port 80 and within TLS at port 443.
struct Shop {
    lab: Lab,
    certificate: Certificate,
}

impl Shop {
    fn build() -> Result<Self> {
        let service = Service { vips: Vec::new(), ..Service::weighted(VIP, &WEIGHTS) };
        let names: Vec<_> = service.pods.iter().map(|pod| pod.name.as_str()).collect();
        let lab = Lab::build(&Plan::pods(&names))?;
        lab.folder.write("pods.yaml", &service.to_yaml())?;
        lab.folder.write("gateway.yaml", &gateway())?;
        lab.folder.write("route.yaml", &route())?;
        let certificate = Certificate::of(&[HOST])?;
        lab.folder.write("secret.yaml", &certificate.secret("shop", "web"))?;
        Ok(Self { lab, certificate })
    }

    fn start(&self) -> Result<Agent<'_>> {
        let agent = self.lab.start()?;
        ensure!(agent.problems()?.is_empty(), "{:?}", agent.problems()?);
        Ok(agent)
    }

    fn curl(&self) -> Result<Curl<'_>> {
        let authority = self.lab.network.group.folder().join("authority.pem");
        self.certificate.write(&authority)?;
        Ok(Curl::new(&self.lab.network.client, HOST, &authority))
    }
}

fn gateway() -> String {
    let addresses = VIP.both().map(|vip| format!("  - {{type: IPAddress, value: \"{vip}\"}}\n")).concat();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         gatewayClassName: beeline\n  addresses:\n{addresses}  listeners:\n  \
         - {{name: http, port: 80, protocol: HTTP}}\n  \
         - {{name: https, port: 443, protocol: HTTPS, hostname: {HOST}, tls: {{certificateRefs: [{{name: web}}]}}}}\n"
    )
}

fn route() -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         parentRefs: [{{name: web}}]\n  hostnames: [{HOST}]\n  rules:\n  \
         - backendRefs: [{{group: beeline.dev, kind: Upstream, name: httpbin}}]\n\
         ---\napiVersion: beeline.dev/v1alpha1\nkind: Upstream\nmetadata: {{name: httpbin, namespace: shop}}\nspec:\n  \
         backendType: HTTP\n  hostHeader: {INSIDE}\n  services:\n  - {{name: httpbin, port: 8000}}\n"
    )
}

/// Every Pod got exactly its share, and saw the rewritten host, the client's address and how it came.
#[track_caller]
fn assert_exact(answers: &[Answer], frontend: IpAddr, scheme: &str) {
    let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in answers {
        *shares.entry(answer.pod.as_str()).or_default() += 1;
        let header = |name: &str| answer.headers.get(name).map_or("", String::as_str);
        assert_eq!(header("host"), INSIDE, "{answer:?}");
        assert_eq!(header("x-forwarded-for"), CLIENT.like(frontend).to_string(), "{answer:?}");
        assert_eq!(header("x-forwarded-proto"), scheme, "{answer:?}");
        assert!(header("x-forwarded-host").starts_with(HOST), "{answer:?}");
        assert_eq!(answer.path, "/path");
    }
    assert_eq!(shares, [("v1", 50), ("v2", 30), ("v3", 10)].into(), "{frontend}");
}

#[test]
fn requests_of_one_connection_reach_pods_by_weight_with_the_host_that_the_upstream_asks_for() -> Result<()> {
    let shop = Shop::build()?;
    let _agent = shop.start()?;

    let curl = shop.curl()?;
    for address in VIP.both() {
        for speech in Speech::ALL {
            let answers = curl.get(address, speech, "/path", REQUESTS)?;
            assert_exact(&answers, address, speech.scheme());
        }
    }
    Ok(())
}

/// The lines of an access log that are complete.
fn lines(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn what_the_agent_knows_of_requests_is_logged_counted_and_explained() -> Result<()> {
    let shop = Shop::build()?;
    let folder = shop.lab.network.group.folder();
    let (log, rotated) = (folder.join("access.log"), folder.join("access.log.1"));
    let mut agent = shop.lab.agent()?.with_arguments(&["--access-log", &log.display().to_string()]);
    agent.start()?;
    let curl = shop.curl()?;
    let send = || curl.get(VIP.v4.into(), Speech::Http1, "/path", 9);

    send()?;
    wait::until("a line for each request", LIMIT, || (lines(&log).len() == 9).then_some(()))?;
    fs::rename(&log, &rotated)?;
    send()?;
    wait::until("lines in the new file", LIMIT, || (lines(&log).len() == 9).then_some(()))?;

    let line = &lines(&rotated)[0];
    assert_eq!(
        (&line["status"], &line["host"], &line["route"]),
        (&200.into(), &HOST.into(), &"HTTPRoute shop/web".into())
    );
    assert_eq!(line["client"].as_str().and_then(|client| client.split(':').next()), Some("172.20.0.2"));
    let http = &agent.status()?["http"];
    let frontend =
        http["frontends"].as_array().into_iter().flatten().find(|one| one["frontend"] == "TCP 10.96.100.1:80");
    let listener = &frontend.map_or(&Value::Null, |frontend| &frontend["listeners"][0]);
    assert_eq!((&listener["statuses"][1], &http["droppedLogLines"]), (&18.into(), &0.into()), "{http}");
    let explain = |host: &str| agent.output(&["explain", "http", "--host", host, "--address", "10.96.100.1"]);
    let (found, unknown) = (explain(HOST)?, explain("shpo.example")?);
    let text = String::from_utf8_lossy(&found.stdout);
    assert!(found.status.success() && text.contains("shop/v1") && text.contains("55.56%"), "{text}");
    let text = String::from_utf8_lossy(&unknown.stdout);
    assert!(unknown.status.code() == Some(1) && text.contains("did you mean `shop.example`?"), "{text}");
    Ok(())
}

#[test]
fn whoever_asks_gets_the_answer_of_the_agent_that_serves_or_hears_that_none_does() -> Result<()> {
    let shop = Shop::build()?;
    let mut agent = shop.start()?;
    let explain = |agent: &Agent<'_>| agent.output(&["explain", "http", "--host", HOST, "--port", "80"]);

    let mut second = shop.lab.agent()?.named("second");
    second.start()?;
    let (after_handover, _) = (explain(&second)?, agent.stop()?);
    let alone = explain(&second)?;
    second.stop()?;
    let none = explain(&second)?;

    assert!(after_handover.status.success(), "{after_handover:?}");
    assert!(alone.status.success(), "{alone:?}");
    let error = String::from_utf8_lossy(&none.stderr);
    assert!(none.status.code() == Some(1) && error.contains("no agent serves"), "{error}");
    Ok(())
}
