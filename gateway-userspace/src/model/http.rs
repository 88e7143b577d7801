//! Desired state of the HTTP layer: what becomes of the connections and requests of a frontend that it takes.
//!
//! A [`Site`] belongs to one frontend and is whole: listeners, routes, rules, filters and, behind each reference, the same
//! weighted [`Group`] that a layer-4 service has. Names and orders are settled here already (who wins a conflict, which
//! hostnames a route has at a listener); which of the listeners and rules a request meets is the router's to say.

mod health;
pub mod path;
pub mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::health::HealthCheck;
use super::Group;

/// What stands behind one frontend of the HTTP layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The object that asked for the frontend, for people: `Gateway shop/web`.
    pub owner: String,
    /// The listeners that share the frontend, each with a hostname of its own.
    pub listeners: Vec<Listener>,
    /// Whether each connection has to begin with a header of the PROXY protocol, from a trusted proxy.
    pub needs_proxy_header: bool,
}

/// One listener of a frontend.
///
/// A connection or request belongs to the listener whose hostname fits best, and to that one only: if none of its
/// routes fits, no other listener's is asked (Gateway API, `Listener.hostname`; listener isolation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, unique within the site: `web/https`, the object's name and the listener's.
    pub name: String,
    /// The host that it is for; without one, every host.
    pub hostname: Option<Hostname>,
    /// What it does with a connection.
    pub handling: Handling,
}

/// What a listener does with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handling {
    /// HTTP in the clear: HTTP/1.1, and HTTP/2 by prior knowledge.
    Http(Vec<Arc<Route>>),
    /// HTTP within TLS.
    Https(Arc<Termination>, Vec<Arc<Route>>),
    /// TLS that is passed on as it is, by the name in the `ClientHello`.
    TlsPassthrough(Vec<Arc<TlsRoute>>),
    /// TLS that ends here; what is within goes on as a stream of bytes.
    TlsTerminate(Arc<Termination>, Vec<Arc<TlsRoute>>),
}

/// A hostname or a wildcard: lower case, without a final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hostname {
    /// `shop.example`.
    Exact(Arc<str>),
    /// `*.shop.example`, here as `.shop.example`: any number of labels may stand before it, but at least one.
    Wildcard(Arc<str>),
    /// The same as an Ingress or a certificate means it: exactly one label stands before it.
    OneLabel(Arc<str>),
}

impl Hostname {
    /// Reads a hostname as Gateway API writes it.
    pub fn parse(text: &str) -> Self {
        let lower = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match lower.strip_prefix('*') {
            Some(suffix) => Self::Wildcard(suffix.into()),
            None => Self::Exact(lower.into()),
        }
    }

    /// Reads a hostname whose wildcard stands for one label, as that of an Ingress or a certificate does.
    pub fn parse_narrow(text: &str) -> Self {
        match Self::parse(text) {
            Self::Wildcard(suffix) => Self::OneLabel(suffix),
            other => other,
        }
    }

    /// Whether a host, in lower case and without port, is meant.
    pub fn covers(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
            Self::OneLabel(suffix) => {
                host.strip_suffix(&**suffix).is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
        }
    }

