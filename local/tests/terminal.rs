//! Every command as somebody at a terminal sees it: with colors and without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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

/// How long a step may take; the machine may have other work.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a color begins.
const ESCAPE: char = '\u{1b}';

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
        let mut command = Command::new(env!("CARGO_BIN_EXE_local")).args(arguments);
        for variable in ["VESTIBULE_LOG", "VESTIBULE_PASSWORD", "NO_COLOR"] {
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

#[test]
fn the_first_command_serves_and_ctrl_c_stops_it() {
    for colors in [Colors::Yes, Colors::No] {
        let mut terminal = Terminal::run(colors, &["--ephemeral", "--port", "0"]);
        terminal.wait_for("/healthz");
        terminal.press("\u{3}");
        let (text, status) = terminal.end();
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains("Vestibule serves at http://127.0.0.1:") && text.contains("stopped"), "{text}");
        assert!(!text.contains("panicked") && !text.contains("tracing-subscriber"), "{text}");
        assert_eq!(text.contains(ESCAPE), colors == Colors::Yes, "{text}");
    }
}
