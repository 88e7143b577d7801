//! Against a server on the loopback that answers as real ones do on bad days.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use super::*;
use crate::kubernetes::change::Scope;
use crate::kubernetes::testing::{Answer, Server, Then, end_of_beginning, line, pace, refusal, service};
use crate::source::Kind;

const SERVICES: Scope = Scope::All(Kind::Service);

/// A watch of a scope, its news and its server.
struct Bench {
    server: Server,
    news: UnboundedReceiver<Change>,
    task: JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bench {
    async fn start(scope: Scope, answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::with(scope, pace(), Allowance::own(), answer).await
    }

    /// A watch of Services over a link, which may bring so many bytes.
    async fn linked(total: usize, answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let scope = Scope::Within(Kind::Service, "shop".into());
        Self::with(scope, pace(), Allowance::small(total), answer).await
    }

    async fn with(
        scope: Scope,
        pace: Pace,
        allowance: Allowance,
        answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let server = Server::start(answer).await;
        let (sender, news) = unbounded_channel();
        let watch = Watch::new(server.client(), Resource::of(scope, "n1"), sender, pace).within(allowance);
        Self { server, news, task: tokio::spawn(watch.follow()) }
    }

    /// The next news, in few words.
    async fn next(&mut self) -> String {
        let change = timeout(Duration::from_secs(10), self.news.recv()).await.expect("news").expect("a watch");
        match change {
            Change::Replace(_, items) => format!("all: {}", items.iter().map(name).collect::<Vec<_>>().join(" ")),
            Change::Apply(_, item) => format!("is {}", name(&item)),
            Change::Delete(_, id) => format!("gone {}", id.name.name),
            Change::Health(_, Ok(())) => "healthy".to_string(),
            Change::Health(_, Err(text)) => format!("sick: {text}"),
            other => format!("{other:?}"),
        }
    }

    async fn expect(&mut self, news: &[&str]) {
        for expected in news {
            assert_eq!(self.next().await, *expected, "after {:?}", self.server.asked());
        }
    }
}

fn name(item: &Item) -> String {
    match item {
        Item::Good(entry, ..) => entry.id.name.name.clone(),
        Item::Bad(id, problems) => format!("!{} ({})", id.name.name, problems[0].field),
    }
}

/// What a server without streaming lists says to one.
fn no_streaming() -> Answer {
    refusal(422, "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless WatchList is enabled")
}

fn list(version: &str, items: &[serde_json::Value]) -> Answer {
    Answer::Json(200, json!({"kind": "ServiceList", "metadata": {"resourceVersion": version}, "items": items}))
}

#[tokio::test]
async fn what_is_there_comes_as_one_and_news_one_by_one() {
    let mut bench = Bench::start(SERVICES, |_, number| match number {
        0 => Answer::Lines(
            vec![
                line("ADDED", &service("a", "1")),
                line("ADDED", &service("b", "2")),
                end_of_beginning("3"),
                line("ADDED", &service("c", "4")),
                line("MODIFIED", &service("a", "5")),
                line("DELETED", &service("b", "6")),
            ],
            Then::End,
        ),
        _ => Answer::Lines(vec![], Then::Wait),
    })
    .await;

    bench.expect(&["all: a b", "healthy", "is c", "is a", "gone b"]).await;
    while bench.server.asked().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(bench.server.asked()[1].contains("resourceVersion=6"), "{:?}", bench.server.asked());
}

#[tokio::test]
async fn a_server_without_streaming_lists_is_asked_for_pages() {
    let mut bench = Bench::start(SERVICES, |question, _| {
        if question.contains("sendInitialEvents") {
            no_streaming()
        } else if question.contains("continue=more") {
            list("7", &[service("b", "2")])
        } else if question.contains("limit=") {
            let metadata = json!({"resourceVersion": "7", "continue": "more"});
            Answer::Json(200, json!({"metadata": metadata, "items": [service("a", "1")]}))
        } else {
            Answer::Lines(vec![line("ADDED", &service("c", "8"))], Then::Wait)
        }
    })
    .await;

    bench.expect(&["all: a b", "healthy", "is c"]).await;
    assert!(bench.server.asked()[3].contains("resourceVersion=7"), "{:?}", bench.server.asked());
}

#[tokio::test]
async fn a_place_that_is_forgotten_leads_to_a_new_list() {
    let mut bench = Bench::start(SERVICES, |question, number| match number {
        0 => Answer::Lines(vec![line("ADDED", &service("a", "1")), end_of_beginning("1")], Then::End),
        1 => Answer::Lines(vec![line("ERROR", &json!({"code": 410, "message": "too old"}))], Then::End),
        2 if question.contains("sendInitialEvents") => {
            Answer::Lines(vec![line("ADDED", &service("b", "9")), end_of_beginning("9")], Then::End)
        }
        3 => refusal(410, "too old"),
        4 if question.contains("sendInitialEvents") => Answer::Lines(vec![end_of_beginning("10")], Then::Wait),
        _ => panic!("{question}"),
    })
    .await;

    bench.expect(&["all: a", "healthy", "all: b", "all: "]).await;
}

#[tokio::test]
async fn a_trouble_is_said_once_and_so_is_its_end() {
    let mut bench = Bench::start(SERVICES, |_, number| match number {
        0..4 => refusal(403, "services is forbidden"),
        4 => refusal(500, "etcd is down"),
        _ => Answer::Lines(vec![end_of_beginning("1")], Then::Wait),
    })
    .await;

    bench
        .expect(&[
            "sick: the API server refuses: services is forbidden: grant it to the agent's role",
            "sick: the API server failed: etcd is down",
            "all: ",
            "healthy",
        ])
        .await;
}

#[tokio::test]
async fn a_watch_that_breaks_goes_on_where_it_was_and_nobody_is_told() {
    let mut bench = Bench::start(SERVICES, |_, number| match number {
        0 => Answer::Lines(vec![line("ADDED", &service("a", "1")), end_of_beginning("1")], Then::Reset),
        1 => Answer::Lines(vec![line("ADDED", &service("b", "2"))], Then::Reset),
        _ => Answer::Lines(vec![line("ADDED", &service("c", "3"))], Then::Wait),
    })
    .await;

    bench.expect(&["all: a", "healthy", "is b", "is c"]).await;
    assert!(bench.server.asked()[2].contains("resourceVersion=2"), "{:?}", bench.server.asked());
}

#[tokio::test]
async fn a_server_that_always_resets_is_found_sick() {
    let mut bench = Bench::start(SERVICES, |_, number| match number {
        0 => Answer::Lines(vec![end_of_beginning("1")], Then::Reset),
        1..6 => Answer::Lines(vec![], Then::Reset),
        _ => Answer::Lines(vec![], Then::Wait),
    })
    .await;

    bench.expect(&["all: ", "healthy"]).await;
    assert!(bench.next().await.starts_with("sick: the API server cannot be reached"));
    bench.expect(&["healthy"]).await;
}

#[tokio::test]
async fn a_watch_that_falls_silent_is_opened_again() {
    let mut bench = Bench::start(SERVICES, |_, number| match number {
        0 => Answer::Lines(vec![end_of_beginning("1")], Then::Wait),
        _ => Answer::Lines(vec![line("ADDED", &service("a", "2"))], Then::Wait),
    })
    .await;

    bench.expect(&["all: ", "healthy", "is a"]).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_found_sick() {
    let mut bench = Bench::start(SERVICES, |_, number| match number {
        0 => Answer::Silence,
        _ => Answer::Lines(vec![end_of_beginning("1")], Then::Wait),
    })
    .await;

    bench.expect(&["sick: the API server says nothing for 0.5 s", "all: ", "healthy"]).await;
}

#[tokio::test]
async fn an_object_that_does_not_parse_spoils_neither_list_nor_watch() {
    let bad = json!({"metadata": {"namespace": "shop", "name": "bad"}, "spec": {"ports": [{"port": "eighty"}]}});
    let mut bench = Bench::start(SERVICES, move |question, _| {
        if question.contains("sendInitialEvents") {
            no_streaming()
        } else if question.contains("limit=") {
            list("1", &[service("a", "1"), bad.clone(), service("b", "1")])
        } else {
            Answer::Lines(vec![line("MODIFIED", &bad), line("ADDED", &service("c", "2"))], Then::Wait)
        }
    })
    .await;

    let field = "spec.ports[0].port";
    bench.expect(&[&format!("all: a !bad ({field}) b"), "healthy", &format!("is !bad ({field})"), "is c"]).await;
}

/// A server that serves a version of `TCPRoute` from a question on.
fn routes(question: &str, there: bool, version: &str) -> Answer {
    let group = json!({"name": "gateway.networking.k8s.io", "versions": [{"version": "v1"}, {"version": version}]});
    if question == "/apis" {
        Answer::Json(200, json!({"groups": [group]}))
    } else if question == format!("/apis/gateway.networking.k8s.io/{version}") && there {
        Answer::Json(200, json!({"resources": [{"name": "tcproutes", "verbs": ["list", "watch"]}]}))
    } else if question.starts_with("/apis/gateway.networking.k8s.io/v1") && !question.contains('?') {
        Answer::Json(200, json!({"resources": []}))
    } else if question.contains(&format!("/{version}/tcproutes?")) && there {
        let route = json!({"metadata": {"namespace": "shop", "name": "r"}, "spec": {"rules": [{"backendRefs": [{"name": "a", "port": 80}]}]}});
        Answer::Lines(vec![line("ADDED", &route), end_of_beginning("1")], Then::Wait)
    } else {
        refusal(404, "the server could not find the requested resource")
    }
}

#[tokio::test]
async fn a_kind_that_is_missing_is_empty_until_it_appears() {
    let mut bench =
        Bench::start(Scope::All(Kind::TcpRoute), |question, number| routes(question, number > 12, "v1")).await;

    bench.expect(&["all: ", "healthy", "all: r"]).await;
}

#[tokio::test]
async fn a_definition_wakes_the_watch_of_a_kind_that_was_missing() {
    let there = Arc::new(AtomicBool::new(false));
    let appeared = there.clone();
    let server = Server::start(move |question, _| routes(question, appeared.load(Ordering::Relaxed), "v1")).await;
    let (sender, mut news) = unbounded_channel();
    let (definitions, defined) = watch::channel(0);
    let never = Duration::from_hours(1);
    let patient = Pace { first: never, longest: never, ..pace() };
    let watch = Watch::new(server.client(), Resource::of(Scope::All(Kind::TcpRoute), "n1"), sender, patient);
    let task = tokio::spawn(watch.looking_at(defined).follow());

    assert_eq!(news.recv().await, Some(Change::Replace(Scope::All(Kind::TcpRoute), vec![])));
    there.store(true, Ordering::Relaxed);
    definitions.send_modify(|count| *count += 1);

    assert!(matches!(news.recv().await, Some(Change::Health(_, Ok(())))));
    let change = timeout(Duration::from_secs(10), news.recv()).await.unwrap();
    assert!(matches!(change, Some(Change::Replace(_, items)) if items.len() == 1));
    task.abort();
}

#[tokio::test]
async fn a_kind_is_read_in_the_version_that_is_served() {
    let mut bench = Bench::start(Scope::All(Kind::TcpRoute), |question, _| routes(question, true, "v1alpha2")).await;

    bench.expect(&["all: r", "healthy"]).await;
}

#[tokio::test]
async fn not_found_by_a_server_that_does_not_say_what_it_serves_proves_nothing() {
    let mut bench = Bench::start(Scope::All(Kind::TcpRoute), |question, number| match number {
        0..6 => refusal(404, "default backend"),
        _ => routes(question, true, "v1"),
    })
    .await;

    bench.expect(&["sick: the API server does not serve it", "all: r", "healthy"]).await;
}

/// A Service of many bytes.
fn large(name: &str, bytes: usize) -> serde_json::Value {
    json!({"metadata": {"namespace": "shop", "name": name, "annotations": {"a": "a".repeat(bytes)}}, "spec": {"ports": [{"port": 80}]}})
}

const MB: usize = 1 << 20;

#[tokio::test]
async fn a_linked_server_with_too_large_an_object_is_found_sick_once_until_it_has_none() {
    let mut bench = Bench::linked(2 * MB, |_, number| match number {
        0..3 => Answer::Lines(vec![line("ADDED", &large("a", MB)), end_of_beginning("1")], Then::Wait),
        3 => Answer::Lines(vec![line("ADDED", &service("a", "1")), end_of_beginning("1")], Then::End),
        4 => Answer::Lines(vec![line("MODIFIED", &large("a", MB))], Then::Wait),
        _ => Answer::Lines(vec![line("ADDED", &service("b", "2")), end_of_beginning("2")], Then::Wait),
    })
    .await;

    let sick = "sick: the API server sends more than 1 MB in one line of a watch: look for what is so large there, or \
                link fewer of its namespaces";
    bench.expect(&[sick, "all: a", "healthy", sick, "all: b", "healthy"]).await;
}

#[tokio::test]
async fn a_linked_server_with_too_many_objects_is_found_sick_and_what_is_known_stays() {
    let half = 3 * MB / 5;
    let mut bench = Bench::linked(2 * MB, move |_, number| match number {
        0 => Answer::Lines(vec![line("ADDED", &large("a", half)), end_of_beginning("1")], Then::End),
        1 => Answer::Lines(["b", "c", "d"].map(|name| line("ADDED", &large(name, half))).to_vec(), Then::Wait),
        _ => Answer::Lines(vec![line("ADDED", &service("e", "2")), end_of_beginning("2")], Then::Wait),
    })
    .await;

    bench.expect(&["all: a", "healthy", "is b"]).await;
    let next = bench.next().await;
    assert!(next.starts_with("sick: the API server sends more than 2 MB in all"), "{next}");
    bench.expect(&["all: e", "healthy"]).await;
}

#[tokio::test]
async fn a_linked_server_is_given_up_in_the_middle_of_pages_that_do_not_end() {
    let mut bench = Bench::linked(2 * MB, |question, _| {
        if question.contains("sendInitialEvents") {
            return no_streaming();
        }
        let metadata = json!({"resourceVersion": "7", "continue": "more"});
        Answer::Json(200, json!({"metadata": metadata, "items": [large("a", MB / 2)]}))
    })
    .await;

    let next = bench.next().await;
    assert!(next.starts_with("sick: the API server sends more than 2 MB in all"), "{next}");
}

#[tokio::test]
async fn objects_of_namespaces_that_are_not_linked_are_not_taken() {
    let foreign = json!({"metadata": {"namespace": "kube-system", "name": "f"}, "spec": {"ports": [{"port": 80}]}});
    let mut bench = Bench::linked(2 * MB, move |question, _| {
        if question.contains("sendInitialEvents") {
            no_streaming()
        } else if question.contains("limit=") {
            list("1", &[foreign.clone(), service("a", "1")])
        } else {
            let events = vec![line("ADDED", &foreign), line("DELETED", &foreign), line("ADDED", &service("b", "2"))];
            Answer::Lines(events, Then::Wait)
        }
    })
    .await;

    bench.expect(&["all: a", "healthy", "is b"]).await;
}

/// How long it takes until a server was asked so often, with pauses of a twentieth of a second at first.
async fn time_of(questions: usize, answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Duration {
    let slow = Pace { first: Duration::from_millis(50), longest: Duration::from_secs(1), ..pace() };
    let start = Instant::now();
    let bench = Bench::with(SERVICES, slow, Allowance::own(), answer).await;
    while bench.server.asked().len() < questions {
        tokio::task::yield_now().await;
    }
    start.elapsed()
}

#[tokio::test]
async fn watches_that_work_and_end_at_once_do_not_follow_each_other_without_pause() {
    let ended = time_of(5, |_, number| {
        let version = number.to_string();
        Answer::Lines(vec![end_of_beginning(&version)], Then::End)
    });
    let forgotten = time_of(5, |_, number| {
        let gone = line("ERROR", &json!({"code": 410, "message": "too old"}));
        Answer::Lines(vec![end_of_beginning(&number.to_string()), gone], Then::End)
    });

    for time in [ended.await, forgotten.await] {
        // Half of 50, 100, 200 and 400 ms at least.
        assert!(time >= Duration::from_millis(375), "{time:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_busy_is_left_alone_for_as_long_as_it_asks() {
    let server =
        Server::start(|_, _| Answer::WithHeader(429, ("retry-after", "7"), json!({"message": "too many"}))).await;
    let (sender, _news) = unbounded_channel();
    let long = Pace { longest: Duration::from_secs(30), ..pace() };
    let mut watch = Watch::new(server.client(), Resource::of(SERVICES, "n1"), sender, long);

    let trouble = watch.attempt().await.unwrap_err();
    let wait = watch.cope(trouble, &mut Backoff::new(&long)).await;

    assert_eq!(wait, Duration::from_secs(7));
}
