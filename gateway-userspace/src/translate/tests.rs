//! Manifests in, the model out, both as text.

mod announce;
mod conflicts;
mod endpoints;
mod examples;
mod ingresses;
mod linked;
mod nodes;
mod refresh;
mod routes;
mod services;
mod sites;
mod statuses;
mod upstreams;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;
use crate::source::manifest::{Format, parse};

/// Translates manifests that are all good by themselves.
fn translated(text: &str) -> Translation {
    let objects = objects(text);
    translate(&objects, &Options::default())
}

pub(super) fn objects(text: &str) -> Objects {
    let manifest = parse(&"shop.yaml".into(), text, Format::Yaml);
    assert_eq!(manifest.problems, [], "{text}");
    let mut objects = Objects::default();
    manifest.entries.into_iter().for_each(|entry| objects.insert(entry));
    objects
}

/// A model as readable text, without identities.
fn text(translation: &Translation) -> String {
    let mut out = String::new();
    for (key, service) in &translation.model.services {
        writeln!(out, "{key} {} {}", service.owner, service.algorithm.name()).unwrap();
        for group in &service.groups {
            writeln!(out, "  {} {}", group.weight, group.reference).unwrap();
            for (backend, member) in &group.members {
                let socket = std::net::SocketAddr::new(backend.address.to_ip(), backend.port.get());
                writeln!(out, "    {} {socket} {}", member.weight, member.name).unwrap();
            }
        }
    }
    out
}

fn problems(translation: &Translation) -> Vec<String> {
    translation.problems.iter().map(|problem| problem.to_string().replacen("shop.yaml: ", "", 1)).collect()
}

/// The weights of the members of the first frontend's first group, by name.
fn weights(translation: &Translation) -> BTreeMap<&str, u16> {
    let service = translation.model.services.values().next().expect("there is a frontend");
    service.groups[0].members.values().map(|member| (&*member.name, member.weight)).collect()
}

/// A Service of ours with one port 80 to 8080.
fn service(name: &str, vips: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: shop\n  annotations:\n    \
         beeline.dev/addresses: \"{vips}\"\nspec:\n  type: LoadBalancer\n  loadBalancerClass: beeline.dev/direct\n  \
         selector: {{app: {name}}}\n  ports:\n  - {{port: 80, targetPort: 8080}}\n---\n"
    )
}

/// A Service that is nobody's frontend.
fn plain_service(namespace: &str, name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  selector: \
         {{app: {name}}}\n  ports:\n  - {{port: {port}, targetPort: 8080}}\n---\n"
    )
}

/// The items of a YAML list, each behind its indentation and dash.
fn items(dash: &str, items: &[&str]) -> String {
    items.iter().flat_map(|item| [dash, item, "\n"]).collect()
}

/// A slice of a Service, with an IPv4 endpoint for each line.
fn slice(service: &str, endpoints: &[&str]) -> String {
    let endpoints = items("- ", endpoints);
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}-v4\n  namespace: shop\n  \
         labels: {{kubernetes.io/service-name: {service}}}\naddressType: IPv4\nports:\n- {{name: \"\", port: 8080}}\n\
         endpoints:\n{endpoints}---\n"
    )
}

/// A Pod of an application, with what else its metadata and status shall say.
pub(super) fn pod(namespace: &str, name: &str, app: &str, ip: &str, metadata: &str, status: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  uid: uid-{name}\n  \
         labels: {{app: {app}, version: {name}}}\n{metadata}status:\n  podIP: {ip}\n{status}---\n"
    )
}

fn upstream(name: &str, spec: &str, services: &[&str]) -> String {
    let services = items("  - ", services);
    format!(
        "apiVersion: beeline.dev/v1alpha1\nkind: Upstream\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n\
         {spec}  services:\n{services}---\n"
    )
}

fn gateway(name: &str, vip: &str, listeners: &[&str]) -> String {
    let listeners = items("  - ", listeners);
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         gatewayClassName: beeline\n  addresses:\n  - {{value: \"{vip}\"}}\n  listeners:\n{listeners}---\n"
    )
}

fn route(kind: &str, namespace: &str, name: &str, parent: &str, references: &[&str]) -> String {
    let references = items("    - ", references);
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  parentRefs:\n  - {parent}\n  rules:\n  - backendRefs:\n{references}---\n"
    )
}

fn grant(namespace: &str, from: &str, to: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {{name: g, namespace: \
         {namespace}}}\nspec:\n  from:\n  - {from}\n  to:\n  - {to}\n---\n"
    )
}

/// A document with a creation time put into it.
fn created(document: &str, time: &str) -> String {
    let metadata = format!("creationTimestamp: \"{time}\", name: ");
    let flow = document.replacen("metadata: {name: ", &format!("metadata: {{{metadata}"), 1);
    if flow == document {
        document.replacen("metadata:\n", &format!("metadata:\n  creationTimestamp: \"{time}\"\n"), 1)
    } else {
        flow
    }
}
