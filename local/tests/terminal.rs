//! Every command as somebody at a terminal sees it: with colors and without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Child,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use local::totp;
use pty_process::{
    Size,
    blocking::{Command, Pty, open},
};
use tempfile::TempDir;
use vestibule::env::{Clock, SystemClock, Timestamp};

/// How long a step may take; the machine may have other work.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a color begins.
const ESCAPE: char = '\u{1b}';

const CTRL_C: &str = "\u{3}";

/// Whether the terminal's owner wants colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colors {
    Yes,
    No,
}

/// A terminal of 80 columns in which a command runs.
struct Terminal {
    child: Child,
    keyboard: Arc<Pty>,
    screen: Receiver<Vec<u8>>,
    /// All that was on the screen.
    said: Vec<u8>,
    /// How much of it was waited for already.
    seen: usize,
}

impl Terminal {
    fn run(colors: Colors, arguments: &[&str]) -> Self {
        Self::spawn(colors, Command::new(env!("CARGO_BIN_EXE_local")).args(arguments))
    }

    /// A command line, as somebody types it or pastes it.
    fn shell(colors: Colors, line: &str) -> Self {
        Self::spawn(colors, Command::new("sh").args(["-c", line]))
    }

    fn spawn(colors: Colors, mut command: Command) -> Self {
        // Without Cargo the program prints commands with its own path.
        for variable in ["CARGO", "VESTIBULE_LOG", "VESTIBULE_PASSWORD", "NO_COLOR"] {
            command = command.env_remove(variable);
        }
        if colors == Colors::No {
            command = command.env("NO_COLOR", "1");
        }
        let (pty, terminal) = open().unwrap();
        pty.resize(Size::new(24, 80)).unwrap();
        let child = command.spawn(terminal).unwrap();
        let pty = Arc::new(pty);
        let (keyboard, (sender, screen)) = (Arc::clone(&pty), channel());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Linux says that the program is gone by an error.
            while let Ok(count @ 1..) = (&*pty).read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keyboard, screen, said: Vec::new(), seen: 0 }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.said).replace("\r\n", "\n")
    }

    /// Waits for a text on the screen, after whatever was waited for before.
    fn wait_for(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let new = &self.said[self.seen..];
            if let Some(at) = new.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.seen += at + text.len();
                return;
            }
            match self.screen.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(more) => self.said.extend(more),
                Err(error) => panic!("no {text:?} ({error}): {}", self.text()),
            }
        }
    }

    fn press(&self, keys: &str) {
        (&*self.keyboard).write_all(keys.as_bytes()).unwrap();
    }

    /// All that was on the screen until the command ended, and with which status it did.
    fn end(mut self) -> (String, Option<i32>) {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.screen.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(more) => self.said.extend(more),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {}", self.text()),
            }
        }
        (self.text(), self.child.wait().unwrap().code())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is never right on a screen, whatever the colors; and escapes only where colors are wanted.
fn check(text: &str, colors: Colors) {
    assert!(!text.contains("panicked") && !text.contains("tracing-subscriber"), "{text}");
    assert!(colors == Colors::Yes || !text.contains(ESCAPE), "{text}");
}

/// The commands that a server prints to try, in their order.
fn printed(text: &str) -> Vec<String> {
    let (_, attempts) = text.split_once("\nTry it").unwrap_or_else(|| panic!("nothing to try: {text}"));
    let lines = attempts.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .take_while(|line| line.starts_with('\'') || line.starts_with('/') || line.starts_with("curl "))
        .map(str::to_owned)
        .collect()
}

/// Does what curl does with such a command line: `curl -s [-H "HEADER"] URL`. So the test needs no curl.
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

fn at(steps: i64) -> Timestamp {
    Timestamp::from_secs(SystemClock.now().secs() + 30 * steps)
}

