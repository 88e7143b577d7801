//! Bytes of the API server become objects of ours, each by itself: one that does not parse spoils no list.
//!
//! Most bytes of a large cluster are Services, slices and Pods, and most bytes of those are notes of who set which
//! field. They are read straight into their types without these notes, and made small before the next one is read.
//! Only an object that does not fit is read again the slow way, which finds the field that is to blame.

mod managed;
mod wire;

use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use self::wire::{BareNamespace, BareNode, BarePod, Wire, WirePod, WireService, WireSlice};
use super::change::{Item, Scope};
use super::requests::FIELD_MANAGER;
use super::seen::Sight;
use crate::source::manifest::typed;
use crate::source::validate::validate;
use crate::source::{Entry, Kind, Name, ObjectId, Origin, Problem, Written};

/// One page of a list.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The objects.
    pub items: Vec<Item>,
    /// The version of the whole list, to watch from.
    pub version: String,
    /// What to ask the next page with, if there is one.
    pub next: Option<String>,
}

/// What a line of a watch is about.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Head {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The object, as far as every kind of line has it.
    pub object: HeadObject,
}

/// The part of a line's object that every kind of line has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HeadObject {
    /// Name and version.
    pub metadata: HeadMetadata,
    /// The code of an error.
    pub code: u16,
    /// The text of an error.
    pub message: String,
}

/// Name and version of a line's object.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct HeadMetadata {
    /// The name.
    pub name: String,
    /// The namespace; empty for kinds without one.
    pub namespace: String,
    /// The version to watch on from.
    pub resource_version: String,
    /// What a bookmark or a definition says besides.
    pub annotations: Option<HeadAnnotations>,
}

/// What a bookmark or a definition says besides.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HeadAnnotations {
    /// All that was there at the beginning has been told.
    #[serde(rename = "k8s.io/initial-events-end")]
    pub initial_events_end: Option<String>,
    /// The version of Gateway API that a definition is of.
    #[serde(rename = "gateway.networking.k8s.io/bundle-version")]
    pub bundle_version: Option<String>,
    /// The channel of Gateway API that a definition is of.
    #[serde(rename = "gateway.networking.k8s.io/channel")]
    pub channel: Option<String>,
}

impl Head {
    /// What the line's object is called.
    pub(super) fn id(&self, scope: &Scope) -> ObjectId {
        let HeadMetadata { name, namespace, .. } = &self.object.metadata;
        ObjectId { kind: scope.kind(), name: Name::new(&**namespace, &**name) }
    }
}

/// Reads a page of a list.
pub(super) fn page(scope: &Scope, bytes: &[u8]) -> Result<Page, String> {
    match (scope, scope.kind()) {
        (_, Kind::Service) => fast_page::<WireService>(scope, bytes),
        (_, Kind::EndpointSlice) => fast_page::<WireSlice>(scope, bytes),
        (Scope::LocalPods, _) => fast_page::<WirePod>(scope, bytes),
        (_, Kind::Pod) => fast_page::<BarePod>(scope, bytes),
        (_, Kind::Namespace) => fast_page::<BareNamespace>(scope, bytes),
        (_, Kind::Node) => fast_page::<BareNode>(scope, bytes),
        _ => slow_page(scope, bytes, read_value),
    }
}

/// Reads what a line of a watch is about.
pub(super) fn head(line: &[u8]) -> Result<Head, String> {
    serde_json::from_slice(line).map_err(|error| format!("the API server sent a line that is no event: {error}"))
}

/// Reads the object of a line that brings one.
pub(super) fn event(scope: &Scope, line: &[u8]) -> Result<Item, String> {
    match (scope, scope.kind()) {
        (_, Kind::Service) => fast_event::<WireService>(scope, line),
        (_, Kind::EndpointSlice) => fast_event::<WireSlice>(scope, line),
        (Scope::LocalPods, _) => fast_event::<WirePod>(scope, line),
        (_, Kind::Pod) => fast_event::<BarePod>(scope, line),
        (_, Kind::Namespace) => fast_event::<BareNamespace>(scope, line),
        (_, Kind::Node) => fast_event::<BareNode>(scope, line),
        _ => slow_event(scope, line, read_value),
    }
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default)]
    metadata: ListMetadata,
    // An empty list may be written as null.
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

