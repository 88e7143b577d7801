//! One line of JSON for each request: who asked what, which listener, route, rule and backend it met, and when.
//!
//! A request has eight instants, those at which request and answer began and ended towards the client (front) and the
//! Pod (back). The first is a date, the others are microseconds after it. Lines are gathered by each worker and written by
//! a thread of their own, so that no request waits for the disk; if that cannot follow, lines are dropped and counted.

mod output;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use hyper::{Method, Version};

pub use self::output::{AccessLog, Target};
use super::reject::Reason;

/// Bytes that a worker gathers before it hands them over.
const BATCH_BYTES: usize = 16 << 10;

/// One worker's lines on their way to the log.
#[derive(Debug)]
pub struct Lines {
    log: AccessLog,
    gathered: Mutex<Vec<u8>>,
}

impl Lines {
    /// Nothing gathered yet.
    pub fn new(log: AccessLog) -> Self {
        Self { log, gathered: Mutex::default() }
    }

    /// Adds a request's line.
    pub fn add(&self, record: &Record) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        record.write(&mut gathered);
        if gathered.len() >= BATCH_BYTES {
            self.log.write(std::mem::take(&mut gathered));
        }
    }

    /// Lines of all workers that were dropped.
    pub fn dropped(&self) -> u64 {
        self.log.dropped_lines()
    }

    /// Hands over what was gathered; to be called now and then.
    pub fn flush(&self) {
        let gathered = std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
        if !gathered.is_empty() {
            self.log.write(gathered);
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

/// What becomes of a request's body, which goes its own way, apart from the record.
#[derive(Debug)]
pub struct Upload {
    start: Instant,
    bytes: AtomicU64,
    /// When its end was read; 0: not yet. It is handed to the backend's connection in the same moment.
    end_ns: AtomicU64,
}

impl Upload {
    /// Nothing was read yet.
    pub fn new(start: Instant) -> Self {
        Self { start, bytes: AtomicU64::new(0), end_ns: AtomicU64::new(0) }
    }

    /// So many bytes were read.
    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// The end was read.
    pub fn end(&self) {
        self.end_ns.store((self.start.elapsed().as_nanos() as u64).max(1), Relaxed);
    }
}

/// What the log says about one request.
#[derive(Debug)]
pub struct Record {
    /// When the head was read.
    pub start: Instant,
    /// The same by the calendar.
    pub date: SystemTime,
    /// The client, or the trusted proxy that speaks for it.
    pub peer: SocketAddr,
    /// The client that a trusted proxy names.
    pub named: Option<IpAddr>,
    /// The frontend.
    pub local: SocketAddr,
    /// Whether the client speaks TLS.
    pub is_tls: bool,
    /// What the client asked.
    pub method: Method,
    /// In which version.
    pub version: Version,
    /// For which host.
    pub host: String,
    /// For what.
    pub target: String,
    /// The listener's name.
    pub listener: String,
    /// The route's object.
    pub route: String,
    /// The rule: its name, or its place from 0.
    pub rule: String,
    /// The Pod of the last attempt.
    pub backend: String,
    /// Its address.
    pub backend_address: Option<SocketAddr>,
    /// Attempts at backends.
    pub attempts: u32,
    /// The answer's status; 0 if there was none.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// Why the request was not served, or broke off.
    pub reason: Option<Reason>,
    /// What exactly was wrong, if the reason has many faces.
    pub detail: &'static str,
    /// The request's body, if it has one.
    pub upload: Option<Arc<Upload>>,
    /// When the last attempt's head was handed to a connection.
    pub back_request_start: Option<Instant>,
    /// When the backend's head was there.
    pub back_response_start: Option<Instant>,
    /// When the backend's body had ended.
    pub back_response_end: Option<Instant>,
    /// When the answer's head was handed to the client's connection.
    pub front_response_start: Option<Instant>,
    /// When the answer had ended.
    pub front_response_end: Option<Instant>,
}

impl Record {
    /// Appends the line.
    fn write(&self, out: &mut Vec<u8>) {
        let mut line = Line { text: String::with_capacity(640) };
        line.raw("time", &date(self.date));
        match self.named {
            Some(named) => {
                line.raw("client", &named);
                line.raw("proxy", &self.peer);
            }
            None => line.raw("client", &self.peer),
        }
        line.raw("frontend", &self.local);
        line.raw("scheme", if self.is_tls { &"https" } else { &"http" });
        line.text("method", self.method.as_str());
        line.text("host", &self.host);
        line.text("target", &self.target);
        line.raw("protocol", &format_args!("{:?}", self.version));
        line.number("status", u64::from(self.status));
        line.text("reason", self.reason.map_or("", Reason::name));
        line.text("detail", self.detail);
        line.text("listener", &self.listener);
        line.text("route", &self.route);
        line.text("rule", &self.rule);
        line.text("backend", &self.backend);
        match self.backend_address {
            Some(address) => line.raw("backend_address", &address),
            None => line.text("backend_address", ""),
        }
        line.number("attempts", u64::from(self.attempts));
        line.number("bytes_in", self.upload.as_ref().map_or(0, |upload| upload.bytes.load(Relaxed)));
        line.number("bytes_out", self.bytes_out);
        self.write_instants(&mut line);
        line.text.push_str("}\n");
        out.extend_from_slice(line.text.as_bytes());
    }

    fn write_instants(&self, line: &mut Line) {
        let after =
            |instant: Option<Instant>| instant.map(|at| at.saturating_duration_since(self.start).as_micros() as u64);
        let (front_end, back_end) = match &self.upload {
            Some(upload) => {
                let end = Some(upload.end_ns.load(Relaxed)).filter(|&end| end > 0).map(|end| end / 1000);
                (end, end)
            }
            None => (Some(0), after(self.back_request_start)),
        };
        line.instant("front_request_start_us", Some(0));
        line.instant("front_request_end_us", front_end);
        line.instant("back_request_start_us", after(self.back_request_start));
        line.instant("back_request_end_us", back_end.filter(|_| self.back_request_start.is_some()));
        line.instant("back_response_start_us", after(self.back_response_start));
        line.instant("back_response_end_us", after(self.back_response_end));
        line.instant("front_response_start_us", after(self.front_response_start));
        line.instant("front_response_end_us", after(self.front_response_end));
    }
}

/// A line that is being written.
struct Line {
    text: String,
}

impl Line {
    fn key(&mut self, key: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        self.text.push('"');
        self.text.push_str(key);
        self.text.push_str("\":");
    }

    /// A value that needs no escapes.
    fn raw(&mut self, key: &str, value: &dyn std::fmt::Display) {
        self.key(key);
        let _ = write!(self.text, "\"{value}\"");
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.text.push('"');
        for character in value.chars() {
            match character {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                control if control < ' ' => drop(write!(self.text, "\\u{:04x}", u32::from(control))),
                other => self.text.push(other),
            }
        }
        self.text.push('"');
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        let _ = write!(self.text, "{value}");
    }

    fn instant(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(key, value);
        } else {
            self.key(key);
            self.text.push_str("null");
        }
    }
}

fn date(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.6}"))
}

