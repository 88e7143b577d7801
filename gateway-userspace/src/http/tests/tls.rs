//! TLS with clients and with Pods.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::{Request, Response};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::sites::{listener, route, rule, site, to_pod};
use super::support::{Gateway, Pod, PodSpeech, get, get2, nothing, over_http1, over_http2, read, serve_requests, text};
use crate::model::http::{
    BackendRef, BackendTls, Certificate, ClientValidation, Handling, Hostname, Listener, Site, Speech, SubjectName,
    Termination,
};

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> Arc<[u8]> {
        self.0.pem().into_bytes().into()
    }

    /// A certificate for names; one with a colon is a URI.
    pub fn certificate(&self, names: &[&str]) -> Certificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = (names.iter())
            .map(|name| {
                let text = (*name).try_into().unwrap();
                if name.contains(':') { SanType::URI(text) } else { SanType::DnsName(text) }
            })
            .collect();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Certificate {
            origin: format!("Secret shop/{}", names[0]),
            chain_pem: certificate.pem().into_bytes().into(),
            key_pem: key.serialize_pem().into_bytes().into(),
        }
    }

    /// What a client needs that trusts it.
    pub fn client(&self, alpn: &[&str], own: Option<&Certificate>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let (chain, key) = der(own);
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn der(certificate: &Certificate) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(&certificate.chain_pem).collect::<Result<_, _>>().unwrap();
    (chain, PrivateKeyDer::from_pem_slice(&certificate.key_pem).unwrap())
}

/// Connects with TLS; an error of the handshake may show only with the first read.
pub async fn connect(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_string()).unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

fn terminated(certificates: &[Certificate], client_validation: Option<ClientValidation>) -> Arc<Termination> {
    Arc::new(Termination { certificates: certificates.to_vec(), client_validation })
}

