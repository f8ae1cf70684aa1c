//! The process from outside: how it starts, what it refuses, how it stops, and what is there afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

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
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()); // one that refuses does not read
    child.wait_with_output().unwrap()
}

/// The one line of a refusal: it exits with 1, says `error:` once, and nothing on standard output.
fn refusal(arguments: &[&str], input: &str) -> String {
    let output = run(arguments, input);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(output.stdout, b"");
    let said = said.strip_suffix('\n').unwrap();
    assert!(said.starts_with("error: ") && !said.contains('\n'), "{said}");
    said.to_owned()
}

#[test]
fn audit_rows_are_kept_for_a_number_of_days() {
    for days in ["0", "3651", "ninety"] {
        let output = run(&["serve", "--ephemeral", "--audit-retention-days", days], "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains("it must be a number of days, 1 to 3650"), "{said}");
    }
    for (said, days) in [(&[][..], 90), (&["--audit-retention-days", "7"], 7)] {
        let home = TempDir::new().unwrap();
        let data = home.path().to_str().unwrap();
        let server = Server::start(&[&["--data-dir", data, "--seed", "demo"], said].concat());
        assert_eq!(server.login("acme", "nobody", "wrong")["code"], "invalid_credentials");
        server.stop();
        let items = sled::open(home.path().join("db")).unwrap().open_tree("main").unwrap();
        let items = items.iter().values().map(|item| serde_json::from_slice::<Value>(&item.unwrap()).unwrap());
        let rows: Vec<_> = items.filter(|item| item["action"].is_object()).collect();
        for action in ["user.created", "login"] {
            assert!(rows.iter().any(|row| row["action"]["S"] == action), "{action}");
        }
        for row in rows {
            let millis: i64 = row["SK"]["S"].as_str().unwrap().split('#').next().unwrap().parse().unwrap();
            assert_eq!(row["ttl"]["N"], (millis / 1000 + days * 86_400).to_string(), "{row}");
        }
    }
}

/// The last line of a refusal that comes after the log has begun.
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

    /// Exit status and whatever came on standard output after the first line.
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
        assert!(count > 0, "the connection ended");
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn the_demo_is_served_and_told_in_one_line() {
    let server = Server::start(&["--ephemeral"]);
    let tenants = server.first["seed"]["tenants"].as_array().unwrap();
    assert_eq!(tenants.iter().map(|tenant| &tenant["id"]).collect::<Vec<_>>(), ["acme", "support"]);
    let ann = &tenants[0]["users"][0];
    let answer = server.login("acme", ann["username"].as_str().unwrap(), ann["password"].as_str().unwrap());
    assert_eq!(answer["status"], "enrolment_required", "{answer}");
    let answer = get(&mut server.connect(), "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("cache-control: no-store"), "{answer}");
    assert!(get(&mut server.connect(), "/nowhere").contains("\"code\":\"not_found\""));
    server.stop();
}

#[test]
fn a_restart_keeps_what_was_there_and_adds_who_is_missing() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data").to_str().unwrap().to_owned();
    let file = seed(home.path(), &json!([ann()]));
    let server = Server::start(&["--data-dir", &data, "--seed", &file]);
    assert_eq!(server.first["seed"], file.as_str());
    server.stop();
    let mut changed = ann();
    changed["password"] = json!("another fine long password");
    let mut bob = ann();
    (bob["username"], bob["role"]) = (json!("bob"), json!("standard"));
    let file = seed(home.path(), &json!([changed, bob]));
    let server = Server::start(&["--data-dir", &data, "--seed", &file]);
    for name in ["ann", "bob"] {
        assert_eq!(server.login("acme", name, "ann rides 7 camels")["status"], "enrolment_required");
    }
    assert_eq!(server.login("acme", "ann", "another fine long password")["code"], "invalid_credentials");
    server.stop();
    let server = Server::start(&["--data-dir", &data]);
    assert_eq!(server.first["seed"], Value::Null, "no demo people into a store that has others");
    assert_eq!(server.login("acme", "bob", "ann rides 7 camels")["status"], "enrolment_required");
    assert_eq!(server.login("acme", "amy", "amy folds 4 paper boats")["code"], "invalid_credentials");
}

#[test]
fn a_second_instance_is_refused_and_the_first_goes_on() {
    let home = TempDir::new().unwrap();
    let data = home.path().to_str().unwrap();
    let server = Server::start(&["--data-dir", data, "--seed", "none"]);
    assert_eq!(server.first["seed"], Value::Null);
    let said = refusal(&["serve", "--port", "0", "--data-dir", data, "--seed", "none"], "");
    assert!(said.contains(DIRECTORY_IN_USE), "{said}");
    let port = server.first["url"].as_str().unwrap().rsplit_once(':').unwrap().1;
    let said = refusal(&["serve", "--port", port, "--ephemeral"], "");
    assert!(said.contains("another program has that port") && said.contains("--port"), "{said}");
    assert!(get(&mut server.connect(), "/healthz").contains("\"status\":\"ok\""));
}

#[test]
fn it_stops_with_idle_connections_open_and_answers_what_was_begun() {
    let server = Server::start(&["--ephemeral"]);
    let mut idle = server.connect();
    get(&mut idle, "/healthz");
    let mut begun = server.connect();
    let body = json!({"tenant": "acme", "username": "bob", "password": "bob bakes 6 rye loaves"}).to_string();
    let head = "POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    write!(begun, "{head}Content-Length: {}\r\n\r\n{}", body.len(), &body[..20]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.signal("-TERM");
    std::thread::sleep(Duration::from_millis(200));
    write!(begun, "{}", &body[20..]).unwrap();
    let mut answer = String::new();
    begun.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("enrolment_required"), "{answer}");
    let since = Instant::now();
    assert_eq!(server.wait(), (Some(0), String::new()));
    assert!(since.elapsed() < Duration::from_secs(3), "an idle connection held it up");
}

