//! Verification of a code: charge an attempt, accept a correct code, disable a factor after too many wrong ones.

use std::time::Duration;

use tokio::join;

use super::{
    AttemptEvent, OperationError, Store, StoreError,
    commit::Audited,
    item,
    item::CurrentIdp,
    keys,
    login::Exhausted,
    session,
    table::{Retry, Updated},
    write::{self, Action, Condition, Write, absent, attr, eq, exists, gt, lt, num},
};
use crate::{
    audit::AuditEvent,
    auth::verify_code::{self, NotExhausted, ProofRejected, SignIn, VerificationRejection},
    domain::User,
    env::Timestamp,
    id::UserKey,
    policy,
    secret::TokenRef,
    sign_in::{Attempt, PendingVerification, SignedIn, VerificationToken},
};

/// Why an attempt at a code was not counted. The code must not be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChargeRejection {
    /// Too many attempts in the window.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// A rule rejects the token or the user.
    #[error(transparent)]
    Verification(#[from] VerificationRejection),
}

/// Why an attempt at a code was not counted.
pub type ChargeError = OperationError<ChargeRejection>;

/// Why a correct code was not accepted.
pub type AcceptError = OperationError<ProofRejected>;

impl Store {
    /// Counts an attempt against the budgets of the challenge, the window and the consecutive failures in one write, and
    /// returns what the code is checked against. The count stands whatever the check says (docs/security.md 14, 28).
    ///
    /// # Errors
    /// [`ChargeError`]: the token is not valid, the factor cannot be used, or there were too many attempts. Do not check the code.
    /// If the store failed, the attempt may have been counted.
    pub async fn charge_verification(
        &self,
        token: VerificationToken,
        attempt: Attempt,
    ) -> Result<PendingVerification, ChargeError> {
        let rejected = |why: VerificationRejection| ChargeError::Rejected(why.into());
        let mut expired = Vec::new();
        let mut idp = None;
        // A full window may hold expired attempts. The next round replaces exactly those that this round found. It is refused if
        // another request changed the window in between; then there is another round.
        for _ in 0..4 {
            let write = charge(&token, &attempt, &expired);
            let charged = self.table.update(&write, Retry::Idempotent);
            // Only a session comes from an IdP, so only a step-up reads it, in the same round trip as the first charge.
            let charged = match (&idp, &token) {
                (None, VerificationToken::Session(token)) => {
                    let (charged, read) = join!(charged, self.read_all([keys::idp(token.user().tenant())]));
                    let [found] = read?;
                    idp = found.map(item::read::<CurrentIdp>).transpose()?;
                    charged?
                }
                _ => charged.await?,
            };
            let (Updated::Written(found) | Updated::Refused(found)) = charged;
            let found = found.ok_or(rejected(VerificationRejection::InvalidToken))?;
            let user: User = item::read(found)?;
            if !idp_holds(&token, &user, idp.as_ref()) {
                return Err(rejected(VerificationRejection::InvalidToken));
            }
            // A refused write may be this one, counted before its reply was lost.
            let counted = user.recent_attempts.contains_key(&attempt.text());
            if counted {
                return Ok(PendingVerification { user, token, attempt, restore_epoch: self.restore_epoch });
            }
            verify_code::check_attempt(&user, &token, attempt.at()).map_err(rejected)?;
            expired = expired_attempts(&user, attempt.at());
            if user.recent_attempts.len() - expired.len() >= policy::MAX_RECENT_ATTEMPTS {
                let retry_at = window_ends(&user, attempt.at());
                return Err(OperationError::Rejected(Exhausted { retry_at }.into()));
            }
        }
        Err(StoreError::Contended("a user's window of attempts".into()).into())
    }

    /// Spends the proof and opens the session in one transaction with its audit row.
    ///
    /// # Errors
    /// [`AcceptError`]: another request used the code or the user changed. If the store failed, the session may be stored; deny the
    /// sign-in.
    pub async fn accept(&self, sign_in: SignIn, event: &AuditEvent) -> Result<SignedIn, AcceptError> {
        let (key, user) = (sign_in.key(), sign_in.charged_user().clone());
        let audited = Audited { attempt: sign_in.attempt(), which: AttemptEvent::Outcome, event };
        let decide = |user: &mut User| Ok((sign_in.apply(user)?, Vec::new()));
        let opened = self.commit_user(key, user, audited, ProofRejected, decide).await?;
        Ok(sign_in.signed_in(opened))
    }

