//! Whether a status says what it should: then nothing is written.
//!
//! Conditions that others have put there do not matter, nor does the order of keyed lists.

use serde_json::Value;

use crate::kubernetes::seen::Sight;

/// Whether an object's status says all that is wanted, and nothing of ours that is not.
pub(super) fn is_current(sight: &Sight, wanted: &Value) -> bool {
    let Some(fields) = wanted.as_object() else { return false };
    let status = sight.status();
    let says = fields.iter().all(|(field, wanted)| {
        let seen = &status[field];
        match field.as_str() {
            "conditions" => says_all(seen, wanted),
            "listeners" => same_listeners(seen, wanted),
            _ => same(seen, wanted),
        }
    });
    let is_wanted = |kind: &String| entries(&wanted["conditions"]).iter().any(|wanted| wanted["type"] == **kind);
    says && sight.applied.as_ref().is_none_or(|applied| applied.conditions.iter().all(is_wanted))
}

fn says_all(seen: &Value, wanted: &Value) -> bool {
    entries(wanted).iter().all(|wanted| entries(seen).contains(wanted))
}

fn same_listeners(seen: &Value, wanted: &Value) -> bool {
    let (seen, wanted) = (entries(seen), entries(wanted));
    seen.len() == wanted.len()
        && wanted.iter().all(|wanted| {
            let Some(seen) = seen.iter().find(|seen| seen["name"] == wanted["name"]) else { return false };
            ["supportedKinds", "attachedRoutes"].iter().all(|field| same(&seen[field], &wanted[field]))
                && entries(&seen["conditions"]).len() == entries(&wanted["conditions"]).len()
                && says_all(&seen["conditions"], &wanted["conditions"])
        })
}

/// An API server leaves out what is empty, and may or may not keep it in a list that was sent.
fn same(seen: &Value, wanted: &Value) -> bool {
    seen == wanted || (is_empty(seen) && is_empty(wanted))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(entries) => entries.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn entries(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::seen::Applied;

    fn sight(status: &Value, ours: &[&str]) -> Sight {
        let conditions = ours.iter().map(|kind| (*kind).to_string()).collect();
        let mut sight = Sight::default().saying(Some(status));
        sight.applied = Some(Applied { conditions });
        sight
    }

    #[test]
    fn conditions_of_others_make_no_difference() {
        let seen = json!({ "conditions": [{"type": "Theirs", "status": "False"}, {"type": "Ours", "status": "True"}] });
        let wanted = json!({ "conditions": [{"type": "Ours", "status": "True"}] });

        assert!(is_current(&sight(&seen, &["Ours"]), &wanted));
    }

    #[test]
    fn a_condition_of_ours_that_is_no_longer_wanted_makes_one() {
        let seen = json!({ "conditions": [{"type": "Old", "status": "False"}, {"type": "Ours", "status": "True"}] });
        let wanted = json!({ "conditions": [{"type": "Ours", "status": "True"}] });

        assert!(!is_current(&sight(&seen, &["Old", "Ours"]), &wanted));
    }

    #[test]
    fn what_is_empty_may_be_left_out() {
        let wanted = json!({ "loadBalancer": { "ingress": [] }, "conditions": [] });

        assert!(is_current(&sight(&Value::Null, &[]), &wanted));
        assert!(is_current(&sight(&json!({ "loadBalancer": {} }), &[]), &wanted));
        assert!(!is_current(&sight(&json!({ "loadBalancer": { "ingress": [{"ip": "192.0.2.1"}] } }), &[]), &wanted));
    }

    #[test]
    fn listeners_are_compared_by_name() {
        let listener = |name: &str, routes: i32| json!({ "name": name, "attachedRoutes": routes, "conditions": [] });
        let wanted = json!({ "listeners": [listener("a", 1), listener("b", 0)] });

        assert!(is_current(&sight(&json!({ "listeners": [listener("b", 0), listener("a", 1)] }), &[]), &wanted));
        assert!(!is_current(&sight(&json!({ "listeners": [listener("b", 0), listener("a", 2)] }), &[]), &wanted));
        assert!(!is_current(&sight(&json!({ "listeners": [listener("a", 1)] }), &[]), &wanted));
    }
}
