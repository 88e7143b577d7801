//! The calls of bpf(2) that the typed tables need and aya does not offer: batches, links that are changed in place,
//! test runs; a mount that has no path and a namespace's number. The one file with raw calls; everything above it is safe code.
//!
//! Layouts and numbers are those of the kernel's `include/uapi/linux/bpf.h`, `union bpf_attr`.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `SO_NETNS_COOKIE` of `include/uapi/asm-generic/socket.h`.
const SO_NETNS_COOKIE: libc::c_int = 71;
/// `FSOPEN_CLOEXEC` of `include/uapi/linux/mount.h`.
const FSOPEN_CLOEXEC: libc::c_uint = 1;
/// `FSCONFIG_CMD_CREATE` of `include/uapi/linux/mount.h`.
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
/// `FSMOUNT_CLOEXEC` of `include/uapi/linux/mount.h`.
const FSMOUNT_CLOEXEC: libc::c_uint = 1;

/// `enum bpf_cmd`.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Command {
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    MapGetNextKey = 4,
    ObjGet = 7,
    ProgTestRun = 10,
    ObjGetInfoByFd = 15,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    LinkUpdate = 29,
    LinkDetach = 34,
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Element {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Batch {
    begin: u64,
    end: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Object {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Info {
    bpf_fd: u32,
    length: u32,
    address: u64,
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// The beginning of `struct bpf_map_info`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct MapInfo {
    /// `enum bpf_map_type`.
    pub(super) map_type: u32,
    /// The kernel's number for the map.
    pub(super) id: u32,
    /// Bytes of a key.
    pub(super) key_size: u32,
    /// Bytes of a value.
    pub(super) value_size: u32,
    /// Entries that it has room for.
    pub(super) max_entries: u32,
    /// Its flags.
    pub(super) map_flags: u32,
}

/// The beginning of `struct bpf_link_info`, as far as TCX, network namespace and cgroup links have it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct LinkInfo {
    /// `enum bpf_link_type`.
    pub(super) link_type: u32,
    /// The kernel's number for the link.
    pub(super) id: u32,
    /// The kernel's number for its program.
    pub(super) program_id: u32,
    _pad: u32,
    /// TCX: the device's index, 0 if it is gone. Network namespace: its inode, 0 if it is gone. Cgroup: the lower half
    /// of its id, 0 if it is gone.
    pub(super) target: u32,
    /// `enum bpf_attach_type`; of a cgroup the upper half of its id.
    attach_type: u32,
}

impl LinkInfo {
    /// The id of a cgroup link's cgroup, which begins where the id of its program ends.
    pub(super) fn cgroup_id(&self) -> u64 {
        let Self { target, attach_type, .. } = *self;
        u64::read_from_bytes([target, attach_type].as_bytes()).unwrap_or_default()
    }
}

/// The beginning of `struct bpf_prog_info`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ProgramInfo {
    program_type: u32,
    id: u32,
}

/// Makes the call.
///
/// # Safety
///
/// Every address in `attributes` must be that of memory that is valid for what the command reads or writes there.
unsafe fn bpf<A: FromBytes + IntoBytes>(command: Command, attributes: &mut A) -> io::Result<RawFd> {
    // SAFETY: the pointer and the length are those of `attributes`, which is borrowed mutably for the whole call and
    // valid for any bytes; the caller vouches for the addresses inside.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as u32, &raw mut *attributes, size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address_of(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64
}

/// Opens a pinned object.
pub(super) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut object = Object { pathname: address_of(path.as_bytes_with_nul()), bpf_fd: 0, file_flags: 0 };
    // SAFETY: `pathname` is a string with its final zero that lives until the end of this function.
    let fd = unsafe { bpf(Command::ObjGet, &mut object) }?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn info<T: FromZeros + FromBytes + IntoBytes>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let mut found = T::new_zeroed();
    let info = found.as_mut_bytes();
    let mut attributes = Info { bpf_fd: number(fd), length: info.len() as u32, address: info.as_mut_ptr() as u64 };
    // SAFETY: `address` is that of `found`, which has `length` bytes and is valid for any.
    unsafe { bpf(Command::ObjGetInfoByFd, &mut attributes) }?;
    Ok(found)
}

/// What the kernel says of a map.
pub(super) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    info(map)
}

/// What the kernel says of a link.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    info(link)
}

/// The kernel's number for a program.
pub(super) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    info::<ProgramInfo>(program).map(|info| info.id)
}

/// Reads a value. `value` must have the size that the kernel writes, for maps per CPU that of all CPUs.
pub(super) fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    let mut element =
        Element { map_fd: number(map), _pad: 0, key: address_of(key), value: value.as_mut_ptr() as u64, flags: 0 };
    // SAFETY: both addresses are those of slices that outlive the call; their owner checked their lengths against
    // the sizes that the kernel named for this map (`Table::open`).
    unsafe { bpf(Command::MapLookupElem, &mut element) }.map(drop)
}

