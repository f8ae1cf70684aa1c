//! Passwords, codes and recovery tokens.

use std::time::Duration;

use super::*;
use crate::{
    auth::verify_code::VerificationRejection,
    env::{SystemEntropy, Timestamp},
    id::{BatchId, EntryId},
    policy::Backoff,
    recovery,
    secret::{NewToken, RestoreEpoch, TokenClass},
    sign_in::{NextStep, PasswordChecked},
    store::{
        fixture::{PASSWORD, STEP, ann, factor_removal, person},
        item::{self, Device, Exclusion, Kind, User},
        verify::ChargeRejection,
        write,
    },
};

async fn proven_by_recovery(ann: &Ann, token: &TokenRef) -> SignIn {
    let Ok(pending) = ann.charge(token, NOW).await else { panic!("refused") };
    let proof = recovery::check(
        &ann.codes,
        &ann.key,
        pending.user().factor.recovery_token().map(|it| &it.digest),
        &ann.recovery,
    )
    .unwrap();
    SignIn::with_recovery(pending, proof, &SystemEntropy).unwrap()
}

#[tokio::test]
async fn challenge_signs_in_once_for_two_correct_codes() {
    let (ann, tokens) = ann(1).await;
    let (first, second) = (proven(&ann, &tokens[0], STEP).await, proven(&ann, &tokens[0], STEP + 1).await);
    assert!(ann.accept(first).await.is_some());
    assert!(ann.accept(second).await.is_none(), "the challenge is spent");
    assert_eq!(ann.read(&ann.key).await.sessions.len(), 1);
}

#[tokio::test]
async fn sign_in_is_retried_when_only_sessions_changed_meanwhile() {
    let (ann, table, tokens) = interleaved(1).await;
    let sign_in = proven(&ann, &tokens[0], STEP).await;
    let busy = Arc::clone(&ann);
    table.before_write(1, async move {
        for _ in 0..policy::SESSIONS {
            busy.session_of(&busy.key).await;
        }
    });
    assert!(ann.accept(sign_in).await.is_some());
    assert!(!table.waits());
    assert_eq!(ann.read(&ann.key).await.sessions.len(), policy::SESSIONS);
}

/// The sign-in is rejected immediately if a retry cannot succeed. The response is not "try again later".
#[tokio::test]
async fn sign_in_is_denied_when_its_proof_became_invalid_meanwhile() {
    let at = |map: &'static str, id: &str| attr(map).key(id.to_owned());
    for change in [
        "step spent",
        "recovery token replaced",
        "challenge spent",
        "challenge gone",
        "charge gone",
        "security version",
        "factor disabled",
        "factor replaced",
    ] {
        let (ann, table, tokens) = interleaved(1).await;
        let token = tokens[0].id().as_str();
        let sign_in = match change {
            "recovery token replaced" => proven_by_recovery(&ann, &tokens[0]).await,
            _ => proven(&ann, &tokens[0], STEP).await,
        };
        let action = match change {
            "step spent" => Action::Set(attr("ls"), num(STEP.0)),
            "recovery token replaced" => Action::Set(attr("rk"), write::bytes(&[7; 32])),
            "challenge spent" => Action::Set(at("c", token).key("n"), num(1_000)),
            "challenge gone" => Action::Remove(at("c", token)),
            "charge gone" => Action::Remove(at("f", &sign_in.attempt().text())),
            "security version" => Action::Add(attr("ep"), 1),
            "factor disabled" => Action::Set(attr("fs"), text("d")),
            _ => Action::Set(attr("fid"), write::bytes(&[7; 12])),
        };
        let other = Arc::clone(&ann);
        table.before_write(1, async move { other.change(action).await });
        assert!(ann.accept(sign_in).await.is_none(), "{change}");
        assert!(!table.waits() && ann.read(&ann.key).await.sessions.is_empty(), "{change}");
    }
}

#[tokio::test]
async fn disabling_factor_of_user_promoted_meanwhile_updates_administrators() {
    let (ann, _) = ann(0).await;
    let amy = user_with_exhausted_factor(&ann, "amy").await;
    let before = ann.read(&amy).await;
    assert!(ann.patch(&amy, promoted()).await.is_ok());
    ann.store.disable_factor(&amy, &before, &attempt(NOW), &ann.event()).await.unwrap();
    assert!(registry_matches_user(&ann, &amy).await);
}

/// A device token works only with the login name of its user.
#[tokio::test]
async fn device_of_another_user_is_not_charged() {
    let (ann, tokens) = ann(1).await;
    let device = ann.signed_in(&tokens[0], STEP, NOW).await.unwrap().device.unwrap();
    ann.someone("bob", Role::Standard).await;
    let bob = ann.names.login(ann.key.tenant(), &crate::id::LoginName::fold("bob"));
    let charge =
        decided(ann.store.charge_login(&bob, Some(device.reference()), &Backoff::at(NOW), &attempt(NOW)).await);
    let Ok(password_attempt) = charge else { panic!("refused") };
    assert!(password_attempt.device.is_none() && password_attempt.loaded_user.is_none());
    assert_eq!(password_attempt.failures(), 1, "counted at the login name");
    assert_eq!(ann.read(&ann.key).await.devices[device.reference().id()].attempts, 0);
}

