//! Secrets of authenticator apps and the keys that seal them: a secret under an older key moves to the newest when it
//! is used, so the older key can be removed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use async_trait::async_trait;
use data_encoding::BASE64;
use serde_json::{Value, json};
use tests::{
    Service, TestUser,
    emulator::{self, Database},
    faulty::Script,
};
use vestibule::{
    env::Entropy,
    secret::{CodeKey, FactorRef, KeyRing, NameKey, SealError, SealedSecret, Sealer, TotpSecret},
    store::{Table, dynamo::DynamoTable},
};

/// One store, served by several services, each with its own key ring.
struct Harness {
    table: Arc<DynamoTable>,
    script: Script,
    database: Database,
}

fn ring(numbers: &[u8]) -> KeyRing {
    KeyRing::new(numbers.iter().map(|number| (u64::from(*number), [*number; 32].into())).collect()).unwrap()
}

impl Harness {
    async fn new() -> Self {
        let (script, database) = (Script::default(), Database::memory().unwrap());
        let table = emulator::table_in(database.clone(), |inner| script.wrap_client(inner)).await.patient();
        Self { table: Arc::new(table), script, database }
    }

    /// Starts a service at a time after the beginning, in seconds.
    fn start_service(&self, sealer: impl Sealer + 'static, seconds: u64) -> Service {
        let table = Arc::clone(&self.table) as Arc<dyn Table>;
        let (names, codes) = (NameKey::new([8; 32].into()), CodeKey::new([9; 32].into()));
        let service = Service::with_sealer(Arc::new(sealer), table, names, codes);
        service.advance(seconds);
        service
    }

    /// A user's sealed secret.
    fn sealed(&self, user: &TestUser) -> Vec<u8> {
        let key = json!({"PK": {"S": format!("T#{}#U#{}", user.tenant, user.id)}, "SK": {"S": "U"}});
        let get = serde_json::from_value(json!({"TableName": "vestibule", "Key": key})).unwrap();
        let found = serde_json::to_value(self.database.get_item(get).unwrap()).unwrap();
        BASE64.decode(found["Item"]["sec"]["B"].as_str().unwrap().as_bytes()).unwrap()
    }

    /// The number of the key that seals it.
    fn number(&self, user: &TestUser) -> u8 {
        let sealed = self.sealed(user);
        assert_eq!((sealed.len(), &sealed[..8]), (57, &[1, 0, 0, 0, 0, 0, 0, 0][..]));
        sealed[8]
    }

    /// The store calls of a sign-in, and the operation and sort key of each write in its transaction.
    async fn sign_in_calls(&self, service: &Service, user: &mut TestUser) -> (Vec<String>, Vec<Value>) {
        self.script.fine();
        service.sign_in(user).await;
        let last = self.script.sent("TransactWriteItems").pop().unwrap();
        let writes = last["TransactItems"].as_array().unwrap().iter().map(|write| {
            let (operation, write) = write.as_object().unwrap().iter().next().unwrap();
            // The key of an audit row contains the time.
            json!([operation, write["Key"]["SK"]["S"]])
        });
        (self.script.called(), writes.collect())
    }
}

#[tokio::test]
async fn used_secret_moves_to_the_newest_key_at_no_cost() {
    let harness = Harness::new().await;
    let service = harness.start_service(ring(&[1]), 0);
    let mut users = service.add_users().await;
    let (mut bob, mut eve) = (users.remove("bob").unwrap(), users.remove("eve").unwrap());
    service.enrol(&mut bob).await;
    service.enrol(&mut eve).await;
    let before = harness.sign_in_calls(&service, &mut bob).await;
    assert_eq!((harness.number(&bob), before.1.len()), (1, 2));

    let service = harness.start_service(ring(&[1, 2]), 300);
    let kept = harness.sealed(&bob);
    let challenge = service.challenge_token(&bob).await;
    let wrong = service.verify(&challenge, &service.wrong_code(&bob)).await;
    assert!(wrong.is(401, "invalid_code"), "{wrong:?}");
    assert_eq!(harness.sealed(&bob), kept, "a wrong code moves nothing");
    assert_eq!(
        harness.sign_in_calls(&service, &mut bob).await,
        before,
        "as many calls, and a transaction of the same items"
    );
    assert_eq!(harness.number(&bob), 2);
    let kept = harness.sealed(&bob);
    service.sign_in(&mut bob).await;
    assert_eq!(harness.sealed(&bob), kept, "moved once");
    let code = service.next_code(&mut eve);
    service.post("/v1/step-up", &eve.session, json!({"code": code})).await.ok();
    assert_eq!(harness.number(&eve), 2, "a step-up moves it too");

    let service = harness.start_service(ring(&[2]), 900);
    service.sign_in(&mut bob).await;
    service.sign_in(&mut eve).await;
    let service = harness.start_service(ring(&[1]), 1_500);
    let challenge = service.challenge_token(&bob).await;
    let code = service.next_code(&mut bob);
    let denied = service.verify(&challenge, &code).await;
    assert!(denied.is(503, "unavailable"), "the key is missing: {denied:?}");
}

/// A sealer that opens, but cannot seal.
struct OpenOnly(KeyRing);

#[async_trait]
impl Sealer for OpenOnly {
    async fn seal(&self, _: &TotpSecret, _: &dyn Entropy) -> Result<SealedSecret, SealError> {
        Err(SealError::Unavailable("torn".into()))
    }

    async fn open(&self, owner: FactorRef, sealed: &SealedSecret) -> Result<TotpSecret, SealError> {
        self.0.open(owner, sealed).await
    }

    async fn outdated(&self, sealed: &SealedSecret) -> bool {
        self.0.outdated(sealed).await
    }
}

#[tokio::test]
async fn failed_key_rotation_does_not_refuse_a_right_code() {
    let harness = Harness::new().await;
    let service = harness.start_service(ring(&[1]), 0);
    let mut bob = service.add_users().await.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let kept = harness.sealed(&bob);
    let service = harness.start_service(OpenOnly(ring(&[1, 2])), 300);
    service.sign_in(&mut bob).await;
    assert_eq!(harness.sealed(&bob), kept);
}
