//! Races with requests of Administrators and operators.

use axum::http::Method;
use serde_json::json;
use tests::{TestRequest, TestUser, totp_code, user_mut};

use super::{
    CONCURRENT, assert_all_ended, count, exclusion, login, mixed, patch, post, reset, send_together, sessions,
    successes, verify, with_users,
};

/// A05, V16: verify, recover, step-up, confirm and regenerate × reset
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_of_the_old_factor_survives_a_reset() {
    let (service, mut users) = with_users().await;
    for round in 0..8 {
        service.advance(3600);
        let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
        let con = user_mut(&mut users, "con1");
        service.enrol(con).await;
        let session = con.session.clone();
        let renew = TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(&session);
        let shown = service.send(renew.clone()).await.ok().text("/recovery_token");
        let pending = service.post("/v1/mfa/enrolments", &session, json!({})).await.ok().text("/secret");
        let (one, two) = (service.challenge_token(con).await, service.challenge_token(con).await);
        let next = totp_code(&con.secret, service.step() + 1);
        let confirm = json!({"code": totp_code(&pending, service.step())});
        let kinds = [
            verify(&one, &next),
            verify(&two, &shown),
            post("/v1/step-up", &session, json!({"code": next})),
            post("/v1/mfa/enrolments/confirm", &session, confirm.clone()),
            renew,
            post("/v1/mfa/enrolments", &session, json!({})),
        ];
        let most = (0..CONCURRENT - 1).map(|n| kinds[(n + round) % kinds.len()].clone()).collect();
        let replies = send_together(&service, mixed(most, vec![reset(&ann, &con.id)], round)).await;
        let done = replies.iter().filter(|reply| reply.body.get("enrol_by").is_some()).count();
        assert_eq!(done, 1, "round {round}: {replies:?}");
        let mut issued = sessions(&replies);
        issued.push(session.clone());
        assert_all_ended(&service, &issued).await;
        for request in [verify(&one, &next), verify(&two, &shown)] {
            assert!(service.send(request).await.is(401, "invalid_token"));
        }
        for issued in &issued {
            let reply = service.post("/v1/mfa/enrolments/confirm", issued, confirm.clone()).await;
            assert_eq!(reply.status, 401, "{reply:?}");
        }
        assert_eq!(service.login(con).await.ok().text("/status"), "enrolment_required", "round {round}");
        con.secret.clear();
    }
}

/// A12: begin with a reset code × its renewal
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn new_reset_code_ends_enrolments_of_the_older_one() {
    let (service, mut users) = with_users().await;
    service.enrol(user_mut(&mut users, "amy")).await;
    for round in 0..6 {
        service.advance(3600);
        let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
        let older = service.send(reset(&ann, "u-amy")).await.ok().text("/reset_code");
        let token = service.enrolment_token(&users["amy"]).await;
        let begin = post("/v1/mfa/enrolments", &token, json!({"reset_code": older}));
        let replies = send_together(&service, mixed(vec![begin; 4], vec![reset(&ann, "u-amy")], round)).await;
        let newer: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
        assert_eq!(newer.len(), 1, "{replies:?}");
        for begun in replies.iter().filter(|reply| reply.status == 201) {
            let body = json!({"code": totp_code(&begun.text("/secret"), service.step())});
            let reply = service.post("/v1/mfa/enrolments/confirm", &token, body).await;
            assert!(!reply.status.is_success(), "round {round}: {reply:?}");
        }
        let amy = user_mut(&mut users, "amy");
        let token = service.enrolment_token(amy).await;
        service.enrol_with(amy, &token, json!({"reset_code": newer[0].text("/reset_code")})).await;
    }
}

