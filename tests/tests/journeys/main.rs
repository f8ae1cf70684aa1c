//! The rows of product.md as tests that do not set the clock, so they run on any server. `VESTIBULE_URL` names one;
//! without it, all routes run in this process. Tests that need time to pass are in `journeys_in_time.rs`.
#![allow(clippy::unwrap_used, clippy::panic)]

mod sso;

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Reply, Service, TestRequest, TestUser, TestUsers, totp_code, user_mut};

async fn admin(service: &Service, users: &mut TestUsers) -> String {
    service.stepped_up_session(user_mut(users, "ann")).await
}

/// The admin path of a user.
fn user_path(users: &TestUsers, name: &str) -> String {
    format!("/v1/admin/users/{}", users[name].id)
}

async fn user(service: &Service, admin: &str, id: &str) -> Value {
    service.get(&format!("/v1/admin/users/{id}"), admin).await.ok().body
}

#[tokio::test]
async fn p1_no_request_turns_mfa_off() {
    let (service, mut users) = Service::from_environment().await;
    for name in ["ann", "bob", "con1"] {
        let token = service.stepped_up_session(user_mut(&mut users, name)).await;
        assert!(service.delete("/v1/mfa", &token).await.is(403, "mfa_mandatory"));
    }
    let ann = admin(&service, &mut users).await;
    for field in [json!({"mfa": "none"}), json!({"excluded": true}), json!({"mfa_required": false})] {
        assert!(service.patch(&user_path(&users, "bob"), &ann, field.clone()).await.is(400, "invalid_request"));
        assert!(service.patch("/v1/admin/settings", &ann, field).await.is(400, "invalid_request"));
    }
    assert_eq!(service.login(&users["bob"]).await.text("/status"), "mfa_required");
}

#[tokio::test]
async fn p2_p4_authenticator_app_enrols_in_two_steps() {
    let (service, users) = Service::from_environment().await;
    let bob = &users["bob"];
    let token = service.enrolment_token(bob).await;
    let start = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
    assert_eq!(start.status, 201);
    let secret = start.text("/secret");
    let compact = secret.replace(' ', "");
    assert_eq!(compact.len(), 32);
    let uri = start.text("/otpauth_uri");
    assert!(uri.starts_with("otpauth://totp/Acme:bob?") && uri.contains(&format!("secret={compact}&")), "{uri}");
    let step = service.stable_step();
    for (shift, status) in [(-2, 401), (2, 401), (-1, 200)] {
        let body = json!({"code": totp_code(&secret, step + shift)});
        let reply = service.post("/v1/mfa/enrolments/confirm", &token, body).await;
        assert_eq!(reply.status, status, "T{shift:+}");
    }
    for (shift, status) in [(-1, 401), (-2, 401), (2, 401), (0, 200), (1, 200)] {
        let challenge = service.challenge_token(bob).await;
        assert_eq!(service.verify(&challenge, &totp_code(&secret, step + shift)).await.status, status, "T{shift:+}");
    }
}

#[tokio::test]
async fn p3_inactive_user_is_refused_like_a_wrong_password() {
    let (service, mut users) = Service::from_environment().await;
    let wrong = service.login_with(&users["bob"], "wrong").await;
    assert!(wrong.is(401, "invalid_credentials"));
    let stranger = TestUser { username: "nobody".into(), ..users["bob"].clone() };
    let elsewhere = TestUser { tenant: "nowhere".into(), ..users["bob"].clone() };
    for user in [&users["off"], &stranger, &elsewhere] {
        let mut reply = service.login(user).await;
        reply.body["request_id"] = wrong.body["request_id"].clone();
        assert_eq!((reply.status, &reply.body), (wrong.status, &wrong.body));
    }
    let session = service.stepped_up_session(user_mut(&mut users, "bob")).await;
    let challenge = service.challenge_token(&users["bob"]).await;
    let ann = admin(&service, &mut users).await;
    service.patch(&user_path(&users, "bob"), &ann, json!({"active": false})).await.ok();
    assert!(service.get("/v1/session", &session).await.is(401, "invalid_token"));
    let code = service.next_code(user_mut(&mut users, "bob"));
    assert!(service.verify(&challenge, &code).await.is(401, "invalid_token"));
    assert!(service.login(&users["bob"]).await.is(401, "invalid_credentials"));
}