#[test]
fn the_first_command_serves_and_ctrl_c_stops_it() {
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

/// Each command that the server prints, as it is printed: a first sign-in with MFA, in a directory whose name has a space.
#[test]
fn what_is_printed_to_try_works_as_printed() {
    for colors in [Colors::Yes, Colors::No] {
        let home = TempDir::new().unwrap();
        let data = home.path().join("my data").to_str().unwrap().to_owned();
        let serve = ["serve", "--port", "0", "--data-dir", &data];
        let mut server = Terminal::run(colors, &serve);
        server.wait_for("/healthz");
        let commands = printed(&server.text());
        let [enrol, app, login, again, mail, health] = &commands[..] else { panic!("{commands:#?}") };
        assert_eq!(app, again);

        let key = enrols(colors, enrol, app, login);
        signs_in(colors, login, &key);
        let (text, status) = Terminal::shell(colors, mail).end();
        check(&text, colors);
        assert!(status == Some(0) && text.contains("To bob: An authenticator was enrolled"), "{text}");
        assert!(curl(health, "").contains("{\"status\":\"ok\"}"));

        server.press(CTRL_C);
        assert_eq!(server.end().1, Some(0));
        // The people of the first start are there at the next one.
        let mut server = Terminal::run(colors, &serve);
        server.wait_for("/healthz");
        let text = server.text();
        assert!(text.contains("bob bakes 6 rye loaves") && !text.contains("No demo users"), "{text}");
        assert_eq!(printed(&text).len(), commands.len());
    }
}

/// Enrols bob by the command; the key.
fn enrols(colors: Colors, enrol: &str, app: &str, login: &str) -> String {
    let mut terminal = Terminal::shell(colors, enrol);
    terminal.wait_for("Password: ");
    terminal.press("bob bakes 6 rye loaves\r");
    terminal.wait_for("No phone at hand?");
    let before = terminal.text();
    let mut groups = before.lines().map(str::trim).filter(|line| line.len() == 39 && line.split(' ').count() == 8);
    let key = groups.next().unwrap_or_else(|| panic!("no key: {before}")).to_owned();
    terminal.wait_for("Code it shows: ");
    let after = terminal.text();
    let own = after.lines().find(|line| line.contains(" totp code --secret ")).unwrap().trim().to_owned();
    assert!(own.chars().count() < 160 && !own.contains('…'), "{own}");

    // The app, once as the server prints it and once as `enrol` does.
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

/// Signs bob in by the command, who first types a code that was used; and asks with the token who he is.
fn signs_in(colors: Colors, login: &str, key: &str) {
    let mut terminal = Terminal::shell(colors, login);
    terminal.wait_for("Password: ");
    terminal.press("bob bakes 6 rye loaves\r");
    terminal.wait_for("Code, or recovery token: ");
    // One that is over.
    terminal.press(&format!("{}\r", totp::code(key, at(-3)).unwrap()));
    terminal.wait_for("Each code works once: wait for the next one.");
    terminal.wait_for("Code, or recovery token: ");
    terminal.press(&format!("{}\r", totp::code(key, at(1)).unwrap()));
    let (text, status) = terminal.end();
    check(&text, colors);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("Signed in: bob (Bob Employee), by pwd and otp, until "), "{text}");
    let token = text.lines().find_map(|line| line.trim().strip_prefix("TOKEN=")).unwrap();
    let ask = text.lines().map(str::trim).find(|line| line.starts_with("curl ")).unwrap();
    assert!(curl(ask, token).contains("\"username\":\"bob\""));
}

/// The people of an empty store are created by what the server prints; then what their store is for is served.
#[test]
fn first_people_are_created_as_printed() {
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

        let refused = types_password(colors, &init, "seven77", 1);
        assert!(refused.contains("error: the password is too short: it needs at least 8 bytes"), "{refused}");
        let created = types_password(colors, &init, "a good long password", 0);
        let next = created.lines().find(|line| line.contains(" serve --data-dir ")).unwrap().trim();
        assert!(types_password(colors, &operator, "another good password", 0).contains(next));
        let mut server = Terminal::shell(colors, &format!("exec {next} --port 0"));
        server.wait_for("No demo users.");
        // The server is at another port than the default of the command, so that tests can run beside one another.
        let served = server.text();
        let url = served.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        let enrol = created.lines().find(|line| line.contains(" enrol --tenant ")).unwrap().trim();
        let mut enrolment = Terminal::shell(colors, &format!("{enrol} --url {url}"));
        enrolment.wait_for("Password: ");
        enrolment.press("a good long password\r");
        enrolment.wait_for("Code it shows: ");
        drop(enrolment);
        server.press(CTRL_C);
        let (text, status) = server.end();
        check(&text, colors);
        assert_eq!(status, Some(0), "{text}");
    }
}

fn types_password(colors: Colors, command: &str, password: &str, wanted: i32) -> String {
    let mut terminal = Terminal::shell(colors, command);
    terminal.wait_for(": ");
    terminal.press(&format!("{password}\r"));
    let (text, status) = terminal.end();
    check(&text, colors);
    assert_eq!(status, Some(wanted), "{text}");
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
        for (arguments, said) in [
            ([&reset[..], &["--reason", "lost phone"]].concat(), "\"reset_code\""),
            (vec!["raise-restore-epoch", "--data-dir", &data, "--reason", "a copy"], "\"restore_epoch\": 1"),
            (vec!["mail", "--data-dir", &data], "To ann"),
            (vec!["--help"], "Commands:"),
            (vec!["--version"], "local "),
        ] {
            let (text, status) = Terminal::run(colors, &arguments).end();
            check(&text, Colors::No);
            assert!(status == Some(0) && text.contains(said), "{arguments:?}: {text}");
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
