//! Cross-origin resource sharing (Fetch standard, "HTTP CORS protocol"; Gateway API, `HTTPCORSFilter`).

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use crate::model::http::Cors;

/// Who may read answers from elsewhere.
#[derive(Debug)]
pub struct Sharing {
    origins: Vec<String>,
    /// None: whatever is asked for.
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    exposed: Option<HeaderValue>,
    allows_credentials: bool,
    max_age: HeaderValue,
}

impl Sharing {
    /// Compiles a filter.
    pub fn new(cors: &Cors) -> Self {
        Self {
            origins: cors.allow_origins.iter().map(|origin| origin.to_ascii_lowercase()).collect(),
            methods: list_unless_every(&cors.allow_methods),
            headers: list_unless_every(&cors.allow_headers),
            exposed: (!cors.expose_headers.is_empty()).then(|| list(&cors.expose_headers)).flatten(),
            allows_credentials: cors.allow_credentials,
            max_age: HeaderValue::from(cors.max_age_sec),
        }
    }

    /// The answer to a preflight request, which asks in advance; nothing if it is none. Who is not allowed gets an answer
    /// without permission.
    pub fn preflight(&self, request: &Parts) -> Option<Response<()>> {
        let asked = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| request.method == Method::OPTIONS)?;
        request.headers.get(ORIGIN)?;
        let mut answer = Response::new(());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let headers = answer.headers_mut();
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = self.origin(&request.headers) else { return Some(answer) };
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone().unwrap_or_else(|| asked.clone()));
        let wanted = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        if let Some(allowed) = self.headers.clone().or(wanted).filter(|allowed| !allowed.is_empty()) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        self.permit(headers, &origin);
        Some(answer)
    }

    /// The origin of a request, if it may read the answer.
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let text = origin.to_str().ok()?.to_ascii_lowercase();
        self.origins.iter().any(|allowed| covers(allowed, &text)).then(|| origin.clone())
    }

    /// Lets an origin read an answer; what the backend says about that is replaced.
    pub fn allow(&self, headers: &mut HeaderMap, origin: &HeaderValue) {
        headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
        headers.append(VARY, HeaderValue::from_static("Origin"));
        self.permit(headers, origin);
    }

    fn permit(&self, headers: &mut HeaderMap, origin: &HeaderValue) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.allows_credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(exposed) = &self.exposed {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }
}

/// Whether an allowed origin, `https://*.shop.example` or `*`, is this one; both in lower case.
fn covers(allowed: &str, origin: &str) -> bool {
    match allowed.split_once('*') {
        None => allowed == origin,
        Some(("", "")) => true,
        Some((before, after)) => {
            origin.len() > before.len() + after.len() && origin.starts_with(before) && origin.ends_with(after)
        }
    }
}

fn list_unless_every(names: &[String]) -> Option<HeaderValue> {
    if names.iter().any(|name| name == "*") { None } else { list(names) }
}

fn list(names: &[String]) -> Option<HeaderValue> {
    HeaderValue::from_str(&names.join(", ")).ok()
}
