//! Sessions: what ends them, and what they do not become.

use std::time::Duration;

use super::*;
use crate::{
    env::{SystemEntropy, Timestamp},
    store::{
        fixture::{PASSWORD, STEP, ann},
        item::{self, Amr, Session},
        session::{Denied, Ended, NoSession, Which},
        users::PasswordChanged,
        write::{self, Value},
    },
};

async fn two_sessions() -> (Ann, TokenRef, TokenRef) {
    let (ann, challenges) = ann(2).await;
    let first = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
    let second = ann.with_step(&challenges[1], STEP + 1, NOW).await.unwrap().reference().clone();
    (ann, first, second)
}

/// Of a session that died between its read and the write, by each of the ways to die.
#[tokio::test]
async fn sessions_end_only_through_a_living_one() {
    let later = |by: Duration| NOW + by;
    for (way, at) in [
        ("token replaced", NOW),
        ("security version", NOW),
        ("deactivated", NOW),
        ("ended", later(policy::SESSION_LIFE)),
        ("idle", later(policy::SESSION_IDLE)),
        ("of a clock that ran ahead", NOW - policy::SKEW - Duration::from_secs(1)),
    ] {
        for n in 0..3 {
            let (ann, first, second) = two_sessions().await;
            let which = [Which::This, Which::One(second.id().clone()), Which::Others][n].clone();
            let caller = ann.store.read_session(&first, NOW).await.unwrap().ok().unwrap();
            let own = || attr("s").key(first.id().as_str().to_owned());
            ann.change(match way {
                "token replaced" => Action::Set(own().key("g"), write::bytes(&[7; 16])),
                "security version" => Action::Add(attr("ep"), 1),
                "deactivated" => Action::Set(attr("ac"), Value::Bool(false)),
                // Seen just now, so that it is its end alone that matters.
                "ended" => Action::Set(own().key("l"), num(at.secs())),
                _ => Action::Set(attr("life"), num(0)),
            })
            .await;
            let ended = ann.store.end_sessions(&caller, &which, &attempt(at), &ann.event()).await.unwrap();
            assert_eq!(ended, Ended::NotFound, "{way}, {which:?}");
            assert_eq!(ann.read(&ann.key).await.sessions.len(), 2, "{way}, {which:?}");
        }
    }
}

#[tokio::test]
async fn step_up_of_the_future_is_not_fresh() {
    let (ann, token, _) = two_sessions().await;
    let session = ann.read(&ann.key).await.sessions[token.id()].clone();
    let at = |by: Duration| Session { step_up: (NOW + by).secs(), ..session.clone() }.fresh(NOW);
    assert!(at(policy::SKEW));
    assert!(!at(policy::SKEW + Duration::from_secs(1)));
}

#[tokio::test]
async fn session_that_ends_later_than_any_does_is_none() {
    let (ann, token, _) = two_sessions().await;
    let session = ann.read(&ann.key).await.sessions[token.id()].clone();
    let longest = NOW + policy::SESSION_LIFE + policy::SKEW;
    let until = |ends: Timestamp| Session { ends: ends.secs(), ..session.clone() }.in_time(NOW);
    assert!(until(longest) && !until(longest + Duration::from_secs(1)));
}

/// Who knows the password only keeps what the session had already: no fresh step-up, no later end.
#[tokio::test]
async fn changed_password_makes_no_step_up_fresh_and_prolongs_no_session() {
    let (ann, challenges) = ann(1).await;
    let first = ann.signed_in(&challenges[0], STEP, NOW).await.unwrap();
    let later = NOW + policy::STEP_UP_LIFE + Duration::from_secs(1);
    let caller = ann.store.read_session(first.token.reference(), later).await.unwrap().ok().unwrap();
    let right = ann.own_password(&caller, PASSWORD, later).await.ok().unwrap();
    let hash = ann.hash("another good password").await;
    let done = ann.store.change_password(right, &hash, &SystemEntropy, &ann.event()).await.unwrap();
    let PasswordChanged::Done(now) = done else { panic!("refused") };
    assert_eq!((now.session.step_up, now.session.ends), (NOW.secs(), (NOW + policy::SESSION_LIFE).secs()));
    assert!(!now.session.fresh(later));
    let kept = ann.read(&ann.key).await.sessions[now.token.reference().id()].clone();
    assert_eq!((kept.step_up, kept.ends), (now.session.step_up, now.session.ends));
}

/// A changed password needs the session, the password and the person as they were when it was checked.
#[tokio::test]
async fn password_change_fails_when_the_session_or_the_password_changed_meanwhile() {
    for way in ["session gone", "security version", "password"] {
        let (ann, table, challenges) = interleaved(1).await;
        let token = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
        let caller = ann.store.read_session(&token, NOW).await.unwrap().ok().unwrap();
        let right = ann.own_password(&caller, PASSWORD, NOW).await.ok().unwrap();
        let (login, before) = (keys::login(&ann.login), ann.read(&ann.key).await);
        let hash = ann.hash("another good password").await;
        let (other, id) = (Arc::clone(&ann), token.id().as_str().to_owned());
        table.before_write(1, async move {
            match way {
                "session gone" => other.change(Action::Remove(attr("s").key(id))).await,
                "security version" => other.change(Action::Add(attr("ep"), 1)).await,
                _ => {
                    let set = Patch { hash: Some(other.hash("set by an Administrator").await), ..Patch::default() };
                    assert!(matches!(other.patch(&other.key, set).await, Changed::Done(_)));
                }
            }
        });
        let done = ann.store.change_password(right, &hash, &SystemEntropy, &ann.event()).await.unwrap();
        let why = if way == "session gone" { NoSession::Invalid } else { NoSession::RefreshRequired };
        assert!(matches!(done, PasswordChanged::NoSession(it) if it == why), "{way}");
        let row: item::LoginRow = item::read(item_at(&ann, login).await.unwrap()).unwrap();
        let set = i64::from(way == "password");
        assert_eq!(row.version, Some(before.password_version + set), "{way}");
        assert!(row.hash.as_deref() != Some(hash.as_str()), "{way}");
    }
}

