//! Concurrent requests to one endpoint and to pairs of endpoints. What may happen once happens once, and every end
//! state could also result from the same requests in sequence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod administration;
mod credentials;

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Reply, Service, TestRequest, TestUser, TestUsers};
use tokio::sync::Barrier;

/// Number of concurrent requests.
const CONCURRENT: usize = 32;

async fn with_users() -> (Arc<Service>, TestUsers) {
    let (service, users) = Service::with_users().await;
    (Arc::new(service), users)
}

fn post(path: &str, token: &str, body: Value) -> TestRequest {
    TestRequest::new(Method::POST, path).token(token).json(body)
}

fn patch(path: &str, token: &str, body: Value) -> TestRequest {
    TestRequest::new(Method::PATCH, path).token(token).json(body)
}

fn verify(challenge: &str, code: &str) -> TestRequest {
    post("/v1/verify", challenge, json!({"code": code}))
}

fn login(user: &TestUser, password: &str) -> TestRequest {
    let body = json!({"tenant": user.tenant, "username": user.username, "password": password});
    TestRequest::new(Method::POST, "/v1/login").json(body)
}

fn reset(admin: &str, id: &str) -> TestRequest {
    post(&format!("/v1/admin/users/{id}/mfa-reset"), admin, json!({"reason": "r"}))
}

fn exclusion(admin: &str, key: &str, ids: &[&str], disable: bool) -> TestRequest {
    let body = json!({"contact_ids": ids, "disable_mfa": disable, "reason": "r"});
    post("/v1/admin/portal-exclusions", admin, body).header("idempotency-key", key)
}

/// Sends all requests at once, from tasks that wait for each other. Returns the replies in the order of the requests.
async fn send_together(service: &Arc<Service>, requests: Vec<TestRequest>) -> Vec<Reply> {
    let barrier = Arc::new(Barrier::new(requests.len()));
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let (service, barrier) = (Arc::clone(service), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                service.send(request).await
            })
        })
        .collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.unwrap());
    }
    replies
}

/// Inserts a few requests of another kind among many, at positions that depend on the round.
fn mixed(most: Vec<TestRequest>, few: Vec<TestRequest>, round: usize) -> Vec<TestRequest> {
    let mut all = most;
    for (n, request) in few.into_iter().enumerate() {
        let at = (round * 7 + n * 5) % (all.len() + 1);
        all.insert(at, request);
    }
    all
}

fn successes(replies: &[Reply]) -> Vec<&Reply> {
    replies.iter().filter(|reply| reply.status.is_success()).collect()
}

fn count(replies: &[Reply], status: u16, code: &str) -> usize {
    replies.iter().filter(|reply| reply.is(status, code)).count()
}

/// The session tokens in these replies.
fn sessions(replies: &[Reply]) -> Vec<String> {
    let token = |reply: &Reply| Some(reply.body.pointer("/session/token")?.as_str()?.to_owned());
    replies.iter().filter_map(token).collect()
}

async fn assert_all_ended(service: &Service, sessions: &[String]) {
    for session in sessions {
        let reply = service.get("/v1/session", session).await;
        assert_eq!(reply.status, 401, "a session is still live: {reply:?}");
    }
}
