//! What a function does before it serves anybody: it looks at its table, its keys and its clock; while something is wrong it
//! answers 503 and names every fault in one line of its log.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::HashMap, io::Write as _, sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use axum::{body::Body, http::Request};
use serde_json::Value;
use tempfile::NamedTempFile;
use tests::{
    emulator::{self, Database},
    log::Log,
};
use tower::ServiceExt;
use tracing::{Level, instrument::WithSubscriber};
use vestibule::{
    audit::{Action, AuditEvent, Outcome},
    env::{Clock, SystemClock, SystemEntropy, TestClock},
    http::Routes,
    id::TenantId,
    key_file::KeyFile,
    lambda::{ConfigErrors, Function, RequiredKeys, handler},
    log,
    sign_in::Attempt,
    store::{Store, dynamo::DynamoTable},
};

/// The ARN of the stream of the table that the store is in.
const STREAM: &str = "arn:aws:dynamodb:eu-central-1:123456789012:table/vestibule/stream/2026-11-24T09:00:00.000";

/// A function and what is around it.
struct Cloud {
    url: String,
    variables: HashMap<&'static str, String>,
    clock: Arc<TestClock>,
    log: Log,
    _keys: NamedTempFile,
}

impl Cloud {
    /// Everything is there but the table.
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
        // The emulator's answers have the time of day.
        let clock = Arc::new(TestClock::at(SystemClock.now()));
        Self { url, variables, clock, log: Log::default(), _keys: keys }
    }

    /// Makes the table, and says that it is the store's.
    async fn store(&self) -> (DynamoTable, Store) {
        let table = emulator::fresh(&self.url, "vestibule", |inner| inner).await;
        let store = Store::new(Arc::new(table.clone()));
        store.identify("test", Some(STREAM)).await.unwrap();
        (table, store)
    }

    fn function(&self, routes: Routes, needs: RequiredKeys) -> Arc<Function> {
        let variables = self.variables.clone();
        Function::new(
            routes,
            needs,
            move |name| variables.get(name).cloned(),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
        )
    }

    /// Asks somebody's session: 401 of whoever is served.
    async fn status(&self, function: &Arc<Function>) -> u16 {
        let (status, code) = self.ask(function, "/v1/session").await;
        assert_eq!(code, if status == 503 { "unavailable" } else { "invalid_token" });
        status
    }

    /// Asks for a path, which has to be refused; the status and the code.
    async fn ask(&self, function: &Arc<Function>, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let subscriber = log::to(self.log.clone(), Level::INFO);
        let answer = handler(Arc::clone(function)).oneshot(request).with_subscriber(subscriber);
        let response = answer.await.unwrap();
        let status = response.status().as_u16();
        assert_eq!(response.headers()["cache-control"], "no-store");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap()["code"].as_str().unwrap().to_owned())
    }

    /// The faults of the one line that the log has about them since it was last read.
    fn report(&self) -> String {
        let lines = self.log.take();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let errors: Vec<_> = lines.iter().filter(|line| line["level"] == "ERROR").collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors[0]["faults"].as_str().unwrap().to_owned()
    }
}

fn has(report: &str, faults: &[&str]) {
    let count = format!("{} fault(s): ", faults.len());
    assert!(report.starts_with(&count) && faults.iter().all(|fault| report.contains(fault)), "{report}");
}

#[tokio::test]
async fn a_function_without_anything_names_all_that_it_wants() {
    let cloud = Cloud { variables: HashMap::new(), ..Cloud::new().await };
    let function = cloud.function(session::routes(), RequiredKeys::SEALING.and(RequiredKeys::NAMES));
    assert_eq!(cloud.status(&function).await, 503);
    let aws = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let ours = ["VESTIBULE_TABLE is", "VESTIBULE_TABLE_STREAM", "VESTIBULE_SEALING_KEY", "VESTIBULE_NAMES_KEY"];
    has(&cloud.report(), &[&aws[..], &ours[..]].concat());
}

