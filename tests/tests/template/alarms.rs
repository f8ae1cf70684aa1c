//! What is logged, for how long, and which alarms look at it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{flows, of_type, pascal, read, template};

#[test]
fn logs_end_and_the_gateways_have_no_path_query_or_header() {
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
    // The route's name; the path itself has ids.
    for (api, settings, route) in [
        ("HttpApi", "AccessLogSettings", "$context.routeKey"),
        ("RestApi", "AccessLogSetting", "$context.httpMethod $context.resourcePath"),
    ] {
        let log = &template["Resources"][api]["Properties"][settings];
        assert_eq!(log["DestinationArn"], json!({"Fn::GetAtt": ["ApiLogs", "Arn"]}));
        let format: BTreeMap<String, String> = serde_json::from_str(log["Format"].as_str().unwrap()).unwrap();
        let wanted = harmless.map(|field| if field.is_empty() { route } else { field }.to_owned());
        assert_eq!(format.into_values().collect::<BTreeSet<_>>(), wanted.into(), "{api}");
    }
}

/// Alarms look at metrics that there are: of AWS, or those that `shared/src/lambda.rs` and the filters of logs make.
#[test]
fn alarms_look_at_metrics_that_the_code_writes() {
    let template = template();
    let mut ours = BTreeSet::new();
    for (name, alarm) in of_type(&template, "AWS::CloudWatch::Alarm") {
        let alarm = &alarm["Properties"];
        let tell = json!({"Fn::If": ["Tell", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]});
        assert_eq!((&alarm["AlarmActions"], &alarm["TreatMissingData"]), (&tell, &json!("notBreaching")), "{name}");
        let metrics = alarm["Metrics"].as_array().into_iter().flatten().map(|one| &one["MetricStat"]["Metric"]);
        for metric in metrics.chain([alarm]).filter(|metric| metric["Namespace"] == "Vestibule") {
            ours.extend(metric["MetricName"].as_str().map(str::to_owned));
        }
    }
    let source = read("shared/src/lambda.rs");
    for metric in &ours {
        assert!(source.contains(&format!("\"{metric}\"")), "nobody counts {metric}");
    }
    assert!(ours.len() > 1);
    let filter = template["Resources"]["Attacks"]["Properties"]["FilterPattern"].as_str().unwrap();
    let line = filter.split('"').nth(1).unwrap();
    assert!(read("functions/audit-events/src/lib.rs").contains(&format!("\"{line}\")")), "nobody logs {line}");
}

/// What each alarm watches: a misspelt name, namespace or dimension is an alarm that never goes off.
#[test]
fn each_alarm_watches_its_metric() {
    let template = template();
    let function = |name: &str, flow: &str| json!([{"Name": name, "Value": {"Ref": format!("{flow}Function")}}]);
    let own = |metric: &str| json!({"Fn::Sub": format!("${{AWS::StackName}}-{metric}")});
    let api = json!([{"Fn::If": ["Rest", {"Name": "ApiName", "Value": {"Ref": "AWS::StackName"}},
        {"Name": "ApiId", "Value": {"Ref": "HttpApi"}}]}]);
    let queue = json!([{"Name": "QueueName", "Value": {"Fn::GetAtt": ["Undelivered", "QueueName"]}}]);
    let sum = json!("Sum");
    let wanted = [
        ("GatewayFaults", "AWS/ApiGateway", json!({"Fn::If": ["Rest", "5XXError", "5xx"]}), api, &sum),
        ("FunctionFaults", "Vestibule", own("faults"), Value::Null, &sum),
        ("LoginThrottled", "AWS/Lambda", json!("Throttles"), function("FunctionName", "Login"), &sum),
        ("LoginSlow", "AWS/Lambda", json!("Duration"), function("FunctionName", "Login"), &json!("p99")),
        ("VerifySlow", "AWS/Lambda", json!("Duration"), function("FunctionName", "Verify"), &json!("p99")),
        ("EventsLate", "AWS/Lambda", json!("IteratorAge"), function("FunctionName", "AuditEvents"), &json!("Maximum")),
        ("EventsUndelivered", "AWS/SQS", json!("ApproximateNumberOfMessagesVisible"), queue, &json!("Maximum")),
        ("LoginsDelayed", "Vestibule", json!("TooManyAttempts"), function("function", "Login"), &sum),
        ("CodesDelayed", "Vestibule", json!("TooManyAttempts"), function("function", "Verify"), &sum),
        ("Attacked", "Vestibule", own("attacks"), Value::Null, &sum),
    ];
    let mut alarms = of_type(&template, "AWS::CloudWatch::Alarm");
    for (name, namespace, metric, dimensions, statistic) in wanted {
        let alarm = &alarms.remove(name).unwrap_or_else(|| panic!("no alarm {name}"))["Properties"];
        assert_eq!((&alarm["Namespace"], &alarm["MetricName"]), (&json!(namespace), &metric), "{name}");
        assert_eq!(alarm["Dimensions"], dimensions, "{name}");
        let found = alarm.get("Statistic").or(alarm.get("ExtendedStatistic"));
        assert_eq!(found, Some(statistic), "{name}");
    }
    assert_eq!(
        alarms.keys().copied().collect::<Vec<_>>(),
        ["TableThrottled", "Unavailable"],
        "alarms that are not looked at"
    );
}

/// A filter that matches nothing is an alarm that never goes off.
#[test]
fn filters_of_logs_count_errors_and_attacks() {
    let template = template();
    let counts = |metric: &str| {
        let name = json!({"Fn::Sub": format!("${{AWS::StackName}}-{metric}")});
        json!([{"MetricNamespace": "Vestibule", "MetricName": name, "MetricValue": "1"}])
    };
    let mut filters = of_type(&template, "AWS::Logs::MetricFilter");
    for flow in flows() {
        let filter = &filters.remove(&*(pascal(&flow) + "Faults")).unwrap()["Properties"];
        assert_eq!(filter["FilterPattern"], r#"{ $.level = "ERROR" }"#, "{flow}");
        assert_eq!(filter["MetricTransformations"], counts("faults"), "{flow}");
    }
    let attacks = &filters.remove("Attacks").unwrap()["Properties"];
    assert_eq!(attacks["LogGroupName"], json!({"Ref": "AuditEventsLogs"}));
    assert_eq!(attacks["FilterPattern"], r#"{ $.message = "an attack" }"#);
    assert_eq!(attacks["MetricTransformations"], counts("attacks"));
    assert!(filters.is_empty(), "{:?}", filters.keys());
}
