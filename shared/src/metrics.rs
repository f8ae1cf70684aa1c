//! Metrics in CloudWatch's embedded metric format: a log line that CloudWatch turns into metrics. Vestibule uses so
//! little of the format that no library is needed.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::env::Timestamp;

/// Writes metrics of one function. The namespace identifies the deployment.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    namespace: String,
    function: String,
}

/// A metric name, and the fields that are its dimensions.
type Counted<'a> = (&'a str, &'a [&'a str]);

impl Metrics {
    /// Reads the namespace from `VESTIBULE_METRICS` (default `Vestibule`) and the function's name from
    /// `AWS_LAMBDA_FUNCTION_NAME`.
    #[must_use]
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let namespace = variable("VESTIBULE_METRICS").filter(|name| !name.is_empty());
        Self {
            namespace: namespace.unwrap_or_else(|| "Vestibule".to_owned()),
            function: variable("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
        }
    }

    /// Counts a refused request by its problem code. Successful requests are not counted here: Lambda counts requests,
    /// and sign-ins are counted from the audit ([`Metrics::signed_in`]), so a request needs no extra log line.
    pub fn refused(&self, code: &str, now: Timestamp) {
        write(&self.refusal(code, now));
    }

    fn refusal(&self, code: &str, now: Timestamp) -> Value {
        let mut metrics: Vec<Counted> = vec![("Refused", &["code"])];
        match code {
            // Alarms watch these: the first per function, the second over all functions.
            "too_many_attempts" => metrics.push(("TooManyAttempts", &["function"])),
            "unavailable" => metrics.push(("Unavailable", &[])),
            _ => {}
        }
        self.line(&metrics, 1, &[("code", code)], now)
    }

    /// Counts `count` audit rows of sign-ins with this action and outcome.
    pub fn signed_in(&self, action: &str, outcome: &str, count: usize, now: Timestamp) {
        write(&self.sign_ins(action, outcome, count, now));
    }

    fn sign_ins(&self, action: &str, outcome: &str, count: usize, now: Timestamp) -> Value {
        let fields = [("action", action), ("outcome", outcome)];
        self.line(&[("SignIns", &["action", "outcome"])], count, &fields, now)
    }

    fn line(&self, metrics: &[Counted], count: usize, fields: &[(&str, &str)], now: Timestamp) -> Value {
        let directive = |(name, dimensions): &Counted| json!({"Namespace": self.namespace, "Dimensions": [dimensions], "Metrics": [{"Name": name, "Unit": "Count"}]});
        let directives: Vec<_> = metrics.iter().map(directive).collect();
        let mut line = Map::new();
        line.insert("_aws".into(), json!({"Timestamp": now.millis(), "CloudWatchMetrics": directives}));
        line.insert("function".into(), json!(self.function));
        line.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        line.extend(metrics.iter().map(|(name, _)| ((*name).to_owned(), json!(count))));
        Value::Object(line)
    }
}

fn write(line: &Value) {
    // A failure to write a metric must not change the response.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        let variables = [("VESTIBULE_METRICS", "Vestibule/one"), ("AWS_LAMBDA_FUNCTION_NAME", "one-verify")];
        Metrics::read(|name| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned()))
    }

    fn directive(dimensions: Value, name: &str) -> Value {
        json!({"Namespace": "Vestibule/one", "Dimensions": [dimensions], "Metrics": [{"Name": name, "Unit": "Count"}]})
    }

    #[test]
    fn unset_or_empty_namespace_has_a_default() {
        for set in [None, Some(String::new())] {
            assert_eq!(Metrics::read(|_| set.clone()).namespace, "Vestibule");
        }
    }

    #[test]
    fn refusals_have_code_and_sign_ins_have_outcome_as_dimensions() {
        let at = Timestamp::from_millis(1_795_510_719_123);
        for (code, extra) in [
            ("invalid_code", None),
            ("too_many_attempts", Some(directive(json!(["function"]), "TooManyAttempts"))),
            ("unavailable", Some(directive(json!([]), "Unavailable"))),
        ] {
            let line = metrics().refusal(code, at);
            let mut expected = vec![directive(json!(["code"]), "Refused")];
            expected.extend(extra);
            assert_eq!(line["_aws"], json!({"Timestamp": at.millis(), "CloudWatchMetrics": expected}));
            assert_eq!((&line["code"], &line["function"]), (&json!(code), &json!("one-verify")));
            // CloudWatch requires each metric that a directive names to be a field of the line.
            for one in &expected {
                assert_eq!(line[one["Metrics"][0]["Name"].as_str().unwrap()], 1);
            }
        }
        let line = metrics().sign_ins("verify", "success", 7, at);
        let directives = json!([directive(json!(["action", "outcome"]), "SignIns")]);
        assert_eq!(line["_aws"]["CloudWatchMetrics"], directives);
        assert_eq!((&line["action"], &line["outcome"]), (&json!("verify"), &json!("success")));
        assert_eq!(line["SignIns"], 7);
    }
}
