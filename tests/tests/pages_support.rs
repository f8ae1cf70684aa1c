//! The pages of exclusions, support, SSO and the own password: that they work, and that the rules of the API hold there.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::http::Method;
use serde_json::{Value, json};
use tests::{
    Reply, Service, TestRequest, TestUsers,
    browser::Browser,
    idp::{Idp, form},
};

/// A name and a reason that would run a script if a page did not escape them.
const SCRIPT: &str = "<script>alert(1)</script>";
const ESCAPED: &str = "&#60;script&#62;alert(1)&#60;/script&#62;";

async fn browser<'a>(service: &'a Service, users: &mut TestUsers, name: &str) -> Browser<'a> {
    service.stepped_up_session(users.get_mut(name).unwrap()).await;
    Browser::signed_in(service, &users[name])
}

/// The session token of a browser, for requests of the API.
fn session(browser: &Browser<'_>) -> String {
    browser.cookies["__Host-vestibule"].clone()
}

fn html(reply: &Reply) -> &str {
    reply.body.as_str().unwrap_or_default()
}

fn location(reply: &Reply) -> String {
    reply.location().to_owned()
}

#[track_caller]
fn assert_shows(reply: &Reply, status: u16, texts: &[&str]) {
    assert_eq!(reply.status, status, "{reply:?}");
    for text in texts {
        assert!(html(reply).contains(text), "{text} is missing: {}", html(reply));
    }
}

async fn excluded(service: &Service, token: &str) -> Vec<Value> {
    let list = service.get("/v1/admin/portal-exclusions", token).await.ok();
    list.body["items"].as_array().unwrap().clone()
}

/// Gives a user a display name that contains a script.
async fn rename(service: &Service, token: &str, id: &str) {
    service.patch(&format!("/v1/admin/users/{id}"), token, json!({"display_name": SCRIPT})).await.ok();
}

#[tokio::test]
async fn contacts_are_excluded_after_a_preview_and_included_again() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = browser(&service, &mut users, "ann").await;
    rename(&service, &session(&ann), "u-con1").await;
    assert_shows(&ann.open("/admin/exclusions").await, 200, &["No contact is excluded."]);
    let offered = ann.open("/admin/exclusions?change=exclude").await;
    assert_shows(&offered, 200, &["value=\"u-con1\"", ESCAPED, "Employees cannot be excluded"]);
    assert!(!html(&offered).contains("u-bob"), "an employee is not offered");
    assert!(!html(&ann.open("/admin/exclusions?change=exclude&q=con2").await).contains("u-con3"));
    let fields = [
        ("change", "exclude"),
        ("chosen[]", "u-con1"),
        ("chosen[]", "u-con2"),
        ("contact_ids", "u-bob\r\nu-nobody\r\n"),
        ("csv", "name;id\r\nCon;u-con2\r\n"),
        ("reason", SCRIPT),
    ];
    let preview = location(&ann.upload("/admin/exclusions", &fields).await);
    let shown = ann.open(&preview).await;
    let texts = [ESCAPED, "Nothing is changed yet", "employees cannot be excluded", "there is no such contact"];
    assert_shows(&shown, 200, &texts);
    assert!(!html(&shown).contains(SCRIPT));
    assert_eq!(excluded(&service, &session(&ann)).await.len(), 0, "a preview changes nothing");
    let id = preview.split_once("batch=").unwrap().1;
    let done = location(&ann.upload("/admin/exclusions", &[("confirm", id)]).await);
    assert_ne!(done, preview);
    assert_shows(&ann.open(&done).await, 200, &["Done.", "Excluded", ESCAPED]);
    assert_eq!(excluded(&service, &session(&ann)).await.len(), 2);
    assert_eq!(location(&ann.upload("/admin/exclusions", &[("confirm", id)]).await), done, "repeated, not done twice");
    let csv = ann.open(&format!("{done}&format=csv")).await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(
        html(&csv),
        "id,outcome\r\nu-bob,not_a_contact\r\nu-nobody,not_found\r\nu-con1,excluded\r\nu-con2,excluded\r\n"
    );
    let list = ann.open("/admin/exclusions").await;
    assert_shows(&list, 200, &["change=include&amp;contact=u-con1", ESCAPED, "<td>ann</td>"]);
    assert!(!html(&list).contains(SCRIPT));
    assert_shows(
        &ann.open("/admin/exclusions?change=include&contact=u-con1").await,
        200,
        &["value=\"u-con1\" checked"],
    );
    let fields = [("change", "include"), ("chosen[]", "u-con1"), ("reason", "back")];
    let preview = location(&ann.upload("/admin/exclusions", &fields).await);
    let id = preview.split_once("batch=").unwrap().1;
    let done = location(&ann.upload("/admin/exclusions", &[("confirm", id)]).await);
    assert_shows(&ann.open(&done).await, 200, &["Included again"]);
    assert_eq!(excluded(&service, &session(&ann)).await.len(), 1);
}