/// B01, B05: exclude × promote, while the contact signs in
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_exclusion_and_promotion_never_exclude_an_employee() {
    let (service, mut users) = with_users().await;
    for round in 0..20 {
        let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
        let amy = service.stepped_up_session(user_mut(&mut users, "amy")).await;
        let con = &users["con1"];
        if round % 4 == 3 {
            service.send(exclusion(&ann, &format!("before{round}"), &["u-con1"], true)).await.ok();
        }
        // Hashing a password delays the promotion, so that both orders occur.
        let promotion = [
            json!({"kind": "employee", "role": "standard"}),
            json!({"kind": "employee", "role": "standard", "password": con.password}),
        ];
        let mut few = vec![patch("/v1/admin/users/u-con1", &amy, promotion[usize::from(round % 3 == 0)].clone())];
        few.extend((0..4).map(|_| login(con, &con.password)));
        let most = (0..12).map(|n| exclusion(&ann, &format!("{}{round}", n % 3), &["u-con2", "u-con1"], true));
        let replies = send_together(&service, mixed(most.collect(), few, round)).await;
        let promoted = replies.iter().filter(|reply| reply.body["kind"] == "employee").count();
        assert_eq!(promoted, 1, "round {round}: {replies:?}");
        let seen = service.get("/v1/admin/users/u-con1", &amy).await.ok();
        assert_eq!((&seen.body["kind"], &seen.body["excluded"]), (&json!("employee"), &json!(false)), "round {round}");
        assert_all_ended(&service, &sessions(&replies)).await;
        assert_eq!(service.login(con).await.ok().text("/status"), "enrolment_required");
        let listed = service.get("/v1/admin/portal-exclusions", &amy).await.ok();
        assert!(!listed.body.to_string().contains("u-con1"), "{listed:?}");
        service.send(patch("/v1/admin/users/u-con1", &amy, json!({"kind": "contact", "role": "portal"}))).await.ok();
        service.send(exclusion(&ann, &format!("after{round}"), &["u-con2"], false)).await.ok();
        service.advance(901);
    }
}

/// B05
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batch_sent_concurrently_runs_once() {
    let (service, mut users) = with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let mut ids = Vec::new();
    for n in 0..45 {
        let body = json!({"kind": "contact", "role": "portal", "auth_type": "local", "username": format!("c{n}"),
                          "display_name": "C"});
        ids.push(service.post("/v1/admin/users", &ann, body).await.ok().text("/id"));
    }
    let ids: Vec<_> = ids.iter().map(String::as_str).chain(["u-bob", "u-never"]).collect();
    for (round, disable) in [true, false, true].into_iter().enumerate() {
        let request = exclusion(&ann, &format!("k{round}"), &ids, disable);
        let replies = send_together(&service, vec![request.clone(); 12]).await;
        for reply in &replies {
            assert_eq!(reply.status, 200, "{reply:?}");
            let (done, other) = if disable { ("excluded", "included") } else { ("included", "excluded") };
            assert_eq!((&reply.body["counts"][done], &reply.body["counts"][other]), (&json!(45), &json!(0)));
            assert_eq!(reply.body["results"], replies[0].body["results"]);
        }
        let path = format!("/v1/admin/portal-exclusions/{}", replies[0].text("/batch_id"));
        let kept = service.get(&path, &ann).await.ok();
        assert_eq!((&kept.body["status"], &kept.body["results"]), (&json!("completed"), &replies[0].body["results"]));
        assert_eq!(service.send(request).await.ok().body, kept.body);
    }
    let rows = service.get(&format!("/v1/admin/audit?user_id={}", ids[0]), &ann).await.ok();
    let count_of =
        |action: &str| rows.body["items"].as_array().unwrap().iter().filter(|row| row["action"] == action).count();
    assert_eq!((count_of("exclusion.excluded"), count_of("exclusion.included")), (2, 1));
}

/// B03: batch × demotion of its Administrator
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batch_of_a_demoted_administrator_reports_what_it_did() {
    let (service, mut users) = with_users().await;
    for round in 0..6 {
        let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
        let amy = service.stepped_up_session(user_mut(&mut users, "amy")).await;
        let contacts = ["u-con1", "u-con2", "u-con3"];
        let batches = (0..12).map(|n| exclusion(&amy, &format!("k{round}-{n}"), &[contacts[n % 3]], true));
        let demote = patch("/v1/admin/users/u-amy", &ann, json!({"role": "standard"}));
        let replies = send_together(&service, mixed(batches.collect(), vec![demote], round)).await;
        let demoted = replies.iter().filter(|reply| reply.body["role"] == "standard").count();
        assert_eq!(demoted, 1, "round {round}: {replies:?}");
        for contact in contacts {
            let reported = replies.iter().any(|reply| {
                let results = reply.body["results"].as_array().into_iter().flatten();
                results.into_iter().any(|it| it["contact_id"] == contact && it["outcome"] == "excluded")
            });
            let seen = service.get(&format!("/v1/admin/users/{contact}"), &ann).await.ok();
            assert_eq!(seen.body["excluded"], reported, "round {round}: {contact}: {replies:?}");
        }
        let reply = service.send(exclusion(&amy, "late", &["u-con1"], false)).await;
        assert_eq!(reply.status, 401, "{reply:?}");
        service.send(patch("/v1/admin/users/u-amy", &ann, json!({"role": "administrator"}))).await.ok();
        service.send(exclusion(&ann, &format!("back{round}"), &contacts, false)).await.ok();
    }
}

