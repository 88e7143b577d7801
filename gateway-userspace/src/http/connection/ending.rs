//! Why hyper ended a client's connection, where that is a limit or a rule and not the client's leave.

use crate::http::forward::cause;
use crate::http::reject::Reason;

/// The reason, if there is one. A connection that waited for its next request for too long has none.
pub fn reason(error: &hyper::Error, is_amid_head: bool) -> Option<Reason> {
    if error.is_parse_too_large() {
        return Some(Reason::HeadTooLarge);
    }
    if error.is_parse() {
        return Some(Reason::BadRequest);
    }
    if error.is_timeout() {
        return is_amid_head.then_some(Reason::HeadTimeout);
    }
    let error = cause::<h2::Error>(error).filter(|error| error.is_library())?;
    match error.reason() {
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Some(Reason::Http2Flood),
        Some(h2::Reason::NO_ERROR) | None => None,
        Some(_) => Some(Reason::BadRequest),
    }
}