#[tokio::test]
async fn wrong_list_of_contacts_is_shown_again_with_what_is_wrong() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = browser(&service, &mut users, "ann").await;
    let too_many = (0..1001).map(|n| format!("u{n}\r\n")).collect::<String>();
    let wrong = [
        (vec![("contact_ids", "u-con1\r\nCon One"), ("reason", "r")], "contact_ids", "Line 2 is not an id."),
        (vec![("csv", "name\r\nu-con1\r\n"), ("reason", "r")], "csv", "does not name a column"),
        (vec![("csv", "id\r\nCon One\r\n"), ("reason", "r")], "csv", "In line 2 of the file"),
        (vec![("csv", "id,name\r\nu-con1\r\n"), ("reason", "r")], "csv", "is not CSV in UTF-8"),
        (vec![("csv", "id\r\n\u{fffd}\r\n"), ("reason", "r")], "csv", "is not CSV in UTF-8"),
        (vec![("reason", "r")], "contact_ids", "Choose 1 to 1,000 contacts."),
        (vec![("contact_ids", &too_many), ("reason", "r")], "contact_ids", "Choose 1 to 1,000 contacts."),
        (vec![("contact_ids", "u-con1")], "reason", "Enter a reason"),
    ];
    for (fields, at, says) in wrong {
        let reply = ann.upload("/admin/exclusions", &fields).await;
        assert_shows(&reply, 400, &[says, &format!("href=\"#{at}\""), "<title>Error:"]);
    }
    // What a file had is kept as text, because a browser does not keep the file.
    let fields = [("change", "include"), ("contact_ids", "u-con1"), ("chosen[]", "u-con2"), ("csv", "id\r\nu-con3")];
    let reply = ann.upload("/admin/exclusions", &fields).await;
    assert_shows(&reply, 400, &["u-con1\nu-con2\nu-con3</textarea>", "name=\"change\" value=\"include\""]);
    let large = "x".repeat(256 * 1024);
    let reply = ann.upload("/admin/exclusions", &[("csv", &large), ("reason", "r")]).await;
    assert_shows(&reply, 413, &["too large"]);
    let nothing = [("contact_ids", "u-bob"), ("reason", "r")];
    let preview = location(&ann.upload("/admin/exclusions", &nothing).await);
    let shown = ann.open(&preview).await;
    assert_shows(&shown, 200, &["there is nothing to confirm"]);
    assert!(!html(&shown).contains("name=\"confirm\""));
    let id = preview.split_once("batch=").unwrap().1;
    assert_eq!(ann.upload("/admin/exclusions", &[("confirm", id)]).await.status, 404);
}

#[tokio::test]
async fn search_that_finds_no_contact_says_so() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = browser(&service, &mut users, "ann").await;
    // After this user there are more, but no contact.
    let after_contacts = service.get("/v1/admin/users?limit=7", &session(&ann)).await.ok().text("/next_cursor");
    for found_none in ["q=zoe", &format!("cursor={after_contacts}")] {
        let reply = ann.open(&format!("/admin/exclusions?change=exclude&{found_none}")).await;
        assert_shows(&reply, 200, &["There is no such contact."]);
    }
}

