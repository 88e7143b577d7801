//! One program and one packet: runs it, and holds what comes out.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aya::programs::{Program as Loaded, SchedClassifier, TestRun, TestRunOptions};
use aya::{Btf, Ebpf};
use gateway_common::maps::programs;

use super::Packet;
use crate::binaries;

/// The next program of the chain decides: `TCX_NEXT` of `include/uapi/linux/bpf.h`.
pub const PASS: i32 = -1;
/// The packet ends here: `TC_ACT_SHOT` of `include/uapi/linux/pkt_cls.h`.
pub const DROP: i32 = 2;
/// The packet is sent from here: `TC_ACT_REDIRECT` of `include/uapi/linux/pkt_cls.h`.
pub const REDIRECT: i32 = 7;
/// No packet is longer.
const MAX_BYTES: usize = 2048;

/// A program of the datapath's object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// What a device has received.
    Ingress,
    /// What a device is about to send.
    Egress,
    /// One step of the collection of idle flows; the packet means nothing.
    Collect,
}

impl Program {
    /// Its name in the object, for packets with or without a link-layer header.
    pub const fn name(self, is_bare: bool) -> &'static str {
        match (self, is_bare) {
            (Self::Ingress, false) => programs::INGRESS_ETHERNET,
            (Self::Ingress, true) => programs::INGRESS_IP,
            (Self::Egress, false) => programs::EGRESS_ETHERNET,
            (Self::Egress, true) => programs::EGRESS_IP,
            (Self::Collect, _) => programs::COLLECT,
        }
    }
}

/// A verdict and the packet afterwards.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What the program returned.
    pub verdict: i32,
    /// The packet's bytes.
    pub bytes: Vec<u8>,
}

impl Outcome {
    /// The packet goes on, in this form.
    pub fn pass(packet: &Packet) -> Self {
        Self { verdict: PASS, bytes: packet.bytes() }
    }

    /// The packet is sent from here, in this form.
    pub fn redirect(packet: &Packet) -> Self {
        Self { verdict: REDIRECT, bytes: packet.bytes() }
    }

    /// The packet ends, in this form.
    pub fn drop(packet: &Packet) -> Self {
        Self { verdict: DROP, bytes: packet.bytes() }
    }

    /// Where an Ethernet frame with a plain IP header is addressed to now: the address alone.
    pub fn destination(&self) -> Option<IpAddr> {
        let ip = self.bytes.get(14..)?;
        match ip.first()? >> 4 {
            4 => ip.get(16..)?.first_chunk::<4>().copied().map(IpAddr::from),
            6 => ip.get(24..)?.first_chunk::<16>().copied().map(IpAddr::from),
            _ => None,
        }
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "verdict {}, {} bytes:", self.verdict, self.bytes.len())?;
        for line in self.bytes.chunks(16) {
            write!(f, "\n ")?;
            line.iter().try_for_each(|byte| write!(f, " {byte:02x}"))?;
        }
        Ok(())
    }
}

/// The program of this name, loaded when it is first asked for.
pub(super) fn load<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    let Some(Loaded::SchedClassifier(program)) = ebpf.program_mut(name) else {
        bail!("the object has no program `{name}` for TC: run `cargo xtask build-ebpf`");
    };
    if program.fd().is_err() {
        program.load().with_context(|| format!("the kernel refuses the program `{name}`"))?;
    }
    Ok(program)
}

/// Runs a program once.
pub(super) fn run_once(program: &SchedClassifier, bytes: &[u8]) -> Result<Outcome> {
    let mut out = vec![0; MAX_BYTES];
    let options = TestRunOptions { data_in: Some(bytes), data_out: Some(&mut out), ..TestRunOptions::new() };
    let result = program.test_run(options).context("cannot run a packet")?;
    out.truncate(result.data_size_out as usize);
    Ok(Outcome { verdict: result.return_value.cast_signed(), bytes: out })
}

/// Runs a program `repeat` times over one packet, which each run finds as the run before left it. The kernel measures
/// the whole, and this is the mean, in whole nanoseconds.
pub(super) fn run_repeatedly(program: &SchedClassifier, bytes: &[u8], repeat: u32) -> Result<Duration> {
    let options = TestRunOptions { data_in: Some(bytes), repeat, ..TestRunOptions::new() };
    Ok(program.test_run(options).context("cannot run a packet")?.duration)
}

/// The program that does nothing: what every measurement contains beside the datapath.
pub struct Floor {
    ebpf: Ebpf,
}

impl Floor {
    /// Loads it.
    pub fn load() -> Result<Self> {
        let path = binaries::floor_object()?;
        let ebpf = Ebpf::load_file(&path).with_context(|| format!("cannot load {}: run as root", path.display()))?;
        Ok(Self { ebpf })
    }

    /// Runs it many times over one packet; gives the mean.
    pub fn time(&mut self, packet: &Packet, repeat: u32) -> Result<Duration> {
        run_repeatedly(load(&mut self.ebpf, "floor")?, &packet.bytes(), repeat)
    }
}

/// The kernel's types, which the loader wants to know.
pub(super) fn kernel_types() -> Option<Btf> {
    Btf::from_sys_fs().ok()
}
