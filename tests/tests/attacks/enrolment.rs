//! Section E: enrolment.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::json;
use tests::{Service, TestRequest, totp_code, user_mut};

use super::{create, exclude, raw, recovery_token, reset};

/// E03, R05, A04
#[tokio::test]
async fn stolen_session_without_step_up_changes_no_factor() {
    let (service, mut users) = Service::with_users().await;
    let ann = user_mut(&mut users, "ann");
    service.enrol(ann).await;
    let stolen = ann.session.clone();
    let shown = recovery_token(&service, &stolen).await;
    service.advance(301);
    let read = service.get("/v1/session", &stolen).await.ok();
    assert!(read.body["session"].get("step_up_until").is_none(), "{read:?}");
    // A step-up of another session of the same user does not count.
    let own = service.sign_in(ann).await.text("/session/token");
    for path in ["/v1/mfa/enrolments", "/v1/mfa/recovery-token"] {
        let reply = service.send(TestRequest::new(Method::POST, path).token(&stolen)).await;
        assert!(reply.is(401, "step_up_required"), "{path}: {reply:?}");
    }
    assert!(reset(&service, &stolen, "u-bob").await.is(401, "step_up_required"));
    assert!(exclude(&service, &stolen, "k", &["u-con1"], true).await.is(401, "step_up_required"));
    let form = [("content-type", "application/x-www-form-urlencoded"), ("authorization", &format!("Bearer {own}"))];
    assert!(raw(&service, "POST", "/v1/mfa/recovery-token", &form, "a=b").await.is(400, "invalid_request"));
    // The factor and the recovery token are unchanged.
    service.sign_in(ann).await;
    let challenge = service.challenge_token(ann).await;
    let recovered = service.verify(&challenge, &shown).await.ok().text("/session/token");
    service.advance(601);
    for path in ["/v1/mfa/enrolments", "/v1/mfa/recovery-token"] {
        let reply = service.send(TestRequest::new(Method::POST, path).token(&recovered)).await;
        assert!(reply.is(401, "step_up_required"), "a recovered session after ten minutes: {path}");
    }
}

/// E04, E13
#[tokio::test]
async fn five_wrong_codes_or_ten_minutes_end_only_the_pending_enrolment() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    let token = service.enrolment_token(bob).await;
    let confirm = |code: String| service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": code}));
    assert!(confirm("123456".into()).await.is(409, "conflict"), "nothing is pending");
    bob.secret = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok().text("/secret");
    for _ in 0..5 {
        assert!(confirm(service.wrong_code(bob)).await.is(401, "invalid_code"));
    }
    assert!(confirm(totp_code(&bob.secret, service.step())).await.is(409, "conflict"));
    service.enrol_with(bob, &token, json!({})).await;
    assert_eq!(service.login(bob).await.text("/status"), "mfa_required");
    // With a session the enrolment itself ends, because the session's token is not limited to five attempts.
    let session = bob.session.clone();
    let secret = service.post("/v1/mfa/enrolments", &session, json!({})).await.ok().text("/secret");
    service.advance(600);
    let late = json!({"code": totp_code(&secret, service.step())});
    let late = service.post("/v1/mfa/enrolments/confirm", &session, late).await;
    assert!(!late.status.is_success(), "{late:?}");
    service.sign_in(bob).await;
}

/// E05
#[tokio::test]
async fn only_the_newest_enrolment_can_be_confirmed() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    let (one, two) = (service.enrolment_token(bob).await, service.enrolment_token(bob).await);
    let start = async |token: &str| service.post("/v1/mfa/enrolments", token, json!({})).await.ok().text("/secret");
    let confirm = async |token: &str, secret: &str| {
        let code = totp_code(secret, service.step());
        service.post("/v1/mfa/enrolments/confirm", token, json!({"code": code})).await
    };
    let (first, second) = (start(&one).await, start(&one).await);
    assert_ne!(first, second);
    assert!(confirm(&one, &first).await.is(401, "invalid_code"));
    let third = start(&two).await;
    for _ in 0..6 {
        assert!(
            confirm(&one, &second).await.is(401, "invalid_token"),
            "replaced by another token; not counted as an attempt"
        );
    }
    let done = confirm(&two, &third).await.ok();
    for token in [&one, &two] {
        assert!(service.post("/v1/mfa/enrolments", token, json!({})).await.is(401, "invalid_token"));
    }
    bob.session = done.text("/session/token");
    // The secrets were shown but not confirmed, so no operation accepts their codes.
    service.advance(60);
    for secret in [&first, &second] {
        let challenge = service.challenge_token(bob).await;
        assert!(service.verify(&challenge, &totp_code(secret, service.step())).await.is(401, "invalid_code"));
    }
}

/// E06
#[tokio::test]
async fn confirming_code_cannot_be_used_again() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let (used, next) = (totp_code(&bob.secret, bob.step), totp_code(&bob.secret, bob.step + 1));
    let challenge = service.challenge_token(bob).await;
    assert!(service.verify(&challenge, &used).await.is(401, "invalid_code"));
    let stepped = service.post("/v1/step-up", &bob.session, json!({"code": used})).await;
    assert!(stepped.is(401, "invalid_code"));
    service.verify(&challenge, &next).await.ok();
}

