//! Tests of batches.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use super::*;
use crate::{
    audit::{AuditAction, Notify},
    id::UserKey,
    store::{
        Table,
        fixture::{Ann, NOW, STEP, ann_of, at_once, attempt, decided, enrolment},
        interleaved::InterleavedTable,
        item::{FactorState, Kind, Role},
        memory::MemoryTable,
        table::{Transacted, Transaction, Updated},
        users::Patch,
        write::{Key, text},
    },
};

/// Ann with a session, and contacts of her tenant.
struct BatchFixture {
    ann: Ann,
    session: crate::secret::TokenRef,
    contacts: Vec<UserId>,
}

async fn fixture(contacts: usize) -> BatchFixture {
    fixture_over(Arc::new(MemoryTable::default()), contacts).await
}

async fn fixture_over(table: Arc<dyn Table>, contacts: usize) -> BatchFixture {
    let (ann, challenges) = ann_of("acme", table, 1).await;
    let session = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
    let mut fixture = BatchFixture { ann, session, contacts: Vec::new() };
    for n in 0..contacts {
        let key = fixture.ann.someone(&format!("c{n:03}"), Role::Portal).await;
        fixture.contacts.push(key.user().clone());
    }
    fixture
}

impl BatchFixture {
    fn key(&self, id: &UserId) -> UserKey {
        self.ann.key.tenant().user(id.clone())
    }

    async fn admin(&self) -> AdminContext {
        self.ann.admin(&self.session).await
    }

    fn request(&self, key: &str) -> BatchRequest {
        BatchRequest {
            key: IdempotencyKey::parse(key).unwrap(),
            contacts: self.contacts.clone(),
            change: ExclusionChange::Exclude,
            dry_run: false,
            reason: "portal only".to_owned(),
        }
    }

    async fn run(&self, request: &BatchRequest) -> Result<Report, BatchRejection> {
        self.run_as(&self.admin().await, request).await
    }

    async fn run_as(&self, admin: &AdminContext, request: &BatchRequest) -> Result<Report, BatchRejection> {
        let event = AuditEvent::new(AuditAction::ExclusionBatch, crate::audit::Outcome::Success, "r");
        let event = event.by(admin.key().user());
        decided(self.ann.store.run_batch(admin, request, &attempt(NOW), &event).await)
    }

    async fn report(&self, request: &BatchRequest) -> Report {
        self.run(request).await.unwrap()
    }

    async fn exclusion_row(&self, id: &UserId) -> Option<Item> {
        self.ann.store.table.read(&[keys::exclusion(&self.key(id))]).await.unwrap().remove(0)
    }

    async fn change(&self, id: &UserId, actions: Vec<Action>) {
        let write = Write::update(keys::user(&self.key(id)), vec![], actions);
        self.ann.store.table.update(&write, Retry::Never).await.unwrap();
    }

    /// The audit rows of an action on a user.
    async fn audit_rows(&self, id: &UserId, action: AuditAction) -> Vec<AuditEvent> {
        let mut audit_rows = Vec::new();
        for shard in 0..crate::audit::SHARDS {
            let query = Query {
                index: false,
                partition: keys::audit_partition(self.ann.key.tenant(), &NOW.year_month(), shard),
                prefix: String::new(),
                after: None,
                descending: false,
                limit: 100_000,
            };
            for row in self.ann.store.table.query(&query).await.unwrap() {
                audit_rows.push(item::read::<AuditEvent>(row).unwrap());
            }
        }
        audit_rows.retain(|row| row.action == action && row.target.as_ref() == Some(id));
        audit_rows
    }
}

fn outcomes(report: &Report) -> Vec<ContactOutcome> {
    report.results.iter().map(|(_, outcome)| *outcome).collect()
}

