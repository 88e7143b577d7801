//! A kubeconfig that somebody else wrote, as a `ClusterLink` names one.
//!
//! The agent is privileged, and a kubeconfig may ask its reader to run commands, read files and trust anybody. So nothing
//! but plain data is taken from it: a server, its authority, and a token or a client certificate. Whatever else it holds is
//! refused, by name, in every entry. What is taken is put together here; the crate's own loader never sees the text.

use hyper::Uri;
use hyper::http::uri::Scheme;
use k8s_openapi::ByteString;
use kube::Config;
use kube::config::AuthInfo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value};

/// No kubeconfig of one cluster is longer.
const LONGEST: usize = 256 << 10;

/// What may stand at the top.
const TOP: Fields = Fields {
    taken: &["apiVersion", "kind", "preferences", "extensions", "clusters", "users", "contexts", "current-context"],
    refused: &[],
};
/// What may stand in a context.
const CONTEXT: Fields = Fields { taken: &["cluster", "user", "namespace", "extensions"], refused: &[] };
/// What may stand in a cluster.
const CLUSTER: Fields = Fields {
    taken: &[
        "server",
        "certificate-authority-data",
        "tls-server-name",
        "disable-compression",
        "insecure-skip-tls-verify",
        "extensions",
    ],
    refused: &[
        ("certificate-authority", "names a file of whoever reads it: use certificate-authority-data"),
        ("proxy-url", "leads the connection elsewhere: remove it"),
    ],
};
/// What may stand in a user.
const USER: Fields = Fields {
    taken: &["token", "client-certificate-data", "client-key-data", "extensions"],
    refused: &[
        ("exec", "would run a command: use a token or a client certificate"),
        ("auth-provider", "would run code of a provider: use a token or a client certificate"),
        ("client-certificate", "names a file of whoever reads it: use client-certificate-data"),
        ("client-key", "names a file of whoever reads it: use client-key-data"),
        ("tokenFile", "names a file of whoever reads it: use token"),
        ("as", "takes on another identity: give that identity a token"),
        ("as-uid", "takes on another identity: give that identity a token"),
        ("as-groups", "takes on another identity: give that identity a token"),
        ("as-user-extra", "takes on another identity: give that identity a token"),
        ("username", "is of a kind of login that Kubernetes no longer has: use a token"),
        ("password", "is of a kind of login that Kubernetes no longer has: use a token"),
    ],
};

struct Fields {
    taken: &'static [&'static str],
    refused: &'static [(&'static str, &'static str)],
}

/// What leads to the cluster of the current context, or the field that is refused and why.
pub(super) fn read(text: &[u8]) -> Result<Config, String> {
    if text.len() > LONGEST {
        return Err(format!("the kubeconfig is longer than {LONGEST} bytes: keep to one cluster"));
    }
    let text = std::str::from_utf8(text).map_err(|_| "the kubeconfig is not UTF-8 text".to_string())?;
    // What the parser says may quote the text, and with it what is secret.
    let value: Value = serde_saphyr::from_str(text).map_err(|_| "the kubeconfig is not valid YAML".to_string())?;
    let top = object(&value, "the kubeconfig")?;
    check(top, "", &TOP)?;
    let clusters = entries(top, "clusters", "cluster", &CLUSTER)?;
    let users = entries(top, "users", "user", &USER)?;
    let contexts = entries(top, "contexts", "context", &CONTEXT)?;

    let current = string(top, "", "current-context")?.ok_or("current-context: missing: name the context to use")?;
    let context = named(&contexts, &current, "current-context", "context")?;
    let reference = |field: &str| {
        let path = format!("{}.{field}", context.path);
        string(context.fields, &context.path, field)?.map(|name| (path.clone(), name)).ok_or(format!("{path}: missing"))
    };
    let (path, name) = reference("cluster")?;
    let cluster = named(&clusters, &name, &path, "cluster")?;
    let (path, name) = reference("user")?;
    let user = named(&users, &name, &path, "user")?;
    for cluster in &clusters {
        check_tls(cluster)?;
    }
    config(cluster, user)
}

/// An entry of one of the three lists.
struct Entry<'a> {
    name: String,
    /// Where it stands: `users[0].user`.
    path: String,
    fields: &'a Map<String, Value>,
}

