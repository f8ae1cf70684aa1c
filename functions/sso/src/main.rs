//! The Lambda function of the flow `sso`.

use vestibule::lambda::{Error, RequiredKeys, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(sso::routes(), RequiredKeys::NAMES).await
}
