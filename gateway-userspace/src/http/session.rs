//! Keeps a client with its backend by a cookie or header (GEP-1619).
//!
//! What the client holds names a backend by a fingerprint that says nothing of its address, and, where the session has
//! time limits, when it began and was last used. There is no secret in it: a client that makes one up chooses among the
//! backends that it may reach anyway.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderName, HeaderValue, SET_COOKIE};

use crate::model::http::{Match, PathMatch, Session};
use crate::model::{Backend, PodId, fingerprint};

/// What a client showed, or is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The backend's fingerprint.
    pub backend: u64,
    /// When the session began, in seconds since 1970; 0 if it has no limits.
    began: u64,
}

/// The fingerprint of a backend: of its Pod and port, or of its address where no Pod is known.
pub fn backend_token(backend: &Backend) -> u64 {
    if backend.pod == PodId::NONE {
        return fingerprint(&format!("{:?}:{}", backend.address, backend.port.get()));
    }
    fingerprint(&format!("{:x}:{}", backend.pod.raw(), backend.port.get()))
}

/// What the client shows, if the session has not ended by its limits.
pub fn shown(session: &Session, headers: &HeaderMap) -> Option<Token> {
    let text = if session.is_header {
        headers.get(session.name.as_str())?.to_str().ok()?
    } else {
        headers.get_all(COOKIE).iter().find_map(|cookies| cookie(cookies.to_str().ok()?, &session.name))?
    };
    read(session, text, now_sec())
}

/// For which requests a cookie is: those that meet the same match, and none in the clear if it was given within TLS.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    path: &'a str,
    is_secure: bool,
}

impl<'a> Scope<'a> {
    /// That of a match. An expression has no path of its own (GEP-1619).
    pub fn new(matched: Option<&'a Match>, is_secure: bool) -> Self {
        let path = match matched.map(|matched| &matched.path) {
            Some(PathMatch::Exact(path) | PathMatch::Prefix(path)) if is_cookie_path(path) => path,
            _ => "/",
        };
        Self { path, is_secure }
    }
}

/// What may stand in the attribute (RFC 6265, 4.1.1).
fn is_cookie_path(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';')
}

/// What tells the client its session: nothing if it holds the same already.
pub fn tell(session: &Session, shown: Option<Token>, backend: u64, scope: Scope<'_>, headers: &mut HeaderMap) {
    let stays = shown.filter(|shown| shown.backend == backend);
    if stays.is_some() && session.idle_timeout.is_none() {
        return;
    }
    let now = now_sec();
    let text = write(session, backend, stays.map_or(now, |shown| shown.began), now);
    if session.is_header {
        let name = HeaderName::try_from(session.name.as_str());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(text)) {
            headers.insert(name, value);
        }
        return;
    }
    let lifetime = session.absolute_timeout.filter(|_| session.is_permanent);
    let age = lifetime.map(|limit| format!("; Max-Age={}", limit.as_secs())).unwrap_or_default();
    let Scope { path, is_secure } = scope;
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie = format!("{}={text}; Path={path}; HttpOnly; SameSite=Lax{secure}{age}", session.name);
    if let Ok(value) = HeaderValue::try_from(cookie) {
        headers.append(SET_COOKIE, value);
    }
}

/// How far the clocks of two nodes may be apart, in seconds: one reads what another has written.
const SKEW_SEC: u64 = 60;

fn has_limits(session: &Session) -> bool {
    session.absolute_timeout.is_some() || session.idle_timeout.is_some()
}

fn write(session: &Session, backend: u64, began: u64, used: u64) -> String {
    if has_limits(session) { format!("{backend:016x}-{began:x}-{used:x}") } else { format!("{backend:016x}") }
}

fn read(session: &Session, text: &str, now: u64) -> Option<Token> {
    let mut fields = text.split('-').map(|field| u64::from_str_radix(field, 16).ok());
    let backend = fields.next()??;
    if !has_limits(session) {
        return Some(Token { backend, began: 0 });
    }
    let (began, used) = (fields.next()??, fields.next()??);
    let is_over = |since: u64, limit: Option<Duration>| {
        limit.is_some_and(|limit| since > now.saturating_add(SKEW_SEC) || now.saturating_sub(since) > limit.as_secs())
    };
    let ended = is_over(began, session.absolute_timeout) || is_over(used, session.idle_timeout);
    (!ended).then_some(Token { backend, began })
}

/// The value of a cookie in a `Cookie` field (RFC 6265, 4.2.1).
pub fn cookie<'a>(cookies: &'a str, name: &str) -> Option<&'a str> {
    cookies
        .split(';')
        .find_map(|cookie| cookie.trim().split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
}

fn now_sec() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(absolute: Option<u64>, idle: Option<u64>) -> Session {
        Session {
            name: "stay".to_string(),
            is_header: false,
            is_permanent: false,
            absolute_timeout: absolute.map(Duration::from_secs),
            idle_timeout: idle.map(Duration::from_secs),
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        assert_eq!(cookie("a=1; stay=2; stays=3", "stay"), Some("2"));
        assert_eq!(cookie("a=stay; b", "stay"), None);
    }

    #[test]
    fn a_cookie_is_for_the_path_that_was_matched_and_stays_within_tls() {
        let cookie = |path, is_secure| {
            let mut headers = HeaderMap::new();
            let matched = Match { path, ..Match::default() };
            tell(&session(None, None), None, 7, Scope::new(Some(&matched), is_secure), &mut headers);
            headers[SET_COOKIE].to_str().unwrap().to_owned()
        };

        assert_eq!(
            cookie(PathMatch::Prefix("/cart".to_owned()), true),
            "stay=0000000000000007; Path=/cart; HttpOnly; SameSite=Lax; Secure"
        );
        assert!(cookie(PathMatch::Exact("/a".to_owned()), false).ends_with("Path=/a; HttpOnly; SameSite=Lax"));
        for elsewhere in [PathMatch::Regex("/a".to_owned()), PathMatch::Prefix("/a;b".to_owned())] {
            assert!(cookie(elsewhere, false).contains("; Path=/; "));
        }
    }

    #[test]
    fn a_session_ends_by_its_limits() {
        let both = session(Some(100), Some(10));
        let text = write(&both, 7, 1000, 1050);

        assert_eq!(read(&both, &text, 1060).map(|token| token.backend), Some(7));
        assert_eq!(read(&both, &text, 1061), None);
        assert_eq!(read(&both, &write(&both, 7, 1000, 1100), 1101), None);
    }

    #[test]
    fn a_node_whose_clock_is_a_little_behind_reads_what_another_has_written() {
        let both = session(Some(100), Some(10));
        let text = write(&both, 7, 1001, 1001);

        assert_eq!(read(&both, &text, 1000).map(|token| token.backend), Some(7));
    }

    #[test]
    fn what_is_no_token_is_no_session() {
        for text in ["", "zz", "1", "1-2", "1-ffffffffff-1", "10.0.0.1"] {
            assert_eq!(read(&session(Some(100), None), text, 1000), None, "{text}");
        }
    }
}
