//! The server.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

#[test]
fn audit_retention_sets_the_ttl_of_audit_rows() {
    for days in ["0", "3651", "ninety"] {
        let output = run(&["serve", "--ephemeral", "--audit-retention-days", days], "");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && message.contains("it must be a number of days, 1 to 3650"),
            "{message}"
        );
    }
    for (options, days) in [(&[][..], 90), (&["--audit-retention-days", "7"], 7)] {
        let home = TempDir::new().unwrap();
        let data = home.path().to_str().unwrap();
        let server = Server::start(&[&["--data-dir", data, "--seed", "demo"], options].concat());
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

#[test]
fn server_prints_url_and_demo_seed_in_one_line() {
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
fn restart_keeps_existing_users_and_adds_missing_ones() {
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
    assert_eq!(server.first["seed"], Value::Null, "a store with other users must not get the demo users");
    assert_eq!(server.login("acme", "bob", "ann rides 7 camels")["status"], "enrolment_required");
    assert_eq!(server.login("acme", "amy", "amy folds 4 paper boats")["code"], "invalid_credentials");
}

#[test]
fn second_instance_is_refused_and_the_first_continues() {
    let home = TempDir::new().unwrap();
    let data = home.path().to_str().unwrap();
    let server = Server::start(&["--data-dir", data, "--seed", "none"]);
    assert_eq!(server.first["seed"], Value::Null);
    let message = refusal(&["serve", "--port", "0", "--data-dir", data, "--seed", "none"], "");
    assert!(message.contains(DIRECTORY_IN_USE), "{message}");
    let port = server.first["url"].as_str().unwrap().rsplit_once(':').unwrap().1;
    let message = refusal(&["serve", "--port", port, "--ephemeral"], "");
    assert!(message.contains("another program uses this port") && message.contains("--port"), "{message}");
    assert!(get(&mut server.connect(), "/healthz").contains("\"status\":\"ok\""));
}

#[test]
fn stop_closes_idle_connections_and_answers_requests_in_progress() {
    let server = Server::start(&["--ephemeral"]);
    let mut idle = server.connect();
    get(&mut idle, "/healthz");
    let mut in_progress = server.connect();
    let body = json!({"tenant": "acme", "username": "bob", "password": "bob bakes 6 rye loaves"}).to_string();
    let head = "POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    write!(in_progress, "{head}Content-Length: {}\r\n\r\n{}", body.len(), &body[..20]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.signal("-TERM");
    std::thread::sleep(Duration::from_millis(200));
    write!(in_progress, "{}", &body[20..]).unwrap();
    let mut answer = String::new();
    in_progress.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("enrolment_required"), "{answer}");
    let since = Instant::now();
    assert_eq!(server.wait(), (Some(0), String::new()));
    assert!(since.elapsed() < Duration::from_secs(3), "an idle connection delayed the stop");
}

#[test]
fn silent_connection_does_not_prevent_the_stop() {
    let server = Server::start(&["--ephemeral", "--seed", "none"]);
    let _silent = server.connect();
    std::thread::sleep(Duration::from_millis(100));
    let since = Instant::now();
    server.signal("-INT");
    assert_eq!(server.wait(), (Some(0), String::new()));
    assert!(since.elapsed() < Duration::from_secs(8));
}

/// After a failed write, the memory of the store may be ahead of the disk. So all requests are refused, and `/healthz` reports it.
#[test]
fn failed_write_refuses_all_requests_until_restart() {
    let directory = TempDir::new().unwrap();
    let (data, seed) = (directory.path().join("data"), seed(directory.path(), &json!([ann()])));
    let data = data.to_str().unwrap();
    // A limit of the file size simulates a full disk. The shell ignores the signal that would end the process.
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
fn malformed_request_is_answered_with_a_problem() {
    let server = Server::start(&["--ephemeral", "--seed", "none"]);
    let head = "Host: x\r\n";
    for malformed in [
        "no request\r\n\r\n".to_owned(),
        format!("GET /v1/{} HTTP/1.1\r\n{head}\r\n", "a".repeat(70_000)),
        format!("GET /healthz HTTP/1.1\r\n{head}{}\r\n", "X-Y: z\r\n".repeat(200)),
        format!("POST /v1/login HTTP/1.1\r\n{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{{}}"),
    ] {
        let mut stream = server.connect();
        stream.write_all(malformed.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let start: String = malformed.chars().take(20).collect();
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
fn invalid_seed_reports_each_fault_and_writes_nothing() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    let arguments = |file: &str| {
        let data = data.to_str().unwrap().to_owned();
        ["serve", "--port", "0", "--data-dir", &data, "--seed", file].map(str::to_owned)
    };
    let refused = |file: &str| {
        let arguments = arguments(file);
        let message = refusal(&arguments.each_ref().map(String::as_str), "");
        assert!(!data.exists());
        message
    };
    let mut weak = ann();
    (weak["username"], weak["password"], weak["sudo"]) = (json!("ANN"), json!("short"), json!(true));
    let message = refused(&seed(home.path(), &json!([ann(), weak])));
    for fault in [
        "tenants[0].users[1].password: the password is too short",
        "tenants[0].users[1].sudo: is not a field of a seed",
        "tenants[0].users[1].username: another user has this name",
        "3 faults",
    ] {
        assert!(message.contains(fault), "{message}");
    }
    assert!(refused(home.path().join("absent.json").to_str().unwrap()).contains("cannot read the seed file"));
    fs::write(home.path().join("seed.json"), "{").unwrap();
    assert!(refused(home.path().join("seed.json").to_str().unwrap()).contains("is not JSON"));
}

#[test]
fn demo_users_are_served_on_loopback_only() {
    let message = refusal(&["serve", "--host", "0.0.0.0", "--port", "0", "--ephemeral"], "");
    assert!(message.contains("0.0.0.0") && message.contains("--seed none"), "{message}");

    // The demo users of an earlier start count too.
    let home = TempDir::new().unwrap();
    let data = home.path().join("data").to_str().unwrap().to_owned();
    Server::start(&["--data-dir", &data]).stop();
    for more in [&[][..], &["--seed", "none"]] {
        let serve = ["serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", &data];
        let message = refusal_in_log(&[&serve[..], more].concat());
        assert!(message.contains("the store holds demo users") && message.contains("--data-dir"), "{message}");
    }
    // A user who only has the name of a demo user is not a demo user.
    let own = seed(home.path(), &json!([ann()]));
    let data = home.path().join("own").to_str().unwrap().to_owned();
    Server::start(&["--data-dir", &data, "--seed", &own]).stop();
    Server::start(&["--data-dir", &data, "--host", "0.0.0.0"]).stop();
}

/// A person who sees a mail can use its link.
#[test]
fn mails_are_shown_on_loopback_only() {
    let home = TempDir::new().unwrap();
    let own = seed(home.path(), &json!([ann()]));
    for (host, status) in [("127.0.0.1", "HTTP/1.1 200 "), ("0.0.0.0", "HTTP/1.1 404 ")] {
        let server = Server::start(&["--ephemeral", "--seed", &own, "--host", host]);
        let (mut stream, mut answer) = (server.connect(), String::new());
        stream.write_all(b"GET /mails HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(status), "{host}: {answer}");
        server.stop();
    }
}

#[test]
fn browser_goes_to_its_pages_and_other_clients_get_json() {
    let server = Server::start(&["--ephemeral"]);
    let ask = |path: &str, accept: &str| -> (String, String) {
        let mut stream = server.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{accept}Connection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        for header in ["cache-control: no-store", "nosniff", "x-request-id: "] {
            assert!(head.contains(header), "{header}: {head}");
        }
        (head.to_owned(), body.to_owned())
    };
    let browser = "Accept: application/xhtml+xml, Text/HTML;q=0.9, */*;q=0.8\r\n";
    let (head, _) = ask("/", browser);
    assert!(head.starts_with("HTTP/1.1 303 ") && head.contains("location: /settings/security"), "{head}");
    let (head, page) = ask("/login", browser);
    assert!(head.contains("content-type: text/html; charset=utf-8") && head.contains("default-src 'none'"), "{head}");
    assert!(page.starts_with("<!doctype html>") && page.contains("<h1>Sign in</h1>"), "{page}");
    for other in ["", "Accept: */*\r\n", "Accept: application/json\r\n", "Accept: text/htmlx\r\n"] {
        let (head, body) = ask("/", other);
        assert!(head.contains("content-type: application/json") && head.contains("vary: accept"), "{other}{head}");
        assert!(body.contains(r#""service":"vestibule""#), "{body}");
    }
}

#[test]
fn foreign_or_damaged_directory_is_refused_and_unchanged() {
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
    let message = refusal(&serve, "");
    assert!(message.contains("damaged") && message.contains("backup"), "{message}");
    assert_eq!(fs::read(&log).unwrap(), bytes);
}

#[test]
fn json_log_holds_no_password_or_token() {
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
