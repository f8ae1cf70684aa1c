//! A crowd of 32 requests about one user at the same moment, and how often commits were refused because another write came
//! first. The figures are in docs/adr/0017.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::http::Method;
use serde_json::json;
use tokio::sync::Barrier;
use vestibule::{
    env::SystemEntropy,
    store::{
        StoreError, Table,
        table::{Query, Retry, Transacted, Transaction, Updated},
        write::{Item, Key, Write},
    },
};

use crate::{Service, TestRequest, totp_code, user_mut};

/// A table that counts transactions, and those that were refused.
struct CountingTable {
    inner: Arc<dyn Table>,
    transactions: AtomicUsize,
    refused: AtomicUsize,
}

#[async_trait::async_trait]
impl Table for CountingTable {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.inner.read(keys).await
    }

    async fn update(&self, write: &Write, retry: Retry) -> Result<Updated, StoreError> {
        self.inner.update(write, retry).await
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        let done = self.inner.transact(transaction).await;
        self.transactions.fetch_add(1, Ordering::Relaxed);
        if matches!(done, Ok(Transacted::Refused(_))) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        self.inner.query(query).await
    }
}

/// The outcome of a crowd.
#[derive(Debug)]
pub struct Crowd {
    /// Transactions, including refused ones.
    pub transactions: usize,
    /// Refused transactions. Each is one retry of one request, or its end.
    pub refused: usize,
    /// Requests that were answered 503.
    pub unavailable: usize,
    /// Requests that verified a code and signed in.
    pub signed_in: usize,
}

/// Sends 32 requests about bob at once: 8 right codes, 16 sign-ins with the right password and 8 resets by Administrators.
///
/// # Panics
/// If the setup fails.
pub async fn send(table: Arc<dyn Table>) -> Crowd {
    let keys = local::data_dir::DataDir::ephemeral(&SystemEntropy).unwrap().keys;
    let table =
        Arc::new(CountingTable { inner: table, transactions: AtomicUsize::new(0), refused: AtomicUsize::new(0) });
    let service = Arc::new(Service::with_table(Arc::clone(&table) as Arc<dyn Table>, keys));
    let mut users = service.add_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    service.advance(60);
    let right = totp_code(&bob.secret, service.step());
    let mut requests = Vec::new();
    for _ in 0..8 {
        let challenge = service.challenge_token(bob).await;
        requests.push(TestRequest::new(Method::POST, "/v1/verify").token(&challenge).json(json!({"code": right})));
        requests.push(
            TestRequest::new(Method::POST, "/v1/admin/users/u-bob/mfa-reset").token(&ann).json(json!({"reason": "r"})),
        );
        let login = json!({"tenant": "acme", "username": "bob", "password": bob.password});
        for network in 0..2 {
            requests.push(TestRequest::new(Method::POST, "/v1/login").json(login.clone()).from([10, 0, network, 1]));
        }
    }
    let before = (table.transactions.load(Ordering::Relaxed), table.refused.load(Ordering::Relaxed));
    let barrier = Arc::new(Barrier::new(requests.len()));
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let (service, barrier) = (Arc::clone(&service), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                let verifies = request.path == "/v1/verify";
                (verifies, service.send(request).await)
            })
        })
        .collect();
    let replies = futures_util::future::join_all(tasks).await;
    let replies: Vec<_> = replies.into_iter().map(Result::unwrap).collect();
    Crowd {
        transactions: table.transactions.load(Ordering::Relaxed) - before.0,
        refused: table.refused.load(Ordering::Relaxed) - before.1,
        unavailable: replies.iter().filter(|(_, reply)| reply.status == 503).count(),
        signed_in: replies.iter().filter(|(verifies, reply)| *verifies && reply.status == 200).count(),
    }
}
