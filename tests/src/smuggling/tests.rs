//! The corpus case by case, cut in every way, and the agreement on random streams.

use proptest::prelude::*;

use super::agreement::{check, cut};
use super::corpus::{BYTES, Case, HEADS};
use super::server::{MAX_HEAD, Outcome, serve};
use super::streams::{cuts, stream};
use crate::tape::Tape;

const BEFORE: &[u8] = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
const BEHIND: &[u8] = b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n";

fn cases() -> impl Iterator<Item = &'static Case> {
    BYTES.iter().chain(HEADS)
}

fn targets(outcome: &Outcome) -> Vec<&str> {
    outcome.seen.iter().map(|seen| seen.target.as_str()).collect()
}

#[test]
fn a_refused_request_gets_400_in_its_place_and_nothing_behind_it_is_served() {
    for case in cases() {
        let outcome = serve(&[&[BEFORE, case.refused, BEHIND].concat()]);

        assert_eq!(outcome.statuses, [200, 200, 400], "{}: {outcome:?}", case.name);
        assert!(outcome.is_closed, "{}: {outcome:?}", case.name);
        assert_eq!(outcome.reason, Some(case.reason), "{}: {outcome:?}", case.name);
        assert!(
            !targets(&outcome).iter().any(|target| ["/behind", "/in"].contains(target)),
            "{}: {outcome:?}",
            case.name
        );
    }
}

#[test]
fn its_twin_is_served_and_so_is_what_follows() {
    for case in cases() {
        let outcome = serve(&[&[BEFORE, case.served, BEHIND].concat()]);

        assert_eq!(outcome.statuses, [200; 4], "{}: {outcome:?}", case.name);
        assert!(!outcome.is_closed && outcome.reason.is_none(), "{}: {outcome:?}", case.name);
        assert_eq!(targets(&outcome).last(), Some(&"/behind"), "{}: {outcome:?}", case.name);
        assert!(outcome.seen.iter().all(|seen| seen.body.is_some()), "{}: {outcome:?}", case.name);
    }
}

#[test]
fn how_the_bytes_are_cut_changes_nothing() {
    for (case, request) in cases().flat_map(|case| [(case, case.refused), (case, case.served)]) {
        let stream = [request, BEHIND].concat();
        let whole = serve(&[&stream]);

        for position in 1..stream.len() {
            let outcome = serve(&cut(&stream, &[position]));
            assert_eq!(outcome, whole, "{} cut at {position}", case.name);
        }
        let outcome = serve(&cut(&stream, &(1..stream.len()).collect::<Vec<_>>()));
        assert_eq!(outcome, whole, "{} byte by byte", case.name);
    }
}

#[test]
fn each_case_agrees_with_hyper_and_all_readers() {
    for (case, request) in cases().flat_map(|case| [(case, case.refused), (case, case.served)]) {
        let stream = [BEFORE, request, BEHIND].concat();

        let reason = if request == case.refused { case.reason } else { "served" };
        assert_eq!(check(&stream, &[BEFORE.len()]), Ok(reason), "{}", case.name);
    }
}

#[test]
fn connect_is_refused_and_the_connection_closed() {
    let outcome = serve(&[&[b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", BEHIND].concat()]);

    assert_eq!((outcome.statuses, outcome.is_closed, outcome.reason), (vec![501], true, Some("connect_not_allowed")));
}

#[test]
fn a_head_that_is_too_large_gets_431_however_it_comes() {
    let line = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(MAX_HEAD));
    let lines = format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "X: y\r\n".repeat(MAX_HEAD / 6));

    for stream in [line.as_bytes(), lines.as_bytes()] {
        for size in [stream.len(), 8192, 1000] {
            let pieces: Vec<_> = stream.chunks(size).collect();
            let outcome = serve(&pieces);
            assert_eq!((outcome.statuses, outcome.is_closed), (vec![431], true), "in pieces of {size}");
            assert_eq!(outcome.reason, Some("head_too_large"));
        }
    }
}

#[test]
fn a_head_as_large_as_allowed_is_served() {
    let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    let head = format!("{start}{}\r\n\r\n", "y".repeat(MAX_HEAD - start.len() - 4));

    assert_eq!(serve(&[head.as_bytes()]).statuses, [200]);
}

#[test]
fn extensions_and_trailers_without_end_are_refused() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extensions = format!("{head}{}", format!("1;{}\r\na\r\n", "b".repeat(1000)).repeat(5));
    let trailers = format!("{head}0\r\n{}\r\n", format!("X: {}\r\n", "y".repeat(1000)).repeat(9));

    for (stream, reason) in [(extensions, "chunk_extensions_too_large"), (trailers, "trailers_too_large")] {
        let outcome = serve(&[stream.as_bytes()]);
        assert_eq!((outcome.statuses, outcome.is_closed, outcome.reason), (vec![400], true, Some(reason)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_streams_are_read_alike_by_all(tape in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut tape = Tape::new(&tape);
        let stream = stream(&mut tape);
        let cuts = cuts(&mut tape, stream.len());

        let agreement = check(&stream, &cuts);

        prop_assert!(agreement.is_ok(), "{}: {agreement:?}", stream.escape_ascii());
    }
}
