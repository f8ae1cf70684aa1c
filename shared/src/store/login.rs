//! Commands of the password door.

use tokio::join;

use super::{
    Store, StoreError,
    commit::{self, Commit, Decision, Retries},
    item,
    item::{Challenge, LoginRow, User},
    keys,
    table::{Retry, Updated, met_first},
    write::{self, Action, Condition, Path, Write, absent, attr, eq, gt, le, lt, ne, num},
};
use crate::{
    audit::AuditEvent,
    auth::login::{NetworkFull, check_step, open_exempt_session},
    env::{Entropy, Timestamp},
    password::PasswordHash,
    policy::{self, Backoff},
    secret::{LoginKey, NewToken, TokenClass, TokenRef},
    sign_in::{Attempt, Continuation, Exempt, From, NewSession, NextStep, PasswordAttempt, SignedIn, VerifiedPassword},
};

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
    Rejected(D),
}

/// A login name is never absent: names that nobody has are counted exactly like real ones.
#[derive(Debug, PartialEq, Eq)]
pub enum Never {}

/// What became of opening a challenge or an enrolment token.
pub enum Opened {
    /// Open: the token, and when it ends.
    Done(NewToken, Timestamp),
    /// Too many were opened from this network.
    TooMany {
        /// When one can be opened again.
        retry_at: Timestamp,
    },
    /// The person changed meanwhile: as they are now, for a new decision. `Err`: the password opens nothing any more.
    Stale(Result<VerifiedPassword, PasswordAttempt>),
}

/// What became of an exempt sign-in.
pub enum ExemptOpened {
    /// Signed in.
    Done(SignedIn),
    /// The person changed meanwhile, as in [`Opened::Stale`].
    Stale(Result<VerifiedPassword, PasswordAttempt>),
}

