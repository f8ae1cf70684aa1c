//! Forgotten passwords, invitations and verified addresses: the journeys, and attacks on the mails and their tokens.

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Reply, Service, TestRequest, TestUser, TestUsers, mails::TestMail, user_mut};
use vestibule::secret::RestoreEpoch;

use super::{actions, audit};

const NEW: &str = "seven green lamps in the hall";

fn reset_request(tenant: &str, username: &str) -> TestRequest {
    let body = json!({"tenant": tenant, "username": username});
    TestRequest::new(Method::POST, "/v1/password-resets").json(body)
}

/// Asks for a mail, and returns the mails that were sent.
async fn forgotten(service: &Service, user: &TestUser) -> Vec<TestMail> {
    service.send(reset_request(&user.tenant, &user.username)).await.ok();
    service.sent_mails().await
}

async fn reset_token(service: &Service, user: &TestUser) -> String {
    forgotten(service, user).await.first().unwrap().token()
}

async fn confirm(service: &Service, token: &str, password: &str) -> Reply {
    let body = json!({"token": token, "new_password": password});
    service.send(TestRequest::new(Method::POST, "/v1/password-resets/confirm").json(body)).await
}

async fn verify_email(service: &Service, token: &str) -> Reply {
    let request = TestRequest::new(Method::POST, "/v1/email-verifications/confirm");
    service.send(request.json(json!({"token": token}))).await
}

/// Gives an enrolled user an address and verifies it.
async fn with_verified_address(service: &Service, ann: &str, user: &TestUser) {
    let email = json!({"email": format!("{}@acme.example", user.username)});
    service.patch(&format!("/v1/admin/users/{}", user.id), ann, email).await.ok();
    service.send(TestRequest::new(Method::POST, "/v1/email-verifications").token(&user.session)).await.ok();
    let mails = service.sent_mails().await;
    assert_eq!(verify_email(service, &mails[0].token()).await.status, 204);
}

/// The service, ann's session with a step-up, and bob, enrolled, with a verified address.
async fn with_bob() -> (Service, TestUsers, String) {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    service.enrol(user_mut(&mut users, "bob")).await;
    with_verified_address(&service, &ann, &users["bob"]).await;
    (service, users, ann)
}

fn new_user(username: &str, extra: Value) -> Value {
    let mut user = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": username,
                          "display_name": username});
    user.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    user
}

#[tokio::test]
async fn forgotten_password_is_set_by_mail_and_the_factor_stays() {
    let (service, mut users, ann) = with_bob().await;
    let bob = user_mut(&mut users, "bob");
    for _ in 0..7 {
        service.login_with(bob, "wrong").await;
    }
    let mails = forgotten(&service, bob).await;
    let [mail] = &mails[..] else { panic!("{mails:?}") };
    assert_eq!((mail.to.as_str(), mail.subject.as_str()), ("bob@acme.example", "Acme: set a new password"));
    assert!(mail.text.contains("https://login.example.com/password/reset?token=vp_"), "{}", mail.text);
    let challenge_before = bob.session.clone();
    let reply = confirm(&service, &mail.token(), NEW).await;
    assert_eq!((reply.status.as_u16(), &reply.body), (204, &Value::Null), "it does not sign in");
    assert!(service.get("/v1/session", &challenge_before).await.is(401, "session_refresh_required"));
    assert!(service.login(bob).await.is(401, "invalid_credentials"));
    bob.password = NEW.to_owned();
    assert_eq!(service.login(bob).await.ok().body["status"], "mfa_required", "the failures are cleared");
    let known = json!({"tenant": "acme", "username": "bob", "password": "wrong", "device_token": bob.device});
    service.send(TestRequest::new(Method::POST, "/v1/login").json(known)).await;
    service.sign_in(bob).await;
    let rows = audit(&service, &ann, &bob.id).await;
    for action in ["email.verification_mailed", "email.verified", "password.reset_mailed"] {
        assert_eq!(actions(&rows, action).len(), 1, "{action}");
    }
    assert_eq!(actions(&rows, "password.reset")[0]["notified"], json!(["user"]));
    assert!(confirm(&service, &mail.token(), "another long password").await.is(401, "invalid_token"));
}

#[tokio::test]
async fn mail_is_in_the_language_of_the_request() {
    let (service, users, _) = with_bob().await;
    let request = reset_request("acme", "bob").header("accept-language", "de-AT,en;q=0.5");
    service.send(request).await.ok();
    let mails = service.sent_mails().await;
    assert_eq!(mails[0].subject, "Acme: neues Passwort setzen");
    assert!(confirm(&service, &mails[0].token(), NEW).await.status == 204);
    assert_eq!(users["bob"].username, "bob");
}