/// An Administrator demoted during a request gets the same answer as in any request afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn administrator_demoted_during_a_change_must_sign_in_again() {
    let (service, mut users) = with_users().await;
    for round in 0..8 {
        let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
        let amy = service.stepped_up_session(user_mut(&mut users, "amy")).await;
        let standard = || json!({"role": "standard"});
        let mut requests = vec![patch("/v1/admin/users/u-amy", &ann, standard())];
        requests.extend((0..15).map(|n| match n % 5 {
            0 => patch("/v1/admin/users/u-ann", &amy, standard()),
            1 => reset(&amy, "u-bob"),
            2 => exclusion(&amy, &format!("k{round}-{n}"), &["u-con1"], n % 2 == 0),
            3 => TestRequest::new(Method::DELETE, "/v1/sessions").token(&amy),
            _ => post("/v1/admin/clients", &amy, json!({"name": "portal"})),
        }));
        let replies = send_together(&service, requests).await;
        for reply in replies.iter().filter(|reply| reply.status == 401) {
            assert!(reply.is(401, "session_refresh_required"), "{reply:?}");
        }
        let (winner, other) = if replies[0].status == 200 { (ann, "u-amy") } else { (amy, "u-ann") };
        let back = json!({"role": "administrator"});
        service.send(patch(&format!("/v1/admin/users/{other}"), &winner, back)).await.ok();
        service.advance(3601);
    }
}

/// demote × demote, deactivate × demote, delete × delete
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn administrators_removing_each_other_leave_one() {
    let (service, mut users) = with_users().await;
    for round in 0..8 {
        let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
        let amy = service.stepped_up_session(user_mut(&mut users, "amy")).await;
        let last = round == 7;
        let remove = |token: &str, id: &str, n: usize| {
            let path = format!("/v1/admin/users/{id}");
            match (last, (n + round) % 3) {
                (true, _) => TestRequest::new(Method::DELETE, path).token(token),
                (_, 0) => patch(&path, token, json!({"role": "standard"})),
                (_, 1) => patch(&path, token, json!({"active": false})),
                _ => patch(&path, token, json!({"kind": "contact", "role": "portal"})),
            }
        };
        // Each Administrator against the other and against themselves.
        let requests = (0..CONCURRENT).map(|n| match n % 4 {
            0 | 1 => remove(&ann, "u-amy", n),
            2 => remove(&amy, "u-ann", n),
            _ => remove(if round % 2 == 0 { &ann } else { &amy }, if round % 2 == 0 { "u-ann" } else { "u-amy" }, n),
        });
        let replies = send_together(&service, requests.collect()).await;
        assert!(!successes(&replies).is_empty(), "{replies:?}");
        let mut remaining = Vec::new();
        for name in ["ann", "amy"] {
            let user = user_mut(&mut users, name);
            if service.login(user).await.status != 200 {
                continue;
            }
            service.sign_in(user).await;
            let reply = service.get("/v1/admin/users", &user.session).await;
            if reply.status == 200 {
                remaining.push(name);
            }
        }
        assert_eq!(remaining.len(), 1, "round {round}: {remaining:?}: {replies:?}");
        if last {
            break;
        }
        let survivor = users[remaining[0]].session.clone();
        let other = if remaining[0] == "ann" { "u-amy" } else { "u-ann" };
        let whole = json!({"kind": "employee", "role": "administrator", "active": true});
        service.send(patch(&format!("/v1/admin/users/{other}"), &survivor, whole)).await.ok();
        service.advance(901);
    }
}