    /// What both mean: a route's hostname as a listener lets it through. Nothing, if they share no host.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let (narrow, wide) = if self.specificity() >= other.specificity() { (self, other) } else { (other, self) };
        let shares = match (narrow, wide) {
            (Self::Exact(name), wide) => wide.covers(name),
            (Self::Wildcard(narrow) | Self::OneLabel(narrow), Self::Wildcard(wide)) => narrow.ends_with(&**wide),
            (Self::OneLabel(one), Self::OneLabel(other)) => one == other,
            (Self::Wildcard(_), Self::OneLabel(_)) | (Self::Wildcard(_) | Self::OneLabel(_), Self::Exact(_)) => false,
        };
        shares.then(|| narrow.clone())
    }

    /// The larger, the better it fits: exact before wildcard, then the longer, then the one that covers fewer hosts.
    pub fn specificity(&self) -> (bool, usize, bool) {
        match self {
            Self::Exact(name) => (true, name.len(), true),
            Self::OneLabel(suffix) => (false, suffix.len(), true),
            Self::Wildcard(suffix) => (false, suffix.len(), false),
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) | Self::OneLabel(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// How TLS ends at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// The certificates to choose from, by name and by what the client can verify. Never empty.
    pub certificates: Vec<Certificate>,
    /// What is asked of the client's own certificate, if anything is.
    pub client_validation: Option<ClientValidation>,
}

/// A certificate with its key, both in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Where it comes from, for people: `Secret shop/web-tls`.
    pub origin: String,
    /// The chain, leaf first.
    pub chain_pem: Arc<[u8]>,
    /// The private key. It is never printed.
    pub key_pem: Arc<[u8]>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// What is asked of a client's certificate (GEP-91).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientValidation {
    /// The authorities that are trusted, in PEM.
    pub authorities_pem: Arc<[u8]>,
    /// Whether a client without a valid certificate is let in all the same (`AllowInsecureFallback`).
    pub is_optional: bool,
}

/// An `HTTPRoute`, a `GRPCRoute` or an `Ingress`, as one listener has it.
///
/// The routes of a listener are ordered: where the matches of two are equally good, the first wins (older, then by name).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The object: `HTTPRoute shop/web`.
    pub owner: String,
    /// The hosts that it is for, at this listener those of them that the listener is for, too; empty means all of the
    /// listener's.
    pub hostnames: Vec<Hostname>,
    /// Its rules, in their order.
    pub rules: Vec<Rule>,
}

/// One rule of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Any of these is enough; one without any meets nothing.
    pub matches: Vec<Match>,
    /// What happens to its requests, in order.
    pub filters: Vec<Filter>,
    /// Where they go, by weight. None, without a redirect among the filters, is an error: 500.
    pub backends: Vec<BackendRef>,
    /// Until when an answer must be there.
    pub timeouts: Timeouts,
    /// What is tried again, if anything but what is always safe is.
    pub retry: Option<Retry>,
    /// How a client stays with its backend.
    pub session: Option<Session>,
    /// Whether errors are told as gRPC does (`grpc-status`), whatever the content type.
    pub is_grpc: bool,
}

/// What a request must be. All conditions hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// The path.
    pub path: PathMatch,
    /// Headers, each name at most once (of several the first counts), in lower case.
    pub headers: Vec<NamedMatch>,
    /// Query parameters, each name at most once; names are case-sensitive.
    pub query: Vec<NamedMatch>,
    /// The method.
    pub method: Option<String>,
}

/// What a path must be, both being in the form of [`path`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The path itself.
    Exact(String),
    /// Its first elements: `/v1` means `/v1` and `/v1/x`, not `/v1x`. Without a final slash unless it is `/`.
    Prefix(String),
    /// The whole path fits the expression.
    Regex(String),
    /// A gRPC method, `/service/method`; what is not named may be anything.
    Grpc {
        /// The full name of the service.
        service: Option<TextMatch>,
        /// The method.
        method: Option<TextMatch>,
    },
}

impl Default for PathMatch {
    fn default() -> Self {
        Self::Prefix("/".to_string())
    }
}

/// A header or query parameter, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedMatch {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: TextMatch,
}

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextMatch {
    /// This text.
    Exact(String),
    /// The whole text fits the expression.
    Regex(String),
}

/// What happens to a request or to its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Changes the request's headers.
    RequestHeaders(HeaderChanges),
    /// Changes the answer's headers.
    ResponseHeaders(HeaderChanges),
    /// Answers with a redirect; nothing behind it happens.
    Redirect(Redirect),
    /// Changes host and path on the way to the backend.
    Rewrite(Rewrite),
    /// Sends a copy of the request elsewhere, and forgets the answer.
    Mirror(Box<Mirror>),
    /// Answers for other origins.
    Cors(Cors),
    /// It cannot be served; requests are answered with 500 (Gateway API, unknown `ExtensionRef`).
    Broken,
}

