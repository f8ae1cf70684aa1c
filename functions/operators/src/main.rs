//! The Lambda function `operators`. IAM decides who may invoke it.

use std::sync::Arc;

use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn};
use serde_json::Value;
use vestibule::{
    env::SystemClock,
    lambda::{Function, RequiredKeys},
    log,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log::start();
    let required = RequiredKeys::NAMES.and(RequiredKeys::CODES);
    let function = Function::new(Default::default(), required, |name| std::env::var(name).ok(), Arc::new(SystemClock));
    let handle = async |event: LambdaEvent<Value>| -> Result<Value, Diagnostic> {
        // Opened for each command: commands are rare, and a backup may have been restored since the last one.
        let result = match function.open_to_operators().await {
            Ok((app, stream)) => operators::handle(&app, Some(&stream), event.payload, &event.context.request_id).await,
            Err(faults) => {
                tracing::error!(%faults, "the configuration is wrong, so no command is executed");
                Err(operators::Refusal::Unavailable)
            }
        };
        result.map_err(|why| Diagnostic { error_type: why.code().to_owned(), error_message: why.to_string() })
    };
    lambda_runtime::run(service_fn(handle)).await
}
