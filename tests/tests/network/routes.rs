//! A route shares connections among its references, each reference among its Pods, both exactly.

use anyhow::Result;
use beeline_tests::client::{self, Distribution};
use beeline_tests::lab::Lab;
use beeline_tests::manifests::{Pod, Port, Service, tcp_route, upstream};
use beeline_tests::topology::{Plan, VIP};

const BLUE: u8 = 7;
const GREEN: u8 = 5;

/// `blue-1` to `blue-7` and `green-1` to `green-5`, with their numbers in the topology.
fn pods(colour: &str, first: u8, count: u8) -> Vec<Pod> {
    (0..count).map(|index| Pod::new(&format!("{colour}-{}", index + 1), first + index, 10)).collect()
}

fn service(colour: &str, pods: Vec<Pod>) -> Service {
    Service { name: colour.to_owned(), vips: Vec::new(), ports: vec![Port::HTTP], algorithm: None, pods }
}

fn lab() -> Result<Lab> {
    let (blue, green) = (pods("blue", 1, BLUE), pods("green", 1 + BLUE, GREEN));
    let names = blue.iter().chain(&green).map(|pod| pod.name.clone()).collect();
    let lab = Lab::build(&Plan::crowd(names))?;
    lab.folder.write("blue.yaml", &service("blue", blue).to_yaml())?;
    lab.folder.write("green.yaml", &service("green", green).to_yaml())?;
    Ok(lab)
}

/// How many the Pods of a colour got, in order.
fn shares(distribution: &Distribution, colour: &str, count: u8) -> Vec<u64> {
    (1..=count).map(|number| distribution.of(&format!("{colour}-{number}"))).collect()
}

#[test]
fn ninety_to_ten_over_seven_and_five_pods_is_exact_at_both_levels() -> Result<()> {
    let lab = lab()?;
    let references = ["name: blue, port: 8000, weight: 90", "name: green, port: 8000, weight: 10"];
    lab.folder.write("route.yaml", &tcp_route(VIP, 80, &references))?;
    let _agent = lab.start()?;

    for (frontend, count) in VIP.sockets(80).into_iter().zip([4200, 350]) {
        let distribution = client::connections(&lab.network.client, frontend, count as usize)?;

        assert_eq!(shares(&distribution, "blue", BLUE), [count * 9 / 10 / 7; 7], "{distribution:?}");
        assert_eq!(shares(&distribution, "green", GREEN), [count / 10 / 5; 5], "{distribution:?}");
    }
    Ok(())
}

#[test]
fn the_share_of_a_service_without_pods_is_refused_and_the_other_does_not_grow() -> Result<()> {
    let lab = lab()?;
    lab.folder.write("green.yaml", &service("green", Vec::new()).to_yaml())?;
    let references = ["name: blue, port: 8000, weight: 90", "name: green, port: 8000, weight: 10"];
    lab.folder.write("route.yaml", &tcp_route(VIP, 80, &references))?;
    let agent = lab.start()?;

    let distribution = client::connections(&lab.network.client, VIP.sockets(80)[0], 700)?;

    assert_eq!(shares(&distribution, "blue", BLUE), [90; 7], "{distribution:?}");
    assert_eq!(distribution.refused, 70, "{distribution:?}");
    assert_eq!(agent.drops("no_backend")?, 70);
    Ok(())
}

#[test]
fn in_an_upstream_the_survivors_take_over() -> Result<()> {
    let lab = lab()?;
    lab.folder.write("green.yaml", &service("green", Vec::new()).to_yaml())?;
    let reference = ["group: beeline.dev, kind: Upstream, name: colours"];
    let route = tcp_route(VIP, 80, &reference) + &upstream("colours", &["blue", "green"], 8000);
    lab.folder.write("route.yaml", &route)?;
    let _agent = lab.start()?;

    let distribution = client::connections(&lab.network.client, VIP.sockets(80)[0], 700)?;

    assert_eq!(shares(&distribution, "blue", BLUE), [100; 7], "{distribution:?}");
    Ok(())
}
