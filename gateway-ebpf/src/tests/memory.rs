//! Tables of ordinary memory.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::{BTreeMap, BTreeSet};

use gateway_common::{
    Address, Affinity, Backend, Client, ConntrackEntry, DropReason, Event, Flow, FlowState, Frontend, FrontendKey,
    Group, Place, Port, Protocol, Service, Settings, Slot, SlotRange, SocketEntry, SocketKey, SourceRange, Vip,
};

use crate::draft::{Draft, Established};
use crate::establish::{Tracked, establish, track_draft};
use crate::source_port::find_port;
use crate::tables::{Tables, TrackError};

const SECOND_NS: u64 = 1_000_000_000;

/// Everything the pipeline asks for. Entries are boxed and removed ones kept, so that references stay good.
pub struct Memory {
    vips: RefCell<BTreeSet<Address>>,
    doubtful: RefCell<BTreeSet<Address>>,
    unanswered: RefCell<BTreeSet<Address>>,
    relay: Cell<Option<Address>>,
    frontends: RefCell<BTreeMap<FrontendKey, Frontend>>,
    host_connections: RefCell<BTreeSet<Flow>>,
    steered: Cell<u64>,
    groups: RefCell<Vec<SlotRange>>,
    service: Cell<Service>,
    sources: RefCell<Vec<SourceRange>>,
    affinity: RefCell<BTreeMap<Client, Box<UnsafeCell<Affinity>>>>,
    slots: RefCell<Vec<u32>>,
    backends: UnsafeCell<Vec<Backend>>,
    conntrack: RefCell<BTreeMap<Flow, Box<UnsafeCell<ConntrackEntry>>>>,
    #[expect(clippy::vec_box, reason = "a reference to an entry must stay good when the vector grows")]
    removed: RefCell<Vec<Box<UnsafeCell<ConntrackEntry>>>>,
    draft: UnsafeCell<Draft>,
    twin: UnsafeCell<Flow>,
    settings: UnsafeCell<Settings>,
    limit: Cell<usize>,
    service_steps: Cell<u64>,
    group_steps: RefCell<BTreeMap<u32, u64>>,
    now_ns: Cell<u64>,
    random: Cell<u32>,
    active: RefCell<BTreeMap<u32, u64>>,
    begun: RefCell<BTreeMap<u32, u64>>,
    events: RefCell<BTreeMap<u32, u64>>,
    /// Boxed as flows are; nobody keeps a reference to one that is replaced.
    pub sockets: RefCell<BTreeMap<SocketKey, Box<UnsafeCell<SocketEntry>>>>,
}

impl Memory {
    /// One VIP with a TCP and a UDP frontend on `port`, whose service has these groups of backend weights.
    pub fn new(vip: Address, port: u16, pods: &[Address], groups: &[(u32, &[u32])]) -> Self {
        let backends = pods.iter().flat_map(|pod| {
            [Protocol::TCP, Protocol::UDP].map(|protocol| Backend {
                address: *pod,
                source: Address::UNSPECIFIED,
                pod: 1,
                generation: 7,
                port: Port::new(80),
                protocol,
                place: Place::Here as u8,
            })
        });
        let memory = Self {
            vips: RefCell::default(),
            doubtful: RefCell::default(),
            unanswered: RefCell::default(),
            relay: Cell::new(None),
            frontends: RefCell::default(),
            host_connections: RefCell::default(),
            steered: Cell::new(0),
            groups: RefCell::default(),
            service: Cell::new(Service::EMPTY),
            sources: RefCell::default(),
            affinity: RefCell::default(),
            slots: RefCell::default(),
            // The pod's id serves both protocols here: the datapath does not look at a backend's protocol.
            backends: UnsafeCell::new(backends.step_by(2).collect()),
            conntrack: RefCell::default(),
            removed: RefCell::default(),
            draft: UnsafeCell::new(Draft {
                reply: zerocopy::FromZeros::new_zeroed(),
                entry: zerocopy::FromZeros::new_zeroed(),
                client: zerocopy::FromZeros::new_zeroed(),
                affinity: zerocopy::FromZeros::new_zeroed(),
                service: Service::EMPTY,
                may_replace: 0,
                look_first: 0,
                _reserved: [0; 6],
            }),
            twin: UnsafeCell::new(zerocopy::FromZeros::new_zeroed()),
            settings: UnsafeCell::new(Settings::default()),
            limit: Cell::new(usize::MAX),
            service_steps: Cell::new(0),
            group_steps: RefCell::default(),
            now_ns: Cell::new(SECOND_NS),
            random: Cell::new(0),
            active: RefCell::default(),
            begun: RefCell::default(),
            events: RefCell::default(),
            sockets: RefCell::default(),
        };
        memory.another_vip(vip, port);
        memory.schedule(groups);
        memory
    }