    /// Disables a factor after [`policy::MAX_CONSECUTIVE_FAILURES`] (NIST SP 800-63B-4, 3.2.2).
    ///
    /// # Errors
    /// [`NotExhausted`]: a correct code cleared the failures meanwhile, or the user changed. If the store failed, the failures
    /// stay counted, so the factor cannot be used, and the next attempt disables it.
    pub async fn disable_factor(
        &self,
        key: &UserKey,
        user: &User,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(), OperationError<NotExhausted>> {
        let audited = Audited { attempt, which: AttemptEvent::Limit, event };
        let decide = |user: &mut User| {
            verify_code::disable_factor(user)?;
            Ok(((), remove_admin_with_mfa(key, user).into_iter().collect()))
        };
        self.commit_user(key, user.clone(), audited, NotExhausted, decide).await
    }
}

/// Removes an Administrator who loses the factor from those who have one.
pub(super) fn remove_admin_with_mfa(key: &UserKey, user: &User) -> Option<Write> {
    let own = attr("able").key(key.user().as_str().to_owned());
    let write = || Write::update(keys::administrators(key.tenant()), vec![], vec![Action::Remove(own)]);
    user.administers().then(write)
}

/// Whether the IdP that opened the session is still the tenant's IdP. True for a token that is no session of this user: the
/// other checks reject it.
fn idp_holds(token: &VerificationToken, user: &User, current: Option<&CurrentIdp>) -> bool {
    match token {
        VerificationToken::Challenge(_) => true,
        VerificationToken::Session(token) => {
            user.sessions.get(token.id()).is_none_or(|session| session.is_idp_current(current))
        }
    }
}

/// The charge of an attempt. Its conditions are those of [`verify_code::check_attempt`], and room in the window.
fn charge(token: &VerificationToken, attempt: &Attempt, expired: &[String]) -> Write {
    let receipt = attr("f").key(attempt.text());
    let (mut conditions, challenge) = match token {
        VerificationToken::Session(token) => (session::session_is_valid(token, attempt.at()), None),
        VerificationToken::Challenge(token) => {
            let open = login_token_is_valid("c", token, policy::CHALLENGE_LIFE, attempt.at());
            (open, Some(attr("c").key(token.id().as_str().to_owned()).key("n")))
        }
    };
    conditions.extend([
        eq(attr("fs"), "a"),
        session::room("f", policy::MAX_RECENT_ATTEMPTS + expired.len()),
        lt(attr("row"), policy::MAX_CONSECUTIVE_FAILURES),
        absent(receipt.clone()),
    ]);
    conditions.extend(expired.iter().map(|id| exists(attr("f").key(id.clone()))));
    let mut actions = vec![
        Action::Set(receipt, num(attempt.at().millis())),
        Action::Add(attr("row"), 1),
        Action::Add(attr("life"), 1),
    ];
    actions.extend(expired.iter().map(|id| Action::Remove(attr("f").key(id.clone()))));
    if let Some(attempts) = challenge {
        conditions.push(lt(attempts.clone(), policy::MAX_ATTEMPTS));
        actions.push(Action::Add(attempts, 1));
    }
    Write::update(keys::user(token.reference().user()), conditions, actions)
}

/// The conditions that a challenge or an enrolment token is valid: those of [`crate::domain::LoginTokenEntry::is_valid`].
pub(super) fn login_token_is_valid(
    map: &'static str,
    token: &TokenRef,
    life: Duration,
    now: Timestamp,
) -> Vec<Condition> {
    let at = || attr(map).key(token.id().as_str().to_owned());
    vec![
        eq(attr("ac"), true),
        eq(at().key("g"), token.verifier().bytes()),
        eq(at().key("e"), attr("ep")),
        gt(at().key("x"), now.millis()),
        write::le(at().key("x"), (now + life + policy::SKEW).millis()),
    ]
}

/// The ids of attempts that are older than the window, or so far in the future that a clock must have run ahead.
fn expired_attempts(user: &User, now: Timestamp) -> Vec<String> {
    let (from, to) = (now - policy::WINDOW, now + policy::WINDOW);
    user.recent_attempts.iter().filter(|(_, at)| **at <= from || **at > to).map(|(id, _)| id.clone()).collect()
}

fn window_ends(user: &User, now: Timestamp) -> Timestamp {
    let oldest = user.recent_attempts.values().min().copied().unwrap_or(now);
    oldest + policy::WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{ChallengeState, SecurityVersion, TimeStep},
        env::SystemEntropy,
        secret::{KeyRing, NewToken, Sealer, TokenClass},
        store::fixture::{NOW, STEP, ann, decided},
        totp,
    };

