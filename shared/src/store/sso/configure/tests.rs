//! Tests of the configuration of an IdP.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::{
    super::sign_in::tests::{OTHER_ENTITY_ID, ann_with_sso_user, session_rejection, update_user},
    *,
};
use crate::{
    auth::verify_code::VerificationRejection,
    domain::{AuthType, FactorState, Role},
    env::{SystemEntropy, Timestamp},
    id::UserKey,
    secret::Nonce,
    sign_in::VerificationToken,
    store::{
        Table,
        enrolment::{EnrolmentRejection, EnrolmentToken},
        fixture::{Ann, NOW, ann_of, attempt, decided, idp},
        memory::MemoryTable,
        session::TokenRejection,
        table::{Query, Retry, Transacted, Transaction, Updated},
        users::{ChangeRejection, Patch},
        verify::ChargeRejection,
        write::{Item, Key, text},
    },
};

/// The session ends after the Administrator was loaded and before the change is committed.
#[tokio::test]
async fn revoked_session_cannot_configure_or_remove_the_idp() {
    let (ann, _) = ann_with_sso_user().await;
    let admin = ann.admin(&ann.session_of(&ann.key).await).await;
    let (started, event) = (attempt(NOW), ann.event());
    assert!(ann.store.set_idp(&admin, &idp(), &started, &event).await.is_ok());
    update_user(&ann, &ann.key, vec![Action::Add(attr("ep"), 1)]).await;
    let other = Idp { sso_url: "https://evil.example".to_owned(), ..idp() };
    let replaced = decided(ann.store.set_idp(&admin, &other, &attempt(NOW), &event).await);
    assert_eq!(replaced, Err(ActorRevoked));
    let removed = decided(ann.store.remove_idp(&admin, &attempt(NOW), &event).await);
    assert_eq!(removed, Err(RemovalRejection::ActorRevoked));
    let kept = ann.store.idp(ann.key.tenant()).await.unwrap().configured().unwrap();
    assert_eq!(kept.sso_url, idp().sso_url);
}

#[tokio::test]
async fn sso_session_ends_with_its_idp_and_not_with_a_certificate() {
    let (ann, _) = ann_with_sso_user().await;
    let local = ann.session_of(&ann.key).await;
    let first = ann.configures(&idp().entity_id, 1).await;
    let session = ann.token_by(&first, "bob", "1").await;
    let same = ann.configures(&idp().entity_id, 2).await;
    assert_eq!((same.generation, same.changed), (first.generation, Timestamp::from_secs(2)));
    assert_eq!(session_rejection(&ann, &session).await, None);
    ann.configures(OTHER_ENTITY_ID, 3).await;
    assert_eq!(session_rejection(&ann, &session).await, Some(TokenRejection::Invalid), "the IdP was replaced");
    let again = ann.configures(&idp().entity_id, 4).await;
    assert_eq!(
        session_rejection(&ann, &session).await,
        Some(TokenRejection::Invalid),
        "the first entity id is configured again"
    );
    let session = ann.token_by(&again, "bob", "2").await;
    assert_eq!(session_rejection(&ann, &session).await, None);
    ann.removes_idp().await;
    assert_eq!(session_rejection(&ann, &session).await, Some(TokenRejection::Invalid), "the IdP was removed");
    ann.configures(&idp().entity_id, 5).await;
    assert_eq!(
        session_rejection(&ann, &session).await,
        Some(TokenRejection::Invalid),
        "the removed IdP is configured again"
    );
    assert_eq!(session_rejection(&ann, &local).await, None, "a local session does not depend on the IdP");
}

/// The assertion is checked before the IdP is replaced or removed, and committed after that.
#[tokio::test]
async fn assertion_of_a_replaced_idp_opens_no_valid_session() {
    let (ann, _) = ann_with_sso_user().await;
    ann.of_idp("eve", Role::Standard, FactorState::None).await;
    for replaced in [true, false] {
        let idp = ann.configures(&idp().entity_id, 1).await;
        if replaced {
            drop(ann.configures(OTHER_ENTITY_ID, 2).await)
        } else {
            ann.removes_idp().await
        }
        let session = ann.token_by(&idp, "bob", &format!("1{replaced}")).await;
        assert_eq!(session_rejection(&ann, &session).await, Some(TokenRejection::Invalid));
        let enrolment = EnrolmentToken::new(ann.token_by(&idp, "eve", &format!("2{replaced}")).await).unwrap();
        let result = decided(ann.store.authorize_enrolment(enrolment, None, &attempt(NOW)).await);
        assert_eq!(result.err(), Some(EnrolmentRejection::InvalidToken));
    }
}

