//! The Lambda function of the flow `batch-portal-exclude`.

use vestibule::lambda::{Error, RequiredKeys, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(batch_portal_exclude::routes(), RequiredKeys::NOTHING).await
}
