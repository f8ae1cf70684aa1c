//! The write-ahead log: a file of what was written since sled was flushed.
//!
//! A flush of sled wakes the threads of its pool, which interrupts the threads that hash passwords (ADR 20). So the writer appends
//! what a group of transactions changes to this file and syncs it, before it changes sled. sled is flushed at a checkpoint only:
//! when the log is long, when it is closed, and when it is opened after a crash. Then the log is emptied.
//!
//! Each record is a line: a checksum, a space, and the [`Changes`] as JSON. A record has values, not operations, so it may be
//! applied again. Behind the last record are NULs: a sync of a file that does not grow is faster.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use super::{Changes, SLED_FILE, Trees};

/// The name of the file in sled's directory.
pub(crate) const FILE: &str = "write-ahead.log";

/// By how many bytes the file grows.
const STEP: usize = 1024 * 1024;
/// The length in bytes at which a checkpoint is due. It bounds the time of a start after a crash.
const CHECKPOINT: u64 = 8 * 1024 * 1024;

/// The length of a record's checksum: the CRC-32 in hexadecimal.
const CHECKSUM: usize = 8;

/// An open log.
pub(super) struct WriteAheadLog {
    file: File,
    sled: File,
    /// Where the next record goes.
    end: u64,
    /// The length of the file.
    length: u64,
}

impl WriteAheadLog {
    /// Opens the log in sled's directory, or creates it, and applies its records to the trees.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`]: a record is damaged. The last one may be incomplete: it was not answered. Otherwise an error
    /// of the file or of sled.
    pub(super) fn open(directory: &Path, trees: &Trees) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(directory.join(FILE))?;
        let sled = File::open(directory.join(SLED_FILE))?;
        let mut log = Self { file, sled, end: 0, length: 0 };
        let mut content = Vec::new();
        log.file.read_to_end(&mut content)?;
        for changes in records(&content)? {
            trees.apply(changes)?;
        }
        if !content.is_empty() {
            log.checkpoint(trees)?;
        }
        Ok(log)
    }

    /// Appends a record. It is on disk when this returns.
    ///
    /// # Errors
    /// The disk is full or broken. Whether the record is on disk is then unknown.
    pub(super) fn append(&mut self, changes: &Changes) -> io::Result<()> {
        let mut bytes = record(changes)?;
        let end = self.end + bytes.len() as u64;
        if end > self.length {
            bytes.resize(bytes.len() + STEP, 0);
        }
        self.file.write_all_at(&bytes, self.end)?;
        self.file.sync_data()?;
        self.length = self.length.max(self.end + bytes.len() as u64);
        self.end = end;
        Ok(())
    }

    /// Makes a checkpoint if the log is long.
    ///
    /// # Errors
    /// As [`WriteAheadLog::checkpoint`].
    pub(super) fn checkpoint_if_long(&mut self, trees: &Trees) -> io::Result<()> {
        if self.end < CHECKPOINT { Ok(()) } else { self.checkpoint(trees) }
    }

    /// Flushes sled, then empties the log.
    ///
    /// # Errors
    /// An error of the file or of sled. The log keeps its records.
    pub(super) fn checkpoint(&mut self, trees: &Trees) -> io::Result<()> {
        trees.main.flush()?; // flushes the whole database
        self.sled.sync_all()?; // sled leaves this to the system
        self.file.set_len(0)?;
        (self.end, self.length) = (0, 0);
        Ok(())
    }
}

fn record(changes: &Changes) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(changes)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes())
}

/// The records of a log. An interrupted write can have damaged only the last one.
fn records(content: &[u8]) -> io::Result<Vec<Changes>> {
    let mut records = Vec::new();
    let mut lines = content.split_inclusive(|byte| *byte == b'\n');
    while let Some(line) = lines.next() {
        match parse(line) {
            Some(changes) => records.push(changes),
            None if lines.by_ref().flatten().all(|byte| *byte == 0) => break,
            None => {
                let number = records.len() + 1;
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("record {number} of {FILE}")));
            }
        }
    }
    Ok(records)
}