#[tokio::test]
async fn token_works_once_among_32_concurrent_uses() {
    let (service, users, _) = with_bob().await;
    let token = reset_token(&service, &users["bob"]).await;
    let service = Arc::new(service);
    let uses = (0..32).map(|n| {
        let (service, token) = (Arc::clone(&service), token.clone());
        tokio::spawn(async move { confirm(&service, &token, &format!("{NEW} {n}")).await.status.as_u16() })
    });
    let mut codes: Vec<_> = futures_util::future::join_all(uses).await.into_iter().map(Result::unwrap).collect();
    codes.sort_unstable();
    assert_eq!((codes[0], codes.iter().filter(|code| **code == 401).count()), (204, 31), "{codes:?}");
}

#[tokio::test]
async fn refused_password_does_not_use_the_token_up() {
    let (service, mut users, ann) = with_bob().await;
    let token = reset_token(&service, &users["bob"]).await;
    for bad in ["short", "password123", &"x".repeat(1_025)] {
        assert!(confirm(&service, &token, bad).await.is(400, "invalid_request"), "{bad:.20}");
    }
    assert_eq!(confirm(&service, &token, "8 bytes!").await.status, 204);
    let contact = user_mut(&mut users, "con1");
    service.enrol(contact).await;
    with_verified_address(&service, &ann, contact).await;
    let token = reset_token(&service, contact).await;
    let short = confirm(&service, &token, "8 bytes!").await;
    assert!(short.is(400, "invalid_request") && short.text("/errors/0/field") == "/new_password", "{short:?}");
    assert_eq!(confirm(&service, &token, NEW).await.status, 204);
    // An old token does not tell that its user is a contact, for whom this password is too short.
    assert!(confirm(&service, &token, "8 bytes!").await.is(401, "invalid_token"));
}

async fn ask_for_verification(service: &Service, session: &str) -> Reply {
    let request = TestRequest::new(Method::POST, "/v1/email-verifications").token(session);
    service.send(request.from([10, 1, 2, 3])).await
}

#[tokio::test]
async fn request_to_verify_an_address_is_limited_and_says_why_it_is_refused() {
    let (service, users, ann) = with_bob().await;
    for (session, why) in
        [(&users["bob"].session, "your e-mail address is verified"), (&ann, "you have no e-mail address")]
    {
        let refused = ask_for_verification(&service, session).await;
        assert!(refused.is(409, "conflict") && refused.text("/detail") == why, "{refused:?}");
    }
    service.patch("/v1/admin/users/u-ann", &ann, json!({"email": "ann@acme.example"})).await.ok();
    for _ in 0..20 {
        ask_for_verification(&service, &ann).await.ok();
    }
    assert!(ask_for_verification(&service, &ann).await.is(429, "too_many_attempts"));
    assert_eq!(service.mails().orders().len(), 20, "nothing is queued for a refused request");
}

/// More requests than a network may make: nothing is counted for mails that cannot be sent.
#[tokio::test]
async fn deployment_without_mails_always_says_so() {
    let (service, mut users) = Service::with_users().await;
    let service = service.configured(|app| app.mails = None);
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    service.patch("/v1/admin/users/u-ann", &ann, json!({"email": "ann@acme.example"})).await.ok();
    for _ in 0..21 {
        assert!(service.send(reset_request("acme", "bob")).await.is(404, "not_found"));
        assert!(ask_for_verification(&service, &ann).await.is(404, "not_found"));
    }
}

#[tokio::test]
async fn token_of_another_class_purpose_user_or_tenant_is_invalid() {
    let (service, users, ann) = with_bob().await;
    let bob = &users["bob"];
    let token = reset_token(&service, bob).await;
    assert!(verify_email(&service, &token).await.is(401, "invalid_token"));
    assert!(service.get("/v1/session", &token).await.is(401, "invalid_token"));
    let mut body = data_encoding::BASE64URL_NOPAD.decode(&token.as_bytes()[3..]).unwrap();
    let other_user = String::from_utf8_lossy(&body).find("u-bob").unwrap();
    body[other_user..other_user + 5].copy_from_slice(b"u-eve");
    let of_eve = format!("vp_{}", data_encoding::BASE64URL_NOPAD.encode(&body));
    let mut other_tenant = data_encoding::BASE64URL_NOPAD.decode(&token.as_bytes()[3..]).unwrap();
    other_tenant[2..6].copy_from_slice(b"acmf");
    let of_other_tenant = format!("vp_{}", data_encoding::BASE64URL_NOPAD.encode(&other_tenant));
    let forged = [of_eve, of_other_tenant, token.replacen("vp_", "vs_", 1), bob.session.clone(), ann, "vp_".to_owned()];
    for forged in forged {
        assert!(confirm(&service, &forged, NEW).await.is(401, "invalid_token"), "{forged}");
        assert!(verify_email(&service, &forged).await.is(401, "invalid_token"), "{forged}");
    }
    assert_eq!(confirm(&service, &token, NEW).await.status, 204);
}

