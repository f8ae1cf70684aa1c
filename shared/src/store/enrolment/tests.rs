//! Tests of enrolment with the table in memory.

use std::time::Duration;

use super::*;
use crate::store::write::num;
use crate::{
    audit::{AuditAction, Outcome},
    domain::{Factor, SecurityVersion},
    env::SystemEntropy,
    id::{TenantId, UserId, UserKey},
    recovery::ResetCode,
    secret::{CodeKey, KeyRing, NewToken, RestoreEpoch, Sealer, TokenClass, TokenRef, TotpSecret},
    store::{
        fixture::{Ann, NOW, PASSWORD, STEP, add_session, ann, attempt, authenticator, decided, factor_removal},
        item::{FactorState, PendingEnrolment},
    },
    totp,
};

fn ring() -> KeyRing {
    KeyRing::new([(1, zeroize::Zeroizing::new([9; 32]))].into()).unwrap()
}

fn event() -> AuditEvent {
    AuditEvent::new(AuditAction::FactorActivated, Outcome::Success, "r")
}

async fn authorize_enrolment(
    ann: &Ann,
    token: &TokenRef,
    code: Option<CodeDigest>,
    at: Timestamp,
) -> Result<EnrolmentPermit, EnrolmentRejection> {
    decided(ann.store.authorize_enrolment(EnrolmentToken::new(token.clone()).unwrap(), code, &attempt(at)).await)
}

async fn begin(ann: &Ann, token: &TokenRef, code: Option<CodeDigest>) -> TotpSecret {
    let start = authorize_enrolment(ann, token, code, NOW).await.ok().unwrap();
    let factor = Nonce::generate(&SystemEntropy).unwrap();
    let secret = TotpSecret::generate(start.factor(factor), &SystemEntropy).unwrap();
    let sealed = ring().seal(&secret, &SystemEntropy).await.unwrap();
    ann.store.begin_enrolment(start, factor, sealed, &attempt(NOW), &event()).await.unwrap();
    secret
}

async fn charge(ann: &Ann, token: &TokenRef) -> Result<PendingConfirmation, EnrolmentRejection> {
    let token = EnrolmentToken::new(token.clone()).unwrap();
    decided(ann.store.charge_confirmation(token, attempt(NOW)).await)
}

async fn confirmed(ann: &Ann, token: &TokenRef) -> Result<ConfirmedEnrolment, EnrolmentRejection> {
    let charged = charge(ann, token).await?;
    let secret = ring().open(charged.factor(), charged.secret()).await.unwrap();
    let proof = totp::check(&secret, &totp::code_at(&secret, STEP).unwrap(), NOW, None).unwrap();
    Ok(ConfirmedEnrolment::new(charged, proof, &SystemEntropy).unwrap())
}

async fn confirm(ann: &Ann, token: &TokenRef) -> Option<SignedIn> {
    decided(ann.store.confirm_enrolment(confirmed(ann, token).await.ok()?, &event()).await).ok()
}

#[tokio::test]
async fn enrolment_is_refused_after_the_idp_is_replaced() {
    let (ann, _) = crate::store::fixture::ann(0).await;
    let eve = ann.of_idp("eve", item::Role::Standard, FactorState::None).await;
    let entity_id = crate::store::fixture::idp().entity_id;
    let first = ann.configures(&entity_id, 1).await;
    let token = ann.token_by(&first, "eve", "1").await;
    begin(&ann, &token, None).await;
    assert!(charge(&ann, &token).await.is_ok());
    let before = confirmed(&ann, &token).await.ok().unwrap();
    let mut user = ann.read(&eve).await;
    let other = ann.configures("https://other.example", 2).await;
    assert!(matches!(authorize_enrolment(&ann, &token, None, NOW).await, Err(EnrolmentRejection::InvalidToken)));
    assert!(matches!(charge(&ann, &token).await, Err(EnrolmentRejection::InvalidToken)));
    // Also without a pending enrolment: the replaced IdP is reported first.
    ann.put(Write::update(keys::user(&eve), vec![], vec![Action::Remove(attr("pe"))])).await;
    assert!(matches!(charge(&ann, &token).await, Err(EnrolmentRejection::InvalidToken)));
    before.apply(&mut user).unwrap();
    assert!(
        user.sessions.values().all(|session| session.idp_generation == first.generation),
        "the new session belongs to the first IdP"
    );
    // A token of the other IdP enrols. The session that it opens can start another enrolment, until that IdP is replaced.
    let token = ann.token_by(&other, "eve", "2").await;
    begin(&ann, &token, None).await;
    let session = confirm(&ann, &token).await.unwrap();
    assert_eq!(session.session.idp_generation, other.generation);
    let session = session.token.reference().clone();
    begin(&ann, &session, None).await;
    ann.configures(&entity_id, 3).await;
    assert!(matches!(authorize_enrolment(&ann, &session, None, NOW).await, Err(EnrolmentRejection::InvalidToken)));
    assert!(matches!(charge(&ann, &session).await, Err(EnrolmentRejection::InvalidToken)));
}

