//! The rights of roles, and who may use the keys.

mod observed;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{flows, of_type, pascal, properties, read, template, texts, with_routes};

/// One statement of a policy.
struct Statement<'a> {
    actions: BTreeSet<String>,
    resource: &'a Value,
    condition: &'a Value,
}

fn statements<'a>(template: &'a Value, flow: &str) -> Vec<Statement<'a>> {
    let role = properties(template, flow, "Role");
    // Only the policy in this template, no managed policy.
    assert_eq!(role["Policies"].as_array().map(Vec::len), Some(1), "{flow}");
    assert!(role["ManagedPolicyArns"].is_null(), "{flow}");
    let statements = role["Policies"][0]["PolicyDocument"]["Statement"].as_array().unwrap();
    // X-Ray has no resources, so this right is on everything. It exists only if tracing is enabled.
    let traces = json!({"Fn::If": ["Traced", {
        "Effect": "Allow", "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "Resource": "*",
    }, {"Ref": "AWS::NoValue"}]});
    assert_eq!(statements.iter().filter(|one| **one == traces).count(), 1, "{flow}");
    let parse = |one: &'a Value| {
        // A statement that depends on a parameter counts as enabled.
        let one = one.get("Fn::If").map_or(one, |choice| &choice[1]);
        assert_eq!(one["Effect"], "Allow");
        assert!(one["NotAction"].is_null() && one["NotResource"].is_null(), "{flow}: {one}");
        Statement { actions: texts(&one["Action"]), resource: &one["Resource"], condition: &one["Condition"] }
    };
    statements.iter().filter(|one| **one != traces).map(parse).collect()
}

