//! Logs, their retention, and the alarms.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{flows, metrics, of_type, pascal, read, template};

#[test]
fn logs_expire_and_gateway_logs_omit_paths_queries_and_headers() {
    let template = template();
    let logs = of_type(&template, "AWS::Logs::LogGroup");
    assert_eq!(logs.len(), flows().len() + 1);
    for (name, log) in logs {
        assert_eq!(log["Properties"]["RetentionInDays"], json!({"Ref": "LogRetentionDays"}), "{name}");
    }
    let harmless = [
        "$context.requestTime",
        "$context.requestId",
        "",
        "$context.status",
        "$context.responseLength",
        "$context.responseLatency",
        "$context.integrationLatency",
        "$context.identity.sourceIp",
        "$context.integrationErrorMessage",
    ];
    // The route's name; the path itself contains ids.
    for (api, settings, route) in [
        ("HttpApi", "AccessLogSettings", "$context.routeKey"),
        ("RestApi", "AccessLogSetting", "$context.httpMethod $context.resourcePath"),
    ] {
        let log = &template["Resources"][api]["Properties"][settings];
        assert_eq!(log["DestinationArn"], json!({"Fn::GetAtt": ["ApiLogs", "Arn"]}));
        let format: BTreeMap<String, String> = serde_json::from_str(log["Format"].as_str().unwrap()).unwrap();
        let expected = harmless.map(|field| if field.is_empty() { route } else { field }.to_owned());
        assert_eq!(format.into_values().collect::<BTreeSet<_>>(), expected.into(), "{api}");
    }
}

/// Alarms watch existing metrics: those of AWS, of `shared/src/metrics.rs`, or of metric filters.
#[test]
fn alarms_watch_metrics_that_the_code_writes() {
    let template = template();
    let mut ours = BTreeSet::new();
    for (name, alarm) in of_type(&template, "AWS::CloudWatch::Alarm") {
        let alarm = &alarm["Properties"];
        let notify = json!({"Fn::If": ["Tell", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]});
        assert_eq!((&alarm["AlarmActions"], &alarm["TreatMissingData"]), (&notify, &json!("notBreaching")), "{name}");
        if alarm["Namespace"] == metrics() {
            ours.insert(alarm["MetricName"].as_str().unwrap().to_owned());
        }
    }
    // Metrics of metric filters.
    for filtered in ["Faults", "Attacks"] {
        assert!(ours.remove(filtered), "{filtered}");
    }
    let source = read("shared/src/metrics.rs");
    for metric in &ours {
        assert!(source.contains(&format!("\"{metric}\"")), "no code counts {metric}");
    }
    assert!(ours.len() > 1);
    let filter = template["Resources"]["Attacks"]["Properties"]["FilterPattern"].as_str().unwrap();
    let line = filter.split('"').nth(1).unwrap();
    assert!(read("functions/audit-events/src/lib.rs").contains(&format!("\"{line}\")")), "no code logs {line}");
}

/// What each alarm watches: an alarm with a misspelt name, namespace or dimension never fires.
#[test]
fn each_alarm_watches_its_metric() {
    let template = template();
    let function = |name: &str, flow: &str| json!([{"Name": name, "Value": {"Ref": format!("{flow}Function")}}]);
    let table = json!({"Fn::If": ["OwnTable", {"Ref": "Table"}, {"Ref": "ExistingTable"}]});
    let table = json!([{"Name": "TableName", "Value": table}]);
    let own = &metrics();
    let aws = ["ApiGateway", "Lambda", "SQS", "DynamoDB"].map(|service| json!(format!("AWS/{service}")));
    let [gateway, lambda, sqs, dynamodb] = &aws;
    let api = json!([{"Fn::If": ["Rest", {"Name": "ApiName", "Value": {"Ref": "AWS::StackName"}},
        {"Name": "ApiId", "Value": {"Ref": "HttpApi"}}]}]);
    let queue = |name: &str| json!([{"Name": "QueueName", "Value": {"Fn::GetAtt": [name, "QueueName"]}}]);
    let sum = json!("Sum");
    let expected = [
        ("GatewayFaults", gateway, json!({"Fn::If": ["Rest", "5XXError", "5xx"]}), api, &sum),
        ("FunctionFaults", own, json!("Faults"), Value::Null, &sum),
        ("LoginThrottled", lambda, json!("Throttles"), function("FunctionName", "Login"), &sum),
        ("LoginSlow", lambda, json!("Duration"), function("FunctionName", "Login"), &json!("p99")),
        ("VerifySlow", lambda, json!("Duration"), function("FunctionName", "Verify"), &json!("p99")),
        ("EventsLate", lambda, json!("IteratorAge"), function("FunctionName", "AuditEvents"), &json!("Maximum")),
        (
            "EventsUndelivered",
            sqs,
            json!("ApproximateNumberOfMessagesVisible"),
            queue("Undelivered"),
            &json!("Maximum"),
        ),
        (
            "MailsUndelivered",
            sqs,
            json!("ApproximateNumberOfMessagesVisible"),
            queue("UndeliveredMails"),
            &json!("Maximum"),
        ),
        ("MailsLate", sqs, json!("ApproximateAgeOfOldestMessage"), queue("MailQueue"), &json!("Maximum")),
        ("LoginsDelayed", own, json!("TooManyAttempts"), function("function", "Login"), &sum),
        ("CodesDelayed", own, json!("TooManyAttempts"), function("function", "Verify"), &sum),
        ("Attacked", own, json!("Attacks"), Value::Null, &sum),
        ("Unavailable", own, json!("Unavailable"), Value::Null, &sum),
        ("TableWritesThrottled", dynamodb, json!("WriteThrottleEvents"), table.clone(), &sum),
        ("TableReadsThrottled", dynamodb, json!("ReadThrottleEvents"), table, &sum),
    ];
    let mut alarms = of_type(&template, "AWS::CloudWatch::Alarm");
    for (name, namespace, metric, dimensions, statistic) in expected {
        let alarm = &alarms.remove(name).unwrap_or_else(|| panic!("no alarm {name}"))["Properties"];
        assert_eq!((&alarm["Namespace"], &alarm["MetricName"]), (namespace, &metric), "{name}");
        // An expression over metrics without data has no value.
        assert!(alarm["Metrics"].is_null(), "{name}");
        assert_eq!(alarm["Dimensions"], dimensions, "{name}");
        let found = alarm.get("Statistic").or(alarm.get("ExtendedStatistic"));
        assert_eq!(found, Some(statistic), "{name}");
    }
    assert!(alarms.is_empty(), "alarms that are not looked at: {:?}", alarms.keys());
}

