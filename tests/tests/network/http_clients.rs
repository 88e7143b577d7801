//! HTTP between programs that others wrote: curl, Python, h2load and nghttp at the gateway, Go and nginx behind it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use beeline_tests::binaries;
use beeline_tests::peers::{GO, NGINX, Peers};
use beeline_tests::process::run;
use beeline_tests::topology::VIP;
use beeline_tests::transfer::{Transfer, Way, fetch, sha256};
use serde_json::{Value, json};

/// More than all buffers and windows on the way hold together.
const LARGE: usize = 24 << 20;

/// A file of noise.
fn noise(folder: &Path, name: &str, size: usize) -> Result<PathBuf> {
    let path = folder.join(name);
    let mut seed = 7_u64;
    let mut next = || {
        // Xorshift: noise enough that no two pieces are alike.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    let bytes: Vec<u8> = (0..size / 8).flat_map(|_| next()).collect();
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[track_caller]
fn assert_ok(transfer: &Transfer, way: Way) {
    assert_eq!(transfer.exit, Some(0), "{way:?}: {transfer:?}");
    assert_eq!(transfer.status, 200, "{way:?}: {transfer:?}");
}

#[test]
fn curl_gets_from_go_what_go_sends() -> Result<()> {
    let peers = Peers::build()?;
    let _agent = peers.start()?;
    let size = LARGE.to_string();

    for way in Way::ALL {
        for path in [format!("/bytes?size={size}"), format!("/bytes?size={size}&chunked=1")] {
            let large = fetch(&peers, way, GO, &[&path], &[])?;
            assert_ok(&large, way);
            assert_eq!(Some(large.sha256()?.as_str()), large.header("x-sha256"), "{way:?}: {path}");
        }
        let lines = fetch(&peers, way, GO, &["/chunked?lines=20"], &[])?;
        assert_ok(&lines, way);
        assert_eq!(lines.text()?.lines().count(), 20, "{way:?}");
        let packed = fetch(&peers, way, GO, &["/gzip"], &["--compressed"])?;
        assert_ok(&packed, way);
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{way:?}");
        assert_eq!(packed.text()?.lines().count(), 1000, "{way:?}");
        let ended = fetch(&peers, way, GO, &["/until-close"], &[])?;
        assert_ok(&ended, way);
        assert_eq!(ended.text()?, "until the end\n".repeat(3), "{way:?}");
        let hinted = fetch(&peers, way, GO, &["/hints"], &[])?;
        assert_ok(&hinted, way);
        assert_eq!(hinted.text()?, "after hints\n", "{way:?}");
        let trailed = fetch(&peers, way, GO, &["/trailers"], &["--header", "TE: trailers"])?;
        assert_ok(&trailed, way);
        let sum = trailed.sha256()?;
        assert_eq!(trailed.header("x-sha256"), Some(sum.as_str()), "{way:?}: the trailer is lost: {}", trailed.heads);
    }
    Ok(())
}

#[test]
fn answers_without_a_body_end_with_their_head_and_the_connection_goes_on() -> Result<()> {
    let peers = Peers::build()?;
    let _agent = peers.start()?;
    let paths = ["/status/204", "/status/304", "/status/205", "/hello", "/bytes?size=100000", "/hello"];

    for way in Way::ALL {
        // By prior knowledge curl 7.88 cannot use a connection twice.
        let at_once = if way.flag == "--http2-prior-knowledge" { 1 } else { paths.len() };
        for paths in paths.chunks(at_once) {
            let last = paths.last().copied().unwrap_or_default();
            let status = last.strip_prefix("/status/").map_or(Ok(200), str::parse)?;
            for method in ["GET", "HEAD"] {
                let flags: &[&str] = if method == "HEAD" { &["--head"] } else { &[] };
                let got = fetch(&peers, way, GO, paths, flags)?;
                assert_eq!((got.exit, got.status, got.connections), (Some(0), status, 1), "{way:?} {method}: {got:?}");
                let length = match last {
                    "/hello" => Some("6"),
                    "/bytes?size=100000" => Some("100000"),
                    _ => continue,
                };
                assert_eq!(got.header("content-length"), length, "{way:?} {method} {last}");
            }
        }
        let matching = fetch(&peers, way, GO, &["/hello"], &["--header", "If-None-Match: \"one\""])?;
        assert_eq!((matching.exit, matching.status), (Some(0), 304), "{way:?}: {matching:?}");
        assert_eq!(matching.header("etag"), Some("\"one\""), "{way:?}");
    }
    Ok(())
}

#[test]
fn curl_sends_to_go_what_go_gets() -> Result<()> {
    let peers = Peers::build()?;
    let _agent = peers.start()?;
    let file = noise(&peers.folder("uploads")?, "large", LARGE)?;
    let (sum, data) = (sha256(&file)?, format!("@{}", file.display()));

    for way in Way::ALL {
        let mut manners: Vec<&[&str]> = vec![&[], &["--header", "Expect: 100-continue"], &["--header", "Expect:"]];
        if !way.is_http2() {
            manners.push(&["--header", "Transfer-Encoding: chunked"]);
        }
        for manner in manners {
            let flags = [&["--data-binary", data.as_str()], manner].concat();
            let sent = fetch(&peers, way, GO, &["/checksum"], &flags)?;
            assert_ok(&sent, way);
            let seen: Value = serde_json::from_str(&sent.text()?)?;
            assert_eq!(seen["sha256"], sum.as_str(), "{way:?} {manner:?}: {seen}");
            let has_length = !manner.contains(&"Transfer-Encoding: chunked");
            assert_eq!(seen["length"], if has_length { json!(LARGE) } else { json!(-1) }, "{way:?} {manner:?}: {seen}");
        }
        let back = fetch(&peers, way, GO, &["/duplex"], &["--data-binary", &data])?;
        assert_ok(&back, way);
        assert_eq!(back.sha256()?, sum, "{way:?}: both ways at a time");
        // In HTTP/2 curl 7.88 does not read an answer that comes while it sends, whoever the server is: see `nghttp` below.
        if !way.is_http2() {
            let early = fetch(&peers, way, GO, &["/early"], &["--data-binary", &data])?;
            assert_eq!((early.exit, early.status), (Some(0), 413), "{way:?}: {early:?}");
            assert_eq!(early.text()?, "too large\n", "{way:?}");
        }
    }
    Ok(())
}

#[test]
fn a_body_that_breaks_off_at_the_backend_breaks_off_at_the_client() -> Result<()> {
    let peers = Peers::build()?;
    let _agent = peers.start()?;

    for way in Way::ALL {
        for path in ["/broken", "/broken?chunked=1"] {
            let broken = fetch(&peers, way, GO, &[path], &[])?;
            assert_ne!(broken.exit, Some(0), "{way:?} {path}: {broken:?}");
            // With the end of a stream what of it has not been sent is lost.
            let got = broken.text()?;
            assert!(
                if way.is_http2() { "half of it".starts_with(&got) } else { got == "half of it" },
                "{way:?} {path}"
            );
        }
        assert_ok(&fetch(&peers, way, GO, &["/hello"], &[])?, way);
    }
    Ok(())
}

#[test]
fn nginx_keeps_files_that_curl_sends_and_fetches() -> Result<()> {
    let peers = Peers::build()?;
    let _agent = peers.start()?;
    let file = noise(&peers.folder("uploads")?, "large", LARGE)?;
    fs::write(peers.nginx_root().join("page.txt"), "the same line\n".repeat(1000))?;
    let (sum, path) = (sha256(&file)?, file.display().to_string());

    for (number, way) in Way::ALL.into_iter().enumerate() {
        let name = format!("/file{number}");
        let put = fetch(&peers, way, NGINX, &[&name], &["--upload-file", &path])?;
        assert_eq!((put.exit, put.status), (Some(0), 201), "{way:?}: {put:?}");
        let got = fetch(&peers, way, NGINX, &[&name], &[])?;
        assert_ok(&got, way);
        assert_eq!(got.sha256()?, sum, "{way:?}");
        let part = fetch(&peers, way, NGINX, &[&name], &["--range", "1000-1999"])?;
        assert_eq!((part.exit, part.status), (Some(0), 206), "{way:?}: {part:?}");
        assert_eq!(fs::read(&part.body)?, &fs::read(&file)?[1000..2000], "{way:?}");
        let packed = fetch(&peers, way, NGINX, &["/page.txt"], &["--compressed"])?;
        assert_ok(&packed, way);
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{way:?}");
        assert_eq!(packed.text()?.lines().count(), 1000, "{way:?}");
        let modified = got.header("last-modified").context("nginx says when")?;
        let unchanged = fetch(&peers, way, NGINX, &[&name], &["--header", &format!("If-Modified-Since: {modified}")])?;
        assert_eq!((unchanged.exit, unchanged.status), (Some(0), 304), "{way:?}: {unchanged:?}");
        let refused = fetch(&peers, way, NGINX, &["/limited"], &["--upload-file", &path])?;
        assert_eq!((refused.exit, refused.status), (Some(0), 413), "{way:?}: {refused:?}");
        let deleted = fetch(&peers, way, NGINX, &[&name], &["--request", "DELETE"])?;
        assert_eq!((deleted.exit, deleted.status), (Some(0), 204), "{way:?}: {deleted:?}");
    }
    Ok(())
}

#[test]
fn pythons_client_keeps_its_connection_through_all_kinds_of_requests() -> Result<()> {
    let peers = Peers::build()?;
    let _agent = peers.start()?;
    let script = binaries::workspace().join("tests/peers/http_client.py");

    for ip in VIP.both() {
        for port in [80, 443] {
            let mut command = peers.client("python3")?;
            command.arg(&script).args([&ip.to_string(), &port.to_string(), GO]);
            if port == 443 {
                command.arg(peers.certificate());
            }
            let passed = run(&mut command)?;
            assert_eq!(passed.lines().count(), 10, "{passed}");
        }
    }
    Ok(())
}

/// What h2load says: requests that succeeded, with a status of 2xx, and that did not succeed.
fn h2load(peers: &Peers, way: Way, host: &str, path: &str, flags: &[&str]) -> Result<(u32, u32, u32)> {
    let frontend = VIP.sockets(way.port())[0];
    let mut command = peers.client("h2load")?;
    command.args([&format!("--connect-to={frontend}"), "--requests=3000", "--clients=10"]);
    command.args(flags).arg(format!("{}://{host}{path}", way.scheme));
    let text = run(&mut command)?;
    let number = |line: &str, word: &str| {
        let line = text.lines().find_map(|found| found.strip_prefix(line));
        let words: Vec<_> = line.unwrap_or_default().split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let at = words.iter().position(|found| *found == word)?;
        words[at.checked_sub(1)?].parse().ok()
    };
    let counts =
        || Some((number("requests:", "succeeded")?, number("status codes:", "2xx")?, number("requests:", "failed")?));
    counts().with_context(|| format!("h2load says nothing of its requests: {text}"))
}

#[test]
fn h2load_gets_an_answer_to_each_request() -> Result<()> {
    let peers = Peers::build()?;
    let _agent = peers.start()?;
    let body = noise(&peers.folder("uploads")?, "small", 4096)?.display().to_string();

    // nginx ends each connection after ten requests: nobody may notice.
    for (host, path) in [(GO, "/hello"), (NGINX, "/small")] {
        for way in Way::ALL {
            let flags: &[&str] = if way.is_http2() { &["--max-concurrent-streams=10"] } else { &["--h1"] };
            assert_eq!(h2load(&peers, way, host, path, flags)?, (3000, 3000, 0), "{host} {way:?}");
        }
    }
    for way in Way::ALL {
        let version = if way.is_http2() { "--max-concurrent-streams=10" } else { "--h1" };
        let flags = [version, "--data", &body];
        assert_eq!(h2load(&peers, way, GO, "/checksum", &flags)?, (3000, 3000, 0), "{way:?}");
    }
    Ok(())
}

#[test]
fn nghttp_fetches_many_paths_at_once_and_gets_trailers_and_early_answers() -> Result<()> {
    let peers = Peers::build()?;
    let _agent = peers.start()?;
    let body = noise(&peers.folder("uploads")?, "large", LARGE)?.display().to_string();

    for frontend in [VIP.sockets(80)[0], VIP.sockets(443)[0]] {
        let scheme = if frontend.port() == 80 { "http" } else { "https" };
        let nghttp = || -> Result<Command> {
            let mut command = peers.client("nghttp")?;
            command.args(["--no-verify-peer", "--verbose", "--null-out", "--timeout=30"]);
            command.args(["-H", &format!(":authority: {GO}")]);
            Ok(command)
        };
        let paths = ["/hello", "/chunked?lines=5", "/bytes?size=3000000", "/trailers", "/status/204"];
        let urls = paths.map(|path| format!("{scheme}://{frontend}{path}"));
        let text = run(nghttp()?.args(urls))?;
        let count = |what: &str| text.matches(what).count();
        ensure!(count(":status: 200") == 4 && count(":status: 204") == 1, "{frontend}: {text}");
        ensure!(count("x-not-announced: there") == 1, "the trailer is lost at {frontend}: {text}");
        ensure!(count("RST_STREAM") == 0, "{frontend}: {text}");
        let early = run(nghttp()?.args([&format!("--data={body}"), &format!("{scheme}://{frontend}/early")]))?;
        ensure!(early.contains(":status: 413"), "{frontend}: {early}");
    }
    Ok(())
}
