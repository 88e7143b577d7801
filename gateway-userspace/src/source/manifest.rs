//! The text of one file becomes objects and problems.
//!
//! Documents are told apart before they are parsed, so a broken one hides none of the others. `List`s are taken
//! apart. Nothing is remembered here: what to do about an object that used to be good is `folder`'s business.

use std::sync::{Arc, LazyLock};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::debug;

use super::address_pool::AddressPoolSpec;
use super::cluster_link::ClusterLinkSpec;
use super::ingress;
use super::kinds::{Recognised, recognise};
use super::schema::{self, unknown_fields};
use super::upstream::UpstreamSpec;
use super::validate::validate;
use super::{Entry, Kind, Name, ObjectId, Origin, Problem, Severity, Written};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Documents divided by `---`.
    Yaml,
    /// One value after the other.
    Json,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// The good objects, in the order of the file.
    pub entries: Vec<Entry>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Objects that say who they are but are invalid, each with the index of its first problem.
    pub rejected: Vec<(ObjectId, usize)>,
    /// The index of the first problem of a document that does not even say which object it holds.
    pub torn: Option<usize>,
    /// How many documents are not empty.
    pub documents: u32,
}

/// Reads a file's text.
pub fn parse(file: &Arc<str>, text: &str, format: Format) -> Manifest {
    let mut manifest = Manifest::default();
    match format {
        Format::Yaml => manifest.read_yaml(file, text),
        Format::Json => manifest.read_json(file, text),
    }
    manifest
}

impl Manifest {
    fn read_yaml(&mut self, file: &Arc<str>, text: &str) {
        for Document { line, text } in documents(text.trim_start_matches('\u{feff}')) {
            let origin = self.next_origin(file, line);
            match serde_saphyr::from_str_with_options::<Value>(text, yaml_options()) {
                Ok(value) => self.admit(value, &origin),
                Err(error) => self.tear(origin.error("", "", yaml_message(&error, line))),
            }
        }
    }

    fn read_json(&mut self, file: &Arc<str>, text: &str) {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        loop {
            let line = 1 + text[..values.byte_offset()].matches('\n').count() as u32;
            let Some(value) = values.next() else { break };
            let origin = self.next_origin(file, line);
            match value {
                Ok(value) => self.admit(value, &origin),
                Err(error) => return self.tear(origin.error("", "", format!("not valid JSON: {error}"))),
            }
        }
    }

    fn next_origin(&mut self, file: &Arc<str>, line: u32) -> Origin {
        self.documents += 1;
        Origin { file: file.clone(), document: self.documents, line }
    }

    fn tear(&mut self, problem: Problem) {
        self.torn.get_or_insert(self.problems.len());
        self.problems.push(problem);
    }

    /// Takes a value for what its apiVersion and kind say it is.
    fn admit(&mut self, mut value: Value, origin: &Origin) {
        let header = match header(&value, origin) {
            Ok(header) => header,
            Err(problem) => return self.tear(*problem),
        };
        if let Some(of) = header.kind.strip_suffix("List")
            && let Some(Value::Array(items)) = value.get_mut("items").map(Value::take)
        {
            for (index, mut item) in items.into_iter().enumerate() {
                inherit(&mut item, &header.api_version, of);
                let first = self.problems.len();
                self.admit(item, origin);
                // What cannot say its name, or which kind it is, is found by its place.
                for problem in self.problems[first..].iter_mut().filter(|problem| !problem.object.contains(' ')) {
                    let dot = if problem.field.is_empty() { "" } else { "." };
                    problem.field = format!("items[{index}]{dot}{}", problem.field);
                }
            }
            return;
        }
        match recognise(&header.api_version, &header.kind) {
            Ok(Recognised::Ours(kind)) => {
                let first = self.problems.len();
                let was_beta = matches!(kind, Kind::Ingress | Kind::IngressClass) && ingress::renew(&mut value);
                self.admit_ours(kind, &value, origin);
                for problem in self.problems[first..].iter_mut().filter(|_| was_beta) {
                    problem.field = ingress::beta_field(&problem.field);
                }
            }
            Ok(Recognised::PassedOver) => {
                debug!(file = %origin.file, document = origin.document, kind = header.kind, "passed over");
            }
            Err(unrecognised) => {
                let object = label(&value, &header.kind);
                self.tear(origin.error(object, unrecognised.field, unrecognised.message));
            }
        }
    }

