//! The proxies, and how those of others are configured: as fast as they go, with the same duties.
//!
//! One worker each, connections to the backend kept and used again, no access log. All tell the backend who asks; nginx and
//! `HAProxy` say less of it than Beeline does.

use std::net::SocketAddr;

/// Who carries the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Beeline.
    Beeline,
    /// nginx.
    Nginx,
    /// `HAProxy`.
    Haproxy,
}

impl Proxy {
    /// All, in the order of the report. The first is compared with the others.
    pub const ALL: [Self; 3] = [Self::Beeline, Self::Nginx, Self::Haproxy];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Beeline => "Beeline",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
        }
    }

    /// Its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Beeline => "beeline",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }
}

/// What all of nginx's configurations say at first, up to the servers.
const NGINX_HEAD: &str = "daemon off;
master_process off;
pid nginx.pid;
user root;
error_log stderr warn;
worker_rlimit_nofile 65536;
events { worker_connections 16384; }
http {
  access_log off;
  default_type text/plain;
  client_body_temp_path uploads;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  tcp_nodelay on;
";

/// nginx as the backend: it says the same to everybody.
pub fn nginx_backend(port: u16, answer: &str) -> String {
    format!("{NGINX_HEAD}  server {{ listen {port} backlog=4096; location / {{ return 200 \"{answer}\"; }} }}\n}}\n")
}

/// nginx as the proxy.
pub fn nginx(backend: SocketAddr) -> String {
    format!(
        "{NGINX_HEAD}  upstream backend {{
    server {backend};
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
  }}
  server {{
    listen 80 backlog=4096;
    listen 443 ssl http2 backlog=4096;
    ssl_certificate certificate.pem;
    ssl_certificate_key certificate.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"
    )
}

/// `HAProxy`.
pub fn haproxy(backend: SocketAddr) -> String {
    format!(
        "global
  nbthread 1
  maxconn 4096
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 600s
  option forwardfor
  http-reuse always
frontend clients
  bind :80 backlog 4096
  bind :443 ssl crt certificate.pem alpn h2,http/1.1 backlog 4096
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  default_backend pods
backend pods
  server pod {backend} pool-max-conn 1024
"
    )
}
