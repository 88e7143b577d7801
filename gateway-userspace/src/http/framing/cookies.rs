//! Puts a client's cookies together again, which HTTP/2 may send one by one (RFC 9113, 8.2.3).

use http::{HeaderMap, HeaderValue, header};

/// Makes one field of all `Cookie` fields, as HTTP/1.1 and whoever reads cookies expect it.
pub fn join(headers: &mut HeaderMap) {
    let fields = headers.get_all(header::COOKIE);
    if fields.iter().nth(1).is_none() {
        return;
    }
    let is_sensitive = fields.iter().any(HeaderValue::is_sensitive);
    let pieces: Vec<&[u8]> = fields.iter().map(HeaderValue::as_bytes).collect();
    if let Ok(mut joined) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        joined.set_sensitive(is_sensitive);
        headers.insert(header::COOKIE, joined);
    }
}