    pub fn another_vip(&self, vip: Address, port: u16) {
        self.vips.borrow_mut().insert(vip);
        for protocol in [Protocol::TCP, Protocol::UDP] {
            let key = FrontendKey::new(vip, Port::new(port), protocol);
            self.frontends.borrow_mut().insert(key, Frontend::balanced(0));
        }
    }

    /// A listener of the host takes the frontend's connections from now on.
    pub fn steer(&self, vip: Address, port: u16) {
        let key = FrontendKey::new(vip, Port::new(port), Protocol::TCP);
        self.frontends.borrow_mut().insert(key, Frontend::steered(0));
    }

    /// A socket of the host has the connection of this flow.
    pub fn connect_host(&self, flow: Flow) {
        self.host_connections.borrow_mut().insert(flow);
    }

    /// How many connections were begun at steered frontends.
    pub fn steered(&self) -> u64 {
        self.steered.get()
    }

    /// Makes the filters say "perhaps" of an address that is not ours.
    pub fn doubt(&self, address: Address) {
        self.doubtful.borrow_mut().insert(address);
    }

    /// Replaces all schedules; members stand in blocks, which is as exact over a whole run as any other order.
    fn schedule(&self, groups: &[(u32, &[u32])]) {
        let mut backend = 0;
        let run = |weights: &[u32], first: u32| {
            let mut slots = self.slots.borrow_mut();
            let offset = slots.len() as u32;
            for (member, weight) in (first..).zip(weights) {
                slots.extend(std::iter::repeat_n(member, *weight as usize));
            }
            SlotRange { offset, length: slots.len() as u32 - offset }
        };
        let mut ranges = Vec::new();
        for (_, weights) in groups {
            ranges.push(run(weights, backend));
            backend += weights.len() as u32;
        }
        let shares: Vec<u32> = groups.iter().map(|(share, _)| *share).collect();
        self.service.set(Service { groups: run(&shares, 0), ..self.service.get() });
        *self.groups.borrow_mut() = ranges;
    }

    /// The service's clients stay with their backends for this long.
    pub fn stick_for_seconds(&self, affinity_timeout_sec: u32) {
        self.service.set(Service { affinity_timeout_sec, ..self.service.get() });
    }

    /// The service lets in clients of these ranges alone.
    pub fn restrict_to(&self, ranges: &[(Address, u8)]) {
        let ranges = ranges.iter().map(|&(first, bits)| SourceRange::new(0, first, bits));
        *self.sources.borrow_mut() = ranges.collect();
        self.service.set(Service { restricted: 1, ..self.service.get() });
    }

    /// What the agent does when a backend leaves a schedule.
    pub fn forget_clients_of(&self, backend: u32) {
        // SAFETY: the tests are single-threaded and hold no reference to an entry here.
        self.affinity.borrow_mut().retain(|_, entry| unsafe { &*entry.get() }.backend != backend);
    }

    pub fn schedule_weights(&self, weights: &[u32]) {
        self.schedule(&[(1, weights)]);
    }

    /// New connections go to this backend alone.
    pub fn schedule_only(&self, backend: u32) {
        let weights: Vec<u32> = (0..8).map(|id| u32::from(id == backend)).collect();
        self.schedule(&[(1, &weights)]);
    }

    /// The backend is gone.
    pub fn retire(&self, backend: u32) {
        // SAFETY: the tests are single-threaded and hold no reference to a backend here.
        unsafe { (&mut *self.backends.get())[backend as usize].generation += 1 };
    }

