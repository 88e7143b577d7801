//! The router against a plain reading of Gateway API: random sites, random requests, one answer.
//!
//! `maker` makes both from a tape, `reading` says by the words of the specification what a request meets, one match after the
//! other and with nothing compiled. The router has to say the same, and its explanation, too; proptest and the fuzzer ask it.

mod expression;
mod maker;
mod reading;

use std::sync::Arc;

use gateway_userspace::http::router::{Considered, Found, Router};
use gateway_userspace::model::http::{Listener, Site};

use self::maker::Asked;
use self::reading::Reading;
use crate::tape::Tape;

/// Makes a site and a few requests; says which way the last one went, or what does not hold.
pub fn check(tape: &mut Tape<'_>) -> Result<&'static str, String> {
    let (site, requests) = made(tape);
    let (router, bad) = Router::new(Arc::clone(&site));
    if !bad.is_empty() {
        return Err(format!("expressions that are sound are refused: {bad:?}"));
    }
    let mut outcome = "no request";
    for asked in &requests {
        outcome = check_request(&site, &router, asked).map_err(|problem| format!("{problem}, for {asked:?}"))?;
    }
    Ok(outcome)
}

/// What a tape makes, as text.
pub fn shown(tape: &mut Tape<'_>) -> String {
    let (site, requests) = made(tape);
    format!("{site:#?}\n{requests:#?}")
}

fn made(tape: &mut Tape<'_>) -> (Arc<Site>, Vec<Asked>) {
    let site = Arc::new(maker::site(tape));
    let requests = (0..=tape.below(4)).map(|_| maker::request(tape)).collect();
    (site, requests)
}

fn check_request(site: &Site, router: &Router, asked: &Asked) -> Result<&'static str, String> {
    let expected = Reading::of(site, asked);
    let listener = router.plain_listener(&asked.host);
    if listener != expected.listener {
        return Err(format!("the listener is {listener:?} and should be {:?}", expected.listener));
    }
    let considered = router.consider_listeners(false, &asked.host);
    let named = considered.iter().position(|listener| listener.why_not.is_none());
    if named != listener {
        return Err(format!("the listener is {listener:?} and explained as {named:?}"));
    }
    let Some(listener) = listener else { return Ok("no listener") };
    let found = router.find(listener, &asked.request());
    if found != expected.found {
        return Err(format!("it meets {found:?} and should meet {:?}", expected.found));
    }
    explained(&site.listeners[listener], found, &expected, &router.consider_matches(listener, &asked.request()))?;
    Ok(if found.is_some() { "found" } else { "no route" })
}

/// An explanation names the one that is met, and of the others those that only came later.
fn explained(
    listener: &Listener,
    found: Option<Found>,
    expected: &Reading,
    matches: &[Considered],
) -> Result<(), String> {
    let triple = |found: &Found| (found.route, found.rule, found.matched);
    let all = reading::routes(listener).iter().enumerate().flat_map(|(route, written)| {
        let rules = written.rules.iter().enumerate();
        rules.flat_map(move |(rule, written)| (0..written.matches.len()).map(move |matched| (route, rule, matched)))
    });
    let all: Vec<_> = all.collect();
    if matches.len() != all.len() {
        return Err(format!("{} matches are explained, of {}", matches.len(), all.len()));
    }
    for (place, considered) in all.iter().zip(matches) {
        let why_not = considered.why_not.as_deref();
        let is_met = found.as_ref().map(triple) == Some(*place);
        let holds = expected.candidates.iter().any(|candidate| triple(candidate) == *place);
        if why_not.is_none() != is_met || (why_not == Some("another match comes first")) != (holds && !is_met) {
            return Err(format!("{place:?} is explained by {why_not:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_router_meets_what_the_specification_says(tape in proptest::collection::vec(any::<u8>(), 0..300)) {
            let outcome = check(&mut Tape::new(&tape));

            prop_assert!(outcome.is_ok(), "{outcome:?}\n{}", shown(&mut Tape::new(&tape)));
        }
    }
}
