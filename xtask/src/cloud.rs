//! The running cloud: every flow is a Lambda function under cargo-lambda's emulator of API Gateway, with DynamoDB Local and
//! moto. The checks and the functions themselves find it by a file.

use std::{collections::BTreeMap, env, fs, path::PathBuf, process::Command};

use axum::{body::Body, http::Request};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tests::{
    aws, http,
    runtime::{Function, Variables, built},
};

/// The environment variable with the path of the file.
pub const FILE: &str = "VESTIBULE_CLOUD";

/// Addresses and names of a running cloud.
#[derive(Serialize, Deserialize)]
pub struct Cloud {
    /// The URL of cargo-lambda's emulator.
    pub url: String,
    /// The name of the table.
    pub table: String,
    /// The URL of the queue with the events for `notify`.
    pub queue: String,
    /// The URL of the queue with the orders for `password-mail`.
    pub mail_queue: String,
    /// The environment variables of each function.
    pub variables: BTreeMap<String, Variables>,
    /// The endpoints of AWS services whose answers are dated [`LATER`] days ahead.
    pub later: Variables,
    /// The file with the recorded calls of the functions: a JSON pair of name and call per line.
    pub calls: PathBuf,
}

/// How many days ahead the clock of a later function is: one more than the days after which a data key is replaced
/// (`vestibule::kms::DATA_KEY_SEALS`).
pub const LATER: i64 = 91;

impl Cloud {
    /// The cloud of `.ci/with-cloud`.
    #[must_use]
    pub fn from_environment() -> Self {
        let path = env::var(FILE).expect("run it through .ci/with-cloud");
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    /// Invokes a function as Lambda's API does. An error is an answer with `errorType`.
    pub async fn invoke(&self, function: &str, event: &Value) -> Value {
        let path = format!("/2015-03-31/functions/{function}/invocations");
        let request = Request::post(path).header("content-type", "application/json");
        let response = http::send(&self.url, request.body(Body::from(event.to_string())).unwrap()).await;
        http::json(&http::body(response).await)
    }

    /// Invokes the function `operators` with a command and its fields.
    pub async fn operators(&self, command: &str, mut fields: Value) -> Value {
        fields["command"] = json!(command);
        self.invoke("operators", &fields).await
    }

    /// Delivers as AWS does: passes the stream's records to `audit-events`, and the events that the bus's rule put into the
    /// queue to `notify`. Returns the number of these events.
    pub async fn deliver(&self, records: &[Value]) -> usize {
        // In batches of the size that Lambda uses.
        for batch in records.chunks(100) {
            let done = self.invoke("audit-events", &json!({"Records": batch})).await;
            assert_eq!(done, json!({"batchItemFailures": []}));
        }
        let mut delivered = 0;
        loop {
            let events = aws::take_messages(&self.queue).await;
            if events.is_empty() {
                return delivered;
            }
            for event in events {
                assert_eq!(self.invoke("notify", &event).await, Value::Null);
                delivered += 1;
            }
        }
    }

    /// Delivers the ordered mails with links as AWS does: passes each message of the queue to `password-mail`.
    pub async fn deliver_orders(&self) {
        loop {
            let orders = aws::take_messages(&self.mail_queue).await;
            if orders.is_empty() {
                return;
            }
            for order in orders {
                let done = self.invoke("password-mail", &json!({"Records": [{"body": order.to_string()}]})).await;
                assert_eq!(done, Value::Null);
            }
        }
    }

    /// Starts another process of a function, outside of the emulator.
    #[must_use]
    pub fn start(&self, name: &str) -> Function {
        Function::start(Command::new(built(name)), name, &self.variables[name])
    }

    /// Starts another process of a function, [`LATER`] days ahead.
    #[must_use]
    pub fn start_later(&self, name: &str) -> Function {
        let mut command = Command::new("faketime");
        command.args(["-f", &format!("+{LATER}d")]).arg(built(name));
        let mut variables = self.variables[name].clone();
        variables.extend(self.later.clone());
        Function::start(command, name, &variables)
    }
}
