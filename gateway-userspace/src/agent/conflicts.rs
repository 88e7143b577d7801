//! A VIP that the host already has as its own address is refused, so that nobody locks himself out of his node.

use std::borrow::Cow;
use std::collections::BTreeMap;

use gateway_common::Address;

use crate::model::Model;
use crate::source::Problem;
use crate::translate::VipOrigin;

/// The model without the frontends at addresses of the host, and a problem for each such address.
pub fn without<'a>(
    model: &'a Model,
    vips: &BTreeMap<Address, VipOrigin>,
    foreign: &BTreeMap<Address, String>,
) -> (Cow<'a, Model>, Vec<Problem>) {
    let mut model = Cow::Borrowed(model);
    let mut problems = Vec::new();
    for (address, device) in foreign {
        let Some(origin) = vips.get(address) else { continue };
        problems.push(origin.problem(format!(
            "{address} is the node's own address, on {device}: the VIP is not served: choose an address that no host \
             has"
        )));
        let model = model.to_mut();
        model.remove_frontends_at(*address);
        model.announcements.remove(address);
    }
    (model, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Service;
    use crate::source::{Kind, Name, ObjectId, Origin};
    use crate::translate::Translation;
    use gateway_common::{FrontendKey, Port, Protocol};

    const TAKEN: Address = Address::from_v4([192, 0, 2, 1]);
    const FREE: Address = Address::from_v4([192, 0, 2, 2]);

    fn translation() -> Translation {
        let mut translation = Translation::default();
        for vip in [TAKEN, FREE] {
            let service = Service { owner: "x".to_owned(), ..Service::default() };
            translation.model.services.insert(FrontendKey::new(vip, Port::new(80), Protocol::TCP), service.into());
            let origin = VipOrigin {
                origin: Origin { file: "a.yaml".into(), document: 1, line: 1 },
                object: ObjectId { kind: Kind::Service, name: Name::new("shop", "web") },
                field: "spec.loadBalancerIP".to_owned(),
            };
            translation.vips.insert(vip, origin);
        }
        translation
    }

    #[test]
    fn an_address_of_the_host_is_refused_by_object_and_field_and_the_rest_is_served() {
        let translation = translation();

        let (model, problems) =
            without(&translation.model, &translation.vips, &BTreeMap::from([(TAKEN, "eth0".to_owned())]));

        assert_eq!(model.services.keys().map(|key| key.address).collect::<Vec<_>>(), [FREE]);
        let [problem] = problems.as_slice() else { panic!("one problem: {problems:?}") };
        let line = problem.to_string();
        assert!(line.starts_with("a.yaml: document 1: Service shop/web: spec.loadBalancerIP: 192.0.2.1 is"), "{line}");
    }

    #[test]
    fn without_a_conflict_the_model_is_not_copied() {
        let translation = translation();

        let (model, problems) = without(&translation.model, &translation.vips, &BTreeMap::new());

        assert!(matches!(model, Cow::Borrowed(_)));
        assert!(problems.is_empty());
    }
}
