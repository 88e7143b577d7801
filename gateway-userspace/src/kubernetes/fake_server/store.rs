//! The objects of the fake API server.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

/// A request that is refused.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) &'static str);

pub(super) const NOT_FOUND: Refusal = Refusal(StatusCode::NOT_FOUND, "not found");
const CONFLICT: Refusal = Refusal(StatusCode::CONFLICT, "the object has been modified");

/// What a path names; without a name, a collection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    collection: String,
    namespace: String,
    pub(super) name: String,
}

impl Key {
    /// Reads a path; whether it names the status alone.
    pub(super) fn parse(path: &str) -> Option<(Self, bool)> {
        let mut parts = path.trim_matches('/').split('/');
        let group = match parts.next()? {
            "api" => parts.next()?.to_string(),
            "apis" => format!("{}/{}", parts.next()?, parts.next()?),
            _ => return None,
        };
        let rest: Vec<&str> = parts.collect();
        let (namespace, rest) = match &*rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name) = (rest.first()?, rest.get(1).copied().unwrap_or_default());
        let key = Self { collection: format!("{group}/{plural}"), namespace: namespace.into(), name: name.into() };
        Some((key, rest.get(2) == Some(&"status")))
    }

    fn holds(&self, other: &Self) -> bool {
        self.collection == other.collection && (self.namespace.is_empty() || self.namespace == other.namespace)
    }
}

/// All objects, and all that has happened to them.
#[derive(Default)]
pub(super) struct Store {
    version: u64,
    objects: BTreeMap<Key, Value>,
    events: Vec<(u64, Key, &'static str, Value)>,
}

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    pub(super) fn list(&self, of: &Key, query: &str) -> Vec<Value> {
        let all = self.objects.iter().filter(|(key, object)| of.holds(key) && selects(query, object));
        all.map(|(_, object)| object.clone()).collect()
    }

    pub(super) fn next_event(&self, of: &Key, query: &str, from: u64) -> Option<(u64, Value)> {
        let mut later = self.events.iter().filter(|(version, ..)| *version > from);
        let (version, _, kind, object) = later.find(|(_, key, _, object)| of.holds(key) && selects(query, object))?;
        Some((*version, json!({ "type": kind, "object": object })))
    }

    /// Writes what is given over what is there, with a new version.
    pub(super) fn put(&mut self, key: &Key, mut object: Value) -> Value {
        self.version += 1;
        let known = self.objects.get(key);
        let uid =
            known.map_or_else(|| json!(format!("uid-{}", self.version)), |known| known["metadata"]["uid"].clone());
        let metadata = &mut object["metadata"];
        metadata["uid"] = uid;
        metadata["name"] = json!(key.name);
        metadata["resourceVersion"] = json!(self.version.to_string());
        if !key.namespace.is_empty() {
            metadata["namespace"] = json!(key.namespace);
        }
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        self.events.push((self.version, key.clone(), kind, object.clone()));
        self.objects.insert(key.clone(), object.clone());
        object
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(mut object) = self.objects.remove(key) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.events.push((self.version, key.clone(), "DELETED", object));
        }
    }

    pub(super) fn create(&mut self, of: &Key, object: Value) -> Result<Value, Refusal> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_string();
        let key = Key { name, ..of.clone() };
        if self.objects.contains_key(&key) {
            return Err(Refusal(StatusCode::CONFLICT, "it is there already"));
        }
        Ok(self.put(&key, object))
    }

    pub(super) fn replace(&mut self, key: &Key, object: &Value, is_status: bool) -> Result<Value, Refusal> {
        let known = self.checked(key, object)?.clone();
        let mut new = object.clone();
        if is_status {
            new = known.clone();
            new["status"] = object["status"].clone();
        }
        Ok(self.put(key, new))
    }

    pub(super) fn delete(&mut self, key: &Key, options: &Value) -> Result<Value, Refusal> {
        self.checked(key, &json!({ "metadata": options["preconditions"] }))?;
        self.remove(key);
        Ok(json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
    }

    /// Server-side apply of a whole object by one manager, `beeline`: its labels, annotations and owners.
    pub(super) fn apply(&mut self, key: &Key, wanted: &Value) -> Result<Value, Refusal> {
        let mut new = match self.objects.get(key) {
            Some(_) => self.checked(key, wanted)?.clone(),
            None => json!({ "metadata": {} }),
        };
        apply_metadata(&mut new["metadata"], &wanted["metadata"]);
        merge(&mut new["spec"], &wanted["spec"]);
        Ok(self.put(key, new))
    }

    pub(super) fn patch(&mut self, key: &Key, patch: &Value, content_type: &str) -> Result<Value, Refusal> {
        let known = self.checked(key, patch)?.clone();
        let mut new = known.clone();
        match content_type {
            "application/merge-patch+json" => merge(&mut new, patch),
            "application/strategic-merge-patch+json" => merge_conditions(&mut new["status"], &patch["status"]),
            "application/apply-patch+yaml" => apply(&mut new, &patch["status"]),
            _ => return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown patch")),
        }
        new["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"].clone();
        Ok(if new == known { known } else { self.put(key, new) })
    }

    /// What is there, if it is what the request takes it for.
    fn checked(&self, key: &Key, request: &Value) -> Result<&Value, Refusal> {
        let known = self.objects.get(key).ok_or(NOT_FOUND)?;
        let agrees = ["resourceVersion", "uid"].into_iter().all(|field| {
            let asked = &request["metadata"][field];
            asked.is_null() || *asked == known["metadata"][field]
        });
        if agrees { Ok(known) } else { Err(CONFLICT) }
    }
}

