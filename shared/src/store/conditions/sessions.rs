//! Sessions: what ends them, and what does not extend them.

use std::time::Duration;

use super::*;
use crate::{
    domain::PasswordVersion,
    env::{SystemEntropy, Timestamp},
    store::{
        fixture::{PASSWORD, STEP, ann},
        item::{self, Amr, Session},
        session::{Denied, SessionsToEnd, TokenRejection},
        write::{self, Value},
    },
};

async fn two_sessions() -> (Ann, TokenRef, TokenRef) {
    let (ann, challenges) = ann(2).await;
    let first = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
    let second = ann.with_step(&challenges[1], STEP + 1, NOW).await.unwrap().reference().clone();
    (ann, first, second)
}

/// The caller's session becomes invalid between the read and the write, for each possible reason.
#[tokio::test]
async fn sessions_are_ended_only_by_valid_session() {
    let later = |by: Duration| NOW + by;
    for (case, at) in [
        ("token replaced", NOW),
        ("security version", NOW),
        ("deactivated", NOW),
        ("ended", later(policy::SESSION_LIFE)),
        ("idle", later(policy::SESSION_IDLE)),
        ("of a clock that ran ahead", NOW - policy::SKEW - Duration::from_secs(1)),
    ] {
        for n in 0..3 {
            let (ann, first, second) = two_sessions().await;
            let which =
                [SessionsToEnd::This, SessionsToEnd::One(second.id().clone()), SessionsToEnd::Others][n].clone();
            let caller = ann.store.read_session(&first, NOW).await.unwrap();
            let own = || attr("s").key(first.id().as_str().to_owned());
            ann.change(match case {
                "token replaced" => Action::Set(own().key("g"), write::bytes(&[7; 16])),
                "security version" => Action::Add(attr("ep"), 1),
                "deactivated" => Action::Set(attr("ac"), Value::Bool(false)),
                // The last use is now, so that only the end of the session matters.
                "ended" => Action::Set(own().key("l"), num(at.secs())),
                _ => Action::Set(attr("life"), num(0)),
            })
            .await;
            let ended = ann.store.end_sessions(&caller, &which, &attempt(at), &ann.event()).await;
            assert!(decided(ended).is_err(), "{case}, {which:?}");
            assert_eq!(ann.read(&ann.key).await.sessions.len(), 2, "{case}, {which:?}");
        }
    }
}

#[tokio::test]
async fn step_up_in_far_future_is_not_fresh() {
    let (ann, token, _) = two_sessions().await;
    let session = ann.read(&ann.key).await.sessions[token.id()].clone();
    let at = |by: Duration| Session { step_up: Some(NOW + by), ..session.clone() }.is_fresh(NOW);
    assert!(at(policy::SKEW));
    assert!(!at(policy::SKEW + Duration::from_secs(1)));
}

#[tokio::test]
async fn session_with_too_late_end_is_invalid() {
    let (ann, token, _) = two_sessions().await;
    let session = ann.read(&ann.key).await.sessions[token.id()].clone();
    let longest = NOW + policy::SESSION_LIFE + policy::SKEW;
    let until = |ends: Timestamp| Session { ends, ..session.clone() }.is_in_time(NOW);
    assert!(until(longest) && !until(longest + Duration::from_secs(1)));
}

/// The current password proves no second factor, so the new session gets no fresh step-up and no later end.
#[tokio::test]
async fn password_change_refreshes_no_step_up_and_extends_no_session() {
    let (ann, challenges) = ann(1).await;
    let first = ann.signed_in(&challenges[0], STEP, NOW).await.unwrap();
    let later = NOW + policy::STEP_UP_LIFE + Duration::from_secs(1);
    let caller = ann.store.read_session(first.token.reference(), later).await.unwrap();
    let verified = ann.own_password(&caller, PASSWORD, later).await.ok().unwrap();
    let hash = ann.hash("another good password").await;
    let now = ann.store.change_password(verified, &hash, &SystemEntropy, &ann.event()).await.unwrap();
    assert_eq!((now.session.step_up, now.session.ends), (Some(NOW), NOW + policy::SESSION_LIFE));
    assert!(!now.session.is_fresh(later));
    let kept = ann.read(&ann.key).await.sessions[now.token.reference().id()].clone();
    assert_eq!((kept.step_up, kept.ends), (now.session.step_up, now.session.ends));
}

/// A password change requires that the session, the password and the user did not change since the check.
#[tokio::test]
async fn password_change_is_refused_when_session_or_password_changed_meanwhile() {
    for case in ["session gone", "security version", "password"] {
        let (ann, table, challenges) = interleaved(1).await;
        let token = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
        let caller = ann.store.read_session(&token, NOW).await.unwrap();
        let verified = ann.own_password(&caller, PASSWORD, NOW).await.ok().unwrap();
        let (login, before) = (keys::login(&ann.login), ann.read(&ann.key).await);
        let hash = ann.hash("another good password").await;
        let (other, id) = (Arc::clone(&ann), token.id().as_str().to_owned());
        table.before_write(1, async move {
            match case {
                "session gone" => other.change(Action::Remove(attr("s").key(id))).await,
                "security version" => other.change(Action::Add(attr("ep"), 1)).await,
                _ => {
                    let set = Patch { hash: Some(other.hash("set by an Administrator").await), ..Patch::default() };
                    assert!(other.patch(&other.key, set).await.is_ok());
                }
            }
        });
        let done = decided(ann.store.change_password(verified, &hash, &SystemEntropy, &ann.event()).await);
        let why = if case == "session gone" { TokenRejection::Invalid } else { TokenRejection::RefreshRequired };
        assert!(matches!(done, Err(it) if it == why), "{case}");
        let row: item::LoginRow = item::read(item_at(&ann, login).await.unwrap()).unwrap();
        let set = i64::from(case == "password");
        assert_eq!(row.version, Some(PasswordVersion(before.password_version.0 + set)), "{case}");
        assert!(row.hash.as_deref() != Some(hash.as_str()), "{case}");
    }
}