impl Filter {
    /// The name that manifests use.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RequestHeaders(_) => "RequestHeaderModifier",
            Self::ResponseHeaders(_) => "ResponseHeaderModifier",
            Self::Redirect(_) => "RequestRedirect",
            Self::Rewrite(_) => "URLRewrite",
            Self::Mirror(_) => "RequestMirror",
            Self::Cors(_) => "CORS",
            Self::Broken => "ExtensionRef",
        }
    }
}

/// Changes of headers; names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Replaced or made.
    pub set: Vec<(String, String)>,
    /// Added to what is there.
    pub add: Vec<(String, String)>,
    /// Taken away.
    pub remove: Vec<String>,
}

/// A redirect; what is not named stays as the client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host.
    pub hostname: Option<String>,
    /// The port. Without one: the well-known port of a named scheme, else the listener's.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<PathChange>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A rewrite on the way to the backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The host that the backend sees.
    pub hostname: Option<String>,
    /// The path that it sees.
    pub path: Option<PathChange>,
}

/// How a path changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// The whole path.
    Full(String),
    /// What the rule's prefix match has matched.
    Prefix(String),
}

/// Where copies of requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The backends that get them.
    pub backend: BackendRef,
    /// How many of how many requests: numerator and denominator, which is not 0.
    pub fraction: (u32, u32),
}

/// Cross-origin resource sharing (Fetch standard, "CORS protocol"; GEP-1767).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// `https://shop.example`, `https://*.shop.example` or `*`.
    pub allow_origins: Vec<String>,
    /// Methods, or `*`.
    pub allow_methods: Vec<String>,
    /// Headers of requests, or `*`.
    pub allow_headers: Vec<String>,
    /// Headers of answers that scripts may read, or `*`.
    pub expose_headers: Vec<String>,
    /// Whether credentials may be sent.
    pub allow_credentials: bool,
    /// How long an answer to a preflight request may be remembered, in seconds.
    pub max_age_sec: u32,
}

/// One reference of a rule, with all that its backends need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRef {
    /// The weighted backends; also of a reference that leads nowhere, which keeps its share and has no members.
    pub group: Group,
    /// Whether the reference leads nowhere: 500. One that only has nobody ready: 503.
    pub is_broken: bool,
    /// How a backend of the group is selected.
    pub picker: Picker,
    /// What happens only to requests that go here.
    pub filters: Vec<Filter>,
    /// What is spoken there.
    pub speech: Speech,
    /// How TLS to them is made, if they speak it.
    pub tls: Option<Arc<BackendTls>>,
    /// The Host that they see unless a filter says another (`Upstream.spec.hostHeader`).
    pub host_header: Option<String>,
    /// The PROXY protocol that they want each connection to begin with.
    pub proxy: Option<ProxyVersion>,
    /// How they are asked whether they can serve, beside what Kubernetes says.
    pub health_check: Option<Arc<HealthCheck>>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How a backend is selected, for a request or for a connection that is passed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Picker {
    /// Exact: a cursor walks a schedule.
    #[default]
    WeightedRoundRobin,
    /// Of two at random, by weight, the one with fewer open requests for its weight.
    TwoChoices,
    /// The one with the fewest open requests for its weight; of several such they take turns.
    LeastRequests,
    /// The same for the same header, cookie or client, as long as it is there.
    Maglev(HashOf),
}

/// What stays with its backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashOf {
    /// The client's address.
    #[default]
    Client,
    /// The value of a header, its name in lower case; without it the client's address.
    Header(String),
    /// The value of a cookie; without it the client's address.
    Cookie(String),
}

impl fmt::Display for Picker {
    /// As manifests say it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WeightedRoundRobin => f.write_str("WeightedRoundRobin"),
            Self::TwoChoices => f.write_str("Random"),
            Self::LeastRequests => f.write_str("LeastConnections"),
            Self::Maglev(HashOf::Client) => f.write_str("Maglev"),
            Self::Maglev(HashOf::Header(name)) => write!(f, "Maglev by header {name}"),
            Self::Maglev(HashOf::Cookie(name)) => write!(f, "Maglev by cookie {name}"),
        }
    }
}