/// E07
#[tokio::test]
async fn secrets_are_160_random_bits() {
    let (service, users) = Service::with_users().await;
    let token = service.enrolment_token(&users["bob"]).await;
    let (mut secrets, mut ones) = (BTreeSet::new(), [0_u32; 160]);
    for _ in 0..64 {
        let start = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
        let secret = start.text("/secret").replace(' ', "");
        let bytes = totp_rs::Secret::try_from_base32(secret.clone()).unwrap();
        let bytes: &[u8] = bytes.as_ref();
        assert_eq!(bytes.len(), 20);
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += u32::from(bytes[bit / 8] >> (bit % 8) & 1);
        }
        assert_eq!(start.body["algorithm"], "SHA1");
        assert_eq!((&start.body["digits"], &start.body["period"]), (&json!(6), &json!(30)));
        secrets.insert(secret);
    }
    assert_eq!(secrets.len(), 64);
    // In 64 secrets no bit is always or almost always the same: fewer than 8 or more than 56 has a probability of one
    // in a hundred million.
    assert!(ones.iter().all(|count| (8..=56).contains(count)), "{ones:?}");
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// E08, E09
#[tokio::test]
async fn names_are_escaped_in_uri_and_qr_code() {
    let (service, mut users) = Service::with_users().await;
    let names = [
        "a?secret=AAAA&issuer=Evil",
        "x&algorithm=MD5",
        "a:b",
        "%0d%0a",
        "c#frag",
        "d/../e",
        "f g+h",
        "\"><script>alert(1)</script>",
        "\u{202e}evil",
        "<svg onload=x>",
    ];
    for (n, name) in names.iter().enumerate() {
        let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
        service.patch("/v1/admin/settings", &ann, json!({"issuer": name})).await.ok();
        let user =
            create(&service, &ann, "acme", &format!("{}{n}", name.replace('\u{202e}', "")), "a good long password")
                .await;
        let token = service.enrolment_token(&user).await;
        let start = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
        let (secret, uri) = (start.text("/secret").replace(' ', ""), start.text("/otpauth_uri"));
        assert!(uri.is_ascii() && !uri.contains(['#', '<', '>', '"', ' ']), "{uri}");
        let (label, query) = uri.strip_prefix("otpauth://totp/").unwrap().split_once('?').unwrap();
        let mut parameters: Vec<_> = query.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
        parameters.sort_unstable();
        let keys: Vec<_> = parameters.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["algorithm", "digits", "issuer", "period", "secret"], "{uri}");
        let shown = |text: &str| text.replace([':', '\u{202e}'], "");
        let values: Vec<_> = parameters.iter().map(|(_, value)| percent_decoded(value)).collect();
        assert_eq!(values, ["SHA1", "6", &shown(name), "30", &secret]);
        assert!(!label.contains('/'), "{label}");
        assert_eq!(percent_decoded(label), format!("{}:{}", shown(name), shown(&user.username)));
        // The QR code consists of rectangles and paths: no text, no script, no external resource.
        let svg = start.text("/qr_svg");
        let tags: BTreeSet<_> =
            svg.split('<').skip(1).map(|tag| tag.split([' ', '>', '/']).find(|it| !it.is_empty()).unwrap()).collect();
        assert!(tags.iter().all(|tag| ["svg", "rect", "path"].contains(tag)), "{tags:?}");
        assert!(!svg.contains("href") && !svg.contains(" on"));
        assert!(start.headers["content-type"].to_str().unwrap().starts_with("application/json"));
    }
}

/// E11
#[tokio::test]
async fn abandoned_enrolment_restarts_with_another_secret() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    let token = service.enrolment_token(bob).await;
    let first = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok().text("/secret");
    for skip in [
        json!({"code": ""}),
        json!({"code": null}),
        json!({}),
        json!({"code": "000000", "skip": true}),
        json!({"skip": true}),
        json!({"code": false}),
        json!({"code": []}),
        json!({"code": 0}),
    ] {
        let reply = service.post("/v1/mfa/enrolments/confirm", &token, skip.clone()).await;
        assert_eq!(reply.status, 400, "{skip}");
    }
    let again = service.login(bob).await.ok();
    assert_eq!(again.text("/status"), "enrolment_required");
    let token = again.text("/enrolment/token");
    let start = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
    assert_ne!(start.text("/secret"), first);
    let code = totp_code(&first, service.step());
    let reply = service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": code})).await;
    assert!(reply.is(401, "invalid_code"));
}

/// E12, X04
#[tokio::test]
async fn new_factor_ends_all_sessions_and_step_up_ends_its_own() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let mut sessions = vec![bob.session.clone()];
    for _ in 0..2 {
        service.sign_in(bob).await;
        sessions.push(bob.session.clone());
    }
    let before = bob.session.clone();
    let own = service.stepped_up_session(bob).await;
    assert_ne!(own, before);
    assert!(
        service.get("/v1/session", &before).await.is(401, "invalid_token"),
        "after a step-up the old token is refused"
    );
    service.get("/v1/session", &sessions[0]).await.ok();
    service.enrol_with(bob, &own, json!({})).await;
    sessions[2] = own;
    for session in &sessions {
        assert!(service.get("/v1/session", session).await.is(401, "session_refresh_required"));
    }
    assert!(!sessions.contains(&bob.session));
    service.get("/v1/session", &bob.session).await.ok();
}
