//! Audit events as CSV (RFC 4180).

use std::collections::HashMap;

use vestibule::{
    audit::{Notify, Outcome, Row},
    http::page::csv_row,
    id::UserId,
    store::item::Profile,
};

/// The columns: the fields of the API, and the user names.
const COLUMNS: [&str; 20] = [
    "id",
    "at",
    "action",
    "outcome",
    "actor",
    "actor_username",
    "target",
    "target_username",
    "request_id",
    "actor_tenant",
    "reason",
    "ticket",
    "batch_id",
    "client_id",
    "changed",
    "user_agent",
    "name_id",
    "name_id_format",
    "algorithm",
    "notified",
];

/// The rows, after a row with the names of the columns.
pub(super) fn of(rows: &[Row], names: &HashMap<UserId, Profile>) -> String {
    let mut text = String::new();
    csv_row(&mut text, COLUMNS);
    for row in rows {
        csv_row(&mut text, cells(row, names).iter().map(String::as_str));
    }
    text
}

fn cells(row: &Row, names: &HashMap<UserId, Profile>) -> [String; COLUMNS.len()] {
    let id = |user: Option<&UserId>| user.map(ToString::to_string).unwrap_or_default();
    let name =
        |user: Option<&UserId>| user.and_then(|user| names.get(user)).map(|it| it.username.clone()).unwrap_or_default();
    let own = row.actor.as_ref().filter(|_| row.actor_tenant.is_none());
    let outcome = match row.outcome {
        Outcome::Success => "success",
        Outcome::Refused => "refused",
    };
    let notified = row.notified.iter().map(|group| match group {
        Notify::User => "user",
        Notify::Administrators => "administrators",
    });
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        row.id.clone(),
        row.at.to_string(),
        row.action.as_str().to_owned(),
        outcome.to_owned(),
        id(row.actor.as_ref()),
        name(own),
        id(row.target.as_ref()),
        name(row.target.as_ref()),
        row.request_id.clone(),
        row.actor_tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        optional(&row.reason),
        optional(&row.ticket),
        row.batch_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        row.client_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        row.changed.join(" "),
        optional(&row.user_agent),
        optional(&row.name_id),
        optional(&row.name_id_format),
        optional(&row.algorithm),
        notified.collect::<Vec<_>>().join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use vestibule::{
        audit::{AuditAction, AuditEvent},
        env::Timestamp,
    };

    use super::*;

    #[test]
    fn cells_are_quoted_and_formulas_are_texts() {
        let event = AuditEvent::new(AuditAction::MfaReset, Outcome::Success, "r").because("=1+1 \"now\", please");
        let text = of(&[Row::new("i".into(), Timestamp::from_secs(0), event)], &HashMap::new());
        let lines: Vec<_> = text.split("\r\n").collect();
        assert!(lines[0].starts_with("\"id\",\"at\",\"action\""), "{text}");
        assert!(lines[1].starts_with("\"i\",\"1970-01-01T00:00:00Z\",\"mfa.reset\",\"success\","), "{text}");
        assert!(lines[1].contains(",\"'=1+1 \"\"now\"\", please\","), "{text}");
        assert_eq!((lines.len(), lines[2]), (3, ""));
    }
}
