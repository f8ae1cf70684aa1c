//! How audit rows become events and mails, and where undelivered ones are kept.

use serde_json::{Value, json};

use super::{EXISTING_STREAM, properties, template};

/// The function reports the first failed row. Without `ReportBatchItemFailures` Lambda would treat that as success, and
/// the rest of the batch would be lost.
#[test]
fn audit_events_reads_the_stream_and_sends_failures_to_the_queue() {
    let template = template();
    let events = &properties(&template, "audit-events", "Function")["Events"];
    let rows = r#"{"eventName":["INSERT"],"dynamodb":{"Keys":{"PK":{"S":[{"prefix":"T#"}]}},"NewImage":{"request_id":{"S":[{"exists":true}]}}}}"#;
    let expected = json!({"Rows": {"Type": "DynamoDB", "Properties": {
        "Stream": {"Fn::If": ["OwnTable", {"Fn::GetAtt": ["Table", "StreamArn"]}, {"Fn::Sub": EXISTING_STREAM}]},
        "StartingPosition": "TRIM_HORIZON",
        "BatchSize": 100,
        "BisectBatchOnFunctionError": true,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "MaximumRecordAgeInSeconds": 43_200,
        "DestinationConfig": {"OnFailure": {"Type": "SQS", "Destination": arn("Undelivered")}},
        "FilterCriteria": {"Filters": [{"Pattern": rows}]},
    }}});
    assert_eq!(events, &expected);
}

fn arn(name: &str) -> Value {
    json!({"Fn::GetAtt": [name, "Arn"]})
}

#[test]
fn notify_reads_events_and_failed_ones_stay_in_the_queue() {
    let template = template();
    let resource = |name: &str| &template["Resources"][name]["Properties"];
    let rule = resource("MailRule");
    assert_eq!(rule["EventBusName"], json!({"Ref": "Bus"}));
    let notified = json!({"source": ["vestibule"], "detail": {"data": {"notified": ["user", "administrators"]}}});
    assert_eq!(rule["EventPattern"], notified);
    let dead = json!({"Arn": arn("Undelivered")});
    assert_eq!(
        rule["Targets"],
        json!([{"Id": "notify", "Arn": {"Ref": "NotifyFunction.Alias"}, "DeadLetterConfig": dead}])
    );
    let permission = json!({
        "Action": "lambda:InvokeFunction", "FunctionName": {"Ref": "NotifyFunction.Alias"},
        "Principal": "events.amazonaws.com", "SourceArn": arn("MailRule"),
    });
    assert_eq!(resource("MailRuleMayInvoke"), &permission);
    let failed = json!({
        "MaximumRetryAttempts": 2, "DestinationConfig": {"OnFailure": {"Type": "SQS", "Destination": arn("Undelivered")}},
    });
    assert_eq!(resource("NotifyFunction")["EventInvokeConfig"], failed);
    // 14 days, the maximum.
    assert_eq!(resource("Undelivered"), &json!({"MessageRetentionPeriod": 1_209_600, "SqsManagedSseEnabled": true}));
    // The rules of the stack's own bus.
    let rules = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:rule/${Bus}/*";
    let policy = json!({"Queues": [{"Ref": "Undelivered"}], "PolicyDocument": {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage",
        "Resource": arn("Undelivered"), "Condition": {"ArnLike": {"aws:SourceArn": {"Fn::Sub": rules}}},
    }]}});
    assert_eq!(resource("UndeliveredPolicy"), &policy);
}

/// A message is delivered again later than the function ends, and after five deliveries it is kept for inspection.
#[test]
fn password_mail_reads_the_queue_and_failed_messages_stay_in_another() {
    let template = template();
    let resource = |name: &str| &template["Resources"][name];
    let source = json!({"Messages": {"Type": "SQS", "Properties": {"Queue": arn("MailQueue"), "BatchSize": 1}}});
    let function = properties(&template, "password-mail", "Function");
    assert_eq!(function["Events"], source);
    let queue = &resource("MailQueue")["Properties"];
    assert_eq!(queue["VisibilityTimeout"].as_u64(), function["Timeout"].as_u64().map(|timeout| 6 * timeout));
    assert_eq!(queue["RedrivePolicy"], json!({"maxReceiveCount": 5, "deadLetterTargetArn": arn("UndeliveredMails")}));
    assert_eq!(queue["SqsManagedSseEnabled"], true);
    let dead = json!({"MessageRetentionPeriod": 1_209_600, "SqsManagedSseEnabled": true});
    assert_eq!(resource("UndeliveredMails")["Properties"], dead);
    let all = template["Resources"].as_object().unwrap().iter();
    let conditional: Vec<_> = all.filter(|(_, one)| one["Condition"] == "MailLinks").map(|(name, _)| name).collect();
    let expected = [
        "MailQueue",
        "MailsLate",
        "MailsUndelivered",
        "PasswordMailFaults",
        "PasswordMailFunction",
        "PasswordMailLogs",
        "PasswordMailRole",
        "UndeliveredMails",
    ];
    assert_eq!(conditional, expected);
}

/// Mails use the stack's own configuration set, because the role has no right to an identity's default one.
#[test]
fn mails_have_a_configuration_set() {
    let template = template();
    let set = &template["Resources"]["MailConfiguration"];
    assert_eq!((&set["Type"], &set["Condition"]), (&json!("AWS::SES::ConfigurationSet"), &json!("Mails")));
    assert_eq!(set["Properties"]["ReputationOptions"]["ReputationMetricsEnabled"], true);
}

#[test]
fn event_archive_is_optional_and_retained() {
    let template = template();
    let all = template["Resources"].as_object().unwrap().iter().filter(|(name, _)| name.starts_with("Archive"));
    for (name, resource) in all {
        assert_eq!(resource["Condition"], "Archived", "{name}");
    }
    assert_eq!(template["Conditions"]["Archived"], json!({"Fn::Equals": [{"Ref": "AuditArchive"}, "true"]}));
    let resource = |name: &str| &template["Resources"][name];
    let bucket = resource("ArchiveBucket");
    assert_eq!(bucket["DeletionPolicy"], "RetainExceptOnCreate");
    assert_eq!(bucket["UpdateReplacePolicy"], "Retain");
    assert!(!bucket["Properties"].to_string().contains("Expiration"), "the archive never expires");
    let public = bucket["Properties"]["PublicAccessBlockConfiguration"].as_object().unwrap();
    assert!(public.len() == 4 && public.values().all(|one| one == true));
    let rule = &resource("ArchiveRule")["Properties"];
    assert_eq!(
        (&rule["EventBusName"], &rule["EventPattern"]),
        (&json!({"Ref": "Bus"}), &json!({"source": ["vestibule"]}))
    );
    let target = &rule["Targets"][0];
    assert_eq!((&target["Arn"], &target["RoleArn"]), (&arn("ArchiveStream"), &arn("ArchiveRuleRole")));
    assert_eq!(target["DeadLetterConfig"], json!({"Arn": arn("Undelivered")}));
    let line = json!({"InputPathsMap": {"event": "$.detail"}, "InputTemplate": "<event>\n"});
    assert_eq!(target["InputTransformer"], line);
    let stream = &resource("ArchiveStream")["Properties"]["ExtendedS3DestinationConfiguration"];
    assert_eq!((&stream["BucketARN"], &stream["RoleARN"]), (&arn("ArchiveBucket"), &arn("ArchiveStreamRole")));
}
