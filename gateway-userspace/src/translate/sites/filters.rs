//! Filters in the model's words. One that cannot be served is never passed over: its requests fail.

use super::rules::Backends;
use crate::model::http::{Cors, Filter, HeaderChanges, Mirror, PathChange, Redirect, Rewrite};
use crate::source::route::{self, Filter as Written, Header, HeaderModifier, PathModifier, RequestMirror};
use crate::translate::RouteRef;

/// How long an answer to a preflight request holds if the route does not say (Gateway API, `HTTPCORSFilter.maxAge`).
const DEFAULT_MAX_AGE_SEC: u32 = 5;
/// What a redirect answers if the route does not say.
const DEFAULT_REDIRECT: u16 = 302;

/// The filters of a rule or of a reference, in their order.
pub(super) fn filters<'a>(backends: &Backends<'a>, route: RouteRef<'a>, written: &[Written]) -> Vec<Filter> {
    written.iter().map(|filter| self::filter(backends, route, filter)).collect()
}

fn filter<'a>(backends: &Backends<'a>, route: RouteRef<'a>, written: &Written) -> Filter {
    let served = match written.kind.as_str() {
        "RequestHeaderModifier" => written.request_header_modifier.as_deref().map(headers).map(Filter::RequestHeaders),
        "ResponseHeaderModifier" => {
            written.response_header_modifier.as_deref().map(headers).map(Filter::ResponseHeaders)
        }
        "RequestMirror" => written.request_mirror.as_deref().map(|mirror| {
            let backend = backends.of_mirror(route, &mirror.backend_ref);
            Filter::Mirror(Box::new(Mirror { backend, fraction: fraction(mirror) }))
        }),
        "RequestRedirect" => written.request_redirect.as_deref().map(redirect).map(Filter::Redirect),
        "URLRewrite" => written.url_rewrite.as_deref().map(|rewrite| {
            Filter::Rewrite(Rewrite {
                hostname: rewrite.hostname.clone(),
                path: rewrite.path.as_ref().and_then(path_change),
            })
        }),
        "CORS" => written.cors.as_deref().map(cors).map(Filter::Cors),
        _ => None,
    };
    served.unwrap_or(Filter::Broken)
}

fn headers(written: &HeaderModifier) -> HeaderChanges {
    let pairs = |headers: &[Header]| {
        headers.iter().map(|header| (header.name.to_ascii_lowercase(), header.value.clone())).collect()
    };
    HeaderChanges {
        set: pairs(&written.set),
        add: pairs(&written.add),
        remove: written.remove.iter().map(|name| name.to_ascii_lowercase()).collect(),
    }
}

/// All of them, if the route does not say.
fn fraction(mirror: &RequestMirror) -> (u32, u32) {
    let number = |number: i64| u32::try_from(number).unwrap_or(0);
    match (&mirror.fraction, mirror.percent) {
        (Some(fraction), _) => (number(fraction.numerator), number(fraction.denominator.unwrap_or(100)).max(1)),
        (None, Some(percent)) => (number(percent), 100),
        (None, None) => (1, 1),
    }
}

fn redirect(written: &route::Redirect) -> Redirect {
    Redirect {
        scheme: written.scheme.clone(),
        hostname: written.hostname.clone(),
        port: written.port.and_then(|port| u16::try_from(port).ok()),
        path: written.path.as_ref().and_then(path_change),
        status: written.status_code.and_then(|code| u16::try_from(code).ok()).unwrap_or(DEFAULT_REDIRECT),
    }
}

fn path_change(written: &PathModifier) -> Option<PathChange> {
    let full = written.replace_full_path.clone().map(PathChange::Full);
    full.or_else(|| written.replace_prefix_match.clone().map(PathChange::Prefix))
}

fn cors(written: &route::Cors) -> Cors {
    Cors {
        allow_origins: written.allow_origins.clone(),
        allow_methods: written.allow_methods.clone(),
        allow_headers: written.allow_headers.clone(),
        expose_headers: written.expose_headers.clone(),
        allow_credentials: written.allow_credentials.unwrap_or(false),
        max_age_sec: written.max_age.and_then(|age| u32::try_from(age).ok()).unwrap_or(DEFAULT_MAX_AGE_SEC),
    }
}
