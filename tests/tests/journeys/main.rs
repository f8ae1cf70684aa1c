//! product.md, row by row, as people meet it: what needs no clock moved, and so runs on any server. `VESTIBULE_URL` names one;
//! without it all routes run in this process. What takes its time is in `journeys_in_time.rs`.
#![allow(clippy::unwrap_used, clippy::panic)]

mod sso;

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Ask, People, Person, Reply, Service, code, of};

async fn admin(service: &Service, people: &mut People) -> String {
    service.fresh(of(people, "ann")).await
}

/// Where an Administrator finds somebody.
fn one(people: &People, name: &str) -> String {
    format!("/v1/admin/users/{}", people[name].id)
}

async fn user(service: &Service, admin: &str, id: &str) -> Value {
    service.get(&format!("/v1/admin/users/{id}"), admin).await.ok().body
}

#[tokio::test]
async fn p1_nothing_turns_mfa_off() {
    let (service, mut people) = Service::given().await;
    for name in ["ann", "bob", "con1"] {
        let token = service.fresh(of(&mut people, name)).await;
        assert!(service.delete("/v1/mfa", &token).await.is(403, "mfa_mandatory"));
    }
    let ann = admin(&service, &mut people).await;
    for field in [json!({"mfa": "none"}), json!({"excluded": true}), json!({"mfa_required": false})] {
        assert!(service.patch(&one(&people, "bob"), &ann, field.clone()).await.is(400, "invalid_request"));
        assert!(service.patch("/v1/admin/settings", &ann, field).await.is(400, "invalid_request"));
    }
    assert_eq!(service.login(&people["bob"]).await.text("/status"), "mfa_required");
}

#[tokio::test]
async fn p2_p4_any_app_enrols_in_two_steps() {
    let (service, people) = Service::given().await;
    let bob = &people["bob"];
    let token = service.enrolment(bob).await;
    let start = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
    assert_eq!(start.status, 201);
    let secret = start.text("/secret");
    let bare = secret.replace(' ', "");
    assert_eq!(bare.len(), 32);
    let uri = start.text("/otpauth_uri");
    assert!(uri.starts_with("otpauth://totp/Acme:bob?") && uri.contains(&format!("secret={bare}&")), "{uri}");
    let step = service.steady();
    for (shift, status) in [(-2, 401), (2, 401), (-1, 200)] {
        let body = json!({"code": code(&secret, step + shift)});
        let reply = service.post("/v1/mfa/enrolments/confirm", &token, body).await;
        assert_eq!(reply.status, status, "T{shift:+}");
    }
    for (shift, status) in [(-1, 401), (-2, 401), (2, 401), (0, 200), (1, 200)] {
        let challenge = service.challenge(bob).await;
        assert_eq!(service.verify(&challenge, &code(&secret, step + shift)).await.status, status, "T{shift:+}");
    }
}

#[tokio::test]
async fn p3_whoever_is_inactive_is_denied_like_a_wrong_password() {
    let (service, mut people) = Service::given().await;
    let wrong = service.login_with(&people["bob"], "wrong").await;
    assert!(wrong.is(401, "invalid_credentials"));
    let stranger = Person { username: "nobody".into(), ..people["bob"].clone() };
    let elsewhere = Person { tenant: "nowhere".into(), ..people["bob"].clone() };
    for person in [&people["off"], &stranger, &elsewhere] {
        let mut reply = service.login(person).await;
        reply.body["request_id"] = wrong.body["request_id"].clone();
        assert_eq!((reply.status, &reply.body), (wrong.status, &wrong.body));
    }
    let session = service.fresh(of(&mut people, "bob")).await;
    let challenge = service.challenge(&people["bob"]).await;
    let ann = admin(&service, &mut people).await;
    service.patch(&one(&people, "bob"), &ann, json!({"active": false})).await.ok();
    assert!(service.get("/v1/session", &session).await.is(401, "invalid_token"));
    let code = service.code(of(&mut people, "bob"));
    assert!(service.verify(&challenge, &code).await.is(401, "invalid_token"));
    assert!(service.login(&people["bob"]).await.is(401, "invalid_credentials"));
}

