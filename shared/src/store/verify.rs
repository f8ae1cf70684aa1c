//! Commands of the code door: charge a try, and spend what it proved.

use std::time::Duration;

use tokio::join;

use super::{
    MAX_RETRIES, Store, StoreError, item,
    item::{Amr, CurrentIdp, FactorState, User},
    keys,
    login::Charge,
    session::NoSession,
    table::{Retry, Transacted, Transaction, Updated, met_first},
    write::{self, Action, Condition, Path, Write, absent, attr, eq, exists, gt, lt, num, size},
};
use crate::{
    audit::AuditEvent,
    env::{Entropy, EntropyError, Timestamp},
    id::{EntryId, UserKey},
    policy,
    recovery::RecoveryProof,
    secret::{SealedSecret, TokenRef},
    sign_in::{Attempt, NewSession, PendingVerification, SignedIn, VerificationToken},
    totp::TotpProof,
};

/// Why there was nothing to try at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerificationRejection {
    /// No such token, or one that ended, was spent or used up.
    InvalidToken,
    /// A session from before the person's last security change.
    RefreshRequired,
    /// The factor was disabled: only a reset helps.
    FactorDisabled,
    /// There is no factor.
    NoFactor,
}

/// What became of a sign-in.
pub enum Acceptance<T> {
    /// Committed: this is the one success.
    Accepted(T),
    /// The step or token was spent already, or the person changed meanwhile: denied.
    AlreadyUsed,
}

/// A code proved right, and the session it pays for. Made from a charged try and the proof of the same factor.
///
/// No session without a proof:
/// ```compile_fail,E0451
/// # fn any<T>() -> T { loop {} }
/// # fn mint(pending: vestibule::sign_in::PendingVerification) -> vestibule::store::verify::SignIn {
/// vestibule::store::verify::SignIn { pending, spend: any(), session: any() } // private fields
/// # }
/// ```
pub struct SignIn {
    pending: PendingVerification,
    spend: Spend,
    session: NewSession,
}

enum Spend {
    /// A code; and its secret, if that has to be kept under a newer key from now on.
    Step(i64, Option<SealedSecret>),
    Recovery(crate::secret::CodeDigest),
}

/// The proof is not of the factor that was charged: nothing is granted.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// A proof of somebody else's factor, or of another of theirs.
    #[error("the proof is of another factor")]
    Foreign,
    /// There is no randomness for a token.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl SignIn {
    /// Who signs in.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        self.pending.key()
    }

    /// The request's attempt.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        &self.pending.attempt
    }

    /// With a code of the factor that was charged. Both are consumed: a proof pays once. `anew` is the factor's secret, sealed
    /// under a newer key, to replace what is kept.
    ///
    /// # Errors
    /// [`SignInError`].
    pub fn with_totp(
        pending: PendingVerification,
        proof: TotpProof,
        anew: Option<SealedSecret>,
        entropy: &dyn Entropy,
    ) -> Result<Self, SignInError> {
        let owner = proof.owner();
        if owner.user != *pending.key()
            || owner.incarnation != pending.user.incarnation
            || Some(owner.factor) != pending.user.factor_id
        {
            return Err(SignInError::Foreign);
        }
        let mut session = pending.session(Amr::with_code(pending.user.auth_type), entropy)?;
        if let Some(old) = pending.stepped_up() {
            // A step-up is no new sign-in: it prolongs nothing.
            session.entry.created = old.created;
            session.entry.attempt = old.attempt;
            session.entry.ends = old.ends;
            session.entry.idp = old.idp;
            (session.entry.password_attempts, session.entry.password_attempt) =
                (old.password_attempts, old.password_attempt);
        } else {
            session = session.knowing(pending.opened_from(), pending.restored, entropy)?;
        }
        Ok(Self { pending, spend: Spend::Step(proof.step(), anew), session })
    }

    /// With a recovery token, at a challenge only.
    ///
    /// # Errors
    /// [`SignInError`].
    pub fn with_recovery(
        pending: PendingVerification,
        proof: RecoveryProof,
        entropy: &dyn Entropy,
    ) -> Result<Self, SignInError> {
        if proof.user() != pending.key() || matches!(pending.token, VerificationToken::Session(_)) {
            return Err(SignInError::Foreign);
        }
        let session =
            pending.session(Amr::Recovery, entropy)?.knowing(pending.opened_from(), pending.restored, entropy)?;
        Ok(Self { spend: Spend::Recovery(*proof.digest()), pending, session })
    }
}

