//! TLS to the API: certificates of a file are trusted, and each error says what to do.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;
use std::time::Duration;

use outboxd::clock::SystemClock;
use outboxd::domain::message::AccountId;
use outboxd::provider::{Dialect, Provider, Unipile, UnipileOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::daemon::{TestEnv, run};

/// An authority that no system trusts.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Serves handshakes with a certificate for `name`, valid in these years; returns the port.
async fn server(authority: &CertifiedIssuer<'_, KeyPair>, name: &str, years: [i32; 2]) -> u16 {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(years[0], 1, 1);
    params.not_after = date_time_ymd(years[1], 1, 1);
    let certificate = params.signed_by(&key, authority).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], private).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                // It hangs up after the head of the request.
                let _read = stream.read(&mut [0; 4096]).await;
            }
        }
    });
    tasks.detach_all();
    port
}

/// Asks the server at `port`; returns what went wrong.
async fn asked(port: u16, ca: &str) -> String {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let options = UnipileOptions {
        base_url: format!("https://localhost:{port}"),
        api_key: "k".to_owned().into(),
        ca: ca.as_bytes().to_vec(),
        dialect: Dialect::Specifics,
        connect_timeout: Duration::from_secs(20),
        request_timeout: Duration::from_secs(20),
        clock: Arc::new(SystemClock::new()),
    };
    let unread = Unipile::new(&options).unwrap().account(AccountId::new("acc_1")).await.unwrap_err();
    format!("{unread:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_error_says_what_to_do() {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let ours = authority("ours");
    let pem = ours.pem();
    let sound = server(&ours, "localhost", [2020, 2100]).await;
    for (port, ca, told) in [
        (sound, "", "unipile.ca_file"),
        (sound, authority("another").pem().as_str(), "does not trust the issuer"),
        (server(&ours, "localhost", [2019, 2020]).await, pem.as_str(), "has expired: check the clock"),
        (server(&ours, "localhost", [2098, 2100]).await, pem.as_str(), "is not valid yet: check the clock"),
        (server(&ours, "elsewhere.example", [2020, 2100]).await, pem.as_str(), "is for another name"),
    ] {
        let error = asked(port, ca).await;
        assert!(error.contains("no connection") && error.contains(told), "{told}: {error}");
    }
    // With the authority's certificate the handshake succeeds; only the answer is missing.
    let error = asked(sound, &pem).await;
    assert!(!error.contains("certificate") && !error.contains("no connection"), "{error}");
    // A server without TLS.
    let plain = TestEnv::new().await;
    let port = plain.sandbox.url().rsplit(':').next().unwrap().parse().unwrap();
    let error = asked(port, &pem).await;
    assert!(error.contains("does not speak TLS"), "{error}");
}

#[tokio::test]
async fn a_file_without_certificates_is_refused_before_anything_starts() {
    let env = TestEnv::new().await;
    let file = env.path("ca.pem");
    let env = env.set("OUTBOXD_UNIPILE_CA_FILE", file.to_str().unwrap());
    for (content, told) in [
        (None, "cannot be read"),
        (Some(""), "holds no certificate"),
        (Some("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), "damaged certificate"),
    ] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        for command in ["check", "serve"] {
            let (ok, said) = run(env.outboxd(&[command]), "");
            assert!(!ok && said.contains("unipile.ca_file") && said.contains(told), "{command}: {said}");
        }
    }
    std::fs::write(&file, authority("another").pem()).unwrap();
    let (ok, said) = run(env.outboxd(&["check"]), "");
    assert!(ok, "{said}");
}
