//! Commands of batch exclusion: contacts are excluded from MFA, or included again, in groups of twenty, each group one
//! transaction. What is durable says how far a batch is, so a repeat goes on where it was left, and concurrent repeats work
//! through it together.

use std::collections::HashMap;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Store, StoreError,
    enrolment::{raise_security_version, require_enrolment},
    item,
    item::{Exclusion, ExclusionRow, Kind, Profile, User},
    keys,
    session::AdminContext,
    table::{Query, Retry, Transacted, Transaction},
    write::{Action, Item, Value, Write, absent, attr, empty, eq, exists, num, text},
};
use crate::{
    audit::{Action as Did, AuditEvent, Notify},
    env::Timestamp,
    id::{BatchId, IdempotencyKey, TenantId, UserId, UserKey},
    sign_in::Attempt,
};

/// What an Administrator wants done.
#[derive(Debug, Clone)]
pub struct BatchRequest {
    /// Their own name for it.
    pub key: IdempotencyKey,
    /// Whose, in the order given; the same one twice counts once.
    pub contacts: Vec<UserId>,
    /// Exclude, or include again.
    pub disable_mfa: bool,
    /// Only tell what would happen.
    pub dry_run: bool,
    /// Why.
    pub reason: String,
}

/// How far a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Not through yet, or left in the middle: a repeat goes on.
    #[serde(rename = "r")]
    Running,
    /// Through.
    #[serde(rename = "c")]
    Completed,
    /// Its Administrator lost the right in the middle: the rest is not applied, for good.
    #[serde(rename = "s")]
    Stopped,
}

/// What became of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Excluded now.
    #[serde(rename = "x")]
    Excluded,
    /// Included again.
    #[serde(rename = "i")]
    Included,
    /// So already.
    #[serde(rename = "u")]
    Unchanged,
    /// An employee: never excluded.
    #[serde(rename = "e")]
    NotAContact,
    /// Nobody of this tenant.
    #[serde(rename = "n")]
    NotFound,
    /// A contact whose password is too short to be their only factor, or was set before its length was noted.
    #[serde(rename = "p")]
    PasswordTooShort,
    /// The batch was stopped before.
    #[serde(rename = "s")]
    NotApplied,
}

/// A batch as far as it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its id.
    pub id: BatchId,
    /// Excluding, or including again.
    pub disable_mfa: bool,
    /// Nothing was changed.
    pub dry_run: bool,
    /// How far it is.
    pub status: Status,
    /// What became of each, in the order given; while it runs, of those it came to.
    pub results: Vec<(UserId, Outcome)>,
}

/// What became of a batch.
#[derive(Debug)]
pub enum BatchResult {
    /// Through, stopped, or so already.
    Report(Report),
    /// The key was used with another body.
    OtherBody,
    /// The caller's session is over. What was begun goes on with a repeat.
    ActorRevoked,
}

/// A batch's claim on its key (`B`).
#[derive(Clone, Serialize, Deserialize)]
struct Claim {
    /// Digest of what was wanted.
    #[serde(rename = "h")]
    digest: String,
    by: UserId,
    /// When, ms.
    #[serde(rename = "t")]
    at: i64,
    #[serde(rename = "off")]
    disable_mfa: bool,
    #[serde(rename = "dry")]
    dry_run: bool,
    why: String,
    #[serde(rename = "st")]
    status: Status,
}

/// Its ids (`I`).
#[derive(Serialize, Deserialize)]
struct Contacts {
    ids: Vec<UserId>,
}

/// The outcomes of a group (`G`).
#[derive(Serialize, Deserialize)]
struct Outcomes {
    #[serde(rename = "o")]
    outcomes: Vec<Outcome>,
}

/// All that is durable of a batch.
struct Batch {
    claim: Claim,
    contacts: Vec<UserId>,
    /// By the place of the group's first.
    groups: HashMap<usize, Vec<Outcome>>,
}

/// One invocation that works through a batch.
struct Run<'a> {
    admin: &'a AdminContext,
    id: &'a BatchId,
    batch: &'a Batch,
    attempt: &'a Attempt,
    event: &'a AuditEvent,
}

/// What became of a group.
enum Step {
    /// Its outcomes are durable, by whomever.
    Done,
    /// Somebody ended the batch.
    Ended,
    /// The caller may no longer.
    ActorRevoked,
}

