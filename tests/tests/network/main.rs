//! Real sockets through the real datapath: what clients, Pods and the node see of it.
//!
//! Every test builds namespaces of its own and runs an agent of its own, so they run side by side.

mod announce;
mod clients;
mod door;
mod elsewhere;
mod firewall;
mod grpc_clients;
mod guard;
mod guests;
mod h2spec;
mod handover;
mod http;
mod http_clients;
mod ingress;
mod lifetime;
mod manifests;
mod neighbours;
mod path;
mod policy_routes;
mod ports;
mod redirect;
mod routes;
mod sockets;
mod steered;
mod tables;
mod websocket_clients;
mod weights;
