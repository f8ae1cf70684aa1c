//! Section A: Administrators and support.

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Service, TestRequest, totp_code, user_mut};

use super::{actions, audit, create, exclude, recovery_token, reset, visible_parts};

/// A02, X02
#[tokio::test]
async fn resources_of_another_user_look_nonexistent() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let gil = service.stepped_up_session(user_mut(&mut users, "gil")).await;
    let ids = ["u-gil", "u-never", "U-BOB", "u-bob2", "0"];
    let mut answers = Vec::new();
    for id in ids {
        let path = format!("/v1/admin/users/{id}");
        answers.push(vec![
            visible_parts(&service.get(&path, &ann).await),
            visible_parts(&service.patch(&path, &ann, json!({"active": false})).await),
            visible_parts(&service.delete(&path, &ann).await),
            visible_parts(&reset(&service, &ann, id).await),
        ]);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert!(answers[0].iter().all(|answer| answer.0 == 404));
    let batch = exclude(&service, &ann, "k", &ids, true).await.ok();
    assert!(batch.body["results"].as_array().unwrap().iter().all(|result| result["outcome"] == "not_found"));
    for body in [json!({"reason": "r", "user_id": "u-bob"}), json!({"reason": "r", "tenant": "globex"})] {
        let reply = service.post("/v1/admin/users/u-gil/mfa-reset", &ann, body).await;
        assert!(reply.is(400, "invalid_request"), "only the user in the path");
    }
    for path in ["/v1/admin/users/u-bob%2Fmfa-reset", "/v1/admin/users/u-bob%00", "/v1/admin/users/..%2Fu-bob"] {
        assert!(service.get(path, &ann).await.is(400, "invalid_request"), "{path}");
    }
    // Sessions, batches, audit rows and cursors of other users.
    let listed = service.get("/v1/sessions", &gil).await.ok().text("/items/0/id");
    assert!(service.delete(&format!("/v1/sessions/{listed}"), &ann).await.is(404, "not_found"));
    service.get("/v1/session", &gil).await.ok();
    let gus = service.stepped_up_session(user_mut(&mut users, "gus")).await;
    let path = format!("/v1/admin/portal-exclusions/{}", batch.text("/batch_id"));
    service.get(&path, &ann).await.ok();
    assert!(service.get(&path, &gus).await.is(404, "not_found"));
    assert_eq!(audit(&service, &gus, "u-ann").await, Vec::<Value>::new());
    for list in ["users", "audit", "portal-exclusions"] {
        let page = service.get(&format!("/v1/admin/{list}?limit=1"), &ann).await.ok();
        if let Some(cursor) = page.body.get("next_cursor") {
            let path = format!("/v1/admin/{list}?cursor={}", cursor.as_str().unwrap());
            let reply = service.get(&path, &gus).await;
            let theirs = reply.body.to_string();
            assert!(!theirs.contains("acme") && !theirs.contains("u-ann") && !theirs.contains("u-bob"), "{theirs}");
        }
    }
}

