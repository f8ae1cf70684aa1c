//! The pages of administration: users, resets, audit and settings, as a browser without scripts uses them.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Reply, Service, TestRequest, TestUsers, browser::Browser, idp::Idp};
use vestibule::{
    audit::{AuditAction, AuditEvent, Outcome},
    id::{TenantId, UserId},
    language::Language,
    sign_in::Attempt,
    store::AttemptEvent,
    text::Text,
};

/// Pages that an Administrator may open.
const READ: [&str; 6] = [
    "/admin/users",
    "/admin/users?q=b&kind=&mfa=none&excluded=no",
    "/admin/users/u-bob",
    "/admin/users/u-ann/mfa-reset",
    "/admin/audit",
    "/admin/audit?format=csv",
];
/// Pages that an Administrator may open after a step-up, because their form changes something.
const STEPPED_UP: [&str; 12] = [
    "/admin/users/new",
    "/admin/users/import",
    "/admin/users/u-bob?change=display_name",
    "/admin/users/u-bob?change=email",
    "/admin/users/u-bob?change=role",
    "/admin/users/u-bob?change=auth_type",
    "/admin/users/u-bob?change=password",
    "/admin/users/u-bob?change=invitation",
    "/admin/users/u-bob?change=active",
    "/admin/users/u-bob?change=delete",
    "/admin/users/u-bob/mfa-reset",
    "/admin/settings",
];
/// Every form, with valid fields.
const FORMS: [(&str, Fields<'_>); 9] = [
    (
        "/admin/users/new",
        &[("role", "standard"), ("username", "new"), ("display_name", "New"), ("password", "words of a user")],
    ),
    ("/admin/users/u-bob", &[("change", "display_name"), ("display_name", "Robert")]),
    ("/admin/users/u-bob", &[("change", "role"), ("role", "administrator")]),
    ("/admin/users/u-bob", &[("change", "password"), ("password", "other words of a user")]),
    ("/admin/users/u-bob", &[("change", "active"), ("active", "false")]),
    ("/admin/users/u-bob", &[("change", "invitation")]),
    ("/admin/users/u-bob", &[("change", "delete")]),
    ("/admin/users/u-bob/mfa-reset", &[("reason", "lost phone")]),
    ("/admin/settings", &[("setting", "issuer"), ("issuer", "New issuer")]),
];

/// The fields of a form.
type Fields<'a> = &'a [(&'a str, &'a str)];

const SCRIPT: &str = "<script>alert(1)</script>\"'&";

async fn signed_in<'a>(service: &'a Service, users: &mut TestUsers, name: &str) -> Browser<'a> {
    let user = users.get_mut(name).unwrap();
    service.stepped_up_session(user).await;
    Browser::signed_in(service, user)
}

/// Everything that the forms of [`FORMS`] could change, as the API shows it.
async fn state(service: &Service, token: &str) -> [Value; 2] {
    let users = service.get("/v1/admin/users?limit=100", token).await.ok();
    let settings = service.get("/v1/admin/settings", token).await.ok();
    [users.body, settings.body]
}

fn assert_shows(reply: &Reply, texts: &[&str]) {
    for text in texts {
        assert!(reply.html().contains(text), "{text}: {}", reply.html());
    }
}

#[tokio::test]
async fn list_filters_and_pages() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let reply = ann.open("/admin/users").await;
    assert_shows(&reply, &["/admin/users/u-ann\"", "/admin/users/u-con3\"", "Inactive", "New user"]);
    for absent in ["Next page", "/admin/users/u-gus\"", "Show all"] {
        assert!(!reply.html().contains(absent), "{absent}");
    }
    for filter in ["q=con", "kind=contact", "mfa=none", "excluded=no"] {
        assert_shows(&ann.open(&format!("/admin/users?{filter}")).await, &["/admin/users/u-con1\"", "Show all"]);
    }
    let reply = ann.open("/admin/users?q=+CON&kind=contact&mfa=none&excluded=no").await;
    assert_shows(
        &reply,
        &["/admin/users/u-con1\"", r#"<option value="contact" selected>"#, "value=\" CON\"", "Show all"],
    );
    assert!(!reply.html().contains("/admin/users/u-bob\""));
    assert_shows(&ann.open("/admin/users?mfa=active").await, &["/admin/users/u-ann\""]);
    assert_shows(&ann.open("/admin/users?excluded=yes").await, &["No user matches."]);
    let reply = ann.open(&format!("/admin/users?q={}", "x".repeat(129))).await;
    assert_eq!(reply.status, 400);
    assert_shows(&reply, &["<title>Error: Users", "at most 128 characters", "href=\"#q\""]);
    assert!(!reply.html().contains("<table"));
    assert_eq!(ann.open("/admin/users?kind=robot").await.status, 400);
    assert_eq!(ann.open("/admin/users?cursor=x").await.status, 400);
}

