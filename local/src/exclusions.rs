//! `exclusions`: contacts who are excluded from MFA.

use std::{collections::HashMap, ops::Range, path::Path};

use serde_json::{Value, json};
use vestibule::{id::UserId, store::batch::ExclusionChange};

use crate::{
    Failure,
    admin::Admin,
    args::admin::{Change, Exclusions, UserArgument},
    batch::{self, CHUNK, Rows},
    journal::{Journal, RowResult},
    output::Listing,
    sheet::{self, Sheet},
};

const PATH: &str = "/v1/admin/portal-exclusions";

/// The columns of `exclusions list`.
const LISTED: [&str; 6] = ["contact_id", "username", "excluded_at", "excluded_by", "reason", "batch_id"];

/// Runs a command of this group.
///
/// # Errors
/// A message that says which step failed, and why.
pub async fn run(command: &Exclusions) -> Result<(), Failure> {
    match command {
        Exclusions::Add(options) => change(options, ExclusionChange::Exclude).await,
        Exclusions::Remove(options) => change(options, ExclusionChange::Include).await,
        Exclusions::List(format) => {
            let mut listing = Listing::new(&LISTED, *format);
            Admin::open()?.list(PATH, &[], |item| listing.row(&item).map(|()| true)).await?;
            listing.end()
        }
    }
}

async fn change(options: &Change, change: ExclusionChange) -> Result<(), Failure> {
    let mut admin = Admin::open()?;
    let mut run = Run { contacts: Vec::new(), change, dry_run: options.dry_run, reason: options.reason.clone() };
    let Some(file) = &options.file else {
        for (n, user) in (1..).zip(&options.users) {
            let id = admin.user_id(&UserArgument { user: user.clone(), id: options.id }).await?;
            run.contacts.push(Contact { row: n, id, username: (!options.id).then(|| user.clone()) });
        }
        return batch::run(&mut admin, &run, Journal::unsaved()?, options.format).await;
    };
    let digest = run.read(file).map_err(|why| format!("{}: {why}. Nothing was changed", file.display()))?;
    let command = match change {
        ExclusionChange::Exclude => "exclusions add",
        ExclusionChange::Include => "exclusions remove",
    };
    let of = json!({"command": command, "file": digest, "account": admin.account(), "reason": run.reason});
    let journal = if run.dry_run { Journal::unsaved()? } else { Journal::beside(file, &of)? };
    batch::run(&mut admin, &run, journal, options.format).await
}

/// Contacts to exclude, or to include again.
struct Run {
    contacts: Vec<Contact>,
    change: ExclusionChange,
    dry_run: bool,
    reason: String,
}

struct Contact {
    row: u64,
    id: String,
    username: Option<String>,
}

impl Run {
    /// Reads the ids in a file. Returns the digest of the file.
    fn read(&mut self, file: &Path) -> Result<String, Failure> {
        let sheet = Sheet::read(file)?;
        let column = sheet.column("id").or_else(|| sheet.column("contact_id"));
        let column = column.ok_or("the column id is missing: `users export --kind contact` has it")?;
        for row in &sheet.rows {
            let cell = sheet::unescape_formula(row.cell(Some(column)).trim());
            let id = UserId::parse(cell).map_err(|why| format!("line {}: the id {why}", row.line))?;
            let username = Some(row.cell(sheet.column("username")).to_owned()).filter(|name| !name.is_empty());
            self.contacts.push(Contact { row: row.line, id: id.into(), username });
        }
        Ok(sheet.digest)
    }
}

impl Rows for Run {
    const ACTION: &str = "changing the exclusions";
    const PATH: &str = PATH;

    fn chunks(&self) -> Vec<Range<usize>> {
        let end = self.contacts.len();
        (0..end).step_by(CHUNK).map(|start| start..end.min(start + CHUNK)).collect()
    }

    fn number(&self, row: usize) -> u64 {
        self.contacts.get(row).map_or(0, |contact| contact.row)
    }

    fn body(&self, chunk: &Range<usize>) -> Value {
        let ids: Vec<_> = self.contacts[chunk.clone()].iter().map(|contact| &contact.id).collect();
        json!({"contact_ids": ids, "disable_mfa": self.change, "reason": self.reason, "dry_run": self.dry_run})
    }

    /// The response has one result for each contact, also for one whom the file names twice. A request with the same key gets the
    /// same response.
    fn results(&self, chunk: &Range<usize>, answer: &Value, _again: bool) -> Result<Vec<RowResult>, Failure> {
        let results = answer["results"].as_array().into_iter().flatten();
        let outcomes: HashMap<_, _> =
            results.filter_map(|result| Some((result["contact_id"].as_str()?, result["outcome"].as_str()?))).collect();
        let result = |contact: &Contact| {
            let outcome = *outcomes.get(contact.id.as_str()).ok_or("unexpected response: a contact has no outcome")?;
            let (id, username) = (Some(contact.id.clone()), contact.username.clone());
            let detail = explained(outcome).map(str::to_owned);
            Ok(RowResult { row: contact.row, username, id, outcome: outcome.to_owned(), detail })
        };
        self.contacts[chunk.clone()].iter().map(result).collect()
    }

    fn has_failed(outcome: &str) -> bool {
        !matches!(outcome, "excluded" | "included" | "unchanged")
    }
}

/// Why a contact was refused.
fn explained(outcome: &str) -> Option<&'static str> {
    match outcome {
        "not_a_contact" => Some("only contacts can be excluded"),
        "not_found" => Some("no user has this id"),
        "password_too_short" => Some("without MFA the password needs 15 characters: set a new password"),
        "not_applied" => Some("the batch stopped before this contact: the Administrator lost the role"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(contacts: Vec<Contact>) -> Run {
        Run { contacts, change: ExclusionChange::Exclude, dry_run: false, reason: "r".to_owned() }
    }

    #[test]
    fn ids_are_read_as_an_export_has_them() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("contacts.csv");
        let mut read = run(Vec::new());
        // An id can begin like a formula.
        std::fs::write(&file, "username,id\ncarl,u-carl\n,'-x\n").unwrap();
        read.read(&file).unwrap();
        let contacts: Vec<_> =
            read.contacts.iter().map(|it| (it.row, it.id.as_str(), it.username.as_deref())).collect();
        assert_eq!(contacts, [(2, "u-carl", Some("carl")), (3, "-x", None)]);
        std::fs::write(&file, "contact_id\n-x\nno id\n").unwrap();
        assert!(run(Vec::new()).read(&file).unwrap_err().to_string().contains("line 3: the id must be"));
    }

    #[test]
    fn contact_who_is_named_twice_has_two_results() {
        let contact = |row, id: &str| Contact { row, id: id.to_owned(), username: None };
        let contacts = vec![contact(2, "a"), contact(3, "b"), contact(4, "a")];
        let run = run(contacts);
        let answer = json!({"results": [{"contact_id": "a", "outcome": "excluded"}, {"contact_id": "b", "outcome": "not_found"}]});
        let results = run.results(&(0..3), &answer, false).unwrap();
        let shown: Vec<_> = results.iter().map(|result| (result.row, result.outcome.as_str())).collect();
        assert_eq!(shown, [(2, "excluded"), (3, "not_found"), (4, "excluded")]);
        assert!(results[1].detail.is_some() && Run::has_failed("not_found") && !Run::has_failed("unchanged"));
        assert!(run.results(&(0..3), &json!({"results": []}), false).is_err());
    }
}
