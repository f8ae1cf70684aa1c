//! Resets: whom they are about, and who else could do it, as it is when it is written.

use super::*;
use crate::{
    env::SystemEntropy,
    id::UserId,
    recovery::ResetCode,
    secret::{Nonce, TokenRef},
    store::{
        fixture::person,
        item::{Kind, User},
        people::By,
        reset::Reset,
    },
};

async fn reset(ann: &Ann, session: &TokenRef, target: &UserId) -> Reset {
    let (principal, asked) = ann.store.ask_reset(session, target.clone(), NOW).await.unwrap().ok().unwrap();
    let authority = principal.administrator(NOW).ok().unwrap();
    let code = ResetCode::generate(&SystemEntropy).unwrap();
    let digest = |key: &UserKey| code.digest(&ann.codes, key);
    ann.store.reset_mfa(&authority, asked, &digest, &attempt(NOW), &ann.event()).await.unwrap()
}

async fn enrolled(ann: &Ann, name: &str) -> UserKey {
    let key = ann.someone(name, Role::Standard).await;
    set(ann, &key, vec![Action::Set(attr("fs"), text("a"))]).await;
    key
}

/// Who is an Administrator by the time it is written gets a reset code, and is no longer one who could reset others.
async fn resets_as_of_an_administrator(ann: &Ann, session: &TokenRef, bob: &UserKey) {
    let Reset::Done(done) = reset(ann, session, bob.user()).await else { panic!("not reset") };
    assert!(done.code);
    let user = ann.read(bob).await;
    assert!(user.factor == FactorState::None && user.reset_code.is_some());
    assert!(registry_is_true(ann, bob).await);
}

#[tokio::test]
async fn reset_is_planned_again_when_the_security_version_changed_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    let (bob, session) = (enrolled(&ann, "bob").await, ann.session_of(&ann.key).await);
    let (other, key) = (Arc::clone(&ann), bob.clone());
    table.before_write(1, async move {
        assert!(matches!(patch(&other, &key, promoted()).await, Changed::Yes(_)));
    });
    resets_as_of_an_administrator(&ann, &session, &bob).await;
    assert!(!table.waits());
}

#[tokio::test]
async fn reset_is_planned_again_when_the_id_is_another_persons_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    let (bob, session) = (enrolled(&ann, "bob").await, ann.session_of(&ann.key).await);
    let (other, key) = (Arc::clone(&ann), bob.clone());
    table.before_write(1, async move {
        assert!(matches!(delete(&other, &key).await, Changed::Yes(_)));
        other.someone("bob", Role::Administrator).await;
    });
    resets_as_of_an_administrator(&ann, &session, &bob).await;
    assert!(!table.waits());
}

/// A reset by support while another Administrator enrols.
async fn support_reset_beside_a_new_factor(ann: &Arc<Ann>, table: &InterleavedTable) {
    let other = Arc::clone(ann);
    table.before_write(1, async move {
        let born = Nonce::generate(&SystemEntropy).unwrap();
        let amy = User { factor: FactorState::Active, ..person(Kind::Employee, Role::Administrator, born) };
        other.add(&user_of(&other, "u-amy"), &amy).await;
    });
    let before = ann.read(&ann.key).await;
    let asked = ann.store.name_support_reset(ann.login.clone(), ann.names.ticket("T-1")).await.unwrap();
    let code = ResetCode::generate(&SystemEntropy).unwrap();
    let (digest, event) = (|key: &UserKey| code.digest(&ann.codes, key), ann.event());
    let done =
        ann.store.reset_sole_administrator(&By::Seed, asked, &digest, &attempt(NOW), (&event, &event)).await.unwrap();
    assert!(matches!(done, Reset::NotSole));
    assert!(!table.waits() && ann.read(&ann.key).await == before);
}

#[tokio::test]
async fn support_resets_nobody_when_another_administrator_enrolled_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    support_reset_beside_a_new_factor(&ann, &table).await;
}

#[tokio::test]
async fn support_resets_nobody_without_a_factor_when_another_administrator_enrolled_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    set(&ann, &ann.key, vec![Action::Set(attr("row"), num(policy::ROW_TRIES))]).await;
    let full = ann.read(&ann.key).await;
    ann.store.disable_factor(&ann.key, &full, &attempt(NOW), &ann.event()).await.unwrap();
    assert!(ann.administrators().await.able.is_empty());
    support_reset_beside_a_new_factor(&ann, &table).await;
}
