//! The Lambda function of the flow `directory`.

use vestibule::lambda::{Error, RequiredKeys, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(directory::routes(), RequiredKeys::NAMES.and(RequiredKeys::MAIL_QUEUE)).await
}
