//! Commands of the password door.

use super::{
    Store, StoreError, item,
    item::LoginRow,
    keys,
    table::{Again, Updated},
    write::{self, Action, Guard, Value, Write, absent, attr, le, lt, num},
};
use crate::{attempt::Attempt, env::Timestamp, policy::Ladder, secret::LoginKey};

/// A charge: a try is counted before it is checked, and what decides it comes back with the count.
pub enum Charge<T, D> {
    /// Counted; check it.
    Admitted(T),
    /// The budget is spent: nothing was counted, nothing may be checked.
    Exhausted {
        /// When a try is admitted again.
        retry_at: Timestamp,
    },
    /// There is nothing to try at, and why.
    Absent(D),
}

/// A login name is never absent: names that nobody has are counted exactly like real ones.
#[derive(Debug, PartialEq, Eq)]
pub enum Never {}

impl Store {
    /// Counts a try at a login name's password, under the [`Ladder`], and returns the row as the count left it. Names that
    /// do not exist get the same request and the same delays.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn charge_login(
        &self,
        login: &LoginKey,
        ladder: &Ladder,
        attempt: &Attempt,
    ) -> Result<Charge<LoginRow, Never>, StoreError> {
        match self.table.update(&charge(login, ladder, attempt), Again::Harmless).await? {
            Updated::Written(Some(item)) => Ok(Charge::Admitted(item::read(item)?)),
            Updated::Written(None) => Err(StoreError::Poison("a count left no item".into())),
            Updated::Refused(old) => {
                let row: LoginRow = item::read(old.unwrap_or_default())?;
                if row.attempt.as_ref().is_some_and(|mark| mark.as_slice() == attempt.id()) {
                    // The count was applied and its reply lost: it is this one.
                    return Ok(Charge::Admitted(row));
                }
                Ok(Charge::Exhausted { retry_at: Ladder::retry_at(row.tries, Timestamp::from_millis(row.last)) })
            }
        }
    }

    /// Ends the row of failures after a right password: only the last to count clears, so a count that came after is never
    /// lost. A lost reply costs nothing but a delay.
    ///
    /// # Errors
    /// [`StoreError`]; callers log it and go on.
    pub async fn clear_login(&self, login: &LoginKey, attempt: &Attempt) -> Result<(), StoreError> {
        let write = Write::update(
            keys::login(login),
            vec![write::eq(attr("a"), attempt.id())],
            vec![Action::Set(attr("n"), num(0))],
        );
        self.table.update(&write, Again::Never).await.map(|_| ())
    }
}

fn charge(login: &LoginKey, ladder: &Ladder, attempt: &Attempt) -> Write {
    let mut admitted = vec![
        absent(attr("n")),
        lt(attr("n"), ladder.free()),
        le(attr("q"), ladder.cap().millis()),
        write::gt(attr("q"), ladder.future().millis()),
    ];
    for &(tries, at) in ladder.rungs() {
        admitted.push(Guard::All(vec![le(attr("n"), tries), le(attr("q"), at.millis())]));
    }
    let unseen = Guard::Any(vec![absent(attr("a")), write::ne(attr("a"), attempt.id())]);
    let year = attempt.at() + std::time::Duration::from_secs(366 * 86_400);
    Write::update(
        keys::login(login),
        vec![Guard::Any(admitted), unseen],
        vec![
            Action::Count(attr("n"), 1),
            Action::Set(attr("q"), num(attempt.at().millis())),
            Action::Set(attr("a"), Value::B(attempt.id().to_vec())),
            // A real name's `ttl` is the text `never`, which expiry ignores; a ghost's is a time. One request for both.
            Action::SetIfAbsent(attr("ttl"), num(year.secs())),
        ],
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        env::SystemEntropy,
        id::{LoginName, TenantId},
        secret::DigestKeys,
        store::memory::MemoryTable,
    };

    fn fixture() -> (Store, LoginKey) {
        let tenant = TenantId::parse("acme").unwrap();
        let login = DigestKeys::new([1; 32], [2; 32]).login(&tenant, &LoginName::fold("ann"));
        (Store::new(std::sync::Arc::new(MemoryTable::default())), login)
    }

    async fn try_at(store: &Store, login: &LoginKey, now: Timestamp) -> Charge<LoginRow, Never> {
        let attempt = Attempt::begin(now, &SystemEntropy).unwrap();
        store.charge_login(login, &Ladder::at(now), &attempt).await.unwrap()
    }

    #[tokio::test]
    async fn delays_grow_and_early_tries_are_neither_admitted_nor_counted() {
        let (store, login) = fixture();
        let mut now = Timestamp::from_secs(1_800_000_000);
        for failures in 0..17 {
            let due = Ladder::retry_at(failures, now);
            if due > now {
                let early = due - Duration::from_millis(1);
                let refused = try_at(&store, &login, early).await;
                assert!(matches!(refused, Charge::Exhausted { retry_at } if retry_at == due));
            }
            now = due;
            let Charge::Admitted(row) = try_at(&store, &login, now).await else { panic!("refused at {failures}") };
            assert_eq!(row.tries, failures + 1);
        }
    }

    #[tokio::test]
    async fn of_many_at_once_five_are_evaluated() {
        let (store, login) = fixture();
        let now = Timestamp::from_secs(1_800_000_000);
        let tries = (0..64).map(|_| try_at(&store, &login, now));
        let admitted = futures_util::future::join_all(tries).await;
        assert_eq!(admitted.iter().filter(|charge| matches!(charge, Charge::Admitted(_))).count(), 5);
    }

    #[tokio::test]
    async fn the_same_attempt_is_counted_once() {
        let (store, login) = fixture();
        let now = Timestamp::from_secs(1_800_000_000);
        let attempt = Attempt::begin(now, &SystemEntropy).unwrap();
        for _ in 0..2 {
            let charge = store.charge_login(&login, &Ladder::at(now), &attempt).await.unwrap();
            let Charge::Admitted(row) = charge else { panic!("refused") };
            assert_eq!(row.tries, 1);
        }
    }

    #[tokio::test]
    async fn only_the_last_to_count_clears() {
        let (store, login) = fixture();
        let now = Timestamp::from_secs(1_800_000_000);
        let first = Attempt::begin(now, &SystemEntropy).unwrap();
        store.charge_login(&login, &Ladder::at(now), &first).await.unwrap();
        try_at(&store, &login, now).await;
        store.clear_login(&login, &first).await.unwrap();
        let Charge::Admitted(row) = try_at(&store, &login, now).await else { panic!("refused") };
        assert_eq!(row.tries, 3);
    }

    #[tokio::test]
    async fn a_clock_that_ran_ahead_locks_nobody_out() {
        let (store, login) = fixture();
        let now = Timestamp::from_secs(1_800_000_000);
        for _ in 0..5 {
            try_at(&store, &login, now + Duration::from_secs(86_400)).await;
        }
        assert!(matches!(try_at(&store, &login, now).await, Charge::Admitted(_)));
    }
}
