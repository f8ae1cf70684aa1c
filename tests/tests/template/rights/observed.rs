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
};

use super::{Statement, keys, statements};
use crate::{template, texts, with_routes};

/// The rights that one call needs, on the table or on its index (`index`); or the rights of one statement. AWS does not
/// document whether IAM evaluates the keys of a transaction one by one, so one statement has to allow a whole call.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Rights {
    index: bool,
    actions: BTreeSet<String>,
    partitions: BTreeSet<String>,
}

impl Rights {
    fn allow(&self, call: &Self) -> bool {
        self.index == call.index
            && self.actions.is_superset(&call.actions)
            && self.partitions.is_superset(&call.partitions)
    }
}

#[derive(Debug, Clone, Default)]
struct UsedRights(Arc<Mutex<BTreeSet<Rights>>>);

#[derive(Debug)]
struct RecordingClient(UsedRights, SharedHttpClient);

impl HttpClient for RecordingClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(RecordingConnector(self.0.clone(), self.1.http_connector(settings, components)))
    }
}

#[derive(Debug)]
struct RecordingConnector(UsedRights, SharedHttpConnector);

impl HttpConnector for RecordingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap();
        self.0.record(target.rsplit('.').next().unwrap(), &body);
        self.1.call(request)
    }
}

impl UsedRights {
    /// Records the rights that a call needs. A transaction needs those of its writes.
    fn record(&self, action: &str, body: &Value) {
        let mut needed = Vec::new();
        match action {
            "BatchGetItem" => {
                let keys = body["RequestItems"].as_object().unwrap().values();
                needed.extend(keys.flat_map(|table| table["Keys"].as_array().unwrap()).map(|key| (action, &key["PK"])));
            }
            "UpdateItem" => needed.push((action, &body["Key"]["PK"])),
            "Query" => needed.push((action, &body["ExpressionAttributeValues"][":p"])),
            "TransactWriteItems" => {
                for (kind, write) in
                    body["TransactItems"].as_array().unwrap().iter().flat_map(|one| one.as_object().unwrap())
                {
                    needed.push(match kind.as_str() {
                        "Put" => ("PutItem", &write["Item"]["PK"]),
                        "Update" => ("UpdateItem", &write["Key"]["PK"]),
                        "Delete" => ("DeleteItem", &write["Key"]["PK"]),
                        "ConditionCheck" => ("ConditionCheckItem", &write["Key"]["PK"]),
                        other => panic!("unknown write: {other}"),
                    });
                }
            }
            "CreateTable" => {}
            other => panic!("no role has a right to {other}"),
        }
        let mut call = Rights { index: !body["IndexName"].is_null(), ..Rights::default() };
        for (action, key) in needed {
            call.actions.insert(format!("dynamodb:{action}"));
            let key = key["S"].as_str().unwrap();
            call.partitions.insert(match key.split_once('#') {
                Some(("D", _)) | None => key.to_owned(),
                Some((kind, _)) => format!("{kind}#*"),
            });
        }
        if !call.actions.is_empty() {
            self.0.lock().unwrap().insert(call);
        }
    }

    /// Runs a future, and returns the rights used meanwhile.
    async fn during<T>(&self, future: impl Future<Output = T>) -> (T, BTreeSet<Rights>) {
        self.0.lock().unwrap().clear();
        let done = future.await;
        (done, std::mem::take(&mut self.0.lock().unwrap()))
    }
}

/// Sends requests, and collects the rights of each flow.
struct Observer {
    service: Service,
    used: UsedRights,
    rights: BTreeMap<String, BTreeSet<Rights>>,
}

impl Observer {
    /// Sends a request of a flow that must succeed.
    async fn ok(&mut self, flow: &str, request: TestRequest) -> tests::Reply {
        let (reply, used) = self.used.during(self.service.send(request)).await;
        self.rights.entry(flow.to_owned()).or_default().extend(used);
        reply.ok()
    }