    #[tokio::test]
    async fn code_signs_in_once_across_challenges() {
        let (ann, tokens) = ann(3).await;
        assert!(ann.with_step(&tokens[0], STEP, NOW).await.is_some());
        assert!(ann.with_step(&tokens[1], STEP, NOW).await.is_none(), "the step is spent");
        assert!(ann.with_step(&tokens[0], STEP + 1, NOW).await.is_none(), "the challenge is spent");
        assert!(ann.with_step(&tokens[2], STEP + 1, NOW).await.is_some());
    }

    #[tokio::test]
    async fn recovery_token_signs_in_once() {
        let (ann, tokens) = ann(2).await;
        assert!(ann.with_recovery(&tokens[0]).await.is_some());
        assert!(ann.with_recovery(&tokens[1]).await.is_none());
    }

    #[tokio::test]
    async fn concurrent_proofs_open_one_session() {
        let (ann, tokens) = ann(8).await;
        let mut sign_ins = Vec::new();
        for token in &tokens {
            let Ok(pending) = ann.charge(token, NOW).await else { panic!("refused") };
            let code = totp::code_at(&ann.secret, STEP).unwrap();
            let proof = totp::check(&ann.secret, &code, NOW, None).unwrap();
            sign_ins.push(SignIn::with_totp(pending, proof, None, &SystemEntropy).unwrap());
        }
        let accepted = futures_util::future::join_all(sign_ins.into_iter().map(|one| ann.accept(one))).await;
        assert_eq!(accepted.iter().flatten().count(), 1);
    }

    #[tokio::test]
    async fn attempts_are_limited_per_challenge_and_per_window() {
        let (ann, tokens) = ann(4).await;
        for token in &tokens[..2] {
            for _ in 0..5 {
                assert!(ann.charge(token, NOW).await.is_ok());
            }
            assert!(matches!(
                ann.charge(token, NOW).await,
                Err(ChargeRejection::Verification(VerificationRejection::InvalidToken))
            ));
        }
        let full = NOW + policy::WINDOW;
        assert!(
            matches!(ann.charge(&tokens[2], NOW).await, Err(ChargeRejection::Exhausted(Exhausted { retry_at })) if retry_at == full)
        );
    }

    #[tokio::test]
    async fn success_clears_consecutive_failures_but_not_recent_attempts() {
        let (ann, tokens) = ann(4).await;
        for _ in 0..4 {
            assert!(ann.charge(&tokens[0], NOW).await.is_ok());
        }
        assert!(ann.with_step(&tokens[1], STEP, NOW).await.is_some());
        let Ok(pending) = ann.charge(&tokens[2], NOW).await else { panic!("refused") };
        assert_eq!(
            (pending.user().consecutive_failures, pending.user().total_failures, pending.user().recent_attempts.len()),
            (1, 5, 5)
        );
    }

    #[tokio::test]
    async fn step_up_replaces_session_and_keeps_its_end() {
        let (ann, tokens) = ann(1).await;
        let first = ann.with_step(&tokens[0], STEP, NOW).await.unwrap().reference().clone();
        let later = NOW + Duration::from_secs(60);
        let devices = ann.read(&ann.key).await.devices;
        let second = ann.with_step(&first, STEP + 2, later).await.unwrap().reference().clone();
        assert!(matches!(
            ann.charge(&first, later).await,
            Err(ChargeRejection::Verification(VerificationRejection::InvalidToken))
        ));
        let Ok(pending) = ann.charge(&second, later).await else { panic!("refused") };
        let session = &pending.user().sessions[second.id()];
        assert_eq!((session.created, session.step_up), (NOW, Some(later)));
        assert_eq!(session.ends, NOW + policy::SESSION_LIFE);
        assert!(pending.user().devices == devices, "a step-up makes no device known");
    }

