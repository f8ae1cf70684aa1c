//! Checks the deployment template against the code: its routes are those of `openapi.json`, each flow has its own
//! function and role, and each role has exactly the rights that its flow uses.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::{Value, json};

mod alarms;
mod events;
mod rights;
mod routes;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn template() -> Value {
    serde_saphyr::from_str(&read("infra/template.yaml")).unwrap()
}

/// All functions: the folder names in `functions/`.
fn flows() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("functions");
    let flows: BTreeSet<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(flows.len() > 5);
    flows
}

/// The flows that have routes.
fn with_routes() -> BTreeSet<String> {
    contract().into_values().collect()
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
        other => panic!("neither a string nor strings: {other}"),
    }
}

/// A path with its parameter names removed.
fn shape(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

/// The paths of `openapi.json`, and the flow of each.
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
fn every_flow_has_its_own_function_role_and_log() {
    let template = template();
    for flow in flows() {
        let (function, name) = (properties(&template, &flow, "Function"), pascal(&flow));
        assert_eq!(function["CodeUri"], format!("../target/lambda/{flow}/bootstrap.zip"));
        assert_eq!(function["Role"], json!({"Fn::GetAtt": [format!("{name}Role"), "Arn"]}));
        assert_eq!(
            function["LoggingConfig"],
            json!({"LogFormat": "JSON", "SystemLogLevel": {"Ref": "SystemLogLevel"}, "LogGroup": {"Ref": format!("{name}Logs")}})
        );
        let faults = properties(&template, &flow, "Faults");
        assert_eq!(faults["LogGroupName"], json!({"Ref": format!("{name}Logs")}));
    }
    let all = |kind: &str| of_type(&template, kind).len();
    assert_eq!(all("AWS::Serverless::Function"), flows().len());
    // The archive has two roles, and the rollout one.
    assert_eq!(all("AWS::IAM::Role"), flows().len() + 3);
}

#[test]
fn functions_share_the_configuration_of_the_parameters() {
    // The table is created by the stack, or an existing table is named.
    let name = json!({"Fn::If": ["OwnTable", {"Ref": "Table"}, {"Ref": "ExistingTable"}]});
    let stream = json!({"Fn::If": ["OwnTable", {"Fn::GetAtt": ["Table", "StreamArn"]}, {"Fn::Sub": EXISTING_STREAM}]});
    let domain = json!({"Fn::If": ["OwnDomain", {"Fn::Sub": "https://${DomainName}/${BasePath}"}, ""]});
    let globals = json!({
        "Runtime": "provided.al2023",
        "Handler": "bootstrap",
        "Architectures": [{"Ref": "Architecture"}],
        "Tracing": {"Ref": "Tracing"},
        "Environment": {"Variables": {
            "VESTIBULE_TABLE": name,
            "VESTIBULE_TABLE_STREAM": stream,
            "VESTIBULE_METRICS": metrics(),
            "VESTIBULE_AUDIT_RETENTION_DAYS": {"Ref": "AuditRetentionDays"},
            "VESTIBULE_BASE_PATH": {"Ref": "BasePath"},
            "VESTIBULE_PUBLIC_URL": {"Fn::If": ["PublicUrlSaid", {"Ref": "PublicUrl"}, domain]},
            "VESTIBULE_CLIENT_ADDRESS": {"Ref": "ClientAddress"},
            "VESTIBULE_ORIGIN_SECRET_SHA256": {"Ref": "OriginSecretSha256"},
            "VESTIBULE_CORS_ORIGINS": {"Ref": "CorsOrigins"},
            "VESTIBULE_CONFIGURATION": {"Ref": "Configuration"},
        }},
        // Without AutoPublishAliasAllProperties a version is published only for new code, and a changed template is
        // never served.
        "AutoPublishAlias": "live",
        "AutoPublishAliasAllProperties": true,
        "DeploymentPreference": {
            "Type": {"Ref": "Rollout"},
            "Role": {"Fn::GetAtt": ["RolloutRole", "Arn"]},
            "Alarms": [{"Ref": "FunctionFaults"}, {"Ref": "Unavailable"}],
            "PassthroughCondition": true,
        },
    });
    assert_eq!(template()["Globals"], json!({"Function": globals}));
}

#[test]
fn parameters_have_safe_defaults() {
    let template = template();
    let default = |name: &str| template["Parameters"][name]["Default"].clone();
    assert_eq!(default("Rollout"), "Canary10Percent5Minutes");
    // By default, the connection gives the client address, no other origin is allowed, and there is no base path.
    for (name, value) in [
        ("ClientAddress", json!("connection")),
        ("CorsOrigins", json!("")),
        ("BasePath", json!("")),
        ("AuditRetentionDays", json!(90)),
        ("AuditArchive", json!("false")),
    ] {
        assert_eq!(default(name), value, "{name}");
    }
}

/// ARN of an existing table's stream.
const EXISTING_STREAM: &str =
    "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${ExistingTable}/stream/${ExistingStream}";

/// The namespace of metrics. Each deployment has its own, so that two in one account are not mixed.
fn metrics() -> Value {
    json!({"Fn::Sub": "Vestibule/${AWS::StackName}"})
}

/// SAM publishes no version for a changed parameter value, and Lambda none of an unchanged function. So the version's
/// description and a variable contain a digest of the parameters.
#[test]
fn changed_parameter_creates_a_new_version() {
    let template = template();
    for flow in flows() {
        let function = properties(&template, &flow, "Function");
        assert_eq!(function["VersionDescription"], json!({"Ref": "Configuration"}), "{flow}");
    }
    let deploy = read("infra/deploy.sh");
    let (_, digest) = deploy.split_once("configuration=$(printf '%s\\n' \"${parameters[@]}\" | ").unwrap();
    assert!(digest.starts_with("sort | sha256sum"));
    assert!(deploy.contains("\"Configuration=$configuration\""));
}

/// CodeDeploy shifts requests to a new version while it watches alarms.
#[test]
fn rollout_role_is_only_for_codedeploy() {
    let template = template();
    let role = &template["Resources"]["RolloutRole"]["Properties"];
    let trust =
        json!([{"Effect": "Allow", "Principal": {"Service": "codedeploy.amazonaws.com"}, "Action": "sts:AssumeRole"}]);
    assert_eq!(role["AssumeRolePolicyDocument"]["Statement"], trust);
    let policy = "arn:${AWS::Partition}:iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited";
    assert_eq!(role["ManagedPolicyArns"], json!([{"Fn::Sub": policy}]));
    assert!(role["Policies"].is_null());
    // Aliases depend on these alarms, and gateways on aliases, so alarms must not refer to gateways or functions.
    for alarm in ["FunctionFaults", "Unavailable"] {
        let alarm = template["Resources"][alarm].to_string();
        assert!(!alarm.contains("Api") && !alarm.contains("Function\""), "circular dependency: {alarm}");
    }
}

/// Tables and keys outlive a stack, so its operators must be able to find them.
#[test]
fn outputs_name_the_resources_that_operators_need() {
    let template = template();
    let outputs = template["Outputs"].as_object().unwrap();
    let output = |name: &str| outputs.get(name).unwrap_or_else(|| panic!("no output {name}"))["Value"].clone();
    for (name, resource) in [
        ("OperatorsFunction", "OperatorsFunction"),
        ("TableKey", "TableKey"),
        ("SealingKey", "SealingKey"),
        ("NamesKey", "NamesKey"),
        ("CodesKey", "CodesKey"),
        ("UndeliveredQueue", "Undelivered"),
        ("UndeliveredMailsQueue", "UndeliveredMails"),
    ] {
        assert_eq!(output(name), json!({"Ref": resource}));
    }
    assert_eq!(output("ApiId"), json!({"Fn::If": ["Rest", {"Ref": "RestApi"}, {"Ref": "HttpApi"}]}));
    assert_eq!(output("DomainTarget"), json!({"Fn::GetAtt": ["Domain", "RegionalDomainName"]}));
}

/// The variables of functions, except keys, which `rights.rs` checks.
#[test]
fn functions_get_only_the_environment_variables_they_need() {
    let template = template();
    let queue = json!({"VESTIBULE_MAIL_QUEUE": {"Fn::If": ["MailLinks", {"Ref": "MailQueue"}, ""]}});
    let expected = BTreeMap::from([
        ("directory", queue.clone()),
        ("password", queue),
        (
            "password-mail",
            json!({
                "VESTIBULE_MAIL_FROM": {"Ref": "MailFrom"},
                "VESTIBULE_MAIL_CONFIGURATION_SET": {"Ref": "MailConfiguration"},
            }),
        ),
        ("audit-events", json!({"VESTIBULE_EVENT_BUS": {"Ref": "Bus"}})),
        (
            "notify",
            json!({
                "VESTIBULE_MAIL_FROM": {"Ref": "MailFrom"},
                "VESTIBULE_MAIL_CONFIGURATION_SET": {"Ref": "MailConfiguration"},
            }),
        ),
    ]);
    for flow in flows() {
        let variables = &properties(&template, &flow, "Function")["Environment"]["Variables"];
        let mut own = variables.as_object().cloned().unwrap_or_default();
        own.retain(|name, _| !name.ends_with("_KEY"));
        assert_eq!(Value::from(own), expected.get(&*flow).cloned().unwrap_or_else(|| json!({})), "{flow}");
    }
}

/// Nothing is reserved by default: a new account may have only 10 concurrent executions, and then Lambda refuses
/// reservations. A reservation of zero would disable the function, so the parameter value 0 means no reservation.
#[test]
fn concurrency_is_reserved_only_when_configured() {
    let template = template();
    for flow in flows() {
        let reserved = &properties(&template, &flow, "Function")["ReservedConcurrentExecutions"];
        let (parameter, condition) = match &*flow {
            "login" => ("LoginConcurrency", "LoginReserved"),
            "operators" => ("OperatorsConcurrency", "OperatorsReserved"),
            _ => {
                assert!(reserved.is_null(), "{flow}");
                continue;
            }
        };
        assert_eq!(reserved, &json!({"Fn::If": [condition, {"Ref": parameter}, {"Ref": "AWS::NoValue"}]}));
        let none = json!({"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, 0]}]});
        assert_eq!(template["Conditions"][condition], none);
        let parameter = &template["Parameters"][parameter];
        assert_eq!((&parameter["Default"], &parameter["MinValue"]), (&json!(0), &json!(0)), "{flow}");
    }
}

#[test]
fn table_schema_matches_the_code_and_table_is_retained() {
    let template = template();
    let tables = of_type(&template, "AWS::DynamoDB::Table");
    assert_eq!(tables.len(), 1);
    let (resource, table) = (tables["Table"], &tables["Table"]["Properties"]);
    assert_eq!(resource["Condition"], "OwnTable");
    assert_eq!(table["BillingMode"], "PAY_PER_REQUEST");
    assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    // Off only for the first deployment of a stack, which could not be rolled back otherwise.
    assert_eq!(table["DeletionProtectionEnabled"], json!({"Ref": "DeletionProtection"}));
    assert_eq!(template["Parameters"]["DeletionProtection"]["Default"], "true");
    assert_eq!(table["TimeToLiveSpecification"], json!({"AttributeName": "ttl", "Enabled": true}));
    assert_eq!(table["StreamSpecification"]["StreamViewType"], "NEW_IMAGE");
    let key = json!({"SSEEnabled": true, "SSEType": "KMS", "KMSMasterKeyId": {"Fn::GetAtt": ["TableKey", "Arn"]}});
    assert_eq!(table["SSESpecification"], key);
    for kept in [resource, &template["Resources"]["TableKey"]] {
        let policies = (&kept["DeletionPolicy"], &kept["UpdateReplacePolicy"]);
        assert_eq!(policies, (&json!("RetainExceptOnCreate"), &json!("Retain")));
    }
    // The same schema as `DynamoTable::create`, which the store tests use.
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
