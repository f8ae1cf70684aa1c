//! The cost of each flow: round trips, and write and read units as DynamoDB counts them; the bytes a function logs; and
//! the size of a user's item. `cargo test --workspace --test costs -- --nocapture` prints the table.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use serde_json::{Value, json};
use tests::{Service, TestRequest, TestUser, browser::Browser, emulator, idp::Idp, log::Log};
use tracing::{Level, instrument::WithSubscriber};
use tracing_subscriber::util::SubscriberInitExt;
use vestibule::log;

/// The cost of the calls since the last `take`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Cost {
    /// Round trips: calls that run at the same time count as one.
    trips: u32,
    writes: f64,
    reads: f64,
}

#[derive(Debug, Default)]
struct Meter {
    pending: u32,
    cost: Cost,
}

#[derive(Debug, Clone, Default)]
struct SharedMeter(Arc<Mutex<Meter>>);

impl SharedMeter {
    fn take(&self) -> Cost {
        std::mem::take(&mut self.0.lock().unwrap().cost)
    }
}

#[derive(Debug)]
struct MeteredClient(SharedMeter, SharedHttpClient);

impl HttpClient for MeteredClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(MeteredConnector(self.0.clone(), self.1.http_connector(settings, components)))
    }
}

#[derive(Debug)]
struct MeteredConnector(SharedMeter, SharedHttpConnector);

impl HttpConnector for MeteredConnector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let mut body: Value = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap();
        body["ReturnConsumedCapacity"] = json!("TOTAL");
        let bytes = serde_json::to_vec(&body).unwrap();
        request.headers_mut().insert("content-length", bytes.len().to_string());
        *request.body_mut() = SdkBody::from(bytes);
        let (meter, inner) = (self.0.clone(), self.1.clone());
        HttpConnectorFuture::new(async move {
            meter.begin();
            let answered = inner.call(request).await;
            meter.0.lock().unwrap().pending -= 1;
            let mut response = answered?;
            let body = std::mem::replace(response.body_mut(), SdkBody::empty());
            let bytes = ByteStream::new(body).collect().await.unwrap().into_bytes();
            meter.record(&target, response.status().is_success(), &serde_json::from_slice(&bytes).unwrap_or_default());
            *response.body_mut() = SdkBody::from(bytes);
            Ok(response)
        })
    }
}

impl SharedMeter {
    fn begin(&self) {
        let mut meter = self.0.lock().unwrap();
        meter.cost.trips += u32::from(meter.pending == 0);
        meter.pending += 1;
    }

    fn record(&self, target: &str, done: bool, answer: &Value) {
        let consumed = &answer["ConsumedCapacity"];
        let each = consumed.as_array().cloned().unwrap_or_else(|| vec![consumed.clone()]);
        let units: f64 = each.iter().filter_map(|one| one["CapacityUnits"].as_f64()).sum();
        let mut meter = self.0.lock().unwrap();
        match target.rsplit('.').next().unwrap() {
            "BatchGetItem" | "GetItem" | "Query" => meter.cost.reads += units,
            // A failed condition costs a write unit, which the emulator does not report.
            _ => meter.cost.writes += if done { units } else { 1.0 },
        }
    }
}

/// Runs a flow and prints a row of the table. Panics if it exceeds its limits (ARCHITECTURE.md, "Flows").
async fn measure(meter: &SharedMeter, name: &str, most: Cost, flow: impl Future<Output = ()>) {
    meter.take();
    let logged = Log::default();
    flow.with_subscriber(log::to(logged.clone(), Level::INFO)).await;
    let (cost, bytes) = (meter.take(), logged.take().trim_end().len());
    println!(
        "{name:<28} {:>3} of {:>2} trips {:>6.1} of {:>5.1} W {:>5.1} of {:>4.1} R {bytes:>4} B",
        cost.trips, most.trips, cost.writes, most.writes, cost.reads, most.reads
    );
    let within = cost.trips <= most.trips && cost.writes <= most.writes && cost.reads <= most.reads;
    assert!(within, "{name}: {cost:?} is over {most:?}");
    assert!((100..300).contains(&bytes), "{name}: expected one log line of 100 to 300 bytes, got {bytes}");
}

fn at_most(trips: u32, writes: f64, reads: f64) -> Cost {
    Cost { trips, writes, reads }
}

