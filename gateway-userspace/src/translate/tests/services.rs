//! Services that are their own frontends.

use super::*;

#[test]
fn a_service_of_our_class_is_a_frontend_with_one_group() {
    let manifests =
        service("web", "10.96.0.1") + &slice("web", &["{addresses: [10.1.0.1]}", "{addresses: [10.1.0.2]}"]);

    let translation = translated(&manifests);

    assert_eq!(
        text(&translation),
        "TCP 10.96.0.1:80 Service shop/web WeightedRoundRobin\n  \
           1 Service shop/web:80\n    \
             10 10.1.0.1:8080 10.1.0.1\n    \
             10 10.1.0.2:8080 10.1.0.2\n"
    );
    assert_eq!(problems(&translation), [""; 0]);
    let vip = &translation.vips[&"10.96.0.1".parse::<std::net::IpAddr>().unwrap().into()];
    assert_eq!(
        vip.problem("is the node's own").to_string(),
        "shop.yaml: document 1: Service shop/web: metadata.annotations[beeline.dev/addresses]: is the node's own"
    );
}

#[test]
fn the_class_and_the_annotation_decide_whose_a_service_is() {
    let with = |annotation: &str, class: &str, type_: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: a, annotations: {{beeline.dev/addresses: 10.96.0.1{annotation}}}}}\n\
             spec: {{type: {type_}, ports: [{{port: 80}}]{class}}}\n"
        )
    };
    let direct = ", service.cloud.tencent.com/direct-access: \"true\"";
    let cases = [
        (with("", "", "LoadBalancer"), false, false),
        (with("", ", loadBalancerClass: beeline.dev/direct", "LoadBalancer"), true, true),
        (with("", ", loadBalancerClass: other/class", "LoadBalancer"), false, false),
        (with(direct, "", "LoadBalancer"), true, false),
        (with(direct, ", loadBalancerClass: other/class", "LoadBalancer"), false, false),
        (with(direct, "", "ClusterIP"), false, false),
    ];

    for (manifest, adopting, not_adopting) in cases {
        let objects = objects(&manifest);
        for (adopt_tencent_annotations, expected) in [(true, adopting), (false, not_adopting)] {
            let translation = translate(&objects, &Options { adopt_tencent_annotations, ..Options::default() });
            assert_eq!(!translation.model.services.is_empty(), expected, "{manifest}");
        }
    }
}

#[test]
fn addresses_come_from_the_annotation_else_the_spec_else_the_status() {
    let manifest = |annotations: &str, spec: &str, status: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: a, annotations: {{{annotations}}}}}\nspec: {{type: \
             LoadBalancer, loadBalancerClass: beeline.dev/direct, ports: [{{port: 80}}]{spec}}}\nstatus: {{{status}}}\n"
        )
    };
    let annotations = "beeline.dev/addresses: \"10.96.0.1, fd00::1,10.96.0.1\"";
    let spec = ", loadBalancerIP: 10.96.0.2";
    let status = "loadBalancer: {ingress: [{ip: 10.96.0.3}, {hostname: a.example}]}";
    let vips = |manifest: String| translated(&manifest).vips.keys().map(ToString::to_string).collect::<Vec<_>>();

    assert_eq!(vips(manifest(annotations, spec, status)), ["10.96.0.1", "fd00::1"]);
    assert_eq!(vips(manifest("", spec, status)), ["10.96.0.2"]);
    assert_eq!(vips(manifest("", "", status)), ["10.96.0.3"]);
    assert_eq!(
        problems(&translated(&manifest("", "", ""))),
        ["document 1: Service default/a: metadata.annotations[beeline.dev/addresses]: \
          the Service asks for no address and there is no AddressPool: name its VIPs, or create a pool"]
    );
}

#[test]
fn each_family_of_vip_gets_the_backends_of_its_family() {
    let v6 = slice("web", &["{addresses: [\"fd00::11\"]}"]).replace("IPv4", "IPv6").replace("web-v4", "web-v6");
    let manifests = service("web", "10.96.0.1,fd00:96::1") + &slice("web", &["{addresses: [10.1.0.1]}"]) + &v6;

    let translation = translated(&manifests);

    assert_eq!(
        text(&translation),
        "TCP 10.96.0.1:80 Service shop/web WeightedRoundRobin\n  1 Service shop/web:80\n    10 10.1.0.1:8080 10.1.0.1\n\
         TCP [fd00:96::1]:80 Service shop/web WeightedRoundRobin\n  1 Service shop/web:80\n    \
             10 [fd00::11]:8080 fd00::11\n"
    );
}

#[test]
fn tcp_and_udp_of_one_number_are_two_frontends_and_sctp_is_named() {
    let translation = translated(
        "apiVersion: v1\nkind: Service\nmetadata: {name: dns, annotations: {beeline.dev/addresses: 10.96.0.1, \
         beeline.dev/algorithm: Random}}\nspec:\n  type: LoadBalancer\n  loadBalancerClass: beeline.dev/direct\n  \
         ports:\n  - {name: tcp, port: 53}\n  - {name: udp, port: 53, protocol: UDP}\n  \
         - {name: sctp, port: 53, protocol: SCTP}\n",
    );

    assert_eq!(
        text(&translation),
        "TCP 10.96.0.1:53 Service default/dns Random\n  1 Service default/dns:53\n\
         UDP 10.96.0.1:53 Service default/dns Random\n  1 Service default/dns:53\n"
    );
    assert_eq!(
        problems(&translation),
        ["document 1: Service default/dns: spec.ports[2].protocol: only TCP and UDP are balanced: \
          remove the port or change its protocol"]
    );
}