#[tokio::test]
async fn only_contacts_are_excluded() {
    let mut fixture = fixture(45).await;
    let enrolled = fixture.contacts[30].clone();
    let mut factor = enrolment();
    factor.extend([
        Action::Set(attr("row"), num(7)),
        Action::Set(attr("rk"), crate::store::write::bytes(&[0; 32])),
        Action::Set(attr("rq"), Value::Bool(true)),
    ]);
    factor.extend(["rkt", "eb"].map(|name| Action::Set(attr(name), num(1))));
    fixture.change(&enrolled, factor).await;
    let employee = fixture.ann.someone("e", Role::Standard).await.user().clone();
    fixture.contacts.insert(21, employee.clone());
    fixture.contacts.push(fixture.ann.key.user().clone());
    fixture.contacts.push(UserId::parse("u-none").unwrap());
    let mut request = fixture.request("a");
    request.contacts.push(fixture.contacts[0].clone());
    let report = fixture.report(&request).await;
    assert_eq!((report.status, report.dry_run, report.change), (Status::Completed, false, ExclusionChange::Exclude));
    assert_eq!(report.results.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), fixture.contacts);
    for (id, outcome) in &report.results {
        let expected = match id {
            id if *id == employee || id == fixture.ann.key.user() => ContactOutcome::NotAContact,
            id if id.as_str() == "u-none" => ContactOutcome::NotFound,
            _ => ContactOutcome::Excluded,
        };
        assert_eq!(*outcome, expected, "{id}");
        let excluded = expected == ContactOutcome::Excluded;
        assert_eq!(fixture.exclusion_row(id).await.is_some(), excluded);
        let audit_rows = fixture.audit_rows(id, AuditAction::ContactExcluded).await;
        assert_eq!(audit_rows.len(), usize::from(excluded), "{id}");
        assert!(audit_rows.iter().all(|row| row.batch_id.as_ref() == Some(&report.id) && row.notify == [Notify::User]));
        if expected != ContactOutcome::NotFound {
            let user = fixture.ann.read(&fixture.key(id)).await;
            assert_eq!((user.excluded.is_some(), user.security_version.0), (excluded, if excluded { 2 } else { 1 }));
        }
    }
    let user = fixture.ann.read(&fixture.key(&enrolled)).await;
    assert!(!user.has_factor() && !user.reset_code_required);
    assert!(user.enrol_by.is_none() && user.consecutive_failures == 0);
    let listed = fixture.ann.store.exclusions(fixture.ann.key.tenant(), None, 45).await.unwrap();
    assert!(listed.next.is_none());
    let listed = listed.items;
    assert_eq!(listed.len(), 45);
    assert!(
        listed
            .iter()
            .all(|row| row.batch == report.id && row.reason == "portal only" && row.by == *fixture.ann.key.user())
    );
}

#[tokio::test]
async fn repeated_batch_returns_the_same_report_and_changes_nothing() {
    let fixture = fixture(25).await;
    let request = fixture.request("a");
    let first = fixture.report(&request).await;
    // Another batch includes the contacts again. The report of the first batch does not change.
    fixture.report(&BatchRequest { change: ExclusionChange::Include, ..fixture.request("b") }).await;
    assert_eq!(fixture.report(&request).await, first);
    assert_eq!(fixture.ann.store.batch(fixture.ann.key.tenant(), &first.id).await.unwrap(), Some(first));
    assert!(fixture.ann.read(&fixture.key(&fixture.contacts[3])).await.excluded.is_none());
    for other in [
        BatchRequest { reason: "another".to_owned(), ..request.clone() },
        BatchRequest { dry_run: true, ..request.clone() },
        BatchRequest { change: ExclusionChange::Include, ..request.clone() },
        BatchRequest { contacts: request.contacts[1..].to_vec(), ..request.clone() },
    ] {
        assert_eq!(fixture.run(&other).await, Err(BatchRejection::OtherBody));
    }
    let again = fixture.report(&fixture.request("c")).await;
    assert!(outcomes(&again).iter().all(|outcome| *outcome == ContactOutcome::Excluded));
    let more = fixture.report(&fixture.request("d")).await;
    assert!(outcomes(&more).iter().all(|outcome| *outcome == ContactOutcome::Unchanged));
}

