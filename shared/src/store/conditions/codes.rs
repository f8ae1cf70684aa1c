//! Tries at a code: how they are counted, and what may be made of a right one.

use std::time::Duration;

use super::*;
use crate::{
    auth::verify_code::{SignInError, VerificationRejection},
    recovery,
    secret::{FactorRef, Nonce, TotpSecret},
    sign_in::VerificationToken,
    store::{
        fixture::{STEP, ann},
        verify::Disabled,
        write::Value,
    },
};

/// A right code counts for the factor that was charged: no other person's, none of a deleted person with the same id, and
/// no other one of the same person.
#[tokio::test]
async fn code_of_another_factor_is_refused() {
    for way in ["person", "deleted person", "factor"] {
        let (ann, tokens) = ann(1).await;
        let (own, nonce) = (ann.secret.owner().clone(), Nonce::generate(&SystemEntropy).unwrap());
        let owner = match way {
            "person" => FactorRef { user: user_of(&ann, "u-bob"), ..own },
            "deleted person" => FactorRef { incarnation: nonce, ..own },
            _ => FactorRef { factor: nonce, ..own },
        };
        let secret = TotpSecret::from_bytes(owner, *ann.secret.expose());
        let proof = totp::check(&secret, &totp::code_at(&secret, STEP).unwrap(), NOW, 0).unwrap();
        let Charge::Admitted(pending) = ann.charge(&tokens[0], NOW).await else { panic!("refused") };
        let refused = SignIn::with_totp(pending, proof, None, &SystemEntropy).err();
        assert!(matches!(refused, Some(SignInError::Foreign)), "{way}");
    }
}

#[tokio::test]
async fn recovery_token_of_another_person_is_refused() {
    let (ann, tokens) = ann(1).await;
    let bob = user_of(&ann, "u-bob");
    let digest = ann.recovery.digest(&ann.codes, &bob);
    let proof = recovery::check(&ann.codes, &bob, Some(&digest), &ann.recovery).unwrap();
    let Charge::Admitted(pending) = ann.charge(&tokens[0], NOW).await else { panic!("refused") };
    let refused = SignIn::with_recovery(pending, proof, &SystemEntropy).err();
    assert!(matches!(refused, Some(SignInError::Foreign)));
}

#[tokio::test]
async fn recovery_token_does_not_step_up_a_session() {
    let (ann, _) = ann(0).await;
    let session = ann.session_of(&ann.key).await;
    let Charge::Admitted(pending) = ann.charge(&session, NOW).await else { panic!("refused") };
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

/// The store's answer to the first was lost, so the same request asks again.
#[tokio::test]
async fn try_that_is_sent_twice_is_admitted_twice_and_counted_once() {
    let (ann, tokens) = ann(1).await;
    let same = attempt(NOW);
    for _ in 0..2 {
        let token = VerificationToken::challenge(tokens[0].clone()).unwrap();
        let charged = ann.store.charge_verification(token, same).await.unwrap();
        assert!(matches!(charged, Charge::Admitted(_)));
    }
    let user = ann.read(&ann.key).await;
    assert_eq!(
        (
            user.recent_attempts.len(),
            user.consecutive_failures,
            user.total_failures,
            user.challenges[tokens[0].id()].attempts
        ),
        (1, 1, 1, 1)
    );
}

/// As many tries as the window takes, the first of them at another moment than now.
async fn full_window(ann: &Ann, first: i64, others: i64) {
    let attempts = (0..policy::MAX_RECENT_ATTEMPTS).map(|n| (n.to_string(), num(if n == 0 { first } else { others })));
    ann.change(Action::Set(attr("f"), Value::M(attempts.collect()))).await;
}

#[tokio::test]
async fn try_makes_room_when_it_is_of_before_the_window_or_of_a_clock_that_ran_ahead() {
    let (window, ms) = (policy::WINDOW, Duration::from_millis(1));
    for (way, first, makes_room) in [
        ("just over", NOW - window, true),
        ("not quite over", NOW - window + ms, false),
        ("ahead by the window", NOW + window, false),
        ("further ahead", NOW + window + ms, true),
    ] {
        let (ann, tokens) = ann(1).await;
        full_window(&ann, first.millis(), NOW.millis()).await;
        let admitted = matches!(ann.charge(&tokens[0], NOW).await, Charge::Admitted(_));
        let kept = ann.read(&ann.key).await.recent_attempts.contains_key("0");
        assert_eq!((admitted, kept), (makes_room, !makes_room), "{way}");
    }
}

/// Between the look at a window whose tries are all over, and the try that takes their place.
#[tokio::test]
async fn try_is_refused_when_others_filled_the_window_meanwhile() {
    let (ann, table, tokens) = interleaved(3).await;
    let over = (NOW - policy::WINDOW).millis();
    full_window(&ann, over, over).await;
    let (other, crowd) = (Arc::clone(&ann), [tokens[1].clone(), tokens[2].clone()]);
    table.before_write(2, async move {
        for n in 0..policy::MAX_RECENT_ATTEMPTS {
            let token = &crowd[usize::from(n >= 5)];
            assert!(matches!(other.charge(token, NOW).await, Charge::Admitted(_)));
        }
    });
    assert!(matches!(ann.charge(&tokens[0], NOW).await, Charge::Exhausted { .. }));
    assert!(!table.waits());
    let user = ann.read(&ann.key).await;
    assert_eq!((user.recent_attempts.len(), user.challenges[tokens[0].id()].attempts), (10, 0));
}

/// The right code was on its way when the last wrong one was counted.
#[tokio::test]
async fn factor_is_not_disabled_when_a_right_code_ended_the_failures_meanwhile() {
    let (ann, tokens) = ann(2).await;
    ann.change(Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES - 2))).await;
    let right = proven(&ann, &tokens[0], STEP).await;
    let Charge::Admitted(last) = ann.charge(&tokens[1], NOW).await else { panic!("refused") };
    assert!(last.exhausts_factor());
    assert!(ann.accept(right).await.is_some());
    let disabled = ann.store.disable_factor(&ann.key, last.user(), &attempt(NOW), &ann.event()).await.unwrap();
    assert_eq!(disabled, Disabled::Stale);
    assert!(ann.read(&ann.key).await.factor.state() == FactorState::Active);
}

#[tokio::test]
async fn step_up_tells_why_no_code_can_be_tried() {
    for (factor, row, why) in [
        ("d", 0, VerificationRejection::FactorDisabled),
        ("a", policy::MAX_CONSECUTIVE_FAILURES, VerificationRejection::FactorDisabled),
        ("n", 0, VerificationRejection::NoFactor),
    ] {
        let (ann, _) = ann(0).await;
        let session = ann.session_of(&ann.key).await;
        ann.change(Action::Set(attr("fs"), text(factor))).await;
        ann.change(Action::Set(attr("row"), num(row))).await;
        assert!(matches!(ann.charge(&session, NOW).await, Charge::Rejected(it) if it == why), "{factor}");
    }
}
