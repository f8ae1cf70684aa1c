//! An unavailable key service, and secrets moved between users.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use async_trait::async_trait;
use axum::http::Method;
use serde_json::json;
use tests::{TestRequest, log::Log};
use tracing_subscriber::{filter::LevelFilter, util::SubscriberInitExt};
use vestibule::{
    env::Entropy,
    secret::{FactorRef, KeyRing, SealError, SealedSecret, Sealer, TotpSecret},
};

use super::{Harness, assert_can_sign_in, assert_valid_session, begin_enrolment, enrol_bob_and_ann, number, post};

/// A key service that can be made unavailable.
struct UnreliableKeyService {
    ring: KeyRing,
    is_unavailable: Arc<AtomicBool>,
}

impl UnreliableKeyService {
    fn available(&self) -> Result<&KeyRing, SealError> {
        let is_unavailable = self.is_unavailable.load(SeqCst);
        if is_unavailable { Err(SealError::Unavailable("KMSInvalidStateException".into())) } else { Ok(&self.ring) }
    }
}

#[async_trait]
impl Sealer for UnreliableKeyService {
    async fn seal(&self, secret: &TotpSecret, entropy: &dyn Entropy) -> Result<SealedSecret, SealError> {
        self.available()?.seal(secret, entropy).await
    }

    async fn open(&self, owner: FactorRef, sealed: &SealedSecret) -> Result<TotpSecret, SealError> {
        self.available()?.open(owner, sealed).await
    }

    async fn outdated(&self, sealed: &SealedSecret) -> bool {
        self.ring.outdated(sealed).await
    }
}

/// X12
#[tokio::test]
async fn unavailable_key_grants_and_stores_nothing() {
    let is_unavailable = Arc::new(AtomicBool::new(false));
    let harness =
        Harness::new(|ring| Arc::new(UnreliableKeyService { ring, is_unavailable: Arc::clone(&is_unavailable) })).await;
    let mut users = harness.service.add_users().await;
    let ann = enrol_bob_and_ann(&harness, &mut users).await;
    let created = harness
        .service
        .send(TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(&users["bob"].session))
        .await;
    let recovery = created.ok().text("/recovery_token");
    let eve = begin_enrolment(&harness, users.get_mut("eve").unwrap(), json!({})).await;
    let amy = harness.service.enrolment_token(&users["amy"]).await;
    let bob = users.get_mut("bob").unwrap();
    let token = harness.service.challenge_token(bob).await;
    let code = harness.service.next_code(bob);
    let verify = post("/v1/verify", &token, json!({"code": code}));
    let requests = [
        verify.clone(),
        post("/v1/verify", &token, json!({"code": harness.service.wrong_code(bob)})),
        post("/v1/step-up", &bob.session, json!({"code": code})),
        eve.clone(),
        post("/v1/mfa/enrolments", &amy, json!({})),
        post("/v1/mfa/enrolments", &ann, json!({})),
    ];
    is_unavailable.store(true, SeqCst);
    let before: Vec<_> = ["ann", "amy", "bob", "eve"].map(|name| harness.user_item(&users[name])).into();
    for request in &requests {
        let reply = harness.service.send(request.clone()).await;
        assert!(reply.is(503, "unavailable") && reply.headers.contains_key("retry-after"), "{reply:?}");
        harness.assert_consistent("a try without the key");
    }
    for (name, before) in ["ann", "amy", "bob", "eve"].into_iter().zip(&before) {
        let now = harness.user_item(&users[name]);
        for kept in ["ep", "fs", "fid", "sec", "ls", "rk", "s"] {
            assert_eq!(now[kept], before[kept], "{name} {kept}");
        }
        // The attempts count nevertheless, also that of a code that could not be checked.
        let tried = if name == "bob" { 3 } else { 0 };
        assert_eq!(number(&now["row"]) - number(&before["row"]), tried, "{name}");
    }
    assert_eq!(harness.user_item(&users["amy"]).get("pe"), None, "no unsealed secret is stored");
    // MFA is unchanged: the password opens a challenge only, and the recovery token works once.
    let token = harness.service.challenge_token(&users["bob"]).await;
    let recovered = harness.service.verify(&token, &recovery).await.ok();
    assert_valid_session(&harness, &recovered.text("/session/token")).await;
    let token = harness.service.challenge_token(&users["bob"]).await;
    assert!(harness.service.verify(&token, &recovery).await.is(401, "invalid_code"));
    is_unavailable.store(false, SeqCst);
    // Afterwards everything works again, and no code was spent.
    harness.service.send(verify).await.ok();
    harness.service.send(eve).await.ok();
    harness.service.post("/v1/mfa/enrolments", &amy, json!({})).await.ok();
}

/// X13
#[tokio::test]
async fn secret_copied_to_another_user_is_refused_and_reported() {
    let harness = Harness::new(|ring| Arc::new(ring)).await;
    let mut users = harness.service.add_users().await;
    enrol_bob_and_ann(&harness, &mut users).await;
    let (ann, bob) = (harness.user_item(&users["ann"]), harness.user_item(&users["bob"]));
    let log = Log::default();
    for copied in [&["sec"][..], &["sec", "fid"], &["sec", "fid", "born"]] {
        harness.service.advance(901);
        copied.iter().for_each(|name| harness.put(&users["ann"], name, bob[*name].clone()));
        let token = harness.service.challenge_token(&users["ann"]).await;
        let subscriber = tracing_subscriber::fmt().without_time().with_ansi(false).with_max_level(LevelFilter::WARN);
        let _collected = subscriber.with_writer(log.clone()).set_default();
        for name in ["ann", "bob"] {
            let code = tests::totp_code(&users[name].secret, harness.service.step());
            let reply = harness.service.verify(&token, &code).await;
            assert!(reply.is(503, "unavailable"), "{copied:?} {name}: {reply:?}");
            let said = log.take();
            assert!(said.contains("ERROR") && said.contains("does not belong to this factor"), "{said}");
        }
    }
    ["sec", "fid", "born"].iter().for_each(|name| harness.put(&users["ann"], name, ann[*name].clone()));
    harness.service.advance(901);
    assert_can_sign_in(&harness, users.get_mut("ann").unwrap()).await;
    assert_can_sign_in(&harness, users.get_mut("bob").unwrap()).await;
}
