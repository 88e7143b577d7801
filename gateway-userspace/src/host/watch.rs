//! Says when a device, an address or a route of the host has changed, so that the agent looks again.
//!
//! It does not say what changed: the agent compares, so a lost or doubled signal does no harm.

use std::io;
use std::thread;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use tokio::sync::mpsc;
use tracing::warn;

/// Changes of devices, and of addresses, routes and rules of both families: `RTNLGRP_LINK` (1), `RTNLGRP_IPV4_IFADDR`
/// (5), `RTNLGRP_IPV4_ROUTE` (7), `RTNLGRP_IPV4_RULE` (8), `RTNLGRP_IPV6_IFADDR` (9), `RTNLGRP_IPV6_ROUTE` (11) and
/// `RTNLGRP_IPV6_RULE` (19) as the bits that `bind` takes.
const GROUPS: u32 = 1 << 0 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18;

/// Watches the current network namespace from a thread of its own. Signals that nobody has taken yet are one.
pub fn changes() -> io::Result<mpsc::Receiver<()>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, GROUPS))?;
    let (sender, receiver) = mpsc::channel(1);
    thread::Builder::new().name("host-watch".to_owned()).spawn(move || listen(&socket, &sender))?;
    Ok(receiver)
}

fn listen(socket: &Socket, changed: &mpsc::Sender<()>) {
    loop {
        match socket.recv_from_full() {
            Ok(_) => {}
            // The queue ran over: what it held is lost, but that something changed is all we tell.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                warn!(%error, "devices are no longer watched; they are looked at every few seconds instead");
                return;
            }
        }
        if let Err(mpsc::error::TrySendError::Closed(())) = changed.try_send(()) {
            return;
        }
    }
}