impl Store {
    /// Counts a try at a login name's password, under the [`Backoff`], and returns what it is checked against. A device
    /// known to the name's owner is counted apart: a crowd that guesses passwords does not delay its owner. Names that do
    /// not exist get the same request and the same delays.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn charge_login(
        &self,
        login: &LoginKey,
        device: Option<&TokenRef>,
        ladder: &Backoff,
        attempt: &Attempt,
    ) -> Result<Charge<PasswordAttempt, Never>, StoreError> {
        let device = device.filter(|it| it.class() == TokenClass::Device && it.user().tenant() == login.tenant());
        let mut person = None;
        if let Some(device) = device {
            let (count, row) = (charge_device(login, device, ladder, attempt), [keys::login(login)]);
            let (counted, row) = join!(self.table.update(&count, Retry::Idempotent), self.table.read(&row));
            let known = match counted? {
                Updated::Written(item) => {
                    person = item.map(item::read::<User>).transpose()?;
                    true
                }
                Updated::Refused(old) => {
                    person = old.map(item::read::<User>).transpose()?.filter(|user| user.login == login.digest());
                    match person.as_ref().and_then(|user| user.devices.get(device.id())) {
                        Some(entry) if entry.verifier == *device.verifier() && entry.ends > attempt.at().secs() => {
                            if entry.attempt != Some(attempt.nonce()) {
                                return Ok(exhausted(entry.attempts, entry.last));
                            }
                            true // counted already, the reply was lost: it is this one
                        }
                        _ => false,
                    }
                }
            };
            if known {
                let row: LoginRow = item::read(row?.into_iter().next().flatten().unwrap_or_default())?;
                let (login, attempt, device) = (login.clone(), *attempt, Some(device.id().clone()));
                return Ok(Charge::Admitted(PasswordAttempt { login, row, attempt, device, person }));
            }
        }
        let row: LoginRow = match self.table.update(&charge(login, ladder, attempt), Retry::Idempotent).await? {
            Updated::Written(Some(item)) => item::read(item)?,
            Updated::Written(None) => return Err(StoreError::Corrupt("a count left no item".into())),
            Updated::Refused(old) => {
                let row: LoginRow = item::read(old.unwrap_or_default())?;
                if row.attempt != Some(attempt.nonce()) {
                    return Ok(exhausted(row.attempts, row.last));
                }
                row // counted already, the reply was lost: it is this one
            }
        };
        let person = person.filter(|_| row.uid.as_ref() == device.map(|device| device.user().user()));
        Ok(Charge::Admitted(PasswordAttempt { login: login.clone(), row, attempt: *attempt, device: None, person }))
    }

    /// Reads whose password is being tried: where nobody has the name, an item that nobody has. Beside the check of the
    /// password, so that it takes no time of its own.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn load_owner(&self, password_attempt: &PasswordAttempt) -> Result<Option<User>, StoreError> {
        if password_attempt.person.is_some() {
            return Ok(password_attempt.person.clone());
        }
        let owner = password_attempt.owner();
        let key = owner.as_ref().map_or_else(|| keys::no_user(&password_attempt.login), keys::user);
        let [found] = self.read_all([key]).await?;
        found.filter(|_| owner.is_some()).map(item::read).transpose()
    }

    /// Opens a challenge or an enrolment token for a right password, and clears the failures. One write without a transaction:
    /// it grants nothing, and its own random id shows whether it happened. `event` is recorded at the same time, before the
    /// outcome is known: it says that the password was right, and no more.
    ///
    /// # Errors
    /// [`StoreError`]: denied; no token was handed out.
    pub async fn open_attempt(
        &self,
        opening: Continuation,
        network: &str,
        entropy: &dyn Entropy,
        event: &AuditEvent,
    ) -> Result<Opened, StoreError> {
        let Continuation { right, class } = opening;
        let attempt = right.password_attempt.attempt;
        let now = attempt.at();
        let token = NewToken::generate(class, &right.key, self.restored, entropy)?;
        let (step, life) = match class {
            TokenClass::Challenge => (NextStep::CodeRequired, policy::CHALLENGE_LIFE),
            _ => (NextStep::EnrolmentRequired, policy::ENROLMENT_LIFE),
        };
        let mut retries = Retries::of(&attempt);
        let (mut first, mut user) = (true, right.user.clone());
        while check_step(&right.user, &user, step, now).is_ok() {
            let mut changed = user.clone();
            let challenge = right.challenge(&user, &token, now + life, network);
            if let Err(NetworkFull { retry_at }) = changed.open_challenge(&token, challenge, now) {
                return Ok(Opened::TooMany { retry_at });
            }
            changed.clear_device_failures(right.password_attempt.device.as_ref());
            let write = commit::update(&right.key, &user, &changed)?;
            let beside = self.after_right_password(std::mem::take(&mut first), &right, event);
            let (answer, ()) = join!(self.table.update(&write, Retry::Idempotent), beside);
            match answer? {
                Updated::Written(_) => return Ok(Opened::Done(token, now + life)),
                Updated::Refused(None) => return Ok(Opened::Stale(Err(right.password_attempt))),
                Updated::Refused(Some(found)) => user = item::read(found)?,
            }
            let (challenges, enrolments) = (&user.challenges, &user.enrolments);
            let open = if class == TokenClass::Challenge { challenges } else { enrolments };
            if open.contains_key(token.reference().id()) {
                return Ok(Opened::Done(token, now + life)); // written before, and the reply was lost
            }
            retries.pause().await?;
        }
        Ok(Opened::Stale(right.of_changed_user(user)))
    }

    /// Records that the password was right and clears the failures of the login name, once.
    async fn after_right_password(&self, first: bool, right: &VerifiedPassword, event: &AuditEvent) {
        if first {
            let attempt = &right.password_attempt.attempt;
            join!(
                self.record(right.key.tenant(), attempt, PASSWORD_ACCEPTED, event),
                self.clear_login_failures(&right.password_attempt)
            );
        }
    }

    /// Signs an excluded contact in by the password alone.
    ///
    /// # Errors
    /// [`StoreError`]: denied, though it may have been committed.
    pub async fn open_exempt_session(
        &self,
        exempt: Exempt,
        entropy: &dyn Entropy,
        event: &AuditEvent,
    ) -> Result<ExemptOpened, StoreError> {
        let right = exempt.right;
        let attempt = right.password_attempt.attempt;
        let version = right.user.security_version;
        let mut session =
            NewSession::signed_in(&right.key, version, item::Amr::Password, &attempt, self.restored, entropy)?;
        if let Some(device) = right.password_attempt.device.clone() {
            session.from = From::Known(device);
        }
        let (mut user, mut retries) = (right.user.clone(), Retries::of(&attempt));
        loop {
            let mut changed = user.clone();
            if open_exempt_session(&right.user, &mut changed, &session, &right.password_attempt).is_err() {
                return Ok(ExemptOpened::Stale(right.of_changed_user(user)));
            }
            let writes = vec![commit::update(&right.key, &user, &changed)?];
            let audit_row = Some(self.audit_row(right.key.tenant(), &attempt, 0, event)?);
            let commit = self.try_commit(Decision { writes, audit_row, outcome: () });
            let (commit, ()) = join!(commit, self.clear_login_failures(&right.password_attempt));
            match commit? {
                Commit::Done(()) => {
                    let entry = changed.sessions.remove(session.id()).unwrap_or_else(|| session.entry.clone());
                    return Ok(ExemptOpened::Done(session.into_signed_in(entry, false)));
                }
                Commit::Stale(found) => match met_first(found) {
                    None => return Ok(ExemptOpened::Stale(Err(right.password_attempt))),
                    Some(found) => user = item::read(found)?,
                },
            }
            retries.pause().await?;
        }
    }

    /// Clears the failures after a right password that opens nothing. A failure to do so costs a delay, so it is only logged.
    pub async fn clear_failures(&self, right: &VerifiedPassword) {
        self.clear_login_failures(&right.password_attempt).await;
        if right.password_attempt.device.is_some()
            && let Err(error) = self.clear_device_failures(right).await
        {
            tracing::warn!(%error, "the failures of a known device were not cleared");
        }
    }

    async fn clear_device_failures(&self, right: &VerifiedPassword) -> Result<(), StoreError> {
        let (mut user, mut retries) = (right.user.clone(), Retries::of(&right.password_attempt.attempt));
        loop {
            let mut changed = user.clone();
            changed.clear_device_failures(right.password_attempt.device.as_ref());
            let write = commit::update(&right.key, &user, &changed)?;
            match self.table.update(&write, Retry::Never).await? {
                Updated::Written(_) | Updated::Refused(None) => return Ok(()),
                Updated::Refused(Some(found)) => user = item::read(found)?,
            }
            retries.pause().await?;
        }
    }

    /// Puts a stronger hash of the same password in the place of the one that was right, unless it was changed meanwhile. A
    /// failure leaves the old one, so it is only logged.
    pub async fn strengthen(&self, right: &VerifiedPassword, hash: &PasswordHash) {
        let Some(old) = right.password_attempt.row.hash.as_deref() else { return };
        let same = vec![eq(attr("ph"), old), eq(attr("pv"), right.user.password_version)];
        let stronger = vec![Action::Set(attr("ph"), write::text(hash.as_str()))];
        let write = Write::update(keys::login(&right.password_attempt.login), same, stronger);
        if let Err(error) = self.table.update(&write, Retry::Never).await {
            tracing::warn!(%error, "a password hash was not strengthened");
        }
    }

    /// Ends the row of a login name: only the last to count clears, so a count that came after is never lost. A lost
    /// reply costs nothing but a delay, so a failure is only logged.
    async fn clear_login_failures(&self, password_attempt: &PasswordAttempt) {
        if password_attempt.device.is_some() {
            return; // counted at the device: its own write clears it
        }
        let mine = vec![eq(attr("a"), password_attempt.attempt.id())];
        let write = Write::update(keys::login(&password_attempt.login), mine, vec![Action::Set(attr("n"), num(0))]);
        if let Err(error) = self.table.update(&write, Retry::Never).await {
            tracing::warn!(%error, "a row of failures was not cleared");
        }
    }

    /// Takes the day's one notification of failed passwords, if nobody has.
    ///
    /// # Errors
    /// [`StoreError`]; callers log it and go on.
    pub async fn notify_failures(&self, password_attempt: &PasswordAttempt) -> Result<bool, StoreError> {
        let day = password_attempt.attempt.at().secs().div_euclid(86_400);
        if password_attempt.failures() < policy::NOTIFY_FAILURES || password_attempt.row.told == Some(day) {
            return Ok(false);
        }
        let untold = Condition::Any(vec![absent(attr("day")), ne(attr("day"), day)]);
        let write =
            Write::update(keys::login(&password_attempt.login), vec![untold], vec![Action::Set(attr("day"), num(day))]);
        Ok(matches!(self.table.update(&write, Retry::Never).await?, Updated::Written(_)))
    }
}

