//! Requests that arrive together, at one endpoint and at pairs of them: what may be done once is done once, and whatever
//! order they end up in, no state comes of it that one after the other could not make.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Ask, People, Person, Reply, Service, code, of};
use tokio::sync::Barrier;

const TOGETHER: usize = 32;

async fn peopled() -> (Arc<Service>, People) {
    let (service, people) = Service::peopled().await;
    (Arc::new(service), people)
}

fn post(path: &str, token: &str, body: Value) -> Ask {
    Ask::new(Method::POST, path).token(token).json(body)
}

fn patch(path: &str, token: &str, body: Value) -> Ask {
    Ask::new(Method::PATCH, path).token(token).json(body)
}

fn verify(challenge: &str, code: &str) -> Ask {
    post("/v1/verify", challenge, json!({"code": code}))
}

fn login(person: &Person, password: &str) -> Ask {
    let body = json!({"tenant": person.tenant, "username": person.username, "password": password});
    Ask::new(Method::POST, "/v1/login").json(body)
}

fn reset(admin: &str, id: &str) -> Ask {
    post(&format!("/v1/admin/users/{id}/mfa-reset"), admin, json!({"reason": "r"}))
}

fn exclusion(admin: &str, key: &str, ids: &[&str], disable: bool) -> Ask {
    let body = json!({"contact_ids": ids, "disable_mfa": disable, "reason": "r"});
    post("/v1/admin/portal-exclusions", admin, body).header("idempotency-key", key)
}

/// Sends all of them at once, from tasks on several threads that wait for each other; the answers in the same order.
async fn volley(service: &Arc<Service>, asks: Vec<Ask>) -> Vec<Reply> {
    let barrier = Arc::new(Barrier::new(asks.len()));
    let tasks: Vec<_> = asks
        .into_iter()
        .map(|ask| {
            let (service, barrier) = (Arc::clone(service), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                service.send(ask).await
            })
        })
        .collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.unwrap());
    }
    replies
}

/// Many of one kind with some of another among them, the first at another place each round.
fn among(many: Vec<Ask>, few: Vec<Ask>, round: usize) -> Vec<Ask> {
    let mut all = many;
    for (n, ask) in few.into_iter().enumerate() {
        let at = (round * 7 + n * 5) % (all.len() + 1);
        all.insert(at, ask);
    }
    all
}

fn successes(replies: &[Reply]) -> Vec<&Reply> {
    replies.iter().filter(|reply| reply.status.is_success()).collect()
}

fn count(replies: &[Reply], status: u16, code: &str) -> usize {
    replies.iter().filter(|reply| reply.is(status, code)).count()
}

/// The sessions that some answers gave.
fn sessions(replies: &[Reply]) -> Vec<String> {
    let token = |reply: &Reply| Some(reply.body.pointer("/session/token")?.as_str()?.to_owned());
    replies.iter().filter_map(token).collect()
}

async fn all_dead(service: &Service, sessions: &[String]) {
    for session in sessions {
        let reply = service.get("/v1/session", session).await;
        assert_eq!(reply.status, 401, "a session outlived it: {reply:?}");
    }
}

/// V03, V04
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_code_opens_one_challenge_once() {
    let (service, mut people) = peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    for round in 0..8 {
        service.pass(901);
        let mut challenges = Vec::new();
        for _ in 0..[1, 4, 16][round % 3] {
            challenges.push(service.challenge(bob).await);
        }
        let code = code(&bob.secret, service.step());
        let asks = (0..TOGETHER).map(|n| verify(&challenges[n % challenges.len()], &code)).collect();
        let replies = volley(&service, asks).await;
        let won = successes(&replies);
        assert_eq!(won.len(), 1, "round {round}: {replies:?}");
        let session = won[0].text("/session/token");
        assert_eq!(service.delete("/v1/sessions", &session).await.status, 204);
        let listed = service.get("/v1/sessions", &session).await.ok();
        assert_eq!(listed.body["items"].as_array().unwrap().len(), 1);
    }
}

