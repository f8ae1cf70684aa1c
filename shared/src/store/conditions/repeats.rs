//! Writes that are sent twice, because their first reply was lost: each has its effect once.

use async_trait::async_trait;

use super::*;
use crate::{
    domain::{Factor, User},
    store::{
        StoreError, Table,
        fixture::{PASSWORD, STEP},
        item,
        table::{Query, Transacted, Transaction, Updated},
    },
};

/// A table that sends each update twice that may be sent twice.
#[derive(Default)]
struct RepeatingTable(MemoryTable);

#[async_trait]
impl Table for RepeatingTable {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.0.read(keys).await
    }

    async fn update(&self, write: &Write, retry: Retry) -> Result<Updated, StoreError> {
        let first = self.0.update(write, retry).await;
        if retry == Retry::Idempotent { self.0.update(write, retry).await } else { first }
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        self.0.transact(transaction).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        self.0.query(query).await
    }
}

async fn repeating(challenges: usize) -> (Ann, Vec<TokenRef>) {
    ann_of("acme", Arc::new(RepeatingTable::default()), challenges).await
}

#[tokio::test]
async fn attempt_of_a_known_device_is_counted_once() {
    let (ann, challenges) = repeating(1).await;
    let device = ann.signed_in(&challenges[0], STEP, NOW).await.unwrap().device.unwrap();
    let device = device.reference();
    assert_eq!(ann.password("wrong", Some(device), NOW).await.err().unwrap().failures(), 1);
    assert_eq!(ann.read(&ann.key).await.devices[device.id()].attempts, 1);
}

#[tokio::test]
async fn challenge_and_enrolment_token_are_opened_once() {
    let (ann, _) = repeating(0).await;
    let challenge = ann.challenge(None, NOW).await;
    let challenges = ann.read(&ann.key).await.challenges;
    assert!(challenges.len() == 1 && challenges.contains_key(challenge.id()));
    let without_factor = User { factor: Factor::None, ..ann.read(&ann.key).await };
    ann.put(Write::put(keys::user(&ann.key), item::write(&without_factor).unwrap())).await;
    let enrolment = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
    let (token, _) = ann.opened(enrolment, "10.0.0").await.unwrap();
    let enrolments = ann.read(&ann.key).await.enrolments;
    assert!(enrolments.len() == 1 && enrolments.contains_key(token.reference().id()));
}

#[tokio::test]
async fn attempt_at_the_own_password_is_counted_once() {
    let (ann, _) = repeating(0).await;
    let session = ann.session_of(&ann.key).await;
    let caller = ann.store.read_session(&session, NOW).await.unwrap();
    assert!(ann.own_password(&caller, "wrong", NOW).await.is_err());
    assert_eq!(ann.read(&ann.key).await.sessions[session.id()].password_attempts, 1);
}