#[tokio::test]
async fn long_results_are_shown_in_parts() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = browser(&service, &mut users, "ann").await;
    let ids = (0..150).map(|n| format!("u{n:03}\r\n")).collect::<String>();
    let preview = location(&ann.upload("/admin/exclusions", &[("contact_ids", &ids), ("reason", "r")]).await);
    let (first, second) = (ann.open(&preview).await, ann.open(&format!("{preview}&part=2")).await);
    assert_shows(&first, 200, &["u099", "part=2", "<dd>150</dd>"]);
    assert_eq!(html(&first).matches("<dd>").count(), 2, "the reason, and the one outcome that there is: {first:?}");
    assert_shows(&second, 200, &["u100", "u149", "part=1"]);
    assert!(!html(&first).contains("u100") && !html(&second).contains("u099"));
    assert_shows(&ann.open(&format!("{preview}&part=99")).await, 200, &["u149"]);
}

/// The pages, with a form of each.
const ADMIN_PAGES: [(&str, &[(&str, &str)]); 2] = [
    ("/admin/exclusions", &[("contact_ids", "u-con1"), ("reason", "r")]),
    ("/admin/sso", &[("step", "save"), ("metadata_xml", "<x/>")]),
];
const SSO_REMOVE: [(&str, &str); 1] = [("step", "remove")];

#[tokio::test]
async fn pages_refuse_other_roles() {
    let (service, mut users) = Service::with_users().await;
    let mut bob = browser(&service, &mut users, "bob").await;
    // With an old step-up: nobody is asked for a code who may not see the page anyway.
    service.advance(301);
    let metadata = Idp::new("https://idp.example/metadata").metadata();
    let sso_save = [("step", "save"), ("metadata_xml", &*metadata)];
    for (path, fields) in [ADMIN_PAGES[0], ADMIN_PAGES[1], ("/admin/sso", &sso_save), ("/admin/sso", &SSO_REMOVE)] {
        for reply in [bob.open(path).await, bob.upload(path, fields).await] {
            assert_shows(&reply, 403, &["You are not allowed to do this."]);
            assert!(!html(&reply).contains("<form"), "nothing of the page is shown: {}", html(&reply));
        }
    }
    let mut ann = browser(&service, &mut users, "ann").await;
    let audit = service.get("/v1/admin/audit?user_id=u-bob", &session(&ann)).await.ok();
    let refused = audit.body["items"].as_array().unwrap().iter().filter(|row| row["action"] == "forbidden").count();
    assert_eq!(refused, 8, "each refused request is recorded once");
    let reset = [("tenant", "acme"), ("username", "ann"), ("ticket", "T-1"), ("reason", "r")];
    for user in [&mut bob, &mut ann] {
        for path in ["/support", "/support?tenant=acme", "/support?tenant=acme&reset=ann"] {
            assert_shows(&user.open(path).await, 403, &["You are not allowed to do this."]);
        }
        assert_shows(&user.submit("/support", &reset).await, 403, &["You are not allowed to do this."]);
    }
    // Another tenant's batch is not found.
    let fields = [("contact_ids", "u-con1"), ("reason", "r")];
    let preview = location(&ann.upload("/admin/exclusions", &fields).await);
    let mut gus = browser(&service, &mut users, "gus").await;
    assert_eq!(gus.open(&preview).await.status, 404);
    let id = preview.split_once("batch=").unwrap().1;
    assert_eq!(gus.upload("/admin/exclusions", &[("confirm", id)]).await.status, 404);
}

