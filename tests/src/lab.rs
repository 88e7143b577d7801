//! A network with a folder of manifests, and agents for its node: where most tests begin.

use anyhow::Result;

use crate::agent::Agent;
use crate::manifests::{Folder, Service};
use crate::netns::Lifetime;
use crate::topology::{Plan, Topology, VIP};

/// A network and a folder.
pub struct Lab {
    /// The manifests that the agent serves.
    pub folder: Folder,
    /// The network.
    pub network: Topology,
}

impl Lab {
    /// Builds a network, with an empty folder.
    pub fn build(plan: &Plan) -> Result<Self> {
        let network = Topology::build(plan, Lifetime::Process)?;
        let folder = Folder::create(network.group.folder().join("manifests"))?;
        Ok(Self { folder, network })
    }

    /// A network with a Pod for each weight, and a Service at [`VIP`] over them in `app.yaml`.
    pub fn weighted(weights: &[u32]) -> Result<Self> {
        let service = Service::weighted(VIP, weights);
        let names: Vec<_> = service.pods.iter().map(|pod| pod.name.as_str()).collect();
        let lab = Self::build(&Plan::pods(&names))?;
        lab.folder.write("app.yaml", &service.to_yaml())?;
        Ok(lab)
    }

    /// An agent that serves the folder; it runs already.
    pub fn start(&self) -> Result<Agent<'_>> {
        let mut agent = self.agent()?;
        agent.start()?;
        Ok(agent)
    }

    /// An agent for the folder; it does not run yet.
    pub fn agent(&self) -> Result<Agent<'_>> {
        Ok(Agent::new(&self.network.group, &self.network.node, self.folder.path())?.with_small_tables())
    }
}
