//! Tests of the conditions of writes. In each test another request writes between the read and the write of a command, or the
//! state is a rare one. Each test fails if the condition is removed. The other tests of the commands are in the commands' files.

mod audit;
mod codes;
mod exclusions;
mod lists;
mod repeats;
mod resets;
mod sessions;
mod sign_in;
mod users;

use std::sync::Arc;

use super::{
    fixture::{Ann, NOW, ann_of, attempt, decided, enrolment},
    interleaved::InterleavedTable,
    item::{FactorState, Role},
    keys,
    memory::MemoryTable,
    table::Retry,
    users::{ChangeRejection, Patch},
    write::{Action, Item, Key, Write, attr, num, text},
};
use crate::{
    auth::verify_code::SignIn,
    domain::TimeStep,
    env::SystemEntropy,
    id::{UserId, UserKey},
    policy,
    secret::TokenRef,
    totp,
};

/// Ann of tenant `acme`, over a table that runs another command before a chosen write.
async fn interleaved(challenges: usize) -> (Arc<Ann>, Arc<InterleavedTable>, Vec<TokenRef>) {
    let table = Arc::new(InterleavedTable::over(Arc::new(MemoryTable::default())));
    let (ann, tokens) = ann_of("acme", Arc::<InterleavedTable>::clone(&table), challenges).await;
    (Arc::new(ann), table, tokens)
}

/// A charged attempt with a proof by the code of a time step.
async fn proven(ann: &Ann, token: &TokenRef, step: TimeStep) -> SignIn {
    let Ok(pending) = ann.charge(token, NOW).await else { panic!("refused") };
    let proof = totp::check(&ann.secret, &totp::code_at(&ann.secret, step).unwrap(), NOW, Some(step - 1)).unwrap();
    SignIn::with_totp(pending, proof, None, &SystemEntropy).unwrap()
}

async fn delete(ann: &Ann, target: &UserKey) -> Result<(), ChangeRejection> {
    let session = ann.session_of(&ann.key).await;
    let loaded = decided(ann.store.load_user(&session, target.user().clone(), NOW).await);
    let (principal, loaded_user) = loaded.ok().unwrap();
    let admin = principal.administrator(NOW).ok().unwrap();
    decided(ann.store.delete_user(&admin, loaded_user, &attempt(NOW), &ann.event()).await)
}

fn promoted() -> Patch {
    Patch { role: Some(Role::Administrator), ..Patch::default() }
}

async fn set(ann: &Ann, key: &UserKey, actions: Vec<Action>) {
    let write = Write::update(keys::user(key), vec![], actions);
    ann.store.table.update(&write, Retry::Never).await.unwrap();
}

async fn item_at(ann: &Ann, key: Key) -> Option<Item> {
    ann.store.table.read(&[key]).await.unwrap().remove(0)
}

/// An employee whose factor has [`policy::MAX_CONSECUTIVE_FAILURES`] and is still active.
async fn user_with_exhausted_factor(ann: &Ann, name: &str) -> UserKey {
    let key = ann.someone(name, Role::Standard).await;
    let full = Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES));
    set(ann, &key, enrolment().into_iter().chain([full]).collect()).await;
    key
}

/// Whether the item of the Administrators agrees with the user's item.
async fn registry_matches_user(ann: &Ann, key: &UserKey) -> bool {
    let (registry, user) = (ann.administrators().await, ann.read(key).await);
    let has_mfa = user.administers_now() && user.factor.state() == FactorState::Active;
    registry.active.contains_key(key.user()) == user.administers_now()
        && registry.with_mfa.contains(key.user()) == has_mfa
}

fn user_of(ann: &Ann, id: &str) -> UserKey {
    ann.key.tenant().user(UserId::parse(id).unwrap())
}