/// The login name was given to another user meanwhile, so the stored password is that user's.
#[tokio::test]
async fn own_password_is_not_checked_against_another_users_login_name() {
    let (ann, token, _) = two_sessions().await;
    let caller = ann.store.read_session(&token, NOW).await.unwrap();
    assert!(ann.own_password(&caller, PASSWORD, NOW).await.is_ok());
    ann.put(Write::update(keys::login(&ann.login), vec![], vec![Action::Set(attr("uid"), text("u-bob"))])).await;
    assert!(ann.own_password(&caller, PASSWORD, NOW).await.is_err());
}

#[tokio::test]
async fn only_valid_sessions_are_listed() {
    let (ann, first, second) = two_sessions().await;
    let (third, fourth) = (ann.session_of(&ann.key).await, ann.session_of(&ann.key).await);
    let of = |token: &TokenRef| attr("s").key(token.id().as_str().to_owned());
    ann.change(Action::Set(of(&second).key("x"), num(NOW.secs()))).await;
    ann.change(Action::Set(of(&third).key("e"), num(0))).await;
    let of_removed_idp = Session { amr: Amr::Sso, ..ann.read(&ann.key).await.sessions[fourth.id()].clone() };
    ann.change(Action::Set(of(&fourth), item::value(&of_removed_idp).unwrap())).await;
    let caller = ann.store.read_session(&first, NOW).await.unwrap();
    let listed: Vec<_> = caller.valid_sessions(NOW).into_iter().map(|(id, _)| id.clone()).collect();
    assert_eq!((listed, caller.user().sessions.len()), (vec![first.id().clone()], 4));
}

/// Only a session that has not ended is answered with the request to sign in again.
#[tokio::test]
async fn ended_session_from_before_security_change_looks_unknown() {
    let (ann, token, _) = two_sessions().await;
    ann.change(Action::Add(attr("ep"), 1)).await;
    for (after, why) in
        [(Duration::ZERO, TokenRejection::RefreshRequired), (policy::SESSION_LIFE, TokenRejection::Invalid)]
    {
        assert_eq!(decided(ann.store.read_session(&token, NOW + after).await).err(), Some(why));
    }
}

/// An operator is a user of tenant `support` with role `operator`: the tenant or the role alone is not enough.
#[tokio::test]
async fn operator_needs_support_tenant_and_role() {
    for (tenant, role, is_operator) in [("support", "o", true), ("support", "s", false), ("acme", "o", false)] {
        let (ann, _) = ann_of(tenant, Arc::new(MemoryTable::default()), 0).await;
        ann.change(Action::Set(attr("r"), text(role))).await;
        let session = ann.session_of(&ann.key).await;
        let caller = ann.store.read_session(&session, NOW).await.unwrap();
        assert_eq!(caller.operator(NOW).err(), (!is_operator).then_some(Denied::Forbidden), "{tenant}, {role}");
    }
}

#[tokio::test]
async fn session_use_is_recorded_once_a_minute() {
    let (ann, token, _) = two_sessions().await;
    for (after, noted) in [(59, 0), (60, 60), (119, 60)] {
        let at = NOW + Duration::from_secs(after);
        assert!(ann.store.read_session(&token, at).await.is_ok());
        let seen = ann.read(&ann.key).await.sessions[token.id()].seen;
        assert_eq!((seen - NOW).as_secs(), noted, "{after}");
    }
}

/// The part of the digest that is not the session's id is compared too.
#[tokio::test]
async fn token_with_other_verifier_is_no_session() {
    let (ann, token, _) = two_sessions().await;
    assert!(ann.store.read_named_session(&token, NOW).await.is_ok());
    ann.change(Action::Set(attr("s").key(token.id().as_str().to_owned()).key("g"), write::bytes(&[7; 16]))).await;
    assert_eq!(decided(ann.store.read_session(&token, NOW).await).err(), Some(TokenRejection::Invalid));
    assert_eq!(decided(ann.store.read_named_session(&token, NOW).await).err(), Some(TokenRejection::Invalid));
}

#[tokio::test]
async fn session_use_is_never_recorded_earlier() {
    let (ann, table, challenges) = interleaved(1).await;
    let token = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
    let later = NOW + Duration::from_secs(120);
    let (other, same) = (Arc::clone(&ann), token.clone());
    table.before_write(1, async move {
        assert!(other.store.read_session(&same, later).await.is_ok());
    });
    assert!(ann.store.read_session(&token, NOW + Duration::from_secs(60)).await.is_ok());
    assert!(!table.waits());
    assert_eq!(ann.read(&ann.key).await.sessions[token.id()].seen, later);
}
