//! Sign-in with a password: charge an attempt, open a challenge, an enrolment token or a session of an excluded contact.

use tokio::join;

use super::{
    AttemptEvent, OperationError, Store, StoreError,
    commit::{self, Audited, Retries},
    item,
    item::{LoginRow, LoginTokenEntry, User},
    keys, not_recorded,
    table::{Retry, Updated},
    write::{self, Action, Condition, Path, Write, absent, attr, eq, gt, le, lt, ne, num},
};
use crate::{
    audit::AuditEvent,
    auth::login::{NetworkFull, leads_to, open_excluded_session},
    domain::ChallengeState,
    env::{Entropy, Timestamp},
    password::PasswordHash,
    policy::{self, Backoff},
    secret::{LoginKey, NewToken, TokenClass, TokenRef},
    sign_in::{
        Attempt, DeviceOrigin, ExcludedSignIn, NewSession, PasswordAttempt, PendingSignIn, SignedIn, VerifiedPassword,
    },
};

/// The budget of attempts is used up: the attempt was not counted and must not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts")]
pub struct Exhausted {
    /// When an attempt is admitted again.
    pub retry_at: Timestamp,
}

/// Why a correct password opened nothing.
#[derive(thiserror::Error)]
pub enum LoginRejection {
    /// The limit of challenges and enrolment tokens from the client network is reached. A session has no such limit.
    #[error(transparent)]
    NetworkFull(#[from] NetworkFull),
    /// The user changed, and the password still signs them in. The caller must decide again about the user as they are now.
    #[error("the user changed during the sign-in")]
    UserChanged(VerifiedPassword),
    /// The user changed, and the password does not sign them in any more.
    #[error("the password no longer signs in")]
    Denied(PasswordAttempt),
}

/// Without the user and the password hash.
impl std::fmt::Debug for LoginRejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// An attempt with a device token.
enum DeviceCharge {
    /// The device is known, and the attempt was counted there.
    Counted(PasswordAttempt),
    /// The device is not known. The user of the login name, if the refused write returned them.
    Unknown(Option<User>),
}

/// The writes that follow a correct password, whatever it opens. The response does not depend on them.
struct SideWrites {
    /// The audit row that says that the password was correct.
    audit_row: (Write, Retry),
    /// Clears the failures of the login name, if the attempt was counted there.
    cleared: Option<(Write, Retry)>,
}

impl Store {
    /// Counts an attempt at the password of a login name, within the [`Backoff`], and returns what it is checked against. An
    /// attempt from a known device of the user is counted at the device, so attackers who guess passwords do not delay the
    /// user. Names that do not exist cause the same requests and the same delays.
    ///
    /// # Errors
    /// [`Exhausted`]: the delay after earlier failures has not passed. If the store failed, the attempt may have been counted.
    pub async fn charge_login(
        &self,
        login: &LoginKey,
        device: Option<&TokenRef>,
        backoff: &Backoff,
        attempt: &Attempt,
    ) -> Result<PasswordAttempt, OperationError<Exhausted>> {
        let device = device.filter(|it| it.class() == TokenClass::Device && it.user().tenant() == login.tenant());
        let mut loaded_user = None;
        if let Some(device) = device {
            match self.charge_known_device(login, device, backoff, attempt).await? {
                DeviceCharge::Counted(attempt) => return Ok(attempt),
                DeviceCharge::Unknown(user) => loaded_user = user,
            }
        }
        let row: LoginRow = match self.table.update(&charge(login, backoff, attempt), Retry::Idempotent).await? {
            Updated::Written(Some(item)) => item::read(item)?,
            Updated::Written(None) => return Err(StoreError::Corrupt("a count left no item".into()).into()),
            Updated::Refused(old) => {
                let row: LoginRow = item::read(old.unwrap_or_default())?;
                if row.attempt != Some(attempt.nonce()) {
                    return Err(OperationError::Rejected(exhausted(row.attempts, row.last)));
                }
                row // this attempt was counted before, and the reply was lost
            }
        };
        let loaded_user = loaded_user.filter(|_| row.uid.as_ref() == device.map(|device| device.user().user()));
        Ok(PasswordAttempt { login: login.clone(), row, attempt: *attempt, device: None, loaded_user })
    }

