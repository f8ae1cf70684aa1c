//! The pages of forgotten passwords, of the links in mails and of the own address, as a browser without scripts uses them, and
//! what other sites and thieves of links cannot do with them.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::http::Method;
use serde_json::{Value, json};
use tests::{PUBLIC_URL, Reply, Service, TestRequest, TestUsers, browser::Browser, user_mut};
use vestibule::language::Language;

const NEW: &str = "seven green lamps in the hall";
const SCRIPT: &str = "\"><script>alert(1)</script>@acme.example";
/// The cookie that keeps the token of a link.
const KEPT: &str = "__Host-vestibule-mail";

/// The service, and bob with an address that is not verified.
async fn with_address() -> (Service, TestUsers) {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    service.enrol(user_mut(&mut users, "bob")).await;
    service.patch("/v1/admin/users/u-bob", &ann, json!({"email": "bob@acme.example"})).await.ok();
    service.sent_mails().await;
    (service, users)
}

/// The token of a mail that verifies bob's address.
async fn verification(service: &Service, users: &TestUsers) -> String {
    let mut bob = Browser::signed_in(service, &users["bob"]);
    assert_eq!(bob.submit("/settings/email", &[]).await.location(), "/settings/email?sent=true");
    service.sent_mails().await[0].token()
}

/// The service, and bob with a verified address.
async fn with_verified_address() -> (Service, TestUsers) {
    let (service, users) = with_address().await;
    let token = verification(&service, &users).await;
    let mut browser = Browser::new(&service);
    browser.open(&format!("/email/verify?token={token}")).await;
    assert_eq!(browser.submit("/email/verify", &[]).await.location(), "/email/verify?done=true");
    (service, users)
}

/// The token of a mail to set bob's password.
async fn reset(service: &Service) -> String {
    let fields = [("tenant", "acme"), ("username", "bob")];
    let asked = Browser::new(service).submit("/password/forgot", &fields).await;
    assert_eq!(asked.location(), "/password/forgot?sent=true");
    service.sent_mails().await[0].token()
}

/// A browser that opened the link of a mail to set bob's password.
async fn with_link(service: &Service) -> Browser<'_> {
    let token = reset(service).await;
    let mut browser = Browser::new(service);
    assert_eq!(browser.open(&format!("/password/reset?token={token}")).await.location(), "/password/reset");
    assert_eq!(browser.cookies[KEPT], token);
    browser
}

async fn verified(service: &Service, users: &mut TestUsers) -> Value {
    let ann = service.stepped_up_session(user_mut(users, "ann")).await;
    service.get("/v1/admin/users/u-bob", &ann).await.ok().body["email_verified"].clone()
}

#[track_caller]
fn assert_shows(reply: &Reply, status: u16, texts: &[&str]) {
    assert_eq!(reply.status, status, "{reply:?}");
    for text in texts {
        assert!(reply.html().contains(text), "{text} is missing: {}", reply.html());
    }
}

async fn assert_ended(browser: &mut Browser<'_>, path: &str) {
    assert_shows(&browser.open(path).await, 200, &["This link does not work", "href=\"/password/forgot\""]);
    assert!(!browser.cookies.contains_key(KEPT));
}

