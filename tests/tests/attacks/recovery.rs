//! Section R: recovery tokens.

use std::collections::BTreeSet;

use serde_json::json;
use tests::{Service, user_mut};

use super::{exclude, recovery_token, reset};

/// R06, R08, R11
#[tokio::test]
async fn recovery_token_has_128_bits_and_works_once_in_any_spelling() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let (mut tokens, mut symbols) = (BTreeSet::new(), BTreeSet::new());
    let mut shown = String::new();
    for _ in 0..40 {
        shown = recovery_token(&service, &bob.session).await;
        let compact = shown.replace('-', "");
        assert_eq!(compact.len(), 26);
        assert!(compact.chars().all(|symbol| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(symbol)), "{compact}");
        symbols.extend(compact.chars());
        tokens.insert(compact[..13].to_owned());
        tokens.insert(compact[13..].to_owned());
    }
    assert_eq!((tokens.len(), symbols.len()), (80, 32));
    let compact = shown.replace('-', "");
    let spellings = [
        compact.to_lowercase().replace('0', "o").replace('1', "l"),
        compact.replace('0', "O").replace('1', "I"),
        compact.replace('1', "i"),
        compact.chars().map(|symbol| format!(" -{symbol}")).collect(),
        shown.clone(),
        compact.clone(),
    ];
    let pending = |n: usize| format!("{}{n}", &compact[..25]).chars().rev().collect::<String>();
    let challenge = service.challenge_token(bob).await;
    for n in 0..5 {
        assert!(service.verify(&challenge, &pending(n)).await.is(401, "invalid_code"));
    }
    assert!(service.verify(&challenge, &shown).await.is(401, "invalid_token"), "five wrong tokens end the challenge");
    let challenge = service.challenge_token(bob).await;
    assert_eq!(service.verify(&challenge, &spellings[0]).await.ok().body["session"]["amr"], json!(["pwd", "recovery"]));
    for spelling in &spellings[..5] {
        let challenge = service.challenge_token(bob).await;
        assert!(service.verify(&challenge, spelling).await.is(401, "invalid_code"), "{spelling}");
    }
}

/// R09
#[tokio::test]
async fn recovered_session_cannot_administer_or_disable_mfa() {
    let (service, mut users) = Service::with_users().await;
    let ann = user_mut(&mut users, "ann");
    service.enrol(ann).await;
    let shown = recovery_token(&service, &ann.session).await;
    let challenge = service.challenge_token(ann).await;
    let reply = service.verify(&challenge, &shown).await.ok();
    let recovered = reply.text("/session/token");
    let current = service.get("/v1/session", &recovered).await.ok();
    assert_eq!(current.body["session"]["amr"], json!(["pwd", "recovery"]));
    assert!(current.body["session"].get("step_up_until").is_none());
    assert_eq!(current.body["recovery_token"]["exists"], false);
    assert_eq!(service.get("/v1/mfa", &recovered).await.ok().text("/status"), "active");
    for reply in [
        reset(&service, &recovered, "u-bob").await,
        exclude(&service, &recovered, "k", &["u-con1"], true).await,
        service.patch("/v1/admin/users/u-bob", &recovered, json!({"role": "administrator"})).await,
        service.patch("/v1/admin/settings", &recovered, json!({"reset_code_for": "everyone"})).await,
        service.post("/v1/admin/clients", &recovered, json!({"name": "c"})).await,
        service.delete("/v1/admin/users/u-bob", &recovered).await,
    ] {
        assert!(reply.is(401, "step_up_required"), "{reply:?}");
    }
    let body = json!({"current_password": ann.password, "new_password": "quite another password"});
    assert!(service.post("/v1/password", &recovered, body).await.is(401, "step_up_required"));
    assert!(service.post("/v1/step-up", &recovered, json!({"code": shown})).await.is(400, "malformed_code"));
    assert_eq!(service.login(ann).await.ok().text("/status"), "mfa_required");
}
