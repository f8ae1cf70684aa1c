//! The Lambda function of the flow `support`.

use vestibule::lambda::{Error, RequiredKeys, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(support::routes(), RequiredKeys::NAMES.and(RequiredKeys::CODES)).await
}
