//! The pages as a browser without scripts uses them, and what other sites cannot do with them.
#![allow(clippy::panic)]

use axum::http::Method;
use serde_json::json;
use tests::{
    PUBLIC_URL, Reply, Service, TestRequest, TestUser,
    browser::{Browser, PAGES},
};

/// Pages that anyone may open.
const OPEN: [&str; 4] = ["/login", "/login?tenant=acme", "/logout", "/login?lang=de"];
/// Pages that need a session.
const SIGNED_IN: [&str; 4] = ["/settings/security", "/settings/sessions", "/settings/recovery-token", "/step-up"];

async fn log_in(browser: &mut Browser<'_>, user: &TestUser, return_to: &str) -> Reply {
    let fields = [
        ("tenant", &*user.tenant),
        ("username", &user.username),
        ("password", &user.password),
        ("return_to", return_to),
    ];
    browser.submit("/login", &fields).await
}

/// The text between two others.
fn between<'a>(html: &'a str, before: &str, after: &str) -> &'a str {
    html.split_once(before).and_then(|(_, rest)| rest.split_once(after)).unwrap_or_else(|| panic!("{html}")).0
}

#[tokio::test]
async fn new_user_signs_in_enrols_and_saves_a_recovery_token() {
    let (service, users) = Service::with_users().await;
    let (bob, mut browser) = (&users["bob"], Browser::new(&service));
    assert_eq!(browser.open("/").await.location(), "/settings/security");
    assert_eq!(browser.open("/settings/security").await.location(), "/login?return_to=%2Fsettings%2Fsecurity");
    let reply = log_in(&mut browser, bob, "/settings/security").await;
    assert_eq!(reply.location(), "/enroll?return_to=%2Fsettings%2Fsecurity");
    let page = browser.open("/enroll").await;
    assert!(page.html().contains("<h1>Set up your authenticator app</h1>") && page.html().contains("Show the QR code"));
    let reply = browser.submit("/enroll", &[("step", "start"), ("return_to", "/settings/security")]).await;
    let html = reply.html();
    assert!(html.contains("<h1>Scan this QR code with your app</h1>"), "{html}");
    assert!(html.contains("<svg") && html.contains(r#"aria-label="QR code for Acme: bob""#), "{html}");
    let secret = between(html, r#"<p class="secret">"#, "</p>").to_owned();
    // A wrong code: the form stays, and the secret is not shown again.
    let reply = browser.submit("/enroll", &[("step", "confirm"), ("code", "000000")]).await;
    assert_eq!(reply.status, 401);
    assert!(reply.html().contains("The code is wrong") && !reply.html().contains(&secret));
    assert!(reply.html().contains("<h1>Enter the code that the app shows</h1>"), "{reply:?}");
    let mut bob = TestUser { secret, ..bob.clone() };
    let code = service.next_code(&mut bob);
    let code = format!("{} {}", &code[..3], &code[3..]);
    let fields = [("step", "confirm"), ("code", &*code), ("return_to", "/settings/security")];
    let reply = browser.submit("/enroll", &fields).await;
    assert_eq!(reply.location(), "/settings/recovery-token?first=true&return_to=%2Fsettings%2Fsecurity");
    assert!(browser.open(reply.location()).await.html().contains("<h1>Save a recovery token</h1>"));
    let cookies: Vec<_> = browser.cookies.keys().cloned().collect();
    assert_eq!(cookies, ["__Host-vestibule", "__Host-vestibule-device"], "the enrolment token is used up");
    let reply = browser.submit("/settings/recovery-token", &[("return_to", "/settings/security")]).await;
    let token = between(reply.html(), r#"<p class="secret">"#, "</p>").to_owned();
    let reply =
        browser.submit("/settings/recovery-token", &[("saved", "on"), ("return_to", "/settings/security")]).await;
    assert_eq!(reply.location(), "/settings/security");
    let page = browser.open("/settings/recovery-token").await;
    assert!(page.html().contains("<h1>Get a recovery token</h1>"), "{page:?}");
    assert!(!page.html().contains(&token), "a token is shown once");
    assert!(browser.open("/settings/security").await.html().contains("You have a recovery token from"));
    // The token of the page works in the API: they are the same sessions.
    let session = browser.cookies["__Host-vestibule"].clone();
    assert_eq!(service.get("/v1/session", &session).await.ok().body["recovery_token"], json!({"exists": true}));
    recover(&service, &bob, &token).await;
}

/// A lost phone: the recovery token signs in once, and the page that issues a new one comes first.
async fn recover(service: &Service, bob: &TestUser, token: &str) {
    let mut browser = Browser::new(service);
    assert_eq!(
        log_in(&mut browser, bob, "/settings/sessions").await.location(),
        "/verify?return_to=%2Fsettings%2Fsessions"
    );
    assert!(browser.open("/verify?recovery=true").await.html().contains("Enter your recovery token"));
    let fields = [("recovery_token", token), ("return_to", "/settings/sessions")];
    let reply = browser.submit("/verify", &fields).await;
    assert_eq!(reply.location(), "/settings/recovery-token?used=true&return_to=%2Fsettings%2Fsessions");
    assert!(browser.open("/settings/recovery-token?used=true").await.html().contains("now used up"));
    assert!(browser.open("/enroll").await.html().contains("Replace your authenticator app"));
}

#[tokio::test]
async fn enrolled_user_signs_in_with_a_code_and_steps_up() {
    let (service, mut users) = Service::with_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let mut browser = Browser::new(&service);
    assert_eq!(log_in(&mut browser, &bob, "/").await.location(), "/verify");
    let reply = browser.submit("/verify", &[("code", "12")]).await;
    assert_eq!(reply.status, 400);
    assert!(reply.html().contains("<title>Error: Enter your code"), "{reply:?}");
    let wrong = service.wrong_code(&bob);
    for (sent, hint) in [("0", false), ("1", true)] {
        let reply = browser.submit("/verify", &[("code", &wrong), ("wrong", sent)]).await;
        assert_eq!(reply.status, 401);
        assert_eq!(reply.html().contains("Is the clock of your phone right?"), hint);
    }
    let code = service.next_code(&mut bob);
    assert_eq!(browser.submit("/verify", &[("code", &code)]).await.location(), "/");
    // Later, a page that needs a step-up asks for it before it shows its form.
    service.advance(400);
    assert_eq!(browser.open("/enroll").await.location(), "/step-up?return_to=%2Fenroll");
    let reply = browser.open("/settings/recovery-token").await;
    assert_eq!(reply.location(), "/step-up?return_to=%2Fsettings%2Frecovery-token");
    let reply = browser.submit("/step-up", &[("code", &service.wrong_code(&bob))]).await;
    assert_eq!(reply.status, 401);
    assert!(reply.html().contains("The code is wrong"), "{reply:?}");
    let code = service.next_code(&mut bob);
    let before = browser.cookies["__Host-vestibule"].clone();
    let reply = browser.submit("/step-up", &[("code", &code), ("return_to", "/settings/recovery-token")]).await;
    assert_eq!(reply.location(), "/settings/recovery-token");
    assert_ne!(browser.cookies["__Host-vestibule"], before);
    assert!(browser.open("/settings/recovery-token").await.html().contains("Show a new recovery token"));
}

#[tokio::test]
async fn step_up_that_lapses_while_a_form_is_open_is_asked_for_again() {
    let (service, mut users) = Service::with_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let mut browser = Browser::signed_in(&service, &bob);
    assert!(browser.open("/settings/recovery-token").await.html().contains("Show a new recovery token"));
    service.advance(301);
    let reply = browser.submit("/settings/recovery-token", &[]).await;
    assert_eq!(reply.status, 401);
    assert!(reply.html().contains(r#"href="/step-up?return_to=%2Fsettings%2Frecovery-token""#), "{reply:?}");
    assert!(reply.html().contains("Your last code was entered more than 5 minutes ago"), "{reply:?}");
}

/// An excluded contact has no authenticator, so a step-up is impossible, and no page asks for it.
#[tokio::test]
async fn excluded_contact_is_told_that_there_is_nothing_to_recover() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let body = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "r"});
    let request = TestRequest::new(Method::POST, "/v1/admin/portal-exclusions").token(&ann).json(body);
    service.send(request.header("idempotency-key", "k")).await.ok();
    let mut con1 = users.remove("con1").unwrap();
    con1.session = service.login(&con1).await.ok().text("/session/token");
    let mut browser = Browser::signed_in(&service, &con1);
    assert_eq!(browser.open("/settings/recovery-token").await.status, 200);
    let reply = browser.submit("/settings/recovery-token", &[]).await;
    assert_eq!(reply.status, 409);
    assert!(reply.html().contains("You have no active authenticator"), "{reply:?}");
    assert!(!reply.html().contains("/step-up"), "{reply:?}");
}

#[tokio::test]
async fn wrong_code_and_wrong_recovery_token_are_shown_at_their_field() {
    let (service, mut users) = Service::with_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let mut browser = Browser::new(&service);
    let reply = browser.open("/verify?return_to=%2Fx").await;
    assert_eq!(reply.location(), "/login?return_to=%2Fx", "the password comes first");
    log_in(&mut browser, &bob, "/").await;
    let (code, token) = (service.wrong_code(&bob), "0123456789ABCDEFGHJKMNPQRS");
    let forms: [(&[(&str, &str)], _, _, _); 4] = [
        (&[("code", &code)], 401, "Enter your code", "code"),
        (&[("recovery_token", token)], 401, "Enter your recovery token", "recovery_token"),
        (&[("code", &code), ("recovery_token", token)], 401, "Enter your code", "code"),
        (&[], 400, "Enter your code", "code"),
    ];
    for (fields, status, title, field) in forms {
        let reply = browser.submit("/verify", fields).await;
        assert_eq!(reply.status, status, "{fields:?}");
        for text in [format!("<h1>{title}</h1>"), format!("href=\"#{field}\""), format!("name=\"{field}\"")] {
            assert!(reply.html().contains(&text), "{text}: {}", reply.html());
        }
    }
}

#[tokio::test]
async fn sign_in_form_names_only_the_field_that_is_empty() {
    let service = Service::new();
    let mut browser = Browser::new(&service);
    let whole = [("tenant", "acme"), ("username", "bob"), ("password", "words of a user")];
    for (empty, _) in whole {
        let fields = whole.map(|(name, value)| (name, if name == empty { "" } else { value }));
        let reply = browser.submit("/login", &fields).await;
        assert_eq!(reply.status, 400);
        for (name, _) in whole {
            let named = reply.html().contains(&format!("href=\"#{name}\""));
            assert_eq!(named, name == empty, "{name} with an empty {empty}: {}", reply.html());
        }
    }
}

#[tokio::test]
async fn start_page_tells_a_client_that_is_no_browser_what_it_talks_to() {
    let reply = Service::new().send(TestRequest::new(Method::GET, "/").header("accept", "application/json")).await.ok();
    assert_eq!((reply.status.as_u16(), reply.text("/service")), (200, "vestibule".to_owned()));
}

#[tokio::test]
async fn user_sees_and_ends_sessions_and_signs_out() {
    let (service, mut users) = Service::with_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let other = bob.session.clone();
    service.sign_in(&mut bob).await;
    let mut browser = Browser::signed_in(&service, &bob);
    let page = browser.open("/settings/sessions").await;
    let id = between(page.html(), r#"name="id" value=""#, "\"").to_owned();
    assert_eq!(browser.submit("/settings/sessions", &[("id", &id)]).await.location(), "/settings/sessions");
    assert!(service.get("/v1/session", &other).await.is(401, "invalid_token"));
    assert!(browser.open("/settings/sessions").await.html().contains("You are signed in only here"));
    // A GET does not sign out.
    assert!(browser.open("/logout").await.html().contains(r#"<form method="post" action="/logout">"#));
    service.get("/v1/session", &bob.session).await.ok();
    assert_eq!(browser.submit("/logout", &[]).await.location(), "/login");
    assert!(!browser.cookies.contains_key("__Host-vestibule"));
    assert!(service.get("/v1/session", &bob.session).await.is(401, "invalid_token"));
}

/// CSRF: a form that no page of this service sent changes nothing.
#[tokio::test]
async fn form_of_another_site_is_refused() {
    let (service, mut users) = Service::with_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let forms =
        ["/login", "/verify", "/enroll", "/step-up", "/settings/recovery-token", "/settings/sessions", "/logout"];
    for path in forms {
        let foreign = [
            (None, None),
            (Some("null"), None),
            (Some("https://evil.example"), None),
            (Some("http://login.example.com"), None),
            (Some("https://login.example.com:8443"), None),
            (Some("https://login.example.com.evil.example"), None),
            (Some(PUBLIC_URL), Some("cross-site")),
            (Some(PUBLIC_URL), Some("same-site")),
            (Some(PUBLIC_URL), Some("none")),
        ];
        for (origin, site) in foreign {
            let mut browser = Browser::signed_in(&service, &bob);
            let mut request = Browser::form(path, &[]);
            for (name, value) in [("origin", origin), ("sec-fetch-site", site)] {
                request = value.into_iter().fold(request, |request, value| request.header(name, value));
            }
            let reply = browser.send(request).await;
            assert_eq!(reply.status, 403, "{path} {origin:?} {site:?}");
            assert!(!reply.headers.contains_key("set-cookie"));
        }
    }
    service.get("/v1/session", &bob.session).await.ok();
}

/// A service without an address compares with the host that the request names. A request that names neither host nor origin
/// is of no browser.
#[tokio::test]
async fn form_without_an_origin_is_refused_at_a_service_without_an_address() {
    let service = Service::with_users().await.0.configured(|app| app.public_url = None);
    let sent = Browser::form("/login", &[]);
    let sent_from = |origin: &str| sent.clone().header("host", "login.example.com").header("origin", origin);
    assert_eq!(service.send(sent.clone()).await.status, 403);
    assert_eq!(service.send(sent.clone().header("host", "login.example.com")).await.status, 403);
    assert_eq!(service.send(sent_from("https://evil.example")).await.status, 403);
    assert_eq!(service.send(sent_from("https://login.example.com")).await.status, 400, "the form is read");
}

#[tokio::test]
async fn cookie_opens_pages_only_and_bearer_token_the_api_only() {
    let (service, mut users) = Service::with_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let mut browser = Browser::signed_in(&service, &bob);
    let api = browser.send(TestRequest::new(Method::GET, "/v1/session")).await;
    assert!(api.is(401, "invalid_token"));
    for path in SIGNED_IN {
        let page = TestRequest::new(Method::GET, path).token(&bob.session).header("accept", "text/html");
        assert!(service.send(page).await.location().starts_with("/login"), "{path}");
        assert_eq!(browser.open(path).await.status, 200, "{path}");
    }
    // A token in the cookie of another class opens nothing.
    browser.cookies = [("__Host-vestibule-enrolment".to_owned(), bob.session.clone())].into();
    assert!(browser.open("/settings/security").await.location().starts_with("/login"));
    assert!(browser.open("/enroll").await.location().starts_with("/login"));
    // Without `__Host-` another host of the domain could have set it.
    browser.cookies = [("vestibule".to_owned(), bob.session.clone())].into();
    assert!(browser.open("/settings/security").await.location().starts_with("/login"));
}

#[tokio::test]
async fn sign_in_replaces_a_planted_session() {
    let (service, mut users) = Service::with_users().await;
    let (mut eve, mut bob) = (users.remove("eve").unwrap(), users.remove("bob").unwrap());
    service.enrol(&mut eve).await;
    service.enrol(&mut bob).await;
    let mut browser = Browser::signed_in(&service, &eve);
    log_in(&mut browser, &bob, "/").await;
    let code = service.next_code(&mut bob);
    browser.submit("/verify", &[("code", &code)]).await;
    let session = browser.cookies["__Host-vestibule"].clone();
    assert_ne!(session, eve.session);
    assert_eq!(service.get("/v1/session", &session).await.ok().body["user"]["username"], "bob");
}

/// A double click, or the reload of a page that a form led to.
#[tokio::test]
async fn form_that_is_sent_twice_has_its_effect_once() {
    let (service, mut users) = Service::with_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let mut browser = Browser::new(&service);
    log_in(&mut browser, &bob, "/").await;
    let (code, before) = (service.next_code(&mut bob), browser.cookies.clone());
    assert_eq!(browser.submit("/verify", &[("code", &code)]).await.location(), "/");
    let mut again = Browser::with_cookies(&service, before);
    let reply = again.submit("/verify", &[("code", &code)]).await;
    assert!(reply.html().contains("it is complete") && reply.html().contains("href=\"/\">Continue"), "{reply:?}");
    assert!(!again.cookies.contains_key("__Host-vestibule"), "a code opens one session");
    // Each reload of the page with the recovery token makes a new token, and only the last one works.
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let reply = browser.submit("/settings/recovery-token", &[]).await;
        tokens.push(between(reply.html(), r#"<p class="secret">"#, "</p>").to_owned());
    }
    for (token, status) in [(&tokens[0], 401), (&tokens[1], 303)] {
        let mut lost = Browser::new(&service);
        log_in(&mut lost, &bob, "/").await;
        assert_eq!(lost.submit("/verify", &[("recovery_token", token)]).await.status, status);
    }
}

/// Two tabs share the cookie. What a form does depends on who is signed in when it is sent, not on who opened it.
#[tokio::test]
async fn form_opened_by_one_user_does_not_act_in_their_name_after_another_signed_in() {
    let (service, mut users) = Service::with_users().await;
    for name in ["ann", "bob"] {
        service.enrol(users.get_mut(name).unwrap()).await;
    }
    let mut browser = Browser::signed_in(&service, &users["ann"]);
    assert!(browser.open("/admin/users/u-eve/mfa-reset").await.html().contains("name=\"reason\""));
    let bob = users.get_mut("bob").unwrap();
    log_in(&mut browser, bob, "/").await;
    let code = service.next_code(bob);
    browser.submit("/verify", &[("code", &code)]).await;
    let reply = browser.submit("/admin/users/u-eve/mfa-reset", &[("reason", "typed by ann")]).await;
    assert_eq!(reply.status, 403);
    let passwords = [("current_password", &*users["ann"].password), ("new_password", "a new password of ann")];
    let reply = browser.submit("/settings/password", &passwords).await;
    assert_ne!(reply.status, 303, "ann's password is not bob's: {reply:?}");
    let ann = Browser::signed_in(&service, &users["ann"]).cookies["__Host-vestibule"].clone();
    let audit = service.get("/v1/admin/audit", &ann).await.ok();
    let count = |action| audit.body["items"].as_array().unwrap().iter().filter(|row| row["action"] == action).count();
    assert_eq!(count("mfa.reset"), 0, "nothing was done in ann's name");
    assert_eq!(count("forbidden"), 1, "what bob tried is recorded once");
    assert_eq!(service.login(&users["ann"]).await.status, 200, "ann's password is as before");
}

/// The back button shows a form from before the sign-out.
#[tokio::test]
async fn form_from_before_the_sign_out_does_nothing() {
    let (service, mut users) = Service::with_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let mut browser = Browser::signed_in(&service, &bob);
    let before = browser.cookies.clone();
    browser.submit("/logout", &[]).await;
    assert!(!browser.cookies.contains_key("__Host-vestibule"));
    for cookies in [browser.cookies.clone(), before] {
        let mut browser = Browser::with_cookies(&service, cookies);
        let reply = browser.submit("/settings/recovery-token", &[]).await;
        assert!(reply.location().starts_with("/login"), "{reply:?}");
    }
}

#[tokio::test]
async fn return_path_never_leads_to_another_site() {
    let (service, mut users) = Service::with_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    for foreign in
        ["https://evil.example", "//evil.example", "/\\evil.example", "/%0a//evil.example\n", "javascript:x", ""]
    {
        let mut browser = Browser::new(&service);
        assert_eq!(log_in(&mut browser, &bob, foreign).await.location(), "/verify", "{foreign}");
        let code = service.next_code(&mut bob);
        let reply = browser.submit("/verify", &[("code", &code), ("return_to", foreign)]).await;
        assert_eq!(reply.location(), "/", "{foreign}");
    }
}

#[tokio::test]
async fn what_a_person_types_is_escaped_and_secrets_are_not_repeated() {
    let (service, _) = Service::with_users().await;
    let mut browser = Browser::new(&service);
    let script = "\"><script>alert(1)</script>";
    let fields = [("tenant", script), ("username", script), ("password", "swordfish 12"), ("return_to", script)];
    let reply = browser.submit("/login", &fields).await;
    assert_eq!(reply.status, 400);
    assert!(!reply.html().contains("<script>alert") && !reply.html().contains("swordfish"), "{reply:?}");
    assert!(reply.html().contains("&#60;script&#62;") || reply.html().contains("&lt;script&gt;"), "{reply:?}");
}

#[tokio::test]
async fn every_page_has_the_headers_that_protect_it() {
    let (service, mut users) = Service::with_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let mut browser = Browser::signed_in(&service, &bob);
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                  form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    for path in OPEN.iter().chain(&SIGNED_IN).chain(&["/nothing"]) {
        let reply = browser.open(path).await;
        let html = reply.html();
        for (name, value) in [
            ("content-security-policy", policy),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("x-frame-options", "DENY"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            assert_eq!(reply.headers[name], value, "{path} {name}");
        }
        for forbidden in [" style=", "<style", " onclick", "javascript:", "http://"] {
            assert!(!html.contains(forbidden), "{path} contains {forbidden}");
        }
    }
}

#[tokio::test]
async fn files_of_pages_are_kept_by_browsers_and_found_by_their_hash() {
    let (service, _) = Service::with_users().await;
    let mut browser = Browser::new(&service);
    let page = browser.open("/login").await;
    for before in ["stylesheet\" href=\"", "module\" src=\"", "icon\" href=\""] {
        let path = between(page.html(), before, "\"");
        let file = browser.open(path).await;
        assert_eq!(file.status, 200, "{path}");
        assert_eq!(file.headers["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(browser.open(&path.replace('-', "-0")).await.status, 404);
    }
}

#[tokio::test]
async fn page_is_in_the_language_of_the_browser_or_the_one_chosen() {
    let (service, _) = Service::with_users().await;
    let mut browser = Browser::new(&service);
    let german = TestRequest::new(Method::GET, "/login").header("accept", "text/html");
    let reply = browser.send(german.header("accept-language", "de-DE,de;q=0.9,en;q=0.8")).await;
    assert!(reply.html().contains("<html lang=\"de\">") && reply.html().contains("Anmelden"), "{reply:?}");
    let page = browser.open("/login").await;
    assert!(page.html().contains("<html lang=\"en\">") && page.html().contains(r#"href="/login?lang=de""#), "{page:?}");
    assert!(
        browser
            .open("/login?return_to=%2Fx&lang=de")
            .await
            .html()
            .contains(r#"href="/login?return_to=%2Fx&#38;lang=en""#)
    );
    assert!(browser.open("/login").await.html().contains("<html lang=\"de\">"));
}

/// The switch adds a parameter, which a page without parameters must not refuse.
#[tokio::test]
async fn every_page_can_be_shown_in_the_other_language() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = users.remove("ann").unwrap();
    service.stepped_up_session(&mut ann).await;
    let mut browser = Browser::signed_in(&service, &ann);
    let shown = PAGES
        .iter()
        .map(|(path, _)| *path)
        .filter(|path| !path.contains('{') && !["/verify", "/support"].contains(path));
    for path in shown {
        let page = browser.open(path).await;
        let switch = between(page.html(), "<footer><ul><li><a href=\"", "\"").replace("&#38;", "&");
        let reply = browser.open(&switch).await;
        assert_eq!(reply.status, page.status, "{switch}");
        assert_ne!(
            between(reply.html(), "<html lang=\"", "\""),
            between(page.html(), "<html lang=\"", "\""),
            "{switch}"
        );
    }
}

#[tokio::test]
async fn delayed_sign_in_says_how_long_and_whom_to_ask() {
    let (service, users) = Service::with_users().await;
    let mut browser = Browser::new(&service);
    let wrong = TestUser { password: "wrong".to_owned(), ..users["bob"].clone() };
    let mut reply = log_in(&mut browser, &wrong, "/").await;
    for _ in 0..8 {
        reply = log_in(&mut browser, &wrong, "/").await;
        if reply.status == 429 {
            break;
        }
    }
    assert_eq!(reply.status, 429);
    assert!(reply.html().contains("Try again in ") && reply.html().contains("ask an Administrator"), "{reply:?}");
}

#[tokio::test]
async fn administrator_sees_more_pages_in_the_navigation_than_an_employee() {
    let (service, mut users) = Service::with_users().await;
    for (name, shown) in [("ann", true), ("bob", false)] {
        let mut user = users.remove(name).unwrap();
        service.enrol(&mut user).await;
        let page = Browser::signed_in(&service, &user).open("/settings/security").await;
        assert_eq!(page.html().contains("/admin/users"), shown, "{name}");
    }
}
