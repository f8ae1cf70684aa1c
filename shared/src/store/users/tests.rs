use futures_util::future::join_all;

use super::*;
use crate::{
    auth::verify_code::SignIn,
    domain::TimeStep,
    env::SystemEntropy,
    store::{
        fixture::{Ann, NOW, PASSWORD, STEP, ann, attempt, decided},
        session::{SessionsToEnd, TokenRejection},
        table::Retry,
        write::Value,
    },
    totp,
};

async fn create(ann: &Ann, new_user: &NewUser) -> Result<(), CreationRejection> {
    decided(ann.store.create_user(&Actor::Seed, new_user, &attempt(NOW), &ann.event()).await)
}

/// Ann, signed in, and another user with this role.
async fn admin_and_user(name: &str, role: Role) -> (Ann, TokenRef, UserKey) {
    let (ann, challenges) = ann(2).await;
    let session = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
    let other = ann.to_be(name, role);
    assert_eq!(create(&ann, &other).await, Ok(()));
    (ann, session, other.key)
}

async fn loaded_user(ann: &Ann, key: &UserKey) -> LoadedUser {
    let [_, user, profile] = ann.store.read_all(target_keys(&ann.key, key)).await.unwrap();
    LoadedUser { key: key.clone(), found: [user, profile] }
}

async fn change(
    ann: &Ann,
    session: &TokenRef,
    key: &UserKey,
    patch: &Patch,
) -> Result<(User, Profile), ChangeRejection> {
    let (admin, loaded_user) = (ann.admin(session).await, loaded_user(ann, key).await);
    decided(ann.store.update_user(&admin, loaded_user, patch, &attempt(NOW), &ann.event()).await)
}

fn role(role: Role) -> Patch {
    Patch { role: Some(role), ..Patch::default() }
}

#[tokio::test]
async fn one_user_per_login_name_is_created_and_clears_failures() {
    let (ann, _) = ann(0).await;
    let one = ann.to_be("bob", Role::Standard);
    for _ in 0..3 {
        let backoff = crate::policy::Backoff::at(NOW);
        let charge = decided(ann.store.charge_login(&one.login, None, &backoff, &attempt(NOW)).await);
        assert!(charge.is_ok());
    }
    let users: Vec<_> = (0..8)
        .map(|n| {
            let mut new_user = ann.to_be("bob", Role::Standard);
            new_user.key = ann.key.tenant().user(UserId::parse(&format!("u-{n}")).unwrap());
            new_user
        })
        .collect();
    let made = join_all(users.iter().map(|new_user| create(&ann, new_user))).await;
    assert_eq!(made.iter().filter(|it| it.is_ok()).count(), 1);
    assert_eq!(made.iter().filter(|it| **it == Err(CreationRejection::NameTaken)).count(), 7);
    let backoff = crate::policy::Backoff::at(NOW);
    let charge = decided(ann.store.charge_login(&one.login, None, &backoff, &attempt(NOW)).await);
    let Ok(password_attempt) = charge else { panic!("refused") };
    assert_eq!(password_attempt.failures(), 1);
    let mut same_id = ann.to_be("rob", Role::Standard);
    same_id.key = password_attempt.owner().unwrap();
    assert_eq!(create(&ann, &same_id).await, Err(CreationRejection::IdTaken));
}

#[tokio::test]
async fn every_change_except_of_names_raises_security_version() {
    let (ann, session, bob) = admin_and_user("bob", Role::Standard).await;
    let name = Patch { display_name: Some("Bobby".into()), ..Patch::default() };
    let Ok(now) = change(&ann, &session, &bob, &name).await else { panic!("refused") };
    assert_eq!((now.0.security_version.0, now.1.display_name.as_str()), (1, "Bobby"));
    change(&ann, &session, &bob, &role(Role::Standard)).await.unwrap();
    assert_eq!(ann.read(&bob).await.security_version.0, 1);
    for (patch, security_version) in [
        (role(Role::Administrator), 2),
        (Patch { auth_type: Some(AuthType::SamlSso), ..Patch::default() }, 3),
        (Patch { active: Some(false), ..Patch::default() }, 4),
        (Patch { kind: Some(Kind::Contact), role: Some(Role::Portal), ..Patch::default() }, 5),
    ] {
        assert!(change(&ann, &session, &bob, &patch).await.is_ok());
        assert_eq!(ann.read(&bob).await.security_version.0, security_version);
    }
    assert!(matches!(
        change(&ann, &session, &bob, &role(Role::Standard)).await,
        Err(ChangeRejection::Update(UpdateRejection::InvalidCombination))
    ));
}