    /// The backend is on another node, which sees this one at `source`.
    pub fn move_elsewhere(&self, backend: u32, source: Address) {
        self.doubt(source);
        // SAFETY: the tests are single-threaded and hold no reference to a backend here.
        let backend = unsafe { &mut (&mut *self.backends.get())[backend as usize] };
        (backend.place, backend.source) = (Place::Elsewhere as u8, source);
    }

    /// The backend listens on another port.
    pub fn listen_at(&self, backend: u32, port: u16) {
        // SAFETY: the tests are single-threaded and hold no reference to a backend here.
        unsafe { (&mut *self.backends.get())[backend as usize].port = Port::new(port) };
    }

    /// The ports that flows to Pods elsewhere may bear.
    pub fn limit_source_ports(&self, first: u16, last: u16) {
        // SAFETY: the tests are single-threaded and hold no reference to the settings here.
        let settings = unsafe { &mut *self.settings.get() };
        (settings.first_source_port, settings.last_source_port) = (first.into(), last.into());
    }

    /// Another node answers for the VIP.
    pub fn leave_to_others(&self, vip: Address) {
        self.unanswered.borrow_mut().insert(vip);
    }

    /// Another node answered for the VIPs until now.
    pub fn relay_to(&self, node: Address) {
        self.relay.set(Some(node));
    }

    pub fn limit_entries(&self, limit: usize) {
        self.limit.set(limit);
    }

    pub fn advance_seconds(&self, seconds: u64) {
        self.now_ns.set(self.now_ns.get() + seconds * SECOND_NS);
    }

    pub fn entries(&self) -> usize {
        self.conntrack.borrow().len()
    }

    pub fn active(&self, backend: u32) -> u64 {
        self.active.borrow().get(&backend).copied().unwrap_or(0)
    }

    pub fn event(&self, event: Event) -> u64 {
        self.events.borrow().get(&(event as u32)).copied().unwrap_or(0)
    }

    pub fn state(&self, flow: &Flow) -> Option<FlowState> {
        self.conntrack(flow)?.state()
    }

    pub fn backends(&self) -> Vec<Address> {
        // SAFETY: the tests are single-threaded and nobody changes a backend meanwhile.
        unsafe { &*self.backends.get() }.iter().map(|backend| backend.address).collect()
    }
}

impl Tables for Memory {
    fn may_be_vip(&self, address: &Address) -> bool {
        self.is_vip(address) || self.doubtful.borrow().contains(address)
    }

    fn may_be_backend(&self, address: &Address) -> bool {
        self.backends().contains(address) || self.doubtful.borrow().contains(address)
    }

    fn is_vip(&self, address: &Address) -> bool {
        self.vips.borrow().contains(address)
    }

    fn vip(&self, address: &Address) -> Option<Vip> {
        let relay = self.relay.get().unwrap_or(Address::UNSPECIFIED);
        self.is_vip(address).then_some(Vip { frontends: 1, answers: 1, relay })
    }

    fn is_unanswered(&self, address: &Address) -> bool {
        self.unanswered.borrow().contains(address)
    }

    fn frontend(&self, key: &FrontendKey) -> Option<Frontend> {
        self.frontends.borrow().get(key).copied()
    }

    fn is_steered(&self, key: &FrontendKey) -> bool {
        self.frontend(key).is_some_and(|frontend| frontend.is_steered())
    }

    fn service(&self, _frontend: u32) -> Option<Service> {
        Some(self.service.get())
    }

    fn group(&self, group: u32) -> Option<Group> {
        let backends = *self.groups.borrow().get(group as usize)?;
        Some(Group { backends, reference: 1, frontend: 0, _reserved: 0 })
    }

    fn slot(&self, index: u32) -> Option<Slot> {
        self.slots.borrow().get(index as usize).map(|member| Slot { member: *member })
    }

    fn backend(&self, backend: u32) -> Option<&Backend> {
        // SAFETY: the tests are single-threaded and change backends only between packets.
        unsafe { &*self.backends.get() }.get(backend as usize)
    }

    fn is_current(&self, backend: u32, generation: u32) -> bool {
        self.backend(backend).is_some_and(|backend| backend.generation == generation)
    }

    fn step_service(&self, _frontend: u32) -> u64 {
        self.service_steps.replace(self.service_steps.get() + 1)
    }

