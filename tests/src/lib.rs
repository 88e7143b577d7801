//! What the tests, the demo and the benchmark share: network namespaces, Pods that answer, clients that count.
//!
//! Everything here works on namespaces, directories and processes of its own and takes them away again, also
//! after a crash: what a dead process left is found by its id and removed. Needs root.

pub mod agent;
pub mod api_server;
pub mod binaries;
pub mod calico;
pub mod certificate;
pub mod cgroup;
pub mod client;
pub mod cluster;
pub mod crowd;
pub mod curl;
pub mod faulty_api;
pub mod grpc;
pub mod interrupt;
pub mod lab;
pub mod load;
pub mod long_lived;
pub mod manifests;
pub mod matcher;
pub mod netns;
pub mod offload;
pub mod outcome;
pub mod packets;
pub mod peers;
pub mod process;
pub mod requests;
pub mod second_host;
pub mod segment;
pub mod smuggling;
pub mod socket_client;
pub mod spread;
pub mod steady;
pub mod tape;
pub mod topology;
pub mod traffic;
pub mod transfer;
pub mod tun;
pub mod wait;

pub use beeline_test_pod::pod;