#[tokio::test]
async fn list_of_more_users_than_a_page_has_a_next_page_with_the_same_filters() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let token = users["ann"].session.clone();
    for n in 0..51 {
        let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": format!("z{n:02}"),
            "display_name": format!("Zed {n}")});
        service.post("/v1/admin/users", &token, body).await.ok();
    }
    let reply = ann.open("/admin/users?q=zed&kind=employee").await;
    assert_shows(&reply, &["z49", "Next page"]);
    assert!(!reply.html().contains("z50") && !reply.html().contains("First page"));
    let next = link(&reply, "Next page");
    assert!(next.starts_with("/admin/users?q=zed&kind=employee&cursor="), "{next}");
    let reply = ann.open(&next).await;
    assert_shows(&reply, &["z50", "First page"]);
    assert!(!reply.html().contains("z49") && !reply.html().contains("Next page"));
    assert_eq!(link(&reply, "First page"), "/admin/users?q=zed&kind=employee");
}

/// The path of the link with this text.
fn link(reply: &Reply, text: &str) -> String {
    let (before, _) = reply.html().split_once(&format!("\">{text}</a>")).unwrap_or_else(|| panic!("{}", reply.html()));
    before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&")
}

#[tokio::test]
async fn user_page_says_what_can_be_done_and_what_cannot() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let bob = ann.open("/admin/users/u-bob").await;
    assert_shows(
        &bob,
        &["Employees cannot be excluded.", "/admin/users/u-bob/mfa-reset", "?change=role", "?change=delete"],
    );
    assert!(!bob.html().contains("/admin/exclusions?"));
    let con1 = ann.open("/admin/users/u-con1").await;
    assert_shows(&con1, &["/admin/exclusions?change=exclude&contact=u-con1"]);
    let own = ann.open("/admin/users/u-ann").await;
    assert_shows(&own, &["This is your own account.", "You cannot reset your own MFA.", "/settings/password"]);
    assert!(!own.html().contains("/mfa-reset") && !own.html().contains("?change=password"));
    let off = service.get("/v1/admin/users?q=off", &users["ann"].session).await.ok().text("/items/0/id");
    assert_shows(&ann.open(&format!("/admin/users/{off}")).await, &["Inactive", "Activate"]);
    for path in
        ["/admin/users/u-gus", "/admin/users/u-gus/mfa-reset", "/admin/users/u-gus?change=role", "/admin/users/nobody"]
    {
        let reply = ann.open(path).await;
        assert_eq!(reply.status, 404, "another tenant's users look the same as none: {path}");
        assert!(!reply.html().contains("gus"));
    }
}

#[tokio::test]
async fn contact_with_a_short_password_cannot_be_excluded_and_the_page_says_why() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    // An employee may have a password of 14 characters, and then become a contact.
    for fields in [&[("change", "password"), ("password", "14 characters.")], &[("change", "role"), ("role", "portal")]]
    {
        assert_eq!(ann.submit("/admin/users/u-bob", fields).await.location(), "/admin/users/u-bob?done=changed");
    }
    let reply = ann.open("/admin/users/u-bob").await;
    assert_shows(&reply, &["fewer than 15 characters"]);
    assert!(!reply.html().contains("/admin/exclusions?"));
}

#[tokio::test]
async fn excluded_contact_has_no_reset_and_can_be_included_again() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let body = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "r"});
    let request = TestRequest::new(Method::POST, "/v1/admin/portal-exclusions").token(&users["ann"].session).json(body);
    service.send(request.header("idempotency-key", "k")).await.ok();
    let reply = ann.open("/admin/users/u-con1").await;
    assert_shows(&reply, &["Excluded since", "Include again"]);
    assert!(!reply.html().contains("/mfa-reset"));
    assert_shows(&ann.open("/admin/users?excluded=yes").await, &["/admin/users/u-con1\""]);
    assert_shows(&ann.open("/admin/users/u-con1?change=role").await, &["the exclusion ends"]);
    // A reset sets a deadline, which does not apply to an excluded contact.
    for (id, deadline) in [("u-bob", true), ("u-con1", false)] {
        let path = format!("/v1/admin/users/{id}/mfa-reset");
        service.post(&path, &users["ann"].session, json!({"reason": "r"})).await.ok();
        let page = ann.open(&format!("/admin/users/{id}")).await;
        assert_eq!(page.html().contains("to be set up by"), deadline, "{id}");
    }
}

