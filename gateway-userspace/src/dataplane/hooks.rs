//! What the kernel can do for the datapath, and who else sits on the hooks of a device. Reads only.

use std::io;

use aya::programs::{ProgramError, ProgramType, SchedClassifier, TcAttachType};
use gateway_common::maps::programs;

/// A program on a device's TCX hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookProgram {
    /// The kernel's number for it.
    pub id: u32,
    /// Its name, as far as the kernel keeps it.
    pub name: String,
}

impl HookProgram {
    /// Whether it bears the name of one of Beeline's.
    pub fn is_ours(&self) -> bool {
        let ours = [programs::INGRESS_ETHERNET, programs::EGRESS_ETHERNET, programs::INGRESS_IP, programs::EGRESS_IP];
        ours.contains(&self.name.as_str())
    }
}

/// The programs on a device's ingress and egress, in the order in which they run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookPrograms {
    /// Programs that see packets as they come in.
    pub ingress: Vec<HookProgram>,
    /// Programs that see packets as they go out.
    pub egress: Vec<HookProgram>,
}

/// The programs on a device's TCX hooks. Fails where the kernel has no TCX or the caller lacks `CAP_NET_ADMIN`.
pub fn programs_on(device: &str) -> io::Result<HookPrograms> {
    Ok(HookPrograms { ingress: list(device, TcAttachType::Ingress)?, egress: list(device, TcAttachType::Egress)? })
}

/// Whether the kernel can load `sk_lookup` programs, which guard the VIPs.
pub fn has_socket_lookup() -> io::Result<bool> {
    aya::sys::is_program_supported(ProgramType::SkLookup).map_err(io::Error::other)
}

/// Whether the kernel can load programs that give sockets their backends.
pub fn has_socket_selection() -> io::Result<bool> {
    aya::sys::is_program_supported(ProgramType::CgroupSockAddr).map_err(io::Error::other)
}

fn list(device: &str, hook: TcAttachType) -> io::Result<Vec<HookProgram>> {
    let (_, programs) = SchedClassifier::query_tcx(device, hook).map_err(cause)?;
    Ok(programs
        .iter()
        .map(|program| HookProgram { id: program.id(), name: program.name_as_str().unwrap_or("?").to_owned() })
        .collect())
}

/// The system call's own error, so that the caller can tell "not allowed" from "not there".
fn cause(error: ProgramError) -> io::Error {
    match error {
        ProgramError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    }
}
