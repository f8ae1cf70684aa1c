//! What commands print on standard output: listings (tab separated, CSV, or one JSON object on each line) and single objects.

use std::{
    borrow::Cow,
    io::{self, Stdout, Write},
};

use serde_json::Value;
use vestibule::id::is_display_control;

use crate::{Failure, args::Format, sheet};

/// Rows on standard output. The first line has the names of the columns, unless it is JSON. A command that is refused prints
/// nothing.
pub(crate) struct Listing {
    columns: &'static [&'static str],
    form: Form,
    begun: bool,
}

enum Form {
    Tabs,
    Csv(Box<csv::Writer<Stdout>>),
    Json,
}

impl Listing {
    /// A listing for people and for `cut`.
    pub(crate) fn new(columns: &'static [&'static str], format: Format) -> Self {
        Self { columns, form: if format.json { Form::Json } else { Form::Tabs }, begun: false }
    }

    /// A listing for a spreadsheet.
    pub(crate) fn csv(columns: &'static [&'static str], format: Format) -> Self {
        let writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(io::stdout());
        Self { columns, form: if format.json { Form::Json } else { Form::Csv(Box::new(writer)) }, begun: false }
    }

    /// Prints the names of the columns, if they are not there yet.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn begin(&mut self) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.begun, true) {
            match &mut self.form {
                Form::Tabs => writeln!(io::stdout(), "{}", self.columns.join("\t"))?,
                Form::Csv(writer) => writer.write_record(self.columns)?,
                Form::Json => {}
            }
        }
        Ok(())
    }

    /// Prints a row. The columns are fields of `item`.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn row(&mut self, item: &Value) -> Result<(), Failure> {
        self.begin()?;
        let cells = self.columns.iter().map(|column| cell(&item[column]));
        match &mut self.form {
            Form::Tabs => {
                let cells: Vec<_> = cells.map(|cell| printable(&cell).into_owned()).collect();
                writeln!(io::stdout(), "{}", cells.join("\t"))?;
            }
            Form::Csv(writer) => {
                let cells: Vec<_> = cells.map(|cell| sheet::escape_formula(&cell).into_owned()).collect();
                writer.write_record(cells)?;
            }
            Form::Json => writeln!(io::stdout(), "{item}")?,
        }
        Ok(())
    }

    /// Ends the listing.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.begin()?;
        if let Form::Csv(mut writer) = self.form {
            writer.flush()?;
        }
        io::stdout().flush().map_err(Into::into)
    }
}

/// Prints one result: as JSON, or as lines `name<tab>value`. The fields of an object within are named `outer.inner`.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn object(item: &Value, format: Format) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if format.json {
        writeln!(out, "{item}")?;
    } else {
        for (name, value) in item.as_object().into_iter().flatten() {
            match value.as_object() {
                Some(fields) => {
                    for (inner, value) in fields {
                        writeln!(out, "{name}.{inner}\t{}", printable(&cell(value)))?;
                    }
                }
                None => writeln!(out, "{name}\t{}", printable(&cell(value)))?,
            }
        }
    }
    out.flush().map_err(Into::into)
}

/// A value as the text of a cell.
fn cell(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(values) => Cow::Owned(values.iter().map(cell).collect::<Vec<_>>().join(" ")),
        other => Cow::Owned(other.to_string()),
    }
}

/// A text that can neither move the cursor nor end the cell or line: strangers choose some of the texts.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_display_control) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| if is_display_control(c) { c.escape_unicode().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_plain_texts() {
        for (value, expected) in [
            (json!(null), ""),
            (json!("Ann Lee"), "Ann Lee"),
            (json!(true), "true"),
            (json!(7), "7"),
            (json!(["user", "administrators"]), "user administrators"),
        ] {
            assert_eq!(cell(&value), expected);
        }
        assert_eq!(printable("Zoë\u{1b}[31m\ta\n\u{202e}"), "Zoë\\u{1b}[31m\\u{9}a\\u{a}\\u{202e}");
    }
}