impl Store {
    /// Runs a batch, goes on with one that was left, or repeats its answer. The key is this person's: nobody else's request
    /// can name the batch (security.md 44).
    ///
    /// # Errors
    /// [`StoreError`]: some groups may be applied; a repeat goes on.
    pub async fn run_batch(
        &self,
        admin: &AdminContext,
        wanted: &BatchRequest,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<BatchResult, StoreError> {
        let tenant = admin.tenant();
        let id = batch_id(admin, &wanted.key)?;
        let mut event = event.clone();
        event.batch_id = Some(id.clone());
        let batch = match self.read_batch(tenant, &id).await? {
            Some(batch) => batch,
            None => match self.claim(admin, wanted, &id, attempt, &event).await? {
                Some(batch) => batch,
                None => return Ok(BatchResult::ActorRevoked),
            },
        };
        if batch.claim.digest != digest(wanted) {
            return Ok(BatchResult::OtherBody);
        }
        if batch.claim.status != Status::Running {
            return Ok(BatchResult::Report(batch.report(id)));
        }
        let run = Run { admin, id: &id, batch: &batch, attempt, event: &event };
        let mut ended = Some(Status::Completed);
        for first in (0..batch.contacts.len()).step_by(GROUP).filter(|first| !batch.groups.contains_key(first)) {
            ended = match self.group(&run, first).await? {
                Step::Done => continue,
                Step::Ended => None,
                Step::ActorRevoked if self.lost_the_right(admin).await? => Some(Status::Stopped),
                // They only have to sign in again: a repeat goes on.
                Step::ActorRevoked => return Ok(BatchResult::ActorRevoked),
            };
            break;
        }
        if let Some(status) = ended {
            // Told by the item, whoever ends it: after this write no group is added.
            let st = vec![Action::Set(attr("st"), item::value(&status)?)];
            let end = Write::update(keys::batch(tenant, &id), vec![eq(attr("st"), "r")], st);
            self.table.update(&end, Retry::Idempotent).await?;
        }
        let batch = self.read_batch(tenant, &id).await?;
        let batch = batch.ok_or_else(|| StoreError::Corrupt("a batch is gone".into()))?;
        Ok(BatchResult::Report(batch.report(id)))
    }

    /// Whether somebody administers no more: not only that their session is over.
    async fn lost_the_right(&self, admin: &AdminContext) -> Result<bool, StoreError> {
        let [own] = self.read_all([keys::user(admin.key())]).await?;
        let own: Option<User> = own.map(item::read).transpose()?;
        let incarnation = admin.principal().user().incarnation;
        Ok(!own.is_some_and(|own| own.incarnation == incarnation && own.administers_now()))
    }

    /// A batch of a tenant, from what is durable.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn batch(&self, tenant: &TenantId, id: &BatchId) -> Result<Option<Report>, StoreError> {
        Ok(self.read_batch(tenant, id).await?.map(|batch| batch.report(id.clone())))
    }

    async fn read_batch(&self, tenant: &TenantId, id: &BatchId) -> Result<Option<Batch>, StoreError> {
        let query = Query {
            index: false,
            partition: keys::batch_partition(tenant, id),
            prefix: String::new(),
            after: None,
            descending: false,
            limit: 100, // of at most 52: the claim, the ids, 50 groups
        };
        let (mut claim, mut contacts, mut groups) = (None, None, HashMap::new());
        for found in self.table.query(&query).await? {
            let Some(Value::S(sort)) = found.get("SK") else { continue };
            match sort.strip_prefix("G#").map(str::parse) {
                Some(Ok(first)) => {
                    groups.insert(first, item::read::<Outcomes>(found)?.outcomes);
                }
                _ if sort == "B" => claim = Some(item::read::<Claim>(found)?),
                _ if sort == "I" => contacts = Some(item::read::<Contacts>(found)?.ids),
                _ => return Err(StoreError::Corrupt("a batch with something else in it".into())),
            }
        }
        Ok(match (claim, contacts) {
            (Some(claim), Some(contacts)) => Some(Batch { claim, contacts, groups }),
            _ => None,
        })
    }

