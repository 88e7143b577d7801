//! New connections and flows go to the Pods in exact proportion to their weights.

use anyhow::Result;
use beeline_tests::client::{self, Distribution, ask};
use beeline_tests::lab::Lab;
use beeline_tests::manifests::Service;
use beeline_tests::topology::{CLIENT, VIP};

/// Asserts how many each of `v1`, `v2` and so on got, and that nothing went wrong.
#[track_caller]
fn assert_shares(distribution: &Distribution, shares: &[u64]) {
    let got: Vec<_> = (1..=shares.len()).map(|number| distribution.of(&format!("v{number}"))).collect();
    assert_eq!(got, shares, "{distribution:?}");
    assert_eq!((distribution.refused, distribution.failures.as_slice()), (0, [].as_slice()));
}

#[test]
fn connections_land_by_weight_and_the_pods_see_the_client() -> Result<()> {
    let lab = Lab::weighted(&[5, 3, 1])?;
    let _agent = lab.start()?;

    for frontend in VIP.sockets(8000) {
        let distribution = client::connections(&lab.network.client, frontend, 900)?;

        assert_shares(&distribution, &[500, 300, 100]);
        assert_eq!(distribution.clients, [CLIENT.like(frontend.ip())].into());
    }
    Ok(())
}

#[test]
fn flows_land_by_weight_and_the_pods_see_the_client() -> Result<()> {
    let lab = Lab::weighted(&[5, 3, 1])?;
    let _agent = lab.start()?;

    for frontend in VIP.sockets(8001) {
        let distribution = client::flows(&lab.network.client, frontend, 900)?;

        assert_shares(&distribution, &[500, 300, 100]);
        assert_eq!(distribution.clients, [CLIENT.like(frontend.ip())].into());
    }
    Ok(())
}

#[test]
fn weight_zero_gets_no_new_connection() -> Result<()> {
    let lab = Lab::weighted(&[5, 0, 1])?;
    let _agent = lab.start()?;

    for (tcp, udp) in VIP.sockets(8000).into_iter().zip(VIP.sockets(8001)) {
        assert_shares(&client::connections(&lab.network.client, tcp, 60)?, &[50, 0, 10]);
        assert_shares(&client::flows(&lab.network.client, udp, 60)?, &[50, 0, 10]);
    }
    Ok(())
}

#[test]
fn weights_that_need_too_many_slots_are_right_to_one_in_4096_and_noted() -> Result<()> {
    let lab = Lab::weighted(&[1, 65535])?;
    let agent = lab.start()?;

    let distribution = client::connections(&lab.network.client, VIP.sockets(8000)[0], 4096)?;

    assert_shares(&distribution, &[1, 4095]);
    assert!(!agent.notes()?.is_empty());
    Ok(())
}

#[test]
fn random_selection_reaches_every_pod_that_has_weight() -> Result<()> {
    let mut service = Service::weighted(VIP, &[1, 0, 1]);
    let lab = Lab::weighted(&[1, 0, 1])?;
    service.algorithm = Some("Random");
    lab.folder.write("app.yaml", &service.to_yaml())?;
    let _agent = lab.start()?;

    let distribution = client::connections(&lab.network.client, VIP.sockets(8000)[0], 200)?;

    // All 200 to one of two would happen once in 2^199 runs.
    assert!(distribution.of("v1") > 0 && distribution.of("v3") > 0, "{distribution:?}");
    assert_eq!((distribution.answered(), distribution.of("v2")), (200, 0), "{distribution:?}");
    Ok(())
}

#[test]
fn a_flow_keeps_its_pod_when_that_loses_all_weight() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = lab.start()?;
    let flow = lab.network.client.enter(|| client::flow(VIP.sockets(8001)[0]))??;
    assert_eq!(ask(&flow, "first")?.pod, "v1");

    let mut service = Service::weighted(VIP, &[0]);
    lab.folder.write("app.yaml", &service.to_yaml())?;
    lab.network.client.enter(|| {
        let refused = || client::datagram(VIP.sockets(8001)[0], "new").is_err().then_some(());
        beeline_tests::wait::until("new flows are refused", std::time::Duration::from_secs(5), refused)
    })??;

    assert_eq!(ask(&flow, "second")?.pod, "v1");

    service.pods.clear();
    lab.folder.write("app.yaml", &service.to_yaml())?;
    let gone = || ask(&flow, "third").is_err().then_some(());
    beeline_tests::wait::until("the Pod is gone for the flow too", std::time::Duration::from_secs(5), gone)?;
    assert!(agent.drops("no_backend")? > 0);
    Ok(())
}
