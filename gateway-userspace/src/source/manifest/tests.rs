//! What the reader of manifests promises.

use super::*;
use crate::source::Object;

fn yaml(text: &str) -> Manifest {
    parse(&"shop.yaml".into(), text, Format::Yaml)
}

fn lines(manifest: &Manifest) -> Vec<String> {
    manifest.problems.iter().map(ToString::to_string).collect()
}

fn names(manifest: &Manifest) -> Vec<String> {
    manifest.entries.iter().map(|entry| entry.id.to_string()).collect()
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\n";

#[test]
fn a_broken_document_hides_none_of_the_others() {
    let text = format!("{POD}---\nkind: [\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: b}}\n");

    let manifest = yaml(&text);

    assert_eq!(names(&manifest), ["Pod shop/a", "Pod default/b"]);
    assert_eq!(manifest.problems.len(), 1);
    let line = &lines(&manifest)[0];
    assert!(line.starts_with("shop.yaml: document 2: not valid YAML at line "), "{line}");
    assert_eq!(manifest.torn, Some(0));
}

#[test]
fn the_line_of_a_syntax_error_is_the_line_of_the_file() {
    let manifest = yaml(&format!("{POD}---\nkind: Pod\n  oops: 1\n"));

    assert!(lines(&manifest)[0].contains("at line 6"), "{:?}", lines(&manifest));
}

#[test]
fn comments_and_empty_documents_are_not_counted() {
    let manifest = yaml(&format!("# a comment\n---\n---\n# another\n---\n{POD}...\n---\n"));

    assert_eq!(manifest.documents, 1);
    assert_eq!(manifest.entries[0].origin.document, 1);
    assert_eq!(manifest.entries[0].origin.line, 5);
}

#[test]
fn a_block_of_text_may_contain_dashes() {
    let manifest = yaml("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |\n    ---\n    kind: [\n");

    assert_eq!(manifest.problems, []);
    assert_eq!(manifest.documents, 1);
}

#[test]
fn lists_are_taken_apart() {
    let manifest = yaml(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n---\n\
         apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: b}\n",
    );

    assert_eq!(names(&manifest), ["Pod default/a", "Pod default/b"]);
    assert_eq!(manifest.problems, []);
}

#[test]
fn an_item_of_a_list_that_says_no_name_is_found_by_its_place() {
    let manifest = yaml("apiVersion: v1\nkind: List\nitems:\n- 42\n- kind: Pod\n- {apiVersion: v1, kind: Pod}\n");

    assert_eq!(
        lines(&manifest),
        [
            "shop.yaml: document 1: items[0]: the document is not an object: it needs apiVersion, kind and metadata",
            "shop.yaml: document 1: items[1].apiVersion: missing: say what the document is, for example `apiVersion: v1`",
            "shop.yaml: document 1: Pod: items[2].metadata.name: the object has no name: give it one",
        ]
    );
}

#[test]
fn quoted_annotations_stay_text_and_unquoted_ones_are_explained() {
    let service = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  annotations: {{x: {value}}}\n\
             spec: {{ports: [{{port: 80}}]}}\n"
        )
    };

    assert_eq!(yaml(&service("\"true\"")).problems, []);
    assert_eq!(yaml(&service("'5'")).problems, []);
    assert_eq!(
        lines(&yaml(&service("true"))),
        ["shop.yaml: document 1: Service default/a: metadata.annotations[x]: true is not text: put it in quotes"]
    );
}

#[test]
fn json_is_read_too() {
    let text = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
                  {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}}"#;

    let manifest = parse(&"shop.json".into(), text, Format::Json);

    assert_eq!(names(&manifest), ["Pod default/a", "Pod default/b"]);
    assert_eq!(manifest.entries[1].origin.document, 2);
}

#[test]
fn a_wrong_type_is_named_by_its_path() {
    let manifest = yaml("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - port: http\n");

    assert_eq!(
        lines(&manifest),
        ["shop.yaml: document 1: Service default/a: spec.ports[0].port: \
          invalid type: string \"http\", expected i32"]
    );
    assert_eq!(manifest.rejected.len(), 1);
    assert_eq!(manifest.torn, None);
}

