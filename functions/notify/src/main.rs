//! The Lambda function `notify`, on the event bus.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    notify::run().await
}
