//! Authenticators' secrets and the keys they are sealed under: what was sealed under an older one moves to the newest when it
//! is used, and the older one can be dropped then.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use async_trait::async_trait;
use data_encoding::BASE64;
use serde_json::{Value, json};
use tests::{
    Person, Service,
    emulator::{self, Database},
    faulty::Script,
};
use vestibule::{
    env::Entropy,
    secret::{CodeKey, FactorRef, KeyRing, NameKey, SealError, SealedSecret, Sealer, TotpSecret},
    store::{Table, dynamo::DynamoTable},
};

/// One store; services come and go, each with a ring of its own.
struct World {
    table: Arc<DynamoTable>,
    script: Script,
    database: Database,
}

fn ring(numbers: &[u8]) -> KeyRing {
    KeyRing::new(numbers.iter().map(|number| (u64::from(*number), [*number; 32].into())).collect()).unwrap()
}

impl World {
    async fn new() -> Self {
        let (script, database) = (Script::default(), Database::memory().unwrap());
        let table = emulator::table_in(database.clone(), |inner| script.between(inner)).await.patient();
        Self { table: Arc::new(table), script, database }
    }

    /// A service that starts so many seconds after the beginning.
    fn starts(&self, sealer: impl Sealer + 'static, seconds: u64) -> Service {
        let table = Arc::clone(&self.table) as Arc<dyn Table>;
        let (names, codes) = (NameKey::new([8; 32].into()), CodeKey::new([9; 32].into()));
        let service = Service::sealed_by(Arc::new(sealer), table, names, codes);
        service.pass(seconds);
        service
    }

    /// Somebody's sealed secret.
    fn sealed(&self, person: &Person) -> Vec<u8> {
        let key = json!({"PK": {"S": format!("T#{}#U#{}", person.tenant, person.id)}, "SK": {"S": "U"}});
        let get = serde_json::from_value(json!({"TableName": "vestibule", "Key": key})).unwrap();
        let found = serde_json::to_value(self.database.get_item(get).unwrap()).unwrap();
        BASE64.decode(found["Item"]["sec"]["B"].as_str().unwrap().as_bytes()).unwrap()
    }

    /// The number of the key it is sealed under.
    fn number(&self, person: &Person) -> u8 {
        let sealed = self.sealed(person);
        assert_eq!((sealed.len(), &sealed[..8]), (57, &[1, 0, 0, 0, 0, 0, 0, 0][..]));
        sealed[8]
    }

    /// A sign-in's calls; and of its last one, a transaction, what is written: each item's operation and sort key.
    async fn signs_in(&self, service: &Service, person: &mut Person) -> (Vec<String>, Vec<Value>) {
        self.script.fine();
        service.sign_in(person).await;
        let last = self.script.sent("TransactWriteItems").pop().unwrap();
        let writes = last["TransactItems"].as_array().unwrap().iter().map(|write| {
            let (operation, write) = write.as_object().unwrap().iter().next().unwrap();
            // An audit row's key has its moment.
            json!([operation, write["Key"]["SK"]["S"]])
        });
        (self.script.called(), writes.collect())
    }
}

#[tokio::test]
async fn a_secret_moves_to_the_newest_key_when_it_is_used_and_costs_nothing() {
    let world = World::new().await;
    let service = world.starts(ring(&[1]), 0);
    let mut people = service.populate().await;
    let (mut bob, mut eve) = (people.remove("bob").unwrap(), people.remove("eve").unwrap());
    service.enrol(&mut bob).await;
    service.enrol(&mut eve).await;
    let before = world.signs_in(&service, &mut bob).await;
    assert_eq!((world.number(&bob), before.1.len()), (1, 2));

    let service = world.starts(ring(&[1, 2]), 300);
    let kept = world.sealed(&bob);
    let challenge = service.challenge(&bob).await;
    let wrong = service.verify(&challenge, &service.wrong(&bob)).await;
    assert!(wrong.is(401, "invalid_code"), "{wrong:?}");
    assert_eq!(world.sealed(&bob), kept, "a wrong code moves nothing");
    assert_eq!(world.signs_in(&service, &mut bob).await, before, "as many calls, and a transaction of the same items");
    assert_eq!(world.number(&bob), 2);
    let kept = world.sealed(&bob);
    service.sign_in(&mut bob).await;
    assert_eq!(world.sealed(&bob), kept, "moved once");
    let code = service.code(&mut eve);
    service.post("/v1/step-up", &eve.session, json!({"code": code})).await.ok();
    assert_eq!(world.number(&eve), 2, "a step-up moves it too");

    let service = world.starts(ring(&[2]), 900);
    service.sign_in(&mut bob).await;
    service.sign_in(&mut eve).await;
    let service = world.starts(ring(&[1]), 1_500);
    let challenge = service.challenge(&bob).await;
    let code = service.code(&mut bob);
    let denied = service.verify(&challenge, &code).await;
    assert!(denied.is(503, "unavailable"), "without the key: {denied:?}");
}

/// Opens, and seals nothing.
struct Torn(KeyRing);

#[async_trait]
impl Sealer for Torn {
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
async fn a_right_code_is_not_denied_because_its_secret_stays_where_it_is() {
    let world = World::new().await;
    let service = world.starts(ring(&[1]), 0);
    let mut bob = service.populate().await.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let kept = world.sealed(&bob);
    let service = world.starts(Torn(ring(&[1, 2])), 300);
    service.sign_in(&mut bob).await;
    assert_eq!(world.sealed(&bob), kept);
}
