//! `Ingress` as it was written before `v1`, put into the words of `v1`, and the annotations that say whose an Ingress is.
//!
//! A cluster's API server converts by itself; a folder may hold manifests as old as the documents they come from.

use serde_json::{Map, Value};

/// Whose an Ingress is, before there was `spec.ingressClassName`.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// The class of Ingresses that name none.
pub const DEFAULT_CLASS_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";
/// The annotation by which Tencent's TKE gives an Ingress the way straight to Pods; here also an address of its own.
pub const DIRECT_ACCESS_ANNOTATION: &str = "ingress.cloud.tencent.com/direct-access";

/// Puts a `v1beta1` Ingress, or a class of that version, into the words of `v1`. Says whether it was one.
pub fn renew(ingress: &mut Value) -> bool {
    let is_beta = ingress["apiVersion"].as_str().is_some_and(|version| version.ends_with("/v1beta1"));
    if !is_beta {
        return false;
    }
    ingress["apiVersion"] = "networking.k8s.io/v1".into();
    if let Some(spec) = ingress.get_mut("spec").and_then(Value::as_object_mut) {
        if let Some(mut backend) = spec.remove("backend") {
            renew_backend(&mut backend);
            spec.insert("defaultBackend".to_string(), backend);
        }
        for path in spec.get_mut("rules").into_iter().flat_map(paths) {
            path.entry("pathType").or_insert_with(|| "ImplementationSpecific".into());
            path.get_mut("backend").into_iter().for_each(renew_backend);
        }
    }
    true
}

fn paths(rules: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let rules = rules.as_array_mut().into_iter().flatten();
    let paths = rules.filter_map(|rule| rule.get_mut("http")?.get_mut("paths")?.as_array_mut());
    paths.flatten().filter_map(Value::as_object_mut)
}

fn renew_backend(backend: &mut Value) {
    let Some(fields) = backend.as_object_mut() else { return };
    let mut service = Map::new();
    if let Some(name) = fields.remove("serviceName") {
        service.insert("name".to_string(), name);
    }
    if let Some(port) = fields.remove("servicePort") {
        let field = if port.is_string() { "name" } else { "number" };
        service.insert("port".to_string(), Map::from_iter([(field.to_string(), port)]).into());
    }
    if !service.is_empty() {
        fields.insert("service".to_string(), service.into());
    }
}

