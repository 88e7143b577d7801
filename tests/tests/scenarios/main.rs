//! Manifests in, committed text out: what the maps hold (`dumps`), and where requests go (`routes`).

mod dumps;
mod routes;