    fn step_group(&self, group: u32) -> u64 {
        let mut steps = self.group_steps.borrow_mut();
        let taken = steps.entry(group).or_default();
        *taken += 1;
        *taken - 1
    }

    fn random(&self) -> u32 {
        self.random.replace(self.random.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223)) >> 8
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn is_admitted(&self, client: &SourceRange) -> bool {
        assert_eq!((client.prefix_bits, client.first.frontend), (SourceRange::CLIENT_BITS, 0));
        let number = |address: Address| u128::from_be_bytes(*address.octets());
        let is_in = |range: &SourceRange| {
            let mask = u128::MAX.checked_shl(160 - range.prefix_bits).unwrap_or(0);
            (number(range.first.address) ^ number(client.first.address)) & mask == 0
        };
        self.sources.borrow().iter().any(is_in)
    }

    fn affinity(&self, client: &Client) -> Option<&mut Affinity> {
        let affinity = self.affinity.borrow();
        // SAFETY: the tests are single-threaded, and entries are replaced and removed only between look-ups.
        affinity.get(client).map(|entry| unsafe { &mut *entry.get() })
    }

    fn remember(&self, client: &Client, affinity: &Affinity) {
        self.affinity.borrow_mut().insert(*client, Box::new(UnsafeCell::new(*affinity)));
    }

    fn conntrack(&self, flow: &Flow) -> Option<&mut ConntrackEntry> {
        let conntrack = self.conntrack.borrow();
        // SAFETY: the box outlives the borrow of the map, as removed ones are kept; tests are single-threaded.
        conntrack.get(flow).map(|entry| unsafe { &mut *entry.get() })
    }

    fn draft(&self) -> Option<&mut Draft> {
        // SAFETY: the tests are single-threaded, and a flow is established by one caller at a time.
        Some(unsafe { &mut *self.draft.get() })
    }

    fn twin_key(&self, entry: &ConntrackEntry, protocol: Protocol) -> Option<&Flow> {
        // SAFETY: the tests are single-threaded, and nobody keeps a key for longer than the next one is wanted.
        let key = unsafe { &mut *self.twin.get() };
        *key = entry.twin(protocol);
        Some(key)
    }

    fn track(&self, flow: &Flow, entry: &ConntrackEntry) -> Result<(), TrackError> {
        let mut conntrack = self.conntrack.borrow_mut();
        if conntrack.contains_key(flow) {
            return Err(TrackError::Exists);
        }
        if conntrack.len() >= self.limit.get() {
            return Err(TrackError::Full);
        }
        conntrack.insert(*flow, Box::new(UnsafeCell::new(*entry)));
        Ok(())
    }

    fn untrack(&self, flow: &Flow) -> bool {
        let removed = self.conntrack.borrow_mut().remove(flow);
        let found = removed.is_some();
        self.removed.borrow_mut().extend(removed);
        found
    }

    fn establish(&self, flow: &Flow) -> Result<Established, DropReason> {
        establish(flow, self)
    }

    fn track_draft(&self, flow: &Flow) -> Tracked {
        track_draft(flow, self)
    }

    fn find_port(&self, flow: &Flow) -> Tracked {
        find_port(flow, self)
    }

    fn has_socket(&self, flow: &Flow) -> bool {
        self.host_connections.borrow().contains(flow)
    }

    fn settings(&self) -> Option<&Settings> {
        // SAFETY: the tests are single-threaded and change settings only between packets.
        Some(unsafe { &*self.settings.get() })
    }

    fn connections_begun(&self, backend: u32) -> u64 {
        self.begun.borrow().get(&backend).copied().unwrap_or(0)
    }

    fn count_packet(&self, _frontend: u32, _backend: u32) {}

    fn count_begin(&self, _frontend: u32, backend: u32) {
        *self.active.borrow_mut().entry(backend).or_default() += 1;
        *self.begun.borrow_mut().entry(backend).or_default() += 1;
    }

    fn count_steered(&self, _frontend: u32) {
        self.steered.set(self.steered.get() + 1);
    }

    fn count_end(&self, _frontend: u32, backend: u32) {
        *self.active.borrow_mut().entry(backend).or_default() -= 1;
    }

    fn count_event(&self, event: Event) {
        *self.events.borrow_mut().entry(event as u32).or_default() += 1;
    }
}
