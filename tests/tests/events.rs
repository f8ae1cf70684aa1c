//! Audit events from the table's stream to the bus, and mails for events: with recorded and real streams, and with a
//! failing bus and mail service.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use audit_events::{Batch, Bus};
use notify::{Event, Mailer, NotifyError};
use serde_json::{Value, json};
use tests::{
    Service, TestUsers,
    emulator::{self, Database},
    log::Log,
    stream,
    stub::{Stub, environment, taken},
};

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn recorded() -> Value {
    serde_json::from_str(include_str!("../events/dynamodb-stream.json")).unwrap()
}

fn bus(stub: &Stub) -> Bus {
    Bus::configured(environment(&[("VESTIBULE_EVENT_BUS", "bus"), ("VESTIBULE_EVENTS_ENDPOINT", &stub.url)])).unwrap()
}

/// Gives records to the function; returns its answer to Lambda.
async fn put(stub: &Stub, records: Value) -> Value {
    let batch: Batch = serde_json::from_value(records).unwrap();
    serde_json::to_value(bus(stub).put(&batch).await).unwrap()
}

fn no_failures() -> Value {
    json!({"batchItemFailures": []})
}

fn failed_from(sequence_number: &str) -> Value {
    json!({"batchItemFailures": [{"itemIdentifier": sequence_number}]})
}

/// Records of `count` rows with sequence numbers from 1, each with a reason of `reason` bytes.
fn rows(count: usize, reason: usize) -> Value {
    let record = |n: usize| {
        let mut record = recorded()["Records"][0].clone();
        record["dynamodb"]["SequenceNumber"] = json!(n.to_string());
        record["dynamodb"]["NewImage"]["SK"]["S"] = json!(format!("1800000015{n:03}#AAAAAAAAAAAAAAAAAAAAAA-0"));
        record["dynamodb"]["NewImage"]["reason"]["S"] = json!("r".repeat(reason));
        record
    };
    json!({"Records": (1..=count).map(record).collect::<Vec<_>>()})
}

/// The first code block of this language in a documentation page.
fn documented(page: &str, language: &str) -> String {
    let page = read(page);
    let (_, after) = page.split_once(&format!("```{language}\n")).unwrap();
    after.split_once("```").unwrap().0.to_owned()
}

