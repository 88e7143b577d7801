//! Puts the programs for sockets on a cgroup, in pinned links as those of devices are.
//!
//! Programs of others at the same cgroup, of other agents too, run beside ours. A kernel that cannot do it is no reason
//! for anything else to fail: these programs are loaded only here.

use std::os::fd::{AsFd, BorrowedFd};

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{CgroupAttachMode, CgroupSkbAttachType, Program, ProgramError};
use gateway_common::maps::programs;

use super::attach::{Attached, adopt};
use super::bpffs::{self, Directory};
use super::cgroup::{Cgroup, Scope};
use super::error::Error;

/// The programs for all sockets of a cgroup. Whoever is given a backend finds those attached that call it by the VIP's name.
const OF_ALL: [&str; 9] = [
    programs::GETPEERNAME4,
    programs::GETPEERNAME6,
    programs::RECVMSG4,
    programs::RECVMSG6,
    programs::STALE_DATAGRAM,
    programs::SENDMSG4,
    programs::SENDMSG6,
    programs::CONNECT4,
    programs::CONNECT6,
];

/// Those for sockets of the node's network namespace. Programs that look up what others have noted are the same.
const OF_HOST: [&str; 9] = [
    programs::GETPEERNAME4,
    programs::GETPEERNAME6,
    programs::RECVMSG4,
    programs::RECVMSG6,
    programs::STALE_DATAGRAM,
    programs::HOST_SENDMSG4,
    programs::HOST_SENDMSG6,
    programs::HOST_CONNECT4,
    programs::HOST_CONNECT6,
];

/// How the links of one cgroup's programs begin.
const ALL_LINKS: &str = "socket-";
/// The same where only the node's network namespace counts.
const HOST_LINKS: &str = "socket_host-";

/// All links that there may be: name, and program.
fn links() -> impl DoubleEndedIterator<Item = (String, &'static str)> {
    let named = |start, programs: [&'static str; 9]| programs.map(|program| (format!("{start}{program}"), program));
    named(ALL_LINKS, OF_ALL).into_iter().chain(named(HOST_LINKS, OF_HOST))
}

/// Whether a link is one of those for sockets.
pub(super) fn owns(link: &str) -> bool {
    links().any(|(name, _)| name == link)
}

/// Makes the pinned links those of this scope, or removes them all.
pub(super) fn select(ebpf: &mut Ebpf, directory: &Directory, scope: Option<&Scope>) -> Result<Attached, Error> {
    let mut attached = Attached::default();
    let mut unwanted = Vec::new();
    for (link, program) in links() {
        let all = link.starts_with(ALL_LINKS);
        match scope.and_then(|scope| if all { Some(&scope.group) } else { scope.root.as_ref() }) {
            Some(cgroup) => ensure(ebpf, directory, (&link, program), cgroup, &mut attached)?,
            None => unwanted.push(link),
        }
    }
    for link in unwanted.into_iter().rev() {
        let path = directory.links().join(&link);
        if path.exists() {
            bpffs::remove_link(&path)?;
            attached.detached.push(link);
        }
    }
    Ok(attached)
}

fn ensure(
    ebpf: &mut Ebpf,
    directory: &Directory,
    (link, name): (&str, &'static str),
    cgroup: &Cgroup,
    attached: &mut Attached,
) -> Result<(), Error> {
    let failed = |source| Error::Program { program: name, source: Box::new(source) };
    let program = ebpf.program_mut(name).ok_or(Error::NoProgram { program: name })?;
    if program.fd().is_err() {
        load(program).map_err(failed)?;
    }
    let path = directory.links().join(link);
    let fd: BorrowedFd<'_> = program.fd().map_err(failed)?.as_fd();
    if adopt(&path, link, |info| info.cgroup_id() == cgroup.id, fd, attached)? {
        return Ok(());
    }
    let failed = |source| Error::SocketSelection { cgroup: cgroup.path.clone(), source };
    create(program, cgroup).map_err(failed)?.pin(&path).map_err(|error| failed(error.into()))?;
    attached.attached.push(link.to_owned());
    Ok(())
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// A link always lets others be beside it, so no mode is asked for.
fn create(program: &mut Program, cgroup: &Cgroup) -> Result<FdLink, Box<dyn std::error::Error + Send + Sync>> {
    let (file, mode) = (&cgroup.file, CgroupAttachMode::Single);
    let link: Result<FdLink, LinkError> = match program {
        Program::CgroupSockAddr(program) => {
            let id = program.attach(file, mode)?;
            program.take_link(id)?.try_into()
        }
        Program::CgroupSkb(program) => {
            let id = program.attach(file, CgroupSkbAttachType::Egress, mode)?;
            program.take_link(id)?.try_into()
        }
        _ => return Err(ProgramError::UnexpectedProgramType.into()),
    };
    Ok(link?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_sockets_are_told_from_those_of_devices() {
        assert!(owns("socket-connect4") && owns("socket_host-host_connect4"));
        assert!(!owns("socket-ingress"), "a device may be called `socket`");
        assert!(!owns("guard"));
    }
}
