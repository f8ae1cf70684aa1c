//! The deployment's template against the code: its routes are those of `openapi.json`, each flow has its function and its
//! role, and a role may do what the flow was seen to do on the wire and nothing else.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
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
use tests::{Ask, Person, Service, emulator};

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn template() -> Value {
    serde_saphyr::from_str(&read("infra/template.yaml")).unwrap()
}

/// The flows: the folders of `functions/`.
fn flows() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("functions");
    let flows: BTreeSet<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(flows.len() > 5);
    flows
}

/// `enable-mfa` as `EnableMfa`.
fn pascal(flow: &str) -> String {
    flow.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

fn of_type<'a>(template: &'a Value, kind: &str) -> BTreeMap<&'a str, &'a Value> {
    let all = template["Resources"].as_object().unwrap().iter();
    all.filter(|(_, resource)| resource["Type"] == kind).map(|(name, one)| (name.as_str(), one)).collect()
}

fn properties<'a>(template: &'a Value, flow: &str, what: &str) -> &'a Value {
    let properties = &template["Resources"][pascal(flow) + what]["Properties"];
    assert!(properties.is_object(), "{flow} has no {what}");
    properties
}

fn texts(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(one) => BTreeSet::from([one.clone()]),
        Value::Array(all) => all.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
        other => panic!("neither a text nor texts: {other}"),
    }
}

