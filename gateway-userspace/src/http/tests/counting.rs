//! What is counted of connections and requests, and what outlives a change.

use super::sites::{clear, listener, route, rule, site, to, to_pod};
use super::support::{Gateway, Pod, get, read, until};
use crate::http::{Activity, FrontendActivity};
use crate::model::http::{Handling, Site};

fn activity(gateway: &Gateway) -> Activity {
    gateway.server.observer().activity()
}

fn frontend(gateway: &Gateway) -> FrontendActivity {
    activity(gateway).frontends.remove(0)
}

fn two_hosts(pod: &Pod) -> Site {
    let serving = |backend| Handling::Http(vec![route(rule([backend]))]);
    site([
        listener("web/one", Some("shop.example"), serving(to_pod(pod.address))),
        listener("web/other", None, serving(to(&[]))),
    ])
}

#[tokio::test]
async fn requests_are_counted_at_their_listener_by_status_and_a_change_forgets_none() {
    let pod = Pod::named("a").await;
    let gateway = Gateway::new(two_hosts(&pod));
    assert_eq!(gateway.get("/").await.0, 200);
    gateway.serve(clear(rule([to_pod(pod.address)])));
    gateway.serve(two_hosts(&pod));
    let mut client = gateway.http1().await;

    let elsewhere = hyper::Request::get("/").header("host", "else.example").body(super::support::nothing()).unwrap();
    assert_eq!(read(client.send_request(elsewhere).await.unwrap()).await.0, 503);

    let activity = activity(&gateway);
    let [one, other] = &activity.frontends[0].listeners[..] else { panic!("{activity:?}") };
    // The listener `web/one` was away for a moment.
    assert_eq!((one.name.as_str(), one.requests.answers(), other.requests.statuses), ("web/one", 0, [0, 0, 0, 0, 1]));
    assert_eq!((activity.counts.requests, activity.counts.rejected["none_ready"]), (2, 1));
    assert_eq!(activity.dropped_log_lines, None);
}

#[tokio::test]
async fn a_listener_that_only_changes_goes_on_counting() {
    let (pod, other) = (Pod::named("a").await, Pod::named("b").await);
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    assert_eq!(gateway.get("/").await.1, "a");

    gateway.serve(clear(rule([to_pod(other.address)])));
    assert_eq!(gateway.get("/").await.1, "b");

    let listener = frontend(&gateway).listeners.remove(0);
    assert_eq!(listener.requests.statuses, [0, 2, 0, 0, 0]);
    assert_eq!(listener.requests.waits.iter().sum::<u64>(), 2);
}

#[tokio::test]
async fn connections_are_open_until_they_end() {
    let pod = Pod::named("a").await;
    let gateway = Gateway::new(clear(rule([to_pod(pod.address)])));
    let mut client = gateway.http1().await;
    assert_eq!(read(client.send_request(get("/")).await.unwrap()).await.0, 200);
    let seen = |gateway: &Gateway| (frontend(gateway).connections, frontend(gateway).open);
    assert_eq!(seen(&gateway), (1, 1));

    drop(client);

    until("no connection is open", || seen(&gateway) == (1, 0)).await;
}

#[tokio::test]
async fn a_backend_that_is_left_out_is_counted_once() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pod = Pod::named("a").await;
    let gateway = Gateway::new(clear(rule([to(&[(nobody, 1), (pod.address, 1)])])));

    for _ in 0..20 {
        assert_eq!(gateway.get("/").await.0, 200);
    }

    assert_eq!(activity(&gateway).counts.ejections, 1);
}