fn device_at(id: &EntryId) -> write::Path {
    attr("d").key(id.as_str().to_owned())
}

/// Adds a known device of Ann that expires at `ends`.
async fn known_device(ann: &Ann, ends: Timestamp) -> NewToken {
    let token = NewToken::generate(TokenClass::Device, &ann.key, RestoreEpoch::default(), &SystemEntropy).unwrap();
    let (id, verifier) = (token.reference().id(), *token.reference().verifier());
    let device = Device { verifier, ends, attempts: 0, last: Timestamp::default(), attempt: None };
    ann.change(Action::Set(device_at(id), item::value(&device).unwrap())).await;
    token
}

/// Makes Ann an excluded contact with a known device.
async fn excluded(ann: &Ann) -> NewToken {
    let exclusion = Exclusion { batch: BatchId::parse("b").unwrap(), at: Timestamp::default() };
    let token = known_device(ann, NOW + policy::DEVICE_LIFE).await;
    let contact = [Action::Set(attr("k"), text("c")), Action::Set(attr("ex"), item::value(&exclusion).unwrap())];
    ann.change_all(factor_removal().into_iter().chain(contact).collect()).await;
    token
}

#[tokio::test]
async fn sign_in_of_an_excluded_contact_clears_failures_of_name_and_device() {
    let (ann, _) = ann(0).await;
    let token = excluded(&ann).await;
    for device in [None, Some(token.reference())] {
        for n in 0..3 {
            assert_eq!(ann.password("wrong", device, NOW).await.err().unwrap().failures(), n + 1);
        }
        let PasswordChecked::Excluded(excluded) = ann.password(PASSWORD, device, NOW).await.ok().unwrap().decide()
        else {
            panic!("not excluded")
        };
        assert!(ann.store.open_excluded_session(excluded, &SystemEntropy, &ann.event()).await.is_ok());
        assert_eq!(ann.password("wrong", device, NOW).await.err().unwrap().failures(), 1);
    }
}

#[tokio::test]
async fn correct_password_clears_failures_even_if_reset_is_required() {
    let (ann, _) = ann(0).await;
    let token = known_device(&ann, NOW + policy::DEVICE_LIFE).await;
    ann.change(Action::Set(attr("fs"), text("d"))).await;
    for device in [None, Some(token.reference())] {
        for n in 0..3 {
            assert_eq!(ann.password("wrong", device, NOW).await.err().unwrap().failures(), n + 1);
        }
        let verified = ann.password(PASSWORD, device, NOW).await.ok().unwrap();
        let PasswordChecked::ResetRequired(verified) = verified.decide() else { panic!("no reset required") };
        ann.store.clear_failures(&verified).await;
        assert_eq!(ann.password("wrong", device, NOW).await.err().unwrap().failures(), 1);
    }
}

#[test]
fn excluded_contact_signs_in_although_dormant_or_past_enrolment_deadline() {
    let incarnation = crate::secret::Nonce::generate(&SystemEntropy).unwrap();
    let exclusion = Exclusion { batch: BatchId::parse("b").unwrap(), at: Timestamp::default() };
    let excluded = User { excluded: Some(exclusion), ..person(Kind::Contact, Role::Portal, incarnation) };
    let late = User { enrol_by: Some(NOW), ..excluded.clone() };
    assert!(NextStep::of(&excluded, NOW + policy::DORMANT + Duration::from_secs(1)) == NextStep::ExcludedSession);
    assert!(NextStep::of(&late, NOW + Duration::from_secs(1)) == NextStep::ExcludedSession);
    let employee = User { kind: Kind::Employee, ..excluded.clone() };
    assert!(NextStep::of(&employee, NOW) == NextStep::EnrolmentRequired, "only a contact is excluded");
    let included = User { excluded: None, ..excluded };
    assert!(NextStep::of(&included, NOW + policy::DORMANT) == NextStep::ResetRequired);
}

#[test]
fn enrolment_is_possible_until_deadline() {
    let incarnation = crate::secret::Nonce::generate(&SystemEntropy).unwrap();
    let reset =
        User { enrol_by: Some(NOW + Duration::from_secs(1)), ..person(Kind::Employee, Role::Standard, incarnation) };
    assert!(NextStep::of(&reset, NOW) == NextStep::EnrolmentRequired);
    assert!(NextStep::of(&reset, NOW + Duration::from_secs(1)) == NextStep::ResetRequired);
}

#[tokio::test]
async fn factor_is_exhausted_at_hundredth_failure() {
    let (ann, tokens) = ann(1).await;
    for (failures, exhausted) in
        [(policy::MAX_CONSECUTIVE_FAILURES - 2, false), (policy::MAX_CONSECUTIVE_FAILURES - 1, true)]
    {
        ann.change(Action::Set(attr("row"), num(failures))).await;
        let Ok(pending) = ann.charge(&tokens[0], NOW).await else { panic!("refused") };
        assert_eq!(pending.exhausts_factor(), exhausted);
    }
}

