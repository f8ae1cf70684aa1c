//! Sends requests to servers that run elsewhere, and serves on a port.

use std::net::SocketAddr;

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Request, Response, header},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

/// Sends a request to a server at `http://HOST:PORT`, on a new connection.
pub async fn send(url: &str, mut request: Request<Body>) -> Response<Body> {
    let authority = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url} is not http://HOST:PORT"));
    let stream = TcpStream::connect(authority).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    request.headers_mut().insert(header::HOST, authority.parse().unwrap());
    sender.send_request(request).await.unwrap().map(Body::new)
}

/// Serves on a free port until the process ends. Returns the URL.
pub async fn listen(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(listener, service).into_future());
    url
}

/// The body of a response. The tests' servers send at most 16 MiB.
pub async fn body(response: Response<Body>) -> Bytes {
    axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap()
}

/// The JSON in a body; null if it is empty.
#[must_use]
pub fn json(body: &[u8]) -> Value {
    if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap() }
}
