//! Compares the calls of a function with its role in `infra/template.yaml`: no action, resource or partition may be missing or
//! superfluous.
//!
//! IAM evaluates all keys of a request together. AWS does not document whether it evaluates the writes of a transaction
//! separately, so one statement has to allow a whole call.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A call of a function, as IAM sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Call {
    /// The name of the action in the request.
    pub name: String,
    /// The rights that the call needs, for example `dynamodb:PutItem`. A transaction needs those of its writes.
    pub actions: BTreeSet<String>,
    /// DynamoDB: the index, if one is read.
    pub index: Option<String>,
    /// DynamoDB: the partitions.
    pub partitions: BTreeSet<String>,
    /// Other services: the key, the event buses, or the sender of the mail.
    pub resources: BTreeSet<String>,
    /// KMS: the encryption context.
    pub context: BTreeMap<String, String>,
}

impl Call {
    /// A call to DynamoDB.
    #[must_use]
    pub fn dynamodb(name: &str, body: &Value) -> Self {
        let needed = match name {
            "GetItem" | "UpdateItem" | "DeleteItem" => vec![(name, &body["Key"])],
            "PutItem" => vec![(name, &body["Item"])],
            "BatchGetItem" => {
                let tables = body["RequestItems"].as_object().unwrap().values();
                tables.flat_map(|table| table["Keys"].as_array().unwrap()).map(|key| (name, key)).collect()
            }
            "TransactWriteItems" => {
                let writes = body["TransactItems"].as_array().unwrap().iter();
                writes.flat_map(|write| write.as_object().unwrap()).map(|(kind, write)| written(kind, write)).collect()
            }
            // Query has a condition instead of a key, and other actions have none.
            _ => Vec::new(),
        };
        let mut partitions: BTreeSet<_> = needed.iter().map(|(_, key)| text(&key["PK"]["S"])).collect();
        let mut actions: BTreeSet<_> = needed.iter().map(|(action, _)| format!("dynamodb:{action}")).collect();
        if actions.is_empty() {
            actions.insert(format!("dynamodb:{name}"));
        }
        if name == "Query" {
            partitions.insert(queried(body));
        }
        let index = body["IndexName"].as_str().map(str::to_owned);
        Self { name: name.to_owned(), actions, index, partitions, ..Self::default() }
    }

    /// A call to another service. `logical` gives the template's name of a key, a bus or a sender.
    #[must_use]
    pub fn other(service: &str, name: &str, body: &Value, logical: impl Fn(&str) -> String) -> Self {
        let resource = |value: &Value| logical(value.as_str().unwrap_or_default());
        let resources = match service {
            "events" => {
                body["Entries"].as_array().into_iter().flatten().map(|one| resource(&one["EventBusName"])).collect()
            }
            "ses" => [resource(&body["FromEmailAddress"])].into(),
            "sqs" => [resource(&body["QueueUrl"])].into(),
            _ => [resource(&body["KeyId"])].into(),
        };
        let context = body["EncryptionContext"].as_object().into_iter().flatten();
        let context = context.map(|(name, value)| (name.clone(), text(value))).collect();
        let actions = [format!("{service}:{name}")].into();
        Self { name: name.to_owned(), actions, resources, context, ..Self::default() }
    }

    /// The call without the ids in its partitions, for a list.
    #[must_use]
    pub fn kind(&self) -> String {
        let mut words = vec![self.name.clone()];
        if self.name.starts_with("Transact") {
            let actions: Vec<_> = self.actions.iter().map(|action| action.rsplit(':').next().unwrap()).collect();
            words.push(format!("({})", actions.join(", ")));
        }
        words.extend(self.index.iter().map(|index| format!("in {index}")));
        let prefix = |key: &String| match key.split_once('#') {
            Some((kind, _)) if kind != "D" => format!("{kind}#"),
            _ => key.clone(),
        };
        words.extend(self.partitions.iter().map(prefix).collect::<BTreeSet<_>>());
        words.extend(self.resources.iter().cloned());
        words.join(" ")
    }
}

/// The right and the key of one write of a transaction.
fn written<'a>(kind: &str, write: &'a Value) -> (&'static str, &'a Value) {
    match kind {
        "Put" => ("PutItem", &write["Item"]),
        "Update" => ("UpdateItem", &write["Key"]),
        "Delete" => ("DeleteItem", &write["Key"]),
        "ConditionCheck" => ("ConditionCheckItem", &write["Key"]),
        other => panic!("unknown write: {other}"),
    }
}

