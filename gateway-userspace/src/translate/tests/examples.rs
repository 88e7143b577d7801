//! The examples mean what their comments say.

use super::*;
use crate::model::http::text::Text;
use crate::source::secret::testing::{CERTIFICATE, KEY};

fn example(name: &str) -> Translation {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    let snapshot = FolderSource::open(folder).unwrap().read();
    assert_eq!(snapshot.problems, []);
    translate(&snapshot.objects, &Options::default())
}

#[test]
fn httpbin_is_served_five_to_three_to_one() {
    let translation = example("folder");

    assert_eq!(translation.problems, []);
    assert_eq!(
        text(&translation),
        "TCP 10.96.100.1:8000 Service shop/httpbin WeightedRoundRobin\n  \
           1 Service shop/httpbin:8000\n    \
             5 10.1.0.11:80 shop/httpbin-v1\n    \
             3 10.1.0.12:80 shop/httpbin-v2\n    \
             1 10.1.0.13:80 shop/httpbin-v3\n\
         UDP 10.96.100.1:8001 Service shop/httpbin WeightedRoundRobin\n  \
           1 Service shop/httpbin:8001\n    \
             5 10.1.0.11:7 shop/httpbin-v1\n    \
             3 10.1.0.12:7 shop/httpbin-v2\n    \
             1 10.1.0.13:7 shop/httpbin-v3\n\
         TCP [fd00:96:100::1]:8000 Service shop/httpbin WeightedRoundRobin\n  \
           1 Service shop/httpbin:8000\n    \
             5 [fd00:10:1::11]:80 shop/httpbin-v1\n    \
             3 [fd00:10:1::12]:80 shop/httpbin-v2\n    \
             1 [fd00:10:1::13]:80 shop/httpbin-v3\n\
         UDP [fd00:96:100::1]:8001 Service shop/httpbin WeightedRoundRobin\n  \
           1 Service shop/httpbin:8001\n    \
             5 [fd00:10:1::11]:7 shop/httpbin-v1\n    \
             3 [fd00:10:1::12]:7 shop/httpbin-v2\n    \
             1 [fd00:10:1::13]:7 shop/httpbin-v3\n"
    );
    assert_eq!(translation.model.living_pods.len(), 3);
}

#[test]
fn the_upstream_example_splits_ninety_to_ten() {
    let translation = example("upstream");

    assert_eq!(translation.problems, []);
    assert_eq!(
        text(&translation).lines().take(7).collect::<Vec<_>>(),
        [
            "TCP 10.96.100.2:80 TCPRoute shop/httpbin WeightedRoundRobin",
            "  90 Upstream shop/httpbin-stable",
            "    5 10.1.0.11:80 shop/httpbin-v1",
            "    3 10.1.0.12:80 shop/httpbin-v2",
            "  10 Upstream shop/httpbin-canary",
            "    10 10.1.0.13:80 shop/httpbin-v3",
            "TCP [fd00:96:100::2]:80 TCPRoute shop/httpbin WeightedRoundRobin",
        ]
    );
}

#[test]
fn the_gateway_example_leads_to_the_pods_of_the_folder_one_by_weight() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let read = |path: &str| std::fs::read_to_string(examples.join(path)).unwrap();
    let indent = |pem: &str| pem.trim_end().replace('\n', "\n    ");
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: web, namespace: shop}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n    {}\n  tls.key: |\n    {}\n",
        indent(CERTIFICATE),
        indent(KEY)
    );
    let files = ["folder/service.yaml", "folder/pods.yaml", "folder/endpoints.yaml", "gateway/web.yaml"].map(read);

    let translation = translated(&format!("{}\n---\n{secret}", files.join("\n---\n")));

    assert_eq!(problems(&translation), Vec::<String>::new());
    let sites: Vec<String> = translation.model.sites.iter().map(|(key, site)| Text(*key, site).to_string()).collect();
    assert_eq!(sites.len(), 4, "HTTP and HTTPS in both families");
    assert_eq!(
        sites[0],
        "TCP 10.96.100.3:80 (Gateway shop/web)\n  \
           listener web/http for *: HTTP\n    \
             HTTPRoute shop/web shop.example\n      \
               rule 0 canary\n        \
                 if path /, header x-canary = yes\n        \
                 1 Upstream shop/httpbin-canary WeightedRoundRobin Host httpbin.internal\n          \
                   1 10.1.0.13:80 shop/httpbin-v3\n      \
               rule 1 all\n        \
                 if path /\n        \
                 1 Upstream shop/httpbin WeightedRoundRobin Host httpbin.internal\n          \
                   5 10.1.0.11:80 shop/httpbin-v1\n          \
                   3 10.1.0.12:80 shop/httpbin-v2\n          \
                   1 10.1.0.13:80 shop/httpbin-v3\n"
    );
}

#[test]
fn checking_a_folder_names_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), service("web", "10.96.0.1") + &service("web2", "10.96.0.1")).unwrap();
    std::fs::write(folder.path().join("b.yaml"), "kind: [\n").unwrap();

    let problems = check_folder(folder.path(), &Options::default());

    assert_eq!(problems.iter().filter(|problem| problem.is_error()).count(), 2);
    assert!(
        check_folder(Path::new("/nowhere"), &Options::default())[0].to_string().starts_with("cannot read manifest")
    );
}
