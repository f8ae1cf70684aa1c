//! The Lambda function of the flow `login`.

use vestibule::lambda::{Error, RequiredKeys, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(login::routes(), RequiredKeys::NAMES).await
}
