//! A role may do what its function needs, and what the flow was seen to do on the wire, and nothing else.

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
    Ask, Person, Service, emulator,
    idp::{Idp, asked, form},
};

use super::{flows, of_type, pascal, properties, read, template, texts, with_routes};

/// One statement of a policy.
struct Statement<'a> {
    actions: BTreeSet<String>,
    resource: &'a Value,
    condition: &'a Value,
}

fn statements<'a>(template: &'a Value, flow: &str) -> Vec<Statement<'a>> {
    let role = properties(template, flow, "Role");
    // One policy, written here: none of somebody else's making.
    assert_eq!(role["Policies"].as_array().map(Vec::len), Some(1), "{flow}");
    assert!(role["ManagedPolicyArns"].is_null(), "{flow}");
    let statements = role["Policies"][0]["PolicyDocument"]["Statement"].as_array().unwrap();
    // The one right on everything, as X-Ray knows no resources, and there only if traces are asked for.
    let traces = json!({"Fn::If": ["Traced", {
        "Effect": "Allow", "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "Resource": "*",
    }, {"Ref": "AWS::NoValue"}]});
    assert_eq!(statements.iter().filter(|one| **one == traces).count(), 1, "{flow}");
    let parts = |one: &'a Value| {
        assert_eq!(one["Effect"], "Allow");
        assert!(one["NotAction"].is_null() && one["NotResource"].is_null(), "{flow}: {one}");
        Statement { actions: texts(&one["Action"]), resource: &one["Resource"], condition: &one["Condition"] }
    };
    statements.iter().filter(|one| **one != traces).map(parts).collect()
}

#[test]
fn no_role_has_a_wildcard_or_a_scan_and_each_writes_its_own_log_alone() {
    let template = template();
    for flow in flows() {
        let mut logs = 0;
        for Statement { actions, resource, condition } in statements(&template, &flow) {
            for action in &actions {
                assert!(!action.contains('*') && !action.contains("Scan") && !action.contains("PartiQL"), "{action}");
            }
            assert!(!resource.to_string().contains('*'), "{flow}: {resource}");
            if actions.iter().any(|action| action.starts_with("logs:")) {
                let wanted = ["logs:CreateLogStream", "logs:PutLogEvents"].map(str::to_owned).into();
                assert_eq!((actions, condition), (wanted, &Value::Null), "{flow}");
                assert_eq!(resource, &json!({"Fn::GetAtt": [pascal(&flow) + "Logs", "Arn"]}));
                logs += 1;
            }
        }
        assert_eq!(logs, 1, "{flow}");
        let trust = &properties(&template, &flow, "Role")["AssumeRolePolicyDocument"]["Statement"];
        let lambda =
            json!({"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"});
        assert_eq!(trust, &json!([lambda]), "{flow}");
    }
}

/// Which keys a function uses, as its `main.rs` says: what wraps the data keys, that of names, that of codes.
fn keys(flow: &str) -> [bool; 3] {
    let main = read(&format!("functions/{flow}/src/main.rs"));
    ["RequiredKeys::SEALING", "RequiredKeys::NAMES", "RequiredKeys::CODES"].map(|need| main.contains(need))
}

/// The encryption context's purpose of data keys.
const PURPOSE: &str = "totp-secret";

const VARIABLES: [(&str, &str); 3] =
    [("VESTIBULE_SEALING_KEY", "SealingKey"), ("VESTIBULE_NAMES_KEY", "NamesKey"), ("VESTIBULE_CODES_KEY", "CodesKey")];

