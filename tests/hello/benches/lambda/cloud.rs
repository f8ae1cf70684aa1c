//! What a function finds around it: DynamoDB, emulated in this process, and KMS. For starts, what the emulator said once
//! is said again from memory, so that its own time is no part of them.

use std::{
    collections::HashMap,
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use aws_sdk_dynamodb::{Client, config::Credentials};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use vestibule::{
    env::SystemEntropy,
    store::{
        Store,
        dynamo::{self, DynamoTable},
    },
    tls_roots::TlsRoots,
};

use crate::{
    certified::certified,
    http::{Message, answer},
};

pub struct Cloud {
    pub table: String,
    /// The emulator itself.
    pub emulator: SocketAddr,
    /// Answers from memory.
    pub plain: SocketAddr,
    /// The same over TLS.
    pub tls: SocketAddr,
    /// Who certifies that.
    pub authority: String,
    known: Arc<Known>,
}

/// An operation with all of its request.
type Asked = (String, Vec<u8>);

#[derive(Default)]
struct Known {
    answers: Mutex<HashMap<Asked, Arc<Message>>>,
    /// When the first connection since [`Cloud::forget_contact`] was accepted.
    contact: Mutex<Option<Instant>>,
}

impl Cloud {
    /// With a table that is a store, and nobody in it.
    pub async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let emulator = listener.local_addr().unwrap();
        let database = dynoxide::Database::memory().unwrap();
        tokio::spawn(async move { dynoxide::server::serve_on(listener, database).await });
        let credentials = Credentials::new("test", "test", None, None, "test");
        let trust = TlsRoots::read(None).unwrap();
        let client: Client =
            dynamo::client("eu-central-1".into(), credentials, Some(format!("http://{emulator}")), &trust);
        let name = "vestibule";
        let table = DynamoTable::new(client, name, Arc::new(SystemEntropy));
        table.create().await.unwrap();
        Store::new(Arc::new(table)).identify("bench", Some("arn:of-the-stream")).await.unwrap();
        let known = Arc::new(Known::default());
        let (config, authority) = certified();
        let plain = listen(emulator, Arc::clone(&known), None);
        let tls = listen(emulator, Arc::clone(&known), Some(Arc::new(config)));
        Self { table: name.to_owned(), emulator, plain, tls, authority, known }
    }

    pub fn forget_contact(&self) {
        *self.known.contact.lock().unwrap() = None;
    }

    /// When a function first turned to AWS: what it has to build is built then.
    pub fn contact(&self) -> Option<Instant> {
        *self.known.contact.lock().unwrap()
    }
}

fn listen(emulator: SocketAddr, known: Arc<Known>, tls: Option<Arc<ServerConfig>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, known, tls) = (stream.unwrap(), Arc::clone(&known), tls.clone());
            known.contact.lock().unwrap().get_or_insert_with(Instant::now);
            stream.set_nodelay(true).unwrap();
            // A function that is stopped ends its connections as it likes.
            thread::spawn(move || match tls {
                Some(config) => {
                    serve(StreamOwned::new(ServerConnection::new(config).unwrap(), stream), emulator, &known)
                }
                None => serve(stream, emulator, &known),
            });
        }
    });
    address
}

fn serve(stream: impl Read + Write, emulator: SocketAddr, known: &Known) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = Message::read(&mut stream)? {
        let target = request.header("x-amz-target").unwrap_or_default().to_owned();
        let of = (target, request.body.clone());
        let remembered = known.answers.lock().unwrap().get(&of).cloned();
        let reply = match remembered {
            Some(reply) => reply,
            None => {
                let reply = Arc::new(match of.0.strip_prefix("TrentService.") {
                    Some(operation) => key_service(operation, &request.body),
                    None => ask(emulator, &request)?,
                });
                known.answers.lock().unwrap().insert(of, Arc::clone(&reply));
                reply
            }
        };
        reply.write(stream.get_mut())?;
    }
    Ok(())
}

fn ask(emulator: SocketAddr, request: &Message) -> io::Result<Message> {
    let mut connection = BufReader::new(TcpStream::connect(emulator)?);
    request.write(connection.get_mut())?;
    Message::read(&mut connection)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// KMS, as far as a start needs it: keys that depend on the request alone.
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
