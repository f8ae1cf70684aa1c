//! The program as a process: how it starts and stops, what it refuses, and what it stores.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod commands;
mod serve;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

const DIRECTORY_IN_USE: &str = "another vestibule is using this directory";

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local"));
    command.args(arguments).env_remove("VESTIBULE_LOG").env_remove("VESTIBULE_PASSWORD");
    command
}

fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = program(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()); // fails if the program refuses before it reads
    child.wait_with_output().unwrap()
}

/// Runs a command that must fail: exit status 1, one line `error: …` on standard error, nothing on standard output.
fn refusal(arguments: &[&str], input: &str) -> String {
    let output = run(arguments, input);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_eq!(output.stdout, b"");
    let message = message.strip_suffix('\n').unwrap();
    assert!(message.starts_with("error: ") && !message.contains('\n'), "{message}");
    message.to_owned()
}

/// The last line on standard error of a command that fails after the log has started.
fn refusal_in_log(arguments: &[&str]) -> String {
    let output = run(arguments, "");
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &[][..]));
    String::from_utf8(output.stderr).unwrap().lines().last().unwrap().to_owned()
}

struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    first: Value,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        Self::spawn(&mut program(&[&["serve", "--port", "0", "--json"], arguments].concat()))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        Self { child, stdout, first: serde_json::from_str(&line).expect("one line of JSON") }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.first["url"].as_str().unwrap().strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn login(&self, tenant: &str, username: &str, password: &str) -> Value {
        let body = json!({"tenant": tenant, "username": username, "password": password}).to_string();
        let head = "POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n";
        let mut stream = self.connect();
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end. Returns the exit status and the rest of standard output.
    fn wait(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }

    fn stop(self) {
        self.signal("-TERM");
        assert_eq!(self.wait(), (Some(0), String::new()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn seed(directory: &Path, users: &Value) -> String {
    let path = directory.join("seed.json");
    fs::write(&path, json!({"tenants": [{"id": "acme", "name": "Acme", "users": users}]}).to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn ann() -> Value {
    json!({"username": "ann", "password": "ann rides 7 camels", "display_name": "Ann", "kind": "employee",
           "role": "administrator", "auth_type": "local", "active": true})
}

fn get(stream: &mut TcpStream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"}") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the connection was closed");
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(answer).unwrap()
}
