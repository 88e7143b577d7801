//! What a parsed head may say, and what is forwarded of it.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Version, header};

use super::hop_by_hop::{Hops, strip, strip_answer_trailers, strip_trailers};
use super::{Authority, Refusal, Rules, check};

fn judge(method: &str, uri: &str, version: Version, fields: &[(&str, &str)]) -> Result<Option<Authority>, Refusal> {
    let mut request = Request::builder().method(method).uri(uri).version(version);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    check(&request.body(()).unwrap().into_parts().0, Rules::default())
}

fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    pairs.collect()
}

fn authority(host: &str, port: Option<u16>) -> Authority {
    Authority { host: host.to_owned(), port }
}

#[test]
fn a_host_is_a_name_or_an_address_in_lower_case_with_or_without_port() {
    let good = [
        ("A.example", "a.example", None),
        ("1.2.3.4:80", "1.2.3.4", Some(80)),
        ("[2001:DB8::1]", "[2001:db8::1]", None),
    ];
    let bad = [
        "",
        "a b",
        "a,b",
        "a:",
        "a:x",
        "a:+1",
        "a:65536",
        "a:80:80",
        "u@a",
        "a/b",
        "a%62",
        "[::1",
        "[::1]x",
        "::1",
        "[a]",
        "[::1%25eth0]",
        "a\\b",
        "h\u{e4}",
    ];

    for (value, host, port) in good {
        assert_eq!(Authority::parse(value.as_bytes()), Ok(authority(host, port)), "{value}");
    }
    for value in bad {
        assert_eq!(Authority::parse(value.as_bytes()), Err(Refusal::InvalidHost), "{value}");
    }
}

#[test]
fn http2_has_an_authority_and_a_host_that_agree() {
    let judge = |uri, fields: &[_]| judge("GET", uri, Version::HTTP_2, fields);

    assert_eq!(judge("https://a/", &[]), Ok(Some(authority("a", None))));
    assert_eq!(judge("https://a:443/", &[("host", "A")]), Ok(Some(authority("a", Some(443)))));
    assert_eq!(judge("https://a/", &[("host", "b")]), Err(Refusal::HostMismatch));
    assert_eq!(judge("https://a:80/", &[("host", "a")]), Err(Refusal::HostMismatch));
    assert_eq!(judge("https://a/", &[("host", "a"), ("host", "a")]), Err(Refusal::RepeatedHost));
    assert_eq!(judge("https://u@a/", &[]), Err(Refusal::InvalidHost));
    assert_eq!(judge("/", &[]), Err(Refusal::MissingHost));
    assert_eq!(judge("/", &[("host", "a")]), Ok(Some(authority("a", None))));
}

#[test]
fn http2_has_no_fields_of_a_connection() {
    for field in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        let outcome = judge("GET", "https://a/", Version::HTTP_2, &[(field, "x")]);
        assert_eq!(outcome, Err(Refusal::ConnectionFieldInHttp2), "{field}");
    }
    assert_eq!(judge("GET", "https://a/", Version::HTTP_2, &[("te", "gzip")]), Err(Refusal::TeInHttp2));
    assert!(judge("GET", "https://a/", Version::HTTP_2, &[("te", "trailers")]).is_ok());
}

#[test]
fn http_1_0_may_leave_the_host_out_but_not_name_two() {
    let judge = |fields: &[_]| judge("GET", "/", Version::HTTP_10, fields);

    assert_eq!(judge(&[]), Ok(None));
    assert_eq!(judge(&[("host", "a")]), Ok(Some(authority("a", None))));
    assert_eq!(judge(&[("host", "a"), ("host", "b")]), Err(Refusal::RepeatedHost));
}

