//! hyper answers bytes that are not a request (a malformed head, a path that is too long, too many headers) with a bare status.
//! This listener replaces that response by a problem, like every other error.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::serve::Listener;
use futures_util::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use vestibule::{env::SystemEntropy, http::unreadable};

/// A listener whose connections answer malformed requests with a problem.
pub struct Wire(pub TcpListener);

impl Listener for Wire {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        (Connection { stream, problem: Vec::new() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection to a client.
pub struct Connection {
    stream: TcpStream,
    /// The rest of the problem that replaces hyper's bare status.
    problem: Vec<u8>,
}

impl Connection {
    /// Sends small responses at once, by `TCP_NODELAY`.
    pub fn no_delay(&self) {
        drop(self.stream.set_nodelay(true));
    }
}

/// Whether hyper generated this response: a head without a body and without the `x-request-id` of the service's responses.
fn is_bare_status(bytes: &[u8]) -> bool {
    let Ok(head) = std::str::from_utf8(bytes) else { return false };
    let refused = ["HTTP/1.1 400 ", "HTTP/1.1 414 ", "HTTP/1.1 431 "].iter().any(|start| head.starts_with(start));
    refused && head.contains("content-length: 0\r\n") && !head.contains("x-request-id: ") && head.ends_with("\r\n\r\n")
}

fn problem() -> Vec<u8> {
    let (head, body) = unreadable(&SystemEntropy).into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).now_or_never().and_then(Result::ok).unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(format!("connection: close\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes());
    bytes.extend(body);
    bytes
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.problem.is_empty() {
            if !is_bare_status(bytes) {
                return Pin::new(&mut self.stream).poll_write(cx, bytes);
            }
            self.problem = problem();
        }
        while !self.problem.is_empty() {
            let Self { stream, problem } = &mut *self;
            let sent = ready!(Pin::new(stream).poll_write(cx, problem))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.problem.drain(..sent);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}
