//! What each flow costs on the wire: round trips, write and read units, as DynamoDB counts them, and the bytes that a function
//! logs; and how large a person's item is. `cargo test -p tests --test costs -- --nocapture` prints the table.
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
use tests::{Ask, Service, emulator, idp::Idp, log::Log};
use tracing::{Level, instrument::WithSubscriber};
use tracing_subscriber::util::SubscriberInitExt;
use vestibule::log;

/// What went over the wire since it was last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Cost {
    /// A request that starts while none is under way begins a round trip; those beside it are of the same.
    trips: u32,
    writes: f64,
    reads: f64,
}

#[derive(Debug, Default)]
struct Meter {
    under_way: u32,
    cost: Cost,
}

#[derive(Debug, Clone, Default)]
struct Metered(Arc<Mutex<Meter>>);

impl Metered {
    fn take(&self) -> Cost {
        std::mem::take(&mut self.0.lock().unwrap().cost)
    }
}

#[derive(Debug)]
struct MeteredClient(Metered, SharedHttpClient);

impl HttpClient for MeteredClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(MeteredConnector(self.0.clone(), self.1.http_connector(settings, components)))
    }
}

#[derive(Debug)]
struct MeteredConnector(Metered, SharedHttpConnector);

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
            meter.0.lock().unwrap().under_way -= 1;
            let mut response = answered?;
            let body = std::mem::replace(response.body_mut(), SdkBody::empty());
            let bytes = ByteStream::new(body).collect().await.unwrap().into_bytes();
            meter.note(&target, response.status().is_success(), &serde_json::from_slice(&bytes).unwrap_or_default());
            *response.body_mut() = SdkBody::from(bytes);
            Ok(response)
        })
    }
}

impl Metered {
    fn begin(&self) {
        let mut meter = self.0.lock().unwrap();
        meter.cost.trips += u32::from(meter.under_way == 0);
        meter.under_way += 1;
    }

    fn note(&self, target: &str, done: bool, answer: &Value) {
        let consumed = &answer["ConsumedCapacity"];
        let each = consumed.as_array().cloned().unwrap_or_else(|| vec![consumed.clone()]);
        let units: f64 = each.iter().filter_map(|one| one["CapacityUnits"].as_f64()).sum();
        let mut meter = self.0.lock().unwrap();
        match target.rsplit('.').next().unwrap() {
            "BatchGetItem" | "GetItem" | "Query" => meter.cost.reads += units,
            // A condition that failed costs a write too; the emulator does not say so.
            _ => meter.cost.writes += if done { units } else { 1.0 },
        }
    }
}

/// One row of the table: what it may cost at most (ARCHITECTURE.md, "Flows"), and what it did.
async fn measured(meter: &Metered, name: &str, most: Cost, flow: impl Future<Output = ()>) {
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
    assert!((100..300).contains(&bytes), "{name}: one line a request, not {bytes} bytes");
}

fn at_most(trips: u32, writes: f64, reads: f64) -> Cost {
    Cost { trips, writes, reads }
}

async fn service() -> (Service, Metered, tests::People) {
    // With a log for all, no test's coming and going decides whether another's lines are written.
    let _ = log::to(std::io::sink, Level::INFO).try_init();
    let meter = Metered::default();
    let between = meter.clone();
    let table = emulator::table(|inner| SharedHttpClient::new(MeteredClient(between, inner))).await.patient();
    let keys = local::data_dir::DataDir::ephemeral(&vestibule::env::SystemEntropy).unwrap().keys;
    let service = Service::over(Arc::new(table), keys);
    let people = service.populate().await;
    (service, meter, people)
}