#[tokio::test]
async fn question_says_what_the_change_leads_to_and_marks_what_is_dangerous() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let off = service.get("/v1/admin/users?q=off", &users["ann"].session).await.ok().text("/items/0/id");
    let questions: [(&str, &[&str]); 6] = [
        (
            "u-bob?change=active",
            &[
                "<h1>Deactivate bob</h1>",
                "<button class=\"danger\">Deactivate</button>",
                "cannot sign in until you activate them",
            ],
        ),
        (
            &format!("{off}?change=active"),
            &["<h1>Activate off</h1>", "<button>Activate</button>", "The person can sign in again"],
        ),
        ("u-bob?change=delete", &["<button class=\"danger\">Delete the user</button>"]),
        ("u-bob?change=role", &["<button>Save</button>", "ends the person&#39;s sessions"]),
        ("u-bob?change=password", &["<button>Save</button>", "name=\"password\""]),
        ("u-ann?change=password", &["You change your own password in My settings."]),
    ];
    for (question, texts) in questions {
        let page = ann.open(&format!("/admin/users/{question}")).await;
        assert_shows(&page, texts);
        assert!(!page.html().contains("the exclusion ends"), "nobody is excluded: {question}");
    }
}

#[tokio::test]
async fn way_to_sign_in_can_be_changed_if_there_is_an_identity_provider_or_the_user_needs_none() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let token = users["ann"].session.clone();
    let none = ann.open("/admin/users/u-bob?change=auth_type").await;
    assert_shows(&none, &["The company has no identity provider", "href=\"/admin/sso\""]);
    assert!(!none.html().contains("<select"));
    // A user of SSO can become a local one, also after the provider was removed.
    service.patch("/v1/admin/users/u-bob", &token, json!({"auth_type": "saml_sso"})).await.ok();
    let of_sso = ann.open("/admin/users/u-bob?change=auth_type").await;
    assert_shows(&of_sso, &["<option value=\"saml_sso\" selected>"]);
    service.put("/v1/admin/sso", &token, Idp::new("https://idp.example").fields()).await.ok();
    let local = ann.open("/admin/users/u-eve?change=auth_type").await;
    assert_shows(&local, &["<option value=\"local\" selected>"]);
    for page in [of_sso, local] {
        assert!(!page.html().contains("no identity provider"));
    }
}

#[tokio::test]
async fn each_question_changes_one_thing() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let token = users["ann"].session.clone();
    let mut bob = signed_in(&service, &mut users, "bob").await;
    let changes: [(Fields<'_>, &str, Value); 5] = [
        (
            &[("change", "display_name"), ("display_name", " Robert "), ("role", "administrator")],
            "/display_name",
            json!("Robert"),
        ),
        (&[("change", "role"), ("role", "administrator")], "/role", json!("administrator")),
        (&[("change", "role"), ("role", "portal")], "/kind", json!("contact")),
        (&[("change", "active"), ("active", "false")], "/active", json!(false)),
        (&[("change", "active"), ("active", "true")], "/active", json!(true)),
    ];
    for (n, (fields, pointer, expected)) in changes.into_iter().enumerate() {
        assert_eq!(ann.submit("/admin/users/u-bob", fields).await.location(), "/admin/users/u-bob?done=changed");
        let user = service.get("/v1/admin/users/u-bob", &token).await.ok();
        assert_eq!(user.body.pointer(pointer), Some(&expected));
        if n == 0 {
            assert_eq!(user.text("/role"), "standard", "only the field of the question counts");
            assert_eq!(bob.open("/settings/sessions").await.status, 200);
        }
    }
    assert_shows(&ann.open("/admin/users/u-bob?done=changed").await, &["The change is saved."]);
    let reply = bob.open("/settings/sessions").await;
    assert_eq!(reply.location(), "/login?return_to=%2Fsettings%2Fsessions", "the changes ended the sessions");
    assert!(
        ann.submit("/admin/users/u-bob", &[("change", "email"), ("email", "bob@acme.example")])
            .await
            .status
            .is_redirection()
    );
    assert_shows(&ann.open("/admin/users/u-bob").await, &["bob@acme.example"]);
    assert!(
        ann.submit("/admin/users/u-bob", &[("change", "password"), ("password", "quite another password")])
            .await
            .status
            .is_redirection()
    );
    "quite another password".clone_into(&mut users.get_mut("bob").unwrap().password);
    service.login(&users["bob"]).await.ok();
}