/// Ann without a factor, and her enrolment tokens.
async fn unenrolled(tokens: usize) -> (Ann, Vec<TokenRef>) {
    let (ann, _) = ann(0).await;
    ann.change_all(factor_removal()).await;
    let mut opened = Vec::new();
    for _ in 0..tokens {
        let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        let (token, _) = ann.opened(right, "10.0.0").await.unwrap();
        opened.push(token.reference().clone());
    }
    (ann, opened)
}

#[tokio::test]
async fn enrolment_is_confirmed_once_and_all_other_tokens_are_void() {
    let (ann, tokens) = unenrolled(2).await;
    begin(&ann, &tokens[0], None).await;
    let [first, second] =
        [confirmed(&ann, &tokens[0]).await.ok().unwrap(), confirmed(&ann, &tokens[0]).await.ok().unwrap()];
    let event = event();
    let results = [first, second].map(|it| ann.store.confirm_enrolment(it, &event));
    let results = futures_util::future::join_all(results).await;
    assert_eq!(results.iter().filter(|it| it.is_ok()).count(), 1);
    let user = ann.read(&ann.key).await;
    assert!(user.factor.active().is_some_and(|it| it.last_step == STEP && it.recovery_token.is_none()));
    assert!(
        user.enrolments.is_empty()
            && user.pending.is_none()
            && user.security_version.0 == 2
            && user.sessions.len() == 1
    );
    assert!(ann.administrators().await.with_mfa.contains(ann.key.user()));
    assert_eq!(charge(&ann, &tokens[0]).await.err(), Some(EnrolmentRejection::InvalidToken));
    assert_eq!(authorize_enrolment(&ann, &tokens[1], None, NOW).await.err(), Some(EnrolmentRejection::InvalidToken));
}

#[tokio::test]
async fn newer_enrolment_replaces_the_pending_one_and_older_token_does_not_charge_it() {
    let (ann, tokens) = unenrolled(2).await;
    assert_eq!(charge(&ann, &tokens[0]).await.err(), Some(EnrolmentRejection::NonePending));
    begin(&ann, &tokens[0], None).await;
    let older = confirmed(&ann, &tokens[0]).await.ok().unwrap();
    begin(&ann, &tokens[1], None).await;
    assert_eq!(charge(&ann, &tokens[0]).await.err(), Some(EnrolmentRejection::InvalidToken));
    assert_eq!(decided(ann.store.confirm_enrolment(older, &event()).await).err(), Some(EnrolmentChanged::NonePending));
    assert_eq!(ann.read(&ann.key).await.pending.unwrap().attempts, 0);
    assert!(confirm(&ann, &tokens[1]).await.is_some());
}

#[tokio::test]
async fn all_enrolment_tokens_within_the_network_limit_are_valid() {
    let (ann, tokens) = unenrolled(policy::NETWORK_CHALLENGES).await;
    for token in &tokens {
        assert!(authorize_enrolment(&ann, token, None, NOW).await.is_ok());
    }
}

#[tokio::test]
async fn pending_enrolment_ends_after_five_codes() {
    let (ann, tokens) = unenrolled(1).await;
    begin(&ann, &tokens[0], None).await;
    for _ in 0..policy::MAX_ATTEMPTS {
        assert!(charge(&ann, &tokens[0]).await.is_ok());
    }
    assert_eq!(charge(&ann, &tokens[0]).await.err(), Some(EnrolmentRejection::NonePending));
    begin(&ann, &tokens[0], None).await;
    assert!(confirm(&ann, &tokens[0]).await.is_some());
}