    /// The response is a rejection, and not "try again later".
    #[tokio::test]
    async fn proof_is_denied_when_token_was_removed_meanwhile() {
        let (ann, tokens) = ann(2).await;
        let session = ann.with_step(&tokens[0], STEP, NOW).await.unwrap().reference().clone();
        let gone = [
            (&session, Action::Remove(attr("s").key(session.id().as_str().to_owned()))),
            (&tokens[1], Action::Remove(attr("c").key(tokens[1].id().as_str().to_owned()))),
        ];
        for (token, close) in gone {
            let Ok(pending) = ann.charge(token, NOW).await else { panic!("refused") };
            let code = totp::code_at(&ann.secret, STEP + 1).unwrap();
            let proof = totp::check(&ann.secret, &code, NOW, Some(STEP)).unwrap();
            let sign_in = SignIn::with_totp(pending, proof, None, &SystemEntropy).unwrap();
            ann.change(close).await;
            assert!(ann.accept(sign_in).await.is_none());
        }
    }

    #[tokio::test]
    async fn proof_is_denied_when_factor_was_disabled_meanwhile() {
        let (ann, tokens) = ann(1).await;
        let session = ann.with_step(&tokens[0], STEP, NOW).await.unwrap().reference().clone();
        let Ok(pending) = ann.charge(&session, NOW).await else { panic!("refused") };
        let code = totp::code_at(&ann.secret, STEP + 1).unwrap();
        let proof = totp::check(&ann.secret, &code, NOW, Some(STEP)).unwrap();
        let sign_in = SignIn::with_totp(pending, proof, None, &SystemEntropy).unwrap();
        ann.change(Action::Set(attr("fs"), write::text("d"))).await;
        assert!(ann.accept(sign_in).await.is_none());
    }

    #[tokio::test]
    async fn resealed_secret_never_replaces_another_factors_secret() {
        let (ann, tokens) = ann(2).await;
        let ring = KeyRing::new([(2, [2; 32].into())].into()).unwrap();
        let resealed = ring.seal(&ann.secret, &SystemEntropy).await.unwrap();
        let proven = async |token: &TokenRef, step: TimeStep| {
            let Ok(pending) = ann.charge(token, NOW).await else { panic!("refused") };
            let proof =
                totp::check(&ann.secret, &totp::code_at(&ann.secret, step).unwrap(), NOW, Some(step - 1)).unwrap();
            SignIn::with_totp(pending, proof, Some(resealed.clone()), &SystemEntropy).unwrap()
        };
        assert!(ann.accept(proven(&tokens[0], STEP).await).await.is_some());
        assert!(ann.read(&ann.key).await.factor.active().unwrap().secret == resealed);
        let sign_in = proven(&tokens[1], STEP + 1).await;
        ann.change(Action::Set(attr("fid"), write::bytes(&[7; 12]))).await;
        ann.change(Action::Set(attr("sec"), write::bytes(b"another"))).await;
        assert!(ann.accept(sign_in).await.is_none());
        assert_eq!(ann.read(&ann.key).await.factor.active().unwrap().secret.bytes(), b"another");
    }

    #[tokio::test]
    async fn expired_or_unknown_challenge_is_rejected() {
        let (ann, tokens) = ann(1).await;
        assert!(matches!(
            ann.charge(&tokens[0], NOW + policy::CHALLENGE_LIFE).await,
            Err(ChargeRejection::Verification(VerificationRejection::InvalidToken))
        ));
        let unknown =
            NewToken::generate(TokenClass::Challenge, &ann.key, crate::secret::RestoreEpoch::default(), &SystemEntropy)
                .unwrap();
        assert!(matches!(
            ann.charge(unknown.reference(), NOW).await,
            Err(ChargeRejection::Verification(VerificationRejection::InvalidToken))
        ));
    }

    #[tokio::test]
    async fn hundred_consecutive_failures_disable_factor() {
        let (ann, tokens) = ann(60).await;
        let at = NOW;
        let mut last = None;
        for (number, token) in tokens.iter().take(50).enumerate() {
            for _ in 0..2 {
                let Ok(pending) = ann.charge(token, at).await else { panic!("refused at {number}") };
                last = Some(pending);
            }
            if number % 5 == 4 {
                ann.forget_window().await;
            }
        }
        let pending = last.unwrap();
        assert!(pending.exhausts_factor());
        assert!(matches!(
            ann.charge(&tokens[50], at).await,
            Err(ChargeRejection::Verification(VerificationRejection::InvalidToken))
        ));
        let event = ann.event();
        let attempt = Attempt::begin(at, &SystemEntropy).unwrap();
        ann.store.disable_factor(&ann.key, pending.user(), &attempt, &event).await.unwrap();
        let again = Attempt::begin(at, &SystemEntropy).unwrap();
        let stale = ann.store.disable_factor(&ann.key, pending.user(), &again, &event).await;
        assert_eq!(decided(stale), Err(NotExhausted));
    }