/// docs/data-model.md, "Invariants": `ADMINS` follows every change of an Administrator and of an Administrator's factor.
#[tokio::test]
async fn administrators_item_follows_role_activity_and_deletion() {
    let (ann, session, bob) = admin_and_user("bob", Role::Standard).await;
    let (u_ann, u_bob) = (ann.key.user().clone(), bob.user().clone());
    let state = || async {
        let now = ann.administrators().await;
        (now.active.contains_key(&u_bob), now.with_mfa.contains(&u_bob))
    };
    change(&ann, &session, &bob, &role(Role::Administrator)).await.unwrap();
    assert_eq!(state().await, (true, false));
    change(&ann, &session, &bob, &Patch { active: Some(false), ..Patch::default() }).await.unwrap();
    assert_eq!(state().await, (false, false));
    change(&ann, &session, &bob, &Patch { active: Some(true), ..Patch::default() }).await.unwrap();
    assert_eq!(state().await, (true, false));
    let (admin, loaded_user) = (ann.admin(&session).await, loaded_user(&ann, &bob).await);
    ann.store.delete_user(&admin, loaded_user, &attempt(NOW), &ann.event()).await.unwrap();
    assert_eq!(state().await, (false, false));
    assert!(ann.administrators().await.with_mfa.contains(&u_ann));
}

#[tokio::test]
async fn last_active_administrator_stays_when_two_demote_each_other() {
    let (ann, session, amy) = admin_and_user("amy", Role::Administrator).await;
    let inactive = || Patch { active: Some(false), ..Patch::default() };
    // Both changes load their target while there are two Administrators.
    let (event, patch) = (ann.event(), inactive());
    let mut changes = Vec::new();
    for key in [&ann.key, &amy] {
        changes.push((ann.admin(&session).await, loaded_user(&ann, key).await, attempt(NOW)));
    }
    let done = changes.into_iter().map(|(admin, loaded_user, attempt)| {
        let (store, patch, event) = (&ann.store, &patch, &event);
        async move { store.update_user(&admin, loaded_user, patch, &attempt, event).await.is_ok() }
    });
    let done = join_all(done).await.into_iter().filter(|done| *done).count();
    assert_eq!((done, ann.administrators().await.active.len()), (1, 1));
    let (ann, session, _) = admin_and_user("bob", Role::Standard).await;
    for patch in [role(Role::Standard), inactive()] {
        assert!(matches!(change(&ann, &session, &ann.key, &patch).await, Err(ChangeRejection::LastAdministrator)));
    }
    let (admin, loaded_user) = (ann.admin(&session).await, loaded_user(&ann, &ann.key).await);
    let deleted = decided(ann.store.delete_user(&admin, loaded_user, &attempt(NOW), &ann.event()).await);
    assert_eq!(deleted, Err(ChangeRejection::LastAdministrator));
}

#[tokio::test]
async fn change_is_refused_after_caller_lost_right() {
    let (ann, session, bob) = admin_and_user("bob", Role::Standard).await;
    let (admin, loaded_bob) = (ann.admin(&session).await, loaded_user(&ann, &bob).await);
    ann.change(Action::Add(attr("ep"), 1)).await;
    let patch = role(Role::Administrator);
    let done = decided(ann.store.update_user(&admin, loaded_bob, &patch, &attempt(NOW), &ann.event()).await);
    assert!(matches!(done, Err(ChangeRejection::ActorRevoked)) && ann.read(&bob).await.role == Role::Standard);
    let someone = ann.to_be("eve", Role::Standard);
    let actor = Actor::AdminContext(&admin);
    let made = decided(ann.store.create_user(&actor, &someone, &attempt(NOW), &ann.event()).await);
    assert_eq!(made, Err(CreationRejection::ActorRevoked));
}