#[tokio::test]
async fn wrong_answer_is_shown_again_with_what_is_wrong() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let before = state(&service, &users["ann"].session).await;
    let long = "x".repeat(201);
    let wrong: [(Fields<'_>, &str, &str); 5] = [
        (&[("change", "display_name"), ("display_name", &long)], "at most 200 characters", &long),
        (&[("change", "display_name")], "at most 200 characters", "Change the name of bob"),
        (&[("change", "email"), ("email", "bob@")], "name@example.com", r#"value="bob@""#),
        (&[("change", "password"), ("password", "short")], "at least 8 bytes", "href=\"#password\""),
        (&[("change", "password")], "at least 8 bytes", "Set a new password for bob"),
    ];
    for (fields, says, shows) in wrong {
        let reply = ann.submit("/admin/users/u-bob", fields).await;
        assert_eq!(reply.status, 400, "{fields:?}");
        assert_shows(&reply, &["<title>Error:", says, shows]);
        assert!(!reply.html().contains("value=\"short\""), "a password is never shown");
    }
    for fields in [
        &[("change", "role"), ("role", "king")][..],
        &[("change", "everything")],
        &[("extra", "x"), ("change", "delete")],
    ] {
        assert_eq!(ann.submit("/admin/users/u-bob", fields).await.status, 400);
    }
    // The same rules as those of the API.
    let role = ann.submit("/admin/users/u-bob", &[("change", "role"), ("role", "operator")]).await;
    assert_eq!(role.status, 400, "only tenant support has operators");
    let own = ann.submit("/admin/users/u-ann", &[("change", "password"), ("password", "quite another password")]).await;
    assert_eq!(own.status, 403);
    assert_eq!(state(&service, &users["ann"].session).await, before);
}

#[tokio::test]
async fn last_administrator_keeps_role_and_account() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    assert!(ann.open("/admin/users/u-ann").await.html().contains("?change=delete"), "amy is an Administrator too");
    assert_eq!(ann.submit("/admin/users/u-amy", &[("change", "delete")]).await.location(), "/admin/users?done=deleted");
    assert_shows(&ann.open("/admin/users?done=deleted").await, &["The user is deleted."]);
    let reply = ann.open("/admin/users/u-ann").await;
    assert_shows(&reply, &["The company must keep an active Administrator"]);
    for change in ["delete", "active", "role"] {
        assert!(!reply.html().contains(&format!("?change={change}")), "{change}");
    }
    for fields in [
        &[("change", "delete")][..],
        &[("change", "active"), ("active", "false")],
        &[("change", "role"), ("role", "standard")],
    ] {
        let reply = ann.submit("/admin/users/u-ann", fields).await;
        assert_eq!(reply.status, 409);
        assert_shows(&reply, &["<title>Error:", "The company must keep an active Administrator"]);
    }
    service.get("/v1/session", &users["ann"].session).await.ok();
}

#[tokio::test]
async fn new_user_signs_in_with_the_password_of_the_form() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let page = ann.open("/admin/users/new").await;
    assert_shows(&page, &[r#"<option value="portal">"#]);
    assert!(!page.html().contains("\"operator\"") && !page.html().contains("saml_sso"), "the API would refuse it");
    let with = |role: &'static str, username: &'static str, password: &'static str| {
        [("role", role), ("username", username), ("display_name", SCRIPT), ("email", ""), ("password", password)]
    };
    let reply = ann.submit("/admin/users/new", &[("role", "standard"), ("username", "nora")]).await;
    assert_eq!(reply.status, 400);
    assert_shows(
        &reply,
        &["href=\"#display_name\"", "value=\"nora\"", "e-mail address for the invitation, or a password"],
    );
    for (role, password) in [("standard", "short"), ("standard", "password"), ("portal", "14 characters.")] {
        let reply = ann.submit("/admin/users/new", &with(role, "nora", password)).await;
        assert_eq!(reply.status, 400);
        assert_shows(
            &reply,
            &["at least 8 bytes, or 15 characters for a contact", &format!("value=\"{role}\" selected")],
        );
        assert!(!reply.html().contains(&format!("value=\"{password}\"")) && !reply.html().contains("<script>alert"));
    }
    let reply = ann.submit("/admin/users/new", &with("standard", "BOB", "a good long password")).await;
    assert_eq!(reply.status, 409);
    assert_shows(&reply, &["This username is taken.", "href=\"#username\""]);
    let reply = ann.submit("/admin/users/new", &with("portal", " nora ", "a good long password")).await;
    let created = reply.location().to_owned();
    let reply = ann.open(&created).await;
    assert_shows(&reply, &["The user is created.", "nora", "Contact", "&#60;script&#62;"]);
    let login = json!({"tenant": "acme", "username": "nora", "password": "a good long password"});
    let login = service.send(TestRequest::new(Method::POST, "/v1/login").json(login)).await.ok();
    assert_eq!(login.text("/status"), "enrolment_required");
}

