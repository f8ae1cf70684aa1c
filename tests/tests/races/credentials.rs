//! Races of a user's own requests.

use axum::http::Method;
use serde_json::json;
use tests::{TestRequest, TestUser, totp_code, user_mut};

use super::{
    CONCURRENT, assert_all_ended, count, login, mixed, post, send_together, sessions, successes, verify, with_users,
};

/// V03, V04
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn code_opens_one_challenge_once() {
    let (service, mut users) = with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    for round in 0..8 {
        service.advance(901);
        let mut challenges = Vec::new();
        for _ in 0..[1, 4, 16][round % 3] {
            challenges.push(service.challenge_token(bob).await);
        }
        let code = totp_code(&bob.secret, service.step());
        let requests = (0..CONCURRENT).map(|n| verify(&challenges[n % challenges.len()], &code)).collect();
        let replies = send_together(&service, requests).await;
        let succeeded = successes(&replies);
        assert_eq!(succeeded.len(), 1, "round {round}: {replies:?}");
        let session = succeeded[0].text("/session/token");
        assert_eq!(service.delete("/v1/sessions", &session).await.status, 204);
        let listed = service.get("/v1/sessions", &session).await.ok();
        assert_eq!(listed.body["items"].as_array().unwrap().len(), 1);
    }
}

/// V04: the same code at sign-in and at step-up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn code_is_used_for_sign_in_or_step_up_but_not_both() {
    let (service, mut users) = with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    for round in 0..8 {
        service.advance(901);
        service.sign_in(bob).await;
        let session = bob.session.clone();
        service.advance(60);
        let challenge = service.challenge_token(bob).await;
        let body = json!({"code": totp_code(&bob.secret, service.step())});
        let requests = (0..CONCURRENT).map(|n| match (n + round) % 2 {
            0 => post("/v1/verify", &challenge, body.clone()),
            _ => post("/v1/step-up", &session, body.clone()),
        });
        let replies = send_together(&service, requests.collect()).await;
        let one = successes(&replies);
        assert_eq!(one.len(), 1, "round {round}: {replies:?}");
        let signed_in = one[0].body.get("status").is_some();
        let old = service.get("/v1/session", &session).await;
        assert_eq!(old.status, if signed_in { 200 } else { 401 }, "a step-up ends the token it was requested with");
        bob.step = service.step();
    }
}

/// V06, V18
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_wrong_codes_are_limited_to_ten_and_five_per_challenge() {
    let (service, mut users) = with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    for (round, challenges) in [1, 2, 8, 1, 2, 8].into_iter().enumerate() {
        service.advance(901);
        let mut tokens = Vec::new();
        for _ in 0..challenges {
            tokens.push(service.challenge_token(bob).await);
        }
        let wrong = service.wrong_code(bob);
        let requests = (0..CONCURRENT).map(|n| verify(&tokens[n % challenges], &wrong)).collect();
        let replies = send_together(&service, requests).await;
        let checked = count(&replies, 401, "invalid_code");
        assert_eq!(checked, 10.min(5 * challenges), "round {round}: {replies:?}");
        let refused = count(&replies, 401, "invalid_token") + count(&replies, 429, "too_many_attempts");
        assert_eq!(checked + refused, CONCURRENT);
    }
}

/// L05
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_passwords_are_limited_to_five() {
    let (service, users) = with_users().await;
    for round in 0..4 {
        let bob = &users["bob"];
        let unknown = TestUser { username: format!("nobody{round}"), ..bob.clone() };
        for user in [&users["eve"], &unknown] {
            service.advance(901);
            if round > 0 && user.username == "eve" {
                service.login(user).await.ok();
            }
            let requests = (0..64).map(|n| login(user, &format!("guess {n}"))).collect();
            let replies = send_together(&service, requests).await;
            assert_eq!(count(&replies, 401, "invalid_credentials"), 5, "round {round}: {}", user.username);
            assert_eq!(count(&replies, 429, "too_many_attempts"), 59);
        }
        // The right password may clear the failures before it, and nothing else.
        service.advance(901);
        let right = vec![login(bob, &bob.password)];
        let replies =
            send_together(&service, mixed((0..64).map(|_| login(bob, "wrong")).collect(), right, round * 9)).await;
        let checked = successes(&replies).len() + count(&replies, 401, "invalid_credentials");
        assert!((1..=10).contains(&checked), "round {round}: {checked}");
    }
}

