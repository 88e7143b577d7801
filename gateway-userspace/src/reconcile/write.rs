//! One map write, typed and named. Reconcile makes them in the order in which they must happen; dataplane does them.

use std::collections::BTreeSet;

use gateway_common::{Address, Backend, FilterWord, Frontend, FrontendKey, Group, Service, SourceRange, Vip};

use super::affinities::Pair;

/// A map write. After each single one of a plan, every frontend still leads to backends that exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Deletes from `FRONTENDS`.
    RemoveFrontend {
        /// The frontend that goes.
        key: FrontendKey,
    },
    /// Sets in `FRONTENDS`.
    SetFrontend {
        /// The frontend that comes.
        key: FrontendKey,
        /// Its id.
        frontend: Frontend,
    },
    /// Sets in `VIPS`.
    SetVip {
        /// The VIP.
        address: Address,
        /// How many frontends it has.
        vip: Vip,
    },
    /// Deletes from `VIPS`. The address must have left the host before.
    RemoveVip {
        /// The VIP.
        address: Address,
    },
    /// Sets a word of `VIP_FILTER`.
    SetVipFilter {
        /// Which word.
        index: u32,
        /// Its bits.
        word: FilterWord,
    },
    /// Sets a word of `BACKEND_FILTER`.
    SetBackendFilter {
        /// Which word.
        index: u32,
        /// Its bits.
        word: FilterWord,
    },
    /// Forgets what an earlier frontend of this id was counted in `FRONTEND_CONNS` and `FRONTEND_BYTES`; connections
    /// that are still active stay counted, since they will be counted out.
    ClearFrontendCounters {
        /// The frontend's id.
        id: u32,
    },
    /// The same in `BACKEND_CONNS` and `BACKEND_BYTES`.
    ClearBackendCounters {
        /// The backend's id.
        id: u32,
    },
    /// Sets in `BACKENDS`.
    SetBackend {
        /// The backend's id.
        id: u32,
        /// Its address and generation.
        backend: Backend,
    },
    /// Sets a run of `SLOTS`.
    SetSlots {
        /// Index of the first slot.
        offset: u32,
        /// The members of the slots.
        members: Vec<u32>,
    },
    /// Sets in `GROUPS`.
    SetGroup {
        /// The group's id.
        id: u32,
        /// Its schedule and what it stands for.
        group: Group,
    },
    /// Sets in `SERVICES`.
    SetService {
        /// The frontend's id.
        id: u32,
        /// Its schedule and algorithm.
        service: Service,
    },
    /// Sets in `SOURCES`.
    SetSource {
        /// The range of clients that comes.
        range: SourceRange,
    },
    /// Deletes from `SOURCES`.
    RemoveSource {
        /// The range of clients that goes.
        range: SourceRange,
    },
    /// Deletes from `AFFINITY` every client of one of these frontends that was given the backend named with it.
    ForgetAffinity {
        /// What leads to backends that get no new connections from there.
        pairs: BTreeSet<Pair>,
    },
}
