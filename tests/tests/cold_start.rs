//! Starts an empty cloud with the real binaries: each function runs under a stub of Lambda's runtime API, with the DynamoDB at
//! `DYNAMODB_LOCAL` and the KMS at `KMS_EMULATOR`. While the configuration is wrong, a function answers 503 and reports all
//! errors in one line; when it is corrected, the same process serves. Needs the built functions, and faketime for the clock.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{process::Command, thread, time::Duration};

use aws_sdk_dynamodb::types::{DeleteGlobalSecondaryIndexAction, GlobalSecondaryIndexUpdate};
use serde_json::{Value, json};
use tests::{
    aws, emulator,
    runtime::{Function, Variables, built},
    stream::{self, Stream},
    totp_code,
};
use vestibule::env::{Clock, SystemClock};

/// The variables of a function that are right once the table exists, and the table's name.
async fn variables(table: &str) -> Variables {
    let named = |(name, value): (&str, String)| (name.to_owned(), value);
    let [sealing, names, codes] = aws::create_keys().await.map(|(_, id)| id);
    let variables = [
        ("VESTIBULE_TABLE", table.to_owned()),
        ("VESTIBULE_TABLE_STREAM", "a stream".to_owned()),
        ("VESTIBULE_SEALING_KEY", sealing),
        ("VESTIBULE_NAMES_KEY", names),
        ("VESTIBULE_CODES_KEY", codes),
        ("VESTIBULE_DYNAMODB_ENDPOINT", aws::dynamodb()),
        ("VESTIBULE_KMS_ENDPOINT", aws::moto()),
        ("AWS_REGION", aws::REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ];
    variables.map(named).into()
}

/// The same variables, with one changed.
fn with(variables: &Variables, name: &str, value: &str) -> Variables {
    let mut changed = variables.clone();
    changed.insert(name.to_owned(), value.to_owned());
    changed
}

fn start(name: &str, variables: &Variables) -> Function {
    Function::start(Command::new(built(name)), name, variables)
}

fn login_with(login: &mut Function, password: &Value) -> (u64, Value) {
    login.post("/v1/login", "", &json!({"tenant": "acme", "username": "ann", "password": password}))
}

/// Asserts that a login is answered with 503, and that exactly these errors are reported.
fn assert_refused(mut login: Function, faults: &[&str]) -> Function {
    let (status, body) = login_with(&mut login, &json!("nothing at all"));
    assert_eq!((status, &body["code"]), (503, &json!("unavailable")));
    let reported = login.faults();
    let count = format!("{} fault(s)", faults.len());
    assert!(reported.starts_with(&count) && faults.iter().all(|one| reported.contains(one)), "{faults:?}: {reported}");
    login
}

/// The code of a secret, this many steps after the current one.
fn code(secret: &Value, steps: i64) -> Value {
    json!({"code": totp_code(secret.as_str().unwrap(), SystemClock.now().secs() / 30 + steps)})
}

fn assert_error(answer: &Value, kind: &str) {
    assert_eq!(answer["errorType"], kind, "{answer}");
}

/// A table with a stream and without the index.
async fn create_bare_table(name: &str) -> String {
    let url = aws::dynamodb();
    emulator::create_table(&url, name, |inner| inner).await;
    stream::enable(&url, name).await;
    let delete = DeleteGlobalSecondaryIndexAction::builder().index_name("dir").build().unwrap();
    let update = GlobalSecondaryIndexUpdate::builder().delete(delete).build();
    let client = emulator::client(&url, |inner| inner);
    client.update_table().table_name(name).global_secondary_index_updates(update).send().await.unwrap();
    while !client
        .describe_table()
        .table_name(name)
        .send()
        .await
        .unwrap()
        .table
        .unwrap()
        .global_secondary_indexes()
        .is_empty()
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Stream::open(&url, name).await.arn().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_start_in_an_empty_cloud() {
    let table = format!("cold-start-{}", std::process::id());
    let right = variables(&table).await;
    let no_table = format!("table {table}: there is none of that name");

    let aws = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let ours = ["VESTIBULE_TABLE is", "VESTIBULE_TABLE_STREAM", "VESTIBULE_NAMES_KEY"];
    assert_refused(start("login", &Variables::new()), &[&aws[..], &ours[..]].concat());

    let mut late = Command::new("faketime");
    late.args(["-f", "+1h"]).arg(built("login"));
    let late = Function::start(late, "login", &with(&right, "VESTIBULE_NAMES_KEY", "none"));
    assert_refused(late, &[&no_table, "VESTIBULE_NAMES_KEY none: KMS GenerateMac", "the clock is "]);

    let bare = format!("{table}-bare");
    let stream = create_bare_table(&bare).await;
    let mut operators = start("operators", &with(&right, "VESTIBULE_TABLE", &bare));
    let create_operator =
        |username: &str| json!({"command": "create_operator", "username": username, "display_name": "Op"});
    assert_error(&operators.invoke(create_operator("op")), "unavailable");
    let faults = operators.faults();
    assert!(faults.contains("it has no index dir"), "{faults}");
    assert!(faults.contains(&format!("VESTIBULE_TABLE_STREAM is a stream, and its stream is {stream}")), "{faults}");

    let mut login = assert_refused(start("login", &right), &[&no_table]);
    // The variables name a stream before the table exists, which a real ARN does not allow, so the table has no stream.
    emulator::create_table(&aws::dynamodb(), &table, |inner| inner).await;
    let elsewhere = start("login", &with(&right, "AWS_REGION", "eu-west-1"));
    assert_refused(elsewhere, &[&format!("{no_table} in eu-west-1"), "VESTIBULE_NAMES_KEY"]);
    assert_refused(start("login", &right), &["the table is no store yet"]);

    let mut operators = start("operators", &right);
    assert!(operators.invoke(create_operator("op"))["password"].is_string());
    assert_error(&operators.invoke(create_operator("op2")), "operator_exists");
    let ann = json!({"username": "ann", "display_name": "Ann"});
    let ann = operators.invoke(json!({"command": "create_tenant", "id": "acme", "name": "Acme", "administrator": ann}));
    let status = operators.invoke(json!({"command": "status"}));
    assert_eq!((&status["active_operators"], &status["restore_epoch"]), (&json!(1), &json!(0)), "{status}");
    // The process that answered 503 checks again after a second.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(login_with(&mut login, &json!("nothing at all")).0, 401);

    sign_in(&mut login, &right, &ann["password"]);
    let raised = operators.invoke(json!({"command": "raise_restore_epoch", "reason": "a drill"}));
    assert_eq!(raised["restore_epoch"], 1, "{raised}");
    let reset = json!({"command": "reset_mfa", "tenant": "acme", "username": "ann", "ticket": "T-1", "reason": "lost"});
    let reset = operators.invoke(reset);
    assert!(reset["reset_code"].is_string() && reset["user"]["mfa"] == "none", "{reset}");
}

/// An Administrator enrols and signs in.
fn sign_in(login: &mut Function, variables: &Variables, password: &Value) {
    let (mut enable, mut verify) = (start("enable-mfa", variables), start("verify", variables));
    let (_, enrolment) = login_with(login, password);
    let token = enrolment["enrolment"]["token"].as_str().unwrap();
    let (_, begun) = enable.post("/v1/mfa/enrolments", token, &json!({}));
    let (_, done) = enable.post("/v1/mfa/enrolments/confirm", token, &code(&begun["secret"], 0));
    assert_eq!(done["status"], "mfa_enabled", "{done}");
    let (_, challenge) = login_with(login, password);
    let token = challenge["challenge"]["token"].as_str().unwrap();
    let (_, done) = verify.post("/v1/verify", token, &code(&begun["secret"], 1));
    assert_eq!(done["status"], "signed_in", "{done}");
}
