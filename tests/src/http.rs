//! Sends requests to servers that run elsewhere.

use axum::{
    body::{Body, Bytes},
    http::{Request, Response, header},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Sends a request to a server at `http://HOST:PORT`, on a new connection.
pub async fn send(url: &str, mut request: Request<Body>) -> Response<Body> {
    let authority = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url} is not http://HOST:PORT"));
    let stream = TcpStream::connect(authority).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    request.headers_mut().insert(header::HOST, authority.parse().unwrap());
    sender.send_request(request).await.unwrap().map(Body::new)
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
