//! One group of a batch: up to [`GROUP`] contacts in one transaction.

use std::collections::BTreeMap;

use super::{GROUP, Outcome, Outcomes, Run, kept};
use crate::{
    audit::{Action, Notify},
    auth::exclude_contacts::{ExclusionRejection, exclude_contact, include_contact},
    domain::{Exclusion, User},
    id::UserKey,
    store::{
        Store, StoreError,
        commit::{self, Commit, Decision, Retries},
        item::{self, ExclusionRow, Profile},
        keys,
        table::Retry,
        write::{Item, Write, attr, eq, text},
    },
};

/// How the attempt to apply a group ended.
pub(super) enum Step {
    /// The outcomes are durable. Another run may have written them.
    Done,
    /// Another run ended the batch.
    Ended,
    /// The caller's session ended, or the caller's role changed.
    ActorRevoked,
}

/// What is decided about a contact.
struct Decided {
    outcome: Outcome,
    /// The user, the row in the list of exclusions, and the audit row last. Empty if nothing changes.
    writes: Vec<Write>,
}

/// The contacts of a group, by their place in the batch.
type Group = BTreeMap<usize, Decided>;

impl Store {
    /// Applies the group that starts at the place `first`, and writes its outcomes in the same transaction. If contacts change
    /// meanwhile, only those are decided again.
    pub(super) async fn group(&self, run: &Run<'_>, first: usize) -> Result<Step, StoreError> {
        let end = run.batch.contacts.len().min(first + GROUP);
        let mut group = self.decide_contacts(run, (first..end).collect()).await?;
        if run.batch.claim.dry_run {
            self.table.update(&run.outcomes(first, &group)?, Retry::Idempotent).await?;
            return Ok(Step::Done);
        }
        let mut retries = Retries::of(run.attempt);
        loop {
            let decision = run.decision(first, &group)?;
            let written = decision.keys();
            match self.try_commit(decision).await {
                Ok(Commit::Done(())) => return Ok(Step::Done),
                Ok(Commit::Stale(found)) => {
                    let changed = commit::changed_items(written, found);
                    if changed.contains_key(&keys::user(run.admin.key())) {
                        return Ok(Step::ActorRevoked);
                    }
                    if changed.contains_key(&keys::batch(run.admin.tenant(), run.id)) {
                        return Ok(Step::Ended);
                    }
                    if changed.contains_key(&keys::batch_group(run.admin.tenant(), run.id, first)) {
                        return Ok(Step::Done);
                    }
                    let stale =
                        |contact: &Decided| contact.writes.iter().any(|write| changed.contains_key(write.key()));
                    let stale = group.iter().filter(|(_, contact)| stale(contact)).map(|(place, _)| *place).collect();
                    retries.pause().await?;
                    group.extend(self.decide_contacts(run, stale).await?);
                }
                // A contact is signing in. Nothing was written, and the versions say whether the decision still holds.
                Err(StoreError::Contended(_)) => retries.pause().await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads contacts in one round trip and decides about each.
    async fn decide_contacts(&self, run: &Run<'_>, places: Vec<usize>) -> Result<Group, StoreError> {
        let contact = |place: &usize| Some((*place, run.admin.tenant().user(run.batch.contacts.get(*place)?.clone())));
        let wanted: Vec<(usize, UserKey)> = places.iter().filter_map(contact).collect();
        if wanted.is_empty() {
            return Ok(Group::new());
        }
        let keys: Vec<_> = wanted.iter().flat_map(|(_, key)| [keys::user(key), keys::profile(key)]).collect();
        let mut found = self.table.read(&keys).await?.into_iter();
        let mut group = Group::new();
        for (place, key) in wanted {
            let found = [found.next().flatten(), found.next().flatten()];
            group.insert(place, self.decide_contact(run, place, &key, found)?);
        }
        Ok(group)
    }

    fn decide_contact(
        &self,
        run: &Run<'_>,
        place: usize,
        key: &UserKey,
        found: [Option<Item>; 2],
    ) -> Result<Decided, StoreError> {
        let [Some(user), Some(profile)] = found else {
            return Ok(Decided { outcome: Outcome::NotFound, writes: Vec::new() });
        };
        let (user, profile): (User, Profile) = (item::read(user)?, item::read(profile)?);
        let mut changed = user.clone();
        let outcome = run.apply(&mut changed);
        let (action, exclusion) = match outcome {
            Outcome::Excluded => (Action::ContactExcluded, run.exclusion_row(key, &profile)?),
            Outcome::Included => (Action::ContactIncluded, Write::delete(keys::exclusion(key), vec![])),
            _ => return Ok(Decided { outcome, writes: Vec::new() }),
        };
        let mut event = run.event.clone().about(key.user()).notify(Notify::User);
        event.action = action;
        // Number 0 is the claim of the batch.
        let number = u16::try_from(place + 1).map_err(|_| StoreError::Corrupt("a batch is too long".into()))?;
        let audit_row = self.audit_row(key.tenant(), run.attempt, number, &event)?;
        let writes = vec![commit::update(key, &user, &changed)?, exclusion, audit_row];
        Ok(Decided { outcome, writes })
    }
}

impl Run<'_> {
    /// Excludes or includes a contact, as the batch says.
    fn apply(&self, user: &mut User) -> Outcome {
        let now = self.attempt.at();
        let (applied, outcome) = if self.batch.claim.disable_mfa {
            let exclusion = Exclusion { batch: self.id.clone(), at: now.millis() };
            (exclude_contact(user, exclusion), Outcome::Excluded)
        } else {
            (include_contact(user, now), Outcome::Included)
        };
        match applied {
            Ok(()) => outcome,
            Err(ExclusionRejection::NotAContact) => Outcome::NotAContact,
            Err(ExclusionRejection::PasswordTooShort) => Outcome::PasswordTooShort,
            Err(ExclusionRejection::Unchanged) => Outcome::Unchanged,
        }
    }

    /// The transaction of a group: the caller still may, the batch still runs, the outcomes, and what changes.
    fn decision(&self, first: usize, group: &Group) -> Result<Decision<()>, StoreError> {
        let tenant = self.admin.tenant();
        let mut writes = vec![
            Write::check(keys::user(self.admin.key()), self.admin.conditions(self.attempt.at())),
            Write::check(keys::batch(tenant, self.id), vec![eq(attr("st"), "r")]),
            self.outcomes(first, group)?,
        ];
        writes.extend(group.values().flat_map(|contact| contact.writes.iter().cloned()));
        // The audit row of the last changed contact proves the commit. If no contact changes, the outcomes prove it.
        let audit_row = writes.pop();
        Ok(Decision { writes, audit_row, outcome: () })
    }

    fn outcomes(&self, first: usize, group: &Group) -> Result<Write, StoreError> {
        let outcomes = Outcomes { outcomes: group.values().map(|contact| contact.outcome).collect() };
        let key = keys::batch_group(self.admin.tenant(), self.id, first);
        Ok(Write::put_new(key, kept(item::write(&outcomes)?, self.attempt.at())))
    }

    /// The row in the list of exclusions.
    fn exclusion_row(&self, key: &UserKey, profile: &Profile) -> Result<Write, StoreError> {
        let at = self.attempt.at().millis();
        let row = ExclusionRow {
            contact: key.user().clone(),
            username: profile.username.clone(),
            by: self.admin.key().user().clone(),
            why: self.batch.claim.why.clone(),
            batch: self.id.clone(),
            at,
        };
        let mut row = item::write(&row)?;
        row.insert("GP".to_owned(), text(keys::exclusions(key.tenant())));
        row.insert("GS".to_owned(), text(format!("{at:013}#{}", key.user())));
        Ok(Write::put_new(keys::exclusion(key), row))
    }
}
