//! The key service on a bad day.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use async_trait::async_trait;
use axum::http::Method;
use serde_json::json;
use tests::{Ask, log::Log};
use tracing_subscriber::{filter::LevelFilter, util::SubscriberInitExt};
use vestibule::{
    env::Entropy,
    secret::{FactorRef, KeyRing, SealError, SealedSecret, Sealer, TotpSecret},
};

use super::{World, gets_in, number, office, pending, post, works};

/// The key service: out of reach while it is told to be.
struct Moody {
    ring: KeyRing,
    away: Arc<AtomicBool>,
}

impl Moody {
    fn here(&self) -> Result<&KeyRing, SealError> {
        let away = self.away.load(SeqCst);
        if away { Err(SealError::Unavailable("KMSInvalidStateException".into())) } else { Ok(&self.ring) }
    }
}

#[async_trait]
impl Sealer for Moody {
    async fn seal(&self, secret: &TotpSecret, entropy: &dyn Entropy) -> Result<SealedSecret, SealError> {
        self.here()?.seal(secret, entropy).await
    }

    async fn open(&self, owner: FactorRef, sealed: &SealedSecret) -> Result<TotpSecret, SealError> {
        self.here()?.open(owner, sealed).await
    }

    async fn outdated(&self, sealed: &SealedSecret) -> bool {
        self.ring.outdated(sealed).await
    }
}

/// X12
#[tokio::test]
async fn without_the_key_nothing_is_granted_and_nothing_stored() {
    let away = Arc::new(AtomicBool::new(false));
    let world = World::new(|ring| Arc::new(Moody { ring, away: Arc::clone(&away) })).await;
    let mut people = world.service.populate().await;
    let ann = office(&world, &mut people).await;
    let made = world.service.send(Ask::new(Method::POST, "/v1/mfa/recovery-token").token(&people["bob"].session)).await;
    let recovery = made.ok().text("/recovery_token");
    let eve = pending(&world, people.get_mut("eve").unwrap(), json!({})).await;
    let amy = world.service.enrolment(&people["amy"]).await;
    let bob = people.get_mut("bob").unwrap();
    let token = world.service.challenge(bob).await;
    let code = world.service.code(bob);
    let verify = post("/v1/verify", &token, json!({"code": code}));
    let asks = [
        verify.clone(),
        post("/v1/verify", &token, json!({"code": world.service.wrong(bob)})),
        post("/v1/step-up", &bob.session, json!({"code": code})),
        eve.clone(),
        post("/v1/mfa/enrolments", &amy, json!({})),
        post("/v1/mfa/enrolments", &ann, json!({})),
    ];
    away.store(true, SeqCst);
    let before: Vec<_> = ["ann", "amy", "bob", "eve"].map(|name| world.user(&people[name])).into();
    for ask in &asks {
        let reply = world.service.send(ask.clone()).await;
        assert!(reply.is(503, "unavailable") && reply.headers.contains_key("retry-after"), "{reply:?}");
        world.sound("a try without the key");
    }
    for (name, before) in ["ann", "amy", "bob", "eve"].into_iter().zip(&before) {
        let now = world.user(&people[name]);
        for kept in ["ep", "fs", "fid", "sec", "ls", "rk", "s"] {
            assert_eq!(now[kept], before[kept], "{name} {kept}");
        }
        // The tries count all the same: also a guess that could not be looked at.
        let tried = if name == "bob" { 3 } else { 0 };
        assert_eq!(number(&now["row"]) - number(&before["row"]), tried, "{name}");
    }
    assert_eq!(world.user(&people["amy"]).get("pe"), None, "no secret is kept that cannot be sealed");
    // MFA stays what it was: the password opens a challenge and no more, and a recovery token is one, once.
    let token = world.service.challenge(&people["bob"]).await;
    let recovered = world.service.verify(&token, &recovery).await.ok();
    works(&world, &recovered.text("/session/token")).await;
    let token = world.service.challenge(&people["bob"]).await;
    assert!(world.service.verify(&token, &recovery).await.is(401, "invalid_code"));
    away.store(false, SeqCst);
    // It recovers by itself, and no code was spent.
    world.service.send(verify).await.ok();
    world.service.send(eve).await.ok();
    world.service.post("/v1/mfa/enrolments", &amy, json!({})).await.ok();
}

/// X13
#[tokio::test]
async fn a_secret_copied_to_another_person_opens_nothing_and_is_an_alarm() {
    let world = World::new(|ring| Arc::new(ring)).await;
    let mut people = world.service.populate().await;
    office(&world, &mut people).await;
    let (ann, bob) = (world.user(&people["ann"]), world.user(&people["bob"]));
    let log = Log::default();
    for copied in [&["sec"][..], &["sec", "fid"], &["sec", "fid", "born"]] {
        world.service.pass(901);
        copied.iter().for_each(|name| world.put(&people["ann"], name, bob[*name].clone()));
        let token = world.service.challenge(&people["ann"]).await;
        let subscriber = tracing_subscriber::fmt().without_time().with_ansi(false).with_max_level(LevelFilter::WARN);
        let _collected = subscriber.with_writer(log.clone()).set_default();
        for name in ["ann", "bob"] {
            let code = tests::code(&people[name].secret, world.service.step());
            let reply = world.service.verify(&token, &code).await;
            assert!(reply.is(503, "unavailable"), "{copied:?} {name}: {reply:?}");
            let said = log.take();
            assert!(said.contains("ERROR") && said.contains("does not belong to this factor"), "{said}");
        }
    }
    ["sec", "fid", "born"].iter().for_each(|name| world.put(&people["ann"], name, ann[*name].clone()));
    world.service.pass(901);
    gets_in(&world, people.get_mut("ann").unwrap()).await;
    gets_in(&world, people.get_mut("bob").unwrap()).await;
}
