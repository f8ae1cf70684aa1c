//! Tests of batches.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use super::*;
use crate::{
    audit::{Action as Did, Notify},
    id::UserKey,
    store::{
        Table,
        fixture::{Ann, NOW, STEP, ann_of, at_once, attempt, enrolment},
        interleaved::InterleavedTable,
        item::{FactorState, Kind, Role},
        memory::MemoryTable,
        table::{Transacted, Transaction, Updated},
        users::{Changed, Patch},
        write::{Key, text},
    },
};

struct Office {
    ann: Ann,
    session: crate::secret::TokenRef,
    contacts: Vec<UserId>,
}

/// Ann with a session, and contacts of her tenant.
async fn office(contacts: usize) -> Office {
    office_over(Arc::new(MemoryTable::default()), contacts).await
}

async fn office_over(table: Arc<dyn Table>, contacts: usize) -> Office {
    let (ann, challenges) = ann_of("acme", table, 1).await;
    let session = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
    let mut office = Office { ann, session, contacts: Vec::new() };
    for n in 0..contacts {
        let key = office.ann.someone(&format!("c{n:03}"), Role::Portal).await;
        office.contacts.push(key.user().clone());
    }
    office
}

impl Office {
    fn key(&self, id: &UserId) -> UserKey {
        self.ann.key.tenant().user(id.clone())
    }

    async fn admin(&self) -> AdminContext {
        self.ann.admin(&self.session).await
    }

    fn wanted(&self, key: &str) -> BatchRequest {
        BatchRequest {
            key: IdempotencyKey::parse(key).unwrap(),
            contacts: self.contacts.clone(),
            disable_mfa: true,
            dry_run: false,
            reason: "portal only".to_owned(),
        }
    }

    async fn run(&self, wanted: &BatchRequest) -> BatchResult {
        self.run_as(&self.admin().await, wanted).await
    }

    async fn run_as(&self, admin: &AdminContext, wanted: &BatchRequest) -> BatchResult {
        let event = AuditEvent::new(Did::ExclusionBatch, crate::audit::Outcome::Success, "r");
        let event = event.by(admin.key().user());
        self.ann.store.run_batch(admin, wanted, &attempt(NOW), &event).await.unwrap()
    }

    async fn report(&self, wanted: &BatchRequest) -> Report {
        match self.run(wanted).await {
            BatchResult::Report(report) => report,
            other => panic!("{other:?}"),
        }
    }

    async fn row(&self, id: &UserId) -> Option<Item> {
        self.ann.store.table.read(&[keys::exclusion(&self.key(id))]).await.unwrap().remove(0)
    }

    async fn change(&self, id: &UserId, actions: Vec<Action>) {
        let write = Write::update(keys::user(&self.key(id)), vec![], actions);
        self.ann.store.table.update(&write, Retry::Never).await.unwrap();
    }

    /// The audit rows about somebody, of an action.
    async fn rows(&self, id: &UserId, action: Did) -> Vec<AuditEvent> {
        let mut rows = Vec::new();
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
                rows.push(item::read::<AuditEvent>(row).unwrap());
            }
        }
        rows.retain(|row| row.action == action && row.target.as_ref() == Some(id));
        rows
    }
}

fn outcomes(report: &Report) -> Vec<Outcome> {
    report.results.iter().map(|(_, outcome)| *outcome).collect()
}