/// V04: at both doors that take codes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_code_that_signs_in_does_not_step_up_as_well() {
    let (service, mut people) = peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    for round in 0..8 {
        service.pass(901);
        service.sign_in(bob).await;
        let session = bob.session.clone();
        service.pass(60);
        let challenge = service.challenge(bob).await;
        let body = json!({"code": code(&bob.secret, service.step())});
        let asks = (0..TOGETHER).map(|n| match (n + round) % 2 {
            0 => post("/v1/verify", &challenge, body.clone()),
            _ => post("/v1/step-up", &session, body.clone()),
        });
        let replies = volley(&service, asks.collect()).await;
        let one = successes(&replies);
        assert_eq!(one.len(), 1, "round {round}: {replies:?}");
        let signed_in = one[0].body.get("status").is_some();
        let old = service.get("/v1/session", &session).await;
        assert_eq!(old.status, if signed_in { 200 } else { 401 }, "a step-up ends the token it was asked with");
        bob.step = service.step();
    }
}

/// V06, V18
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_wrong_codes_at_once_ten_are_looked_at_and_five_of_a_challenge() {
    let (service, mut people) = peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    for (round, challenges) in [1, 2, 8, 1, 2, 8].into_iter().enumerate() {
        service.pass(901);
        let mut tokens = Vec::new();
        for _ in 0..challenges {
            tokens.push(service.challenge(bob).await);
        }
        let wrong = service.wrong(bob);
        let asks = (0..TOGETHER).map(|n| verify(&tokens[n % challenges], &wrong)).collect();
        let replies = volley(&service, asks).await;
        let looked_at = count(&replies, 401, "invalid_code");
        assert_eq!(looked_at, 10.min(5 * challenges), "round {round}: {replies:?}");
        let refused = count(&replies, 401, "invalid_token") + count(&replies, 429, "too_many_attempts");
        assert_eq!(looked_at + refused, TOGETHER);
    }
}

/// L05
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_passwords_at_once_five_are_looked_at() {
    let (service, people) = peopled().await;
    for round in 0..4 {
        let bob = &people["bob"];
        let stranger = Person { username: format!("nobody{round}"), ..bob.clone() };
        for person in [&people["eve"], &stranger] {
            service.pass(901);
            if round > 0 && person.username == "eve" {
                service.login(person).await.ok();
            }
            let asks = (0..64).map(|n| login(person, &format!("guess {n}"))).collect();
            let replies = volley(&service, asks).await;
            assert_eq!(count(&replies, 401, "invalid_credentials"), 5, "round {round}: {}", person.username);
            assert_eq!(count(&replies, 429, "too_many_attempts"), 59);
        }
        // With the right one among them: it may clear what came before it, and no more than that.
        service.pass(901);
        let right = vec![login(bob, &bob.password)];
        let replies = volley(&service, among((0..64).map(|_| login(bob, "wrong")).collect(), right, round * 9)).await;
        let looked_at = successes(&replies).len() + count(&replies, 401, "invalid_credentials");
        assert!((1..=10).contains(&looked_at), "round {round}: {looked_at}");
    }
}

/// R02
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recovery_token_signs_in_once() {
    let (service, mut people) = peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    for round in 0..8 {
        service.pass(901);
        let session = service.fresh(bob).await;
        let made = service.send(Ask::new(Method::POST, "/v1/mfa/recovery-token").token(&session)).await.ok();
        let shown = made.text("/recovery_token");
        let mut challenges = Vec::new();
        for _ in 0..[1, 4, 16][round % 3] {
            challenges.push(service.challenge(bob).await);
        }
        let spelled = [shown.clone(), shown.to_lowercase(), shown.replace('-', "")];
        let asks = (0..TOGETHER).map(|n| verify(&challenges[n % challenges.len()], &spelled[n % 3])).collect();
        let replies = volley(&service, asks).await;
        assert_eq!(successes(&replies).len(), 1, "round {round}: {replies:?}");
    }
}

