//! A proxy between functions and AWS services that records each call with the name of the function (the `app/NAME` of its user
//! agent), as one line of JSON.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use aws_smithy_types::date_time::{DateTime, Format};
use tests::{http, rights::Call, wire::Message};
use vestibule::env::{Clock, SystemClock};

/// The file of recorded calls, and the template's names of the ids that calls contain.
pub struct Recorder {
    log: Mutex<File>,
    logical: BTreeMap<String, String>,
}

impl Recorder {
    /// Records to a file. `logical` maps the ids of keys, buses and senders to their names in the template.
    #[must_use]
    pub fn new(log: File, logical: BTreeMap<String, String>) -> Arc<Self> {
        Arc::new(Self { log: Mutex::new(log), logical })
    }

    /// Starts a proxy of a service at `http://HOST:PORT`, and returns its URL. Answers are dated this many days ahead.
    #[must_use]
    pub fn proxy(self: &Arc<Self>, target: &str, days: i64) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (recorder, target) = (Arc::clone(self), target.trim_start_matches("http://").to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (recorder, target, stream) = (Arc::clone(&recorder), target.clone(), stream.unwrap());
                // A stopped function may end its connections in any way.
                thread::spawn(move || recorder.serve(&stream, &target, days));
            }
        });
        url
    }

    fn serve(&self, stream: &TcpStream, target: &str, days: i64) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut from, mut to) = (BufReader::new(stream), stream);
        while let Some(mut request) = Message::read(&mut from)? {
            self.record(&request);
            request.set("connection", Some("close"));
            let mut connection = BufReader::new(TcpStream::connect(target)?);
            request.write(connection.get_mut())?;
            let mut answer = Message::read(&mut connection)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            answer.set("connection", None);
            let date = DateTime::from_secs(SystemClock.now().secs() + days * 86_400);
            answer.set("date", Some(&date.fmt(Format::HttpDate).unwrap()));
            answer.write(&mut to)?;
        }
        Ok(())
    }

    fn record(&self, request: &Message) {
        let agent = ["user-agent", "x-amz-user-agent"].map(|name| request.header(name).unwrap_or_default()).join(" ");
        let function = agent.split_whitespace().find_map(|word| word.strip_prefix("app/"));
        // From the scope of the signature.
        let scope = request.header("authorization").unwrap_or_default();
        let service =
            scope.split("/aws4_request").next().and_then(|scope| scope.rsplit('/').next()).unwrap_or_default();
        let action = match (request.header("x-amz-target"), request.target().1) {
            (Some(target), _) => target.rsplit('.').next().unwrap_or_default(),
            (None, "/v2/email/outbound-emails") => "SendEmail",
            (None, path) => path,
        };
        let body = http::json(&request.body);
        let call = match service {
            "dynamodb" => Call::dynamodb(action, &body),
            _ => Call::other(service, action, &body, |id| self.logical.get(id).map_or(id, |name| name).to_owned()),
        };
        let line = serde_json::to_string(&(function.unwrap_or("?"), call)).unwrap();
        writeln!(self.log.lock().unwrap(), "{line}").unwrap();
    }
}
