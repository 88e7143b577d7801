//! Where a request goes after a rewrite or a redirect.

use http::Uri;
use http::uri::PathAndQuery;

use super::Scene;
use crate::model::http::{PathChange, Redirect};

/// The target with another path and the same query; nothing if that is none.
pub fn rewritten(uri: &Uri, change: &PathChange, matched_prefix: Option<&str>) -> Option<Uri> {
    let path = changed(uri.path(), change, matched_prefix);
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(with_query(path, uri).parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

/// The `Location` of a redirect: what is not named stays as the client had it. The port is left out where the scheme says it
/// (Gateway API, `HTTPRequestRedirectFilter.port`).
pub fn location(redirect: &Redirect, uri: &Uri, scene: &Scene<'_>) -> String {
    let scheme = redirect.scheme.as_deref().unwrap_or(scene.scheme);
    let host = redirect.hostname.as_deref().unwrap_or(scene.host);
    let own = redirect.scheme.as_deref().and_then(well_known);
    let port = redirect.port.or(own).unwrap_or(scene.port);
    let change = redirect.path.as_ref();
    let path = change.map_or_else(|| uri.path().to_owned(), |change| changed(uri.path(), change, scene.matched_prefix));
    let path = with_query(path, uri);
    if well_known(scheme) == Some(port) {
        format!("{scheme}://{host}{path}")
    } else {
        format!("{scheme}://{host}:{port}{path}")
    }
}

fn well_known(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn with_query(mut path: String, uri: &Uri) -> String {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    path
}

/// The changed path (Gateway API, `HTTPPathModifier.replacePrefixMatch`, its table of examples).
fn changed(path: &str, change: &PathChange, matched_prefix: Option<&str>) -> String {
    match change {
        PathChange::Full(full) => rooted(full),
        PathChange::Prefix(replacement) => {
            let prefix = matched_prefix.unwrap_or_default().trim_end_matches('/');
            let rest = path.strip_prefix(prefix).unwrap_or(path);
            match (rest, replacement.trim_end_matches('/')) {
                ("", _) => rooted(replacement),
                (rest, kept) => rooted(&format!("{kept}{rest}")),
            }
        }
    }
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_as_gateway_apis_table_says() {
        for (path, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/bar", "/", "/xyz", "/xyz/bar"),
        ] {
            let change = PathChange::Prefix(replacement.to_owned());
            assert_eq!(changed(path, &change, Some(prefix)), expected, "{path} {prefix} {replacement}");
        }
    }
}