#[tokio::test]
async fn keys_that_cannot_be_derived_close_the_door() {
    let mut cloud = Cloud::new().await;
    cloud.store().await;
    cloud.variables.remove("VESTIBULE_KEYS_FILE");
    cloud.variables.insert("VESTIBULE_NAMES_KEY", "alias/names".into());
    cloud.variables.insert("VESTIBULE_CODES_KEY", "alias/codes".into());
    // Nobody listens there.
    cloud.variables.insert("VESTIBULE_KMS_ENDPOINT", "http://127.0.0.1:1".into());
    let function = cloud.function(session::routes(), RequiredKeys::NAMES.and(RequiredKeys::CODES));
    assert_eq!(cloud.status(&function).await, 503);
    has(&cloud.report(), &["VESTIBULE_NAMES_KEY alias/names: KMS GenerateMac: ", "VESTIBULE_CODES_KEY alias/codes: "]);
    let function = cloud.function(session::routes(), RequiredKeys::NOTHING);
    assert_eq!(cloud.status(&function).await, 401, "a flow without keys asks for none");
}

/// Of all functions `sso` alone is told: it is not an address that anybody may choose by a request.
#[tokio::test]
async fn where_people_reach_sso_has_to_be_an_address_if_it_is_said() {
    let mut cloud = Cloud::new().await;
    cloud.store().await;
    let needs = RequiredKeys::NAMES.and(RequiredKeys::PUBLIC_URL);
    for said in ["login.example.com", "http://login.example.com", "https://login.example.com/?tenant=acme"] {
        cloud.variables.insert("VESTIBULE_PUBLIC_URL", said.to_owned());
        assert_eq!(cloud.status(&cloud.function(session::routes(), needs)).await, 503, "{said}");
        let report = cloud.report();
        has(&report, &[&format!("VESTIBULE_PUBLIC_URL {said}")]);
        has(&report, &["it must be an address like https://login.example.com"]);
        let others = RequiredKeys::NAMES.and(RequiredKeys::CODES).and(RequiredKeys::SEALING);
        assert_eq!(cloud.status(&cloud.function(session::routes(), others)).await, 401, "no other asks for it");
    }
    cloud.variables.insert("VESTIBULE_PUBLIC_URL", "https://login.example.com/".into());
    assert_eq!(cloud.status(&cloud.function(session::routes(), needs)).await, 401);
}

/// Read with the rest when a function opens: a mistake is told, and is no silent default.
#[tokio::test]
async fn how_long_audit_rows_are_kept_can_be_said() {
    let mut cloud = Cloud::new().await;
    cloud.store().await;
    for wrong in ["0", "3651", "90 days"] {
        cloud.variables.insert("VESTIBULE_AUDIT_RETENTION_DAYS", wrong.into());
        assert_eq!(cloud.status(&cloud.function(session::routes(), RequiredKeys::NOTHING)).await, 503, "{wrong}");
        has(&cloud.report(), &[&format!("VESTIBULE_AUDIT_RETENTION_DAYS {wrong}: it must be a number of days")]);
    }
    let client = emulator::client(&cloud.url, |inner| inner);
    for (said, days) in [(None, 90), (Some(""), 90), (Some("30"), 30)] {
        cloud.variables.remove("VESTIBULE_AUDIT_RETENTION_DAYS");
        cloud.variables.extend(said.map(|said| ("VESTIBULE_AUDIT_RETENTION_DAYS", said.to_owned())));
        // A function that serves, and one that an operator calls.
        let tenant = format!("t{}", said.unwrap_or("none"));
        let body = serde_json::json!({"tenant": tenant, "username": "nobody", "password": "wrong"}).to_string();
        let request = Request::post("/v1/login").header("content-type", "application/json").body(Body::from(body));
        let served =
            handler(cloud.function(login::routes(), RequiredKeys::NAMES)).oneshot(request.unwrap()).await.unwrap();
        assert_eq!(served.status(), 401);
        let (app, _) = cloud.function(session::routes(), RequiredKeys::NOTHING).open_to_operators().await.unwrap();
        let begun = Attempt::begin(cloud.clock.now(), &SystemEntropy).unwrap();
        let event = AuditEvent::new(Action::Login, Outcome::Refused, "r");
        app.store.record(&TenantId::parse(&tenant).unwrap(), &begun, 0, &event).await;
        let items = client.scan().table_name("vestibule").send().await.unwrap().items.unwrap();
        let text = |item: &HashMap<_, AttributeValue>, name: &str| item[name].as_s().unwrap().clone();
        let rows = items.iter().filter(|item| text(item, "PK").starts_with(&format!("T#{tenant}#A#")));
        let expire: Vec<_> = rows
            .map(|row| {
                let millis: i64 = text(row, "SK").split('#').next().unwrap().parse().unwrap();
                row["ttl"].as_n().unwrap().parse::<i64>().unwrap() - millis / 1000
            })
            .collect();
        assert_eq!(expire, [days * 86_400; 2], "{said:?}");
    }
}