async fn set_reset_code(ann: &Ann) -> CodeDigest {
    let digest = ResetCode::generate(&SystemEntropy).unwrap().digest(&ann.codes, &ann.key);
    let entry = item::ResetCodeEntry { digest, ends: NOW + policy::RESET_CODE_LIFE, attempts: 0 };
    ann.change(Action::Set(attr("rc"), item::value(&entry).unwrap())).await;
    ann.change(Action::Set(attr("rq"), write::Value::Bool(true))).await;
    digest
}

#[tokio::test]
async fn wrong_reset_code_is_counted_and_confirmation_uses_up_the_right_one() {
    let (ann, tokens) = unenrolled(1).await;
    let code = set_reset_code(&ann).await;
    let other = ResetCode::generate(&SystemEntropy).unwrap().digest(&ann.codes, &ann.key);
    assert_eq!(authorize_enrolment(&ann, &tokens[0], None, NOW).await.err(), Some(EnrolmentRejection::ResetCode));
    for _ in 0..policy::MAX_ATTEMPTS - 1 {
        assert_eq!(
            authorize_enrolment(&ann, &tokens[0], Some(other), NOW).await.err(),
            Some(EnrolmentRejection::ResetCode)
        );
    }
    for _ in 0..=policy::MAX_ATTEMPTS {
        begin(&ann, &tokens[0], Some(code)).await;
    }
    assert_eq!(
        ann.read(&ann.key).await.reset_code.unwrap().attempts,
        policy::MAX_ATTEMPTS - 1,
        "right codes are not counted"
    );
    assert_eq!(
        authorize_enrolment(&ann, &tokens[0], Some(other), NOW).await.err(),
        Some(EnrolmentRejection::ResetCode)
    );
    assert_eq!(
        authorize_enrolment(&ann, &tokens[0], Some(code), NOW).await.err(),
        Some(EnrolmentRejection::ResetCode),
        "all five attempts are used"
    );
    assert!(confirm(&ann, &tokens[0]).await.is_some());
    let user = ann.read(&ann.key).await;
    assert!(user.reset_code.is_none() && !user.reset_code_required);
}

/// Each condition of the write, apart from the comparison of the code, is violated once.
#[tokio::test]
async fn wrong_reset_code_is_counted_only_while_token_and_code_are_valid_and_at_most_five_times() {
    let (ann, tokens) = unenrolled(1).await;
    let code = set_reset_code(&ann).await;
    let other = ResetCode::generate(&SystemEntropy).unwrap().digest(&ann.codes, &ann.key);
    let forged = NewToken::generate(TokenClass::Enrolment, &ann.key, RestoreEpoch::default(), &SystemEntropy).unwrap();
    let attempts = || async { ann.read(&ann.key).await.reset_code.unwrap().attempts };
    assert_eq!(
        authorize_enrolment(&ann, forged.reference(), Some(other), NOW).await.err(),
        Some(EnrolmentRejection::InvalidToken)
    );
    assert_eq!(attempts().await, 0, "a forged token counts no attempt");
    for _ in 0..policy::MAX_ATTEMPTS + 2 {
        assert_eq!(
            authorize_enrolment(&ann, &tokens[0], Some(other), NOW).await.err(),
            Some(EnrolmentRejection::ResetCode)
        );
    }
    assert_eq!(attempts().await, policy::MAX_ATTEMPTS);
    ann.change(Action::Set(attr("rc").key("n"), num(0))).await;
    assert!(authorize_enrolment(&ann, &tokens[0], Some(code), NOW).await.is_ok());
    ann.change(Action::Set(attr("rc").key("x"), num(NOW.millis()))).await;
    assert_eq!(
        authorize_enrolment(&ann, &tokens[0], Some(other), NOW).await.err(),
        Some(EnrolmentRejection::ResetCode)
    );
    assert_eq!(attempts().await, 0, "an expired code is not counted");
    assert_eq!(authorize_enrolment(&ann, &tokens[0], Some(code), NOW).await.err(), Some(EnrolmentRejection::ResetCode));
}

