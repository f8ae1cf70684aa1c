//! Commands of enrolment: start it, charge a code, confirm it.

use tokio::join;

use super::{
    MAX_RETRIES, Store, StoreError,
    administrators::mark_admin_with_mfa,
    item,
    item::{Amr, AuthType, CurrentIdp, FactorState, PendingEnrolment, Profile, TenantPolicy, User},
    keys,
    login::Charge,
    session::{self, NoSession},
    table::{Retry, Transacted, Transaction, Updated, met_first},
    verify::open_entry,
    write::{self, Action, Condition, Item, Path, Write, attr, empty, eq, gt, lt, ne, num},
};
use crate::{
    audit::AuditEvent,
    env::{Entropy, EntropyError, Timestamp},
    id::UserKey,
    policy,
    secret::{CodeDigest, FactorRef, Nonce, RestoreEpoch, SealedSecret, TokenClass, TokenRef},
    sign_in::{Attempt, NewSession, SignedIn},
    totp::TotpProof,
};

/// The token by which somebody enrols.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentToken(TokenRef);

impl EnrolmentToken {
    /// Takes an enrolment token or a session token; `None` for any other class (`invalid_token`).
    #[must_use]
    pub fn new(token: TokenRef) -> Option<Self> {
        matches!(token.class(), TokenClass::Enrolment | TokenClass::Session).then_some(Self(token))
    }

    /// Who enrols.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        self.0.user()
    }

    fn alive(&self, now: Timestamp) -> Vec<Condition> {
        match self.0.class() {
            TokenClass::Enrolment => open_entry("e", &self.0, policy::ENROLMENT_LIFE, now),
            _ => session::living(&self.0, now),
        }
    }

    /// Whether the token is alive in a person's item: the same as [`Self::alive`] asks of the store.
    fn check(&self, user: &User, now: Timestamp) -> Result<(), Denied> {
        if self.0.class() == TokenClass::Session {
            user.session(&self.0, now).map(|_| ()).map_err(|why| match why {
                NoSession::Invalid => Denied::Token,
                NoSession::RefreshRequired => Denied::Epoch,
            })
        } else {
            let entry = user.enrolments.get(self.0.id());
            let open = entry.is_some_and(|it| it.open(&self.0, user.security_version, policy::ENROLMENT_LIFE, now));
            if open && user.active { Ok(()) } else { Err(Denied::Token) }
        }
    }
}

impl EnrolmentToken {
    /// The generation of the IdP that gave the token, if one did: what is enrolled by it is of that generation.
    fn generation(&self, user: &User) -> Option<Nonce> {
        let (entry, session) = (user.enrolments.get(self.0.id()), user.sessions.get(self.0.id()));
        entry.map_or_else(|| session.and_then(|session| session.idp), |entry| entry.idp)
    }

    /// Whether the tenant's IdP is still the one that gave the token, of somebody who comes from one.
    fn of_idp(&self, user: &User, current: Option<Item>) -> Result<Result<(), Denied>, StoreError> {
        let current: Option<CurrentIdp> = current.map(item::read).transpose()?;
        let holds = match user.sessions.get(self.0.id()) {
            Some(session) => session.idp_holds(current.as_ref()),
            None => {
                user.auth_type == AuthType::Local
                    || current.is_some_and(|current| current.generation == self.generation(user))
            }
        };
        Ok(if holds { Ok(()) } else { Err(Denied::Token) })
    }
}

/// Whether a right code confirmed an enrolment.
pub enum Acceptance<T> {
    /// Committed.
    Accepted(T),
    /// Another request used the code, or the user changed.
    AlreadyUsed,
}

/// Why somebody may not enrol; in the contract's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The token is dead, or what was started with it was replaced through another.
    Token,
    /// A session from before the person's last security change.
    Epoch,
    /// The session has no fresh step-up.
    StepUp,
    /// The factor was disabled, or the time to enrol has passed.
    ResetRequired,
    /// The reset code is missing, wrong, used or expired.
    ResetCode,
    /// No enrolment is pending: none was started, or it ended.
    NonePending,
    /// The factor changed meanwhile.
    Stale,
}

