//! The HTTP layer in one process: real clients, the server on loopback, and Pods that are servers of hyper or raw sockets.

mod bodies;
mod counting;
mod draining;
mod explaining;
mod failures;
mod forwarding;
mod health;
mod http2;
mod limits;
mod passthrough;
mod picking;
mod proxy;
mod retrying;
mod sites;
mod support;
mod tls;
mod websocket;
