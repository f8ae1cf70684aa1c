//! A server that runs elsewhere. Test users are created through its API.

use std::{env, thread, time::Duration};

use serde_json::{Value, json};
use tokio::sync::OnceCell;
use vestibule::{env::SystemEntropy, id::UserId};

use crate::{Service, TestUser, TestUsers, password};

/// Sleeps for this many seconds; returns at once if the number is not positive.
pub(crate) fn sleep(seconds: i64) {
    // Blocking is fine: every test has its own thread.
    thread::sleep(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
}

fn user(tenant: &str, username: &str) -> TestUser {
    TestUser::new(tenant, username, &password(username))
}

/// The session of the operator that creates the tenants: `op` of the demo users, or `VESTIBULE_OPERATOR` with
/// `VESTIBULE_OPERATOR_PASSWORD`. The operator must not have enrolled before. The enrolment happens once per test run,
/// and the run ends before that step-up expires.
async fn operator(service: &Service) -> &'static str {
    static SESSION: OnceCell<String> = OnceCell::const_new();
    let enrolled = || async {
        let demo: Value = serde_json::from_str(local::seed::DEMO).unwrap();
        let users = demo["tenants"].as_array().unwrap().iter().flat_map(|tenant| tenant["users"].as_array().unwrap());
        let op = users.into_iter().find(|user| user["username"] == "op").unwrap();
        let mut operator = user("support", &env::var("VESTIBULE_OPERATOR").unwrap_or_else(|_| "op".into()));
        operator.password =
            env::var("VESTIBULE_OPERATOR_PASSWORD").unwrap_or_else(|_| op["password"].as_str().unwrap().to_owned());
        service.enrol(&mut operator).await;
        operator.session
    };
    SESSION.get_or_init(enrolled).await
}

/// Creates a user and sets the id.
async fn create(service: &Service, by: &str, tenant: &str, (username, kind, role): (&str, &str, &str)) -> TestUser {
    let mut user = user(tenant, username);
    let body = json!({"kind": kind, "role": role, "auth_type": "local", "username": username, "display_name": username,
        "password": user.password});
    user.id = service.post("/v1/admin/users", by, body).await.ok().text("/id");
    user
}

/// Creates the users of [`Service::with_users`] in new tenants, and a new operator.
pub(crate) async fn create_users(service: &Service) -> TestUsers {
    let operator = operator(service).await;
    let suffix = UserId::generate(&SystemEntropy).unwrap();
    let mut users = Vec::new();
    let acme = [
        ("ann", "employee", "administrator"),
        ("amy", "employee", "administrator"),
        ("bob", "employee", "standard"),
        ("eve", "employee", "standard"),
        ("con1", "contact", "portal"),
        ("con2", "contact", "portal"),
        ("con3", "contact", "portal"),
        ("off", "employee", "standard"),
    ];
    let globex = [("gus", "employee", "administrator"), ("gil", "employee", "standard")];
    for (name, accounts) in [("Acme", &acme[..]), ("Globex", &globex[..])] {
        let tenant = format!("{}-{suffix}", name.to_lowercase());
        // The first Administrator creates the other users and is deleted afterwards.
        let mut first = user(&tenant, "first");
        let administrator =
            json!({"username": first.username, "password": first.password, "display_name": first.username});
        let new = json!({"id": tenant, "name": name, "administrator": administrator});
        service.post("/v1/support/tenants", operator, new).await.ok();
        service.enrol(&mut first).await;
        for account in accounts {
            let created = create(service, &first.session, &tenant, *account).await;
            if created.username == "off" {
                let path = format!("/v1/admin/users/{}", created.id);
                service.patch(&path, &first.session, json!({"active": false})).await.ok();
            }
            users.push(created);
        }
        service.delete(&format!("/v1/admin/users/{}", first.id), &first.session).await.ok();
    }
    let mut op = create(service, operator, "support", (&format!("op-{suffix}"), "employee", "operator")).await;
    let mut users: TestUsers = users.into_iter().map(|user| (user.username.clone(), user)).collect();
    op.password = password(&op.username);
    users.insert("op".to_owned(), op);
    users
}
