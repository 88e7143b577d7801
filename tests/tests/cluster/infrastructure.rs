//! Each Gateway has a Service that stands for it, with what its `spec.infrastructure` asks for, and that goes with it.

use std::time::Duration;

use anyhow::Result;
use beeline_tests::cluster::Sandbox;
use beeline_tests::wait;
use serde_json::{Value, json};

use crate::ground;

const LIMIT: Duration = Duration::from_secs(30);

const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: beeline
  infrastructure: {labels: {team: web}, annotations: {note: a}}
  listeners: [{name: tcp, port: 80, protocol: TCP}]
";

/// The Service that stands for the Gateway; nothing if there is none.
fn stand_in(sandbox: &Sandbox) -> Option<Value> {
    let selector = "--selector=gateway.networking.k8s.io/gateway-name=edge";
    let text = sandbox.kubectl(&["get", "services", selector, "--output=json"]).ok()?;
    serde_json::from_str::<Value>(&text).ok()?["items"].as_array_mut()?.pop()
}

#[test]
fn a_gateway_has_a_service_that_bears_its_labels_and_goes_with_it() -> Result<()> {
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "stand-in")?;
    sandbox.apply(GATEWAY)?;

    let service = wait::until("the Gateway has a Service", LIMIT, || stand_in(&sandbox))?;

    let metadata = &service["metadata"];
    assert_eq!((&metadata["name"], &metadata["labels"]["team"]), (&json!("edge-beeline"), &json!("web")));
    assert_eq!(metadata["annotations"]["note"], "a");
    assert_eq!((&service["spec"]["clusterIP"], &service["spec"]["selector"]), (&json!("None"), &Value::Null));

    sandbox.apply(&GATEWAY.replace("team: web", "team: api"))?;
    let follows = || (stand_in(&sandbox)?["metadata"]["labels"]["team"] == "api").then_some(());
    wait::until("the Service follows the Gateway", LIMIT, follows)?;

    sandbox.kubectl(&["delete", "gateway", "edge"])?;
    wait::until("the Service is gone", LIMIT, || stand_in(&sandbox).is_none().then_some(()))
}