#[tokio::test]
async fn form_that_no_page_of_this_service_sent_is_refused() {
    let (service, mut users) = Service::with_users().await;
    let ann = browser(&service, &mut users, "ann").await;
    let cookie = format!("__Host-vestibule={}", session(&ann));
    let pages = [
        TestRequest::new(Method::POST, "/admin/exclusions").multipart(ADMIN_PAGES[0].1),
        TestRequest::new(Method::POST, "/admin/sso").multipart(ADMIN_PAGES[1].1),
        TestRequest::new(Method::POST, "/settings/password").form("current_password=a&new_password=b"),
        TestRequest::new(Method::POST, "/support").form("tenant=acme&username=ann&ticket=T&reason=r"),
    ];
    for page in pages {
        let request = page.header("accept", "text/html").header("cookie", &cookie);
        assert_eq!(service.send(request.clone()).await.status, 403, "without Origin");
        for origin in ["null", "https://evil.example"] {
            assert_eq!(service.send(request.clone().header("origin", origin)).await.status, 403, "{origin}");
        }
    }
}

#[tokio::test]
async fn pages_lead_to_sign_in_and_to_step_up() {
    let (service, mut users) = Service::with_users().await;
    let mut nobody = Browser::new(&service);
    let paths = ["/admin/exclusions?change=exclude", "/support", "/admin/sso", "/settings/password"];
    for path in paths {
        let there = serde_urlencoded::to_string([("return_to", path)]).unwrap();
        assert_eq!(location(&nobody.open(path).await), format!("/login?{there}"));
    }
    let mut ann = browser(&service, &mut users, "ann").await;
    let mut op = browser(&service, &mut users, "op").await;
    let preview = location(&ann.upload("/admin/exclusions", ADMIN_PAGES[0].1).await);
    let nothing = location(&ann.upload("/admin/exclusions", &[("contact_ids", "u-bob"), ("reason", "r")]).await);
    let other = location(&ann.upload("/admin/exclusions", &[("contact_ids", "u-con2"), ("reason", "r")]).await);
    let confirm = [("confirm", other.split_once("batch=").unwrap().1)];
    let done = location(&ann.upload("/admin/exclusions", &confirm).await);
    service.advance(241);
    for path in ["/admin/exclusions?change=exclude", "/admin/sso", "/settings/password", &preview] {
        let there = serde_urlencoded::to_string([("return_to", path)]).unwrap();
        assert_eq!(location(&ann.open(path).await), format!("/step-up?{there}"), "less than a minute is left");
    }
    assert!(location(&op.open("/support?tenant=acme&reset=ann").await).starts_with("/step-up?"));
    for path in ["/admin/exclusions", &nothing, &done] {
        let reply = ann.open(path).await;
        assert_eq!(reply.status, 200, "reading needs no step-up: {path}");
        assert!(!html(&reply).contains("name=\"confirm\""), "{path}");
    }
    assert_eq!(op.open("/support?tenant=acme").await.status, 200, "reading needs no step-up");
    service.advance(60);
    let again = "href=\"/step-up";
    let metadata = Idp::new("https://idp.example/metadata").metadata();
    let sso_save = [("step", "save"), ("metadata_xml", &*metadata)];
    for (path, fields) in [ADMIN_PAGES[0], ("/admin/sso", &sso_save), ("/admin/sso", &SSO_REMOVE)] {
        let reply = ann.upload(path, fields).await;
        assert_shows(&reply, 401, &[again]);
        // Whether there is an identity provider is shown after the step-up only.
        assert!(!html(&reply).contains("has no identity provider"), "{}", html(&reply));
        assert!(!html(&reply).contains("cannot be removed"), "{}", html(&reply));
    }
    let id = preview.split_once("batch=").unwrap().1;
    assert_shows(&ann.upload("/admin/exclusions", &[("confirm", id)]).await, 401, &[again]);
    let password = [("current_password", "ann and a long tail of words"), ("new_password", "seven green lamps")];
    assert_shows(&ann.submit("/settings/password", &password).await, 401, &[again]);
    let reset = [("tenant", "acme"), ("username", "ann"), ("ticket", "T-1"), ("reason", "typed before")];
    assert_shows(&op.submit("/support", &reset).await, 401, &[again, "typed before"]);
}