#[tokio::test]
async fn flows_cost_no_more_than_they_may() {
    let (service, meter, mut people) = service().await;
    let bob = people.get_mut("bob").unwrap();
    let token = service.enrolment(bob).await;
    measured(&meter, "enrolment, start", at_most(2, 5.0, 4.0), async {
        let start = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
        bob.secret = start.text("/secret");
    })
    .await;
    let code = service.code(bob);
    measured(&meter, "enrolment, confirm", at_most(2, 5.0, 2.0), async {
        let reply = service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": code})).await.ok();
        bob.session = reply.text("/session/token");
    })
    .await;
    // One of the three lies beside the check of the password, and takes no time of its own.
    measured(&meter, "login, wrong", at_most(3, 2.0, 1.0), async {
        service.login_with(bob, "wrong").await;
    })
    .await;
    let mut challenge = String::new();
    measured(&meter, "login, right", at_most(3, 4.0, 1.0), async {
        challenge = service.challenge(bob).await;
    })
    .await;
    measured(&meter, "verify, wrong", at_most(2, 2.0, 1.0), async {
        service.verify(&challenge, &service.wrong(bob)).await;
    })
    .await;
    let code = service.code(bob);
    measured(&meter, "verify, right", at_most(2, 5.0, 1.0), async {
        let reply = service.verify(&challenge, &code).await.ok();
        bob.session = reply.text("/session/token");
        bob.device = reply.text("/session/device_token");
    })
    .await;
    let known = json!({"tenant": "acme", "username": "bob", "password": bob.password, "device_token": bob.device});
    measured(&meter, "login, right, known device", at_most(2, 3.0, 1.0), async {
        service.send(Ask::new(axum::http::Method::POST, "/v1/login").json(known)).await.ok();
    })
    .await;
    let code = service.code(bob);
    measured(&meter, "step-up", at_most(2, 5.0, 1.0), async {
        let reply = service.post("/v1/step-up", &bob.session, json!({"code": code})).await.ok();
        bob.session = reply.text("/session/token");
    })
    .await;
    measured(&meter, "recovery token", at_most(2, 4.0, 2.0), async {
        service.send(Ask::new(axum::http::Method::POST, "/v1/mfa/recovery-token").token(&bob.session)).await.ok();
    })
    .await;
    // The tenant's IdP is read beside the person: it may have ended since it signed them in.
    measured(&meter, "session check", at_most(1, 0.0, 2.0), async {
        service.get("/v1/mfa", &bob.session).await.ok();
    })
    .await;
    measured(&meter, "session, with its owner", at_most(1, 0.0, 3.0), async {
        service.get("/v1/session", &bob.session).await.ok();
    })
    .await;
    // What somebody who guesses can run up, as often as they like.
    let amy = &people["amy"];
    for _ in 0..5 {
        service.login_with(amy, "wrong").await;
    }
    measured(&meter, "login, delayed", at_most(1, 1.0, 0.0), async {
        assert_eq!(service.login_with(amy, "wrong").await.status, 429);
    })
    .await;
}

#[tokio::test]
async fn administration_costs_no_more_than_it_may() {
    let (service, meter, mut people) = service().await;
    service.enrol(people.get_mut("amy").unwrap()).await;
    service.enrol(people.get_mut("gus").unwrap()).await;
    service.enrol(people.get_mut("bob").unwrap()).await;
    let ann = service.fresh(people.get_mut("ann").unwrap()).await;
    let op = service.fresh(people.get_mut("op").unwrap()).await;
    for (name, user, writes) in [("admin reset", "u-bob", 8.0), ("admin reset, Administrator", "u-amy", 10.0)] {
        measured(&meter, name, at_most(2, writes, 6.0), async {
            service.post(&format!("/v1/admin/users/{user}/mfa-reset"), &ann, json!({"reason": "r"})).await.ok();
        })
        .await;
    }
    measured(&meter, "support, tenants", at_most(3, 1.0, 2.5), async {
        let list = service.get("/v1/support/tenants?q=ac", &op).await.ok();
        assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
    })
    .await;
    measured(&meter, "support, users of a tenant", at_most(4, 1.0, 11.5), async {
        let list = service.get("/v1/support/tenants/acme/users", &op).await.ok();
        assert_eq!(list.body["items"].as_array().unwrap().len(), 8);
    })
    .await;
    let new = json!({"id": "initech", "name": "Initech", "administrator": {
        "username": "ian", "password": "a good long password", "display_name": "Ian"}});
    measured(&meter, "support, new tenant", at_most(2, 18.0, 2.0), async {
        service.post("/v1/support/tenants", &op, new).await.ok();
    })
    .await;
    measured(&meter, "support reset", at_most(3, 12.0, 8.0), async {
        let body = json!({"tenant": "globex", "username": "gus", "ticket": "T-1", "reason": "r"});
        service.post("/v1/support/mfa-resets", &op, body).await.ok();
    })
    .await;
}