/// Anybody may ask for these paths, so that an error in the log would be an alarm that strangers set off.
#[tokio::test]
async fn sso_without_an_address_is_not_there_and_that_is_no_fault() {
    let mut cloud = Cloud::new().await;
    cloud.store().await;
    for said in [None, Some(String::new())] {
        cloud.variables.extend(said.map(|said| ("VESTIBULE_PUBLIC_URL", said)));
        let function = cloud.function(sso::routes(), RequiredKeys::NAMES.and(RequiredKeys::PUBLIC_URL));
        for path in ["/v1/sso/acme/metadata", "/v1/sso/acme/login"] {
            let answer = cloud.ask(&function, path).await;
            assert_eq!(answer, (404, "not_found".to_owned()), "{path}");
        }
        let log = cloud.log.take();
        assert!(!log.contains("\"ERROR\"") && !log.contains("\"WARN\""), "{log}");
    }
}

/// A gateway that is described wrongly would believe strangers or nobody: nothing is served.
#[tokio::test]
async fn a_gateway_that_does_not_read_closes_the_function() {
    let mut cloud = Cloud::new().await;
    cloud.store().await;
    let wrong = [
        ("VESTIBULE_BASE_PATH", "/auth"),
        ("VESTIBULE_CLIENT_ADDRESS", "x-forwarded-for"),
        ("VESTIBULE_CORS_ORIGINS", "*"),
    ];
    cloud.variables.extend(wrong.map(|(name, value)| (name, value.to_owned())));
    assert_eq!(cloud.status(&cloud.function(session::routes(), RequiredKeys::NOTHING)).await, 503);
    has(&cloud.report(), &wrong.map(|(name, _)| name));
}

#[tokio::test]
async fn what_can_be_looked_at_is_looked_at_whatever_else_is_wrong() {
    let mut cloud = Cloud::new().await;
    for name in ["VESTIBULE_KEYS_FILE", "VESTIBULE_CA_FILE"] {
        cloud.variables.insert(name, "/no/such/file".into());
    }
    let function = cloud.function(session::routes(), RequiredKeys::NAMES);
    cloud.clock.advance(Duration::from_secs(3600));
    assert_eq!(cloud.status(&function).await, 503);
    let files = ["VESTIBULE_KEYS_FILE /no/such/file: ", "VESTIBULE_CA_FILE /no/such/file: "];
    has(&cloud.report(), &[files[0], files[1], "the clock is 3", "there is none of that name in eu-central-1"]);
}

#[tokio::test]
async fn it_serves_as_soon_as_the_table_is_there_and_is_a_store() {
    let cloud = Cloud::new().await;
    let function = cloud.function(session::routes(), RequiredKeys::NOTHING);
    assert_eq!(cloud.status(&function).await, 503);
    has(&cloud.report(), &["table vestibule: there is none of that name"]);
    let table = emulator::fresh(&cloud.url, "vestibule", |inner| inner).await;
    assert_eq!(cloud.status(&function).await, 503, "it does not look again at once");
    cloud.clock.advance(Duration::from_secs(1));
    assert_eq!(cloud.status(&function).await, 503);
    has(&cloud.report(), &["the table is no store yet"]);
    Store::new(Arc::new(table)).identify("test", None).await.unwrap();
    cloud.clock.advance(Duration::from_secs(1));
    assert_eq!(cloud.status(&function).await, 401);
}

