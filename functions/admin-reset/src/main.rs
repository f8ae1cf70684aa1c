//! The Lambda function of the flow `admin-reset`.

use vestibule::lambda::{Error, RequiredKeys, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(admin_reset::routes(), RequiredKeys::CODES).await
}
