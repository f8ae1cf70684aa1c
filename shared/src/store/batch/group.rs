//! One group of a batch: up to [`GROUP`] contacts in one transaction.

use std::collections::BTreeMap;

use super::{AttemptEvent, ContactOutcome, ExclusionChange, GROUP, Outcomes, Run, with_expiry};
use crate::{
    audit::{AuditAction, Notify},
    auth::exclude_contacts::{ExclusionRejection, exclude_contact, include_contact},
    domain::{Exclusion, User},
    id::UserKey,
    store::{
        Store, StoreError,
        commit::{self, Retries},
        item::{self, ExclusionRow, Profile},
        keys,
        table::{Retry, Transacted, Transaction},
        write::{Item, Write, attr, eq, text},
    },
};

/// Result of the attempt to apply a group.
pub(super) enum GroupResult {
    /// The outcomes are stored. Another request may have stored them.
    Done,
    /// Another request ended the batch.
    Ended,
    /// The caller's session ended, or the caller's role changed.
    ActorRevoked,
}

/// The outcome for a contact, and the writes that apply it.
struct ContactDecision {
    outcome: ContactOutcome,
    /// The user, then the row in the list of exclusions, then the audit row. Empty if nothing changes.
    writes: Vec<Write>,
}

/// The contacts of a group. The key is the index in the batch.
type Group = BTreeMap<usize, ContactDecision>;