/// docs/security.md 39: a reset code that a newer one replaced does not enrol, at any stage.
#[tokio::test]
async fn enrolment_started_with_a_voided_reset_code_is_not_confirmed() {
    let (ann, tokens) = unenrolled(1).await;
    let code = set_reset_code(&ann).await;
    begin(&ann, &tokens[0], Some(code)).await;
    let confirmed = confirmed(&ann, &tokens[0]).await.ok().unwrap();
    let start = authorize_enrolment(&ann, &tokens[0], Some(code), NOW).await.ok().unwrap();
    set_reset_code(&ann).await;
    assert_eq!(decided(ann.store.confirm_enrolment(confirmed, &event()).await).err(), Some(EnrolmentChanged::Stale));
    assert_eq!(
        charge(&ann, &tokens[0]).await.err(),
        Some(EnrolmentRejection::ResetCode),
        "the reset code was replaced before the confirmation"
    );
    let factor = Nonce::generate(&SystemEntropy).unwrap();
    let secret = TotpSecret::generate(start.factor(factor), &SystemEntropy).unwrap();
    let sealed = ring().seal(&secret, &SystemEntropy).await.unwrap();
    let started = decided(ann.store.begin_enrolment(start, factor, sealed, &attempt(NOW), &event()).await);
    assert_eq!(started.err(), Some(EnrolmentChanged::Stale));
}

#[tokio::test]
async fn session_replaces_the_factor_only_with_a_fresh_step_up() {
    let (ann, tokens) = ann(1).await;
    let session = ann.with_step(&tokens[0], STEP, NOW).await.unwrap().reference().clone();
    let late = NOW + policy::STEP_UP_LIFE + Duration::from_secs(1);
    assert_eq!(authorize_enrolment(&ann, &session, None, late).await.err(), Some(EnrolmentRejection::StepUpRequired));
    begin(&ann, &session, None).await;
    assert_eq!(
        ann.read(&ann.key).await.factor.state(),
        FactorState::Active,
        "the old factor works until the confirmation"
    );
    ann.change(Action::Set(attr("fs"), write::text("d"))).await;
    for at in [NOW, late] {
        assert_eq!(
            authorize_enrolment(&ann, &session, None, at).await.err(),
            Some(EnrolmentRejection::ResetRequired),
            "a step-up cannot replace the reset"
        );
    }
    ann.change(Action::Set(attr("fs"), write::text("a"))).await;
    assert!(confirm(&ann, &session).await.is_some());
    assert_eq!(authorize_enrolment(&ann, &session, None, NOW).await.err(), Some(EnrolmentRejection::RefreshRequired));
}

#[tokio::test]
async fn forged_or_expired_token_starts_no_enrolment() {
    let (ann, tokens) = unenrolled(1).await;
    let forged = NewToken::generate(TokenClass::Enrolment, &ann.key, RestoreEpoch::default(), &SystemEntropy).unwrap();
    assert_eq!(
        authorize_enrolment(&ann, forged.reference(), None, NOW).await.err(),
        Some(EnrolmentRejection::InvalidToken)
    );
    assert_eq!(
        authorize_enrolment(&ann, &tokens[0], None, NOW + policy::ENROLMENT_LIFE).await.err(),
        Some(EnrolmentRejection::InvalidToken)
    );
    ann.change(Action::Set(attr("eb"), num(NOW.secs()))).await;
    assert_eq!(authorize_enrolment(&ann, &tokens[0], None, NOW).await.err(), Some(EnrolmentRejection::ResetRequired));
}

/// The charges repeat rules of `auth::enroll` as conditions, so that an attempt is counted without a read before it. This test
/// compares both for every combination of the values that they depend on.
#[tokio::test]
async fn charge_of_a_code_requires_exactly_what_check_confirmation_requires() {
    let (user, tokens) = user_with_both_tokens().await;
    let mut checked = 0;
    for token in &tokens {
        for user in variants_of_token(&user, token).iter().flat_map(|user| variants_of_pending(user, &tokens)) {
            let charged = charge_code(token, NOW).apply(Some(item::write(&user).unwrap())).is_ok();
            assert_eq!(charged, enroll::check_confirmation(&user, token, NOW).is_ok());
            checked += 1;
        }
    }
    assert!(checked > 1000, "only {checked} combinations");
}

#[tokio::test]
async fn charge_of_a_wrong_reset_code_requires_a_valid_token_and_an_open_reset_code() {
    let (user, tokens) = user_with_both_tokens().await;
    let given = digest(&user_key());
    let mut checked = 0;
    for token in &tokens {
        for user in variants_of_token(&user, token).iter().flat_map(|user| variants_of_reset_code(user, given)) {
            let charged = charge_wrong_code(token, &given, NOW).apply(Some(item::write(&user).unwrap())).is_ok();
            let wrong = user.reset_code.as_ref().is_some_and(|code| code.is_valid(NOW) && code.digest != given);
            assert_eq!(charged, wrong && enroll::check_token(&user, token, NOW).is_ok());
            checked += 1;
        }
    }
    assert!(checked > 1000, "only {checked} combinations");
}

