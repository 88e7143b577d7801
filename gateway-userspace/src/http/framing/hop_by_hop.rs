//! What belongs to one connection and is not forwarded (RFC 9110, 7.6.1), and what is said anew on the next one.
//!
//! `Connection` is obeyed, but not against fields that are for more than the connection: in a request that is refused
//! before, in a response such a name is passed over.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

/// Fields of the connection, whether `Connection` names them or not.
static OF_THE_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that are for more than the connection. Whoever names one of them in `Connection` wants a field dropped between
/// us and the Pod that one of us relies on: for framing, routing, identity or trust.
const END_TO_END: [&str; 21] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "set-cookie",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "via",
];

/// Families of such fields: ours, and those that others in front of us set.
const END_TO_END_PREFIXES: [&str; 6] = ["x-forwarded-", "x-real-ip", "x-ca-", "x-beeline-", "x-request-id", "x-envoy-"];

/// Fields that change nothing any more when they come as trailers, or must not (RFC 9110, 6.5.1).
const NOT_IN_TRAILERS: [&str; 15] = [
    "age",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "pragma",
    "retry-after",
    "te",
    "upgrade",
    "vary",
    "www-authenticate",
];

/// What a message's fields said about its connection, and the next one may have to say again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hops {
    /// The protocols that `Upgrade` named, if `Connection` announced it.
    pub upgrade: Option<HeaderValue>,
    /// Whether trailers are welcome.
    pub accepts_trailers: bool,
}

/// Removes what is not forwarded from the fields of a request or response.
pub fn strip(headers: &mut HeaderMap) -> Hops {
    if !headers.keys().any(|name| OF_THE_CONNECTION.contains(name)) {
        return Hops::default();
    }
    let options: Vec<_> = connection_options(headers).map(str::to_ascii_lowercase).collect();
    let hops = Hops {
        upgrade: options
            .iter()
            .any(|option| option == "upgrade")
            .then(|| headers.get(header::UPGRADE).cloned())
            .flatten(),
        accepts_trailers: accepts_trailers(headers),
    };
    for option in options.iter().filter(|option| !is_end_to_end(option)) {
        headers.remove(option.as_str());
    }
    for name in &OF_THE_CONNECTION {
        headers.remove(name);
    }
    hops
}

impl Hops {
    /// Says on the next connection, in the fields of a stripped message, what holds there too.
    pub fn announce(&self, headers: &mut HeaderMap, version: Version) {
        let is_http2 = version >= Version::HTTP_2;
        if self.accepts_trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            if !is_http2 {
                headers.append(header::CONNECTION, HeaderValue::from_static("te"));
            }
        }
        if let Some(upgrade) = self.upgrade.as_ref().filter(|_| !is_http2) {
            headers.insert(header::UPGRADE, upgrade.clone());
            headers.append(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
    }
}

/// Removes from a request's trailers what may not stand there. A recipient may merge trailers into the head, so nothing that
/// decides about framing, routing, identity or trust may come so late.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    remove_if(trailers, |name| {
        let text = name.as_str();
        is_end_to_end(text) || OF_THE_CONNECTION.contains(name) || NOT_IN_TRAILERS.contains(&text)
    });
}

/// Removes from an answer's trailers what belongs to the connection or frames it. The rest is for the client: a Pod may say what
/// it likes, and what gRPC calls its metadata has any names.
pub fn strip_answer_trailers(trailers: &mut HeaderMap) {
    remove_if(trailers, |name| OF_THE_CONNECTION.contains(name) || *name == header::CONTENT_LENGTH);
}

fn remove_if(fields: &mut HeaderMap, is_forbidden: impl Fn(&HeaderName) -> bool) {
    let names: Vec<_> = fields.keys().filter(|name| is_forbidden(name)).cloned().collect();
    for name in names {
        fields.remove(name);
    }
}

/// The options of all `Connection` fields. A value that is not visible ASCII comes as one empty option; empty elements of
/// a list are passed over (RFC 9110, 5.6.1.2).
pub fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(header::CONNECTION).iter().flat_map(|value| {
        let text = value.to_str();
        let broken = text.is_err().then_some("");
        let options = text.unwrap_or_default().split(',').map(str::trim).filter(|option| !option.is_empty());
        options.chain(broken)
    })
}

/// Whether a field, in any case, is for more than the connection.
pub fn is_end_to_end(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    END_TO_END.contains(&name.as_str()) || END_TO_END_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}