#[tokio::test]
async fn token_expires_after_thirty_minutes() {
    let (service, users, _) = with_bob().await;
    let token = reset_token(&service, &users["bob"]).await;
    service.advance(30 * 60);
    assert!(confirm(&service, &token, NEW).await.is(401, "invalid_token"));
}

#[tokio::test]
async fn token_is_void_after_a_change_of_the_user() {
    let changes = [
        ("address", json!({"email": "robert@acme.example"})),
        ("password", json!({"password": "set by the Administrator"})),
        ("activity", json!({"active": false})),
        ("sign-in method", json!({"auth_type": "saml_sso"})),
    ];
    for (name, change) in changes {
        let (service, users, ann) = with_bob().await;
        let token = reset_token(&service, &users["bob"]).await;
        service.patch("/v1/admin/users/u-bob", &ann, change).await.ok();
        assert!(confirm(&service, &token, NEW).await.is(401, "invalid_token"), "{name}");
    }
    let (service, users, ann) = with_bob().await;
    let token = reset_token(&service, &users["bob"]).await;
    assert_eq!(service.delete("/v1/admin/users/u-bob", &ann).await.status, 204);
    assert!(confirm(&service, &token, NEW).await.is(401, "invalid_token"), "deletion");
}

#[tokio::test]
async fn token_of_an_earlier_restore_epoch_is_void() {
    let (service, users, _) = with_bob().await;
    let token = reset_token(&service, &users["bob"]).await;
    let epoch = RestoreEpoch { number: 1, since: tests::BEGIN };
    let app = service.app();
    let reference = vestibule::secret::TokenRef::parse(&token, epoch).unwrap();
    let user = app.store.at(epoch).load_mail_token(&reference).await.ok().unwrap();
    assert!(user.mail_token(&reference, tests::BEGIN).is_err());
}