/// The password of an excluded contact is the only factor (security.md 9).
#[tokio::test]
async fn contact_with_a_password_of_short_or_unknown_length_is_not_excluded() {
    let fixture = fixture(4).await;
    fixture.change(&fixture.contacts[1], vec![Action::Set(attr("pl"), Value::Bool(false))]).await;
    fixture.change(&fixture.contacts[2], vec![Action::Remove(attr("pl"))]).await;
    let expected = [
        ContactOutcome::Excluded,
        ContactOutcome::PasswordTooShort,
        ContactOutcome::PasswordTooShort,
        ContactOutcome::Excluded,
    ];
    let dry = BatchRequest { dry_run: true, ..fixture.request("dry") };
    assert_eq!(outcomes(&fixture.report(&dry).await), expected);
    assert_eq!(outcomes(&fixture.report(&fixture.request("a")).await), expected);
    for (id, outcome) in fixture.contacts.iter().zip(expected) {
        let excluded = outcome == ContactOutcome::Excluded;
        assert_eq!(fixture.ann.read(&fixture.key(id)).await.excluded.is_some(), excluded);
        assert_eq!(fixture.exclusion_row(id).await.is_some(), excluded);
        assert_eq!(fixture.audit_rows(id, AuditAction::ContactExcluded).await.len(), usize::from(excluded));
    }
    // A short password does not prevent the inclusion.
    fixture.change(&fixture.contacts[0], vec![Action::Set(attr("pl"), Value::Bool(false))]).await;
    let again = BatchRequest { change: ExclusionChange::Include, ..fixture.request("b") };
    assert_eq!(outcomes(&fixture.report(&again).await)[0], ContactOutcome::Included);
}

/// A table that records the number of items of each read.
#[derive(Default)]
struct CountedReads(MemoryTable, Mutex<Vec<usize>>);

#[async_trait]
impl Table for CountedReads {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.1.lock().unwrap().push(keys.len());
        self.0.read(keys).await
    }

    async fn update(&self, write: &Write, retry: Retry) -> Result<Updated, StoreError> {
        self.0.update(write, retry).await
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        self.0.transact(transaction).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        self.0.query(query).await
    }
}

/// Runs a batch during which another request changes the first contact, after the contacts were loaded and before the group is
/// written. Checks that only the changed contact is loaded again.
async fn batch_interrupted_by(contacts: usize, change: Action) -> (BatchFixture, Report) {
    let counted = Arc::new(CountedReads::default());
    let table = Arc::new(InterleavedTable::over(Arc::<CountedReads>::clone(&counted)));
    let fixture = fixture_over(Arc::<InterleavedTable>::clone(&table), contacts).await;
    let (store, first) = (fixture.ann.store.clone(), fixture.key(&fixture.contacts[0]));
    // The first write is the claim of the batch, the second the group.
    table.before_write(2, async move {
        let write = Write::update(keys::user(&first), vec![], vec![change]);
        store.table.update(&write, Retry::Never).await.unwrap();
    });
    let report = fixture.report(&fixture.request("a")).await;
    assert!(!table.waits());
    assert!(
        counted.1.lock().unwrap().ends_with(&[2 * contacts, 2]),
        "two items of each contact: the user and the profile"
    );
    (fixture, report)
}

#[tokio::test]
async fn contact_whose_password_becomes_short_during_the_batch_is_not_excluded() {
    let (fixture, report) = batch_interrupted_by(2, Action::Set(attr("pl"), Value::Bool(false))).await;
    assert_eq!(outcomes(&report), [ContactOutcome::PasswordTooShort, ContactOutcome::Excluded]);
    assert!(fixture.ann.read(&fixture.key(&fixture.contacts[0])).await.excluded.is_none());
    assert!(fixture.exclusion_row(&fixture.contacts[0]).await.is_none());
}

