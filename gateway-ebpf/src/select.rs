//! Selects a backend for a new flow: by the frontend's schedule a group, by the group's schedule a backend.

use gateway_common::{Algorithm, Service, SlotRange};

use crate::tables::Tables;

/// The backend id for the next connection; nothing if the share it falls to has no backend.
#[inline(always)]
pub fn select<T: Tables>(frontend: u32, service: &Service, tables: &T) -> Option<u32> {
    let algorithm = service.algorithm().unwrap_or_default();
    let group_id = pick(service.groups, algorithm, tables, || tables.step_service(frontend))?;
    let group = tables.group(group_id)?;
    pick(group.backends, algorithm, tables, || tables.step_group(group_id))
}

#[inline(always)]
fn pick<T: Tables>(range: SlotRange, algorithm: Algorithm, tables: &T, step: impl Fn() -> u64) -> Option<u32> {
    let index = match (range.length, algorithm) {
        (1, _) => 0,
        (length, Algorithm::WeightedRoundRobin) => step().checked_rem(u64::from(length))? as u32,
        (length, Algorithm::Random) => tables.random().checked_rem(length)?,
    };
    Some(tables.slot(range.offset.wrapping_add(index))?.member)
}