/// What a backend speaks, within TLS or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Speech {
    /// HTTP/1.1; within TLS whatever ALPN agrees on.
    #[default]
    Http,
    /// HTTP/2, by prior knowledge where there is no TLS.
    Http2,
    /// HTTP/1.1 for the sake of WebSocket.
    WebSocket,
}

/// TLS to a backend (`BackendTLSPolicy`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTls {
    /// The policy or field that asks for it, for people.
    pub origin: String,
    /// The name in SNI, and in the certificate unless `names` has others.
    pub hostname: String,
    /// The authorities in PEM; none: those of the system. Empty bytes: nobody is trusted, so every connection fails.
    pub authorities_pem: Option<Arc<[u8]>>,
    /// The names of which the certificate must have one; none: `hostname`.
    pub names: BTreeSet<SubjectName>,
    /// What we show the backend.
    pub client_certificate: Option<Certificate>,
}

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectName {
    /// A host.
    Hostname(Hostname),
    /// A URI, as SPIFFE has them.
    Uri(String),
}

/// Until when an answer must be there; none means that nobody waits for an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's arrival to the end of its answer.
    pub request: Option<Duration>,
    /// The same of one attempt at a backend.
    pub backend_request: Option<Duration>,
}

/// What is tried again (GEP-1731).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// The answers after which another attempt is made.
    pub codes: BTreeSet<u16>,
    /// How many attempts follow the first; none: 1.
    pub attempts: Option<u32>,
    /// The pause before the first further attempt; it doubles.
    pub backoff: Option<Duration>,
}

/// How a client stays with its backend (GEP-1619).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The cookie's or header's name.
    pub name: String,
    /// Whether it is a header rather than a cookie.
    pub is_header: bool,
    /// Whether the cookie outlives the browser's session.
    pub is_permanent: bool,
    /// When it ends in any case.
    pub absolute_timeout: Option<Duration>,
    /// When it ends if it is not used.
    pub idle_timeout: Option<Duration>,
}

/// A `TLSRoute`, as one listener has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRoute {
    /// The object: `TLSRoute shop/web`.
    pub owner: String,
    /// The names that it is for, at this listener those of them that the listener is for, too; empty means all of the
    /// listener's.
    pub hostnames: Vec<Hostname>,
    /// Where connections go, by weight.
    pub backends: Vec<BackendRef>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Hostname {
        Hostname::parse(text)
    }

    #[test]
    fn a_wildcard_covers_any_number_of_labels_but_not_none() {
        assert!(name("*.shop.example").covers("www.shop.example"));
        assert!(name("*.shop.example").covers("a.b.shop.example"));
        assert!(!name("*.shop.example").covers("shop.example"));
        assert!(!name("*.shop.example").covers("ashop.example"));
        assert!(name("Shop.Example.").covers("shop.example"));
    }

    #[test]
    fn a_wildcard_of_an_ingress_covers_one_label() {
        let wildcard = Hostname::parse_narrow("*.shop.example");

        assert!(wildcard.covers("www.shop.example"));
        for host in ["a.b.shop.example", "shop.example", ".shop.example", "ashop.example"] {
            assert!(!wildcard.covers(host), "{host}");
        }
        assert_eq!(wildcard.intersection(&name("*.shop.example")), Some(wildcard.clone()));
        assert_eq!(name("*.example").intersection(&wildcard), Some(wildcard.clone()));
        assert_eq!(name("*.a.shop.example").intersection(&wildcard), None);
        assert_eq!(wildcard.intersection(&name("www.shop.example")), Some(name("www.shop.example")));
        assert_eq!(wildcard.intersection(&name("a.b.shop.example")), None);
    }

    #[test]
    fn what_two_hostnames_share_is_the_narrower_one() {
        assert_eq!(name("*.shop.example").intersection(&name("www.shop.example")), Some(name("www.shop.example")));
        assert_eq!(name("*.shop.example").intersection(&name("*.example")), Some(name("*.shop.example")));
        assert_eq!(name("www.shop.example").intersection(&name("shop.example")), None);
        assert_eq!(name("*.a.example").intersection(&name("*.b.example")), None);
        assert_eq!(name("*.example").intersection(&name("example")), None);
    }
}
