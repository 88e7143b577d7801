//! Whose Ingresses are ours, and the addresses that they keep. What their rules come to is in the goldens of `sites`.

use std::net::IpAddr;

use super::*;
use crate::source::Name;

const POOL: &str = "apiVersion: beeline.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: vips}\n\
                    spec: {addresses: [10.96.7.0/28]}\n---\n";

fn ingress(name: &str, metadata: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, namespace: shop{metadata}}}\nspec:\n  \
         {spec}\n  defaultBackend: {{service: {{name: web, port: {{number: 80}}}}}}\n"
    )
}

fn class(name: &str, controller: &str, annotations: &str, created: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: {name}, creationTimestamp: \"{created}\", \
         annotations: {{{annotations}}}}}\nspec: {{controller: {controller}}}\n---\n"
    )
}

/// What a status says of an address.
fn at(address: &str) -> String {
    format!("status: {{loadBalancer: {{ingress: [{{ip: {address}}}]}}}}\n---\n")
}

fn addresses(translation: &Translation) -> Vec<(&str, Vec<String>)> {
    let texts = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect();
    let statuses = translation.statuses.ingresses.iter();
    statuses.map(|(Name { name, .. }, status)| (&**name, texts(&status.addresses))).collect()
}

fn is_ours(manifests: &str, options: &Options) -> bool {
    !translate(&objects(manifests), options).statuses.ingresses.is_empty()
}

const OURS: &str = "beeline.dev/ingress";
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class: \"true\"";
const QCLOUD: &str = ", annotations: {kubernetes.io/ingress.class: qcloud, \
                      ingress.cloud.tencent.com/direct-access: \"true\"}";

#[test]
fn an_ingress_is_ours_by_its_class_by_the_older_annotation_or_by_default() {
    let ours = |manifests: &str| is_ours(manifests, &Options::default());
    let by_name = ingress("web", "", "ingressClassName: beeline");
    let by_annotation =
        |class: &str| ingress("web", &format!(", annotations: {{kubernetes.io/ingress.class: {class}}}"), "");
    let unnamed = ingress("web", "", "");

    assert!(ours(&by_name) && ours(&by_annotation("beeline")));
    assert!(!ours(&by_annotation("nginx")) && !ours(&unnamed));
    assert!(ours(&(class("nginx", OURS, "", "2026-01-01T00:00:00Z") + &by_annotation("nginx"))));
    assert!(
        !ours(&(class("beeline", "example.com/other", "", "2026-01-01T00:00:00Z") + &by_name)),
        "it has another owner"
    );
    assert!(ours(&(class("edge", OURS, DEFAULT, "2026-01-01T00:00:00Z") + &unnamed)));
    assert!(!ours(&(class("edge", OURS, DEFAULT, "2026-01-01T00:00:00Z") + &by_annotation("nginx"))));
}

#[test]
fn of_several_default_classes_the_newest_counts() {
    let both = |ours: &str, theirs: &str| {
        let classes = class("edge", OURS, DEFAULT, ours) + &class("other", "example.com/other", DEFAULT, theirs);
        is_ours(&(classes + &ingress("web", "", "")), &Options::default())
    };

    assert!(both("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"));
    assert!(!both("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"));
    assert!(both("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"), "the first by name");
}

#[test]
fn tencents_class_is_ours_with_tencents_annotation_if_that_is_adopted() {
    let adopted = Options::default();
    let not_adopted = Options { adopt_tencent_annotations: false, ..Options::default() };
    let bare = ", annotations: {kubernetes.io/ingress.class: qcloud}";

    assert!(is_ours(&ingress("web", QCLOUD, ""), &adopted));
    assert!(!is_ours(&ingress("web", QCLOUD, ""), &not_adopted));
    assert!(!is_ours(&ingress("web", bare, ""), &adopted));
}

#[test]
fn what_a_class_has_stays_whoever_of_its_ingresses_goes_comes_or_gets_an_address_of_its_own() {
    let of_class = |name: &str, at: &str| ingress(name, "", "ingressClassName: beeline") + at;
    let own = |name: &str, at: &str| ingress(name, QCLOUD, "") + at;
    let (five, six) = (&*at("10.96.7.5"), &*at("10.96.7.6"));

    let kept = translated(&(POOL.to_string() + &of_class("a", "---\n") + &of_class("b", five)));
    assert_eq!(addresses(&kept), [("a", vec!["10.96.7.5".into()]), ("b", vec!["10.96.7.5".into()])]);

    let left = translated(&(POOL.to_string() + &own("a", five) + &of_class("b", five)));
    assert_eq!(addresses(&left), [("a", vec!["10.96.7.0".into()]), ("b", vec!["10.96.7.5".into()])]);

    let came = translated(&(POOL.to_string() + &of_class("a", six) + &of_class("b", five) + &of_class("c", five)));
    assert!(addresses(&came).iter().all(|(_, at)| at == &["10.96.7.5"]), "{:?}", addresses(&came));
}

#[test]
fn a_status_that_somebody_else_may_have_written_is_not_trusted_where_many_write() {
    let manifests = POOL.to_string() + &ingress("a", "", "ingressClassName: beeline") + &at("10.96.7.5");
    let options = Options { many_authors: true, ..Options::default() };

    let translation = translate(&objects(&manifests), &options);

    assert_eq!(addresses(&translation), [("a", vec!["10.96.7.0".into()])]);
}

#[test]
fn a_backend_that_is_missing_has_nobody_ready_and_one_that_cannot_be_served_leads_nowhere() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/translate/tests/sites/ingress-refused");
    let translation = translated(&sites::manifests(&folder));
    let site = translation.model.sites.values().next().unwrap();
    let crate::model::http::Handling::Http(routes) = &site.listeners[0].handling else { panic!("it is in the clear") };
    let route = routes.iter().find(|route| route.owner == "Ingress shop/backends").unwrap();
    let broken: Vec<bool> = route.rules.iter().map(|rule| rule.backends[0].is_broken).collect();

    assert_eq!(broken, [false, false, false, true, true, true, false, false]);
}

#[test]
fn endpoints_behind_an_ingress_are_not_taken_for_those_of_a_service_alone() {
    let objects =
        objects(&(ingress("web", "", "ingressClassName: beeline") + "---\n" + &plain_service("shop", "web", 80)));
    let model = translate(&objects, &Options::default()).model;
    let changed = [Name::new("shop", "web")].into();

    assert_eq!(refreshed(&model, &objects, &Options::default(), &changed), None);
}