    fn admit_ours(&mut self, kind: Kind, value: &Value, origin: &Origin) {
        let metadata = &value["metadata"];
        for field in ["name", "namespace"] {
            if !matches!(metadata[field], Value::Null | Value::String(_)) {
                let message = format!("{} is not text: put it in quotes", metadata[field]);
                return self.tear(origin.error(kind, format!("metadata.{field}"), message));
            }
        }
        let Some(name) = metadata["name"].as_str().filter(|name| !name.is_empty()) else {
            let message = "the object has no name: give it one";
            return self.tear(origin.error(kind, "metadata.name", message));
        };
        let namespace = metadata["namespace"].as_str().filter(|namespace| !namespace.is_empty()).unwrap_or("default");
        let namespace = if kind.is_namespaced() { namespace } else { "" };
        let id = ObjectId { kind, name: Name::new(namespace, name) };

        let first = self.problems.len();
        match typed(&id, value, origin) {
            Ok(written) => {
                self.problems.extend(validate(&id, origin, &written));
                if !self.problems[first..].iter().any(|problem| problem.severity == Severity::Error) {
                    return self.entries.push(Entry { id, origin: origin.clone(), object: written.admit() });
                }
            }
            Err(problems) => self.problems.extend(problems),
        }
        self.rejected.push((id, first));
    }
}

struct Header {
    api_version: String,
    kind: String,
}

fn header(value: &Value, origin: &Origin) -> Result<Header, Box<Problem>> {
    if !value.is_object() {
        let message = "the document is not an object: it needs apiVersion, kind and metadata";
        return Err(Box::new(origin.error("", "", message)));
    }
    let text = |field: &str, example: &str| match &value[field] {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        Value::Null => {
            let message = format!("missing: say what the document is, for example `{field}: {example}`");
            Err(Box::new(origin.error("", field, message)))
        }
        other => {
            Err(Box::new(origin.error("", field, format!("`{other}` is not a name: use something like `{example}`"))))
        }
    };
    Ok(Header { kind: text("kind", "Service")?, api_version: text("apiVersion", "v1")? })
}

/// Items of a typed list, as the API server writes it, leave out what the list has said.
fn inherit(item: &mut Value, api_version: &str, kind: &str) {
    if let Value::Object(fields) = item
        && !kind.is_empty()
    {
        fields.entry("apiVersion").or_insert_with(|| api_version.into());
        fields.entry("kind").or_insert_with(|| kind.into());
    }
}

/// What to call an object of no known kind.
fn label(value: &Value, kind: &str) -> String {
    let metadata = &value["metadata"];
    match (metadata["namespace"].as_str(), metadata["name"].as_str()) {
        (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (None, Some(name)) => format!("{kind} {name}"),
        (_, None) => kind.to_string(),
    }
}

/// Reads what a value says it is.
pub fn typed(id: &ObjectId, value: &Value, origin: &Origin) -> Result<Written, Vec<Problem>> {
    let mut problems = unquoted(id, value, origin);
    if let Some(spec) = spec_schema(id.kind) {
        let unknown = unknown_fields(value, spec);
        problems.extend(unknown.into_iter().map(|(field, message)| origin.error(id, field, message)));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    match id.kind {
        Kind::Service => read(id, value, origin).map(Written::Service),
        Kind::EndpointSlice => read(id, value, origin).map(Written::EndpointSlice),
        Kind::Pod => read(id, value, origin).map(Written::Pod),
        Kind::Upstream => read(id, value, origin).map(Written::Upstream),
        Kind::Gateway => read(id, value, origin).map(Written::Gateway),
        Kind::GatewayClass => read(id, value, origin).map(Written::GatewayClass),
        Kind::ReferenceGrant => read(id, value, origin).map(Written::ReferenceGrant),
        Kind::TcpRoute | Kind::UdpRoute | Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute => {
            read(id, value, origin).map(Written::Route)
        }
        Kind::Namespace => read(id, value, origin).map(Written::Namespace),
        Kind::Node => read(id, value, origin).map(Written::Node),
        Kind::AddressPool => read(id, value, origin).map(Written::AddressPool),
        Kind::ClusterLink => read(id, value, origin).map(Written::ClusterLink),
        Kind::ListenerSet => read(id, value, origin).map(Written::ListenerSet),
        Kind::BackendTlsPolicy => read(id, value, origin).map(Written::BackendTlsPolicy),
        Kind::Secret => read(id, value, origin).map(Written::Secret).map_err(without_values),
        Kind::ConfigMap => read(id, value, origin).map(Written::ConfigMap),
        Kind::Ingress => read(id, value, origin).map(Written::Ingress),
        Kind::IngressClass => read(id, value, origin).map(Written::IngressClass),
    }
}

/// The schema of a kind of our own, of which we know all the fields there are.
fn spec_schema(kind: Kind) -> Option<&'static Value> {
    static UPSTREAM: LazyLock<Value> = LazyLock::new(schema::of::<UpstreamSpec>);
    static ADDRESS_POOL: LazyLock<Value> = LazyLock::new(schema::of::<AddressPoolSpec>);
    static CLUSTER_LINK: LazyLock<Value> = LazyLock::new(schema::of::<ClusterLinkSpec>);
    match kind {
        Kind::Upstream => Some(&UPSTREAM),
        Kind::AddressPool => Some(&ADDRESS_POOL),
        Kind::ClusterLink => Some(&CLUSTER_LINK),
        Kind::Service
        | Kind::EndpointSlice
        | Kind::Pod
        | Kind::Gateway
        | Kind::GatewayClass
        | Kind::ReferenceGrant
        | Kind::TcpRoute
        | Kind::UdpRoute
        | Kind::HttpRoute
        | Kind::GrpcRoute
        | Kind::TlsRoute
        | Kind::ListenerSet
        | Kind::BackendTlsPolicy
        | Kind::Secret
        | Kind::ConfigMap
        | Kind::Ingress
        | Kind::IngressClass
        | Kind::Namespace
        | Kind::Node => None,
    }
}

fn read<T: DeserializeOwned>(id: &ObjectId, value: &Value, origin: &Origin) -> Result<Box<T>, Vec<Problem>> {
    serde_path_to_error::deserialize(value).map(Box::new).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { path };
        vec![origin.error(id, field, error.inner().to_string())]
    })
}

