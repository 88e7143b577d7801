//! A map with types: keys and values of `gateway-common` instead of bytes.
//!
//! A table is made only of a map whose sizes are those of its types, so what is read is what was written.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use gateway_common::maps::LAYOUT_VERSION;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::error::Error;
use super::syscall::{self, MapInfo};

/// What can be a key or a value: any bytes are valid, and none are padding.
pub(super) trait Plain: FromBytes + FromZeros + IntoBytes + Immutable + Copy {}
impl<T: FromBytes + FromZeros + IntoBytes + Immutable + Copy> Plain for T {}

/// Entries that are read in one call, as far as memory matters.
const BATCH: u32 = 8192;

/// The kernel's number for a per-CPU array.
const PER_CPU_ARRAY: u32 = 6;

/// An open map.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    name: &'static str,
    fd: OwnedFd,
    max_entries: u32,
    /// Values the kernel copies at once: 1, or the number of possible CPUs.
    values: usize,
    types: PhantomData<(K, V)>,
}

impl<K: Plain, V: Plain> Table<K, V> {
    /// Opens a pinned map.
    pub(super) fn open(directory: &Path, name: &'static str) -> Result<Self, Error> {
        let path = directory.join(name);
        let fd = syscall::open_pinned(&path).map_err(|source| Error::Pin { path, source })?;
        let info = syscall::map_info(fd.as_fd()).map_err(|source| Error::Read { map: name, source })?;
        check(name, &info, size_of::<K>(), size_of::<V>())?;
        let values = if info.map_type == PER_CPU_ARRAY { cpus()? } else { 1 };
        Ok(Self { name, fd, max_entries: info.max_entries, values, types: PhantomData })
    }

    /// Entries that it has room for.
    pub(super) const fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &K) -> Result<Option<V>, Error> {
        debug_assert_eq!(self.values, 1);
        let mut value = V::new_zeroed();
        match syscall::lookup(self.fd(), key.as_bytes(), value.as_mut_bytes()) {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.read_error(source)),
        }
    }

    /// The values of a key, one for each CPU.
    pub(super) fn get_per_cpu(&self, key: &K) -> Result<Vec<V>, Error> {
        let mut values = vec![V::new_zeroed(); self.values];
        syscall::lookup(self.fd(), key.as_bytes(), values.as_mut_bytes()).map_err(|source| self.read_error(source))?;
        Ok(values)
    }

    /// Sets the value of a key.
    pub(super) fn set(&self, key: &K, value: &V) -> Result<(), Error> {
        debug_assert_eq!(self.values, 1);
        syscall::update(self.fd(), key.as_bytes(), value.as_bytes()).map_err(|source| self.write_error(source))
    }

    /// Sets the values of a key to the same on all CPUs.
    pub(super) fn set_per_cpu(&self, key: &K, value: V) -> Result<(), Error> {
        let values = vec![value; self.values];
        syscall::update(self.fd(), key.as_bytes(), values.as_bytes()).map_err(|source| self.write_error(source))
    }

    /// Deletes an entry; one that is not there is deleted already.
    pub(super) fn remove(&self, key: &K) -> Result<(), Error> {
        match syscall::delete(self.fd(), key.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.write_error(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Reads the next entries, at most `count`. False if there are no more.
    ///
    /// Of a hash, `count` must be more than any bucket holds; a few hundred always are.
    pub(super) fn read_batch(
        &self,
        position: &mut Option<u32>,
        count: u32,
        mut visit: impl FnMut(K, &[V]),
    ) -> Result<bool, Error> {
        let mut keys = vec![K::new_zeroed(); count as usize];
        let mut values = vec![V::new_zeroed(); count as usize * self.values];
        let (found, more) =
            syscall::lookup_batch(self.fd(), position, count, keys.as_mut_bytes(), values.as_mut_bytes())
                .map_err(|source| self.read_error(source))?;
        for (key, values) in keys.into_iter().zip(values.chunks(self.values)).take(found as usize) {
            visit(key, values);
        }
        Ok(more)
    }

    /// Reads all entries, each with its values: one, or one for each CPU.
    pub(super) fn read_all(&self, mut visit: impl FnMut(K, &[V])) -> Result<(), Error> {
        let mut position = None;
        while self.read_batch(&mut position, self.max_entries.clamp(1, BATCH), &mut visit)? {}
        Ok(())
    }

    /// Reads all keys one by one: for kinds of maps whose batches the kernel continues from a whole key.
    pub(super) fn keys(&self) -> Result<Vec<K>, Error> {
        let mut keys: Vec<K> = Vec::new();
        let mut next = K::new_zeroed();
        while syscall::next_key(self.fd(), keys.last().map(K::as_bytes), next.as_mut_bytes())
            .map_err(|source| self.read_error(source))?
        {
            keys.push(next);
        }
        Ok(keys)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn read_error(&self, source: io::Error) -> Error {
        Error::Read { map: self.name, source }
    }

    fn write_error(&self, source: io::Error) -> Error {
        Error::Write { map: self.name, source }
    }
}

impl<V: Plain> Table<u32, V> {
    /// Reads a run of an array.
    pub(super) fn read_run(&self, offset: u32, length: u32) -> Result<Vec<V>, Error> {
        let mut run = Vec::with_capacity(length as usize);
        // The kernel begins after the position; without one it begins at the first entry.
        let mut position = offset.checked_sub(1);
        while (run.len() as u32) < length {
            let count = (length - run.len() as u32).min(BATCH);
            let more = self.read_batch(&mut position, count, |_, values| run.extend_from_slice(values))?;
            if !more {
                break;
            }
        }
        Ok(run)
    }

    /// Sets a run of an array.
    pub(super) fn write_run(&self, offset: u32, values: &[V]) -> Result<(), Error> {
        let keys: Vec<u32> = (offset..).take(values.len()).collect();
        syscall::update_batch(self.fd(), keys.len() as u32, keys.as_bytes(), values.as_bytes())
            .map_err(|source| self.write_error(source))
    }
}

/// The number of CPUs that the kernel keeps values for.
pub(super) fn cpus() -> Result<usize, Error> {
    aya::util::nr_cpus().map_err(|(_, source)| Error::Cpus { source })
}

/// Whether a map has the sizes that this build expects.
fn check(name: &'static str, info: &MapInfo, key_size: usize, value_size: usize) -> Result<(), Error> {
    let expected = (key_size as u32, value_size as u32);
    let found = (info.key_size, info.value_size);
    if found == expected { Ok(()) } else { Err(Error::Layout { map: name, version: LAYOUT_VERSION, found, expected }) }
}
