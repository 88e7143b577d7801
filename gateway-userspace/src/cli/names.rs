//! Gives the numbers of the maps their names again, as far as the agent has left them behind.

use std::net::SocketAddr;

use crate::dataplane::{BackendDump, Dump};
use crate::state::Names;

/// Fills in owners, references and Pods.
pub fn fill(dump: &mut Dump, names: &Names) {
    for frontend in &mut dump.frontends {
        frontend.owner = names.frontends.get(&frontend.key.to_string()).cloned();
        for group in &mut frontend.groups {
            group.reference = names.references.get(&group.fingerprint).cloned();
            group.backends.iter_mut().for_each(|backend| name(backend, names));
        }
    }
    dump.idle_backends.iter_mut().for_each(|backend| name(backend, names));
}

fn name(backend: &mut BackendDump, names: &Names) {
    let socket = SocketAddr::new(backend.address, backend.port);
    backend.name = names.backend(&backend.protocol, socket, &backend.pod);
}