/// A filter that matches nothing means an alarm that never fires.
#[test]
fn metric_filters_count_errors_and_attacks() {
    let template = template();
    let counts = |metric: &str| json!([{"MetricNamespace": metrics(), "MetricName": metric, "MetricValue": "1"}]);
    let mut filters = of_type(&template, "AWS::Logs::MetricFilter");
    for flow in flows() {
        let filter = &filters.remove(&*(pascal(&flow) + "Faults")).unwrap()["Properties"];
        assert_eq!(filter["FilterPattern"], r#"{ $.level = "ERROR" }"#, "{flow}");
        assert_eq!(filter["MetricTransformations"], counts("Faults"), "{flow}");
    }
    let attacks = &filters.remove("Attacks").unwrap()["Properties"];
    assert_eq!(attacks["LogGroupName"], json!({"Ref": "AuditEventsLogs"}));
    assert_eq!(attacks["FilterPattern"], r#"{ $.message = "an attack" }"#);
    assert_eq!(attacks["MetricTransformations"], counts("Attacks"));
    assert!(filters.is_empty(), "{:?}", filters.keys());
}

/// CloudFormation does not check the dashboard, so its references are checked here.
#[test]
fn dashboard_shows_only_existing_metrics() {
    let template = template();
    let dashboards = of_type(&template, "AWS::CloudWatch::Dashboard");
    let body = &dashboards["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"];
    let table = json!({"Fn::If": ["OwnTable", {"Ref": "Table"}, {"Ref": "ExistingTable"}]});
    assert_eq!(body[1], json!({"Namespace": metrics(), "TableName": table}));
    let text = body[0].as_str().unwrap();
    for name in text.split("${").skip(1).map(|rest| rest.split('}').next().unwrap()) {
        let there = !template["Resources"][name].is_null();
        assert!(there || ["AWS::Region", "Namespace", "TableName"].contains(&name), "{name}");
    }
    let body: Value = serde_json::from_str(text).unwrap();
    let source = read("shared/src/metrics.rs");
    let mut titles = BTreeSet::new();
    for widget in body["widgets"].as_array().unwrap() {
        let properties = &widget["properties"];
        titles.insert(properties["title"].as_str().unwrap().split([',', ' ']).next().unwrap().to_owned());
        for metric in properties["metrics"].as_array().into_iter().flatten() {
            if let Some(search) = metric[0]["expression"].as_str() {
                let name = search.split("MetricName=\"").nth(1).unwrap().split('"').next().unwrap();
                assert!(source.contains(&format!("\"{name}\"")), "no code counts {name}");
                let (_, dimensions) = search.split_once("{${Namespace},").unwrap();
                for dimension in dimensions.split('}').next().unwrap().split(',') {
                    assert!(source.contains(&format!("\"{dimension}\"")), "{name} has no {dimension}");
                }
            } else {
                let (namespace, dimension) = (metric[0].as_str().unwrap(), metric[2].as_str().unwrap());
                let fits = [("AWS/Lambda", "FunctionName"), ("AWS/DynamoDB", "TableName")];
                assert!(fits.contains(&(namespace, dimension)), "{metric}");
                let names = [
                    "Duration",
                    "Throttles",
                    "Invocations",
                    "IteratorAge",
                    "WriteThrottleEvents",
                    "ReadThrottleEvents",
                ];
                assert!(names.contains(&metric[1].as_str().unwrap()), "{metric}");
            }
        }
    }
    let expected = ["Cold", "Events", "Latency", "Refusals", "Requests", "Sign-ins", "Throttles"].map(str::to_owned);
    assert_eq!(titles, expected.into());
    assert_eq!(template["Parameters"]["SystemLogLevel"]["Default"], "INFO", "the level INFO is needed for cold starts");
}
