//! A segment as one of its hosts sees it: who answers and announces which address (ARP, NDP).
//!
//! Frames are read as they come, before the host makes anything of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::netns::Namespace;
use crate::wait;

/// How long a claim may take to come.
const LIMIT: Duration = Duration::from_secs(10);
/// How often the watcher looks whether it shall end.
const TURN: Duration = Duration::from_millis(50);

/// An address of a device on an Ethernet segment.
pub type Hardware = [u8; 6];

/// How an address was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A gratuitous request of ARP.
    Gratuitous,
    /// A reply of ARP.
    Reply,
    /// A neighbour advertisement.
    Advertisement,
}

/// Somebody has said that an address is his.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// When it was received.
    pub at: Instant,
    /// The address.
    pub address: IpAddr,
    /// Where it is said to be.
    pub hardware: Hardware,
    /// How it was said.
    pub form: Form,
    /// Whether everybody was told, and not only who had asked.
    pub to_all: bool,
}

/// Listens on a host's `eth0`.
pub struct Watch {
    stop: Arc<AtomicBool>,
    claims: Arc<Mutex<Vec<Claim>>>,
    worker: Option<JoinHandle<Result<()>>>,
}

impl Watch {
    /// Begins to listen.
    pub fn start(from: &Namespace) -> Result<Self> {
        let (stop, claims) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Claim>>>::default());
        let socket = from.enter(open)?.context("no packet socket")?;
        let (stopped, heard) = (Arc::clone(&stop), Arc::clone(&claims));
        let worker = from.spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                match recv(socket.as_raw_fd(), &mut buffer, nix::sys::socket::MsgFlags::empty()) {
                    Ok(length) => {
                        let claim = claim_of(&buffer[..length]);
                        heard.lock().unwrap_or_else(PoisonError::into_inner).extend(claim);
                    }
                    Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ENETDOWN) => {}
                    Err(error) => return Err(error).context("the segment cannot be watched"),
                }
            }
            Ok(())
        })?;
        Ok(Self { stop, claims, worker: Some(worker) })
    }

    /// What was claimed of an address so far.
    pub fn claims(&self, address: IpAddr) -> Vec<Claim> {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.iter().filter(|claim| claim.address == address).copied().collect()
    }

    /// Waits until the claims of an address satisfy a condition.
    pub fn wait_for(&self, address: IpAddr, what: &str, is_so: impl Fn(&[Claim]) -> bool) -> Result<Vec<Claim>> {
        let satisfied = || Some(self.claims(address)).filter(|claims| is_so(claims));
        wait::until(&format!("{address}: {what}"), LIMIT, satisfied)
            .with_context(|| format!("claimed: {:#?}", self.claims(address)))
    }

    /// Ends it.
    pub fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let worker = self.worker.take().context("it has ended")?;
        worker.join().map_err(|_| anyhow!("the watcher of the segment panicked"))?
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Forgets who has an address and asks anew, as any program does that sends something there.
pub fn ask(from: &Namespace, address: IpAddr) -> Result<()> {
    forget(from, address)?;
    let sent = from.enter(|| {
        let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        // The discard port; who answers what does not matter.
        socket.send_to(b"?", (address, 9))
    })?;
    match sent {
        // An answer to an earlier question may say that nobody listens.
        Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => Err(error).context("nothing can be sent"),
        _ => Ok(()),
    }
}

/// Forgets who has an address.
pub fn forget(from: &Namespace, address: IpAddr) -> Result<()> {
    // Replaced first: it is no error then that there was none.
    from.ip(&format!(
        "neigh replace {address} lladdr 02:00:00:00:00:01 nud stale dev eth0\nneigh del {address} dev eth0\n"
    ))
}

/// Whom a host believes to have an address.
pub fn known(from: &Namespace, address: IpAddr) -> Result<Option<String>> {
    let output = from.command("ip")?.args(["neigh", "show", &address.to_string(), "dev", "eth0"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace();
    Ok(words.find(|word| *word == "lladdr").and_then(|_| words.next()).map(str::to_owned))
}

/// The address of a host's `eth0` on its segment, as `ip` writes it.
pub fn hardware(of: &Namespace) -> Result<String> {
    let output = of.command("ip")?.args(["-o", "link", "show", "dev", "eth0"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace();
    let found = words.find(|word| *word == "link/ether").and_then(|_| words.next());
    found.map(str::to_owned).with_context(|| format!("eth0 of {} is no Ethernet device: {text}", of.name()))
}

/// As `ip` writes it.
pub fn written(hardware: Hardware) -> String {
    hardware.map(|octet| format!("{octet:02x}")).join(":")
}

fn open() -> Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(TURN.as_millis() as i64))?;
    Ok(socket)
}

fn claim_of(frame: &[u8]) -> Option<Claim> {
    let at = Instant::now();
    let to_all = frame.first()? & 1 == 1;
    match (frame.get(12..14)?, frame.get(14..)?) {
        ([0x08, 0x06], arp) => {
            let sender = Ipv4Addr::from(*arp.get(14..18)?.first_chunk()?);
            let target = Ipv4Addr::from(*arp.get(24..28)?.first_chunk()?);
            let form = match arp.get(6..8)? {
                [0, 1] if sender == target => Form::Gratuitous,
                [0, 2] => Form::Reply,
                _ => return None,
            };
            Some(Claim { at, address: sender.into(), hardware: *arp.get(8..14)?.first_chunk()?, form, to_all })
        }
        ([0x86, 0xdd], packet) if packet.get(6) == Some(&58) && packet.get(40) == Some(&136) => {
            let target: [u8; 16] = *packet.get(48..64)?.first_chunk()?;
            let [2, 1, option @ ..] = packet.get(64..72)? else { return None };
            let hardware = *option.first_chunk()?;
            let address = Ipv6Addr::from(target).into();
            Some(Claim { at, address, hardware, form: Form::Advertisement, to_all })
        }
        _ => None,
    }
}
