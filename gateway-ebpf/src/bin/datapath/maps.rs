//! The maps, and the answers they give to the pipeline's questions. `gateway_common::maps` says what each is for.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::{__sk_buff, BPF_ANY, BPF_NOEXIST, bpf_fib_lookup};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, SockMap};
use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::SkLookupContext;
use gateway_common::{
    Address, Admitted, Affinity, Backend, Client, Connections, ConntrackEntry, Counter, Cursor, DropReason, Event,
    FilterWord, Flow, Frontend, FrontendKey, Group, Protocol, Service, Settings, Slot, SlotRange, SocketEntry,
    SocketKey, SourceRange, Traffic, Vip,
    maps::{Capacities, Listener, MAX_AFFINITIES, MAX_CANDIDATES, MAX_SOCKETS},
};
use gateway_ebpf::complaint::IcmpError;
use gateway_ebpf::draft::{Draft, Established};
use gateway_ebpf::establish::Tracked;
use gateway_ebpf::parse::Headers;
use gateway_ebpf::quoted::Quote;
use gateway_ebpf::socket::Sockets;
use gateway_ebpf::tables::{Tables, TrackError};

use crate::global;
use crate::host::{self, AF_INET};

const FLOW_ENTRIES: usize = Capacities::DEFAULT.conntrack_entries() as usize;
const FRONTEND_IDS: usize = Capacities::DEFAULT.frontends as usize;
const BACKEND_IDS: usize = Capacities::DEFAULT.backends as usize;
const GROUP_IDS: usize = Capacities::DEFAULT.groups() as usize;
const SLOT_COUNT: usize = Capacities::DEFAULT.slots() as usize;
const SOURCE_COUNT: usize = Capacities::DEFAULT.sources as usize;
const FILTER_WORDS: usize = FilterWord::COUNT as usize;

#[btf_map]
static VIP_FILTER: Array<FilterWord, FILTER_WORDS> = Array::new();
#[btf_map]
static BACKEND_FILTER: Array<FilterWord, FILTER_WORDS> = Array::new();
#[btf_map]
static VIPS: HashMap<Address, Vip, FRONTEND_IDS> = HashMap::new();
#[btf_map]
static FRONTENDS: HashMap<FrontendKey, Frontend, FRONTEND_IDS> = HashMap::new();
#[btf_map]
static LISTENERS: SockMap<{ Listener::ALL.len() }> = SockMap::new();
#[btf_map]
static SERVICES: Array<Service, FRONTEND_IDS> = Array::new();
#[btf_map]
static GROUPS: Array<Group, GROUP_IDS> = Array::new();
#[btf_map]
static SLOTS: Array<Slot, SLOT_COUNT> = Array::new();
#[btf_map]
static SERVICE_CURSORS: Array<Cursor, FRONTEND_IDS> = Array::new();
#[btf_map]
static GROUP_CURSORS: Array<Cursor, GROUP_IDS> = Array::new();
#[btf_map]
static BACKENDS: Array<Backend, BACKEND_IDS> = Array::new();
#[btf_map]
static AFFINITY: LruHashMap<Client, Affinity, { MAX_AFFINITIES as usize }> = LruHashMap::new();
#[btf_map]
static SOURCES: LpmTrie<Client, Admitted, SOURCE_COUNT> = LpmTrie::new();
#[btf_map]
static CONNTRACK: HashMap<Flow, ConntrackEntry, FLOW_ENTRIES> = HashMap::new();
#[btf_map]
static SOCKETS: LruHashMap<SocketKey, SocketEntry, { MAX_SOCKETS as usize }> = LruHashMap::new();
/// Not pinned: it means nothing between two packets.
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
#[btf_map]
static FRONTEND_CONNS: Array<Connections, FRONTEND_IDS> = Array::new();
#[btf_map]
static BACKEND_CONNS: Array<Connections, BACKEND_IDS> = Array::new();
#[btf_map]
static FRONTEND_BYTES: PerCpuArray<Traffic, FRONTEND_IDS> = PerCpuArray::new();
#[btf_map]
static BACKEND_BYTES: PerCpuArray<Traffic, BACKEND_IDS> = PerCpuArray::new();
#[btf_map]
static DROPS: PerCpuArray<Counter, { DropReason::ALL.len() }> = PerCpuArray::new();
#[btf_map]
static EVENTS: PerCpuArray<Counter, { Event::ALL.len() }> = PerCpuArray::new();
#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
static CANDIDATES: Array<Flow, { MAX_CANDIDATES as usize }> = Array::new();
#[btf_map]
static CANDIDATE_NEXT: Array<Cursor, 1> = Array::new();