    /// The charge states the rules of [`verify_code::check_attempt`] as conditions, because the count must not wait for a read.
    /// The test compares both for every combination of the attributes that they read.
    #[tokio::test]
    async fn charge_requires_exactly_what_check_attempt_requires() {
        let (ann, challenges) = ann(2).await;
        let token = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
        let user = ann.read(&ann.key).await;
        let session = VerificationToken::session(token.clone()).unwrap();
        let challenge = VerificationToken::challenge(challenges[1].clone()).unwrap();
        let mut checked = 0;
        for user in variants(&user) {
            for user in variants_of_session(&user, &token).chain(variants_of_challenge(&user, &challenges[1])) {
                let item = item::write(&user).unwrap();
                // Times of a session are stored in whole seconds, so the fraction of a second must not matter.
                for (token, now) in [(&session, NOW), (&session, NOW + Duration::from_millis(999)), (&challenge, NOW)] {
                    let attempt = Attempt::begin(now, &SystemEntropy).unwrap();
                    let charged = charge(token, &attempt, &[]).apply(Some(item.clone())).is_ok();
                    assert_eq!(charged, verify_code::check_attempt(&user, token, now).is_ok());
                    checked += 1;
                }
            }
        }
        assert!(checked > 1000, "{checked}");
    }

    fn variants(user: &User) -> Vec<User> {
        let mut all = Vec::new();
        for active in [true, false] {
            for failures in [0, policy::MAX_CONSECUTIVE_FAILURES - 1, policy::MAX_CONSECUTIVE_FAILURES] {
                for state in 0..3 {
                    let mut user = User { active, consecutive_failures: failures, ..user.clone() };
                    match state {
                        0 => {}
                        1 => user.factor.disable(),
                        _ => user.factor = crate::domain::Factor::None,
                    }
                    all.push(user);
                }
            }
        }
        all
    }

    fn variants_of_session(user: &User, token: &TokenRef) -> impl Iterator<Item = User> {
        let (longest, idle) = (NOW + policy::SESSION_LIFE + policy::SKEW, NOW - policy::SESSION_IDLE);
        let second = Duration::from_secs(1);
        let mut all = Vec::new();
        for ends in [NOW, NOW + second, longest, longest + second] {
            for seen in [idle, idle + second] {
                for (version, attempts) in [(0, 0), (1, 0), (1, policy::MAX_ATTEMPTS - 1), (1, policy::MAX_ATTEMPTS)] {
                    let mut user = user.clone();
                    let session = user.sessions.get_mut(token.id()).unwrap();
                    (session.ends, session.seen) = (ends, seen);
                    (session.security_version, session.password_attempts) = (SecurityVersion(version), attempts);
                    all.push(user);
                }
            }
        }
        let mut foreign = user.clone();
        foreign.sessions.get_mut(token.id()).unwrap().verifier = *other_token(token).verifier();
        all.push(foreign);
        all.into_iter()
    }

    fn variants_of_challenge(user: &User, token: &TokenRef) -> impl Iterator<Item = User> {
        let (longest, ms) = (NOW + policy::CHALLENGE_LIFE + policy::SKEW, Duration::from_millis(1));
        let mut all = Vec::new();
        for ends in [NOW, NOW + ms, longest, longest + ms] {
            for (version, attempts) in [(0, 0), (1, 0), (1, policy::MAX_ATTEMPTS - 1), (1, policy::MAX_ATTEMPTS)] {
                let mut user = user.clone();
                let challenge = user.challenges.get_mut(token.id()).unwrap();
                challenge.ends = ends;
                (challenge.security_version, challenge.state) =
                    (SecurityVersion(version), ChallengeState::Open { attempts });
                all.push(user);
            }
        }
        let mut foreign = user.clone();
        foreign.challenges.get_mut(token.id()).unwrap().verifier = *other_token(token).verifier();
        all.push(foreign);
        let mut spent = user.clone();
        spent.challenges.get_mut(token.id()).unwrap().state = ChallengeState::Spent;
        all.push(spent);
        all.into_iter()
    }

    fn other_token(token: &TokenRef) -> TokenRef {
        let new =
            NewToken::generate(token.class(), token.user(), crate::secret::RestoreEpoch::default(), &SystemEntropy);
        new.unwrap().reference().clone()
    }
}
