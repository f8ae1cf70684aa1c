use std::{pin::Pin, sync::Arc};

use super::*;
use crate::{
    env::SystemEntropy,
    id::LoginName,
    policy::{self, Backoff},
    store::{
        fixture::{Ann, NOW, PASSWORD, STEP, ann, at_once, attempt, enrolment},
        item::{Administrators, Device, LoginRow},
        table::Retry,
    },
};

async fn office() -> (Ann, TokenRef) {
    let (ann, challenges) = ann(1).await;
    let session = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
    (ann, session)
}

async fn change(ann: &Ann, by: &TokenRef, target: &UserKey, patch: &Patch) -> Changed {
    change_as(ann, &ann.admin(by).await, target, patch).await
}

async fn change_as(ann: &Ann, by: &AdminContext, target: &UserKey, patch: &Patch) -> Changed {
    let named = named(ann, target).await;
    ann.store.update_user(by, named, patch, &attempt(NOW), &ann.event()).await.unwrap()
}

async fn delete_as(ann: &Ann, by: &AdminContext, target: &UserKey) -> Changed {
    let named = named(ann, target).await;
    ann.store.delete_user(by, named, &attempt(NOW), &ann.event()).await.unwrap()
}

async fn named(ann: &Ann, target: &UserKey) -> LoadedUser {
    let found = ann.store.read_all([keys::user(target), keys::profile(target)]).await.unwrap();
    LoadedUser { key: target.clone(), found }
}

async fn login_row(ann: &Ann, key: &UserKey) -> Option<LoginRow> {
    let login = LoginKey::of(key.tenant(), &ann.read(key).await.login);
    let [row] = ann.store.read_all([keys::login(&login)]).await.unwrap();
    row.map(|row| item::read(row).unwrap())
}

async fn set(ann: &Ann, key: &UserKey, actions: Vec<Action>) {
    let write = Write::update(keys::user(key), vec![], actions);
    ann.store.table.update(&write, Retry::Never).await.unwrap();
}

fn role(kind: Kind, role: Role) -> Patch {
    Patch { kind: Some(kind), role: Some(role), ..Patch::default() }
}

fn active(active: bool) -> Patch {
    Patch { active: Some(active), ..Patch::default() }
}

fn hash(text: &str) -> PasswordHash {
    PasswordHash::from_stored(text.to_owned())
}

/// The registry of Administrators says what the people say.
async fn told_truly(ann: &Ann, people: &[&UserKey]) -> Administrators {
    let registry = ann.administrators().await;
    for key in people {
        let user = ann.read(key).await;
        assert_eq!(registry.active.contains_key(key.user()), user.administers_now(), "{}", key.user());
        let mark_admin_with_mfa = user.administers_now() && user.factor.is_active();
        assert_eq!(registry.with_mfa.contains_key(key.user()), mark_admin_with_mfa, "{}", key.user());
    }
    registry
}

#[tokio::test]
async fn whoever_is_deactivated_is_out_and_their_devices_are_forgotten() {
    let (ann, session) = office().await;
    let bob = ann.someone("bob", Role::Standard).await;
    let theirs = ann.session_of(&bob).await;
    let device = Device { verifier: *theirs.verifier(), ends: NOW.secs() + 1000, attempts: 0, last: 0, attempt: None };
    let known = Action::Set(attr("d").key(theirs.id().as_str().to_owned()), item::value(&device).unwrap());
    set(&ann, &bob, vec![known]).await;
    assert!(matches!(change(&ann, &session, &bob, &active(false)).await, Changed::Done(_)));
    assert!(ann.read(&bob).await.devices.is_empty());
    assert_eq!(ann.store.read_session(&theirs, NOW).await.unwrap().err(), Some(NoSession::Invalid));
    assert!(matches!(change(&ann, &session, &bob, &active(true)).await, Changed::Done(_)));
    assert_eq!(ann.store.read_session(&theirs, NOW).await.unwrap().err(), Some(NoSession::RefreshRequired));
}

