//! The checks of a function before it serves: table, keys and clock. While one fails, the function answers 503, and one
//! log line names all errors.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::HashMap, io::Write as _, sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use axum::{body::Body, http::Request};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tests::{
    emulator::{self, Database},
    log::Log,
    stub::Stub,
};
use tower::ServiceExt;
use tracing::{Level, instrument::WithSubscriber};
use vestibule::{
    audit::{AuditAction, AuditEvent, Outcome},
    env::{Clock, SystemClock, SystemEntropy, TestClock},
    http::Routes,
    id::TenantId,
    key_file::KeyFile,
    lambda::{ConfigErrors, Function, RequiredKeys, handler},
    log,
    sign_in::Attempt,
    store::{AttemptEvent, Store, dynamo::DynamoTable},
};

/// The ARN of the stream that the store's identity records.
const STREAM: &str = "arn:aws:dynamodb:eu-central-1:123456789012:table/vestibule/stream/2026-11-24T09:00:00.000";

/// A function and its environment.
struct Environment {
    url: String,
    variables: HashMap<&'static str, String>,
    clock: Arc<TestClock>,
    log: Log,
    _keys: NamedTempFile,
}

impl Environment {
    /// An environment in which only the table is missing.
    async fn new() -> Self {
        let url = emulator::serve(Database::memory().unwrap()).await;
        let mut keys = NamedTempFile::new().unwrap();
        keys.write_all(&serde_json::to_vec(&KeyFile::generate(&SystemEntropy).unwrap()).unwrap()).unwrap();
        let variables = HashMap::from([
            ("VESTIBULE_TABLE", "vestibule".to_owned()),
            ("VESTIBULE_TABLE_STREAM", STREAM.to_owned()),
            ("VESTIBULE_KEYS_FILE", keys.path().to_str().unwrap().to_owned()),
            ("VESTIBULE_DYNAMODB_ENDPOINT", url.clone()),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]);
        // The emulator answers with the current time.
        let clock = Arc::new(TestClock::at(SystemClock.now()));
        Self { url, variables, clock, log: Log::default(), _keys: keys }
    }

    /// Creates the table and initialises the store in it.
    async fn store(&self) -> (DynamoTable, Store) {
        let table = emulator::create_table(&self.url, "vestibule", |inner| inner).await;
        let store = Store::new(Arc::new(table.clone()));
        store.identify("test", Some(STREAM)).await.unwrap();
        (table, store)
    }

    fn function(&self, routes: Routes, required: RequiredKeys) -> Arc<Function> {
        let variables = self.variables.clone();
        Function::new(
            routes,
            required,
            move |name| variables.get(name).cloned(),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
        )
    }

    /// Requests a session; a function that serves answers 401.
    async fn status(&self, function: &Arc<Function>) -> u16 {
        let (status, code) = self.request(function, "/v1/session").await;
        assert_eq!(code, if status == 503 { "unavailable" } else { "invalid_token" });
        status
    }

    /// Sends a request that must be refused. Returns the status and the code.
    async fn request(&self, function: &Arc<Function>, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let subscriber = log::to(self.log.clone(), Level::INFO);
        let answer = handler(Arc::clone(function)).oneshot(request).with_subscriber(subscriber);
        let response = answer.await.unwrap();
        let status = response.status().as_u16();
        assert_eq!(response.headers()["cache-control"], "no-store");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap()["code"].as_str().unwrap().to_owned())
    }

    /// The errors in the one log line written since the last call.
    fn report(&self) -> String {
        let lines = self.log.take();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let errors: Vec<_> = lines.iter().filter(|line| line["level"] == "ERROR").collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors[0]["faults"].as_str().unwrap().to_owned()
    }
}

fn assert_reports(report: &str, faults: &[&str]) {
    let count = format!("{} fault(s): ", faults.len());
    assert!(report.starts_with(&count) && faults.iter().all(|fault| report.contains(fault)), "{report}");
}

#[tokio::test]
async fn function_without_configuration_names_all_missing_variables() {
    let environment = Environment { variables: HashMap::new(), ..Environment::new().await };
    let function = environment.function(session::routes(), RequiredKeys::SEALING.and(RequiredKeys::NAMES));
    assert_eq!(environment.status(&function).await, 503);
    let aws = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let ours = ["VESTIBULE_TABLE is", "VESTIBULE_TABLE_STREAM", "VESTIBULE_SEALING_KEY", "VESTIBULE_NAMES_KEY"];
    assert_reports(&environment.report(), &[&aws[..], &ours[..]].concat());
}

