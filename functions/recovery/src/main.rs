//! The Lambda function of the flow `recovery`.

use vestibule::lambda::{Error, RequiredKeys, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(recovery::routes(), RequiredKeys::CODES).await
}