/// The name was given to somebody else meanwhile: what is kept under it is their password.
#[tokio::test]
async fn own_password_is_not_tried_at_the_name_of_another_person() {
    let (ann, token, _) = two_sessions().await;
    let caller = ann.store.read_session(&token, NOW).await.unwrap().ok().unwrap();
    assert!(ann.own_password(&caller, PASSWORD, NOW).await.is_ok());
    ann.put(Write::update(keys::login(&ann.login), vec![], vec![Action::Set(attr("uid"), text("u-bob"))])).await;
    assert!(ann.own_password(&caller, PASSWORD, NOW).await.is_err());
}

#[tokio::test]
async fn only_living_sessions_are_listed() {
    let (ann, first, second) = two_sessions().await;
    let (third, fourth) = (ann.session_of(&ann.key).await, ann.session_of(&ann.key).await);
    let of = |token: &TokenRef| attr("s").key(token.id().as_str().to_owned());
    ann.change(Action::Set(of(&second).key("x"), num(NOW.secs()))).await;
    ann.change(Action::Set(of(&third).key("e"), num(0))).await;
    let of_removed_idp = Session { amr: Amr::Sso, ..ann.read(&ann.key).await.sessions[fourth.id()].clone() };
    ann.change(Action::Set(of(&fourth), item::value(&of_removed_idp).unwrap())).await;
    let caller = ann.store.read_session(&first, NOW).await.unwrap().ok().unwrap();
    let listed: Vec<_> = caller.living(NOW).into_iter().map(|(id, _)| id.clone()).collect();
    assert_eq!((listed, caller.user().sessions.len()), (vec![first.id().clone()], 4));
}

/// Signing in anew is asked of who has a session still, and of nobody else.
#[tokio::test]
async fn ended_session_of_before_a_security_change_is_not_told_from_an_unknown_one() {
    let (ann, token, _) = two_sessions().await;
    ann.change(Action::Add(attr("ep"), 1)).await;
    for (after, why) in [(Duration::ZERO, NoSession::RefreshRequired), (policy::SESSION_LIFE, NoSession::Invalid)] {
        assert_eq!(ann.store.read_session(&token, NOW + after).await.unwrap().err(), Some(why));
    }
}

/// An operator is somebody of support with that role: neither alone is enough.
#[tokio::test]
async fn operators_are_of_support_and_have_the_role() {
    for (tenant, role, is_operator) in [("support", "o", true), ("support", "s", false), ("acme", "o", false)] {
        let (ann, _) = ann_of(tenant, Arc::new(MemoryTable::default()), 0).await;
        ann.change(Action::Set(attr("r"), text(role))).await;
        let session = ann.session_of(&ann.key).await;
        let caller = ann.store.read_session(&session, NOW).await.unwrap().ok().unwrap();
        assert_eq!(caller.operator(NOW).err(), (!is_operator).then_some(Denied::Forbidden), "{tenant}, {role}");
    }
}

#[tokio::test]
async fn use_of_a_session_is_noted_once_a_minute() {
    let (ann, token, _) = two_sessions().await;
    for (after, noted) in [(59, 0), (60, 60), (119, 60)] {
        let at = NOW + Duration::from_secs(after);
        assert!(ann.store.read_session(&token, at).await.unwrap().is_ok());
        let seen = ann.read(&ann.key).await.sessions[token.id()].seen;
        assert_eq!(seen - NOW.secs(), noted, "{after}");
    }
}

/// The part of the digest that is no key is compared as well.
#[tokio::test]
async fn token_of_another_digest_is_no_session() {
    let (ann, token, _) = two_sessions().await;
    assert!(ann.store.read_named_session(&token, NOW).await.unwrap().is_ok());
    ann.change(Action::Set(attr("s").key(token.id().as_str().to_owned()).key("g"), write::bytes(&[7; 16]))).await;
    assert_eq!(ann.store.read_session(&token, NOW).await.unwrap().err(), Some(NoSession::Invalid));
    assert_eq!(ann.store.read_named_session(&token, NOW).await.unwrap().err(), Some(NoSession::Invalid));
}

#[tokio::test]
async fn use_of_a_session_is_not_noted_as_earlier_than_it_was() {
    let (ann, table, challenges) = interleaved(1).await;
    let token = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
    let later = NOW + Duration::from_secs(120);
    let (other, same) = (Arc::clone(&ann), token.clone());
    table.before_write(1, async move {
        assert!(other.store.read_session(&same, later).await.unwrap().is_ok());
    });
    assert!(ann.store.read_session(&token, NOW + Duration::from_secs(60)).await.unwrap().is_ok());
    assert!(!table.waits());
    assert_eq!(ann.read(&ann.key).await.sessions[token.id()].seen, later.secs());
}