#[test]
fn roles_have_no_wildcard_no_scan_and_write_only_their_own_log() {
    let template = template();
    for flow in flows() {
        let mut logs = 0;
        for Statement { actions, resource, condition } in statements(&template, &flow) {
            for action in &actions {
                assert!(!action.contains('*') && !action.contains("Scan") && !action.contains("PartiQL"), "{action}");
            }
            assert!(!resource.to_string().contains('*'), "{flow}: {resource}");
            if actions.iter().any(|action| action.starts_with("logs:")) {
                let expected = ["logs:CreateLogStream", "logs:PutLogEvents"].map(str::to_owned).into();
                assert_eq!((actions, condition), (expected, &Value::Null), "{flow}");
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

/// Whether a function uses the key of data keys, of names, and of codes, according to its `main.rs`.
fn keys(flow: &str) -> [bool; 3] {
    let main = read(&format!("functions/{flow}/src/main.rs"));
    ["RequiredKeys::SEALING", "RequiredKeys::NAMES", "RequiredKeys::CODES"].map(|need| main.contains(need))
}

/// The purpose in the encryption context of data keys.
const PURPOSE: &str = "totp-secret";

const VARIABLES: [(&str, &str); 3] =
    [("VESTIBULE_SEALING_KEY", "SealingKey"), ("VESTIBULE_NAMES_KEY", "NamesKey"), ("VESTIBULE_CODES_KEY", "CodesKey")];

/// A role may use the keys of its flow, and the environment names them. The key policies list the same roles, so that
/// no other policy in the account can give the right to another role.
#[test]
fn each_key_is_used_only_by_flows_that_need_it() {
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
}

/// The keys' policies allow exactly the roles that use them, and the account only administers the keys.
#[test]
fn key_policies_allow_only_the_roles_that_use_the_key() {
    let template = template();
    let purpose = json!({"StringEquals": {"kms:EncryptionContext:purpose": PURPOSE}});
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
        let granted = policy[1]["Condition"]["ArnLike"]["aws:PrincipalArn"].as_array().unwrap();
        assert_eq!(granted.len(), roles.len(), "{name}");
        let granted = granted.iter();
        assert_eq!(granted.map(Value::to_string).collect::<BTreeSet<_>>(), roles, "{name}");
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

/// Actions, resource and condition of a statement.
type Right = (BTreeSet<String>, Value, Value);

fn right(actions: &[&str], resource: &Value, condition: Value) -> Right {
    (actions.iter().map(|action| (*action).to_owned()).collect(), resource.clone(), condition)
}

fn arn(name: &str) -> Value {
    json!({"Fn::GetAtt": [name, "Arn"]})
}

const EXISTING: &str = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${ExistingTable}";

fn table() -> Value {
    json!({"Fn::If": ["OwnTable", arn("Table"), {"Fn::Sub": EXISTING}]})
}

/// The right on items whose partitions match, or are, these.
fn on_items(actions: &[&str], operator: &str, partitions: &[&str]) -> Right {
    let actions: Vec<_> = actions.iter().map(|action| format!("dynamodb:{action}")).collect();
    let actions: Vec<_> = actions.iter().map(String::as_str).collect();
    let condition = json!({format!("ForAllValues:{operator}"): {"dynamodb:LeadingKeys": partitions}});
    right(&actions, &table(), condition)
}

const TRANSACTION: [&str; 4] = ["BatchGetItem", "UpdateItem", "PutItem", "ConditionCheckItem"];

/// The right to send mails from the one address.
fn send_mails() -> Right {
    let ses = |what: &str| json!({"Fn::Sub": format!("arn:${{AWS::Partition}}:ses:${{AWS::Region}}:${{AWS::AccountId}}:{what}")});
    let resources = json!([ses("identity/${MailIdentity}"), ses("configuration-set/${MailConfiguration}")]);
    right(&["ses:SendEmail"], &resources, json!({"StringEquals": {"ses:FromAddress": {"Ref": "MailFrom"}}}))
}

fn expected_rights_of_functions_without_routes() -> BTreeMap<String, Vec<Right>> {
    let stream = json!({"Fn::If": ["OwnTable", {"Fn::GetAtt": ["Table", "StreamArn"]},
        {"Fn::Sub": format!("{EXISTING}/stream/${{ExistingStream}}")}]});
    let reads =
        ["DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"].map(|one| format!("dynamodb:{one}"));
    let reads = right(&reads.each_ref().map(String::as_str), &stream, Value::Null);
    let undelivered = right(&["sqs:SendMessage"], &arn("Undelivered"), Value::Null);
    let receive = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];
    let rights = [
        ("audit-events", vec![reads, undelivered.clone(), right(&["events:PutEvents"], &arn("Bus"), Value::Null)]),
        ("notify", vec![on_items(&["BatchGetItem"], "StringLike", &["T#*"]), send_mails(), undelivered]),
        (
            "password-mail",
            vec![
                right(&receive, &arn("MailQueue"), Value::Null),
                on_items(&TRANSACTION, "StringLike", &["T#*"]),
                on_items(&["BatchGetItem"], "StringEquals", &["SYS"]),
                send_mails(),
            ],
        ),
        (
            "operators",
            vec![
                on_items(&TRANSACTION, "StringLike", &["T#*", "K#*", "SYS"]),
                right(&["dynamodb:DescribeTable"], &table(), Value::Null),
                right(&["kms:GenerateMac"], &json!([arn("NamesKey"), arn("CodesKey")]), Value::Null),
            ],
        ),
    ];
    rights.map(|(flow, rights)| (flow.to_owned(), rights)).into()
}

/// All rights of functions without routes, except those for their log.
#[test]
fn functions_without_routes_have_only_the_rights_they_need() {
    let template = template();
    let without: BTreeMap<_, _> = flows()
        .difference(&with_routes())
        .map(|flow| {
            let statements = statements(&template, flow).into_iter();
            let mut rights: Vec<_> =
                statements.map(|one| (one.actions, one.resource.clone(), one.condition.clone())).collect();
            // The last one is for the log, which another test checks.
            rights.pop();
            (flow.clone(), rights)
        })
        .collect();
    assert_eq!(without, expected_rights_of_functions_without_routes());
}

/// Flows that ask for mails may put messages into the queue, and no other function may.
#[test]
fn only_flows_that_ask_for_mails_write_to_their_queue() {
    let template = template();
    let queue = json!({"Fn::GetAtt": ["MailQueue", "Arn"]});
    for flow in flows() {
        let sends = |one: &Statement<'_>| {
            let sends = one.actions.contains("sqs:SendMessage") && *one.resource == queue;
            assert!(!sends || (one.actions.len() == 1 && one.condition.is_null()), "{flow}");
            sends
        };
        let asks = read(&format!("functions/{flow}/src/main.rs")).contains("RequiredKeys::MAIL_QUEUE");
        assert_eq!(statements(&template, &flow).iter().filter(|one| sends(one)).count(), usize::from(asks), "{flow}");
    }
}

/// An account may require a permissions boundary on every role.
#[test]
fn every_role_has_the_configured_permissions_boundary() {
    let template = template();
    let boundary = json!({"Fn::If": ["Bounded", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]});
    for (name, role) in of_type(&template, "AWS::IAM::Role") {
        assert_eq!(role["Properties"]["PermissionsBoundary"], boundary, "{name}");
    }
    let none = json!({"Fn::Not": [{"Fn::Equals": [{"Ref": "PermissionsBoundary"}, ""]}]});
    assert_eq!(template["Conditions"]["Bounded"], none);
}

/// As DynamoDB's documentation recommends: use only through DynamoDB, grants only for AWS resources, and read access.
#[test]
fn only_dynamodb_uses_the_table_key() {
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
    let expected = [
        (&anybody, uses, json!({"StringEquals": through})),
        (&anybody, json!("kms:CreateGrant"), grants),
        (&dynamodb, looks, Value::Null),
    ];
    assert_eq!(policy.as_array().map(Vec::len), Some(4));
    for (n, (principal, actions, condition)) in expected.into_iter().enumerate() {
        let statement = &policy[n + 1];
        assert_eq!((&statement["Principal"], &statement["Action"]), (principal, &actions));
        assert_eq!(statement["Condition"], condition);
    }
}
