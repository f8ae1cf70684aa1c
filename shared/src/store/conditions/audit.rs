//! Audit rows.

use super::*;
use crate::{
    audit::Outcome,
    store::{AttemptEvent, fixture::ann, table::Updated},
};

/// A row that is sent twice, and a second event with the number of the first.
#[tokio::test]
async fn written_audit_row_never_changes() {
    let (ann, _) = ann(0).await;
    let (attempt, first) = (attempt(NOW), ann.event());
    let second = crate::audit::AuditEvent { outcome: Outcome::Refused, ..first.clone() };
    for event in [&first, &second] {
        ann.store.record_or_fail(ann.key.tenant(), &attempt, AttemptEvent::Outcome, event).await.unwrap();
    }
    let row = ann.store.audit_row(ann.key.tenant(), &attempt, AttemptEvent::Outcome, &second).unwrap();
    let written = ann.store.table.update(&row, Retry::Never).await.unwrap();
    assert!(matches!(written, Updated::Refused(_)));
    let rows = ann.rows().await;
    assert_eq!((rows.len(), rows[0].outcome), (1, Outcome::Success));
}
