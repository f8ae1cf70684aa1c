//! CSV files (RFC 4180): of a spreadsheet program, and for one.

use std::{borrow::Cow, fs, path::Path};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use vestibule::http::page::{CSV_FORMULA, csv_line, csv_reader};
use zeroize::Zeroizing;

use crate::Failure;

/// Whether a spreadsheet program takes a cell for a formula. Quotes before it do not count, so that [`escape_formula`] can be undone.
fn is_formula(cell: &str) -> bool {
    cell.trim_start_matches('\'').starts_with(CSV_FORMULA)
}

/// A cell that no spreadsheet program takes for a formula: strangers choose some of the texts.
pub(crate) fn escape_formula(cell: &str) -> Cow<'_, str> {
    if is_formula(cell) { Cow::Owned(format!("'{cell}")) } else { Cow::Borrowed(cell) }
}

/// The text of a cell: undoes [`escape_formula`].
pub(crate) fn unescape_formula(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|_| is_formula(cell)).unwrap_or(cell)
}

/// The content of a file.
pub(crate) struct Sheet {
    /// The SHA-256 of the file.
    pub(crate) digest: String,
    columns: Vec<String>,
    pub(crate) rows: Vec<Row>,
}

/// A row of a file.
pub(crate) struct Row {
    /// The line in which it begins, from 1.
    pub(crate) line: u64,
    cells: Vec<Zeroizing<String>>,
}

impl Sheet {
    /// Reads a file. The separator is a comma, a semicolon or a tab.
    ///
    /// # Errors
    /// The file cannot be read, is not CSV, or has no rows.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let bytes = fs::read(path).map(Zeroizing::new).map_err(|error| format!("cannot read {shown}: {error}"))?;
        Self::parse(&bytes).map_err(|why| format!("{shown}: {why}").into())
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let digest = HEXLOWER.encode(&Sha256::digest(bytes));
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8: save it as CSV UTF-8")?;
        let text = Zeroizing::new(text.trim_start_matches('\u{feff}').replace("\r\n", "\n"));
        let mut reader = csv_reader(&text);
        let invalid = |error: csv::Error| match error.kind() {
            csv::ErrorKind::UnequalLengths { pos: Some(at), expected_len, len } => {
                let line = csv_line(&text, Some(at));
                format!("the number of cells in line {line} is {len}, and {expected_len} in the first line")
            }
            _ => format!("it is not CSV ({error})"),
        };
        let columns: Vec<_> = reader.headers().map_err(invalid)?.iter().map(str::to_lowercase).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(invalid)?;
            let line = csv_line(&text, record.position());
            rows.push(Row { line, cells: record.iter().map(str::to_owned).map(Zeroizing::new).collect() });
        }
        if rows.is_empty() {
            return Err(
                "it has no rows: the first line has the names of the columns, and each other line is a row".into()
            );
        }
        Ok(Self { digest, columns, rows })
    }

    /// The place of a column, if the file has it.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str)
    }
}

impl Row {
    /// The cell in a column, as it is.
    pub(crate) fn cell(&self, column: Option<usize>) -> &str {
        column.and_then(|column| self.cells.get(column)).map_or("", |cell| cell)
    }
}

#[cfg(test)]
impl Sheet {
    pub(crate) fn of(text: &str) -> Self {
        Self::parse(text.as_bytes()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_texts_and_back() {
        for (cell, safe) in [
            ("Ann", "Ann"),
            ("", ""),
            ("'Ann'", "'Ann'"),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@a", "'@a"),
            ("\ta", "'\ta"),
            ("\ra", "'\ra"),
            ("'=1", "''=1"),
        ] {
            assert_eq!(escape_formula(cell), safe);
            assert_eq!(unescape_formula(safe), cell);
        }
    }

    #[test]
    fn rows_are_read_whatever_program_wrote_them() {
        for text in [
            "username,Name\nann,\"Lee, Ann\"\nbob,Bob\n",
            "\u{feff}username;Name\r\nann;Lee, Ann\r\nbob;Bob\r\n",
            " username\tname \nann\tLee, Ann\nbob\tBob",
        ] {
            let sheet = Sheet::of(text);
            assert_eq!(sheet.columns().collect::<Vec<_>>(), ["username", "name"]);
            let rows: Vec<_> = sheet.rows.iter().map(|row| (row.line, row.cell(sheet.column("name")))).collect();
            assert_eq!(rows, [(2, "Lee, Ann"), (3, "Bob")], "{text:?}");
            assert_eq!(sheet.rows[0].cell(sheet.column("email")), "");
        }
    }

    #[test]
    fn empty_lines_count() {
        let sheet = Sheet::of("name\nann\n\n\nbob\n");
        assert_eq!(sheet.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 5]);
    }

    #[test]
    fn bad_file_is_refused_with_its_line() {
        for (bytes, expected) in [
            (&b"a,b\n1,2\n3\n"[..], "the number of cells in line 3 is 1, and 2 in the first line"),
            (b"a,b\n\n\n3\n", "the number of cells in line 4 is 1"),
            (b"a,b\n", "it has no rows"),
            (b"", "it has no rows"),
            (b"a\n\xff\n", "it is not UTF-8"),
        ] {
            let why = Sheet::parse(bytes).err().unwrap();
            assert!(why.contains(expected), "{why}");
        }
    }
}