/// A05
#[tokio::test]
async fn reset_removes_the_old_factor_permanently() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let first = bob.session.clone();
    let shown = recovery_token(&service, &first).await;
    service.sign_in(bob).await;
    let (second, old, device) = (bob.session.clone(), bob.secret.clone(), bob.device.clone());
    let challenge = service.challenge_token(bob).await;
    let pending = service.post("/v1/mfa/enrolments", &second, json!({})).await.ok().text("/secret");
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    reset(&service, &ann, "u-bob").await.ok();
    service.advance(60);
    for session in [&first, &second] {
        assert!(service.get("/v1/session", session).await.is(401, "session_refresh_required"));
        let step = json!({"code": totp_code(&old, service.step())});
        assert!(service.post("/v1/step-up", session, step).await.is(401, "session_refresh_required"));
    }
    for attempt in [&totp_code(&old, service.step()), &shown] {
        assert!(service.verify(&challenge, attempt).await.is(401, "invalid_token"));
    }
    let body = json!({"code": totp_code(&pending, service.step())});
    let reply = service.post("/v1/mfa/enrolments/confirm", &second, body.clone()).await;
    assert!(reply.is(401, "session_refresh_required"));
    let bob = user_mut(&mut users, "bob");
    let token = service.enrolment_token(bob).await;
    let reply = service.post("/v1/mfa/enrolments/confirm", &token, body).await;
    assert!(reply.is(409, "conflict"), "the pending secret was removed: {reply:?}");
    // The device is no longer known, so its attempts count with those of unknown devices.
    let wrong_password = json!({"tenant": "acme", "username": "bob", "password": "wrong", "device_token": device});
    for _ in 0..5 {
        let reply = service.send(TestRequest::new(Method::POST, "/v1/login").json(wrong_password.clone())).await;
        assert!(reply.is(401, "invalid_credentials"));
    }
    assert!(service.login(bob).await.is(429, "too_many_attempts"));
    service.advance(1);
    service.enrol(bob).await;
    service.advance(60);
    for attempt in [&totp_code(&old, service.step()), &totp_code(&pending, service.step()), &shown] {
        let challenge = service.challenge_token(bob).await;
        assert!(service.verify(&challenge, attempt).await.is(401, "invalid_code"));
    }
}

/// A06
#[tokio::test]
async fn support_reset_needs_a_full_session_and_an_unused_ticket() {
    let (service, mut users) = Service::with_users().await;
    let body = |tenant: &str, name: &str, ticket: &str| json!({"tenant": tenant, "username": name, "ticket": ticket, "reason": "r"});
    let path = "/v1/support/mfa-resets";
    service.enrol(user_mut(&mut users, "gus")).await;
    let half = service.enrolment_token(&users["op"]).await;
    assert!(service.post(path, &half, body("globex", "gus", "T-1")).await.is(401, "invalid_token"));
    let op = service.stepped_up_session(user_mut(&mut users, "op")).await;
    let new = json!({"id": "initech", "name": "Initech", "administrator": {
        "username": "ian", "password": "a good long password", "display_name": "Ian"}});
    service.post("/v1/support/tenants", &op, new).await.ok();
    for bad in ["", " ", "T-1\r\nT-2", "T\u{1b}[31m", &"T".repeat(201)] {
        let reply = service.post(path, &op, body("globex", "gus", bad)).await;
        assert!(reply.is(400, "invalid_request"), "{bad:?}");
    }
    for odd in ["acme#gus", "globex/../acme", "T#globex"] {
        assert!(service.post(path, &op, body(odd, "gus", "T-1")).await.is(400, "invalid_request"), "{odd}");
    }
    service.post(path, &op, body("globex", "GUS", "T-1")).await.ok();
    for ticket in ["T-1", "T-1"] {
        let reply = service.post(path, &op, body("initech", "ian", ticket)).await;
        assert!(reply.is(409, "ticket_used"), "also for another tenant: {reply:?}");
    }
    service.post(path, &op, body("initech", "ian", "T-2")).await.ok();
    // An operator is not an Administrator of any tenant.
    assert!(service.get("/v1/admin/users/u-gus", &op).await.is(404, "not_found"));
    assert!(reset(&service, &op, "u-gus").await.is(404, "not_found"));
    assert!(
        service.post(path, &op, body("support", "op", "T-3")).await.is(403, "forbidden"),
        "operators cannot reset themselves"
    );
}

