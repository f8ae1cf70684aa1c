//! The HTTP client under the AWS SDK: HTTP/1.1 only, over TCP or TLS.
//!
//! The SDK's own client (`aws-smithy-http-client`) cannot be built without HTTP/2. No AWS service called here needs
//! HTTP/2, and its code was a tenth of a function's archive (docs/adr/0013). This module only connects hyper-util's
//! pooling client and hyper-rustls to the SDK's interface.

use std::time::Duration;

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::body::SdkBody;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;

/// Time limit for opening a TCP connection. The SDK's limit for an attempt covers the TLS handshake and the response.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection pool, shared by all requests of the SDK client that holds it.
#[derive(Debug, Clone)]
struct Http1(Client<HttpsConnector<connect::HttpConnector>, SdkBody>);

/// An HTTP client for the SDK that uses the given TLS configuration. `http://` addresses get no TLS; only emulators
/// have such addresses.
///
/// The SDK's connect and read timeouts are ignored: [`CONNECT_TIMEOUT`] limits connecting, and the SDK itself enforces
/// its limits per attempt and per operation.
#[must_use]
pub fn http_client(tls: ClientConfig) -> SharedHttpClient {
    let mut tcp = connect::HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
    let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
    SharedHttpClient::new(Http1(client))
}

impl HttpClient for Http1 {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Http1 {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            // A failure before the response head arrives is an I/O error, which the SDK may retry if its retries are
            // on.
            let response = client.request(request).await.map_err(|error| ConnectorError::io(error.into()))?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(BoxError::from(error), None))
        })
    }
}
