//! The AWS services that a function needs to start: DynamoDB, emulated in this process, and KMS. During measurements,
//! recorded answers of the emulator are repeated, so that the emulator's time does not count.

use std::{
    collections::HashMap,
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tests::{
    emulator::{self, Database},
    wire::{Message, answer},
};
use vestibule::store::Store;

use crate::certified::certified;

pub struct Cloud {
    pub table: String,
    /// The emulator itself.
    pub emulator: SocketAddr,
    /// Address of the recorded answers.
    pub plain: SocketAddr,
    /// Address of the recorded answers over TLS.
    pub tls: SocketAddr,
    /// The authority's certificate.
    pub authority: String,
    recorded: Arc<Recorded>,
}

/// An operation and its request body.
type RecordedRequest = (String, Vec<u8>);

#[derive(Default)]
struct Recorded {
    answers: Mutex<HashMap<RecordedRequest, Arc<Message>>>,
    /// When the first connection since [`Cloud::forget_contact`] was accepted.
    contact: Mutex<Option<Instant>>,
}

impl Cloud {
    /// With an initialised store without users.
    pub async fn open() -> Self {
        let url = emulator::serve(Database::memory().unwrap()).await;
        let emulator = url.trim_start_matches("http://").parse().unwrap();
        let name = "vestibule";
        let table = emulator::create_table(&url, name, |inner| inner).await;
        Store::new(Arc::new(table)).identify("bench", Some("arn:of-the-stream")).await.unwrap();
        let recorded = Arc::new(Recorded::default());
        let (config, authority) = certified();
        let plain = listen(emulator, Arc::clone(&recorded), None);
        let tls = listen(emulator, Arc::clone(&recorded), Some(Arc::new(config)));
        Self { table: name.to_owned(), emulator, plain, tls, authority, recorded }
    }

    pub fn forget_contact(&self) {
        *self.recorded.contact.lock().unwrap() = None;
    }

    /// When a function first connected to AWS; by then it has built what it needs.
    pub fn contact(&self) -> Option<Instant> {
        *self.recorded.contact.lock().unwrap()
    }
}

fn listen(emulator: SocketAddr, recorded: Arc<Recorded>, tls: Option<Arc<ServerConfig>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, recorded, tls) = (stream.unwrap(), Arc::clone(&recorded), tls.clone());
            recorded.contact.lock().unwrap().get_or_insert_with(Instant::now);
            stream.set_nodelay(true).unwrap();
            // A stopped function may end its connections in any way.
            thread::spawn(move || match tls {
                Some(config) => {
                    serve(StreamOwned::new(ServerConnection::new(config).unwrap(), stream), emulator, &recorded)
                }
                None => serve(stream, emulator, &recorded),
            });
        }
    });
    address
}

fn serve(stream: impl Read + Write, emulator: SocketAddr, recorded: &Recorded) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = Message::read(&mut stream)? {
        let target = request.header("x-amz-target").unwrap_or_default().to_owned();
        let of = (target, request.body.clone());
        let remembered = recorded.answers.lock().unwrap().get(&of).cloned();
        let reply = match remembered {
            Some(reply) => reply,
            None => {
                let reply = Arc::new(match of.0.strip_prefix("TrentService.") {
                    Some(operation) => key_service(operation, &request.body),
                    None => forward(emulator, &request)?,
                });
                recorded.answers.lock().unwrap().insert(of, Arc::clone(&reply));
                reply
            }
        };
        reply.write(stream.get_mut())?;
    }
    Ok(())
}

fn forward(emulator: SocketAddr, request: &Message) -> io::Result<Message> {
    let mut connection = BufReader::new(TcpStream::connect(emulator)?);
    request.write(connection.get_mut())?;
    Message::read(&mut connection)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// The parts of KMS that a start needs: keys that depend only on the request.
fn key_service(operation: &str, body: &[u8]) -> Message {
    let mut bytes = [0_u8; 32];
    for (n, byte) in body.iter().enumerate() {
        bytes[n % 32] = bytes[n % 32].rotate_left(3) ^ byte;
    }
    let asked: Value = serde_json::from_slice(body).unwrap();
    let (key, text) = (&asked["KeyId"], data_encoding::BASE64.encode(&bytes));
    let (status, reply) = match operation {
        "GenerateMac" => (200, json!({"KeyId": key, "MacAlgorithm": "HMAC_SHA_256", "Mac": text})),
        "GenerateDataKey" => (200, json!({"KeyId": key, "CiphertextBlob": text, "Plaintext": text})),
        "Decrypt" => (200, json!({"KeyId": key, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "Plaintext": text})),
        _ => (400, json!({"__type": "UnsupportedOperationException"})),
    };
    answer(status, "content-type: application/x-amz-json-1.1\r\n", reply.to_string())
}
