//! Who asks, as far as the choice of a backend depends on it.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderValue};

use super::maglev::hash;
use crate::http::session::cookie;
use crate::model::http::HashOf;

/// A request, or a connection that is passed on.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The client.
    pub client: IpAddr,
    /// The request's headers, if it is one.
    pub headers: Option<&'a HeaderMap>,
}

impl Asker<'_> {
    /// What stands for it. Without the header or cookie that is meant, its client stands for it.
    pub fn hash(&self, of: &HashOf) -> u64 {
        match self.named(of).filter(|value| !value.is_empty()) {
            Some(value) => hash(value, 0),
            None => match self.client {
                IpAddr::V4(address) => hash(&address.octets(), 0),
                IpAddr::V6(address) => hash(&address.octets(), 0),
            },
        }
    }

    fn named(&self, of: &HashOf) -> Option<&[u8]> {
        let headers = self.headers?;
        match of {
            HashOf::Client => None,
            HashOf::Header(name) => headers.get(name.as_str()).map(HeaderValue::as_bytes),
            HashOf::Cookie(name) => {
                let mut fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
                fields.find_map(|field| cookie(field, name)).map(str::as_bytes)
            }
        }
    }
}