/// The session is refused before the code is checked, also with a disabled factor.
#[tokio::test]
async fn step_up_by_a_session_of_another_idp_is_refused() {
    let (ann, bob) = ann_with_sso_user().await;
    let first = ann.configures(&idp().entity_id, 1).await;
    let session = ann.token_by(&first, "bob", "1").await;
    let charge = async || {
        let token = VerificationToken::session(session.clone()).unwrap();
        decided(ann.store.charge_verification(token, attempt(NOW)).await)
    };
    let Ok(_) = charge().await else { panic!("the attempt was not admitted") };
    ann.configures(OTHER_ENTITY_ID, 2).await;
    assert!(matches!(charge().await, Err(ChargeRejection::Verification(VerificationRejection::InvalidToken))));
    update_user(&ann, &bob, vec![Action::Set(attr("fs"), text("d"))]).await;
    assert!(
        matches!(charge().await, Err(ChargeRejection::Verification(VerificationRejection::InvalidToken))),
        "the state of the factor is not revealed"
    );
}

/// While one Administrator replaces the certificates, another removes the IdP or configures it again.
#[tokio::test]
async fn concurrently_replaced_generation_is_not_restored() {
    let (ann, table, _) = two_administrators(true).await;
    let idp_key = || keys::idp(ann.key.tenant());
    let kept = async || ann.store.idp(ann.key.tenant()).await.unwrap().configured().unwrap();
    let first = ann.configures(&idp().entity_id, 1).await;
    let other = Idp { generation: Some(Nonce::generate(&SystemEntropy).unwrap()), ..first.clone() };
    for concurrent_write in [Write::put(idp_key(), item::write(&other).unwrap()), Write::delete(idp_key(), vec![])] {
        let before = kept().await.generation;
        let admin = ann.admin(&ann.session_of(&ann.key).await).await;
        *table.1.lock().unwrap() = Some(concurrent_write);
        let new = Idp {
            generation: Some(Nonce::generate(&SystemEntropy).unwrap()),
            changed: Timestamp::from_secs(2),
            ..first.clone()
        };
        ann.store.set_idp(&admin, &new, &attempt(NOW), &ann.event()).await.unwrap();
        assert!(kept().await.generation != before && kept().await.changed == Timestamp::from_secs(2));
    }
}

/// A table that applies a given write just before the next transaction, as a concurrent request would.
#[derive(Default)]
struct WriteBeforeTransaction(MemoryTable, Mutex<Option<Write>>);

#[async_trait]
impl Table for WriteBeforeTransaction {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.0.read(keys).await
    }

    async fn update(&self, write: &Write, retry: Retry) -> Result<Updated, StoreError> {
        self.0.update(write, retry).await
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        let first = self.1.lock().unwrap().take();
        if let Some(first) = first {
            self.0.update(&first, Retry::Never).await?;
        }
        self.0.transact(transaction).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        self.0.query(query).await
    }
}

/// Ann and Amy are Administrators. The tenant has an IdP if `with_idp`.
async fn two_administrators(with_idp: bool) -> (Ann, Arc<WriteBeforeTransaction>, UserKey) {
    let table = Arc::new(WriteBeforeTransaction::default());
    let (ann, _) = ann_of("acme", Arc::<WriteBeforeTransaction>::clone(&table), 0).await;
    let amy = ann.someone("amy", Role::Administrator).await;
    if with_idp {
        let admin = ann.admin(&ann.session_of(&ann.key).await).await;
        ann.store.set_idp(&admin, &idp(), &attempt(NOW), &ann.event()).await.unwrap();
    }
    (ann, table, amy)
}