/// Only operators can look up tenants and users of other tenants; others cannot learn whether a tenant exists.
#[tokio::test]
async fn support_lookups_are_for_operators_only_and_reveal_no_tenant() {
    let (service, mut users) = Service::with_users().await;
    let paths = ["", "/acme/users", "/globex/users", "/support/users", "/never/users"]
        .map(|path| format!("/v1/support/tenants{path}"));
    let half = service.enrolment_token(&users["op"]).await;
    let mut tokens = vec![(String::new(), 401, "invalid_token"), (half, 401, "invalid_token")];
    for name in ["ann", "gus", "bob", "con1"] {
        let token = service.stepped_up_session(user_mut(&mut users, name)).await;
        tokens.push((token, 403, "forbidden"));
    }
    for (token, status, code) in &tokens {
        let mut answers = Vec::new();
        for path in &paths {
            let reply = service.get(path, token).await;
            assert!(reply.is(*status, code), "{path}: {reply:?}");
            answers.push(visible_parts(&reply));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    // Refused lookups are in the audit of the caller's tenant only.
    let op = service.stepped_up_session(user_mut(&mut users, "op")).await;
    for (token, own, refusals) in [(&tokens[2].0, "ann", 15), (&tokens[3].0, "gus", 5), (&op, "op", 0)] {
        let rows = service.get("/v1/admin/audit?limit=100", token).await.ok();
        let rows = rows.body["items"].as_array().unwrap().clone();
        assert_eq!(actions(&rows, "forbidden").len(), refusals, "{own}");
        assert!(actions(&rows, "users.listed").is_empty() && actions(&rows, "tenants.listed").is_empty(), "{own}");
    }
}

/// A07
#[tokio::test]
async fn resets_are_limited_to_ten_per_administrator_and_fifty_per_tenant() {
    let (service, mut users) = Service::with_users().await;
    let mut admins = Vec::new();
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    for n in 0..5 {
        let mut admin = create(&service, &ann, "acme", &format!("admin{n}"), "a good long password").await;
        service.patch(&format!("/v1/admin/users/{}", admin.id), &ann, json!({"role": "administrator"})).await.ok();
        admins.push(service.stepped_up_session(&mut admin).await);
    }
    let mut targets = Vec::new();
    for n in 0..52 {
        let body = json!({"kind": "employee", "role": "standard", "auth_type": "saml_sso",
                          "username": format!("t{n}"), "display_name": "T"});
        targets.push(service.post("/v1/admin/users", &ann, body).await.ok().text("/id"));
    }
    for (n, target) in targets[..50].iter().enumerate() {
        let admin = &admins[n / 10];
        reset(&service, admin, target).await.ok();
        if n % 10 == 9 {
            let reply = reset(&service, admin, &targets[51]).await;
            assert!(reply.is(429, "too_many_attempts"), "the eleventh reset");
            reset(&service, admin, target).await.ok();
        }
    }
    let reply = reset(&service, &ann, &targets[50]).await;
    assert!(reply.is(429, "too_many_attempts"), "the tenant's fifty-first reset: {reply:?}");
    service.advance(3600);
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    reset(&service, &ann, &targets[50]).await.ok();
}

/// A08, A09, A10
#[tokio::test]
async fn audit_has_each_reset_once_and_each_refusal() {
    let (service, mut users) = Service::with_users().await;
    service.enrol(user_mut(&mut users, "amy")).await;
    let bob = service.stepped_up_session(user_mut(&mut users, "bob")).await;
    assert!(reset(&service, &bob, "u-eve").await.is(403, "forbidden"));
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let shown = reset(&service, &ann, "u-amy").await.ok().text("/reset_code");
    reset(&service, &ann, "u-amy").await.ok();
    reset(&service, &ann, "u-eve").await.ok();
    reset(&service, &ann, "u-eve").await.ok();
    let rows = audit(&service, &ann, "u-bob").await;
    let refused = actions(&rows, "forbidden");
    assert_eq!((refused.len(), &refused[0]["outcome"]), (1, &json!("refused")));
    for id in ["u-amy", "u-eve"] {
        let rows = audit(&service, &ann, id).await;
        let resets = actions(&rows, "mfa.reset");
        assert_eq!(resets.len(), 1, "a repetition is not audited: {resets:?}");
        let row = resets[0];
        assert_eq!((&row["actor"], &row["target"], &row["reason"]), (&json!("u-ann"), &json!(id), &json!("r")));
        // The other Administrators are notified of one of them.
        let told = if id == "u-amy" { json!(["user", "administrators"]) } else { json!(["user"]) };
        assert_eq!(row["notified"], told);
        assert!(!Value::from(rows).to_string().contains(&shown));
    }
}

/// A11
#[tokio::test]
async fn password_does_not_enrol_a_dormant_account() {
    let (service, mut users) = Service::with_users().await;
    service.enrol(user_mut(&mut users, "ann")).await;
    service.advance(89 * 86_400);
    let token = service.enrolment_token(&users["eve"]).await;
    service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
    service.advance(2 * 86_400);
    for name in ["bob", "eve", "con1", "amy"] {
        assert!(
            service.login(&users[name]).await.is(403, "mfa_reset_required"),
            "{name}: a password alone is no sign-in"
        );
        assert!(service.login_with(&users[name], "wrong").await.is(401, "invalid_credentials"));
    }
    // A user with a factor only needs the factor.
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    reset(&service, &ann, "u-eve").await.ok();
    service.enrol(user_mut(&mut users, "eve")).await;
}

/// A12
#[tokio::test]
async fn reset_code_is_for_one_user_five_attempts_and_one_day() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    service.patch("/v1/admin/settings", &ann, json!({"reset_code_for": "everyone"})).await.ok();
    let bobs = reset(&service, &ann, "u-bob").await.ok().text("/reset_code");
    let eves = reset(&service, &ann, "u-eve").await.ok().text("/reset_code");
    assert_ne!(bobs, eves);
    let login = service.login(&users["bob"]).await.ok();
    assert_eq!(login.body["reset_code_required"], true);
    let token = login.text("/enrolment/token");
    let start =
        async |token: &str, code: &str| service.post("/v1/mfa/enrolments", token, json!({"reset_code": code})).await;
    for wrong in [&eves, "00000-00000", "ZZZZZ-ZZZZZ", "AAAAA-AAAAA", "11111-11111"] {
        assert!(start(&token, wrong).await.is(403, "reset_code_required"));
    }
    assert!(start(&token, &bobs).await.is(403, "reset_code_required"), "five wrong codes end it");
    assert!(start(&service.enrolment_token(&users["bob"]).await, &bobs).await.is(403, "reset_code_required"));
    let rows = audit(&service, &ann, "u-bob").await;
    let refused = actions(&rows, "enrolment").iter().filter(|row| row["outcome"] == "refused").count();
    assert_eq!(refused, 7, "each refusal is audited");
    // A right reset code is no failure, so starting again, for example in another tab, uses up no attempts.
    let eve = user_mut(&mut users, "eve");
    let token = service.enrolment_token(eve).await;
    for _ in 0..4 {
        assert!(start(&token, &bobs).await.is(403, "reset_code_required"));
    }
    for _ in 0..6 {
        start(&token, &eves).await.ok();
    }
    // The code is used up by the enrolment.
    service.enrol_with(eve, &token, json!({"reset_code": eves})).await;
    let again = reset(&service, &ann, "u-eve").await.ok().text("/reset_code");
    let token = service.enrolment_token(eve).await;
    assert!(start(&token, &eves).await.is(403, "reset_code_required"));
    start(&token, &again).await.ok();
    // A new code ends enrolments that were started with the older one.
    let newer = reset(&service, &ann, "u-eve").await.ok().text("/reset_code");
    let reply = service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": "123456"})).await;
    assert!(!reply.status.is_success(), "{reply:?}");
    service.advance(86_400);
    let token = service.enrolment_token(eve).await;
    assert!(start(&token, &newer).await.is(403, "reset_code_required"), "expired after a day");
    assert!(service.post("/v1/mfa/enrolments", &token, json!({})).await.is(403, "reset_code_required"));
}