/// What the parser says might quote what is secret.
fn without_values(mut problems: Vec<Problem>) -> Vec<Problem> {
    for problem in &mut problems {
        problem.message = "not what a Secret has here: data holds base64, stringData holds text".to_string();
    }
    problems
}

/// Labels and annotations that YAML took for something else than text, the commonest slip of all.
fn unquoted(id: &ObjectId, value: &Value, origin: &Origin) -> Vec<Problem> {
    let mut problems = Vec::new();
    for map in ["labels", "annotations"] {
        for (key, value) in value["metadata"][map].as_object().into_iter().flatten() {
            if !value.is_string() {
                let field = format!("metadata.{map}[{key}]");
                problems.push(origin.error(id, field, format!("{value} is not text: put it in quotes")));
            }
        }
    }
    problems
}

/// Room for a `List` of everything in a large cluster; depth and aliases stay limited.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 50_000_000,
            max_nodes: 50_000_000,
            max_total_scalar_bytes: 1 << 30,
            max_buffered_comment_events: 100_000,
        },
    }
}

/// The parser's message with the line of the file instead of the document's.
fn yaml_message(error: &serde_saphyr::Error, first_line: u32) -> String {
    use serde_saphyr::MessageFormatter as _;

    let error = error.without_snippet();
    let message = serde_saphyr::UserMessageFormatter.format_message(error);
    match error.location() {
        Some(at) => format!(
            "not valid YAML at line {}, column {}: {message}",
            u64::from(first_line) + at.line().saturating_sub(1),
            at.column()
        ),
        None => format!("not valid YAML: {message}"),
    }
}

struct Document<'a> {
    line: u32,
    text: &'a str,
}

/// The documents of a stream that hold more than blanks, comments and directives (YAML 1.2.2, section 9.2).
fn documents(text: &str) -> impl Iterator<Item = Document<'_>> {
    let mut bounds = vec![(0, 1)];
    let mut offset = 0;
    for (line, number) in text.split_inclusive('\n').zip(1..) {
        if offset > 0 && is_marker(line) {
            bounds.push((offset, number));
        }
        offset += line.len();
    }
    let ends = bounds.iter().skip(1).map(|(offset, _)| *offset).chain([text.len()]).collect::<Vec<_>>();
    bounds
        .into_iter()
        .zip(ends)
        .map(|((start, line), end)| Document { line, text: &text[start..end] })
        .filter(|document| !document.text.lines().all(is_blank))
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn is_blank(line: &str) -> bool {
    let rest = if is_marker(line) { &line[3..] } else { line };
    let rest = rest.trim();
    rest.is_empty() || rest == "..." || rest.starts_with('#') || line.starts_with('%')
}

#[cfg(test)]
#[path = "manifest/tests.rs"]
mod tests;