/// Somebody who may start an enrolment, as they were read.
pub struct EnrolmentPermit {
    token: EnrolmentToken,
    user: User,
    /// Their names.
    pub profile: Profile,
    /// Their tenant's settings.
    pub policy: TenantPolicy,
}

impl EnrolmentPermit {
    /// The factor to be.
    #[must_use]
    pub fn factor(&self, factor: Nonce) -> FactorRef {
        FactorRef { user: self.token.key().clone(), incarnation: self.user.incarnation, factor }
    }
}

/// A code for a pending enrolment that was charged and not yet checked.
pub struct PendingConfirmation {
    token: EnrolmentToken,
    user: User,
    pending: PendingEnrolment,
    attempt: Attempt,
    restored: RestoreEpoch,
}

impl PendingConfirmation {
    /// The factor to be.
    #[must_use]
    pub fn factor(&self) -> FactorRef {
        FactorRef { user: self.token.key().clone(), incarnation: self.user.incarnation, factor: self.pending.factor }
    }

    /// Its sealed secret.
    #[must_use]
    pub fn secret(&self) -> &SealedSecret {
        &self.pending.secret
    }

    /// The person as the charge left them.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }
}

/// An enrolment whose code proved right, and the session it pays for.
pub struct ConfirmedEnrolment {
    charged: PendingConfirmation,
    step: i64,
    session: NewSession,
}

impl ConfirmedEnrolment {
    /// With a code of the pending factor. Both are consumed. `None`: a proof of another factor.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn new(
        charged: PendingConfirmation,
        proof: TotpProof,
        entropy: &dyn Entropy,
    ) -> Result<Option<Self>, EntropyError> {
        if *proof.owner() != charged.factor() {
            return Ok(None);
        }
        let (key, security_version, restored) =
            (charged.token.key(), charged.user.security_version + 1, charged.restored);
        let amr = Amr::with_code(charged.user.auth_type);
        let mut session = NewSession::signed_in(key, security_version, amr, &charged.attempt, restored, entropy)?;
        session.entry.idp = charged.token.generation(&charged.user);
        let session = match charged.user.enrolments.get(charged.token.0.id()) {
            Some(entry) => session.knowing(entry.device.clone(), restored, entropy)?,
            None => session,
        };
        Ok(Some(Self { step: proof.step(), charged, session }))
    }
}