#[tokio::test]
async fn contacts_are_excluded_and_nobody_else() {
    let mut office = office(45).await;
    let enrolled = office.contacts[30].clone();
    let mut factor = enrolment();
    factor.extend([
        Action::Set(attr("row"), num(7)),
        Action::Set(attr("rk"), crate::store::write::bytes(&[0; 32])),
        Action::Set(attr("rq"), Value::Bool(true)),
    ]);
    factor.extend(["rkt", "eb"].map(|name| Action::Set(attr(name), num(1))));
    office.change(&enrolled, factor).await;
    let employee = office.ann.someone("e", Role::Standard).await.user().clone();
    office.contacts.insert(21, employee.clone());
    office.contacts.push(office.ann.key.user().clone());
    office.contacts.push(UserId::parse("u-none").unwrap());
    let mut wanted = office.wanted("a");
    wanted.contacts.push(office.contacts[0].clone());
    let report = office.report(&wanted).await;
    assert_eq!((report.status, report.dry_run, report.disable_mfa), (Status::Completed, false, true));
    assert_eq!(report.results.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), office.contacts);
    for (id, outcome) in &report.results {
        let want = match id {
            id if *id == employee || id == office.ann.key.user() => Outcome::NotAContact,
            id if id.as_str() == "u-none" => Outcome::NotFound,
            _ => Outcome::Excluded,
        };
        assert_eq!(*outcome, want, "{id}");
        let excluded = want == Outcome::Excluded;
        assert_eq!(office.row(id).await.is_some(), excluded);
        let told = office.rows(id, Did::ContactExcluded).await;
        assert_eq!(told.len(), usize::from(excluded), "{id}");
        assert!(told.iter().all(|row| row.batch_id.as_ref() == Some(&report.id) && row.notify == [Notify::User]));
        if want != Outcome::NotFound {
            let user = office.ann.read(&office.key(id)).await;
            assert_eq!((user.excluded.is_some(), user.security_version), (excluded, if excluded { 2 } else { 1 }));
        }
    }
    let user = office.ann.read(&office.key(&enrolled)).await;
    assert!(!user.has_factor() && !user.reset_code_required);
    assert!(user.enrol_by.is_none() && user.consecutive_failures == 0);
    let listed = office.ann.store.exclusions(office.ann.key.tenant(), None, 100).await.unwrap().items;
    assert_eq!(listed.len(), 45);
    assert!(
        listed.iter().all(|row| row.batch == report.id && row.why == "portal only" && row.by == *office.ann.key.user())
    );
}

#[tokio::test]
async fn a_repeat_answers_the_same_and_changes_nothing() {
    let office = office(25).await;
    let wanted = office.wanted("a");
    let first = office.report(&wanted).await;
    // Included by another batch since: the first one's answer stays what it was.
    office.report(&BatchRequest { disable_mfa: false, ..office.wanted("b") }).await;
    assert_eq!(office.report(&wanted).await, first);
    assert_eq!(office.ann.store.batch(office.ann.key.tenant(), &first.id).await.unwrap(), Some(first));
    assert!(office.ann.read(&office.key(&office.contacts[3])).await.excluded.is_none());
    for other in [
        BatchRequest { reason: "another".to_owned(), ..wanted.clone() },
        BatchRequest { dry_run: true, ..wanted.clone() },
        BatchRequest { disable_mfa: false, ..wanted.clone() },
        BatchRequest { contacts: wanted.contacts[1..].to_vec(), ..wanted.clone() },
    ] {
        assert!(matches!(office.run(&other).await, BatchResult::OtherBody));
    }
    let again = office.report(&office.wanted("c")).await;
    assert!(outcomes(&again).iter().all(|outcome| *outcome == Outcome::Excluded));
    let more = office.report(&office.wanted("d")).await;
    assert!(outcomes(&more).iter().all(|outcome| *outcome == Outcome::Unchanged));
}

/// Their password may become their only factor (security.md 9).
#[tokio::test]
async fn a_contact_whose_password_is_short_or_of_unknown_length_is_refused_and_nobody_else() {
    let office = office(4).await;
    office.change(&office.contacts[1], vec![Action::Set(attr("pl"), Value::Bool(false))]).await;
    office.change(&office.contacts[2], vec![Action::Remove(attr("pl"))]).await;
    let want = [Outcome::Excluded, Outcome::PasswordTooShort, Outcome::PasswordTooShort, Outcome::Excluded];
    let dry = BatchRequest { dry_run: true, ..office.wanted("dry") };
    assert_eq!(outcomes(&office.report(&dry).await), want);
    assert_eq!(outcomes(&office.report(&office.wanted("a")).await), want);
    for (id, outcome) in office.contacts.iter().zip(want) {
        let excluded = outcome == Outcome::Excluded;
        assert_eq!(office.ann.read(&office.key(id)).await.excluded.is_some(), excluded);
        assert_eq!(office.row(id).await.is_some(), excluded);
        assert_eq!(office.rows(id, Did::ContactExcluded).await.len(), usize::from(excluded));
    }
    // Nor is somebody held back from being included again.
    office.change(&office.contacts[0], vec![Action::Set(attr("pl"), Value::Bool(false))]).await;
    let again = BatchRequest { disable_mfa: false, ..office.wanted("b") };
    assert_eq!(outcomes(&office.report(&again).await)[0], Outcome::Included);
}

/// A table that notes how many items each read is of.
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

