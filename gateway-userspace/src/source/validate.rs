//! Is an object good by itself? What the API server's own validation would refuse is refused here too, so that a
//! folder and a cluster mean the same.
//!
//! An error here makes the object as a whole invalid; a source then keeps its last good version. What only shows
//! between objects (a missing Service, two owners of one frontend) is for `translate` to find.

mod custom;
mod filters;
mod gateways;
mod ingresses;
mod routes;

use std::collections::BTreeSet;
use std::net::IpAddr;

use gateway_common::{Address, Algorithm, Mode, Port};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::address_pool::unfit;
use super::kinds::closest;
use super::{ObjectId, Origin, Problem, Written};

pub use custom::{interval, parse_label, parse_statuses, timeout};
pub use routes::parse_duration;

/// The VIPs that a Service, an Ingress or an `IngressClass` asks for, comma separated, of both families.
pub const ADDRESSES_ANNOTATION: &str = "beeline.dev/addresses";
/// The algorithm of a Service that is its own frontend.
pub const ALGORITHM_ANNOTATION: &str = "beeline.dev/algorithm";
/// How Pods of other nodes are reached, of a Service that is its own frontend or a Gateway.
pub const MODE_ANNOTATION: &str = "beeline.dev/mode";
/// Where connections to a Gateway begin with the PROXY protocol.
pub const PROXY_PROTOCOL_ANNOTATION: &str = "beeline.dev/proxy-protocol";
/// The greatest weight of a `backendRef` (Gateway API, `BackendRef.weight`).
pub const MAX_REFERENCE_WEIGHT: i64 = 1_000_000;

/// The longest session affinity that the API server takes: a day.
const MAX_AFFINITY_SECONDS: i32 = 86_400;

/// What is wrong with an object by itself.
pub fn validate(id: &ObjectId, origin: &Origin, object: &Written) -> Vec<Problem> {
    let mut findings = Findings { id, origin, problems: Vec::new() };
    match object {
        Written::Service(service) => findings.service(service),
        Written::EndpointSlice(slice) => findings.endpoint_slice(slice),
        Written::Pod(pod) => findings.pod(pod),
        Written::Upstream(upstream) => findings.upstream(upstream),
        Written::Gateway(gateway) => findings.gateway(gateway),
        Written::ListenerSet(set) => findings.listener_set(set),
        Written::BackendTlsPolicy(policy) => findings.backend_tls_policy(policy),
        Written::Route(route) => findings.route(route),
        Written::GatewayClass(_)
        | Written::ReferenceGrant(_)
        | Written::Namespace(_)
        | Written::Node(_)
        | Written::Secret(_)
        | Written::ConfigMap(_) => {}
        Written::AddressPool(pool) => findings.address_pool(pool),
        Written::ClusterLink(link) => findings.cluster_link(link),
        Written::Ingress(ingress) => findings.ingress(ingress),
        Written::IngressClass(class) => findings.addresses(&class.metadata),
    }
    findings.problems
}

/// A port, or what is wrong with it.
pub fn parse_port(number: i64) -> Result<Port, String> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(Port::new(port)),
        _ => Err(format!("{number} is not a port: use 1 to 65535")),
    }
}

/// An address that can be a VIP, or what is wrong with it.
pub fn parse_vip(text: &str) -> Result<Address, String> {
    let Ok(address) = text.parse::<IpAddr>() else {
        return Err(format!("`{text}` is not an IP address: use something like 192.0.2.1 or 2001:db8::1"));
    };
    let address = Address::from(address);
    let Some(class) = unfit(address) else { return Ok(address) };
    Err(format!("{text} is {class} and cannot be a VIP: use an address that clients can reach"))
}

/// A CIDR, or what is wrong with it. Blanks around it and bits beyond the prefix mean nothing, as for the API server.
pub fn parse_cidr(text: &str) -> Result<IpNet, String> {
    match text.trim().parse::<IpNet>() {
        Ok(net) => Ok(net.trunc()),
        Err(_) => Err(format!("`{text}` is not a CIDR: use something like 192.0.2.0/24 or 2001:db8::/32")),
    }
}

/// An algorithm of the datapath by its name, or what is wrong with it.
pub fn parse_algorithm(name: &str) -> Result<Algorithm, String> {
    const SERVED: [Algorithm; 2] = [Algorithm::WeightedRoundRobin, Algorithm::Random];
    if let Some(algorithm) = SERVED.into_iter().find(|algorithm| algorithm.name() == name) {
        return Ok(algorithm);
    }
    if matches!(name, "Maglev" | "LeastConnections") {
        return Err(format!("{name} is for requests, by an Upstream: use WeightedRoundRobin or Random"));
    }
    Err(choice(name, "an algorithm", &SERVED.map(Algorithm::name)))
}