#[test]
fn a_connection_that_says_nothing_does_not_keep_it_from_stopping() {
    let server = Server::start(&["--ephemeral", "--seed", "none"]);
    let _silent = server.connect();
    std::thread::sleep(Duration::from_millis(100));
    let since = Instant::now();
    server.signal("-INT");
    assert_eq!(server.wait(), (Some(0), String::new()));
    assert!(since.elapsed() < Duration::from_secs(8));
}

/// What memory holds may be ahead of the disk then: nothing is said from it, and whoever watches over the program is told.
#[test]
fn a_store_that_can_write_no_more_denies_until_it_is_started_again() {
    let directory = TempDir::new().unwrap();
    let (data, seed) = (directory.path().join("data"), seed(directory.path(), &json!([ann()])));
    let data = data.to_str().unwrap();
    // A limit of file sizes is a full disk; the shell has its signal ignored.
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap '' XFSZ; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_local"),
        "serve",
        "--port",
        "0",
        "--json",
    ]);
    let server = Server::spawn(command.args(["--data-dir", data, "--seed", &seed]));
    let full = ["--pid", &server.child.id().to_string(), "--fsize=0"];
    assert!(Command::new("prlimit").args(full).status().unwrap().success());
    assert_eq!(server.login("acme", "ann", "ann rides 7 camels")["code"], "unavailable");
    let health = get(&mut server.connect(), "/healthz");
    assert!(health.starts_with("HTTP/1.1 503 ") && health.contains("retry-after: "), "{health}");
    assert_eq!(server.login("acme", "ann", "ann rides 7 camels")["code"], "unavailable");
    server.stop();
    let server = Server::start(&["--data-dir", data]);
    assert_eq!(server.login("acme", "ann", "ann rides 7 camels")["status"], "enrolment_required");
    server.stop();
}

