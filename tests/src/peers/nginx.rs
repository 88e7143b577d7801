//! nginx as a backend: files with ranges and conditions, compression, uploads, and connections that it ends often.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::wait_until_listening;
use crate::lab::Lab;
use crate::process::{Background, Log};
use crate::topology::pod_addresses;

/// Where its files are.
pub fn root(lab: &Lab) -> PathBuf {
    lab.network.group.folder().join("nginx/files")
}

/// Starts it in the Pod; it listens when this returns.
pub fn start(lab: &Lab, port: u16) -> Result<Background> {
    let root = root(lab);
    fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
    let folder = lab.network.group.folder().join("nginx");
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, text(port)).context("cannot write nginx's configuration")?;
    let mut command = lab.network.pods[0].command("nginx")?;
    command.arg("-p").arg(&folder).arg("-c").arg(&configuration).args(["-e", "stderr"]);
    let log = Log::at(folder.join("error.log"));
    let server = Background::start("nginx", command, log, lab.network.group.lifetime())?;
    wait_until_listening(lab, SocketAddr::new(pod_addresses(1).v4.into(), port))?;
    Ok(server)
}

/// Each connection carries ten requests and ends then, in the face of whoever believed it to be open.
fn text(port: u16) -> String {
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
user root;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  default_type application/octet-stream;
  types {{ text/plain txt; }}
  client_body_temp_path uploads;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  client_max_body_size 64m;
  keepalive_requests 10;
  server {{
    listen {port};
    listen [::]:{port};
    location / {{
      root files;
      dav_methods PUT DELETE;
      gzip on;
      gzip_types text/plain;
    }}
    location = /small {{ return 200 \"small\\n\"; }}
    location = /limited {{ client_max_body_size 1k; root files; dav_methods PUT; }}
    location = /slow {{ limit_rate 1m; alias files/large; }}
  }}
}}
"
    )
}