/// R02, R04: recover × regenerate
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_the_recovery_tokens_shown_the_last_alone_is_left() {
    let (service, mut people) = peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    for round in 0..6 {
        service.pass(901);
        let session = service.fresh(bob).await;
        let renew = Ask::new(Method::POST, "/v1/mfa/recovery-token").token(&session);
        let first = service.send(renew.clone()).await.ok().text("/recovery_token");
        let mut challenges = Vec::new();
        for _ in 0..8 {
            challenges.push(service.challenge(bob).await);
        }
        let recover = (0..28).map(|n| verify(&challenges[n % 8], &first)).collect();
        let replies = volley(&service, among(recover, vec![renew; 4], round)).await;
        let used = replies.iter().filter(|reply| reply.status == 200).count();
        assert!(used <= 1, "round {round}: {replies:?}");
        let shown: Vec<_> =
            replies.iter().filter(|reply| reply.status == 201).map(|reply| reply.text("/recovery_token")).collect();
        assert_eq!(shown.len(), 4, "{replies:?}");
        service.pass(901);
        let mut works = 0;
        for token in shown.iter().chain([&first]) {
            let challenge = service.challenge(bob).await;
            works += usize::from(service.send(verify(&challenge, token)).await.status == 200);
        }
        assert_eq!(works, 1, "round {round}: of those shown in it one, and not the first");
    }
}

/// E04, E05: confirm × confirm, confirm × begin
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_enrolment_is_confirmed_and_it_is_the_one_in_force() {
    let (service, mut people) = peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    for round in 0..8 {
        let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": format!("p{round}"),
                          "display_name": "P", "password": "a good long password"});
        let id = service.post("/v1/admin/users", &ann, body).await.ok().text("/id");
        let person = Person {
            username: format!("p{round}"),
            password: "a good long password".into(),
            id,
            ..people["bob"].clone()
        };
        let (one, two) = (service.enrolment(&person).await, service.enrolment(&person).await);
        let begin = |token: &str| post("/v1/mfa/enrolments", token, json!({}));
        let first = service.send(begin(&one)).await.ok().text("/secret");
        let right = json!({"code": code(&first, service.step())});
        let confirm = || post("/v1/mfa/enrolments/confirm", &one, right.clone());
        let begins = if round % 2 == 0 { 0 } else { 4 };
        let asks = among((0..TOGETHER - begins).map(|_| confirm()).collect(), vec![begin(&two); begins], round);
        let replies = volley(&service, asks).await;
        let confirmed: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
        assert!(confirmed.len() <= 1 && (begins > 0 || confirmed.len() == 1), "round {round}: {replies:?}");
        let begun: Vec<_> =
            replies.iter().filter(|reply| reply.status == 201).map(|reply| reply.text("/secret")).collect();
        let expected = if confirmed.is_empty() { "enrolment_required" } else { "mfa_required" };
        assert_eq!(service.login(&person).await.ok().text("/status"), expected);
        if confirmed.is_empty() {
            continue;
        }
        service.get("/v1/session", &confirmed[0].text("/session/token")).await.ok();
        // What was begun beside it can be confirmed by nothing, and opens nothing.
        for secret in begun {
            let late = json!({"code": code(&secret, service.step())});
            let reply = service.post("/v1/mfa/enrolments/confirm", &two, late).await;
            assert!(reply.is(401, "invalid_token"), "{reply:?}");
        }
        let challenge = service.challenge(&person).await;
        service.send(verify(&challenge, &code(&first, service.step() + 1))).await.ok();
    }
}