impl Store {
    /// Counts a try against the challenge's, the window's and the row's budget in one write, and returns what it is checked
    /// against. The count stands whatever the check says (security.md 14, 28).
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn charge_verification(
        &self,
        token: VerificationToken,
        attempt: Attempt,
    ) -> Result<Charge<PendingVerification, VerificationRejection>, StoreError> {
        let mut old = Vec::new();
        let mut idp = None;
        // A window full of receipts, some of them past: once more, replacing exactly those. Should another request have
        // replaced them meanwhile, there is room: a third time.
        for _ in 0..4 {
            let write = charge(&token, &attempt, &old);
            let charged = self.table.update(&write, Retry::Idempotent);
            // Beside the first charge, of a session alone: a challenge comes from no IdP.
            let charged = match (&idp, &token) {
                (None, VerificationToken::Session(token)) => {
                    let (charged, read) = join!(charged, self.read_all([keys::idp(token.user().tenant())]));
                    let [found] = read?;
                    idp = found.map(item::read::<CurrentIdp>).transpose()?;
                    charged?
                }
                _ => charged.await?,
            };
            match charged {
                Updated::Written(Some(item)) => {
                    let user: User = item::read(item)?;
                    if !token.idp_holds(&user, idp.as_ref()) {
                        return Ok(Charge::Rejected(VerificationRejection::InvalidToken));
                    }
                    return Ok(Charge::Admitted(PendingVerification { user, token, attempt, restored: self.restored }));
                }
                Updated::Written(None) | Updated::Refused(None) => {
                    return Ok(Charge::Rejected(VerificationRejection::InvalidToken));
                }
                Updated::Refused(Some(item)) => {
                    let user: User = item::read(item)?;
                    if !token.idp_holds(&user, idp.as_ref()) {
                        return Ok(Charge::Rejected(VerificationRejection::InvalidToken));
                    }
                    if user.recent_attempts.contains_key(&attempt.text()) {
                        // Counted already, the reply was lost: it is this one.
                        return Ok(Charge::Admitted(PendingVerification {
                            user,
                            token,
                            attempt,
                            restored: self.restored,
                        }));
                    }
                    if let Some(dead) = classify(&user, &token, attempt.at()) {
                        return Ok(Charge::Rejected(dead));
                    }
                    let past = past_receipts(&user, attempt.at());
                    let counted = user.recent_attempts.len().saturating_sub(past.len());
                    if i64::try_from(counted).is_ok_and(|counted| counted < policy::MAX_RECENT_ATTEMPTS) {
                        old = past;
                    } else {
                        return Ok(Charge::Exhausted { retry_at: window_ends(&user, attempt.at()) });
                    }
                }
            }
        }
        Err(StoreError::Contended("a person's window of tries".into()))
    }

    /// Spends the proof and opens the session in one transaction, with its audit row. The old token of a step-up dies by the
    /// same write; a spent challenge stays as one until it ends.
    ///
    /// # Errors
    /// [`StoreError`]: denied, though it may have been committed.
    pub async fn accept(&self, mut sign_in: SignIn, event: &AuditEvent) -> Result<Acceptance<SignedIn>, StoreError> {
        for _ in 0..MAX_RETRIES {
            let write = accept(&sign_in)?;
            let row = self.audit_row(sign_in.pending.key().tenant(), &sign_in.pending.attempt, 0, event)?;
            let met = match self.table.transact(&Transaction::new(vec![write], row)).await? {
                Transacted::Committed => {
                    return Ok(Acceptance::Accepted(sign_in.session.opened(&sign_in.pending.user)));
                }
                Transacted::Refused(met) => met_first(met),
            };
            let Some(item) = met else { return Ok(Acceptance::AlreadyUsed) };
            let user: User = item::read(item)?;
            if !sign_in.still_holds(&user) {
                return Ok(Acceptance::AlreadyUsed);
            }
            sign_in.pending.user = user;
            if let Some(old) = sign_in.pending.stepped_up().cloned() {
                (sign_in.session.entry.password_attempts, sign_in.session.entry.password_attempt) =
                    (old.password_attempts, old.password_attempt);
            }
        }
        Err(StoreError::Contended("sessions of one person keep changing".into()))
    }

