//! The Lambda `operators`, invoked by whoever IAM lets.

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
    let needs = RequiredKeys::NAMES.and(RequiredKeys::CODES);
    let function = Function::new(Default::default(), needs, |name| std::env::var(name).ok(), Arc::new(SystemClock));
    let act = async |event: LambdaEvent<Value>| -> Result<Value, Diagnostic> {
        // Opened for each: commands are rare, and one may follow upon a restore.
        let told = match function.open_to_operators().await {
            Ok((app, stream)) => operators::answer(&app, Some(&stream), event.payload, &event.context.request_id).await,
            Err(faults) => {
                tracing::error!(%faults, "nothing is done before this is mended");
                Err(operators::Refusal::Unavailable)
            }
        };
        told.map_err(|why| Diagnostic { error_type: why.code().to_owned(), error_message: why.to_string() })
    };
    lambda_runtime::run(service_fn(act)).await
}