/// Puts together what was checked.
fn config(cluster: &Entry<'_>, user: &Entry<'_>) -> Result<Config, String> {
    let mut config = Config::new(server(cluster)?);
    config.tls_server_name = string(cluster.fields, &cluster.path, "tls-server-name")?;
    if let Some(pem) = data(cluster, "certificate-authority-data")? {
        let field = format!("{}.certificate-authority-data", cluster.path);
        let authorities = CertificateDer::pem_slice_iter(&pem)
            .map(|found| found.map(|authority| authority.as_ref().to_vec()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("{field}: is not PEM: {error}"))?;
        if authorities.is_empty() {
            return Err(format!("{field}: holds no certificate"));
        }
        config.root_cert = Some(authorities);
    }
    config.auth_info = credentials(user)?;
    Ok(config)
}

fn server(cluster: &Entry<'_>) -> Result<Uri, String> {
    let field = format!("{}.server", cluster.path);
    let text = string(cluster.fields, &cluster.path, "server")?.ok_or(format!("{field}: missing"))?;
    let uri: Uri = text.parse().map_err(|error| format!("{field}: is not a URL: {error}"))?;
    let has_login = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if uri.scheme() != Some(&Scheme::HTTPS) || has_login || uri.query().is_some() {
        return Err(format!("{field}: use `https://`, a host and a port"));
    }
    Ok(uri)
}

fn check_tls(cluster: &Entry<'_>) -> Result<(), String> {
    match cluster.fields.get("insecure-skip-tls-verify") {
        None | Some(Value::Null | Value::Bool(false)) => Ok(()),
        Some(_) => Err(format!(
            "{}.insecure-skip-tls-verify: would trust anybody: use certificate-authority-data",
            cluster.path
        )),
    }
}

fn credentials(user: &Entry<'_>) -> Result<AuthInfo, String> {
    let token = string(user.fields, &user.path, "token")?.filter(|token| !token.trim().is_empty());
    let certificate = data(user, "client-certificate-data")?;
    let key = data(user, "client-key-data")?;
    match (&token, &certificate, &key) {
        (None, None, None) => Err(format!("{}: has no credentials: give a token or a client certificate", user.path)),
        (_, Some(_), None) => Err(format!("{}.client-key-data: missing, but there is a certificate", user.path)),
        (_, None, Some(_)) => Err(format!("{}.client-certificate-data: missing, but there is a key", user.path)),
        _ => Ok(AuthInfo {
            token: token.map(|token| token.trim().to_string().into()),
            client_certificate_data: string(user.fields, &user.path, "client-certificate-data")?,
            client_key_data: string(user.fields, &user.path, "client-key-data")?.map(Into::into),
            ..AuthInfo::default()
        }),
    }
}

/// The entries of a list, each of which may hold only what is known to be harmless.
fn entries<'a>(
    top: &'a Map<String, Value>,
    list: &str,
    of: &'static str,
    fields: &Fields,
) -> Result<Vec<Entry<'a>>, String> {
    let mut entries = Vec::new();
    let values = match top.get(list) {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(values)) => values,
        Some(_) => return Err(format!("{list}: is not a list")),
    };
    for (index, value) in values.iter().enumerate() {
        let place = format!("{list}[{index}]");
        let entry = object(value, &place)?;
        check(entry, &place, &Fields { taken: &["name", "cluster", "user", "context"], refused: &[] })?;
        let name = string(entry, &place, "name")?.ok_or(format!("{place}.name: missing"))?;
        let path = format!("{place}.{of}");
        let inner = object(entry.get(of).unwrap_or(&Value::Null), &path)?;
        check(inner, &path, fields)?;
        entries.push(Entry { name, path, fields: inner });
    }
    Ok(entries)
}

/// The one entry of a name.
fn named<'a, 'b>(entries: &'a [Entry<'b>], name: &str, field: &str, of: &str) -> Result<&'a Entry<'b>, String> {
    let mut found = entries.iter().filter(|entry| entry.name == name);
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry),
        (None, _) => Err(format!("{field}: there is no {of} `{name}`")),
        (Some(_), Some(_)) => Err(format!("{field}: there are several {of}s `{name}`: keep one")),
    }
}

/// Refuses everything that is not known to be harmless.
fn check(fields: &Map<String, Value>, path: &str, known: &Fields) -> Result<(), String> {
    let dot = if path.is_empty() { "" } else { "." };
    for (field, value) in fields {
        if value.is_null() || known.taken.contains(&field.as_str()) {
            continue;
        }
        let reason = known.refused.iter().find(|(refused, _)| refused == field).map(|(_, reason)| *reason);
        return Err(format!("{path}{dot}{field}: {}", reason.unwrap_or("is not known here: remove it")));
    }
    Ok(())
}

fn object<'a>(value: &'a Value, path: &str) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{path}: is not an object with fields"))
}

fn string(fields: &Map<String, Value>, path: &str, field: &str) -> Result<Option<String>, String> {
    let dot = if path.is_empty() { "" } else { "." };
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(format!("{path}{dot}{field}: is not text: put it in quotes")),
    }
}

/// A field of Base64.
fn data(entry: &Entry<'_>, field: &str) -> Result<Option<Vec<u8>>, String> {
    let Some(text) = string(entry.fields, &entry.path, field)? else { return Ok(None) };
    match serde_json::from_value::<ByteString>(Value::String(text)) {
        Ok(bytes) => Ok(Some(bytes.0)),
        Err(_) => Err(format!("{}.{field}: is not Base64", entry.path)),
    }
}

#[cfg(test)]
mod tests;
