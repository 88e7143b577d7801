//! What the API server may send, good and bad, and what becomes of it.

use std::fmt::Write as _;

use serde_json::json;

use super::*;
use crate::source::Object;

fn entry(item: Item) -> Entry {
    match item {
        Item::Good(entry, ..) => entry,
        Item::Bad(id, problems) => panic!("{id}: {problems:?}"),
    }
}

fn one(scope: &Scope, object: &Value) -> Item {
    event(scope, json!({"type": "ADDED", "object": object}).to_string().as_bytes()).unwrap()
}

#[test]
fn a_pod_by_its_metadata_says_nothing_of_its_body_even_beside_one_that_is_bad() {
    let good = json!({"metadata": {"namespace": "shop", "name": "a", "uid": "1", "resourceVersion": "7"}});
    let bad = json!({"metadata": {"namespace": "shop", "name": "b", "labels": {"n": 1}}});
    let list = json!({"metadata": {"resourceVersion": "9"}, "items": [good, bad]}).to_string();

    let page = page(&Scope::All(Kind::Pod), list.as_bytes()).unwrap();

    let [first, second] = <[Item; 2]>::try_from(page.items).unwrap();
    let Object::Pod(pod) = entry(first).object else { panic!("no Pod") };
    assert_eq!((pod.version, &pod.body), (7, &None));
    assert!(matches!(second, Item::Bad(_, problems) if problems[0].field == "metadata.labels[n]"));
}

#[test]
fn a_local_pod_is_read_whole() {
    let pod = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1", "containers": []}, "status": {"podIP": "192.0.2.1"}});

    let Object::Pod(pod) = entry(one(&Scope::LocalPods, &pod)).object else { panic!("no Pod") };

    assert_eq!(pod.addresses().count(), 1);
}

#[test]
fn what_manifests_must_not_hold_the_cluster_must_not_either() {
    let slice = json!({
        "metadata": {"namespace": "shop", "name": "a"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["2001:db8::1"]}],
    });

    let item = one(&Scope::All(Kind::EndpointSlice), &slice);

    assert!(matches!(item, Item::Bad(_, problems) if problems[0].field == "endpoints[0].addresses[0]"));
}

#[test]
fn lists_of_nothing_are_lists() {
    for items in [json!([]), json!(null)] {
        let list = json!({"metadata": {"resourceVersion": "9", "continue": ""}, "items": items}).to_string();
        let page = page(&Scope::All(Kind::Service), list.as_bytes()).unwrap();
        assert_eq!((page.items.len(), &*page.version, page.next), (0, "9", None));
    }
    assert!(page(&Scope::All(Kind::Service), b"<html>").is_err());
}

#[test]
fn who_set_which_field_is_not_kept() {
    let owners = json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]);
    let class = json!({
        "metadata": {"name": "a", "managedFields": owners},
        "spec": {"controllerName": "beeline.dev/gateway"},
    });

    let Object::GatewayClass(class) = entry(one(&Scope::All(Kind::GatewayClass), &class)).object else {
        panic!("no GatewayClass")
    };

    assert!(class.metadata.managed_fields.is_none());
}

/// Not a measurement, but it would show a step back to trees of values: what takes a second there takes tens of ms here.
#[test]
fn a_page_of_slices_as_large_as_they_get_is_read() {
    let mut endpoints = String::new();
    for number in 0..100 {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(
            endpoints,
            r#"{comma}{{"addresses":["10.0.0.{number}"],"conditions":{{"ready":true,"serving":true,"terminating":false}},
               "nodeName":"n1","targetRef":{{"kind":"Pod","namespace":"shop","name":"p-{number}","uid":"u-{number}"}}}}"#
        );
    }
    let items: Vec<String> = (0..500)
        .map(|number| {
            format!(
                r#"{{"metadata":{{"name":"s-{number}","namespace":"shop","labels":{{"kubernetes.io/service-name":"s"}}}},
                   "addressType":"IPv4","endpoints":[{endpoints}],"ports":[{{"name":"","port":80}}]}}"#
            )
        })
        .collect();
    let list = format!(r#"{{"metadata":{{"resourceVersion":"1"}},"items":[{}]}}"#, items.join(","));

    let page = page(&Scope::All(Kind::EndpointSlice), list.as_bytes()).unwrap();

    assert_eq!(page.items.len(), 500);
    let slices = page.items.into_iter().map(entry);
    assert!(
        slices
            .into_iter()
            .all(|entry| matches!(entry.object, Object::EndpointSlice(slice) if slice.endpoints.len() == 100))
    );
}