/// What a CPU keeps while it looks at a packet and has no room for on the stack.
///
/// No program that uses it interrupts another on the same CPU: both hooks run with bottom halves disabled.
#[repr(C)]
pub struct Scratch {
    /// The packet's headers.
    pub headers: Headers,
    /// What an ICMP error quotes.
    pub quote: Quote,
    draft: Draft,
    twin: Flow,
    way: bpf_fib_lookup,
    error: IcmpError,
}

/// This CPU's place for headers.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: this CPU's own value, which nobody else uses until the program ends; all zeros are valid headers.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// This CPU's place for a question to the host's routes.
#[inline(always)]
pub fn way() -> Option<&'static mut bpf_fib_lookup> {
    // SAFETY: this CPU's own value; nobody else uses this part of it, and any bytes are valid.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut (*scratch).way })
}

/// This CPU's place for an ICMP error of ours.
#[inline(always)]
pub fn icmp_error() -> Option<&'static mut IcmpError> {
    // SAFETY: as above.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut (*scratch).error })
}

/// The maps, as one packet sees them.
pub struct Maps {
    /// The packet, whose bytes are counted, and by which the host's sockets are asked.
    pub skb: *mut __sk_buff,
}

/// The maps, where no packet is counted.
pub const MAPS: Maps = Maps { skb: core::ptr::null_mut() };

/// Hands a delivery to the listener of its family, and says whether there is one that takes it.
#[inline(always)]
pub fn steer(context: &SkLookupContext) -> bool {
    // SAFETY: the context the kernel handed to the program.
    let listener = if unsafe { (*context.lookup).family } == AF_INET { Listener::V4 } else { Listener::V6 };
    // Of several sockets that share a port the kernel then picks one by the flow, as it does without us.
    LISTENERS.redirect_sk_lookup(context, listener as u32, 0).is_ok()
}

/// Counts a drop.
#[inline(always)]
pub fn count_drop(reason: DropReason) {
    count(DROPS.get_ptr_mut(reason as u32));
}

/// The next candidate for collection, and the time-outs.
#[inline(always)]
pub fn next_candidate() -> Option<(Flow, &'static Settings)> {
    let index = step(CANDIDATE_NEXT.get_ptr_mut(0));
    let candidate = CANDIDATES.get(index as u32)?;
    Some((*candidate, SETTINGS.get(0)?))
}

/// The kernel's number for the node's network namespace.
#[inline(always)]
pub fn node_namespace() -> Option<u64> {
    SETTINGS.get(0).map(|settings| settings.namespace)
}

impl Tables for Maps {
    #[inline(always)]
    fn may_be_vip(&self, address: &Address) -> bool {
        let (word, bit) = FilterWord::position(address);
        VIP_FILTER.get(word).is_some_and(|word| word.bits & bit != 0)
    }

    #[inline(always)]
    fn may_be_backend(&self, address: &Address) -> bool {
        let (word, bit) = FilterWord::position(address);
        BACKEND_FILTER.get(word).is_some_and(|word| word.bits & bit != 0)
    }

    #[inline(always)]
    fn is_vip(&self, address: &Address) -> bool {
        VIPS.get_ptr(address).is_some()
    }

