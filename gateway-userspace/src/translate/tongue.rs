//! What backends speak: what the port of a Service or the type of an Upstream says of it, and whether a route can use that.

use k8s_openapi::api::core::v1::{Service, ServicePort};

use super::references::{Broken, broken, transport};
use crate::model::http::Speech;
use crate::source::{Kind, Name, Upstream};
use gateway_common::Protocol;

/// What backends speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tongue {
    pub speech: Speech,
    /// The name in their certificate, if they speak it within TLS by their own word and no policy says more.
    pub secured: Option<String>,
}

impl Tongue {
    /// Of a Service's port (Kubernetes, "Application protocol"; GEP-1911).
    pub fn of_service(route: Kind, name: &Name, service: &Service, port: &ServicePort) -> Result<Self, Broken> {
        let plain = if route == Kind::GrpcRoute { Speech::Http2 } else { Speech::Http };
        let Some(stated) = port.app_protocol.as_deref().filter(|_| route.is_of_requests()) else {
            return Ok(Self { speech: plain, secured: None });
        };
        // Names that IANA knows are written as they are; case does not count there.
        let (speech, is_secured) = match stated.to_ascii_lowercase().as_str() {
            "http" | "tcp" => (plain, false),
            "https" | "tls" => (plain, true),
            "kubernetes.io/h2c" | "h2c" | "grpc" => (Speech::Http2, false),
            "kubernetes.io/ws" if route != Kind::GrpcRoute => (Speech::WebSocket, false),
            "kubernetes.io/wss" if route != Kind::GrpcRoute => (Speech::WebSocket, true),
            // Names that meshes know. Other controllers of Ingresses pass the field over; in Gateway API they stand for nothing.
            "http/1.1" | "http2" | "ws" | "grpc-web" if route == Kind::Ingress => (plain, false),
            _ => {
                let message = format!(
                    "port {} of Service {name} has appProtocol `{stated}`, which the {route} cannot speak: use http, \
                     https or kubernetes.io/h2c, or kubernetes.io/ws and wss where it is not gRPC",
                    port.port
                );
                return Err(broken("port", "UnsupportedProtocol", message));
            }
        };
        let own_name =
            || format!("{}.{}.svc", name.name, service.metadata.namespace.as_deref().unwrap_or(&name.namespace));
        Ok(Self { speech, secured: is_secured.then(own_name) })
    }

    /// Of an Upstream.
    pub fn of_upstream(route: Kind, name: &Name, upstream: &Upstream) -> Result<Self, Broken> {
        let plain = if route == Kind::GrpcRoute { Speech::Http2 } else { Speech::Http };
        let stated = upstream.spec.backend_type.as_deref();
        let fits = match stated {
            None => true,
            Some("UDP") => transport(route) == Protocol::UDP,
            Some("TCP") => transport(route) == Protocol::TCP && !route.is_of_requests(),
            Some(_) => transport(route) == Protocol::TCP,
        };
        if !fits {
            let (kind, carrier) = (stated.unwrap_or_default(), transport(route));
            let carrier = if route.is_of_requests() { format!("the {route}") } else { carrier.to_string() };
            let message = format!("Upstream {name} has backendType {kind}, which {carrier} does not carry");
            return Err(broken("name", "UnsupportedProtocol", message));
        }
        let speech = if matches!(stated, Some("H2C" | "GRPC")) { Speech::Http2 } else { plain };
        let host = || match &upstream.spec.host_header {
            Some(host) => host.split(':').next().unwrap_or_default().to_string(),
            None => format!("{}.{}", name.name, name.namespace),
        };
        Ok(Self { speech, secured: (stated == Some("HTTPS")).then(host) })
    }
}
