//! Each role has exactly the rights on the table that its flow uses: requests of each flow are observed on the wire.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    runtime_components::RuntimeComponents,
};
use axum::http::Method;
use serde_json::{Value, json};
use tests::{
    Service, TestRequest, TestUser, emulator,
    idp::{Idp, authn_request, form},
    rights::{self, Call},
};

use super::keys;
use crate::{pascal, template, with_routes};

#[derive(Debug, Clone, Default)]
struct Calls(Arc<Mutex<BTreeSet<Call>>>);

#[derive(Debug)]
struct RecordingClient(Calls, SharedHttpClient);

impl HttpClient for RecordingClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(RecordingConnector(self.0.clone(), self.1.http_connector(settings, components)))
    }
}

#[derive(Debug)]
struct RecordingConnector(Calls, SharedHttpConnector);

impl HttpConnector for RecordingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap();
        // The test creates the table, no function does.
        let action = target.rsplit('.').next().filter(|action| *action != "CreateTable");
        self.0.0.lock().unwrap().extend(action.map(|action| Call::dynamodb(action, &body)));
        self.1.call(request)
    }
}

impl Calls {
    /// Runs a future, and returns the calls made meanwhile.
    async fn during<T>(&self, future: impl Future<Output = T>) -> (T, BTreeSet<Call>) {
        self.0.lock().unwrap().clear();
        let done = future.await;
        (done, std::mem::take(&mut self.0.lock().unwrap()))
    }
}

/// Sends requests, and collects the calls of each flow.
struct Observer {
    service: Service,
    calls: Calls,
    of_flows: BTreeMap<String, BTreeSet<Call>>,
}

impl Observer {
    /// Sends a request of a flow that must succeed.
    async fn ok(&mut self, flow: &str, request: TestRequest) -> tests::Reply {
        let (reply, calls) = self.calls.during(self.service.send(request)).await;
        self.of_flows.entry(flow.to_owned()).or_default().extend(calls);
        reply.ok()
    }

    /// Sends a request of a flow that must get this status.
    async fn is(&mut self, flow: &str, request: TestRequest, status: u16) -> tests::Reply {
        let (reply, calls) = self.calls.during(self.service.send(request)).await;
        self.of_flows.entry(flow.to_owned()).or_default().extend(calls);
        assert_eq!(reply.status, status, "{reply:?}");
        reply
    }

    /// Sends a request of a flow that must be refused.
    async fn refused(&mut self, flow: &str, request: TestRequest) {
        let (reply, calls) = self.calls.during(self.service.send(request)).await;
        self.of_flows.entry(flow.to_owned()).or_default().extend(calls);
        assert!(reply.status.is_client_error(), "{reply:?}");
    }
}

fn post(path: &str, token: &str, body: Value) -> TestRequest {
    TestRequest::new(Method::POST, path).token(token).json(body)
}

fn get(path: &str, token: &str) -> TestRequest {
    TestRequest::new(Method::GET, path).token(token)
}

fn delete(path: &str, token: &str) -> TestRequest {
    TestRequest::new(Method::DELETE, path).token(token)
}

fn password(user: &TestUser, password: &str) -> TestRequest {
    let body = json!({"tenant": user.tenant, "username": user.username, "password": password});
    TestRequest::new(Method::POST, "/v1/login").json(body)
}

impl Observer {
    /// Signs in with wrong and right codes, steps up, creates a recovery token, lists sessions and ends them.
    async fn sign_in_flows(&mut self, bob: &mut TestUser) {
        let token = self.ok("login", password(bob, &bob.password)).await.text("/enrolment/token");
        let start = self.ok("enable-mfa", post("/v1/mfa/enrolments", &token, json!({}))).await;
        bob.secret = start.text("/secret");
        let wrong = json!({"code": self.service.wrong_code(bob)});
        self.refused("enable-mfa", post("/v1/mfa/enrolments/confirm", &token, wrong.clone())).await;
        let code = json!({"code": self.service.next_code(bob)});
        self.ok("enable-mfa", post("/v1/mfa/enrolments/confirm", &token, code)).await;
        self.refused("login", password(bob, "wrong")).await;
        let challenge = self.ok("login", password(bob, &bob.password)).await.text("/challenge/token");
        self.refused("verify", post("/v1/verify", &challenge, wrong)).await;
        let code = json!({"code": self.service.next_code(bob)});
        let session = self.ok("verify", post("/v1/verify", &challenge, code)).await.text("/session/token");
        let code = json!({"code": self.service.next_code(bob)});
        let session = self.ok("verify", post("/v1/step-up", &session, code)).await.text("/session/token");
        self.ok("recovery", TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(&session)).await;
        self.service.advance(61);
        self.ok("enable-mfa", get("/v1/mfa", &session)).await;
        self.ok("session", get("/v1/session", &session)).await;
        self.ok("session", get("/v1/sessions", &session)).await;
        self.ok("session", delete("/v1/sessions", &session)).await;
        self.ok("session", delete("/v1/session", &session)).await;
    }