/// A role may use the keys of its flow, and its environment names them; the keys' policies say the same, so that no other
/// role may, whatever somebody's policy in the account allows.
#[test]
fn a_key_is_used_by_the_flows_that_need_it_alone() {
    let template = template();
    let arn = |key: &str| json!({"Fn::GetAtt": [key, "Arn"]});
    let purpose = json!({"StringEquals": {"kms:EncryptionContext:purpose": PURPOSE}});
    for flow in &flows() {
        let uses = keys(flow);
        let mut variables = properties(&template, flow, "Function")["Environment"]["Variables"].clone();
        let role = properties(&template, flow, "Role");
        assert_eq!(role["Path"], json!({"Fn::Sub": format!("/${{AWS::StackName}}/{flow}/")}));
        let mut digests = BTreeSet::new();
        for ((variable, key), uses) in VARIABLES.into_iter().zip(uses) {
            assert_eq!(variables[variable].take(), if uses { arn(key) } else { Value::Null }, "{flow}: {variable}");
            if uses && key != "SealingKey" {
                digests.insert(arn(key).to_string());
            }
        }
        let mut sealing = false;
        for Statement { actions, resource, condition } in statements(&template, flow) {
            if actions.contains("kms:GenerateMac") {
                assert_eq!((actions.len(), condition), (1, &Value::Null), "{flow}");
                let keys = resource.as_array().cloned().unwrap_or_else(|| vec![resource.clone()]);
                for key in keys {
                    assert!(digests.remove(&key.to_string()), "{flow} has no use of {key}");
                }
            } else if actions.iter().any(|action| action.starts_with("kms:")) {
                assert_eq!(actions, ["kms:Decrypt", "kms:GenerateDataKey"].map(str::to_owned).into(), "{flow}");
                assert_eq!((resource, condition), (&arn("SealingKey"), &purpose), "{flow}");
                sealing = true;
            }
        }
        assert_eq!((sealing, digests), (uses[0], BTreeSet::new()), "{flow}");
    }
    for (n, (_, name)) in VARIABLES.into_iter().enumerate() {
        let key = &template["Resources"][name];
        let policies = (&key["DeletionPolicy"], &key["UpdateReplacePolicy"]);
        assert_eq!(policies, (&json!("RetainExceptOnCreate"), &json!("Retain")));
        let key = &key["Properties"];
        let account = json!({"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}});
        let policy = key["KeyPolicy"]["Statement"].as_array().unwrap();
        assert_eq!(policy.len(), 2, "{name}");
        for action in texts(&policy[0]["Action"]) {
            let used = ["crypt", "DataKey", "Mac", "Sign", "Verify", "CreateGrant", "DeriveSharedSecret", "*"];
            assert!(!used.iter().any(|used| action.contains(used)), "{name}: {action} is no administration");
        }
        let roles: BTreeSet<_> = flows().into_iter().filter(|flow| keys(flow)[n]).map(|flow| {
            json!({"Fn::Sub": format!("arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/${{AWS::StackName}}/{flow}/*")})
                .to_string()
        }).collect();
        let given = policy[1]["Condition"]["ArnLike"]["aws:PrincipalArn"].as_array().unwrap();
        assert_eq!(given.len(), roles.len(), "{name}");
        let given = given.iter();
        assert_eq!(given.map(Value::to_string).collect::<BTreeSet<_>>(), roles, "{name}");
        let actions = texts(&policy[1]["Action"]);
        if name == "SealingKey" {
            assert_eq!(key["EnableKeyRotation"], true);
            assert_eq!(actions, ["kms:Decrypt", "kms:GenerateDataKey"].map(str::to_owned).into());
            assert_eq!(policy[1]["Condition"]["StringEquals"], purpose["StringEquals"]);
        } else {
            assert_eq!((&key["KeySpec"], &key["KeyUsage"]), (&json!("HMAC_256"), &json!("GENERATE_VERIFY_MAC")));
            assert_eq!(actions, ["kms:GenerateMac".to_owned()].into());
        }
        for statement in policy {
            assert_eq!((&statement["Effect"], &statement["Principal"]), (&json!("Allow"), &account), "{name}");
        }
    }
    assert_eq!(flows().iter().filter(|flow| keys(flow)[0]).collect::<Vec<_>>(), ["enable-mfa", "verify"]);
}

/// One call as the rights that IAM asks of it, on the table (`false`) or its index (`true`); or what a statement allows. Whether
/// IAM looks at a transaction's keys one by one is not documented, so one statement has to allow a call as a whole.
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
struct Seen(Arc<Mutex<BTreeSet<Rights>>>);

#[derive(Debug)]
struct Watching(Seen, SharedHttpClient);

impl HttpClient for Watching {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(WatchingConnector(self.0.clone(), self.1.http_connector(settings, components)))
    }
}

#[derive(Debug)]
struct WatchingConnector(Seen, SharedHttpConnector);

impl HttpConnector for WatchingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap();
        self.0.note(target.rsplit('.').next().unwrap(), &body);
        self.1.call(request)
    }
}

