//! HTTPS: certificates are checked.

use std::{net::TcpListener, sync::Arc, thread};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, Stream,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::{proxy::Forwarded, *};

/// A TLS server in front of a plain one. Returns its port, and its certificate authority in PEM.
fn tls_in_front_of(plain: &str) -> (u16, String) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certificate.der().clone()], private).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let plain = plain.strip_prefix("http://").unwrap().to_owned();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that refuses the certificate closes the connection.
            let _ = forward(Arc::clone(&config), stream.unwrap(), &plain);
        }
    });
    (port, authority.pem())
}

/// Forwards one request.
fn forward(config: Arc<ServerConfig>, mut stream: TcpStream, plain: &str) -> std::io::Result<()> {
    let mut connection = ServerConnection::new(config).unwrap();
    let mut client = Stream::new(&mut connection, &mut stream);
    let answer = Forwarded::read(&mut client)?.answer(plain)?;
    client.write_all(&answer)?;
    client.flush()
}

#[test]
fn https_server_needs_a_trusted_certificate() {
    let mut ann = Ann::enrolled(0);
    let (port, authority) = tls_in_front_of(&ann.server.url);
    let (authority, url) = (ann.file("authority.pem", &authority), format!("https://localhost:{port}"));
    let code = ann.app.code();
    let run = |arguments: &[&str], trusted: &str, input: &str| {
        let mut command = ann.command(arguments);
        command.env("SSL_CERT_FILE", trusted);
        finish(command, input)
    };
    let login = ["login", "--url", &url, "--tenant", "acme", "--username", "ann"];
    let input = format!("{PASSWORD}\n{code}\n");

    let (_, other) = tls_in_front_of(&ann.server.url);
    let other = ann.file("other.pem", &other);
    let output = run(&login, &other, &input);
    let why = text(&output.stderr);
    assert!(output.status.code() == Some(1) && why.contains("certificate"), "{why}");
    let by_address = format!("https://127.0.0.1:{port}");
    let output = run(&["login", "--url", &by_address, "--tenant", "acme", "--username", "ann"], &authority, &input);
    assert_eq!(output.status.code(), Some(1), "the certificate has another name");

    let output = run(&login, &authority, &input);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = run(&["whoami"], &authority, "");
    assert!(text(&output.stdout).contains(&format!("url\t{url}\n")), "{}", text(&output.stderr));
    assert!(!run(&["whoami"], &other, "").status.success());
}
