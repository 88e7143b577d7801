//! What is delivered to a socket of this host: a VIP exposes nothing but its frontends, and of these only the steered ones
//! here.
//!
//! The host asks before it looks for a socket that listens. Connections that are established do not come by here.

use gateway_common::FrontendKey;

use crate::tables::Tables;

/// What becomes of a delivery.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is to no VIP: the host finds the socket.
    Pass,
    /// The listener for steered frontends takes it.
    Steer,
    /// No socket may have it.
    Refuse,
}

/// Decides about a delivery to this address and port.
#[inline(always)]
pub fn deliver<T: Tables>(to: &FrontendKey, tables: &T) -> Delivery {
    if !tables.may_be_vip(&to.address) || !tables.is_vip(&to.address) {
        return Delivery::Pass;
    }
    if tables.is_steered(to) { Delivery::Steer } else { Delivery::Refuse }
}