/// The other Administrator changes after the check and before the commit. The commit must not rely on the earlier state.
#[tokio::test]
async fn last_administrator_is_checked_again_at_commit() {
    let demoted = || Patch { role: Some(Role::Standard), ..Patch::default() };
    let to_sso = || Patch { auth_type: Some(AuthType::SamlSso), ..Patch::default() };
    let active_entry = |key: &UserKey| attr("act").key(key.user().as_str().to_owned());
    let write_first = |ann: &Ann, table: &WriteBeforeTransaction, action: Action| {
        let write = Write::update(keys::administrators(ann.key.tenant()), vec![], vec![action]);
        *table.1.lock().unwrap() = Some(write);
    };
    // Amy is removed, so Ann is the last Administrator. The tenant has an IdP, so no Administrator needs to sign in locally.
    let (ann, table, amy) = two_administrators(true).await;
    write_first(&ann, &table, Action::Remove(active_entry(&amy)));
    assert!(matches!(ann.patch(&ann.key, demoted()).await, Err(ChangeRejection::LastAdministrator)));
    assert!(
        matches!(ann.patch(&ann.key, demoted()).await, Err(ChangeRejection::LastAdministrator)),
        "also when loaded after the change"
    );
    // The IdP is removed, and Amy signs in through it.
    let (ann, table, amy) = two_administrators(true).await;
    assert!(ann.patch(&amy, to_sso()).await.is_ok());
    write_first(&ann, &table, Action::Remove(attr("idp")));
    assert!(matches!(ann.patch(&ann.key, to_sso()).await, Err(ChangeRejection::LastAdministrator)));
    // Amy changes to sign-in by SSO although the tenant has no IdP.
    let (ann, table, amy) = two_administrators(false).await;
    write_first(&ann, &table, Action::Set(active_entry(&amy), Value::Bool(false)));
    assert!(matches!(ann.patch(&ann.key, to_sso()).await, Err(ChangeRejection::LastAdministrator)));
    // The last Administrator who signs in locally changes to SSO, so the IdP stays.
    let (ann, table, amy) = two_administrators(true).await;
    assert!(ann.patch(&amy, to_sso()).await.is_ok());
    let admin = ann.admin(&ann.session_of(&ann.key).await).await;
    write_first(&ann, &table, Action::Set(active_entry(&ann.key), Value::Bool(false)));
    let removed = decided(ann.store.remove_idp(&admin, &attempt(NOW), &ann.event()).await);
    assert_eq!(removed, Err(RemovalRejection::Needed));
}

#[test]
fn configuration_is_replaced_only_as_it_was_read() {
    let stored = |entity_id: &str| {
        let mut item = keys::idp(&TenantId::parse("acme").unwrap()).attributes();
        item.extend(item::write(&Idp { entity_id: entity_id.to_owned(), ..idp() }).unwrap());
        item
    };
    let current = |it: &Item| item::read::<CurrentIdp>(it.clone()).unwrap();
    let (ours, other) = (stored(&idp().entity_id), stored(OTHER_ENTITY_ID));
    let replaces = |read: Option<&Item>, now: Option<&Item>| {
        let (idp, condition) = replacement_for(read.map(current).as_ref(), &idp());
        let put = Write::put(keys::idp(&TenantId::parse("acme").unwrap()), item::write(&idp).unwrap());
        Write { condition, ..put }.apply(now.cloned()).is_ok()
    };
    assert!(replaces(None, None) && replaces(Some(&ours), Some(&ours)));
    assert!(!replaces(None, Some(&ours)) && !replaces(Some(&ours), Some(&other)) && !replaces(Some(&ours), None));
}

/// The IdP is removed by another request, after the Administrators were loaded and before the change is committed.
#[tokio::test]
async fn idp_that_was_removed_meanwhile_is_not_found() {
    let table = Arc::new(crate::store::interleaved::InterleavedTable::over(Arc::new(MemoryTable::default())));
    let (ann, _) = ann_of("acme", Arc::<crate::store::interleaved::InterleavedTable>::clone(&table), 0).await;
    ann.configures(&idp().entity_id, 1).await;
    let admin = ann.admin(&ann.session_of(&ann.key).await).await;
    let (ann, event) =
        (Arc::new(ann), AuditEvent::new(crate::audit::AuditAction::Verify, crate::audit::Outcome::Success, "r"));
    let other = Arc::clone(&ann);
    table.before_write(1, async move { other.removes_idp().await });
    let removed = decided(ann.store.remove_idp(&admin, &attempt(NOW), &event).await);
    assert_eq!(removed, Err(RemovalRejection::NotFound));
    assert!(!table.waits());
}
