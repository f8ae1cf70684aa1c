//! The pages of forgotten passwords, of the links in mails and of the own address, as a browser without scripts uses them, and
//! what other sites and thieves of links cannot do with them.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::http::Method;
use serde_json::json;
use tests::{PUBLIC_URL, Service, TestRequest, browser::Browser};
use vestibule::language::Language;

/// The request of a form that a page of this origin sent.
fn with_origin(path: &str, fields: &[(&str, &str)], origin: &str) -> TestRequest {
    Browser::form(path, fields).header("origin", origin)
}

#[tokio::test]
async fn mail_is_in_the_language_of_the_page_that_asked() {
    let (service, _) = Service::with_users().await;
    let fields = [("tenant", "acme"), ("username", "bob")];
    let mut browser = Browser::new(&service);
    let english = with_origin("/password/forgot", &fields, PUBLIC_URL).header("accept-language", "en-US");
    for (chosen, language) in [("de", Language::German), ("en", Language::English)] {
        browser.open(&format!("/password/forgot?lang={chosen}")).await;
        assert!(!browser.send(english.clone()).await.status.is_client_error());
        let order = service.mails().orders().pop().unwrap();
        assert_eq!(order.language, language, "the one that the person chose, not the one of the browser");
    }
    // The API has no cookies.
    browser.open("/password/forgot?lang=de").await;
    let api = TestRequest::new(Method::POST, "/v1/password-resets").json(json!({"tenant": "acme", "username": "bob"}));
    browser.send(api.clone().header("accept-language", "en")).await.ok();
    assert_eq!(service.mails().orders().pop().unwrap().language, Language::English);
    browser.send(api.header("accept-language", "de")).await.ok();
    assert_eq!(service.mails().orders().pop().unwrap().language, Language::German);
}
