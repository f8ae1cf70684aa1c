//! Secrets sealed with data keys that KMS unwraps, through the real handlers, with the emulated KMS at `KMS_EMULATOR`
//! (`.ci/with-kms`). Faults that the emulator cannot simulate (a disabled key, throttling, silence) are injected below
//! the SDK.
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
    BEGIN, Service, TestUser, TestUsers,
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
/// A data key without its wrapped form, which nobody could open again.
const NOT_WRAPPED: Fault = Fault::Answer(
    200,
    r#"{"CiphertextBlob":"","Plaintext":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","KeyId":"k"}"#,
);

fn client(script: &Script) -> Client {
    let url = tests::aws::moto();
    let credentials = Credentials::new("test", "test", None, None, "test");
    let http = script.wrap_client(TlsRoots::read(None).unwrap().http_client());
    kms::client("eu-central-1".into(), credentials, Some(url), http)
}

async fn sealing_key(client: &Client) -> String {
    client.create_key().send().await.unwrap().key_metadata.unwrap().key_id
}

async fn hmac_key(client: &Client) -> String {
    let key = client.create_key().key_spec(KeySpec::Hmac256).key_usage(KeyUsageType::GenerateVerifyMac);
    key.send().await.unwrap().key_metadata.unwrap().key_id
}

/// One store and one KMS key. Tests start several instances; their caches use their own clock.
struct Harness {
    kms: Script,
    key: String,
    clock: Arc<TestClock>,
    table: Arc<DynamoTable>,
    database: Database,
}

impl Harness {
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

    /// Starts an instance of all functions.
    fn start_instance(&self, sealer: Arc<KmsSealer>) -> Service {
        let (names, codes) = (NameKey::new([8; 32].into()), CodeKey::new([9; 32].into()));
        Service::with_sealer(sealer, Arc::clone(&self.table) as Arc<dyn Table>, names, codes)
    }

    /// A first instance, with the test users.
    async fn with_users() -> (Self, Service, TestUsers) {
        let harness = Self::new().await;
        let service = harness.start_instance(harness.sealer());
        let users = service.add_users().await;
        (harness, service, users)
    }

    /// The calls to KMS since the last call of this function.
    fn kms_calls(&self) -> Vec<String> {
        let kms_calls = self.kms.called();
        self.kms.fine();
        kms_calls
    }

    fn item(&self, user: &TestUser) -> Value {
        let get = json!({"TableName": "vestibule", "Key": key(user)});
        let found = self.database.get_item(serde_json::from_value(get).unwrap()).unwrap();
        serde_json::to_value(found).unwrap()["Item"].clone()
    }

    fn sessions(&self, user: &TestUser) -> usize {
        self.item(user)["s"]["M"].as_object().unwrap().len()
    }