/// The partition of a query: its condition begins with `NAME = :VALUE`, with the partition key of the table or the index.
fn queried(body: &Value) -> String {
    let condition = body["KeyConditionExpression"].as_str().unwrap();
    let (name, after) = condition.split_once('=').unwrap();
    let name = body["ExpressionAttributeNames"][name.trim()].as_str().unwrap_or(name.trim());
    assert!(["PK", "GP"].contains(&name), "{condition}");
    let value = after.split_whitespace().next().unwrap();
    text(&body["ExpressionAttributeValues"][value]["S"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn texts(value: &Value) -> BTreeSet<String> {
    listed(value).into_iter().map(text).collect()
}

fn listed(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |all| all.iter().collect())
}

/// What a statement is about.
#[derive(Debug, PartialEq)]
enum Resource {
    Table,
    Index(String),
    /// Logical names of keys or of the bus.
    Named(BTreeSet<String>),
    /// The sender of mails. The resource is an identity (a domain or an address); the condition restricts the sender.
    Sender(String),
    /// Nothing that a function calls: its log, traces, the stream, the queue for undelivered events.
    Unobserved,
}

/// One statement of a role, and the parts of it that calls used.
#[derive(Debug)]
struct Statement {
    actions: BTreeSet<String>,
    resource: Resource,
    /// The patterns of partitions. `None`: the right has no keys.
    partitions: Option<BTreeSet<String>>,
    context: BTreeMap<String, String>,
    used: BTreeSet<String>,
}

impl Statement {
    /// A statement that depends on a parameter counts as enabled. Panics on a condition that this comparison does not know.
    fn read(statement: &Value) -> Self {
        let statement = statement.pointer("/Fn::If/1").unwrap_or(statement);
        assert_eq!(statement["Effect"], "Allow", "{statement}");
        let actions = texts(&statement["Action"]);
        let mut read = Self {
            actions,
            resource: Resource::Unobserved,
            partitions: None,
            context: BTreeMap::new(),
            used: BTreeSet::new(),
        };
        read.resource = read.resource(&statement["Resource"]);
        for (operator, values) in statement["Condition"].as_object().into_iter().flatten() {
            for (name, value) in values.as_object().unwrap() {
                read.restrict(operator, name, value);
            }
        }
        // No role may use the whole table: leading keys restrict the items.
        let on_items = matches!(read.resource, Resource::Table | Resource::Index(_));
        let unrestricted = on_items && read.partitions.is_none() && !read.actions.iter().eq(["dynamodb:DescribeTable"]);
        assert!(!unrestricted, "no leading keys: {statement}");
        read
    }

    fn resource(&self, resource: &Value) -> Resource {
        let table = json!({"Fn::If": ["OwnTable", {"Fn::GetAtt": ["Table", "Arn"]},
            {"Fn::Sub": "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${ExistingTable}"}]});
        let services: BTreeSet<_> = self.actions.iter().map(|action| action.split(':').next().unwrap()).collect();
        let named = || listed(resource).into_iter().map(|one| text(&one["Fn::GetAtt"][0])).collect();
        match services.into_iter().collect::<Vec<_>>()[..] {
            // Lambda itself reads the stream with the role.
            ["dynamodb"] if self.actions.contains("dynamodb:GetRecords") => Resource::Unobserved,
            ["dynamodb"] if *resource == table => Resource::Table,
            ["dynamodb"] if *resource == json!({"Fn::Sub": ["${Table}/index/dir", {"Table": table}]}) => {
                Resource::Index("dir".to_owned())
            }
            ["kms" | "events"] => Resource::Named(named()),
            // Lambda itself reads the queue with the role, and reports events that it could not deliver.
            ["sqs"] if self.actions.iter().eq(["sqs:SendMessage"]) && resource["Fn::GetAtt"][0] == "MailQueue" => {
                Resource::Named(named())
            }
            ["ses"] => Resource::Sender(String::new()),
            ["logs" | "xray" | "sqs"] => Resource::Unobserved,
            _ => panic!("unknown resource of {:?}: {resource}", self.actions),
        }
    }

    fn restrict(&mut self, operator: &str, name: &str, value: &Value) {
        match (name, name.strip_prefix("kms:EncryptionContext:")) {
            ("dynamodb:LeadingKeys", _) => {
                let patterns = texts(value);
                let whole = patterns.iter().all(|pattern| !pattern.contains(['*', '?']));
                let expected = if whole { "ForAllValues:StringEquals" } else { "ForAllValues:StringLike" };
                assert_eq!(operator, expected, "{patterns:?}");
                // A pattern is a whole kind of partitions: each star stands for a whole part of the key, or for all parts.
                let star = |part: &str| part == "*" || !part.contains(['*', '?']);
                let kind = |pattern: &String| !pattern.starts_with('*') && pattern.split('#').all(star);
                assert!(!patterns.is_empty() && patterns.iter().all(kind), "{patterns:?}");
                self.partitions = Some(patterns);
            }
            ("ses:FromAddress", _) if operator == "StringEquals" => {
                self.resource = Resource::Sender(text(&value["Ref"]))
            }
            (_, Some(name)) if operator == "StringEquals" => {
                self.context.insert(name.to_owned(), text(value));
            }
            _ => panic!("unknown condition: {operator} {name}"),
        }
    }

    /// Whether the statement allows a whole call. Marks what the call used.
    fn allows(&mut self, call: &Call) -> bool {
        let matched: BTreeMap<&str, &String> = call
            .partitions
            .iter()
            .filter_map(|key| {
                Some((key.as_str(), self.partitions.iter().flatten().find(|pattern| matches(pattern, key))?))
            })
            .collect();
        let on_resource = match &self.resource {
            Resource::Table => call.index.is_none(),
            Resource::Index(name) => call.index.as_ref() == Some(name),
            Resource::Named(names) => call.resources.is_subset(names),
            Resource::Sender(name) => call.resources.iter().eq([name]),
            Resource::Unobserved => false,
        };
        let allowed = on_resource
            && call.actions.is_subset(&self.actions)
            && (self.partitions.is_none() || matched.len() == call.partitions.len())
            && self.context.iter().all(|(name, value)| call.context.get(name) == Some(value));
        if allowed {
            let matched: Vec<_> = matched.into_values().cloned().collect();
            self.used.extend(call.actions.iter().chain(&call.resources).cloned().chain(matched));
        }
        allowed
    }

    /// The parts that no call used.
    fn superfluous(&self) -> BTreeSet<String> {
        let mut parts: BTreeSet<_> = self.actions.iter().chain(self.partitions.iter().flatten()).cloned().collect();
        match &self.resource {
            Resource::Unobserved => return BTreeSet::new(),
            Resource::Named(names) => parts.extend(names.iter().cloned()),
            Resource::Sender(name) => parts.extend([name.clone()]),
            Resource::Table | Resource::Index(_) => {}
        }
        parts.difference(&self.used).cloned().collect()
    }
}

/// Whether IAM's `StringLike` matches: a star stands for any text.
fn matches(pattern: &str, key: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == key };
    let Some(rest) = key.strip_prefix(before) else { return false };
    (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(after, &rest[at..]))
}

/// The differences between calls of a function and the statements of its role about these services. Also a fault: a right
/// to Scan, PartiQL or a wildcard, and a right to open secrets, except for the functions that do.
pub fn faults<'a>(
    flow: &str,
    role: &Value,
    services: &[&str],
    calls: impl IntoIterator<Item = &'a Call>,
) -> BTreeSet<String> {
    let policies = role["Properties"]["Policies"].as_array().unwrap().iter();
    let statements = policies.flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap());
    let mut statements: Vec<_> = statements.map(Statement::read).collect();
    let mut faults = BTreeSet::new();
    for call in calls {
        // Every statement that allows the call is used; `any` would stop at the first one.
        let allowed = statements.iter_mut().filter_map(|statement| statement.allows(call).then_some(())).count();
        if allowed == 0 {
            faults.insert(format!("{flow} is not allowed {}", call.kind()));
        }
    }
    for statement in &statements {
        for action in &statement.actions {
            if action.contains('*') || action.contains("Scan") || action.contains("PartiQL") {
                faults.insert(format!("{flow} is allowed {action}"));
            }
            if action == "kms:Decrypt" && !["enable-mfa", "verify"].contains(&flow) {
                faults.insert(format!("{flow} must not be allowed {action}"));
            }
        }
        if statement.actions.iter().any(|action| services.contains(&action.split(':').next().unwrap())) {
            let superfluous = statement.superfluous().into_iter();
            faults.extend(superfluous.map(|part| format!("{flow} is allowed {part}, but no call needs it")));
        }
    }
    faults
}