/// A mode by its name, or what is wrong with it.
pub fn parse_mode(name: &str) -> Result<Mode, String> {
    const SERVED: [Mode; 1] = [Mode::SourceNat];
    let found = SERVED.into_iter().find(|mode| mode.name() == name);
    found.ok_or_else(|| choice(name, "a mode", &SERVED.map(Mode::name)))
}

/// Ports of a Gateway whose connections begin with the PROXY protocol: these, or all of them if none is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyPorts(Vec<Port>);

impl ProxyPorts {
    /// Whether a port is meant.
    pub fn contains(&self, port: Port) -> bool {
        self.0.is_empty() || self.0.contains(&port)
    }
}

/// What the annotation of a Gateway says of the PROXY protocol, or what is wrong with it.
pub fn parse_proxy_ports(text: &str) -> Result<ProxyPorts, String> {
    if text.trim() == "Required" {
        return Ok(ProxyPorts(Vec::new()));
    }
    let port = |text: &str| text.trim().parse().ok().and_then(|number| parse_port(number).ok());
    let ports: Option<Vec<Port>> = text.split(',').map(port).collect();
    ports.map(ProxyPorts).ok_or_else(|| {
        format!("`{text}` is not a use of the PROXY protocol: use Required for all ports, or ports such as 80,443")
    })
}

/// `x is not an algorithm: use a, b or c`, or what was probably meant.
fn choice(text: &str, what: &str, choices: &[&str]) -> String {
    match closest(text, choices.iter().copied()) {
        Some(meant) => format!("`{text}` is not {what}: did you mean `{meant}`?"),
        None => format!("`{text}` is not {what}: use one of {}", choices.join(", ")),
    }
}

struct Findings<'a> {
    id: &'a ObjectId,
    origin: &'a Origin,
    problems: Vec<Problem>,
}