#[test]
fn what_is_no_request_is_answered_like_every_error() {
    let server = Server::start(&["--ephemeral", "--seed", "none"]);
    let head = "Host: x\r\n";
    for bad in [
        "no request\r\n\r\n".to_owned(),
        format!("GET /v1/{} HTTP/1.1\r\n{head}\r\n", "a".repeat(70_000)),
        format!("GET /healthz HTTP/1.1\r\n{head}{}\r\n", "X-Y: z\r\n".repeat(200)),
        format!("POST /v1/login HTTP/1.1\r\n{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{{}}"),
    ] {
        let mut stream = server.connect();
        stream.write_all(bad.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let start: String = bad.chars().take(20).collect();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{start}: {answer}");
        for header in ["application/problem+json", "cache-control: no-store", "nosniff", "strict-transport-security: "]
        {
            assert!(answer.contains(header), "{start}: {answer}");
        }
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], "invalid_request");
        assert!(head.contains(&format!("x-request-id: {}\r\n", body["request_id"].as_str().unwrap())), "{answer}");
    }
    server.stop();
}

#[test]
fn a_bad_seed_names_each_fault_and_writes_nothing() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    let arguments = |file: &str| {
        let data = data.to_str().unwrap().to_owned();
        ["serve", "--port", "0", "--data-dir", &data, "--seed", file].map(str::to_owned)
    };
    let refused = |file: &str| {
        let arguments = arguments(file);
        let said = refusal(&arguments.each_ref().map(String::as_str), "");
        assert!(!data.exists());
        said
    };
    let mut weak = ann();
    (weak["username"], weak["password"], weak["sudo"]) = (json!("ANN"), json!("short"), json!(true));
    let said = refused(&seed(home.path(), &json!([ann(), weak])));
    for fault in [
        "tenants[0].users[1].password: the password is too short",
        "tenants[0].users[1].sudo: is no field of a seed",
        "tenants[0].users[1].username: another user has this name",
        "3 faults",
    ] {
        assert!(said.contains(fault), "{said}");
    }
    assert!(refused(home.path().join("absent.json").to_str().unwrap()).contains("cannot read the seed file"));
    fs::write(home.path().join("seed.json"), "{").unwrap();
    assert!(refused(home.path().join("seed.json").to_str().unwrap()).contains("is not JSON"));
}

#[test]
fn demo_people_are_served_on_loopback_only() {
    let said = refusal(&["serve", "--host", "0.0.0.0", "--port", "0", "--ephemeral"], "");
    assert!(said.contains("0.0.0.0") && said.contains("--seed none"), "{said}");

    // Those of an earlier start are the same people.
    let home = TempDir::new().unwrap();
    let data = home.path().join("data").to_str().unwrap().to_owned();
    Server::start(&["--data-dir", &data]).stop();
    for more in [&[][..], &["--seed", "none"]] {
        let serve = ["serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", &data];
        let said = refusal_in_log(&[&serve[..], more].concat());
        assert!(said.contains("the demo people are in this store") && said.contains("--data-dir"), "{said}");
    }
    // Somebody who has only the name of one is nobody's demo.
    let own = seed(home.path(), &json!([ann()]));
    let data = home.path().join("own").to_str().unwrap().to_owned();
    Server::start(&["--data-dir", &data, "--seed", &own]).stop();
    Server::start(&["--data-dir", &data, "--host", "0.0.0.0"]).stop();
}

#[test]
fn a_browser_gets_a_page_and_a_client_gets_json() {
    let server = Server::start(&["--ephemeral"]);
    let ask = |accept: &str| -> (String, String) {
        let mut stream = server.connect();
        write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n{accept}Connection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
        for header in ["vary: Accept", "cache-control: no-store", "nosniff", "x-request-id: ", "default-src 'none'"] {
            assert!(head.contains(header), "{header}: {head}");
        }
        (head.to_owned(), body.to_owned())
    };
    let (head, page) = ask("Accept: application/xhtml+xml, Text/HTML;q=0.9, */*;q=0.8\r\n");
    assert!(head.contains("content-type: text/html; charset=utf-8"), "{head}");
    let enrol = format!("enrol --tenant acme --username bob --url {}", server.first["url"].as_str().unwrap());
    assert!(
        page.starts_with("<!doctype html>") && page.contains("<h1>Vestibule</h1>") && page.contains(&enrol),
        "{page}"
    );
    assert!(!page.contains("<script") && !page.contains("rye loaves"), "{page}");
    for other in ["", "Accept: */*\r\n", "Accept: application/json\r\n", "Accept: text/htmlx\r\n"] {
        let (head, body) = ask(other);
        assert!(head.contains("content-type: application/json"), "{head}");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["service"], "vestibule");
    }
    server.stop();
}