#[tokio::test]
async fn new_user_without_a_password_is_invited_by_mail() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    assert_shows(&ann.open("/admin/users/new").await, &["Leave it empty to invite the person by mail"]);
    let fields = [("role", "standard"), ("username", "nora"), ("display_name", "Nora"), ("email", "nora@acme.example")];
    let created = ann.submit("/admin/users/new", &fields).await.location().to_owned();
    let page = created.strip_suffix("?done=invited").unwrap_or_else(|| panic!("{created}"));
    assert_shows(&ann.open(&created).await, &["A mail is on its way", "Set a new password", "?change=invitation"]);
    assert_eq!(service.sent_mails().await.len(), 1);
    assert_shows(&ann.open(&format!("{page}?change=invitation")).await, &["Invite Nora", "works for 7 days"]);
    assert_eq!(ann.submit(page, &[("change", "invitation")]).await.location(), created);
    assert_eq!(service.sent_mails().await.len(), 1);
    assert!(
        ann.submit(page, &[("change", "password"), ("password", "a good long password")]).await.status.is_redirection()
    );
    assert!(!ann.open(page).await.html().contains("?change=invitation"), "the API would refuse it");
    let reply = ann.submit(page, &[("change", "invitation")]).await;
    assert_eq!(reply.status, 409);
    assert_shows(&reply, &["The person cannot be invited"]);
    assert!(service.sent_mails().await.is_empty());
}

/// Whether a field of a page must be filled in.
fn is_required(page: &Reply, field: &str) -> bool {
    let (_, input) = page.html().split_once(&format!("<input id=\"{field}\"")).unwrap();
    input.split_once('>').unwrap().0.contains(" required")
}

#[tokio::test]
async fn without_mails_a_new_user_needs_a_password_and_is_not_invited() {
    let (service, mut users) = Service::with_users().await;
    let mut with_mails = signed_in(&service, &mut users, "ann").await;
    let token = users["ann"].session.clone();
    let silent = service.configured(|app| app.mails = None);
    let mut ann = Browser::signed_in(&silent, &users["ann"]);
    assert!(!is_required(&with_mails.open("/admin/users/new").await, "password"));
    let page = ann.open("/admin/users/new").await;
    assert!(is_required(&page, "password"));
    assert_shows(&page, &["At least 8 characters, or 15 for a contact."]);
    assert!(!page.html().contains("to invite the person by mail"));
    let fields = [("role", "standard"), ("username", "nora"), ("display_name", "Nora")];
    let refused = ann.submit("/admin/users/new", &fields).await;
    assert_eq!(refused.status, 400);
    assert_shows(&refused, &["href=\"#password\""]);
    assert!(!refused.html().contains("href=\"#email\""), "an address would not help");
    let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": "nora",
        "display_name": "Nora", "email": "nora@acme.example"});
    let nora = format!("/admin/users/{}", silent.post("/v1/admin/users", &token, body).await.ok().text("/id"));
    assert!(with_mails.open(&nora).await.html().contains("?change=invitation"));
    assert!(!ann.open(&nora).await.html().contains("?change=invitation"));
    // A user of an identity provider needs no password.
    service.put("/v1/admin/sso", &token, Idp::new("https://idp.example").fields()).await.ok();
    assert!(!is_required(&ann.open("/admin/users/new").await, "password"));
}

#[tokio::test]
async fn reset_shows_the_code_once() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    signed_in(&service, &mut users, "amy").await;
    assert_shows(&ann.open("/admin/users/u-amy/mfa-reset").await, &["Reset the MFA of amy", "label for=\"reason\""]);
    for reason in ["", "   ", &"x".repeat(201)] {
        let reply = ann.submit("/admin/users/u-amy/mfa-reset", &[("reason", reason)]).await;
        assert_eq!(reply.status, 400);
        assert_shows(&reply, &["at most 200 characters, in one line", "href=\"#reason\""]);
    }
    service.get("/v1/session", &users["amy"].session).await.ok();
    let reply = ann.submit("/admin/users/u-amy/mfa-reset", &[("reason", "lost phone")]).await;
    assert_eq!(reply.status, 200);
    assert_shows(
        &reply,
        &[
            "The MFA of amy is reset",
            "The code works until 16 January 2027",
            "Do this by 18 January 2027",
            "Sign in as amy",
        ],
    );
    let (_, rest) = reply.html().split_once("<p class=\"secret\">").unwrap();
    let code = rest.split_once("</p>").unwrap().0.to_owned();
    assert!(!ann.open("/admin/users/u-amy/mfa-reset").await.html().contains(&code));
    assert!(!ann.open("/admin/users/u-amy").await.html().contains(&code));
    // Sending the form again, as a reload does, makes a new code.
    let again = ann.submit("/admin/users/u-amy/mfa-reset", &[("reason", "lost phone")]).await;
    assert!(again.html().contains("<p class=\"secret\">") && !again.html().contains(&code));
    let (_, rest) = again.html().split_once("<p class=\"secret\">").unwrap();
    let code = rest.split_once("</p>").unwrap().0.to_owned();
    let token = service.enrolment_token(&users["amy"]).await;
    service.enrol_with(users.get_mut("amy").unwrap(), &token, json!({"reset_code": code})).await;
    let bob = ann.submit("/admin/users/u-bob/mfa-reset", &[("reason", "lost phone")]).await;
    assert_shows(&bob, &["The person needs no reset code."]);
    assert!(!bob.html().contains("class=\"secret\""));
}

