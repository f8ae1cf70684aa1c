//! Input from the terminal or from a pipe, and command lines to print.

use std::{
    io::{self, IsTerminal, Write},
    process::{Command, Stdio},
};

use vestibule::secret::SecretText;
use zeroize::Zeroizing;

use crate::Failure;

/// A command line of this program to copy: through Cargo if Cargo started the program, and with arguments quoted for a shell.
pub fn command(arguments: &[&str]) -> String {
    let program = match std::env::var_os("CARGO") {
        Some(_) => "cargo run -q -p local --".to_owned(),
        None => std::env::args().next().map_or_else(|| "local".to_owned(), |name| quoted(&name)),
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

/// Reads a line from standard input, without the line end. The question goes to standard error.
///
/// # Errors
/// Standard input has ended or cannot be read.
pub fn line(question: &str) -> Result<Zeroizing<String>, Failure> {
    if io::stdin().is_terminal() {
        let mut out = io::stderr().lock();
        let _ = write!(out, "{question}: ").and_then(|()| out.flush());
    }
    let mut line = Zeroizing::new(String::new());
    if io::stdin().read_line(&mut line)? == 0 {
        return Err(format!("{question}: standard input is empty").into());
    }
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    Ok(line)
}

/// Reads a password from [`PASSWORD_VARIABLE`], otherwise from standard input; a terminal does not echo it. A command-line option
/// would be visible to every user of the machine.
///
/// # Errors
/// As [`line`].
pub fn password(question: &str) -> Result<SecretText, Failure> {
    if let Ok(password) = std::env::var(PASSWORD_VARIABLE) {
        return Ok(SecretText::new(password));
    }
    let hidden = io::stdin().is_terminal() && stty("-echo");
    let answer = line(question);
    if hidden {
        stty("echo");
        let _ = writeln!(io::stderr());
    }
    Ok(SecretText::new(std::mem::take(&mut *answer?)))
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