impl Store {
    /// Finds out whether somebody may start an enrolment. A wrong reset code is counted by the write that compares it; a
    /// right one is not counted, so that it works as often as its owner begins.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn may_enrol(
        &self,
        token: EnrolmentToken,
        reset_code: Option<CodeDigest>,
        attempt: &Attempt,
    ) -> Result<Result<EnrolmentPermit, Denied>, StoreError> {
        let (key, now) = (token.key(), attempt.at());
        let mut keys = vec![keys::profile(key), keys::tenant(key.tenant()), keys::idp(key.tenant())];
        let given = reset_code.filter(|_| token.0.class() == TokenClass::Enrolment);
        let (user, rest) = if let Some(given) = &given {
            // Refused for a right code, or where there is none to compare with; the refusal has read the item all the same.
            let charge = charge_wrong_code(&token, given, now);
            let (charged, rest) = join!(self.table.update(&charge, Retry::Idempotent), self.table.read(&keys));
            let (Updated::Written(item) | Updated::Refused(item)) = charged?;
            (item, rest?)
        } else {
            keys.push(keys::user(key));
            let mut found = self.table.read(&keys).await?;
            (found.pop().flatten(), found)
        };
        let Some(item) = user else { return Ok(Err(Denied::Token)) };
        let user: User = item::read(item)?;
        let missing = || StoreError::Corrupt("a person without names, or without a tenant".into());
        let [profile, policy, idp] = <[_; 3]>::try_from(rest).map_err(|_| missing())?;
        let may = token.of_idp(&user, idp)?;
        if let Err(why) = may.and_then(|()| check_start(&user, &token, given, now)) {
            return Ok(Err(why));
        }
        let profile = item::read(profile.ok_or_else(missing)?)?;
        let policy = item::read(policy.ok_or_else(missing)?)?;
        Ok(Ok(EnrolmentPermit { token, user, profile, policy }))
    }

    /// Keeps the sealed secret as the person's one pending enrolment: the newest wins.
    ///
    /// # Errors
    /// [`StoreError`]; the secret must not be shown then.
    pub async fn begin_enrolment(
        &self,
        start: EnrolmentPermit,
        factor: Nonce,
        secret: SealedSecret,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Result<Timestamp, Denied>, StoreError> {
        let EnrolmentPermit { token, user, .. } = start;
        let now = attempt.at();
        let ends = now + policy::ENROLMENT_LIFE;
        let was = user.factor.authenticator().map(|it| it.id).filter(|_| user.factor.state() == FactorState::Active);
        let reset_code = user.reset_code.as_ref().filter(|_| required(&user)).map(|code| code.digest);
        let pending = PendingEnrolment {
            factor,
            secret,
            by: token.0.id().clone(),
            ends: ends.millis(),
            attempts: 0,
            reset_code,
            was,
        };
        let mut conditions = token.alive(now);
        conditions.push(eq(attr("ep"), user.security_version));
        conditions.extend(unchanged(&pending));
        let write =
            Write::update(keys::user(token.key()), conditions, vec![Action::Set(attr("pe"), item::value(&pending)?)]);
        let row = self.audit_row(token.key().tenant(), attempt, 0, event)?;
        match self.table.transact(&Transaction::new(vec![write], row)).await? {
            Transacted::Committed => Ok(Ok(ends)),
            Transacted::Refused(met) => Ok(Err(why(met, &token, now)?)),
        }
    }

    /// Counts a code against the pending enrolment's five, and returns its secret.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn charge_confirmation(
        &self,
        token: EnrolmentToken,
        attempt: Attempt,
    ) -> Result<Charge<PendingConfirmation, Denied>, StoreError> {
        let now = attempt.at();
        let mut conditions = token.alive(now);
        conditions.extend(pending_alive(&token, now));
        conditions.push(lt(attr("pe").key("n"), policy::MAX_ATTEMPTS));
        let write = Write::update(keys::user(token.key()), conditions, vec![Action::Add(attr("pe").key("n"), 1)]);
        let idp = self.read_all([keys::idp(token.key().tenant())]);
        let (charged, idp) = join!(self.table.update(&write, Retry::Idempotent), idp);
        let [idp] = idp?;
        match charged? {
            Updated::Written(Some(item)) => {
                let user: User = item::read(item)?;
                if let Err(why) = token.of_idp(&user, idp)? {
                    return Ok(Charge::Rejected(why));
                }
                let pending = user.pending.clone();
                let pending = pending.ok_or_else(|| StoreError::Corrupt("a pending enrolment is gone".into()))?;
                if !pending.code_holds(&user) {
                    return Ok(Charge::Rejected(Denied::ResetCode));
                }
                Ok(Charge::Admitted(PendingConfirmation { token, user, pending, attempt, restored: self.restored }))
            }
            Updated::Written(None) | Updated::Refused(None) => Ok(Charge::Rejected(Denied::Token)),
            Updated::Refused(Some(item)) => {
                let user = item::read(item)?;
                Ok(Charge::Rejected(token.of_idp(&user, idp)?.err().unwrap_or(none_to_confirm(&user, &token, now))))
            }
        }
    }

    /// Makes the pending factor the active one, in one transaction with everything that follows from it: the confirming
    /// step is spent, recovery token and reset code are void, the epoch rises, all other sessions and tokens are dead, and a
    /// session is open (security.md 22).
    ///
    /// # Errors
    /// [`StoreError`]: denied, though it may have been committed.
    pub async fn confirm_enrolment(
        &self,
        mut confirmed: ConfirmedEnrolment,
        event: &AuditEvent,
    ) -> Result<Acceptance<SignedIn>, StoreError> {
        for _ in 0..MAX_RETRIES {
            let PendingConfirmation { token, user, attempt, .. } = &confirmed.charged;
            let mut writes = vec![confirm(&confirmed)?];
            if user.administers() {
                let mark_admin_with_mfa = vec![mark_admin_with_mfa(token.key())];
                writes.push(Write::update(keys::administrators(token.key().tenant()), vec![], mark_admin_with_mfa));
            }
            let row = self.audit_row(token.key().tenant(), attempt, 0, event)?;
            let met = match self.table.transact(&Transaction::new(writes, row)).await? {
                Transacted::Committed => return Ok(Acceptance::Accepted(confirmed.session.opened(user))),
                Transacted::Refused(met) => met_first(met),
            };
            let Some(item) = met else { return Ok(Acceptance::AlreadyUsed) };
            let met: User = item::read(item)?;
            let same = met.security_version == user.security_version
                && token.check(&met, attempt.at()).is_ok()
                && met.pending.as_ref().is_some_and(|it| it.factor == confirmed.charged.pending.factor)
                && confirmed.charged.pending.code_holds(&met);
            if !same {
                return Ok(Acceptance::AlreadyUsed);
            }
            confirmed.charged.user = met;
        }
        Err(StoreError::Contended("sessions of one person keep changing".into()))
    }
}