    /// Counts an attempt at a known device, if the device is known to the user of the login name.
    ///
    /// # Errors
    /// [`Exhausted`]: the delay of the device has not passed.
    async fn charge_known_device(
        &self,
        login: &LoginKey,
        device: &TokenRef,
        backoff: &Backoff,
        attempt: &Attempt,
    ) -> Result<DeviceCharge, OperationError<Exhausted>> {
        let (count, row) = (charge_device(login, device, backoff, attempt), [keys::login(login)]);
        let (counted, row) = join!(self.table.update(&count, Retry::Idempotent), self.table.read(&row));
        let loaded_user = match counted? {
            Updated::Written(item) => item.map(item::read::<User>).transpose()?,
            Updated::Refused(old) => {
                let user = old.map(item::read::<User>).transpose()?.filter(|user| user.login_digest == login.digest());
                match user.as_ref().and_then(|user| user.devices.get(device.id())) {
                    Some(entry) if entry.verifier == *device.verifier() && entry.ends > attempt.at() => {
                        if entry.attempt != Some(attempt.nonce()) {
                            return Err(OperationError::Rejected(exhausted(entry.attempts, entry.last)));
                        }
                    }
                    _ => return Ok(DeviceCharge::Unknown(user)),
                }
                user // this attempt was counted before, and the reply was lost
            }
        };
        let row: LoginRow = item::read(row?.into_iter().next().flatten().unwrap_or_default())?;
        let (login, attempt, device) = (login.clone(), *attempt, Some(device.id().clone()));
        Ok(DeviceCharge::Counted(PasswordAttempt { login, row, attempt, device, loaded_user }))
    }

    /// Reads the user who has the login name. If no user has it, reads an item that does not exist, so that both cases cause
    /// the same request. Run it concurrently with the check of the password, which takes longer.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed; deny the sign-in.
    pub async fn load_owner(&self, password_attempt: &PasswordAttempt) -> Result<Option<User>, StoreError> {
        if password_attempt.loaded_user.is_some() {
            return Ok(password_attempt.loaded_user.clone());
        }
        let owner = password_attempt.owner();
        let key = owner.as_ref().map_or_else(|| keys::no_user(&password_attempt.login), keys::user);
        let [found] = self.read_all([key]).await?;
        found.filter(|_| owner.is_some()).map(item::read).transpose()
    }

    /// Opens a challenge or an enrolment token for a correct password, and clears the failures. The opening is a single write
    /// without a transaction, because the token does not sign in; the token's random id shows whether a write whose reply was
    /// lost was applied. `event` is its audit row. The row is written at the same time, so it says only that the password was
    /// correct.
    ///
    /// # Errors
    /// [`LoginRejection`], or a failure of the store: do not issue the token, though it may be stored.
    pub async fn open_attempt(
        &self,
        pending: PendingSignIn,
        network: &str,
        entropy: &dyn Entropy,
        event: &AuditEvent,
    ) -> Result<(NewToken, Timestamp), OperationError<LoginRejection>> {
        let PendingSignIn { verified, kind } = pending;
        let attempt = verified.password_attempt.attempt;
        let (now, ends) = (attempt.at(), attempt.at() + kind.life());
        let token =
            NewToken::generate(kind.class(), &verified.key, self.restore_epoch, entropy).map_err(StoreError::from)?;
        let id = token.reference().id();
        let mut side_writes = Some(self.side_writes(&verified, event)?);
        let (mut user, mut retries) = (verified.user.clone(), Retries::of(&attempt));
        while leads_to(&verified, &user, kind.next_step()) {
            let mut changed = user.clone();
            let challenge = verified.challenge(&user, &token, ends, network);
            let opened = changed.open_login_token(kind, id, challenge, now);
            opened.map_err(|full| OperationError::Rejected(full.into()))?;
            changed.clear_device_failures(verified.password_attempt.device.as_ref());
            let write = commit::update(&verified.key, &user, &changed)?;
            let updated = match side_writes.take() {
                Some(side_writes) => self.update_beside(write, side_writes, event).await?,
                None => self.table.update(&write, Retry::Idempotent).await?,
            };
            match updated {
                Updated::Written(_) => return Ok((token, ends)),
                Updated::Refused(None) => {
                    return Err(OperationError::Rejected(LoginRejection::Denied(verified.password_attempt)));
                }
                Updated::Refused(Some(found)) => user = item::read(found)?,
            }
            if user.has_login_token(kind, id) {
                return Ok((token, ends)); // written before, and the reply was lost
            }
            retries.pause().await?;
        }
        Err(OperationError::Rejected(verified.rejected_for(user)))
    }

    fn side_writes(&self, verified: &VerifiedPassword, event: &AuditEvent) -> Result<SideWrites, StoreError> {
        let password_attempt = &verified.password_attempt;
        let audit_row =
            self.lone_row(verified.key.tenant(), &password_attempt.attempt, AttemptEvent::PasswordAccepted, event)?;
        Ok(SideWrites { audit_row, cleared: cleared_login_failures(password_attempt) })
    }