    #[inline(always)]
    fn is_unanswered(&self, address: &Address) -> bool {
        let Some(settings) = SETTINGS.get(0) else { return false };
        // SAFETY: any bytes are a valid value, and the element may be another's by then, whose value is as valid.
        VIPS.get_ptr(address).is_some_and(|vip| unsafe { !(*vip).is_answered(self.now_ns(), settings) })
    }

    #[inline(always)]
    fn vip(&self, address: &Address) -> Option<Vip> {
        // SAFETY: as above.
        VIPS.get_ptr(address).map(|vip| unsafe { *vip })
    }

    #[inline(always)]
    fn frontend(&self, key: &FrontendKey) -> Option<Frontend> {
        // SAFETY: nothing is inserted or removed before the value has been copied.
        unsafe { FRONTENDS.get(key) }.copied()
    }

    #[inline(always)]
    fn is_steered(&self, key: &FrontendKey) -> bool {
        // Read where it lies: of a copy that is not there LLVM would take the flags all the same.
        // SAFETY: as in `is_unanswered`.
        FRONTENDS.get_ptr(key).is_some_and(|frontend| unsafe { (*frontend).is_steered() })
    }

    #[inline(always)]
    fn service(&self, frontend: u32) -> Option<Service> {
        let service = SERVICES.get_ptr(frontend)?;
        // SAFETY: an array's element stays where it is for the life of the map.
        let (groups, service) = unsafe { (read_range(&raw const (*service).groups), &*service) };
        let Service { affinity_timeout_sec, algorithm, restricted, mode, .. } = *service;
        Some(Service { groups, affinity_timeout_sec, algorithm, restricted, mode, _reserved: 0 })
    }

    #[inline(always)]
    fn group(&self, group: u32) -> Option<Group> {
        let group = GROUPS.get_ptr(group)?;
        // SAFETY: an array's element stays where it is for the life of the map.
        let backends = unsafe { read_range(&raw const (*group).backends) };
        Some(Group { backends, reference: 0, frontend: 0, _reserved: 0 })
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<Slot> {
        SLOTS.get(index).copied()
    }

    #[inline(always)]
    fn backend(&self, backend: u32) -> Option<&Backend> {
        BACKENDS.get(backend)
    }

    #[inline(always)]
    fn is_current(&self, backend: u32, generation: u32) -> bool {
        BACKENDS.get(backend).is_some_and(|backend| backend.generation == generation)
    }

    #[inline(always)]
    fn step_service(&self, frontend: u32) -> u64 {
        step(SERVICE_CURSORS.get_ptr_mut(frontend))
    }

    #[inline(always)]
    fn step_group(&self, group: u32) -> u64 {
        step(GROUP_CURSORS.get_ptr_mut(group))
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: helper 7 is `bpf_get_prandom_u32` (include/uapi/linux/bpf.h), which takes no arguments and cannot
        // fail. Every helper returns 64 bits; the binding that says 32 makes LLVM's BPF back end abort here.
        let random = unsafe { core::mem::transmute::<usize, extern "C" fn() -> u64>(7) };
        random() as u32
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper takes no arguments and cannot fail.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn is_admitted(&self, client: &SourceRange) -> bool {
        const { assert!(size_of::<SourceRange>() == size_of::<Key<Client>>()) };
        // SAFETY: both are the prefix's length and then the client, without padding, and the key's alignment is one.
        SOURCES.get(unsafe { &*core::ptr::from_ref(client).cast::<Key<Client>>() }).is_some()
    }

    #[inline(always)]
    fn affinity(&self, client: &Client) -> Option<&mut Affinity> {
        // SAFETY: as in `conntrack` below; an element that is reused meanwhile is another client's, of which one
        // field may be written then: that it was seen just now.
        AFFINITY.get_ptr_mut(client).map(|affinity| unsafe { &mut *affinity })
    }

    #[inline(always)]
    fn remember(&self, client: &Client, affinity: &Affinity) {
        // It fails only for want of memory that is there: the map is preallocated and gives old entries up.
        let _ = AFFINITY.insert(client, affinity, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn conntrack(&self, flow: &Flow) -> Option<&mut ConntrackEntry> {
        // SAFETY: the kernel keeps a looked-up element readable and writable until the program ends. Should it
        // be reused meanwhile, every field is still one that was written whole, as the trait demands.
        CONNTRACK.get_ptr_mut(flow).map(|entry| unsafe { &mut *entry })
    }

    #[inline(always)]
    fn draft(&self) -> Option<&mut Draft> {
        // SAFETY: this CPU's own value; nobody else uses this part of it.
        SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut (*scratch).draft })
    }

    #[inline(always)]
    fn twin_key(&self, entry: &ConntrackEntry, protocol: Protocol) -> Option<&Flow> {
        // SAFETY: this CPU's own value; nobody else uses this part of it, nor keeps it for longer than is said.
        let key = SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut (*scratch).twin })?;
        *key = entry.twin(protocol);
        Some(key)
    }

