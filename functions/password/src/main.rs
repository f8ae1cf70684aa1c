//! The Lambda function of the flow `password`.

use vestibule::lambda::{Error, RequiredKeys, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(password::routes(), RequiredKeys::NAMES.and(RequiredKeys::MAIL_QUEUE)).await
}
