//! The parents in a route's status and the ancestors in a policy's: one list that every controller writes whole, so each must
//! keep what others wrote.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::render::conditions;
use crate::source::Kind;
use crate::translate::CONTROLLER_NAME;
use crate::translate::statuses::{ParentStatus, RouteStatus};

/// The list of a kind of object: what it is called, and what an entry calls the object that it speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct List {
    pub name: &'static str,
    reference: &'static str,
}

impl List {
    /// The list in the status of a kind; none if its status has no such list.
    pub(super) fn of(kind: Kind) -> Option<Self> {
        if kind.is_route() {
            return Some(Self { name: "parents", reference: "parentRef" });
        }
        (kind == Kind::BackendTlsPolicy).then_some(Self { name: "ancestors", reference: "ancestorRef" })
    }
}

/// What the list should be: entries of others as they are and where they are, ours as wanted, new ones at the end. None
/// if the list is so already.
pub(super) fn parents(list: List, seen: &Value, wanted: Option<&RouteStatus>, now: &Time) -> Option<Vec<Value>> {
    let before = seen[list.name].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut missing: Vec<&ParentStatus> = wanted.iter().flat_map(|status| &status.parents).collect();
    let generation = wanted.map_or(0, |status| status.generation);
    let mut parents = Vec::new();
    for entry in before {
        if entry["controllerName"] != CONTROLLER_NAME {
            parents.push(entry.clone());
        } else if let Some(index) =
            missing.iter().position(|parent| reference(parent) == with_defaults(&entry[list.reference]))
        {
            parents.push(entry_of(list, missing.remove(index), generation, entry, now));
        }
    }
    parents.extend(missing.into_iter().map(|parent| entry_of(list, parent, generation, &Value::Null, now)));
    (parents != before).then_some(parents)
}

fn entry_of(list: List, parent: &ParentStatus, generation: i64, before: &Value, now: &Time) -> Value {
    json!({
        list.reference: reference(parent),
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
    use jiff::Timestamp;

    use super::*;
    use crate::translate::statuses::{Condition, ParentRef, Truth};

    const LIST: List = List { name: "parents", reference: "parentRef" };

    fn now() -> Time {
        Time(Timestamp::from_second(1_000_000).unwrap())
    }

    fn wanted(names: &[&str]) -> RouteStatus {
        let parent = |name: &&str| ParentStatus {
            parent: ParentRef { name: (*name).to_string(), ..ParentRef::default() },
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
        let ours = parents(LIST, &Value::Null, Some(&wanted(&["a", "b"])), &now()).unwrap();
        let seen = json!({ "parents": [ours[0], theirs(), ours[1]] });

        let changed = parents(LIST, &seen, Some(&wanted(&["b", "c"])), &now()).unwrap();

        assert_eq!(changed[..2], [theirs(), ours[1].clone()]);
        assert_eq!(changed[2]["parentRef"]["name"], "c");
    }

    #[test]
    fn a_route_without_a_parent_of_ours_loses_our_entries_only() {
        let ours = parents(LIST, &Value::Null, Some(&wanted(&["a"])), &now()).unwrap();

        let seen = json!({ "parents": [ours[0], theirs()] });
        assert_eq!(parents(LIST, &seen, None, &now()), Some(vec![theirs()]));
        assert_eq!(parents(LIST, &json!({ "parents": [theirs()] }), None, &now()), None);
        assert_eq!(parents(LIST, &Value::Null, None, &now()), None);
    }

    #[test]
    fn a_list_that_is_right_is_left_alone() {
        let ours = parents(LIST, &Value::Null, Some(&wanted(&["a"])), &now()).unwrap();
        let later = Time(Timestamp::from_second(2_000_000).unwrap());

        assert_eq!(parents(LIST, &json!({ "parents": ours }), Some(&wanted(&["a"])), &later), None);
    }

    #[test]
    fn a_policy_has_ancestors_in_the_place_of_parents() {
        let list = List::of(Kind::BackendTlsPolicy).unwrap();
        let other = json!({ "ancestorRef": {"name": "a"}, "controllerName": "example.com/other" });

        let ours = parents(list, &json!({ "ancestors": [other] }), Some(&wanted(&["a"])), &now()).unwrap();

        assert_eq!(ours[0], other);
        assert_eq!(ours[1]["ancestorRef"]["name"], "a");
        assert_eq!(List::of(Kind::Gateway), None);
    }
}