#[tokio::test]
async fn support_finds_a_user_and_resets_a_sole_administrator() {
    let (service, mut users) = Service::with_users().await;
    let mut op = browser(&service, &mut users, "op").await;
    let ann = browser(&service, &mut users, "ann").await;
    rename(&service, &session(&ann), "u-amy").await;
    assert_shows(&op.open("/support").await, 200, &["/support?tenant=globex", "Acme"]);
    let found = op.open("/support?q=glo").await;
    assert!(html(&found).contains("Globex") && !html(&found).contains("Acme"));
    let found = op.open("/support?tenant=acme").await;
    assert_shows(&found, 200, &[ESCAPED, "/support?tenant=acme&#38;reset=amy", "By an Administrator of the company"]);
    assert!(!html(&found).contains(SCRIPT) && !html(&found).contains("reset=bob"));
    assert_eq!(op.open("/support?tenant=nosuch").await.status, 404);
    service.patch("/v1/admin/users/u-amy", &session(&ann), json!({"active": false})).await.ok();
    let found = op.open("/support?tenant=acme").await;
    assert_shows(&found, 200, &["Not possible: the user is inactive", "&#38;reset=ann"]);
    assert!(!html(&found).contains("reset=amy"));
    let audit = service.get("/v1/admin/audit?limit=100", &session(&ann)).await.ok();
    let lists = audit.body["items"].as_array().unwrap().iter().filter(|row| row["action"] == "users.listed").count();
    assert_eq!(lists, 2, "each look-up is recorded in the tenant");
    assert_shows(&op.open("/support?tenant=acme&reset=ann").await, 200, &["Ticket", "72 hours"]);
    let reset = [("tenant", "acme"), ("username", "ann"), ("ticket", "T-1"), ("reason", "lost phone")];
    let done = op.submit("/support", &reset).await;
    assert_shows(&done, 200, &["shown only now", "This works until"]);
    let code = html(&done).split_once("<p class=\"secret\">").unwrap().1.split_once('<').unwrap().0.to_owned();
    assert!(service.get("/v1/session", &session(&ann)).await.is(401, "session_refresh_required"));
    let user = users.get_mut("ann").unwrap();
    let fields = [("tenant", "acme"), ("username", "ann"), ("password", &*user.password)];
    let signed_in = Browser::new(&service).submit("/login", &fields).await;
    assert_eq!(signed_in.location(), "/enroll?reset_code=true", "the page asks for the code");
    let token = service.enrolment_token(user).await;
    assert!(service.post("/v1/mfa/enrolments", &token, json!({})).await.is(403, "reset_code_required"));
    service.enrol_with(user, &token, json!({"reset_code": code})).await;
}

#[tokio::test]
async fn support_page_says_why_a_reset_is_refused() {
    let (service, mut users) = Service::with_users().await;
    let mut op = browser(&service, &mut users, "op").await;
    browser(&service, &mut users, "gus").await;
    let mut post = async |tenant: &str, username: &str, ticket: &str, reason: &str| {
        let fields = [("tenant", tenant), ("username", username), ("ticket", ticket), ("reason", reason)];
        op.submit("/support", &fields).await
    };
    let refused = post("globex", "gil", "T-1", "r").await;
    assert_shows(&refused, 409, &["not an active Administrator", "value=\"T-1\""]);
    assert!(!html(&refused).contains("href=\"#ticket\""), "the ticket is not what is wrong");
    assert_shows(&post("globex", "nobody", "T-1", "r").await, 404, &["no such user"]);
    assert_shows(&post("nosuch", "gus", "T-1", "r").await, 404, &["no such user"]);
    assert_shows(&post("globex", SCRIPT, "T-1", SCRIPT).await, 404, &[ESCAPED]);
    assert!(!html(&post("globex", SCRIPT, SCRIPT, SCRIPT).await).contains(SCRIPT));
    let missing = post("globex", "gus", "", "").await;
    assert_shows(&missing, 400, &["Enter the number of the ticket", "Enter a reason"]);
    assert_shows(&post("globex", "gus", "T-1", "r").await, 200, &["class=\"secret\""]);
    assert_shows(&post("globex", "gus", "T-1", "r").await, 409, &["This ticket was used before", "href=\"#ticket\""]);
    browser(&service, &mut users, "ann").await;
    assert_shows(&post("acme", "amy", "T-2", "r").await, 409, &["another active Administrator"]);
    assert_shows(&post("support", "op", "T-3", "r").await, 403, &["You cannot reset yourself"]);
}

