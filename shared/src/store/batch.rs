//! Batches that exclude contacts from MFA, or include them again, in groups of [`GROUP`] contacts. One transaction applies a
//! group and stores its outcomes. So a repeated request continues where the last one stopped, and concurrent repeats share the
//! work.

mod group;

use std::collections::HashMap;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use group::GroupResult;

use super::{
    AttemptEvent, OperationError, Store, StoreError, item,
    item::User,
    keys,
    records::times::millis,
    session::AdminContext,
    table::{Query, Retry, Transacted, Transaction},
    write::{Action, Item, Value, Write, attr, eq, num},
};
use crate::{
    audit::AuditEvent,
    env::Timestamp,
    id::{BatchId, IdempotencyKey, TenantId, UserId},
    sign_in::Attempt,
};

/// What a batch does with its contacts. As a boolean, in requests and stored batches: whether it excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum ExclusionChange {
    /// Excludes them from MFA.
    Exclude,
    /// Includes them again.
    Include,
}

impl From<bool> for ExclusionChange {
    fn from(excludes: bool) -> Self {
        if excludes { Self::Exclude } else { Self::Include }
    }
}

impl From<ExclusionChange> for bool {
    fn from(change: ExclusionChange) -> Self {
        change == ExclusionChange::Exclude
    }
}

/// A batch that an Administrator requests.
#[derive(Debug, Clone)]
pub struct BatchRequest {
    /// Identifies the batch among those of this Administrator.
    pub key: IdempotencyKey,
    /// The contacts, in the order given. A repeated contact counts once.
    pub contacts: Vec<UserId>,
    /// What to do with the contacts.
    pub change: ExclusionChange,
    /// Whether to report the outcomes without any change.
    pub dry_run: bool,
    /// The reason, for the audit log.
    pub reason: String,
}

/// State of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Groups are left to apply. A repeated request continues the batch.
    #[serde(rename = "r")]
    Running,
    /// Every group was applied.
    #[serde(rename = "c")]
    Completed,
    /// The Administrator lost the role before the batch was complete. The remaining groups are never applied.
    #[serde(rename = "s")]
    Stopped,
}

/// Outcome for one contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContactOutcome {
    /// The contact was excluded.
    #[serde(rename = "x")]
    Excluded,
    /// The contact was included again.
    #[serde(rename = "i")]
    Included,
    /// The contact was in the requested state before the batch.
    #[serde(rename = "u")]
    Unchanged,
    /// The user is an employee. Employees are never excluded (docs/security.md 43).
    #[serde(rename = "e")]
    NotAContact,
    /// The tenant has no such user.
    #[serde(rename = "n")]
    NotFound,
    /// The password is too short to be the only factor, or was set before Vestibule stored whether it is long enough
    /// (docs/security.md 9).
    #[serde(rename = "p")]
    PasswordTooShort,
    /// The batch was stopped before this contact.
    #[serde(rename = "s")]
    NotApplied,
}

/// The stored state of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The id of the batch.
    pub id: BatchId,
    /// What the batch does with its contacts.
    pub change: ExclusionChange,
    /// Whether the batch only reports outcomes.
    pub dry_run: bool,
    /// The reason that the Administrator gave.
    pub reason: String,
    /// The progress of the batch.
    pub status: Status,
    /// The outcomes in the order of the request. While the batch runs, only those of the applied groups.
    pub results: Vec<(UserId, ContactOutcome)>,
}

/// Why a request for a batch has no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchRejection {
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used with another body")]
    OtherBody,
    /// The caller's session ended, or the caller lost the role before the batch was stored. A repeated request with a new session
    /// starts or continues the batch.
    #[error("the caller may no longer do this")]
    ActorRevoked,
}

/// Why a request for a batch has no report. If the store failed, some groups may be applied, and a repeated request continues.
pub type BatchError = OperationError<BatchRejection>;

