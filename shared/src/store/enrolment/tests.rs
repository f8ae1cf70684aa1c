//! Tests of enrolment over the reference model.

use super::*;
use crate::store::write::num;
use crate::{
    audit::{Action as Did, Outcome},
    domain::Factor,
    env::SystemEntropy,
    id::{TenantId, UserId, UserKey},
    recovery::ResetCode,
    secret::{CodeKey, KeyRing, NewToken, RestoreEpoch, Sealer, TokenClass, TokenRef, TotpSecret},
    store::{
        fixture::{Ann, NOW, PASSWORD, STEP, add_session, ann, attempt, authenticator},
        item::{FactorState, PendingEnrolment},
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

async fn may(ann: &Ann, token: &TokenRef, code: Option<CodeDigest>, at: Timestamp) -> Result<EnrolmentPermit, Denied> {
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
    let mut user = ann.read(&eve).await;
    let other = ann.configures("https://other.example", 2).await;
    assert!(matches!(may(&ann, &token, None, NOW).await, Err(Denied::Token)));
    assert!(matches!(charge(&ann, &token).await, Err(Denied::Token)));
    // Whatever else there is to say of it.
    ann.put(Write::update(keys::user(&eve), vec![], vec![Action::Remove(attr("pe"))])).await;
    assert!(matches!(charge(&ann, &token).await, Err(Denied::Token)));
    before.apply(&mut user).unwrap();
    assert!(user.sessions.values().all(|session| session.idp == first.generation), "and the session would end with it");
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
    let gone = ["fid", "sec", "ls", "fat", "rk", "rkt"].map(|name| Action::Remove(attr(name)));
    let actions = gone.into_iter().chain([Action::Set(attr("fs"), write::text("n"))]).collect();
    ann.put(Write::update(keys::user(&ann.key), vec![], actions)).await;
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
    let [first, second] = [proved(&ann, &tokens[0]).await.ok().unwrap(), proved(&ann, &tokens[0]).await.ok().unwrap()];
    let event = event();
    let both = [first, second].map(|it| ann.store.confirm_enrolment(it, &event));
    let both = futures_util::future::join_all(both).await;
    assert_eq!(both.iter().filter(|it| matches!(it, Ok(Acceptance::Accepted(_)))).count(), 1);
    let user = ann.read(&ann.key).await;
    assert!(user.factor.active().is_some_and(|it| it.last_step == STEP && it.recovery_token.is_none()));
    assert!(
        user.enrolments.is_empty() && user.pending.is_none() && user.security_version == 2 && user.sessions.len() == 1
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
    let made_up = NewToken::generate(TokenClass::Enrolment, &ann.key, RestoreEpoch::default(), &SystemEntropy).unwrap();
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
    assert_eq!(charge(&ann, &tokens[0]).await.err(), Some(Denied::ResetCode), "voided before the confirmation began");
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
    let made_up = NewToken::generate(TokenClass::Enrolment, &ann.key, RestoreEpoch::default(), &SystemEntropy).unwrap();
    assert_eq!(may(&ann, made_up.reference(), None, NOW).await.err(), Some(Denied::Token));
    assert_eq!(may(&ann, &tokens[0], None, NOW + policy::ENROLMENT_LIFE).await.err(), Some(Denied::Token));
    ann.change(Action::Set(attr("eb"), num(NOW.secs()))).await;
    assert_eq!(may(&ann, &tokens[0], None, NOW).await.err(), Some(Denied::ResetRequired));
}

/// The charges state rules of `auth::enroll` as conditions, because a count must not wait for a read. For every combination of
/// what they look at, both say the same.
#[tokio::test]
async fn charge_of_a_code_requires_exactly_what_check_confirmation_requires() {
    let (user, tokens) = both_tokens().await;
    let mut checked = 0;
    for token in &tokens {
        for user in variants_of_token(&user, token).iter().flat_map(|user| variants_of_pending(user, &tokens)) {
            let charged = charge_code(token, NOW).apply(Some(&item::write(&user).unwrap())).is_ok();
            assert_eq!(charged, enroll::check_confirmation(&user, token, NOW).is_ok());
            checked += 1;
        }
    }
    assert!(checked > 1000, "{checked}");
}

#[tokio::test]
async fn charge_of_a_wrong_reset_code_requires_a_valid_token_and_another_code_that_can_be_tried() {
    let (user, tokens) = both_tokens().await;
    let given = digest(&user_key());
    let mut checked = 0;
    for token in &tokens {
        for user in variants_of_token(&user, token).iter().flat_map(|user| variants_of_reset_code(user, given)) {
            let charged = charge_wrong_code(token, &given, NOW).apply(Some(&item::write(&user).unwrap())).is_ok();
            let wrong = user.reset_code.as_ref().is_some_and(|code| code.open(NOW) && code.digest != given);
            assert_eq!(charged, wrong && enroll::check_token(&user, token, NOW).is_ok());
            checked += 1;
        }
    }
    assert!(checked > 1000, "{checked}");
}

fn user_key() -> UserKey {
    TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap())
}

fn digest(key: &UserKey) -> CodeDigest {
    ResetCode::generate(&SystemEntropy).unwrap().digest(&CodeKey::new([2; 32].into()), key)
}

/// A user with an enrolment token and a session.
async fn both_tokens() -> (User, [EnrolmentToken; 2]) {
    let (ann, tokens) = unenrolled(1).await;
    let mut user = ann.read(&ann.key).await;
    user.factor = Factor::Active(authenticator());
    let session = add_session(&mut user, &ann.key);
    (user, [tokens[0].clone(), session].map(|token| EnrolmentToken::new(token).unwrap()))
}

/// The user with every state of the factor and of the token that a rule looks at.
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

/// Sets one of four ends, of which two are too early or too late, a security version, and another token's verifier.
fn change_entry(user: &mut User, token: &EnrolmentToken, end: usize, version: i64, foreign: bool) {
    let other = NewToken::generate(token.reference().class(), token.key(), RestoreEpoch::default(), &SystemEntropy);
    let verifier = if foreign { *other.unwrap().reference().verifier() } else { *token.reference().verifier() };
    match token {
        EnrolmentToken::Enrolment(token) => {
            let entry = user.enrolments.get_mut(token.id()).unwrap();
            (entry.ends, entry.security_version, entry.verifier) = (ends()[end], version, verifier);
        }
        EnrolmentToken::Session(token) => {
            let (now, longest) = (NOW.secs(), (NOW + policy::SESSION_LIFE + policy::SKEW).secs());
            let session = user.sessions.get_mut(token.id()).unwrap();
            session.ends = [now, now + 1, longest, longest + 1][end];
            (session.security_version, session.verifier) = (version, verifier);
        }
    }
}

/// Ends of an enrolment token or a pending enrolment, ms: too early, just valid, just valid, too late.
fn ends() -> [i64; 4] {
    let (now, longest) = (NOW.millis(), (NOW + policy::ENROLMENT_LIFE + policy::SKEW).millis());
    [now, now + 1, longest, longest + 1]
}

fn variants_of_pending(user: &User, tokens: &[EnrolmentToken]) -> Vec<User> {
    let mut all = vec![user.clone()];
    for token in tokens {
        for ends in ends() {
            for attempts in [0, policy::MAX_ATTEMPTS - 1, policy::MAX_ATTEMPTS] {
                let (factor, by) = (Nonce::generate(&SystemEntropy).unwrap(), token.reference().id().clone());
                let secret = authenticator().secret;
                let pending = PendingEnrolment { factor, secret, by, ends, attempts, reset_code: None, was: None };
                all.push(User { pending: Some(pending), ..user.clone() });
            }
        }
    }
    all
}

fn variants_of_reset_code(user: &User, given: CodeDigest) -> Vec<User> {
    let mut all = vec![user.clone()];
    for digest in [given, digest(&user_key())] {
        for ends in [NOW.millis(), NOW.millis() + 1] {
            for attempts in [0, policy::MAX_ATTEMPTS - 1, policy::MAX_ATTEMPTS] {
                let code = item::ResetCodeEntry { digest, ends, attempts };
                all.push(User { reset_code: Some(code), ..user.clone() });
            }
        }
    }
    all
}