#[tokio::test]
async fn forgotten_password_is_set_with_the_link_of_the_mail() {
    let (service, users) = with_verified_address().await;
    let mut browser = with_link(&service).await;
    browser.cookies.insert("__Host-vestibule".to_owned(), users["bob"].session.clone());
    let page = browser.open("/password/reset").await;
    assert_shows(&page, 200, &["Choose a new password", r#"autocomplete="new-password""#]);
    assert!(!page.html().contains(&browser.cookies[KEPT]), "the page does not repeat the token");
    let done = browser.submit("/password/reset", &[("new_password", NEW)]).await;
    assert_eq!(done.location(), "/password/reset?done=true");
    assert!(browser.cookies.is_empty(), "token and session are used up: {:?}", browser.cookies);
    assert_shows(&browser.open("/password/reset?done=true").await, 200, &["Your password is set", "/login"]);
    // The new password leads to the code, as before.
    let fields = [("tenant", "acme"), ("username", "bob"), ("password", NEW)];
    assert_eq!(browser.submit("/login", &fields).await.location(), "/verify");
    assert!(service.login_with(&users["bob"], &users["bob"].password).await.is(401, "invalid_credentials"));
}

#[tokio::test]
async fn answer_does_not_show_whether_there_is_such_a_user() {
    let (service, _) = with_verified_address().await;
    let mut answers = Vec::new();
    for (tenant, username) in [("acme", "bob"), ("acme", "nobody"), ("acme", "off"), ("nothing", "bob")] {
        let mut browser = Browser::new(&service);
        let reply = browser.submit("/password/forgot", &[("tenant", tenant), ("username", username)]).await;
        let mut headers = reply.headers.clone();
        headers.remove("x-request-id");
        let page = browser.open(reply.location()).await;
        assert_shows(&page, 200, &["Look into your mail"]);
        answers.push((reply.status, headers, reply.body, page.html().to_owned()));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(service.sent_mails().await.len(), 1);
}

#[tokio::test]
async fn wrong_names_are_shown_again_with_what_is_wrong() {
    let (service, _) = Service::with_users().await;
    let mut browser = Browser::new(&service);
    for (fields, says) in [
        ([("tenant", ""), ("username", "bob")], "href=\"#tenant\""),
        ([("tenant", "no such name!"), ("username", "bob")], "at most 64 letters"),
        ([("tenant", "acme"), ("username", "")], "href=\"#username\""),
        ([("tenant", SCRIPT), ("username", SCRIPT)], "&#60;script&#62;"),
    ] {
        let reply = browser.submit("/password/forgot", &fields).await;
        assert_shows(&reply, 400, &[says, "<title>Error: Forgot your password?"]);
        assert!(!reply.html().contains("<script>alert"));
        assert!(!reply.html().contains("Something in the form"), "the message names the field: {}", reply.html());
    }
    assert_eq!(browser.submit("/password/forgot", &[("extra", "x")]).await.status, 400);
    assert!(service.mails().orders().is_empty());
}

#[tokio::test]
async fn too_many_requests_for_mails_are_refused_on_the_page() {
    let (service, _) = Service::with_users().await;
    let mut browser = Browser::new(&service);
    let fields = [("tenant", "acme"), ("username", "nobody")];
    for _ in 0..20 {
        assert_eq!(browser.submit("/password/forgot", &fields).await.location(), "/password/forgot?sent=true");
    }
    assert_shows(&browser.submit("/password/forgot", &fields).await, 429, &["Try again in ", "value=\"nobody\""]);
}

/// The form would say that something is wrong with it.
#[tokio::test]
async fn service_that_does_not_respond_says_so_on_a_page_of_its_own() {
    let (service, _) = Service::with_users().await;
    service.mails().set_broken(true);
    let reply = Browser::new(&service).submit("/password/forgot", &[("tenant", "acme"), ("username", "bob")]).await;
    assert_shows(&reply, 503, &["<title>This did not work", "The service does not respond"]);
    assert!(!reply.html().contains("<form"), "{}", reply.html());
}

#[tokio::test]
async fn refused_password_keeps_the_token() {
    let (service, _) = with_verified_address().await;
    let mut browser = with_link(&service).await;
    for password in ["short", "", "password1", &"x".repeat(1025)] {
        let reply = browser.submit("/password/reset", &[("new_password", password)]).await;
        assert_shows(&reply, 400, &["<title>Error:", "href=\"#new_password\"", "At least 8 characters"]);
        assert!(password.is_empty() || !reply.html().contains(&format!("value=\"{password}")), "never shown again");
    }
    let done = browser.submit("/password/reset", &[("new_password", NEW)]).await;
    assert_eq!(done.location(), "/password/reset?done=true");
}

#[tokio::test]
async fn link_works_once_and_neither_back_nor_reload_bring_it_back() {
    let (service, _) = with_verified_address().await;
    let mut browser = with_link(&service).await;
    let token = browser.cookies[KEPT].clone();
    let mut other = with_link(&service).await;
    browser.submit("/password/reset", &[("new_password", NEW)]).await;
    // Back, or sending the form again.
    assert_ended(&mut browser, "/password/reset").await;
    let again = browser.submit("/password/reset", &[("new_password", "other words of a user")]).await;
    assert_eq!(again.location(), "/password/reset");
    assert_ended(&mut browser, "/password/reset").await;
    // The same link once more, and another link of the same user: the password voided it.
    assert_eq!(browser.open(&format!("/password/reset?token={token}")).await.location(), "/password/reset");
    for browser in [&mut browser, &mut other] {
        let reply = browser.submit("/password/reset", &[("new_password", "other words of a user")]).await;
        assert_eq!(reply.location(), "/password/reset");
        assert_ended(browser, "/password/reset").await;
    }
}

#[tokio::test]
async fn link_ends_after_half_an_hour() {
    let (service, users) = with_verified_address().await;
    let mut browser = with_link(&service).await;
    service.advance(30 * 60 + 1);
    let reply = browser.submit("/password/reset", &[("new_password", NEW)]).await;
    assert_eq!(reply.location(), "/password/reset");
    assert_ended(&mut browser, "/password/reset").await;
    service.login(&users["bob"]).await.ok();
}

#[tokio::test]
async fn text_that_is_no_token_of_a_mail_is_not_kept() {
    let (service, users) = with_verified_address().await;
    let attributes = "vp_x%3B%20Domain%3Devil.example%3B%20Max-Age%3D9999999";
    for path in ["/password/reset", "/email/verify"] {
        for token in ["", &*users["bob"].session, "vp_x", "%0d%0aset-cookie:%20a=b", attributes, &"x".repeat(5000)] {
            let mut browser = with_link(&service).await;
            assert_eq!(browser.open(&format!("{path}?token={token}")).await.location(), path, "{token}");
            assert_ended(&mut browser, path).await;
            service.advance(3601);
        }
        assert_ended(&mut Browser::new(&service), path).await;
    }
}

#[tokio::test]
async fn address_is_verified_by_the_button_and_nothing_else_happens() {
    let (service, mut users) = with_address().await;
    let token = verification(&service, &users).await;
    let mut browser = Browser::new(&service);
    let reply = browser.open(&format!("/email/verify?token={token}")).await;
    assert_eq!(reply.location(), "/email/verify");
    let page = browser.open("/email/verify").await;
    assert_shows(&page, 200, &["Confirm your e-mail address", r#"<form method="post" action="/email/verify">"#]);
    assert!(!page.html().contains(&token));
    assert_eq!(verified(&service, &mut users).await, false, "a program that opens links changes nothing");
    // The token sets no password.
    let reply = Browser::send(&mut browser, with_origin("/password/reset", &[("new_password", NEW)], PUBLIC_URL)).await;
    assert_eq!(reply.location(), "/password/reset");
    service.login(&users["bob"]).await.ok();
    browser.open(&format!("/email/verify?token={token}")).await;
    assert_eq!(browser.submit("/email/verify", &[]).await.location(), "/email/verify?done=true");
    assert!(browser.cookies.is_empty(), "it signs nobody in");
    assert_shows(&browser.open("/email/verify?done=true").await, 200, &["Your e-mail address is confirmed"]);
    assert_eq!(verified(&service, &mut users).await, true);
    service.get("/v1/session", &users["bob"].session).await.ok();
    // Once more.
    browser.open(&format!("/email/verify?token={token}")).await;
    assert_eq!(browser.submit("/email/verify", &[]).await.location(), "/email/verify");
    assert_ended(&mut browser, "/email/verify").await;
}

#[tokio::test]
async fn token_for_a_password_or_an_expired_one_verifies_no_address() {
    let (service, mut users) = with_address().await;
    let token = verification(&service, &users).await;
    let mut browser = Browser::new(&service);
    browser.open(&format!("/email/verify?token={token}")).await;
    service.advance(30 * 60 + 1);
    assert_eq!(browser.submit("/email/verify", &[]).await.location(), "/email/verify");
    assert_ended(&mut browser, "/email/verify").await;
    assert_eq!(verified(&service, &mut users).await, false);
    let (service, users) = with_verified_address().await;
    let mut browser = with_link(&service).await;
    assert_eq!(browser.submit("/email/verify", &[]).await.location(), "/email/verify");
    assert_ended(&mut browser, "/email/verify").await;
    service.login(&users["bob"]).await.ok();
}

/// The request of a form that a page of this origin sent.
fn with_origin(path: &str, fields: &[(&str, &str)], origin: &str) -> TestRequest {
    Browser::form(path, fields).header("origin", origin)
}

#[tokio::test]
async fn form_of_another_site_is_refused() {
    let (service, mut users) = with_address().await;
    let token = verification(&service, &users).await;
    let forms: [(&str, &[(&str, &str)]); 4] = [
        ("/password/forgot", &[("tenant", "acme"), ("username", "bob")]),
        ("/password/reset", &[("new_password", NEW)]),
        ("/email/verify", &[]),
        ("/settings/email", &[]),
    ];
    for (path, fields) in forms {
        for request in [
            Browser::form(path, fields),
            with_origin(path, fields, "null"),
            with_origin(path, fields, "https://evil.example"),
            with_origin(path, fields, PUBLIC_URL).header("sec-fetch-site", "cross-site"),
        ] {
            let mut browser = Browser::signed_in(&service, &users["bob"]);
            browser.cookies.insert(KEPT.to_owned(), token.clone());
            let reply = browser.send(request).await;
            assert_eq!(reply.status, 403, "{path}");
            assert!(!reply.headers.contains_key("set-cookie"));
        }
    }
    assert!(service.mails().orders().is_empty());
    assert_eq!(verified(&service, &mut users).await, false);
}

#[tokio::test]
async fn own_address_is_shown_and_verified() {
    let (service, mut users) = with_address().await;
    let mut bob = Browser::signed_in(&service, &users["bob"]);
    assert_shows(&bob.open("/settings/security").await, 200, &["href=\"/settings/email\""]);
    let page = bob.open("/settings/email").await;
    assert_shows(&page, 200, &["bob@acme.example", "Not confirmed", "href=\"/settings/security\""]);
    assert_eq!(bob.submit("/settings/email", &[]).await.location(), "/settings/email?sent=true");
    let page = bob.open("/settings/email?sent=true").await;
    assert_shows(&page, 200, &["A mail is on its way to bob@acme.example.", "role=\"status\""]);
    let mails = service.sent_mails().await;
    assert_eq!((mails.len(), &*mails[0].to), (1, "bob@acme.example"));
    assert!(mails[0].text.contains(&format!("{PUBLIC_URL}/email/verify?token=")), "{}", mails[0].text);
    bob.open(&format!("/email/verify?token={}", mails[0].token())).await;
    bob.submit("/email/verify", &[]).await;
    let page = bob.open("/settings/email?sent=true").await;
    assert_shows(&page, 200, &["bob@acme.example", "Confirmed"]);
    for absent in ["<form method=\"post\" action=\"/settings/email\"", "on its way"] {
        assert!(!page.html().contains(absent), "{absent}");
    }
    // A page that was open before.
    let reply = bob.submit("/settings/email", &[]).await;
    assert_shows(&reply, 409, &["<title>Error:", "Something changed in the meantime."]);
    assert!(service.mails().orders().is_empty());
    assert_eq!(verified(&service, &mut users).await, true);
}

#[tokio::test]
async fn user_without_an_address_is_told_whom_to_ask() {
    let (service, mut users) = Service::with_users().await;
    service.enrol(user_mut(&mut users, "bob")).await;
    let mut bob = Browser::signed_in(&service, &users["bob"]);
    let page = bob.open("/settings/email").await;
    assert_shows(&page, 200, &["You have no e-mail address here. Ask an Administrator"]);
    assert!(!page.html().contains("action=\"/settings/email\""));
    assert_eq!(bob.submit("/settings/email", &[]).await.status, 409);
    let mut nobody = Browser::new(&service);
    assert_eq!(nobody.open("/settings/email").await.location(), "/login?return_to=%2Fsettings%2Femail");
    assert_eq!(nobody.submit("/settings/email", &[]).await.location(), "/login?return_to=%2Fsettings%2Femail");
    assert!(service.mails().orders().is_empty());
}

#[tokio::test]
async fn address_with_a_script_is_escaped() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    service.enrol(user_mut(&mut users, "bob")).await;
    let address = "\"<b>bob</b>\"@acme.example";
    service.patch("/v1/admin/users/u-bob", &ann, json!({"email": address})).await.ok();
    let mut browser = Browser::signed_in(&service, &users["bob"]);
    for path in ["/settings/email", "/settings/email?sent=true"] {
        let page = browser.open(path).await;
        assert!(!page.html().contains("<b>bob") && page.html().contains("&#60;b&#62;bob"), "{}", page.html());
    }
}

#[tokio::test]
async fn mail_is_in_the_language_of_the_page_that_asked() {
    let (service, users) = with_address().await;
    let fields = [("tenant", "acme"), ("username", "bob")];
    let mut browser = Browser::new(&service);
    let english = with_origin("/password/forgot", &fields, PUBLIC_URL).header("accept-language", "en-US");
    for (chosen, language) in [("de", Language::German), ("en", Language::English)] {
        browser.open(&format!("/password/forgot?lang={chosen}")).await;
        assert_eq!(browser.send(english.clone()).await.location(), "/password/forgot?sent=true");
        let order = service.mails().orders().pop().unwrap();
        assert_eq!(order.language, language, "the one that the person chose, not the one of the browser");
    }
    let mut bob = Browser::signed_in(&service, &users["bob"]);
    bob.open("/settings/email?lang=de").await;
    bob.submit("/settings/email", &[]).await;
    assert_eq!(service.mails().orders().pop().unwrap().language, Language::German);
    // The API has no cookies.
    browser.open("/password/forgot?lang=de").await;
    let api = TestRequest::new(Method::POST, "/v1/password-resets").json(json!({"tenant": "acme", "username": "bob"}));
    browser.send(api.clone().header("accept-language", "en")).await.ok();
    assert_eq!(service.mails().orders().pop().unwrap().language, Language::English);
    browser.send(api.header("accept-language", "de")).await.ok();
    assert_eq!(service.mails().orders().pop().unwrap().language, Language::German);
}

#[tokio::test]
async fn pages_are_in_german_too() {
    let (service, users) = with_address().await;
    let mut bob = Browser::signed_in(&service, &users["bob"]);
    assert_shows(&bob.open("/settings/email?lang=de").await, 200, &["<html lang=\"de\">", "Nicht bestätigt"]);
    assert_shows(&bob.open("/password/forgot").await, 200, &["Passwort vergessen?"]);
    assert_shows(&bob.open("/password/reset").await, 200, &["Dieser Link gilt nicht"]);
}