#[tokio::test]
async fn p5_user_without_factor_gets_an_enrolment_token_and_no_session() {
    let (service, users) = Service::from_environment().await;
    let reply = service.login(&users["bob"]).await;
    assert_eq!(reply.text("/status"), "enrolment_required");
    assert_eq!(reply.body["reset_code_required"], false);
    assert!(service.is_about(reply.seconds("/enrolment/expires_at"), service.now() + 600));
    assert!(!reply.body.to_string().contains("vs_") && reply.body.get("user").is_none());
    assert!(service.get("/v1/session", &reply.text("/enrolment/token")).await.is(401, "invalid_token"));
}

#[tokio::test]
async fn p6_password_and_code_sign_in_and_the_code_works_once() {
    let (service, mut users) = Service::from_environment().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let reply = service.login(bob).await;
    assert_eq!(reply.text("/status"), "mfa_required");
    assert!(service.is_about(reply.seconds("/challenge/expires_at"), service.now() + 300));
    let challenge = reply.text("/challenge/token");
    let code = service.next_code(bob);
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    let reply = service.verify(&challenge, &spaced).await.ok();
    assert_eq!(reply.body["session"]["amr"], json!(["pwd", "otp"]));
    assert!(service.is_about(reply.seconds("/session/expires_at"), service.now() + 12 * 3600));
    assert!(service.verify(&challenge, &code).await.is(401, "invalid_token"), "a challenge works once");
    let challenge = service.challenge_token(bob).await;
    assert!(service.verify(&challenge, &code).await.is(401, "invalid_code"), "a code works once");
    for bad in ["", "12345", "１２３４５６", "12345a"] {
        assert!(service.verify(&challenge, bad).await.is(400, "malformed_code"), "{bad}");
    }
}

#[tokio::test]
async fn p6_ten_failures_in_fifteen_minutes_block_further_codes() {
    let (service, mut users) = Service::from_environment().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    for _ in 0..2 {
        let challenge = service.challenge_token(bob).await;
        for _ in 0..5 {
            assert!(service.verify(&challenge, &service.wrong_code(bob)).await.is(401, "invalid_code"));
        }
        let right = totp_code(&bob.secret, service.step() + 1);
        assert!(!service.verify(&challenge, &right).await.status.is_success(), "five wrong codes end a challenge");
    }
    let challenge = service.challenge_token(bob).await;
    for tried in [service.wrong_code(bob), totp_code(&bob.secret, service.step() + 1)] {
        let reply = service.verify(&challenge, &tried).await;
        assert!(reply.is(429, "too_many_attempts"));
        assert!(service.is_about(reply.body["retry_after_seconds"].as_i64().unwrap(), 900), "{reply:?}");
    }
    assert!(service.get("/v1/session", &bob.session).await.status.is_success(), "an existing session stays");
}

#[tokio::test]
async fn p6_sessions_are_listed_and_ended() {
    let (service, mut users) = Service::from_environment().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let first = bob.session.clone();
    service.sign_in(bob).await;
    let listed = service.get("/v1/sessions", &bob.session).await.ok();
    let ids = listed.body["items"].as_array().unwrap();
    assert_eq!(ids.len(), 2);
    let other = ids.iter().find(|session| session["current"] == false).unwrap()["id"].as_str().unwrap();
    assert_eq!(service.delete(&format!("/v1/sessions/{other}"), &bob.session).await.status, 204);
    assert!(service.get("/v1/session", &first).await.is(401, "invalid_token"));
    let second = bob.session.clone();
    service.sign_in(bob).await;
    assert_eq!(service.delete("/v1/sessions", &bob.session).await.status, 204);
    assert!(service.get("/v1/session", &second).await.is(401, "invalid_token"));
    assert_eq!(service.delete("/v1/session", &bob.session).await.status, 204);
    assert!(service.delete("/v1/session", &bob.session).await.is(401, "invalid_token"));
}