#[tokio::test]
async fn only_new_audit_rows_of_a_recorded_stream_become_events() {
    let stub = Stub::bus().await;
    assert_eq!(put(&stub, recorded()).await, no_failures());
    let (entries, events) = (stub.entries(), stub.events());
    assert_eq!(events[0], serde_json::from_str::<Value>(&documented("docs/events.md", "json")).unwrap());
    let kinds: Vec<_> = entries.iter().map(|entry| entry["DetailType"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["vestibule.audit.mfa.reset", "vestibule.audit.unreadable", "vestibule.audit.login"]);
    for (entry, event) in entries.iter().zip(&events) {
        assert_eq!((&entry["Source"], &entry["EventBusName"]), (&json!("vestibule"), &json!("bus")));
        assert_eq!(entry["DetailType"], event["type"]);
    }
    assert_eq!(entries[0]["Time"], json!(1_800_000_015.123));
    assert_eq!(events[2]["source"], "/vestibule/tenants/globex");
    // An unreadable row is reported without its content.
    let data = json!({"id": "1800000016000-BBBBBBBBBBBBBBBBBBBBBB-1", "at": "2027-01-15T08:00:16Z"});
    assert_eq!((&events[1]["data"], &events[1]["id"]), (&data, &json!("acme/1800000016000-BBBBBBBBBBBBBBBBBBBBBB-1")));
    assert!(!stub.sent()[0].to_string().contains("of a version"));
}

/// Only a new row is news. No row is written again; if one is, its event was sent before.
#[tokio::test]
async fn row_that_is_written_again_is_no_event() {
    let stub = Stub::bus().await;
    let mut records = rows(2, 1);
    records["Records"][0]["eventName"] = json!("MODIFY");
    records["Records"][1]["eventName"] = json!("REMOVE");
    assert_eq!(put(&stub, records).await, no_failures());
    assert!(stub.sent().is_empty());
}

/// The alarm of the template counts these lines.
#[tokio::test]
async fn attacks_are_logged_and_other_events_are_not() {
    let (stub, log) = (Stub::bus().await, Log::default());
    let subscriber = tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(log.clone());
    let _collected = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    for (action, attack) in [
        ("login.attacked", true),
        ("factor.attacked", true),
        ("factor.disabled", true),
        ("login.delayed", false),
        ("mfa.reset", false),
    ] {
        let mut records = rows(1, 1);
        records["Records"][0]["dynamodb"]["NewImage"]["action"]["S"] = json!(action);
        assert_eq!(put(&stub, records).await, no_failures());
        let logged = log.take();
        assert_eq!(logged.contains("an attack") && logged.contains("acme"), attack, "{action}: {logged}");
    }
}

/// The metrics count sign-ins among new rows, by outcome.
#[test]
fn sign_ins_are_counted_by_outcome() {
    let mut records = recorded();
    let batch = |records: &Value| serde_json::from_value::<Batch>(records.clone()).unwrap();
    assert_eq!(batch(&records).sign_ins(), [(("login", "refused"), 1)].into());
    let mut verify = records["Records"][0].clone();
    verify["dynamodb"]["NewImage"]["action"]["S"] = json!("verify");
    let mut gone = verify.clone();
    gone["eventName"] = json!("REMOVE");
    let mut recovery = verify.clone();
    recovery["dynamodb"]["NewImage"]["action"]["S"] = json!("recovery_token.used");
    records["Records"].as_array_mut().unwrap().extend([verify.clone(), verify, recovery, gone]);
    let batch = batch(&records);
    let expected = [(("login", "refused"), 1), (("recovery_token.used", "success"), 1), (("verify", "success"), 2)];
    assert_eq!(batch.sign_ins(), expected.into());
}

#[tokio::test]
async fn stream_resumes_at_the_first_event_the_bus_refused() {
    let stub = Stub::new(|_, body| {
        let mut answer = taken(body);
        answer["FailedEntryCount"] = json!(1);
        answer["Entries"][1] = json!({"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"});
        Some((200, answer))
    })
    .await;
    assert_eq!(put(&stub, recorded()).await, failed_from("100000000000000000003"));
    // Ten events a call; after a failed call no further one is sent.
    let stub = Stub::new(|call, body| match call {
        0 => Some((200, taken(body))),
        _ => Some((400, json!({"__type": "AccessDeniedException", "message": "no"}))),
    })
    .await;
    assert_eq!(put(&stub, rows(23, 1)).await, failed_from("11"));
    let sizes: Vec<_> = stub.sent().iter().map(|body| body["Entries"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [10, 10]);
}

#[tokio::test]
async fn unavailable_bus_is_retried_later() {
    let stub = Stub::new(|_, _| Some((500, json!({"__type": "InternalException"})))).await;
    assert_eq!(put(&stub, recorded()).await, failed_from("100000000000000000001"));
    assert_eq!(stub.sent().len(), 3, "the SDK tries three times");
    let gone = Stub::without_server("http://127.0.0.1:1");
    assert_eq!(put(&gone, recorded()).await, failed_from("100000000000000000001"));
}

#[tokio::test]
async fn silent_store_times_out_before_the_function() {
    let stub = Stub::new(|_, _| None).await;
    let began = std::time::Instant::now();
    assert_eq!(put(&stub, recorded()).await, failed_from("100000000000000000001"));
    assert!(began.elapsed().as_secs() < 15, "{:?}", began.elapsed());
}

#[tokio::test]
async fn put_events_call_is_as_large_as_allowed() {
    let stub = Stub::bus().await;
    assert_eq!(put(&stub, rows(7, 100_000)).await, no_failures());
    let sizes: Vec<_> = stub.sent().iter().map(|body| body["Entries"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [2, 2, 2, 1]);
    // A row that is too large for the bus does not block the ones after it.
    let stub = Stub::bus().await;
    assert_eq!(put(&stub, rows(1, 300_000)).await, no_failures());
    assert_eq!(stub.events()[0]["type"], "vestibule.audit.unreadable");
}

/// A service on a table with a stream, and the URL of the table's emulator.
async fn service_with_stream() -> (Service, TestUsers, String) {
    let url = emulator::serve(Database::memory().unwrap()).await;
    let (service, users) = service_with_stream_at(&url, "vestibule").await;
    (service, users, url)
}

async fn service_with_stream_at(url: &str, name: &str) -> (Service, TestUsers) {
    let table = emulator::create_table(url, name, |inner| inner).await.patient();
    stream::enable(url, name).await;
    let keys = local::data_dir::DataDir::ephemeral(&vestibule::env::SystemEntropy).unwrap().keys;
    let service = Service::with_table(Arc::new(table), keys);
    let users = service.add_users().await;
    (service, users)
}

/// All rows of a tenant's audit, as its Administrator reads them.
async fn audit(service: &Service, session: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service.get(&format!("/v1/admin/audit?limit=100{cursor}"), session).await.ok().body;
        rows.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

/// Creates audit rows: a sign-in with failures, resets, an exclusion, changed e-mail addresses.
async fn create_audit_rows(service: &Service, users: &mut TestUsers) -> String {
    let ann = users.get_mut("ann").unwrap();
    service.enrol(ann).await;
    let session = service.stepped_up_session(ann).await;
    let bob = users.get_mut("bob").unwrap();
    service.enrol(bob).await;
    let challenge = service.challenge_token(bob).await;
    for _ in 0..4 {
        let wrong = service.wrong_code(bob);
        service.verify(&challenge, &wrong).await;
    }
    for _ in 0..5 {
        service.login_with(&users["eve"], "wrong").await;
    }
    for (id, email) in [("u-bob", "bob@example.com"), ("u-amy", "amy@example.com"), ("u-ann", "ann@example.com")] {
        let change = json!({"email": email});
        service.patch(&format!("/v1/admin/users/{id}"), &session, change).await.ok();
    }
    let reset = json!({"reason": "lost phone"});
    service.post("/v1/admin/users/u-bob/mfa-reset", &session, reset.clone()).await.ok();
    service.post("/v1/admin/users/u-amy/mfa-reset", &session, reset).await.ok();
    let body = json!({"contact_ids": ["u-con1", "u-con2"], "disable_mfa": true, "reason": "r"});
    let batch =
        tests::TestRequest::new(axum::http::Method::POST, "/v1/admin/portal-exclusions").token(&session).json(body);
    service.send(batch.header("Idempotency-Key", "k")).await.ok();
    session
}

/// Every audit row of the table is sent as an event once, as the API shows it.
async fn assert_all_rows_sent(url: &str, name: &str) {
    let (service, mut users) = service_with_stream_at(url, name).await;
    let session = create_audit_rows(&service, &mut users).await;
    let records = stream::records(url, name).await;
    let (stub, record_count) = (Stub::bus().await, records.len());
    let filter = filter();
    let matched = records.iter().filter(|record| matches(&filter, record)).count();
    assert_eq!(put(&stub, json!({"Records": records})).await, no_failures());
    let events = stub.events();
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len(), "event ids are unique");
    let rows = audit(&service, &session).await;
    assert!(rows.len() > 20, "{}", rows.len());
    let acme: Vec<_> = events.iter().filter(|event| event["tenant"] == "acme").collect();
    for row in &rows {
        let of = acme.iter().filter(|event| event["data"] == *row).collect::<Vec<_>>();
        assert_eq!(of.len(), 1, "{row}");
        assert_eq!(of[0]["id"], format!("acme/{}", row["id"].as_str().unwrap()));
        assert_eq!(of[0]["type"], format!("vestibule.audit.{}", row["action"].as_str().unwrap()));
    }
    assert_eq!(acme.len(), rows.len());
    // The stream contains other records too; the template's filter excludes all of them.
    assert!(record_count > events.len(), "{record_count}");
    assert_eq!(matched, events.len());
}

fn template() -> Value {
    serde_saphyr::from_str(&read("infra/template.yaml")).unwrap()
}

/// The filter by which Lambda selects records for the function.
fn filter() -> Value {
    let function = &template()["Resources"]["AuditEventsFunction"]["Properties"];
    let filters = &function["Events"]["Rows"]["Properties"]["FilterCriteria"]["Filters"];
    assert_eq!(filters.as_array().unwrap().len(), 1);
    serde_json::from_str(filters[0]["Pattern"].as_str().unwrap()).unwrap()
}

/// Whether a pattern matches a value. Supports what the template uses: objects, lists of strings, prefixes and
/// `exists`.
fn matches(pattern: &Value, value: &Value) -> bool {
    let one = |pattern: &Value, value: &Value| match pattern {
        Value::String(_) => pattern == value,
        _ if pattern["exists"] == true => !value.is_null(),
        _ => value.as_str().is_some_and(|text| text.starts_with(pattern["prefix"].as_str().unwrap())),
    };
    match pattern {
        Value::Object(parts) => parts.iter().all(|(name, pattern)| matches(pattern, &value[name])),
        Value::Array(any) => any.iter().any(|pattern| match value {
            Value::Array(some) => some.iter().any(|value| one(pattern, value)),
            value => one(pattern, value),
        }),
        other => panic!("no pattern: {other}"),
    }
}

#[tokio::test]
async fn every_audit_row_is_sent_once_as_the_api_shows_it() {
    assert_all_rows_sent(&emulator::serve(Database::memory().unwrap()).await, "vestibule").await;
}

/// On DynamoDB Local, which `.ci/with-dynamodb-local` starts.
#[cfg(feature = "dynamodb-local")]
#[tokio::test]
async fn emulated_every_audit_row_on_dynamodb_local_is_sent_once() {
    let url = tests::aws::dynamodb();
    assert_all_rows_sent(&url, &format!("events-{}", std::process::id())).await;
}

fn mailer(url: &str, ses: &str) -> Mailer {
    mailer_with(url, ses, "mails")
}

fn mailer_with(url: &str, ses: &str, configuration_set: &str) -> Mailer {
    let mailer = Mailer::configured(environment(&[
        ("VESTIBULE_TABLE", "vestibule"),
        ("VESTIBULE_MAIL_FROM", "sign-in@example.com"),
        ("VESTIBULE_MAIL_CONFIGURATION_SET", configuration_set),
        ("VESTIBULE_DYNAMODB_ENDPOINT", url),
        ("VESTIBULE_SES_ENDPOINT", ses),
    ]));
    mailer.unwrap()
}

/// The rule by which the bus selects events for `notify`.
fn rule() -> Value {
    template()["Resources"]["MailRule"]["Properties"]["EventPattern"].clone()
}

/// An event as EventBridge delivers it.
fn envelope(event: &Value) -> Value {
    json!({"version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "detail-type": event["type"],
        "source": "vestibule", "account": "123456789012", "time": event["time"], "region": "eu-central-1",
        "resources": [], "detail": event})
}

fn delivered(event: &Value) -> Event {
    serde_json::from_value(envelope(event)).unwrap()
}

/// The events of [`create_audit_rows`] that cause mails.
async fn notifying_events(service: &Service, users: &mut TestUsers, url: &str) -> Vec<Value> {
    create_audit_rows(service, users).await;
    let stub = Stub::bus().await;
    put(&stub, json!({"Records": stream::records(url, "vestibule").await})).await;
    let rule = rule();
    stub.events().into_iter().filter(|event| matches(&rule, &envelope(event))).collect()
}

fn recipient(mail: &Value) -> &str {
    let to = mail["Destination"]["ToAddresses"].as_array().unwrap();
    assert_eq!(to.len(), 1, "one recipient per mail: {mail}");
    to[0].as_str().unwrap()
}

#[tokio::test]
async fn each_recipient_gets_a_separate_mail() {
    let (service, mut users, url) = service_with_stream().await;
    let events = notifying_events(&service, &mut users, &url).await;
    let ses = Stub::new(|_, _| Some((200, json!({"MessageId": "m"})))).await;
    let mailer = mailer(&url, &ses.url);
    for event in &events {
        mailer.notify(&delivered(event).detail).await.unwrap();
    }
    let mails = ses.sent();
    let about: BTreeSet<_> = mails
        .iter()
        .map(|mail| {
            assert_eq!(mail["FromEmailAddress"], "sign-in@example.com");
            assert_eq!(mail["ConfigurationSetName"], "mails");
            (recipient(mail), mail["Content"]["Simple"]["Subject"]["Data"].as_str().unwrap())
        })
        .collect();
    let reset = "MFA was reset: enrol again at the next sign-in";
    let (enrolled, codes) = ("An authenticator was enrolled", "The right password, then several wrong codes");
    // Amy is an Administrator of acme: her reset is reported to her and to ann, who did it. Eve and the contacts have
    // no address.
    let expected = [
        ("amy@example.com", reset),
        ("ann@example.com", enrolled),
        ("ann@example.com", reset),
        ("bob@example.com", enrolled),
        ("bob@example.com", reset),
        ("bob@example.com", codes),
    ];
    assert_eq!(about, expected.into());
    assert!(
        events.iter().any(|event| event["type"] == "vestibule.audit.login.delayed"),
        "no recipient has an address for that event"
    );
    for mail in &mails {
        let simple = &mail["Content"]["Simple"];
        let id =
            simple["Headers"].as_array().unwrap().iter().find(|header| header["Name"] == "X-Vestibule-Event").unwrap();
        let text = simple["Body"]["Text"]["Data"].as_str().unwrap();
        assert!(text.contains(&format!("  event: {}\n", id["Value"].as_str().unwrap())), "{text}");
        assert!(!text.contains("http") && !text.contains("www."), "{text}");
        let administrator = text.contains("as an Administrator of Acme");
        assert_eq!(administrator, recipient(mail) == "ann@example.com" && text.contains("reset"), "{text}");
    }
}

/// The template sets the variable to an empty text if there is no configuration set. SES would refuse an empty name.
#[tokio::test]
async fn mail_names_no_configuration_set_if_none_is_configured() {
    let (service, mut users, url) = service_with_stream().await;
    let events = notifying_events(&service, &mut users, &url).await;
    let ses = Stub::new(|_, _| Some((200, json!({"MessageId": "m"})))).await;
    let mailer = mailer_with(&url, &ses.url, "");
    for event in &events {
        mailer.notify(&delivered(event).detail).await.unwrap();
    }
    let mails = ses.sent();
    assert!(!mails.is_empty() && mails.iter().all(|mail| mail.get("ConfigurationSetName").is_none()), "{mails:?}");
}

#[tokio::test]
async fn refused_address_delays_no_other_mail_and_failures_are_retried() {
    let (service, mut users, url) = service_with_stream().await;
    let events = notifying_events(&service, &mut users, &url).await;
    let amys = |event: &&Value| event["type"] == "vestibule.audit.mfa.reset" && event["subject"] == "u-amy";
    let event = delivered(events.iter().find(amys).unwrap()).detail;
    let for_amy = |body: &Value| body.to_string().contains("amy@example.com");
    // A permanent refusal: the other recipient gets a mail, and nothing is retried.
    for refusal in ["BadRequestException", "MessageRejected"] {
        let ses = Stub::new(move |_, body| match for_amy(body) {
            true => Some((400, json!({"__type": refusal, "message": "no"}))),
            false => Some((200, json!({"MessageId": "m"}))),
        })
        .await;
        mailer(&url, &ses.url).notify(&event).await.unwrap();
        let mut to: Vec<_> = ses.sent().iter().map(|mail| recipient(mail).to_owned()).collect();
        to.sort();
        assert_eq!(to, ["amy@example.com", "ann@example.com"], "{refusal}");
    }
    // A temporary failure: the other recipient gets a mail, and the event is retried.
    let faults = [(429, "TooManyRequestsException"), (400, "AccountSuspendedException"), (500, "InternalFailure")];
    for (status, fault) in faults {
        let ses = Stub::new(move |_, body| match for_amy(body) {
            true => Some((status, json!({"__type": fault, "message": "no"}))),
            false => Some((200, json!({"MessageId": "m"}))),
        })
        .await;
        let failure = mailer(&url, &ses.url).notify(&event).await.unwrap_err();
        assert!(matches!(failure, NotifyError::Mails(1)), "{fault}: {failure}");
        assert!(ses.sent().iter().any(|mail| recipient(mail) == "ann@example.com"), "{fault}");
    }
    // The table is unreachable: no mail is sent, and the event is retried.
    let ses = Stub::new(|_, _| Some((200, json!({"MessageId": "m"})))).await;
    let failure = mailer("http://127.0.0.1:1", &ses.url).notify(&event).await.unwrap_err();
    assert!(matches!(failure, NotifyError::Store(_)), "{failure}");
    assert!(ses.sent().is_empty());
}

/// On the event bus and mail service of moto, with the template's rule. `.ci/with-kms` starts moto.
#[cfg(feature = "kms-emulator")]
#[tokio::test]
async fn emulated_events_reach_notify_and_its_mails_are_accepted() {
    use tests::aws;

    let endpoint = aws::moto();
    let queue = aws::create_bus("bus", &rule()).await;
    let sender = json!({"EmailIdentity": "sign-in@example.com"});
    aws::post(&endpoint, "ses", "/v2/email/identities", sender).await;

    let (service, mut users, url) = service_with_stream().await;
    create_audit_rows(&service, &mut users).await;
    let records = stream::records(&url, "vestibule").await;
    assert_eq!(put(&Stub::without_server(&endpoint), json!({"Records": records})).await, no_failures());

    let mailer = mailer(&url, &endpoint);
    let mut delivered_count = 0;
    loop {
        let messages = aws::take_messages(&queue).await;
        if messages.is_empty() {
            break;
        }
        for message in messages {
            let event: Event = serde_json::from_value(message).unwrap();
            assert!(!event.detail.data.notified.is_empty());
            mailer.notify(&event.detail).await.unwrap();
            delivered_count += 1;
        }
    }
    assert!(delivered_count > 5, "{delivered_count}");
    let mails = aws::mails().await;
    let mut to: Vec<_> = mails.iter().map(|mail| mail["destinations"]["ToAddresses"][0].as_str().unwrap()).collect();
    to.sort_unstable();
    to.dedup();
    assert_eq!(to, ["amy@example.com", "ann@example.com", "bob@example.com"]);
    assert!(mails.iter().all(|mail| mail["source"] == "sign-in@example.com"));
    assert!(mails.iter().any(|mail| mail["body"].as_str().unwrap().starts_with("MFA was reset: enrol again")));
}

#[test]
fn every_configuration_error_is_reported() {
    let variables = |faults: vestibule::aws::ConfigErrors| -> Vec<String> {
        faults.0.iter().map(|fault| fault.split(' ').next().unwrap().to_owned()).collect()
    };
    let of_aws = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let faults = variables(Bus::configured(|_| None).err().unwrap());
    assert_eq!(faults, [&["VESTIBULE_EVENT_BUS"], &of_aws[..]].concat());
    let faults = variables(Mailer::configured(|_| None).err().unwrap());
    assert_eq!(faults, [&["VESTIBULE_TABLE", "VESTIBULE_MAIL_FROM"], &of_aws[..]].concat());
    let faults = Bus::configured(environment(&[("VESTIBULE_CA_FILE", "/no/such/file")])).err().unwrap().to_string();
    assert!(faults.starts_with("2 fault(s): ") && faults.contains("VESTIBULE_CA_FILE /no/such/file: "), "{faults}");
}