    /// Disables a factor whose row of failures is full (NIST SP 800-63B-4, 3.2.2): challenges, enrolment tokens and the
    /// recovery token go, sessions stay. A right code that was in flight and committed first has cleared the row: then
    /// nothing happens.
    ///
    /// # Errors
    /// [`StoreError`]; the row stays full, so the factor stays unusable, and the next to see it finishes.
    pub async fn disable_factor(
        &self,
        who: &UserKey,
        user: &User,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Disabled, StoreError> {
        let mut writes = vec![Write::update(
            keys::user(who),
            vec![
                eq(attr("ep"), user.security_version),
                eq(attr("fs"), "a"),
                write::ge(attr("row"), policy::MAX_CONSECUTIVE_FAILURES),
            ],
            vec![
                Action::Set(attr("fs"), write::text("d")),
                Action::Set(attr("c"), write::empty()),
                Action::Set(attr("e"), write::empty()),
                Action::Remove(attr("pe")),
                Action::Remove(attr("rk")),
                Action::Remove(attr("rkt")),
            ],
        )];
        writes.extend(remove_admin_with_mfa(who, user));
        // Number 1: the refusal that filled the row is this attempt's event 0.
        let row = self.audit_row(who.tenant(), attempt, 1, event)?;
        match self.table.transact(&Transaction::new(writes, row)).await? {
            Transacted::Committed => Ok(Disabled::Done),
            Transacted::Refused(_) => Ok(Disabled::Stale),
        }
    }
}

/// Takes an Administrator who loses the factor from those who have one.
pub(super) fn remove_admin_with_mfa(who: &UserKey, user: &User) -> Option<Write> {
    let with_mfa = attr("able").key(who.user().as_str().to_owned());
    let write = || Write::update(keys::administrators(who.tenant()), vec![], vec![Action::Remove(with_mfa)]);
    user.administers().then(write)
}

/// What became of disabling a factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disabled {
    /// Disabled, durably.
    Done,
    /// The person changed meanwhile.
    Stale,
}

impl SignIn {
    /// Whether all that matters to the proof is as it was: then only the list of sessions moved.
    fn still_holds(&self, user: &User) -> bool {
        let (was, token, now) = (&self.pending.user, &self.pending.token, self.pending.attempt.at());
        let spendable = match &self.spend {
            Spend::Step(step, _) => user.last_step.is_some_and(|last| last < *step),
            Spend::Recovery(digest) => user.recovery.as_ref() == Some(digest),
        };
        let open = match token {
            // Its tries may be used up by now, this one among them; it may not be spent.
            VerificationToken::Challenge(token) => {
                user.challenges.get(token.id()).is_some_and(|challenge| challenge.attempts < SPENT)
            }
            VerificationToken::Session(token) => super::session::find(user, token, now).is_ok(),
        };
        spendable
            && open
            && user.recent_attempts.contains_key(&self.pending.attempt.text())
            && user.security_version == was.security_version
            && user.factor == FactorState::Active
            && user.factor_id == was.factor_id
    }
}

impl PendingVerification {
    fn session(&self, amr: Amr, entropy: &dyn Entropy) -> Result<NewSession, EntropyError> {
        NewSession::signed_in(self.key(), self.user.security_version, amr, &self.attempt, self.restored, entropy)
    }

    fn opened_from(&self) -> Option<EntryId> {
        self.challenge().and_then(|challenge| challenge.device.clone())
    }