#[tokio::test]
async fn reset_of_oneself_and_too_many_resets_are_refused() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let page = ann.open("/admin/users/u-ann/mfa-reset").await;
    assert_shows(&page, &["You cannot reset your own MFA."]);
    assert!(!page.html().contains("method=\"post\" action=\"/admin"));
    assert_eq!(ann.submit("/admin/users/u-ann/mfa-reset", &[("reason", "r")]).await.status, 403);
    assert_eq!(ann.submit("/admin/users/u-gus/mfa-reset", &[("reason", "r")]).await.status, 404);
    let token = users["ann"].session.clone();
    for n in 0..11 {
        let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": format!("z{n}"),
            "display_name": "Zed"});
        let id = service.post("/v1/admin/users", &token, body).await.ok().text("/id");
        let reply = ann.submit(&format!("/admin/users/{id}/mfa-reset"), &[("reason", "lost phone")]).await;
        assert_eq!(reply.status, if n < 10 { 200 } else { 429 });
        if n == 10 {
            assert_shows(&reply, &["can reset 10 people an hour", "value=\"lost phone\""]);
        }
    }
}

#[tokio::test]
async fn audit_names_events_and_people_and_filters() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let reason = format!("={SCRIPT}");
    assert_eq!(ann.submit("/admin/users/u-bob/mfa-reset", &[("reason", &reason)]).await.status, 200);
    assert!(
        ann.submit("/admin/users/u-bob", &[("change", "display_name"), ("display_name", SCRIPT)])
            .await
            .status
            .is_redirection()
    );
    ann.submit("/admin/users/u-ann", &[("change", "active"), ("active", "true"), ("role", "x")]).await;
    let reply = ann.open("/admin/audit").await;
    assert_shows(
        &reply,
        &[
            "MFA reset",
            "Authenticator set up",
            "User changed",
            "/admin/users/u-bob\">&#60;script",
            "Changed:</span> Name",
        ],
    );
    assert!(!reply.html().contains("<script>alert") && !reply.html().contains("Show all"));
    let (_, own) = reply.html().split_once("<td>Authenticator set up</td>").unwrap();
    let own = own.split_once("</tr>").unwrap().0;
    assert_eq!(own.matches("/admin/users/u-ann\"").count(), 1, "who did it is not named again: {own}");
    let of_bob = ann.open("/admin/audit?user=BOB&from=&to=").await;
    assert_shows(&of_bob, &["MFA reset"]);
    assert!(!of_bob.html().contains("Authenticator set up"), "that was ann");
    assert_shows(&ann.open("/admin/audit?user=u-bob").await, &["MFA reset"]);
    // 15 January 2027 is the day of the test's clock. The last day of the period is included.
    assert_shows(&ann.open("/admin/audit?from=2027-01-15&to=2027-01-15").await, &["MFA reset"]);
    assert_shows(&ann.open("/admin/audit?to=2999-12-31").await, &["MFA reset"]);
    for empty in ["to=2027-01-14", "from=2027-01-16", "user=nobody"] {
        assert_shows(&ann.open(&format!("/admin/audit?{empty}")).await, &["There are no events.", "Show all"]);
    }
    let reply = ann.open("/admin/audit?user=no+one&from=yesterday&to=2027-02-30").await;
    assert_eq!(reply.status, 400);
    assert_shows(
        &reply,
        &["href=\"#user\"", "href=\"#from\"", "href=\"#to\"", "There is no user with this name.", "value=\"no one\""],
    );
    assert!(ann.submit("/admin/users/u-bob", &[("change", "delete")]).await.status.is_redirection());
    assert_shows(&ann.open("/admin/audit?user=u-bob").await, &["<code>u-bob</code> (deleted)"]);
}

/// A row of a later version of the service, by an operator who has the id of a user of this tenant.
#[tokio::test]
async fn audit_shows_an_unknown_field_as_it_is_and_an_operator_without_a_name() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let app = service.app();
    let mut event =
        AuditEvent::new(AuditAction::UserChanged, Outcome::Success, "r").by(&UserId::parse("u-bob").unwrap());
    event.actor_tenant = TenantId::parse("support").ok();
    event.changed = vec!["of_a_later_version".to_owned()];
    let attempt = Attempt::begin(app.clock.now(), &*app.entropy).unwrap();
    app.store.record(&TenantId::parse("acme").unwrap(), &attempt, AttemptEvent::Outcome, &event).await;
    let page = ann.open("/admin/audit").await;
    assert_shows(&page, &["Operator of support <code>u-bob</code>", "Changed:</span> of_a_later_version<"]);
    let csv = ann.open("/admin/audit?format=csv").await;
    let row = csv.body.as_str().unwrap().lines().find(|line| line.contains("of_a_later_version")).unwrap();
    assert!(row.contains(",\"success\",\"u-bob\",\"\",") && row.contains(",\"support\","), "{row}");
}