/// The number of the audit row that says that a password was right. The outcomes of the sign-in have 0 to 2.
const PASSWORD_ACCEPTED: u16 = 3;

impl VerifiedPassword {
    /// The password, if it still signs this user in after they changed.
    fn of_changed_user(mut self, user: User) -> Result<Self, PasswordAttempt> {
        if user.incarnation != self.user.incarnation {
            return Err(self.password_attempt);
        }
        self.user = user;
        self.if_permitted()
    }

    /// The entry of a challenge or an enrolment token.
    fn challenge(&self, user: &User, token: &NewToken, ends: Timestamp, network: &str) -> Challenge {
        Challenge {
            verifier: *token.reference().verifier(),
            ends: ends.millis(),
            attempts: 0,
            security_version: user.security_version,
            network: network.to_owned(),
            device: self.password_attempt.device.clone().filter(|id| user.devices.contains_key(id)),
            idp: None,
        }
    }
}

fn exhausted<T>(attempts: i64, last: i64) -> Charge<T, Never> {
    Charge::Exhausted { retry_at: Backoff::retry_at(attempts, Timestamp::from_millis(last)) }
}

/// The ladder as a guard: the count stands at `n`, the last try at `q`.
fn admitted(ladder: &Backoff, n: impl Fn() -> Path, q: impl Fn() -> Path) -> Condition {
    let mut steps =
        vec![absent(n()), lt(n(), ladder.free()), le(q(), ladder.cap().millis()), gt(q(), ladder.future().millis())];
    for &(attempts, at) in ladder.steps() {
        steps.push(Condition::All(vec![le(n(), attempts), le(q(), at.millis())]));
    }
    Condition::Any(steps)
}