async fn service() -> (Service, SharedMeter, tests::TestUsers) {
    // A global subscriber makes sure that log lines are written even if another test's subscriber ends meanwhile.
    let _ = log::to(std::io::sink, Level::INFO).try_init();
    let meter = SharedMeter::default();
    let recorded = meter.clone();
    let table = emulator::table(|inner| SharedHttpClient::new(MeteredClient(recorded, inner))).await.patient();
    let keys = local::data_dir::DataDir::ephemeral(&vestibule::env::SystemEntropy).unwrap().keys;
    let service = Service::with_table(Arc::new(table), keys);
    let users = service.add_users().await;
    (service, meter, users)
}

#[tokio::test]
async fn flows_stay_within_their_cost_limits() {
    let (service, meter, mut users) = service().await;
    let bob = users.get_mut("bob").unwrap();
    enrolment(&service, &meter, bob).await;
    sign_in(&service, &meter, bob).await;
    with_session(&service, &meter, bob).await;
    delayed_sign_in(&service, &meter, &users["amy"]).await;
}

/// A page reads the settings of its tenant for its look: one round trip more than its operation. A page of no tenant reads nothing.
#[tokio::test]
async fn page_costs_one_round_trip_more_than_its_operation() {
    let (service, meter, mut users) = service().await;
    let bob = users.get_mut("bob").unwrap();
    service.enrol(bob).await;
    for (signed_in, path, trips) in [
        (true, "/settings/security", 2),
        (true, "/settings/email", 2),
        (false, "/login", 0),
        (false, "/login?tenant=acme", 2),
        (false, "/password/forgot", 0),
    ] {
        let mut browser = if signed_in { Browser::signed_in(&service, bob) } else { Browser::new(&service) };
        meter.take();
        assert_eq!(browser.open(path).await.status, 200, "{path}");
        assert_eq!(meter.take().trips, trips, "{path}");
    }
}

async fn enrolment(service: &Service, meter: &SharedMeter, bob: &mut TestUser) {
    let token = service.enrolment_token(bob).await;
    measure(meter, "enrolment, start", at_most(2, 5.0, 4.0), async {
        let start = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
        bob.secret = start.text("/secret");
    })
    .await;
    let code = service.next_code(bob);
    measure(meter, "enrolment, confirm", at_most(2, 5.0, 2.0), async {
        let reply = service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": code})).await.ok();
        bob.session = reply.text("/session/token");
    })
    .await;
}

/// Signs in with wrong and right passwords and codes, and from a known device.
async fn sign_in(service: &Service, meter: &SharedMeter, bob: &mut TestUser) {
    // One of the three calls runs at the same time as the password check, so it takes no extra time.
    measure(meter, "login, wrong", at_most(3, 2.0, 1.0), async {
        service.login_with(bob, "wrong").await;
    })
    .await;
    let mut challenge = String::new();
    measure(meter, "login, right", at_most(3, 4.0, 1.0), async {
        challenge = service.challenge_token(bob).await;
    })
    .await;
    measure(meter, "verify, wrong", at_most(2, 2.0, 1.0), async {
        service.verify(&challenge, &service.wrong_code(bob)).await;
    })
    .await;
    let code = service.next_code(bob);
    measure(meter, "verify, right", at_most(2, 5.0, 1.0), async {
        let reply = service.verify(&challenge, &code).await.ok();
        bob.session = reply.text("/session/token");
        bob.device = reply.text("/session/device_token");
    })
    .await;
    let known = json!({"tenant": "acme", "username": "bob", "password": bob.password, "device_token": bob.device});
    measure(meter, "login, right, known device", at_most(2, 3.0, 1.0), async {
        service.send(TestRequest::new(axum::http::Method::POST, "/v1/login").json(known)).await.ok();
    })
    .await;
}

async fn with_session(service: &Service, meter: &SharedMeter, bob: &mut TestUser) {
    let code = service.next_code(bob);
    measure(meter, "step-up", at_most(2, 5.0, 1.0), async {
        let reply = service.post("/v1/step-up", &bob.session, json!({"code": code})).await.ok();
        bob.session = reply.text("/session/token");
    })
    .await;
    measure(meter, "recovery token", at_most(2, 4.0, 2.0), async {
        service
            .send(TestRequest::new(axum::http::Method::POST, "/v1/mfa/recovery-token").token(&bob.session))
            .await
            .ok();
    })
    .await;
    // The tenant's IdP is read with the user: it may have been removed since the sign-in.
    measure(meter, "session check", at_most(1, 0.0, 2.0), async {
        service.get("/v1/mfa", &bob.session).await.ok();
    })
    .await;
    measure(meter, "session, with its owner", at_most(1, 0.0, 3.0), async {
        service.get("/v1/session", &bob.session).await.ok();
    })
    .await;
}