impl Store {
    /// Applies the group that starts at index `first`, and stores its outcomes in the same transaction. If contacts change
    /// before the commit, only these contacts are loaded and decided again.
    pub(super) async fn apply_group(&self, run: &Run<'_>, first: usize) -> Result<GroupResult, StoreError> {
        let end = run.batch.contacts.len().min(first + GROUP);
        let mut group = self.decide_contacts(run, (first..end).collect()).await?;
        if run.batch.claim.dry_run {
            self.table.update(&run.outcomes(first, &group)?, Retry::Idempotent).await?;
            return Ok(GroupResult::Done);
        }
        let mut retries = Retries::of(run.attempt);
        loop {
            match self.table.transact(&run.transaction(first, &group)?).await {
                Ok(Transacted::Committed) => return Ok(GroupResult::Done),
                Ok(Transacted::Refused(unmet)) => {
                    if unmet.contains_key(&keys::user(run.admin.key())) {
                        return Ok(GroupResult::ActorRevoked);
                    }
                    if unmet.contains_key(&keys::batch(run.admin.tenant(), run.id)) {
                        return Ok(GroupResult::Ended);
                    }
                    if unmet.contains_key(&keys::batch_group(run.admin.tenant(), run.id, first)) {
                        return Ok(GroupResult::Done);
                    }
                    let stale =
                        |contact: &ContactDecision| contact.writes.iter().any(|write| unmet.contains_key(write.key()));
                    let stale = group.iter().filter(|(_, contact)| stale(contact)).map(|(index, _)| *index).collect();
                    retries.pause().await?;
                    group.extend(self.decide_contacts(run, stale).await?);
                }
                // A contact signs in at the same time. Nothing was written. The retry repeats the same writes, and their version
                // conditions detect a contact that changed.
                Err(StoreError::Contended(_)) => retries.pause().await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Loads contacts in one round trip and decides the outcome of each.
    async fn decide_contacts(&self, run: &Run<'_>, places: Vec<usize>) -> Result<Group, StoreError> {
        let contact = |index: &usize| Some((*index, run.admin.tenant().user(run.batch.contacts.get(*index)?.clone())));
        let contacts: Vec<(usize, UserKey)> = places.iter().filter_map(contact).collect();
        if contacts.is_empty() {
            return Ok(Group::new());
        }
        let keys: Vec<_> = contacts.iter().flat_map(|(_, key)| [keys::user(key), keys::profile(key)]).collect();
        let mut found = self.table.read(&keys).await?.into_iter();
        let mut group = Group::new();
        for (index, key) in contacts {
            let found = [found.next().flatten(), found.next().flatten()];
            group.insert(index, self.decide_contact(run, index, &key, found)?);
        }
        Ok(group)
    }

    fn decide_contact(
        &self,
        run: &Run<'_>,
        index: usize,
        key: &UserKey,
        found: [Option<Item>; 2],
    ) -> Result<ContactDecision, StoreError> {
        let [Some(user), Some(profile)] = found else {
            return Ok(ContactDecision { outcome: ContactOutcome::NotFound, writes: Vec::new() });
        };
        let (user, profile): (User, Profile) = (item::read(user)?, item::read(profile)?);
        let mut changed = user.clone();
        let outcome = run.apply(&mut changed);
        let (action, exclusion) = match outcome {
            ContactOutcome::Excluded => (AuditAction::ContactExcluded, run.exclusion_row(key, &profile)?),
            ContactOutcome::Included => (AuditAction::ContactIncluded, Write::delete(keys::exclusion(key), vec![])),
            _ => return Ok(ContactDecision { outcome, writes: Vec::new() }),
        };
        let mut event = run.event.clone().about(key.user()).notify(Notify::User);
        event.action = action;
        let position = u16::try_from(index).map_err(|_| StoreError::Corrupt("a batch has too many contacts".into()))?;
        let audit_row = self.audit_row(key.tenant(), run.attempt, AttemptEvent::Contact(position), &event)?;
        let writes = vec![commit::update(key, &user, &changed)?, exclusion, audit_row];
        Ok(ContactDecision { outcome, writes })
    }
}

impl Run<'_> {
    /// Excludes the contact or includes it again, as the batch requests.
    fn apply(&self, user: &mut User) -> ContactOutcome {
        let now = self.attempt.at();
        let (applied, outcome) = match self.batch.claim.change {
            ExclusionChange::Exclude => {
                let exclusion = Exclusion { batch: self.id.clone(), at: now };
                (exclude_contact(user, exclusion), ContactOutcome::Excluded)
            }
            ExclusionChange::Include => (include_contact(user, now), ContactOutcome::Included),
        };
        match applied {
            Ok(()) => outcome,
            Err(ExclusionRejection::NotAContact) => ContactOutcome::NotAContact,
            Err(ExclusionRejection::PasswordTooShort) => ContactOutcome::PasswordTooShort,
            Err(ExclusionRejection::Unchanged) => ContactOutcome::Unchanged,
        }
    }

    /// The transaction of a group. It checks the caller's session and role, checks that the batch still runs, and writes the
    /// outcomes and the changed contacts.
    fn transaction(&self, first: usize, group: &Group) -> Result<Transaction, StoreError> {
        let tenant = self.admin.tenant();
        let checks = [
            Write::check(keys::user(self.admin.key()), self.admin.conditions(self.attempt.at())),
            Write::check(keys::batch(tenant, self.id), vec![eq(attr("st"), "r")]),
        ];
        let contacts = group.values().flat_map(|contact| contact.writes.iter().cloned());
        // The outcomes are the marker: a group in which no contact changes has no audit row.
        Ok(Transaction::new(checks.into_iter().chain(contacts).collect(), self.outcomes(first, group)?))
    }

    /// Stores the outcomes. Refused if another request stored them first.
    fn outcomes(&self, first: usize, group: &Group) -> Result<Write, StoreError> {
        let outcomes = Outcomes { outcomes: group.values().map(|contact| contact.outcome).collect() };
        let key = keys::batch_group(self.admin.tenant(), self.id, first);
        Ok(Write::put_new(key, with_expiry(item::write(&outcomes)?, self.attempt.at())))
    }

    /// The row in the list of exclusions.
    fn exclusion_row(&self, key: &UserKey, profile: &Profile) -> Result<Write, StoreError> {
        let at = self.attempt.at();
        let row = ExclusionRow {
            contact: key.user().clone(),
            username: profile.username.clone(),
            by: self.admin.key().user().clone(),
            reason: self.batch.claim.reason.clone(),
            batch: self.id.clone(),
            at,
        };
        let mut row = item::write(&row)?;
        row.insert("GP".to_owned(), text(keys::exclusions(key.tenant())));
        row.insert("GS".to_owned(), text(format!("{:013}#{}", at.millis(), key.user())));
        Ok(Write::put_new(keys::exclusion(key), row))
    }
}
