//! The journal of a run over the rows of a file: which rows are done, with their results. It lies beside the file, so that a later
//! run continues.
//!
//! Each line is JSON. The first says which run it is. `sent` is written before a chunk is sent, and `done` or `refused` after its
//! answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vestibule::env::{Entropy, SystemEntropy};

use crate::Failure;

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowResult {
    /// The line of the row in the file, or the number of the argument.
    pub(crate) row: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    pub(crate) outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

/// A line of the journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Run { key: String, of: Value },
    Sent(usize),
    Refused(usize),
    Done { chunk: usize, results: Vec<RowResult> },
}

/// What is done of a run.
pub(crate) struct Journal {
    /// Identifies the run at the server.
    key: String,
    /// Chunks that were sent, except those that were refused.
    sent: BTreeSet<usize>,
    done: BTreeMap<usize, Vec<RowResult>>,
    /// `None`: the run has no file, or changes nothing.
    file: Option<(PathBuf, File)>,
}

impl Journal {
    /// The journal of a run that is not saved: the same command starts from the first row again.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(crate) fn unsaved() -> Result<Self, Failure> {
        let entropy: &dyn Entropy = &SystemEntropy;
        let key = BASE64URL_NOPAD.encode(&entropy.bytes::<16>()?);
        Ok(Self { key, sent: BTreeSet::new(), done: BTreeMap::new(), file: None })
    }

    /// Opens the journal beside a file, or creates it. `of` says what is done with the file: a later run has to do the same.
    ///
    /// # Errors
    /// The journal is of another run or in use, or cannot be written.
    pub(crate) fn beside(file: &Path, of: &Value) -> Result<Self, Failure> {
        let mut name = OsString::from(file);
        name.push(".progress");
        let path = PathBuf::from(name);
        let shown = path.display();
        let cannot = |error: io::Error| -> Failure {
            format!("cannot write {shown} ({error}): the progress is kept beside the file, so choose a folder that you may write")
                .into()
        };
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut opened = options.map_err(cannot)?;
        match opened.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!("another command is working on {}: wait until it ends", file.display()).into());
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
        let (mut journal, whole) = Self::read(&mut opened, of).map_err(|why| format!("{shown} {why}"))?;
        // A crash can leave half a line at the end.
        opened.set_len(whole).and_then(|()| opened.seek(SeekFrom::End(0))).map_err(cannot)?;
        let begins = whole == 0;
        journal.file = Some((path.clone(), opened));
        if begins {
            journal.append(&Line::Run { key: journal.key.clone(), of: of.clone() })?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| error.to_string())?;
        }
        Ok(journal)
    }

    /// What a journal says, and the length of its whole lines.
    fn read(file: &mut File, of: &Value) -> Result<(Self, u64), String> {
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole == 0 && !text.is_empty() && !text.starts_with("{\"run\"") {
            return Err("is another file, and the progress is kept under this name: move it away".to_owned());
        }
        let mut journal = Self::unsaved().map_err(|error| error.to_string())?;
        for (n, line) in text[..whole].lines().enumerate() {
            match (n, serde_json::from_str(line)) {
                (0, Ok(Line::Run { key, of: found })) if found == *of => journal.key = key,
                (0, Ok(Line::Run { .. })) => {
                    return Err("is of another run: the file, the account, the command or the reason differs. Repeat that run, \
                                or delete the file of the progress to start from the first row"
                        .to_owned());
                }
                (1.., Ok(Line::Sent(chunk))) => drop(journal.sent.insert(chunk)),
                (1.., Ok(Line::Refused(chunk))) => drop(journal.sent.remove(&chunk)),
                (1.., Ok(Line::Done { chunk, results })) => drop(journal.done.insert(chunk, results)),
                _ => return Err(format!("is damaged in line {}: delete it to start from the first row", n + 1)),
            }
        }
        Ok((journal, u64::try_from(whole).unwrap_or(u64::MAX)))
    }

    fn append(&mut self, line: &Line) -> Result<(), Failure> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let text = [serde_json::to_vec(line)?, b"\n".to_vec()].concat();
        let written = file.write_all(&text).and_then(|()| file.sync_data());
        written.map_err(|error| format!("cannot write {} ({error}): is the disk full?", path.display()).into())
    }

    /// The key of a chunk: the same in a later run.
    pub(crate) fn key(&self, chunk: usize) -> String {
        format!("cli-{}-{chunk}", self.key)
    }

    /// Whether a later run continues this one.
    pub(crate) fn is_saved(&self) -> bool {
        self.file.is_some()
    }

    /// Whether a chunk was sent, and its answer was lost.
    pub(crate) fn is_unanswered(&self, chunk: usize) -> bool {
        self.sent.contains(&chunk) && !self.is_done(chunk)
    }

    /// Whether a chunk has its results.
    pub(crate) fn is_done(&self, chunk: usize) -> bool {
        self.done.contains_key(&chunk)
    }

    /// The number of rows with a result.
    pub(crate) fn rows(&self) -> usize {
        self.done.values().map(Vec::len).sum()
    }

    /// The results, in the order of the file.
    pub(crate) fn results(&self) -> impl Iterator<Item = &RowResult> {
        self.done.values().flatten()
    }

    /// Notes that a chunk is about to be sent. Returns whether it was sent before, and its answer was lost.
    ///
    /// # Errors
    /// The disk is full.
    pub(crate) fn sending(&mut self, chunk: usize) -> Result<bool, Failure> {
        let before = !self.sent.insert(chunk);
        if !before {
            self.append(&Line::Sent(chunk))?;
        }
        Ok(before)
    }

    /// Notes that the server refused a chunk, or that it could not be sent: none of its rows are done.
    ///
    /// # Errors
    /// The disk is full.
    pub(crate) fn refused(&mut self, chunk: usize) -> Result<(), Failure> {
        self.sent.remove(&chunk);
        self.append(&Line::Refused(chunk))
    }

    /// Notes the results of a chunk.
    ///
    /// # Errors
    /// The disk is full.
    pub(crate) fn answered(&mut self, chunk: usize, results: Vec<RowResult>) -> Result<(), Failure> {
        self.append(&Line::Done { chunk, results: results.clone() })?;
        self.done.insert(chunk, results);
        Ok(())
    }

    /// Deletes the journal: every row has its result.
    ///
    /// # Errors
    /// The file cannot be deleted.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Some((path, _locked)) = self.file else { return Ok(()) };
        fs::remove_file(&path).map_err(|error| format!("cannot delete {} ({error})", path.display()).into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    fn result(row: u64) -> RowResult {
        RowResult { row, username: Some("bob".into()), id: None, outcome: "created".into(), detail: None }
    }

    #[test]
    fn later_run_continues_after_what_is_done() {
        let folder = TempDir::new().unwrap();
        let (file, of) = (folder.path().join("people.csv"), json!({"file": "digest"}));
        let progress = folder.path().join("people.csv.progress");
        let mut journal = Journal::beside(&file, &of).unwrap();
        let key = journal.key(1);
        assert!(!journal.sending(0).unwrap());
        journal.answered(0, vec![result(2), result(3)]).unwrap();
        assert!(!journal.sending(1).unwrap());
        assert!(Journal::beside(&file, &of).err().unwrap().to_string().contains("another command is working on"));
        drop(journal);
        // The process ended while it wrote a line.
        OpenOptions::new().append(true).open(&progress).unwrap().write_all(b"{\"done\":{\"chu").unwrap();

        let mut journal = Journal::beside(&file, &of).unwrap();
        assert_eq!((journal.key(1), journal.is_done(0), journal.is_done(1), journal.rows()), (key, true, false, 2));
        assert!(journal.is_unanswered(1) && !journal.is_unanswered(0));
        assert!(journal.sending(1).unwrap(), "its answer was lost");
        journal.answered(1, vec![result(4)]).unwrap();
        drop(journal);
        let journal = Journal::beside(&file, &of).unwrap();
        assert_eq!(journal.results().map(|result| result.row).collect::<Vec<_>>(), [2, 3, 4]);
        journal.finish().unwrap();
        assert!(!progress.exists());
    }

    #[test]
    fn refused_chunk_is_as_if_it_was_never_sent() {
        let folder = TempDir::new().unwrap();
        let (file, of) = (folder.path().join("people.csv"), json!({"file": "digest"}));
        let mut journal = Journal::beside(&file, &of).unwrap();
        journal.sending(0).unwrap();
        journal.refused(0).unwrap();
        assert!(!journal.is_unanswered(0));
        drop(journal);
        let mut journal = Journal::beside(&file, &of).unwrap();
        assert!(!journal.is_unanswered(0) && !journal.sending(0).unwrap());
    }

    #[test]
    fn other_run_does_not_continue() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("people.csv");
        drop(Journal::beside(&file, &json!({"file": "one"})).unwrap());
        let why = Journal::beside(&file, &json!({"file": "two"})).err().unwrap().to_string();
        assert!(why.contains("is of another run") && why.contains("delete"), "{why}");
        fs::write(folder.path().join("people.csv.progress"), "{}\n").unwrap();
        let why = Journal::beside(&file, &json!({"file": "one"})).err().unwrap().to_string();
        assert!(why.contains("is damaged in line 1"), "{why}");
        fs::write(folder.path().join("people.csv.progress"), "50 %").unwrap();
        let why = Journal::beside(&file, &json!({"file": "one"})).err().unwrap().to_string();
        assert!(why.contains("is another file"), "{why}");
        assert_eq!(fs::read_to_string(folder.path().join("people.csv.progress")).unwrap(), "50 %");
    }
}
