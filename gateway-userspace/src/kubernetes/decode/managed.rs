//! Of the notes of who set which field, those that are about ourselves: the rest is skipped as it is read.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::kubernetes::requests::FIELD_MANAGER;

/// Our entries of `metadata.managedFields`.
#[derive(Default)]
pub(super) struct Ours(pub Vec<ManagedFieldsEntry>);

impl<'de> Deserialize<'de> for Ours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(OursVisitor)
    }
}

struct OursVisitor;

impl<'de> Visitor<'de> for OursVisitor {
    type Value = Ours;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of managed fields")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Ours, A::Error> {
        let mut ours = Ours::default();
        while let Some(Perhaps(entry)) = entries.next_element()? {
            ours.0.extend(entry);
        }
        Ok(ours)
    }
}

/// An entry, if it is ours.
struct Perhaps(Option<ManagedFieldsEntry>);

impl<'de> Deserialize<'de> for Perhaps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor)
    }
}

/// What of an entry is asked for.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    Manager,
    Operation,
    Subresource,
    FieldsV1,
    #[serde(other)]
    Other,
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Perhaps;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry of managed fields")
    }

    /// The API server writes the manager first, so what is not ours is known before its fields come.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Perhaps, A::Error> {
        let mut entry = ManagedFieldsEntry::default();
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Manager => entry.manager = map.next_value()?,
                Key::Operation => entry.operation = map.next_value()?,
                Key::Subresource => entry.subresource = map.next_value()?,
                Key::FieldsV1 if entry.manager.as_deref().is_none_or(|manager| manager == FIELD_MANAGER) => {
                    entry.fields_v1 = Some(FieldsV1(map.next_value::<Value>()?));
                }
                Key::FieldsV1 | Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let is_ours = entry.manager.as_deref() == Some(FIELD_MANAGER);
        Ok(Perhaps(is_ours.then_some(entry)))
    }
}
