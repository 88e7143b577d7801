//! Services that are frontends by themselves: type `LoadBalancer`, of our class, direct to the Pods.

use gateway_common::{Address, Algorithm, FrontendKey};
use k8s_openapi::api::core::v1::{Service as KubernetesService, ServicePort, ServiceSpec};

use super::endpoints::{Cluster, DEFAULT_WEIGHT, Family, Pool, protocol_of};
use super::{Behind, Claim, Options, Report};
use crate::model::{Group, Service};
use crate::source::validate::{ADDRESSES_ANNOTATION, ALGORITHM_ANNOTATION, parse_algorithm, parse_port, parse_vip};
use crate::source::{Kind, Name, ObjectId, Objects, Sourced};

/// The `loadBalancerClass` that makes a Service ours.
pub const LOAD_BALANCER_CLASS: &str = "beeline.dev/direct";
/// The annotation by which Tencent's TKE asks for the same.
pub const DIRECT_ACCESS_ANNOTATION: &str = "service.cloud.tencent.com/direct-access";

/// One port of a Service that is its own frontend.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServiceFrontend<'a> {
    name: &'a Name,
    service: &'a KubernetesService,
    port: &'a ServicePort,
}

/// What the Services ask for.
pub(super) fn claims<'a>(objects: &'a Objects, options: &Options, report: &mut Report) -> Vec<Claim<'a>> {
    let ours = objects.services.iter().filter(|(_, found)| is_ours(&found.object, options));
    ours.flat_map(|(name, found)| claims_of(name, found, report)).collect()
}

/// What stands behind one of them.
pub(super) fn service(cluster: &Cluster<'_>, key: FrontendKey, frontend: ServiceFrontend<'_>) -> Service {
    let ServiceFrontend { name, service, port } = frontend;
    let mut pool = Pool::default();
    for candidate in cluster.candidates(name, service, port, Family::of(key.address)).into_values() {
        pool.add(candidate, DEFAULT_WEIGHT);
    }
    let reference = format!("Service {name}:{}", port.port);
    let algorithm = annotation(service, ALGORITHM_ANNOTATION).and_then(|name| parse_algorithm(name).ok());
    Service {
        owner: format!("Service {name}"),
        algorithm: algorithm.unwrap_or(Algorithm::WeightedRoundRobin),
        groups: vec![Group { reference, weight: 1, members: pool.into_members() }],
        ..Service::default()
    }
}

fn is_ours(service: &KubernetesService, options: &Options) -> bool {
    let Some(spec) = &service.spec else { return false };
    if spec.type_.as_deref() != Some("LoadBalancer") {
        return false;
    }
    match spec.load_balancer_class.as_deref() {
        Some(class) => class == LOAD_BALANCER_CLASS,
        None => {
            options.default_load_balancer
                || options.adopt_tencent_annotations && annotation(service, DIRECT_ACCESS_ANNOTATION) == Some("true")
        }
    }
}

fn annotation<'a>(service: &'a KubernetesService, key: &str) -> Option<&'a str> {
    service.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn claims_of<'a>(name: &'a Name, found: &'a Sourced<KubernetesService>, report: &mut Report) -> Vec<Claim<'a>> {
    let Sourced { object: service, origin } = found;
    let Some(spec) = &service.spec else { return Vec::new() };
    let id = ObjectId { kind: Kind::Service, name: name.clone() };
    for (field, message) in not_honoured(spec) {
        report.add(origin.warning(&id, field, message));
    }

    let mut vips: Vec<(Address, String)> = Vec::new();
    for (text, field) in wanted_addresses(service, spec) {
        match parse_vip(&text) {
            Ok(address) if vips.iter().any(|(known, _)| *known == address) => {}
            Ok(address) => vips.push((address, field)),
            Err(message) => report.add(origin.error(&id, field, message)),
        }
    }
    if vips.is_empty() {
        let message = "the Service asks for no address: name its VIPs, comma separated";
        report.add(origin.error(&id, format!("metadata.annotations[{ADDRESSES_ANNOTATION}]"), message));
    }

    let mut claims = Vec::new();
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let Some(protocol) = protocol_of(port) else {
            let message = "only TCP and UDP are balanced: remove the port or change its protocol";
            report.add(origin.error(&id, format!("spec.ports[{index}].protocol"), message));
            continue;
        };
        let Ok(number) = parse_port(port.port.into()) else { continue };
        claims.extend(vips.iter().map(|(address, vip_field)| Claim {
            key: FrontendKey::new(*address, number, protocol),
            created: service.metadata.creation_timestamp.as_ref(),
            object: id.clone(),
            origin,
            field: format!("spec.ports[{index}].port"),
            vip_field: vip_field.clone(),
            behind: Behind::Service(ServiceFrontend { name, service, port }),
        }));
    }
    claims
}

/// The VIPs a Service names and where: our annotation, else its spec, else what its status was given.
fn wanted_addresses(service: &KubernetesService, spec: &ServiceSpec) -> Vec<(String, String)> {
    if let Some(list) = annotation(service, ADDRESSES_ANNOTATION) {
        let field = format!("metadata.annotations[{ADDRESSES_ANNOTATION}]");
        return list.split(',').map(|text| (text.trim().to_string(), field.clone())).collect();
    }
    if let Some(address) = spec.load_balancer_ip.as_ref().filter(|address| !address.is_empty()) {
        return vec![(address.clone(), "spec.loadBalancerIP".to_string())];
    }
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten().enumerate();
    ingress
        .filter_map(|(index, ingress)| Some((ingress.ip.clone()?, format!("status.loadBalancer.ingress[{index}].ip"))))
        .collect()
}

/// Wishes that would change who gets which traffic, and that nobody fulfils yet.
fn not_honoured(spec: &ServiceSpec) -> Vec<(&'static str, &'static str)> {
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP"))
        .then_some(("spec.sessionAffinity", "ClientIP is not honoured yet: connections are balanced one by one"));
    let ranges = spec.load_balancer_source_ranges.as_ref().is_some_and(|ranges| !ranges.is_empty()).then_some((
        "spec.loadBalancerSourceRanges",
        "not honoured yet: every client is let in, so restrict clients in front of the VIP",
    ));
    affinity.into_iter().chain(ranges).collect()
}