#[tokio::test]
async fn a_password_that_was_set_is_the_one() {
    let (ann, session) = office().await;
    let bob = ann.someone("bob", Role::Standard).await;
    let login = ann.names.login(bob.tenant(), &LoginName::fold("bob"));
    ann.store.charge_login(&login, None, &Backoff::at(NOW), &attempt(NOW)).await.unwrap();
    for (n, text) in (2..).zip(["one", "two"]) {
        let patch = Patch { hash: Some(hash(text)), ..Patch::default() };
        assert!(matches!(change(&ann, &session, &bob, &patch).await, Changed::Done(_)));
        let row = login_row(&ann, &bob).await.unwrap();
        assert_eq!((row.hash.as_deref(), row.version, row.attempts), (Some(text), Some(n), 0));
        assert_eq!(ann.read(&bob).await.password_version, n);
    }
}

/// Whoever becomes a contact may be excluded and then have no other factor: whether their password is long enough for
/// that is noted with each password.
#[tokio::test]
async fn whether_a_password_is_long_enough_for_a_contact_is_noted_with_each() {
    let (ann, session) = office().await;
    let (long, short) = (ann.hash(PASSWORD).await, ann.hash("ab3!kz9q").await);
    for (name, hash, fits) in [("one", None, true), ("two", Some(&long), true), ("three", Some(&short), false)] {
        let person = NewUser { hash: hash.cloned(), ..ann.to_be(name, Role::Standard) };
        let made = ann.store.create_user(&Actor::Seed, &person, &attempt(NOW), &ann.event()).await.unwrap();
        assert_eq!(made, Created::Done);
        assert_eq!(ann.read(&person.key).await.password_fits_contact, fits, "{name}");
    }
    let bob = ann.someone("bob", Role::Standard).await;
    for (hash, fits) in [(&short, false), (&long, true), (&short, false), (&hash("of unknown length"), false)] {
        let patch = Patch { hash: Some(hash.clone()), ..Patch::default() };
        assert!(matches!(change(&ann, &session, &bob, &patch).await, Changed::Done(_)));
        assert_eq!(ann.read(&bob).await.password_fits_contact, fits);
    }
    assert!(matches!(change(&ann, &session, &bob, &role(Kind::Contact, Role::Portal)).await, Changed::Done(_)));
    assert!(!ann.read(&bob).await.password_fits_contact, "another kind is no other password");
}

#[tokio::test]
async fn the_owners_change_of_a_password_notes_whether_it_is_long_enough_and_a_new_hash_of_it_keeps_that() {
    let (ann, session) = office().await;
    let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
    ann.store.strengthen(&right, &ann.hash(PASSWORD).await).await;
    assert!(ann.read(&ann.key).await.password_fits_contact);
    let caller = ann.store.read_session(&session, NOW).await.unwrap().ok().unwrap();
    let short = ann.hash("ab3!kz9q").await;
    let right = ann.own_password(&caller, PASSWORD, NOW).await.ok().unwrap();
    let done = ann.store.change_password(right, &short, &SystemEntropy, &ann.event()).await.unwrap();
    assert!(matches!(done, PasswordChanged::Done(_)));
    assert!(!ann.read(&ann.key).await.password_fits_contact);
}

/// An Administrator sets the password of an employee, who is a contact by the time it is written.
#[tokio::test]
async fn a_contact_gets_no_password_that_is_too_short_also_if_they_were_an_employee_when_it_was_planned() {
    let (ann, session) = office().await;
    let bob = ann.someone("bob", Role::Standard).await;
    let admin = ann.admin(&session).await;
    let as_employee = named(&ann, &bob).await;
    assert!(matches!(change(&ann, &session, &bob, &role(Kind::Contact, Role::Portal)).await, Changed::Done(_)));
    let patch = Patch { hash: Some(ann.hash("ab3!kz9q").await), ..Patch::default() };
    let done = ann.store.update_user(&admin, as_employee, &patch, &attempt(NOW), &ann.event()).await.unwrap();
    assert!(matches!(done, Changed::PasswordTooShort));
    let user = ann.read(&bob).await;
    assert!(user.password_version == 1 && user.password_fits_contact);
    assert!(login_row(&ann, &bob).await.unwrap().hash.is_none());
}