#[test]
fn bad_flags_are_named() {
    for (arguments, named) in [
        (vec!["serve", "--prot", "1"], "--prot"),
        (vec!["serve", "--port", "70000"], "--port"),
        (vec!["serve", "--host", "example.com"], "--host"),
        (vec!["serve", "--data-dir", "x", "--ephemeral"], "--ephemeral"),
        (vec!["--log", "yaml"], "--log"),
        (vec!["totp", "code"], "--secret"),
        (vec!["fly"], "fly"),
    ] {
        let output = run(&arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains(named), "{arguments:?}");
        assert_eq!(output.stdout, b"");
    }
    assert!(refusal(&["serve", "--ephemeral", "--log-filter", "a=b=c"], "").contains("log filter"));
}

#[test]
fn a_foreign_or_damaged_directory_is_left_as_it_is() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("data");
    let data = path.to_str().unwrap();
    let serve = ["serve", "--port", "0", "--data-dir", data, "--seed", "none"];
    fs::create_dir(&path).unwrap();
    fs::write(path.join("thesis.tex"), "x").unwrap();
    assert!(refusal(&serve, "").contains("holds other files"));
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    fs::remove_file(path.join("thesis.tex")).unwrap();
    Server::start(&["--data-dir", data, "--seed", "none"]).stop();
    let log = path.join("db/db");
    let mut bytes = fs::read(&log).unwrap();
    bytes[..64].fill(0xA5);
    fs::write(&log, &bytes).unwrap();
    let said = refusal(&serve, "");
    assert!(said.contains("damaged") && said.contains("backup"), "{said}");
    assert_eq!(fs::read(&log).unwrap(), bytes);
}

#[test]
fn the_first_administrator_and_operator_are_made_from_the_command_line() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data").to_str().unwrap().to_owned();
    let init =
        ["init", "--data-dir", &data, "--tenant", "acme", "--name", "Acme", "--username", "ann", "--display-name"];
    let init = [&init[..], &["Ann"]].concat();
    assert_eq!(
        refusal(&init, "short\n"),
        "error: the password is too short: it needs at least 8 bytes, and at least 15 characters for a contact; nothing was \
         created: run the command again"
    );
    let bad =
        ["init", "--data-dir", &data, "--tenant", "a b", "--name", "", "--username", " ann", "--display-name", ""];
    let said = refusal(&bad, "a good long password\n");
    for named in ["--tenant: ", "--name: is empty", "--username: has spaces around it", "--display-name: is empty"] {
        assert!(said.contains(named) && !said.contains("users[0]"), "{said}");
    }
    assert!(run(&init, "a good long password\n").status.success());
    assert!(refusal(&init, "a good long password\n").contains("tenant acme is there already"));
    let operator = ["operator", "--data-dir", &data, "--username", "op"];
    assert!(run(&operator, "another good password\n").status.success());
    assert!(refusal(&operator, "another good password\n").contains("there is an operator already"));
    let server = Server::start(&["--data-dir", &data]);
    assert_eq!(server.login("acme", "ann", "a good long password")["status"], "enrolment_required");
    assert_eq!(server.login("support", "op", "another good password")["status"], "enrolment_required");
    assert!(refusal(&operator, "another good password\n").contains(DIRECTORY_IN_USE));
}