#[test]
fn each_classic_mistake_gives_one_error_that_names_the_field() {
    let upstream = |services: &str| {
        format!(
            "apiVersion: beeline.dev/v1alpha1\nkind: Upstream\nmetadata: {{name: u, namespace: shop}}\n\
             spec:\n  services:\n{services}"
        )
    };
    let twenty_one = "  - {name: a, port: 80}\n".repeat(21);
    let cases = [
        (
            "apiVersion: v1\nkind: Servise\nmetadata: {name: a, namespace: shop}\n".to_string(),
            "Servise shop/a: kind: unknown kind `Servise` in `v1`: did you mean `Service`?",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec: {ports: [{port: 70000}]}\n"
                .to_string(),
            "Service shop/a: spec.ports[0].port: 70000 is not a port: use 1 to 65535",
        ),
        (
            upstream("  - {name: a, port: 80, weight: -1}\n"),
            "Upstream shop/u: spec.services[0].weight: -1 is not a weight: use 0 to 65535",
        ),
        (upstream(&twenty_one), "Upstream shop/u: spec.services: 21 services are too many: use 1 to 20"),
        (
            upstream("  - {name: a, prot: 80}\n"),
            "Upstream shop/u: spec.services[0].prot: unknown field: did you mean `port`?",
        ),
        (
            upstream("  - {name: a, port: 80}\n  algorithm: RoundRobin\n"),
            "Upstream shop/u: spec.algorithm: `RoundRobin` is not an algorithm: use one of WeightedRoundRobin, Random, \
             LeastConnections, Maglev",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: 123}\n".to_string(),
            "Pod: metadata.name: 123 is not text: put it in quotes",
        ),
        ("- a\n- b\n".to_string(), "the document is not an object: it needs apiVersion, kind and metadata"),
        ("apiVersion: v1\n".to_string(), "kind: missing: say what the document is, for example `kind: Service`"),
    ];

    for (text, expected) in cases {
        assert_eq!(lines(&yaml(&text)), [format!("shop.yaml: document 1: {expected}")]);
    }
}

#[test]
fn any_bytes_never_panic() {
    proptest::proptest!(|(text in "\\PC*", cut in 0_usize..400)| {
        yaml(&text);
        parse(&"x.json".into(), &text, Format::Json);
        let whole = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  ports:\n  - port: 80\n---\n".repeat(3);
        yaml(&whole[..cut.min(whole.len())]);
    });
}

#[test]
fn of_a_pod_what_traffic_needs_is_kept() {
    let manifest = yaml(&format!(
        "{POD}spec:\n  nodeName: n1\n  containers: [{{name: c, image: i, ports: [{{name: web, containerPort: 80}}]}}]\n\
         status: {{phase: Running, podIP: 10.0.0.1, message: m}}\n"
    ));

    let [Entry { object: Object::Pod(pod), .. }] = manifest.entries.as_slice() else { panic!("one Pod") };
    let body = pod.body.as_ref().expect("the whole Pod");
    assert_eq!((&*body.ports[0].name, body.ports[0].number, body.node.as_deref()), ("web", 80, Some("n1")));
    assert_eq!(body.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn what_is_secret_is_not_quoted_in_an_error() {
    let manifest = yaml("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: hunter2\n");

    let line = &lines(&manifest)[0];
    assert!(line.contains("Secret default/a: data: not what a Secret has here"), "{line}");
    assert!(!line.contains("hunter2"), "{line}");
}

#[test]
fn a_route_with_a_value_that_it_cannot_have_is_told_the_field() {
    let cases = [
        ("HTTPRoute", "hostnames: [Shop.example]", "spec.hostnames[0]: `Shop.example` is not a hostname"),
        ("HTTPRoute", "rules: [{matches: [{path: {value: v1}}]}]", "spec.rules[0].matches[0].path.value: `v1` is not"),
        (
            "HTTPRoute",
            "rules: [{matches: [{method: FETCH}]}]",
            "spec.rules[0].matches[0].method: `FETCH` is not a method",
        ),
        (
            "HTTPRoute",
            "rules: [{matches: [{method: {service: a}}]}]",
            "spec.rules[0].matches[0].method: not a method: use something like GET",
        ),
        (
            "GRPCRoute",
            "rules: [{matches: [{method: GET}]}]",
            "spec.rules[0].matches[0].method: not a gRPC method: name service and method",
        ),
        (
            "HTTPRoute",
            "rules: [{filters: [{type: RequestMirorr}]}]",
            "spec.rules[0].filters[0].type: `RequestMirorr` is not a filter: did you mean `RequestMirror`?",
        ),
        (
            "HTTPRoute",
            "rules: [{filters: [{type: CORS}]}]",
            "spec.rules[0].filters[0].cors: missing: CORS says here what to do",
        ),
        (
            "HTTPRoute",
            "rules: [{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 200}}]}]",
            "spec.rules[0].filters[0].requestRedirect.statusCode: 200 is not a redirect",
        ),
        (
            "HTTPRoute",
            "rules: [{timeouts: {request: 1s, backendRequest: 2s}}]",
            "spec.rules[0].timeouts.backendRequest: it is longer than request",
        ),
        ("TLSRoute", "rules: [{backendRefs: [{name: a, port: 1}]}]", "spec.hostnames: a TLSRoute needs a hostname"),
        (
            "TCPRoute",
            "rules: [{filters: [], matches: [{method: GET}], backendRefs: [{name: a, port: 1}]}]",
            "spec.rules[0].matches: a TCPRoute has none",
        ),
    ];
    for (kind, spec, expected) in cases {
        let text = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: a, namespace: shop}}\nspec:\n  {spec}\n"
        );

        let lines = lines(&yaml(&text));

        assert_eq!(lines.len(), 1, "{spec}: {lines:?}");
        assert!(lines[0].contains(&format!("{kind} shop/a: {expected}")), "{spec}: {}", lines[0]);
    }
}