#[tokio::test]
async fn p5_whoever_has_no_factor_gets_an_enrolment_token_and_no_session() {
    let (service, people) = Service::given().await;
    let reply = service.login(&people["bob"]).await;
    assert_eq!(reply.text("/status"), "enrolment_required");
    assert_eq!(reply.body["reset_code_required"], false);
    assert!(service.about(reply.seconds("/enrolment/expires_at"), service.now() + 600));
    assert!(!reply.body.to_string().contains("vs_") && reply.body.get("user").is_none());
    assert!(service.get("/v1/session", &reply.text("/enrolment/token")).await.is(401, "invalid_token"));
}

#[tokio::test]
async fn p6_password_and_code_sign_in_and_a_code_works_once() {
    let (service, mut people) = Service::given().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let reply = service.login(bob).await;
    assert_eq!(reply.text("/status"), "mfa_required");
    assert!(service.about(reply.seconds("/challenge/expires_at"), service.now() + 300));
    let challenge = reply.text("/challenge/token");
    let code = service.code(bob);
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    let reply = service.verify(&challenge, &spaced).await.ok();
    assert_eq!(reply.body["session"]["amr"], json!(["pwd", "otp"]));
    assert!(service.about(reply.seconds("/session/expires_at"), service.now() + 12 * 3600));
    assert!(service.verify(&challenge, &code).await.is(401, "invalid_token"), "a challenge works once");
    let challenge = service.challenge(bob).await;
    assert!(service.verify(&challenge, &code).await.is(401, "invalid_code"), "and so does a code");
    for bad in ["", "12345", "１２３４５６", "12345a"] {
        assert!(service.verify(&challenge, bad).await.is(400, "malformed_code"), "{bad}");
    }
}

#[tokio::test]
async fn p6_ten_failures_in_a_quarter_of_an_hour_and_then_no_code_is_looked_at() {
    let (service, mut people) = Service::given().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    for _ in 0..2 {
        let challenge = service.challenge(bob).await;
        for _ in 0..5 {
            assert!(service.verify(&challenge, &service.wrong(bob)).await.is(401, "invalid_code"));
        }
        let right = code(&bob.secret, service.step() + 1);
        assert!(!service.verify(&challenge, &right).await.status.is_success(), "five end a challenge");
    }
    let challenge = service.challenge(bob).await;
    for tried in [service.wrong(bob), code(&bob.secret, service.step() + 1)] {
        let reply = service.verify(&challenge, &tried).await;
        assert!(reply.is(429, "too_many_attempts"));
        assert!(service.about(reply.body["retry_after_seconds"].as_i64().unwrap(), 900), "{reply:?}");
    }
    assert!(service.get("/v1/session", &bob.session).await.status.is_success(), "an open session stays");
}

