//! The tables of ARCHITECTURE.md, "Flows", read as data. `tests/tests/costs.rs` measures every row.

use std::{fs, path::Path};

/// A row: a flow, what it writes and what it costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// The name.
    pub name: String,
    /// Method and path; empty for a flow that no request starts.
    pub endpoint: String,
    /// The function.
    pub function: String,
    /// What it costs.
    pub cost: Cost,
}

/// What a flow costs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cost {
    /// Each write or transaction: the names of its items, sorted. An item that a transaction only checks is in parentheses.
    pub written: Vec<Vec<String>>,
    /// Round trips. Calls that run at the same time count as one.
    pub trips: u32,
    /// Write units of DynamoDB.
    pub writes: f64,
    /// Read units of DynamoDB.
    pub reads: f64,
}

/// All rows.
#[must_use]
pub fn rows() -> Vec<Flow> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("Flows\n")).unwrap();
    let cells = section.lines().filter(|line| line.starts_with("| ")).map(|line| {
        let line = line.trim_matches(['|', ' ']);
        line.split(" | ").map(|cell| cell.trim_matches('`')).collect::<Vec<_>>()
    });
    cells.filter(|cells| cells[0] != "Flow").map(|cells| row(&cells)).collect()
}

fn row(cells: &[&str]) -> Flow {
    let [name, endpoint, function, _, written, trips, writes, reads] = cells else { panic!("not 8 cells: {cells:?}") };
    let cost = Cost {
        written: parse_written(written),
        trips: trips.parse().unwrap(),
        writes: writes.parse().unwrap(),
        reads: reads.parse().unwrap(),
    };
    let endpoint = if *endpoint == "–" { "" } else { endpoint };
    Flow { name: (*name).to_owned(), endpoint: endpoint.to_owned(), function: (*function).to_owned(), cost }
}

/// Reads the column of the written items: `U, 2 × [(U1) + 20 × U + A], B` are four writes, two of them transactions.
fn parse_written(cell: &str) -> Vec<Vec<String>> {
    let mut written = Vec::new();
    for part in cell.split(", ").filter(|part| *part != "–") {
        let (times, transaction) = repeated(part);
        let items = transaction.trim_matches(['[', ']']).split(" + ").map(repeated);
        let mut items: Vec<_> = items.flat_map(|(times, item)| vec![item.to_owned(); times]).collect();
        items.sort();
        written.extend(vec![items; times]);
    }
    written.sort();
    written
}

/// The number and the rest of `20 × U`. Without a number: 1.
fn repeated(text: &str) -> (usize, &str) {
    let number = text.split_once(" × ").and_then(|(number, rest)| Some((number.parse().ok()?, rest)));
    number.unwrap_or((1, text))
}

/// As [`parse_written`] reads it, for messages.
#[must_use]
pub fn show_written(written: &[Vec<String>]) -> String {
    let mut parts = Vec::new();
    for same in written.chunk_by(|a, b| a == b) {
        let items = same[0].chunk_by(|a, b| a == b);
        let items =
            items.map(|same| if same.len() == 1 { same[0].clone() } else { format!("{} × {}", same.len(), same[0]) });
        let transaction = items.collect::<Vec<_>>().join(" + ");
        parts.push(if same.len() == 1 { transaction } else { format!("{} × [{transaction}]", same.len()) });
    }
    if parts.is_empty() { "–".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_of_written_items_is_read() {
        let written = parse_written("U, 2 × [(U1) + G + 2 × U], B + I + A");
        let expected: [&[&str]; 4] = [&["(U1)", "G", "U", "U"], &["(U1)", "G", "U", "U"], &["A", "B", "I"], &["U"]];
        assert_eq!(written, expected);
        assert_eq!(show_written(&written), "2 × [(U1) + G + 2 × U], A + B + I, U");
        assert_eq!(parse_written(&show_written(&written)), written);
        assert_eq!((parse_written("–"), show_written(&[])), (vec![], "–".to_owned()));
    }
}
