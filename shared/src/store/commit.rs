//! Versioned commits: load a user, decide, and write what the decision changed if no other write came between.
//!
//! Every write of a user's item raises the item's `version`, except the note of a session's last use, which decides nothing.
//! So a condition on the version means "as loaded", and no rule has to be repeated as a condition of the write. Only
//! attributes that the decision changed are written: attributes that a newer deployment added stay.

use std::time::Duration;

use super::{
    AttemptEvent, OperationError, Store, StoreError, item, keys,
    table::{Transacted, Transaction},
    write::{Action, Condition, Item, Value, Write, absent, attr, eq},
};
use crate::{
    audit::AuditEvent,
    domain::{ItemVersion, User},
    id::UserKey,
    sign_in::Attempt,
};

/// Maximum number of retries of a decision. Limits on requests bound how often others can cause one: 10 codes in 15 minutes,
/// and 20 challenges for each client network (docs/limits.md). ADR 17 has the counts of 32 concurrent requests.
const MAX_RETRIES: u32 = 16;

/// The event of a commit, and which event of the attempt it is.
pub(super) struct Audited<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) which: AttemptEvent,
    pub(super) event: &'a AuditEvent,
}

impl Store {
    /// Decides about one user and commits. If another write came first, decides again on what that left. `decide` changes the
    /// user as the last write left them, and returns the outcome with the writes of other items. `gone` is the rejection of a user
    /// who was deleted.
    pub(super) async fn commit_user<T, R>(
        &self,
        key: &UserKey,
        mut user: User,
        audited: Audited<'_>,
        gone: R,
        decide: impl Fn(&mut User) -> Result<(T, Vec<Write>), R>,
    ) -> Result<T, OperationError<R>> {
        let Audited { attempt, which, event } = audited;
        let mut retries = Retries::of(attempt);
        loop {
            let mut changed = user.clone();
            let (outcome, others) = decide(&mut changed).map_err(OperationError::Rejected)?;
            let writes = [update(key, &user, &changed)?].into_iter().chain(others).collect();
            let audit_row = self.audit_row(key.tenant(), attempt, which, event)?;
            let mut unmet = match self.table.transact(&Transaction::new(writes, audit_row)).await? {
                Transacted::Committed => return Ok(outcome),
                Transacted::Refused(unmet) => unmet,
            };
            match unmet.remove(&keys::user(key)) {
                Some(Some(found)) => user = item::read(found)?,
                Some(None) => return Err(OperationError::Rejected(gone)),
                // Only another item did not meet its condition. DynamoDB returns this while it applies a transaction that writes
                // both items: the next try finds the user as that transaction leaves them.
                None => {}
            }
            retries.pause().await?;
        }
    }
}

/// Bounds how often an operation decides again, and pauses in between.
pub(super) struct Retries<'a> {
    attempt: &'a Attempt,
    made: u32,
}

impl<'a> Retries<'a> {
    pub(super) fn of(attempt: &'a Attempt) -> Self {
        Self { attempt, made: 0 }
    }

    /// Waits up to 1 ms, doubling to 32 ms. The time depends on the attempt's random id, so that requests that refused each
    /// other do not try again at the same moment.
    ///
    /// # Errors
    /// [`StoreError::Contended`] after [`MAX_RETRIES`].
    pub(super) async fn pause(&mut self) -> Result<(), StoreError> {
        if self.made == MAX_RETRIES {
            return Err(StoreError::Contended("other requests keep changing the same user".into()));
        }
        let id = self.attempt.id();
        let spread = id.get(self.made as usize % id.len().max(1)).copied().unwrap_or_default();
        let longest = 1000 << self.made.min(5);
        self.made += 1;
        tokio::time::sleep(Duration::from_micros(longest * u64::from(spread) / 255)).await;
        Ok(())
    }
}

/// The write that turns a user's item from what was loaded into what was decided.
pub(super) fn update(key: &UserKey, loaded: &User, decided: &User) -> Result<Write, StoreError> {
    let actions = changes(&item::write(loaded)?, &item::write(decided)?);
    Ok(Write::update(keys::user(key), unchanged(loaded), actions))
}

/// The user's item is as it was loaded, and of the same incarnation.
pub(super) fn unchanged(loaded: &User) -> Vec<Condition> {
    let version =
        if loaded.version == ItemVersion::default() { absent(attr("v")) } else { eq(attr("v"), loaded.version) };
    vec![version, eq(attr("born"), loaded.incarnation.bytes())]
}

