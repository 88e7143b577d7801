//! The story of a socket of this node that reaches for a VIP: it is given a backend before there is a packet.
//!
//! The same frontends, schedules and cursors as for packets, asked when a socket connects or sends a datagram to an
//! address that it names. Afterwards the socket talks to the backend itself; where its owner asks who the peer is, the
//! VIP is named. Nothing here touches what a CPU keeps for a packet: a packet may interrupt these programs.

use gateway_common::{
    Address, Affinity, Client, Direction, DropReason, FrontendKey, Port, Protocol, SocketEntry, SocketKey, SourceRange,
};

use crate::affinity;
use crate::select::select;
use crate::tables::Tables;

/// What a socket can tell of itself. Asked only once its peer has turned out to be a VIP.
pub trait Socket {
    /// The kernel's number for it.
    fn cookie(&self) -> u64;
    /// The kernel's number for its network namespace.
    fn namespace(&self) -> u64;
    /// The address it is bound to, if it is.
    fn bound_to(&self) -> Option<Address>;
}

/// What is asked for sockets beside what is asked for packets.
pub trait Sockets: Tables {
    /// What is remembered of a peer. Other CPUs may write it at the same time; every field is valid on its own.
    #[expect(clippy::mut_from_ref, reason = "the maps are shared memory; an entry is changed in place")]
    fn socket(&self, key: &SocketKey) -> Option<&mut SocketEntry>;
    /// Remembers a peer, whatever was remembered of it before.
    fn remember_socket(&self, key: &SocketKey, entry: &SocketEntry);
    /// Remembers a peer no longer.
    fn forget_socket(&self, key: &SocketKey);
    /// Counts a socket that was given a backend.
    fn count_selected(&self, frontend: u32, backend: u32);
    /// Counts a socket whose datagrams go to another backend because theirs is gone.
    fn count_moved(&self);
}

/// One end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// The port.
    pub port: Port,
}

/// What becomes of a socket's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It is none of ours, or the packet will have to ask.
    Leave,
    /// It is to talk to this backend instead.
    Peer(Endpoint),
    /// It fails at once.
    Refuse(DropReason),
}

/// A socket connects: whom to?
#[inline(always)]
pub fn connect<S: Socket, T: Sockets>(peer: &Endpoint, protocol: Protocol, socket: &S, tables: &T) -> Choice {
    let choice =
        if tables.may_be_vip(&peer.address) { choose(peer, protocol, socket, tables) } else { Err(Choice::Leave) };
    match choice {
        Ok(chosen) => {
            remember(socket.cookie(), peer, &chosen, Direction::Reverse, tables);
            Choice::Peer(chosen.endpoint)
        }
        Err(Choice::Leave) => {
            forget(socket.cookie(), peer, tables);
            Choice::Leave
        }
        Err(choice) => choice,
    }
}

/// A socket sends a datagram to an address that it names: where to? Its datagrams stay together until their backend is
/// gone or they have not come for as long as an idle flow is kept.
#[inline(always)]
pub fn send<S: Socket, T: Sockets>(peer: &Endpoint, socket: &S, tables: &T) -> Choice {
    if !tables.may_be_vip(&peer.address) {
        return Choice::Leave;
    }
    let cookie = socket.cookie();
    let key = SocketKey::new(cookie, peer.address, peer.port, Direction::Forward);
    let mut moves = false;
    if let Some(known) = tables.socket(&key) {
        let now_ns = tables.now_ns();
        let idle_ns = now_ns.saturating_sub(known.last_seen_ns);
        let timeout_ns = tables.settings().map_or(0, |settings| settings.udp_timeout_ns);
        moves = !tables.is_current(known.backend, known.generation);
        if !moves && idle_ns < timeout_ns {
            if idle_ns != 0 {
                known.last_seen_ns = now_ns;
            }
            return Choice::Peer(Endpoint { address: known.address, port: known.port });
        }
    }
    let chosen = match choose(peer, Protocol::UDP, socket, tables) {
        Ok(chosen) => chosen,
        Err(choice) => return choice,
    };
    remember(cookie, peer, &chosen, Direction::Reverse, tables);
    remember(cookie, peer, &chosen, Direction::Forward, tables);
    if moves {
        tables.count_moved();
    }
    Choice::Peer(chosen.endpoint)
}