impl Findings<'_> {
    fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(self.origin.error(self.id, field, message));
    }

    fn check<T>(&mut self, field: impl Into<String>, result: Result<T, String>) {
        if let Err(message) = result {
            self.error(field, message);
        }
    }

    fn choose(&mut self, field: impl Into<String>, text: Option<&String>, what: &str, choices: &[&str]) {
        if let Some(text) = text
            && !choices.contains(&text.as_str())
        {
            self.error(field, choice(text, what, choices));
        }
    }

    fn service(&mut self, service: &Service) {
        let Some(spec) = &service.spec else {
            return self.error("spec", "missing: a Service needs ports");
        };
        let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
        self.choose("spec.type", spec.type_.as_ref(), "a type of Service", &types);
        self.choose("spec.sessionAffinity", spec.session_affinity.as_ref(), "an affinity", &["ClientIP", "None"]);

        let ports = spec.ports.as_deref().unwrap_or_default();
        let may_have_none = spec.type_.as_deref() == Some("ExternalName") || spec.cluster_ip.as_deref() == Some("None");
        if ports.is_empty() && !may_have_none {
            self.error("spec.ports", "a Service needs at least one port");
        }
        let mut names = BTreeSet::new();
        let mut numbers = BTreeSet::new();
        for (index, port) in ports.iter().enumerate() {
            let field = |name: &str| format!("spec.ports[{index}].{name}");
            self.check(field("port"), parse_port(port.port.into()));
            self.protocol(field("protocol"), port.protocol.as_ref());
            if let Some(IntOrString::Int(number)) = port.target_port {
                self.check(field("targetPort"), parse_port(number.into()));
            }
            let name = port.name.as_deref().unwrap_or_default();
            if name.is_empty() && ports.len() > 1 {
                self.error(field("name"), "missing: several ports need a name each");
            } else if !names.insert(name) {
                self.error(field("name"), format!("`{name}` is the name of an earlier port too: use another"));
            }
            if !numbers.insert((port.port, port.protocol.as_deref().unwrap_or("TCP"))) {
                self.error(field("port"), format!("{} is the number of an earlier port too: use another", port.port));
            }
        }

        let annotation = |key: &str| service.metadata.annotations.as_ref().and_then(|map| map.get(key));
        self.addresses(&service.metadata);
        if let Some(name) = annotation(ALGORITHM_ANNOTATION) {
            self.check(format!("metadata.annotations[{ALGORITHM_ANNOTATION}]"), parse_algorithm(name));
        }
        self.mode(&service.metadata);
        if let Some(address) = spec.load_balancer_ip.as_deref().filter(|address| !address.is_empty()) {
            self.check("spec.loadBalancerIP", parse_vip(address));
        }
        for (index, range) in spec.load_balancer_source_ranges.iter().flatten().enumerate() {
            self.check(format!("spec.loadBalancerSourceRanges[{index}]"), parse_cidr(range));
        }
        let client_ip = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        if let Some(seconds) = client_ip.and_then(|config| config.timeout_seconds)
            && !(1..=MAX_AFFINITY_SECONDS).contains(&seconds)
        {
            let message = format!("{seconds} is not a time-out: use 1 to {MAX_AFFINITY_SECONDS} seconds");
            self.error("spec.sessionAffinityConfig.clientIP.timeoutSeconds", message);
        }
    }

    fn endpoint_slice(&mut self, slice: &EndpointSlice) {
        let types = ["FQDN", "IPv4", "IPv6"];
        self.choose("addressType", Some(&slice.address_type), "an address type", &types);
        for (index, port) in slice.ports.iter().flatten().enumerate() {
            if let Some(number) = port.port {
                self.check(format!("ports[{index}].port"), parse_port(number.into()));
            }
            self.protocol(format!("ports[{index}].protocol"), port.protocol.as_ref());
        }
        if slice.address_type == "FQDN" {
            return;
        }
        for (index, endpoint) in slice.endpoints.iter().flatten().enumerate() {
            if endpoint.addresses.is_empty() {
                self.error(format!("endpoints[{index}].addresses"), "an endpoint needs an address");
            }
            for (number, text) in endpoint.addresses.iter().enumerate() {
                let fits = text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() == (slice.address_type == "IPv4"));
                if !fits {
                    let message = format!("`{text}` is not an {} address, as addressType says", slice.address_type);
                    self.error(format!("endpoints[{index}].addresses[{number}]"), message);
                }
            }
        }
    }

    fn pod(&mut self, pod: &Pod) {
        let status = pod.status.as_ref();
        let single = status.and_then(|status| status.pod_ip.as_deref()).map(|ip| ("status.podIP".to_string(), ip));
        let several = status.and_then(|status| status.pod_ips.as_deref()).unwrap_or_default().iter().enumerate();
        let several = several.map(|(index, pod_ip)| (format!("status.podIPs[{index}].ip"), pod_ip.ip.as_str()));
        for (field, text) in single.into_iter().chain(several) {
            if !text.is_empty() && text.parse::<IpAddr>().is_err() {
                self.error(field, format!("`{text}` is not an IP address"));
            }
        }
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        for (container, ports) in containers.iter().map(|container| container.ports.iter().flatten()).enumerate() {
            for (index, port) in ports.enumerate() {
                let field = format!("spec.containers[{container}].ports[{index}]");
                self.check(format!("{field}.containerPort"), parse_port(port.container_port.into()));
                self.protocol(format!("{field}.protocol"), port.protocol.as_ref());
            }
        }
    }

    fn addresses(&mut self, metadata: &ObjectMeta) {
        let list = metadata.annotations.as_ref().and_then(|annotations| annotations.get(ADDRESSES_ANNOTATION));
        for address in list.into_iter().flat_map(|text| text.split(',')) {
            self.check(format!("metadata.annotations[{ADDRESSES_ANNOTATION}]"), parse_vip(address.trim()));
        }
    }

    fn mode(&mut self, metadata: &ObjectMeta) {
        let annotations = metadata.annotations.as_ref();
        if let Some(name) = annotations.and_then(|annotations| annotations.get(MODE_ANNOTATION)) {
            self.check(format!("metadata.annotations[{MODE_ANNOTATION}]"), parse_mode(name));
        }
    }

    fn protocol(&mut self, field: String, protocol: Option<&String>) {
        self.choose(field, protocol, "a protocol", &["SCTP", "TCP", "UDP"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_client_can_reach_are_no_vips() {
        for text in ["0.0.0.0", "::", "127.0.0.1", "::1", "::ffff:127.0.0.1", "224.0.0.1", "ff02::1"] {
            assert!(parse_vip(text).is_err(), "{text}");
        }
        for text in ["255.255.255.255", "169.254.1.1", "fe80::1", "10.0.0", "shop.example", ""] {
            assert!(parse_vip(text).is_err(), "{text}");
        }
        for text in ["10.96.100.1", "fd00:96:100::1", "192.0.2.1"] {
            assert_eq!(parse_vip(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_proxy_protocol_is_for_all_ports_or_for_some() {
        let is_for = |text: &str, port: u16| parse_proxy_ports(text).map(|ports| ports.contains(Port::new(port)));

        assert_eq!(
            (is_for("Required", 80), is_for("80, 443", 443), is_for("80", 443)),
            (Ok(true), Ok(true), Ok(false))
        );
        for text in ["", "required", "80,", "0", "80 443"] {
            let message = is_for(text, 80).unwrap_err();
            assert!(message.contains("use Required for all ports, or ports such as 80,443"), "{message}");
        }
    }

    #[test]
    fn algorithms_have_the_names_of_the_datapath() {
        assert_eq!(parse_algorithm("Random"), Ok(Algorithm::Random));
        assert_eq!(parse_algorithm("WeightedRoundRobin"), Ok(Algorithm::WeightedRoundRobin));
        assert_eq!(
            parse_algorithm("WeightedRoundRobbin").unwrap_err(),
            "`WeightedRoundRobbin` is not an algorithm: did you mean `WeightedRoundRobin`?"
        );
    }
}