/// A05, V16: verify, recover, step-up, confirm and regenerate × reset
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_resets_answer_nothing_of_the_old_factor_lives() {
    let (service, mut people) = peopled().await;
    for round in 0..8 {
        service.pass(3600);
        let ann = service.fresh(of(&mut people, "ann")).await;
        let con = of(&mut people, "con1");
        service.enrol(con).await;
        let session = con.session.clone();
        let renew = Ask::new(Method::POST, "/v1/mfa/recovery-token").token(&session);
        let shown = service.send(renew.clone()).await.ok().text("/recovery_token");
        let pending = service.post("/v1/mfa/enrolments", &session, json!({})).await.ok().text("/secret");
        let (one, two) = (service.challenge(con).await, service.challenge(con).await);
        let next = code(&con.secret, service.step() + 1);
        let confirm = json!({"code": code(&pending, service.step())});
        let kinds = [
            verify(&one, &next),
            verify(&two, &shown),
            post("/v1/step-up", &session, json!({"code": next})),
            post("/v1/mfa/enrolments/confirm", &session, confirm.clone()),
            renew,
            post("/v1/mfa/enrolments", &session, json!({})),
        ];
        let many = (0..TOGETHER - 1).map(|n| kinds[(n + round) % kinds.len()].clone()).collect();
        let replies = volley(&service, among(many, vec![reset(&ann, &con.id)], round)).await;
        let done = replies.iter().filter(|reply| reply.body.get("enrol_by").is_some()).count();
        assert_eq!(done, 1, "round {round}: {replies:?}");
        let mut given = sessions(&replies);
        given.push(session.clone());
        all_dead(&service, &given).await;
        for ask in [verify(&one, &next), verify(&two, &shown)] {
            assert!(service.send(ask).await.is(401, "invalid_token"));
        }
        for given in &given {
            let reply = service.post("/v1/mfa/enrolments/confirm", given, confirm.clone()).await;
            assert_eq!(reply.status, 401, "{reply:?}");
        }
        assert_eq!(service.login(con).await.ok().text("/status"), "enrolment_required", "round {round}");
        con.secret.clear();
    }
}

/// A12: begin with a reset code × its renewal
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_new_reset_code_no_enrolment_of_the_older_is_confirmed() {
    let (service, mut people) = peopled().await;
    service.enrol(of(&mut people, "amy")).await;
    for round in 0..6 {
        service.pass(3600);
        let ann = service.fresh(of(&mut people, "ann")).await;
        let older = service.send(reset(&ann, "u-amy")).await.ok().text("/reset_code");
        let token = service.enrolment(&people["amy"]).await;
        let begin = post("/v1/mfa/enrolments", &token, json!({"reset_code": older}));
        let replies = volley(&service, among(vec![begin; 4], vec![reset(&ann, "u-amy")], round)).await;
        let newer: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
        assert_eq!(newer.len(), 1, "{replies:?}");
        for begun in replies.iter().filter(|reply| reply.status == 201) {
            let body = json!({"code": code(&begun.text("/secret"), service.step())});
            let reply = service.post("/v1/mfa/enrolments/confirm", &token, body).await;
            assert!(!reply.status.is_success(), "round {round}: {reply:?}");
        }
        let amy = of(&mut people, "amy");
        let token = service.enrolment(amy).await;
        service.enrol_with(amy, &token, json!({"reset_code": newer[0].text("/reset_code")})).await;
    }
}

/// B01, B05: exclude × promote, with the contact signing in meanwhile
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exclusion_and_promotion_never_make_an_excluded_employee() {
    let (service, mut people) = peopled().await;
    for round in 0..20 {
        let ann = service.fresh(of(&mut people, "ann")).await;
        let amy = service.fresh(of(&mut people, "amy")).await;
        let con = &people["con1"];
        if round % 4 == 3 {
            service.send(exclusion(&ann, &format!("before{round}"), &["u-con1"], true)).await.ok();
        }
        // With a password to hash, the promotion is read as long before it is written as the exclusion is.
        let promotion = [
            json!({"kind": "employee", "role": "standard"}),
            json!({"kind": "employee", "role": "standard", "password": con.password}),
        ];
        let mut few = vec![patch("/v1/admin/users/u-con1", &amy, promotion[usize::from(round % 3 == 0)].clone())];
        few.extend((0..4).map(|_| login(con, &con.password)));
        let many = (0..12).map(|n| exclusion(&ann, &format!("{}{round}", n % 3), &["u-con2", "u-con1"], true));
        let replies = volley(&service, among(many.collect(), few, round)).await;
        let promoted = replies.iter().filter(|reply| reply.body["kind"] == "employee").count();
        assert_eq!(promoted, 1, "round {round}: {replies:?}");
        let seen = service.get("/v1/admin/users/u-con1", &amy).await.ok();
        assert_eq!((&seen.body["kind"], &seen.body["excluded"]), (&json!("employee"), &json!(false)), "round {round}");
        all_dead(&service, &sessions(&replies)).await;
        assert_eq!(service.login(con).await.ok().text("/status"), "enrolment_required");
        let listed = service.get("/v1/admin/portal-exclusions", &amy).await.ok();
        assert!(!listed.body.to_string().contains("u-con1"), "{listed:?}");
        service.send(patch("/v1/admin/users/u-con1", &amy, json!({"kind": "contact", "role": "portal"}))).await.ok();
        service.send(exclusion(&ann, &format!("after{round}"), &["u-con2"], false)).await.ok();
        service.pass(901);
    }
}