#[test]
fn client_affinity_lasts_three_hours_unless_the_service_says_otherwise() {
    let affinity = |spec: &str| {
        let translation = translated(&service("web", "10.96.0.1").replace("spec:\n", &format!("spec:\n{spec}")));
        translation.model.services.values().next().unwrap().affinity.map(|affinity| affinity.as_secs())
    };

    assert_eq!(affinity(""), None);
    assert_eq!(affinity("  sessionAffinity: None\n"), None);
    assert_eq!(affinity("  sessionAffinity: ClientIP\n"), Some(10_800));
    let config = "  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}\n";
    assert_eq!(affinity(&format!("  sessionAffinity: ClientIP\n{config}")), Some(60));
    assert_eq!(affinity(config), None);
}

#[test]
fn source_ranges_come_from_the_spec_else_the_annotation_and_what_is_no_range_lets_nobody_in() {
    let sources = |manifest: &str| {
        let translation = translated(manifest);
        let sources = translation.model.services.values().next().unwrap().sources.clone();
        let sources = sources.map(|ranges| ranges.iter().map(ToString::to_string).collect::<Vec<_>>());
        (sources, problems(&translation))
    };
    let plain = service("web", "10.96.0.1");
    let spec = |ranges: &str| plain.replace("spec:\n", &format!("spec:\n  loadBalancerSourceRanges: {ranges}\n"));
    let annotated = |list: &str| {
        let key = "    service.beta.kubernetes.io/load-balancer-source-ranges";
        plain.replace("  annotations:\n", &format!("  annotations:\n{key}: \"{list}\"\n"))
    };
    let some = |ranges: &[&str]| Some(ranges.iter().map(ToString::to_string).collect::<Vec<_>>());

    assert_eq!(sources(&plain), (None, vec![]));
    assert_eq!(sources(&spec("[]")), (None, vec![]));
    assert_eq!(sources(&spec("[10.1.2.3/8, \"fd00::/8\"]")), (some(&["10.0.0.0/8", "fd00::/8"]), vec![]));
    assert_eq!(sources(&annotated("")), (None, vec![]));
    assert_eq!(sources(&annotated("192.0.2.0/24, 10.0.0.0/8")), (some(&["10.0.0.0/8", "192.0.2.0/24"]), vec![]));
    let (ranges, problems) = sources(&annotated("everybody"));
    assert_eq!(ranges, some(&[]));
    assert_eq!(
        problems,
        [
            "document 1: Service shop/web: metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: \
          `everybody` is not a range and lets nobody in: use something like 192.0.2.0/24"
        ]
    );
}

#[test]
fn an_address_of_a_family_that_the_service_does_not_have_is_refused_and_the_other_is_served() {
    let manifest = service("web", "10.96.0.1,fd00::1").replace("spec:\n", "spec:\n  ipFamilies: [IPv4]\n");

    let translation = translated(&manifest);

    assert_eq!(translation.vips.keys().map(ToString::to_string).collect::<Vec<_>>(), ["10.96.0.1"]);
    assert_eq!(
        problems(&translation),
        ["document 1: Service shop/web: metadata.annotations[beeline.dev/addresses]: fd00::1 is not of the Service's \
          families: add IPv6 to spec.ipFamilies or remove the address"]
    );
}

#[test]
fn the_annotation_of_a_service_or_gateway_says_how_pods_elsewhere_are_reached_and_a_bad_one_is_named() {
    use crate::source::manifest::{Format, parse};
    let with = |mode: &str| format!("annotations: {{beeline.dev/mode: {mode}}}");
    let gateway = |mode: &str| {
        gateway("edge", "10.96.0.2", &["{name: tcp, port: 80, protocol: TCP}"])
            .replace("metadata: {name: edge", &format!("metadata: {{{}, name: edge", with(mode)))
    };
    let service = |mode: &str| {
        service("web", "10.96.0.1")
            .replace("beeline.dev/addresses", &format!("beeline.dev/mode: {mode}\n    beeline.dev/addresses"))
    };

    let route = route("TCPRoute", "shop", "r", "{name: edge}", &["{name: web, port: 80}"]);
    let translation = translated(&(service("SourceNat") + &gateway("SourceNat") + &route));
    assert_eq!(translation.model.services.len(), 2);
    assert!(translation.model.services.values().all(|service| service.mode == gateway_common::Mode::SourceNat));

    for (manifest, object) in [(service("Direct"), "Service shop/web"), (gateway("Direct"), "Gateway shop/edge")] {
        let manifest = parse(&"shop.yaml".into(), &manifest, Format::Yaml);
        let [problem] = &*manifest.problems else { panic!("one problem: {:?}", manifest.problems) };
        let expected = format!(
            "shop.yaml: document 1: {object}: metadata.annotations[beeline.dev/mode]: `Direct` is not a mode: use one of \
             SourceNat"
        );
        assert_eq!(problem.to_string(), expected);
    }
}
