//! Mails with links in the cloud: from the queue through `password-mail` to the mail service, on stubs of SQS and SES.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::HashMap, sync::Arc};

use aws_sdk_dynamodb::types::AttributeValue;
use axum::http::Method;
use password_mail::lambda::{Event, Function};
use serde_json::{Value, json};
use tests::{
    Service, TestRequest, TestUsers,
    emulator::{self, Database},
    stub::{Stub, environment},
};
use vestibule::{
    aws::{Aws, ConfigErrors},
    env::{Clock, SystemClock},
    mail_order::{MailOrder, MailQueue},
    sqs::SqsQueue,
};

const NEW: &str = "seven green lamps in the hall";

/// An item of the table.
type Attributes = HashMap<String, AttributeValue>;

async fn service() -> (Service, TestUsers, String) {
    let url = emulator::serve(Database::memory().unwrap()).await;
    let table = emulator::create_table(&url, "vestibule", |inner| inner).await.patient();
    let keys = local::data_dir::DataDir::ephemeral(&vestibule::env::SystemEntropy).unwrap().keys;
    let service = Service::with_table(Arc::new(table), keys);
    service.app().store.identify("a store", None).await.unwrap();
    let users = service.add_users().await;
    (service, users, url)
}

fn function(url: &str, ses: &str) -> Function {
    function_with(url, ses, "mails")
}

fn function_with(url: &str, ses: &str, configuration_set: &str) -> Function {
    let function = Function::configured(environment(&[
        ("VESTIBULE_TABLE", "vestibule"),
        ("VESTIBULE_MAIL_FROM", "sign-in@example.com"),
        ("VESTIBULE_MAIL_CONFIGURATION_SET", configuration_set),
        ("VESTIBULE_PUBLIC_URL", "https://login.example.com"),
        ("VESTIBULE_AUDIT_RETENTION_DAYS", "30"),
        ("VESTIBULE_DYNAMODB_ENDPOINT", url),
        ("VESTIBULE_SES_ENDPOINT", ses),
    ]));
    function.unwrap()
}

/// An order to invite ivy, who was created for it. The function uses the system clock, and an invitation is valid for days.
async fn invitation(service: &Service, users: &mut TestUsers) -> MailOrder {
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let ivy = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": "ivy",
                     "display_name": "Ivy", "email": "ivy@acme.example", "invite": true});
    service.post("/v1/admin/users", &ann, ivy).await.ok();
    service.mails().orders().remove(0)
}

/// The order as SQS delivers it to the function, after the queue took it.
async fn through_queue(order: &MailOrder) -> Event {
    let sqs = Stub::new(|_, _| Some((200, json!({"MessageId": "m", "MD5OfMessageBody": "0"})))).await;
    let mut faults = ConfigErrors::default();
    let aws = Aws::read(environment(&[]), &mut faults).unwrap();
    let queue = SqsQueue::new(&aws, format!("{}/123456789012/mails", sqs.url), Some(sqs.url.clone()));
    queue.put(order).await.unwrap();
    let sent = sqs.sent();
    let [message] = &sent[..] else { panic!("{sent:?}") };
    let record = json!({"messageId": "m", "receiptHandle": "r", "body": message["MessageBody"], "attributes": {},
                        "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "eu-central-1"});
    serde_json::from_value(json!({"Records": [record]})).unwrap()
}

fn part<'a>(mail: &'a Value, part: &str) -> &'a str {
    mail.pointer(&format!("/Content/Simple/{part}/Data")).unwrap().as_str().unwrap()
}

#[tokio::test]
async fn queued_message_is_mailed_once_with_text_and_html() {
    let (service, mut users, url) = service().await;
    let event = through_queue(&invitation(&service, &mut users).await).await;
    let ses = Stub::new(|n, _| {
        Some(if n == 0 {
            (429, json!({"__type": "TooManyRequestsException", "message": "slow down"}))
        } else {
            (200, json!({"MessageId": "m"}))
        })
    })
    .await;
    let function = function(&url, &ses.url);
    // The SDK repeats a request that was throttled.
    function.handle(&event).await.unwrap();
    function.handle(&event).await.unwrap();
    let mails = ses.sent();
    assert_eq!(mails.len(), 2, "one was throttled, and the second delivery sends none: {mails:?}");
    let mail = mails.last().unwrap();
    assert_eq!(mail["FromEmailAddress"], "sign-in@example.com");
    assert_eq!(mail["Destination"]["ToAddresses"], json!(["ivy@acme.example"]));
    assert_eq!(part(mail, "Subject"), "Acme: your new account");
    let text = part(mail, "Body/Text");
    let token = text.lines().find_map(|line| line.strip_prefix("https://login.example.com/password/reset?token="));
    let token = token.unwrap();
    assert!(part(mail, "Body/Html").contains(token));
    assert_eq!(mail["Content"]["Simple"]["Headers"][0]["Name"], "X-Vestibule-Message");
    service.clock().shift_millis(SystemClock.now().millis() - tests::BEGIN.millis());
    let body = json!({"token": token, "new_password": NEW});
    let used = service.send(TestRequest::new(Method::POST, "/v1/password-resets/confirm").json(body)).await;
    assert_eq!(used.status, 204, "{used:?}");
}