#[tokio::test]
async fn contact_who_signs_in_during_the_batch_is_excluded() {
    let (fixture, report) = batch_interrupted_by(20, Action::Set(attr("seen"), num(1))).await;
    assert_eq!(outcomes(&report), [ContactOutcome::Excluded; 20]);
    for id in &fixture.contacts {
        assert_eq!(fixture.ann.read(&fixture.key(id)).await.security_version.0, 2);
        assert_eq!(fixture.audit_rows(id, AuditAction::ContactExcluded).await.len(), 1);
    }
}

#[tokio::test]
async fn dry_run_reports_outcomes_and_changes_nothing() {
    let fixture = fixture(22).await;
    let dry = BatchRequest { dry_run: true, ..fixture.request("a") };
    let report = fixture.report(&dry).await;
    assert!(report.dry_run && outcomes(&report) == vec![ContactOutcome::Excluded; 22]);
    for id in &fixture.contacts {
        assert!(
            fixture.ann.read(&fixture.key(id)).await.security_version.0 == 1
                && fixture.exclusion_row(id).await.is_none()
        );
    }
    let other = fixture.run(&fixture.request("a")).await;
    assert_eq!(other, Err(BatchRejection::OtherBody), "the key belongs to the dry run");
    fixture.report(&fixture.request("b")).await;
    assert_eq!(fixture.report(&dry).await, report, "the stored report does not change with the contacts");
}

#[tokio::test]
async fn reincluded_contact_must_enrol() {
    let fixture = fixture(2).await;
    fixture.report(&fixture.request("a")).await;
    fixture.change(&fixture.contacts[0], vec![Action::Set(attr("eb"), num(NOW.secs()))]).await;
    let report = fixture.report(&BatchRequest { change: ExclusionChange::Include, ..fixture.request("b") }).await;
    assert_eq!(outcomes(&report), [ContactOutcome::Included; 2]);
    let user = fixture.ann.read(&fixture.key(&fixture.contacts[0])).await;
    assert!(user.excluded.is_none() && user.factor.state() == FactorState::None && user.security_version.0 == 3);
    assert!(user.enrol_by.is_none(), "the deadline of the reset no longer applies");
    assert!(fixture.exclusion_row(&fixture.contacts[0]).await.is_none());
    assert_eq!(fixture.audit_rows(&fixture.contacts[0], AuditAction::ContactIncluded).await.len(), 1);
}

#[tokio::test]
async fn batch_of_a_demoted_administrator_is_stopped_permanently() {
    let fixture = fixture(50).await;
    let (admin, request) = (fixture.admin().await, fixture.request("a"));
    let (attempt, event) = (attempt(NOW), fixture.ann.event());
    let (store, tenant) = (&fixture.ann.store, fixture.ann.key.tenant());
    let id = batch_id(&admin, &request.key).unwrap();
    let batch = store.claim(&admin, &request, &id, &attempt, &event).await.unwrap();
    let run = Run { admin: &admin, id: &id, batch: &batch, attempt: &attempt, event: &event };
    assert!(matches!(store.apply_group(&run, 0).await.unwrap(), GroupResult::Done));
    let running = store.batch(tenant, &id).await.unwrap().unwrap();
    assert!(running.status == Status::Running && outcomes(&running) == vec![ContactOutcome::Excluded; 20]);
    // A higher security version ends the session. The role stays.
    fixture.ann.change(Action::Add(attr("ep"), 1)).await;
    assert_eq!(fixture.run_as(&admin, &request).await, Err(BatchRejection::ActorRevoked));
    assert_eq!(store.batch(tenant, &id).await.unwrap(), Some(running), "the batch still runs");
    fixture.ann.change(Action::Set(attr("r"), text("s"))).await;
    let report = fixture.run_as(&admin, &request).await.unwrap();
    assert_eq!(report.status, Status::Stopped);
    let expected = [vec![ContactOutcome::Excluded; 20], vec![ContactOutcome::NotApplied; 30]].concat();
    assert_eq!(outcomes(&report), expected);
    // A concurrent request whose run started before the demotion, and requests after the role was given back.
    assert!(matches!(store.apply_group(&run, 20).await.unwrap(), GroupResult::ActorRevoked));
    assert_eq!(fixture.run_as(&admin, &fixture.request("b")).await, Err(BatchRejection::ActorRevoked));
    fixture.ann.change(Action::Add(attr("ep"), -1)).await;
    fixture.ann.change(Action::Set(attr("r"), text("a"))).await;
    assert!(matches!(store.apply_group(&run, 20).await.unwrap(), GroupResult::Ended));
    assert_eq!(fixture.report(&request).await, report);
    assert!(fixture.ann.read(&fixture.key(&fixture.contacts[20])).await.excluded.is_none());
}

