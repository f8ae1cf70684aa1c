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
        fixture::{PASSWORD, STEP, ann, person},
        item::{self, Device, Exclusion, Kind, User},
        login::ExemptOpened,
        verify::Disabled,
        write,
    },
};

async fn proven_by_recovery(ann: &Ann, token: &TokenRef) -> SignIn {
    let Charge::Admitted(pending) = ann.charge(token, NOW).await else { panic!("refused") };
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
async fn challenge_signs_in_once_although_two_right_codes_were_charged() {
    let (ann, tokens) = ann(1).await;
    let (first, second) = (proven(&ann, &tokens[0], STEP).await, proven(&ann, &tokens[0], STEP + 1).await);
    assert!(ann.accept(first).await.is_some());
    assert!(ann.accept(second).await.is_none(), "the challenge is spent");
    assert_eq!(ann.read(&ann.key).await.sessions.len(), 1);
}

#[tokio::test]
async fn sign_in_is_planned_again_when_only_the_sessions_changed_meanwhile() {
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

/// A refusal that another try cannot change is told at once, as one: it is not "try again later".
#[tokio::test]
async fn sign_in_is_denied_when_what_it_was_proven_with_changed_meanwhile() {
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
            "step spent" => Action::Set(attr("ls"), num(STEP)),
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
async fn factor_of_a_user_who_is_promoted_meanwhile_is_disabled_with_its_entry_among_administrators() {
    let (ann, _) = ann(0).await;
    let amy = with_full_row(&ann, "amy").await;
    let before = ann.read(&amy).await;
    assert!(matches!(ann.patch(&amy, promoted()).await, Changed::Done(_)));
    let disabled = ann.store.disable_factor(&amy, &before, &attempt(NOW), &ann.event()).await.unwrap();
    assert_eq!(disabled, Disabled::Done);
    assert!(registry_is_true(&ann, &amy).await);
}

/// A device token is its owner's alone, whoever's name it is sent with.
#[tokio::test]
async fn device_of_another_person_is_not_charged() {
    let (ann, tokens) = ann(1).await;
    let device = ann.signed_in(&tokens[0], STEP, NOW).await.unwrap().device.unwrap();
    ann.someone("bob", Role::Standard).await;
    let bob = ann.names.login(ann.key.tenant(), &crate::id::LoginName::fold("bob"));
    let charge =
        ann.store.charge_login(&bob, Some(device.reference()), &Backoff::at(NOW), &attempt(NOW)).await.unwrap();
    let Charge::Admitted(password_attempt) = charge else { panic!("refused") };
    assert!(password_attempt.device.is_none() && password_attempt.person.is_none());
    assert_eq!(password_attempt.failures(), 1, "counted at the name");
    assert_eq!(ann.read(&ann.key).await.devices[device.reference().id()].attempts, 0);
}

fn device_at(id: &EntryId) -> write::Path {
    attr("d").key(id.as_str().to_owned())
}

/// Makes a device of Ann's known, until then.
async fn known_device(ann: &Ann, ends: Timestamp) -> NewToken {
    let token = NewToken::generate(TokenClass::Device, &ann.key, RestoreEpoch::default(), &SystemEntropy).unwrap();
    let (id, verifier) = (token.reference().id(), *token.reference().verifier());
    let device = Device { verifier, ends: ends.secs(), attempts: 0, last: 0, attempt: None };
    ann.change(Action::Set(device_at(id), item::value(&device).unwrap())).await;
    token
}

/// Makes Ann an excluded contact who knows a device.
async fn excluded(ann: &Ann) -> NewToken {
    let exclusion = Exclusion { batch: BatchId::parse("b").unwrap(), at: 0 };
    let token = known_device(ann, NOW + policy::DEVICE_LIFE).await;
    let actions = vec![
        Action::Set(attr("k"), text("c")),
        Action::Set(attr("fs"), text("n")),
        Action::Set(attr("ex"), item::value(&exclusion).unwrap()),
    ];
    set(ann, &ann.key, actions).await;
    token
}

#[tokio::test]
async fn exempt_sign_in_clears_the_failures_of_the_name_and_of_the_device() {
    let (ann, _) = ann(0).await;
    let token = excluded(&ann).await;
    for device in [None, Some(token.reference())] {
        for n in 0..3 {
            assert_eq!(ann.password("wrong", device, NOW).await.err().unwrap().failures(), n + 1);
        }
        let PasswordChecked::Exempt(exempt) = ann.password(PASSWORD, device, NOW).await.ok().unwrap().decide() else {
            panic!("not exempt")
        };
        let opened = ann.store.open_exempt_session(exempt, &SystemEntropy, &ann.event()).await.unwrap();
        assert!(matches!(opened, ExemptOpened::Done(_)));
        assert_eq!(ann.password("wrong", device, NOW).await.err().unwrap().failures(), 1);
    }
}

#[tokio::test]
async fn right_password_that_needs_a_reset_clears_the_failures_of_the_name_and_of_the_device() {
    let (ann, _) = ann(0).await;
    let token = excluded(&ann).await;
    ann.change(Action::Remove(attr("ex"))).await;
    ann.change(Action::Set(attr("fs"), text("d"))).await;
    for device in [None, Some(token.reference())] {
        for n in 0..3 {
            assert_eq!(ann.password("wrong", device, NOW).await.err().unwrap().failures(), n + 1);
        }
        let right = ann.password(PASSWORD, device, NOW).await.ok().unwrap();
        let PasswordChecked::ResetRequired(right) = right.decide() else { panic!("opens something") };
        ann.store.clear_failures(&right).await;
        assert_eq!(ann.password("wrong", device, NOW).await.err().unwrap().failures(), 1);
    }
}

#[test]
fn excluded_contact_signs_in_although_dormant_and_although_the_time_to_enrol_has_passed() {
    let incarnation = crate::secret::Nonce::generate(&SystemEntropy).unwrap();
    let exclusion = Exclusion { batch: BatchId::parse("b").unwrap(), at: 0 };
    let excluded = User { excluded: Some(exclusion), ..person(Kind::Contact, Role::Portal, incarnation) };
    let late = User { enrol_by: Some(NOW.secs()), ..excluded.clone() };
    assert!(NextStep::of(&excluded, NOW + policy::DORMANT + Duration::from_secs(1)) == NextStep::Exempt);
    assert!(NextStep::of(&late, NOW + Duration::from_secs(1)) == NextStep::Exempt);
    let employee = User { kind: Kind::Employee, ..excluded.clone() };
    assert!(NextStep::of(&employee, NOW) == NextStep::EnrolmentRequired, "a contact alone");
    let included = User { excluded: None, ..excluded };
    assert!(NextStep::of(&included, NOW + policy::DORMANT) == NextStep::ResetRequired);
}

#[test]
fn enrolment_is_possible_until_its_time_has_passed() {
    let incarnation = crate::secret::Nonce::generate(&SystemEntropy).unwrap();
    let reset = User { enrol_by: Some(NOW.secs() + 1), ..person(Kind::Employee, Role::Standard, incarnation) };
    assert!(NextStep::of(&reset, NOW) == NextStep::EnrolmentRequired);
    assert!(NextStep::of(&reset, NOW + Duration::from_secs(1)) == NextStep::ResetRequired);
}

#[tokio::test]
async fn row_of_failures_is_full_at_the_hundredth_and_not_before() {
    let (ann, tokens) = ann(1).await;
    for (row, full) in [(policy::MAX_CONSECUTIVE_FAILURES - 2, false), (policy::MAX_CONSECUTIVE_FAILURES - 1, true)] {
        ann.change(Action::Set(attr("row"), num(row))).await;
        let Charge::Admitted(pending) = ann.charge(&tokens[0], NOW).await else { panic!("refused") };
        assert_eq!(pending.exhausts_factor(), full);
    }
}

/// Forgotten while its owner was signing in from it: it is not renewed, and becomes known anew.
#[tokio::test]
async fn device_that_was_forgotten_meanwhile_gets_another_token() {
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

/// Signed in as often as somebody may be; one of the sessions has ended, and is the youngest.
async fn all_sessions(ann: &Ann) -> EntryId {
    for _ in 1..policy::SESSIONS {
        ann.session_of(&ann.key).await;
    }
    let ended = ann.session_of(&ann.key).await.id().clone();
    ann.change(Action::Set(session_at(&ended).key("x"), num(NOW.secs()))).await;
    ann.change(Action::Set(session_at(&ended).key("c"), num(NOW.millis() + 1))).await;
    ended
}

#[tokio::test]
async fn session_that_ended_goes_before_one_that_lives() {
    let (ann, tokens) = ann(1).await;
    let ended = all_sessions(&ann).await;
    let before = ann.read(&ann.key).await.sessions;
    let new = ann.with_step(&tokens[0], STEP, NOW).await.unwrap();
    let after = ann.read(&ann.key).await.sessions;
    assert!(before.keys().all(|id| after.contains_key(id) != (*id == ended)));
    assert!(after.len() == policy::SESSIONS && after.contains_key(new.reference().id()));
}

/// The session that would have made room was removed by another request, and its place is taken.
#[tokio::test]
async fn sign_in_makes_no_session_too_many_when_another_took_the_place_meanwhile() {
    let (ann, table, tokens) = interleaved(1).await;
    let ended = all_sessions(&ann).await;
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

/// As with the sessions: the device that would have made room was forgotten meanwhile, or none had to make room.
#[tokio::test]
async fn sign_in_makes_no_device_too_many_when_another_became_known_meanwhile() {
    let ends = NOW + policy::DEVICE_LIFE;
    for one_has_ended in [true, false] {
        let (ann, table, tokens) = interleaved(1).await;
        for _ in 1..policy::DEVICES {
            known_device(&ann, ends).await;
        }
        let ended = if one_has_ended { Some(known_device(&ann, NOW).await) } else { None };
        let sign_in = proven(&ann, &tokens[0], STEP).await;
        let other = Arc::clone(&ann);
        table.before_write(1, async move {
            if let Some(ended) = ended {
                other.change(Action::Remove(device_at(ended.reference().id()))).await;
            }
            known_device(&other, ends).await;
        });
        let signed_in = ann.accept(sign_in).await.unwrap();
        assert!(!table.waits());
        let known = ann.read(&ann.key).await.devices;
        let own = signed_in.device.unwrap();
        assert!(known.len() == policy::DEVICES && known.contains_key(own.reference().id()), "{one_has_ended}");
    }
}

/// A challenge that is no longer open, or whose digest is another, is neither charged nor checked.
#[tokio::test]
async fn challenge_is_charged_only_while_it_is_open() {
    for way in ["digest", "deactivated", "security version", "of a clock that ran ahead", "factor disabled"] {
        let (ann, tokens) = ann(1).await;
        let own = || attr("c").key(tokens[0].id().as_str().to_owned());
        let too_late = (NOW + policy::CHALLENGE_LIFE + policy::SKEW).millis() + 1;
        ann.change(match way {
            "digest" => Action::Set(own().key("g"), write::bytes(&[7; 16])),
            "deactivated" => Action::Set(attr("ac"), write::Value::Bool(false)),
            "security version" => Action::Add(attr("ep"), 1),
            "of a clock that ran ahead" => Action::Set(own().key("x"), num(too_late)),
            _ => Action::Set(attr("fs"), text("d")),
        })
        .await;
        assert!(
            matches!(ann.charge(&tokens[0], NOW).await, Charge::Rejected(VerificationRejection::InvalidToken)),
            "{way}"
        );
        assert!(ann.read(&ann.key).await.recent_attempts.is_empty(), "{way}");
    }
}