#[tokio::test]
async fn p6_sessions_are_listed_and_ended() {
    let (service, mut people) = Service::given().await;
    let bob = of(&mut people, "bob");
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
async fn p7_a_recovery_token_signs_in_once_and_enrols_a_new_device() {
    let (service, mut people) = Service::given().await;
    let bob = of(&mut people, "bob");
    let session = service.fresh(bob).await;
    let token = Ask::new(Method::POST, "/v1/mfa/recovery-token");
    let shown = service.send(token.clone().token(&session)).await.ok().text("/recovery_token");
    assert!(service.post("/v1/step-up", &session, json!({"code": shown})).await.is(400, "malformed_code"));
    let challenge = service.challenge(bob).await;
    let reply = service.verify(&challenge, &shown.to_lowercase().replace('-', " ")).await.ok();
    assert_eq!(reply.body["session"]["amr"], json!(["pwd", "recovery"]));
    assert_eq!(reply.body["recovery"]["new_token_required"], true);
    let recovered = reply.text("/session/token");
    let challenge = service.challenge(bob).await;
    let reply = service.verify(&challenge, &shown).await;
    assert!(reply.is(401, "invalid_code"), "it works once");
    let title = reply.text("/title");
    assert!(title.contains("each works once, so wait for the next one"), "{title}");
    assert_eq!(
        service.verify(&challenge, &service.wrong(bob)).await.text("/title"),
        title,
        "a wrong one is told the same"
    );
    let second = service.send(token.clone().token(&recovered)).await.ok().text("/recovery_token");
    let third = service.send(token.clone().token(&recovered)).await.ok().text("/recovery_token");
    assert!(service.verify(&challenge, &second).await.is(401, "invalid_code"), "the previous is void");
    service.verify(&challenge, &third).await.ok();
    let old = bob.secret.clone();
    service.enrol_with(bob, &recovered, json!({})).await;
    assert!(service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    let challenge = service.challenge(bob).await;
    let later = service.step() + 1;
    assert!(service.verify(&challenge, &code(&old, later)).await.is(401, "invalid_code"), "the old device is out");
    service.verify(&challenge, &code(&bob.secret, later)).await.ok();
}

#[tokio::test]
async fn p8_an_administrator_resets_and_everything_dies() {
    let (service, mut people) = Service::given().await;
    let session = service.fresh(of(&mut people, "con1")).await;
    let challenge = service.challenge(&people["con1"]).await;
    let ann = admin(&service, &mut people).await;
    let path = one(&people, "con1") + "/mfa-reset";
    let reply = service.post(&path, &ann, json!({"reason": "lost phone"})).await.ok();
    assert_eq!(reply.body["user"]["mfa"], "none");
    assert!(service.about(reply.seconds("/enrol_by"), service.now() + 72 * 3600));
    assert!(reply.body.get("reset_code").is_none());
    assert!(service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    let code = service.code(of(&mut people, "con1"));
    assert!(service.verify(&challenge, &code).await.is(401, "invalid_token"));
    assert!(
        service.post(&(one(&people, "ann") + "/mfa-reset"), &ann, json!({"reason": "r"})).await.is(403, "forbidden")
    );
    service.enrol(of(&mut people, "con1")).await;
}

#[tokio::test]
async fn p8_an_administrators_enrolment_asks_for_the_reset_code() {
    let (service, mut people) = Service::given().await;
    service.fresh(of(&mut people, "amy")).await;
    let ann = admin(&service, &mut people).await;
    let path = one(&people, "amy") + "/mfa-reset";
    let reset = || async {
        let reply = service.post(&path, &ann, json!({"reason": "r"})).await;
        reply.ok().text("/reset_code")
    };
    let (older, newer) = (reset().await, reset().await);
    assert_ne!(older, newer);
    let amy = of(&mut people, "amy");
    let login = service.login(amy).await.ok();
    assert_eq!(login.body["reset_code_required"], true);
    let token = login.text("/enrolment/token");
    for body in [json!({}), json!({"reset_code": "x"}), json!({"reset_code": older})] {
        assert!(service.post("/v1/mfa/enrolments", &token, body).await.is(403, "reset_code_required"));
    }
    // One that is void by the time of the confirmation is told of like one that is void at the start.
    let started = service.post("/v1/mfa/enrolments", &token, json!({"reset_code": newer})).await.ok();
    let newest = reset().await;
    let body = json!({"code": code(&started.text("/secret"), service.step())});
    let confirmed = service.post("/v1/mfa/enrolments/confirm", &token, body).await;
    assert!(confirmed.is(403, "reset_code_required"), "{confirmed:?}");
    service.enrol_with(amy, &token, json!({"reset_code": newest})).await;
}

#[tokio::test]
async fn p9_support_resets_a_sole_administrator_with_a_ticket() {
    let (service, mut people) = Service::given().await;
    let gus = service.fresh(of(&mut people, "gus")).await;
    service.fresh(of(&mut people, "amy")).await;
    let op = service.fresh(of(&mut people, "op")).await;
    let (acme, globex) = (people["ann"].tenant.clone(), people["gus"].tenant.clone());
    let ask = |tenant: &str, name: &str, ticket: &str| {
        let body = json!({"tenant": tenant, "username": name, "ticket": format!("{acme}-{ticket}"), "reason": "r"});
        service.post("/v1/support/mfa-resets", &op, body)
    };
    for (tenant, name, why) in [
        (&acme, "ann", "another active Administrator of the tenant has an active factor"),
        (&globex, "gil", "the user is not an active Administrator"),
    ] {
        let refused = ask(tenant, name, "T-1").await;
        assert!(refused.is(409, "not_sole_administrator") && refused.text("/detail").starts_with(why), "{refused:?}");
    }
    assert!(ask("nowhere", "gus", "T-1").await.is(404, "not_found"));
    // Whom the operator means is found first.
    let tenants = service.get(&format!("/v1/support/tenants?q={globex}"), &op).await.ok();
    assert_eq!(tenants.text("/items/0/id"), globex);
    let users =
        service.get(&format!("/v1/support/tenants/{globex}/users?q={}", people["gus"].username), &op).await.ok();
    assert_eq!(
        (users.text("/items/0/id"), users.text("/items/0/mfa")),
        (people["gus"].id.clone(), "active".to_owned())
    );
    let code = ask(&globex, "gus", "T-1").await.ok().text("/reset_code");
    assert!(ask(&globex, "gus", "T-1").await.is(409, "ticket_used"));
    assert!(service.get("/v1/session", &gus).await.is(401, "session_refresh_required"));
    let token = service.enrolment(&people["gus"]).await;
    service.enrol_with(of(&mut people, "gus"), &token, json!({"reset_code": code})).await;
    let gus = people["gus"].session.clone();
    let rows = service.get(&format!("/v1/admin/audit?user_id={}", people["gus"].id), &gus).await.ok();
    let resets: Vec<_> =
        rows.body["items"].as_array().unwrap().iter().filter(|row| row["action"] == "mfa.reset").collect();
    assert_eq!(resets.len(), 1);
    assert_eq!((&resets[0]["actor"], &resets[0]["ticket"]), (&json!(people["op"].id), &json!(format!("{acme}-T-1"))));
}

async fn exclude(service: &Service, token: &str, key: &str, ids: &[&str], disable: bool, dry: bool) -> Reply {
    let body = json!({"contact_ids": ids, "disable_mfa": disable, "reason": "kiosk", "dry_run": dry});
    let ask = Ask::new(Method::POST, "/v1/admin/portal-exclusions").token(token).json(body);
    service.send(ask.header("idempotency-key", key)).await
}

#[tokio::test]
async fn p10_contacts_are_excluded_in_a_batch_and_employees_never() {
    let (service, mut people) = Service::given().await;
    let session = service.fresh(of(&mut people, "con1")).await;
    let ann = admin(&service, &mut people).await;
    let id = |name: &str| people[name].id.as_str();
    let ids = [id("con1"), id("bob"), id("con2"), "u-none", id("gil"), id("con1")];
    let dry = exclude(&service, &ann, "dry", &ids, true, true).await.ok();
    assert_eq!(service.login(&people["con2"]).await.text("/status"), "enrolment_required");
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
    let reply = service.login(&people["con1"]).await.ok();
    assert_eq!(reply.body["session"]["amr"], json!(["pwd"]));
    let token = reply.text("/session/token");
    assert!(service.get("/v1/admin/users", &token).await.is(403, "forbidden"));
    let included = exclude(&service, &ann, "k2", &[id("con1")], false, false).await.ok();
    assert_eq!(included.text("/results/0/outcome"), "included");
    assert!(!service.get("/v1/session", &token).await.status.is_success());
    assert_eq!(service.login(&people["con1"]).await.text("/status"), "enrolment_required");
}

#[tokio::test]
async fn p10_an_exclusion_ends_with_the_contact() {
    let (service, mut people) = Service::given().await;
    let ann = admin(&service, &mut people).await;
    exclude(&service, &ann, "k", &[&people["con1"].id], true, false).await.ok();
    let session = service.login(&people["con1"]).await.ok().text("/session/token");
    let path = one(&people, "con1");
    let change = |body| service.patch(&path, &ann, body);
    let promoted = change(json!({"kind": "employee", "role": "standard"})).await.ok();
    assert_eq!(promoted.body["excluded"], false);
    assert!(!service.get("/v1/session", &session).await.status.is_success());
    change(json!({"kind": "contact", "role": "portal"})).await.ok();
    assert_eq!(service.login(&people["con1"]).await.text("/status"), "enrolment_required");
    let listed = service.get("/v1/admin/portal-exclusions", &ann).await.ok();
    assert_eq!(listed.body["items"], json!([]));
}

#[tokio::test]
async fn p10_a_password_too_short_for_a_contact_does_not_become_the_only_factor() {
    let (service, mut people) = Service::given().await;
    let ann = admin(&service, &mut people).await;
    let contact = json!({"kind": "contact", "role": "portal"});
    service.patch(&one(&people, "bob"), &ann, json!({"password": "ab3!kz9q"})).await.ok();
    service.patch(&one(&people, "bob"), &ann, contact.clone()).await.ok();
    let nobody =
        json!({"kind": "contact", "role": "portal", "auth_type": "local", "username": "con9", "display_name": "c"});
    let without_password = service.post("/v1/admin/users", &ann, nobody).await.ok().text("/id");
    let ids = [people["bob"].id.as_str(), people["con1"].id.as_str(), &without_password];
    for (key, dry) in [("dry", true), ("real", false)] {
        let done = exclude(&service, &ann, key, &ids, true, dry).await.ok();
        let outcomes: Vec<_> = done.body["results"].as_array().unwrap().iter().map(|it| &it["outcome"]).collect();
        assert_eq!(outcomes, ["password_too_short", "excluded", "excluded"]);
        assert_eq!(done.body["counts"], json!({"excluded": 2, "included": 0, "unchanged": 0, "refused": 1}));
    }
    "ab3!kz9q".clone_into(&mut of(&mut people, "bob").password);
    assert_eq!(service.login(&people["bob"]).await.text("/status"), "enrolment_required");
    // Who had no password gets one of a contact's length or none.
    let path = format!("/v1/admin/users/{without_password}");
    assert!(service.patch(&path, &ann, json!({"password": "ab3!kz9q"})).await.is(400, "invalid_request"));
    service.patch(&path, &ann, json!({"password": "a good long password"})).await.ok();
    // And with a longer password the employee who became a contact can be excluded.
    service.patch(&one(&people, "bob"), &ann, json!({"password": "a good long password"})).await.ok();
    let done = exclude(&service, &ann, "again", &[&people["bob"].id], true, false).await.ok();
    assert_eq!(done.text("/results/0/outcome"), "excluded");
}

#[tokio::test]
async fn p12_a_change_of_authentication_type_asks_to_sign_in_again() {
    let (service, mut people) = Service::given().await;
    let session = service.fresh(of(&mut people, "bob")).await;
    let ann = admin(&service, &mut people).await;
    let changed = service.patch(&one(&people, "bob"), &ann, json!({"auth_type": "saml_sso"})).await.ok();
    assert_eq!((&changed.body["auth_type"], &changed.body["mfa"]), (&json!("saml_sso"), &json!("active")));
    assert!(service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    assert!(service.login(&people["bob"]).await.is(401, "invalid_credentials"));
    service.patch(&one(&people, "bob"), &ann, json!({"auth_type": "local"})).await.ok();
    assert!(service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    service.sign_in(of(&mut people, "bob")).await;
    service.patch(&one(&people, "bob"), &ann, json!({"display_name": "Bobby"})).await.ok();
    service.get("/v1/session", &people["bob"].session).await.ok();
}

#[tokio::test]
async fn p13_wrong_passwords_delay_and_never_lock_the_real_user_out() {
    let (service, mut people) = Service::given().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    service.sign_in(bob).await;
    // Wrong ones until one is not looked at; nor is the right one then. Where the delay was over in between, once more.
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
    assert!((1..=seconds(&wrong)).contains(&seconds(&right)), "of the same delay, asked later");
    for field in ["request_id", "retry_after_seconds"] {
        right.body[field] = wrong.body[field].clone();
    }
    assert_eq!((right.status, &right.body), (wrong.status, &wrong.body), "right or not, it is not looked at");
    let known = json!({"tenant": bob.tenant, "username": "bob", "password": bob.password, "device_token": bob.device});
    let known = service.send(Ask::new(Method::POST, "/v1/login").json(known)).await.ok();
    assert_eq!(known.text("/status"), "mfa_required");
    let ann = admin(&service, &mut people).await;
    let rows = service.get(&format!("/v1/admin/audit?user_id={}&limit=100", people["bob"].id), &ann).await.ok();
    let told: Vec<_> =
        rows.body["items"].as_array().unwrap().iter().filter(|row| row["action"] == "login.delayed").collect();
    assert_eq!(told.len(), 1, "the fifth, once a day");
}

#[tokio::test]
async fn p14_lists_show_mfa_and_filter_by_it() {
    let (service, mut people) = Service::given().await;
    let ann = admin(&service, &mut people).await;
    exclude(&service, &ann, "k", &[&people["con1"].id], true, false).await.ok();
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
    assert_eq!(user(&service, &ann, &people["con1"].id).await["excluded"], true);
}

async fn introspect(service: &Service, client: &Reply, secret: &str, token: &str) -> Reply {
    let pair = format!("{}:{secret}", client.text("/client_id"));
    let basic = format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
    let ask = Ask::new(Method::POST, "/v1/introspect").form(&format!("token={token}"));
    service.send(ask.header("Authorization", &basic)).await
}

#[tokio::test]
async fn a_portal_asks_whose_a_session_is_with_a_credential_of_its_own() {
    let (service, mut people) = Service::given().await;
    let bob = service.fresh(of(&mut people, "bob")).await;
    let gil = service.fresh(of(&mut people, "gil")).await;
    let (ann, op) = (admin(&service, &mut people).await, service.fresh(of(&mut people, "op")).await);
    let own = service.post("/v1/admin/clients", &ann, json!({"name": "portal"})).await.ok();
    let tenant = json!({"name": "portal", "tenant": people["bob"].tenant});
    let theirs = service.post("/v1/support/clients", &op, tenant).await.ok();
    let all = service.post("/v1/support/clients", &op, json!({"name": "desk"})).await.ok();
    for (client, gils) in [(&own, false), (&theirs, false), (&all, true)] {
        let secret = client.text("/client_secret");
        let told = introspect(&service, client, &secret, &bob).await.ok();
        assert_eq!((&told.body["active"], &told.body["sub"]), (&json!(true), &json!(people["bob"].id)));
        assert_eq!(told.body["acr"], "multi_factor");
        assert_eq!(introspect(&service, client, &secret, &gil).await.ok().body["active"], gils, "of its tenant alone");
        assert!(introspect(&service, client, "another", &bob).await.is(401, "invalid_token"));
    }
    let listed = service.get("/v1/admin/clients", &ann).await.ok();
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 2);
    let path = format!("/v1/admin/clients/{}", own.text("/client_id"));
    assert_eq!(service.delete(&path, &ann).await.status, 204);
    assert!(introspect(&service, &own, &own.text("/client_secret"), &bob).await.is(401, "invalid_token"));
}

#[tokio::test]
async fn whoever_changes_their_password_goes_on_with_a_new_session() {
    let (service, mut people) = Service::given().await;
    let bob = of(&mut people, "bob");
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
