//! What is searched: the table of targets. A new one is one more line, and a property that takes a tape.

use std::panic::{AssertUnwindSafe, catch_unwind};

use beeline_tests::matcher;
use beeline_tests::smuggling::agreement;
use beeline_tests::smuggling::streams::{cuts, from_corpus, head, stream};
use beeline_tests::tape::Tape;
use gateway_userspace::http::framing::hop_by_hop::{Hops, strip};
use gateway_userspace::http::framing::{Rules, check};
use http::{HeaderMap, header};

/// A property, and how its inputs are made.
pub struct Target {
    pub name: &'static str,
    pub about: &'static str,
    /// Returns which way the input went, or what does not hold.
    property: fn(&mut Tape<'_>) -> Result<&'static str, String>,
    /// The input as text.
    shown: fn(&mut Tape<'_>) -> String,
}

/// All targets.
pub const TARGETS: [Target; 4] = [
    Target {
        name: "tap",
        about: "random requests through the tap, hyper and other readers",
        property: |tape| agree(stream, tape),
        shown: |tape| stream(tape).escape_ascii().to_string(),
    },
    Target {
        name: "tap-corpus",
        about: "the damaged corpus through the tap, hyper and other readers",
        property: |tape| agree(from_corpus, tape),
        shown: |tape| from_corpus(tape).escape_ascii().to_string(),
    },
    Target {
        name: "framing",
        about: "random heads through the rules for heads, and what is forwarded of them",
        property: forward,
        shown: |tape| format!("{:?}", head(tape)),
    },
    Target {
        name: "matcher",
        about: "random sites and requests through the router and a plain reading of Gateway API",
        property: matcher::check,
        shown: matcher::shown,
    },
];

impl Target {
    /// Tries one tape. A panic is a failure, too.
    pub fn run(&self, tape: &[u8]) -> Result<&'static str, String> {
        catch_unwind(AssertUnwindSafe(|| (self.property)(&mut Tape::new(tape)))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without text")))
        })
    }

    /// The input that a tape makes.
    pub fn shown(&self, tape: &[u8]) -> String {
        (self.shown)(&mut Tape::new(tape))
    }
}

fn agree(make: fn(&mut Tape<'_>) -> Vec<u8>, tape: &mut Tape<'_>) -> Result<&'static str, String> {
    let stream = make(tape);
    agreement::check(&stream, &cuts(tape, stream.len()))
}

/// What is accepted keeps what frames and routes it, and nothing of its connection.
fn forward(tape: &mut Tape<'_>) -> Result<&'static str, String> {
    let Some(mut parts) = head(tape) else { return Ok("no head") };
    let authority = match check(&parts, Rules::default()) {
        Ok(authority) => authority,
        Err(refusal) => return Ok(refusal.name()),
    };
    if let Some(authority) = &authority
        && (authority.host.is_empty() || authority.host.contains(['@', '/', ',', ' ']))
    {
        return Err(format!("it is for {authority:?}"));
    }
    let before = parts.headers.clone();
    strip(&mut parts.headers);
    let kept = |headers: &HeaderMap| {
        [header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION].map(|name| all(headers, &name))
    };
    if kept(&parts.headers) != kept(&before) {
        return Err(format!("{before:?} became {:?}", parts.headers));
    }
    let again = strip(&mut parts.headers);
    if again != Hops::default() || parts.headers.contains_key(header::CONNECTION) {
        return Err(format!("{:?} still says {again:?}", parts.headers));
    }
    Ok("accepted")
}

fn all(headers: &HeaderMap, name: &header::HeaderName) -> Vec<header::HeaderValue> {
    headers.get_all(name).iter().cloned().collect()
}
