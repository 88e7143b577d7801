//! Manifests in, sites, statuses and problems out: each folder of `tests/sites` beside this file has both as text.
//!
//! `BLESS=1 cargo test -p gateway-userspace sites` writes what comes out instead of comparing it. `@CERTIFICATE@` and `@KEY@`
//! stand for those of tests.

use std::path::{Path, PathBuf};
use std::{env, fs};

use super::*;
use crate::model::http::Handling;
use crate::model::http::text::Text;
use crate::source::secret::testing::{CERTIFICATE, KEY};
use crate::translate::statuses::{Condition, ListenerStatus, ParentStatus, Truth};

/// What the conditions say: `+` for what holds and `-` for what does not.
fn conditions(conditions: &[Condition]) -> String {
    let text = |condition: &Condition| {
        let sign = if condition.truth == Truth::True { '+' } else { '-' };
        format!(" {sign}{}/{}", condition.kind, condition.reason)
    };
    conditions.iter().map(text).collect()
}

fn listeners(listeners: &[ListenerStatus]) -> String {
    let text = |listener: &ListenerStatus| {
        let ListenerStatus { name, supported_kinds, attached_routes, conditions: told } = listener;
        format!("  {name} [{}] {attached_routes}{}\n", supported_kinds.join(","), conditions(told))
    };
    listeners.iter().map(text).collect()
}

fn parents(object: &str, told: &[ParentStatus]) -> String {
    let text = |ParentStatus { parent, conditions: told }: &ParentStatus| {
        let kind = parent.kind.as_deref().unwrap_or("Gateway");
        let section = parent.section_name.as_deref().unwrap_or("*");
        format!("{object} of {kind} {} {section}{}\n", parent.name, conditions(told))
    };
    told.iter().map(text).collect()
}

fn everything(translation: &Translation) -> String {
    let mut out = String::new();
    for (key, site) in &translation.model.sites {
        out += &Text(*key, site).to_string();
    }
    out += &text(translation);
    for (name, gateway) in &translation.statuses.gateways {
        let sets = gateway.attached_listener_sets;
        writeln!(out, "Gateway {name} with {sets} sets{}", conditions(&gateway.status.conditions)).unwrap();
        out += &listeners(&gateway.listeners);
    }
    for (name, set) in &translation.statuses.listener_sets {
        writeln!(out, "ListenerSet {name}{}", conditions(&set.status.conditions)).unwrap();
        out += &listeners(&set.listeners);
    }
    for (name, ingress) in &translation.statuses.ingresses {
        writeln!(out, "Ingress {name} at {:?}", ingress.addresses).unwrap();
    }
    for (id, route) in &translation.statuses.routes {
        out += &parents(&id.to_string(), &route.parents);
    }
    for (name, policy) in &translation.statuses.backend_tls_policies {
        out += &parents(&format!("BackendTLSPolicy {name}"), &policy.parents);
    }
    for problem in problems(translation) {
        writeln!(out, "problem: {problem}").unwrap();
    }
    out
}

fn pem(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

/// The manifests of a folder.
pub(super) fn manifests(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("manifests.yaml")).unwrap();
    text.replace("@CERTIFICATE@", &pem(CERTIFICATE)).replace("@KEY@", &pem(KEY))
}

fn play(folder: &Path) -> Result<(), String> {
    let actual = everything(&translated(&manifests(folder)));
    if env::var_os("BLESS").is_some() {
        fs::write(folder.join("expected.txt"), &actual).unwrap();
    }
    let expected = fs::read_to_string(folder.join("expected.txt")).unwrap_or_default();
    if expected == actual { Ok(()) } else { Err(format!("expected\n{expected}\nbut it is\n{actual}")) }
}

fn folders() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/translate/tests/sites");
    let mut folders: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

#[test]
fn every_folder_of_manifests_becomes_the_expected_sites() {
    let folders = folders();
    assert!(folders.len() > 4, "there are goldens");

    let failures: Vec<String> =
        folders.iter().filter_map(|folder| Some(format!("{}: {}", folder.display(), play(folder).err()?))).collect();

    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn sites_and_services_never_share_a_frontend() {
    let manifests = gateway(
        "edge",
        "10.96.0.2",
        &["{name: tcp, port: 80, protocol: TCP}", "{name: http, port: 81, protocol: HTTP}"],
    ) + &route("TCPRoute", "shop", "web", "{name: edge}", &["{name: web, port: 80}"])
        + &plain_service("shop", "web", 80);

    let model = translated(&manifests).model;

    let services: Vec<u16> = model.services.keys().map(|key| key.port.get()).collect();
    let sites: Vec<u16> = model.sites.keys().map(|key| key.port.get()).collect();
    assert_eq!((&*services, &*sites), (&[80][..], &[81][..]));
}

#[test]
fn the_order_of_manifests_makes_no_difference() {
    let manifests = fs::read_to_string(folders()[0].join("manifests.yaml")).unwrap();
    let mut documents: Vec<&str> = manifests.split("---\n").collect();
    let one = translated(&documents.join("---\n")).model;

    documents.reverse();

    assert_eq!(translated(&documents.join("---\n")).model, one);
}

#[test]
fn a_vip_reaches_pods_of_the_other_family_where_a_service_has_none_of_its_own() {
    let listeners = ["{name: http, port: 80, protocol: HTTP}", "{name: tcp, port: 90, protocol: TCP}"];
    let both = gateway("edge", "fd00:96::2", &listeners);
    let manifests = both
        + &route("HTTPRoute", "shop", "web", "{name: edge}", &["{name: web, port: 8000}"])
        + &route("TCPRoute", "shop", "raw", "{name: edge}", &["{name: web, port: 8000}"])
        + &plain_service("shop", "web", 8000)
        + &pod("shop", "v1", "web", "10.1.0.1", "", "");

    let translation = translated(&manifests);

    let site = translation.model.sites.values().next().unwrap();
    let Handling::Http(routes) = &site.listeners[0].handling else { panic!("it is in the clear") };
    let members = &routes[0].rules[0].backends[0].group.members;
    assert_eq!(members.keys().map(|backend| backend.address.to_string()).collect::<Vec<_>>(), ["10.1.0.1"]);
    assert!(weights(&translation).is_empty(), "at layer 4 packets stay packets of their family");
}
