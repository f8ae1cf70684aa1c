//! An audit row as a CloudEvent 1.0, as it leaves the table for the event bus (docs/events.md).

use serde::{Deserialize, Serialize};

use crate::{
    audit::Row,
    env::Timestamp,
    id::{TenantId, UserId},
};

/// The `Source` of every event on the bus.
pub const SOURCE: &str = "vestibule";

/// A CloudEvent of a tenant. `data` is an audit row unless the type says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudEvent<D = Row> {
    /// The version of the specification.
    pub specversion: String,
    /// `TENANT/ROW_ID`: unique, and the same at each delivery of the event.
    pub id: String,
    /// The tenant whose audit has the row, as a path.
    pub source: String,
    /// `vestibule.audit.` and the action.
    #[serde(rename = "type")]
    pub kind: String,
    /// The user concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<UserId>,
    /// When it happened.
    pub time: Timestamp,
    /// The media type of `data`.
    pub datacontenttype: String,
    /// The tenant. This attribute is a Vestibule extension.
    pub tenant: TenantId,
    /// The audit row.
    pub data: D,
}

/// The data of an event whose audit row could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The row's id.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
}

impl CloudEvent {
    /// The event of an audit row. It omits the NameID and its format, which only the tenant's Administrators may read.
    #[must_use]
    pub fn new(tenant: TenantId, row: Row) -> Self {
        let row = Row { name_id: None, name_id_format: None, ..row };
        let (kind, subject) = (row.action.as_str(), row.target.clone());
        Self { subject, ..of(tenant, &row.id.clone(), row.at, kind, row) }
    }
}

impl CloudEvent<Unreadable> {
    /// The event of a row that could not be read. It tells consumers that an event is missing, and which.
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
    use crate::audit::{AuditAction, AuditEvent, Outcome};

    #[test]
    fn event_omits_the_name_id() {
        let mut event = AuditEvent::new(AuditAction::SsoLogin, Outcome::Refused, "r").because("unknown_subject");
        event.name_id = Some("mallory".to_owned());
        event.name_id_format = Some("persistent".to_owned());
        let row = Row::new("1800000000000-A-0".to_owned(), Timestamp::from_secs(1_800_000_000), event);
        let sent = CloudEvent::new(TenantId::parse("acme").unwrap(), row).data;
        assert_eq!((sent.name_id, sent.name_id_format), (None, None));
        assert_eq!(sent.reason.as_deref(), Some("unknown_subject"));
    }
}