/// A path whatever its parameters are called.
fn shape(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

/// The paths of `openapi.json`, and whose they are.
fn contract() -> BTreeMap<String, String> {
    let document: Value = serde_json::from_str(&read("openapi.json")).unwrap();
    let owner = |operations: &Value| -> String {
        let tags: BTreeSet<_> = operations.as_object().unwrap().values().flat_map(|one| texts(&one["tags"])).collect();
        assert_eq!(tags.len(), 1, "{tags:?}");
        tags.into_iter().next().unwrap()
    };
    let paths = document["paths"].as_object().unwrap().iter();
    paths.map(|(path, operations)| (shape(path), owner(operations))).collect()
}

#[test]
fn every_path_is_routed_to_its_flow_alone_and_nothing_else_is() {
    let (template, mut routes, mut defaults) = (template(), BTreeMap::new(), Vec::new());
    for flow in flows() {
        for (name, event) in properties(&template, &flow, "Function")["Events"].as_object().unwrap() {
            let event = &event["Properties"];
            assert_eq!(event["ApiId"], json!({"Ref": "Api"}), "{flow}: {name}");
            let Some(path) = event["Path"].as_str() else {
                defaults.push(flow.clone());
                continue;
            };
            // Whatever the method: 405 is the function's to answer.
            assert_eq!(event["Method"], "ANY", "{flow}: {path}");
            let before = routes.insert(shape(path), flow.clone());
            assert_eq!(before, None, "{path} is routed twice");
        }
    }
    assert_eq!(defaults.len(), 1, "404 is one function's to answer: {defaults:?}");
    assert_eq!(routes, contract());
}

#[test]
fn cargo_lambda_watch_has_the_same_routes() {
    let manifest = read("Cargo.toml");
    let (_, router) = manifest.split_once("[workspace.metadata.lambda.watch.router]\n").unwrap();
    let lines = router.lines().take_while(|line| !line.starts_with('['));
    let routes = lines.filter_map(|line| line.split_once(" = "));
    let routes: BTreeMap<_, _> =
        routes.map(|(path, flow)| (shape(path.trim_matches('"')), flow.trim_matches('"').to_owned())).collect();
    assert_eq!(routes, contract());
}

#[test]
fn every_flow_has_a_function_a_role_and_a_log_of_its_own() {
    let template = template();
    for flow in flows() {
        let (function, name) = (properties(&template, &flow, "Function"), pascal(&flow));
        assert_eq!(function["CodeUri"], format!("../target/lambda/{flow}/bootstrap.zip"));
        assert_eq!(function["Role"], json!({"Fn::GetAtt": [format!("{name}Role"), "Arn"]}));
        assert_eq!(
            function["LoggingConfig"],
            json!({"LogFormat": "JSON", "SystemLogLevel": "WARN", "LogGroup": {"Ref": format!("{name}Logs")}})
        );
        let faults = properties(&template, &flow, "Faults");
        assert_eq!(faults["LogGroupName"], json!({"Ref": format!("{name}Logs")}));
    }
    let all = |kind: &str| of_type(&template, kind).len();
    assert_eq!((all("AWS::Serverless::Function"), all("AWS::IAM::Role")), (flows().len(), flows().len()));
    // What the configuration reads is set, and nothing of a secret.
    let variables = template["Globals"]["Function"]["Environment"]["Variables"].as_object().unwrap();
    assert_eq!(variables.keys().collect::<Vec<_>>(), ["VESTIBULE_KEYS_FILE", "VESTIBULE_TABLE"]);
    assert!(properties(&template, "login", "Function")["ReservedConcurrentExecutions"].is_object());
}

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
    for other in ["ManagedPolicyArns", "PermissionsBoundary"] {
        assert!(role[other].is_null(), "{flow}: {other}");
    }
    let statements = role["Policies"][0]["PolicyDocument"]["Statement"].as_array().unwrap();
    let parts = |one: &'a Value| {
        assert_eq!(one["Effect"], "Allow");
        assert!(one["NotAction"].is_null() && one["NotResource"].is_null(), "{flow}: {one}");
        Statement { actions: texts(&one["Action"]), resource: &one["Resource"], condition: &one["Condition"] }
    };
    statements.iter().map(parts).collect()
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
            if actions.iter().all(|action| action.starts_with("dynamodb:")) {
                // All of the table to nobody: the leading keys say whose items.
                let keys = texts(&condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]);
                assert!(!keys.is_empty() && keys.iter().all(|key| key.ends_with("#*")), "{flow}: {keys:?}");
            } else {
                let wanted = ["logs:CreateLogStream", "logs:PutLogEvents"].map(str::to_owned).into();
                assert_eq!(actions, wanted, "{flow}");
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

/// Whoever waits gives up after whom they wait for.
#[test]
fn the_table_gives_up_before_the_function_and_the_function_before_the_gateway() {
    let source = read("shared/src/store/dynamo.rs");
    let seconds = |before: &str| -> u64 {
        let (_, after) = source.split_once(before).unwrap();
        after.split_once("Duration::from_secs(").unwrap().1.split_once(')').unwrap().0.parse().unwrap()
    };
    // A command's silence: the last of its calls begins before its patience ends.
    let silence = seconds("const PATIENCE") + seconds(".operation_timeout(");
    assert_eq!(silence, 5);
    let template = template();
    for flow in flows() {
        let function = properties(&template, &flow, "Function");
        let timeout = function["Timeout"].as_u64().unwrap();
        // Whose session it is, what is decided, and the row of a refusal.
        assert!(3 * silence < timeout, "{flow}: {timeout}");
        for event in function["Events"].as_object().unwrap().values() {
            let gateway = event["Properties"]["TimeoutInMillis"].as_u64().unwrap();
            assert!(timeout * 1000 < gateway && gateway <= 30_000, "{flow}: {timeout} s of {gateway} ms");
        }
    }
}

#[test]
fn the_table_is_the_codes_and_is_kept() {
    let template = template();
    let tables = of_type(&template, "AWS::DynamoDB::Table");
    assert_eq!(tables.len(), 1);
    let (resource, table) = (tables["Table"], &tables["Table"]["Properties"]);
    assert_eq!(table["BillingMode"], "PAY_PER_REQUEST");
    assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    assert_eq!(table["DeletionProtectionEnabled"], true);
    assert_eq!(table["TimeToLiveSpecification"], json!({"AttributeName": "ttl", "Enabled": true}));
    assert_eq!(table["StreamSpecification"]["StreamViewType"], "NEW_IMAGE");
    let key = json!({"SSEEnabled": true, "SSEType": "KMS", "KMSMasterKeyId": {"Fn::GetAtt": ["TableKey", "Arn"]}});
    assert_eq!(table["SSESpecification"], key);
    for kept in [resource, &template["Resources"]["TableKey"]] {
        assert_eq!((&kept["DeletionPolicy"], &kept["UpdateReplacePolicy"]), (&json!("Retain"), &json!("Retain")));
    }
    // As `DynamoTable::create` makes it, which the tests of the store run on.
    let keys = |of: &Value| -> Vec<(String, String)> {
        let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
        let all = of["KeySchema"].as_array().unwrap().iter();
        all.map(|one| (text(one, "AttributeName"), text(one, "KeyType"))).collect()
    };
    let pair =
        |hash: &str, range: &str| vec![(hash.to_owned(), "HASH".to_owned()), (range.to_owned(), "RANGE".to_owned())];
    assert_eq!(keys(table), pair("PK", "SK"));
    let indexes = table["GlobalSecondaryIndexes"].as_array().unwrap();
    assert_eq!((indexes.len(), &indexes[0]["IndexName"], keys(&indexes[0])), (1, &json!("dir"), pair("GP", "GS")));
    assert_eq!(indexes[0]["Projection"]["ProjectionType"], "ALL");
}

#[test]
fn logs_end_and_the_gateways_have_no_path_query_or_header() {
    let template = template();
    let logs = of_type(&template, "AWS::Logs::LogGroup");
    assert_eq!(logs.len(), flows().len() + 1);
    for (name, log) in logs {
        assert_eq!(log["Properties"]["RetentionInDays"], json!({"Ref": "LogRetentionDays"}), "{name}");
    }
    let format = template["Resources"]["Api"]["Properties"]["AccessLogSettings"]["Format"].as_str().unwrap();
    let named: BTreeSet<_> = serde_json::from_str::<BTreeMap<String, String>>(format).unwrap().into_values().collect();
    let harmless = [
        "$context.requestTime",
        "$context.requestId",
        "$context.routeKey",
        "$context.status",
        "$context.responseLength",
        "$context.responseLatency",
        "$context.integrationLatency",
        "$context.identity.sourceIp",
        "$context.integrationErrorMessage",
    ];
    assert_eq!(named, harmless.map(str::to_owned).into());
}

/// What a flow asked, or may ask, of the table (`false`) or its index (`true`). Actions and partitions each for themselves:
/// whether IAM looks at a transaction's keys one by one is not documented, so a role has all of its keys in one statement.
#[derive(Debug, Clone, Default, PartialEq)]
struct Rights {
    actions: BTreeSet<(bool, String)>,
    partitions: BTreeSet<(bool, String)>,
}

impl Rights {
    fn add(&mut self, other: Self) {
        self.actions.extend(other.actions);
        self.partitions.extend(other.partitions);
    }
}

#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<Rights>>);

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
        let index = !body["IndexName"].is_null();
        for (action, key) in asked {
            let (kind, _) = key["S"].as_str().unwrap().split_once('#').unwrap();
            let mut seen = self.0.lock().unwrap();
            seen.actions.insert((index, format!("dynamodb:{action}")));
            seen.partitions.insert((index, format!("{kind}#*")));
        }
    }

    /// What came of something since it was last asked.
    async fn during<T>(&self, something: impl Future<Output = T>) -> (T, Rights) {
        *self.0.lock().unwrap() = Rights::default();
        let done = something.await;
        (done, std::mem::take(&mut self.0.lock().unwrap()))
    }
}