    /// Sends a write of the user's item, and the side writes at the same time. Failures of those are only logged.
    async fn update_beside(
        &self,
        write: Write,
        side_writes: SideWrites,
        event: &AuditEvent,
    ) -> Result<Updated, StoreError> {
        let SideWrites { audit_row, cleared } = side_writes;
        let writes: Vec<_> = [(write, Retry::Idempotent), audit_row].into_iter().chain(cleared).collect();
        let mut results = self.table.update_each(&writes).await.into_iter();
        let (updated, recorded, cleared) = (results.next(), results.next(), results.next());
        if let Some(Err(error)) = recorded {
            not_recorded(event, &error);
        }
        if let Some(Err(error)) = cleared {
            not_cleared(&error);
        }
        updated.unwrap_or_else(|| Err(StoreError::Unavailable("a write has no result".into())))
    }

    /// Signs in an excluded contact by the password alone.
    ///
    /// # Errors
    /// [`LoginRejection`], or a failure of the store: deny the sign-in, though it may be committed.
    pub async fn open_excluded_session(
        &self,
        excluded: ExcludedSignIn,
        entropy: &dyn Entropy,
        event: &AuditEvent,
    ) -> Result<SignedIn, OperationError<LoginRejection>> {
        let verified = excluded.verified;
        let attempt = verified.password_attempt.attempt;
        let version = verified.user.security_version;
        let mut session =
            NewSession::signed_in(&verified.key, version, item::Amr::Password, &attempt, self.restore_epoch, entropy)
                .map_err(StoreError::from)?;
        if let Some(device) = verified.password_attempt.device.clone() {
            session.from = DeviceOrigin::Known(device);
        }
        let audited = Audited { attempt: &attempt, which: AttemptEvent::Outcome, event };
        // The rejection is the user as they are now. `None`: the user was deleted.
        let decide = |user: &mut User| {
            let opened = open_excluded_session(&verified, user, &session);
            opened.map(|entry| (entry, Vec::new())).map_err(|_| Some(user.clone()))
        };
        let commit = self.commit_user(&verified.key, verified.user.clone(), audited, None, decide);
        let (committed, ()) = join!(commit, self.clear_login_failures(&verified.password_attempt));
        let rejection = match committed {
            Ok(entry) => return Ok(session.into_signed_in(entry, false)),
            Err(OperationError::Store(error)) => return Err(error.into()),
            Err(OperationError::Rejected(Some(user))) => verified.rejected_for(user),
            Err(OperationError::Rejected(None)) => LoginRejection::Denied(verified.password_attempt),
        };
        Err(OperationError::Rejected(rejection))
    }

    /// Clears the failures after a correct password that opens nothing. If this fails, the next sign-in may be delayed, so it
    /// is only logged.
    pub async fn clear_failures(&self, verified: &VerifiedPassword) {
        self.clear_login_failures(&verified.password_attempt).await;
        if verified.password_attempt.device.is_some()
            && let Err(error) = self.clear_device_failures(verified).await
        {
            tracing::warn!(%error, "the failures of a known device were not cleared");
        }
    }

    async fn clear_device_failures(&self, verified: &VerifiedPassword) -> Result<(), StoreError> {
        let (mut user, mut retries) = (verified.user.clone(), Retries::of(&verified.password_attempt.attempt));
        loop {
            let mut changed = user.clone();
            changed.clear_device_failures(verified.password_attempt.device.as_ref());
            if changed == user {
                return Ok(()); // the device is no longer known
            }
            let write = commit::update(&verified.key, &user, &changed)?;
            match self.table.update(&write, Retry::Never).await? {
                Updated::Written(_) | Updated::Refused(None) => return Ok(()),
                Updated::Refused(Some(found)) => user = item::read(found)?,
            }
            retries.pause().await?;
        }
    }

    /// Replaces the hash of a correct password by a stronger hash of the same password, unless the password changed meanwhile.
    /// A failure leaves the old hash, so it is only logged.
    pub async fn upgrade_password_hash(&self, verified: &VerifiedPassword, hash: &PasswordHash) {
        let Some(old) = verified.password_attempt.row.hash.as_deref() else { return };
        let same = vec![eq(attr("ph"), old), eq(attr("pv"), verified.user.password_version)];
        let stronger = vec![Action::Set(attr("ph"), write::text(hash.as_str()))];
        let write = Write::update(keys::login(&verified.password_attempt.login), same, stronger);
        if let Err(error) = self.table.update(&write, Retry::Never).await {
            tracing::warn!(%error, "a password hash was not upgraded");
        }
    }

    async fn clear_login_failures(&self, password_attempt: &PasswordAttempt) {
        let Some((write, retry)) = cleared_login_failures(password_attempt) else { return };
        if let Err(error) = self.table.update(&write, retry).await {
            not_cleared(&error);
        }
    }