fn parse(line: &[u8]) -> Option<Changes> {
    let (checksum, rest) = line.strip_suffix(b"\n")?.split_at_checked(CHECKSUM)?;
    let json = rest.strip_prefix(b" ")?;
    let expected = u32::from_str_radix(std::str::from_utf8(checksum).ok()?, 16).ok()?;
    if crc32fast::hash(json) == expected { serde_json::from_slice(json).ok() } else { None }
}

#[cfg(test)]
impl WriteAheadLog {
    /// A log that cannot be written.
    pub(super) fn on_a_full_disk(directory: &Path, trees: &Trees) -> Self {
        let mut log = Self::open(directory, trees).unwrap();
        log.file = device("/dev/full");
        log
    }
}

#[cfg(test)]
fn device(path: &str) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

#[cfg(test)]
mod tests {
    use std::{fs, ops::Range};

    use serde_json::value::RawValue;
    use tempfile::TempDir;

    use super::*;

    /// A database with a log that the test writes: nothing makes a checkpoint when it is dropped.
    struct Crashing {
        directory: TempDir,
        trees: Trees,
        log: WriteAheadLog,
    }

    impl Crashing {
        fn new() -> Self {
            let directory = TempDir::new().unwrap();
            let (trees, log) = open(directory.path()).unwrap();
            Self { directory, trees, log }
        }

        /// The log after a crash that came after two records, and where the second one is.
        fn after_two_records() -> (TempDir, Vec<u8>, Range<usize>) {
            let mut crashing = Self::new();
            crashing.log.append(&set("a", "1")).unwrap();
            let first = crashing.log.end;
            crashing.log.append(&set("b", "2")).unwrap();
            let [start, end] = [first, crashing.log.end].map(|end| usize::try_from(end).unwrap());
            let (directory, content) = crashing.crash();
            (directory, content, start..end)
        }

        /// What is in the log after a crash.
        fn crash(self) -> (TempDir, Vec<u8>) {
            let content = fs::read(self.directory.path().join(FILE)).unwrap();
            (self.directory, content)
        }
    }

    fn open(directory: &Path) -> io::Result<(Trees, WriteAheadLog)> {
        let trees = Trees::open(directory, None)?;
        let log = WriteAheadLog::open(directory, &trees)?;
        Ok((trees, log))
    }

    /// Sets keys of both trees to the same value, or removes them.
    fn changes(entries: &[(&str, Option<&str>)]) -> Changes {
        let mut changes = Changes::default();
        for (key, value) in entries {
            let item = value.map(|json| RawValue::from_string(json.to_owned()).unwrap());
            changes.main.insert((*key).to_owned(), item);
            changes.dir.insert((*key).to_owned(), value.map(str::to_owned));
        }
        changes
    }

    fn set(key: &str, value: &str) -> Changes {
        changes(&[(key, Some(value))])
    }

