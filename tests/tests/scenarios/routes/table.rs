//! The table of requests: `METHOD URL [name: value; …] => what it meets`, comments behind `#`, blank lines between paragraphs.
//!
//! The URL's host is the request's Host, and within TLS the name that the client asks for. Of the names `sni` is another such
//! name, `vip` the address that the client connects to (else there must be one only); all others are headers.

use std::fmt;

use anyhow::{Context, Result, bail};
use gateway_userspace::http::explain::Question;
use http::Uri;

/// What stands between a request and what it meets.
const ARROW: &str = " => ";

/// A line with a request.
pub struct Row {
    /// The request as it is written.
    pub text: String,
    pub request: Question,
    pub expected: String,
}

enum Line {
    /// A comment, or nothing.
    Other(String),
    Row(Box<Row>),
}

/// A file of requests.
pub struct Table(Vec<Line>);

impl Table {
    pub fn parse(text: &str) -> Result<Self> {
        let line = |line: &str| {
            if line.trim().is_empty() || line.starts_with('#') {
                return Ok(Line::Other(line.to_owned()));
            }
            let (request, expected) = line.split_once(ARROW.trim_end()).unwrap_or((line, ""));
            let text = request.trim().to_owned();
            let request = question(&text).with_context(|| format!("`{line}`"))?;
            Ok(Line::Row(Box::new(Row { text, request, expected: expected.trim().to_owned() })))
        };
        Ok(Self(text.lines().map(line).collect::<Result<_>>()?))
    }

    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.0.iter().filter_map(Line::row)
    }

    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.0.iter_mut().filter_map(|line| if let Line::Row(row) = line { Some(&mut **row) } else { None })
    }
}

impl Line {
    fn row(&self) -> Option<&Row> {
        if let Self::Row(row) = self { Some(row) } else { None }
    }

    fn is_blank(&self) -> bool {
        matches!(self, Self::Other(text) if text.trim().is_empty())
    }
}

/// With the arrows of a paragraph below each other.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for paragraph in self.0.split_inclusive(Line::is_blank) {
            let width = paragraph.iter().filter_map(Line::row).map(|row| row.text.len()).max().unwrap_or(0);
            for line in paragraph {
                match line {
                    Line::Other(text) => writeln!(f, "{text}")?,
                    Line::Row(row) => writeln!(f, "{:width$}{ARROW}{}", row.text, row.expected)?,
                }
            }
        }
        Ok(())
    }
}

fn question(text: &str) -> Result<Question> {
    let mut words = text.splitn(3, ' ');
    let (Some(method), Some(url)) = (words.next(), words.next()) else { bail!("a request is a method and a URL") };
    let uri: Uri = url.parse().context("not a URL")?;
    let is_secure = uri.scheme_str() == Some("https");
    let mut question = Question {
        address: None,
        port: Some(uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 })),
        is_secure,
        server_name: None,
        method: method.to_owned(),
        host: uri.host().context("the URL has no host")?.to_owned(),
        path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        headers: Vec::new(),
    };
    for field in words.next().into_iter().flat_map(|fields| fields.split(';')) {
        let (name, value) = field.trim().split_once(": ").with_context(|| format!("`{field}` is no header"))?;
        match name {
            "sni" => question.server_name = Some(value.to_owned()),
            "vip" => question.address = Some(value.parse().context("not an address")?),
            _ => question.headers.push((name.to_owned(), value.to_owned())),
        }
    }
    Ok(question)
}