fn unseen(mark: &Path, attempt: &Attempt) -> Condition {
    Condition::Any(vec![absent(mark.clone()), ne(mark.clone(), attempt.id())])
}

fn charge(login: &LoginKey, ladder: &Backoff, attempt: &Attempt) -> Write {
    let year = attempt.at() + std::time::Duration::from_secs(366 * 86_400);
    Write::update(
        keys::login(login),
        vec![admitted(ladder, || attr("n"), || attr("q")), unseen(&attr("a"), attempt)],
        vec![
            Action::Count(attr("n"), 1),
            Action::Set(attr("q"), num(attempt.at().millis())),
            Action::Set(attr("a"), write::bytes(attempt.id())),
            // A real name's `ttl` is the text `never`, which expiry ignores; a ghost's is a time. One request for both.
            Action::SetIfAbsent(attr("ttl"), num(year.secs())),
        ],
    )
}

fn charge_device(login: &LoginKey, device: &TokenRef, ladder: &Backoff, attempt: &Attempt) -> Write {
    let at = || attr("d").key(device.id().as_str().to_owned());
    Write::update(
        keys::user(device.user()),
        vec![
            eq(attr("lh"), login.digest()),
            eq(at().key("g"), device.verifier().bytes()),
            gt(at().key("x"), attempt.at().secs()),
            admitted(ladder, || at().key("n"), || at().key("q")),
            unseen(&at().key("a"), attempt),
        ],
        vec![
            Action::Add(at().key("n"), 1),
            Action::Set(at().key("q"), num(attempt.at().millis())),
            Action::Set(at().key("a"), write::bytes(attempt.id())),
        ],
    )
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use super::*;
    use crate::{
        audit::{Action as Did, Outcome},
        env::SystemEntropy,
        id::{LoginName, TenantId, UserId},
        secret::NameKey,
        sign_in::PasswordChecked,
        store::{
            fixture::{Ann, NOW, PASSWORD, STEP, ann, attempt},
            lists::AuditFilter,
            memory::MemoryTable,
        },
    };

    fn fixture() -> (Store, LoginKey) {
        let tenant = TenantId::parse("acme").unwrap();
        let login = NameKey::new([1; 32].into()).login(&tenant, &LoginName::fold("ann"));
        (Store::new(std::sync::Arc::new(MemoryTable::default())), login)
    }

    async fn try_at(store: &Store, login: &LoginKey, now: Timestamp) -> Charge<PasswordAttempt, Never> {
        let attempt = Attempt::begin(now, &SystemEntropy).unwrap();
        store.charge_login(login, None, &Backoff::at(now), &attempt).await.unwrap()
    }

    #[tokio::test]
    async fn delays_grow_and_early_tries_are_neither_admitted_nor_counted() {
        let (store, login) = fixture();
        let mut now = Timestamp::from_secs(1_800_000_000);
        for failures in 0..17 {
            let due = Backoff::retry_at(failures, now);
            if due > now {
                let early = due - Duration::from_millis(1);
                let refused = try_at(&store, &login, early).await;
                assert!(matches!(refused, Charge::Exhausted { retry_at } if retry_at == due));
            }
            now = due;
            let Charge::Admitted(row) = try_at(&store, &login, now).await else { panic!("refused at {failures}") };
            assert_eq!(row.failures(), failures + 1);
        }
    }

    #[tokio::test]
    async fn of_many_at_once_five_are_evaluated() {
        let (store, login) = fixture();
        let now = Timestamp::from_secs(1_800_000_000);
        let attempts = (0..64).map(|_| try_at(&store, &login, now));
        let admitted = futures_util::future::join_all(attempts).await;
        assert_eq!(admitted.iter().filter(|charge| matches!(charge, Charge::Admitted(_))).count(), 5);
    }

    #[tokio::test]
    async fn the_same_attempt_is_counted_once() {
        let (store, login) = fixture();
        let now = Timestamp::from_secs(1_800_000_000);
        let attempt = Attempt::begin(now, &SystemEntropy).unwrap();
        for _ in 0..2 {
            let charge = store.charge_login(&login, None, &Backoff::at(now), &attempt).await.unwrap();
            let Charge::Admitted(row) = charge else { panic!("refused") };
            assert_eq!(row.failures(), 1);
        }
    }

    #[tokio::test]
    async fn only_the_last_to_count_clears() {
        let (store, login) = fixture();
        let now = Timestamp::from_secs(1_800_000_000);
        let first = Attempt::begin(now, &SystemEntropy).unwrap();
        let charge = store.charge_login(&login, None, &Backoff::at(now), &first).await.unwrap();
        let Charge::Admitted(first) = charge else { panic!("refused") };
        try_at(&store, &login, now).await;
        store.clear_login_failures(&first).await;
        let Charge::Admitted(row) = try_at(&store, &login, now).await else { panic!("refused") };
        assert_eq!(row.failures(), 3);
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

    #[tokio::test]
    async fn a_right_password_opens_one_challenge_and_ends_the_row() {
        let (ann, _) = ann(0).await;
        for _ in 0..3 {
            let wrong = ann.password("wrong", None, NOW).await.err().unwrap();
            assert!(wrong.owner().is_some());
        }
        let token = ann.challenge(None, NOW).await;
        assert!(ann.signed_in(&token, STEP, NOW).await.is_some());
        assert_eq!(ann.password("wrong", None, NOW).await.err().unwrap().failures(), 1);
    }

    #[tokio::test]
    async fn twenty_challenges_a_network_and_a_quarter_of_an_hour() {
        let (ann, _) = ann(0).await;
        for n in 0..policy::NETWORK_CHALLENGES {
            let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
            assert!(matches!(ann.opened(right, "10.0.0").await, Opened::Done(..)), "{n}");
        }
        let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        let until = NOW + policy::WINDOW;
        assert!(matches!(ann.opened(right, "10.0.0").await, Opened::TooMany { retry_at } if retry_at == until));
        let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        assert!(matches!(ann.opened(right, "10.0.1").await, Opened::Done(..)));
        let right = ann.password(PASSWORD, None, until).await.ok().unwrap();
        assert!(matches!(ann.opened(right, "10.0.0").await, Opened::Done(..)));
        assert!(ann.read(&ann.key).await.networks["10.0.0"].len() == 1, "past times are gone");
    }

    #[tokio::test]
    async fn of_many_challenges_the_oldest_of_the_busiest_network_goes() {
        let (ann, _) = ann(0).await;
        let first = ann.challenge(None, NOW).await;
        for n in 0..40 {
            let at = NOW + Duration::from_millis(n + 1);
            let right = ann.password(PASSWORD, None, at).await.ok().unwrap();
            let network = if n % 2 == 0 { "10.0.1" } else { "10.0.2" };
            assert!(matches!(ann.opened(right, network).await, Opened::Done(..)));
        }
        let user = ann.read(&ann.key).await;
        assert_eq!(user.challenges.len(), policy::CHALLENGES);
        assert!(user.challenges.contains_key(first.id()), "the newcomer's stays");
    }

    #[tokio::test]
    async fn networks_are_bounded() {
        let (ann, _) = ann(0).await;
        for n in 0..policy::NETWORKS + 4 {
            let at = NOW + Duration::from_millis(u64::try_from(n).unwrap());
            let right = ann.password(PASSWORD, None, at).await.ok().unwrap();
            assert!(matches!(ann.opened(right, &format!("10.0.{n}")).await, Opened::Done(..)));
        }
        let user = ann.read(&ann.key).await;
        assert_eq!(user.networks.len(), policy::NETWORKS);
        assert!(!user.networks.contains_key("10.0.3") && user.networks.contains_key("10.0.4"));
    }

    /// A write that opens a challenge from a network, planned on what was read.
    fn from_network(ann: &Ann, read: &User, network: &str, now: Timestamp) -> Write {
        let token = NewToken::generate(TokenClass::Challenge, &ann.key, ann.store.restored(), &SystemEntropy).unwrap();
        let entry = Challenge {
            verifier: *token.reference().verifier(),
            ends: (now + policy::CHALLENGE_LIFE).millis(),
            attempts: 0,
            security_version: read.security_version,
            network: network.to_owned(),
            device: None,
            idp: None,
        };
        let mut changed = read.clone();
        changed.open_challenge(&token, entry, now).unwrap();
        commit::update(&ann.key, read, &changed).unwrap()
    }

    async fn written(ann: &Ann, write: &Write) -> bool {
        matches!(ann.store.table.update(write, Retry::Never).await.unwrap(), Updated::Written(_))
    }

    /// Ann, who came from so many networks, each a second after the other, up to now.
    async fn come_from(networks: usize) -> Ann {
        let (ann, _) = ann(0).await;
        let times = (0..networks).rev().map(|n| vec![NOW.millis() - 1000 * i64::try_from(n).unwrap()]);
        let networks: HashMap<_, _> = times.enumerate().map(|(n, times)| (format!("10.1.{n}"), times)).collect();
        ann.change(Action::Set(attr("nw"), item::value(&networks).unwrap())).await;
        ann
    }

    /// The cap is a condition of the write: of two that were planned on the same fifteen networks one is written.
    #[tokio::test]
    async fn no_two_writes_at_once_pass_the_cap_of_networks() {
        let ann = come_from(policy::NETWORKS - 1).await;
        let read = ann.read(&ann.key).await;
        let [one, two] = ["10.2.1", "10.2.2"].map(|network| from_network(&ann, &read, network, NOW));
        assert!(written(&ann, &one).await && !written(&ann, &two).await);
        assert_eq!(ann.read(&ann.key).await.networks.len(), policy::NETWORKS);
        // Planned anew it takes the place of the one that was quiet longest; of two, again, one is written.
        let read = ann.read(&ann.key).await;
        let [two, three] = ["10.2.2", "10.2.3"].map(|network| from_network(&ann, &read, network, NOW));
        assert!(written(&ann, &two).await && !written(&ann, &three).await);
        let networks = ann.read(&ann.key).await.networks;
        assert!(networks.len() == policy::NETWORKS && !networks.contains_key("10.1.0"));
        // One that is known needs no room.
        let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        assert!(matches!(ann.opened(right, "10.1.1").await, Opened::Done(..)));
        assert_eq!(ann.read(&ann.key).await.networks["10.1.1"].len(), 2);
    }

    /// Nor does what was planned on networks that went take a count with it that came since.
    #[tokio::test]
    async fn networks_that_were_quiet_for_a_window_go_with_the_next_write_and_no_count_goes_with_them() {
        let ann = come_from(3).await;
        let later = NOW + policy::WINDOW;
        let read = ann.read(&ann.key).await;
        let planned = from_network(&ann, &read, "10.2.1", later);
        assert!(written(&ann, &from_network(&ann, &read, "10.1.2", later)).await);
        assert!(!written(&ann, &planned).await);
        let right = ann.password(PASSWORD, None, later).await.ok().unwrap();
        assert!(matches!(ann.opened(right, "10.2.1").await, Opened::Done(..)));
        let networks = ann.read(&ann.key).await.networks;
        let want = HashMap::from([("10.1.2", vec![later.millis()]), ("10.2.1", vec![later.millis()])]);
        assert_eq!(networks, want.into_iter().map(|(name, times)| (name.to_owned(), times)).collect());
    }

    /// As a version without the cap left it.
    #[tokio::test]
    async fn an_item_with_too_many_networks_is_brought_within_the_cap_by_the_next_write() {
        let ann = come_from(191).await;
        let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        assert!(matches!(ann.opened(right, "10.1.0").await, Opened::Done(..)));
        let networks = ann.read(&ann.key).await.networks;
        assert!(
            networks.len() == policy::NETWORKS && networks["10.1.0"].len() == 2 && networks.contains_key("10.1.190")
        );
    }

    /// Nothing of it is lost, whatever has to go: the twentieth is the last.
    #[tokio::test]
    async fn a_full_network_is_full_also_while_others_have_to_go() {
        let ann = come_from(policy::NETWORKS + 1).await;
        let full: Vec<_> = (0..policy::NETWORK_CHALLENGES).map(|_| num(NOW.millis())).collect();
        ann.change(Action::Set(attr("nw").key("10.1.16"), write::Value::L(full))).await;
        let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        let until = NOW + policy::WINDOW;
        assert!(matches!(ann.opened(right, "10.1.16").await, Opened::TooMany { retry_at } if retry_at == until));
    }

    /// Refusals are told apart from what was written before the outcome was known.
    #[tokio::test]
    async fn a_refusal_after_a_right_password_has_a_row_of_its_own() {
        let (ann, _) = ann(0).await;
        let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        ann.change(Action::Set(attr("ac"), write::Value::Bool(false))).await;
        let PasswordChecked::MfaRequired(opening) = right.decide() else { panic!("not due") };
        let event = |action, outcome| AuditEvent::new(action, outcome, "r").own(ann.key.user());
        let accepted = event(Did::PasswordAccepted, Outcome::Success);
        let opened = ann.store.open_attempt(opening, "10.0.0", &SystemEntropy, &accepted).await.unwrap();
        let Opened::Stale(Err(password_attempt)) = opened else { panic!("opened") };
        let refused = event(Did::Login, Outcome::Refused);
        ann.store.record(ann.key.tenant(), password_attempt.attempt(), 0, &refused).await;
        let page = ann.store.audit(ann.key.tenant(), &AuditFilter::default(), (NOW, NOW), None, 9).await.unwrap();
        let events: Vec<_> = page.items.into_iter().map(|row| row.event).collect();
        assert_eq!(events, [accepted, refused]);
    }

    /// The receipt of an exempt sign-in is no row that was written before: it was taken for a person who is gone.
    #[tokio::test]
    async fn a_sign_in_that_becomes_exempt_under_way_is_signed_in() {
        let (ann, _) = ann(0).await;
        ann.change(Action::Set(attr("k"), write::text("c"))).await;
        ann.change(Action::Set(attr("fs"), write::text("n"))).await;
        let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        let PasswordChecked::EnrolmentRequired(opening) = right.decide() else { panic!("not due") };
        let excluded = item::Exclusion { batch: crate::id::BatchId::parse("b").unwrap(), at: NOW.millis() };
        ann.change(Action::Set(attr("ex"), item::value(&excluded).unwrap())).await;
        ann.change(Action::Add(attr("ep"), 1)).await;
        let opened = ann.store.open_attempt(opening, "10.0.0", &SystemEntropy, &ann.event()).await.unwrap();
        let Opened::Stale(Ok(right)) = opened else { panic!("opened") };
        let PasswordChecked::Exempt(exempt) = right.decide() else { panic!("not exempt") };
        let opened = ann.store.open_exempt_session(exempt, &SystemEntropy, &ann.event()).await.unwrap();
        assert!(matches!(opened, ExemptOpened::Done(_)));
    }

    /// A crowd that guesses at the name does not delay the device that is known.
    #[tokio::test]
    async fn a_known_device_keeps_its_own_counter() {
        let (ann, tokens) = ann(1).await;
        let device = ann.signed_in(&tokens[0], STEP, NOW).await.unwrap().device.unwrap();
        let device = device.reference();
        for _ in 0..5 {
            ann.password("wrong", None, NOW).await.err().unwrap();
        }
        let charge = ann.store.charge_login(&ann.login, None, &Backoff::at(NOW), &attempt(NOW)).await.unwrap();
        assert!(matches!(charge, Charge::Exhausted { .. }));
        for n in 0..4 {
            assert_eq!(ann.password("wrong", Some(device), NOW).await.err().unwrap().failures(), n + 1);
        }
        let later = NOW + Duration::from_secs(86_400);
        let token = ann.challenge(Some(device), later).await;
        let user = ann.read(&ann.key).await;
        assert_eq!(user.devices[device.id()].attempts, 0, "a right password ends the device's row");
        let signed_in = ann.signed_in(&token, STEP + 2880, later).await.unwrap();
        assert!(signed_in.device.is_none(), "it is known already");
        let user = ann.read(&ann.key).await;
        assert_eq!(user.devices[device.id()].ends, (later + policy::DEVICE_LIFE).secs(), "and renewed");
        for _ in 0..5 {
            ann.password("wrong", Some(device), later).await.err().unwrap();
        }
        let charge =
            ann.store.charge_login(&ann.login, Some(device), &Backoff::at(later), &attempt(later)).await.unwrap();
        assert!(matches!(charge, Charge::Exhausted { .. }), "it has delays of its own");
        let after = later + policy::DEVICE_LIFE;
        assert!(
            ann.password(PASSWORD, Some(device), after).await.ok().unwrap().password_attempt().device.is_none(),
            "it ended"
        );
    }

    #[tokio::test]
    async fn an_unusable_device_is_ignored() {
        let (ann, _) = ann(0).await;
        let bob = ann.key.tenant().user(UserId::parse("u-bob").unwrap());
        for key in [&ann.key, &bob] {
            let made_up =
                NewToken::generate(TokenClass::Device, key, crate::secret::RestoreEpoch::default(), &SystemEntropy)
                    .unwrap();
            let password_attempt = ann.password("wrong", Some(made_up.reference()), NOW).await.err().unwrap();
            assert!(password_attempt.device.is_none());
        }
        assert_eq!(ann.password("wrong", None, NOW).await.err().unwrap().failures(), 3);
    }

    #[tokio::test]
    async fn five_devices_and_the_least_recently_used_goes() {
        let (ann, _) = ann(0).await;
        let mut devices = Vec::new();
        for n in 0..6_i64 {
            let at = NOW + Duration::from_secs(u64::try_from(n * 60).unwrap());
            let token = ann.challenge(None, at).await;
            devices.push(ann.signed_in(&token, STEP + n * 2, at).await.unwrap().device.unwrap());
        }
        let user = ann.read(&ann.key).await;
        assert_eq!(user.devices.len(), policy::DEVICES);
        assert!(!user.devices.contains_key(devices[0].reference().id()));
    }

    #[tokio::test]
    async fn a_password_of_another_version_or_of_one_who_may_not_opens_nothing() {
        let (ann, _) = ann(0).await;
        for (no, yes) in [
            (Action::Set(attr("pv"), num(2)), Action::Set(attr("pv"), num(1))),
            (Action::Set(attr("ac"), write::Value::Bool(false)), Action::Set(attr("ac"), write::Value::Bool(true))),
            (Action::Set(attr("at"), write::text("s")), Action::Set(attr("at"), write::text("l"))),
        ] {
            ann.change(no.clone()).await;
            assert!(ann.password(PASSWORD, None, NOW).await.is_err());
            ann.change(yes).await;
            let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
            ann.change(no).await;
            assert!(matches!(ann.opened(right, "n").await, Opened::Stale(Err(_))), "changed after the check");
            ann.change(Action::Set(attr("pv"), num(1))).await;
            ann.change(Action::Set(attr("ac"), write::Value::Bool(true))).await;
            ann.change(Action::Set(attr("at"), write::text("l"))).await;
        }
    }

    #[tokio::test]
    async fn an_excluded_contact_signs_in_by_password_until_they_are_promoted() {
        let (ann, _) = ann(0).await;
        let exclusion = item::Exclusion { batch: crate::id::BatchId::parse("b").unwrap(), at: 0 };
        for action in [
            Action::Set(attr("k"), write::text("c")),
            Action::Set(attr("fs"), write::text("n")),
            Action::Set(attr("ex"), item::value(&exclusion).unwrap()),
        ] {
            ann.change(action).await;
        }
        let exempt = |right: VerifiedPassword| match right.decide() {
            PasswordChecked::Exempt(exempt) => exempt,
            _ => panic!("not exempt"),
        };
        let first = exempt(ann.password(PASSWORD, None, NOW).await.ok().unwrap());
        let second = exempt(ann.password(PASSWORD, None, NOW).await.ok().unwrap());
        let event = ann.event();
        let ExemptOpened::Done(signed_in) = ann.store.open_exempt_session(first, &SystemEntropy, &event).await.unwrap()
        else {
            panic!("refused")
        };
        assert_eq!(signed_in.session.ends, (NOW + policy::EXEMPT_SESSION_LIFE).secs());
        ann.change(Action::Set(attr("k"), write::text("e"))).await;
        ann.change(Action::Remove(attr("ex"))).await;
        ann.change(Action::Add(attr("ep"), 1)).await;
        let moved = ann.store.open_exempt_session(second, &SystemEntropy, &event).await.unwrap();
        let ExemptOpened::Stale(Ok(right)) = moved else { panic!("signed in, or denied") };
        assert!(matches!(right.decide(), PasswordChecked::EnrolmentRequired(_)));
    }

    #[tokio::test]
    async fn what_a_right_password_is_worth() {
        let (ann, _) = ann(0).await;
        let reset = |at| async move { matches!(at, PasswordChecked::ResetRequired(_)) };
        ann.change(Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES))).await;
        assert!(reset(ann.password(PASSWORD, None, NOW).await.ok().unwrap().decide()).await);
        ann.change(Action::Set(attr("fs"), write::text("n"))).await;
        let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        assert!(matches!(right.decide(), PasswordChecked::EnrolmentRequired(_)));
        let dormant = NOW + policy::DORMANT;
        assert!(reset(ann.password(PASSWORD, None, dormant).await.ok().unwrap().decide()).await);
        ann.change(Action::Set(attr("eb"), num(NOW.secs()))).await;
        assert!(reset(ann.password(PASSWORD, None, NOW).await.ok().unwrap().decide()).await);
    }

    #[tokio::test]
    async fn failures_are_told_once_a_day() {
        let (ann, _) = ann(0).await;
        let mut at = NOW;
        let mut told = 0;
        for _ in 0..8 {
            let password_attempt = ann.password("wrong", None, at).await.err().unwrap();
            told += i32::from(ann.store.notify_failures(&password_attempt).await.unwrap());
            at = at + Duration::from_secs(900);
        }
        assert_eq!(told, 1);
        let tomorrow = ann.password("wrong", None, NOW + Duration::from_secs(86_400)).await.err().unwrap();
        assert!(ann.store.notify_failures(&tomorrow).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_is_strengthened_unless_the_password_was_changed() {
        let (ann, _) = ann(0).await;
        let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        let again = ann.hash(PASSWORD).await;
        ann.store.strengthen(&right, &again).await;
        assert!(
            ann.password(PASSWORD, None, NOW).await.ok().unwrap().password_attempt().hash().unwrap().as_str()
                == again.as_str()
        );
        // The one that was right is not there any more.
        ann.store.strengthen(&right, &ann.hash("another").await).await;
        assert!(ann.password(PASSWORD, None, NOW).await.is_ok());
    }
}