#[tokio::test]
async fn audit_is_downloaded_as_csv() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    assert_eq!(ann.submit("/admin/users/u-bob/mfa-reset", &[("reason", "=1+1, \"x\"")]).await.status, 200);
    let reply = ann.open("/admin/audit?user=bob&format=csv").await;
    assert_eq!(reply.headers["content-type"], "text/csv; charset=utf-8; header=present");
    assert_eq!(reply.headers["content-disposition"], "attachment; filename=\"vestibule-audit.csv\"");
    let text = reply.body.as_str().unwrap();
    let row = text.lines().find(|line| line.contains("mfa.reset")).unwrap();
    assert!(row.contains(",\"success\",\"u-ann\",\"ann\",\"u-bob\",\"bob\","), "{row}");
    assert!(row.contains(",\"'=1+1, \"\"x\"\"\","), "a spreadsheet must not take it for a formula: {row}");
    let api = service.get("/v1/admin/audit?user_id=u-bob", &users["ann"].session).await.ok();
    assert_eq!(text.lines().count() - 1, api.body["items"].as_array().unwrap().len());
}

/// An empty file would say that nothing happened.
#[tokio::test]
async fn wrong_filter_of_the_audit_is_shown_and_not_downloaded() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    for (query, message) in
        [("user=no%20one", "There is no user with this name."), ("from=yesterday", "Enter a day like 2026-01-31.")]
    {
        let reply = ann.open(&format!("/admin/audit?{query}&format=csv")).await;
        assert!(reply.headers["content-type"].to_str().unwrap().starts_with("text/html"), "{query}");
        assert_shows(&reply, &[message]);
    }
}

#[tokio::test]
async fn audit_of_more_events_than_a_page_has_a_next_page() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    for n in 0..55 {
        let name = format!("Bob {n}");
        assert!(
            ann.submit("/admin/users/u-bob", &[("change", "display_name"), ("display_name", &name)])
                .await
                .status
                .is_redirection()
        );
    }
    let first = ann.open("/admin/audit?user=bob").await;
    let next = link(&first, "Next page");
    assert!(next.starts_with("/admin/audit?user=bob&cursor="), "{next}");
    let second = ann.open(&next).await;
    let count = |reply: &Reply| reply.html().matches("<td><time").count();
    assert_eq!((count(&first), count(&second)), (50, 6), "55 changes, and the creation");
    assert_shows(&second, &["First page"]);
    let csv = ann.open(&link(&second, "Download this page as CSV")).await;
    assert_eq!(csv.body.as_str().unwrap().lines().count(), 7);
}

#[tokio::test]
async fn each_form_of_the_settings_changes_one() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let token = users["ann"].session.clone();
    let settings = async || service.get("/v1/admin/settings", &token).await.ok().body;
    assert_shows(&ann.open("/admin/settings").await, &["value=\"Acme\"", "value=\"administrators\" selected"]);
    let fields = [("setting", "issuer"), ("issuer", SCRIPT), ("reset_code_for", "everyone")];
    assert_eq!(ann.submit("/admin/settings", &fields).await.location(), "/admin/settings?done=changed");
    assert_eq!(settings().await, json!({"issuer": SCRIPT, "reset_code_for": "administrators"}));
    let fields = [("setting", "reset_code_for"), ("reset_code_for", "everyone")];
    assert_eq!(ann.submit("/admin/settings", &fields).await.location(), "/admin/settings?done=changed");
    assert_eq!(settings().await, json!({"issuer": SCRIPT, "reset_code_for": "everyone"}));
    let reply = ann.open("/admin/settings?done=changed").await;
    assert_shows(&reply, &["The setting is saved.", "&#60;script&#62;", "value=\"everyone\" selected"]);
    assert!(!reply.html().contains("<script>alert"));
    for issuer in ["", " ", &"x".repeat(201)] {
        let reply = ann.submit("/admin/settings", &[("setting", "issuer"), ("issuer", issuer)]).await;
        assert_eq!(reply.status, 400);
        assert_shows(&reply, &["<title>Error: Settings", "at most 200 characters", "href=\"#issuer\""]);
    }
    assert_eq!(settings().await["issuer"], SCRIPT);
}