/// The cost that an attacker with wrong passwords can cause repeatedly.
async fn delayed_sign_in(service: &Service, meter: &SharedMeter, amy: &TestUser) {
    for _ in 0..5 {
        service.login_with(amy, "wrong").await;
    }
    measure(meter, "login, delayed", at_most(1, 1.0, 0.0), async {
        assert_eq!(service.login_with(amy, "wrong").await.status, 429);
    })
    .await;
}

#[tokio::test]
async fn administration_stays_within_its_cost_limits() {
    let (service, meter, mut users) = service().await;
    service.enrol(users.get_mut("amy").unwrap()).await;
    service.enrol(users.get_mut("gus").unwrap()).await;
    service.enrol(users.get_mut("bob").unwrap()).await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let op = service.stepped_up_session(users.get_mut("op").unwrap()).await;
    for (name, user, writes) in [("admin reset", "u-bob", 8.0), ("admin reset, Administrator", "u-amy", 10.0)] {
        measure(&meter, name, at_most(2, writes, 6.0), async {
            service.post(&format!("/v1/admin/users/{user}/mfa-reset"), &ann, json!({"reason": "r"})).await.ok();
        })
        .await;
    }
    measure(&meter, "support, tenants", at_most(3, 1.0, 2.5), async {
        let list = service.get("/v1/support/tenants?q=ac", &op).await.ok();
        assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
    })
    .await;
    measure(&meter, "support, users of a tenant", at_most(4, 1.0, 11.5), async {
        let list = service.get("/v1/support/tenants/acme/users", &op).await.ok();
        assert_eq!(list.body["items"].as_array().unwrap().len(), 8);
    })
    .await;
    let new = json!({"id": "initech", "name": "Initech", "administrator": {
        "username": "ian", "password": "a good long password", "display_name": "Ian"}});
    measure(&meter, "support, new tenant", at_most(2, 18.0, 2.0), async {
        service.post("/v1/support/tenants", &op, new).await.ok();
    })
    .await;
    measure(&meter, "support reset", at_most(3, 12.0, 8.0), async {
        let body = json!({"tenant": "globex", "username": "gus", "ticket": "T-1", "reason": "r"});
        service.post("/v1/support/mfa-resets", &op, body).await.ok();
    })
    .await;
}

#[tokio::test]
async fn sso_stays_within_its_cost_limits() {
    let (service, meter, mut users) = service().await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let (idp, sp) = (Idp::new("https://idp.example"), service.sp("acme").await);
    measure(&meter, "SSO, configuration", at_most(2, 8.0, 2.0), async {
        service.put("/v1/admin/sso", &ann, idp.fields()).await.ok();
    })
    .await;
    service.patch("/v1/admin/users/u-bob", &ann, json!({"auth_type": "saml_sso"})).await.ok();
    let bob = users.get_mut("bob").unwrap();
    let mut waiting = Vec::new();
    for name in ["SSO, request", ""] {
        let request = async { waiting.push(service.sso_request("acme").await) };
        if name.is_empty() { request.await } else { measure(&meter, name, at_most(2, 1.0, 2.0), request).await }
    }
    let mut signed_in = Vec::new();
    for (name, most) in [("SSO, enrolment due", at_most(4, 8.0, 6.0)), ("SSO, signed in", at_most(4, 8.0, 6.0))] {
        let authn_request = waiting.pop().unwrap();
        let response = idp.valid_response(&service, &sp, &authn_request, "bob").sign_assertion(&idp);
        measure(&meter, name, most, async {
            signed_in.push(service.acs("acme", &response, &authn_request.relay_state).await.ok());
        })
        .await;
        if let Some(token) = signed_in[0].body.pointer("/enrolment/token").filter(|_| bob.secret.is_empty()) {
            service.enrol_with(bob, token.as_str().unwrap(), json!({})).await;
        }
    }
    let authn_request = service.sso_request("acme").await;
    measure(&meter, "SSO, refused", at_most(2, 1.0, 2.0), async {
        let response = idp.valid_response(&service, &sp, &authn_request, "bob").response("");
        assert_eq!(service.acs("acme", &response, &authn_request.relay_state).await.status, 401);
    })
    .await;
}

