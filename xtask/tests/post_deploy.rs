//! The cloud of `.ci/with-cloud` beyond the flows: resets by operators and the restore epoch, events and mails from the table's
//! stream, and functions that start again, at once and after 91 days.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::http::Method;
use serde_json::json;
use tests::{Service, TestRequest, TestUser, aws, stream, totp_code};
use xtask::cloud::{Cloud, LATER};

/// One test, because the restore epoch ends all sessions.
#[tokio::test]
async fn cloud_is_operated() {
    let cloud = Cloud::from_environment();
    let mut sole = create_sole_administrator(&cloud).await;
    reset_sole_administrator(&cloud, &mut sole).await;

    mail_links(&cloud, &sole).await;

    let raised = cloud.operators("raise_restore_epoch", json!({"reason": "a drill"})).await;
    let status = cloud.operators("status", json!({})).await;
    assert_eq!((&raised["restore_epoch"], &status["restore_epoch"]), (&json!(1), &json!(1)), "{raised} {status}");
    assert_eq!(status["table_matches"], true, "{status}");

    assert_mails_are_sent(&cloud).await;

    // A data key exists by now; the function unwraps it before it serves.
    let (status, _) = cloud.start("enable-mfa").post("/v1/mfa/enrolments", "invalid", &json!({}));
    assert_eq!(status, 401);
    sign_in_later(&cloud, &sole);
}

async fn create_sole_administrator(cloud: &Cloud) -> TestUser {
    let sole = json!({"username": "sole", "display_name": "Sole", "email": "sole@example.com"});
    let tenant = json!({"id": "glass", "name": "Glass", "administrator": sole});
    let created = cloud.operators("create_tenant", tenant.clone()).await;
    let again = cloud.operators("create_tenant", tenant).await;
    assert_eq!(again["errorType"], "tenant_exists", "{again}");
    let mut sole = TestUser::new("glass", "sole", created["password"].as_str().unwrap());
    Service::at(&cloud.url).enrol(&mut sole).await;
    sole
}

/// The only Administrator lost the phone: the ticket works once, and the enrolment requires the reset code.
async fn reset_sole_administrator(cloud: &Cloud, sole: &mut TestUser) {
    let service = Service::at(&cloud.url);
    let lost = |username: &str, ticket: &str| json!({"tenant": "glass", "username": username, "ticket": ticket, "reason": "lost the phone"});
    let reset = cloud.operators("reset_mfa", lost("sole", "T-1")).await;
    let again = cloud.operators("reset_mfa", lost("sole", "T-1")).await;
    assert_eq!(again["errorType"], "ticket_used", "{again}");
    let unknown = cloud.operators("reset_mfa", lost("nobody", "T-2")).await;
    assert_eq!(unknown["errorType"], "not_found", "{unknown}");
    let login = service.login(sole).await.ok();
    assert_eq!(login.body["reset_code_required"], true, "{login:?}");
    let token = login.text("/enrolment/token");
    service.enrol_with(sole, &token, json!({"reset_code": reset["reset_code"]})).await;
    service.get("/v1/session", &sole.session).await.ok();
}

/// A mail verifies the address, and then another mail has a link to set a new password.
async fn mail_links(cloud: &Cloud, sole: &TestUser) {
    let service = Service::at(&cloud.url);
    let post = |path: &str| TestRequest::new(Method::POST, path);
    service.send(post("/v1/email-verifications").token(&sole.session)).await.ok();
    cloud.deliver_orders().await;
    let verification = links().await.pop().unwrap();
    service.send(post("/v1/email-verifications/confirm").json(json!({"token": verification}))).await.ok();
    let forgotten = json!({"tenant": sole.tenant, "username": sole.username});
    service.send(post("/v1/password-resets").json(forgotten)).await.ok();
    cloud.deliver_orders().await;
    assert_eq!(links().await.len(), 2);
}

/// The mails to the sole Administrator, oldest first.
async fn mails_to_sole() -> Vec<String> {
    let mails = aws::mails().await;
    let to_sole = mails.iter().filter(|mail| mail["destinations"]["ToAddresses"] == json!(["sole@example.com"]));
    to_sole.map(|mail| mail["body"].as_str().unwrap().to_owned()).collect()
}

/// The tokens of the links in these mails.
async fn links() -> Vec<String> {
    let bodies = mails_to_sole().await;
    let token = |body: &str| {
        let rest = body.split_once("token=vp_")?.1;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(rest.len());
        Some(format!("vp_{}", &rest[..end]))
    };
    bodies.iter().filter_map(|body| token(body)).collect()
}

/// The two enrolments and the reset of the sole Administrator. Users of the journeys have e-mail addresses, too.
async fn assert_mails_are_sent(cloud: &Cloud) {
    let records = stream::records(&aws::dynamodb(), &cloud.table).await;
    assert!(cloud.deliver(&records).await >= 3);
    let mails = mails_to_sole().await;
    let notices = mails.iter().filter(|body| !body.contains("token="));
    let mut first_lines: Vec<_> = notices.map(|body| body.lines().next().unwrap().to_owned()).collect();
    first_lines.sort();
    let is = |n: usize, what: &str| first_lines[n].contains(what);
    assert_eq!(first_lines.len(), 3, "{first_lines:?}");
    assert!(is(0, "was enrolled") && is(1, "was enrolled") && is(2, "was reset"), "{first_lines:?}");
}

/// A sign-in seals the secret again, under a new data key.
fn sign_in_later(cloud: &Cloud, sole: &TestUser) {
    let (mut login, mut verify) = (cloud.start_later("login"), cloud.start_later("verify"));
    let password = json!({"tenant": sole.tenant, "username": sole.username, "password": sole.password});
    let (_, challenge) = login.post("/v1/login", "", &password);
    let token = challenge["challenge"]["token"].as_str().unwrap_or_else(|| panic!("{challenge}"));
    let step = Service::at(&cloud.url).step() + LATER * 86_400 / 30;
    let (_, done) = verify.post("/v1/verify", token, &json!({"code": totp_code(&sole.secret, step)}));
    assert_eq!(done["status"], "signed_in", "{done}");
}
