//! The contacts of a form: ticked, pasted, and from a file.

use vestibule::{
    http::{
        Problem,
        page::{Csv, NotCsv, Text},
    },
    id::UserId,
};

/// What is wrong with a list of ids.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InvalidList {
    /// This line of the pasted text is not an id.
    Line(usize),
    /// The file is not CSV.
    Csv,
    /// The file has no column `id`.
    NoColumn,
    /// The id in this line of the file is not an id.
    Row(u64),
}

impl InvalidList {
    pub(super) fn problem(&self) -> Problem {
        let field = if matches!(self, Self::Line(_)) { "/contact_ids" } else { "/csv" };
        Problem::field(field, "must be ids of contacts")
    }

    pub(super) fn text(&self, text: Text) -> String {
        match self {
            Self::Line(line) => text.with("exclusions-line", "line", *line),
            Self::Csv => text.get("invalid-csv").into_owned(),
            Self::NoColumn => text.get("exclusions-no-column").into_owned(),
            Self::Row(line) => text.with("exclusions-row", "line", *line),
        }
    }
}

/// The ids in a text, one in a line. Empty lines are skipped.
pub(super) fn pasted(text: &str) -> Result<Vec<UserId>, InvalidList> {
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    lines.map(|(index, line)| UserId::parse(line).map_err(|_| InvalidList::Line(index + 1))).collect()
}

/// The ids in the column `id` of a CSV file. Other columns are ignored, and so are rows without an id.
pub(super) fn in_csv(text: &str) -> Result<Vec<UserId>, InvalidList> {
    let table = Csv::read(text).map_err(|NotCsv| InvalidList::Csv)?;
    let column = table.column("id").ok_or(InvalidList::NoColumn)?;
    let rows = table.rows().filter(|row| !row.cell(column).is_empty());
    rows.map(|row| UserId::parse(row.cell(column)).map_err(|_| InvalidList::Row(row.line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(found: Result<Vec<UserId>, InvalidList>) -> Vec<String> {
        found.unwrap().into_iter().map(String::from).collect()
    }

    #[test]
    fn pasted_ids_are_one_in_a_line() {
        assert_eq!(ids(pasted(" u-carl\r\n\r\nu-cora \n")), ["u-carl", "u-cora"]);
        assert_eq!(ids(pasted("")), [""; 0]);
        assert_eq!(pasted("u-carl\n\nCarl Cole\n"), Err(InvalidList::Line(3)));
        assert_eq!(pasted("u-carl,u-cora"), Err(InvalidList::Line(1)));
    }

    #[test]
    fn ids_are_taken_from_the_column_of_that_name() {
        for csv in [
            "id\r\nu-carl\r\nu-cora\r\n",
            "id\nu-carl\n\nu-cora",
            "name,ID,note\n\"Cole, Carl\",u-carl,\"two\nlines\"\nCora, u-cora ,\n",
            "name;id\nCarl;u-carl\nNobody;\nCora;u-cora\n",
            "\"id\"\tname\nu-carl\tCarl\nu-cora\tCora\n",
        ] {
            assert_eq!(ids(in_csv(csv)), ["u-carl", "u-cora"], "{csv}");
        }
    }

    #[test]
    fn wrong_files_say_what_is_wrong() {
        assert_eq!(in_csv(""), Err(InvalidList::NoColumn));
        assert_eq!(in_csv("u-carl\nu-cora\n"), Err(InvalidList::NoColumn));
        assert_eq!(in_csv("id,name\nu-carl,Carl,x\n"), Err(InvalidList::Csv));
        for end in ["\n", "\r\n"] {
            let csv = ["id,name", "u-carl,\"Carl", "Cole\"", "Cora Cole,x", ""].join(end);
            assert_eq!(in_csv(&csv), Err(InvalidList::Row(4)));
        }
    }
}
