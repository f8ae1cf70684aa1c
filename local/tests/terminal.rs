//! Every command in a pseudo-terminal, with and without colors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pty;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use local::totp;
use pty::{CTRL_C, Colors, ESCAPE, Terminal, check};
use pty_process::blocking::Command;
use tempfile::TempDir;
use vestibule::env::{Clock, SystemClock, Timestamp};

/// The commands to try that a server prints, in order.
fn printed_commands(text: &str) -> Vec<String> {
    let (_, attempts) = text.split_once("\nOr try it").unwrap_or_else(|| panic!("no commands to try: {text}"));
    let lines = attempts.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .take_while(|line| line.starts_with('\'') || line.starts_with('/') || line.starts_with("curl "))
        .map(str::to_owned)
        .collect()
}

/// Sends the request of a command line `curl -s [-H "HEADER"] URL`, so that the test needs no curl.
fn curl(command: &str, token: &str) -> String {
    let command = command.strip_prefix("curl -s ").unwrap_or_else(|| panic!("{command}"));
    let (header, url) = match command.strip_prefix("-H \"").and_then(|rest| rest.split_once("\" ")) {
        Some((header, url)) => (format!("{}\r\n", header.replace("$TOKEN", token)), url),
        None => (String::new(), command),
    };
    let (authority, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(authority).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {authority}\r\n{header}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The current time plus a number of TOTP steps.
fn at(steps: i64) -> Timestamp {
    Timestamp::from_secs(SystemClock.now().secs() + 30 * steps)
}

#[test]
fn server_starts_and_ctrl_c_stops_it() {
    for colors in [Colors::Yes, Colors::No] {
        let mut terminal = Terminal::run(colors, &["--ephemeral", "--port", "0"]);
        terminal.wait_for("/healthz");
        terminal.press(CTRL_C);
        let (text, status) = terminal.end();
        assert_eq!(status, Some(0), "{text}");
        check(&text, colors);
        assert!(text.contains("Vestibule serves at http://127.0.0.1:") && text.contains("stopped"), "{text}");
        assert_eq!(text.contains(ESCAPE), colors == Colors::Yes, "{text}");
    }
}

/// A first sign-in with MFA, by the commands that the server prints. The name of the data directory has a space.
#[test]
fn printed_commands_work_as_printed() {
    for colors in [Colors::Yes, Colors::No] {
        let home = TempDir::new().unwrap();
        let data = home.path().join("my data").to_str().unwrap().to_owned();
        let serve = ["serve", "--port", "0", "--data-dir", &data];
        let mut server = Terminal::run(colors, &serve);
        server.wait_for("/healthz");
        let commands = printed_commands(&server.text());
        let [enrol, app, login, app_again, mail, health] = &commands[..] else { panic!("{commands:#?}") };
        assert_eq!(app, app_again);

        let key = enrol_bob(colors, enrol, app, login);
        sign_in_bob(colors, login, &key);
        let (text, status) = Terminal::shell(colors, mail).end();
        check(&text, colors);
        assert!(status == Some(0) && text.contains("To bob: An authenticator was enrolled"), "{text}");
        assert!(curl(health, "").contains("{\"status\":\"ok\"}"));

        server.press(CTRL_C);
        assert_eq!(server.end().1, Some(0));
        // The next start has the same users.
        let mut server = Terminal::run(colors, &serve);
        server.wait_for("/healthz");
        let text = server.text();
        assert!(text.contains("bob bakes 6 rye loaves") && !text.contains("No demo users"), "{text}");
        assert_eq!(printed_commands(&text).len(), commands.len());
    }
}

/// Enrols bob with the printed commands. Returns the key.
fn enrol_bob(colors: Colors, enrol: &str, app: &str, login: &str) -> String {
    let mut terminal = Terminal::shell(colors, enrol);
    terminal.wait_for("Password: ");
    terminal.press("bob bakes 6 rye loaves\r");
    terminal.wait_for("No phone?");
    let before = terminal.text();
    let mut groups = before.lines().map(str::trim).filter(|line| line.len() == 39 && line.split(' ').count() == 8);
    let key = groups.next().unwrap_or_else(|| panic!("no key: {before}")).to_owned();
    terminal.wait_for("Code in the app: ");
    let after = terminal.text();
    let own = after.lines().find(|line| line.contains(" totp code --secret ")).unwrap().trim().to_owned();
    assert!(own.chars().count() < 160 && !own.contains('…'), "{own}");

    // The command that acts as the app, once as the server prints it and once as `enrol` does.
    let mut played = Terminal::shell(colors, app);
    played.wait_for("Secret key: ");
    played.press(&format!("{key}\r"));
    let (text, status) = played.end();
    check(&text, colors);
    assert_eq!(status, Some(0), "{text}");
    let (code, status) = Terminal::shell(colors, &own).end();
    assert_eq!(status, Some(0), "{code}");

    terminal.press("12345\r");
    terminal.wait_for("a code has 6 digits");
    terminal.press(&format!("{}\r", code.trim()));
    let (text, status) = terminal.end();
    check(&text, colors);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("MFA is on for bob") && text.contains(login), "{text}");
    assert!(!text.contains("rye loaves"), "a password was shown: {text}");
    assert_eq!(text.contains(ESCAPE), colors == Colors::Yes, "{text}");
    key
}

/// Signs bob in with the printed command, after an expired code. Then reads the session with the printed request.
fn sign_in_bob(colors: Colors, login: &str, key: &str) {
    let home = TempDir::new().unwrap();
    let state = |line: &str| Command::new("sh").args(["-c", line]).env("XDG_STATE_HOME", home.path());
    let mut terminal = Terminal::spawn(colors, state(login));
    terminal.wait_for("Password: ");
    terminal.press("bob bakes 6 rye loaves\r");
    terminal.wait_for("Code, or recovery token: ");
    // An expired code.
    terminal.press(&format!("{}\r", totp::code(key, at(-3)).unwrap()));
    terminal.wait_for("Each code works once: wait for the next one.");
    terminal.wait_for("Code, or recovery token: ");
    terminal.press(&format!("{}\r", totp::code(key, at(1)).unwrap()));
    let (text, status) = terminal.end();
    check(&text, colors);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("Signed in: bob (Bob Employee), by pwd and otp, until "), "{text}");
    let whoami = text.lines().map(str::trim).find(|line| line.ends_with(" whoami")).unwrap();
    let (shown, status) = Terminal::spawn(colors, state(whoami)).end();
    assert!(status == Some(0) && shown.contains("username\tbob\n"), "{shown}");
    let kept = fs::read_to_string(home.path().join("vestibule/session.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    let request = format!("curl -s -H \"Authorization: Bearer $TOKEN\" {}/v1/session", kept["url"].as_str().unwrap());
    assert!(curl(&request, kept["token"].as_str().unwrap()).contains("\"username\":\"bob\""));
    assert!(!text.contains(kept["token"].as_str().unwrap()), "the token was shown: {text}");
}

/// The printed commands create the first users of an empty store, serve it, and enrol.
#[test]
fn first_users_are_created_by_the_printed_commands() {
    for colors in [Colors::Yes, Colors::No] {
        let home = TempDir::new().unwrap();
        let data = home.path().join("data").to_str().unwrap().to_owned();
        let mut server = Terminal::run(colors, &["serve", "--port", "0", "--seed", "none", "--data-dir", &data]);
        server.wait_for("No demo users.");
        server.wait_for("--username op");
        let text = server.text();
        server.press(CTRL_C);
        assert_eq!(server.end().1, Some(0));
        let command = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().trim().to_owned();
        let (init, operator) = (command(" init "), command(" operator "));

        let refused = run_with_password(colors, &init, "seven77", 1);
        assert!(refused.contains("error: the password is too short: it needs at least 8 bytes"), "{refused}");
        let created = run_with_password(colors, &init, "a good long password", 0);
        let next = created.lines().find(|line| line.contains(" serve --data-dir ")).unwrap().trim();
        assert!(run_with_password(colors, &operator, "another good password", 0).contains(next));
        let mut server = Terminal::shell(colors, &format!("exec {next} --port 0"));
        server.wait_for("No demo users.");
        // The server uses another port than the printed default, so that tests can run in parallel.
        let served = server.text();
        let url = served.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        let enrol = created.lines().find(|line| line.contains(" enroll --tenant ")).unwrap().trim();
        let mut enrolment = Terminal::shell(colors, &format!("{enrol} --url {url}"));
        enrolment.wait_for("Password: ");
        enrolment.press("a good long password\r");
        enrolment.wait_for("Code in the app: ");
        drop(enrolment);
        server.press(CTRL_C);
        let (text, status) = server.end();
        check(&text, colors);
        assert_eq!(status, Some(0), "{text}");
    }
}

/// Runs a command that asks for a password. Returns the screen.
fn run_with_password(colors: Colors, command: &str, password: &str, expected_status: i32) -> String {
    let mut terminal = Terminal::shell(colors, command);
    terminal.wait_for(": ");
    terminal.press(&format!("{password}\r"));
    let (text, status) = terminal.end();
    check(&text, colors);
    assert_eq!(status, Some(expected_status), "{text}");
    assert!(!text.contains(password), "a password was shown: {text}");
    text
}

#[test]
fn commands_of_operators_and_the_idp_run_in_a_terminal() {
    for colors in [Colors::Yes, Colors::No] {
        let home = TempDir::new().unwrap();
        let data = home.path().join("data").to_str().unwrap().to_owned();
        let init = ["init", "--data-dir", &data, "--tenant", "acme", "--name", "Acme", "--username", "ann"];
        let mut terminal = Terminal::run(colors, &[&init[..], &["--display-name", "Ann"]].concat());
        terminal.wait_for("Password for the Administrator: ");
        terminal.press("a good long password\r");
        assert_eq!(terminal.end().1, Some(0));
        let reset = ["reset-mfa", "--data-dir", &data, "--tenant", "acme", "--username", "ann", "--ticket", "T-1"];
        for (arguments, expected) in [
            ([&reset[..], &["--reason", "lost phone"]].concat(), "reset_code\t"),
            (vec!["raise-restore-epoch", "--data-dir", &data, "--reason", "a copy"], "restore_epoch\t1"),
            (vec!["mail", "--data-dir", &data], "To ann"),
            (vec!["--help"], "Commands:"),
            (vec!["--version"], "local "),
        ] {
            let (text, status) = Terminal::run(colors, &arguments).end();
            check(&text, Colors::No);
            assert!(status == Some(0) && text.contains(expected), "{arguments:?}: {text}");
        }
        let (text, status) = Terminal::run(colors, &["fly"]).end();
        check(&text, Colors::No);
        assert!(status == Some(2) && text.contains("fly"), "{text}");

        let mut idp = Terminal::run(colors, &["idp", "--port", "0"]);
        idp.wait_for("Development IdP at http://127.0.0.1:");
        idp.wait_for("/login");
        idp.press(CTRL_C);
        let (text, status) = idp.end();
        check(&text, colors);
        assert_eq!(status, Some(0), "{text}");
    }
}
