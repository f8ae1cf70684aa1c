//! The Lambda function of the flow `session`.

use vestibule::lambda::{Error, RequiredKeys, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(session::routes(), RequiredKeys::NOTHING).await
}
