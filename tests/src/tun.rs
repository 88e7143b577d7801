//! A wire without link-layer headers between two namespaces: a tun device in each, and what one sends the other receives.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};

use crate::netns::Namespace;

/// No packet is longer.
const MAX_BYTES: usize = 65_536;
/// How long a thread waits for a packet before it looks whether it is still wanted.
const PATIENCE_MS: i32 = 50;

/// The wire; dropping it removes both devices.
pub struct Wire {
    is_cut: Arc<AtomicBool>,
    carriers: Vec<JoinHandle<()>>,
}

impl Wire {
    /// Makes a device of this name in both namespaces. They are down and without addresses.
    pub fn between(one: &Namespace, other: &Namespace, device: &str) -> Result<Self> {
        let ends = [one.enter(|| open(device))??, other.enter(|| open(device))??];
        let is_cut = Arc::new(AtomicBool::new(false));
        let mut carriers = Vec::new();
        for (from, to) in [(0, 1), (1, 0)] {
            let (from, to) = (ends[from].try_clone()?, ends[to].try_clone()?);
            let is_cut = Arc::clone(&is_cut);
            carriers.push(thread::spawn(move || carry(&from, &to, &is_cut)));
        }
        Ok(Self { is_cut, carriers })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.is_cut.store(true, Ordering::Relaxed);
        for carrier in self.carriers.drain(..) {
            // One that panicked has printed so; its device goes all the same.
            let _ended = carrier.join();
        }
    }
}

/// Makes the device in the namespace of this thread.
fn open(device: &str) -> Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun").context("cannot open /dev/net/tun")?;
    // SAFETY: `ifreq` is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // C libraries disagree about the type of a request's number.
    let number = libc::TUNSETIFF as libc::Ioctl;
    // SAFETY: the file is open, and the request is a live `ifreq` as TUNSETIFF expects.
    if unsafe { libc::ioctl(file.as_raw_fd(), number, &raw mut request) } != 0 {
        bail!("cannot make the tun device `{device}`: {}", std::io::Error::last_os_error());
    }
    Ok(file)
}

fn carry(mut from: &File, mut to: &File, is_cut: &AtomicBool) {
    let mut packet = vec![0; MAX_BYTES];
    while !is_cut.load(Ordering::Relaxed) {
        if !is_readable(from) {
            continue;
        }
        let carried = from.read(&mut packet).and_then(|bytes| to.write(&packet[..bytes]));
        match carried {
            Ok(_) => {}
            // A device that is down takes nothing: the packet is lost.
            Err(error) if error.raw_os_error() == Some(libc::EIO) || error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("a tun device failed: {error}"),
        }
    }
}

fn is_readable(file: &File) -> bool {
    let mut wanted = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live `pollfd`, and the number says so.
    let ready = unsafe { libc::poll(&raw mut wanted, 1, PATIENCE_MS) };
    ready == 1 && wanted.revents & libc::POLLIN != 0
}