/// A07
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_resets_are_limited_to_ten() {
    let (service, mut users) = with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let mut ids = Vec::new();
    for n in 0..CONCURRENT {
        let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": format!("t{n}"),
                          "display_name": "T"});
        ids.push(service.post("/v1/admin/users", &ann, body).await.ok().text("/id"));
    }
    for round in 0..3 {
        let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
        let replies = send_together(&service, ids.iter().map(|id| reset(&ann, id)).collect()).await;
        let done = successes(&replies).len();
        // Resets of users from earlier rounds are repetitions, which do not count.
        assert_eq!(done, 10 * (round + 1), "round {round}: {replies:?}");
        assert_eq!(done + count(&replies, 429, "too_many_attempts"), CONCURRENT);
        service.advance(3600);
    }
}

/// A06: one ticket for two tenants at once
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ticket_works_once() {
    let (service, mut users) = with_users().await;
    let op = service.stepped_up_session(user_mut(&mut users, "op")).await;
    let new = json!({"id": "initech", "name": "Initech", "administrator": {
        "username": "ian", "password": "a good long password", "display_name": "Ian"}});
    service.post("/v1/support/tenants", &op, new).await.ok();
    for round in 0..6 {
        let requests = (0..CONCURRENT).map(|n| {
            let (tenant, name) = if (n + round) % 2 == 0 { ("globex", "gus") } else { ("initech", "ian") };
            let body = json!({"tenant": tenant, "username": name, "ticket": format!("T-{round}"), "reason": "r"});
            post("/v1/support/mfa-resets", &op, body)
        });
        let replies = send_together(&service, requests.collect()).await;
        assert_eq!(successes(&replies).len(), 1, "round {round}: {replies:?}");
        assert_eq!(count(&replies, 409, "ticket_used"), CONCURRENT - 1, "round {round}: {replies:?}");
    }
}

/// V16, P3: sign-in × deactivation, deletion
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deleted_or_deactivated_user_is_not_signed_in() {
    let (service, mut users) = with_users().await;
    for round in 0..8 {
        service.advance(901);
        let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
        let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": "phoenix",
                          "display_name": "P", "password": "a good long password"});
        let id = service.post("/v1/admin/users", &ann, body).await.ok().text("/id");
        let mut user = TestUser {
            username: "phoenix".into(),
            password: "a good long password".into(),
            id: id.clone(),
            secret: String::new(),
            ..users["bob"].clone()
        };
        service.enrol(&mut user).await;
        let mut challenges = Vec::new();
        for _ in 0..4 {
            challenges.push(service.challenge_token(&user).await);
        }
        let codes = [service.step(), service.step() + 1].map(|step| totp_code(&user.secret, step));
        let path = format!("/v1/admin/users/{id}");
        let end = if round % 2 == 0 {
            TestRequest::new(Method::DELETE, &path).token(&ann)
        } else {
            patch(&path, &ann, json!({"active": false}))
        };
        let most = (0..CONCURRENT - 1).map(|n| match n % 3 {
            0 => login(&user, &user.password),
            n => verify(&challenges[(n + round) % 4], &codes[n - 1]),
        });
        let replies = send_together(&service, mixed(most.collect(), vec![end], round)).await;
        let mut issued = sessions(&replies);
        issued.push(user.session.clone());
        for session in &issued {
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

/// L06: create × create
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_creation_gives_a_username_once() {
    let (service, mut users) = with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let amy = service.stepped_up_session(user_mut(&mut users, "amy")).await;
    for round in 0..4 {
        let spelled = [format!("Zoë{round}"), format!("zoe\u{308}{round}"), format!("ＺＯË{round}")];
        let requests = (0..CONCURRENT).map(|n| {
            let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": spelled[n % 3],
                              "display_name": "Z", "password": format!("the password of {n}")});
            post("/v1/admin/users", if n % 2 == 0 { &ann } else { &amy }, body)
        });
        let replies = send_together(&service, requests.collect()).await;
        let succeeded: Vec<_> = (0..CONCURRENT).filter(|&n| replies[n].status == 201).collect();
        assert_eq!(succeeded.len(), 1, "round {round}: {replies:?}");
        assert_eq!(count(&replies, 409, "conflict"), CONCURRENT - 1);
        let zoe = TestUser { username: spelled[0].clone(), ..users["bob"].clone() };
        let password = format!("the password of {}", succeeded[0]);
        assert_eq!(service.login_with(&zoe, &password).await.ok().text("/status"), "enrolment_required");
    }
}
