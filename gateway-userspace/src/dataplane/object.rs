//! The datapath's object, which this binary carries inside, and its way into the kernel.

use std::path::Path;

use aya::programs::{Program, ProgramFd, SchedClassifier, SkLookup};
use aya::{Btf, Ebpf, EbpfLoader, VerifierLogLevel};
use gateway_common::maps::{self, programs};

use super::error::Error;
use crate::reconcile::Capacities;

/// What `cargo xtask build-ebpf` made; empty where that was not run before the build.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/datapath.o"));

/// The programs on the hooks of devices, and the collector, which is of the same kind.
const CLASSIFIERS: [&str; 5] = [
    programs::INGRESS_ETHERNET,
    programs::EGRESS_ETHERNET,
    programs::INGRESS_IP,
    programs::EGRESS_IP,
    programs::COLLECT,
];

/// Loads all programs, with the maps that are pinned in `directory` or new ones that are pinned there.
pub(super) fn load(directory: &Path, capacities: Capacities) -> Result<Ebpf, Error> {
    if OBJECT.is_empty() {
        return Err(Error::NoObject);
    }
    let btf = Btf::from_sys_fs().ok();
    let mut loader = EbpfLoader::new();
    loader.btf(btf.as_ref()).verifier_log_level(VerifierLogLevel::DISABLE);
    for &name in maps::ALL {
        loader.map_pin_path(name, directory.join(name));
        if let Some(entries) = capacities.max_entries(name) {
            loader.map_max_entries(name, entries);
        }
    }
    let mut ebpf = loader.load(OBJECT).map_err(|source| Error::Load { source: Box::new(source) })?;
    for program in CLASSIFIERS {
        classifier(&mut ebpf, program)?
            .load()
            .map_err(|source| Error::Program { program, source: Box::new(source) })?;
    }
    let program = programs::GUARD;
    guard(&mut ebpf)?.load().map_err(|source| Error::Program { program, source: Box::new(source) })?;
    Ok(ebpf)
}

/// A program of a device's hook, or the collector.
pub(super) fn classifier<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut SchedClassifier, Error> {
    match ebpf.program_mut(name) {
        Some(Program::SchedClassifier(program)) => Ok(program),
        Some(_) | None => Err(Error::NoProgram { program: name }),
    }
}

/// The VIP's guard.
pub(super) fn guard(ebpf: &mut Ebpf) -> Result<&mut SkLookup, Error> {
    match ebpf.program_mut(programs::GUARD) {
        Some(Program::SkLookup(program)) => Ok(program),
        Some(_) | None => Err(Error::NoProgram { program: programs::GUARD }),
    }
}

/// The descriptor of the collector.
pub(super) fn collector(ebpf: &Ebpf) -> Result<&ProgramFd, Error> {
    let program = programs::COLLECT;
    match ebpf.program(program) {
        Some(Program::SchedClassifier(found)) => {
            found.fd().map_err(|source| Error::Program { program, source: Box::new(source) })
        }
        Some(_) | None => Err(Error::NoProgram { program }),
    }
}