/// B05
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_batch_sent_many_times_at_once_is_done_once() {
    let (service, mut people) = peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let mut ids = Vec::new();
    for n in 0..45 {
        let body = json!({"kind": "contact", "role": "portal", "auth_type": "local", "username": format!("c{n}"),
                          "display_name": "C"});
        ids.push(service.post("/v1/admin/users", &ann, body).await.ok().text("/id"));
    }
    let ids: Vec<_> = ids.iter().map(String::as_str).chain(["u-bob", "u-never"]).collect();
    for (round, disable) in [true, false, true].into_iter().enumerate() {
        let ask = exclusion(&ann, &format!("k{round}"), &ids, disable);
        let replies = volley(&service, vec![ask.clone(); 12]).await;
        for reply in &replies {
            assert_eq!(reply.status, 200, "{reply:?}");
            let (done, other) = if disable { ("excluded", "included") } else { ("included", "excluded") };
            assert_eq!((&reply.body["counts"][done], &reply.body["counts"][other]), (&json!(45), &json!(0)));
            assert_eq!(reply.body["results"], replies[0].body["results"]);
        }
        let path = format!("/v1/admin/portal-exclusions/{}", replies[0].text("/batch_id"));
        let kept = service.get(&path, &ann).await.ok();
        assert_eq!((&kept.body["status"], &kept.body["results"]), (&json!("completed"), &replies[0].body["results"]));
        assert_eq!(service.send(ask).await.ok().body, kept.body);
    }
    let rows = service.get(&format!("/v1/admin/audit?user_id={}", ids[0]), &ann).await.ok();
    let of_it =
        |action: &str| rows.body["items"].as_array().unwrap().iter().filter(|row| row["action"] == action).count();
    assert_eq!((of_it("exclusion.excluded"), of_it("exclusion.included")), (2, 1));
}

/// B03: a batch × the demotion of its Administrator
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_demoted_administrators_batches_say_is_what_they_did() {
    let (service, mut people) = peopled().await;
    for round in 0..6 {
        let ann = service.fresh(of(&mut people, "ann")).await;
        let amy = service.fresh(of(&mut people, "amy")).await;
        let contacts = ["u-con1", "u-con2", "u-con3"];
        let batches = (0..12).map(|n| exclusion(&amy, &format!("k{round}-{n}"), &[contacts[n % 3]], true));
        let demote = patch("/v1/admin/users/u-amy", &ann, json!({"role": "standard"}));
        let replies = volley(&service, among(batches.collect(), vec![demote], round)).await;
        let demoted = replies.iter().filter(|reply| reply.body["role"] == "standard").count();
        assert_eq!(demoted, 1, "round {round}: {replies:?}");
        for contact in contacts {
            let told = replies.iter().any(|reply| {
                let results = reply.body["results"].as_array().into_iter().flatten();
                results.into_iter().any(|it| it["contact_id"] == contact && it["outcome"] == "excluded")
            });
            let seen = service.get(&format!("/v1/admin/users/{contact}"), &ann).await.ok();
            assert_eq!(seen.body["excluded"], told, "round {round}: {contact}: {replies:?}");
        }
        let reply = service.send(exclusion(&amy, "late", &["u-con1"], false)).await;
        assert_eq!(reply.status, 401, "{reply:?}");
        service.send(patch("/v1/admin/users/u-amy", &ann, json!({"role": "administrator"}))).await.ok();
        service.send(exclusion(&ann, &format!("back{round}"), &contacts, false)).await.ok();
    }
}

