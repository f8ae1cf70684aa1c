//! Tests of the configuration of an IdP.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::{
    super::sign_in::tests::{OTHER, office, refused, set},
    *,
};
use crate::{
    auth::verify_code::VerificationRejection,
    domain::{AuthType, FactorState, Role},
    env::SystemEntropy,
    id::UserKey,
    secret::Nonce,
    sign_in::VerificationToken,
    store::{
        Table,
        enrolment::{Denied, EnrolmentToken},
        fixture::{Ann, NOW, ann_of, attempt, idp},
        login::Charge,
        memory::MemoryTable,
        session::NoSession,
        table::{Query, Retry, Transacted, Transaction, Updated},
        users::{Changed, Patch},
        write::{Item, Key, text},
    },
};

/// Whose right has ended since it was asked about changes nothing of the door.
#[tokio::test]
async fn who_is_no_administrator_any_more_neither_configures_the_door_nor_ends_it() {
    let (ann, _) = office().await;
    let admin = ann.admin(&ann.session_of(&ann.key).await).await;
    let (begun, event) = (attempt(NOW), ann.event());
    assert!(ann.store.set_idp(&admin, &idp(), &begun, &event).await.unwrap().is_some());
    set(&ann, &ann.key, vec![Action::Add(attr("ep"), 1)]).await;
    let other = Idp { sso_url: "https://evil.example".to_owned(), ..idp() };
    assert!(ann.store.set_idp(&admin, &other, &attempt(NOW), &event).await.unwrap().is_none());
    assert_eq!(ann.store.remove_idp(&admin, &attempt(NOW), &event).await.unwrap(), IdpRemoved::ActorRevoked);
    let kept = ann.store.idp(ann.key.tenant()).await.unwrap().unwrap().unwrap();
    assert_eq!(kept.sso_url, idp().sso_url);
}

#[tokio::test]
async fn sso_session_ends_with_its_idp_and_not_with_a_certificate() {
    let (ann, _) = office().await;
    let local = ann.session_of(&ann.key).await;
    let first = ann.configures(&idp().entity_id, 1).await;
    let session = ann.token_by(&first, "bob", "1").await;
    let same = ann.configures(&idp().entity_id, 2).await;
    assert_eq!((same.generation, same.changed), (first.generation, 2));
    assert_eq!(refused(&ann, &session).await, None);
    ann.configures(OTHER, 3).await;
    assert_eq!(refused(&ann, &session).await, Some(NoSession::Invalid), "replaced");
    let again = ann.configures(&idp().entity_id, 4).await;
    assert_eq!(refused(&ann, &session).await, Some(NoSession::Invalid), "the first one is back");
    let session = ann.token_by(&again, "bob", "2").await;
    assert_eq!(refused(&ann, &session).await, None);
    ann.removes_idp().await;
    assert_eq!(refused(&ann, &session).await, Some(NoSession::Invalid), "removed");
    ann.configures(&idp().entity_id, 5).await;
    assert_eq!(refused(&ann, &session).await, Some(NoSession::Invalid), "removed, and back");
    assert_eq!(refused(&ann, &local).await, None, "a session of a password is of no IdP");
}

/// It was checked before the IdP went, and commits after that.
#[tokio::test]
async fn assertion_on_the_way_gives_no_usable_session() {
    let (ann, _) = office().await;
    ann.of_idp("eve", Role::Standard, FactorState::None).await;
    for replaced in [true, false] {
        let idp = ann.configures(&idp().entity_id, 1).await;
        if replaced {
            drop(ann.configures(OTHER, 2).await)
        } else {
            ann.removes_idp().await
        }
        let session = ann.token_by(&idp, "bob", &format!("1{replaced}")).await;
        assert_eq!(refused(&ann, &session).await, Some(NoSession::Invalid));
        let enrolment = EnrolmentToken::new(ann.token_by(&idp, "eve", &format!("2{replaced}")).await).unwrap();
        let may = ann.store.may_enrol(enrolment, None, &attempt(NOW)).await.unwrap();
        assert_eq!(may.err(), Some(Denied::Token));
    }
}

/// Before the code is looked at, and whatever the state of the factor is.
#[tokio::test]
async fn step_up_by_a_session_of_another_idp_is_refused() {
    let (ann, bob) = office().await;
    let first = ann.configures(&idp().entity_id, 1).await;
    let session = ann.token_by(&first, "bob", "1").await;
    let charge = async || {
        let token = VerificationToken::session(session.clone()).unwrap();
        ann.store.charge_verification(token, attempt(NOW)).await.unwrap()
    };
    let Charge::Admitted(_) = charge().await else { panic!("refused") };
    ann.configures(OTHER, 2).await;
    assert!(matches!(charge().await, Charge::Rejected(VerificationRejection::InvalidToken)));
    set(&ann, &bob, vec![Action::Set(attr("fs"), text("d"))]).await;
    assert!(
        matches!(charge().await, Charge::Rejected(VerificationRejection::InvalidToken)),
        "not that the factor is disabled"
    );
}

