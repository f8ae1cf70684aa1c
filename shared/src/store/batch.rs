//! Batches: contacts are excluded from MFA, or included again, in groups of [`GROUP`]. Each group is one transaction with its
//! outcomes, so the stored items say how far a batch is: a repeat continues where the last run stopped, and concurrent repeats
//! share the work.

mod group;

use std::collections::HashMap;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use group::Step;

use super::{
    Store, StoreError,
    commit::{self, Commit, Decision},
    item,
    item::User,
    keys,
    session::AdminContext,
    table::{Query, Retry},
    write::{Action, Item, Value, Write, attr, eq, num},
};
use crate::{
    audit::AuditEvent,
    env::Timestamp,
    id::{BatchId, IdempotencyKey, TenantId, UserId},
    sign_in::Attempt,
};

/// A batch that an Administrator requests.
#[derive(Debug, Clone)]
pub struct BatchRequest {
    /// Identifies the batch among those of this Administrator.
    pub key: IdempotencyKey,
    /// The contacts, in the order given. A repeated contact counts once.
    pub contacts: Vec<UserId>,
    /// Whether to exclude the contacts, or to include them again.
    pub disable_mfa: bool,
    /// Whether to report the outcomes without any change.
    pub dry_run: bool,
    /// The reason, for the audit.
    pub reason: String,
}

/// State of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Not complete. A repeat continues it.
    #[serde(rename = "r")]
    Running,
    /// Every group is applied.
    #[serde(rename = "c")]
    Completed,
    /// The Administrator lost the role before the end. The other groups are never applied.
    #[serde(rename = "s")]
    Stopped,
}

/// Outcome for one contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Was excluded.
    #[serde(rename = "x")]
    Excluded,
    /// Was included again.
    #[serde(rename = "i")]
    Included,
    /// Was excluded, or included, before.
    #[serde(rename = "u")]
    Unchanged,
    /// Is an employee, who is never excluded.
    #[serde(rename = "e")]
    NotAContact,
    /// The tenant has no such user.
    #[serde(rename = "n")]
    NotFound,
    /// The password is too short to be the only factor, or was set before its length was noted.
    #[serde(rename = "p")]
    PasswordTooShort,
    /// The batch was stopped before this contact.
    #[serde(rename = "s")]
    NotApplied,
}

/// The durable state of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The id of the batch.
    pub id: BatchId,
    /// Whether it excludes contacts, or includes them again.
    pub disable_mfa: bool,
    /// Whether it changes nothing.
    pub dry_run: bool,
    /// State.
    pub status: Status,
    /// The outcomes in the order of the request; while the batch runs, those so far.
    pub results: Vec<(UserId, Outcome)>,
}

/// Result of a request for a batch.
#[derive(Debug)]
pub enum BatchResult {
    /// Complete or stopped, now or by an earlier request.
    Report(Report),
    /// The key was used with another body.
    OtherBody,
    /// The caller's session ended. A repeat with another session continues the batch.
    ActorRevoked,
}

/// The claim of a batch on its key (`B`).
#[derive(Clone, Serialize, Deserialize)]
struct Claim {
    /// Digest of the request.
    #[serde(rename = "h")]
    digest: String,
    by: UserId,
    /// When it was claimed, ms.
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

/// The contacts of a batch (`I`).
#[derive(Serialize, Deserialize)]
struct Contacts {
    ids: Vec<UserId>,
}

/// The outcomes of one group (`G`).
#[derive(Serialize, Deserialize)]
struct Outcomes {
    #[serde(rename = "o")]
    outcomes: Vec<Outcome>,
}

/// A batch as it is stored.
struct Batch {
    claim: Claim,
    contacts: Vec<UserId>,
    /// Outcomes by the place of the group's first contact.
    groups: HashMap<usize, Vec<Outcome>>,
}

/// One request that applies a batch.
struct Run<'a> {
    admin: &'a AdminContext,
    id: &'a BatchId,
    batch: &'a Batch,
    attempt: &'a Attempt,
    event: &'a AuditEvent,
}

impl Store {
    /// Runs a batch, continues one that is not complete, or repeats the report of one that is. The batch belongs to the
    /// caller: no other user's request can name it (docs/security.md 44).
    ///
    /// # Errors
    /// [`StoreError`]: some groups may be applied. A repeat continues.
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
                // The caller must only sign in again: a repeat continues.
                Step::ActorRevoked => return Ok(BatchResult::ActorRevoked),
            };
            break;
        }
        if let Some(status) = ended {
            // After this write no group is applied. The report is read again, because another run may have ended the batch.
            let st = vec![Action::Set(attr("st"), item::value(&status)?)];
            let end = Write::update(keys::batch(tenant, &id), vec![eq(attr("st"), "r")], st);
            self.table.update(&end, Retry::Idempotent).await?;
        }
        let batch = self.read_batch(tenant, &id).await?;
        let batch = batch.ok_or_else(|| StoreError::Corrupt("a batch is gone".into()))?;
        Ok(BatchResult::Report(batch.report(id)))
    }

    /// Whether the caller lost the role, and not only the session.
    async fn lost_the_right(&self, admin: &AdminContext) -> Result<bool, StoreError> {
        let [own] = self.read_all([keys::user(admin.key())]).await?;
        let own: Option<User> = own.map(item::read).transpose()?;
        let incarnation = admin.principal().user().incarnation;
        Ok(!own.is_some_and(|own| own.incarnation == incarnation && own.administers_now()))
    }

    /// A batch of a tenant.
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
            limit: 100, // at most 52 items: the claim, the contacts, 50 groups
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

    /// Claims the key. If a concurrent request claims it first, its batch is returned. `None`: the caller may no longer.
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
        let audit_row = Some(self.audit_row(tenant, attempt, 0, event)?);
        let outcome = Batch { claim, contacts: contacts.ids, groups: HashMap::new() };
        let decision = Decision { writes, audit_row, outcome };
        let written = decision.keys();
        Ok(match self.try_commit(decision).await? {
            Commit::Done(batch) => Some(batch),
            Commit::Stale(found) => {
                let changed = commit::changed_items(written, found);
                if changed.contains_key(&keys::user(admin.key())) { None } else { self.read_batch(tenant, id).await? }
            }
        })
    }
}

/// Contacts of one transaction: three writes each, and DynamoDB takes 100 writes.
const GROUP: usize = 20;
/// Retention of a batch.
const KEPT: std::time::Duration = std::time::Duration::from_secs(400 * 86_400);

fn kept(mut item: Item, at: Timestamp) -> Item {
    item.insert("ttl".to_owned(), num((at + KEPT).secs()));
    item
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

/// Each contact once, in the order of first mention.
fn collapsed(contacts: &[UserId]) -> Vec<UserId> {
    let mut seen = std::collections::HashSet::new();
    contacts.iter().filter(|contact| seen.insert(*contact)).cloned().collect()
}

/// The id of a batch: a digest of its Administrator, the Administrator's incarnation, and the key.
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

/// Hashes each part with its length, so that no two lists of parts have the same bytes.
fn hash<'a>(purpose: &[u8], parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(purpose);
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
