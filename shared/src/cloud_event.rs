//! What leaves the table: an audit row as a CloudEvent, by the specification's version 1.0 (docs/events.md).

use serde::{Deserialize, Serialize};

use crate::{
    audit::Row,
    env::Timestamp,
    id::{TenantId, UserId},
};

/// The `Source` of every event on the bus.
pub const SOURCE: &str = "vestibule";

/// A CloudEvent of a tenant, with a row in it unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudEvent<D = Row> {
    /// The version of the specification.
    pub specversion: String,
    /// Unique, and the same however often the event comes: tenant and row.
    pub id: String,
    /// Whose audit it is from.
    pub source: String,
    /// `vestibule.audit.` and the action.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whom it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<UserId>,
    /// When it happened.
    pub time: Timestamp,
    /// What `data` is.
    pub datacontenttype: String,
    /// The tenant; an extension of ours.
    pub tenant: TenantId,
    /// What happened.
    pub data: D,
}

/// In the place of a row that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The row's id.
    pub id: String,
    /// When.
    pub at: Timestamp,
}

impl CloudEvent {
    /// A row of a tenant's audit, without what its Administrators alone may read: what an IdP called somebody.
    #[must_use]
    pub fn new(tenant: TenantId, row: Row) -> Self {
        let row = Row { name_id: None, name_id_format: None, ..row };
        let (kind, subject) = (row.action.as_str(), row.target.clone());
        Self { subject, ..of(tenant, &row.id.clone(), row.at, kind, row) }
    }
}

impl CloudEvent<Unreadable> {
    /// A row that is there and could not be read: whoever listens knows that something is missing, and what.
    #[must_use]
    pub fn unreadable(tenant: TenantId, id: String, at: Timestamp) -> Self {
        of(tenant, &id.clone(), at, "unreadable", Unreadable { id, at })
    }
}

fn of<D>(tenant: TenantId, id: &str, time: Timestamp, kind: &str, data: D) -> CloudEvent<D> {
    CloudEvent {
        specversion: "1.0".to_owned(),
        id: format!("{tenant}/{id}"),
        source: format!("/vestibule/tenants/{tenant}"),
        kind: format!("vestibule.audit.{kind}"),
        subject: None,
        time,
        datacontenttype: "application/json".to_owned(),
        tenant,
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Action, AuditEvent, Outcome};

    #[test]
    fn names_of_an_idp_do_not_leave_the_table() {
        let mut event = AuditEvent::new(Action::SsoLogin, Outcome::Refused, "r").because("unknown_subject");
        event.name_id = Some("mallory".to_owned());
        event.name_id_format = Some("persistent".to_owned());
        let row = Row::new("1800000000000-A-0".to_owned(), Timestamp::from_secs(1_800_000_000), event);
        let sent = CloudEvent::new(TenantId::parse("acme").unwrap(), row).data;
        assert_eq!((sent.name_id, sent.name_id_format), (None, None));
        assert_eq!(sent.reason.as_deref(), Some("unknown_subject"));
    }
}