#[tokio::test]
async fn mailed_tokens_stay_within_their_cost_limits() {
    let (service, meter, mut users) = service().await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let bob = users.get_mut("bob").unwrap();
    service.enrol(bob).await;
    let email = json!({"email": "bob@acme.example"});
    service.patch("/v1/admin/users/u-bob", &ann, email).await.ok();
    let request = || TestRequest::new(axum::http::Method::POST, "/v1/email-verifications").token(&bob.session);
    service.send(request()).await.ok();
    measure(&meter, "e-mail verification", at_most(2, 1.0, 3.0), async {
        service.send(request()).await.ok();
    })
    .await;
    let token = service.sent_mails().await[1].token();
    let post = |path: &str, body: Value| TestRequest::new(axum::http::Method::POST, path).json(body);
    measure(&meter, "e-mail verification, confirm", at_most(2, 4.0, 1.0), async {
        service.send(post("/v1/email-verifications/confirm", json!({"token": token}))).await.ok();
    })
    .await;
    measure(&meter, "password reset, request", at_most(1, 1.0, 0.0), async {
        service.send(post("/v1/password-resets", json!({"tenant": "acme", "username": "bob"}))).await.ok();
    })
    .await;
    let order = service.mails().orders().remove(0);
    measure(&meter, "mail with a token", at_most(4, 9.0, 5.0), async {
        service.mails().deliver(service.app(), &order).await.unwrap();
    })
    .await;
    let token = service.sent_mails().await[0].token();
    measure(&meter, "password reset, confirm", at_most(2, 6.0, 1.0), async {
        let body = json!({"token": token, "new_password": "seven green lamps in the hall"});
        service.send(post("/v1/password-resets/confirm", body)).await.ok();
    })
    .await;
    let invited = |name: &str| {
        json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": name, "display_name": name,
               "email": "new@acme.example", "invite": true})
    };
    let ivy = service.post("/v1/admin/users", &ann, invited("ivy")).await.ok().text("/id");
    measure(&meter, "invitation", at_most(2, 0.0, 5.0), async {
        let path = format!("/v1/admin/users/{ivy}/invitation");
        service.send(TestRequest::new(axum::http::Method::POST, path).token(&ann)).await.ok();
    })
    .await;
    let rows: Vec<_> = (0..10).map(|n| invited(&format!("new{n}"))).collect();
    measure(&meter, "batch of ten new users", at_most(12, 110.0, 12.0), async {
        service.post("/v1/admin/users/batch", &ann, json!({"users": rows})).await.ok();
    })
    .await;
}

#[tokio::test]
async fn directory_and_batches_stay_within_their_cost_limits() {
    let (service, meter, mut users) = service().await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let body = |name: &str, kind: &str, role: &str| json!({"kind": kind, "role": role, "auth_type": "local", "username": name, "display_name": name});
    for (kind, role, writes) in [("employee", "standard", 11.0), ("employee", "administrator", 13.0)] {
        measure(&meter, &format!("create, {role}"), at_most(2, writes, 2.0), async {
            service.post("/v1/admin/users", &ann, body(role, kind, role)).await.ok();
        })
        .await;
    }
    // If the user was no Administrator, the list of Administrators is not read first.
    for (name, change, most) in [
        ("change of a name", json!({"display_name": "Bobby"}), at_most(2, 9.0, 4.0)),
        ("change of a role", json!({"role": "administrator"}), at_most(2, 8.0, 4.0)),
        ("change of a kind", json!({"kind": "contact", "role": "portal"}), at_most(3, 8.0, 5.0)),
    ] {
        measure(&meter, name, most, async {
            service.patch("/v1/admin/users/u-bob", &ann, change).await.ok();
        })
        .await;
    }
    measure(&meter, "deletion", at_most(2, 14.0, 4.0), async {
        service.delete("/v1/admin/users/u-bob", &ann).await.ok();
    })
    .await;
    let mut contacts = Vec::new();
    for n in 0..40 {
        let made = service.post("/v1/admin/users", &ann, body(&format!("c{n}"), "contact", "portal")).await.ok();
        contacts.push(made.text("/id"));
    }
    measure(&meter, "batch of two groups", at_most(9, 304.0, 86.0), async {
        let body = json!({"contact_ids": contacts, "disable_mfa": true, "reason": "r"});
        let request = TestRequest::new(axum::http::Method::POST, "/v1/admin/portal-exclusions").token(&ann).json(body);
        let reply = service.send(request.header("Idempotency-Key", "costs")).await.ok();
        assert_eq!(reply.body["counts"]["excluded"], 40);
    })
    .await;
    measure(&meter, "list of ten people", at_most(3, 0.0, 17.0), async {
        let list = service.get("/v1/admin/users?limit=10", &ann).await.ok();
        assert_eq!(list.body["items"].as_array().unwrap().len(), 10);
    })
    .await;
}