fn required(user: &User) -> bool {
    user.reset_code_required
}

/// Whether somebody may start: token, freshness, state.
fn check_start(user: &User, token: &EnrolmentToken, code: Option<CodeDigest>, now: Timestamp) -> Result<(), Denied> {
    token.check(user, now)?;
    if token.0.class() == TokenClass::Session {
        let session = user.sessions.get(token.0.id()).ok_or(Denied::Token)?;
        // Before the step-up, which nobody has a factor for then.
        if user.disabled() {
            return Err(Denied::ResetRequired);
        }
        if !session.fresh(now) && !session.recovering(now) {
            return Err(Denied::StepUp);
        }
        return if user.factor.state() == FactorState::Active { Ok(()) } else { Err(Denied::ResetRequired) };
    }
    if user.factor.state() != FactorState::None {
        return Err(Denied::Token);
    }
    if user.enrol_by.is_some_and(|until| until <= now.secs()) {
        return Err(Denied::ResetRequired);
    }
    let right = match (&code, &user.reset_code) {
        (Some(code), Some(stored)) => {
            *code == stored.digest && stored.attempts < policy::MAX_ATTEMPTS && stored.ends > now.millis()
        }
        _ => false,
    };
    if required(user) && !right { Err(Denied::ResetCode) } else { Ok(()) }
}

fn charge_wrong_code(token: &EnrolmentToken, given: &CodeDigest, now: Timestamp) -> Write {
    let at = |name: &'static str| attr("rc").key(name);
    let mut conditions = token.alive(now);
    conditions.extend([ne(at("h"), given.bytes()), lt(at("n"), policy::MAX_ATTEMPTS), gt(at("x"), now.millis())]);
    Write::update(keys::user(token.key()), conditions, vec![Action::Add(at("n"), 1)])
}

/// That the factor is the one the enrolment started from, and its reset code not void.
fn unchanged(pending: &PendingEnrolment) -> Vec<Condition> {
    let mut conditions = match &pending.was {
        Some(factor) => vec![eq(attr("fs"), "a"), eq(attr("fid"), factor.bytes())],
        None => vec![eq(attr("fs"), "n")],
    };
    if let Some(code) = &pending.reset_code {
        conditions.push(eq(attr("rc").key("h"), code.bytes()));
    }
    conditions
}

/// That the pending enrolment was started with this token, and its time holds.
fn pending_alive(token: &EnrolmentToken, now: Timestamp) -> Vec<Condition> {
    let at = |name: &'static str| -> Path { attr("pe").key(name) };
    let longest = (now + policy::ENROLMENT_LIFE + policy::SKEW).millis();
    vec![eq(at("by"), token.0.id().as_str()), gt(at("x"), now.millis()), write::le(at("x"), longest)]
}

fn confirm(confirmed: &ConfirmedEnrolment) -> Result<Write, StoreError> {
    let ConfirmedEnrolment { charged: PendingConfirmation { token, user, pending, attempt, .. }, step, session } =
        confirmed;
    let now = attempt.at();
    let (opening, opens) = session::open(user, session, None, now)?;
    let mut conditions = token.alive(now);
    conditions.extend(pending_alive(token, now));
    conditions.extend([eq(attr("ep"), user.security_version), eq(attr("pe").key("fid"), pending.factor.bytes())]);
    conditions.extend(unchanged(pending));
    conditions.extend(opening);
    let mut actions = vec![
        Action::Set(attr("fs"), write::text("a")),
        Action::Set(attr("fid"), write::bytes(pending.factor.bytes())),
        Action::Set(attr("sec"), item::value(&pending.secret)?),
        Action::Set(attr("fat"), num(now.secs())),
        Action::Set(attr("ls"), num(*step)),
        Action::Set(attr("row"), num(0)),
        Action::Set(attr("life"), num(0)),
        Action::Set(attr("f"), empty()),
        Action::Set(attr("seen"), num(now.secs())),
    ];
    actions.extend(raise_security_version());
    actions.extend(["rk", "rkt", "rc", "rq", "eb"].map(|name| Action::Remove(attr(name))));
    actions.extend(opens);
    Ok(Write::update(keys::user(token.key()), conditions, actions))
}

