//! A path in the one form in which requests and routes are compared, and requests are sent on.
//!
//! Two spellings of one path must meet the same rule here and at the Pod, or `/open/%2e%2e/closed` would pass a rule for
//! `/open` (RFC 3986, section 6.2.2). Slashes are never merged, and encoded ones stay encoded: they mean something else.

use std::borrow::Cow;

/// Why a path is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It does not begin with a slash.
    #[error("the path does not begin with `/`")]
    Relative,
    /// A `%` without two hexadecimal digits.
    #[error("the path has a `%` without two hexadecimal digits")]
    Encoding,
    /// An encoded NUL, which some servers end the path at.
    #[error("the path has an encoded NUL")]
    Nul,
}

/// The path with unreserved characters decoded, hexadecimal digits in upper case, and without dot segments.
pub fn normalize(path: &str) -> Result<Cow<'_, str>, BadPath> {
    if !path.starts_with('/') {
        return Err(BadPath::Relative);
    }
    let is_plain = !path.contains('%') && !path.contains("/.");
    if is_plain {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode_unreserved(path)?;
    Ok(Cow::Owned(if decoded.contains("/.") { remove_dot_segments(&decoded) } else { decoded }))
}

/// The same of a path that a route names, which may have characters that a request has to encode. One that is none stays as it
/// is, and meets nothing.
pub fn written(path: &str) -> String {
    let is_plain = path.is_ascii() && !path.contains(' ');
    let encoded: String = if is_plain {
        path.to_owned()
    } else {
        let encode = |byte: u8| match byte {
            b' ' | 0x80.. => format!("%{byte:02X}"),
            plain => char::from(plain).to_string(),
        };
        path.bytes().map(encode).collect()
    };
    match normalize(&encoded) {
        Ok(Cow::Owned(normal)) => normal,
        Ok(Cow::Borrowed(_)) | Err(_) => encoded,
    }
}

fn decode_unreserved(path: &str) -> Result<String, BadPath> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).ok_or(BadPath::Encoding)?;
        let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hexadecimal).ok_or(BadPath::Encoding)?;
        match byte {
            0 => return Err(BadPath::Nul),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => decoded.push(char::from(byte)),
            _ => {
                decoded.push('%');
                decoded.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = &rest[at + 3..];
    }
    decoded.push_str(rest);
    Ok(decoded)
}

/// RFC 3986, section 5.2.4, for a path that begins with a slash.
fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_that_a_route_names_is_that_of_requests_to_it() {
        for (by_route, of_requests) in [
            ("/cafe", "/cafe"),
            ("/caf\u{e9} au lait", "/caf%c3%a9%20au%20lait"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/%7Euser/./a", "/~user/a"),
        ] {
            assert_eq!(written(by_route), normalize(of_requests).unwrap(), "{by_route}");
        }
        assert_eq!(written("/100%"), "/100%");
    }

    #[test]
    fn spellings_of_one_path_become_the_same() {
        for (written, normal) in [
            ("/a/b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/./b/", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/%61%7e", "/a~"),
            ("/a%2fb", "/a%2Fb"),
            ("/a//b", "/a//b"),
            ("/.hidden/..data", "/.hidden/..data"),
        ] {
            assert_eq!(normalize(written).unwrap(), normal, "{written}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused_by_name() {
        assert_eq!(normalize("*"), Err(BadPath::Relative));
        assert_eq!(normalize("/%2"), Err(BadPath::Encoding));
        assert_eq!(normalize("/%+1"), Err(BadPath::Encoding));
        assert_eq!(normalize("/%é"), Err(BadPath::Encoding));
        assert_eq!(normalize("/a%00b"), Err(BadPath::Nul));
    }

    proptest! {
        #[test]
        fn a_normal_path_is_normal_already(path in "/[a-c./%2e5F]{0,24}") {
            if let Ok(normal) = normalize(&path) {
                prop_assert!(!normal.split('/').any(|segment| segment == "." || segment == ".."));
                // `%252e` becomes `%252e`: what was decoded once is not decoded again.
                prop_assert!(normal.starts_with('/'));
            }
        }
    }
}