fn user_key() -> UserKey {
    TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap())
}

fn digest(key: &UserKey) -> CodeDigest {
    ResetCode::generate(&SystemEntropy).unwrap().digest(&CodeKey::new([2; 32].into()), key)
}

/// A user with an enrolment token and a session.
async fn user_with_both_tokens() -> (User, [EnrolmentToken; 2]) {
    let (ann, tokens) = unenrolled(1).await;
    let mut user = ann.read(&ann.key).await;
    user.factor = Factor::Active(authenticator());
    let session = add_session(&mut user, &ann.key);
    (user, [tokens[0].clone(), session].map(|token| EnrolmentToken::new(token).unwrap()))
}

/// Variants of the user: each state of the factor and of the token's entry that a rule depends on.
fn variants_of_token(user: &User, token: &EnrolmentToken) -> Vec<User> {
    let mut all = Vec::new();
    for active in [true, false] {
        for state in [FactorState::None, FactorState::Active, FactorState::Disabled] {
            for end in 0..4 {
                for version in [0, 1] {
                    for foreign in [true, false] {
                        let mut user = User { active, ..user.clone() };
                        match state {
                            FactorState::None => user.factor = Factor::None,
                            FactorState::Active => {}
                            FactorState::Disabled => user.factor.disable(),
                        }
                        change_entry(&mut user, token, end, version, foreign);
                        all.push(user);
                    }
                }
            }
        }
    }
    all
}

/// Changes the token's entry: sets one of four ends (the first is too early, the last too late) and the security version. If
/// `foreign`, sets the verifier of another token.
fn change_entry(user: &mut User, token: &EnrolmentToken, end: usize, version: i64, foreign: bool) {
    let other = NewToken::generate(token.reference().class(), token.key(), RestoreEpoch::default(), &SystemEntropy);
    let verifier = if foreign { *other.unwrap().reference().verifier() } else { *token.reference().verifier() };
    match token {
        EnrolmentToken::Enrolment(token) => {
            let entry = user.enrolments.get_mut(token.id()).unwrap();
            (entry.ends, entry.security_version, entry.verifier) = (ends()[end], SecurityVersion(version), verifier);
        }
        EnrolmentToken::Session(token) => {
            let (longest, second) = (NOW + policy::SESSION_LIFE + policy::SKEW, Duration::from_secs(1));
            let session = user.sessions.get_mut(token.id()).unwrap();
            session.ends = [NOW, NOW + second, longest, longest + second][end];
            (session.security_version, session.verifier) = (SecurityVersion(version), verifier);
        }
    }
}

/// Ends of an enrolment token or a pending enrolment: too early, earliest valid, latest valid, too late.
fn ends() -> [Timestamp; 4] {
    let (longest, ms) = (NOW + policy::ENROLMENT_LIFE + policy::SKEW, Duration::from_millis(1));
    [NOW, NOW + ms, longest, longest + ms]
}

fn variants_of_pending(user: &User, tokens: &[EnrolmentToken]) -> Vec<User> {
    let mut all = vec![user.clone()];
    for token in tokens {
        for ends in ends() {
            for attempts in [0, policy::MAX_ATTEMPTS - 1, policy::MAX_ATTEMPTS] {
                let (factor, started_by) = (Nonce::generate(&SystemEntropy).unwrap(), token.reference().id().clone());
                let secret = authenticator().secret;
                let (reset_code, factor_at_start) = (None, None);
                let pending =
                    PendingEnrolment { factor, secret, started_by, ends, attempts, reset_code, factor_at_start };
                all.push(User { pending: Some(pending), ..user.clone() });
            }
        }
    }
    all
}

fn variants_of_reset_code(user: &User, given: CodeDigest) -> Vec<User> {
    let mut all = vec![user.clone()];
    for digest in [given, digest(&user_key())] {
        for ends in [NOW, NOW + Duration::from_millis(1)] {
            for attempts in [0, policy::MAX_ATTEMPTS - 1, policy::MAX_ATTEMPTS] {
                let code = item::ResetCodeEntry { digest, ends, attempts };
                all.push(User { reset_code: Some(code), ..user.clone() });
            }
        }
    }
    all
}
