//! Metrics in CloudWatch's embedded metric format: a line of the log that becomes metrics. There is no library between: this is
//! all of the format that we use.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::env::Timestamp;

/// Whose metrics these are: a namespace for each deployment, and the function.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    namespace: String,
    function: String,
}

/// A metric and the fields that are its dimensions.
type Counted<'a> = (&'a str, &'a [&'a str]);

impl Metrics {
    /// As `VESTIBULE_METRICS` (a namespace) and `AWS_LAMBDA_FUNCTION_NAME` say.
    #[must_use]
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let namespace = variable("VESTIBULE_METRICS").filter(|name| !name.is_empty());
        Self {
            namespace: namespace.unwrap_or_else(|| "Vestibule".to_owned()),
            function: variable("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
        }
    }

    /// Counts a refusal, by its code. What succeeds is counted where it costs no line a request: by Lambda, and sign-ins in
    /// the audit ([`Metrics::signed_in`]).
    pub fn refused(&self, code: &str, now: Timestamp) {
        write(&self.refusal(code, now));
    }

    fn refusal(&self, code: &str, now: Timestamp) -> Value {
        let mut metrics: Vec<Counted> = vec![("Refused", &["code"])];
        match code {
            // Alarms look at these: at one function's, and at all functions' as one.
            "too_many_attempts" => metrics.push(("TooManyAttempts", &["function"])),
            "unavailable" => metrics.push(("Unavailable", &[])),
            _ => {}
        }
        self.line(&metrics, 1, &[("code", code)], now)
    }

    /// Counts sign-ins in the audit: so many rows of an action with an outcome.
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
    // A metric that cannot be written changes no answer.
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
    fn refusals_are_counted_by_code_and_sign_ins_by_outcome() {
        let at = Timestamp::from_millis(1_795_510_719_123);
        for (code, beside) in [
            ("invalid_code", None),
            ("too_many_attempts", Some(directive(json!(["function"]), "TooManyAttempts"))),
            ("unavailable", Some(directive(json!([]), "Unavailable"))),
        ] {
            let line = metrics().refusal(code, at);
            let mut wanted = vec![directive(json!(["code"]), "Refused")];
            wanted.extend(beside);
            assert_eq!(line["_aws"], json!({"Timestamp": at.millis(), "CloudWatchMetrics": wanted}));
            assert_eq!((&line["code"], &line["function"]), (&json!(code), &json!("one-verify")));
            // What a directive names has to be a field of the line.
            for one in &wanted {
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