/// Whoever loses the right while they act is told what any request of theirs is told after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_demoted_in_the_act_has_to_sign_in_again() {
    let (service, mut people) = peopled().await;
    for round in 0..8 {
        let ann = service.fresh(of(&mut people, "ann")).await;
        let amy = service.fresh(of(&mut people, "amy")).await;
        let standard = || json!({"role": "standard"});
        let mut asks = vec![patch("/v1/admin/users/u-amy", &ann, standard())];
        asks.extend((0..15).map(|n| match n % 5 {
            0 => patch("/v1/admin/users/u-ann", &amy, standard()),
            1 => reset(&amy, "u-bob"),
            2 => exclusion(&amy, &format!("k{round}-{n}"), &["u-con1"], n % 2 == 0),
            3 => Ask::new(Method::DELETE, "/v1/sessions").token(&amy),
            _ => post("/v1/admin/clients", &amy, json!({"name": "portal"})),
        }));
        let replies = volley(&service, asks).await;
        for reply in replies.iter().filter(|reply| reply.status == 401) {
            assert!(reply.is(401, "session_refresh_required"), "{reply:?}");
        }
        let (winner, other) = if replies[0].status == 200 { (ann, "u-amy") } else { (amy, "u-ann") };
        let back = json!({"role": "administrator"});
        service.send(patch(&format!("/v1/admin/users/{other}"), &winner, back)).await.ok();
        service.pass(3601);
    }
}

/// demote × demote, deactivate × demote, delete × delete
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_administrators_who_turn_on_each_other_leave_one() {
    let (service, mut people) = peopled().await;
    for round in 0..8 {
        let ann = service.fresh(of(&mut people, "ann")).await;
        let amy = service.fresh(of(&mut people, "amy")).await;
        let last = round == 7;
        let against = |token: &str, id: &str, n: usize| {
            let path = format!("/v1/admin/users/{id}");
            match (last, (n + round) % 3) {
                (true, _) => Ask::new(Method::DELETE, path).token(token),
                (_, 0) => patch(&path, token, json!({"role": "standard"})),
                (_, 1) => patch(&path, token, json!({"active": false})),
                _ => patch(&path, token, json!({"kind": "contact", "role": "portal"})),
            }
        };
        // Each against the other, and against themselves.
        let asks = (0..TOGETHER).map(|n| match n % 4 {
            0 | 1 => against(&ann, "u-amy", n),
            2 => against(&amy, "u-ann", n),
            _ => against(if round % 2 == 0 { &ann } else { &amy }, if round % 2 == 0 { "u-ann" } else { "u-amy" }, n),
        });
        let replies = volley(&service, asks.collect()).await;
        assert!(!successes(&replies).is_empty(), "{replies:?}");
        let mut left = Vec::new();
        for name in ["ann", "amy"] {
            let person = of(&mut people, name);
            if service.login(person).await.status != 200 {
                continue;
            }
            service.sign_in(person).await;
            let reply = service.get("/v1/admin/users", &person.session).await;
            if reply.status == 200 {
                left.push(name);
            }
        }
        assert_eq!(left.len(), 1, "round {round}: {left:?}: {replies:?}");
        if last {
            break;
        }
        let survivor = people[left[0]].session.clone();
        let other = if left[0] == "ann" { "u-amy" } else { "u-ann" };
        let whole = json!({"kind": "employee", "role": "administrator", "active": true});
        service.send(patch(&format!("/v1/admin/users/{other}"), &survivor, whole)).await.ok();
        service.pass(901);
    }
}

/// A07
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_resets_at_once_ten_are_done() {
    let (service, mut people) = peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let mut ids = Vec::new();
    for n in 0..TOGETHER {
        let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": format!("t{n}"),
                          "display_name": "T"});
        ids.push(service.post("/v1/admin/users", &ann, body).await.ok().text("/id"));
    }
    for round in 0..3 {
        let ann = service.fresh(of(&mut people, "ann")).await;
        let replies = volley(&service, ids.iter().map(|id| reset(&ann, id)).collect()).await;
        let done = successes(&replies).len();
        // Those of the rounds before are repeats, which are not counted.
        assert_eq!(done, 10 * (round + 1), "round {round}: {replies:?}");
        assert_eq!(done + count(&replies, 429, "too_many_attempts"), TOGETHER);
        service.pass(3600);
    }
}