    /// Sends a request of a flow that must get this status.
    async fn is(&mut self, flow: &str, request: TestRequest, status: u16) -> tests::Reply {
        let (reply, used) = self.used.during(self.service.send(request)).await;
        self.rights.entry(flow.to_owned()).or_default().extend(used);
        assert_eq!(reply.status, status, "{reply:?}");
        reply
    }

    /// Sends a request of a flow that must be refused.
    async fn refused(&mut self, flow: &str, request: TestRequest) {
        let (reply, used) = self.used.during(self.service.send(request)).await;
        self.rights.entry(flow.to_owned()).or_default().extend(used);
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
    let used = UsedRights::default();
    let recorded = used.clone();
    let table = emulator::table(|inner| SharedHttpClient::new(RecordingClient(recorded, inner))).await.patient();
    let keys = local::data_dir::DataDir::ephemeral(&vestibule::env::SystemEntropy).unwrap().keys;
    let service = Service::with_table(Arc::new(table), keys);
    let mut users = service.add_users().await;
    service.enrol(users.get_mut("gus").unwrap()).await;
    let mut observer = Observer { service, used, rights: BTreeMap::new() };
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
        let mut calls = observer.rights.remove(&flow).unwrap_or_default();
        calls.extend(background_rights(&flow));
        let mut allowed = allowed(&template, &flow);
        for call in &calls {
            assert!(allowed.iter().any(|(right, _)| right.allow(call)), "{flow} has no right to {call:?}");
        }
        for (right, used) in &mut allowed {
            for call in calls.iter().filter(|call| right.allow(call)) {
                used.actions.extend(call.actions.iter().cloned());
                used.partitions.extend(call.partitions.iter().cloned());
            }
            assert_eq!(right, used, "allowed and used rights differ: {flow}");
        }
    }
    assert_eq!(observer.rights.keys().collect::<Vec<_>>(), Vec::<&String>::new());
}

/// The rights for calls outside of requests, which this test does not observe: at the start and every 30 seconds a
/// function reads the store's identity, and if it seals, the data keys. `.ci/cloud` observes the binaries themselves.
fn background_rights(flow: &str) -> Vec<Rights> {
    let call = |action: &str, partition: &str| Rights {
        index: false,
        actions: [action.to_owned()].into(),
        partitions: [partition.to_owned()].into(),
    };
    let mut calls = vec![call("dynamodb:BatchGetItem", "SYS")];
    if keys(flow)[0] {
        calls.extend([call("dynamodb:BatchGetItem", "D#keys"), call("dynamodb:UpdateItem", "D#keys")]);
    }
    calls
}

/// The rights of each statement of a role on the table and its index, each with an empty value to collect what is used.
fn allowed(template: &Value, flow: &str) -> Vec<(Rights, Rights)> {
    let table = json!({"Fn::If": ["OwnTable", {"Fn::GetAtt": ["Table", "Arn"]},
        {"Fn::Sub": "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${ExistingTable}"}]});
    let index = json!({"Fn::Sub": ["${Table}/index/dir", {"Table": table}]});
    let mut rights = Vec::new();
    for Statement { actions, resource, condition } in statements(template, flow) {
        if !actions.iter().any(|action| action.starts_with("dynamodb:")) {
            continue;
        }
        assert!(*resource == table || *resource == index, "{flow}: {resource}");
        // No role may use the whole table: leading keys restrict the items.
        let (kind, keys) = condition.as_object().unwrap().iter().next().unwrap();
        let partitions = texts(&keys["dynamodb:LeadingKeys"]);
        let whole = partitions.iter().all(|key| !key.contains('*'));
        assert!(kind == if whole { "ForAllValues:StringEquals" } else { "ForAllValues:StringLike" }, "{flow}: {kind}");
        assert!(partitions.iter().all(|key| whole || key.ends_with("#*")) && !partitions.is_empty());
        let index = *resource == index;
        rights.push((Rights { index, actions, partitions }, Rights { index, ..Rights::default() }));
    }
    rights
}
