//! A minimal blocking HTTP/1.1, for servers whose time is measured. Each message is written at once: in pieces, each answer
//! would wait 40 ms for a delayed acknowledgement.

use std::io::{self, BufRead, Read, Write};

/// A request or an answer: the head as received, and the body.
pub struct Message {
    /// First line and headers, with line ends and the empty line. Its length is that of the body.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// Reads the next message; `None` at the end of the connection.
    ///
    /// # Errors
    /// The connection fails, or a chunk has no size.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = String::new();
        loop {
            let begun = head.len();
            if from.read_line(&mut head)? == 0 {
                return Ok(None);
            }
            if head[begun..].trim_end().is_empty() {
                break;
            }
        }
        let mut message = Self { head, body: Vec::new() };
        let length = message.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0_u64);
        if message.header("transfer-encoding").is_some() {
            message.chunks(from)?;
            message.set("transfer-encoding", None);
            message.set("content-length", Some(&message.body.len().to_string()));
        } else {
            from.take(length).read_to_end(&mut message.body)?;
        }
        Ok(Some(message))
    }

    fn chunks(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            from.take(size).read_to_end(&mut self.body)?;
            from.read_line(&mut String::new())?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Replaces or removes a header.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let other = |line: &&str| !line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        let mut lines: Vec<_> = self.head.trim_end().lines().filter(other).map(str::to_owned).collect();
        lines.extend(value.map(|value| format!("{name}: {value}")));
        self.head = lines.join("\r\n") + "\r\n\r\n";
    }

    /// Method and path of a request.
    #[must_use]
    pub fn target(&self) -> (&str, &str) {
        let mut words = self.head.split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    /// Writes the message.
    ///
    /// # Errors
    /// The connection fails.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&[self.head.as_bytes(), &self.body].concat())?;
        to.flush()
    }
}

/// An answer with this status. `headers` contains whole lines with line ends.
pub fn answer(status: u16, headers: &str, body: impl Into<Vec<u8>>) -> Message {
    let body = body.into();
    Message { head: format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n{headers}\r\n", body.len()), body }
}