#[tokio::test]
async fn underivable_keys_refuse_sign_in() {
    let mut environment = Environment::new().await;
    environment.store().await;
    environment.variables.remove("VESTIBULE_KEYS_FILE");
    environment.variables.insert("VESTIBULE_NAMES_KEY", "alias/names".into());
    environment.variables.insert("VESTIBULE_CODES_KEY", "alias/codes".into());
    // This port refuses connections.
    environment.variables.insert("VESTIBULE_KMS_ENDPOINT", "http://127.0.0.1:1".into());
    let function = environment.function(session::routes(), RequiredKeys::NAMES.and(RequiredKeys::CODES));
    assert_eq!(environment.status(&function).await, 503);
    assert_reports(
        &environment.report(),
        &["VESTIBULE_NAMES_KEY alias/names: KMS GenerateMac: ", "VESTIBULE_CODES_KEY alias/codes: "],
    );
    let function = environment.function(session::routes(), RequiredKeys::NOTHING);
    assert_eq!(environment.status(&function).await, 401, "a flow without keys does not need them");
}

/// It is configured, because a client could choose any host name in a request.
#[tokio::test]
async fn public_url_must_be_a_valid_url_if_set() {
    let mut environment = Environment::new().await;
    environment.store().await;
    let required = RequiredKeys::NOTHING;
    for value in ["login.example.com", "http://login.example.com", "https://login.example.com/?tenant=acme"] {
        environment.variables.insert("VESTIBULE_PUBLIC_URL", value.to_owned());
        assert_eq!(environment.status(&environment.function(session::routes(), required)).await, 503, "{value}");
        let report = environment.report();
        assert_reports(&report, &[&format!("VESTIBULE_PUBLIC_URL {value}")]);
        assert_reports(&report, &["it must be an address like https://login.example.com"]);
    }
    environment.variables.insert("VESTIBULE_PUBLIC_URL", "https://login.example.com/".into());
    assert_eq!(environment.status(&environment.function(session::routes(), required)).await, 401);
}

/// The retention is checked when a function opens: an invalid value is reported, not silently replaced.
#[tokio::test]
async fn audit_retention_is_configurable() {
    let mut environment = Environment::new().await;
    environment.store().await;
    for wrong in ["0", "3651", "90 days"] {
        environment.variables.insert("VESTIBULE_AUDIT_RETENTION_DAYS", wrong.into());
        assert_eq!(
            environment.status(&environment.function(session::routes(), RequiredKeys::NOTHING)).await,
            503,
            "{wrong}"
        );
        assert_reports(
            &environment.report(),
            &[&format!("VESTIBULE_AUDIT_RETENTION_DAYS {wrong}: it must be a number of days")],
        );
    }
    let client = emulator::client(&environment.url, |inner| inner);
    for (value, days) in [(None, 90), (Some(""), 90), (Some("30"), 30)] {
        environment.variables.remove("VESTIBULE_AUDIT_RETENTION_DAYS");
        environment.variables.extend(value.map(|value| ("VESTIBULE_AUDIT_RETENTION_DAYS", value.to_owned())));
        // A function with routes, and one for operators.
        let tenant = format!("t{}", value.unwrap_or("none"));
        let body = serde_json::json!({"tenant": tenant, "username": "nobody", "password": "wrong"}).to_string();
        let request = Request::post("/v1/login").header("content-type", "application/json").body(Body::from(body));
        let served = handler(environment.function(login::routes(), RequiredKeys::NAMES))
            .oneshot(request.unwrap())
            .await
            .unwrap();
        assert_eq!(served.status(), 401);
        let (app, _) =
            environment.function(session::routes(), RequiredKeys::NOTHING).open_to_operators().await.unwrap();
        let begun = Attempt::begin(environment.clock.now(), &SystemEntropy).unwrap();
        let event = AuditEvent::new(AuditAction::Login, Outcome::Refused, "r");
        app.store.record(&TenantId::parse(&tenant).unwrap(), &begun, AttemptEvent::Outcome, &event).await;
        let items = client.scan().table_name("vestibule").send().await.unwrap().items.unwrap();
        let text = |item: &HashMap<_, AttributeValue>, name: &str| item[name].as_s().unwrap().clone();
        let rows = items.iter().filter(|item| text(item, "PK").starts_with(&format!("T#{tenant}#A#")));
        let expire: Vec<_> = rows
            .map(|row| {
                let millis: i64 = text(row, "SK").split('#').next().unwrap().parse().unwrap();
                row["ttl"].as_n().unwrap().parse::<i64>().unwrap() - millis / 1000
            })
            .collect();
        assert_eq!(expire, [days * 86_400; 2], "{value:?}");
    }
}

