//! The Lambda function `audit-events`, which reads the table's stream.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    audit_events::run().await
}
