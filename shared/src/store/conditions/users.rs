//! Changes of users.

use super::*;
use crate::{
    env::SystemEntropy,
    secret::{NewToken, RestoreEpoch, TokenClass},
    store::{
        fixture::{ann, idp},
        item::{self, Device},
        sso::SsoOpened,
        write,
    },
};

#[tokio::test]
async fn password_set_by_administrator_clears_known_devices() {
    let (ann, _) = ann(0).await;
    let bob = ann.someone("bob", Role::Standard).await;
    let token = NewToken::generate(TokenClass::Device, &bob, RestoreEpoch::default(), &SystemEntropy).unwrap();
    let verifier = *token.reference().verifier();
    let device = Device { verifier, ends: NOW + policy::DEVICE_LIFE, attempts: 0, last: NOW, attempt: None };
    let known = attr("d").key(token.reference().id().as_str().to_owned());
    set(&ann, &bob, vec![Action::Set(known, item::value(&device).unwrap())]).await;
    let renamed = Patch { display_name: Some("Robert".to_owned()), ..Patch::default() };
    assert!(ann.patch(&bob, renamed).await.is_ok());
    assert_eq!(ann.read(&bob).await.devices.len(), 1);
    let hash = Some(ann.hash("another good password").await);
    assert!(ann.patch(&bob, Patch { hash, ..Patch::default() }).await.is_ok());
    assert!(ann.read(&bob).await.devices.is_empty());
}

#[tokio::test]
async fn promotion_is_retried_when_factor_was_disabled_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    let amy = user_with_exhausted_factor(&ann, "amy").await;
    let (other, key) = (Arc::clone(&ann), amy.clone());
    // The first write is that of the caller's session.
    table.before_write(2, async move {
        let full = other.read(&key).await;
        other.store.disable_factor(&key, &full, &attempt(NOW), &other.event()).await.unwrap();
    });
    assert!(ann.patch(&amy, promoted()).await.is_ok());
    assert!(!table.waits() && ann.read(&amy).await.role == Role::Administrator);
    assert!(registry_matches_user(&ann, &amy).await);
}

#[tokio::test]
async fn change_is_retried_when_id_was_reused_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    let bob = ann.someone("bob", Role::Standard).await;
    let (other, key) = (Arc::clone(&ann), bob.clone());
    table.before_write(2, async move {
        assert!(delete(&other, &key).await.is_ok());
        other.someone("bob", Role::Administrator).await;
    });
    let inactive = Patch { active: Some(false), ..Patch::default() };
    assert!(ann.patch(&bob, inactive).await.is_ok());
    assert!(!table.waits() && !ann.read(&bob).await.active && registry_matches_user(&ann, &bob).await);
}

/// The change is rejected if a retry cannot succeed. The response is not "try again later".
#[tokio::test]
async fn change_is_denied_when_callers_session_ended_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    let bob = ann.someone("bob", Role::Standard).await;
    let other = Arc::clone(&ann);
    table.before_write(2, async move { other.change(Action::Set(attr("s"), write::empty())).await });
    assert!(matches!(ann.patch(&bob, promoted()).await, Err(ChangeRejection::ActorRevoked)));
    assert!(!table.waits() && ann.read(&bob).await.role == Role::Standard);
}

/// Bob signs in by SSO for the first time, which links him, before the next change is written.
async fn bob_is_linked_before_the_next_change(ann: &Arc<Ann>, table: &InterleavedTable) -> UserKey {
    let bob = ann.of_idp("bob", Role::Standard, FactorState::Active).await;
    let other = Arc::clone(ann);
    table.before_write(2, async move {
        let mut assertion = other.asserted("first", "1", None);
        assertion.attributes.insert("Username".to_owned(), vec!["bob".to_owned()]);
        let sign_in = other.owner(assertion, NOW).await.unwrap();
        let opened = other.opens(sign_in).await.unwrap().unwrap();
        assert!(matches!(opened, SsoOpened::SignedIn(_)));
    });
    bob
}

fn link(ann: &Ann, name_id: &str) -> Key {
    keys::subject(ann.key.tenant(), &ann.names.subject(ann.key.tenant(), &idp().entity_id, name_id))
}

#[tokio::test]
async fn link_made_meanwhile_is_replaced() {
    let (ann, table, _) = interleaved(0).await;
    let bob = bob_is_linked_before_the_next_change(&ann, &table).await;
    let linked = Some(ann.names.link(ann.key.tenant(), &idp().entity_id, "second"));
    assert!(ann.patch(&bob, Patch { linked, ..Patch::default() }).await.is_ok());
    assert!(!table.waits());
    assert!(item_at(&ann, link(&ann, "second")).await.is_some());
    assert!(item_at(&ann, link(&ann, "first")).await.is_none());
}

#[tokio::test]
async fn link_made_meanwhile_is_deleted_with_user() {
    let (ann, table, _) = interleaved(0).await;
    let bob = bob_is_linked_before_the_next_change(&ann, &table).await;
    assert!(delete(&ann, &bob).await.is_ok());
    assert!(!table.waits());
    assert!(item_at(&ann, link(&ann, "first")).await.is_none());
}

#[tokio::test]
async fn user_who_became_administrator_meanwhile_is_deleted_as_one() {
    let (ann, table, _) = interleaved(0).await;
    let amy = ann.someone("amy", Role::Standard).await;
    let (other, key) = (Arc::clone(&ann), amy.clone());
    table.before_write(2, async move {
        assert!(other.patch(&key, promoted()).await.is_ok());
    });
    assert!(delete(&ann, &amy).await.is_ok());
    assert!(!table.waits() && !ann.administrators().await.active.contains_key(amy.user()));
}

#[tokio::test]
async fn same_link_made_meanwhile_is_no_conflict() {
    let (ann, table, _) = interleaved(0).await;
    let bob = ann.of_idp("bob", Role::Standard, FactorState::Active).await;
    let link = |ann: &Ann| {
        let linked = Some(ann.names.link(ann.key.tenant(), &idp().entity_id, "first"));
        Patch { linked, ..Patch::default() }
    };
    let (other, key) = (Arc::clone(&ann), bob.clone());
    table.before_write(2, async move {
        let display_name = Some("Robert".to_owned());
        let both = Patch { display_name, ..link(&other) };
        assert!(other.patch(&key, both).await.is_ok());
    });
    assert!(ann.patch(&bob, link(&ann)).await.is_ok());
    assert!(!table.waits());
}