/// An office in which another request changes a contact after the contact was read and before the group is written. The group
/// reads its contacts, and then only the changed one again.
async fn batch_interrupted_by(contacts: usize, change: Action) -> (Office, Report) {
    let counted = Arc::new(CountedReads::default());
    let table = Arc::new(InterleavedTable::over(Arc::<CountedReads>::clone(&counted)));
    let office = office_over(Arc::<InterleavedTable>::clone(&table), contacts).await;
    let (store, first) = (office.ann.store.clone(), office.key(&office.contacts[0]));
    // The first write is the claim of the batch, the second the group.
    table.before_write(2, async move {
        let write = Write::update(keys::user(&first), vec![], vec![change]);
        store.table.update(&write, Retry::Never).await.unwrap();
    });
    let report = office.report(&office.wanted("a")).await;
    assert!(!table.waits());
    assert!(counted.1.lock().unwrap().ends_with(&[2 * contacts, 2]), "a user and its names each");
    (office, report)
}

#[tokio::test]
async fn contact_whose_password_became_short_meanwhile_is_not_excluded() {
    let (office, report) = batch_interrupted_by(2, Action::Set(attr("pl"), Value::Bool(false))).await;
    assert_eq!(outcomes(&report), [Outcome::PasswordTooShort, Outcome::Excluded]);
    assert!(office.ann.read(&office.key(&office.contacts[0])).await.excluded.is_none());
    assert!(office.row(&office.contacts[0]).await.is_none());
}

#[tokio::test]
async fn contact_who_signed_in_meanwhile_is_excluded_with_the_others() {
    let (office, report) = batch_interrupted_by(20, Action::Set(attr("seen"), num(1))).await;
    assert_eq!(outcomes(&report), [Outcome::Excluded; 20]);
    for id in &office.contacts {
        assert_eq!(office.ann.read(&office.key(id)).await.security_version, 2);
        assert_eq!(office.rows(id, Did::ContactExcluded).await.len(), 1);
    }
}

#[tokio::test]
async fn a_dry_run_tells_and_changes_nothing() {
    let office = office(22).await;
    let dry = BatchRequest { dry_run: true, ..office.wanted("a") };
    let report = office.report(&dry).await;
    assert!(report.dry_run && outcomes(&report) == vec![Outcome::Excluded; 22]);
    for id in &office.contacts {
        assert!(office.ann.read(&office.key(id)).await.security_version == 1 && office.row(id).await.is_none());
    }
    assert!(matches!(office.run(&office.wanted("a")).await, BatchResult::OtherBody), "the key is claimed");
    office.report(&office.wanted("b")).await;
    assert_eq!(office.report(&dry).await, report, "also when it would tell something else by now");
}

#[tokio::test]
async fn reincluded_contact_must_enrol() {
    let office = office(2).await;
    office.report(&office.wanted("a")).await;
    office.change(&office.contacts[0], vec![Action::Set(attr("eb"), num(NOW.secs()))]).await;
    let report = office.report(&BatchRequest { disable_mfa: false, ..office.wanted("b") }).await;
    assert_eq!(outcomes(&report), [Outcome::Included; 2]);
    let user = office.ann.read(&office.key(&office.contacts[0])).await;
    assert!(user.excluded.is_none() && user.factor.state() == FactorState::None && user.security_version == 3);
    assert!(user.enrol_by.is_none(), "the window of a reset is over");
    assert!(office.row(&office.contacts[0]).await.is_none());
    assert_eq!(office.rows(&office.contacts[0], Did::ContactIncluded).await.len(), 1);
}

