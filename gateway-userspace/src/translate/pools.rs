//! Which addresses Services and Gateways have: those they ask for, else those that their status was given.

use std::collections::BTreeMap;

use gateway_common::Address;

use crate::source::ObjectId;

/// What an object would like to have.
#[derive(Debug)]
pub(super) struct Wish {
    pub id: ObjectId,
    /// The addresses it names, each with the field that does.
    pub asked: Vec<(Address, String)>,
    /// The field that would name one.
    pub field: String,
    /// The addresses that its status says it has, each with the field that does.
    pub current: Vec<(Address, String)>,
}

/// Why an object does not have all that it would like to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// `AddressNotAssigned` or `AddressNotUsable`.
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// The field that would have to change.
    pub field: String,
}

/// What every object has.
#[derive(Debug, Default)]
pub(super) struct Assignments {
    addresses: BTreeMap<ObjectId, Vec<(Address, String)>>,
    refusals: BTreeMap<ObjectId, Refusal>,
}

impl Assignments {
    /// Gives everybody what he asks for, or leaves him what he has.
    pub fn of(wishes: Vec<Wish>) -> Self {
        let mut assignments = Self::default();
        for Wish { id, asked, field, current } in wishes {
            let addresses = if asked.is_empty() { current } else { asked };
            if addresses.is_empty() {
                let message = "asks for no address, and no pool has one for it: name its VIPs".to_string();
                assignments.refusals.insert(id.clone(), Refusal { reason: "AddressNotAssigned", message, field });
            }
            assignments.addresses.insert(id, addresses);
        }
        assignments
    }

    /// The addresses that an object has and may use, each with the field that asked for it.
    pub fn addresses(&self, id: &ObjectId) -> &[(Address, String)] {
        self.addresses.get(id).map_or(&[], Vec::as_slice)
    }

    /// Why it does not have all that it would like to.
    pub fn refusal(&self, id: &ObjectId) -> Option<&Refusal> {
        self.refusals.get(id)
    }
}