    /// Changes users, excludes and includes, resets, and lists, as an Administrator.
    async fn administration_flows(&mut self, ann: &str, con: &TestUser) {
        let new = json!({"kind": "employee", "role": "administrator", "auth_type": "local", "username": "new", "display_name": "New", "password": "a good long password"});
        let new = self.ok("directory", post("/v1/admin/users", ann, new)).await.text("/id");
        let one = format!("/v1/admin/users/{new}");
        let change = json!({"display_name": "Newer", "kind": "contact", "role": "portal"});
        self.ok("directory", TestRequest::new(Method::PATCH, one.as_str()).token(ann).json(change)).await;
        let exclusions = "/v1/admin/portal-exclusions";
        for disable in [true, false] {
            let body = json!({"contact_ids": [new, con.id], "disable_mfa": disable, "reason": "r"});
            let batch = post(exclusions, ann, body).header("Idempotency-Key", &format!("k-{disable}"));
            let batch = self.ok("batch-portal-exclude", batch).await.text("/batch_id");
            self.ok("batch-portal-exclude", get(&format!("{exclusions}/{batch}"), ann)).await;
            self.ok("batch-portal-exclude", get(exclusions, ann)).await;
            let login = self.ok("login", password(con, &con.password)).await;
            assert_eq!(login.text("/status"), if disable { "signed_in" } else { "enrolment_required" });
        }
        self.ok("directory", get("/v1/admin/users", ann)).await;
        self.ok("directory", get("/v1/admin/audit", ann)).await;
        self.ok("directory", get("/v1/admin/settings", ann)).await;
        self.ok(
            "directory",
            TestRequest::new(Method::PATCH, "/v1/admin/settings")
                .token(ann)
                .json(json!({"issuer": "A", "reset_code_for": "everyone"})),
        )
        .await;
        self.ok("directory", delete(&one, ann)).await;
        let client = self.ok("directory", post("/v1/admin/clients", ann, json!({"name": "portal"}))).await;
        self.introspect(&client, ann).await;
        self.ok("directory", get("/v1/admin/clients", ann)).await;
        self.ok("directory", delete(&format!("/v1/admin/clients/{}", client.text("/client_id")), ann)).await;
        // The second reset only replaces the reset code.
        for _ in 0..2 {
            let reset = post("/v1/admin/users/u-bob/mfa-reset", ann, json!({"reason": "r"}));
            self.ok("admin-reset", reset).await;
        }
    }

    async fn introspect(&mut self, client: &tests::Reply, token: &str) {
        let pair = format!("{}:{}", client.text("/client_id"), client.text("/client_secret"));
        let basic = format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
        let request = TestRequest::new(Method::POST, "/v1/introspect").form(&format!("token={token}"));
        let reply = self.ok("session", request.header("Authorization", &basic)).await;
        assert_eq!(reply.body["active"], true);
    }

    /// Creates a tenant and a client, looks up tenants and users, and resets the only Administrator, as an operator.
    async fn support_flows(&mut self, op: &str) {
        let tenant = json!({"id": "initech", "name": "Initech", "administrator": {"username": "ian", "password": "a good long password", "display_name": "Ian"}});
        self.ok("support", post("/v1/support/tenants", op, tenant)).await;
        self.ok("support", get("/v1/support/tenants", op)).await;
        self.ok("support", get("/v1/support/tenants/initech/users", op)).await;
        self.ok("support", post("/v1/support/clients", op, json!({"name": "portal", "tenant": "initech"}))).await;
        let reset = json!({"tenant": "globex", "username": "gus", "ticket": "T-1", "reason": "r"});
        self.ok("support", post("/v1/support/mfa-resets", op, reset)).await;
    }
}

impl Observer {
    /// Gives the Administrator an address and verifies it; invites users.
    async fn mail_flows(&mut self, ann: &str) {
        let change = json!({"email": "ann@acme.example"});
        self.ok("directory", TestRequest::new(Method::PATCH, "/v1/admin/users/u-ann").token(ann).json(change)).await;
        self.ok("password", TestRequest::new(Method::POST, "/v1/email-verifications").token(ann)).await;
        let token = self.service.sent_mails().await[0].token();
        self.ok("password", post("/v1/email-verifications/confirm", "", json!({"token": token}))).await;
        let ivy = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": "ivy", "display_name": "Ivy", "email": "ivy@acme.example", "invite": true});
        let created = self.ok("directory", post("/v1/admin/users/batch", ann, json!({"users": [ivy]}))).await;
        let path = format!("/v1/admin/users/{}/invitation", created.text("/results/0/id"));
        self.ok("directory", TestRequest::new(Method::POST, path).token(ann)).await;
    }