/// The item that claims the idempotency key of a batch (`B`).
#[derive(Clone, Serialize, Deserialize)]
struct Claim {
    /// Digest of the request body.
    #[serde(rename = "h")]
    digest: String,
    /// The Administrator who requested the batch.
    by: UserId,
    /// When the key was claimed.
    #[serde(rename = "t", with = "millis")]
    at: Timestamp,
    #[serde(rename = "off")]
    change: ExclusionChange,
    #[serde(rename = "dry")]
    dry_run: bool,
    /// The reason, for the audit log.
    #[serde(rename = "why")]
    reason: String,
    #[serde(rename = "st")]
    status: Status,
}

/// The item with the contacts of a batch, without duplicates (`I`).
#[derive(Serialize, Deserialize)]
struct Contacts {
    ids: Vec<UserId>,
}

/// The item with the outcomes of one group (`G`).
#[derive(Serialize, Deserialize)]
struct Outcomes {
    #[serde(rename = "o")]
    outcomes: Vec<ContactOutcome>,
}

/// The stored items of a batch.
struct Batch {
    claim: Claim,
    contacts: Vec<UserId>,
    /// Outcomes of the applied groups. The key is the index of the group's first contact.
    groups: HashMap<usize, Vec<ContactOutcome>>,
}

/// One request that applies a batch. Several requests may apply the same batch concurrently.
struct Run<'a> {
    admin: &'a AdminContext,
    id: &'a BatchId,
    batch: &'a Batch,
    attempt: &'a Attempt,
    event: &'a AuditEvent,
}

impl Store {
    /// Starts a batch, continues an incomplete one, or returns the report of a complete one. The id of the batch depends on the
    /// caller, so the request of another user cannot reach it (docs/security.md 44).
    ///
    /// # Errors
    /// [`BatchError`]: the idempotency key was used with another body, the caller lost the right, or the store failed.
    pub async fn run_batch(
        &self,
        admin: &AdminContext,
        request: &BatchRequest,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Report, BatchError> {
        let tenant = admin.tenant();
        let id = batch_id(admin, &request.key)?;
        let mut event = event.clone();
        event.batch_id = Some(id.clone());
        let batch = match self.read_batch(tenant, &id).await? {
            Some(batch) => batch,
            None => self.claim(admin, request, &id, attempt, &event).await?,
        };
        if batch.claim.digest != digest(request) {
            return Err(OperationError::Rejected(BatchRejection::OtherBody));
        }
        if batch.claim.status != Status::Running {
            return Ok(batch.report(id));
        }
        let run = Run { admin, id: &id, batch: &batch, attempt, event: &event };
        let mut ended = Some(Status::Completed);
        for first in (0..batch.contacts.len()).step_by(GROUP).filter(|first| !batch.groups.contains_key(first)) {
            ended = match self.apply_group(&run, first).await? {
                GroupResult::Done => continue,
                GroupResult::Ended => None,
                GroupResult::ActorRevoked if self.lost_admin_role(admin).await? => Some(Status::Stopped),
                // Only the session ended: a repeated request with a new session continues the batch.
                GroupResult::ActorRevoked => return Err(OperationError::Rejected(BatchRejection::ActorRevoked)),
            };
            break;
        }
        if let Some(status) = ended {
            // No group is applied after this write. The report is read again, because another request may have ended the batch.
            let st = vec![Action::Set(attr("st"), item::value(&status)?)];
            let end = Write::update(keys::batch(tenant, &id), vec![eq(attr("st"), "r")], st);
            self.table.update(&end, Retry::Idempotent).await?;
        }
        Ok(self.read_batch(tenant, &id).await?.ok_or_else(disappeared)?.report(id))
    }

    /// Whether the caller is no longer an active Administrator. `false`: only the session ended.
    async fn lost_admin_role(&self, admin: &AdminContext) -> Result<bool, StoreError> {
        let [own] = self.read_all([keys::user(admin.key())]).await?;
        let own: Option<User> = own.map(item::read).transpose()?;
        let incarnation = admin.principal().user().incarnation;
        Ok(!own.is_some_and(|own| own.incarnation == incarnation && own.administers_now()))
    }

    /// The report of a batch. `None`: the tenant has no such batch.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item of the batch is corrupt.
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
                _ => return Err(StoreError::Corrupt("a batch has an item of an unknown kind".into())),
            }
        }
        Ok(match (claim, contacts) {
            (Some(claim), Some(contacts)) => Some(Batch { claim, contacts, groups }),
            _ => None,
        })
    }

    /// Claims the idempotency key. If a concurrent request claims it first, returns the batch of that request.
    ///
    /// # Errors
    /// [`BatchRejection::ActorRevoked`]: the caller's session ended, or the caller's role changed.
    async fn claim(
        &self,
        admin: &AdminContext,
        request: &BatchRequest,
        id: &BatchId,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Batch, BatchError> {
        let (tenant, at) = (admin.tenant(), attempt.at());
        let claim = Claim {
            digest: digest(request),
            by: admin.key().user().clone(),
            at,
            change: request.change,
            dry_run: request.dry_run,
            reason: request.reason.clone(),
            status: Status::Running,
        };
        let contacts = Contacts { ids: deduplicated(&request.contacts) };
        let writes = vec![
            Write::check(keys::user(admin.key()), admin.conditions(at)),
            Write::put_new(keys::batch(tenant, id), with_expiry(item::write(&claim)?, at)),
            Write::put_new(keys::batch_ids(tenant, id), with_expiry(item::write(&contacts)?, at)),
        ];
        let audit_row = self.audit_row(tenant, attempt, AttemptEvent::Outcome, event)?;
        match self.table.transact(&Transaction::new(writes, audit_row)).await? {
            Transacted::Committed => Ok(Batch { claim, contacts: contacts.ids, groups: HashMap::new() }),
            Transacted::Refused(unmet) if unmet.contains_key(&keys::user(admin.key())) => {
                Err(OperationError::Rejected(BatchRejection::ActorRevoked))
            }
            Transacted::Refused(_) => Ok(self.read_batch(tenant, id).await?.ok_or_else(disappeared)?),
        }
    }
}