#[tokio::test]
async fn deleted_user_leaves_no_items_and_frees_login_name() {
    let (ann, session, bob) = admin_and_user("bob", Role::Standard).await;
    let (admin, loaded_user) = (ann.admin(&session).await, loaded_user(&ann, &bob).await);
    ann.store.delete_user(&admin, loaded_user, &attempt(NOW), &ann.event()).await.unwrap();
    let found = ann.store.read_all([keys::user(&bob), keys::profile(&bob), keys::exclusion(&bob)]).await.unwrap();
    assert_eq!(found, [None, None, None]);
    assert_eq!(create(&ann, &ann.to_be("bob", Role::Standard)).await, Ok(()));
}

#[tokio::test]
async fn changed_password_ends_other_sessions_and_forgets_devices() {
    let (ann, challenges) = ann(2).await;
    let first = ann.signed_in(&challenges[0], STEP, NOW).await.unwrap();
    let other = ann.signed_in(&challenges[1], STEP + 1, NOW).await.unwrap();
    let caller = ann.store.read_session(first.token.reference(), NOW).await.unwrap();
    let (verified, late) =
        (ann.own_password(&caller, PASSWORD, NOW).await, ann.own_password(&caller, PASSWORD, NOW).await);
    let (verified, late) = (verified.ok().unwrap(), late.ok().unwrap());
    let hash = ann.hash("another good password").await;
    let event = ann.event();
    let now = ann.store.change_password(verified, &hash, &SystemEntropy, &event).await.unwrap();
    assert_eq!((now.session.amr, now.session.ends), (item::Amr::Otp, first.session.ends));
    let why = |token: &TokenRef| {
        let (store, token) = (ann.store.clone(), token.clone());
        async move { decided(store.read_session(&token, NOW).await).err() }
    };
    assert_eq!(why(now.token.reference()).await, None);
    for token in [&first.token, &other.token] {
        assert_eq!(why(token.reference()).await, Some(TokenRejection::RefreshRequired));
    }
    assert!(ann.read(&ann.key).await.devices.is_empty());
    assert!(ann.password(PASSWORD, None, NOW).await.is_err());
    let again = decided(ann.store.change_password(late, &hash, &SystemEntropy, &event).await);
    assert!(again.is_err(), "the old session cannot change the password any more");
}

/// A condition in every creation would make all creations contend for the tenant's item.
#[tokio::test]
async fn tenant_is_checked_only_when_nothing_else_shows_it_exists() {
    let (ann, challenges) = ann(1).await;
    let session = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
    let admin = ann.admin(&session).await;
    let delete_tenant = Write::delete(keys::tenant(ann.key.tenant()), vec![]);
    ann.store.table.update(&delete_tenant, Retry::Never).await.unwrap();
    let assertion = ann.asserted("two", "1", None);
    for (actor, name, made) in [
        (Actor::AdminContext(&admin), "one", Ok(())),
        (Actor::Idp(&assertion), "two", Ok(())),
        (Actor::Seed, "three", Err(CreationRejection::NoTenant)),
        (Actor::First, "four", Err(CreationRejection::NoTenant)),
    ] {
        let new_user = ann.to_be(name, Role::Standard);
        assert_eq!(
            decided(ann.store.create_user(&actor, &new_user, &attempt(NOW), &ann.event()).await),
            made,
            "{name}"
        );
    }
}

async fn caller(ann: &Ann, challenge: &TokenRef, step: TimeStep) -> Principal {
    let token = ann.with_step(challenge, step, NOW).await.unwrap();
    ann.store.read_session(token.reference(), NOW).await.unwrap()
}