    /// Sets a new password by mail.
    async fn forgotten_password(&mut self, username: &str) {
        self.ok("password", post("/v1/password-resets", "", json!({"tenant": "acme", "username": username}))).await;
        let token = self.service.sent_mails().await.last().unwrap().token();
        let body = json!({"token": token, "new_password": "seven green lamps in the hall"});
        self.ok("password", post("/v1/password-resets/confirm", "", body)).await;
    }
}

impl Observer {
    /// Configures an IdP, signs in by linking and by provisioning, is refused, and deletes the IdP.
    async fn sso_flows(&mut self, ann: &str) {
        let (idp, sp) = (Idp::new("https://idp.example"), self.service.sp("acme").await);
        self.ok("sso", get("/v1/sso/acme/metadata", "")).await;
        let mut body = idp.fields();
        body["link_attribute"] = json!("Username");
        body["provisioning"] = json!({"username": "New"});
        self.ok("sso", TestRequest::new(Method::PUT, "/v1/admin/sso").token(ann).json(body)).await;
        self.ok("sso", get("/v1/admin/sso", ann)).await;
        self.ok("sso", get("/admin/sso", "").header("cookie", &format!("__Host-vestibule={ann}"))).await;
        let change = json!({"auth_type": "saml_sso"});
        self.ok("directory", TestRequest::new(Method::PATCH, "/v1/admin/users/u-eve").token(ann).json(change)).await;
        for (name_id, attribute, status) in
            [("eve-1", "Username", 200), ("new-1", "New", 200), ("nobody", "Other", 401)]
        {
            let redirect = self.is("sso", get("/v1/sso/acme/login", ""), 302).await;
            let authn_request = authn_request(&redirect);
            let mut spec = idp.valid_response(&self.service, &sp, &authn_request, name_id);
            let value = if attribute == "Username" { "eve" } else { "nova" };
            spec.attributes = vec![(attribute.to_owned(), vec![value.to_owned()])];
            let form = form(&spec.sign_assertion(&idp), &authn_request.relay_state);
            self.is("sso", TestRequest::new(Method::POST, "/v1/sso/acme/acs").form(&form), status).await;
        }
        self.ok("sso", delete("/v1/admin/sso", ann)).await;
    }
}

/// No right is missing and none is unused.
#[tokio::test]
async fn roles_have_exactly_the_rights_that_flows_use() {
    let calls = Calls::default();
    let recorded = calls.clone();
    let table = emulator::table(|inner| SharedHttpClient::new(RecordingClient(recorded, inner))).await.patient();
    let keys = local::data_dir::DataDir::ephemeral(&vestibule::env::SystemEntropy).unwrap().keys;
    let service = Service::with_table(Arc::new(table), keys);
    let mut users = service.add_users().await;
    service.enrol(users.get_mut("gus").unwrap()).await;
    let mut observer = Observer { service, calls, of_flows: BTreeMap::new() };
    observer.sign_in_flows(users.get_mut("bob").unwrap()).await;
    let con = users["con1"].clone();
    let ann = users.get_mut("ann").unwrap();
    let token = observer.service.stepped_up_session(ann).await;
    observer.administration_flows(&token, &con).await;
    observer.sso_flows(&token).await;
    observer.mail_flows(&token).await;
    let body = json!({"current_password": ann.password, "new_password": "another good long password"});
    observer.ok("directory", post("/v1/password", &token, body)).await;
    observer.forgotten_password("ann").await;
    let op = observer.service.stepped_up_session(users.get_mut("op").unwrap()).await;
    observer.support_flows(&op).await;

    let template = template();
    for flow in with_routes() {
        let mut calls = observer.of_flows.remove(&flow).unwrap_or_default();
        calls.extend(background_calls(&flow));
        let role = &template["Resources"][pascal(&flow) + "Role"];
        assert_eq!(rights::faults(&flow, role, &["dynamodb"], &calls), BTreeSet::new());
    }
    assert_eq!(observer.of_flows.keys().collect::<Vec<_>>(), Vec::<&String>::new());
}

/// The calls outside of requests, which this test does not observe: at the start and every 30 seconds a function reads the
/// store's identity, and if it seals, the data keys. The checks of the cloud observe the binaries themselves.
fn background_calls(flow: &str) -> Vec<Call> {
    let call = |action: &str, partition: &str| Call {
        name: action.to_owned(),
        actions: [format!("dynamodb:{action}")].into(),
        partitions: [partition.to_owned()].into(),
        ..Call::default()
    };
    let mut calls = vec![call("BatchGetItem", "SYS")];
    if keys(flow)[0] {
        calls.extend([call("BatchGetItem", "D#keys"), call("UpdateItem", "D#keys")]);
    }
    calls
}