#[tokio::test]
async fn sso_costs_no_more_than_it_may() {
    let (service, meter, mut people) = service().await;
    let ann = service.fresh(people.get_mut("ann").unwrap()).await;
    let (idp, sp) = (Idp::new("https://idp.example"), service.sp("acme").await);
    measured(&meter, "SSO, configuration", at_most(2, 8.0, 2.0), async {
        service.put("/v1/admin/sso", &ann, idp.fields()).await.ok();
    })
    .await;
    service.patch("/v1/admin/users/u-bob", &ann, json!({"auth_type": "saml_sso"})).await.ok();
    let bob = people.get_mut("bob").unwrap();
    let mut waiting = Vec::new();
    for name in ["SSO, request", ""] {
        let request = async { waiting.push(service.sso_request("acme").await) };
        if name.is_empty() { request.await } else { measured(&meter, name, at_most(2, 1.0, 2.0), request).await }
    }
    let mut arrived = Vec::new();
    for (name, most) in [("SSO, enrolment due", at_most(4, 8.0, 6.0)), ("SSO, signed in", at_most(4, 8.0, 6.0))] {
        let asked = waiting.pop().unwrap();
        let response = idp.answer(&service, &sp, &asked, "bob").signed(&idp);
        measured(&meter, name, most, async {
            arrived.push(service.acs("acme", &response, &asked.relay_state).await.ok());
        })
        .await;
        if let Some(token) = arrived[0].body.pointer("/enrolment/token").filter(|_| bob.secret.is_empty()) {
            service.enrol_with(bob, token.as_str().unwrap(), json!({})).await;
        }
    }
    let asked = service.sso_request("acme").await;
    measured(&meter, "SSO, refused", at_most(2, 1.0, 2.0), async {
        let response = idp.answer(&service, &sp, &asked, "bob").response("");
        assert_eq!(service.acs("acme", &response, &asked.relay_state).await.status, 401);
    })
    .await;
}

#[tokio::test]
async fn the_directory_and_batches_cost_no_more_than_they_may() {
    let (service, meter, mut people) = service().await;
    let ann = service.fresh(people.get_mut("ann").unwrap()).await;
    let body = |name: &str, kind: &str, role: &str| json!({"kind": kind, "role": role, "auth_type": "local", "username": name, "display_name": name});
    for (kind, role, writes) in [("employee", "standard", 11.0), ("employee", "administrator", 13.0)] {
        measured(&meter, &format!("create, {role}"), at_most(2, writes, 2.0), async {
            service.post("/v1/admin/users", &ann, body(role, kind, role)).await.ok();
        })
        .await;
    }
    // Who is an Administrator no longer has the tenant's others asked for first.
    for (name, change, most) in [
        ("change of a name", json!({"display_name": "Bobby"}), at_most(2, 9.0, 4.0)),
        ("change of a role", json!({"role": "administrator"}), at_most(2, 8.0, 4.0)),
        ("change of a kind", json!({"kind": "contact", "role": "portal"}), at_most(3, 8.0, 5.0)),
    ] {
        measured(&meter, name, most, async {
            service.patch("/v1/admin/users/u-bob", &ann, change).await.ok();
        })
        .await;
    }
    measured(&meter, "deletion", at_most(2, 14.0, 4.0), async {
        service.delete("/v1/admin/users/u-bob", &ann).await.ok();
    })
    .await;
    let mut contacts = Vec::new();
    for n in 0..40 {
        let made = service.post("/v1/admin/users", &ann, body(&format!("c{n}"), "contact", "portal")).await.ok();
        contacts.push(made.text("/id"));
    }
    measured(&meter, "batch of two groups", at_most(9, 304.0, 86.0), async {
        let body = json!({"contact_ids": contacts, "disable_mfa": true, "reason": "r"});
        let ask = Ask::new(axum::http::Method::POST, "/v1/admin/portal-exclusions").token(&ann).json(body);
        let reply = service.send(ask.header("Idempotency-Key", "costs")).await.ok();
        assert_eq!(reply.body["counts"]["excluded"], 40);
    })
    .await;
    measured(&meter, "list of ten people", at_most(3, 0.0, 17.0), async {
        let list = service.get("/v1/admin/users?limit=10", &ann).await.ok();
        assert_eq!(list.body["items"].as_array().unwrap().len(), 10);
    })
    .await;
}
