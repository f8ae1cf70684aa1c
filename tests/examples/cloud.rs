//! What the Lambdas of `.ci/cloud` find: a table at `DYNAMODB_LOCAL` that is a store with the demo people in it, and three
//! keys at `KMS_EMULATOR`. Prints the functions' variables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::{env, sync::Arc};

use aws_sdk_kms::{
    Client,
    config::Credentials,
    types::{KeySpec, KeyUsageType},
};
use local::{
    seed::{DEMO, Seed},
    seeding,
};
use tests::emulator;
use vestibule::{
    env::{SystemClock, SystemEntropy},
    http::App,
    id::UserId,
    kms,
    password::{PasswordParams, Passwords},
    secret::NameKey,
    store::Store,
};

async fn key(client: &Client, spec: KeySpec, usage: KeyUsageType) -> String {
    let made = client.create_key().key_spec(spec).key_usage(usage).send().await.unwrap();
    made.key_metadata.unwrap().key_id
}

#[tokio::main]
async fn main() {
    let at = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let credentials = Credentials::new("local", "local", None, None, "local");
    let http = aws_smithy_http_client::Builder::new().build_http();
    let kms = kms::client("eu-central-1".into(), credentials, Some(at("KMS_EMULATOR")), http);
    let sealing = key(&kms, KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt).await;
    let names = key(&kms, KeySpec::Hmac256, KeyUsageType::GenerateVerifyMac).await;
    let codes = key(&kms, KeySpec::Hmac256, KeyUsageType::GenerateVerifyMac).await;

    let id = UserId::generate(&SystemEntropy).unwrap();
    let name = format!("vestibule-{id}");
    let table = Arc::new(emulator::fresh(&at("DYNAMODB_LOCAL"), &name, |inner| inner).await.patient());
    let store = Store::new(table);
    store.identify(id.as_str(), None).await.unwrap();
    let digests = NameKey::new(kms::mac_key(&kms, &names, kms::NAMES).await.unwrap());
    let app = App {
        store,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        sealer: None,
        names: Some(Arc::new(digests)),
        codes: None,
        passwords: Arc::new(Passwords::new(PasswordParams::default(), 2, 64, &SystemEntropy).unwrap()),
    };
    seeding::add_missing(&app, Seed::parse("demo", DEMO.as_bytes()).unwrap()).await.unwrap();
    println!("VESTIBULE_TABLE={name}");
    println!("VESTIBULE_SEALING_KEY={sealing}\nVESTIBULE_NAMES_KEY={names}\nVESTIBULE_CODES_KEY={codes}");
}
