//! The commands of an Administrator, against a server: through pipes, and in a terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod people;
mod proxy;
#[path = "../pty/mod.rs"]
mod pty;
mod resume;
mod screen;
mod session;
mod sso;
mod tls;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use local::totp;
use proxy::Proxy;
use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule::env::{Clock, SystemClock, Timestamp};

const PASSWORD: &str = "ann rides 7 camels";

/// The program, without variables of the surroundings.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    for variable in ["CARGO", "VESTIBULE_LOG", "VESTIBULE_PASSWORD", "NO_COLOR", "SSL_CERT_FILE"] {
        command.env_remove(variable);
    }
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn finish(mut command: Command, input: &str) -> Output {
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()); // fails if the program does not read
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A server with the Administrators ann and amy, and contacts.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(folder: &Path, contacts: usize) -> Self {
        let ann = json!({"username": "ann", "password": PASSWORD, "display_name": "Ann", "kind": "employee",
            "role": "administrator", "auth_type": "local", "active": true});
        let amy = json!({"username": "amy", "password": PASSWORD, "display_name": "Amy", "kind": "employee",
            "role": "administrator", "auth_type": "local", "active": true});
        let contact = |n: usize| {
            json!({"id": format!("u-{n}"), "username": format!("c{n}"), "display_name": format!("C {n}"),
                "kind": "contact", "role": "portal", "auth_type": "saml_sso", "active": true})
        };
        let users: Vec<_> = [ann, amy].into_iter().chain((0..contacts).map(contact)).collect();
        let seed = folder.join("seed.json");
        fs::write(&seed, json!({"tenants": [{"id": "acme", "name": "Acme", "users": users}]}).to_string()).unwrap();
        let serve = ["serve", "--ephemeral", "--port", "0", "--json", "--seed", seed.to_str().unwrap()];
        let mut child = program(&serve).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let first: Value = serde_json::from_str(&line).unwrap();
        Self { child, url: first["url"].as_str().unwrap().to_owned() }
    }

    /// The status and body of a request.
    fn get(&self, path: &str, token: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.url.strip_prefix("http://").unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authenticator app. It gives each code once: the service accepts the codes of the previous, the current and the next step,
/// in ascending order.
struct App {
    key: String,
    last: i64,
}

impl App {
    fn code(&mut self) -> String {
        let step = || SystemClock.now().secs() / 30;
        let next = step().max(self.last + 1);
        while next > step() + 1 {
            sleep(Duration::from_millis(200));
        }
        self.last = next;
        totp::code(&self.key, Timestamp::from_secs(next * 30)).unwrap()
    }
}

/// ann at a computer of hers, with the program and her authenticator app.
struct Ann {
    home: TempDir,
    server: Server,
    proxy: Proxy,
    app: App,
    recovery_token: String,
}

impl Ann {
    /// ann has enrolled at a new server, and is not signed in.
    fn enrolled(contacts: usize) -> Self {
        let home = TempDir::new().unwrap();
        let server = Server::start(home.path(), contacts);
        let proxy = Proxy::start(&server.url);
        let enroll = ["enroll", "--url", &proxy.url, "--tenant", "acme", "--username", "ann"];
        let mut child = program(&enroll).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "{PASSWORD}").unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (mut shown, mut line) = (String::new(), String::new());
        let key = loop {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "no key was shown: {shown}");
            shown.push_str(&line);
            if line.trim().split(' ').count() == 8 && line.trim().len() == 39 {
                break line.trim().to_owned();
            }
        };
        let mut app = App { key, last: 0 };
        writeln!(input, "{}", app.code()).unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success(), "{rest}");
        let (_, recovery) = rest.split_once("Recovery token").unwrap();
        let recovery_token = recovery.lines().map(str::trim).find(|line| line.contains('-') && !line.contains(' '));
        Self { recovery_token: recovery_token.unwrap().to_owned(), home, server, proxy, app }
    }

    /// ann has enrolled and is signed in, with a code.
    fn signed_in(contacts: usize) -> Self {
        let mut ann = Self::enrolled(contacts);
        let code = ann.app.code();
        ann.sign_in(&code);
        ann
    }

    fn sign_in(&self, code: &str) -> String {
        let login = self.login();
        let output = self.run(&login.each_ref().map(String::as_str), &format!("{PASSWORD}\n{code}\n"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    fn login(&self) -> [String; 7] {
        ["login", "--url", &self.proxy.url, "--tenant", "acme", "--username", "ann"].map(str::to_owned)
    }

    fn state_file(&self) -> PathBuf {
        self.home.path().join("state/vestibule/session.json")
    }

    fn token(&self) -> Option<String> {
        let kept: Value = serde_json::from_slice(&fs::read(self.state_file()).ok()?).unwrap();
        Some(kept["token"].as_str().unwrap().to_owned())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(arguments);
        command.env("XDG_STATE_HOME", self.home.path().join("state")).current_dir(self.home.path());
        command
    }

    /// Runs a command. Neither stream shows the session token.
    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let before = self.token();
        let output = finish(self.command(arguments), input);
        for token in before.into_iter().chain(self.token()) {
            let shown = text(&output.stdout) + &text(&output.stderr);
            assert!(!shown.contains(&token), "{arguments:?} shows the session token");
        }
        output
    }

    /// Runs a command that must succeed. Returns its standard output.
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, "");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// The rows of a command with `--json`.
    fn rows(&self, arguments: &[&str]) -> Vec<Value> {
        json_lines(&self.succeed(&[arguments, &["--json"]].concat()))
    }

    /// Runs a command that must fail. Returns its standard error.
    fn refused(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// How many rows have a value in a field.
fn count(rows: &[Value], field: &str, value: &str) -> usize {
    rows.iter().filter(|row| row[field] == value).count()
}