/// The requests of a flow, and the rights that they were seen to need.
struct Watched {
    service: Service,
    seen: Seen,
    rights: BTreeMap<String, Rights>,
}

impl Watched {
    /// Sends a request that has to succeed, for its flow.
    async fn ok(&mut self, flow: &str, ask: Ask) -> tests::Reply {
        let (reply, seen) = self.seen.during(self.service.send(ask)).await;
        self.rights.entry(flow.to_owned()).or_default().add(seen);
        reply.ok()
    }

    /// Sends a request that has to be refused, for its flow.
    async fn refused(&mut self, flow: &str, ask: Ask) {
        let (reply, seen) = self.seen.during(self.service.send(ask)).await;
        self.rights.entry(flow.to_owned()).or_default().add(seen);
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

    /// An operator makes a tenant and a client, and resets a sole Administrator.
    async fn supports(&mut self, op: &str) {
        let tenant = json!({"id": "initech", "name": "Initech", "administrator": {"username": "ian", "password": "a good long password", "display_name": "Ian"}});
        self.ok("support", post("/v1/support/tenants", op, tenant)).await;
        self.ok("support", post("/v1/support/clients", op, json!({"name": "portal", "tenant": "initech"}))).await;
        let reset = json!({"tenant": "globex", "username": "gus", "ticket": "T-1", "reason": "r"});
        self.ok("support", post("/v1/support/mfa-resets", op, reset)).await;
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
    let body = json!({"current_password": ann.password, "new_password": "another good long password"});
    watched.ok("directory", post("/v1/password", &token, body)).await;
    let op = watched.service.fresh(people.get_mut("op").unwrap()).await;
    watched.supports(&op).await;

    let template = template();
    for flow in flows() {
        let mut allowed = Rights::default();
        for Statement { actions, resource, condition } in statements(&template, &flow) {
            let index = match resource {
                table if *table == json!({"Fn::GetAtt": ["Table", "Arn"]}) => false,
                index if *index == json!({"Fn::Sub": "${Table.Arn}/index/dir"}) => true,
                _ => continue,
            };
            let keys = texts(&condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]);
            allowed.actions.extend(actions.into_iter().map(|action| (index, action)));
            allowed.partitions.extend(keys.into_iter().map(|key| (index, key)));
        }
        assert_eq!(watched.rights.remove(&flow).unwrap_or_default(), allowed, "seen, and allowed: {flow}");
    }
    assert_eq!(watched.rights.keys().collect::<Vec<_>>(), Vec::<&String>::new());
}