    fn stepped_up(&self) -> Option<&item::Session> {
        match &self.token {
            VerificationToken::Session(token) => self.user.sessions.get(token.id()),
            VerificationToken::Challenge(_) => None,
        }
    }
}

impl VerificationToken {
    /// Whether the tenant's IdP is still the one that the session came from. What is no session of this person is decided
    /// elsewhere.
    fn idp_holds(&self, user: &User, current: Option<&CurrentIdp>) -> bool {
        match self {
            Self::Challenge(_) => true,
            Self::Session(token) => user.sessions.get(token.id()).is_none_or(|session| session.idp_holds(current)),
        }
    }
}

fn entry(token: &VerificationToken) -> Path {
    let map = match token {
        VerificationToken::Challenge(_) => "c",
        VerificationToken::Session(_) => "s",
    };
    attr(map).key(token.reference().id().as_str().to_owned())
}

/// What makes the door's token alive, as a guard.
fn alive(token: &VerificationToken, now: Timestamp) -> Vec<Condition> {
    match token {
        VerificationToken::Session(token) => super::session::living(token, now),
        VerificationToken::Challenge(token) => open_entry("c", token, policy::CHALLENGE_LIFE, now),
    }
}

/// What makes a challenge or an enrolment token alive, as a guard: the same as [`Challenge::open`] asks.
pub(super) fn open_entry(map: &'static str, token: &TokenRef, life: Duration, now: Timestamp) -> Vec<Condition> {
    let at = || attr(map).key(token.id().as_str().to_owned());
    vec![
        eq(attr("ac"), true),
        eq(at().key("g"), token.verifier().bytes()),
        eq(at().key("e"), attr("ep")),
        gt(at().key("x"), now.millis()),
        write::le(at().key("x"), (now + life + policy::SKEW).millis()),
    ]
}

fn charge(token: &VerificationToken, attempt: &Attempt, old: &[String]) -> Write {
    let receipt = attr("f").key(attempt.text());
    let past = i64::try_from(old.len()).unwrap_or(i64::MAX);
    let mut conditions = alive(token, attempt.at());
    conditions.extend([
        eq(attr("fs"), "a"),
        lt(size(attr("f")), policy::MAX_RECENT_ATTEMPTS + past),
        lt(attr("row"), policy::MAX_CONSECUTIVE_FAILURES),
        absent(receipt.clone()),
    ]);
    conditions.extend(old.iter().map(|id| exists(attr("f").key(id.clone()))));
    let mut actions = vec![
        Action::Set(receipt, num(attempt.at().millis())),
        Action::Add(attr("row"), 1),
        Action::Add(attr("life"), 1),
    ];
    actions.extend(old.iter().map(|id| Action::Remove(attr("f").key(id.clone()))));
    if matches!(token, VerificationToken::Challenge(_)) {
        conditions.push(lt(entry(token).key("n"), policy::MAX_ATTEMPTS));
        actions.push(Action::Add(entry(token).key("n"), 1));
    }
    Write::update(keys::user(token.reference().user()), conditions, actions)
}

