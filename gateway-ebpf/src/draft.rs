//! A new flow in the making: its two entries, one after the other, in one place outside the stack.

use gateway_common::{
    Address, Affinity, Backend, ConntrackEntry, Direction, Flow, FlowPath, FlowState, Place, Port, Protocol, Service,
    SourceRange,
};

/// What became of a new flow that has found whom it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Established {
    /// It is tracked; its forward entry is still in the draft.
    Begun,
    /// Another CPU tracked it first; its choice stands.
    Known,
    /// It is for a listener of this host, and not tracked.
    Steered,
}

/// A new flow in the making. Filled field by field, because whole values would pass through the stack.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Draft {
    /// The flow of its replies.
    pub reply: Flow,
    /// The entry that is added next; once the flow has begun, its forward entry.
    pub entry: ConntrackEntry,
    /// Who asks: its frontend and address.
    pub client: SourceRange,
    /// What is remembered of the client.
    pub affinity: Affinity,
    /// What stands behind the frontend.
    pub service: Service,
    /// 1 if a flow that is over may be removed where it holds the key of the replies.
    pub may_replace: u8,
    /// 1 if the key of the replies is likely to be held, so that a look comes before an insertion, which costs more.
    pub look_first: u8,
    /// Always zero.
    pub _reserved: [u8; 6],
}

impl Draft {
    /// Says who asks.
    #[inline(always)]
    pub const fn name_client(&mut self, flow: &Flow, frontend: u32) {
        self.client.prefix_bits = SourceRange::CLIENT_BITS;
        self.client.first.frontend = frontend;
        self.client.first.address = flow.source;
    }

    /// The backend will answer like this; with an `attempt` that is not 0, to another port of the client.
    #[inline(always)]
    pub const fn expect_reply(&mut self, flow: &Flow, backend: &Backend, attempt: u32) {
        self.reply.source = backend.address;
        self.reply.source_port = backend.port;
        self.reply.destination = flow.source;
        self.reply.destination_port =
            if attempt == 0 { flow.source_port } else { another_port(flow.source_port, attempt) };
        self.reply.protocol = flow.protocol;
        self.reply._reserved = [0; 3];
        self.entry.path = FlowPath::Host as u8;
        self.may_replace = 1;
        self.look_first = 0;
    }

    /// Has the backend answer to an address of this node instead, if it could not or must not answer to the client's:
    /// a Pod elsewhere, and one that is its own client. That one answers to the VIP if nothing else is known. Says whether
    /// it is so; [`Draft::is_answerable`] says whether there is an address.
    #[inline(always)]
    pub fn hide_client(&mut self, flow: &Flow, backend: &Backend) -> bool {
        let is_hairpin = backend.address.difference(&flow.source) == 0;
        let is_elsewhere = backend.place == Place::Elsewhere as u8;
        if !is_hairpin && !is_elsewhere {
            return false;
        }
        self.reply.destination = backend.source;
        if !is_elsewhere && !self.is_answerable() {
            self.reply.destination = flow.destination;
        }
        self.entry.path = FlowPath::Redirect as u8;
        true
    }

    /// Whether there is an address that the backend can answer to.
    #[inline(always)]
    pub const fn is_answerable(&self) -> bool {
        self.reply.destination.difference(&Address::UNSPECIFIED) != 0
    }

    /// What both entries have in common, but for the ids and the path.
    #[inline(always)]
    pub const fn begin_entry(&mut self, protocol: Protocol, now_ns: u64) {
        let state = match protocol {
            Protocol::TCP => FlowState::Syn,
            _ => FlowState::Datagrams,
        };
        self.entry.last_seen_ns = now_ns;
        self.entry.state = state as u8;
        self.entry.fin_sent = 0;
        self.entry.fin_received = 0;
        self.entry._reserved = [0; 3];
    }

    /// Makes it the entry of the replies, whose packets are rewritten to the opposite of the flow.
    #[inline(always)]
    pub const fn turn_to_reply(&mut self, flow: &Flow) {
        direct(&mut self.entry, flow, Direction::Reverse);
    }

    /// Makes it the flow's own entry, whose packets are rewritten to the opposite of the reply.
    #[inline(always)]
    pub const fn turn_to_flow(&mut self) {
        direct(&mut self.entry, &self.reply, Direction::Forward);
    }
}

/// Makes it the entry of the direction whose packets are rewritten to the opposite of `twin`: the twin's key.
#[inline(always)]
const fn direct(entry: &mut ConntrackEntry, twin: &Flow, direction: Direction) {
    entry.source = twin.destination;
    entry.destination = twin.source;
    entry.source_port = twin.destination_port;
    entry.destination_port = twin.source_port;
    entry.direction = direction as u8;
}

/// Another port of the upper half, away from those that mean something, for each attempt.
#[inline(always)]
const fn another_port(port: Port, attempt: u32) -> Port {
    const STRIDE: u16 = 7919;
    Port::new(port.get().wrapping_add(STRIDE.wrapping_mul(attempt as u16)) | 0x8000)
}