#[tokio::test]
async fn identity_provider_is_configured_and_removed_on_its_page() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = browser(&service, &mut users, "ann").await;
    let none = ann.open("/admin/sso").await;
    assert_shows(&none, 200, &["no identity provider", "/v1/sso/acme/metadata", "/v1/sso/acme/acs"]);
    let idp = Idp::new("https://idp.example/metadata");
    for (xml, detail) in [("<x/>", "this is not SAML metadata"), (&idp.metadata().replace("https", "ftp"), "HTTP")] {
        let reply = ann.upload("/admin/sso", &[("step", "save"), ("metadata_xml", xml)]).await;
        assert_shows(&reply, 400, &["not valid metadata", detail, "&#60;"]);
    }
    let empty = ann.upload("/admin/sso", &[("step", "save")]).await;
    assert_shows(&empty, 400, &["not valid metadata"]);
    assert!(!html(&empty).contains("What is wrong:"), "there is nothing in which something is wrong");
    let file = [("step", "save"), ("metadata_file", &*idp.metadata())];
    assert_eq!(location(&ann.upload("/admin/sso", &file).await), "/admin/sso");
    let shown = ann.open("/admin/sso").await;
    let test = "href=\"/v1/sso/acme/login?return_to=%2Fsettings%2Fsecurity\"";
    assert_shows(&shown, 200, &["https://idp.example/sso", "Valid until", test]);
    let seen = service.get("/v1/admin/sso", &session(&ann)).await.ok();
    assert_shows(&shown, 200, &[&seen.text("/certificates_seen/0/sha256")]);
    // New metadata keeps every other setting.
    let mut settings = idp.fields();
    settings["idp_initiated"] = json!(true);
    settings["sign_requests"] = json!(true);
    settings["link_attribute"] = json!("uid");
    settings["mfa_contexts"] = json!([SCRIPT]);
    settings["provisioning"] = json!({"only_company": "Acme", "administrators": ["admins"]});
    let before = service.put("/v1/admin/sso", &session(&ann), settings).await.ok();
    location(&ann.upload("/admin/sso", &file).await);
    let after = service.get("/v1/admin/sso", &session(&ann)).await.ok();
    for setting in ["idp_initiated", "sign_requests", "link_attribute", "mfa_contexts", "provisioning"] {
        assert_eq!(before.body[setting], after.body[setting], "{setting}");
    }
    let shown = ann.open("/admin/sso").await;
    assert_shows(&shown, 200, &[ESCAPED, "BEGIN CERTIFICATE"]);
    assert!(!html(&shown).contains(SCRIPT));
    let question = ann.open("/admin/sso?remove=true").await;
    assert_shows(&question, 200, &["https://idp.example/metadata", "name=\"step\" value=\"remove\""]);
    assert_eq!(location(&ann.upload("/admin/sso", &[("step", "remove")]).await), "/admin/sso");
    assert!(service.get("/v1/admin/sso", &session(&ann)).await.is(404, "not_found"));
    assert_eq!(location(&ann.upload("/admin/sso", &[("step", "remove")]).await), "/admin/sso");
}