/// `fieldSelector=metadata.name=x` and `labelSelector=key`; others select all.
fn selects(query: &str, object: &Value) -> bool {
    query.split('&').all(|pair| {
        let pair = pair.replace("%3D", "=").replace("%2F", "/");
        if let Some(name) = pair.strip_prefix("fieldSelector=metadata.name=") {
            return object["metadata"]["name"] == *name;
        }
        pair.strip_prefix("labelSelector=").is_none_or(|label| !object["metadata"]["labels"][label].is_null())
    })
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else { return *target = patch.clone() };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target[name].take();
        } else {
            merge(&mut target[name], value);
        }
    }
}

fn merge_conditions(status: &mut Value, patch: &Value) {
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let new = patch["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|known| new.iter().all(|new| new["type"] != known["type"]));
    conditions.extend(new);
    status["conditions"] = conditions.into();
}

/// What was applied before and no longer is goes; what others have put there stays.
fn apply_metadata(metadata: &mut Value, wanted: &Value) {
    let managers = metadata["managedFields"].as_array().cloned().unwrap_or_default();
    let mine = managers.iter().find(|entry| entry["manager"] == "beeline").cloned().unwrap_or_default();
    let mut fields = json!({});
    for field in ["labels", "annotations"] {
        let before = &mine["fieldsV1"]["f:metadata"][format!("f:{field}")];
        let mut all = metadata[field].as_object().cloned().unwrap_or_default();
        all.retain(|key, _| before[format!("f:{key}")].is_null());
        all.extend(wanted[field].as_object().cloned().unwrap_or_default());
        metadata[field] = all.into();
        let keys = wanted[field].as_object().into_iter().flat_map(Map::keys);
        fields[format!("f:{field}")] = keys.map(|key| (format!("f:{key}"), json!({}))).collect();
    }
    metadata["ownerReferences"] = wanted["ownerReferences"].clone();
    metadata["managedFields"] = json!([{
        "manager": "beeline", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": { "f:metadata": fields },
    }]);
}

/// Server-side apply of one manager, `beeline`, to the status: what it has applied before and no longer does goes.
fn apply(object: &mut Value, wanted: &Value) {
    let managers = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let mine = managers.iter().find(|entry| entry["manager"] == "beeline").cloned().unwrap_or_default();
    let before = mine["fieldsV1"]["f:status"].clone();
    let key = |entry: &Value| format!("k:{}", json!({ "type": entry["type"] }));
    let status = &mut object["status"];
    if !status.is_object() {
        *status = json!({});
    }
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|known| before["f:conditions"][key(known)].is_null());
    }
    for field in before.as_object().into_iter().flat_map(Map::keys).filter_map(|field| field.strip_prefix("f:")) {
        if field != "conditions" && wanted[field].is_null() {
            status.as_object_mut().map(|status| status.remove(field));
        }
    }
    let mut fields = json!({});
    for (field, value) in wanted.as_object().into_iter().flatten() {
        let owned = &mut fields[format!("f:{field}")];
        *owned = json!({});
        if field == "conditions" {
            value.as_array().into_iter().flatten().for_each(|entry| owned[key(entry)] = json!({ ".": {} }));
            merge_conditions(status, wanted);
        } else {
            status[field] = value.clone();
        }
    }
    let mut managers: Vec<Value> = managers.into_iter().filter(|entry| entry["manager"] != "beeline").collect();
    if fields != json!({}) {
        managers.push(json!({
            "manager": "beeline", "operation": "Apply", "subresource": "status", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": { "f:status": fields },
        }));
    }
    object["metadata"]["managedFields"] = managers.into();
}
