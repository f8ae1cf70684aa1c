//! Which servers connections to AWS trust, tested by TLS handshakes with a server of a test authority.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    sync::Arc,
    thread,
};

use aws_sdk_dynamodb::{
    Client,
    config::{Credentials, retry::RetryConfig},
    error::DisplayErrorContext,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use vestibule::{store::dynamo, tls_roots::TlsRoots};

use crate::certified::certified;

mod certified;

/// Serves TLS, and answers every request with an empty list of tables.
fn serve(config: ServerConfig) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream.unwrap());
            let mut request = [0; 4096];
            // A client that does not trust the certificate ends the connection here.
            if matches!(tls.read(&mut request), Ok(length) if length > 0) {
                let body = r#"{"TableNames":[]}"#;
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                tls.write_all([head.as_str(), body].concat().as_bytes()).unwrap();
            }
        }
    });
    address
}

/// The result of a call over TLS with these roots.
async fn call(address: &str, trust: &TlsRoots) -> Result<(), String> {
    let credentials = Credentials::new("test", "test", None, None, "test");
    let client = dynamo::client("eu-central-1".into(), credentials, Some(address.to_owned()), trust);
    // A failed handshake is not retried.
    let config = client.config().to_builder().retry_config(RetryConfig::disabled()).build();
    let answer = Client::from_conf(config).list_tables().send().await;
    answer.map(|_| ()).map_err(|error| DisplayErrorContext(error).to_string())
}

#[tokio::test]
async fn server_is_trusted_if_a_configured_authority_certifies_it() {
    let folder = tempfile::tempdir().unwrap();
    let (config, authority) = certified();
    let address = serve(config);
    let of = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        TlsRoots::read(path.to_str()).unwrap()
    };
    // A bundle may contain certificates that TLS cannot use; the others are used.
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    call(&address, &of("bundle.pem", &format!("{broken}{authority}{broken}"))).await.unwrap();

    let (_, stranger) = certified();
    for trust in [TlsRoots::read(None).unwrap(), of("stranger.pem", &stranger)] {
        let refused = call(&address, &trust).await.unwrap_err();
        assert!(refused.contains("invalid peer certificate"), "{refused}");
    }
}