#[tokio::test]
async fn five_wrong_current_passwords_end_only_that_session() {
    let (ann, challenges) = ann(2).await;
    let (first, other) = (caller(&ann, &challenges[0], STEP).await, caller(&ann, &challenges[1], STEP + 1).await);
    for n in 1..=5 {
        assert!(ann.store.read_session(first.token(), NOW).await.is_ok(), "before attempt {n}");
        let password_attempt = ann.own_password(&first, "wrong", NOW).await.err().unwrap();
        assert_eq!(password_attempt.exhausts_session(), n == 5);
    }
    assert_eq!(decided(ann.store.read_session(first.token(), NOW).await).err(), Some(TokenRejection::Invalid));
    let sixth = decided(ann.store.charge_own_password(&first, &attempt(NOW)).await);
    assert_eq!(sixth.err(), Some(TokenRejection::Invalid));
    let valid = ann.read(&ann.key).await.sessions.values().filter(|session| session.is_valid(NOW)).count();
    assert_eq!(valid, 1, "the ended session is not valid");
    assert!(ann.own_password(&other, PASSWORD, NOW).await.is_ok());
    assert_eq!(
        ann.password(PASSWORD, None, NOW).await.ok().unwrap().password_attempt().failures(),
        1,
        "the wrong current passwords were not counted at the login name"
    );
}

#[tokio::test]
async fn fifth_attempt_may_succeed() {
    let (ann, challenges) = ann(1).await;
    let first = caller(&ann, &challenges[0], STEP).await;
    for n in 0..8 {
        ann.session_of(&ann.key).await;
        assert!(n >= 4 || ann.own_password(&first, "wrong", NOW).await.is_err());
    }
    let (verified, hash) =
        (ann.own_password(&first, PASSWORD, NOW).await.ok().unwrap(), ann.hash("another good password").await);
    // The tenth session is opened meanwhile, so the change is decided again.
    let other_session = ann.session_of(&ann.key).await;
    let now = ann.store.change_password(verified, &hash, &SystemEntropy, &ann.event()).await.unwrap();
    assert_eq!(now.session.password_attempts, 0);
    assert_eq!(decided(ann.store.read_session(&other_session, NOW).await).err(), Some(TokenRejection::RefreshRequired));
}

#[tokio::test]
async fn repeated_charge_is_counted_once() {
    let (ann, challenges) = ann(1).await;
    let first = caller(&ann, &challenges[0], STEP).await;
    for _ in 0..4 {
        assert!(ann.own_password(&first, "wrong", NOW).await.is_err());
    }
    let fifth = attempt(NOW);
    for _ in 0..2 {
        let password_attempt = ann.store.charge_own_password(&first, &fifth).await.unwrap();
        assert!(password_attempt.exhausts_session());
    }
    let session = ann.read(&ann.key).await.sessions.remove(first.token().id()).unwrap();
    assert_eq!(session.password_attempts, 5);
}

#[tokio::test]
async fn step_up_and_ending_other_sessions_keep_password_attempts() {
    let (ann, challenges) = ann(1).await;
    let first = caller(&ann, &challenges[0], STEP).await;
    let stale = ann.store.read_session(first.token(), NOW).await.unwrap();
    assert!(ann.own_password(&first, "wrong", NOW).await.is_err());
    let ended = ann.store.end_sessions(&stale, &SessionsToEnd::Others, &attempt(NOW), &ann.event()).await;
    assert_eq!(decided(ended), Ok(()), "the count of an attempt does not prevent ending sessions");
    let attempts = |user: &User| user.sessions.values().map(|session| session.password_attempts).max();
    assert_eq!(attempts(&ann.read(&ann.key).await), Some(1));
    // The attempt is counted between the charge of a step-up and its commit.
    let Ok(pending) = ann.charge(first.token(), NOW).await else { panic!("refused") };
    assert!(ann.own_password(&first, "wrong", NOW).await.is_err());
    let code = totp::code_at(&ann.secret, STEP + 1).unwrap();
    let proof = totp::check(&ann.secret, &code, NOW, Some(STEP)).unwrap();
    let stepped_up = ann.accept(SignIn::with_totp(pending, proof, None, &SystemEntropy).unwrap()).await.unwrap();
    assert_eq!((stepped_up.session.password_attempts, attempts(&ann.read(&ann.key).await)), (2, Some(2)));
}

