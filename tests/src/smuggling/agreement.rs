//! What holds for every stream of bytes, however it comes.
//!
//! 1. How a stream is cut into reads changes nothing.
//! 2. What the tap lets through hyper reads as the tap's scanner does: the same messages, the same bodies.
//! 3. What the tap lets through every lenient reader reads so, too.
//! 4. What the tap refuses is answered with 400 (a head too large with 431), last, and the connection is closed.

use super::messages::{Message, Scanned, scan};
use super::readers::Reader;
use super::server::{Outcome, Seen, serve};

/// Checks a stream that is cut at the given positions. Returns why it was refused, or "served"; says what does not hold.
pub fn check(stream: &[u8], cuts: &[usize]) -> Result<&'static str, String> {
    let whole = serve(&[stream]);
    let scanned = scan(stream);
    let cut = serve(&cut(stream, cuts));
    if !is_same_outcome(&cut, &whole, &scanned) {
        return Err(format!("cut at {cuts:?} it is {cut:?}, in one piece {whole:?}"));
    }
    if stream.starts_with(HTTP2) {
        return Ok("http2");
    }
    same_as_hyper(stream, &scanned, &whole)?;
    if scanned.is_refused {
        refused(stream, &scanned, &whole)?;
    } else {
        same_as_readers(stream, &scanned.messages)?;
    }
    Ok(whole.reason.unwrap_or(if whole.statuses.iter().all(|&status| status == 200) { "served" } else { "hyper" }))
}

/// How HTTP/2's preface begins. Whatever follows, these are no messages of HTTP/1.1.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

fn is_same_outcome(one: &Outcome, other: &Outcome, scanned: &Scanned) -> bool {
    // If the connection ended before what the tap refuses, it depends on the reads whether the tap saw that.
    let reason_counts = one.seen.len() == scanned.messages.len();
    (&one.statuses, &one.seen, one.is_closed) == (&other.statuses, &other.seen, other.is_closed)
        && (one.reason == other.reason || !reason_counts)
}

/// The pieces of a stream.
pub fn cut<'a>(stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|&cut| cut.min(stream.len())).collect();
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for end in cuts.into_iter().chain([stream.len()]) {
        pieces.push(&stream[start..end]);
        start = end;
    }
    pieces
}

fn refused(stream: &[u8], scanned: &Scanned, outcome: &Outcome) -> Result<(), String> {
    let (last, others) = outcome.statuses.split_last().map_or((200, &[][..]), |(last, others)| (*last, others));
    let is_refused = (400..=599).contains(&last) && others.iter().all(|&status| status == 200);
    // After an answer that ends the connection nothing behind it is read.
    let ends_before = scanned.messages.iter().any(|message| may_be_last(&stream[message.start..message.body]));
    if outcome.is_closed && (is_refused || ends_before) {
        return Ok(());
    }
    Err(format!("it is refused, but not answered so and closed: {outcome:?}"))
}

/// Whether a head may end its connection.
fn may_be_last(head: &[u8]) -> bool {
    let text = head.to_ascii_lowercase();
    [&b"http/1.0"[..], b"close"].iter().any(|word| text.windows(word.len()).any(|part| part == *word))
}

fn same_as_hyper(stream: &[u8], scanned: &Scanned, outcome: &Outcome) -> Result<(), String> {
    let mut seen = outcome.seen.iter();
    for message in &scanned.messages {
        let (expected, seen) = (as_seen(stream, message), seen.next());
        let is_same = match (&expected, seen) {
            (Some(expected), Some(seen)) => is_same(expected, seen),
            // What breaks off is the last one, and has no body for the service either.
            (None, Some(seen)) => seen.body.is_none(),
            // hyper and the service may stop earlier, by rules of their own. What is incomplete they wait for.
            (Some(_), None) => outcome.is_closed,
            (None, None) => true,
        };
        if !is_same {
            return Err(format!("the scanner sees {expected:?}, hyper {seen:?}: {outcome:?}"));
        }
    }
    match seen.next() {
        Some(seen) => Err(format!("hyper sees {seen:?}, the scanner nothing")),
        None => Ok(()),
    }
}

fn is_same(expected: &Seen, seen: &Seen) -> bool {
    // hyper shows the other forms of a target in a form of its own.
    let same_target = expected.target == seen.target || !expected.target.starts_with('/');
    same_target && expected.method == seen.method && expected.body == seen.body
}

fn same_as_readers(stream: &[u8], messages: &[Message]) -> Result<(), String> {
    let complete: Vec<_> =
        messages.iter().filter(|m| as_seen(stream, m).is_some()).map(|message| message.end).collect();
    for reader in Reader::all() {
        let ends = reader.ends(stream);
        if ends != complete {
            return Err(format!("{reader:?} sees messages end at {ends:?}, the scanner at {complete:?}"));
        }
    }
    Ok(())
}

/// A message as a service should see it, if it is whole. The scanner has judged it, so reading it is easy.
fn as_seen(stream: &[u8], message: &Message) -> Option<Seen> {
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut fields);
    let head = &stream[message.start..message.body];
    let httparse::Status::Complete(length) = request.parse(head).ok()? else { return None };
    let body = &stream[message.body..message.end];
    let field = |name: &str| request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let body = if field("transfer-encoding").is_some() {
        decode_chunks(body)?
    } else {
        let length =
            field("content-length").map_or(Some(0), |field| std::str::from_utf8(field.value).ok()?.parse().ok())?;
        (body.len() == length).then(|| body.to_vec())?
    };
    (length == head.len()).then(|| Seen {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        body: Some(body),
    })
}

fn decode_chunks(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let end = body.windows(2).position(|pair| pair == b"\r\n")?;
        let size = std::str::from_utf8(&body[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        body = &body[end + 2..];
        if size == 0 {
            return (body == b"\r\n" || body.ends_with(b"\r\n\r\n")).then_some(data);
        }
        data.extend_from_slice(body.get(..size)?);
        body = body.get(size + 2..)?;
    }
}
