//! A broken manifest is named, file and field, and everything else keeps being served.

use anyhow::Result;
use beeline_tests::agent::Agent;
use beeline_tests::client;
use beeline_tests::lab::Lab;
use beeline_tests::manifests::{NAMESPACE, Pod, Port, Service, tcp_route, upstream};
use beeline_tests::topology::{Dual, NODE, VIP};

const FILE: &str = "broken.yaml";

/// An address that no other manifest here asks for.
fn other_vip() -> Dual {
    Dual { v4: [10, 96, 100, 9].into(), v6: "fd00:96:100::9".parse().expect("an address") }
}

fn service(name: &str, vip: Dual, port: Port) -> String {
    let service =
        Service { name: name.to_owned(), vips: vec![vip.v4.into()], ports: vec![port], ..Service::weighted(vip, &[]) };
    service.to_yaml()
}

/// Writes a file and asserts that there is exactly one problem, which names the file and holds the words, while
/// the Service of `app.yaml` is served as before; then removes the file.
fn one_problem(lab: &Lab, agent: &Agent<'_>, text: &str, words: &[&str]) -> Result<()> {
    lab.folder.write(FILE, text)?;
    let problems = agent.wait_for_problems(&format!("{words:?} is a problem"), |problems| !problems.is_empty())?;

    assert_eq!(problems.len(), 1, "{problems:#?}");
    for word in [&[FILE], words].concat() {
        assert!(problems[0].contains(word), "`{word}` is not in: {}", problems[0]);
    }
    let distribution = client::connections(&lab.network.client, VIP.sockets(8000)[0], 9)?;
    assert_eq!((distribution.of("v1"), distribution.of("v2"), distribution.of("v3")), (5, 3, 1), "{distribution:?}");
    lab.folder.remove(FILE)?;
    agent.wait_for_problems("the problem is gone", <[String]>::is_empty)?;
    Ok(())
}

#[test]
fn manifests_that_do_not_parse_are_named() -> Result<()> {
    let lab = Lab::weighted(&[5, 3, 1])?;
    let agent = lab.start()?;

    one_problem(&lab, &agent, "kind: Service\nmetadata: [name\n", &[])?;
    one_problem(&lab, &agent, "apiVersion: v1\nkind: Servise\nmetadata: {name: odd}\n", &["Servise"])?;
    let port = Port { port: 1, ..Port::HTTP };
    let text = service("odd", other_vip(), port).replace("port: 1,", "port: 70000,");
    one_problem(&lab, &agent, &text, &["odd", "spec.ports[0].port", "70000"])?;
    let pod = Pod::new("odd", 9, 7);
    let odd = Service { name: "odd".to_owned(), vips: Vec::new(), pods: vec![pod], ..Service::weighted(VIP, &[]) };
    one_problem(
        &lab,
        &agent,
        &odd.to_yaml().replace("weight: \"7\"", "weight: \"-1\""),
        &["odd", "beeline.dev/weight", "-1"],
    )?;
    let too_many = upstream("odd", &["httpbin"; 21], 8000);
    one_problem(&lab, &agent, &too_many, &["odd", "spec.services", "21"])
}

#[test]
fn manifests_that_ask_for_what_cannot_be_are_named() -> Result<()> {
    let lab = Lab::weighted(&[5, 3, 1])?;
    let agent = lab.start()?;

    one_problem(&lab, &agent, &service("odd", NODE, Port::HTTP), &["odd", "172.20.0.1"])?;
    one_problem(&lab, &agent, &service("odd", VIP, Port::HTTP), &["odd", "spec.ports[0]", "httpbin"])?;
    let missing = tcp_route(other_vip(), 80, &["name: nowhere, port: 8000"]);
    one_problem(&lab, &agent, &missing, &["split", "backendRefs[0]", "nowhere"])
}

#[test]
fn a_half_written_file_takes_nothing_away() -> Result<()> {
    let lab = Lab::weighted(&[5, 3, 1])?;
    let agent = lab.start()?;
    let whole = Service::weighted(VIP, &[5, 3, 1]).to_yaml();
    let before = agent.dump()?;

    for half in [&whole[..0], &whole[..whole.len() / 2 + 3]] {
        lab.folder.write_in_place("app.yaml", half)?;
        let problems = agent.wait_for_problems("the file is a problem", |problems| !problems.is_empty())?;
        assert!(problems[0].contains("app.yaml"), "{problems:#?}");
        assert_eq!(agent.dump()?, before);
        assert_eq!(client::connections(&lab.network.client, VIP.sockets(8000)[1], 9)?.answered(), 9);
        lab.folder.write_in_place("app.yaml", &whole)?;
        agent.wait_for_problems("the problem is gone", <[String]>::is_empty)?;
    }
    Ok(())
}

#[test]
fn objects_of_no_concern_are_passed_over() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let text =
        format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: odd, namespace: {NAMESPACE}}}\nspec: {{}}\n");
    lab.folder.write("other.yaml", &text)?;

    let agent = lab.start()?;

    let problems = agent.problems()?;
    assert!(problems.is_empty(), "{problems:#?}");
    Ok(())
}