impl<T> List<T> {
    fn page(self, read: impl FnMut(T) -> Item) -> Page {
        let ListMetadata { resource_version, next } = self.metadata;
        let items = self.items.into_iter().flatten().map(read).collect();
        Page { items, version: resource_version, next: Some(next).filter(|next| !next.is_empty()) }
    }
}

/// An object that is made small as soon as it is read, before the next one of its list.
struct Slim<W> {
    item: Item,
    wire: PhantomData<W>,
}

impl<'de, W: Wire> Deserialize<'de> for Slim<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { item: W::deserialize(deserializer)?.item(), wire: PhantomData })
    }
}

fn fast_page<W: Wire>(scope: &Scope, bytes: &[u8]) -> Result<Page, String> {
    match serde_json::from_slice::<List<Slim<W>>>(bytes) {
        Ok(list) => Ok(list.page(|slim| slim.item)),
        Err(_) => slow_page(scope, bytes, read_wire::<W>),
    }
}

fn slow_page(scope: &Scope, bytes: &[u8], read: fn(&Scope, Value) -> Item) -> Result<Page, String> {
    let list: List<Value> = serde_json::from_slice(bytes)
        .map_err(|error| format!("the API server sent something that is no list: {error}"))?;
    Ok(list.page(|value| read(scope, value)))
}

#[derive(Deserialize)]
struct Event<T> {
    object: T,
}

fn fast_event<W: Wire>(scope: &Scope, line: &[u8]) -> Result<Item, String> {
    match serde_json::from_slice::<Event<Slim<W>>>(line) {
        Ok(event) => Ok(event.object.item),
        Err(_) => slow_event(scope, line, read_wire::<W>),
    }
}

fn slow_event(scope: &Scope, line: &[u8], read: fn(&Scope, Value) -> Item) -> Result<Item, String> {
    let event: Event<Value> = serde_json::from_slice(line)
        .map_err(|error| format!("the API server sent a line that is no event: {error}"))?;
    Ok(read(scope, event.object))
}

/// Most of a list that has a bad object is good.
fn read_wire<W: Wire>(scope: &Scope, value: Value) -> Item {
    W::deserialize(&value).map_or_else(|_| read_value(scope, value), Wire::item)
}

/// Reads an object by way of a tree, so that an error names the field.
fn read_value(scope: &Scope, mut value: Value) -> Item {
    let metadata = &mut value["metadata"];
    if let Some(managed) = metadata["managedFields"].as_array_mut() {
        managed.retain(|entry| entry["manager"] == FIELD_MANAGER);
    }
    let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_string();
    let id = ObjectId { kind: scope.kind(), name: Name::new(text("namespace"), text("name")) };
    match typed(&id, &value, &origin()) {
        Ok(written) => admit(id, written),
        Err(problems) => Item::Bad(id, problems),
    }
}

/// The checks that objects of a manifest pass, too.
fn admit(id: ObjectId, written: Written) -> Item {
    let origin = origin();
    let problems = validate(&id, &origin, &written);
    if problems.iter().any(Problem::is_error) {
        return Item::Bad(id, problems);
    }
    let sight = Sight::of_written(&written).map(Box::new);
    Item::Good(Entry { id, origin, object: written.admit() }, problems, sight)
}

/// An API server has no files.
fn origin() -> Origin {
    static NO_FILE: LazyLock<Arc<str>> = LazyLock::new(|| "".into());
    Origin { file: NO_FILE.clone(), document: 0, line: 0 }
}

#[cfg(test)]
mod tests;