/// Contacts in one transaction. Each takes three writes, and a DynamoDB transaction has at most 100 writes.
const GROUP: usize = 20;
/// How long a batch is kept: 400 days.
const RETENTION: std::time::Duration = std::time::Duration::from_secs(400 * 86_400);

fn disappeared() -> StoreError {
    StoreError::Corrupt("a batch disappeared".into())
}

fn with_expiry(mut item: Item, at: Timestamp) -> Item {
    item.insert("ttl".to_owned(), num((at + RETENTION).secs()));
    item
}

impl Batch {
    fn report(&self, id: BatchId) -> Report {
        let outcome = |index: usize| {
            let (first, within) = (index - index % GROUP, index % GROUP);
            let known = self.groups.get(&first).and_then(|group| group.get(within)).copied();
            known.or((self.claim.status == Status::Stopped).then_some(ContactOutcome::NotApplied))
        };
        let results = self.contacts.iter().enumerate();
        let results = results.filter_map(|(index, contact)| Some((contact.clone(), outcome(index)?))).collect();
        let Claim { change, dry_run, reason, status, .. } = self.claim.clone();
        Report { id, change, dry_run, reason, status, results }
    }
}

/// The contacts without duplicates, in the order of the first occurrence.
fn deduplicated(contacts: &[UserId]) -> Vec<UserId> {
    let mut seen = std::collections::HashSet::new();
    contacts.iter().filter(|contact| seen.insert(*contact)).cloned().collect()
}

/// The id of a batch: a digest of the Administrator, the Administrator's incarnation, and the idempotency key. The incarnation
/// keeps a new user with the same user id away from the batches of the deleted user.
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

/// The digest of the request body. It tells a repeated request from another request with the same key.
fn digest(request: &BatchRequest) -> String {
    let flags = [u8::from(bool::from(request.change)), u8::from(request.dry_run)];
    let contacts = deduplicated(&request.contacts);
    let parts = [&flags[..], request.reason.as_bytes()].into_iter();
    let parts = parts.chain(contacts.iter().map(|contact| contact.as_str().as_bytes()));
    BASE64URL_NOPAD.encode(&hash(b"vestibule/1 batch body", parts))
}

/// Hashes each part after its length, so that two different lists of parts never hash the same bytes.
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
