use std::{pin::Pin, sync::Arc, time::Duration};

use super::*;
use crate::{
    domain::PasswordVersion,
    env::SystemEntropy,
    id::LoginName,
    policy::{self, Backoff},
    store::{
        fixture::{Ann, NOW, PASSWORD, STEP, ann, at_once, attempt, decided, enrolment},
        item::{Administrators, Device, LoginRow},
        session::TokenRejection,
        table::Retry,
    },
};

async fn signed_in_admin() -> (Ann, TokenRef) {
    let (ann, challenges) = ann(1).await;
    let session = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
    (ann, session)
}

async fn change(
    ann: &Ann,
    admin_session: &TokenRef,
    target: &UserKey,
    patch: &Patch,
) -> Result<(User, Profile), ChangeRejection> {
    change_as(ann, &ann.admin(admin_session).await, target, patch).await
}

async fn change_as(
    ann: &Ann,
    admin: &AdminContext,
    target: &UserKey,
    patch: &Patch,
) -> Result<(User, Profile), ChangeRejection> {
    let loaded_user = loaded_user(ann, target).await;
    decided(ann.store.update_user(admin, loaded_user, patch, &attempt(NOW), &ann.event()).await)
}

async fn delete_as(ann: &Ann, admin: &AdminContext, target: &UserKey) -> Result<(), ChangeRejection> {
    let loaded_user = loaded_user(ann, target).await;
    decided(ann.store.delete_user(admin, loaded_user, &attempt(NOW), &ann.event()).await)
}

async fn loaded_user(ann: &Ann, target: &UserKey) -> LoadedUser {
    let found = ann.store.read_all([keys::user(target), keys::profile(target)]).await.unwrap();
    LoadedUser { key: target.clone(), found }
}

