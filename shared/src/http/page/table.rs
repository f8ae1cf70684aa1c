//! CSV (RFC 4180): the tables that a person gives to a page, and the rows of the files that a page gives back.

use std::fmt::Write;

use csv::{Position, Reader, ReaderBuilder, StringRecord, Trim};

/// A cell that begins like this is a formula for a spreadsheet program.
pub const CSV_FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// A text is not CSV.
#[derive(Debug, PartialEq, Eq)]
pub struct NotCsv;

/// A table. Its first row has the names of the columns. The separator is a comma, a semicolon or a tab.
pub struct Csv {
    columns: StringRecord,
    /// The rows, and the line in which each begins.
    rows: Vec<(u64, StringRecord)>,
}

/// A row of a table.
#[derive(Clone, Copy)]
pub struct CsvRow<'a> {
    /// The line in which the row begins, from 1.
    pub line: u64,
    cells: &'a StringRecord,
}

impl Csv {
    /// Reads a table. Empty lines are skipped.
    ///
    /// # Errors
    /// [`NotCsv`] if the rows do not have the same number of cells.
    pub fn read(text: &str) -> Result<Self, NotCsv> {
        let text = text.replace("\r\n", "\n");
        let mut reader = csv_reader(&text);
        let columns = reader.headers().map_err(|_| NotCsv)?.clone();
        let rows = reader.records().map(|row| row.map(|row| (csv_line(&text, row.position()), row)));
        let rows = rows.collect::<Result<_, _>>().map_err(|_| NotCsv)?;
        Ok(Self { columns, rows })
    }

    /// The names of the columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter()
    }

    /// The column of this name, in capital or small letters.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns().position(|column| column.eq_ignore_ascii_case(name))
    }

    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = CsvRow<'_>> {
        self.rows.iter().map(|(line, cells)| CsvRow { line: *line, cells })
    }
}

/// A reader of a table that a person gives. The separator is a comma, a semicolon or a tab. Each line of the text ends with a
/// line feed alone: the reader counts a line only at its line feed, which it reads late after a carriage return.
#[must_use]
pub fn csv_reader(text: &str) -> Reader<&[u8]> {
    let header = text.lines().next().unwrap_or("");
    let delimiter = [b';', b'\t'].into_iter().find(|c| header.as_bytes().contains(c)).unwrap_or(b',');
    ReaderBuilder::new().delimiter(delimiter).trim(Trim::Headers).from_reader(text.as_bytes())
}

/// The line at a position of [`csv_reader`], whose position of a row is before the empty lines that it skips.
#[must_use]
pub fn csv_line(text: &str, position: Option<&Position>) -> u64 {
    let Some(position) = position else { return 0 };
    let rest = usize::try_from(position.byte()).ok().and_then(|at| text.as_bytes().get(at..)).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| **byte == b'\n').count();
    position.line() + u64::try_from(empty).unwrap_or_default()
}

impl<'a> CsvRow<'a> {
    /// The text of a cell, without spaces around it and without the quote of [`csv_row`].
    #[must_use]
    pub fn cell(self, column: usize) -> &'a str {
        let text = self.exact(column).trim();
        text.strip_prefix('\'').filter(|rest| rest.starts_with(CSV_FORMULA)).unwrap_or(text)
    }

    /// The text of a cell, as it is.
    #[must_use]
    pub fn exact(self, column: usize) -> &'a str {
        self.cells.get(column).unwrap_or("")
    }
}

/// Adds a row to the text of a file. A cell that a spreadsheet program would take for a formula gets a quote before it,
/// because strangers choose some of the texts.
pub fn csv_row<'a>(text: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    for (n, cell) in cells.into_iter().enumerate() {
        let (comma, quote) = (if n == 0 { "" } else { "," }, if cell.starts_with(CSV_FORMULA) { "'" } else { "" });
        let _ = write!(text, "{comma}\"{quote}{}\"", cell.replace('"', "\"\""));
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_the_name_of_their_column() {
        for text in [
            "id,name\r\nu-1,\"Cole, Carl\"\r\n\r\nu-2,Cora\r\n",
            " ID ;name\nu-1;Cole, Carl\nu-2; Cora",
            "name\tid\nCole, Carl\tu-1\nCora\tu-2\n",
        ] {
            let table = Csv::read(text).unwrap();
            let (id, name) = (table.column("id").unwrap(), table.column("NAME").unwrap());
            let cells: Vec<_> = table.rows().map(|row| [row.cell(id), row.cell(name)]).collect();
            assert_eq!(cells, [["u-1", "Cole, Carl"], ["u-2", "Cora"]], "{text}");
            assert_eq!(table.column("email"), None);
        }
    }

    #[test]
    fn row_knows_the_line_in_which_it_begins() {
        for end in ["\n", "\r\n"] {
            let text = ["id,name", "u-1,\"Carl", "Cole\"", "", "u-2,x", ""].join(end);
            let lines: Vec<_> = Csv::read(&text).unwrap().rows().map(|row| row.line).collect();
            assert_eq!(lines, [2, 5]);
        }
    }

    #[test]
    fn rows_of_another_length_are_refused() {
        assert!(Csv::read("").unwrap().columns().next().is_none());
        assert!(Csv::read("id,name\nu-1,Carl,x\n").is_err());
        assert!(Csv::read("id,name\nu-1\n").is_err());
    }

    #[test]
    fn formula_is_written_as_a_text_and_read_back() {
        let (mut text, cells) = (String::new(), ["=1+1 \"now\", please", "-2", "@x", "'a", " plain "]);
        csv_row(&mut text, ["a", "b", "c", "d", "e"]);
        csv_row(&mut text, cells);
        assert!(text.ends_with("\r\n\"'=1+1 \"\"now\"\", please\",\"'-2\",\"'@x\",\"'a\",\" plain \"\r\n"), "{text}");
        let table = Csv::read(&text).unwrap();
        let row = table.rows().next().unwrap();
        assert_eq!([0, 1, 2, 3, 4].map(|column| row.cell(column)), cells.map(str::trim));
        assert_eq!((row.exact(1), row.exact(4)), ("'-2", " plain "));
    }
}
