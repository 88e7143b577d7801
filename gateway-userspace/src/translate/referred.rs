//! Which Secrets and `ConfigMap`s are asked for: those that TLS of Gateways and Ingresses of ours is
//! made of, and no others.
//!
//! A reference to another namespace counts only if that allows it. So nobody makes the agent read what it may not use.

use std::collections::BTreeSet;

use gateway_api::apis::experimental::gateways::{Gateway, GatewayListeners};

use super::gateways::is_ours;
use super::ingresses;
use super::listener_sets;
use super::listeners::GATEWAY_GROUP;
use super::references::{Party, is_granted};
use crate::source::{Kind, Name, ObjectId, Objects};

/// The Secrets and `ConfigMap`s that something refers to, and may. Whether Tencent's annotation is followed decides which
/// Ingresses are ours.
pub fn referred(objects: &Objects, adopts_tencent: bool) -> BTreeSet<ObjectId> {
    let mut asked = Asked { objects, found: BTreeSet::new() };
    let mut sets = listener_sets::by_gateway(objects);
    for (name, found) in objects.gateways.iter().filter(|(_, found)| is_ours(objects, &found.object)) {
        asked.certificates(Kind::Gateway, &name.namespace, &found.object.spec.listeners);
        asked.gateway(&name.namespace, &found.object);
        for (name, set) in sets.remove(name).unwrap_or_default() {
            asked.certificates(Kind::ListenerSet, &name.namespace, &set.object.spec.listeners);
        }
    }
    for (name, policy) in &objects.backend_tls_policies {
        for reference in &policy.object.spec.validation.ca_certificate_refs {
            let kind = (&*reference.group, &*reference.kind);
            asked.add(Kind::BackendTlsPolicy, &name.namespace, kind, None, &reference.name);
        }
    }
    let of_ingresses = ingresses::secrets(objects, adopts_tencent);
    asked.found.extend(of_ingresses.map(|name| ObjectId { kind: Kind::Secret, name }));
    asked.found
}

struct Asked<'a> {
    objects: &'a Objects,
    found: BTreeSet<ObjectId>,
}

impl Asked<'_> {
    fn certificates(&mut self, owner: Kind, namespace: &str, listeners: &[GatewayListeners]) {
        let tls = listeners.iter().filter_map(|listener| listener.tls.as_ref());
        for reference in tls.flat_map(|tls| tls.certificate_refs.iter().flatten()) {
            let kind = (reference.group.as_deref().unwrap_or(""), reference.kind.as_deref().unwrap_or("Secret"));
            self.add(owner, namespace, kind, reference.namespace.as_deref(), &reference.name);
        }
    }

    fn gateway(&mut self, namespace: &str, gateway: &Gateway) {
        let Some(tls) = &gateway.spec.tls else { return };
        if let Some(shown) = tls.backend.as_ref().and_then(|backend| backend.client_certificate_ref.as_ref()) {
            let kind = (shown.group.as_deref().unwrap_or(""), shown.kind.as_deref().unwrap_or("Secret"));
            self.add(Kind::Gateway, namespace, kind, shown.namespace.as_deref(), &shown.name);
        }
        let Some(frontend) = &tls.frontend else { return };
        let of_all = frontend.default.validation.iter().flat_map(|validation| &validation.ca_certificate_refs);
        for reference in of_all {
            let kind = (&*reference.group, &*reference.kind);
            self.add(Kind::Gateway, namespace, kind, reference.namespace.as_deref(), &reference.name);
        }
        let of_ports = frontend.per_port.iter().flatten().filter_map(|entry| entry.tls.validation.as_ref());
        for reference in of_ports.flat_map(|validation| &validation.ca_certificate_refs) {
            let kind = (&*reference.group, &*reference.kind);
            self.add(Kind::Gateway, namespace, kind, reference.namespace.as_deref(), &reference.name);
        }
    }

    fn add(&mut self, from: Kind, own: &str, (group, kind): (&str, &str), namespace: Option<&str>, name: &str) {
        let kinds = [Kind::Secret, Kind::ConfigMap];
        let Some(kind) = kinds.into_iter().find(|known| known.name() == kind && group.is_empty()) else { return };
        let name = Name::new(namespace.unwrap_or(own), name);
        let party = Party { group: GATEWAY_GROUP, kind: from, namespace: own };
        if is_granted(self.objects, party, "", kind, &name) {
            self.found.insert(ObjectId { kind, name });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::objects;
    use super::*;

    const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: beeline
  tls:
    backend: {clientCertificateRef: {name: shown}}
    frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: clients}]}}}
  listeners:
  - name: https
    port: 443
    protocol: HTTPS
    tls: {certificateRefs: [{name: web}, {name: far, namespace: other}, {name: near, namespace: open}, {kind: Odd, name: x}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: open}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}]
  to: [{group: '', kind: Secret, name: near}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more, namespace: shop}
spec:
  parentRef: {name: edge}
  listeners:
  - {name: more, port: 444, protocol: HTTPS, tls: {certificateRefs: [{name: more}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: web}]
  validation: {hostname: web.example, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}
";
    const INGRESSES: &str = "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec:
  ingressClassName: beeline
  tls: [{hosts: [a.example], secretName: ingress}, {hosts: [b.example]}]
  rules: [{host: a.example}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: direct
  namespace: shop
  annotations: {ingress.cloud.tencent.com/direct-access: 'true', kubernetes.io/ingress.class: qcloud}
spec:
  tls: [{secretName: direct}]
  rules: [{host: a.example}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: others, namespace: shop}
spec:
  ingressClassName: nginx
  tls: [{secretName: others}]
  rules: [{host: a.example}]
";

    #[test]
    fn only_what_something_of_ours_refers_to_and_may_is_asked_for() {
        let names = |objects: &Objects| referred(objects, true).iter().map(ToString::to_string).collect::<Vec<_>>();

        assert_eq!(
            names(&objects(&[GATEWAY, INGRESSES].concat())),
            [
                "Secret open/near",
                "Secret shop/direct",
                "Secret shop/ingress",
                "Secret shop/more",
                "Secret shop/shown",
                "Secret shop/web",
                "ConfigMap shop/ca",
                "ConfigMap shop/clients"
            ]
        );
        let of_others = GATEWAY.replace("gatewayClassName: beeline", "gatewayClassName: other");
        assert_eq!(names(&objects(&of_others)), ["ConfigMap shop/ca"]);
        let not_adopted = referred(&objects(INGRESSES), false);
        assert_eq!(not_adopted.iter().map(ToString::to_string).collect::<Vec<_>>(), ["Secret shop/ingress"]);
    }
}