async fn login_row(ann: &Ann, key: &UserKey) -> Option<LoginRow> {
    let login = LoginKey::of(key.tenant(), &ann.read(key).await.login_digest);
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

/// Checks that the item of the Administrators agrees with the items of these users, and returns it.
async fn assert_registry_matches(ann: &Ann, users: &[&UserKey]) -> Administrators {
    let registry = ann.administrators().await;
    for key in users {
        let user = ann.read(key).await;
        assert_eq!(registry.active.contains_key(key.user()), user.administers_now(), "{}", key.user());
        let has_mfa = user.administers_now() && user.factor.is_active();
        assert_eq!(registry.with_mfa.contains(key.user()), has_mfa, "{}", key.user());
    }
    registry
}

#[tokio::test]
async fn deactivated_user_is_signed_out_and_devices_are_forgotten() {
    let (ann, session) = signed_in_admin().await;
    let bob = ann.someone("bob", Role::Standard).await;
    let bobs_session = ann.session_of(&bob).await;
    let device = Device {
        verifier: *bobs_session.verifier(),
        ends: NOW + Duration::from_secs(1000),
        attempts: 0,
        last: NOW,
        attempt: None,
    };
    let known = Action::Set(attr("d").key(bobs_session.id().as_str().to_owned()), item::value(&device).unwrap());
    set(&ann, &bob, vec![known]).await;
    assert!(change(&ann, &session, &bob, &active(false)).await.is_ok());
    assert!(ann.read(&bob).await.devices.is_empty());
    assert_eq!(decided(ann.store.read_session(&bobs_session, NOW).await).err(), Some(TokenRejection::Invalid));
    assert!(change(&ann, &session, &bob, &active(true)).await.is_ok());
    assert_eq!(decided(ann.store.read_session(&bobs_session, NOW).await).err(), Some(TokenRejection::RefreshRequired));
}

#[tokio::test]
async fn password_set_by_administrator_replaces_old_one() {
    let (ann, session) = signed_in_admin().await;
    let bob = ann.someone("bob", Role::Standard).await;
    let login = ann.names.login(bob.tenant(), &LoginName::fold("bob"));
    ann.store.charge_login(&login, None, &Backoff::at(NOW), &attempt(NOW)).await.unwrap();
    for (n, text) in (2..).zip(["one", "two"]) {
        let patch = Patch { hash: Some(hash(text)), ..Patch::default() };
        assert!(change(&ann, &session, &bob, &patch).await.is_ok());
        let row = login_row(&ann, &bob).await.unwrap();
        assert_eq!((row.hash.as_deref(), row.version, row.attempts), (Some(text), Some(PasswordVersion(n)), 0));
        assert_eq!(ann.read(&bob).await.password_version.0, n);
    }
}

/// An excluded contact signs in by password alone, which therefore must be longer. The server stores only the hash, so whether
/// a password is long enough must be recorded when it is set.
#[tokio::test]
async fn every_new_password_records_whether_it_fits_contact() {
    let (ann, session) = signed_in_admin().await;
    let (long, short) = (ann.hash(PASSWORD).await, ann.hash("ab3!kz9q").await);
    for (name, hash, fits) in [("one", None, true), ("two", Some(&long), true), ("three", Some(&short), false)] {
        let new_user = NewUser { hash: hash.cloned(), ..ann.to_be(name, Role::Standard) };
        let made = decided(ann.store.create_user(&Actor::Seed, &new_user, &attempt(NOW), &ann.event()).await);
        assert_eq!(made, Ok(()));
        assert_eq!(ann.read(&new_user.key).await.password_fits_contact, fits, "{name}");
    }
    let bob = ann.someone("bob", Role::Standard).await;
    for (hash, fits) in [(&short, false), (&long, true), (&short, false), (&hash("of unknown length"), false)] {
        let patch = Patch { hash: Some(hash.clone()), ..Patch::default() };
        assert!(change(&ann, &session, &bob, &patch).await.is_ok());
        assert_eq!(ann.read(&bob).await.password_fits_contact, fits);
    }
    assert!(change(&ann, &session, &bob, &role(Kind::Contact, Role::Portal)).await.is_ok());
    assert!(!ann.read(&bob).await.password_fits_contact, "a change of the kind does not change the password");
}

#[tokio::test]
async fn own_password_change_records_whether_it_fits_contact() {
    let (ann, session) = signed_in_admin().await;
    let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
    ann.store.upgrade_password_hash(&verified, &ann.hash(PASSWORD).await).await;
    assert!(ann.read(&ann.key).await.password_fits_contact);
    let caller = ann.store.read_session(&session, NOW).await.unwrap();
    let short = ann.hash("ab3!kz9q").await;
    let verified = ann.own_password(&caller, PASSWORD, NOW).await.ok().unwrap();
    let done = decided(ann.store.change_password(verified, &short, &SystemEntropy, &ann.event()).await);
    assert!(done.is_ok());
    assert!(!ann.read(&ann.key).await.password_fits_contact);
}

/// An Administrator sets the password of an employee, who is a contact by the time it is written.
#[tokio::test]
async fn short_password_is_refused_if_employee_became_contact_meanwhile() {
    let (ann, session) = signed_in_admin().await;
    let bob = ann.someone("bob", Role::Standard).await;
    let admin = ann.admin(&session).await;
    let as_employee = loaded_user(&ann, &bob).await;
    assert!(change(&ann, &session, &bob, &role(Kind::Contact, Role::Portal)).await.is_ok());
    let patch = Patch { hash: Some(ann.hash("ab3!kz9q").await), ..Patch::default() };
    let done = decided(ann.store.update_user(&admin, as_employee, &patch, &attempt(NOW), &ann.event()).await);
    assert!(matches!(done, Err(ChangeRejection::Update(UpdateRejection::PasswordTooShort))));
    let user = ann.read(&bob).await;
    assert!(user.password_version.0 == 1 && user.password_fits_contact);
    assert!(login_row(&ann, &bob).await.unwrap().hash.is_none());
}

#[tokio::test]
async fn end_of_exclusion_clears_earlier_enrolment_deadline() {
    let (ann, session) = signed_in_admin().await;
    let con = ann.someone("con", Role::Portal).await;
    let excluded = item::Exclusion { batch: crate::id::BatchId::parse("b").unwrap(), at: NOW };
    let excluded = Action::Set(attr("ex"), item::value(&excluded).unwrap());
    set(&ann, &con, vec![excluded, Action::Set(attr("eb"), num(NOW.secs())), Action::Set(attr("seen"), num(0))]).await;
    assert!(change(&ann, &session, &con, &role(Kind::Employee, Role::Standard)).await.is_ok());
    let user = ann.read(&con).await;
    assert!(user.excluded.is_none() && user.enrol_by.is_none() && user.seen == NOW);
    // The deadline of a user who was not excluded stays.
    set(&ann, &con, vec![Action::Set(attr("eb"), num(NOW.secs()))]).await;
    assert!(change(&ann, &session, &con, &role(Kind::Contact, Role::Portal)).await.is_ok());
    assert_eq!(ann.read(&con).await.enrol_by, Some(NOW));
}

#[tokio::test]
async fn administrators_item_follows_every_change() {
    let (ann, session) = signed_in_admin().await;
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
        assert!(change(&ann, &session, &amy, &patch).await.is_ok());
        assert_eq!(assert_registry_matches(&ann, &both).await.active.len(), administrators);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_removals_leave_one_administrator() {
    for round in 0..20 {
        let (ann, _) = signed_in_admin().await;
        let ann = Arc::new(ann);
        let mut users = vec![ann.key.clone()];
        for name in ["amy", "abe", "ada"] {
            users.push(ann.someone(name, Role::Administrator).await);
        }
        let mut operations: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
        for (n, actor) in users.iter().enumerate() {
            let target = users[(n + 1 + round % 4) % 4].clone();
            let admin = ann.admin(&ann.session_of(actor).await).await;
            let ann = Arc::clone(&ann);
            operations.push(Box::pin(async move {
                let refused = match n {
                    0 => delete_as(&ann, &admin, &target).await.err(),
                    1 => change_as(&ann, &admin, &target, &active(false)).await.err(),
                    _ => change_as(&ann, &admin, &target, &role(Kind::Employee, Role::Standard)).await.err(),
                };
                assert_ne!(refused, Some(ChangeRejection::Update(UpdateRejection::InvalidCombination)));
            }));
        }
        at_once(operations).await;
        let mut existing = Vec::new();
        for key in &users {
            if loaded_user(&ann, key).await.read().unwrap().is_some() {
                existing.push(key);
            }
        }
        let registry = assert_registry_matches(&ann, &existing).await;
        assert!(!registry.active.is_empty(), "round {round}");
        assert!(registry.active.keys().all(|user| existing.iter().any(|key| key.user() == user)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn promotion_during_factor_disabling_keeps_administrators_item_consistent() {
    for _ in 0..20 {
        let (ann, session) = signed_in_admin().await;
        let ann = Arc::new(ann);
        let amy = ann.someone("amy", Role::Standard).await;
        let full = Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES));
        set(&ann, &amy, enrolment().into_iter().chain([full]).collect()).await;
        let before = ann.read(&amy).await;
        let (one, key, admin) = (Arc::clone(&ann), amy.clone(), ann.admin(&session).await);
        let promote = async move {
            let patch = role(Kind::Employee, Role::Administrator);
            assert!(change_as(&one, &admin, &key, &patch).await.is_ok());
        };
        let (one, key) = (Arc::clone(&ann), amy.clone());
        let disable = async move {
            one.store.disable_factor(&key, &before, &attempt(NOW), &one.event()).await.unwrap();
        };
        let operations: [Pin<Box<dyn Future<Output = ()> + Send>>; 2] = [Box::pin(promote), Box::pin(disable)];
        at_once(operations).await;
        assert_registry_matches(&ann, &[&ann.key, &amy]).await;
    }
}

#[tokio::test]
async fn deleted_users_session_does_not_work_for_user_created_again() {
    let (ann, session) = signed_in_admin().await;
    let bob = ann.someone("bob", Role::Portal).await;
    let (bobs_session, before) = (ann.session_of(&bob).await, ann.read(&bob).await);
    let login = LoginKey::of(bob.tenant(), &before.login_digest);
    let admin = ann.admin(&session).await;
    assert!(delete_as(&ann, &admin, &bob).await.is_ok());
    let left = [keys::user(&bob), keys::profile(&bob), keys::login(&login), keys::exclusion(&bob)];
    assert!(ann.store.read_all(left).await.unwrap().iter().all(Option::is_none));
    assert!(matches!(delete_as(&ann, &admin, &bob).await, Err(ChangeRejection::NotFound)));
    assert_eq!(ann.someone("bob", Role::Portal).await, bob);
    assert_eq!(decided(ann.store.read_session(&bobs_session, NOW).await).err(), Some(TokenRejection::Invalid));
    assert!(ann.read(&bob).await.incarnation != before.incarnation);
    // The caller lost the right to delete the user.
    ann.change(Action::Add(attr("ep"), 1)).await;
    assert!(matches!(delete_as(&ann, &admin, &bob).await, Err(ChangeRejection::ActorRevoked)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deletion_during_changes_leaves_no_items() {
    for _ in 0..20 {
        let (ann, session) = signed_in_admin().await;
        let ann = Arc::new(ann);
        let bob = ann.someone("bob", Role::Standard).await;
        let login = LoginKey::of(bob.tenant(), &ann.read(&bob).await.login_digest);
        let new = ann.hash("a good long password").await;
        let operations = (0..6).map(|n| {
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
                change(&ann, &session, &bob, &patch).await.map(drop)
            }
        });
        for (n, done) in at_once(operations).await.into_iter().enumerate() {
            assert!(done.is_ok() || (n > 0 && matches!(done, Err(ChangeRejection::NotFound))));
        }
        let left = [keys::user(&bob), keys::profile(&bob), keys::login(&login)];
        assert!(ann.store.read_all(left).await.unwrap().iter().all(Option::is_none));
        assert_eq!(ann.administrators().await.active.len(), 1);
    }
}
