//! The Lambda function of the flow `verify`.

use vestibule::lambda::{Error, RequiredKeys, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(verify::routes(), RequiredKeys::SEALING.and(RequiredKeys::CODES)).await
}