#[tokio::test]
async fn only_administrators_see_and_change_anything() {
    let (service, mut users) = Service::with_users().await;
    let admin = signed_in(&service, &mut users, "ann").await.cookies["__Host-vestibule"].clone();
    for name in ["bob", "con2"] {
        signed_in(&service, &mut users, name).await;
    }
    let before = state(&service, &admin).await;
    let mut stranger = Browser::new(&service);
    for path in READ.iter().chain(&STEPPED_UP) {
        assert!(stranger.open(path).await.location().starts_with("/login?return_to=%2Fadmin%2F"), "{path}");
    }
    for name in ["bob", "con2"] {
        let mut browser = Browser::signed_in(&service, &users[name]);
        for path in READ.iter().chain(&STEPPED_UP) {
            let reply = browser.open(path).await;
            assert_eq!(reply.status, 403, "{name}: {path}");
            assert!(!reply.html().contains("u-bob"));
        }
        for (path, fields) in FORMS {
            assert_eq!(browser.submit(path, fields).await.status, 403, "{name}: {path}");
        }
        for (path, wrong) in [
            ("/admin/users/new", ("username", "")),
            ("/admin/users/u-bob", ("change", "email")),
            ("/admin/users/u-bob/mfa-reset", ("reason", "")),
            ("/admin/settings", ("setting", "issuer")),
        ] {
            assert_eq!(browser.submit(path, &[wrong]).await.status, 403, "{name}: a wrong form of {path}");
        }
        // Not even what is wrong with a search: it would tell which usernames there are.
        for path in
            ["/admin/audit?user=no+one", "/admin/audit?cursor=x", &format!("/admin/users?q={}", "x".repeat(129))]
        {
            assert_eq!(browser.open(path).await.status, 403, "{name}: a wrong search: {path}");
        }
    }
    assert_eq!(state(&service, &admin).await, before);
    service.advance(301);
    for path in STEPPED_UP {
        let reply = Browser::signed_in(&service, &users["bob"]).open(path).await;
        assert_eq!(reply.status, 403, "nobody steps up for what they may not do: {path}");
    }
}

#[tokio::test]
async fn form_of_another_site_is_refused() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let before = state(&service, &users["ann"].session).await;
    for (path, fields) in FORMS {
        let form = Browser::form(path, fields);
        for request in
            [form.clone(), form.clone().header("origin", "null"), form.header("origin", "https://evil.example")]
        {
            assert_eq!(ann.send(request).await.status, 403, "{path}");
        }
    }
    assert_eq!(state(&service, &users["ann"].session).await, before);
}

#[tokio::test]
async fn form_needs_a_fresh_step_up() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let before = state(&service, &users["ann"].session).await;
    for path in STEPPED_UP {
        assert_shows(&ann.open(path).await, &["<h1>"]);
    }
    service.advance(301);
    for path in READ {
        assert_eq!(ann.open(path).await.status, 200, "{path} only reads");
    }
    for path in STEPPED_UP {
        assert!(ann.open(path).await.location().starts_with("/step-up?return_to=%2Fadmin%2F"), "{path}");
    }
    for (path, fields) in FORMS {
        let reply = ann.submit(path, fields).await;
        assert_eq!(reply.status, 401, "{path}");
        assert_shows(&reply, &["href=\"/step-up?return_to=%2Fadmin%2F"]);
    }
    assert_eq!(state(&service, &users["ann"].session).await, before);
}

#[tokio::test]
async fn operators_administer_operators() {
    let (service, mut users) = Service::with_users().await;
    let mut op = signed_in(&service, &mut users, "op").await;
    let page = op.open("/admin/users/new").await;
    assert_shows(&page, &["value=\"operator\""]);
    assert!(!page.html().contains("value=\"administrator\"") && !page.html().contains("value=\"portal\""));
    let fields =
        [("role", "operator"), ("username", "oz"), ("display_name", "Oz"), ("password", "a good long password")];
    let created = op.submit("/admin/users/new", &fields).await.location().to_owned();
    let reply = op.open(&created).await;
    assert_shows(&reply, &["Operator", "?change=active"]);
    assert!(!reply.html().contains("?change=role"), "there is no other role");
    assert!(!op.open("/admin/settings").await.html().contains("href=\"/admin/sso\">Single"), "support has no SSO");
}

#[tokio::test]
async fn pages_are_in_german_too() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    assert_shows(
        &ann.open("/admin/users?lang=de").await,
        &["<html lang=\"de\">", "Neuer Benutzer", "Nicht eingerichtet"],
    );
    assert_shows(&ann.open("/admin/users/u-bob").await, &["Mitarbeiter können nicht ausgenommen werden."]);
    assert_shows(&ann.open("/admin/audit").await, &["Authenticator eingerichtet"]);
}

#[test]
fn every_action_of_the_audit_has_a_name_in_every_language() {
    for language in Language::ALL {
        for action in AuditAction::ALL {
            let id = format!("action-{}", action.as_str().replace('.', "-"));
            assert!(Text::new(language).has(&id), "{id} in {}", language.code());
        }
    }
}
