//! Input from the terminal or from a pipe, and command lines to print.

use std::{
    io::{self, IsTerminal, Write},
    process::{Command, Stdio},
};

use tokio::task::spawn_blocking;
use vestibule::secret::SecretText;
use zeroize::Zeroizing;

use crate::{Failure, signals::interruptible};

/// A command line of this program to copy: through Cargo if Cargo started the program, and with arguments quoted for a shell.
pub fn command(arguments: &[&str]) -> String {
    let program = match std::env::var_os("CARGO") {
        Some(_) => "cargo run -q -p local --".to_owned(),
        None => std::env::args().next().map_or_else(|| "vestibule".to_owned(), |name| quoted(&name)),
    };
    arguments.iter().fold(program, |command, argument| format!("{command} {}", quoted(argument)))
}

fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

/// The environment variable that holds a password, for scripts.
pub const PASSWORD_VARIABLE: &str = "VESTIBULE_PASSWORD";

/// Whether to print colors to a stream: it is a terminal, and `NO_COLOR` is not set.
pub fn colors(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints to standard output.
///
/// # Errors
/// Standard output is closed.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Into::into)
}

/// Prints a line to standard error. On a terminal it replaces the line of [`progress`].
pub fn say(text: &str) {
    progress("");
    let _ = writeln!(io::stderr(), "{text}");
}

/// Replaces the current line of a terminal. Prints nothing if standard error is no terminal.
pub fn progress(text: &str) {
    let mut out = io::stderr().lock();
    if out.is_terminal() {
        let _ = write!(out, "\r{:PROGRESS$}\r{text}", "").and_then(|()| out.flush());
    }
}

/// The width of a line of [`progress`].
const PROGRESS: usize = 60;

/// Reads a line from standard input, without the line end. The question goes to standard error.
///
/// # Errors
/// Standard input has ended or cannot be read. Ctrl-C was pressed.
pub async fn line(question: &str) -> Result<Zeroizing<String>, Failure> {
    if io::stdin().is_terminal() {
        progress("");
        let mut out = io::stderr().lock();
        let _ = write!(out, "{question}: ").and_then(|()| out.flush());
    }
    let read = || {
        let mut line = Zeroizing::new(String::new());
        io::stdin().read_line(&mut line).map(|count| (count, line))
    };
    // After a signal, the thread waits for a line until the process ends.
    let (count, mut line) = interruptible(async { Ok(spawn_blocking(read).await??) }).await?;
    if count == 0 {
        return Err(format!("{question}: standard input is empty").into());
    }
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    Ok(line)
}

/// Reads the person's own password from [`PASSWORD_VARIABLE`], otherwise as [`hidden_line`]. A command-line option would be visible
/// to every user of the machine.
///
/// # Errors
/// As [`line`].
pub async fn password(question: &str) -> Result<SecretText, Failure> {
    match std::env::var(PASSWORD_VARIABLE) {
        Ok(password) => Ok(SecretText::new(password)),
        Err(_) => hidden_line(question).await,
    }
}

/// Reads a secret from standard input. A terminal does not echo it.
///
/// # Errors
/// As [`line`].
pub async fn hidden_line(question: &str) -> Result<SecretText, Failure> {
    let hidden = (io::stdin().is_terminal() && stty("-echo")).then(|| Hidden);
    let answer = line(question).await;
    drop(hidden);
    Ok(SecretText::new(std::mem::take(&mut *answer?)))
}

/// The terminal does not echo until this is dropped, also after Ctrl-C.
struct Hidden;

impl Drop for Hidden {
    fn drop(&mut self) {
        stty("echo");
        let _ = writeln!(io::stderr());
    }
}

fn stty(setting: &str) -> bool {
    Command::new("stty").arg(setting).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_quoted() {
        for (argument, expected) in [
            ("my/data-1", "my/data-1"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("my data", "'my data'"),
            ("it's", r"'it'\''s'"),
            ("http://[::1]:1", "'http://[::1]:1'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(argument), expected);
        }
    }
}