    /// The version and key number of the user's sealed secret. The stored form has a fixed length.
    fn sealed_under(&self, user: &TestUser) -> (u8, u64) {
        let sealed = BASE64.decode(self.item(user)["sec"]["B"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(sealed.len(), 57);
        (sealed[0], u64::from_be_bytes(*sealed[1..].first_chunk().unwrap()))
    }

    /// Replaces a user's sealed secret directly in the table.
    fn put_sealed(&self, user: &TestUser, sealed: &Value) {
        let update = json!({
            "TableName": "vestibule", "Key": key(user), "UpdateExpression": "SET sec = :sealed",
            "ExpressionAttributeValues": {":sealed": sealed},
        });
        self.database.update_item(serde_json::from_value(update).unwrap()).unwrap();
    }

    /// Asserts that a sign-in with a right code is refused, and that nothing changes but the count of attempts.
    async fn assert_refused(&self, service: &Service, user: &mut TestUser) {
        let (before, token, code) = (self.item(user), service.challenge_token(user).await, service.next_code(user));
        let reply = service.verify(&token, &code).await;
        assert!(reply.is(503, "unavailable") && reply.headers.contains_key("retry-after"), "{reply:?}");
        assert!(!reply.body.to_string().contains("KMS"), "{reply:?}");
        let after = self.item(user);
        for kept in ["ep", "fs", "fid", "sec", "ls", "s", "d"] {
            assert_eq!(after[kept], before[kept], "{kept}");
        }
    }
}

fn key(user: &TestUser) -> Value {
    json!({"PK": {"S": format!("T#{}#U#{}", user.tenant, user.id)}, "SK": {"S": "U"}})
}

fn owner() -> FactorRef {
    let user = TenantId::parse("acme").unwrap().user(UserId::parse("u-1").unwrap());
    let nonce = || Nonce::generate(&SystemEntropy).unwrap();
    FactorRef { user, incarnation: nonce(), factor: nonce() }
}

fn secret() -> TotpSecret {
    TotpSecret::generate(owner(), &SystemEntropy).unwrap()
}

/// The calls to KMS that docs/adr/0009 and docs/cost.md describe.
#[tokio::test]
async fn sign_in_needs_one_kms_call_per_instance_in_five_minutes() {
    let (harness, service, mut users) = Harness::with_users().await;
    let (mut bob, mut eve) = (users.remove("bob").unwrap(), users.remove("eve").unwrap());
    service.enrol(&mut bob).await;
    assert_eq!(harness.kms_calls(), ["GenerateDataKey"], "the first secret of the store");
    assert_eq!(harness.sealed_under(&bob), (2, 1));
    for _ in 0..3 {
        service.sign_in(&mut bob).await;
    }
    service.enrol(&mut eve).await;
    service.sign_in(&mut eve).await;
    assert_eq!(harness.kms_calls(), [""; 0], "warm");
    for _ in 0..3 {
        harness.clock.advance(DATA_KEYS_CACHED);
        service.sign_in(&mut bob).await;
        service.sign_in(&mut eve).await;
        assert_eq!(harness.kms_calls(), ["Decrypt"], "after five minutes");
    }
    let sealer = harness.sealer();
    sealer.warm().await.unwrap();
    assert_eq!(harness.kms_calls(), ["Decrypt"], "at the start of another instance");
    let other = harness.start_instance(sealer);
    other.sign_in(&mut bob).await;
    assert_eq!(harness.kms_calls(), [""; 0], "at its first sign-in");
}

#[tokio::test]
async fn cached_key_expires_by_uses_and_when_the_clock_goes_back() {
    let harness = Harness::new().await;
    let (sealer, secret) = (harness.sealer(), secret());
    sealer.warm().await.unwrap();
    assert_eq!(harness.kms_calls(), [""; 0], "warming creates no key");
    let sealed = sealer.seal(&secret, &SystemEntropy).await.unwrap();
    assert_eq!(harness.kms_calls(), ["GenerateDataKey"]);
    for _ in 0..9_998 {
        sealer.open(secret.owner().clone(), &sealed).await.unwrap();
    }
    assert_eq!(harness.kms_calls(), [""; 0]);
    sealer.open(secret.owner().clone(), &sealed).await.unwrap();
    assert_eq!(harness.kms_calls(), ["Decrypt"], "the ten thousandth use was the last");
    harness.clock.shift_millis(-1);
    sealer.open(secret.owner().clone(), &sealed).await.unwrap();
    assert_eq!(harness.kms_calls(), ["Decrypt"]);
}

#[tokio::test]
async fn disabled_key_refuses_after_five_minutes_and_creates_no_session() {
    for fault in [DISABLED, DENIED] {
        let (harness, service, mut users) = Harness::with_users().await;
        let mut bob = users.remove("bob").unwrap();
        service.enrol(&mut bob).await;
        harness.kms.from(0, fault);
        harness.clock.advance(DATA_KEYS_CACHED - Duration::from_millis(1));
        service.sign_in(&mut bob).await;
        let sessions = harness.sessions(&bob);
        harness.clock.advance(Duration::from_millis(1));
        harness.assert_refused(&service, &mut bob).await;
        harness.assert_refused(&service, &mut bob).await;
        assert_eq!(
            (harness.sessions(&bob), harness.kms_calls()),
            (sessions, vec!["Decrypt".into(); 2]),
            "asked once each time"
        );
        service.sign_in(&mut bob).await;
    }
}

#[tokio::test]
async fn unavailable_kms_refuses_enrolment_and_creates_no_data_key() {
    let (harness, service, users) = Harness::with_users().await;
    let token = service.enrolment_token(&users["bob"]).await;
    for fault in [DENIED, NOT_WRAPPED] {
        harness.kms.from(0, fault);
        let reply = service.post("/v1/mfa/enrolments", &token, json!({})).await;
        assert!(reply.is(503, "unavailable"), "{reply:?}");
        assert!(harness.item(&users["bob"]).get("pe").is_none());
        assert!(harness.store().data_keys().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn throttled_or_silent_kms_is_tried_three_times_then_refuses() {
    let (harness, service, mut users) = Harness::with_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    harness.clock.advance(DATA_KEYS_CACHED);
    for fault in [THROTTLED, Fault::Silence, Fault::LoseRequest] {
        harness.kms.from(0, fault.clone());
        let begun = std::time::Instant::now();
        harness.assert_refused(&service, &mut bob).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{fault:?}");
        let kms_calls = harness.kms_calls();
        assert!((2..=3).contains(&kms_calls.len()), "{fault:?}: {kms_calls:?}");
    }
    harness.kms.set([THROTTLED]);
    service.sign_in(&mut bob).await;
    assert_eq!(harness.kms_calls(), ["Decrypt", "Decrypt"], "throttled once");
}

#[tokio::test]
async fn sealed_secret_opens_only_for_its_user_and_factor() {
    let (harness, service, mut users) = Harness::with_users().await;
    let (mut bob, mut eve) = (users.remove("bob").unwrap(), users.remove("eve").unwrap());
    service.enrol(&mut bob).await;
    service.enrol(&mut eve).await;
    let (bobs, eves) = (harness.item(&bob)["sec"].clone(), harness.item(&eve)["sec"].clone());
    harness.put_sealed(&eve, &bobs);
    eve.secret.clone_from(&bob.secret);
    harness.assert_refused(&service, &mut eve).await;
    harness.put_sealed(&eve, &eves);

    // The secret of his previous factor.
    let first = bob.secret.clone();
    let token = service.stepped_up_session(&mut bob).await;
    service.enrol_with(&mut bob, &token, json!({})).await;
    assert_ne!(bob.secret, first);
    let kept = harness.item(&bob)["sec"].clone();
    harness.put_sealed(&bob, &bobs);
    let second = std::mem::replace(&mut bob.secret, first);
    harness.assert_refused(&service, &mut bob).await;
    harness.put_sealed(&bob, &kept);
    bob.secret = second;
    service.sign_in(&mut bob).await;
}

/// The encryption context contains number and purpose, so a data key in another place of the table does not open.
#[tokio::test]
async fn wrapped_key_of_another_number_or_kms_key_is_refused() {
    let (harness, service, mut users) = Harness::with_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let first = harness.store().data_keys().await.unwrap().remove(&1).unwrap();
    harness.store().add_data_key(2, &first).await.unwrap();
    let sealer = harness.sealer();
    let Err(SealError::Unavailable(why)) = sealer.warm().await else { panic!("an unexpected success") };
    assert_eq!(why, "KMS Decrypt: InvalidCiphertextException");
    assert!(sealer.seal(&secret(), &SystemEntropy).await.is_err());
    harness.start_instance(sealer).sign_in(&mut bob).await;
    assert_eq!(harness.sealed_under(&bob), (2, 1), "its own key still opens it, but it was not moved");

    let client = client(&harness.kms);
    let foreign = Harness { key: sealing_key(&client).await, ..Harness::new().await };
    foreign.store().add_data_key(1, &first).await.unwrap();
    assert!(foreign.sealer().warm().await.is_err());
    let forged = Harness::new().await;
    forged.store().add_data_key(1, &WrappedKey::new(vec![7; 180], BEGIN)).await.unwrap();
    assert!(forged.sealer().warm().await.is_err());
    assert!(forged.sealer().seal(&secret(), &SystemEntropy).await.is_err(), "no replacement is created");
}

#[tokio::test]
async fn racing_instances_use_the_same_data_key() {
    let harness = Harness::new().await;
    for number in [1, 2] {
        let secrets: Vec<_> = (0..8).map(|_| secret()).collect();
        let sealers: Vec<_> = (0..8).map(|_| harness.sealer()).collect();
        let racing = sealers.iter().zip(&secrets).map(|(sealer, secret)| sealer.seal(secret, &SystemEntropy));
        let sealed: Vec<_> = join_all(racing).await.into_iter().map(Result::unwrap).collect();
        assert!(
            harness.kms_calls().iter().filter(|call| *call == "GenerateDataKey").count() > 1,
            "the instances did not race"
        );
        assert!(harness.store().data_keys().await.unwrap().into_keys().eq(1..=number));
        let other = harness.sealer();
        for (secret, sealed) in secrets.iter().zip(&sealed) {
            assert_eq!(sealed.bytes()[1..9], number.to_be_bytes());
            other.open(secret.owner().clone(), sealed).await.unwrap();
        }
        harness.clock.advance(DATA_KEY_SEALS);
    }
}

#[tokio::test]
async fn data_key_is_replaced_after_ninety_days_and_secrets_move_to_the_new_one() {
    let (harness, service, mut users) = Harness::with_users().await;
    let (mut bob, mut eve) = (users.remove("bob").unwrap(), users.remove("eve").unwrap());
    service.enrol(&mut bob).await;
    service.enrol(&mut eve).await;
    harness.clock.advance(DATA_KEY_SEALS - Duration::from_millis(1));
    service.sign_in(&mut bob).await;
    assert_eq!((harness.sealed_under(&bob), harness.kms_calls().len()), ((2, 1), 2));
    let other = harness.start_instance(harness.sealer());
    other.sign_in(&mut bob).await; // so that it caches the current keys
    harness.clock.advance(Duration::from_millis(1));
    service.sign_in(&mut bob).await;
    assert_eq!(harness.sealed_under(&bob), (2, 2));
    assert_eq!(harness.store().data_keys().await.unwrap().len(), 2);
    other.sign_in(&mut bob).await;
    assert_eq!(harness.sealed_under(&bob), (2, 2), "an instance with the older keys in its cache");
    assert_eq!(harness.sealed_under(&eve), (2, 1));
    service.sign_in(&mut eve).await;
    assert_eq!(harness.sealed_under(&eve), (2, 2), "eve's secret moved when it was used");
    assert_eq!(harness.store().data_keys().await.unwrap().len(), 2);
    harness.kms_calls();
    service.sign_in(&mut bob).await;
    service.sign_in(&mut eve).await;
    assert_eq!(harness.kms_calls(), [""; 0]);
}

#[tokio::test]
async fn derived_keys_are_stable_and_distinct() {
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
    for (fault, logged) in [
        (DISABLED, "KMS GenerateMac: DisabledException"),
        (DENIED, "KMS GenerateMac: AccessDeniedException"),
        (Fault::LoseRequest, "KMS GenerateMac: unreachable"),
        (Fault::Answer(200, r#"{"Mac":"c2hvcnQ="}"#), "KMS GenerateMac: a response without a key"),
        (Fault::Answer(200, "{}"), "KMS GenerateMac: a response without a key"),
    ] {
        script.from(0, fault);
        assert_eq!(kms::mac_key(&one, &key, kms::NAMES_MESSAGE).await.err().unwrap().to_string(), logged);
    }
}

#[tokio::test]
async fn keys_are_never_logged() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::TRACE).with_ansi(false);
    // The subscriber applies to this thread; the test runs on one.
    let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber.with_writer(log.clone()));
    let (harness, service, mut users) = Harness::with_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    harness.clock.advance(DATA_KEYS_CACHED);
    service.sign_in(&mut bob).await;
    let quiet = client(&harness.kms);
    let hmac = hmac_key(&quiet).await;
    let derived = kms::mac_key(&quiet, &hmac, kms::NAMES_MESSAGE).await.unwrap();
    harness.kms.from(0, DISABLED);
    harness.clock.advance(DATA_KEYS_CACHED);
    harness.assert_refused(&service, &mut bob).await;
    harness.kms.fine();
    let logged = log.take();
    assert!(logged.contains("TRACE") && logged.contains("sealing key unavailable: KMS Decrypt: DisabledException"));

    let wrapped = harness.store().data_keys().await.unwrap().remove(&1).unwrap();
    let request = quiet.decrypt().ciphertext_blob(Blob::new(wrapped.wrapped()));
    let request = request.encryption_context("purpose", "totp-secret").encryption_context("number", "1");
    let data_key = request.send().await.unwrap().plaintext.unwrap().into_inner();
    for key in [data_key, derived.to_vec()] {
        assert_eq!(key.len(), 32);
        let listed = format!("{key:?}");
        for form in [BASE64.encode(&key), HEXLOWER.encode(&key), listed[1..listed.len() - 1].to_owned()] {
            assert!(!logged.contains(&form), "a key was logged");
        }
    }
}
