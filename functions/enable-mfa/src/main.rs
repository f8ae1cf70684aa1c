//! The Lambda function of the flow `enable-mfa`.

use vestibule::lambda::{Error, RequiredKeys, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(enable_mfa::routes(), RequiredKeys::SEALING.and(RequiredKeys::CODES)).await
}