#[tokio::test]
async fn answer_is_the_same_for_every_name() {
    let (service, mut users, ann) = with_bob().await;
    service.patch("/v1/admin/users/u-eve", &ann, json!({"auth_type": "saml_sso"})).await.ok();
    let names = [("acme", "bob"), ("acme", "nobody"), ("acme", "off"), ("acme", "eve"), ("acme", "amy"), ("none", "x")];
    let mut answers = Vec::new();
    for (tenant, name) in names {
        let mut reply = service.send(reset_request(tenant, name)).await;
        reply.headers.remove("x-request-id");
        answers.push((reply.status, reply.headers, reply.body));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!((answers[0].0.as_u16(), &answers[0].2), (202, &json!({})));
    let sizes: Vec<_> =
        service.mails().orders().iter().map(|order| serde_json::to_string(order).unwrap().len()).collect();
    assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
    let mails = service.sent_mails().await;
    assert_eq!(mails.len(), 1, "only bob gets a mail");
    assert!(user_mut(&mut users, "bob").secret.len() > 10);
}

#[tokio::test]
async fn client_network_makes_twenty_requests_an_hour_for_all_tenants() {
    let (service, _) = Service::with_users().await;
    for n in 0..20 {
        let tenant = if n % 2 == 0 { "acme" } else { "globex" };
        service.send(reset_request(tenant, "x").from([10, 1, 2, n])).await.ok();
    }
    let reply = service.send(reset_request("acme", "x").from([10, 1, 2, 200])).await;
    assert!(reply.is(429, "too_many_attempts") && reply.headers["retry-after"] == "3600", "{reply:?}");
    service.send(reset_request("acme", "x").from([10, 1, 3, 1])).await.ok();
    assert_eq!(service.mails().orders().len(), 21, "nothing is queued for a refused request");
    service.advance(3600);
    service.send(reset_request("acme", "x").from([10, 1, 2, 1])).await.ok();
}

#[tokio::test]
async fn fourth_mail_in_an_hour_is_not_sent() {
    let (service, users, _) = with_bob().await;
    let bob = &users["bob"];
    // The verification was the first from this network.
    let sent = [
        forgotten(&service, bob).await.len(),
        forgotten(&service, bob).await.len(),
        forgotten(&service, bob).await.len(),
    ];
    assert_eq!(sent, [1, 1, 0]);
    service.send(reset_request("acme", "bob").from([10, 0, 0, 1])).await.ok();
    assert_eq!(service.sent_mails().await.len(), 1, "another network");
    service.advance(3600);
    assert_eq!(forgotten(&service, bob).await.len(), 1);
}

#[tokio::test]
async fn message_delivered_twice_sends_one_mail() {
    let (service, users, _) = with_bob().await;
    service.send(reset_request("acme", "bob")).await.ok();
    let order = service.mails().orders().remove(0);
    let mails = service.sent_mails().await;
    service.mails().deliver(service.app(), &order).await.unwrap();
    assert!(service.sent_mails().await.is_empty());
    assert_eq!(confirm(&service, &mails[0].token(), NEW).await.status, 204);
    service.mails().deliver(service.app(), &order).await.unwrap();
    assert!(service.sent_mails().await.is_empty(), "also after the token was used");
    assert_eq!(users["bob"].username, "bob");
}

#[tokio::test]
async fn mail_that_failed_is_sent_at_the_next_delivery() {
    let (service, _, _) = with_bob().await;
    service.send(reset_request("acme", "bob")).await.ok();
    let order = service.mails().orders().remove(0);
    service.mails().set_broken(true);
    for _ in 0..5 {
        assert!(service.mails().deliver(service.app(), &order).await.is_err());
    }
    service.mails().set_broken(false);
    let mails = service.sent_mails().await;
    assert_eq!(mails.len(), 1);
    assert_eq!(confirm(&service, &mails[0].token(), NEW).await.status, 204);
}

#[tokio::test]
async fn request_is_unavailable_without_the_queue() {
    let (service, _, ann) = with_bob().await;
    service.mails().set_broken(true);
    assert!(service.send(reset_request("acme", "bob")).await.is(503, "unavailable"));
    let invited = new_user("ivy", json!({"email": "ivy@acme.example", "invite": true}));
    assert!(service.post("/v1/admin/users", &ann, invited).await.is(503, "unavailable"));
    service.mails().set_broken(false);
    let found = service.get("/v1/admin/users?q=ivy", &ann).await.ok();
    let path = format!("/v1/admin/users/{}/invitation", found.text("/items/0/id"));
    assert_eq!(service.send(TestRequest::new(Method::POST, path).token(&ann)).await.status, 204);
    assert_eq!(service.sent_mails().await.len(), 1);
}

#[tokio::test]
async fn invited_user_chooses_a_password_and_enrols() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let invited = new_user("ivy", json!({"email": "ivy@acme.example", "invite": true}));
    let created = service.post("/v1/admin/users", &ann, invited).await.ok();
    assert_eq!((&created.body["email"], &created.body["email_verified"]), (&json!("ivy@acme.example"), &json!(false)));
    assert!(created.body.get("last_sign_in_at").is_none());
    let first = service.sent_mails().await.remove(0);
    assert_eq!((first.to.as_str(), first.subject.as_str()), ("ivy@acme.example", "Acme: your new account"));
    let path = format!("/v1/admin/users/{}", created.text("/id"));
    let invite = async || service.send(TestRequest::new(Method::POST, format!("{path}/invitation")).token(&ann)).await;
    assert_eq!(invite().await.status, 204);
    let second = service.sent_mails().await.remove(0);
    assert!(confirm(&service, &first.token(), NEW).await.is(401, "invalid_token"), "the older is void");
    service.advance(7 * 86_400 - 1);
    assert_eq!(confirm(&service, &second.token(), NEW).await.status, 204);
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let again = service.send(TestRequest::new(Method::POST, format!("{path}/invitation")).token(&ann)).await;
    assert!(again.is(409, "conflict"), "{again:?}");
    let mut ivy =
        TestUser { username: "ivy".into(), password: NEW.into(), secret: String::new(), ..users["eve"].clone() };
    service.enrol(&mut ivy).await;
    let read = service.get(&path, &ann).await.ok();
    assert_eq!(read.body["email_verified"], true);
    assert_eq!(read.seconds("/last_sign_in_at"), service.now());
}