    #[inline(always)]
    fn track(&self, flow: &Flow, entry: &ConntrackEntry) -> Result<(), TrackError> {
        match CONNTRACK.insert(flow, entry, u64::from(BPF_NOEXIST)) {
            Ok(()) => Ok(()),
            Err(EEXIST) => Err(TrackError::Exists),
            Err(_) => Err(TrackError::Full),
        }
    }

    #[inline(always)]
    fn untrack(&self, flow: &Flow) -> bool {
        CONNTRACK.remove(flow).is_ok()
    }

    #[inline(always)]
    fn establish(&self, flow: &Flow) -> Result<Established, DropReason> {
        global::establish(flow)
    }

    #[inline(always)]
    fn track_draft(&self, flow: &Flow) -> Tracked {
        global::track(flow)
    }

    #[inline(always)]
    fn find_port(&self, flow: &Flow) -> Tracked {
        global::track_with_port(flow)
    }

    #[inline(always)]
    fn has_socket(&self, flow: &Flow) -> bool {
        host::has_socket(self.skb, flow)
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }

    #[inline(always)]
    fn connections_begun(&self, backend: u32) -> u64 {
        BACKEND_CONNS.get(backend).map_or(0, |connections| connections.new)
    }

    #[inline(always)]
    fn count_packet(&self, frontend: u32, backend: u32) {
        // SAFETY: the context the kernel handed to the program; only one that looks at a packet counts it.
        let bytes = u64::from(unsafe { (*self.skb).len });
        add_traffic(FRONTEND_BYTES.get_ptr_mut(frontend), bytes);
        add_traffic(BACKEND_BYTES.get_ptr_mut(backend), bytes);
    }

    #[inline(always)]
    fn count_begin(&self, frontend: u32, backend: u32) {
        begin(FRONTEND_CONNS.get_ptr_mut(frontend));
        begin(BACKEND_CONNS.get_ptr_mut(backend));
    }

    #[inline(always)]
    fn count_steered(&self, frontend: u32) {
        // SAFETY: a pointer into an array map; the addition is atomic.
        FRONTEND_CONNS.get_ptr_mut(frontend).map(|connections| unsafe { add(&raw mut (*connections).new, 1) });
    }

    #[inline(always)]
    fn count_end(&self, frontend: u32, backend: u32) {
        end(FRONTEND_CONNS.get_ptr_mut(frontend));
        end(BACKEND_CONNS.get_ptr_mut(backend));
    }

    #[inline(always)]
    fn count_event(&self, event: Event) {
        count(EVENTS.get_ptr_mut(event as u32));
    }
}

impl Sockets for Maps {
    #[inline(always)]
    fn socket(&self, key: &SocketKey) -> Option<&mut SocketEntry> {
        // SAFETY: as in `affinity` above.
        SOCKETS.get_ptr_mut(key).map(|entry| unsafe { &mut *entry })
    }