/// Another Administrator removes the IdP, and configures it anew, while one replaces its certificates.
#[tokio::test]
async fn generation_that_ended_meanwhile_does_not_come_back() {
    let (ann, table, _) = two(true).await;
    let place = || keys::idp(ann.key.tenant());
    let kept = async || ann.store.idp(ann.key.tenant()).await.unwrap().unwrap().unwrap();
    let first = ann.configures(&idp().entity_id, 1).await;
    let other = Idp { generation: Some(Nonce::generate(&SystemEntropy).unwrap()), ..first.clone() };
    for meanwhile in [Write::put(place(), item::write(&other).unwrap()), Write::delete(place(), vec![])] {
        let before = kept().await.generation;
        let admin = ann.admin(&ann.session_of(&ann.key).await).await;
        *table.1.lock().unwrap() = Some(meanwhile);
        let new = Idp { generation: Some(Nonce::generate(&SystemEntropy).unwrap()), changed: 2, ..first.clone() };
        ann.store.set_idp(&admin, &new, &attempt(NOW), &ann.event()).await.unwrap().unwrap();
        assert!(kept().await.generation != before && kept().await.changed == 2);
    }
}

/// A table on which somebody is quicker: a write that comes before the next transaction.
#[derive(Default)]
struct Quicker(MemoryTable, Mutex<Option<Write>>);

#[async_trait]
impl Table for Quicker {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.0.read(keys).await
    }

    async fn update(&self, write: &Write, again: Retry) -> Result<Updated, StoreError> {
        self.0.update(write, again).await
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

/// Ann and Amy administer; there is an IdP, or none.
async fn two(with_idp: bool) -> (Ann, Arc<Quicker>, UserKey) {
    let table = Arc::new(Quicker::default());
    let (ann, _) = ann_of("acme", Arc::<Quicker>::clone(&table), 0).await;
    let amy = ann.someone("amy", Role::Administrator).await;
    if with_idp {
        let admin = ann.admin(&ann.session_of(&ann.key).await).await;
        ann.store.set_idp(&admin, &idp(), &attempt(NOW), &ann.event()).await.unwrap().unwrap();
    }
    (ann, table, amy)
}

/// Whoever was there to administer, when it was read, and is not when it is written, is not counted on.
#[tokio::test]
async fn somebody_who_can_administer_is_there_when_it_is_written() {
    let demoted = || Patch { role: Some(Role::Standard), ..Patch::default() };
    let flipped = || Patch { auth_type: Some(AuthType::SamlSso), ..Patch::default() };
    let act = |key: &UserKey| attr("act").key(key.user().as_str().to_owned());
    let quicker = |ann: &Ann, table: &Quicker, action: Action| {
        let write = Write::update(keys::administrators(ann.key.tenant()), vec![], vec![action]);
        *table.1.lock().unwrap() = Some(write);
    };
    // Amy goes, and then Ann is the last; with an IdP, for which no password is needed.
    let (ann, table, amy) = two(true).await;
    quicker(&ann, &table, Action::Remove(act(&amy)));
    assert!(matches!(ann.patch(&ann.key, demoted()).await, Changed::LastAdministrator));
    assert!(matches!(ann.patch(&ann.key, demoted()).await, Changed::LastAdministrator), "and is read so");
    // The IdP goes, with Amy of it.
    let (ann, table, amy) = two(true).await;
    assert!(matches!(ann.patch(&amy, flipped()).await, Changed::Done(_)));
    quicker(&ann, &table, Action::Remove(attr("idp")));
    assert!(matches!(ann.patch(&ann.key, flipped()).await, Changed::LastAdministrator));
    // Amy changes to the IdP's door before there is one.
    let (ann, table, amy) = two(false).await;
    quicker(&ann, &table, Action::Set(act(&amy), Value::Bool(false)));
    assert!(matches!(ann.patch(&ann.key, flipped()).await, Changed::LastAdministrator));
    // The last who signs in by a password goes over, and the IdP stays.
    let (ann, table, amy) = two(true).await;
    assert!(matches!(ann.patch(&amy, flipped()).await, Changed::Done(_)));
    let admin = ann.admin(&ann.session_of(&ann.key).await).await;
    quicker(&ann, &table, Action::Set(act(&ann.key), Value::Bool(false)));
    let ended = ann.store.remove_idp(&admin, &attempt(NOW), &ann.event()).await.unwrap();
    assert_eq!(ended, IdpRemoved::Needed);
}