#[tokio::test]
async fn the_operators_make_no_store_of_a_table_of_another_form() {
    let cloud = Cloud::new().await;
    let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S).build();
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build();
    let create = emulator::client(&cloud.url, |inner| inner).create_table().table_name("vestibule");
    let create = create.attribute_definitions(id.unwrap()).key_schema(key.unwrap());
    create.billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
    let function = cloud.function(session::routes(), RequiredKeys::NOTHING);
    let Err(ConfigErrors(faults)) = function.open_to_operators().await else { panic!("taken") };
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].contains("its keys are not PK and SK") && faults[1].contains("it has no index dir"),
        "{faults:?}"
    );
    assert_eq!(cloud.status(&function).await, 503);
    has(&cloud.report(), &["table vestibule in eu-central-1: ValidationException"]);
}

#[tokio::test]
async fn the_operators_refuse_a_table_whose_stream_is_not_the_one_configured() {
    let cloud = Cloud::new().await;
    let table = emulator::fresh(&cloud.url, "vestibule", |inner| inner).await;
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewImage);
    let update = emulator::client(&cloud.url, |inner| inner).update_table().table_name("vestibule");
    update.stream_specification(stream.build().unwrap()).send().await.unwrap();
    let faults = table.describe(STREAM).await;
    assert!(
        faults.len() == 1 && faults[0].contains(&format!("VESTIBULE_TABLE_STREAM is {STREAM}, and its stream is "))
    );
    let own = faults[0].rsplit(' ').next().unwrap();
    assert!(table.describe(own).await.is_empty());
    let Err(ConfigErrors(faults)) = cloud.function(session::routes(), RequiredKeys::NOTHING).open_to_operators().await
    else {
        panic!("taken")
    };
    assert!(faults.len() == 1 && faults[0].contains("VESTIBULE_TABLE_STREAM"), "{faults:?}");
}

#[tokio::test]
async fn a_clock_that_is_far_off_closes_the_door_and_a_step_does_not() {
    let cloud = Cloud::new().await;
    cloud.store().await;
    for (off, status) in [(40_000, 503), (-40_000, 503), (20_000, 401), (-20_000, 401)] {
        let function = cloud.function(session::routes(), RequiredKeys::NOTHING);
        cloud.clock.shift_millis(off);
        assert_eq!(cloud.status(&function).await, status, "{off}");
        cloud.clock.shift_millis(-off);
    }
}

#[tokio::test]
async fn a_table_that_was_restored_is_closed_until_the_epoch_is_raised() {
    let cloud = Cloud::new().await;
    let (_, store) = cloud.store().await;
    cloud.clock.shift_millis(-15_000);
    let serving = cloud.function(session::routes(), RequiredKeys::NOTHING);
    assert_eq!(cloud.status(&serving).await, 401);
    // As in a copy: the identity names another table.
    raise(&store, "the stream of the table it was in before", &cloud).await;
    let started = cloud.function(session::routes(), RequiredKeys::NOTHING);
    assert_eq!(cloud.status(&started).await, 503);
    has(&cloud.report(), &["raise the restore epoch first"]);
    assert_eq!(cloud.status(&serving).await, 401, "what it saw is relied on for half a minute");
    cloud.clock.advance(Duration::from_secs(30));
    assert_eq!(cloud.status(&serving).await, 503);
    raise(&store, STREAM, &cloud).await;
    cloud.clock.advance(Duration::from_secs(1));
    for function in [serving, started] {
        assert_eq!(cloud.status(&function).await, 401);
    }
}

async fn raise(store: &Store, stream: &str, cloud: &Cloud) {
    let attempt = Attempt::begin(cloud.clock.now(), &SystemEntropy).unwrap();
    let event = AuditEvent::new(Action::RestoreEpochRaised, Outcome::Success, "test");
    store.raise_restore_epoch(Some(stream), &attempt, &event).await.unwrap().unwrap();
}