/// These paths are public, so an error in the log would let anyone trigger an alarm.
#[tokio::test]
async fn sso_without_a_public_url_is_absent_and_no_error() {
    let mut environment = Environment::new().await;
    environment.store().await;
    for value in [None, Some(String::new())] {
        environment.variables.extend(value.map(|value| ("VESTIBULE_PUBLIC_URL", value)));
        let function = environment.function(sso::routes(), RequiredKeys::NAMES);
        for path in ["/v1/sso/acme/metadata", "/v1/sso/acme/login"] {
            let answer = environment.request(&function, path).await;
            assert_eq!(answer, (404, "not_found".to_owned()), "{path}");
        }
        let log = environment.log.take();
        assert!(!log.contains("\"ERROR\"") && !log.contains("\"WARN\""), "{log}");
    }
}

/// With a wrong gateway configuration the client address would be wrong, so the function does not serve.
#[tokio::test]
async fn missing_gateway_configuration_closes_the_function() {
    let mut environment = Environment::new().await;
    environment.store().await;
    let wrong = [
        ("VESTIBULE_BASE_PATH", "/auth"),
        ("VESTIBULE_CLIENT_ADDRESS", "x-forwarded-for"),
        ("VESTIBULE_CORS_ORIGINS", "*"),
    ];
    environment.variables.extend(wrong.map(|(name, value)| (name, value.to_owned())));
    assert_eq!(environment.status(&environment.function(session::routes(), RequiredKeys::NOTHING)).await, 503);
    assert_reports(&environment.report(), &wrong.map(|(name, _)| name));
}

#[tokio::test]
async fn checks_run_even_if_others_fail() {
    let mut environment = Environment::new().await;
    for name in ["VESTIBULE_KEYS_FILE", "VESTIBULE_CA_FILE"] {
        environment.variables.insert(name, "/no/such/file".into());
    }
    let function = environment.function(session::routes(), RequiredKeys::NAMES);
    environment.clock.advance(Duration::from_secs(3600));
    assert_eq!(environment.status(&function).await, 503);
    let files = ["VESTIBULE_KEYS_FILE /no/such/file: ", "VESTIBULE_CA_FILE /no/such/file: "];
    assert_reports(
        &environment.report(),
        &[files[0], files[1], "the clock is 3", "there is none of that name in eu-central-1"],
    );
}

/// CloudFormation gives an empty value for a parameter that was left out.
#[tokio::test]
async fn empty_variable_counts_as_not_set() {
    let mut environment = Environment::new().await;
    environment.store().await;
    for name in ["VESTIBULE_CA_FILE", "VESTIBULE_PUBLIC_URL"] {
        environment.variables.insert(name, String::new());
    }
    assert_eq!(environment.status(&environment.function(session::routes(), RequiredKeys::NOTHING)).await, 401);
    environment.variables.insert("VESTIBULE_KEYS_FILE", String::new());
    environment.variables.insert("VESTIBULE_TABLE", String::new());
    assert_eq!(environment.status(&environment.function(session::routes(), RequiredKeys::NAMES)).await, 503);
    assert_reports(&environment.report(), &["VESTIBULE_TABLE is not set", "VESTIBULE_NAMES_KEY is not set"]);
}

/// Only a flow that asks for mails gets their queue, and only if the deployment has one.
#[tokio::test]
async fn mails_are_sent_if_the_flow_needs_them_and_a_queue_is_configured() {
    let mut environment = Environment::new().await;
    environment.store().await;
    let queue = Stub::new(|_, _| Some((200, json!({"MessageId": "m", "MD5OfMessageBody": "0"})))).await;
    environment.variables.insert("VESTIBULE_SQS_ENDPOINT", queue.url.clone());
    let with_mails = RequiredKeys::NAMES.and(RequiredKeys::MAIL_QUEUE);
    for (url, needs, status) in [
        (format!("{}/123456789012/mails", queue.url), with_mails, 202),
        (format!("{}/123456789012/mails", queue.url), RequiredKeys::NAMES, 404),
        (String::new(), with_mails, 404),
    ] {
        environment.variables.insert("VESTIBULE_MAIL_QUEUE", url.clone());
        let function = environment.function(password::routes(), needs);
        let request = Request::post("/v1/password-resets").header("content-type", "application/json");
        let body = json!({"tenant": "acme", "username": "bob"}).to_string();
        let response = handler(function).oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{url}");
    }
}

#[tokio::test]
async fn function_serves_once_the_table_is_an_initialised_store() {
    let environment = Environment::new().await;
    let function = environment.function(session::routes(), RequiredKeys::NOTHING);
    assert_eq!(environment.status(&function).await, 503);
    assert_reports(&environment.report(), &["table vestibule: there is none of that name"]);
    let table = emulator::create_table(&environment.url, "vestibule", |inner| inner).await;
    assert_eq!(environment.status(&function).await, 503, "it does not check again at once");
    environment.clock.advance(Duration::from_secs(1));
    assert_eq!(environment.status(&function).await, 503);
    assert_reports(&environment.report(), &["the table is no store yet"]);
    Store::new(Arc::new(table)).identify("test", None).await.unwrap();
    environment.clock.advance(Duration::from_secs(1));
    assert_eq!(environment.status(&function).await, 401);
}

