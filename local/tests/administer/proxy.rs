//! A proxy between the program and the server. It can hold the answer to a change, so that a test decides what happens in its middle,
//! or lose it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

/// How long a step may take. The limit is long, because the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The service answers this if it waits too long for the store.
pub const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 47\r\nconnection: close\r\n\r\n\
    {\"code\":\"unavailable\",\"retry_after_seconds\":1}\n";

/// A gateway answers this if a function takes too long.
pub const TIMED_OUT: &str = "HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 8\r\nconnection: close\r\n\r\n<html/>\n";

/// A request that was read.
pub struct Forwarded {
    head: String,
    body: Vec<u8>,
}

impl Forwarded {
    /// Reads a request.
    pub fn read(client: impl Read) -> io::Result<Self> {
        let mut client = BufReader::new(client);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if client.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        client.read_exact(&mut body)?;
        Ok(Self { head, body })
    }

    /// Sends it to a plain server. Returns the response, after which the connection ends.
    pub fn answer(&self, server: &str) -> io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(server)?;
        server.write_all(format!("{}Connection: close\r\n\r\n", self.head).as_bytes())?;
        server.write_all(&self.body)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn is_change(&self) -> bool {
        ["POST /v1/admin/", "PATCH /v1/admin/"].iter().any(|it| self.head.starts_with(it))
    }
}

/// A proxy in front of a server.
pub struct Proxy {
    pub url: String,
    /// How many changes pass until the answer to one is held.
    pass: Arc<Mutex<Option<usize>>>,
    /// How many changes pass until the answer to one is lost, and what the program gets instead.
    lose: Arc<Mutex<Option<usize>>>,
    instead: Arc<Mutex<&'static str>>,
    held: Receiver<()>,
    go: Sender<()>,
}

impl Proxy {
    pub fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = server.strip_prefix("http://").unwrap().to_owned();
        let (pass, lose) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
        let instead = Arc::new(Mutex::new(UNAVAILABLE));
        let answers = Arc::clone(&instead);
        let ((is_held, held), (go, goes)) = (channel(), channel());
        let (passing, losing, goes) = (Arc::clone(&pass), Arc::clone(&lose), Arc::new(Mutex::new(goes)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (pass, lose, goes) = (Arc::clone(&passing), Arc::clone(&losing), Arc::clone(&goes));
                let (server, is_held, answers) = (server.clone(), is_held.clone(), Arc::clone(&answers));
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let Ok(request) = Forwarded::read(&mut stream) else { return };
                    let mut answer = request.answer(&server).unwrap_or_default();
                    if request.is_change() && is_due(&lose) {
                        answer = (*answers.lock().unwrap()).into();
                    }
                    if request.is_change() && is_due(&pass) {
                        let _ = is_held.send(());
                        let _ = goes.lock().unwrap().recv_timeout(TIMEOUT);
                    }
                    // The program can be gone.
                    let _ = stream.write_all(&answer);
                });
            }
        });
        Self { url, pass, lose, instead, held, go }
    }

    /// After this number of changes, the server does the next one, and the program gets another answer.
    pub fn lose_after(&self, changes: usize, instead: &'static str) {
        *self.instead.lock().unwrap() = instead;
        *self.lose.lock().unwrap() = Some(changes);
    }

    /// After this number of changes, holds the answer to the next one. The server has done it then.
    pub fn hold_after(&self, changes: usize) {
        *self.pass.lock().unwrap() = Some(changes);
    }

    /// Waits until an answer is held.
    pub fn wait(&self) {
        self.held.recv_timeout(TIMEOUT).expect("no change is held");
    }

    /// Sends the answer that is held.
    pub fn release(&self) {
        self.go.send(()).unwrap();
    }
}

fn is_due(pass: &Mutex<Option<usize>>) -> bool {
    let mut pass = pass.lock().unwrap();
    match *pass {
        Some(0) => {
            *pass = None;
            true
        }
        Some(left) => {
            *pass = Some(left - 1);
            false
        }
        None => false,
    }
}
