//! Which Pods wait for us.

use super::*;
use crate::source::pod::READINESS_GATES;

fn pod(status: &serde_json::Value, gates: &[&str]) -> GatedPod {
    let gates: Vec<_> = gates.iter().map(|gate| json!({ "conditionType": gate })).collect();
    let document = json!({
        "metadata": { "name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "7" },
        "spec": { "containers": [{ "name": "x" }], "readinessGates": gates },
        "status": { "phase": "Running", "conditions": status },
    });
    serde_json::from_value(document).unwrap()
}

#[test]
fn a_pod_waits_for_those_gates_of_ours_that_are_not_open() {
    let [ours, tencents] = READINESS_GATES;
    let open = json!({ "type": ours, "status": "True" });
    let ready = json!({ "type": "ContainersReady", "status": "True" });
    let unready = json!({ "type": "Ready", "status": "False" });

    let found =
        waiting(pod(&json!([ready, unready, open]), &[ours, tencents, "example.com/other-open"]), &READINESS_GATES);
    assert_eq!(found, None, "the gate of another is closed");

    let found = waiting(pod(&json!([ready, unready, open]), &[ours, tencents]), &READINESS_GATES);
    assert_eq!(found, Some(WaitingPod { uid: "u".into(), version: 7, gates: vec![tencents] }));

    assert_eq!(waiting(pod(&json!([ready, unready]), &[]), &READINESS_GATES), None);
}

#[test]
fn a_gate_of_tencents_is_another_controllers_unless_it_is_adopted() {
    let [ours, tencents] = READINESS_GATES;
    let conditions = json!([{ "type": "ContainersReady", "status": "True" }, { "type": "Ready", "status": "False" }]);

    let found = waiting(pod(&conditions, &[tencents]), &[ours]);

    assert_eq!(found, None);
}
