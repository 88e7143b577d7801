//! Which Pods got how many of a frontend's connections, node by node, against what the weights ask for.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use gateway_common::Protocol;
use serde::Serialize;

use super::{Cluster, Node, Pod};

/// What came of the connections through one node.
#[derive(Clone, Debug, Serialize)]
pub struct Shares {
    /// The node.
    pub node: String,
    /// Where the connections were opened to.
    pub frontend: SocketAddr,
    /// How many were opened.
    pub connections: u64,
    /// The Pods, on whatever node.
    pub pods: Vec<Share>,
    /// Pods of this node that saw one of its addresses, and others that saw another: the former shall see the client.
    pub mistaken: Vec<String>,
    /// How many were refused.
    pub refused: u64,
    /// What else went wrong.
    pub failures: Vec<String>,
}

/// One Pod's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The Pod.
    pub pod: String,
    /// Its weight.
    pub weight: u64,
    /// How many it should get.
    pub expected: u64,
    /// How many it got.
    pub received: u64,
}

impl Shares {
    /// Whether each Pod got exactly its share and saw whom it should, and nobody else got any. Without Pods all are refused.
    pub fn is_exact(&self) -> bool {
        let received: u64 = self.pods.iter().map(|share| share.received).sum();
        let expected = if self.pods.is_empty() { 0 } else { self.connections };
        let each = self.pods.iter().all(|share| share.received == share.expected);
        each && self.mistaken.is_empty()
            && received == expected
            && self.refused == self.connections - expected
            && self.failures.is_empty()
    }
}

impl Cluster {
    /// Waits until a node has programmed all Pods for a frontend, then opens connections (or flows of UDP) through it. Their
    /// number must be one that the weights divide evenly.
    pub fn shares(
        &self,
        node: &Node,
        protocol: Protocol,
        frontend: SocketAddr,
        pods: &[Pod],
        port: u16,
        connections: u64,
    ) -> Result<Shares> {
        self.wait_for_backends(node, protocol, frontend, &Pod::backends(pods, frontend.ip(), port))?;
        let count = usize::try_from(connections)?;
        let distribution = match protocol {
            Protocol::UDP => self.flows_by(node, frontend, count)?,
            _ => self.connections_by(node, frontend, count)?,
        };
        let total: u64 = pods.iter().map(|pod| pod.weight).sum();
        let share = |pod: &Pod| {
            let due = connections * pod.weight;
            ensure!(due.is_multiple_of(total), "{connections} connections cannot be shared evenly by {total}");
            let received = distribution.of(&pod.name);
            Ok(Share { pod: pod.name.clone(), weight: pod.weight, expected: due / total, received })
        };
        let is_mistaken = |pod: &&Pod| {
            let mut seen = distribution.clients_of.get(&pod.name).into_iter().flatten();
            seen.any(|client| node.addresses.contains(client) == (pod.node == node.name))
        };
        Ok(Shares {
            node: node.name.clone(),
            frontend,
            connections,
            mistaken: pods.iter().filter(is_mistaken).map(|pod| pod.name.clone()).collect(),
            pods: pods.iter().map(share).collect::<Result<_>>()?,
            refused: distribution.refused,
            failures: distribution.failures,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(received: &[u64], refused: u64) -> Shares {
        let pods = [("v1", 5), ("v2", 3), ("v3", 1)].into_iter().zip(received);
        let share = |((pod, weight), &received): ((&str, u64), &u64)| Share {
            pod: pod.to_owned(),
            weight,
            expected: weight,
            received,
        };
        Shares {
            node: "node1".to_owned(),
            frontend: "192.0.2.1:80".parse().unwrap(),
            connections: 9,
            pods: pods.map(share).collect(),
            mistaken: Vec::new(),
            refused,
            failures: Vec::new(),
        }
    }

    #[test]
    fn only_what_arrives_by_weight_and_nowhere_else_is_exact() {
        assert!(shares(&[5, 3, 1], 0).is_exact());
        assert!(!shares(&[4, 4, 1], 0).is_exact());
        assert!(!shares(&[5, 3, 0], 1).is_exact());
    }

    #[test]
    fn without_pods_every_connection_is_refused() {
        assert!(shares(&[], 9).is_exact());
        assert!(!shares(&[], 8).is_exact());
    }
}