#[tokio::test]
async fn identity_provider_of_every_administrator_cannot_be_removed() {
    let (service, mut users) = Service::with_users().await;
    let ann = browser(&service, &mut users, "ann").await;
    let idp = Idp::new("https://idp.example/metadata");
    service.put("/v1/admin/sso", &session(&ann), json!({"metadata_xml": idp.metadata()})).await.ok();
    service.patch("/v1/admin/users/u-amy", &session(&ann), json!({"active": false})).await.ok();
    service.patch("/v1/admin/users/u-ann", &session(&ann), json!({"auth_type": "saml_sso"})).await.ok();
    // ann signs in through the IdP and steps up.
    let (request, sp) = (service.sso_request("acme").await, service.sp("acme").await);
    let response = idp.valid_response(&service, &sp, &request, "ann").sign_assertion(&idp);
    let user = users.get_mut("ann").unwrap();
    user.session = service.acs("acme", &response, &request.relay_state).await.ok().text("/session/token");
    let own = Browser::signed_in(&service, user).open("/settings/password").await;
    assert_shows(&own, 200, &["you have no password here"]);
    let code = service.next_code(user);
    user.session = service.post("/v1/step-up", &user.session, json!({"code": code})).await.ok().text("/session/token");
    let mut ann = Browser::signed_in(&service, user);
    assert_shows(&ann.upload("/admin/sso", &[("step", "remove")]).await, 409, &["cannot be removed", &idp.entity_id]);
    let own = ann.open("/settings/password").await;
    assert_shows(&own, 200, &["you have no password here"]);
    assert!(!html(&own).contains("<form method=\"post\" action=\"/settings/password\""));
}

#[tokio::test]
async fn last_refused_sso_sign_in_is_shown_to_the_administrator() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = browser(&service, &mut users, "ann").await;
    let idp = Idp::new("https://idp.example/metadata");
    service.put("/v1/admin/sso", &session(&ann), json!({"metadata_xml": idp.metadata()})).await.ok();
    service.patch("/v1/admin/users/u-bob", &session(&ann), json!({"auth_type": "saml_sso"})).await.ok();
    assert_shows(&ann.open("/admin/sso").await, 200, &["None of the latest 100 events"]);
    let sp = service.sp("acme").await;
    for (name, status) in [("nobody&lt;b&gt;", 401), ("bob", 200)] {
        let request = service.sso_request("acme").await;
        let response = idp.valid_response(&service, &sp, &request, name).sign_assertion(&idp);
        assert_eq!(service.acs("acme", &response, &request.relay_state).await.status, status);
        service.advance(1);
    }
    // Neither a later sign-in nor a refusal of a password hides what arrived.
    assert_eq!(service.login_with(&users["amy"], "wrong").await.status, 401);
    let shown = ann.open("/admin/sso").await;
    assert_shows(&shown, 200, &["Last refused sign-in", "unknown_subject", "nobody&#60;b&#62;"]);
    service.advance(8 * 86_400);
    let mut ann = browser(&service, &mut users, "ann").await;
    assert_shows(&ann.open("/admin/sso").await, 200, &["None of the latest 100 events"]);
}

#[tokio::test]
async fn refused_sso_response_is_a_page_in_the_browser_that_started() {
    let (service, mut users) = Service::with_users().await;
    let ann = browser(&service, &mut users, "ann").await;
    let idp = Idp::new("https://idp.example/metadata");
    service.put("/v1/admin/sso", &session(&ann), json!({"metadata_xml": idp.metadata()})).await.ok();
    let (request, cookie) = service.start_in_browser("acme", "", "").await;
    let spec = idp.valid_response(&service, &service.sp("acme").await, &request, "nobody");
    let unknown = form(&spec.sign_assertion(&idp), &request.relay_state);
    for posted in [unknown.as_str(), &form("<x/>", &request.relay_state), "SAMLResponse=PHgvPg%3D%3D"] {
        let page = service.post_acs_in_browser("acme", posted, &cookie).await;
        assert_shows(&page, 401, &["its answer was not accepted", page.headers["x-request-id"].to_str().unwrap()]);
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        assert!(page.headers.contains_key("content-security-policy") && !page.headers.contains_key("set-cookie"));
        assert!(service.post_acs_in_browser("acme", posted, "").await.is(401, "invalid_credentials"), "no pre-session");
        assert!(service.acs_body("acme", posted).await.is(401, "invalid_credentials"), "not a browser");
    }
    let page = service.post_acs_in_browser("acme", "nothing=1", &cookie).await;
    assert_shows(&page, 400, &["Something in the form is not valid"]);
    // The rest of the API answers a browser in JSON, too.
    for path in ["/v1/sso/acme/nothing", "/v1/nothing/acs"] {
        let request = TestRequest::new(Method::GET, path).header("accept", "text/html").header("cookie", &cookie);
        assert!(service.send(request).await.is(404, "not_found"), "{path}");
    }
}

