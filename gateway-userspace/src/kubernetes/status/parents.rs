//! The parents in a route's status: one list that every controller writes whole, so each must keep what others wrote.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::render::conditions;
use crate::translate::CONTROLLER_NAME;
use crate::translate::statuses::{ParentStatus, RouteStatus};

/// What the list should be: entries of others as they are and where they are, ours as wanted, new ones at the end. None
/// if the list is so already.
pub(super) fn parents(seen: &Value, wanted: Option<&RouteStatus>, now: &Time) -> Option<Vec<Value>> {
    let before = seen["parents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut missing: Vec<&ParentStatus> = wanted.iter().flat_map(|status| &status.parents).collect();
    let generation = wanted.map_or(0, |status| status.generation);
    let mut parents = Vec::new();
    for entry in before {
        if entry["controllerName"] != CONTROLLER_NAME {
            parents.push(entry.clone());
        } else if let Some(index) =
            missing.iter().position(|parent| reference(parent) == with_defaults(&entry["parentRef"]))
        {
            parents.push(entry_of(missing.remove(index), generation, entry, now));
        }
    }
    parents.extend(missing.into_iter().map(|parent| entry_of(parent, generation, &Value::Null, now)));
    (parents != before).then_some(parents)
}

fn entry_of(parent: &ParentStatus, generation: i64, before: &Value, now: &Time) -> Value {
    json!({
        "parentRef": reference(parent),
        "controllerName": CONTROLLER_NAME,
        "conditions": conditions(&parent.conditions, generation, &before["conditions"], now),
    })
}

fn reference(parent: &ParentStatus) -> Value {
    with_defaults(&serde_json::to_value(&parent.parent).unwrap_or_default())
}

/// The API server fills in the same.
fn with_defaults(reference: &Value) -> Value {
    let mut reference = reference.clone();
    if let Some(fields) = reference.as_object_mut() {
        fields.entry("group").or_insert_with(|| "gateway.networking.k8s.io".into());
        fields.entry("kind").or_insert_with(|| "Gateway".into());
    }
    reference
}

#[cfg(test)]
mod tests {
    use gateway_api::apis::experimental::tcproutes::TcpRouteParentRefs;
    use jiff::Timestamp;

    use super::*;
    use crate::translate::statuses::{Condition, Truth};

    fn now() -> Time {
        Time(Timestamp::from_second(1_000_000).unwrap())
    }

    fn wanted(names: &[&str]) -> RouteStatus {
        let parent = |name: &&str| ParentStatus {
            parent: TcpRouteParentRefs { name: (*name).to_string(), ..TcpRouteParentRefs::default() },
            conditions: vec![Condition {
                kind: "Accepted",
                truth: Truth::True,
                reason: "Accepted",
                message: String::new(),
            }],
        };
        RouteStatus { generation: 3, parents: names.iter().map(parent).collect() }
    }

    fn theirs() -> Value {
        json!({ "parentRef": {"name": "a"}, "controllerName": "example.com/other", "conditions": [{"type": "Odd"}] })
    }

    #[test]
    fn an_entry_of_another_controller_stays_as_it_is_and_where_it_is() {
        let ours = parents(&Value::Null, Some(&wanted(&["a", "b"])), &now()).unwrap();
        let seen = json!({ "parents": [ours[0], theirs(), ours[1]] });

        let changed = parents(&seen, Some(&wanted(&["b", "c"])), &now()).unwrap();

        assert_eq!(changed[..2], [theirs(), ours[1].clone()]);
        assert_eq!(changed[2]["parentRef"]["name"], "c");
    }

    #[test]
    fn a_route_without_a_parent_of_ours_loses_our_entries_only() {
        let ours = parents(&Value::Null, Some(&wanted(&["a"])), &now()).unwrap();

        let seen = json!({ "parents": [ours[0], theirs()] });
        assert_eq!(parents(&seen, None, &now()), Some(vec![theirs()]));
        assert_eq!(parents(&json!({ "parents": [theirs()] }), None, &now()), None);
        assert_eq!(parents(&Value::Null, None, &now()), None);
    }

    #[test]
    fn a_list_that_is_right_is_left_alone() {
        let ours = parents(&Value::Null, Some(&wanted(&["a"])), &now()).unwrap();
        let later = Time(Timestamp::from_second(2_000_000).unwrap());

        assert_eq!(parents(&json!({ "parents": ours }), Some(&wanted(&["a"])), &later), None);
    }
}