#[tokio::test]
async fn the_end_of_an_exclusion_ends_the_window_of_a_reset_before_it() {
    let (ann, session) = office().await;
    let con = ann.someone("con", Role::Portal).await;
    let excluded = item::Exclusion { batch: crate::id::BatchId::parse("b").unwrap(), at: NOW.millis() };
    let excluded = Action::Set(attr("ex"), item::value(&excluded).unwrap());
    set(&ann, &con, vec![excluded, Action::Set(attr("eb"), num(NOW.secs())), Action::Set(attr("seen"), num(0))]).await;
    assert!(matches!(change(&ann, &session, &con, &role(Kind::Employee, Role::Standard)).await, Changed::Done(_)));
    let user = ann.read(&con).await;
    assert!(user.excluded.is_none() && user.enrol_by.is_none() && user.seen == NOW.secs());
    // Of somebody who was not excluded the window stays.
    set(&ann, &con, vec![Action::Set(attr("eb"), num(NOW.secs()))]).await;
    assert!(matches!(change(&ann, &session, &con, &role(Kind::Contact, Role::Portal)).await, Changed::Done(_)));
    assert_eq!(ann.read(&con).await.enrol_by, Some(NOW.secs()));
}

#[tokio::test]
async fn the_registry_follows_every_change_of_an_administrator() {
    let (ann, session) = office().await;
    let amy = ann.someone("amy", Role::Standard).await;
    set(&ann, &amy, enrolment()).await;
    let both = [&ann.key, &amy];
    for (patch, administrators) in [
        (role(Kind::Employee, Role::Administrator), 2),
        (active(false), 1),
        (role(Kind::Employee, Role::Standard), 1),
        (role(Kind::Employee, Role::Administrator), 1),
        (active(true), 2),
        (Patch { auth_type: Some(AuthType::SamlSso), ..Patch::default() }, 2),
        (role(Kind::Contact, Role::Portal), 1),
    ] {
        assert!(matches!(change(&ann, &session, &amy, &patch).await, Changed::Done(_)));
        assert_eq!(told_truly(&ann, &both).await.active.len(), administrators);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn administrators_who_remove_each_other_leave_one() {
    for round in 0..20 {
        let (ann, _) = office().await;
        let ann = Arc::new(ann);
        let mut people = vec![ann.key.clone()];
        for name in ["amy", "abe", "ada"] {
            people.push(ann.someone(name, Role::Administrator).await);
        }
        let mut acts: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
        for (n, actor) in people.iter().enumerate() {
            let target = people[(n + 1 + round % 4) % 4].clone();
            let admin = ann.admin(&ann.session_of(actor).await).await;
            let ann = Arc::clone(&ann);
            acts.push(Box::pin(async move {
                let done = match n {
                    0 => delete_as(&ann, &admin, &target).await,
                    1 => change_as(&ann, &admin, &target, &active(false)).await,
                    _ => change_as(&ann, &admin, &target, &role(Kind::Employee, Role::Standard)).await,
                };
                assert!(!matches!(done, Changed::InvalidCombination));
            }));
        }
        at_once(acts).await;
        let mut there = Vec::new();
        for key in &people {
            if named(&ann, key).await.read().unwrap().is_some() {
                there.push(key);
            }
        }
        let registry = told_truly(&ann, &there).await;
        assert!(!registry.active.is_empty(), "round {round}");
        assert!(registry.active.keys().all(|user| there.iter().any(|key| key.user() == user)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_promotion_beside_the_disabling_of_the_factor_makes_nobody_able_who_is_not() {
    for _ in 0..20 {
        let (ann, session) = office().await;
        let ann = Arc::new(ann);
        let amy = ann.someone("amy", Role::Standard).await;
        let full = Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES));
        set(&ann, &amy, enrolment().into_iter().chain([full]).collect()).await;
        let before = ann.read(&amy).await;
        let (one, key, admin) = (Arc::clone(&ann), amy.clone(), ann.admin(&session).await);
        let promote = async move {
            let patch = role(Kind::Employee, Role::Administrator);
            assert!(matches!(change_as(&one, &admin, &key, &patch).await, Changed::Done(_)));
        };
        let (one, key) = (Arc::clone(&ann), amy.clone());
        let disable = async move {
            one.store.disable_factor(&key, &before, &attempt(NOW), &one.event()).await.unwrap();
        };
        let acts: [Pin<Box<dyn Future<Output = ()> + Send>>; 2] = [Box::pin(promote), Box::pin(disable)];
        at_once(acts).await;
        told_truly(&ann, &[&ann.key, &amy]).await;
    }
}

#[tokio::test]
async fn nothing_of_somebody_deleted_is_left_and_a_namesake_is_another_person() {
    let (ann, session) = office().await;
    let bob = ann.someone("bob", Role::Portal).await;
    let (theirs, before) = (ann.session_of(&bob).await, ann.read(&bob).await);
    let login = LoginKey::of(bob.tenant(), &before.login);
    let admin = ann.admin(&session).await;
    assert!(matches!(delete_as(&ann, &admin, &bob).await, Changed::Done(_)));
    let left = [keys::user(&bob), keys::profile(&bob), keys::login(&login), keys::exclusion(&bob)];
    assert!(ann.store.read_all(left).await.unwrap().iter().all(Option::is_none));
    assert!(matches!(delete_as(&ann, &admin, &bob).await, Changed::NotFound));
    assert_eq!(ann.someone("bob", Role::Portal).await, bob);
    assert_eq!(ann.store.read_session(&theirs, NOW).await.unwrap().err(), Some(NoSession::Invalid));
    assert!(ann.read(&bob).await.incarnation != before.incarnation);
    // A change that was planned about the one who was deleted.
    ann.change(Action::Add(attr("ep"), 1)).await;
    assert!(matches!(delete_as(&ann, &admin, &bob).await, Changed::ActorRevoked));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deletion_beside_changes_leaves_all_or_nothing() {
    for _ in 0..20 {
        let (ann, session) = office().await;
        let ann = Arc::new(ann);
        let bob = ann.someone("bob", Role::Standard).await;
        let login = LoginKey::of(bob.tenant(), &ann.read(&bob).await.login);
        let new = ann.hash("a good long password").await;
        let acts = (0..6).map(|n| {
            let (ann, bob, session, new) = (Arc::clone(&ann), bob.clone(), session.clone(), new.clone());
            async move {
                let patch = match n {
                    0 => return delete_as(&ann, &ann.admin(&session).await, &bob).await,
                    1 => role(Kind::Employee, Role::Administrator),
                    2 => role(Kind::Contact, Role::Portal),
                    3 => Patch { display_name: Some("B".into()), ..Patch::default() },
                    4 => Patch { hash: Some(new), ..Patch::default() },
                    _ => active(false),
                };
                change(&ann, &session, &bob, &patch).await
            }
        });
        for (n, done) in at_once(acts).await.into_iter().enumerate() {
            assert!(matches!(done, Changed::Done(_)) || (n > 0 && matches!(done, Changed::NotFound)));
        }
        let left = [keys::user(&bob), keys::profile(&bob), keys::login(&login)];
        assert!(ann.store.read_all(left).await.unwrap().iter().all(Option::is_none));
        assert_eq!(ann.administrators().await.active.len(), 1);
    }
}