    #[inline(always)]
    fn remember_socket(&self, key: &SocketKey, entry: &SocketEntry) {
        // As in `remember` above.
        let _ = SOCKETS.insert(key, entry, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn forget_socket(&self, key: &SocketKey) {
        // It fails only if there is none.
        let _ = SOCKETS.remove(key);
    }

    #[inline(always)]
    fn count_selected(&self, frontend: u32, backend: u32) {
        for connections in [FRONTEND_CONNS.get_ptr_mut(frontend), BACKEND_CONNS.get_ptr_mut(backend)] {
            // SAFETY: a pointer into an array map; the addition is atomic.
            connections.map(|connections| unsafe { add(&raw mut (*connections).new, 1) });
        }
        count_atomically(EVENTS.get_ptr_mut(Event::SocketSelected as u32));
    }

    #[inline(always)]
    fn count_moved(&self) {
        count_atomically(EVENTS.get_ptr_mut(Event::SocketMoved as u32));
    }
}

/// Counts a refusal for a program that a packet may interrupt.
#[inline(always)]
pub fn count_socket_refusal(reason: DropReason) {
    count_atomically(DROPS.get_ptr_mut(reason as u32));
}

/// What the kernel answers to an insertion that finds the key taken.
const EEXIST: i32 = -17;

/// Reads a range as the agent writes it: as one word, so that it is never half old and half new.
///
/// # Safety
///
/// `range` must point to a range in a map.
#[inline(always)]
unsafe fn read_range(range: *const SlotRange) -> SlotRange {
    // SAFETY: a range is eight bytes and aligned to eight, and any bytes are a valid number.
    let word = unsafe { range.cast::<u64>().read_volatile() };
    zerocopy::transmute!(word)
}

#[inline(always)]
fn step(cursor: Option<*mut Cursor>) -> u64 {
    // SAFETY: a pointer into an array map; the addition is atomic, as other CPUs step too.
    cursor.map_or(0, |cursor| unsafe { add(&raw mut (*cursor).steps, 1) })
}

#[inline(always)]
fn begin(connections: Option<*mut Connections>) {
    if let Some(connections) = connections {
        // SAFETY: a pointer into an array map; the additions are atomic.
        unsafe {
            add(&raw mut (*connections).new, 1);
            add(&raw mut (*connections).active, 1);
        }
    }
}

#[inline(always)]
fn end(connections: Option<*mut Connections>) {
    if let Some(connections) = connections {
        // SAFETY: a pointer into an array map; adding the two's complement of one atomically subtracts one.
        unsafe { add(&raw mut (*connections).active, u64::MAX) };
    }
}

#[inline(always)]
fn count(counter: Option<*mut Counter>) {
    if let Some(counter) = counter {
        // SAFETY: a pointer to this CPU's value of a per-CPU array; no other CPU writes it.
        unsafe { (*counter).packets += 1 };
    }
}

/// As [`count`], in one step that nothing on this CPU can interrupt.
#[inline(always)]
fn count_atomically(counter: Option<*mut Counter>) {
    // SAFETY: a pointer into a per-CPU array map; the addition is atomic.
    counter.map(|counter| unsafe { add(&raw mut (*counter).packets, 1) });
}

#[inline(always)]
fn add_traffic(traffic: Option<*mut Traffic>, bytes: u64) {
    if let Some(traffic) = traffic {
        // SAFETY: a pointer to this CPU's value of a per-CPU array; no other CPU writes it.
        unsafe {
            (*traffic).packets += 1;
            (*traffic).bytes += bytes;
        }
    }
}

/// Adds atomically and returns what was there before.
///
/// # Safety
///
/// `value` must point into a map that lives as long as the program.
#[inline(always)]
unsafe fn add(value: *mut u64, addend: u64) -> u64 {
    // SAFETY: valid as the caller promises. The intrinsic is called because this target has no `AtomicU64::fetch_add`.
    // A relaxed addition would be compiled to an instruction that does not return the old value.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(value, addend) }
}