#[tokio::test]
async fn incomplete_batch_continues_with_a_new_session() {
    let fixture = fixture(50).await;
    let (admin, request) = (fixture.admin().await, fixture.request("a"));
    let (started, event) = (attempt(NOW), fixture.ann.event());
    let id = batch_id(&admin, &request.key).unwrap();
    let store = &fixture.ann.store;
    let batch = store.claim(&admin, &request, &id, &started, &event).await.unwrap();
    let run = Run { admin: &admin, id: &id, batch: &batch, attempt: &started, event: &event };
    store.apply_group(&run, 0).await.unwrap();
    let session = fixture.ann.session_of(&fixture.ann.key).await;
    fixture.ann.change(Action::Remove(attr("s").key(fixture.session.id().as_str().to_owned()))).await;
    assert_eq!(fixture.run_as(&admin, &request).await, Err(BatchRejection::ActorRevoked));
    let report = fixture.run_as(&fixture.ann.admin(&session).await, &request).await.unwrap();
    assert!(report.status == Status::Completed && outcomes(&report) == vec![ContactOutcome::Excluded; 50]);
    for id in &fixture.contacts {
        assert_eq!(fixture.audit_rows(id, AuditAction::ContactExcluded).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_repeats_apply_each_contact_once() {
    let fixture = Arc::new(fixture(65).await);
    let runs = (0..8).map(|_| {
        let fixture = Arc::clone(&fixture);
        async move { fixture.report(&fixture.request("a")).await }
    });
    for report in at_once(runs).await {
        assert!(report.status == Status::Completed && outcomes(&report) == vec![ContactOutcome::Excluded; 65]);
    }
    for id in &fixture.contacts {
        assert_eq!(fixture.ann.read(&fixture.key(id)).await.security_version.0, 2);
        assert_eq!(fixture.audit_rows(id, AuditAction::ContactExcluded).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn contact_who_becomes_an_employee_during_the_batch_is_not_excluded() {
    let fixture = Arc::new(fixture(20).await);
    let patch = Arc::new(Patch { kind: Some(Kind::Employee), role: Some(Role::Standard), ..Patch::default() });
    let mut all: Vec<Pin<Box<dyn Future<Output = Option<Report>> + Send>>> = Vec::new();
    for id in fixture.contacts.clone() {
        let (fixture, patch) = (Arc::clone(&fixture), Arc::clone(&patch));
        all.push(Box::pin(async move {
            let (store, event) = (&fixture.ann.store, fixture.ann.event());
            let (_, named) = store.load_user(&fixture.session, id, NOW).await.unwrap();
            let admin = fixture.admin().await;
            store.update_user(&admin, named, &patch, &attempt(NOW), &event).await.unwrap();
            None
        }));
    }
    let batch = Arc::clone(&fixture);
    all.insert(10, Box::pin(async move { Some(batch.report(&batch.request("a")).await) }));
    let report = at_once(all).await.into_iter().flatten().next().unwrap();
    for (id, outcome) in &report.results {
        let user = fixture.ann.read(&fixture.key(id)).await;
        assert!(user.kind == Kind::Employee && user.excluded.is_none() && fixture.exclusion_row(id).await.is_none());
        assert!(matches!(outcome, ContactOutcome::Excluded | ContactOutcome::NotAContact));
        assert_eq!(
            fixture.audit_rows(id, AuditAction::ContactExcluded).await.len(),
            usize::from(*outcome == ContactOutcome::Excluded)
        );
    }
}

/// A fixture over a table that runs another command before a chosen write. The writes of a batch of one group are its claim, the
/// group and the end.
async fn interleaved(contacts: usize) -> (Arc<BatchFixture>, Arc<InterleavedTable>) {
    let table = Arc::new(InterleavedTable::over(Arc::new(MemoryTable::default())));
    (Arc::new(fixture_over(Arc::<InterleavedTable>::clone(&table), contacts).await), table)
}

#[tokio::test]
async fn batch_that_another_request_ran_meanwhile_has_its_report() {
    for before in 1..=3 {
        let (fixture, table) = interleaved(2).await;
        let other = Arc::clone(&fixture);
        table.before_write(before, async move {
            other.report(&other.request("a")).await;
        });
        let report = fixture.report(&fixture.request("a")).await;
        assert!(!table.waits() && report.status == Status::Completed, "{before}");
        assert_eq!(outcomes(&report), [ContactOutcome::Excluded; 2]);
    }
}

#[tokio::test]
async fn outcomes_that_another_request_stored_meanwhile_stay() {
    for dry_run in [false, true] {
        let (fixture, table) = interleaved(1).await;
        let request = BatchRequest { dry_run, ..fixture.request("a") };
        let id = batch_id(&fixture.admin().await, &request.key).unwrap();
        let other = Arc::clone(&fixture);
        table.before_write(2, async move {
            let stored = item::write(&Outcomes { outcomes: vec![ContactOutcome::NotAContact] }).unwrap();
            other.ann.put(Write::put_new(keys::batch_group(other.ann.key.tenant(), &id, 0), stored)).await;
        });
        assert_eq!(outcomes(&fixture.report(&request).await), [ContactOutcome::NotAContact], "dry run: {dry_run}");
        assert!(!table.waits() && fixture.exclusion_row(&fixture.contacts[0]).await.is_none());
    }
}

#[tokio::test]
async fn batch_that_was_stopped_meanwhile_stays_stopped() {
    let (fixture, table) = interleaved(1).await;
    let id = batch_id(&fixture.admin().await, &fixture.request("a").key).unwrap();
    let other = Arc::clone(&fixture);
    table.before_write(3, async move {
        let stopped = vec![Action::Set(attr("st"), text("s"))];
        other.ann.put(Write::update(keys::batch(other.ann.key.tenant(), &id), vec![], stopped)).await;
    });
    assert_eq!(fixture.report(&fixture.request("a")).await.status, Status::Stopped);
    assert!(!table.waits());
}

/// The caller was deleted, and the user id was created again for another Administrator.
#[tokio::test]
async fn batch_of_a_deleted_administrator_is_stopped() {
    let (fixture, table) = interleaved(1).await;
    let (admin, other) = (fixture.admin().await, Arc::clone(&fixture));
    table.before_write(2, async move {
        other.ann.change(Action::Set(attr("born"), crate::store::write::bytes(&[9; 12]))).await;
        other.ann.change(Action::Add(attr("ep"), 1)).await;
    });
    let report = fixture.run_as(&admin, &fixture.request("a")).await.unwrap();
    assert_eq!((table.waits(), report.status), (false, Status::Stopped));
    assert_eq!(outcomes(&report), [ContactOutcome::NotApplied]);
}