/// A06: a ticket in two tenants at once
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ticket_works_once() {
    let (service, mut people) = peopled().await;
    let op = service.fresh(of(&mut people, "op")).await;
    let new = json!({"id": "initech", "name": "Initech", "administrator": {
        "username": "ian", "password": "a good long password", "display_name": "Ian"}});
    service.post("/v1/support/tenants", &op, new).await.ok();
    for round in 0..6 {
        let asks = (0..TOGETHER).map(|n| {
            let (tenant, name) = if (n + round) % 2 == 0 { ("globex", "gus") } else { ("initech", "ian") };
            let body = json!({"tenant": tenant, "username": name, "ticket": format!("T-{round}"), "reason": "r"});
            post("/v1/support/mfa-resets", &op, body)
        });
        let replies = volley(&service, asks.collect()).await;
        assert_eq!(successes(&replies).len(), 1, "round {round}: {replies:?}");
        assert_eq!(count(&replies, 409, "ticket_used"), TOGETHER - 1, "round {round}: {replies:?}");
    }
}

/// V16: login × password change
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_new_password_nothing_of_the_older_opens() {
    let (service, mut people) = peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let mut times = 0;
    for round in 0..8 {
        service.pass(901);
        let session = service.fresh(bob).await;
        let device = bob.device.clone();
        let newer = format!("the password of round {round}");
        let change = json!({"current_password": bob.password, "new_password": newer});
        let known = json!({"tenant": "acme", "username": "bob", "password": bob.password, "device_token": device});
        let many = (0..12).map(|n| match n % 2 {
            0 => login(bob, &bob.password),
            _ => Ask::new(Method::POST, "/v1/login").json(known.clone()),
        });
        let changes = vec![post("/v1/password", &session, change); 3];
        let replies = volley(&service, among(many.collect(), changes, round)).await;
        let changed = sessions(&replies);
        let challenges: Vec<_> = replies
            .iter()
            .filter_map(|reply| Some(reply.body.pointer("/challenge/token")?.as_str()?.to_owned()))
            .collect();
        assert!(changed.len() <= 1, "round {round}: {replies:?}");
        service.pass(30);
        if changed.is_empty() {
            // All tries were the logins'.
            assert!(count(&replies, 429, "too_many_attempts") > 0, "round {round}: {replies:?}");
            continue;
        }
        times += 1;
        all_dead(&service, &[session]).await;
        let right = code(&bob.secret, service.step());
        for challenge in challenges {
            let reply = service.send(verify(&challenge, &right)).await;
            assert!(reply.is(401, "invalid_token"), "round {round}: {reply:?}");
        }
        service.get("/v1/session", &changed[0]).await.ok();
        service.pass(901);
        assert!(service.login(bob).await.is(401, "invalid_credentials"));
        bob.password = newer;
        service.pass(901);
        service.sign_in(bob).await;
    }
    assert!(times > 0, "it was never changed");
}