    /// Whether the caller must send the notification of failed passwords, which is sent once a day. True for one attempt a day,
    /// after [`policy::NOTIFY_FAILURES`].
    ///
    /// # Errors
    /// [`StoreError`]; callers log it and continue.
    pub async fn notify_failures(&self, password_attempt: &PasswordAttempt) -> Result<bool, StoreError> {
        let today = password_attempt.attempt.at().day();
        if password_attempt.failures() < policy::NOTIFY_FAILURES || password_attempt.row.notified_day == Some(today) {
            return Ok(false);
        }
        let not_notified_today = Condition::Any(vec![absent(attr("day")), ne(attr("day"), today.0)]);
        let write = Write::update(
            keys::login(&password_attempt.login),
            vec![not_notified_today],
            vec![Action::Set(attr("day"), num(today.0))],
        );
        Ok(matches!(self.table.update(&write, Retry::Never).await?, Updated::Written(_)))
    }
}

/// Clears the consecutive failures of a login name, if this attempt was the last one counted: a later count must not be lost. A
/// failure can only delay the next sign-in, so it is only logged. `None` if the attempt was counted at a device: the write of the
/// user's item clears it.
fn cleared_login_failures(password_attempt: &PasswordAttempt) -> Option<(Write, Retry)> {
    let mine = vec![eq(attr("a"), password_attempt.attempt.id())];
    let write = Write::update(keys::login(&password_attempt.login), mine, vec![Action::Set(attr("n"), num(0))]);
    password_attempt.device.is_none().then_some((write, Retry::Never))
}

fn not_cleared(error: &StoreError) {
    tracing::warn!(%error, "the failures of a login name were not cleared");
}

impl VerifiedPassword {
    /// Why the password opens nothing for the user, who changed.
    fn rejected_for(mut self, user: User) -> LoginRejection {
        if !self.signs_in(&user) {
            return LoginRejection::Denied(self.password_attempt);
        }
        self.user = user;
        LoginRejection::UserChanged(self)
    }

    /// The entry of a challenge or an enrolment token.
    fn challenge(&self, user: &User, token: &NewToken, ends: Timestamp, network: &str) -> LoginTokenEntry {
        LoginTokenEntry {
            verifier: *token.reference().verifier(),
            ends,
            state: ChallengeState::NEW,
            security_version: user.security_version,
            network: network.to_owned(),
            device: self.password_attempt.device.clone().filter(|id| user.devices.contains_key(id)),
            idp_generation: None,
        }
    }
}

fn exhausted(attempts: i64, last: Timestamp) -> Exhausted {
    Exhausted { retry_at: Backoff::retry_at(attempts, last) }
}

/// The condition that the backoff admits an attempt. `n` is the path of the count, `q` that of the last attempt's time.
fn admitted(backoff: &Backoff, n: impl Fn() -> Path, q: impl Fn() -> Path) -> Condition {
    let mut steps =
        vec![absent(n()), lt(n(), backoff.free()), le(q(), backoff.cap().millis()), gt(q(), backoff.future().millis())];
    for &(attempts, at) in backoff.steps() {
        steps.push(Condition::All(vec![le(n(), attempts), le(q(), at.millis())]));
    }
    Condition::Any(steps)
}

fn unseen(mark: &Path, attempt: &Attempt) -> Condition {
    Condition::Any(vec![absent(mark.clone()), ne(mark.clone(), attempt.id())])
}

fn charge(login: &LoginKey, backoff: &Backoff, attempt: &Attempt) -> Write {
    let year = attempt.at() + std::time::Duration::from_secs(366 * 86_400);
    Write::update(
        keys::login(login),
        vec![admitted(backoff, || attr("n"), || attr("q")), unseen(&attr("a"), attempt)],
        vec![
            Action::Count(attr("n"), 1),
            Action::Set(attr("q"), num(attempt.at().millis())),
            Action::Set(attr("a"), write::bytes(attempt.id())),
            // The `ttl` of an existing name is the text `never`, which expiry ignores. A name that no user has expires after a
            // year. The same request serves both.
            Action::SetIfAbsent(attr("ttl"), num(year.secs())),
        ],
    )
}

fn charge_device(login: &LoginKey, device: &TokenRef, backoff: &Backoff, attempt: &Attempt) -> Write {
    let at = || attr("d").key(device.id().as_str().to_owned());
    Write::update(
        keys::user(device.user()),
        vec![
            eq(attr("lh"), login.digest()),
            eq(at().key("g"), device.verifier().bytes()),
            gt(at().key("x"), attempt.at().secs()),
            admitted(backoff, || at().key("n"), || at().key("q")),
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
mod tests;