    /// The entries of `main`, after a check that `dir` has the same.
    fn stored(trees: &Trees) -> Vec<(String, String)> {
        let of = |tree: &sled::Tree| -> Vec<_> {
            let text = |bytes: sled::IVec| String::from_utf8(bytes.to_vec()).unwrap();
            tree.iter().map(|entry| entry.unwrap()).map(|(key, value)| (text(key), text(value))).collect()
        };
        assert_eq!(of(&trees.main), of(&trees.dir));
        of(&trees.main)
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn records_are_applied_in_order_after_a_crash() {
        let mut crashing = Crashing::new();
        let (key, item) = ("b\0\n\u{e9}", r#"{"S":"\n\"\\\u0000é"}"#);
        for changes in [set("a", "1"), changes(&[("a", None), (key, Some(item))]), set("c", "3"), set("c", "4")] {
            crashing.log.append(&changes).unwrap();
        }
        assert_eq!(stored(&crashing.trees), []);
        let (directory, _) = crashing.crash();
        let (trees, _) = open(directory.path()).unwrap();
        assert_eq!(stored(&trees), pairs(&[(key, item), ("c", "4")]));
    }

    #[test]
    fn records_that_sled_has_already_change_nothing() {
        let mut crashing = Crashing::new();
        for changes in [set("a", "1"), set("a", "2")] {
            crashing.log.append(&changes).unwrap();
            crashing.trees.apply(changes).unwrap();
        }
        let (directory, content) = crashing.crash();
        for _ in 0..2 {
            fs::write(directory.path().join(FILE), &content).unwrap(); // as if it had crashed before the log was emptied
            let (trees, log) = open(directory.path()).unwrap();
            assert_eq!((stored(&trees), log.end), (pairs(&[("a", "2")]), 0));
            assert_eq!(fs::metadata(directory.path().join(FILE)).unwrap().len(), 0);
        }
    }

    #[test]
    fn interrupted_last_record_is_dropped() {
        let (directory, content, last) = Crashing::after_two_records();
        for position in last.clone() {
            let mut cut = content.clone();
            cut[position..last.end].fill(0);
            let mut short = content.clone();
            short.truncate(position);
            let mut hole = content.clone();
            hole[last.start..=position].fill(0); // the disk may write the end first
            for damaged in [cut, short, hole] {
                let records = records(&damaged).unwrap();
                assert_eq!(records.len(), 1, "{position}");
            }
        }
        fs::write(directory.path().join(FILE), &content[..last.end - 1]).unwrap();
        let (trees, mut log) = open(directory.path()).unwrap();
        assert_eq!(stored(&trees), pairs(&[("a", "1")]));
        log.append(&set("c", "3")).unwrap();
        drop((trees, log));
        let (trees, _) = open(directory.path()).unwrap();
        assert_eq!(stored(&trees), pairs(&[("a", "1"), ("c", "3")]), "the log can be continued");
    }

    #[test]
    fn damaged_record_before_others_is_refused_and_nothing_is_lost() {
        let (directory, content, last) = Crashing::after_two_records();
        let first = last.start;
        // Without the newline the two records are one interrupted record.
        for position in 0..first - 1 {
            let mut damaged = content.clone();
            damaged[position] ^= 0x40;
            let error = records(&damaged).err().unwrap_or_else(|| panic!("{position}"));
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        let mut damaged = content;
        damaged[first / 2] ^= 1;
        fs::write(directory.path().join(FILE), &damaged).unwrap();
        assert!(open(directory.path()).is_err());
        assert_eq!(fs::read(directory.path().join(FILE)).unwrap(), damaged);
    }

    #[test]
    fn append_fails_if_the_sync_fails() {
        let mut crashing = Crashing::new();
        crashing.log.file = device("/dev/null"); // accepts a write and refuses a sync
        crashing.log.append(&set("a", "1")).unwrap_err();
    }

    #[test]
    fn checkpoint_puts_sled_on_disk_before_it_empties_the_log() {
        let Crashing { directory, trees, mut log } = Crashing::new();
        log.append(&set("a", "1")).unwrap();
        trees.apply(set("a", "1")).unwrap();
        let sled = std::mem::replace(&mut log.sled, device("/dev/null"));
        log.checkpoint(&trees).unwrap_err();
        assert_eq!(records(&fs::read(directory.path().join(FILE)).unwrap()).unwrap().len(), 1);
        log.sled = sled;
        log.checkpoint(&trees).unwrap();
        let copy = TempDir::new().unwrap(); // what a crash would leave now
        for file in ["conf", SLED_FILE, FILE] {
            fs::copy(directory.path().join(file), copy.path().join(file)).unwrap();
        }
        let (trees, _) = open(copy.path()).unwrap();
        assert_eq!(stored(&trees), pairs(&[("a", "1")]));
    }

    #[test]
    fn long_log_is_emptied() {
        let mut crashing = Crashing::new();
        let value = "7".repeat(1 << 20);
        for key in ["1", "2", "3", "4", "5", "6", "7", "8"] {
            assert!(crashing.log.end < CHECKPOINT);
            let changes = changes(&[(key, Some(&value))]);
            crashing.log.append(&changes).unwrap();
            crashing.trees.apply(changes).unwrap();
            crashing.log.checkpoint_if_long(&crashing.trees).unwrap();
        }
        assert_eq!(crashing.log.end, 0);
    }
}
