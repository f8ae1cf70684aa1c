//! Creates what the template would create, in DynamoDB Local and moto: an empty table, keys, an event bus with the rule for
//! mails, and a sender of mails. The variables of the functions are those of the template.

use std::{collections::BTreeMap, fs::File, path::Path, process};

use serde_json::{Value, json};
use tests::{
    aws, emulator,
    runtime::Variables,
    stream::{self, Stream},
};

use crate::{
    cloud::{Cloud, LATER},
    recorder::Recorder,
    template,
};

/// Creates the resources of a cloud that is reached at a URL, and records the calls of its functions to a file.
pub async fn provision(url: &str, calls: &Path) -> Cloud {
    let template = template();
    let (dynamodb, moto, name) = (aws::dynamodb(), aws::moto(), format!("vestibule-{}", process::id()));
    emulator::create_table(&dynamodb, &name, |inner| inner).await;
    stream::enable(&dynamodb, &name).await;
    let stream = Stream::open(&dynamodb, &name).await.arn().to_owned();
    let queue = aws::create_bus(&name, &template["Resources"]["MailRule"]["Properties"]["EventPattern"]).await;
    let mail_queue = aws::create_queue(&format!("{name}-mails")).await;
    let (sender, mails) = ("sign-in@example.com", "mails");
    aws::post(&moto, "ses", "/v2/email/identities", json!({"EmailIdentity": sender})).await;
    aws::post(&moto, "ses", "/v2/email/configuration-sets", json!({"ConfigurationSetName": mails})).await;

    let mut ids: BTreeMap<&str, String> = aws::create_keys().await.into();
    ids.extend([("Bus", name.clone()), ("MailFrom", sender.to_owned()), ("MailQueue", mail_queue.clone())]);
    let logical = ids.iter().map(|(logical, id)| (id.clone(), (*logical).to_owned())).collect();
    let recorder = Recorder::new(File::create(calls).unwrap(), logical);
    ids.extend([("Table", name.clone()), ("MailConfiguration", mails.to_owned()), ("PublicUrl", url.to_owned())]);
    let endpoints = |days| endpoints(&recorder.proxy(&dynamodb, days), &recorder.proxy(&moto, days));
    let now = endpoints(0);
    Cloud {
        url: url.to_owned(),
        queue,
        mail_queue,
        variables: variables(&template, &now, |value| resolve(&template, &ids, &stream, value)),
        later: endpoints(LATER),
        table: name,
        calls: calls.to_owned(),
    }
}

/// The variables for the emulators.
fn endpoints(dynamodb: &str, moto: &str) -> Variables {
    let mut endpoints: Variables =
        [("AWS_REGION", aws::REGION), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    endpoints.insert("VESTIBULE_DYNAMODB_ENDPOINT".to_owned(), dynamodb.to_owned());
    for service in ["KMS", "EVENTS", "SES", "SQS"] {
        endpoints.insert(format!("VESTIBULE_{service}_ENDPOINT"), moto.to_owned());
    }
    endpoints
}

/// The variables of each function: those of the template, and those for the emulators.
fn variables(
    template: &Value,
    endpoints: &Variables,
    resolve: impl Fn(&Value) -> String,
) -> BTreeMap<String, Variables> {
    let common = &template["Globals"]["Function"]["Environment"]["Variables"];
    let mut all = BTreeMap::new();
    for resource in template["Resources"].as_object().unwrap().values() {
        if resource["Type"] != "AWS::Serverless::Function" {
            continue;
        }
        let own = &resource["Properties"]["Environment"]["Variables"];
        let both = [common, own].into_iter().filter_map(Value::as_object).flatten();
        let mut variables = endpoints.clone();
        variables.extend(both.map(|(name, value)| (name.clone(), resolve(value))));
        // ../target/lambda/NAME/bootstrap.zip
        let flow = resource["Properties"]["CodeUri"].as_str().unwrap().rsplit('/').nth(1).unwrap();
        all.insert(flow.to_owned(), variables);
    }
    all
}

/// The value of a variable in the template: the id of a resource, or the default of a parameter.
fn resolve(template: &Value, ids: &BTreeMap<&str, String>, stream: &str, value: &Value) -> String {
    let value = value.pointer("/Fn::If/1").unwrap_or(value);
    if let Some(text) = value["Fn::Sub"].as_str() {
        return text.replace("${AWS::StackName}", &ids["Table"]);
    }
    if value["Fn::GetAtt"] == json!(["Table", "StreamArn"]) {
        return stream.to_owned();
    }
    let name =
        value.pointer("/Fn::GetAtt/0").unwrap_or(&value["Ref"]).as_str().unwrap_or_else(|| panic!("unknown: {value}"));
    ids.get(name).cloned().unwrap_or_else(|| match &template["Parameters"][name]["Default"] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => panic!("{name} has no default: {other}"),
    })
}