    /// Takes the key; `None`: the caller may no longer. Of several at once one takes it, and all work through it.
    async fn claim(
        &self,
        admin: &AdminContext,
        wanted: &BatchRequest,
        id: &BatchId,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Option<Batch>, StoreError> {
        let (tenant, at) = (admin.tenant(), attempt.at());
        let claim = Claim {
            digest: digest(wanted),
            by: admin.key().user().clone(),
            at: at.millis(),
            disable_mfa: wanted.disable_mfa,
            dry_run: wanted.dry_run,
            why: wanted.reason.clone(),
            status: Status::Running,
        };
        let contacts = Contacts { ids: collapsed(&wanted.contacts) };
        let writes = vec![
            Write::check(keys::user(admin.key()), admin.conditions(at)),
            Write::put_new(keys::batch(tenant, id), kept(item::write(&claim)?, at)),
            Write::put_new(keys::batch_ids(tenant, id), kept(item::write(&contacts)?, at)),
        ];
        let row = self.audit_row(tenant, attempt, 0, event)?;
        Ok(match self.table.transact(&Transaction::new(writes, row)).await? {
            Transacted::Committed => Some(Batch { claim, contacts: contacts.ids, groups: HashMap::new() }),
            Transacted::Refused(met) if met.first().is_some_and(Option::is_some) => None,
            Transacted::Refused(_) => self.read_batch(tenant, id).await?,
        })
    }

    /// Applies a group and writes its outcomes down, in one transaction; planned anew while its people change under it.
    async fn group(&self, run: &Run<'_>, first: usize) -> Result<Step, StoreError> {
        let tenant = run.admin.tenant();
        let contacts = run.batch.contacts.iter().skip(first).take(GROUP);
        let wanted: Vec<_> = contacts.map(|id| tenant.user(id.clone())).collect();
        let keys: Vec<_> = wanted.iter().flat_map(|key| [keys::user(key), keys::profile(key)]).collect();
        let mut last = None;
        for _ in 0..MAX_RETRIES {
            let mut found = self.table.read(&keys).await?.into_iter();
            let mut plan = Plan::default();
            for (number, key) in (first + 1..).zip(&wanted) {
                let (user, profile) = (found.next().flatten(), found.next().flatten());
                plan.add(self, run, number, key, user, profile)?;
            }
            let outcomes = kept(item::write(&Outcomes { outcomes: plan.outcomes })?, run.attempt.at());
            let outcomes = Write::put_new(keys::batch_group(tenant, run.id, first), outcomes);
            if run.batch.claim.dry_run {
                self.table.update(&outcomes, Retry::Idempotent).await?;
                return Ok(Step::Done);
            }
            let mut writes = vec![
                Write::check(keys::user(run.admin.key()), run.admin.conditions(run.attempt.at())),
                Write::check(keys::batch(tenant, run.id), vec![eq(attr("st"), "r")]),
            ];
            // The receipt is the row of the last contact. A group that changes nobody has its outcomes alone: written by
            // whomever, they say the same.
            let transaction = match plan.writes.pop() {
                Some(row) => {
                    writes.push(outcomes);
                    writes.extend(plan.writes);
                    Transaction::new(writes, row)
                }
                None => Transaction::new(writes, outcomes),
            };
            match self.table.transact(&transaction).await {
                Ok(Transacted::Committed) => return Ok(Step::Done),
                Ok(Transacted::Refused(met)) => {
                    let refused = |at: usize| met.get(at).is_some_and(Option::is_some);
                    match () {
                        () if refused(0) => return Ok(Step::ActorRevoked),
                        () if refused(1) => return Ok(Step::Ended),
                        () if refused(2) => return Ok(Step::Done),
                        () => {}
                    }
                }
                // Somebody of the twenty is signing in.
                Err(StoreError::Contended(what)) => last = Some(what),
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Contended(last.unwrap_or_else(|| "people of a batch keep changing".into())))
    }
}

/// How many contacts one transaction takes: three writes each, of at most a hundred.
const GROUP: usize = 20;
/// How often a group is planned anew.
const MAX_RETRIES: usize = 8;
/// How long a batch is kept.
const KEPT: std::time::Duration = std::time::Duration::from_secs(400 * 86_400);

fn kept(mut item: Item, at: Timestamp) -> Item {
    item.insert("ttl".to_owned(), num((at + KEPT).secs()));
    item
}

/// A group as it is to be written.
#[derive(Default)]
struct Plan {
    outcomes: Vec<Outcome>,
    /// Of each contact that changes: the person, the row of the list, and last its audit row.
    writes: Vec<Write>,
}

impl Plan {
    fn add(
        &mut self,
        store: &Store,
        run: &Run<'_>,
        number: usize,
        key: &UserKey,
        user: Option<Item>,
        profile: Option<Item>,
    ) -> Result<(), StoreError> {
        let claim = &run.batch.claim;
        let (Some(user), Some(profile)) = (user, profile) else {
            self.outcomes.push(Outcome::NotFound);
            return Ok(());
        };
        let (user, profile): (User, Profile) = (item::read(user)?, item::read(profile)?);
        let outcome = match (user.kind, claim.disable_mfa, user.excluded.is_some()) {
            (Kind::Employee, ..) => Outcome::NotAContact,
            (Kind::Contact, true, false) if !user.password_fits_contact => Outcome::PasswordTooShort,
            (Kind::Contact, true, false) => Outcome::Excluded,
            (Kind::Contact, false, true) => Outcome::Included,
            (Kind::Contact, ..) => Outcome::Unchanged,
        };
        self.outcomes.push(outcome);
        let now = run.attempt.at();
        let (action, writes) = match outcome {
            Outcome::Excluded => (Did::ContactExcluded, exclude(run, key, &user, &profile, now)?),
            Outcome::Included => (Did::ContactIncluded, include(key, &user, now)),
            _ => return Ok(()),
        };
        self.writes.extend(writes);
        let mut event = run.event.clone().about(key.user()).notify(Notify::User);
        event.action = action;
        let number = u16::try_from(number).map_err(|_| StoreError::Corrupt("a batch is too long".into()))?;
        self.writes.push(store.audit_row(key.tenant(), run.attempt, number, &event)?);
        Ok(())
    }
}

/// No factor, no token, no way to one: the password alone signs in from now on. Only ever for a contact: whatever they
/// became since they were read, the guard asks the item itself (security.md 43, 45).
fn exclude(
    run: &Run<'_>,
    key: &UserKey,
    user: &User,
    profile: &Profile,
    now: Timestamp,
) -> Result<[Write; 2], StoreError> {
    let mut actions = vec![
        Action::Set(attr("ex"), item::value(&Exclusion { batch: run.id.clone(), at: now.millis() })?),
        Action::Set(attr("fs"), text("n")),
        Action::Set(attr("f"), empty()),
        Action::Set(attr("row"), num(0)),
        Action::Set(attr("life"), num(0)),
    ];
    let gone = ["fid", "sec", "ls", "fat", "rk", "rkt", "rc", "rq", "eb"];
    actions.extend(gone.map(|name| Action::Remove(attr(name))));
    actions.extend(raise_security_version());
    let conditions =
        vec![eq(attr("k"), "c"), absent(attr("ex")), eq(attr("born"), user.incarnation.bytes()), eq(attr("pl"), true)];
    let row = ExclusionRow {
        contact: key.user().clone(),
        username: profile.username.clone(),
        by: run.admin.key().user().clone(),
        why: run.batch.claim.why.clone(),
        batch: run.id.clone(),
        at: now.millis(),
    };
    let mut row = item::write(&row)?;
    row.insert("GP".to_owned(), text(keys::exclusions(key.tenant())));
    row.insert("GS".to_owned(), text(format!("{:013}#{}", now.millis(), key.user())));
    Ok([Write::update(keys::user(key), conditions, actions), Write::put_new(keys::exclusion(key), row)])
}

/// They have to enrol at the next sign-in.
fn include(key: &UserKey, user: &User, now: Timestamp) -> [Write; 2] {
    let mut actions = vec![Action::Remove(attr("ex"))];
    actions.extend(require_enrolment(now));
    actions.extend(raise_security_version());
    let conditions = vec![eq(attr("k"), "c"), exists(attr("ex")), eq(attr("born"), user.incarnation.bytes())];
    [Write::update(keys::user(key), conditions, actions), Write::delete(keys::exclusion(key), vec![])]
}

impl Batch {
    fn report(&self, id: BatchId) -> Report {
        let outcome = |place: usize| {
            let (first, within) = (place - place % GROUP, place % GROUP);
            let known = self.groups.get(&first).and_then(|group| group.get(within)).copied();
            known.or((self.claim.status == Status::Stopped).then_some(Outcome::NotApplied))
        };
        let results = self.contacts.iter().enumerate();
        let results = results.filter_map(|(place, contact)| Some((contact.clone(), outcome(place)?))).collect();
        let Claim { disable_mfa, dry_run, status, .. } = self.claim;
        Report { id, disable_mfa, dry_run, status, results }
    }
}

/// Each once, in the order of their first place.
fn collapsed(contacts: &[UserId]) -> Vec<UserId> {
    let mut seen = std::collections::HashSet::new();
    contacts.iter().filter(|contact| seen.insert(*contact)).cloned().collect()
}

/// The batch's id is made from its Administrator, in this incarnation, and their key.
fn batch_id(admin: &AdminContext, key: &IdempotencyKey) -> Result<BatchId, StoreError> {
    let (who, incarnation) = (admin.key(), admin.principal().user().incarnation);
    let parts = [
        who.tenant().as_str().as_bytes(),
        who.user().as_str().as_bytes(),
        incarnation.bytes(),
        key.as_str().as_bytes(),
    ];
    let digest = hash(b"vestibule/1 batch", parts);
    BatchId::parse(&BASE64URL_NOPAD.encode(&digest[..16])).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn digest(wanted: &BatchRequest) -> String {
    let flags = [u8::from(wanted.disable_mfa), u8::from(wanted.dry_run)];
    let contacts = collapsed(&wanted.contacts);
    let parts = [&flags[..], wanted.reason.as_bytes()].into_iter();
    let parts = parts.chain(contacts.iter().map(|contact| contact.as_str().as_bytes()));
    BASE64URL_NOPAD.encode(&hash(b"vestibule/1 batch body", parts))
}

/// Each part with its length: no two lists of parts have the same bytes.
fn hash<'a>(purpose: &[u8], parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(purpose);
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, sync::Arc};

    use super::*;
    use crate::store::{
        fixture::{Ann, NOW, STEP, ann, at_once, attempt, enrolment},
        item::{FactorState, Role},
        users::{Changed, Patch},
    };

    struct Office {
        ann: Ann,
        session: crate::secret::TokenRef,
        contacts: Vec<UserId>,
    }

    /// Ann, signed in, and contacts of hers.
    async fn office(contacts: usize) -> Office {
        let (ann, challenges) = ann(1).await;
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
            listed
                .iter()
                .all(|row| row.batch == report.id && row.why == "portal only" && row.by == *office.ann.key.user())
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

    /// The item itself is asked, whatever was read before.
    #[tokio::test]
    async fn the_write_of_an_exclusion_asks_for_the_length_of_the_password() {
        let office = office(1).await;
        let (admin, wanted, begun) = (office.admin().await, office.wanted("a"), attempt(NOW));
        let (id, event) = (batch_id(&admin, &wanted.key).unwrap(), office.ann.event());
        let store = &office.ann.store;
        let batch = store.claim(&admin, &wanted, &id, &begun, &event).await.unwrap().unwrap();
        let run = Run { admin: &admin, id: &id, batch: &batch, attempt: &begun, event: &event };
        let key = office.key(&office.contacts[0]);
        let [user, profile] = store.read_all([keys::user(&key), keys::profile(&key)]).await.unwrap();
        let mut plan = Plan::default();
        plan.add(store, &run, 1, &key, user, profile).unwrap();
        office.change(key.user(), vec![Action::Set(attr("pl"), Value::Bool(false))]).await;
        let answer = store.table.update(&plan.writes[0], Retry::Never).await.unwrap();
        assert!(matches!(answer, crate::store::table::Updated::Refused(_)));
        office.change(key.user(), vec![Action::Set(attr("pl"), Value::Bool(true))]).await;
        let answer = store.table.update(&plan.writes[0], Retry::Never).await.unwrap();
        assert!(matches!(answer, crate::store::table::Updated::Written(_)), "that alone was in its way");
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
    async fn whoever_is_included_again_has_to_enrol() {
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
        let BatchResult::Report(report) = office.run_as(&office.ann.admin(&session).await, &wanted).await else {
            panic!()
        };
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
}
