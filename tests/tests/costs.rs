//! What each flow of ARCHITECTURE.md ("Flows") writes and costs: the items, round trips, and write and read units as DynamoDB
//! counts them; and the bytes that a function logs. `cargo test --workspace --test costs -- --nocapture` prints the table.
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
use axum::http::Method;
use serde_json::{Value, json};
use tests::{
    Service, TestRequest, TestUser, TestUsers,
    browser::Browser,
    emulator,
    flows::{self, Cost, show_written},
    idp::{Idp, ResponseSpec, Sp},
    log::Log,
};
use tracing::{Level, instrument::WithSubscriber};
use tracing_subscriber::util::SubscriberInitExt;
use vestibule::log;

#[derive(Debug, Default)]
struct Meter {
    pending: u32,
    /// The cost of the calls since the last `take`.
    cost: Cost,
    /// The cost of each measured flow.
    measured: Vec<(String, Cost)>,
}

#[derive(Debug, Clone, Default)]
struct SharedMeter(Arc<Mutex<Meter>>);

impl SharedMeter {
    fn take(&self) -> Cost {
        let mut cost = std::mem::take(&mut self.0.lock().unwrap().cost);
        cost.written.sort();
        cost
    }

    fn measured(&self) -> Vec<(String, Cost)> {
        std::mem::take(&mut self.0.lock().unwrap().measured)
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
        let mut call: Value = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap();
        call["ReturnConsumedCapacity"] = json!("TOTAL");
        let bytes = serde_json::to_vec(&call).unwrap();
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
            let answer = serde_json::from_slice(&bytes).unwrap_or_default();
            meter.record(target.rsplit('.').next().unwrap(), &call, response.status().is_success(), &answer);
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

    fn record(&self, operation: &str, call: &Value, done: bool, answer: &Value) {
        let consumed = &answer["ConsumedCapacity"];
        let each = consumed.as_array().cloned().unwrap_or_else(|| vec![consumed.clone()]);
        let units: f64 = each.iter().filter_map(|one| one["CapacityUnits"].as_f64()).sum();
        let cost = &mut self.0.lock().unwrap().cost;
        match operation {
            "BatchGetItem" | "GetItem" | "Query" => cost.reads += units,
            "UpdateItem" | "PutItem" | "DeleteItem" | "TransactWriteItems" if done => {
                cost.writes += units;
                cost.written.push(written(call));
            }
            // A failed condition costs a write unit, which the emulator does not report.
            "UpdateItem" | "PutItem" | "DeleteItem" | "TransactWriteItems" => cost.writes += 1.0,
            // The table is created before a flow is measured.
            _ => {}
        }
    }
}

/// The names of the items of a write or a transaction, as ARCHITECTURE.md has them.
fn written(call: &Value) -> Vec<String> {
    let Some(actions) = call["TransactItems"].as_array() else { return vec![item_of(call)] };
    let actions = actions.iter().flat_map(|action| action.as_object().unwrap());
    let mut items: Vec<_> = actions
        .map(|(kind, action)| match kind.as_str() {
            "ConditionCheck" => format!("({})", item_of(action)),
            _ => item_of(action),
        })
        .collect();
    items.sort();
    items
}

/// The name of the item of an action. `U1` is the user who calls the administration in these tests.
fn item_of(action: &Value) -> String {
    let key = action.get("Key").unwrap_or(&action["Item"]);
    let [partition, sort] = ["PK", "SK"].map(|name| key[name]["S"].as_str().unwrap());
    let name = match sort {
        "U" if ["#U#u-ann", "#U#u-op"].iter().any(|caller| partition.ends_with(caller)) => "U1",
        _ if partition.contains("#A#") => "A",
        _ if sort.starts_with("G#") => "G",
        _ => sort,
    };
    name.to_owned()
}

/// Runs a flow, prints a row of the table and keeps the cost.
async fn measure(meter: &SharedMeter, name: &str, flow: impl Future<Output = ()>) {
    meter.take();
    let logged = Log::default();
    flow.with_subscriber(log::to(logged.clone(), Level::INFO)).await;
    let (cost, bytes) = (meter.take(), logged.take().trim_end().len());
    println!("{name:<28} {:>3} trips {:>6.1} W {:>5.1} R {bytes:>4} B", cost.trips, cost.writes, cost.reads);
    assert!((100..300).contains(&bytes), "{name}: expected one log line of 100 to 300 bytes, got {bytes}");
    meter.0.lock().unwrap().measured.push((name.to_owned(), cost));
}

async fn service() -> (Service, SharedMeter, TestUsers) {
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

/// The rows of the page are measured, and nothing else is. So the page cannot say what no flow does.
#[tokio::test]
async fn every_flow_writes_and_costs_what_its_row_says() {
    let mut measured = Box::pin(own_account()).await;
    measured.extend(Box::pin(administration()).await);
    measured.extend(Box::pin(sso()).await);
    measured.extend(Box::pin(mailed_tokens()).await);
    measured.extend(Box::pin(directory()).await);
    measured.extend(Box::pin(batches()).await);
    let rows = flows::rows();
    let mut faults = Vec::new();
    for row in &rows {
        match measured.iter().filter(|(name, _)| *name == row.name).collect::<Vec<_>>()[..] {
            [(_, cost)] if *cost == row.cost => {}
            [(name, cost)] => faults.push(format!(
                "{name}: {} | {} | {} | {}",
                show_written(&cost.written),
                cost.trips,
                cost.writes,
                cost.reads
            )),
            [] => faults.push(format!("{}: not measured", row.name)),
            _ => faults.push(format!("{}: measured several times", row.name)),
        }
    }
    let without_row = measured.iter().filter(|(name, _)| !rows.iter().any(|row| row.name == *name));
    faults.extend(without_row.map(|(name, cost)| format!("{name}: no row for {cost:?}")));
    assert!(faults.is_empty(), "ARCHITECTURE.md differs from what was measured:\n{}", faults.join("\n"));
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

async fn own_account() -> Vec<(String, Cost)> {
    let (service, meter, mut users) = service().await;
    let bob = users.get_mut("bob").unwrap();
    enrolment(&service, &meter, bob).await;
    sign_in(&service, &meter, bob).await;
    with_session(&service, &meter, bob).await;
    own_password(&service, &meter, bob).await;
    sign_out(&service, &meter, bob).await;
    delayed_sign_in(&service, &meter, &users["amy"]).await;
    meter.measured()
}

async fn enrolment(service: &Service, meter: &SharedMeter, bob: &mut TestUser) {
    let token = service.enrolment_token(bob).await;
    measure(meter, "enrolment, start", async {
        let start = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
        bob.secret = start.text("/secret");
    })
    .await;
    measure(meter, "enrolment, wrong code", async {
        let code = service.wrong_code(bob);
        let reply = service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": code})).await;
        assert!(reply.is(401, "invalid_code"));
    })
    .await;
    let code = service.next_code(bob);
    measure(meter, "enrolment, confirm", async {
        let reply = service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": code})).await.ok();
        bob.session = reply.text("/session/token");
    })
    .await;
}

/// Signs in with wrong and right passwords and codes, and from a known device.
async fn sign_in(service: &Service, meter: &SharedMeter, bob: &mut TestUser) {
    // One of the three calls runs at the same time as the password check, so it takes no extra time.
    measure(meter, "login, wrong", async {
        service.login_with(bob, "wrong").await;
    })
    .await;
    let mut challenge = String::new();
    measure(meter, "login, right", async {
        challenge = service.challenge_token(bob).await;
    })
    .await;
    measure(meter, "verify, wrong", async {
        service.verify(&challenge, &service.wrong_code(bob)).await;
    })
    .await;
    let code = service.next_code(bob);
    measure(meter, "verify, right", async {
        let reply = service.verify(&challenge, &code).await.ok();
        bob.session = reply.text("/session/token");
        bob.device = reply.text("/session/device_token");
    })
    .await;
    let known = json!({"tenant": "acme", "username": "bob", "password": bob.password, "device_token": bob.device});
    measure(meter, "login, right, known device", async {
        service.send(TestRequest::new(Method::POST, "/v1/login").json(known)).await.ok();
    })
    .await;
}

async fn with_session(service: &Service, meter: &SharedMeter, bob: &mut TestUser) {
    let code = service.next_code(bob);
    measure(meter, "step-up", async {
        let reply = service.post("/v1/step-up", &bob.session, json!({"code": code})).await.ok();
        bob.session = reply.text("/session/token");
    })
    .await;
    // The tenant's IdP is read with the user: it may have been removed since the sign-in.
    measure(meter, "session check", async {
        service.get("/v1/mfa", &bob.session).await.ok();
    })
    .await;
    measure(meter, "session, with its owner", async {
        service.get("/v1/session", &bob.session).await.ok();
    })
    .await;
    measure(meter, "MFA, disable", async {
        assert!(service.delete("/v1/mfa", &bob.session).await.is(403, "mfa_mandatory"));
    })
    .await;
    let mut recovery_token = String::new();
    measure(meter, "recovery token, issue", async {
        let request = TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(&bob.session);
        recovery_token = service.send(request).await.ok().text("/recovery_token");
    })
    .await;
    let challenge = service.challenge_token(bob).await;
    measure(meter, "verify, recovery token", async {
        service.verify(&challenge, &recovery_token).await.ok();
    })
    .await;
}

async fn own_password(service: &Service, meter: &SharedMeter, bob: &mut TestUser) {
    let session = service.stepped_up_session(bob).await;
    let new = "seven green lamps in the hall";
    let change = |current: &str| json!({"current_password": current, "new_password": new});
    measure(meter, "own password, wrong", async {
        let reply = service.post("/v1/password", &session, change("wrong")).await;
        assert!(reply.is(401, "invalid_credentials"));
    })
    .await;
    measure(meter, "own password, right", async {
        bob.session = service.post("/v1/password", &session, change(&bob.password)).await.ok().text("/session/token");
    })
    .await;
    new.clone_into(&mut bob.password);
}

async fn sign_out(service: &Service, meter: &SharedMeter, bob: &mut TestUser) {
    let first = bob.session.clone();
    service.sign_in(bob).await;
    let sessions = service.get("/v1/sessions", &bob.session).await.ok();
    let other = sessions.body["items"].as_array().unwrap().iter().find(|it| it["current"] == false).unwrap();
    let path = format!("/v1/sessions/{}", other["id"].as_str().unwrap());
    measure(meter, "sign-out, one session", async {
        service.delete(&path, &bob.session).await.ok();
    })
    .await;
    assert!(service.get("/v1/session", &first).await.is(401, "invalid_token"));
    measure(meter, "sign-out, other sessions", async {
        service.delete("/v1/sessions", &bob.session).await.ok();
    })
    .await;
    measure(meter, "sign-out", async {
        service.delete("/v1/session", &bob.session).await.ok();
    })
    .await;
}

/// The cost that an attacker with wrong passwords can cause repeatedly.
async fn delayed_sign_in(service: &Service, meter: &SharedMeter, amy: &TestUser) {
    for _ in 0..4 {
        service.login_with(amy, "wrong").await;
    }
    measure(meter, "login, fifth wrong", async {
        assert_eq!(service.login_with(amy, "wrong").await.status, 401);
    })
    .await;
    measure(meter, "login, delayed", async {
        assert_eq!(service.login_with(amy, "wrong").await.status, 429);
    })
    .await;
}

async fn administration() -> Vec<(String, Cost)> {
    let (service, meter, mut users) = service().await;
    for name in ["amy", "gus", "bob"] {
        service.enrol(users.get_mut(name).unwrap()).await;
    }
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let op = service.stepped_up_session(users.get_mut("op").unwrap()).await;
    resets(&service, &meter, &users, &ann).await;
    settings_and_clients(&service, &meter, &users["ann"], &op).await;
    support(&service, &meter, &op).await;
    meter.measured()
}

async fn resets(service: &Service, meter: &SharedMeter, users: &TestUsers, ann: &str) {
    let mut codes = Vec::new();
    for (name, user) in [
        ("admin reset", "u-bob"),
        ("admin reset, repeated", "u-bob"),
        ("admin reset, Administrator", "u-amy"),
        ("admin reset, new code", "u-amy"),
    ] {
        measure(meter, name, async {
            let path = format!("/v1/admin/users/{user}/mfa-reset");
            let reply = service.post(&path, ann, json!({"reason": "r"})).await.ok();
            codes.extend(reply.body.pointer("/reset_code").and_then(Value::as_str).map(str::to_owned));
        })
        .await;
    }
    let [replaced, code] = &codes[..] else { panic!("{codes:?}") };
    let token = service.enrolment_token(&users["amy"]).await;
    measure(meter, "enrolment, wrong reset code", async {
        let reply = service.post("/v1/mfa/enrolments", &token, json!({"reset_code": replaced})).await;
        assert!(reply.is(403, "reset_code_required"));
    })
    .await;
    measure(meter, "enrolment, start with reset code", async {
        service.post("/v1/mfa/enrolments", &token, json!({"reset_code": code})).await.ok();
    })
    .await;
}

async fn settings_and_clients(service: &Service, meter: &SharedMeter, ann: &TestUser, op: &str) {
    measure(meter, "settings", async {
        service.patch("/v1/admin/settings", &ann.session, json!({"reset_code_for": "everyone"})).await.ok();
    })
    .await;
    let mut client = Value::Null;
    measure(meter, "client, create", async {
        client = service.post("/v1/admin/clients", &ann.session, json!({"name": "portal"})).await.ok().body;
    })
    .await;
    let [id, secret] = ["client_id", "client_secret"].map(|name| client[name].as_str().unwrap());
    measure(meter, "introspection", async {
        let basic = data_encoding::BASE64.encode(format!("{id}:{secret}").as_bytes());
        let request = TestRequest::new(Method::POST, "/v1/introspect").form(&format!("token={}", ann.session));
        let reply = service.send(request.header("authorization", &format!("Basic {basic}"))).await.ok();
        assert_eq!(reply.body["active"], true);
    })
    .await;
    measure(meter, "client, delete", async {
        service.delete(&format!("/v1/admin/clients/{id}"), &ann.session).await.ok();
    })
    .await;
    measure(meter, "support, client", async {
        let body = json!({"name": "portal", "tenant": "acme"});
        service.post("/v1/support/clients", op, body).await.ok();
    })
    .await;
}

async fn support(service: &Service, meter: &SharedMeter, op: &str) {
    measure(meter, "support, tenants", async {
        let list = service.get("/v1/support/tenants?q=ac", op).await.ok();
        assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
    })
    .await;
    measure(meter, "support, users of a tenant", async {
        let list = service.get("/v1/support/tenants/acme/users", op).await.ok();
        assert_eq!(list.body["items"].as_array().unwrap().len(), 8);
    })
    .await;
    let new = json!({"id": "initech", "name": "Initech", "administrator": {
        "username": "ian", "password": "a good long password", "display_name": "Ian"}});
    measure(meter, "support, new tenant", async {
        service.post("/v1/support/tenants", op, new).await.ok();
    })
    .await;
    measure(meter, "support reset", async {
        let body = json!({"tenant": "globex", "username": "gus", "ticket": "T-1", "reason": "r"});
        service.post("/v1/support/mfa-resets", op, body).await.ok();
    })
    .await;
}

/// A tenant's IdP and what it needs to answer.
struct Sso {
    service: Service,
    meter: SharedMeter,
    idp: Idp,
    sp: Sp,
}

impl Sso {
    /// Starts a sign-in, and measures what the IdP's answer costs.
    async fn answer(&self, name: &str, name_id: &str, change: impl FnOnce(&mut ResponseSpec)) -> Value {
        let request = self.service.sso_request("acme").await;
        let mut response = self.idp.valid_response(&self.service, &self.sp, &request, name_id);
        change(&mut response);
        let response = response.sign_assertion(&self.idp);
        let mut answer = Value::Null;
        measure(&self.meter, name, async {
            answer = self.service.acs("acme", &response, &request.relay_state).await.ok().body;
        })
        .await;
        answer
    }

    /// Measures a sign-in of `zoe`, whom the IdP gives this group.
    async fn answer_for_zoe(&self, name: &str, group: &str) -> Value {
        let attributes = [("Username", "zoe"), ("SecurityGroup", group)];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
        self.answer(name, "n-1", |response| response.attributes = attributes.into()).await
    }
}

async fn sso() -> Vec<(String, Cost)> {
    let (service, meter, mut users) = service().await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let (idp, sp) = (Idp::new("https://idp.example"), service.sp("acme").await);
    let mut fields = idp.fields();
    fields["link_attribute"] = json!("Login");
    fields["provisioning"] = json!({"administrators": ["Admins"]});
    measure(&meter, "SSO, configuration", async {
        service.put("/v1/admin/sso", &ann, fields).await.ok();
    })
    .await;
    for user in ["bob", "eve"] {
        service.patch(&format!("/v1/admin/users/u-{user}"), &ann, json!({"auth_type": "saml_sso"})).await.ok();
    }
    let sso = Sso { service, meter, idp, sp };
    let Sso { service, meter, .. } = &sso;
    measure(meter, "SSO, request", async {
        service.sso_request("acme").await;
    })
    .await;
    sso_sign_ins(&sso, users.get_mut("bob").unwrap()).await;
    measure(meter, "SSO, removal", async {
        service.delete("/v1/admin/sso", &ann).await.ok();
    })
    .await;
    meter.measured()
}

async fn sso_sign_ins(sso: &Sso, bob: &mut TestUser) {
    let Sso { service, meter, idp, sp } = sso;
    let due = sso.answer("SSO, enrolment due", "bob", |_| {}).await;
    service.enrol_with(bob, due["enrolment"]["token"].as_str().unwrap(), json!({})).await;
    sso.answer("SSO, signed in", "bob", |_| {}).await;
    let login = vec![("Login".to_owned(), vec!["eve".to_owned()])];
    sso.answer("SSO, first sign-in", "n-2", |response| response.attributes = login).await;
    sso.answer_for_zoe("SSO, new user", "Staff").await;
    sso.answer_for_zoe("SSO, new role", "Admins").await;
    let authn_request = service.sso_request("acme").await;
    measure(meter, "SSO, refused", async {
        let response = idp.valid_response(service, sp, &authn_request, "bob").response("");
        assert_eq!(service.acs("acme", &response, &authn_request.relay_state).await.status, 401);
    })
    .await;
}

async fn mailed_tokens() -> Vec<(String, Cost)> {
    let (service, meter, mut users) = service().await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let bob = users.get_mut("bob").unwrap();
    service.enrol(bob).await;
    let email = json!({"email": "bob@acme.example"});
    service.patch("/v1/admin/users/u-bob", &ann, email).await.ok();
    let request = || TestRequest::new(Method::POST, "/v1/email-verifications").token(&bob.session);
    service.send(request()).await.ok();
    measure(&meter, "e-mail verification", async {
        service.send(request()).await.ok();
    })
    .await;
    let token = service.sent_mails().await[1].token();
    measure(&meter, "e-mail verification, confirm", async {
        service.send(post("/v1/email-verifications/confirm", json!({"token": token}))).await.ok();
    })
    .await;
    password_reset(&service, &meter).await;
    invitations(&service, &meter, &ann).await;
    meter.measured()
}

fn post(path: &str, body: Value) -> TestRequest {
    TestRequest::new(Method::POST, path).json(body)
}

async fn password_reset(service: &Service, meter: &SharedMeter) {
    measure(meter, "password reset, request", async {
        service.send(post("/v1/password-resets", json!({"tenant": "acme", "username": "bob"}))).await.ok();
    })
    .await;
    let order = service.mails().orders().remove(0);
    measure(meter, "mail with a token", async {
        service.mails().deliver(service.app(), &order).await.unwrap();
    })
    .await;
    let token = service.sent_mails().await[0].token();
    measure(meter, "password reset, confirm", async {
        let body = json!({"token": token, "new_password": "seven green lamps in the hall"});
        service.send(post("/v1/password-resets/confirm", body)).await.ok();
    })
    .await;
}

async fn invitations(service: &Service, meter: &SharedMeter, ann: &str) {
    let invited = |name: &str| {
        json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": name, "display_name": name,
               "email": "new@acme.example", "invite": true})
    };
    let ivy = service.post("/v1/admin/users", ann, invited("ivy")).await.ok().text("/id");
    measure(meter, "invitation", async {
        let path = format!("/v1/admin/users/{ivy}/invitation");
        service.send(TestRequest::new(Method::POST, path).token(ann)).await.ok();
    })
    .await;
    let rows: Vec<_> = (0..10).map(|n| invited(&format!("new{n}"))).collect();
    measure(meter, "batch of ten new users", async {
        service.post("/v1/admin/users/batch", ann, json!({"users": rows})).await.ok();
    })
    .await;
}

fn new_user(name: &str, kind: &str, role: &str) -> Value {
    json!({"kind": kind, "role": role, "auth_type": "local", "username": name, "display_name": name})
}

async fn directory() -> Vec<(String, Cost)> {
    let (service, meter, mut users) = service().await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    for (name, role) in [("create, standard", "standard"), ("create, administrator", "administrator")] {
        measure(&meter, name, async {
            service.post("/v1/admin/users", &ann, new_user(role, "employee", role)).await.ok();
        })
        .await;
    }
    // If the user was no Administrator, the list of Administrators is not read first.
    for (name, change) in [
        ("change of a name", json!({"display_name": "Bobby"})),
        ("change of a password", json!({"password": "seven green lamps in the hall"})),
        ("change of a role", json!({"role": "administrator"})),
        ("change of a kind", json!({"kind": "contact", "role": "portal"})),
    ] {
        measure(&meter, name, async {
            service.patch("/v1/admin/users/u-bob", &ann, change).await.ok();
        })
        .await;
    }
    measure(&meter, "deletion", async {
        service.delete("/v1/admin/users/u-bob", &ann).await.ok();
    })
    .await;
    meter.measured()
}

async fn batches() -> Vec<(String, Cost)> {
    let (service, meter, mut users) = service().await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let mut contacts = Vec::new();
    for n in 0..40 {
        let made = service.post("/v1/admin/users", &ann, new_user(&format!("c{n}"), "contact", "portal")).await.ok();
        contacts.push(made.text("/id"));
    }
    measure(&meter, "list of ten people", async {
        let list = service.get("/v1/admin/users?limit=10", &ann).await.ok();
        assert_eq!(list.body["items"].as_array().unwrap().len(), 10);
    })
    .await;
    let one = || vec![users["con1"].id.clone()];
    for (name, ids, disable_mfa, dry_run) in [
        ("batch of two groups", contacts, true, false),
        ("batch, dry run", one(), true, true),
        ("batch, one contact", one(), true, false),
    ] {
        batch(
            &service,
            &meter,
            &ann,
            name,
            json!({"contact_ids": ids, "disable_mfa": disable_mfa, "dry_run": dry_run}),
        )
        .await;
    }
    measure(&meter, "login, excluded contact", async {
        assert_eq!(service.login(&users["con1"]).await.ok().text("/status"), "signed_in");
    })
    .await;
    batch(&service, &meter, &ann, "batch, inclusion", json!({"contact_ids": one(), "disable_mfa": false})).await;
    meter.measured()
}

async fn batch(service: &Service, meter: &SharedMeter, ann: &str, name: &str, mut body: Value) {
    body["reason"] = json!("r");
    let key: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let request = TestRequest::new(Method::POST, "/v1/admin/portal-exclusions").token(ann).json(body);
    measure(meter, name, async {
        let reply = service.send(request.header("Idempotency-Key", &key)).await.ok();
        let results = reply.body["results"].as_array().unwrap();
        assert!(
            results.iter().all(|it| ["excluded", "included"].contains(&it["outcome"].as_str().unwrap())),
            "{reply:?}"
        );
    })
    .await;
}