#[test]
fn connect_needs_permission_and_a_port_and_websocket_over_http2_neither() {
    let connect = |uri: &str, protocol: Option<&'static str>, rules| {
        let mut request = Request::connect(uri).version(Version::HTTP_2).body(()).unwrap();
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(hyper::ext::Protocol::from_static(protocol));
        }
        check(&request.into_parts().0, rules)
    };
    let allowed = Rules { allow_connect: true };

    assert_eq!(connect("a:80", None, Rules::default()), Err(Refusal::ConnectNotAllowed));
    assert_eq!(connect("a:80", None, allowed), Ok(Some(authority("a", Some(80)))));
    assert_eq!(connect("a", None, allowed), Err(Refusal::InvalidTarget));
    assert_eq!(connect("https://a/chat", Some("websocket"), Rules::default()), Ok(Some(authority("a", None))));
}

#[test]
fn what_belongs_to_the_connection_is_not_forwarded() {
    let mut request = fields(&[
        ("host", "a"),
        ("connection", "close, X-Private"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "b"),
        ("proxy-connection", "close"),
        ("te", "trailers, gzip;q=0.5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("x-private", "c"),
        ("x-public", "d"),
    ]);

    let hops = strip(&mut request);

    assert_eq!(request, fields(&[("host", "a"), ("x-public", "d")]));
    assert_eq!(hops, Hops { upgrade: None, accepts_trailers: true });
}

#[test]
fn connection_never_removes_what_is_for_more_than_the_connection() {
    let mut response = fields(&[
        ("connection", "Content-Length, Set-Cookie, X"),
        ("content-length", "3"),
        ("set-cookie", "a=b"),
        ("x", "y"),
    ]);

    strip(&mut response);

    assert_eq!(response, fields(&[("content-length", "3"), ("set-cookie", "a=b")]));
}

#[test]
fn trailers_and_an_upgrade_are_announced_anew_as_the_next_version_has_it() {
    let mut request = fields(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("te", "trailers")]);
    let hops = strip(&mut request);
    let mut http2 = request.clone();

    hops.announce(&mut request, Version::HTTP_11);
    hops.announce(&mut http2, Version::HTTP_2);

    let connection: Vec<_> = request.get_all(header::CONNECTION).iter().collect();
    assert_eq!(connection, ["te", "upgrade"]);
    assert_eq!(
        (&request[header::UPGRADE], &request[header::TE]),
        (&"websocket".parse().unwrap(), &"trailers".parse().unwrap())
    );
    assert_eq!(http2, fields(&[("te", "trailers")]));
}

#[test]
fn a_trailer_cannot_say_what_a_head_must() {
    let mut trailers = fields(&[
        ("authorization", "a"),
        ("content-length", "3"),
        ("grpc-status", "0"),
        ("host", "a"),
        ("transfer-encoding", "chunked"),
        ("x-checksum", "b"),
        ("x-forwarded-for", "c"),
    ]);

    strip_trailers(&mut trailers);

    assert_eq!(trailers, fields(&[("grpc-status", "0"), ("x-checksum", "b")]));
}

#[test]
fn an_offer_of_http2_in_the_clear_may_come_with_a_body() {
    let offer = |protocol| {
        let fields = [("host", "a"), ("connection", "Upgrade"), ("upgrade", protocol), ("content-length", "3")];
        judge("POST", "/", Version::HTTP_11, &fields).err()
    };

    assert_eq!(offer("h2c"), None, "Java's client sends that with its first request");
    assert_eq!(offer("websocket"), Some(Refusal::UpgradeWithBody));
}

#[test]
fn an_answers_trailers_keep_what_is_for_the_client() {
    let mut trailers = fields(&[
        ("connection", "close"),
        ("content-length", "3"),
        ("date", "today"),
        ("grpc-status", "0"),
        ("transfer-encoding", "chunked"),
        ("x-request-id", "7"),
    ]);

    strip_answer_trailers(&mut trailers);

    assert_eq!(trailers, fields(&[("date", "today"), ("grpc-status", "0"), ("x-request-id", "7")]));
}