fn accept(sign_in: &SignIn) -> Result<Write, StoreError> {
    let SignIn { pending, spend, session } = sign_in;
    let (user, now) = (&pending.user, pending.attempt.at());
    let factor = user.factor_id.ok_or_else(|| StoreError::Corrupt("an active factor without an id".into()))?;
    let receipt = attr("f").key(pending.attempt.text());
    let replaced = matches!(pending.token, VerificationToken::Session(_)).then(|| pending.token.reference().id());
    let (opening, opens) = super::session::open(user, session, replaced, now)?;
    let mut conditions = alive(&pending.token, now);
    conditions.extend([
        eq(attr("ep"), user.security_version),
        eq(attr("fs"), "a"),
        eq(attr("fid"), factor.bytes()),
        exists(receipt.clone()),
    ]);
    conditions.extend(pending.stepped_up().map(|old| super::session::same_tries(pending.token.reference(), old)));
    conditions.extend(opening);
    let mut actions = vec![
        Action::Set(attr("row"), num(0)),
        Action::Add(attr("life"), -1),
        Action::Set(attr("seen"), num(now.secs())),
        Action::Remove(receipt),
    ];
    actions.extend(opens);
    match spend {
        Spend::Step(step, anew) => {
            // The confirming step is the first that counts: a factor has a last step from its beginning.
            conditions.push(lt(attr("ls"), *step));
            actions.push(Action::Set(attr("ls"), num(*step)));
            // Of this factor still: its id is guarded above.
            actions.extend(anew.as_ref().map(|sealed| Action::Set(attr("sec"), write::bytes(sealed.bytes()))));
        }
        Spend::Recovery(digest) => {
            conditions.push(eq(attr("rk"), digest.bytes()));
            actions.extend([Action::Remove(attr("rk")), Action::Remove(attr("rkt"))]);
        }
    }
    if matches!(pending.token, VerificationToken::Challenge(_)) {
        // Spent, and still there until it ends: see `Challenge::attempts`.
        conditions.push(lt(entry(&pending.token).key("n"), SPENT));
        actions.push(Action::Set(entry(&pending.token).key("n"), num(SPENT)));
    }
    Ok(Write::update(keys::user(pending.key()), conditions, actions))
}

/// The count of a challenge that signed somebody in.
const SPENT: i64 = 1_000;

/// Why a charge was refused, in the contract's order: token, then state. `None`: the window is full.
fn classify(user: &User, token: &VerificationToken, now: Timestamp) -> Option<VerificationRejection> {
    let dead = match token {
        VerificationToken::Challenge(token) => match user.challenges.get(token.id()) {
            Some(challenge) if challenge.attempts < policy::MAX_ATTEMPTS => {
                let open = challenge.open(token, user.security_version, policy::CHALLENGE_LIFE, now);
                (!open).then_some(VerificationRejection::InvalidToken)
            }
            _ => Some(VerificationRejection::InvalidToken),
        },
        VerificationToken::Session(token) => super::session::find(user, token, now).err().map(|why| match why {
            NoSession::Invalid => VerificationRejection::InvalidToken,
            NoSession::RefreshRequired => VerificationRejection::RefreshRequired,
        }),
    };
    let state = || match user.factor {
        FactorState::Active if user.consecutive_failures < policy::MAX_CONSECUTIVE_FAILURES => None,
        FactorState::Active | FactorState::Disabled if matches!(token, VerificationToken::Challenge(_)) => {
            Some(VerificationRejection::InvalidToken)
        }
        FactorState::Active | FactorState::Disabled => Some(VerificationRejection::FactorDisabled),
        FactorState::None => Some(VerificationRejection::NoFactor),
    };
    if !user.active { Some(VerificationRejection::InvalidToken) } else { dead.or_else(state) }
}

/// Receipts past the window, or so far in the future that a clock ran ahead.
fn past_receipts(user: &User, now: Timestamp) -> Vec<String> {
    let (from, to) = ((now - policy::WINDOW).millis(), (now + policy::WINDOW).millis());
    user.recent_attempts.iter().filter(|(_, at)| **at <= from || **at > to).map(|(id, _)| id.clone()).collect()
}