#[tokio::test]
async fn p7_recovery_token_signs_in_once_and_enrols_a_new_device() {
    let (service, mut users) = Service::from_environment().await;
    let bob = user_mut(&mut users, "bob");
    let session = service.stepped_up_session(bob).await;
    let token = TestRequest::new(Method::POST, "/v1/mfa/recovery-token");
    let shown = service.send(token.clone().token(&session)).await.ok().text("/recovery_token");
    assert!(service.post("/v1/step-up", &session, json!({"code": shown})).await.is(400, "malformed_code"));
    let challenge = service.challenge_token(bob).await;
    let reply = service.verify(&challenge, &shown.to_lowercase().replace('-', " ")).await.ok();
    assert_eq!(reply.body["session"]["amr"], json!(["pwd", "recovery"]));
    assert_eq!(reply.body["recovery"]["new_token_required"], true);
    let recovered = reply.text("/session/token");
    let challenge = service.challenge_token(bob).await;
    let reply = service.verify(&challenge, &shown).await;
    assert!(reply.is(401, "invalid_code"), "a recovery token works once");
    let title = reply.text("/title");
    assert!(title.contains("each works once, so wait for the next one"), "{title}");
    assert_eq!(
        service.verify(&challenge, &service.wrong_code(bob)).await.text("/title"),
        title,
        "a wrong one is told the same"
    );
    let second = service.send(token.clone().token(&recovered)).await.ok().text("/recovery_token");
    let third = service.send(token.clone().token(&recovered)).await.ok().text("/recovery_token");
    assert!(service.verify(&challenge, &second).await.is(401, "invalid_code"), "the previous recovery token is void");
    service.verify(&challenge, &third).await.ok();
    let old = bob.secret.clone();
    service.enrol_with(bob, &recovered, json!({})).await;
    assert!(service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    let challenge = service.challenge_token(bob).await;
    let later = service.step() + 1;
    assert!(
        service.verify(&challenge, &totp_code(&old, later)).await.is(401, "invalid_code"),
        "codes of the old device are refused"
    );
    service.verify(&challenge, &totp_code(&bob.secret, later)).await.ok();
}

#[tokio::test]
async fn p8_admin_reset_revokes_factor_sessions_and_tokens() {
    let (service, mut users) = Service::from_environment().await;
    let session = service.stepped_up_session(user_mut(&mut users, "con1")).await;
    let challenge = service.challenge_token(&users["con1"]).await;
    let ann = admin(&service, &mut users).await;
    let path = user_path(&users, "con1") + "/mfa-reset";
    let reply = service.post(&path, &ann, json!({"reason": "lost phone"})).await.ok();
    assert_eq!(reply.body["user"]["mfa"], "none");
    assert!(service.is_about(reply.seconds("/enrol_by"), service.now() + 72 * 3600));
    assert!(reply.body.get("reset_code").is_none());
    assert!(service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    let code = service.next_code(user_mut(&mut users, "con1"));
    assert!(service.verify(&challenge, &code).await.is(401, "invalid_token"));
    assert!(
        service
            .post(&(user_path(&users, "ann") + "/mfa-reset"), &ann, json!({"reason": "r"}))
            .await
            .is(403, "forbidden")
    );
    service.enrol(user_mut(&mut users, "con1")).await;
}

#[tokio::test]
async fn p8_administrator_enrolment_requires_the_reset_code() {
    let (service, mut users) = Service::from_environment().await;
    service.stepped_up_session(user_mut(&mut users, "amy")).await;
    let ann = admin(&service, &mut users).await;
    let path = user_path(&users, "amy") + "/mfa-reset";
    let reset = || async {
        let reply = service.post(&path, &ann, json!({"reason": "r"})).await;
        reply.ok().text("/reset_code")
    };
    let (older, newer) = (reset().await, reset().await);
    assert_ne!(older, newer);
    let amy = user_mut(&mut users, "amy");
    let login = service.login(amy).await.ok();
    assert_eq!(login.body["reset_code_required"], true);
    let token = login.text("/enrolment/token");
    for body in [json!({}), json!({"reset_code": "x"}), json!({"reset_code": older})] {
        assert!(service.post("/v1/mfa/enrolments", &token, body).await.is(403, "reset_code_required"));
    }
    // A reset code that became void before the confirmation gives the same answer as a void one at the start.
    let started = service.post("/v1/mfa/enrolments", &token, json!({"reset_code": newer})).await.ok();
    let newest = reset().await;
    let body = json!({"code": totp_code(&started.text("/secret"), service.step())});
    let confirmed = service.post("/v1/mfa/enrolments/confirm", &token, body).await;
    assert!(confirmed.is(403, "reset_code_required"), "{confirmed:?}");
    service.enrol_with(amy, &token, json!({"reset_code": newest})).await;
}

#[tokio::test]
async fn p9_support_resets_the_only_administrator_with_a_ticket() {
    let (service, mut users) = Service::from_environment().await;
    let gus = service.stepped_up_session(user_mut(&mut users, "gus")).await;
    service.stepped_up_session(user_mut(&mut users, "amy")).await;
    let op = service.stepped_up_session(user_mut(&mut users, "op")).await;
    let (acme, globex) = (users["ann"].tenant.clone(), users["gus"].tenant.clone());
    let request = |tenant: &str, name: &str, ticket: &str| {
        let body = json!({"tenant": tenant, "username": name, "ticket": format!("{acme}-{ticket}"), "reason": "r"});
        service.post("/v1/support/mfa-resets", &op, body)
    };
    for (tenant, name, why) in [
        (&acme, "ann", "another active Administrator of the tenant has an active factor"),
        (&globex, "gil", "the user is not an active Administrator"),
    ] {
        let refused = request(tenant, name, "T-1").await;
        assert!(refused.is(409, "not_sole_administrator") && refused.text("/detail").starts_with(why), "{refused:?}");
    }
    assert!(request("nowhere", "gus", "T-1").await.is(404, "not_found"));
    // The operator looks up the tenant and the user first.
    let tenants = service.get(&format!("/v1/support/tenants?q={globex}"), &op).await.ok();
    assert_eq!(tenants.text("/items/0/id"), globex);
    let listed =
        service.get(&format!("/v1/support/tenants/{globex}/users?q={}", users["gus"].username), &op).await.ok();
    assert_eq!(
        (listed.text("/items/0/id"), listed.text("/items/0/mfa")),
        (users["gus"].id.clone(), "active".to_owned())
    );
    let code = request(&globex, "gus", "T-1").await.ok().text("/reset_code");
    assert!(request(&globex, "gus", "T-1").await.is(409, "ticket_used"));
    assert!(service.get("/v1/session", &gus).await.is(401, "session_refresh_required"));
    let token = service.enrolment_token(&users["gus"]).await;
    service.enrol_with(user_mut(&mut users, "gus"), &token, json!({"reset_code": code})).await;
    let gus = users["gus"].session.clone();
    let rows = service.get(&format!("/v1/admin/audit?user_id={}", users["gus"].id), &gus).await.ok();
    let resets: Vec<_> =
        rows.body["items"].as_array().unwrap().iter().filter(|row| row["action"] == "mfa.reset").collect();
    assert_eq!(resets.len(), 1);
    assert_eq!((&resets[0]["actor"], &resets[0]["ticket"]), (&json!(users["op"].id), &json!(format!("{acme}-T-1"))));
}

async fn exclude(service: &Service, token: &str, key: &str, ids: &[&str], disable: bool, dry: bool) -> Reply {
    let body = json!({"contact_ids": ids, "disable_mfa": disable, "reason": "kiosk", "dry_run": dry});
    let request = TestRequest::new(Method::POST, "/v1/admin/portal-exclusions").token(token).json(body);
    service.send(request.header("idempotency-key", key)).await
}

#[tokio::test]
async fn p10_batch_excludes_contacts_but_never_employees() {
    let (service, mut users) = Service::from_environment().await;
    let session = service.stepped_up_session(user_mut(&mut users, "con1")).await;
    let ann = admin(&service, &mut users).await;
    let id = |name: &str| users[name].id.as_str();
    let ids = [id("con1"), id("bob"), id("con2"), "u-none", id("gil"), id("con1")];
    let dry = exclude(&service, &ann, "dry", &ids, true, true).await.ok();
    assert_eq!(service.login(&users["con2"]).await.text("/status"), "enrolment_required");
    let done = exclude(&service, &ann, "k1", &ids, true, false).await.ok();
    assert_eq!(done.body["results"], dry.body["results"]);
    let outcomes: Vec<_> = done.body["results"].as_array().unwrap().iter().map(|it| it["outcome"].clone()).collect();
    assert_eq!(outcomes, ["excluded", "not_a_contact", "excluded", "not_found", "not_found"]);
    assert_eq!(done.body["counts"], json!({"excluded": 2, "included": 0, "unchanged": 0, "refused": 3}));
    assert_eq!(exclude(&service, &ann, "k1", &ids, true, false).await.ok().body, done.body);
    assert!(exclude(&service, &ann, "k1", &[id("con3")], true, false).await.is(409, "idempotency_mismatch"));
    let path = format!("/v1/admin/portal-exclusions/{}", done.text("/batch_id"));
    assert_eq!(service.get(&path, &ann).await.ok().body, done.body);
    assert!(service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    let reply = service.login(&users["con1"]).await.ok();
    assert_eq!(reply.body["session"]["amr"], json!(["pwd"]));
    let token = reply.text("/session/token");
    assert!(service.get("/v1/admin/users", &token).await.is(403, "forbidden"));
    let included = exclude(&service, &ann, "k2", &[id("con1")], false, false).await.ok();
    assert_eq!(included.text("/results/0/outcome"), "included");
    assert!(!service.get("/v1/session", &token).await.status.is_success());
    assert_eq!(service.login(&users["con1"]).await.text("/status"), "enrolment_required");
}

#[tokio::test]
async fn p10_exclusion_ends_with_the_contact_kind() {
    let (service, mut users) = Service::from_environment().await;
    let ann = admin(&service, &mut users).await;
    exclude(&service, &ann, "k", &[&users["con1"].id], true, false).await.ok();
    let session = service.login(&users["con1"]).await.ok().text("/session/token");
    let path = user_path(&users, "con1");
    let change = |body| service.patch(&path, &ann, body);
    let promoted = change(json!({"kind": "employee", "role": "standard"})).await.ok();
    assert_eq!(promoted.body["excluded"], false);
    assert!(!service.get("/v1/session", &session).await.status.is_success());
    change(json!({"kind": "contact", "role": "portal"})).await.ok();
    assert_eq!(service.login(&users["con1"]).await.text("/status"), "enrolment_required");
    let listed = service.get("/v1/admin/portal-exclusions", &ann).await.ok();
    assert_eq!(listed.body["items"], json!([]));
}

#[tokio::test]
async fn p10_short_password_does_not_become_the_only_factor() {
    let (service, mut users) = Service::from_environment().await;
    let ann = admin(&service, &mut users).await;
    let contact = json!({"kind": "contact", "role": "portal"});
    service.patch(&user_path(&users, "bob"), &ann, json!({"password": "ab3!kz9q"})).await.ok();
    service.patch(&user_path(&users, "bob"), &ann, contact.clone()).await.ok();
    let nobody =
        json!({"kind": "contact", "role": "portal", "auth_type": "local", "username": "con9", "display_name": "c"});
    let without_password = service.post("/v1/admin/users", &ann, nobody).await.ok().text("/id");
    let ids = [users["bob"].id.as_str(), users["con1"].id.as_str(), &without_password];
    for (key, dry) in [("dry", true), ("real", false)] {
        let done = exclude(&service, &ann, key, &ids, true, dry).await.ok();
        let outcomes: Vec<_> = done.body["results"].as_array().unwrap().iter().map(|it| &it["outcome"]).collect();
        assert_eq!(outcomes, ["password_too_short", "excluded", "excluded"]);
        assert_eq!(done.body["counts"], json!({"excluded": 2, "included": 0, "unchanged": 0, "refused": 1}));
    }
    "ab3!kz9q".clone_into(&mut user_mut(&mut users, "bob").password);
    assert_eq!(service.login(&users["bob"]).await.text("/status"), "enrolment_required");
    // A contact without a password may only get one of the required length.
    let path = format!("/v1/admin/users/{without_password}");
    assert!(service.patch(&path, &ann, json!({"password": "ab3!kz9q"})).await.is(400, "invalid_request"));
    service.patch(&path, &ann, json!({"password": "a good long password"})).await.ok();
    // With a longer password, the former employee can be excluded as a contact.
    service.patch(&user_path(&users, "bob"), &ann, json!({"password": "a good long password"})).await.ok();
    let done = exclude(&service, &ann, "again", &[&users["bob"].id], true, false).await.ok();
    assert_eq!(done.text("/results/0/outcome"), "excluded");
}

#[tokio::test]
async fn p12_changed_sign_in_method_requires_a_new_sign_in() {
    let (service, mut users) = Service::from_environment().await;
    let session = service.stepped_up_session(user_mut(&mut users, "bob")).await;
    let ann = admin(&service, &mut users).await;
    let changed = service.patch(&user_path(&users, "bob"), &ann, json!({"auth_type": "saml_sso"})).await.ok();
    assert_eq!((&changed.body["auth_type"], &changed.body["mfa"]), (&json!("saml_sso"), &json!("active")));
    assert!(service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    assert!(service.login(&users["bob"]).await.is(401, "invalid_credentials"));
    service.patch(&user_path(&users, "bob"), &ann, json!({"auth_type": "local"})).await.ok();
    assert!(service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    service.sign_in(user_mut(&mut users, "bob")).await;
    service.patch(&user_path(&users, "bob"), &ann, json!({"display_name": "Bobby"})).await.ok();
    service.get("/v1/session", &users["bob"].session).await.ok();
}

#[tokio::test]
async fn p13_wrong_passwords_delay_but_never_lock_out_the_user() {
    let (service, mut users) = Service::from_environment().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    service.sign_in(bob).await;
    // Send wrong passwords until one is not checked; then the right one is not checked either. If the delay ended in
    // between, continue.
    let mut attempts = 0..20;
    let (wrong, mut right) = loop {
        let (tried, wrong) = (attempts.next().unwrap(), service.login_with(bob, "wrong").await);
        if wrong.is(401, "invalid_credentials") {
            continue;
        }
        assert!(wrong.is(429, "too_many_attempts") && tried >= 5, "{tried}: {wrong:?}");
        let right = service.login(bob).await;
        if right.status == 429 {
            break (wrong, right);
        }
    };
    let seconds = |reply: &Reply| reply.body["retry_after_seconds"].as_u64().unwrap();
    assert!((1..=seconds(&wrong)).contains(&seconds(&right)), "the same delay, requested later");
    for field in ["request_id", "retry_after_seconds"] {
        right.body[field] = wrong.body[field].clone();
    }
    assert_eq!(
        (right.status, &right.body),
        (wrong.status, &wrong.body),
        "the same answer for a right and a wrong password"
    );
    let known = json!({"tenant": bob.tenant, "username": "bob", "password": bob.password, "device_token": bob.device});
    let known = service.send(TestRequest::new(Method::POST, "/v1/login").json(known)).await.ok();
    assert_eq!(known.text("/status"), "mfa_required");
    let ann = admin(&service, &mut users).await;
    let rows = service.get(&format!("/v1/admin/audit?user_id={}&limit=100", users["bob"].id), &ann).await.ok();
    let reported: Vec<_> =
        rows.body["items"].as_array().unwrap().iter().filter(|row| row["action"] == "login.delayed").collect();
    assert_eq!(reported.len(), 1, "one audit row a day, for the fifth failure");
}

#[tokio::test]
async fn p14_lists_show_mfa_and_filter_by_it() {
    let (service, mut users) = Service::from_environment().await;
    let ann = admin(&service, &mut users).await;
    exclude(&service, &ann, "k", &[&users["con1"].id], true, false).await.ok();
    let list = |query: &'static str| {
        let (service, ann) = (&service, ann.clone());
        async move {
            let (mut names, mut cursor) = (Vec::new(), String::new());
            loop {
                let path = format!("/v1/admin/users?limit=3{query}{cursor}");
                let page = service.get(&path, &ann).await.ok();
                let items = page.body["items"].as_array().unwrap();
                names.extend(items.iter().map(|item| item["username"].as_str().unwrap().to_owned()));
                match page.body.get("next_cursor") {
                    Some(next) => cursor = format!("&cursor={}", next.as_str().unwrap()),
                    None => return names,
                }
            }
        }
    };
    assert_eq!(list("").await, ["amy", "ann", "bob", "con1", "con2", "con3", "eve", "off"]);
    assert_eq!(list("&mfa=active").await, ["ann"]);
    assert_eq!(list("&excluded=true").await, ["con1"]);
    assert_eq!(list("&kind=contact&excluded=false").await, ["con2", "con3"]);
    assert_eq!(list("&q=CON").await, ["con1", "con2", "con3"]);
    assert_eq!(user(&service, &ann, &users["con1"].id).await["excluded"], true);
}

async fn introspect(service: &Service, client: &Reply, secret: &str, token: &str) -> Reply {
    let pair = format!("{}:{secret}", client.text("/client_id"));
    let basic = format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
    let request = TestRequest::new(Method::POST, "/v1/introspect").form(&format!("token={token}"));
    service.send(request.header("Authorization", &basic)).await
}

#[tokio::test]
async fn portal_introspects_sessions_with_its_own_credential() {
    let (service, mut users) = Service::from_environment().await;
    let bob = service.stepped_up_session(user_mut(&mut users, "bob")).await;
    let gil = service.stepped_up_session(user_mut(&mut users, "gil")).await;
    let (ann, op) = (admin(&service, &mut users).await, service.stepped_up_session(user_mut(&mut users, "op")).await);
    let own = service.post("/v1/admin/clients", &ann, json!({"name": "portal"})).await.ok();
    let tenant = json!({"name": "portal", "tenant": users["bob"].tenant});
    let theirs = service.post("/v1/support/clients", &op, tenant).await.ok();
    let all = service.post("/v1/support/clients", &op, json!({"name": "desk"})).await.ok();
    for (client, gils) in [(&own, false), (&theirs, false), (&all, true)] {
        let secret = client.text("/client_secret");
        let told = introspect(&service, client, &secret, &bob).await.ok();
        assert_eq!((&told.body["active"], &told.body["sub"]), (&json!(true), &json!(users["bob"].id)));
        assert_eq!(told.body["acr"], "multi_factor");
        assert_eq!(
            introspect(&service, client, &secret, &gil).await.ok().body["active"],
            gils,
            "only sessions of its tenant"
        );
        assert!(introspect(&service, client, "another", &bob).await.is(401, "invalid_token"));
    }
    let listed = service.get("/v1/admin/clients", &ann).await.ok();
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 2);
    let path = format!("/v1/admin/clients/{}", own.text("/client_id"));
    assert_eq!(service.delete(&path, &ann).await.status, 204);
    assert!(introspect(&service, &own, &own.text("/client_secret"), &bob).await.is(401, "invalid_token"));
}

#[tokio::test]
async fn password_change_returns_a_new_session() {
    let (service, mut users) = Service::from_environment().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let old = bob.password.clone();
    "another good long password".clone_into(&mut bob.password);
    let change = |current: &str| json!({"current_password": current, "new_password": "another good long password"});
    assert!(service.post("/v1/password", &bob.session, change("wrong")).await.is(401, "invalid_credentials"));
    let session = service.post("/v1/password", &bob.session, change(&old)).await.ok().text("/session/token");
    assert!(service.get("/v1/session", &bob.session).await.is(401, "session_refresh_required"));
    service.get("/v1/session", &session).await.ok();
    assert!(service.login_with(bob, &old).await.is(401, "invalid_credentials"));
    service.sign_in(bob).await;
}