#[test]
fn a_sole_administrator_is_reset_and_the_restore_epoch_raised_from_the_command_line() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data").to_str().unwrap().to_owned();
    let init = ["init", "--data-dir", &data, "--tenant", "acme", "--name", "Acme", "--username", "ann"];
    let init = [&init[..], &["--display-name", "Ann"]].concat();
    assert!(run(&init, "a good long password\n").status.success());
    let reset = |username, ticket| {
        let who = ["reset-mfa", "--data-dir", &data, "--tenant", "acme", "--username", username];
        [&who[..], &["--ticket", ticket, "--reason", "lost phone"]].concat()
    };
    let told = |arguments: &[&str]| -> Value {
        let output = run(arguments, "");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert!(refusal(&reset("nobody", "T-1"), "").contains("no such tenant or user"));
    let done = told(&reset("ann", "T-1"));
    assert_eq!((&done["user"]["username"], &done["user"]["mfa"]), (&json!("ann"), &json!("none")));
    assert!(done["reset_code"].as_str().unwrap().len() > 8, "{done}");
    assert!(refusal(&reset("ann", "T-1"), "").contains("the ticket was used before"));
    let raise = ["raise-restore-epoch", "--data-dir", &data, "--reason", "a copy was put back"];
    assert_eq!(told(&raise)["restore_epoch"], 1);
    assert_eq!(told(&raise)["restore_epoch"], 2);

    let server = Server::start(&["--data-dir", &data]);
    let login = server.login("acme", "ann", "a good long password");
    assert_eq!((&login["status"], &login["reset_code_required"]), (&json!("enrolment_required"), &json!(true)));
    assert!(refusal(&reset("ann", "T-2"), "").contains(DIRECTORY_IN_USE));
    assert!(refusal(&raise, "").contains(DIRECTORY_IN_USE));
}

#[test]
fn enrolment_on_the_command_line_is_told_where_mails_would_be() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data").to_str().unwrap().to_owned();
    let server = Server::start(&["--data-dir", &data, "--seed", "demo"]);
    let url = server.first["url"].as_str().unwrap().to_owned();
    let mut enrol = program(&["enrol", "--url", &url, "--tenant", "acme", "--username", "bob"]);
    let mut child = enrol.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "bob bakes 6 rye loaves").unwrap();
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
    assert!(shown.contains('▀') || shown.contains('▄'), "no QR code: {shown}");
    let code = run(&["totp", "code", "--secret", &key], "").stdout;
    input.write_all(&code).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("MFA is on for bob") && rest.contains("Recovery token"), "{rest}");
    assert!(child.wait().unwrap().success());
    assert_eq!(server.login("acme", "bob", "bob bakes 6 rye loaves")["status"], "mfa_required");
    let mail = String::from_utf8(run(&["mail", "--data-dir", &data], "").stdout).unwrap();
    assert!(mail.contains("acme  To bob: An authenticator was enrolled"), "{mail}");
    assert!(mail.contains("A new recovery token was made"), "{mail}");
    assert!(!mail.contains(&key.replace(' ', "")));
    for _ in 0..5 {
        assert_eq!(server.login("acme", "con1", "wrong")["code"], "invalid_credentials");
    }
    let mail = String::from_utf8(run(&["mail", "--data-dir", &data], "").stdout).unwrap();
    assert!(mail.contains("To con1: Five wrong passwords in a row"), "{mail}");
    server.stop();
    Server::start(&["--data-dir", &data]).stop(); // the file of mails is the directory's own
}

#[test]
fn the_log_is_json_and_holds_no_password() {
    let home = TempDir::new().unwrap();
    let log = home.path().join("log");
    let arguments = ["serve", "--port", "0", "--json", "--ephemeral", "--log", "json", "--log-filter", "trace"];
    let mut child = program(&arguments).stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let server = Server { child, stdout, first: serde_json::from_str(&line).unwrap() };
    assert!(line.starts_with("{\"url\":\"http://127.0.0.1:"));
    let answer = server.login("acme", "bob", "bob bakes 6 rye loaves");
    server.stop();
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.lines().count() > 2);
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap()["level"].is_string(), "{line}");
    }
    assert!(log.contains("/v1/login"));
    for secret in ["rye loaves", answer["enrolment"]["token"].as_str().unwrap()] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn the_code_of_a_moment() {
    let key = "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ";
    let at = ["totp", "code", "--at", "2009-02-13T23:31:30Z", "--secret"];
    let output = run(&[&at[..], &[key]].concat(), "");
    assert_eq!(output.stdout, b"005924\n");
    assert_eq!(run(&[&at[..], &["-"]].concat(), key).stdout, b"005924\n");
    assert!(refusal(&["totp", "code", "--secret", "hello!"], "").contains("no base32 key"));
}