fn window_ends(user: &User, now: Timestamp) -> Timestamp {
    let oldest = user.recent_attempts.values().min().copied().map_or(now, Timestamp::from_millis);
    oldest + policy::WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        env::SystemEntropy,
        secret::{KeyRing, NewToken, Sealer, TokenClass},
        store::fixture::{NOW, STEP, ann},
        totp,
    };

    #[tokio::test]
    async fn a_code_signs_in_once_over_all_challenges() {
        let (ann, tokens) = ann(3).await;
        assert!(ann.with_step(&tokens[0], STEP, NOW).await.is_some());
        assert!(ann.with_step(&tokens[1], STEP, NOW).await.is_none(), "the step is spent");
        assert!(ann.with_step(&tokens[0], STEP + 1, NOW).await.is_none(), "the challenge is spent");
        assert!(ann.with_step(&tokens[2], STEP + 1, NOW).await.is_some());
    }

    #[tokio::test]
    async fn a_recovery_token_signs_in_once() {
        let (ann, tokens) = ann(2).await;
        assert!(ann.with_recovery(&tokens[0]).await.is_some());
        assert!(ann.with_recovery(&tokens[1]).await.is_none());
    }

    #[tokio::test]
    async fn of_proofs_in_flight_one_is_paid() {
        let (ann, tokens) = ann(8).await;
        let mut sign_ins = Vec::new();
        for token in &tokens {
            let Charge::Admitted(pending) = ann.charge(token, NOW).await else { panic!("refused") };
            let code = totp::code_at(&ann.secret, STEP).unwrap();
            let proof = totp::check(&ann.secret, &code, NOW, 0).unwrap();
            sign_ins.push(SignIn::with_totp(pending, proof, None, &SystemEntropy).unwrap());
        }
        let accepted = futures_util::future::join_all(sign_ins.into_iter().map(|one| ann.accept(one))).await;
        assert_eq!(accepted.iter().flatten().count(), 1);
    }

    #[tokio::test]
    async fn five_tries_a_challenge_and_ten_a_window() {
        let (ann, tokens) = ann(4).await;
        for token in &tokens[..2] {
            for _ in 0..5 {
                assert!(matches!(ann.charge(token, NOW).await, Charge::Admitted(_)));
            }
            assert!(matches!(ann.charge(token, NOW).await, Charge::Rejected(VerificationRejection::InvalidToken)));
        }
        let full = NOW + policy::WINDOW;
        assert!(matches!(ann.charge(&tokens[2], NOW).await, Charge::Exhausted { retry_at } if retry_at == full));
    }

    #[tokio::test]
    async fn a_success_leaves_the_window_and_clears_the_row() {
        let (ann, tokens) = ann(4).await;
        for _ in 0..4 {
            ann.charge(&tokens[0], NOW).await;
        }
        assert!(ann.with_step(&tokens[1], STEP, NOW).await.is_some());
        let Charge::Admitted(pending) = ann.charge(&tokens[2], NOW).await else { panic!("refused") };
        assert_eq!(
            (pending.user().consecutive_failures, pending.user().total_failures, pending.user().recent_attempts.len()),
            (1, 5, 5)
        );
    }

    #[tokio::test]
    async fn a_session_is_stepped_up_into_another_that_lives_no_longer() {
        let (ann, tokens) = ann(1).await;
        let first = ann.with_step(&tokens[0], STEP, NOW).await.unwrap().reference().clone();
        let later = NOW + Duration::from_secs(60);
        let second = ann.with_step(&first, STEP + 2, later).await.unwrap().reference().clone();
        assert!(matches!(ann.charge(&first, later).await, Charge::Rejected(VerificationRejection::InvalidToken)));
        let Charge::Admitted(pending) = ann.charge(&second, later).await else { panic!("refused") };
        let session = &pending.user().sessions[second.id()];
        assert_eq!((session.created, session.step_up), (NOW.millis(), later.secs()));
        assert_eq!(session.ends, (NOW + policy::SESSION_LIFE).secs());
    }

    /// A proof for what is gone meanwhile is denied; it is no contention.
    #[tokio::test]
    async fn a_proof_for_a_door_that_closed_meanwhile_is_denied() {
        let (ann, tokens) = ann(2).await;
        let session = ann.with_step(&tokens[0], STEP, NOW).await.unwrap().reference().clone();
        let gone = [
            (&session, Action::Remove(attr("s").key(session.id().as_str().to_owned()))),
            (&tokens[1], Action::Remove(attr("c").key(tokens[1].id().as_str().to_owned()))),
        ];
        for (token, close) in gone {
            let Charge::Admitted(pending) = ann.charge(token, NOW).await else { panic!("refused") };
            let code = totp::code_at(&ann.secret, STEP + 1).unwrap();
            let proof = totp::check(&ann.secret, &code, NOW, STEP).unwrap();
            let sign_in = SignIn::with_totp(pending, proof, None, &SystemEntropy).unwrap();
            ann.change(close).await;
            assert!(ann.accept(sign_in).await.is_none());
        }
    }

    #[tokio::test]
    async fn a_proof_of_a_factor_disabled_meanwhile_is_denied() {
        let (ann, tokens) = ann(1).await;
        let session = ann.with_step(&tokens[0], STEP, NOW).await.unwrap().reference().clone();
        let Charge::Admitted(pending) = ann.charge(&session, NOW).await else { panic!("refused") };
        let code = totp::code_at(&ann.secret, STEP + 1).unwrap();
        let proof = totp::check(&ann.secret, &code, NOW, STEP).unwrap();
        let sign_in = SignIn::with_totp(pending, proof, None, &SystemEntropy).unwrap();
        ann.change(Action::Set(attr("fs"), write::text("d"))).await;
        assert!(ann.accept(sign_in).await.is_none());
    }

    #[tokio::test]
    async fn a_secret_sealed_anew_replaces_its_own_and_never_another_factors() {
        let (ann, tokens) = ann(2).await;
        let ring = KeyRing::new([(2, [2; 32].into())].into()).unwrap();
        let anew = ring.seal(&ann.secret, &SystemEntropy).await.unwrap();
        let proven = async |token: &TokenRef, step: i64| {
            let Charge::Admitted(pending) = ann.charge(token, NOW).await else { panic!("refused") };
            let proof = totp::check(&ann.secret, &totp::code_at(&ann.secret, step).unwrap(), NOW, step - 1).unwrap();
            SignIn::with_totp(pending, proof, Some(anew.clone()), &SystemEntropy).unwrap()
        };
        assert!(ann.accept(proven(&tokens[0], STEP).await).await.is_some());
        assert!(ann.read(&ann.key).await.secret.as_ref() == Some(&anew));
        let sign_in = proven(&tokens[1], STEP + 1).await;
        ann.change(Action::Set(attr("fid"), write::bytes(&[7; 12]))).await;
        ann.change(Action::Set(attr("sec"), write::bytes(b"another"))).await;
        assert!(ann.accept(sign_in).await.is_none());
        assert_eq!(ann.read(&ann.key).await.secret.unwrap().bytes(), b"another");
    }

    #[tokio::test]
    async fn an_expired_challenge_and_an_unknown_one_are_dead() {
        let (ann, tokens) = ann(1).await;
        assert!(matches!(
            ann.charge(&tokens[0], NOW + policy::CHALLENGE_LIFE).await,
            Charge::Rejected(VerificationRejection::InvalidToken)
        ));
        let stranger =
            NewToken::generate(TokenClass::Challenge, &ann.key, crate::secret::RestoreEpoch::default(), &SystemEntropy)
                .unwrap();
        assert!(matches!(
            ann.charge(stranger.reference(), NOW).await,
            Charge::Rejected(VerificationRejection::InvalidToken)
        ));
    }

    #[tokio::test]
    async fn a_hundred_failures_in_a_row_disable_the_factor_and_a_success_in_between_does_not() {
        let (ann, tokens) = ann(60).await;
        let at = NOW;
        let mut last = None;
        for (number, token) in tokens.iter().take(50).enumerate() {
            for _ in 0..2 {
                let Charge::Admitted(pending) = ann.charge(token, at).await else { panic!("refused at {number}") };
                last = Some(pending);
            }
            if number % 5 == 4 {
                ann.forget_window().await;
            }
        }
        let pending = last.unwrap();
        assert!(pending.exhausts_factor());
        assert!(matches!(ann.charge(&tokens[50], at).await, Charge::Rejected(VerificationRejection::InvalidToken)));
        let event = ann.event();
        let attempt = Attempt::begin(at, &SystemEntropy).unwrap();
        let disabled = ann.store.disable_factor(&ann.key, pending.user(), &attempt, &event).await.unwrap();
        assert_eq!(disabled, Disabled::Done);
        let again = Attempt::begin(at, &SystemEntropy).unwrap();
        let moved = ann.store.disable_factor(&ann.key, pending.user(), &again, &event).await.unwrap();
        assert_eq!(moved, Disabled::Stale);
    }
}
