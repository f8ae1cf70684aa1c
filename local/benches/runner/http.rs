//! A minimal HTTP/1.1 client: one keep-alive connection, one request at a time.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;

pub struct Connection {
    stream: BufReader<TcpStream>,
}

pub struct Response {
    pub status: u16,
    /// The header `Retry-After`, if present.
    pub retry_after: Option<String>,
    /// The header `Location`, if present.
    pub location: Option<String>,
    pub body: Value,
}

impl Response {
    /// The string at a JSON pointer of the body.
    pub fn text(&self, pointer: &str) -> String {
        let text = self.body.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("no {pointer}: {} {}", self.status, self.body)).to_owned()
    }

    pub fn ok(self) -> Self {
        assert_eq!(self.status / 100, 2, "{}", self.body);
        self
    }
}

impl Connection {
    pub fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn get(&mut self, path: &str, token: &str) -> Response {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"))
    }

    /// A page. The server is not behind HTTPS, so its cookie has no prefix.
    pub fn page(&mut self, path: &str, session: &str) -> Response {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nCookie: vestibule={session}\r\n\r\n"
        ))
    }

    pub fn post(&mut self, path: &str, headers: &str, body: &Value) -> Response {
        self.body("POST", path, headers, "application/json", &body.to_string())
    }

    pub fn put(&mut self, path: &str, headers: &str, body: &Value) -> Response {
        self.body("PUT", path, headers, "application/json", &body.to_string())
    }

    pub fn form(&mut self, path: &str, body: &str) -> Response {
        self.body("POST", path, "", "application/x-www-form-urlencoded", body)
    }

    fn body(&mut self, method: &str, path: &str, headers: &str, kind: &str, body: &str) -> Response {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}");
        self.send(&format!("{head}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()))
    }

    fn send(&mut self, request: &str) -> Response {
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut status, mut length, mut retry_after, mut location) = (0, 0, None, None);
        loop {
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "the connection was closed");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("retry-after", value)) => retry_after = Some(value.to_owned()),
                Some(("location", value)) => location = Some(value.to_owned()),
                Some(_) => {}
                None => status = line.split(' ').nth(1).unwrap().parse().unwrap(),
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        Response { status, retry_after, location, body: serde_json::from_slice(&body).unwrap_or_default() }
    }
}

/// The `Authorization` header line of a bearer token.
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Opens this number of connections.
pub fn connections(address: &str, count: usize) -> Vec<Connection> {
    (0..count).map(|_| Connection::open(address)).collect()
}

/// Processes items on these connections in parallel. The results are in the order of the items.
pub fn parallel<T: Sync, R: Send>(
    connections: &mut [Connection],
    items: &[T],
    work: impl Fn(&mut Connection, &T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = |connection: &mut Connection| {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, work(connection, item)));
        }
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = connections.iter_mut().map(|connection| scope.spawn(|| worker(connection))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
