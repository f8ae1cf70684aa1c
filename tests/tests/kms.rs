//! Secrets sealed under data keys that KMS unwraps, through the real handlers, against the emulated KMS at `KMS_EMULATOR`
//! (`.ci/with-kms`). What the emulator does not do (refuse a disabled key, throttle, keep silent) is injected below the SDK.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{sync::Arc, time::Duration};

use aws_sdk_kms::{
    Client,
    config::Credentials,
    primitives::Blob,
    types::{KeySpec, KeyUsageType},
};
use data_encoding::{BASE64, HEXLOWER};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{
    BEGIN, People, Person, Service,
    emulator::{self, Database},
    faulty::{Fault, Script},
    log::Log,
};
use vestibule::{
    env::{Clock, SystemEntropy, TestClock},
    id::{TenantId, UserId},
    kms::{self, DATA_KEY_SEALS, DATA_KEYS_CACHED, KmsSealer},
    secret::{CodeKey, FactorRef, NameKey, Nonce, SealError, Sealer, TotpSecret},
    store::{Store, Table, data_keys::WrappedKey, dynamo::DynamoTable},
    tls_roots::TlsRoots,
};

const THROTTLED: Fault = Fault::Answer(400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#);
const DISABLED: Fault = Fault::Answer(400, r#"{"__type":"DisabledException","message":"arn:key is disabled."}"#);
const DENIED: Fault = Fault::Answer(400, r#"{"__type":"AccessDeniedException","Message":"not authorized"}"#);

fn client(script: &Script) -> Client {
    let url = std::env::var("KMS_EMULATOR").expect("run it by .ci/with-kms");
    let credentials = Credentials::new("test", "test", None, None, "test");
    let http = script.between(TlsRoots::read(None).unwrap().http_client());
    kms::client("eu-central-1".into(), credentials, Some(url), http)
}

async fn sealing_key(client: &Client) -> String {
    client.create_key().send().await.unwrap().key_metadata.unwrap().key_id
}

async fn hmac_key(client: &Client) -> String {
    let key = client.create_key().key_spec(KeySpec::Hmac256).key_usage(KeyUsageType::GenerateVerifyMac);
    key.send().await.unwrap().key_metadata.unwrap().key_id
}

/// One store and one KMS key. Instances come and go; their caches age by a clock of their own.
struct World {
    kms: Script,
    key: String,
    clock: Arc<TestClock>,
    table: Arc<DynamoTable>,
    database: Database,
}

impl World {
    async fn new() -> Self {
        let (kms, database) = (Script::default(), Database::memory().unwrap());
        let table = Arc::new(emulator::table_in(database.clone(), |inner| inner).await.patient());
        let key = sealing_key(&client(&kms)).await;
        kms.fine();
        Self { kms, key, clock: Arc::new(TestClock::at(BEGIN)), table, database }
    }

    fn store(&self) -> Store {
        Store::new(Arc::clone(&self.table) as Arc<dyn Table>)
    }

    fn sealer(&self) -> Arc<KmsSealer> {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Arc::new(KmsSealer::new(client(&self.kms), &self.key, self.store(), clock))
    }

    /// An instance of all functions.
    fn starts(&self, sealer: Arc<KmsSealer>) -> Service {
        let (names, codes) = (NameKey::new([8; 32].into()), CodeKey::new([9; 32].into()));
        Service::sealed_by(sealer, Arc::clone(&self.table) as Arc<dyn Table>, names, codes)
    }

    /// With people.
    async fn peopled() -> (Self, Service, People) {
        let world = Self::new().await;
        let service = world.starts(world.sealer());
        let people = service.populate().await;
        (world, service, people)
    }

    /// What KMS was asked since this was asked last.
    fn asked(&self) -> Vec<String> {
        let asked = self.kms.called();
        self.kms.fine();
        asked
    }

    fn item(&self, person: &Person) -> Value {
        let get = json!({"TableName": "vestibule", "Key": key(person)});
        let found = self.database.get_item(serde_json::from_value(get).unwrap()).unwrap();
        serde_json::to_value(found).unwrap()["Item"].clone()
    }

    fn sessions(&self, person: &Person) -> usize {
        self.item(person)["s"]["M"].as_object().unwrap().len()
    }

    /// Version and number in the stored form, whose length never changes.
    fn sealed_under(&self, person: &Person) -> (u8, u64) {
        let sealed = BASE64.decode(self.item(person)["sec"]["B"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(sealed.len(), 57);
        (sealed[0], u64::from_be_bytes(*sealed[1..].first_chunk().unwrap()))
    }

    /// Puts a sealed secret into somebody's item, behind everybody's back.
    fn put_sealed(&self, person: &Person, sealed: &Value) {
        let update = json!({
            "TableName": "vestibule", "Key": key(person), "UpdateExpression": "SET sec = :sealed",
            "ExpressionAttributeValues": {":sealed": sealed},
        });
        self.database.update_item(serde_json::from_value(update).unwrap()).unwrap();
    }

    /// A right code, and a sign-in that is denied all the same: nothing is granted and nothing moves but the count of tries.
    async fn denied(&self, service: &Service, person: &mut Person) {
        let (before, token, code) = (self.item(person), service.challenge(person).await, service.code(person));
        let reply = service.verify(&token, &code).await;
        assert!(reply.is(503, "unavailable") && reply.headers.contains_key("retry-after"), "{reply:?}");
        assert!(!reply.body.to_string().contains("KMS"), "{reply:?}");
        let after = self.item(person);
        for kept in ["ep", "fs", "fid", "sec", "ls", "s", "d"] {
            assert_eq!(after[kept], before[kept], "{kept}");
        }
    }
}

fn key(person: &Person) -> Value {
    json!({"PK": {"S": format!("T#{}#U#{}", person.tenant, person.id)}, "SK": {"S": "U"}})
}

fn owner() -> FactorRef {
    let user = TenantId::parse("acme").unwrap().user(UserId::parse("u-1").unwrap());
    let nonce = || Nonce::generate(&SystemEntropy).unwrap();
    FactorRef { user, incarnation: nonce(), factor: nonce() }
}

fn secret() -> TotpSecret {
    TotpSecret::generate(owner(), &SystemEntropy).unwrap()
}

/// What docs/adr/0009 and docs/cost.md say of KMS's part in a sign-in.
#[tokio::test]
async fn a_sign_in_asks_kms_nothing_and_an_instance_once_in_five_minutes() {
    let (world, service, mut people) = World::peopled().await;
    let (mut bob, mut eve) = (people.remove("bob").unwrap(), people.remove("eve").unwrap());
    service.enrol(&mut bob).await;
    assert_eq!(world.asked(), ["GenerateDataKey"], "the first secret of the store");
    assert_eq!(world.sealed_under(&bob), (2, 1));
    for _ in 0..3 {
        service.sign_in(&mut bob).await;
    }
    service.enrol(&mut eve).await;
    service.sign_in(&mut eve).await;
    assert_eq!(world.asked(), [""; 0], "warm");
    for _ in 0..3 {
        world.clock.advance(DATA_KEYS_CACHED);
        service.sign_in(&mut bob).await;
        service.sign_in(&mut eve).await;
        assert_eq!(world.asked(), ["Decrypt"], "five minutes later");
    }
    let sealer = world.sealer();
    sealer.warm().await.unwrap();
    assert_eq!(world.asked(), ["Decrypt"], "another instance, while it starts");
    let other = world.starts(sealer);
    other.sign_in(&mut bob).await;
    assert_eq!(world.asked(), [""; 0], "its first sign-in");
}

#[tokio::test]
async fn what_is_kept_has_a_bound_in_uses_too_and_a_clock_set_back_keeps_nothing() {
    let world = World::new().await;
    let (sealer, secret) = (world.sealer(), secret());
    sealer.warm().await.unwrap();
    assert_eq!(world.asked(), [""; 0], "to warm makes no key");
    let sealed = sealer.seal(&secret, &SystemEntropy).await.unwrap();
    assert_eq!(world.asked(), ["GenerateDataKey"]);
    for _ in 0..9_998 {
        sealer.open(secret.owner().clone(), &sealed).await.unwrap();
    }
    assert_eq!(world.asked(), [""; 0]);
    sealer.open(secret.owner().clone(), &sealed).await.unwrap();
    assert_eq!(world.asked(), ["Decrypt"], "the ten thousandth use was the last");
    world.clock.shift_millis(-1);
    sealer.open(secret.owner().clone(), &sealed).await.unwrap();
    assert_eq!(world.asked(), ["Decrypt"]);
}

#[tokio::test]
async fn a_disabled_key_denies_from_five_minutes_on_and_no_session_is_made() {
    for fault in [DISABLED, DENIED] {
        let (world, service, mut people) = World::peopled().await;
        let mut bob = people.remove("bob").unwrap();
        service.enrol(&mut bob).await;
        world.kms.from(0, fault);
        world.clock.advance(DATA_KEYS_CACHED - Duration::from_millis(1));
        service.sign_in(&mut bob).await;
        let sessions = world.sessions(&bob);
        world.clock.advance(Duration::from_millis(1));
        world.denied(&service, &mut bob).await;
        world.denied(&service, &mut bob).await;
        assert_eq!(
            (world.sessions(&bob), world.asked()),
            (sessions, vec!["Decrypt".into(); 2]),
            "asked once each time"
        );
        service.sign_in(&mut bob).await;
    }
}

#[tokio::test]
async fn without_kms_nobody_enrols_and_no_data_key_is_made() {
    let (world, service, people) = World::peopled().await;
    world.kms.from(0, DENIED);
    let token = service.enrolment(&people["bob"]).await;
    let reply = service.post("/v1/mfa/enrolments", &token, json!({})).await;
    assert!(reply.is(503, "unavailable"), "{reply:?}");
    assert!(world.item(&people["bob"]).get("pe").is_none());
    assert!(world.store().data_keys().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_throttled_and_a_silent_kms_are_asked_three_times_and_deny() {
    let (world, service, mut people) = World::peopled().await;
    let mut bob = people.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    world.clock.advance(DATA_KEYS_CACHED);
    for fault in [THROTTLED, Fault::Silence, Fault::LoseRequest] {
        world.kms.from(0, fault.clone());
        let begun = std::time::Instant::now();
        world.denied(&service, &mut bob).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{fault:?}");
        let asked = world.asked();
        assert!((2..=3).contains(&asked.len()), "{fault:?}: {asked:?}");
    }
    world.kms.set([THROTTLED]);
    service.sign_in(&mut bob).await;
    assert_eq!(world.asked(), ["Decrypt", "Decrypt"], "throttled once");
}

#[tokio::test]
async fn a_sealed_secret_opens_for_nobody_else_and_for_no_other_factor() {
    let (world, service, mut people) = World::peopled().await;
    let (mut bob, mut eve) = (people.remove("bob").unwrap(), people.remove("eve").unwrap());
    service.enrol(&mut bob).await;
    service.enrol(&mut eve).await;
    let (bobs, eves) = (world.item(&bob)["sec"].clone(), world.item(&eve)["sec"].clone());
    world.put_sealed(&eve, &bobs);
    eve.secret.clone_from(&bob.secret);
    world.denied(&service, &mut eve).await;
    world.put_sealed(&eve, &eves);

    // The secret of his factor before.
    let first = bob.secret.clone();
    let token = service.fresh(&mut bob).await;
    service.enrol_with(&mut bob, &token, json!({})).await;
    assert_ne!(bob.secret, first);
    let kept = world.item(&bob)["sec"].clone();
    world.put_sealed(&bob, &bobs);
    let second = std::mem::replace(&mut bob.secret, first);
    world.denied(&service, &mut bob).await;
    world.put_sealed(&bob, &kept);
    bob.secret = second;
    service.sign_in(&mut bob).await;
}

/// The encryption context: a data key has its number and purpose, whoever writes into the table.
#[tokio::test]
async fn a_wrapped_key_under_another_number_or_of_another_kms_key_is_refused() {
    let (world, service, mut people) = World::peopled().await;
    let mut bob = people.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let first = world.store().data_keys().await.unwrap().remove(&1).unwrap();
    world.store().add_data_key(2, &first).await.unwrap();
    let sealer = world.sealer();
    let Err(SealError::Unavailable(why)) = sealer.warm().await else { panic!("unwrapped") };
    assert_eq!(why, "KMS Decrypt: InvalidCiphertextException");
    assert!(sealer.seal(&secret(), &SystemEntropy).await.is_err());
    world.starts(sealer).sign_in(&mut bob).await;
    assert_eq!(world.sealed_under(&bob), (2, 1), "it could not be moved, and its own key still opens it");

    let client = client(&world.kms);
    let foreign = World { key: sealing_key(&client).await, ..World::new().await };
    foreign.store().add_data_key(1, &first).await.unwrap();
    assert!(foreign.sealer().warm().await.is_err());
    let forged = World::new().await;
    forged.store().add_data_key(1, &WrappedKey::new(vec![7; 180], BEGIN)).await.unwrap();
    assert!(forged.sealer().warm().await.is_err());
    assert!(forged.sealer().seal(&secret(), &SystemEntropy).await.is_err(), "no other is made in its place");
}

#[tokio::test]
async fn instances_that_race_for_a_data_key_all_use_the_same() {
    let world = World::new().await;
    for number in [1, 2] {
        let secrets: Vec<_> = (0..8).map(|_| secret()).collect();
        let sealers: Vec<_> = (0..8).map(|_| world.sealer()).collect();
        let racing = sealers.iter().zip(&secrets).map(|(sealer, secret)| sealer.seal(secret, &SystemEntropy));
        let sealed: Vec<_> = join_all(racing).await.into_iter().map(Result::unwrap).collect();
        assert!(world.asked().iter().filter(|asked| *asked == "GenerateDataKey").count() > 1, "it was a race");
        assert!(world.store().data_keys().await.unwrap().into_keys().eq(1..=number));
        let other = world.sealer();
        for (secret, sealed) in secrets.iter().zip(&sealed) {
            assert_eq!(sealed.bytes()[1..9], number.to_be_bytes());
            other.open(secret.owner().clone(), sealed).await.unwrap();
        }
        world.clock.advance(DATA_KEY_SEALS);
    }
}

#[tokio::test]
async fn after_ninety_days_a_successor_is_made_and_secrets_move_to_it() {
    let (world, service, mut people) = World::peopled().await;
    let (mut bob, mut eve) = (people.remove("bob").unwrap(), people.remove("eve").unwrap());
    service.enrol(&mut bob).await;
    service.enrol(&mut eve).await;
    world.clock.advance(DATA_KEY_SEALS - Duration::from_millis(1));
    service.sign_in(&mut bob).await;
    assert_eq!((world.sealed_under(&bob), world.asked().len()), ((2, 1), 2));
    let other = world.starts(world.sealer());
    other.sign_in(&mut bob).await; // so that it has read the keys as they are
    world.clock.advance(Duration::from_millis(1));
    service.sign_in(&mut bob).await;
    assert_eq!(world.sealed_under(&bob), (2, 2));
    assert_eq!(world.store().data_keys().await.unwrap().len(), 2);
    other.sign_in(&mut bob).await;
    assert_eq!(world.sealed_under(&bob), (2, 2), "an instance that had not heard of it");
    assert_eq!(world.sealed_under(&eve), (2, 1));
    service.sign_in(&mut eve).await;
    assert_eq!(world.sealed_under(&eve), (2, 2), "hers moved when it was used");
    assert_eq!(world.store().data_keys().await.unwrap().len(), 2);
    world.asked();
    service.sign_in(&mut bob).await;
    service.sign_in(&mut eve).await;
    assert_eq!(world.asked(), [""; 0]);
}

#[tokio::test]
async fn a_derived_key_is_always_the_same_and_each_keys_and_messages_own() {
    let script = Script::default();
    let (one, other) = (client(&script), client(&script));
    let (key, another) = (hmac_key(&one).await, hmac_key(&one).await);
    let derived = kms::mac_key(&one, &key, kms::NAMES_MESSAGE).await.unwrap();
    assert!(derived == kms::mac_key(&other, &key, kms::NAMES_MESSAGE).await.unwrap());
    assert!(derived != kms::mac_key(&one, &key, kms::CODES_MESSAGE).await.unwrap());
    assert!(derived != kms::mac_key(&one, &another, kms::NAMES_MESSAGE).await.unwrap());
    let wrong = sealing_key(&one).await;
    let refused = kms::mac_key(&one, &wrong, kms::NAMES_MESSAGE).await.err().unwrap();
    assert_eq!(refused.to_string(), "KMS GenerateMac: InvalidKeyUsageException");
    for (fault, said) in [
        (DISABLED, "KMS GenerateMac: DisabledException"),
        (DENIED, "KMS GenerateMac: AccessDeniedException"),
        (Fault::LoseRequest, "KMS GenerateMac: unreachable"),
        (Fault::Answer(200, r#"{"Mac":"c2hvcnQ="}"#), "KMS GenerateMac: a response without a key"),
        (Fault::Answer(200, "{}"), "KMS GenerateMac: a response without a key"),
    ] {
        script.from(0, fault);
        assert_eq!(kms::mac_key(&one, &key, kms::NAMES_MESSAGE).await.err().unwrap().to_string(), said);
    }
}

#[tokio::test]
async fn no_key_is_logged_at_any_level() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::TRACE).with_ansi(false);
    // Of this thread alone: the test runs on one.
    let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber.with_writer(log.clone()));
    let (world, service, mut people) = World::peopled().await;
    let mut bob = people.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    world.clock.advance(DATA_KEYS_CACHED);
    service.sign_in(&mut bob).await;
    let quiet = client(&world.kms);
    let hmac = hmac_key(&quiet).await;
    let derived = kms::mac_key(&quiet, &hmac, kms::NAMES_MESSAGE).await.unwrap();
    world.kms.from(0, DISABLED);
    world.clock.advance(DATA_KEYS_CACHED);
    world.denied(&service, &mut bob).await;
    world.kms.fine();
    let said = log.take();
    assert!(said.contains("TRACE") && said.contains("sealing key unavailable: KMS Decrypt: DisabledException"));

    let wrapped = world.store().data_keys().await.unwrap().remove(&1).unwrap();
    let asked = quiet.decrypt().ciphertext_blob(Blob::new(wrapped.wrapped()));
    let asked = asked.encryption_context("purpose", "totp-secret").encryption_context("number", "1");
    let data_key = asked.send().await.unwrap().plaintext.unwrap().into_inner();
    for key in [data_key, derived.to_vec()] {
        assert_eq!(key.len(), 32);
        let listed = format!("{key:?}");
        for form in [BASE64.encode(&key), HEXLOWER.encode(&key), listed[1..listed.len() - 1].to_owned()] {
            assert!(!said.contains(&form), "a key was logged");
        }
    }
}
