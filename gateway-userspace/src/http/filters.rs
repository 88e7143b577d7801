//! What the filters of a rule or of a reference do to a request and to its answer.
//!
//! Compiled once from the model, so that a request costs neither parsing nor checks. In the order of the route: a redirect,
//! a CORS preflight or a filter that cannot be served answers at once; all else changes the request, or names a copy.

mod cors;
mod headers;
mod target;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use self::cors::Sharing;
use self::headers::Edits;
use crate::model::http::{Filter, Mirror, PathChange, Redirect};

/// Where a request was met, as far as filters need it.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// `http` or `https`, as the client spoke.
    pub scheme: &'a str,
    /// The host that the client asked for, without port.
    pub host: &'a str,
    /// The listener's port.
    pub port: u16,
    /// The prefix of the path that the rule's match has matched, if it is one.
    pub matched_prefix: Option<&'a str>,
}

/// The filters of one rule or reference.
#[derive(Debug, Default)]
pub struct Filters {
    steps: Vec<Step>,
    answers: Vec<Edits>,
    mirrors: Vec<Mirror>,
    sharing: Option<Sharing>,
}

#[derive(Debug)]
enum Step {
    Headers(Edits),
    Redirect(Redirect),
    Path(PathChange),
    Host(HeaderValue),
    Broken,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It goes on, changed.
    Forward(Changes),
    /// It is answered here; nothing goes to a backend.
    Answer(Response<()>),
    /// It cannot be served: 500.
    Broken,
}

/// What is to happen beside what was changed in the request itself.
#[derive(Debug, Default)]
pub struct Changes {
    /// The Host that the backend is to see.
    pub host: Option<HeaderValue>,
    /// The origin that the answer is to allow, if another origin may read it.
    pub origin: Option<HeaderValue>,
}

impl Filters {
    /// Compiles filters; headers that no message could carry are left out, since the API does not let them in.
    pub fn new(filters: &[Filter]) -> Self {
        let mut compiled = Self::default();
        for filter in filters {
            compiled.add(filter);
        }
        compiled
    }

    fn add(&mut self, filter: &Filter) {
        match filter {
            Filter::RequestHeaders(changes) => {
                let (edits, host) = Edits::of_request(changes);
                self.steps.push(Step::Headers(edits));
                self.steps.extend(host.map(Step::Host));
            }
            Filter::ResponseHeaders(changes) => self.answers.push(Edits::new(changes)),
            Filter::Redirect(redirect) => self.steps.push(Step::Redirect(redirect.clone())),
            Filter::Rewrite(rewrite) => {
                self.steps.extend(rewrite.path.clone().map(Step::Path));
                let host = rewrite.hostname.as_deref().and_then(|host| HeaderValue::from_str(host).ok());
                self.steps.extend(host.map(Step::Host));
            }
            Filter::Mirror(mirror) => self.mirrors.push((**mirror).clone()),
            Filter::Cors(cors) => self.sharing = Some(Sharing::new(cors)),
            Filter::Broken => self.steps.push(Step::Broken),
        }
    }

    /// Whether there is nothing to do for any request or answer.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.answers.is_empty() && self.mirrors.is_empty() && self.sharing.is_none()
    }

    /// The copies that requests may be sent as.
    pub fn mirrors(&self) -> &[Mirror] {
        &self.mirrors
    }

    /// Does to a request what is asked for. Its path must be normalised.
    pub fn on_request(&self, request: &mut Parts, scene: &Scene<'_>) -> Outcome {
        let mut changes = Changes::default();
        if let Some(sharing) = &self.sharing {
            if let Some(answer) = sharing.preflight(request) {
                return Outcome::Answer(answer);
            }
            changes.origin = sharing.origin(&request.headers);
        }
        for step in &self.steps {
            match step {
                Step::Headers(edits) => edits.apply(&mut request.headers),
                Step::Host(host) => changes.host = Some(host.clone()),
                Step::Path(change) => {
                    if let Some(uri) = target::rewritten(&request.uri, change, scene.matched_prefix) {
                        request.uri = uri;
                    }
                }
                Step::Redirect(redirect) => {
                    let mut outcome = redirected(redirect, request, scene);
                    if let Outcome::Answer(answer) = &mut outcome {
                        self.on_response(answer.headers_mut(), &changes);
                    }
                    return outcome;
                }
                Step::Broken => return Outcome::Broken,
            }
        }
        Outcome::Forward(changes)
    }

    /// Does to an answer's headers what is asked for.
    pub fn on_response(&self, headers: &mut HeaderMap, changes: &Changes) {
        if let (Some(sharing), Some(origin)) = (&self.sharing, &changes.origin) {
            sharing.allow(headers, origin);
        }
        self.answers.iter().for_each(|edits| edits.apply(headers));
    }
}

fn redirected(redirect: &Redirect, request: &Parts, scene: &Scene<'_>) -> Outcome {
    let location = HeaderValue::try_from(target::location(redirect, &request.uri, scene));
    let (Ok(location), Ok(status)) = (location, StatusCode::from_u16(redirect.status)) else { return Outcome::Broken };
    let mut answer = Response::new(());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::LOCATION, location);
    Outcome::Answer(answer)
}

#[cfg(test)]
mod tests;