/// What changed between two items: entries of maps one by one, other attributes whole.
fn changes(before: &Item, after: &Item) -> Vec<Action> {
    let mut actions = Vec::new();
    for (name, value) in after {
        let path = || attr(name.clone());
        match (before.get(name), value) {
            (Some(old), new) if old == new => {}
            (Some(Value::M(old)), Value::M(new)) => {
                let set = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
                actions.extend(set.map(|(key, value)| Action::Set(path().key(key.clone()), value.clone())));
                let removed = old.keys().filter(|key| !new.contains_key(*key));
                actions.extend(removed.map(|key| Action::Remove(path().key(key.clone()))));
            }
            _ => actions.push(Action::Set(path(), value.clone())),
        }
    }
    let removed = before.keys().filter(|name| !after.contains_key(*name));
    actions.extend(removed.map(|name| Action::Remove(attr(name.clone()))));
    actions
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::store::{
        fixture::{NOW, ann, attempt, decided},
        write::{Path, exists, num, text},
    };

    #[tokio::test]
    async fn commit_writes_what_changed_and_keeps_unknown_attributes() {
        let (ann, challenges) = ann(2).await;
        ann.change(Action::Set(attr("of_a_newer_deployment"), text("kept"))).await;
        let loaded = ann.read(&ann.key).await;
        let mut decided = loaded.clone();
        decided.consecutive_failures = 3;
        decided.challenges.remove(challenges[0].id());
        let write = update(&ann.key, &loaded, &decided).unwrap();
        let removed = Action::Remove(attr("c").key(challenges[0].id().as_str().to_owned()));
        let expected = vec![Action::Set(attr("row"), num(3)), removed, Action::Count(attr("v"), 1)];
        let super::super::write::Effect::Update(actions) = write.effect() else { panic!("no update") };
        let sorted = |mut actions: Vec<Action>| {
            actions.sort_by_key(|action| format!("{action:?}"));
            actions
        };
        assert_eq!(sorted(actions.clone()), sorted(expected));
        ann.put(write).await;
        let item = ann.item(&ann.key).await;
        assert_eq!(item.get("of_a_newer_deployment"), Some(&text("kept")));
        assert!(ann.read(&ann.key).await.version == loaded.version.raised());
    }

    #[tokio::test]
    async fn commit_is_refused_after_any_write_except_session_use() {
        let (ann, _) = ann(0).await;
        let item = async || ann.item(&ann.key).await;
        let loaded = ann.read(&ann.key).await;
        let commit = update(&ann.key, &loaded, &User { seen: NOW, ..loaded.clone() }).unwrap();
        let seen = |path: Path| Action::Set(path, num(1));
        ann.put(Write::note(keys::user(&ann.key), vec![], vec![seen(attr("seen"))])).await;
        assert!(commit.apply(Some(item().await)).is_ok());
        ann.put(Write::update(keys::user(&ann.key), vec![], vec![seen(attr("seen"))])).await;
        assert!(commit.apply(Some(item().await)).is_err());
    }

    #[tokio::test]
    async fn commit_is_refused_for_a_user_of_the_same_id_who_was_created_again() {
        let (ann, _) = ann(0).await;
        let first = User { version: ItemVersion::default(), ..ann.read(&ann.key).await };
        let nonce = crate::secret::Nonce::generate(&crate::env::SystemEntropy).unwrap();
        let again = User { incarnation: nonce, ..first.clone() };
        let commit = update(&ann.key, &first, &User { seen: NOW, ..first.clone() }).unwrap();
        assert!(commit.apply(Some(item::write(&first).unwrap())).is_ok());
        assert!(commit.apply(Some(item::write(&again).unwrap())).is_err());
    }

    #[tokio::test]
    async fn user_is_deleted_only_if_their_own_item_is_missing() {
        let (ann, _) = ann(0).await;
        let (calls, event, attempt) = (AtomicUsize::new(0), ann.event(), attempt(NOW));
        let other = || Write::check(keys::no_user(&ann.login), vec![exists(attr("PK"))]);
        let decide = |user: &mut User| {
            user.seen = NOW;
            let first = calls.fetch_add(1, Ordering::Relaxed) == 0;
            Ok::<_, &str>(((), first.then(other).into_iter().collect()))
        };
        let commit = async |user| {
            let audited = Audited { attempt: &attempt, which: AttemptEvent::Outcome, event: &event };
            decided(ann.store.commit_user(&ann.key, user, audited, "deleted", decide).await)
        };
        let user = ann.read(&ann.key).await;
        assert_eq!(commit(user.clone()).await, Ok(()), "the first try found no other item");
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        ann.put(Write::delete(keys::user(&ann.key), vec![])).await;
        assert_eq!(commit(user).await, Err("deleted"));
    }

    #[tokio::test]
    async fn retries_end() {
        let attempt = attempt(NOW);
        let mut retries = Retries::of(&attempt);
        for _ in 0..MAX_RETRIES {
            retries.pause().await.unwrap();
        }
        assert!(matches!(retries.pause().await, Err(StoreError::Contended(_))));
    }
}