impl Seen {
    /// A call as the rights that IAM asks of it: a transaction has none of its own.
    fn note(&self, action: &str, body: &Value) {
        let mut asked = Vec::new();
        match action {
            "BatchGetItem" => {
                let keys = body["RequestItems"].as_object().unwrap().values();
                asked.extend(keys.flat_map(|table| table["Keys"].as_array().unwrap()).map(|key| (action, &key["PK"])));
            }
            "UpdateItem" => asked.push((action, &body["Key"]["PK"])),
            "Query" => asked.push((action, &body["ExpressionAttributeValues"][":p"])),
            "TransactWriteItems" => {
                for (kind, write) in
                    body["TransactItems"].as_array().unwrap().iter().flat_map(|one| one.as_object().unwrap())
                {
                    asked.push(match kind.as_str() {
                        "Put" => ("PutItem", &write["Item"]["PK"]),
                        "Update" => ("UpdateItem", &write["Key"]["PK"]),
                        "Delete" => ("DeleteItem", &write["Key"]["PK"]),
                        "ConditionCheck" => ("ConditionCheckItem", &write["Key"]["PK"]),
                        other => panic!("what is a {other}"),
                    });
                }
            }
            "CreateTable" => {}
            other => panic!("no role has a right to {other}"),
        }
        let mut call = Rights { index: !body["IndexName"].is_null(), ..Rights::default() };
        for (action, key) in asked {
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

    /// What came of something since it was last asked.
    async fn during<T>(&self, something: impl Future<Output = T>) -> (T, BTreeSet<Rights>) {
        self.0.lock().unwrap().clear();
        let done = something.await;
        (done, std::mem::take(&mut self.0.lock().unwrap()))
    }
}

/// The requests of a flow, and the rights that they were seen to need.
struct Watched {
    service: Service,
    seen: Seen,
    rights: BTreeMap<String, BTreeSet<Rights>>,
}

impl Watched {
    /// Sends a request that has to succeed, for its flow.
    async fn ok(&mut self, flow: &str, ask: Ask) -> tests::Reply {
        let (reply, seen) = self.seen.during(self.service.send(ask)).await;
        self.rights.entry(flow.to_owned()).or_default().extend(seen);
        reply.ok()
    }

    /// Sends a request that has to be answered so, for its flow.
    async fn is(&mut self, flow: &str, ask: Ask, status: u16) -> tests::Reply {
        let (reply, seen) = self.seen.during(self.service.send(ask)).await;
        self.rights.entry(flow.to_owned()).or_default().extend(seen);
        assert_eq!(reply.status, status, "{reply:?}");
        reply
    }

    /// Sends a request that has to be refused, for its flow.
    async fn refused(&mut self, flow: &str, ask: Ask) {
        let (reply, seen) = self.seen.during(self.service.send(ask)).await;
        self.rights.entry(flow.to_owned()).or_default().extend(seen);
        assert!(reply.status.is_client_error(), "{reply:?}");
    }
}

fn post(path: &str, token: &str, body: Value) -> Ask {
    Ask::new(Method::POST, path).token(token).json(body)
}

fn get(path: &str, token: &str) -> Ask {
    Ask::new(Method::GET, path).token(token)
}

fn delete(path: &str, token: &str) -> Ask {
    Ask::new(Method::DELETE, path).token(token)
}

fn password(person: &Person, password: &str) -> Ask {
    let body = json!({"tenant": person.tenant, "username": person.username, "password": password});
    Ask::new(Method::POST, "/v1/login").json(body)
}

impl Watched {
    /// Signs in, wrong and right, steps up, takes a recovery token, looks at the sessions and ends them.
    async fn signs_in(&mut self, bob: &mut Person) {
        let token = self.ok("login", password(bob, &bob.password)).await.text("/enrolment/token");
        let start = self.ok("enable-mfa", post("/v1/mfa/enrolments", &token, json!({}))).await;
        bob.secret = start.text("/secret");
        let wrong = json!({"code": self.service.wrong(bob)});
        self.refused("enable-mfa", post("/v1/mfa/enrolments/confirm", &token, wrong.clone())).await;
        let code = json!({"code": self.service.code(bob)});
        self.ok("enable-mfa", post("/v1/mfa/enrolments/confirm", &token, code)).await;
        self.refused("login", password(bob, "wrong")).await;
        let challenge = self.ok("login", password(bob, &bob.password)).await.text("/challenge/token");
        self.refused("verify", post("/v1/verify", &challenge, wrong)).await;
        let code = json!({"code": self.service.code(bob)});
        let session = self.ok("verify", post("/v1/verify", &challenge, code)).await.text("/session/token");
        let code = json!({"code": self.service.code(bob)});
        let session = self.ok("verify", post("/v1/step-up", &session, code)).await.text("/session/token");
        self.ok("recovery", Ask::new(Method::POST, "/v1/mfa/recovery-token").token(&session)).await;
        self.service.pass(61);
        self.ok("enable-mfa", get("/v1/mfa", &session)).await;
        self.ok("session", get("/v1/session", &session)).await;
        self.ok("session", get("/v1/sessions", &session)).await;
        self.ok("session", delete("/v1/sessions", &session)).await;
        self.ok("session", delete("/v1/session", &session)).await;
    }

    /// An Administrator changes people, excludes and includes, resets, lists.
    async fn administers(&mut self, ann: &str, con: &Person) {
        let new = json!({"kind": "employee", "role": "administrator", "auth_type": "local", "username": "new", "display_name": "New", "password": "a good long password"});
        let new = self.ok("directory", post("/v1/admin/users", ann, new)).await.text("/id");
        let one = format!("/v1/admin/users/{new}");
        let change = json!({"display_name": "Newer", "kind": "contact", "role": "portal"});
        self.ok("directory", Ask::new(Method::PATCH, one.as_str()).token(ann).json(change)).await;
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
            Ask::new(Method::PATCH, "/v1/admin/settings")
                .token(ann)
                .json(json!({"issuer": "A", "reset_code_for": "everyone"})),
        )
        .await;
        self.ok("directory", delete(&one, ann)).await;
        let client = self.ok("directory", post("/v1/admin/clients", ann, json!({"name": "portal"}))).await;
        self.introspects(&client, ann).await;
        self.ok("directory", get("/v1/admin/clients", ann)).await;
        self.ok("directory", delete(&format!("/v1/admin/clients/{}", client.text("/client_id")), ann)).await;
        // The repeat only renews the code.
        for _ in 0..2 {
            let reset = post("/v1/admin/users/u-bob/mfa-reset", ann, json!({"reason": "r"}));
            self.ok("admin-reset", reset).await;
        }
    }

    async fn introspects(&mut self, client: &tests::Reply, token: &str) {
        let pair = format!("{}:{}", client.text("/client_id"), client.text("/client_secret"));
        let basic = format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
        let ask = Ask::new(Method::POST, "/v1/introspect").form(&format!("token={token}"));
        let reply = self.ok("session", ask.header("Authorization", &basic)).await;
        assert_eq!(reply.body["active"], true);
    }

    /// An operator makes a tenant and a client, looks tenants and their users up, and resets a sole Administrator.
    async fn supports(&mut self, op: &str) {
        let tenant = json!({"id": "initech", "name": "Initech", "administrator": {"username": "ian", "password": "a good long password", "display_name": "Ian"}});
        self.ok("support", post("/v1/support/tenants", op, tenant)).await;
        self.ok("support", get("/v1/support/tenants", op)).await;
        self.ok("support", get("/v1/support/tenants/initech/users", op)).await;
        self.ok("support", post("/v1/support/clients", op, json!({"name": "portal", "tenant": "initech"}))).await;
        let reset = json!({"tenant": "globex", "username": "gus", "ticket": "T-1", "reason": "r"});
        self.ok("support", post("/v1/support/mfa-resets", op, reset)).await;
    }
}

impl Watched {
    /// An IdP is configured, somebody comes from it, is refused, is linked at their first sign-in, is provisioned; it ends.
    async fn comes_from_an_idp(&mut self, ann: &str) {
        let (idp, sp) = (Idp::new("https://idp.example"), self.service.sp("acme").await);
        self.ok("sso", get("/v1/sso/acme/metadata", "")).await;
        let mut body = idp.fields();
        body["link_attribute"] = json!("Username");
        body["provisioning"] = json!({"username": "New"});
        self.ok("sso", Ask::new(Method::PUT, "/v1/admin/sso").token(ann).json(body)).await;
        self.ok("sso", get("/v1/admin/sso", ann)).await;
        let change = json!({"auth_type": "saml_sso"});
        self.ok("directory", Ask::new(Method::PATCH, "/v1/admin/users/u-eve").token(ann).json(change)).await;
        for (name_id, attribute, status) in
            [("eve-1", "Username", 200), ("new-1", "New", 200), ("nobody", "Other", 401)]
        {
            let redirect = self.is("sso", get("/v1/sso/acme/login", ""), 302).await;
            let asked = asked(&redirect);
            let mut says = idp.answer(&self.service, &sp, &asked, name_id);
            let value = if attribute == "Username" { "eve" } else { "nova" };
            says.attributes = vec![(attribute.to_owned(), vec![value.to_owned()])];
            let form = form(&says.signed(&idp), &asked.relay_state);
            self.is("sso", Ask::new(Method::POST, "/v1/sso/acme/acs").form(&form), status).await;
        }
        self.ok("sso", delete("/v1/admin/sso", ann)).await;
    }
}

/// No right is missing, and none is superfluous.
#[tokio::test]
async fn roles_may_do_what_their_flows_were_seen_to_do_and_nothing_else() {
    let seen = Seen::default();
    let between = seen.clone();
    let table = emulator::table(|inner| SharedHttpClient::new(Watching(between, inner))).await.patient();
    let keys = local::data_dir::DataDir::ephemeral(&vestibule::env::SystemEntropy).unwrap().keys;
    let service = Service::over(Arc::new(table), keys);
    let mut people = service.populate().await;
    service.enrol(people.get_mut("gus").unwrap()).await;
    let mut watched = Watched { service, seen, rights: BTreeMap::new() };
    watched.signs_in(people.get_mut("bob").unwrap()).await;
    let con = people["con1"].clone();
    let ann = people.get_mut("ann").unwrap();
    let token = watched.service.fresh(ann).await;
    watched.administers(&token, &con).await;
    watched.comes_from_an_idp(&token).await;
    let body = json!({"current_password": ann.password, "new_password": "another good long password"});
    watched.ok("directory", post("/v1/password", &token, body)).await;
    let op = watched.service.fresh(people.get_mut("op").unwrap()).await;
    watched.supports(&op).await;

    let template = template();
    for flow in with_routes() {
        let mut calls = watched.rights.remove(&flow).unwrap_or_default();
        calls.extend(beside_requests(&flow));
        let mut allowed = allowed(&template, &flow);
        for call in &calls {
            assert!(allowed.iter().any(|(right, _)| right.allow(call)), "{flow} has no right to {call:?}");
        }
        for (right, used) in &mut allowed {
            for call in calls.iter().filter(|call| right.allow(call)) {
                used.actions.extend(call.actions.iter().cloned());
                used.partitions.extend(call.partitions.iter().cloned());
            }
            assert_eq!(right, used, "allowed, and used: {flow}");
        }
    }
    assert_eq!(watched.rights.keys().collect::<Vec<_>>(), Vec::<&String>::new());
}

/// What a function asks of the table beside what its requests need, which is what is watched here: when it starts and every
/// 30 seconds the store's identity, and the data keys where it seals. `.ci/cloud` watches the binaries themselves.
fn beside_requests(flow: &str) -> Vec<Rights> {
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

/// What functions without routes may do beside their log, in whole.
#[test]
fn functions_without_routes_may_do_what_they_are_for() {
    let template = template();
    let right = |actions: &[&str], resource: &Value, condition: Value| {
        (actions.iter().map(|action| (*action).to_owned()).collect::<BTreeSet<_>>(), resource.clone(), condition)
    };
    let arn = |name: &str| json!({"Fn::GetAtt": [name, "Arn"]});
    let table = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${ExistingTable}";
    let stream = json!({"Fn::If": ["OwnTable", {"Fn::GetAtt": ["Table", "StreamArn"]},
        {"Fn::Sub": format!("{table}/stream/${{ExistingStream}}")}]});
    let reads =
        ["DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"].map(|one| format!("dynamodb:{one}"));
    let table = json!({"Fn::If": ["OwnTable", {"Fn::GetAtt": ["Table", "Arn"]}, {"Fn::Sub": table}]});
    let people = json!({"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["T#*"]}});
    let ses = |what: &str| json!({"Fn::Sub": format!("arn:${{AWS::Partition}}:ses:${{AWS::Region}}:${{AWS::AccountId}}:{what}")});
    let undelivered = right(&["sqs:SendMessage"], &arn("Undelivered"), Value::Null);
    let wanted = BTreeMap::from([
        (
            "audit-events".to_owned(),
            vec![
                right(&reads.each_ref().map(String::as_str), &stream, Value::Null),
                undelivered.clone(),
                right(&["events:PutEvents"], &arn("Bus"), Value::Null),
            ],
        ),
        (
            "notify".to_owned(),
            vec![
                right(&["dynamodb:BatchGetItem"], &table, people),
                right(
                    &["ses:SendEmail"],
                    &json!([ses("identity/${MailIdentity}"), ses("configuration-set/${MailConfiguration}")]),
                    json!({"StringEquals": {"ses:FromAddress": {"Ref": "MailFrom"}}}),
                ),
                undelivered,
            ],
        ),
        (
            "operators".to_owned(),
            vec![
                right(
                    &["BatchGetItem", "UpdateItem", "PutItem", "ConditionCheckItem"]
                        .map(|one| format!("dynamodb:{one}"))
                        .each_ref()
                        .map(String::as_str),
                    &table,
                    json!({"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["T#*", "K#*", "SYS"]}}),
                ),
                right(&["dynamodb:DescribeTable"], &table, Value::Null),
                right(&["kms:GenerateMac"], &json!([arn("NamesKey"), arn("CodesKey")]), Value::Null),
            ],
        ),
    ]);
    let without: BTreeMap<_, _> = flows()
        .difference(&with_routes())
        .map(|flow| {
            let statements = statements(&template, flow).into_iter();
            let mut rights: Vec<_> =
                statements.map(|one| (one.actions, one.resource.clone(), one.condition.clone())).collect();
            // Its log comes last, and is looked at for all.
            rights.pop();
            (flow.clone(), rights)
        })
        .collect();
    assert_eq!(without, wanted);
}

/// What a role allows on the table and its index, each statement for itself, and that of it nothing was used yet.
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
        // All of the table to nobody: the leading keys say whose items.
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

/// An account may ask that no role has more rights than a policy of its own.
#[test]
fn every_role_is_bounded_where_it_is_asked_for() {
    let template = template();
    let boundary = json!({"Fn::If": ["Bounded", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]});
    for (name, role) in of_type(&template, "AWS::IAM::Role") {
        assert_eq!(role["Properties"]["PermissionsBoundary"], boundary, "{name}");
    }
    let none = json!({"Fn::Not": [{"Fn::Equals": [{"Ref": "PermissionsBoundary"}, ""]}]});
    assert_eq!(template["Conditions"]["Bounded"], none);
}

/// What DynamoDB's documentation asks for: through DynamoDB alone, grants for itself alone, and looking at the key.
#[test]
fn the_tables_key_is_used_by_dynamodb_alone() {
    let template = template();
    let policy = &template["Resources"]["TableKey"]["Properties"]["KeyPolicy"]["Statement"];
    let through = json!({
        "kms:CallerAccount": {"Ref": "AWS::AccountId"},
        "kms:ViaService": {"Fn::Sub": "dynamodb.${AWS::Region}.amazonaws.com"},
    });
    let (anybody, dynamodb) = (json!({"AWS": "*"}), json!({"Service": "dynamodb.amazonaws.com"}));
    let uses = json!(["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]);
    let grants = json!({"StringEquals": through, "Bool": {"kms:GrantIsForAWSResource": true}});
    let looks = json!(["kms:Describe*", "kms:Get*", "kms:List*"]);
    let wanted = [
        (&anybody, uses, json!({"StringEquals": through})),
        (&anybody, json!("kms:CreateGrant"), grants),
        (&dynamodb, looks, Value::Null),
    ];
    assert_eq!(policy.as_array().map(Vec::len), Some(4));
    for (n, (principal, actions, condition)) in wanted.into_iter().enumerate() {
        let statement = &policy[n + 1];
        assert_eq!((&statement["Principal"], &statement["Action"]), (principal, &actions));
        assert_eq!(statement["Condition"], condition);
    }
}