/// A socket is told of a peer: the VIP by which it knows that, if it does.
#[inline(always)]
pub fn known_as<S: Socket, T: Sockets>(peer: &Endpoint, socket: &S, tables: &T) -> Option<Endpoint> {
    let key = SocketKey::new(socket.cookie(), peer.address, peer.port, Direction::Reverse);
    tables.socket(&key).map(|entry| Endpoint { address: entry.address, port: entry.port })
}

/// A connected socket sends a datagram: is the backend that it was given gone?
#[inline(always)]
pub fn is_stale<T: Tables + Sockets>(cookie: u64, peer: &Endpoint, tables: &T) -> bool {
    let key = SocketKey::new(cookie, peer.address, peer.port, Direction::Reverse);
    tables.socket(&key).is_some_and(|entry| !tables.is_current(entry.backend, entry.generation))
}

/// A backend that was chosen for a socket.
struct Chosen {
    endpoint: Endpoint,
    frontend: u32,
    backend: u32,
    generation: u32,
}

/// Chooses a backend, or says why there is none. What is for a steered frontend goes to the VIP, which is on this host.
/// Of a restricted frontend a socket that is not bound is left alone: its
/// address is known only once there is a packet.
#[inline(always)]
fn choose<S: Socket, T: Sockets>(
    peer: &Endpoint,
    protocol: Protocol,
    socket: &S,
    tables: &T,
) -> Result<Chosen, Choice> {
    let key = FrontendKey::new(peer.address, peer.port, protocol);
    let found = tables.frontend(&key).ok_or(Choice::Leave)?;
    let frontend = found.id;
    if found.is_steered() {
        tables.count_steered(frontend);
        return Err(Choice::Leave);
    }
    let service = tables.service(frontend).ok_or(Choice::Leave)?;
    if service.is_restricted() {
        let address = socket.bound_to().ok_or(Choice::Leave)?;
        let client = SourceRange { prefix_bits: SourceRange::CLIENT_BITS, first: Client { frontend, address } };
        if !tables.is_admitted(&client) {
            return Err(Choice::Refuse(DropReason::SourceDenied));
        }
    }
    let sticks_to = service.has_affinity().then(|| Client::of_namespace(frontend, socket.namespace()));
    let remembered = sticks_to.as_ref().and_then(|client| affinity::recalled(client, &service, tables));
    let none = Choice::Refuse(DropReason::NoBackend);
    let backend_id = match remembered {
        Some(backend) => backend,
        None => select(frontend, &service, tables).ok_or(none)?,
    };
    let backend = tables.backend(backend_id).ok_or(none)?;
    let generation = backend.generation;
    if let (Some(client), None) = (&sticks_to, remembered) {
        tables.remember(client, &Affinity { last_seen_ns: tables.now_ns(), backend: backend_id, generation });
    }
    tables.count_selected(frontend, backend_id);
    let endpoint = Endpoint { address: backend.address, port: backend.port };
    Ok(Chosen { endpoint, frontend, backend: backend_id, generation })
}

/// A socket means the peer itself from now on, not a VIP by which it may have known that.
#[inline(always)]
fn forget<T: Sockets>(cookie: u64, peer: &Endpoint, tables: &T) {
    let reverse = SocketKey::new(cookie, peer.address, peer.port, Direction::Reverse);
    let Some(&mut SocketEntry { address, port, .. }) = tables.socket(&reverse) else { return };
    // Datagrams to the VIP are selected anew, which remembers both.
    tables.forget_socket(&SocketKey::new(cookie, address, port, Direction::Forward));
    tables.forget_socket(&reverse);
}

#[inline(always)]
fn remember<T: Sockets>(cookie: u64, vip: &Endpoint, chosen: &Chosen, direction: Direction, tables: &T) {
    let (from, to) = match direction {
        Direction::Forward => (vip, &chosen.endpoint),
        Direction::Reverse => (&chosen.endpoint, vip),
    };
    let entry = SocketEntry {
        last_seen_ns: tables.now_ns(),
        address: to.address,
        port: to.port,
        _reserved: [0; 2],
        backend: chosen.backend,
        generation: chosen.generation,
        frontend: chosen.frontend,
    };
    tables.remember_socket(&SocketKey::new(cookie, from.address, from.port, direction), &entry);
}
