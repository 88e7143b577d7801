//! One question to the API server and its answer: what a status means, and no waiting for ever.

use std::fmt;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use tokio::time::timeout;

use super::allowance::{Allowance, Buffer};

/// More of a refusal is not read, and less is passed on: it lands in logs and statuses.
const LONGEST_REFUSAL: usize = 64 << 10;
const LONGEST_MESSAGE: usize = 1000;

/// Why an answer does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// What was asked for is too old: list again.
    Gone,
    /// There is no such collection.
    Missing,
    /// The server cannot do what was asked; another question may do.
    Unfit(String),
    /// The server sends more than it may.
    TooMuch(String),
    /// Anything else, and how long the server asks to be left alone.
    Failed(String, Option<Duration>),
}

impl Trouble {
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into(), None)
    }

    /// What a status of the API server means, be it an answer's or one within a watch.
    pub(super) fn of(code: u16, message: &str, retry_after: Option<Duration>) -> Self {
        let message: String = message.trim().chars().take(LONGEST_MESSAGE).collect();
        let said = if message.is_empty() { format!("HTTP status {code}") } else { message };
        match code {
            404 => Self::Missing,
            410 => Self::Gone,
            400 | 422 => Self::Unfit(format!("the API server does not understand: {said}")),
            401 => Self::failed(format!("the API server does not know us: {said}: check the credentials")),
            403 => Self::failed(format!("the API server refuses: {said}: grant it to the agent's role")),
            429 => Self::Failed(format!("the API server is busy: {said}"), retry_after),
            _ => Self::Failed(format!("the API server failed: {said}"), retry_after),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the API server has forgotten the version that was asked for"),
            Self::Missing => f.write_str("the API server does not serve it"),
            Self::Unfit(text) | Self::TooMuch(text) | Self::Failed(text, _) => f.write_str(text),
        }
    }
}

/// Asks, and hands the answer over if the server granted it.
pub(super) async fn ask(
    client: &Client,
    url: &str,
    accept: &str,
    patience: Duration,
) -> Result<Response<Body>, Trouble> {
    let request = Request::get(url)
        .header(ACCEPT, accept)
        .body(Body::empty())
        .map_err(|error| Trouble::failed(format!("`{url}` is not a request: {error}")))?;
    let answer = timeout(patience, client.send(request)).await.map_err(|_| no_answer(patience))?;
    let answer = answer.map_err(|error| Trouble::failed(unreachable(&error)))?;
    if answer.status() == StatusCode::OK {
        return Ok(answer);
    }
    let code = answer.status().as_u16();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = answer.into_body();
    let mut said = Vec::new();
    while said.len() < LONGEST_REFUSAL
        && let Ok(Some(chunk)) = chunk(&mut body, patience).await
    {
        said.extend_from_slice(&chunk);
    }
    Err(Trouble::of(code, &message(&said), retry_after.map(Duration::from_secs)))
}

/// Reads an answer to its end, if that comes soon enough for what the server may send.
pub(super) async fn whole(
    answer: Response<Body>,
    patience: Duration,
    allowance: &Allowance,
) -> Result<Buffer, Trouble> {
    let mut body = answer.into_body();
    let mut buffer = Buffer::new(allowance);
    while let Some(chunk) = chunk(&mut body, patience).await? {
        allowance.check_answer(buffer.len() + chunk.len())?;
        buffer.extend(&chunk)?;
    }
    Ok(buffer)
}

async fn chunk(body: &mut Body, patience: Duration) -> Result<Option<Bytes>, Trouble> {
    loop {
        match timeout(patience, body.frame()).await.map_err(|_| no_answer(patience))? {
            None => return Ok(None),
            Some(Err(error)) => return Err(Trouble::failed(unreachable(&error))),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The lines of an answer that does not end.
pub(super) struct Lines {
    body: Body,
    allowance: Allowance,
    buffer: Buffer,
    /// Where the next line begins, and how far the buffer was looked through for its end.
    start: usize,
    seen: usize,
}

impl Lines {
    pub(super) fn of(answer: Response<Body>, allowance: &Allowance) -> Self {
        let (allowance, buffer) = (allowance.clone(), Buffer::new(allowance));
        Self { body: answer.into_body(), allowance, buffer, start: 0, seen: 0 }
    }

    /// The next line, or nothing if the server has ended the watch in good order. Cancel-safe.
    pub(super) async fn next(&mut self, patience: Duration) -> Result<Option<&[u8]>, Trouble> {
        loop {
            if let Some(length) = self.buffer[self.seen..].iter().position(|byte| *byte == b'\n') {
                let (from, to) = (self.start, self.seen + length);
                self.allowance.check_line(to - from)?;
                self.start = to + 1;
                self.seen = self.start;
                return Ok(Some(&self.buffer[from..to]));
            }
            self.buffer.discard(self.start);
            self.start = 0;
            self.seen = self.buffer.len();
            self.allowance.check_line(self.seen)?;
            match chunk(&mut self.body, patience).await? {
                Some(data) => self.buffer.extend(&data)?,
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Trouble::failed("the API server broke off in the middle of a line")),
            }
        }
    }
}

fn no_answer(patience: Duration) -> Trouble {
    Trouble::failed(format!("the API server says nothing for {} s", patience.as_secs_f32()))
}

/// Why a connection does not work. Only the innermost error says it: `connection refused`, `certificate expired`.
fn unreachable(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    format!("the API server cannot be reached: {innermost}")
}

/// The message of an answer that is not what was hoped for.
fn message(answer: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    match serde_json::from_slice::<Status>(answer) {
        Ok(status) => status.message,
        Err(_) => String::from_utf8_lossy(answer).chars().take(200).collect(),
    }
}
