//! Attempts at a code: how they are counted, and what a correct code may do.

use std::time::Duration;

use super::*;
use crate::{
    auth::verify_code::{NotExhausted, VerificationRejection},
    domain::ChallengeState,
    recovery,
    secret::{FactorRef, Nonce, TotpSecret},
    sign_in::{SignInError, VerificationToken},
    store::{
        fixture::{STEP, ann, factor_removal},
        verify::ChargeRejection,
        write::Value,
    },
};

/// A correct code works only for the factor that was charged: not for another user, a deleted user with the same id, or
/// another factor of the same user.
#[tokio::test]
async fn code_of_another_factor_is_refused() {
    for case in ["user", "deleted user", "factor"] {
        let (ann, tokens) = ann(1).await;
        let (own, nonce) = (ann.secret.owner().clone(), Nonce::generate(&SystemEntropy).unwrap());
        let owner = match case {
            "user" => FactorRef { user: user_of(&ann, "u-bob"), ..own },
            "deleted user" => FactorRef { incarnation: nonce, ..own },
            _ => FactorRef { factor: nonce, ..own },
        };
        let secret = TotpSecret::from_bytes(owner, *ann.secret.expose());
        let proof = totp::check(&secret, &totp::code_at(&secret, STEP).unwrap(), NOW, None).unwrap();
        let Ok(pending) = ann.charge(&tokens[0], NOW).await else { panic!("refused") };
        let refused = SignIn::with_totp(pending, proof, None, &SystemEntropy).err();
        assert!(matches!(refused, Some(SignInError::Foreign)), "{case}");
    }
}

#[tokio::test]
async fn recovery_token_of_another_user_is_refused() {
    let (ann, tokens) = ann(1).await;
    let bob = user_of(&ann, "u-bob");
    let digest = ann.recovery.digest(&ann.codes, &bob);
    let proof = recovery::check(&ann.codes, &bob, Some(&digest), &ann.recovery).unwrap();
    let Ok(pending) = ann.charge(&tokens[0], NOW).await else { panic!("refused") };
    let refused = SignIn::with_recovery(pending, proof, &SystemEntropy).err();
    assert!(matches!(refused, Some(SignInError::Foreign)));
}

#[tokio::test]
async fn recovery_token_does_not_step_up_a_session() {
    let (ann, _) = ann(0).await;
    let session = ann.session_of(&ann.key).await;
    let Ok(pending) = ann.charge(&session, NOW).await else { panic!("refused") };
    let proof = recovery::check(
        &ann.codes,
        &ann.key,
        pending.user().factor.recovery_token().map(|it| &it.digest),
        &ann.recovery,
    )
    .unwrap();
    let refused = SignIn::with_recovery(pending, proof, &SystemEntropy).err();
    assert!(matches!(refused, Some(SignInError::Foreign)));
}

/// The reply to the first write was lost, so the same request sends it again.
#[tokio::test]
async fn repeated_charge_is_admitted_twice_and_counted_once() {
    let (ann, tokens) = ann(1).await;
    let same = attempt(NOW);
    for _ in 0..2 {
        let token = VerificationToken::challenge(tokens[0].clone()).unwrap();
        let charged = decided(ann.store.charge_verification(token, same).await);
        assert!(charged.is_ok());
    }
    let user = ann.read(&ann.key).await;
    assert_eq!(
        (
            user.recent_attempts.len(),
            user.consecutive_failures,
            user.total_failures,
            user.challenges[tokens[0].id()].state
        ),
        (1, 1, 1, ChallengeState::Open { attempts: 1 })
    );
}

/// Fills the window of recent attempts: the first attempt at time `first` (ms), the others at time `others` (ms).
async fn full_window(ann: &Ann, first: i64, others: i64) {
    let attempts = (0..policy::MAX_RECENT_ATTEMPTS).map(|n| (n.to_string(), num(if n == 0 { first } else { others })));
    ann.change(Action::Set(attr("f"), Value::M(attempts.collect()))).await;
}

#[tokio::test]
async fn expired_or_far_future_attempt_makes_room() {
    let (window, ms) = (policy::WINDOW, Duration::from_millis(1));
    for (case, first, makes_room) in [
        ("just expired", NOW - window, true),
        ("not yet expired", NOW - window + ms, false),
        ("ahead by the window", NOW + window, false),
        ("further ahead", NOW + window + ms, true),
    ] {
        let (ann, tokens) = ann(1).await;
        full_window(&ann, first.millis(), NOW.millis()).await;
        let admitted = ann.charge(&tokens[0], NOW).await.is_ok();
        let kept = ann.read(&ann.key).await.recent_attempts.contains_key("0");
        assert_eq!((admitted, kept), (makes_room, !makes_room), "{case}");
    }
}

/// The other attempts come between the read of a window in which all attempts have expired, and the write that replaces them.
#[tokio::test]
async fn attempt_is_refused_when_others_filled_window_meanwhile() {
    let (ann, table, tokens) = interleaved(3).await;
    let expired = (NOW - policy::WINDOW).millis();
    full_window(&ann, expired, expired).await;
    let (other, other_tokens) = (Arc::clone(&ann), [tokens[1].clone(), tokens[2].clone()]);
    table.before_write(2, async move {
        for n in 0..policy::MAX_RECENT_ATTEMPTS {
            let token = &other_tokens[usize::from(n >= 5)];
            assert!(other.charge(token, NOW).await.is_ok());
        }
    });
    assert!(matches!(ann.charge(&tokens[0], NOW).await, Err(ChargeRejection::Exhausted(_))));
    assert!(!table.waits());
    let user = ann.read(&ann.key).await;
    assert_eq!((user.recent_attempts.len(), user.challenges[tokens[0].id()].state), (10, ChallengeState::NEW));
}

/// The correct code was charged before the last wrong code was counted.
#[tokio::test]
async fn factor_is_not_disabled_when_code_cleared_failures_meanwhile() {
    let (ann, tokens) = ann(2).await;
    ann.change(Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES - 2))).await;
    let verified = proven(&ann, &tokens[0], STEP).await;
    let Ok(last) = ann.charge(&tokens[1], NOW).await else { panic!("refused") };
    assert!(last.exhausts_factor());
    assert!(ann.accept(verified).await.is_some());
    let disabled = ann.store.disable_factor(&ann.key, last.user(), &attempt(NOW), &ann.event()).await;
    assert_eq!(decided(disabled), Err(NotExhausted));
    assert!(ann.read(&ann.key).await.factor.state() == FactorState::Active);
}

#[tokio::test]
async fn step_up_rejection_states_reason() {
    for (factor, actions, why) in [
        ("disabled", vec![Action::Set(attr("fs"), text("d"))], VerificationRejection::FactorDisabled),
        (
            "exhausted",
            vec![Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES))],
            VerificationRejection::FactorDisabled,
        ),
        ("none", factor_removal(), VerificationRejection::NoFactor),
    ] {
        let (ann, _) = ann(0).await;
        let session = ann.session_of(&ann.key).await;
        ann.change_all(actions).await;
        assert!(
            matches!(ann.charge(&session, NOW).await, Err(ChargeRejection::Verification(it)) if it == why),
            "{factor}"
        );
    }
}
