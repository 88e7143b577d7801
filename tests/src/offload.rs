//! Turns a device's offloads on and off, as `ethtool -K` does: checksums, segmentation, receive merging.
//!
//! With offload a veth carries packets whose checksum is not computed yet and segments of 64 KiB; without, it
//! carries what a wire would. A rewrite has to be right for both.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use anyhow::{Result, bail};

use crate::netns::Namespace;

// Numbers of `linux/ethtool.h`.
const SET_RECEIVE_CHECKSUM: u32 = 0x15;
const SET_TRANSMIT_CHECKSUM: u32 = 0x17;
const SET_TCP_SEGMENTATION: u32 = 0x1f;
const SET_SEGMENTATION: u32 = 0x24;
const SET_RECEIVE_MERGING: u32 = 0x2c;

/// `struct ethtool_value`.
#[repr(C)]
struct Setting {
    command: u32,
    value: u32,
}

/// Sets every offload of a device in a namespace.
pub fn set(namespace: &Namespace, device: &str, on: bool) -> Result<()> {
    // Checksums go first when turned on and last when turned off, since segmentation needs them.
    let mut commands =
        [SET_RECEIVE_CHECKSUM, SET_TRANSMIT_CHECKSUM, SET_SEGMENTATION, SET_TCP_SEGMENTATION, SET_RECEIVE_MERGING];
    if !on {
        commands.reverse();
    }
    namespace.enter(|| commands.iter().try_for_each(|command| apply(device, *command, on)))?
}

fn apply(device: &str, command: u32, on: bool) -> Result<()> {
    // Any socket of the namespace serves to reach its devices.
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut setting = Setting { command, value: u32::from(on) };
    // SAFETY: `ifreq` is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if device.len() >= request.ifr_name.len() {
        bail!("`{device}` is too long for the name of a device");
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut setting).cast();
    // C libraries disagree about the type of a request's number.
    let number = libc::SIOCETHTOOL as libc::Ioctl;
    // SAFETY: the socket is open, and the request points to a live `ethtool_value` as SIOCETHTOOL expects.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), number, &raw mut request) };
    let error = std::io::Error::last_os_error();
    // A device that cannot change an offload at all has it as it is; veth can change all but receive checksums.
    if result != 0 && error.raw_os_error() != Some(libc::EOPNOTSUPP) {
        bail!("cannot set offload {command:#x} of `{device}` to {on}: {error}");
    }
    Ok(())
}
