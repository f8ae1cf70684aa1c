//! A pseudo-terminal in which a command runs.
#![allow(dead_code, reason = "each test uses a part")]

use std::{
    io::{Read, Write},
    process::Child,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use pty_process::{
    Size,
    blocking::{Command, Pty, open},
};

/// How long a step may take. The limit is long, because the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The first character of a color sequence.
pub const ESCAPE: char = '\u{1b}';

/// What the keyboard sends for Ctrl-C.
pub const CTRL_C: &str = "\u{3}";

/// Whether colors are enabled (`NO_COLOR` is not set).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colors {
    /// They are.
    Yes,
    /// They are not.
    No,
}

/// A terminal of 80 columns in which a command runs.
pub struct Terminal {
    child: Child,
    keyboard: Arc<Pty>,
    screen: Receiver<Vec<u8>>,
    /// Everything that was on the screen.
    output: Vec<u8>,
    /// How much of the output [`Self::wait_for`] has consumed.
    consumed: usize,
}

impl Terminal {
    /// Runs the program.
    pub fn run(colors: Colors, arguments: &[&str]) -> Self {
        Self::spawn(colors, Command::new(env!("CARGO_BIN_EXE_local")).args(arguments))
    }

    /// Runs a command line in a shell.
    pub fn shell(colors: Colors, line: &str) -> Self {
        Self::spawn(colors, Command::new("sh").args(["-c", line]))
    }

    /// Runs a command.
    pub fn spawn(colors: Colors, mut command: Command) -> Self {
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
            // On Linux, the end of the program is an error of `read`.
            while let Ok(count @ 1..) = (&*pty).read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keyboard, screen, output: Vec::new(), consumed: 0 }
    }

    /// Everything that was on the screen.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).replace("\r\n", "\n")
    }

    /// Waits for a text on the screen, after the text of the previous wait.
    pub fn wait_for(&mut self, text: &str) {
        let until = Instant::now() + TIMEOUT;
        loop {
            let new = &self.output[self.consumed..];
            if let Some(at) = new.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.consumed += at + text.len();
                return;
            }
            match self.screen.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(more) => self.output.extend(more),
                Err(error) => panic!("no {text:?} ({error}): {}", self.text()),
            }
        }
    }

    /// Types.
    pub fn press(&self, keys: &str) {
        (&*self.keyboard).write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end of the command. Returns everything that was on the screen, and the exit status.
    pub fn end(mut self) -> (String, Option<i32>) {
        let until = Instant::now() + TIMEOUT;
        loop {
            match self.screen.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(more) => self.output.extend(more),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the command does not end: {}", self.text()),
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

/// Checks that the text has no panic, and no color sequence if colors are disabled.
pub fn check(text: &str, colors: Colors) {
    assert!(!text.contains("panicked") && !text.contains("tracing-subscriber"), "{text}");
    assert!(colors == Colors::Yes || !text.contains(ESCAPE), "{text}");
}
