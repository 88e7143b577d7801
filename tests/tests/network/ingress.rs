//! Requests through Ingresses of a folder: one of today with hosts, paths and TLS, and the `v1beta1` one of TKE's document.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use beeline_tests::certificate::Certificate;
use beeline_tests::curl::{Curl, Speech};
use beeline_tests::lab::Lab;
use beeline_tests::manifests::Service;
use beeline_tests::topology::{Dual, Plan, VIP};
use beeline_tests::wait;

const HOST: &str = "shop.example";
/// The addresses that an Ingress has for itself.
const OWN_VIP: Dual = Dual {
    v4: std::net::Ipv4Addr::new(10, 96, 100, 2),
    v6: std::net::Ipv6Addr::new(0xfd00, 0x96, 0x100, 0, 0, 0, 0, 2),
};
/// How long a changed folder may take to be served.
const LIMIT: Duration = Duration::from_secs(10);

/// Two Services of one Pod each, behind Ingresses.
struct Shop {
    lab: Lab,
    certificate: Certificate,
}

impl Shop {
    fn build() -> Result<Self> {
        let lab = Lab::build(&Plan::pods(&["v1", "v2"]))?;
        let plain = Service { vips: Vec::new(), ..Service::weighted(VIP, &[1, 1]) };
        for (name, pod) in [("web", 0), ("cart", 1)] {
            let service = Service { name: name.to_owned(), pods: vec![plain.pods[pod].clone()], ..plain.clone() };
            lab.folder.write(&format!("{name}.yaml"), &service.to_yaml())?;
        }
        let certificate = Certificate::of(&[HOST])?;
        lab.folder.write("secret.yaml", &certificate.secret("shop", "web"))?;
        lab.folder.write("class.yaml", &class())?;
        lab.folder.write("ingress.yaml", &ingress())?;
        Ok(Self { lab, certificate })
    }

    /// The Pod that answers to a path of a host.
    fn pod(&self, address: IpAddr, host: &str, speech: Speech, path: &str) -> Result<String> {
        let authority = self.lab.network.group.folder().join("authority.pem");
        self.certificate.write(&authority)?;
        let curl = Curl::new(&self.lab.network.client, host, &authority);
        let mut answers = curl.get(address, speech, path, 1)?;
        answers.pop().map(|answer| answer.pod).context("there is no answer")
    }

    /// The status of an answer that is no Pod's; 000 if there is none.
    fn status(&self, address: IpAddr, url: &str) -> Result<String> {
        let at = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        let connect = format!("::{at}:");
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--insecure",
            "--max-time",
            "20",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ]);
        let output = self.lab.network.client.enter(|| command.args(["--connect-to", &connect, url]).output())?;
        Ok(String::from_utf8(output.context("cannot run curl: install it")?.stdout)?)
    }
}

fn class() -> String {
    let addresses = VIP.both().map(|address| address.to_string()).join(",");
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: beeline\n  annotations:\n    \
         beeline.dev/addresses: \"{addresses}\"\nspec: {{controller: beeline.dev/ingress}}\n"
    )
}

fn ingress() -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         ingressClassName: beeline\n  tls: [{{hosts: [{HOST}], secretName: web}}]\n  rules:\n  \
         - host: {HOST}\n    http:\n      paths:\n      \
         - {{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{name: http}}}}}}}}\n      \
         - {{path: /cart, pathType: Prefix, backend: {{service: {{name: cart, port: {{number: 8000}}}}}}}}\n  \
         - host: \"*.img.example\"\n    http:\n      paths:\n      \
         - {{path: /only, pathType: Exact, backend: {{service: {{name: cart, port: {{number: 8000}}}}}}}}\n"
    )
}

#[test]
fn requests_reach_the_pods_of_their_path_in_the_clear_and_within_tls() -> Result<()> {
    let shop = Shop::build()?;
    let agent = shop.lab.start()?;
    ensure!(agent.problems()?.is_empty(), "{:?}", agent.problems()?);

    for address in VIP.both() {
        for speech in Speech::ALL {
            assert_eq!(shop.pod(address, HOST, speech, "/")?, "v1");
            assert_eq!(shop.pod(address, HOST, speech, "/carts")?, "v1");
            assert_eq!(shop.pod(address, HOST, speech, "/cart/1")?, "v2");
        }
        assert_eq!(shop.pod(address, "a.img.example", Speech::Http1, "/only")?, "v2");
        assert_eq!(shop.status(address, "http://a.img.example/other")?, "404");
        assert_eq!(shop.status(address, "http://a.b.img.example/only")?, "404");
        assert_eq!(shop.status(address, "https://a.img.example/only")?, "000", "it has no certificate");
    }
    Ok(())
}

#[test]
fn a_v1beta1_ingress_of_tkes_class_has_an_address_of_its_own_beside_one_that_is_refused() -> Result<()> {
    let shop = Shop::build()?;
    let agent = shop.lab.start()?;
    let addresses = OWN_VIP.both().map(|address| address.to_string()).join(",");
    let tencents = format!(
        "apiVersion: networking.k8s.io/v1beta1\nkind: Ingress\nmetadata:\n  annotations:\n    \
         ingress.cloud.tencent.com/direct-access: \"true\"\n    kubernetes.io/ingress.class: qcloud\n    \
         beeline.dev/addresses: \"{addresses}\"\n  name: test-ingress\n  namespace: shop\nspec:\n  rules:\n  - http:\n      \
         paths:\n      - backend:\n          serviceName: cart\n          servicePort: 8000\n        path: /\n"
    );

    shop.lab.folder.write("tencents.yaml", &tencents)?;
    shop.lab.folder.write("broken.yaml", &ingress().replace("name: web,", "name: broken,").replace("/cart", "cart"))?;

    for address in OWN_VIP.both() {
        let is_served = || shop.pod(address, "any.example", Speech::Http1, "/").ok();
        let pod = wait::until(&format!("{address} answers"), LIMIT, is_served)?;
        assert_eq!(pod, "v2");
    }
    for address in VIP.both() {
        assert_eq!(shop.pod(address, HOST, Speech::Http1, "/cart")?, "v2");
    }
    let told = || agent.problems().ok().filter(|problems| !problems.is_empty());
    let problems = wait::until("the broken one is told", LIMIT, told)?;
    assert!(
        problems[0].contains("Ingress shop/broken: spec.rules[0].http.paths[1].path: `cart` is not a path"),
        "{problems:?}"
    );
    Ok(())
}