fn https(name: &str, hostname: Option<&str>, termination: Arc<Termination>, pod: &Pod) -> Listener {
    listener(name, hostname, Handling::Https(termination, vec![route(rule([to_pod(pod.address)]))]))
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn a_name_decides_on_listener_and_certificate_and_alpn_on_the_version() {
    let authority = Authority::new();
    let (a, b) = (Pod::echo(PodSpeech::Http1).await, Pod::named("b").await);
    let gateway = Gateway::new(site([
        https("a", Some("a.example"), terminated(&[authority.certificate(&["a.example"])], None), &a),
        https("b", Some("*.b.example"), terminated(&[authority.certificate(&["*.b.example"])], None), &b),
    ]));

    let stream = connect(&authority.client(&["h2"], None), gateway.address, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = over_http2(stream).await;
    let (_, seen) = read(client.send_request(get2("a.example", "/")).await.unwrap()).await;
    assert!(seen.contains("\nx-forwarded-proto: https"), "{seen}");

    let stream = connect(&authority.client(&["http/1.1"], None), gateway.address, "x.b.example").await.unwrap();
    let request = Request::get("/").header("host", "x.b.example").body(nothing()).unwrap();
    assert_eq!(read(over_http1(stream).await.send_request(request).await.unwrap()).await.1, "b");

    let error = connect(&authority.client(&[], None), gateway.address, "c.example").await.unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
}

#[tokio::test]
async fn a_request_for_another_listener_is_misdirected() {
    let authority = Authority::new();
    let pod = Pod::named("a").await;
    let certificate = authority.certificate(&["a.example", "b.example"]);
    let termination = terminated(&[certificate], None);
    let gateway = Gateway::new(site([
        https("all", None, Arc::clone(&termination), &pod),
        https("b", Some("b.example"), termination, &pod),
    ]));
    let stream = connect(&authority.client(&["h2"], None), gateway.address, "a.example").await.unwrap();
    let mut client = over_http2(stream).await;

    assert_eq!(read(client.send_request(get2("a.example", "/")).await.unwrap()).await.0, 200);
    assert_eq!(read(client.send_request(get2("b.example", "/")).await.unwrap()).await.0, 421);
}

#[tokio::test]
async fn a_new_certificate_drops_no_connection_and_no_session() {
    let authority = Authority::new();
    let pod = Pod::named("a").await;
    let with = |certificate| site([https("a", None, terminated(&[certificate], None), &pod)]);
    let gateway = Gateway::new(with(authority.certificate(&["a.example"])));
    let config = authority.client(&["http/1.1"], None);
    let stream = connect(&config, gateway.address, "a.example").await.unwrap();
    let first = shown(&stream);
    let mut client = over_http1(stream).await;
    let ask = || Request::get("/").header("host", "a.example").body(nothing()).unwrap();
    assert_eq!(read(client.send_request(ask()).await.unwrap()).await.0, 200);

    gateway.serve(with(authority.certificate(&["a.example"])));

    client.ready().await.unwrap();
    assert_eq!(read(client.send_request(ask()).await.unwrap()).await.0, 200);
    let resumed = connect(&config, gateway.address, "a.example").await.unwrap();
    assert_eq!(resumed.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    let fresh = connect(&authority.client(&["http/1.1"], None), gateway.address, "a.example").await.unwrap();
    assert_ne!(shown(&fresh), first);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_told() {
    let authority = Authority::new();
    let pod = Pod::named("a").await;
    let (mut broken, other) = (authority.certificate(&["a.example"]), authority.certificate(&["b.example"]));
    broken.key_pem = Arc::clone(&other.key_pem);
    let gateway = Gateway::new(Site::default());

    let problems = gateway.serve(site([https("a", None, terminated(&[broken], None), &pod)]));

    let expected = "Secret shop/a.example: the private key is not that of the certificate";
    assert_eq!(problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>(), [expected]);
}

/// Whether a client with such a certificate is served.
async fn is_served(gateway: &Gateway, config: &Arc<ClientConfig>) -> bool {
    let Ok(mut stream) = connect(config, gateway.address, "a.example").await else { return false };
    let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await;
    let mut answer = Vec::new();
    asked.is_ok() && stream.read_to_end(&mut answer).await.is_ok() && answer.starts_with(b"HTTP/1.1 200 ")
}

#[tokio::test]
async fn clients_are_asked_for_a_certificate() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let pod = Pod::named("a").await;
    let certificate = authority.certificate(&["a.example"]);
    let with = |is_optional| {
        let validation = ClientValidation { authorities_pem: clients.pem(), is_optional };
        site([https("a", None, terminated(std::slice::from_ref(&certificate), Some(validation)), &pod)])
    };
    let known = authority.client(&[], Some(&clients.certificate(&["client"])));
    let unknown = authority.client(&[], Some(&strangers.certificate(&["client"])));
    let none = authority.client(&[], None);
    let gateway = Gateway::new(with(false));
    assert_eq!(
        (is_served(&gateway, &known).await, is_served(&gateway, &unknown).await, is_served(&gateway, &none).await),
        (true, false, false)
    );

    gateway.serve(with(true));

    for config in [&known, &unknown, &none] {
        assert!(is_served(&gateway, config).await);
    }
    // Sessions of the time when nobody had to show anything do not outlive that time.
    gateway.serve(with(false));
    assert!(!is_served(&gateway, &none).await);
}

/// What a server needs that shows a certificate.
pub fn server(certificate: &Certificate, alpn: &[&str]) -> Arc<ServerConfig> {
    let (chain, key) = der(certificate);
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A Pod that speaks TLS, and says which name it was asked for and whether it speaks HTTP/2.
async fn secure_pod(certificate: &Certificate, alpn: &[&str]) -> Pod {
    speaking(TlsAcceptor::from(server(certificate, alpn))).await
}

async fn speaking(acceptor: TlsAcceptor) -> Pod {
    Pod::raw(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let session = stream.get_ref().1;
            let name = session.server_name().unwrap_or_default().to_string();
            let is_http2 = session.alpn_protocol() == Some(b"h2");
            let speech = if is_http2 { PodSpeech::Http2 } else { PodSpeech::Http1 };
            let answer = Arc::new(move |_| {
                let text = text(format!("{name} {is_http2}"));
                async move { Response::new(text) }
            });
            serve_requests(speech, stream, answer).await;
        }
    })
    .await
}

fn policy(authority: &Authority, hostname: &str, names: &[SubjectName]) -> Arc<BackendTls> {
    Arc::new(BackendTls {
        origin: "BackendTLSPolicy shop/web".to_string(),
        hostname: hostname.to_string(),
        authorities_pem: Some(authority.pem()),
        names: names.iter().cloned().collect(),
        client_certificate: None,
    })
}

#[tokio::test]
async fn pods_are_reached_by_tls_if_their_certificate_is_what_the_policy_asks_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let certificate = authority.certificate(&["pod.example", "*.wild.example", "spiffe://shop/web"]);
    let pod = secure_pod(&certificate, &["h2", "http/1.1"]).await;
    let host = |name: &str| SubjectName::Hostname(Hostname::parse(name));
    let uri = |name: &str| SubjectName::Uri(name.to_string());
    let cases = [
        (policy(&authority, "pod.example", &[]), true),
        (policy(&authority, "other.example", &[]), false),
        (policy(&authority, "other.example", &[host("pod.example")]), true),
        (policy(&authority, "pod.example", &[host("other.example")]), false),
        (policy(&authority, "pod.example", &[host("other.example"), uri("spiffe://shop/web")]), true),
        (policy(&authority, "pod.example", &[uri("spiffe://shop/other")]), false),
        (policy(&authority, "pod.example", &[host("*.wild.example")]), true),
        (policy(&stranger, "pod.example", &[]), false),
    ];
    let gateway = Gateway::new(Site::default());

    for (policy, is_trusted) in cases {
        let name = policy.hostname.clone();
        let shown = format!("{:?}", policy.names);
        let backend = BackendRef { tls: Some(policy), ..to_pod(pod.address) };
        assert_eq!(gateway.serve(super::sites::clear(rule([backend]))), []);
        let (status, text) = gateway.get("/").await;
        if is_trusted {
            assert_eq!((status, text), (200, format!("{name} true")), "{shown}");
        } else {
            assert_eq!((status, text.split(':').next()), (502, Some("backend_tls")), "{name} {shown}");
        }
    }
}

#[tokio::test]
async fn pods_are_shown_the_certificate_that_the_policy_has() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let mut roots = RootCertStore::empty();
    roots.add(clients.0.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
    let (chain, key) = der(&authority.certificate(&["pod.example"]));
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    let pod = speaking(TlsAcceptor::from(Arc::new(config))).await;
    let gateway = Gateway::new(Site::default());

    for (own, status) in [(None, 502), (Some(clients.certificate(&["gateway"])), 200)] {
        let policy = BackendTls { client_certificate: own, ..(*policy(&authority, "pod.example", &[])).clone() };
        let backend = BackendRef { tls: Some(Arc::new(policy)), ..to_pod(pod.address) };
        assert_eq!(gateway.serve(super::sites::clear(rule([backend]))), []);
        assert_eq!(gateway.get("/").await.0, status);
    }
}

#[tokio::test]
async fn a_pod_agrees_on_the_version_or_is_told() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["pod.example"]);
    let (old, new) = (secure_pod(&certificate, &["http/1.1"]).await, secure_pod(&certificate, &["h2"]).await);
    let cases = [
        (&old, Speech::Http, (200, "pod.example false")),
        (&new, Speech::Http, (200, "pod.example true")),
        (&new, Speech::Http2, (200, "pod.example true")),
    ];
    let gateway = Gateway::new(Site::default());

    for (pod, speech, expected) in cases {
        let tls = Some(policy(&authority, "pod.example", &[]));
        gateway.serve(super::sites::clear(rule([BackendRef { speech, tls, ..to_pod(pod.address) }])));
        for _ in 0..3 {
            let (status, text) = gateway.get("/").await;
            assert_eq!((status, text.as_str()), expected);
        }
    }
    assert_eq!(read(gateway.http1().await.send_request(get("/")).await.unwrap()).await.0, 200);
}
