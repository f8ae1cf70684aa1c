//! Exclusion and inclusion of contacts.

use std::time::Duration;

use super::*;
use crate::{
    audit::{AuditAction, AuditEvent, Outcome},
    env::Timestamp,
    id::IdempotencyKey,
    sign_in::NextStep,
    store::{
        batch::{BatchRequest, ContactOutcome, ExclusionChange},
        fixture::ann,
        item::Kind,
    },
};

/// Excludes or includes one contact, and returns the result.
async fn run(ann: &Ann, contact: &UserKey, change: ExclusionChange, at: Timestamp) -> ContactOutcome {
    let session = ann.session_of(&ann.key).await;
    let request = BatchRequest {
        key: IdempotencyKey::parse(&format!("{change:?}")).unwrap(),
        contacts: vec![contact.user().clone()],
        change,
        dry_run: false,
        reason: "portal only".to_owned(),
    };
    let event = AuditEvent::new(AuditAction::ExclusionBatch, Outcome::Success, "r").by(ann.key.user());
    let admin = ann.admin(&session).await;
    let report = ann.store.run_batch(&admin, &request, &attempt(at), &event).await.unwrap();
    report.results[0].1
}

#[tokio::test]
async fn contact_who_became_an_employee_meanwhile_is_not_excluded() {
    let (ann, table, _) = interleaved(0).await;
    let con = ann.someone("con", Role::Portal).await;
    let (other, key) = (Arc::clone(&ann), con.clone());
    // The writes are: the session, the claim of the batch, then the group.
    table.before_write(3, async move {
        let employee = Patch { kind: Some(Kind::Employee), role: Some(Role::Standard), ..Patch::default() };
        assert!(other.patch(&key, employee).await.is_ok());
    });
    assert_eq!(run(&ann, &con, ExclusionChange::Exclude, NOW).await, ContactOutcome::NotAContact);
    let user = ann.read(&con).await;
    assert!(!table.waits() && user.kind == Kind::Employee && user.excluded.is_none());
    assert!(item_at(&ann, keys::exclusion(&con)).await.is_none());
}

/// The time to enrol begins at the inclusion, also if the last sign-in was long ago.
#[tokio::test]
async fn included_contact_may_enrol_although_dormant() {
    let (ann, _) = ann(0).await;
    let con = ann.someone("con", Role::Portal).await;
    assert_eq!(run(&ann, &con, ExclusionChange::Exclude, NOW).await, ContactOutcome::Excluded);
    // Another change keeps the row in the list of exclusions.
    let renamed = Patch { display_name: Some("Con".to_owned()), ..Patch::default() };
    assert!(ann.patch(&con, renamed).await.is_ok());
    assert!(item_at(&ann, keys::exclusion(&con)).await.is_some());
    let long_ago = (NOW - policy::DORMANT - Duration::from_secs(1)).secs();
    set(&ann, &con, vec![Action::Set(attr("seen"), num(long_ago))]).await;
    assert!(NextStep::of(&ann.read(&con).await, NOW) == NextStep::ExcludedSession);
    assert_eq!(run(&ann, &con, ExclusionChange::Include, NOW).await, ContactOutcome::Included);
    assert!(NextStep::of(&ann.read(&con).await, NOW) == NextStep::EnrolmentRequired);
}