/// The known device was removed during the sign-in: it is not renewed, and gets a new token.
#[tokio::test]
async fn device_forgotten_meanwhile_gets_new_token() {
    let (ann, tokens) = ann(1).await;
    let device = ann.signed_in(&tokens[0], STEP, NOW).await.unwrap().device.unwrap();
    let challenge = ann.challenge(Some(device.reference()), NOW).await;
    ann.change(Action::Set(attr("d"), write::empty())).await;
    let signed_in = ann.signed_in(&challenge, STEP + 1, NOW).await.unwrap();
    let another = signed_in.device.unwrap();
    let known = ann.read(&ann.key).await.devices;
    assert!(known.len() == 1 && known.contains_key(another.reference().id()));
}

fn session_at(id: &EntryId) -> write::Path {
    attr("s").key(id.as_str().to_owned())
}

/// Opens the maximum number of sessions. The newest of them has ended.
async fn fill_sessions(ann: &Ann) -> EntryId {
    for _ in 1..policy::SESSIONS {
        ann.session_of(&ann.key).await;
    }
    let ended = ann.session_of(&ann.key).await.id().clone();
    ann.change(Action::Set(session_at(&ended).key("x"), num(NOW.secs()))).await;
    ann.change(Action::Set(session_at(&ended).key("c"), num(NOW.millis() + 1))).await;
    ended
}

#[tokio::test]
async fn ended_session_is_removed_before_live_one() {
    let (ann, tokens) = ann(1).await;
    let ended = fill_sessions(&ann).await;
    let before = ann.read(&ann.key).await.sessions;
    let new = ann.with_step(&tokens[0], STEP, NOW).await.unwrap();
    let after = ann.read(&ann.key).await.sessions;
    assert!(before.keys().all(|id| after.contains_key(id) != (*id == ended)));
    assert!(after.len() == policy::SESSIONS && after.contains_key(new.reference().id()));
}

/// Another request removes the ended session, which would have made room, and opens a new one.
#[tokio::test]
async fn sign_in_keeps_session_cap_when_another_session_opened_meanwhile() {
    let (ann, table, tokens) = interleaved(1).await;
    let ended = fill_sessions(&ann).await;
    let sign_in = proven(&ann, &tokens[0], STEP).await;
    let other = Arc::clone(&ann);
    table.before_write(1, async move {
        other.change(Action::Remove(session_at(&ended))).await;
        other.session_of(&other.key).await;
    });
    assert!(ann.accept(sign_in).await.is_some());
    assert!(!table.waits());
    assert_eq!(ann.read(&ann.key).await.sessions.len(), policy::SESSIONS);
}

/// Another request adds a device meanwhile. First an expired device would have made room, and is removed too; then there is
/// room without a removal.
#[tokio::test]
async fn sign_in_keeps_device_cap_when_another_device_was_added_meanwhile() {
    let ends = NOW + policy::DEVICE_LIFE;
    for one_has_expired in [true, false] {
        let (ann, table, tokens) = interleaved(1).await;
        for _ in 1..policy::DEVICES {
            known_device(&ann, ends).await;
        }
        let expired = if one_has_expired { Some(known_device(&ann, NOW).await) } else { None };
        let sign_in = proven(&ann, &tokens[0], STEP).await;
        let other = Arc::clone(&ann);
        table.before_write(1, async move {
            if let Some(expired) = expired {
                other.change(Action::Remove(device_at(expired.reference().id()))).await;
            }
            known_device(&other, ends).await;
        });
        let signed_in = ann.accept(sign_in).await.unwrap();
        assert!(!table.waits());
        let known = ann.read(&ann.key).await.devices;
        let own = signed_in.device.unwrap();
        assert!(known.len() == policy::DEVICES && known.contains_key(own.reference().id()), "{one_has_expired}");
    }
}

/// An attempt at a challenge that is not open, or with a token of another digest, is not counted and not checked.
#[tokio::test]
async fn challenge_is_charged_only_while_it_is_open() {
    for case in ["digest", "deactivated", "security version", "of a clock that ran ahead", "factor disabled"] {
        let (ann, tokens) = ann(1).await;
        let own = || attr("c").key(tokens[0].id().as_str().to_owned());
        let too_late = (NOW + policy::CHALLENGE_LIFE + policy::SKEW).millis() + 1;
        ann.change(match case {
            "digest" => Action::Set(own().key("g"), write::bytes(&[7; 16])),
            "deactivated" => Action::Set(attr("ac"), write::Value::Bool(false)),
            "security version" => Action::Add(attr("ep"), 1),
            "of a clock that ran ahead" => Action::Set(own().key("x"), num(too_late)),
            _ => Action::Set(attr("fs"), text("d")),
        })
        .await;
        assert!(
            matches!(
                ann.charge(&tokens[0], NOW).await,
                Err(ChargeRejection::Verification(VerificationRejection::InvalidToken))
            ),
            "{case}"
        );
        assert!(ann.read(&ann.key).await.recent_attempts.is_empty(), "{case}");
    }
}