/// V16, P3: sign-in × deactivation, deletion
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_gone_is_not_signed_in() {
    let (service, mut people) = peopled().await;
    for round in 0..8 {
        service.pass(901);
        let ann = service.fresh(of(&mut people, "ann")).await;
        let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": "phoenix",
                          "display_name": "P", "password": "a good long password"});
        let id = service.post("/v1/admin/users", &ann, body).await.ok().text("/id");
        let mut person = Person {
            username: "phoenix".into(),
            password: "a good long password".into(),
            id: id.clone(),
            secret: String::new(),
            ..people["bob"].clone()
        };
        service.enrol(&mut person).await;
        let mut challenges = Vec::new();
        for _ in 0..4 {
            challenges.push(service.challenge(&person).await);
        }
        let codes = [service.step(), service.step() + 1].map(|step| code(&person.secret, step));
        let path = format!("/v1/admin/users/{id}");
        let end = if round % 2 == 0 {
            Ask::new(Method::DELETE, &path).token(&ann)
        } else {
            patch(&path, &ann, json!({"active": false}))
        };
        let many = (0..TOGETHER - 1).map(|n| match n % 3 {
            0 => login(&person, &person.password),
            n => verify(&challenges[(n + round) % 4], &codes[n - 1]),
        });
        let replies = volley(&service, among(many.collect(), vec![end], round)).await;
        let mut given = sessions(&replies);
        given.push(person.session.clone());
        for session in &given {
            assert!(service.get("/v1/session", session).await.is(401, "invalid_token"), "round {round}");
        }
        let opened =
            replies.iter().filter_map(|reply| Some(reply.body.pointer("/challenge/token")?.as_str()?.to_owned()));
        for challenge in challenges.into_iter().chain(opened) {
            let reply = service.send(verify(&challenge, &codes[1])).await;
            assert!(reply.is(401, "invalid_token"), "round {round}: {reply:?}");
        }
        if round % 2 == 1 {
            service.delete(&path, &ann).await;
        }
    }
}

/// logout × step-up: one token, ended once
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_is_stepped_up_or_ended_and_not_both() {
    let (service, mut people) = peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    for round in 0..8 {
        service.pass(901);
        service.sign_in(bob).await;
        service.pass(60);
        let right = json!({"code": code(&bob.secret, service.step())});
        let end = Ask::new(Method::DELETE, "/v1/session").token(&bob.session);
        let step_up = post("/v1/step-up", &bob.session, right);
        let replies = volley(&service, among(vec![step_up; 6], vec![end; 6], round)).await;
        let won = successes(&replies);
        assert_eq!(won.len(), 1, "round {round}: {replies:?}");
        all_dead(&service, std::slice::from_ref(&bob.session)).await;
        for session in sessions(&replies) {
            service.get("/v1/session", &session).await.ok();
        }
    }
}

/// L06: create × create
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_name_is_given_to_one() {
    let (service, mut people) = peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let amy = service.fresh(of(&mut people, "amy")).await;
    for round in 0..4 {
        let spelled = [format!("Zoë{round}"), format!("zoe\u{308}{round}"), format!("ＺＯË{round}")];
        let asks = (0..TOGETHER).map(|n| {
            let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": spelled[n % 3],
                              "display_name": "Z", "password": format!("the password of {n}")});
            post("/v1/admin/users", if n % 2 == 0 { &ann } else { &amy }, body)
        });
        let replies = volley(&service, asks.collect()).await;
        let won: Vec<_> = (0..TOGETHER).filter(|&n| replies[n].status == 201).collect();
        assert_eq!(won.len(), 1, "round {round}: {replies:?}");
        assert_eq!(count(&replies, 409, "conflict"), TOGETHER - 1);
        let zoe = Person { username: spelled[0].clone(), ..people["bob"].clone() };
        let password = format!("the password of {}", won[0]);
        assert_eq!(service.login_with(&zoe, &password).await.ok().text("/status"), "enrolment_required");
    }
}

/// L12
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_sign_ins_is_refused_and_lets_others_through() {
    let (service, mut people) = peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    service.pass(60);
    let challenge = service.challenge(bob).await;
    let flood = (0..400).map(|n| {
        let stranger = Person { username: format!("stranger {n}"), ..bob.clone() };
        login(&stranger, "a guess")
    });
    let verify = verify(&challenge, &code(&bob.secret, service.step()));
    let replies = volley(&service, among(flood.collect(), vec![verify], 29)).await;
    let signed_in = sessions(&replies);
    assert_eq!(signed_in.len(), 1, "whoever has a challenge is not in that queue");
    let refused = count(&replies, 401, "invalid_credentials") + count(&replies, 503, "unavailable");
    assert_eq!(refused, 400);
    service.get("/v1/session", &signed_in[0]).await.ok();
    service.login(bob).await.ok();
}