/// The rows of the audit expire as configured. The clock of the service is months ahead of the function's.
#[tokio::test]
async fn audit_row_of_a_mail_expires_as_configured() {
    let (service, mut users, url) = service().await;
    let event = through_queue(&invitation(&service, &mut users).await).await;
    let ses = Stub::new(|_, _| Some((200, json!({"MessageId": "m"})))).await;
    let began = SystemClock.now();
    function(&url, &ses.url).handle(&event).await.unwrap();
    let items = emulator::client(&url, |inner| inner).scan().table_name("vestibule").send().await.unwrap();
    let number = |item: &Attributes, name: &str| item.get(name)?.as_n().ok()?.parse::<i64>().ok();
    let rows = items.items().iter().filter(|item| item["PK"].as_s().unwrap().contains("#A#"));
    let ends: Vec<_> = rows.filter_map(|item| number(item, "ttl")).map(|ttl| (ttl - began.secs()) / 86_400).collect();
    assert!(ends.contains(&30), "days: {ends:?}");
}

#[tokio::test]
async fn failure_of_the_mail_service_fails_the_delivery() {
    let (service, mut users, url) = service().await;
    let event = through_queue(&invitation(&service, &mut users).await).await;
    let ses = Stub::new(|_, _| Some((500, json!({"__type": "InternalFailure", "message": "broken"})))).await;
    assert!(function(&url, &ses.url).handle(&event).await.is_err());
    let ses = Stub::new(|_, _| Some((200, json!({"MessageId": "m"})))).await;
    function(&url, &ses.url).handle(&event).await.unwrap();
    assert_eq!(ses.sent().len(), 1, "the next delivery sends the mail");
}

/// A delivery that is repeated would be refused again, until the queue gives the message up.
#[tokio::test]
async fn mail_that_is_refused_for_good_is_not_sent_again() {
    for refusal in ["BadRequestException", "MessageRejected"] {
        let (service, mut users, url) = service().await;
        let event = through_queue(&invitation(&service, &mut users).await).await;
        let ses = Stub::new(move |_, _| Some((400, json!({"__type": refusal, "message": "no"})))).await;
        for _ in 0..2 {
            function(&url, &ses.url).handle(&event).await.unwrap();
        }
        assert_eq!(ses.sent().len(), 1, "{refusal}");
    }
}

/// The template sets the variable to an empty text if there is no configuration set. SES would refuse an empty name.
#[tokio::test]
async fn mail_names_the_configuration_set_if_one_is_configured() {
    for (configured, named) in [("mails", json!("mails")), ("", Value::Null)] {
        let (service, mut users, url) = service().await;
        let event = through_queue(&invitation(&service, &mut users).await).await;
        let ses = Stub::new(|_, _| Some((200, json!({"MessageId": "m"})))).await;
        function_with(&url, &ses.url, configured).handle(&event).await.unwrap();
        assert_eq!(ses.sent()[0]["ConfigurationSetName"], named);
    }
}

#[tokio::test]
async fn queue_that_does_not_answer_is_an_error() {
    let (service, mut users, _) = service().await;
    let order = invitation(&service, &mut users).await;
    let sqs = Stub::new(|_, _| Some((400, json!({"__type": "QueueDoesNotExist"})))).await;
    let aws = Aws::read(environment(&[]), &mut ConfigErrors::default()).unwrap();
    let error =
        SqsQueue::new(&aws, format!("{}/1/mails", sqs.url), Some(sqs.url.clone())).put(&order).await.unwrap_err();
    assert!(error.to_string().contains("QueueDoesNotExist"), "{error}");
}

#[test]
fn every_configuration_error_is_reported() {
    let faults = Function::configured(|_| None).err().unwrap().0;
    let names: Vec<_> = faults.iter().map(|fault| fault.split(' ').next().unwrap()).collect();
    let expected = [
        "VESTIBULE_TABLE",
        "VESTIBULE_MAIL_FROM",
        "VESTIBULE_PUBLIC_URL",
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ];
    assert_eq!(names, expected);
    // One that has a default counts too.
    let faults = Function::configured(environment(&[
        ("VESTIBULE_TABLE", "vestibule"),
        ("VESTIBULE_MAIL_FROM", "sign-in@example.com"),
        ("VESTIBULE_PUBLIC_URL", "https://login.example.com"),
        ("VESTIBULE_AUDIT_RETENTION_DAYS", "a year"),
    ]));
    let faults = faults.err().unwrap().0;
    assert!(faults.len() == 1 && faults[0].starts_with("VESTIBULE_AUDIT_RETENTION_DAYS"), "{faults:?}");
}