#[tokio::test]
async fn own_password_is_changed_on_its_page() {
    let (service, mut users) = Service::with_users().await;
    let mut bob = browser(&service, &mut users, "bob").await;
    let old = users["bob"].password.clone();
    assert_shows(
        &bob.open("/settings/password").await,
        200,
        &["autocomplete=\"new-password\"", "At least 8 characters"],
    );
    let mut post = async |current: &str, new: &str| {
        bob.submit("/settings/password", &[("current_password", current), ("new_password", new)]).await
    };
    assert_shows(&post("", "").await, 400, &["Enter your current password", "Choose a new password"]);
    assert_shows(&post(&old, "short").await, 400, &["too short. It needs at least 8"]);
    assert_shows(&post(&old, "password1").await, 400, &["one of the common ones"]);
    assert_shows(&post(&old, &"x".repeat(1025)).await, 400, &["at most 1,024 bytes"]);
    let wrong = post("not the password", "seven green lamps").await;
    assert_shows(&wrong, 401, &["The current password is wrong."]);
    assert!(!html(&wrong).contains("not the password") && !html(&wrong).contains("seven green lamps"));
    assert_eq!(location(&post(&old, "seven green lamps").await), "/settings/password?changed=true");
    service.advance(301);
    let changed = bob.open("/settings/password?changed=true").await;
    assert_shows(&changed, 200, &["Your password is changed."]);
    assert!(!html(&changed).contains("<form method=\"post\" action=\"/settings/password\""));
    let mut other = Browser::signed_in(&service, &users["bob"]);
    assert!(location(&other.open("/settings/password").await).starts_with("/login?"), "the old session is void");
    let user = users.get_mut("bob").unwrap();
    assert!(service.login(user).await.is(401, "invalid_credentials"));
    "seven green lamps".clone_into(&mut user.password);
    service.login(user).await.ok();
}

#[tokio::test]
async fn fifth_wrong_current_password_ends_the_session() {
    let (service, mut users) = Service::with_users().await;
    let mut bob = browser(&service, &mut users, "bob").await;
    let fields = [("current_password", "not the password"), ("new_password", "seven green lamps")];
    for _ in 0..4 {
        assert_eq!(bob.submit("/settings/password", &fields).await.status, 401);
    }
    assert!(location(&bob.submit("/settings/password", &fields).await).starts_with("/login?"));
}

/// An excluded contact has no authenticator, and so no step-up.
#[tokio::test]
async fn excluded_contact_changes_the_password_without_a_step_up() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = browser(&service, &mut users, "ann").await;
    let fields = [("contact_ids", "u-con1"), ("reason", "r")];
    let preview = location(&ann.upload("/admin/exclusions", &fields).await);
    let id = preview.split_once("batch=").unwrap().1;
    location(&ann.upload("/admin/exclusions", &[("confirm", id)]).await);
    let user = users.get_mut("con1").unwrap();
    user.session = service.login(user).await.ok().text("/session/token");
    let mut con1 = Browser::signed_in(&service, user);
    assert_shows(&con1.open("/settings/password").await, 200, &["At least 15 characters"]);
    let old = user.password.as_str();
    let short =
        con1.submit("/settings/password", &[("current_password", old), ("new_password", "14 characters.")]).await;
    assert_shows(&short, 400, &["too short. It needs at least 15"]);
    let fields = [("current_password", old), ("new_password", "seven green lamps")];
    location(&con1.submit("/settings/password", &fields).await);
}