/// A record of which only the beginning is known.
pub fn begin(peer: SocketAddr, local: SocketAddr, is_tls: bool) -> Record {
    Record {
        start: Instant::now(),
        date: SystemTime::now(),
        peer,
        named: None,
        local,
        is_tls,
        method: Method::GET,
        version: Version::HTTP_11,
        host: String::new(),
        target: String::new(),
        listener: String::new(),
        route: String::new(),
        rule: String::new(),
        backend: String::new(),
        backend_address: None,
        attempts: 0,
        status: 0,
        bytes_out: 0,
        reason: None,
        detail: "",
        upload: None,
        back_request_start: None,
        back_response_start: None,
        back_response_end: None,
        front_response_start: None,
        front_response_end: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_whatever_the_client_sent() {
        let local = SocketAddr::from(([192, 0, 2, 1], 80));
        let mut record = begin(local, local, false);
        record.target = "/\"\\\u{1}é".to_string();
        let mut line = Vec::new();

        record.write(&mut line);

        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["target"], "/\"\\\u{1}é");
        assert_eq!(value["front_request_start_us"], 0);
        assert_eq!(value["front_response_end_us"], serde_json::Value::Null);
        assert_eq!(value.as_object().unwrap().keys().filter(|key| key.ends_with("_us")).count(), 8);
    }
}
