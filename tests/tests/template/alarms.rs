//! What is logged, for how long, and which alarms look at it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{flows, of_type, read, template};

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