/// What a security change does to a person's tokens: all from before are dead. Sessions stay, so that an old token is
/// recognised and told to refresh (product.md P12).
pub(super) fn raise_security_version() -> Vec<Action> {
    vec![
        Action::Add(attr("ep"), 1),
        Action::Set(attr("c"), empty()),
        Action::Set(attr("e"), empty()),
        Action::Remove(attr("pe")),
    ]
}

/// Why there is nothing to confirm.
fn none_to_confirm(user: &User, token: &EnrolmentToken, now: Timestamp) -> Denied {
    if let Err(why) = token.check(user, now) {
        return why;
    }
    match &user.pending {
        _ if user.factor.state() == FactorState::Disabled => Denied::ResetRequired,
        Some(pending) if pending.by != *token.0.id() => Denied::Token,
        _ => Denied::NonePending,
    }
}

/// Why a start was refused, by the item that its guard met.
fn why(met: Vec<Option<Option<Item>>>, token: &EnrolmentToken, now: Timestamp) -> Result<Denied, StoreError> {
    let Some(item) = met_first(met) else { return Ok(Denied::Token) };
    let user: User = item::read(item)?;
    Ok(token.check(&user, now).err().unwrap_or(Denied::Stale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{Action as Did, Outcome},
        env::SystemEntropy,
        recovery::ResetCode,
        secret::{KeyRing, NewToken, Sealer, TotpSecret},
        store::{
            fixture::{Ann, NOW, PASSWORD, STEP, ann, attempt},
            login::Opened,
        },
        totp,
    };

    fn ring() -> KeyRing {
        KeyRing::new([(1, zeroize::Zeroizing::new([9; 32]))].into()).unwrap()
    }

    fn event() -> AuditEvent {
        AuditEvent::new(Did::FactorActivated, Outcome::Success, "r")
    }

    async fn may(
        ann: &Ann,
        token: &TokenRef,
        code: Option<CodeDigest>,
        at: Timestamp,
    ) -> Result<EnrolmentPermit, Denied> {
        ann.store.may_enrol(EnrolmentToken::new(token.clone()).unwrap(), code, &attempt(at)).await.unwrap()
    }

    async fn begin(ann: &Ann, token: &TokenRef, code: Option<CodeDigest>) -> Result<TotpSecret, Denied> {
        let start = may(ann, token, code, NOW).await?;
        let factor = Nonce::generate(&SystemEntropy).unwrap();
        let secret = TotpSecret::generate(start.factor(factor), &SystemEntropy).unwrap();
        let sealed = ring().seal(&secret, &SystemEntropy).await.unwrap();
        ann.store.begin_enrolment(start, factor, sealed, &attempt(NOW), &event()).await.unwrap().map(|_| secret)
    }

    async fn charge(ann: &Ann, token: &TokenRef) -> Result<PendingConfirmation, Denied> {
        let token = EnrolmentToken::new(token.clone()).unwrap();
        match ann.store.charge_confirmation(token, attempt(NOW)).await.unwrap() {
            Charge::Admitted(charged) => Ok(charged),
            Charge::Rejected(why) => Err(why),
            Charge::Exhausted { .. } => panic!("no window here"),
        }
    }

    async fn proved(ann: &Ann, token: &TokenRef) -> Result<ConfirmedEnrolment, Denied> {
        let charged = charge(ann, token).await?;
        let secret = ring().open(charged.factor(), charged.secret()).await.unwrap();
        let proof = totp::check(&secret, &totp::code_at(&secret, STEP).unwrap(), NOW, -1).unwrap();
        Ok(ConfirmedEnrolment::new(charged, proof, &SystemEntropy).unwrap().unwrap())
    }

    async fn confirm(ann: &Ann, token: &TokenRef) -> Option<SignedIn> {
        match ann.store.confirm_enrolment(proved(ann, token).await.ok()?, &event()).await.unwrap() {
            Acceptance::Accepted(signed_in) => Some(signed_in),
            Acceptance::AlreadyUsed => None,
        }
    }

    #[tokio::test]
    async fn enrolment_ends_with_the_idp_that_gave_its_token() {
        let (ann, _) = crate::store::fixture::ann(0).await;
        let eve = ann.of_idp("eve", item::Role::Standard, FactorState::None).await;
        let entity_id = crate::store::fixture::idp().entity_id;
        let first = ann.configures(&entity_id, 1).await;
        let token = ann.token_by(&first, "eve", "1").await;
        begin(&ann, &token, None).await.ok().unwrap();
        assert!(charge(&ann, &token).await.is_ok());
        let before = proved(&ann, &token).await.ok().unwrap();
        let other = ann.configures("https://other.example", 2).await;
        assert!(matches!(may(&ann, &token, None, NOW).await, Err(Denied::Token)));
        assert!(matches!(charge(&ann, &token).await, Err(Denied::Token)));
        // Whatever else there is to say of it.
        ann.put(Write::update(keys::user(&eve), vec![], vec![Action::Remove(attr("pe"))])).await;
        assert!(matches!(charge(&ann, &token).await, Err(Denied::Token)));
        assert!(before.session.entry.idp == first.generation, "and the session would end with it");
        // By another token, and once more by the session that this gives.
        let token = ann.token_by(&other, "eve", "2").await;
        begin(&ann, &token, None).await.ok().unwrap();
        let session = confirm(&ann, &token).await.unwrap();
        assert_eq!(session.session.idp, other.generation);
        let session = session.token.reference().clone();
        begin(&ann, &session, None).await.ok().unwrap();
        ann.configures(&entity_id, 3).await;
        assert!(matches!(may(&ann, &session, None, NOW).await, Err(Denied::Token)));
        assert!(matches!(charge(&ann, &session).await, Err(Denied::Token)));
    }

    /// Ann without a factor, and enrolment tokens of hers.
    async fn unenrolled(tokens: usize) -> (Ann, Vec<TokenRef>) {
        let (ann, _) = ann(0).await;
        ann.change(Action::Set(attr("fs"), write::text("n"))).await;
        let mut opened = Vec::new();
        for _ in 0..tokens {
            let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
            match ann.opened(right, "10.0.0").await {
                Opened::Done(token, _) => opened.push(token.reference().clone()),
                _ => panic!("not opened"),
            }
        }
        (ann, opened)
    }

    #[tokio::test]
    async fn an_enrolment_is_confirmed_once_and_everything_else_dies() {
        let (ann, tokens) = unenrolled(2).await;
        begin(&ann, &tokens[0], None).await.ok().unwrap();
        let [first, second] =
            [proved(&ann, &tokens[0]).await.ok().unwrap(), proved(&ann, &tokens[0]).await.ok().unwrap()];
        let event = event();
        let both = [first, second].map(|it| ann.store.confirm_enrolment(it, &event));
        let both = futures_util::future::join_all(both).await;
        assert_eq!(both.iter().filter(|it| matches!(it, Ok(Acceptance::Accepted(_)))).count(), 1);
        let user = ann.read(&ann.key).await;
        assert!(user.factor.active().is_some_and(|it| it.last_step == STEP && it.recovery_token.is_none()));
        assert!(
            user.enrolments.is_empty()
                && user.pending.is_none()
                && user.security_version == 2
                && user.sessions.len() == 1
        );
        assert!(ann.administrators().await.with_mfa.contains_key(ann.key.user()));
        assert_eq!(charge(&ann, &tokens[0]).await.err(), Some(Denied::Token));
        assert_eq!(may(&ann, &tokens[1], None, NOW).await.err(), Some(Denied::Token));
    }

    #[tokio::test]
    async fn the_newest_pending_enrolment_wins_and_the_older_token_charges_it_nothing() {
        let (ann, tokens) = unenrolled(2).await;
        assert_eq!(charge(&ann, &tokens[0]).await.err(), Some(Denied::NonePending));
        begin(&ann, &tokens[0], None).await.ok().unwrap();
        let older = proved(&ann, &tokens[0]).await.ok().unwrap();
        begin(&ann, &tokens[1], None).await.ok().unwrap();
        assert_eq!(charge(&ann, &tokens[0]).await.err(), Some(Denied::Token));
        assert!(matches!(ann.store.confirm_enrolment(older, &event()).await.unwrap(), Acceptance::AlreadyUsed));
        assert_eq!(ann.read(&ann.key).await.pending.unwrap().attempts, 0);
        assert!(confirm(&ann, &tokens[1]).await.is_some());
    }

    #[tokio::test]
    async fn all_the_tokens_that_a_network_may_ask_for_live() {
        let (ann, tokens) = unenrolled(policy::NETWORK_CHALLENGES).await;
        for token in &tokens {
            assert!(may(&ann, token, None, NOW).await.is_ok());
        }
    }

    #[tokio::test]
    async fn five_codes_end_a_pending_enrolment() {
        let (ann, tokens) = unenrolled(1).await;
        begin(&ann, &tokens[0], None).await.ok().unwrap();
        for _ in 0..policy::MAX_ATTEMPTS {
            assert!(charge(&ann, &tokens[0]).await.is_ok());
        }
        assert_eq!(charge(&ann, &tokens[0]).await.err(), Some(Denied::NonePending));
        begin(&ann, &tokens[0], None).await.ok().unwrap();
        assert!(confirm(&ann, &tokens[0]).await.is_some());
    }

    async fn with_code(ann: &Ann) -> CodeDigest {
        let digest = ResetCode::generate(&SystemEntropy).unwrap().digest(&ann.codes, &ann.key);
        let entry = item::ResetCodeEntry { digest, ends: (NOW + policy::RESET_CODE_LIFE).millis(), attempts: 0 };
        ann.change(Action::Set(attr("rc"), item::value(&entry).unwrap())).await;
        ann.change(Action::Set(attr("rq"), write::Value::Bool(true))).await;
        digest
    }

    #[tokio::test]
    async fn a_wrong_reset_code_is_counted_and_the_right_one_spent_by_the_confirmation() {
        let (ann, tokens) = unenrolled(1).await;
        let code = with_code(&ann).await;
        let other = ResetCode::generate(&SystemEntropy).unwrap().digest(&ann.codes, &ann.key);
        assert_eq!(may(&ann, &tokens[0], None, NOW).await.err(), Some(Denied::ResetCode));
        for _ in 0..policy::MAX_ATTEMPTS - 1 {
            assert_eq!(may(&ann, &tokens[0], Some(other), NOW).await.err(), Some(Denied::ResetCode));
        }
        for _ in 0..=policy::MAX_ATTEMPTS {
            begin(&ann, &tokens[0], Some(code)).await.ok().unwrap();
        }
        assert_eq!(
            ann.read(&ann.key).await.reset_code.unwrap().attempts,
            policy::MAX_ATTEMPTS - 1,
            "right ones are not counted"
        );
        assert_eq!(may(&ann, &tokens[0], Some(other), NOW).await.err(), Some(Denied::ResetCode));
        assert_eq!(may(&ann, &tokens[0], Some(code), NOW).await.err(), Some(Denied::ResetCode), "five tries");
        assert!(confirm(&ann, &tokens[0]).await.is_some());
        let user = ann.read(&ann.key).await;
        assert!(user.reset_code.is_none() && !user.reset_code_required);
    }

    /// What the write asks beside the code: each is missed if it is gone.
    #[tokio::test]
    async fn a_wrong_reset_code_is_counted_while_the_token_lives_and_the_code_does_and_five_times_at_most() {
        let (ann, tokens) = unenrolled(1).await;
        let code = with_code(&ann).await;
        let other = ResetCode::generate(&SystemEntropy).unwrap().digest(&ann.codes, &ann.key);
        let made_up =
            NewToken::generate(TokenClass::Enrolment, &ann.key, RestoreEpoch::default(), &SystemEntropy).unwrap();
        let attempts = || async { ann.read(&ann.key).await.reset_code.unwrap().attempts };
        assert_eq!(may(&ann, made_up.reference(), Some(other), NOW).await.err(), Some(Denied::Token));
        assert_eq!(attempts().await, 0, "a stranger counts nothing");
        for _ in 0..policy::MAX_ATTEMPTS + 2 {
            assert_eq!(may(&ann, &tokens[0], Some(other), NOW).await.err(), Some(Denied::ResetCode));
        }
        assert_eq!(attempts().await, policy::MAX_ATTEMPTS);
        ann.change(Action::Set(attr("rc").key("n"), num(0))).await;
        assert!(may(&ann, &tokens[0], Some(code), NOW).await.is_ok());
        ann.change(Action::Set(attr("rc").key("x"), num(NOW.millis()))).await;
        assert_eq!(may(&ann, &tokens[0], Some(other), NOW).await.err(), Some(Denied::ResetCode));
        assert_eq!(attempts().await, 0, "it has ended");
        assert_eq!(may(&ann, &tokens[0], Some(code), NOW).await.err(), Some(Denied::ResetCode));
    }

    /// docs/security.md 39: a reset code that a newer one voided does not enrol, at any stage.
    #[tokio::test]
    async fn an_enrolment_started_with_a_code_that_was_voided_does_not_confirm() {
        let (ann, tokens) = unenrolled(1).await;
        let code = with_code(&ann).await;
        begin(&ann, &tokens[0], Some(code)).await.ok().unwrap();
        let proved = proved(&ann, &tokens[0]).await.ok().unwrap();
        let start = may(&ann, &tokens[0], Some(code), NOW).await.ok().unwrap();
        with_code(&ann).await;
        assert!(matches!(ann.store.confirm_enrolment(proved, &event()).await.unwrap(), Acceptance::AlreadyUsed));
        assert_eq!(
            charge(&ann, &tokens[0]).await.err(),
            Some(Denied::ResetCode),
            "voided before the confirmation began"
        );
        let factor = Nonce::generate(&SystemEntropy).unwrap();
        let secret = TotpSecret::generate(start.factor(factor), &SystemEntropy).unwrap();
        let sealed = ring().seal(&secret, &SystemEntropy).await.unwrap();
        let begun = ann.store.begin_enrolment(start, factor, sealed, &attempt(NOW), &event()).await.unwrap();
        assert_eq!(begun.err(), Some(Denied::Stale));
    }

    #[tokio::test]
    async fn a_session_enrols_with_a_fresh_step_up_and_never_without() {
        let (ann, tokens) = ann(1).await;
        let session = ann.with_step(&tokens[0], STEP, NOW).await.unwrap().reference().clone();
        let late = NOW + policy::STEP_UP_LIFE + std::time::Duration::from_secs(1);
        assert_eq!(may(&ann, &session, None, late).await.err(), Some(Denied::StepUp));
        begin(&ann, &session, None).await.ok().unwrap();
        assert_eq!(ann.read(&ann.key).await.factor.state(), FactorState::Active, "the old one works until then");
        ann.change(Action::Set(attr("fs"), write::text("d"))).await;
        for at in [NOW, late] {
            assert_eq!(may(&ann, &session, None, at).await.err(), Some(Denied::ResetRequired), "no step-up helps it");
        }
        ann.change(Action::Set(attr("fs"), write::text("a"))).await;
        assert!(confirm(&ann, &session).await.is_some());
        assert_eq!(may(&ann, &session, None, NOW).await.err(), Some(Denied::Epoch));
    }

    #[tokio::test]
    async fn tokens_of_others_and_past_ones_start_nothing() {
        let (ann, tokens) = unenrolled(1).await;
        let made_up =
            NewToken::generate(TokenClass::Enrolment, &ann.key, RestoreEpoch::default(), &SystemEntropy).unwrap();
        assert_eq!(may(&ann, made_up.reference(), None, NOW).await.err(), Some(Denied::Token));
        assert_eq!(may(&ann, &tokens[0], None, NOW + policy::ENROLMENT_LIFE).await.err(), Some(Denied::Token));
        ann.change(Action::Set(attr("eb"), num(NOW.secs()))).await;
        assert_eq!(may(&ann, &tokens[0], None, NOW).await.err(), Some(Denied::ResetRequired));
    }
}