#[tokio::test]
async fn user_without_address_or_with_an_idp_is_not_invited() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    for (field, extra) in [
        ("/email", json!({"invite": true})),
        ("/password", json!({"invite": true, "email": "a@acme.example", "password": NEW})),
        ("/auth_type", json!({"invite": true, "email": "a@acme.example", "auth_type": "saml_sso"})),
    ] {
        let reply = service.post("/v1/admin/users", &ann, new_user("ivy", extra)).await;
        assert!(reply.is(400, "invalid_request") && reply.text("/errors/0/field") == field, "{reply:?}");
    }
    let created = service.post("/v1/admin/users", &ann, new_user("ivy", json!({}))).await.ok().text("/id");
    let path = format!("/v1/admin/users/{created}/invitation");
    for change in [
        json!({}),
        json!({"email": "ivy@acme.example", "active": false}),
        json!({"active": true, "auth_type": "saml_sso"}),
    ] {
        service.patch(&format!("/v1/admin/users/{created}"), &ann, change).await.ok();
        let reply = service.send(TestRequest::new(Method::POST, &path).token(&ann)).await;
        assert!(reply.is(409, "conflict"), "{reply:?}");
    }
    assert!(service.sent_mails().await.is_empty());
}

#[tokio::test]
async fn former_address_is_told_and_the_new_one_gets_no_reset_mail() {
    let (service, users, ann) = with_bob().await;
    service.patch("/v1/admin/users/u-bob", &ann, json!({"email": "evil@elsewhere.example"})).await.ok();
    let mails = service.sent_mails().await;
    let [notice] = &mails[..] else { panic!("{mails:?}") };
    assert_eq!(notice.to, "bob@acme.example");
    assert!(!notice.text.contains("evil") && !notice.text.contains("http"), "{}", notice.text);
    assert!(forgotten(&service, &users["bob"]).await.is_empty(), "the new address is not verified");
    service.patch("/v1/admin/users/u-bob", &ann, json!({"email": "evil@elsewhere.example"})).await.ok();
    assert!(service.sent_mails().await.is_empty(), "nothing changed");
}

#[tokio::test]
async fn verification_needs_an_unverified_address() {
    let (service, mut users, _) = with_bob().await;
    service.enrol(user_mut(&mut users, "eve")).await;
    for name in ["bob", "eve"] {
        let request = TestRequest::new(Method::POST, "/v1/email-verifications").token(&users[name].session);
        assert!(service.send(request).await.is(409, "conflict"), "{name}");
    }
}

#[tokio::test]
async fn batch_creates_each_user_once_and_says_what_is_wrong_with_a_row() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let rows = json!([
        new_user("ivy", json!({"email": "ivy@acme.example", "invite": true})),
        new_user("bob", json!({})),
        new_user("max", json!({"password": "short"})),
        new_user("moe", json!({"email": "no address"})),
        new_user("IVY", json!({})),
        new_user("kim", json!({"kind": "contact"})),
        new_user("lea", json!({"password": NEW})),
    ]);
    let send = async |dry_run: bool| {
        service.post("/v1/admin/users/batch", &ann, json!({"users": rows, "dry_run": dry_run})).await.ok()
    };
    let outcomes = |reply: &Reply| -> Vec<String> {
        let results = reply.body["results"].as_array().unwrap();
        results.iter().map(|row| row["outcome"].as_str().unwrap().to_owned()).collect()
    };
    let expected = ["created", "exists", "invalid", "invalid", "exists", "invalid", "created"];
    let dry = send(true).await;
    assert_eq!(outcomes(&dry), expected);
    assert!(service.sent_mails().await.is_empty());
    assert_eq!(service.get("/v1/admin/users?q=ivy", &ann).await.ok().body["items"], json!([]));
    let done = send(false).await;
    assert_eq!(outcomes(&done), expected);
    assert_eq!(done.body["counts"], json!({"created": 2, "exists": 2, "invalid": 3}));
    assert_eq!(
        (done.body["results"][3]["row"].as_u64(), done.body["results"][1]["id"].as_str()),
        (Some(4), Some("u-bob"))
    );
    assert!(done.text("/results/3/detail").starts_with("/email must be"), "{done:?}");
    assert_eq!(service.sent_mails().await.len(), 1);
    let again = send(false).await;
    assert_eq!(again.body["counts"], json!({"created": 0, "exists": 4, "invalid": 3}));
    assert_eq!(again.body["results"][0]["id"], done.body["results"][0]["id"]);
    for (users, field) in [(json!([]), "/users"), (json!(vec![new_user("x", json!({})); 201]), "/users")] {
        let reply = service.post("/v1/admin/users/batch", &ann, json!({"users": users})).await;
        assert!(reply.is(400, "invalid_request") && reply.text("/errors/0/field") == field, "{reply:?}");
    }
}