/// R02
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn recovery_token_signs_in_once() {
    let (service, mut users) = with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    for round in 0..8 {
        service.advance(901);
        let session = service.stepped_up_session(bob).await;
        let made = service.send(TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(&session)).await.ok();
        let shown = made.text("/recovery_token");
        let mut challenges = Vec::new();
        for _ in 0..[1, 4, 16][round % 3] {
            challenges.push(service.challenge_token(bob).await);
        }
        let spelled = [shown.clone(), shown.to_lowercase(), shown.replace('-', "")];
        let requests = (0..CONCURRENT).map(|n| verify(&challenges[n % challenges.len()], &spelled[n % 3])).collect();
        let replies = send_together(&service, requests).await;
        assert_eq!(successes(&replies).len(), 1, "round {round}: {replies:?}");
    }
}

/// R02, R04: recover × regenerate
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_the_last_recovery_token_remains() {
    let (service, mut users) = with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    for round in 0..6 {
        service.advance(901);
        let session = service.stepped_up_session(bob).await;
        let renew = TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(&session);
        let first = service.send(renew.clone()).await.ok().text("/recovery_token");
        let mut challenges = Vec::new();
        for _ in 0..8 {
            challenges.push(service.challenge_token(bob).await);
        }
        let recover = (0..28).map(|n| verify(&challenges[n % 8], &first)).collect();
        let replies = send_together(&service, mixed(recover, vec![renew; 4], round)).await;
        let used = replies.iter().filter(|reply| reply.status == 200).count();
        assert!(used <= 1, "round {round}: {replies:?}");
        let shown: Vec<_> =
            replies.iter().filter(|reply| reply.status == 201).map(|reply| reply.text("/recovery_token")).collect();
        assert_eq!(shown.len(), 4, "{replies:?}");
        service.advance(901);
        let mut works = 0;
        for token in shown.iter().chain([&first]) {
            let challenge = service.challenge_token(bob).await;
            works += usize::from(service.send(verify(&challenge, token)).await.status == 200);
        }
        assert_eq!(works, 1, "round {round}: only one of the new tokens works");
    }
}

/// E04, E05: confirm × confirm, confirm × begin
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_enrolment_is_confirmed_and_is_the_one_in_force() {
    let (service, mut users) = with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    for round in 0..8 {
        let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": format!("p{round}"),
                          "display_name": "P", "password": "a good long password"});
        let id = service.post("/v1/admin/users", &ann, body).await.ok().text("/id");
        let user = TestUser {
            username: format!("p{round}"),
            password: "a good long password".into(),
            id,
            ..users["bob"].clone()
        };
        let (one, two) = (service.enrolment_token(&user).await, service.enrolment_token(&user).await);
        let begin = |token: &str| post("/v1/mfa/enrolments", token, json!({}));
        let first = service.send(begin(&one)).await.ok().text("/secret");
        let right = json!({"code": totp_code(&first, service.step())});
        let confirm = || post("/v1/mfa/enrolments/confirm", &one, right.clone());
        let begins = if round % 2 == 0 { 0 } else { 4 };
        let requests = mixed((0..CONCURRENT - begins).map(|_| confirm()).collect(), vec![begin(&two); begins], round);
        let replies = send_together(&service, requests).await;
        let confirmed: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
        assert!(confirmed.len() <= 1 && (begins > 0 || confirmed.len() == 1), "round {round}: {replies:?}");
        let begun: Vec<_> =
            replies.iter().filter(|reply| reply.status == 201).map(|reply| reply.text("/secret")).collect();
        let expected = if confirmed.is_empty() { "enrolment_required" } else { "mfa_required" };
        assert_eq!(service.login(&user).await.ok().text("/status"), expected);
        if confirmed.is_empty() {
            continue;
        }
        service.get("/v1/session", &confirmed[0].text("/session/token")).await.ok();
        // The enrolments begun meanwhile cannot be confirmed.
        for secret in begun {
            let late = json!({"code": totp_code(&secret, service.step())});
            let reply = service.post("/v1/mfa/enrolments/confirm", &two, late).await;
            assert!(reply.is(401, "invalid_token"), "{reply:?}");
        }
        let challenge = service.challenge_token(&user).await;
        service.send(verify(&challenge, &totp_code(&first, service.step() + 1))).await.ok();
    }
}