/// Sets a value.
pub(super) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut element =
        Element { map_fd: number(map), _pad: 0, key: address_of(key), value: address_of(value), flags: 0 };
    // SAFETY: as in `lookup`; the kernel only reads from both.
    unsafe { bpf(Command::MapUpdateElem, &mut element) }.map(drop)
}

/// Deletes an entry.
pub(super) fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    let mut element = Element { map_fd: number(map), _pad: 0, key: address_of(key), value: 0, flags: 0 };
    // SAFETY: as in `lookup`; the kernel only reads the key.
    unsafe { bpf(Command::MapDeleteElem, &mut element) }.map(drop)
}

/// Reads the key after this one, or the first. False if there is none.
///
/// `next` must have the size of a key.
pub(super) fn next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let key = key.map_or(0, address_of);
    let mut element = Element { map_fd: number(map), _pad: 0, key, value: next.as_mut_ptr() as u64, flags: 0 };
    // SAFETY: as in `lookup`; here the kernel writes a key to where the value's address stands in other commands.
    match unsafe { bpf(Command::MapGetNextKey, &mut element) } {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads up to `count` entries after `position` into `keys` and `values`, and says how many there were and whether
/// there are more, in which case `position` has moved.
///
/// For an array the position is the index of the last entry read, for a hash a token of the kernel.
pub(super) fn lookup_batch(
    map: BorrowedFd<'_>,
    position: &mut Option<u32>,
    count: u32,
    keys: &mut [u8],
    values: &mut [u8],
) -> io::Result<(u32, bool)> {
    let begin = position.unwrap_or_default();
    let mut end = 0u32;
    let mut batch = Batch {
        begin: if position.is_some() { address_of(begin.as_bytes()) } else { 0 },
        end: end.as_mut_bytes().as_mut_ptr() as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count,
        map_fd: number(map),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: `begin` and `end` have the four bytes of a token or an array's key and outlive the call; `keys` and
    // `values` have room for `count` entries of the sizes that the kernel named for this map (`Table::read_batch`).
    match unsafe { bpf(Command::MapLookupBatch, &mut batch) } {
        Ok(_) => {
            *position = Some(end);
            Ok((batch.count, true))
        }
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok((batch.count, false)),
        Err(error) => Err(error),
    }
}

/// Sets `count` values.
pub(super) fn update_batch(map: BorrowedFd<'_>, count: u32, keys: &[u8], values: &[u8]) -> io::Result<()> {
    let mut batch = Batch {
        begin: 0,
        end: 0,
        keys: address_of(keys),
        values: address_of(values),
        count,
        map_fd: number(map),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads `count` keys and values, which the slices hold (`Table::write_run`).
    unsafe { bpf(Command::MapUpdateBatch, &mut batch) }.map(drop)
}

/// Runs a program over `data`, `repeat` times.
pub(super) fn test_run(program: BorrowedFd<'_>, data: &[u8], repeat: u32) -> io::Result<()> {
    let mut run = TestRun::new_zeroed();
    run.prog_fd = number(program);
    run.data_size_in = data.len() as u32;
    run.data_in = address_of(data);
    run.repeat = repeat;
    // SAFETY: the kernel copies `data_size_in` bytes from `data`; no output is asked for.
    unsafe { bpf(Command::ProgTestRun, &mut run) }.map(drop)
}

/// Replaces a link's program; no packet passes without one.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = LinkUpdate { link_fd: number(link), new_prog_fd: number(program), flags: 0, old_prog_fd: 0 };
    // SAFETY: the attributes hold descriptors and no address.
    unsafe { bpf(Command::LinkUpdate, &mut attributes) }.map(drop)
}

/// The kernel's number for a socket's network namespace.
pub(super) fn network_namespace_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `cookie`, and as many as it wrote to `length`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}

/// Mounts a filesystem at no path: it is there as long as the descriptor is.
pub(super) fn mount_detached(filesystem: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the name is a string with its final zero that outlives the call.
    let context = unsafe { descriptor(libc::syscall(libc::SYS_fsopen, filesystem.as_ptr(), FSOPEN_CLOEXEC)) }?;
    let (none, number) = (std::ptr::null::<u8>(), context.as_raw_fd());
    // SAFETY: this command reads neither key nor value.
    let made = unsafe { libc::syscall(libc::SYS_fsconfig, number, FSCONFIG_CMD_CREATE, none, none, 0) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call takes a descriptor and two numbers.
    unsafe { descriptor(libc::syscall(libc::SYS_fsmount, number, FSMOUNT_CLOEXEC, 0)) }
}

/// The descriptor that a call has made, or its error.
///
/// # Safety
///
/// `result` must be that of a call that has just made a descriptor or failed.
unsafe fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as RawFd) })
}

/// Detaches a link at once, whoever else holds it.
pub(super) fn detach_link(link: impl AsFd) -> io::Result<()> {
    let mut attributes = number(link.as_fd());
    // SAFETY: the attributes are one descriptor and no address.
    unsafe { bpf(Command::LinkDetach, &mut attributes) }.map(drop)
}
