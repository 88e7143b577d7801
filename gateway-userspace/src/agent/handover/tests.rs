//! Both ends of the conversation, without a datapath.

use super::*;
use crate::agent::handover::line::PROTOCOL;

const LIMIT: Duration = Duration::from_millis(200);

fn name(of: &str) -> String {
    format!("beeline/test/{of}/{}", std::process::id())
}

fn starting() -> Introduction {
    Introduction { pid: 7, ..Introduction::of("new") }
}

#[tokio::test]
async fn who_asks_waits_until_the_other_has_let_go() {
    let name = name("waits");
    let listener = Listener::start(&name, &Introduction::of("old")).await;
    let serving = async {
        let stream = listener.next().await;
        let request = listener.request(stream).await.expect("a request");
        let from = request.from.clone();
        request.answer().await;
        from
    };

    let me = starting();
    let (asked, from) = tokio::join!(ask(&name, &me, LIMIT), serving);

    assert!(matches!(asked.expect("an answer"), Asked::Released));
    assert_eq!(from, starting());
}

#[tokio::test]
async fn who_does_not_answer_in_time_keeps_the_lock_and_hands_nothing_over_later() {
    let name = name("silent");
    let listener = Listener::start(&name, &Introduction::of("old")).await;

    let asked = ask(&name, &starting(), LIMIT).await.expect("an outcome");
    let stream = listener.next().await;

    let Asked::Refused { process, reason } = asked else { panic!("the other let go") };
    assert_eq!(process, std::process::id());
    assert!(reason.contains("200ms"), "{reason}");
    assert!(listener.request(stream).await.is_none());
}

#[tokio::test]
async fn an_agent_of_another_protocol_is_refused_and_told_why() {
    let name = name("protocol");
    let listener = Listener::start(&name, &Introduction::of("old")).await;
    let serving = async {
        let stream = listener.next().await;
        listener.request(stream).await
    };

    let later = Introduction { protocol: PROTOCOL + 1, ..starting() };
    let (asked, request) = tokio::join!(ask(&name, &later, LIMIT), serving);

    assert!(request.is_none());
    let Asked::Refused { reason, .. } = asked.expect("an answer") else { panic!("the other let go") };
    assert!(reason.contains("protocol 1, not 2"), "{reason}");
}

#[tokio::test]
async fn without_a_socket_nobody_can_be_asked() {
    let asked = ask(&name("nobody"), &starting(), LIMIT).await.expect("an outcome");

    assert!(matches!(asked, Asked::NobodyListens));
    let line = refused(Path::new("/no/such"), asked).to_string();
    assert!(line.starts_with("another agent works with `/no/such` and does not listen"), "{line}");
}

#[tokio::test]
async fn an_agent_that_goes_while_it_is_asked_is_no_refusal() {
    let name = name("goes");
    let listener = Listener::start(&name, &Introduction::of("old")).await;
    let going = async { drop(listener.next().await) };

    let me = starting();
    let (asked, ()) = tokio::join!(ask(&name, &me, LIMIT), going);

    assert!(matches!(asked.expect("an outcome"), Asked::Gone));
}