/// V16: login × password change
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn new_password_revokes_everything_of_the_older() {
    let (service, mut users) = with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let mut times = 0;
    for round in 0..8 {
        service.advance(901);
        let session = service.stepped_up_session(bob).await;
        let device = bob.device.clone();
        let newer = format!("the password of round {round}");
        let change = json!({"current_password": bob.password, "new_password": newer});
        let known = json!({"tenant": "acme", "username": "bob", "password": bob.password, "device_token": device});
        let most = (0..12).map(|n| match n % 2 {
            0 => login(bob, &bob.password),
            _ => TestRequest::new(Method::POST, "/v1/login").json(known.clone()),
        });
        let changes = vec![post("/v1/password", &session, change); 3];
        let replies = send_together(&service, mixed(most.collect(), changes, round)).await;
        let changed = sessions(&replies);
        let challenges: Vec<_> = replies
            .iter()
            .filter_map(|reply| Some(reply.body.pointer("/challenge/token")?.as_str()?.to_owned()))
            .collect();
        assert!(changed.len() <= 1, "round {round}: {replies:?}");
        service.advance(30);
        if changed.is_empty() {
            // The logins used up all attempts.
            assert!(count(&replies, 429, "too_many_attempts") > 0, "round {round}: {replies:?}");
            continue;
        }
        times += 1;
        assert_all_ended(&service, &[session]).await;
        let right = totp_code(&bob.secret, service.step());
        for challenge in challenges {
            let reply = service.send(verify(&challenge, &right)).await;
            assert!(reply.is(401, "invalid_token"), "round {round}: {reply:?}");
        }
        service.get("/v1/session", &changed[0]).await.ok();
        service.advance(901);
        assert!(service.login(bob).await.is(401, "invalid_credentials"));
        bob.password = newer;
        service.advance(901);
        service.sign_in(bob).await;
    }
    assert!(times > 0, "the password was never changed");
}

/// logout × step-up: one token, ended once
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn session_is_either_stepped_up_or_ended() {
    let (service, mut users) = with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    for round in 0..8 {
        service.advance(901);
        service.sign_in(bob).await;
        service.advance(60);
        let right = json!({"code": totp_code(&bob.secret, service.step())});
        let end = TestRequest::new(Method::DELETE, "/v1/session").token(&bob.session);
        let step_up = post("/v1/step-up", &bob.session, right);
        let replies = send_together(&service, mixed(vec![step_up; 6], vec![end; 6], round)).await;
        let succeeded = successes(&replies);
        assert_eq!(succeeded.len(), 1, "round {round}: {replies:?}");
        assert_all_ended(&service, std::slice::from_ref(&bob.session)).await;
        for session in sessions(&replies) {
            service.get("/v1/session", &session).await.ok();
        }
    }
}

/// L12
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sign_in_flood_is_refused_and_others_pass() {
    let (service, mut users) = with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    service.advance(60);
    let challenge = service.challenge_token(bob).await;
    let flood = (0..400).map(|n| {
        let unknown = TestUser { username: format!("stranger {n}"), ..bob.clone() };
        login(&unknown, "a guess")
    });
    let verify = verify(&challenge, &totp_code(&bob.secret, service.step()));
    let replies = send_together(&service, mixed(flood.collect(), vec![verify], 29)).await;
    let signed_in = sessions(&replies);
    assert_eq!(signed_in.len(), 1, "a verification does not wait in the queue for passwords");
    let refused = count(&replies, 401, "invalid_credentials") + count(&replies, 503, "unavailable");
    assert_eq!(refused, 400);
    service.get("/v1/session", &signed_in[0]).await.ok();
    service.login(bob).await.ok();
}