#[tokio::test]
async fn password_attempt_requires_live_session_of_local_user() {
    let (ann, challenges) = ann(1).await;
    let first = caller(&ann, &challenges[0], STEP).await;
    let hash = ann.hash("another good password").await;
    for blocking in [Action::Set(attr("at"), text("s")), Action::Set(attr("pv"), num(2))] {
        let before = ann.read(&ann.key).await;
        ann.change(blocking).await;
        assert!(ann.own_password(&first, PASSWORD, NOW).await.is_err());
        for restored in [Action::Set(attr("at"), text("l")), Action::Set(attr("pv"), num(before.password_version.0))] {
            ann.change(restored).await;
        }
    }
    let verified = ann.own_password(&first, PASSWORD, NOW).await.ok().unwrap();
    ann.change(Action::Set(attr("ac"), Value::Bool(false))).await;
    let refused = decided(ann.store.charge_own_password(&first, &attempt(NOW)).await);
    assert_eq!(refused.err(), Some(TokenRejection::Invalid));
    let done = decided(ann.store.change_password(verified, &hash, &SystemEntropy, &ann.event()).await);
    assert!(matches!(done, Err(TokenRejection::Invalid)));
}

#[tokio::test]
async fn first_administrator_is_created_only_while_there_is_none() {
    let (ann, _) = ann(0).await;
    let bob = ann.to_be("bob", Role::Administrator);
    let create = async || decided(ann.store.create_user(&Actor::First, &bob, &attempt(NOW), &ann.event()).await);
    assert_eq!(create().await, Err(CreationRejection::NotFirst));
    let nobody = vec![Action::Set(attr("act"), write::empty())];
    ann.put(Write::update(keys::administrators(ann.key.tenant()), vec![], nobody)).await;
    assert_eq!(create().await, Ok(()));
}

/// A NameID that equals the user name: the transaction must not contain an item twice.
#[tokio::test]
async fn user_whose_name_id_is_the_user_name_is_created_and_changed() {
    let (ann, session, carl) = admin_and_user("carl", Role::Standard).await;
    let (tenant, idp) = (ann.key.tenant(), crate::store::fixture::idp().entity_id);
    let link = |name: &str| ann.names.link(tenant, &idp, name);
    let bob = ann.to_be("bob", Role::Standard).in_tenant_with_idp(&ann.names, &idp).linked(link("bob"));
    assert_eq!(create(&ann, &bob).await, Ok(()));
    let hash = Some(ann.hash("another good password").await);
    let patch = Patch { hash, linked: Some(link("carl")), ..Patch::default() };
    assert!(change(&ann, &session, &carl, &patch).await.is_ok());
}

#[tokio::test]
async fn new_password_replaces_only_the_loaded_one() {
    let (ann, _) = ann(0).await;
    let login = ann.store.table.read(&[keys::login(&ann.login)]).await.unwrap().remove(0).unwrap();
    let write = new_password(&ann.key, &ann.login, PasswordVersion(1), &ann.hash("another good password").await);
    assert!(write.apply(Some(login.clone())).is_ok());
    for (name, value) in [("uid", text("u-other")), ("pv", num(2))] {
        let mut other = login.clone();
        other.insert(name.to_owned(), value);
        assert!(write.apply(Some(other)).is_err(), "{name}");
    }
}

#[tokio::test]
async fn change_of_the_profile_keeps_the_rest_and_no_change_has_no_audit_row() {
    let (ann, session, bob) = admin_and_user("bob", Role::Standard).await;
    let profile = async || loaded_user(&ann, &bob).await.read().unwrap().unwrap().1;
    let email = Patch { email: Some("bob@example.com".into()), ..Patch::default() };
    let name = Patch { display_name: Some("Bobby".into()), ..Patch::default() };
    for patch in [&email, &name] {
        assert!(change(&ann, &session, &bob, patch).await.is_ok());
    }
    let now = profile().await;
    assert_eq!((now.display_name.as_str(), now.email.as_deref()), ("Bobby", Some("bob@example.com")));
    let rows = ann.rows().await.len();
    assert!(change(&ann, &session, &bob, &name).await.is_ok());
    assert_eq!(ann.rows().await.len(), rows);
}
