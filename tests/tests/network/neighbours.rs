//! A VIP on the clients' own segment: the node answers for it, at the link layer too.

use anyhow::Result;
use beeline_tests::client;
use beeline_tests::lab::Lab;
use beeline_tests::manifests::Service;
use beeline_tests::topology::{ON_LINK_VIP, Plan, VIP};

#[test]
fn a_vip_on_the_segment_is_answered_and_served() -> Result<()> {
    let lab = Lab::build(&Plan::pods(&["v1", "v2"]))?;
    lab.folder.write("app.yaml", &Service::weighted(ON_LINK_VIP, &[2, 1]).to_yaml())?;
    let _agent = lab.start()?;

    for frontend in ON_LINK_VIP.sockets(8000) {
        let distribution = client::connections(&lab.network.client, frontend, 30)?;

        assert_eq!((distribution.of("v1"), distribution.of("v2")), (20, 10), "{distribution:?}");
    }
    Ok(())
}

#[test]
fn a_vip_that_moves_to_the_segment_while_the_agent_runs_is_answered() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = lab.start()?;

    let mut service = Service::weighted(VIP, &[1]);
    service.vips.extend(ON_LINK_VIP.both());
    lab.folder.write("app.yaml", &service.to_yaml())?;
    let frontends = ON_LINK_VIP.sockets(8000);
    agent.wait_for_frontend("TCP", frontends[1])?;

    for frontend in frontends.into_iter().chain(VIP.sockets(8000)) {
        let distribution = client::connections(&lab.network.client, frontend, 5)?;
        assert_eq!(distribution.of("v1"), 5, "{frontend}: {distribution:?}");
    }
    Ok(())
}