/// What `v1beta1` calls a field of `v1`.
pub fn beta_field(field: &str) -> String {
    let field = field.replace("spec.defaultBackend", "spec.backend").replace(".service.name", ".serviceName");
    let port = [".service.port.number", ".service.port.name", ".service.port"];
    match port.into_iter().find_map(|port| field.strip_suffix(port)) {
        Some(backend) => format!("{backend}.servicePort"),
        None => field,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::networking::v1::Ingress;

    use super::super::manifest::{Format, parse};
    use super::super::{Kind, Object};

    fn read(text: &str) -> (Vec<Arc<Ingress>>, Vec<String>) {
        let manifest = parse(&"web.yaml".into(), text, Format::Yaml);
        let ingresses = manifest.entries.into_iter().map(|entry| match entry.object {
            Object::Ingress(ingress) => ingress,
            other => panic!("{other:?}"),
        });
        (ingresses.collect(), manifest.problems.iter().map(ToString::to_string).collect())
    }

    /// As the seeds have it.
    const SAMPLE: &str = "apiVersion: networking.k8s.io/v1beta1
kind: Ingress
metadata:
  annotations:
    ingress.cloud.tencent.com/direct-access: \"true\"
    kubernetes.io/ingress.class: qcloud
  name: test-ingress
  namespace: default
spec:
  rules:
  - http:
      paths:
      - backend:
          serviceName: nginx
          servicePort: 80
        path: /
";

    const TODAY: &str = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  annotations:
    ingress.cloud.tencent.com/direct-access: \"true\"
    kubernetes.io/ingress.class: qcloud
  name: test-ingress
  namespace: default
spec:
  rules:
  - http:
      paths:
      - backend:
          service: {name: nginx, port: {number: 80}}
        path: /
        pathType: ImplementationSpecific
";

    #[test]
    fn an_ingress_of_before_v1_means_the_same_as_one_of_today() {
        let expected = read(TODAY);
        assert_eq!((expected.0.len(), &*expected.1), (1, &[][..]));

        assert_eq!(read(SAMPLE), expected);
        assert_eq!(read(&SAMPLE.replace("networking.k8s.io/v1beta1", "extensions/v1beta1")), expected);
    }

    #[test]
    fn the_default_backend_and_named_ports_of_before_v1_are_understood() {
        let old = "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: web}\n\
                   spec: {backend: {serviceName: web, servicePort: http}}\n";

        let (ingresses, problems) = read(old);

        assert_eq!(problems, [""; 0]);
        let backend = ingresses[0].spec.as_ref().unwrap().default_backend.clone().unwrap().service.unwrap();
        assert_eq!((&*backend.name, backend.port.unwrap().name.as_deref()), ("web", Some("http")));
    }

    #[test]
    fn a_class_of_before_v1_is_read_as_it_is() {
        let class = "apiVersion: networking.k8s.io/v1beta1\nkind: IngressClass\nmetadata: {name: edge}\nspec: {}\n";

        let manifest = parse(&"web.yaml".into(), class, Format::Yaml);

        assert_eq!((manifest.entries.len(), manifest.problems), (1, Vec::new()));
    }

    #[test]
    fn an_error_in_an_ingress_of_before_v1_names_the_field_that_it_has() {
        let (ingresses, problems) = read(&SAMPLE.replace("servicePort: 80", "servicePort: 70000"));

        assert_eq!(ingresses.len(), 0);
        assert_eq!(
            problems,
            [
                "web.yaml: document 1: Ingress default/test-ingress: spec.rules[0].http.paths[0].backend.servicePort: 70000 \
              is not a port: use 1 to 65535"
            ]
        );
    }

    #[test]
    fn words_of_before_v1_in_an_ingress_of_today_are_an_error() {
        let (_, problems) =
            read(&SAMPLE.replace("v1beta1", "v1").replace("path: /", "path: /\n        pathType: Prefix"));

        assert_eq!(
            problems,
            [
                "web.yaml: document 1: Ingress default/test-ingress: spec.rules[0].http.paths[0].backend: missing: name a \
              service or a resource"
            ]
        );
    }

    #[test]
    fn what_the_api_server_would_refuse_is_refused_by_its_field() {
        let spec = |spec: &str| {
            let text =
                format!("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web}}\nspec: {spec}\n");
            let problems = read(&text).1;
            let start = format!("web.yaml: document 1: {} default/web: ", Kind::Ingress);
            problems.iter().map(|problem| problem.replacen(&start, "", 1)).collect::<Vec<_>>()
        };
        let backend = "backend: {service: {name: web, port: {number: 80}}}";
        let path = |fields: &str| spec(&format!("{{rules: [{{http: {{paths: [{{{fields}}}]}}}}]}}"));

        assert_eq!(spec("{}"), ["spec: empty: an Ingress needs rules or a defaultBackend"]);
        assert_eq!(
            spec("{rules: [{host: 192.0.2.1}]}"),
            ["spec.rules[0].host: `192.0.2.1` is not a hostname: use something like shop.example or *.shop.example"]
        );
        assert_eq!(
            path(&format!("path: /, {backend}")),
            ["spec.rules[0].http.paths[0].pathType: missing: use Exact, Prefix or ImplementationSpecific"]
        );
        assert_eq!(
            path(&format!("path: /, pathType: Prefixx, {backend}")),
            ["spec.rules[0].http.paths[0].pathType: `Prefixx` is not a type of path: did you mean `Prefix`?"]
        );
        assert_eq!(
            path(&format!("pathType: Exact, {backend}")),
            ["spec.rules[0].http.paths[0].path: `` is not a path: begin it with /"]
        );
        assert_eq!(path(&format!("pathType: ImplementationSpecific, {backend}")), [""; 0]);
        assert_eq!(
            path(&format!("path: /a//b, pathType: Prefix, {backend}")),
            ["spec.rules[0].http.paths[0].path: `/a//b` has `//` in it, which no request keeps: remove it"]
        );
        assert_eq!(
            path("path: /, pathType: Prefix, backend: {service: {name: web}}"),
            ["spec.rules[0].http.paths[0].backend.service.port: missing: name the Service's port by number or by name"]
        );
        assert_eq!(
            spec("{defaultBackend: {service: {name: web, port: {number: 80, name: http}}}}"),
            ["spec.defaultBackend.service.port: it has a number and a name: remove one of the two"]
        );
        assert_eq!(
            spec("{defaultBackend: {service: {name: web, port: {number: 80}}, resource: {kind: Upstream, name: web}}}"),
            ["spec.defaultBackend: it has a service and a resource: remove one of the two"]
        );
        assert_eq!(
            spec("{tls: [{hosts: [Shop]}], defaultBackend: {service: {name: web, port: {number: 80}}}}"),
            ["spec.tls[0].hosts[0]: `Shop` is not a hostname: use something like shop.example or *.shop.example"]
        );
    }
}