#[tokio::test]
async fn operators_refuse_a_table_with_another_schema() {
    let environment = Environment::new().await;
    let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S).build();
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build();
    let create = emulator::client(&environment.url, |inner| inner).create_table().table_name("vestibule");
    let create = create.attribute_definitions(id.unwrap()).key_schema(key.unwrap());
    create.billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
    let function = environment.function(session::routes(), RequiredKeys::NOTHING);
    let Err(ConfigErrors(faults)) = function.open_to_operators().await else { panic!("an unexpected success") };
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].contains("its keys are not PK and SK") && faults[1].contains("it has no index dir"),
        "{faults:?}"
    );
    assert_eq!(environment.status(&function).await, 503);
    assert_reports(&environment.report(), &["table vestibule in eu-central-1: ValidationException"]);
}

#[tokio::test]
async fn operators_refuse_a_store_whose_identity_cannot_be_read() {
    let environment = Environment::new().await;
    environment.store().await;
    let put = emulator::client(&environment.url, |inner| inner).put_item().table_name("vestibule");
    let identity = [("PK", "SYS"), ("SK", "STORE"), ("name", "an item without an id")];
    let attributes = identity.map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned())));
    put.set_item(Some(attributes.into())).send().await.unwrap();
    let function = environment.function(session::routes(), RequiredKeys::NOTHING);
    let Err(ConfigErrors(faults)) = function.open_to_operators().await else { panic!("an unexpected success") };
    assert!(faults.len() == 1 && faults[0].starts_with("table vestibule: "), "{faults:?}");
}

#[tokio::test]
async fn operators_refuse_a_table_with_another_stream() {
    let environment = Environment::new().await;
    let table = emulator::create_table(&environment.url, "vestibule", |inner| inner).await;
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewImage);
    let update = emulator::client(&environment.url, |inner| inner).update_table().table_name("vestibule");
    update.stream_specification(stream.build().unwrap()).send().await.unwrap();
    let faults = table.describe(STREAM).await;
    assert!(
        faults.len() == 1 && faults[0].contains(&format!("VESTIBULE_TABLE_STREAM is {STREAM}, and its stream is "))
    );
    let own = faults[0].rsplit(' ').next().unwrap();
    assert!(table.describe(own).await.is_empty());
    let Err(ConfigErrors(faults)) =
        environment.function(session::routes(), RequiredKeys::NOTHING).open_to_operators().await
    else {
        panic!("an unexpected success")
    };
    assert!(faults.len() == 1 && faults[0].contains("VESTIBULE_TABLE_STREAM"), "{faults:?}");
}

#[tokio::test]
async fn wrong_clock_refuses_sign_in_and_small_drift_does_not() {
    let environment = Environment::new().await;
    environment.store().await;
    for (off, status) in [(40_000, 503), (-40_000, 503), (20_000, 401), (-20_000, 401)] {
        let function = environment.function(session::routes(), RequiredKeys::NOTHING);
        environment.clock.shift_millis(off);
        assert_eq!(environment.status(&function).await, status, "{off}");
        environment.clock.shift_millis(-off);
    }
}

#[tokio::test]
async fn restored_table_is_refused_until_the_restore_epoch_is_raised() {
    let environment = Environment::new().await;
    let (_, store) = environment.store().await;
    environment.clock.shift_millis(-15_000);
    let serving = environment.function(session::routes(), RequiredKeys::NOTHING);
    assert_eq!(environment.status(&serving).await, 401);
    // As in a copy of a table: the identity names another table.
    raise(&store, "the stream of the table it was in before", &environment).await;
    let started = environment.function(session::routes(), RequiredKeys::NOTHING);
    assert_eq!(environment.status(&started).await, 503);
    assert_reports(&environment.report(), &["raise the restore epoch first"]);
    assert_eq!(environment.status(&serving).await, 401, "the checks are repeated after half a minute");
    environment.clock.advance(Duration::from_secs(30));
    assert_eq!(environment.status(&serving).await, 503);
    raise(&store, STREAM, &environment).await;
    environment.clock.advance(Duration::from_secs(1));
    for function in [serving, started] {
        assert_eq!(environment.status(&function).await, 401);
    }
}

async fn raise(store: &Store, stream: &str, environment: &Environment) {
    let attempt = Attempt::begin(environment.clock.now(), &SystemEntropy).unwrap();
    let event = AuditEvent::new(AuditAction::RestoreEpochRaised, Outcome::Success, "test");
    store.raise_restore_epoch(Some(stream), &attempt, &event).await.unwrap().unwrap();
}