#[tokio::test]
async fn after_the_demotion_nothing_is_applied_and_the_batch_is_stopped_for_good() {
    let office = office(50).await;
    let (admin, wanted) = (office.admin().await, office.wanted("a"));
    let (attempt, event) = (attempt(NOW), office.ann.event());
    let (store, tenant) = (&office.ann.store, office.ann.key.tenant());
    let id = batch_id(&admin, &wanted.key).unwrap();
    let batch = store.claim(&admin, &wanted, &id, &attempt, &event).await.unwrap().unwrap();
    let run = Run { admin: &admin, id: &id, batch: &batch, attempt: &attempt, event: &event };
    assert!(matches!(store.group(&run, 0).await.unwrap(), Step::Done));
    let running = store.batch(tenant, &id).await.unwrap().unwrap();
    assert!(running.status == Status::Running && outcomes(&running) == vec![Outcome::Excluded; 20]);
    // As by another's password change: the session is over, the right is not.
    office.ann.change(Action::Add(attr("ep"), 1)).await;
    assert!(matches!(office.run_as(&admin, &wanted).await, BatchResult::ActorRevoked));
    assert_eq!(store.batch(tenant, &id).await.unwrap(), Some(running), "a repeat goes on");
    office.ann.change(Action::Set(attr("r"), text("s"))).await;
    let BatchResult::Report(report) = office.run_as(&admin, &wanted).await else { panic!() };
    assert_eq!(report.status, Status::Stopped);
    let want = [vec![Outcome::Excluded; 20], vec![Outcome::NotApplied; 30]].concat();
    assert_eq!(outcomes(&report), want);
    // Another invocation that was under way all the time, and one after the right came back.
    assert!(matches!(store.group(&run, 20).await.unwrap(), Step::ActorRevoked));
    assert!(matches!(office.run_as(&admin, &office.wanted("b")).await, BatchResult::ActorRevoked));
    office.ann.change(Action::Add(attr("ep"), -1)).await;
    office.ann.change(Action::Set(attr("r"), text("a"))).await;
    assert!(matches!(store.group(&run, 20).await.unwrap(), Step::Ended));
    assert_eq!(office.report(&wanted).await, report);
    assert!(office.ann.read(&office.key(&office.contacts[20])).await.excluded.is_none());
}

#[tokio::test]
async fn a_batch_that_was_left_goes_on_with_a_new_session() {
    let office = office(50).await;
    let (admin, wanted) = (office.admin().await, office.wanted("a"));
    let (begun, event) = (attempt(NOW), office.ann.event());
    let id = batch_id(&admin, &wanted.key).unwrap();
    let store = &office.ann.store;
    let batch = store.claim(&admin, &wanted, &id, &begun, &event).await.unwrap().unwrap();
    let run = Run { admin: &admin, id: &id, batch: &batch, attempt: &begun, event: &event };
    store.group(&run, 0).await.unwrap();
    let session = office.ann.session_of(&office.ann.key).await;
    office.ann.change(Action::Remove(attr("s").key(office.session.id().as_str().to_owned()))).await;
    assert!(matches!(office.run_as(&admin, &wanted).await, BatchResult::ActorRevoked));
    let BatchResult::Report(report) = office.run_as(&office.ann.admin(&session).await, &wanted).await else { panic!() };
    assert!(report.status == Status::Completed && outcomes(&report) == vec![Outcome::Excluded; 50]);
    for id in &office.contacts {
        assert_eq!(office.rows(id, Did::ContactExcluded).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_repeats_apply_each_contact_once() {
    let office = Arc::new(office(65).await);
    let runs = (0..8).map(|_| {
        let office = Arc::clone(&office);
        async move { office.report(&office.wanted("a")).await }
    });
    for report in at_once(runs).await {
        assert!(report.status == Status::Completed && outcomes(&report) == vec![Outcome::Excluded; 65]);
    }
    for id in &office.contacts {
        assert_eq!(office.ann.read(&office.key(id)).await.security_version, 2);
        assert_eq!(office.rows(id, Did::ContactExcluded).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_employee_ends_up_excluded_whatever_the_timing() {
    let office = Arc::new(office(20).await);
    let patch = Arc::new(Patch { kind: Some(Kind::Employee), role: Some(Role::Standard), ..Patch::default() });
    let mut all: Vec<Pin<Box<dyn Future<Output = Option<Report>> + Send>>> = Vec::new();
    for id in office.contacts.clone() {
        let (office, patch) = (Arc::clone(&office), Arc::clone(&patch));
        all.push(Box::pin(async move {
            let (store, event) = (&office.ann.store, office.ann.event());
            let (_, named) = store.load_user(&office.session, id, NOW).await.unwrap().ok().unwrap();
            let admin = office.admin().await;
            let changed = store.update_user(&admin, named, &patch, &attempt(NOW), &event).await;
            assert!(matches!(changed.unwrap(), Changed::Done(_)));
            None
        }));
    }
    let batch = Arc::clone(&office);
    all.insert(10, Box::pin(async move { Some(batch.report(&batch.wanted("a")).await) }));
    let report = at_once(all).await.into_iter().flatten().next().unwrap();
    for (id, outcome) in &report.results {
        let user = office.ann.read(&office.key(id)).await;
        assert!(user.kind == Kind::Employee && user.excluded.is_none() && office.row(id).await.is_none());
        assert!(matches!(outcome, Outcome::Excluded | Outcome::NotAContact));
        assert_eq!(office.rows(id, Did::ContactExcluded).await.len(), usize::from(*outcome == Outcome::Excluded));
    }
}
