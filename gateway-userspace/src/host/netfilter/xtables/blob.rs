//! A table of `iptables-legacy` as the kernel gives it: where chains begin and end, and the entries one after the other.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::super::rules::Family;

const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
const NAME: usize = 32;
const HOOKS: usize = 5;
/// Name, hooks that are valid, beginnings, ends, count, size.
const INFO: usize = NAME + 4 + 4 * HOOKS * 2 + 8;
/// Name and size before the entries, which are aligned to eight bytes.
const ENTRIES: usize = 40;
/// How often a table that changes under our eyes is asked for again.
const ATTEMPTS: u32 = 4;

/// A table.
pub struct Blob {
    pub info: Info,
    pub entries: Vec<u8>,
}

/// Where its chains are.
pub struct Info {
    valid: u32,
    begins: [u32; HOOKS],
    ends: [u32; HOOKS],
    size: u32,
}

impl Info {
    /// Where the chain of a hook begins, and where its policy is.
    pub fn chain(&self, hook: u32) -> Option<(usize, usize)> {
        let at = hook as usize;
        (self.valid & 1 << hook != 0).then(|| (self.begins[at] as usize, self.ends[at] as usize))
    }

    fn read(bytes: &[u8; INFO]) -> Self {
        let number = |at: usize| {
            let mut number = [0; 4];
            number.copy_from_slice(&bytes[NAME + at * 4..NAME + at * 4 + 4]);
            u32::from_ne_bytes(number)
        };
        Self {
            valid: number(0),
            begins: std::array::from_fn(|hook| number(1 + hook)),
            ends: std::array::from_fn(|hook| number(1 + HOOKS + hook)),
            size: number(2 + 2 * HOOKS),
        }
    }
}

/// The tables that are there.
pub fn tables(family: Family) -> io::Result<Vec<String>> {
    let name = if family == Family::V4 { "ip_tables_names" } else { "ip6_tables_names" };
    match fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

impl Blob {
    /// Reads a table; nothing if it went meanwhile.
    pub fn read(family: Family, table: &str) -> io::Result<Option<Self>> {
        let socket = socket(family)?;
        let mut attempt = 1;
        loop {
            let mut info = [0; INFO];
            write_name(&mut info, table);
            match option(&socket, family, GET_INFO, &mut info) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
                asked => asked?,
            }
            let info = Info::read(&info);
            let mut answer = vec![0; ENTRIES + info.size as usize];
            write_name(&mut answer, table);
            answer[NAME..NAME + 4].copy_from_slice(&info.size.to_ne_bytes());
            match option(&socket, family, GET_ENTRIES, &mut answer) {
                // It has another size by now.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && attempt < ATTEMPTS => attempt += 1,
                asked => {
                    asked?;
                    return Ok(Some(Self { info, entries: answer.split_off(ENTRIES) }));
                }
            }
        }
    }
}

fn write_name(bytes: &mut [u8], table: &str) {
    let name = table.as_bytes();
    let length = name.len().min(NAME - 1);
    bytes[..length].copy_from_slice(&name[..length]);
}

fn socket(family: Family) -> io::Result<OwnedFd> {
    let domain = if family == Family::V4 { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: the call takes no pointers.
    let descriptor = unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is a new one, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn option(socket: &OwnedFd, family: Family, option: libc::c_int, value: &mut [u8]) -> io::Result<()> {
    let level = if family == Family::V4 { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    let mut length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the buffer is valid for writes of `length` bytes, which is its own length.
    let outcome =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, value.as_mut_ptr().cast(), &raw mut length) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
